package submissions

import (
	"context"
	"net"
	"path"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/proxy"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/slipway-cloud/slipway/internal/dev/testenv"
)

// engine is the way by which the API reaches the real engine: calls come late there, and answers get lost.
type engine struct {
	address string
	direct  workflowservice.WorkflowServiceClient

	mu sync.Mutex
	on func(context.Context, call) (any, error)
}

// call is one of the API's.
type call struct {
	method string
	req    any
	do     func() (any, error) // forwards it
}

// submission is what an Update-with-Start carries; nil for another call.
func (c call) submission() (*workflowservice.StartWorkflowExecutionRequest, *workflowservice.UpdateWorkflowExecutionRequest) {
	multi, ok := c.req.(*workflowservice.ExecuteMultiOperationRequest)
	if !ok {
		return nil, nil
	}
	return multi.Operations[0].GetStartWorkflow(), multi.Operations[1].GetUpdateWorkflow()
}

// update is the id by which the engine knows a submission again.
func (c call) update() string {
	_, update := c.submission()
	return update.GetRequest().GetMeta().GetUpdateId()
}

var errLost = status.Error(codes.Unavailable, "the answer got lost")

func newEngine(t *testing.T, server string) *engine {
	t.Helper()
	control := testenv.Control(t)
	conn, err := grpc.NewClient(server, grpc.WithTransportCredentials(credentials.NewTLS(control.TLS(t))), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	e := &engine{direct: workflowservice.NewWorkflowServiceClient(conn)}
	forward, err := proxy.NewWorkflowServiceProxyServer(proxy.WorkflowServiceProxyOptions{Client: e.direct})
	require.NoError(t, err)
	shows, err := credentials.NewServerTLSFromFile(control.Cert, control.Key)
	require.NoError(t, err)
	s := grpc.NewServer(grpc.Creds(shows), grpc.UnaryInterceptor(e.intercept))
	workflowservice.RegisterWorkflowServiceServer(s, forward)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	e.address = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		require.NoError(t, <-served)
	})
	return e
}

func (e *engine) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	e.mu.Lock()
	on := e.on
	e.mu.Unlock()
	// What the API gives up goes on here, as it does in the engine once it has it.
	c := call{method: path.Base(info.FullMethod), req: req, do: func() (any, error) { return handler(context.WithoutCancel(ctx), req) }}
	if on == nil {
		return c.do()
	}
	return on(ctx, c)
}

// meets has the calls from now on meet something else than the engine alone, until the test ends.
func (e *engine) meets(t *testing.T, on func(context.Context, call) (any, error)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.on = on
	t.Cleanup(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.on = nil
	})
}

// loss is a way in which the answer to a submission gets lost that has taken effect.
type loss func(*engine, context.Context, call) error

// losses are the answer on its way, and the update itself: the engine keeps one in memory until a worker has taken it up, and
// forgets it when another finds too many in flight.
var losses = map[string]loss{
	"the answer is lost": func(_ *engine, _ context.Context, c call) error {
		_, err := c.do()
		return err
	},
	"the update is lost": func(e *engine, ctx context.Context, c call) error {
		start, _ := c.submission()
		_, err := e.direct.StartWorkflowExecution(ctx, start)
		return err
	},
}

// loses has the first submission lose its answer, once meanwhile has returned.
func (e *engine) loses(t *testing.T, how loss, meanwhile func(workflowID string)) {
	var once sync.Once
	e.meets(t, func(ctx context.Context, c call) (any, error) {
		start, _ := c.submission()
		lost := false
		if start != nil {
			once.Do(func() { lost = true })
		}
		if !lost {
			return c.do()
		}
		if err := how(e, context.WithoutCancel(ctx), c); err != nil {
			return nil, err
		}
		meanwhile(start.WorkflowId)
		return nil, errLost
	})
}
