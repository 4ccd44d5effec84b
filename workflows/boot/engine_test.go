package boot

import (
	"context"
	"log/slog"
	"path"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	tworkflow "go.temporal.io/sdk/workflow"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/engine"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/workflows/run"
)

// What follows needs the real engine: which events one workflow task holds, and what a worker makes of a history that
// another has begun.

// realEngine is the engine with a world's activities behind it, on queues of its own.
type realEngine struct {
	client.Client
	t     *testing.T
	w     *world
	queue string
}

func newEngine(t *testing.T, w *world) *realEngine {
	t.Helper()
	e := &realEngine{Client: dial(t, testenv.Control(t)), t: t, w: w, queue: testenv.Queue(t, "control")}
	w.hosts = []string{testenv.Queue(t, "hv1")}
	e.start(worker.New(dial(t, testenv.Host(t, w.hosts[0])), contract.HostQueue(w.hosts[0]), worker.Options{DisableWorkflowWorker: true}), nil)
	return e
}

func dial(t *testing.T, as testenv.Certificate, options ...grpc.DialOption) client.Client {
	t.Helper()
	c, err := client.Dial(client.Options{
		HostPort: testenv.Temporal(t), Namespace: "slipway", Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler)),
		ConnectionOptions: client.ConnectionOptions{TLS: as.TLS(t), DialOptions: options},
	})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// control starts a control-plane worker over a table; it ends with stop, or with the test.
func (e *realEngine) control(rows run.Table[*build]) (stop func()) {
	return e.start(worker.New(e.Client, e.queue, worker.Options{}), rows)
}

func (e *realEngine) start(w worker.Worker, rows run.Table[*build]) func() {
	e.t.Helper()
	if rows != nil {
		over := Workflow{table: rows}
		w.RegisterWorkflowWithOptions(over.BootServer, tworkflow.RegisterOptions{Name: contract.WorkflowBoot})
		w.RegisterWorkflowWithOptions(ends(rows).DeleteServer, tworkflow.RegisterOptions{Name: contract.WorkflowDelete})
	}
	e.w.register(w)
	require.NoError(e.t, w.Start())
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			w.Stop()
		}
	}
	e.t.Cleanup(stop)
	return stop
}

// build submits a build of a server of its own.
func (e *realEngine) build() contract.BootInput {
	e.t.Helper()
	in := input()
	in.ServerID = uuid.NewString()
	require.NoError(e.t, engine.NewClient(e.Client, e.queue).Submit(e.t.Context(), in))
	return in
}

func (e *realEngine) delete(serverID string) {
	e.t.Helper()
	require.NoError(e.t, engine.NewClient(e.Client, e.queue).Delete(e.t.Context(), contract.DeleteInput{
		ServerID: serverID, RequestID: "req-2", Deadlines: contract.DefaultDeadlines(),
	}))
}

// ended waits for the end of a server's workflow.
func (e *realEngine) ended(serverID string) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(e.t.Context(), 30*time.Second)
	defer cancel()
	require.NoError(e.t, e.GetWorkflow(ctx, ids.ServerWorkflow(serverID), "").Get(ctx, nil))
}

// recorded waits until a server's history ends with the events.
func (e *realEngine) recorded(serverID string, kinds ...enumspb.EventType) {
	e.t.Helper()
	require.EventuallyWithT(e.t, func(c *assert.CollectT) {
		var last []enumspb.EventType
		for _, event := range e.history(serverID) {
			last = append(last, event.EventType)
		}
		for _, kind := range kinds {
			require.True(c, slices.Contains(last[max(0, len(last)-len(kinds)-1):], kind), "%s is not among the last of %v", kind, last)
		}
	}, 30*time.Second, 20*time.Millisecond)
}

func (e *realEngine) history(serverID string) (events []*historypb.HistoryEvent) {
	it := e.GetWorkflowHistory(e.t.Context(), ids.ServerWorkflow(serverID), "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for it.HasNext() {
		event, err := it.Next()
		require.NoError(e.t, err)
		events = append(events, event)
	}
	return events
}

// gate holds a step of a world until it is opened.
func gate(w *world, step string) (reached chan struct{}, open func()) {
	reached, opened := make(chan struct{}, 10), make(chan struct{})
	w.reached = func(s string) {
		if s == step {
			reached <- struct{}{}
			<-opened
		}
	}
	return reached, func() { close(opened) }
}

