package stack

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	namespacepb "go.temporal.io/api/namespace/v1"
	"go.temporal.io/api/operatorservice/v1"
	querypb "go.temporal.io/api/query/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/slipway-cloud/slipway/internal/dev/testenv/testca"
)

// lines is a log that several write to.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// guardedTemporal is a server that asks for certificates, until the test ends.
func guardedTemporal(t *testing.T, ca *testca.CA, more ...string) (frontend, ui string, log *lines) {
	t.Helper()
	binary := temporalBinary(t)
	pg := startPostgres(t, t.TempDir())
	frontendCert, frontendKey, _ := ca.Issue("control", "temporal", "127.0.0.1")
	uiCert, uiKey, _ := ca.Issue("operator", "web-ui")
	log = &lines{}
	command := exec.Command(binary, append([]string{
		"--postgres-host", pg.SocketDir, "--postgres-port", strconv.Itoa(pg.Port()), "--postgres-user", pg.User(),
		"--frontend", "127.0.0.1:0", "--frontend-cert", frontendCert, "--frontend-key", frontendKey, "--frontend-client-ca", ca.File("ca.pem"),
		"--task-token-keys", ca.File("task-tokens"), "--ui", "127.0.0.1:0", "--ui-client-cert", uiCert, "--ui-client-key", uiKey,
		"--log-level", "warn",
	}, more...)...)
	command.Stderr = log
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := command.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := command.Wait(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(log)
		}
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("the server did not get ready: %v", err)
	}
	var ready struct{ Frontend, UI string }
	if err := json.Unmarshal(line, &ready); err != nil {
		t.Fatal(err)
	}
	return ready.Frontend, ready.UI, log
}