// A delete whose signal is recorded together with the end of the build's last activity is not lost: the build must not
// complete before it has looked.
func TestADeleteThatComesWithTheLastActivityIsNotLost(t *testing.T) {
	rows := slices.Clone(steps)
	// A local activity's end is no event of its own; the last row becomes one of a host's.
	rows[rows.Index(contract.Activate)] = host(contract.Activate, activate, time.Minute).TakesNothing("the last step")
	w := newWorld()
	e := newEngine(t, w)
	reached, open := gate(w, contract.Activate)
	stop := e.control(rows)
	in := e.build()
	<-reached
	stop()
	open()
	e.recorded(in.ServerID, enumspb.EVENT_TYPE_ACTIVITY_TASK_COMPLETED)
	e.delete(in.ServerID)
	e.recorded(in.ServerID, enumspb.EVENT_TYPE_ACTIVITY_TASK_COMPLETED, enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
	e.control(rows)
	e.ended(in.ServerID)
	require.Empty(t, w.holds())
	require.Equal(t, "DELETED", w.server)
}

// A build that an old control plane began is finished by the new one, by the rows that it began with; what is begun
// afterwards goes by the new rows, and so does the teardown of both.
func TestABuildStartedByTheOldWorkerIsFinishedByTheNewOne(t *testing.T) {
	license := control("TakeLicense", func(b *build, _ int) (contract.ActivateInput, func(run.None)) {
		return contract.ActivateInput{ServerID: b.in.ServerID}, nil
	}).GivenBackBy("ReturnLicense").From(1)
	newer := slices.Insert(slices.Clone(steps), steps.Index(contract.DefineDomain), license)
	inject := newer.Index(contract.InjectData)
	newer[inject] = newer[inject].Gone(1) // and a row that is taken out

	w := newWorld()
	w.more = map[string]any{
		"TakeLicense":   func(context.Context, contract.ActivateInput) error { return w.do("TakeLicense", "", "license") },
		"ReturnLicense": func(context.Context, contract.Undo) error { return w.undo("license") },
	}
	e := newEngine(t, w)
	reached, open := gate(w, contract.FetchImage)
	stop := e.control(steps)
	old := e.build()
	<-reached
	stop()
	e.control(newer)
	open()
	e.ended(old.ServerID)
	require.Equal(t, "ACTIVE", w.server)
	require.NotContains(t, w.holds(), "license", "the old build knows of no license")
	e.delete(old.ServerID)
	e.ended(old.ServerID)
	require.Empty(t, w.holds())

	clear(w.undone)
	fresh := e.build()
	e.ended(fresh.ServerID)
	require.Contains(t, w.holds(), "license")
	e.delete(fresh.ServerID)
	e.ended(fresh.ServerID)
	require.Empty(t, w.holds())
}

// An operator's act is asked for of one run. Where its answer gets lost, and that run has ended and another has begun, it is
// answered by the run that took it, and the other one's undo of the same name is left alone.
func TestAnActWhoseAnswerGotLostIsAnsweredByTheRunThatTookIt(t *testing.T) {
	const undo = "server:" + contract.ReleaseQuota + "/0"
	w := newWorld()
	failing(w, contract.StartDomain, fault.Internal, false)
	var back atomic.Bool
	w.more = map[string]any{contract.ReleaseQuota: func(context.Context, contract.Undo) error {
		if back.Load() {
			return w.undo("claim")
		}
		return failure.Retryable(fault.New(fault.Unavailable, "The database does not answer."))
	}}
	e := newEngine(t, w)
	e.control(steps)
	in := e.build()
	waits := func() {
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			b, err := engine.NewClient(e.Client, e.queue).Build(t.Context(), in.ServerID)
			require.NoError(c, err)
			require.NotNil(c, b.State, b.Unanswered)
			require.True(c, slices.ContainsFunc(b.State.Undos, func(u contract.UndoState) bool { return u.ID == undo && u.State == "undoing" }), "%+v", b.State.Undos)
		}, 30*time.Second, 20*time.Millisecond)
	}
	waits()

	lost := false
	losing := dial(t, testenv.Control(t), grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, o ...grpc.CallOption) error {
		err := invoke(ctx, method, req, reply, cc, o...)
		if lost || err != nil || path.Base(method) != "UpdateWorkflowExecution" {
			return err
		}
		lost = true
		require.Error(t, e.GetWorkflow(ctx, ids.ServerWorkflow(in.ServerID), "").Get(ctx, nil), "the build failed")
		e.delete(in.ServerID)
		waits()
		return status.Error(codes.Unavailable, "the answer got lost")
	}))
	require.NoError(t, engine.NewClient(losing, e.queue).Act(t.Context(), in.ServerID, contract.OperatorAct{
		Act: contract.ActSkip, Undo: undo, Reason: "counted by hand", RequestID: "req-3", UserID: "op",
	}))
	require.True(t, lost)
	require.Len(t, w.acts, 1)
	waits()
	back.Store(true)
	require.NoError(t, engine.NewClient(e.Client, e.queue).Act(t.Context(), in.ServerID, contract.OperatorAct{
		Act: contract.ActRetry, RequestID: "req-4", UserID: "op",
	}))
	e.ended(in.ServerID)
	require.Equal(t, "DELETED", w.server)
}