func TestAFrontendThatAsksForCertificatesGivesEachRoleItsOwn(t *testing.T) {
	ca := testca.New(t)
	frontend, ui, log := guardedTemporal(t, ca)
	const namespace = "slipway"
	var workerLog lines
	dialSDK := func(role, name string) client.Client {
		t.Helper()
		c, err := client.Dial(client.Options{
			HostPort: frontend, Namespace: namespace, ConnectionOptions: client.ConnectionOptions{TLS: ca.Client(ca.Holder(role, name))},
			Logger:                  sdklog.NewStructuredLogger(slog.New(slog.NewTextHandler(&workerLog, &slog.HandlerOptions{Level: slog.LevelWarn}))),
			WorkerHeartbeatInterval: time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	control, hv1 := dialSDK("control", "api-1"), dialSDK("host", "hv1")

	// A build as workers do it: a workflow of the control plane, and a step on the host that heartbeats.
	w := worker.New(control, "control", worker.Options{})
	w.RegisterWorkflowWithOptions(func(ctx workflow.Context, queue string) (string, error) {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{TaskQueue: queue, StartToCloseTimeout: time.Minute, HeartbeatTimeout: 10 * time.Second})
		var got string
		err := workflow.ExecuteActivity(ctx, "step").Get(ctx, &got)
		return got, err
	}, workflow.RegisterOptions{Name: "build"})
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	h := worker.New(hv1, "host:hv1", worker.Options{DisableWorkflowWorker: true})
	h.RegisterActivityWithOptions(func(ctx context.Context) (string, error) {
		activity.RecordHeartbeat(ctx, "half")
		return "done", hv1.RecordActivityHeartbeat(ctx, activity.GetInfo(ctx).TaskToken)
	}, activity.RegisterOptions{Name: "step"})
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	run, err := control.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "server/1", TaskQueue: "control"}, "build", "host:hv1")
	if err != nil {
		t.Fatal(err)
	}
	var got string
	if err := run.Get(t.Context(), &got); err != nil || got != "done" {
		t.Fatalf("the build gave %q, %v", got, err)
	}
	// The workers' own heartbeats have come, of the host's too.
	patience, again, beating := time.After(20*time.Second), time.NewTicker(100*time.Millisecond), map[string]bool{}
	defer again.Stop()
	for !beating["control"] || !beating["host:hv1"] {
		select {
		case <-again.C:
		case <-patience:
			t.Fatalf("the server has heard of the workers of %v alone", beating)
		}
		listed, err := control.WorkflowService().ListWorkers(t.Context(), &workflowservice.ListWorkersRequest{Namespace: namespace})
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range listed.GetWorkersInfo() { //nolint:staticcheck // the server of this version has no other
			beating[w.GetWorkerHeartbeat().GetTaskQueue()] = true
		}
	}
	h.Stop()
	// A worker adds the search attributes that an engine of somebody else's lacks.
	if _, err := control.OperatorService().AddSearchAttributes(t.Context(), &operatorservice.AddSearchAttributesRequest{
		Namespace: namespace, SearchAttributes: map[string]enumspb.IndexedValueType{"SlipwayNew": enumspb.INDEXED_VALUE_TYPE_KEYWORD},
	}); err != nil {
		t.Error(err)
	}
	if said := workerLog.String(); said != "" {
		t.Errorf("the workers complain:\n%s", said)
	}
	if said := log.String(); strings.Contains(said, "may not call") {
		t.Errorf("a worker was refused:\n%s", said)
	}

	// A step for hv1 and one for hv2, which nobody has polled yet.
	for _, name := range []string{"hv1", "hv2"} {
		if _, err := control.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "server/" + name, TaskQueue: "control"}, "build", "host:"+name); err != nil {
			t.Fatal(err)
		}
	}
	conns := map[string]workflowservice.WorkflowServiceClient{}
	connect := func(name string, c credentials.TransportCredentials) {
		conn, err := grpc.NewClient(frontend, grpc.WithTransportCredentials(c))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conns[name] = workflowservice.NewWorkflowServiceClient(conn)
	}
	for name, role := range map[string]string{"control": "control", "hv1": "host", "hv2": "host", "hv3": "host", "operator": "operator", "chassis": "ovn-chassis"} {
		connect(name, credentials.NewTLS(ca.Client(ca.Holder(role, name))))
	}
	connect("norole", credentials.NewTLS(ca.Client(ca.Odd("", "norole", func(*x509.Certificate) {}))))
	connect("expired", credentials.NewTLS(ca.Client(ca.Odd("control", "expired", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }))))
	connect("nobody", credentials.NewTLS(ca.Client()))
	connect("plain", insecure.NewCredentials())
	other := testca.New(t)
	stranger := ca.Client(other.Holder("control", "stranger"))
	connect("stranger", credentials.NewTLS(stranger))

	poll := func(who, queue string) (*workflowservice.PollActivityTaskQueueResponse, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		return conns[who].PollActivityTaskQueue(ctx, &workflowservice.PollActivityTaskQueueRequest{
			Namespace: namespace, TaskQueue: &taskqueuepb.TaskQueue{Name: queue, Kind: enumspb.TASK_QUEUE_KIND_NORMAL}, Identity: who,
		})
	}
	token := map[string][]byte{}
	for _, name := range []string{"hv1", "hv2"} {
		task, err := poll(name, "host:"+name)
		if err != nil || len(task.GetTaskToken()) == 0 {
			t.Fatalf("%s polls its own queue: %v, %v", name, task, err)
		}
		token[name] = task.TaskToken
	}
	altered := bytes.Clone(token["hv1"])
	altered[3] ^= 1
	bare := token["hv1"][:len(token["hv1"])-38]

	q := func(name string) *taskqueuepb.TaskQueue { return &taskqueuepb.TaskQueue{Name: name} }
	execution := &commonpb.WorkflowExecution{WorkflowId: "server/1"}
	start := func(ctx context.Context, c workflowservice.WorkflowServiceClient) error {
		_, err := c.StartWorkflowExecution(ctx, &workflowservice.StartWorkflowExecutionRequest{
			Namespace: namespace, WorkflowId: "x", RequestId: "x", WorkflowType: &commonpb.WorkflowType{Name: "none"}, TaskQueue: q("nobody-polls"),
			WorkflowRunTimeout: durationpb.New(time.Minute),
		})
		return err
	}
	signal := func(ctx context.Context, c workflowservice.WorkflowServiceClient) error {
		_, err := c.SignalWorkflowExecution(ctx, &workflowservice.SignalWorkflowExecutionRequest{
			Namespace: namespace, WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: "x"}, SignalName: "go"})
		return err
	}
	terminate := func(ctx context.Context, c workflowservice.WorkflowServiceClient) error {
		_, err := c.TerminateWorkflowExecution(ctx, &workflowservice.TerminateWorkflowExecutionRequest{Namespace: namespace, WorkflowExecution: execution})
		return err
	}
	query := func(ctx context.Context, c workflowservice.WorkflowServiceClient) error {
		_, err := c.QueryWorkflow(ctx, &workflowservice.QueryWorkflowRequest{
			Namespace: namespace, Execution: execution, Query: &querypb.WorkflowQuery{QueryType: "__stack_trace"}})
		return err
	}
	list := func(ctx context.Context, c workflowservice.WorkflowServiceClient) error {
		_, err := c.ListWorkflowExecutions(ctx, &workflowservice.ListWorkflowExecutionsRequest{Namespace: namespace})
		return err
	}
	listSystem := func(ctx context.Context, c workflowservice.WorkflowServiceClient) error {
		_, err := c.ListWorkflowExecutions(ctx, &workflowservice.ListWorkflowExecutionsRequest{Namespace: "temporal-system"})
		return err
	}
	history := func(ctx context.Context, c workflowservice.WorkflowServiceClient) error {
		_, err := c.GetWorkflowExecutionHistory(ctx, &workflowservice.GetWorkflowExecutionHistoryRequest{Namespace: namespace, Execution: execution})
		return err
	}
	describe := func(ctx context.Context, c workflowservice.WorkflowServiceClient) error {
		_, err := c.DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: namespace})
		return err
	}
	mark := func(ctx context.Context, c workflowservice.WorkflowServiceClient) error {
		_, err := c.UpdateNamespace(ctx, &workflowservice.UpdateNamespaceRequest{
			Namespace: namespace, UpdateInfo: &namespacepb.UpdateNamespaceInfo{Data: map[string]string{"a": "b"}}})
		return err
	}
	retention := func(ctx context.Context, c workflowservice.WorkflowServiceClient) error {
		_, err := c.UpdateNamespace(ctx, &workflowservice.UpdateNamespaceRequest{
			Namespace: namespace, Config: &namespacepb.NamespaceConfig{WorkflowExecutionRetentionTtl: durationpb.New(24 * time.Hour)}})
		return err
	}
	aliases := func(ctx context.Context, c workflowservice.WorkflowServiceClient) error {
		_, err := c.UpdateNamespace(ctx, &workflowservice.UpdateNamespaceRequest{
			Namespace: namespace, Config: &namespacepb.NamespaceConfig{
				WorkflowExecutionRetentionTtl: durationpb.New(24 * time.Hour), CustomSearchAttributeAliases: map[string]string{"Keyword01": "x"},
			}})
		return err
	}
	pollWorkflow := func(ctx context.Context, c workflowservice.WorkflowServiceClient) error {
		_, err := c.PollWorkflowTaskQueue(ctx, &workflowservice.PollWorkflowTaskQueueRequest{Namespace: namespace, TaskQueue: q("host:hv1")})
		return err
	}
	pollOf := func(queue string) func(context.Context, workflowservice.WorkflowServiceClient) error {
		return func(ctx context.Context, c workflowservice.WorkflowServiceClient) error {
			_, err := c.PollActivityTaskQueue(ctx, &workflowservice.PollActivityTaskQueueRequest{Namespace: namespace, TaskQueue: q(queue)})
			return err
		}
	}
	beat := func(token []byte) func(context.Context, workflowservice.WorkflowServiceClient) error {
		return func(ctx context.Context, c workflowservice.WorkflowServiceClient) error {
			_, err := c.RecordActivityTaskHeartbeat(ctx, &workflowservice.RecordActivityTaskHeartbeatRequest{Namespace: namespace, TaskToken: token})
			return err
		}
	}
	answer := func(token []byte) func(context.Context, workflowservice.WorkflowServiceClient) error {
		return func(ctx context.Context, c workflowservice.WorkflowServiceClient) error {
			_, err := c.RespondActivityTaskCompleted(ctx, &workflowservice.RespondActivityTaskCompletedRequest{Namespace: namespace, TaskToken: token})
			return err
		}
	}
	byID := func(ctx context.Context, c workflowservice.WorkflowServiceClient) error {
		_, err := c.RespondActivityTaskCompletedById(ctx, &workflowservice.RespondActivityTaskCompletedByIdRequest{Namespace: namespace, WorkflowId: "server/hv2", ActivityId: "5"})
		return err
	}
	beatByID := func(ctx context.Context, c workflowservice.WorkflowServiceClient) error {
		_, err := c.RecordActivityTaskHeartbeatById(ctx, &workflowservice.RecordActivityTaskHeartbeatByIdRequest{Namespace: namespace, WorkflowId: "server/hv2", ActivityId: "5"})
		return err
	}
	const refused, allowed, unreachable = codes.PermissionDenied, codes.OK, codes.Unavailable
	for _, a := range []struct {
		who, what string
		do        func(context.Context, workflowservice.WorkflowServiceClient) error
		want      codes.Code
	}{
		{"control", "start", start, allowed},
		{"control", "signal", signal, allowed},
		{"control", "terminate", terminate, refused},
		{"control", "query", query, allowed},
		{"control", "list", list, allowed},
		{"control", "list of another namespace", listSystem, refused},
		{"control", "history", history, allowed},
		{"control", "mark of the namespace", mark, allowed},
		{"control", "retention of the namespace", retention, allowed},
		{"control", "more of the namespace", aliases, refused},
		{"hv1", "retention of the namespace", retention, refused},
		{"control", "poll of a host's queue", pollOf("host:hv1"), refused},
		{"control", "poll of a partition of a host's queue", pollOf("/_sys/host:hv1/1"), refused},
		{"hv1", "start", start, refused},
		{"hv1", "signal", signal, refused},
		{"hv1", "terminate", terminate, refused},
		{"hv1", "query", query, refused},
		{"hv1", "list", list, refused},
		{"hv1", "history", history, refused},
		{"hv1", "namespace's description", describe, allowed},
		{"hv1", "mark of the namespace", mark, refused},
		{"hv1", "poll of another's queue", pollOf("host:hv2"), refused},
		{"hv1", "poll of a partition of its own", pollOf("/_sys/host:hv1/1"), refused},
		{"hv1", "poll of control", pollOf("control"), refused},
		{"hv1", "poll of workflows", pollWorkflow, refused},
		{"hv1", "heartbeat of another's task", beat(token["hv2"]), refused},
		{"hv1", "answer of another's task", answer(token["hv2"]), refused},
		{"hv1", "answer with an altered token", answer(altered), refused},
		{"hv1", "answer with the server's own token", answer(bare), refused},
		{"hv1", "answer by id", byID, refused},
		{"hv1", "heartbeat by id", beatByID, refused},
		{"hv1", "heartbeat of its task", beat(token["hv1"]), allowed},
		{"hv1", "answer of its task", answer(token["hv1"]), allowed},
		{"hv1", "the same answer again", answer(token["hv1"]), codes.NotFound},
		{"hv2", "another's answer again", answer(token["hv1"]), refused},
		{"operator", "list", list, allowed},
		{"operator", "query", query, allowed},
		{"operator", "history", history, allowed},
		{"operator", "start", start, refused},
		{"operator", "signal", signal, refused},
		{"operator", "terminate", terminate, refused},
		{"operator", "poll of a host's queue", pollOf("host:hv1"), refused},
		{"operator", "answer of a host's task", answer(token["hv2"]), refused},
		{"operator", "mark of the namespace", mark, refused},
		{"chassis", "namespace's description", describe, allowed},
		{"chassis", "list", list, refused},
		{"norole", "namespace's description", describe, refused},
		{"expired", "list", list, unreachable},
		{"nobody", "list", list, unreachable},
		{"stranger", "list", list, unreachable},
		{"plain", "list", list, unreachable},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		before := len(log.String())
		err := a.do(ctx, conns[a.who])
		cancel()
		if got := status.Code(err); got != a.want {
			t.Errorf("%s: %s: %v; want %s", a.who, a.what, err, a.want)
		}
		in := func(words ...string) bool { // the log comes through a pipe
			for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
				said, found := log.String()[before:], true
				for _, word := range words {
					found = found && strings.Contains(said, word)
				}
				if found || time.Now().After(deadline) {
					return found
				}
			}
		}
		switch a.want {
		case refused:
			if !in(`\"`+a.who+`\" (role`, "may not call") {
				t.Errorf("%s: %s: not in the log", a.who, a.what)
			}
			if !strings.Contains(status.Convert(err).Message(), "may not call") {
				t.Errorf("%s: %s: it is not told why: %v", a.who, a.what, err)
			}
		case unreachable:
			if !in("A connection was refused") {
				t.Errorf("%s: %s: not in the log", a.who, a.what)
			}
		}
	}

	// A revoked certificate ends while its connection is open.
	if err := describe(t.Context(), conns["hv3"]); err != nil {
		t.Error(err)
	}
	if _, err := ca.Revoke(t.Context(), "host", "hv3", ""); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); status.Code(describe(t.Context(), conns["hv3"])) != refused; {
		if time.Now().After(deadline) {
			t.Fatal("a revoked certificate is honoured")
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err := describe(t.Context(), conns["hv2"]); err != nil {
		t.Errorf("one that is not revoked: %v", err)
	}

	// The Web UI looks with a certificate of its own.
	response, err := http.Get(fmt.Sprintf("http://%s/api/v1/namespaces/%s/workflows", ui, namespace))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var listed struct{ Executions []any }
	if err := json.NewDecoder(response.Body).Decode(&listed); err != nil || response.StatusCode != http.StatusOK || len(listed.Executions) == 0 {
		t.Errorf("the Web UI lists %v: %s, %v", listed, response.Status, err)
	}
	w.Stop()
}

func TestCertificatesAreRenewedWithoutARestartAndServicesAskOneAnother(t *testing.T) {
	ca := testca.New(t)
	inner := testca.New(t) // of the services alone
	internode, internodeKey, _ := inner.Issue("control", "internode")
	service, err := tls.LoadX509KeyPair(internode, internodeKey)
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	internal := free.Addr().String()
	free.Close()
	_, port, _ := net.SplitHostPort(internal)
	frontend, _, _ := guardedTemporal(t, ca, "--internode-cert", internode, "--internode-key", internodeKey,
		"--internode-ca", inner.File("ca.pem"), "--internal-frontend-port", port)
	config := ca.Client(ca.Holder("control", "api-1"))

	// The frontend that asks nobody who they are asks for a certificate of the services' own CA then.
	asks := func(c *tls.Config) codes.Code {
		c.ServerName = "internode"
		conn, err := grpc.NewClient(internal, grpc.WithTransportCredentials(credentials.NewTLS(c)))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err = workflowservice.NewWorkflowServiceClient(conn).GetSystemInfo(ctx, &workflowservice.GetSystemInfoRequest{})
		return status.Code(err)
	}
	stranger := inner.Client()
	stranger.Certificates = config.Certificates
	for who, c := range map[string]struct {
		config *tls.Config
		want   codes.Code
	}{
		"a service":         {inner.Client(service), codes.OK},
		"nobody":            {inner.Client(), codes.Unavailable},
		"a control plane's": {stranger, codes.Unavailable},
	} {
		if got := asks(c.config); got != c.want {
			t.Errorf("%s gets %s from the internal frontend, want %s", who, got, c.want)
		}
	}
	c, err := client.Dial(client.Options{
		HostPort: frontend, Namespace: "slipway", ConnectionOptions: client.ConnectionOptions{TLS: config},
		Logger: sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "server/1", TaskQueue: "control"}, "build"); err != nil {
		t.Fatal(err)
	}
	_, _, renewed := ca.Issue("control", "temporal", "127.0.0.1") // over the files of the frontend
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		conn, err := tls.Dial("tcp", frontend, config)
		if err != nil {
			t.Fatal(err)
		}
		shown := conn.ConnectionState().PeerCertificates[0].SerialNumber.Text(16)
		conn.Close()
		if shown == renewed {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the frontend shows %s, want %s", shown, renewed)
		}
	}
}
