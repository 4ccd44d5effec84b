package authz

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	commandpb "go.temporal.io/api/command/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	schedulepb "go.temporal.io/api/schedule/v1"
	"go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	tokenspb "go.temporal.io/server/api/token/v1"
	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/log/tag"
	"go.temporal.io/server/common/metrics"
	"go.temporal.io/server/common/namespace"
	"go.temporal.io/server/common/rpc/interceptor"
	"go.temporal.io/server/common/tasktoken"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

func TestEveryMethodOfTheServerIsDecidedOnOnce(t *testing.T) {
	offered := map[string]bool{"/grpc.health.v1.Health/Check": true}
	for _, d := range []grpc.ServiceDesc{workflowservice.WorkflowService_ServiceDesc, operatorservice.OperatorService_ServiceDesc} {
		for _, m := range d.Methods {
			offered["/"+d.ServiceName+"/"+m.MethodName] = true
		}
		if len(d.Streams) > 0 {
			t.Errorf("%s has streams, which pass no authorizer: %v", d.ServiceName, d.Streams)
		}
	}
	decided := map[string]bool{}
	for _, r := range rules {
		if decided[r.method] {
			t.Errorf("%s has two lines", r.method)
		}
		if !offered[r.method] {
			t.Errorf("the server has no %s", r.method)
		}
		decided[r.method] = true
		for name, cell := range map[string]condition{"control": r.control, "host": r.host, "operator": r.operator, "OVN": r.ovns} {
			if cell == nil {
				t.Errorf("%s: nothing about %s", r.method, name)
			}
		}
	}
	for method := range offered {
		if !decided[method] {
			t.Errorf("%s: nobody has decided who may call it: give it a line in rules.go", method)
		}
	}
}

func TestOperatorsAndNetworksHaveNoMethodThatWrites(t *testing.T) {
	writes := []string{
		"Start", "Execute", "Signal", "Update", "Create", "Patch", "Delete", "Terminate", "Cancel", "Reset", "Respond", "Record", "Pause",
		"Unpause", "Set", "Register", "Deprecate", "Add", "Remove", "Stop", "Trigger", "Shutdown", "Request", "PollActivityTask",
		"PollWorkflowTask", "PollNexus", "Fetch",
	}
	for _, r := range rules {
		name := r.method[strings.LastIndex(r.method, "/")+1:]
		for _, prefix := range writes {
			if !strings.HasPrefix(name, prefix) {
				continue
			}
			for _, role := range []string{Operator, OVNCentral, OVNChassis, "", "somebody"} {
				if r.of(role)(testPolicy(t, nil), Caller{Role: role, Name: "x"}, "slipway", nil) == "" {
					t.Errorf("%s may call %s", role, r.method)
				}
			}
		}
	}
}

func testPolicy(t *testing.T, r *Revocations) *Policy {
	t.Helper()
	p, err := New([]string{"slipway"}, Keys{bytes.Repeat([]byte{1}, keyBytes)}, r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestATokenServesOnlyTheHostThatItWasBoundTo(t *testing.T) {
	key, older := bytes.Repeat([]byte{1}, keyBytes), bytes.Repeat([]byte{2}, keyBytes)
	token, err := tasktoken.NewSerializer().Serialize(&tokenspb.Task{NamespaceId: "n", WorkflowId: "server/1", ScheduledEventId: 5})
	if err != nil {
		t.Fatal(err)
	}
	bound := Keys{older}.bind(token, Host, "hv1")
	if back, ok := (Keys{key, older}).unbind(bound, Host, "hv1"); !ok || !bytes.Equal(back, token) {
		t.Error("a rotated key binds no more")
	}
	// The server reads the token on its way, before it is unbound.
	if read, err := tasktoken.NewSerializer().Deserialize(bound); err != nil || read.GetWorkflowId() != "server/1" || read.GetNamespaceId() != "n" {
		t.Errorf("the server reads %v, %v", read, err)
	}
	for what, try := range map[string]struct {
		keys       Keys
		token      []byte
		role, name string
	}{
		"another name":         {Keys{older}, bound, Host, "hv2"},
		"another role":         {Keys{older}, bound, Control, "hv1"},
		"a shifted name":       {Keys{older}, bound, Host + "h", "v1"},
		"another key":          {Keys{key}, bound, Host, "hv1"},
		"the bare token":       {Keys{older}, token, Host, "hv1"},
		"nothing":              {Keys{older}, nil, Host, "hv1"},
		"the binding alone":    {Keys{older}, bound[len(token):], Host, "hv1"},
		"a byte at its end":    {Keys{older}, append(bytes.Clone(bound), 0), Host, "hv1"},
		"a field in its midst": {Keys{older}, append(append(bytes.Clone(token), 0x28, 6), bound[len(token):]...), Host, "hv1"},
	} {
		if _, ok := try.keys.unbind(try.token, try.role, try.name); ok {
			t.Errorf("%s is accepted", what)
		}
	}
	for i := range bound {
		altered := bytes.Clone(bound)
		altered[i] ^= 1
		if _, ok := (Keys{older}).unbind(altered, Host, "hv1"); ok {
			t.Errorf("a token that differs in byte %d is accepted", i)
		}
	}
}

func TestKeysAreMadeOnceAndKeptFromOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	var all [8]Keys
	var made sync.WaitGroup
	for i := range all {
		made.Go(func() {
			keys, err := LoadKeys(path)
			if err != nil {
				t.Error(err)
			}
			all[i] = keys
		})
	}
	made.Wait()
	for _, keys := range all {
		if len(keys) != 1 || !bytes.Equal(keys[0], all[0][0]) {
			t.Fatalf("frontends that start together have different keys: %x", all)
		}
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKeys(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("keys that others can read: %v", err)
	}
	for _, text := range []string{"", "abc\n", strings.Repeat("0", 62) + "\n"} {
		if err := errJoin(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKeys(path); err == nil {
			t.Errorf("%q are keys", text)
		}
	}
}

func errJoin(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestACommandReachesNoOtherNamespace(t *testing.T) {
	p := testPolicy(t, nil)
	claims := &authorization.Claims{Extensions: Caller{Role: Control, Name: "api-1"}}
	for _, method := range []string{"StartWorkflowExecution", "SignalWorkflowExecution", "RequestCancelWorkflowExecution"} {
		result, err := p.Authorize(t.Context(), claims, &authorization.CallTarget{
			APIName: workflows + method, Namespace: "other", Request: &workflowservice.RespondWorkflowTaskCompletedRequest{Commands: []*commandpb.Command{{}}},
		})
		if err == nil || result.Decision != authorization.DecisionDeny {
			t.Errorf("%s: %v, %v", method, result, err)
		}
	}
	for name, want := range map[string]bool{"": true, "slipway": true, "other": false} {
		_, err := p.Authorize(t.Context(), claims, &authorization.CallTarget{
			APIName: workflows + "ExecuteMultiOperation", Namespace: "slipway",
			Request: &workflowservice.ExecuteMultiOperationRequest{Namespace: "slipway", Operations: []*workflowservice.ExecuteMultiOperationRequest_Operation{
				{Operation: &workflowservice.ExecuteMultiOperationRequest_Operation_StartWorkflow{StartWorkflow: &workflowservice.StartWorkflowExecutionRequest{Namespace: name}}},
			}},
		})
		if got := err == nil; got != want {
			t.Errorf("a start in %q within a request for slipway: %v", name, err)
		}
	}
}

func TestOnlyTheInternalFrontendNeedsNoCertificate(t *testing.T) {
	p := testPolicy(t, nil)
	target := &authorization.CallTarget{APIName: workflows + "StartWorkflowExecution", Namespace: "slipway"}
	fromToken, err := p.GetClaims(&authorization.AuthInfo{AuthToken: "Bearer x"})
	if err != nil {
		t.Fatal(err)
	}
	for what, claims := range map[string]*authorization.Claims{"nobody": nil, "a token": fromToken, "empty claims": {}} {
		if _, err := p.Authorize(t.Context(), claims, target); err == nil {
			t.Errorf("%s may", what)
		}
	}
	internal, err := authorization.NewNoopClaimMapper().GetClaims(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Authorize(t.Context(), internal, target); err != nil {
		t.Error(err)
	}
}

// ca issues certificates as the conventions have them.
type ca struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	last int64
}

func newCA(t *testing.T) *ca {
	t.Helper()
	c := &ca{t: t, dir: t.TempDir(), key: newKey(t), last: 1}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, c.key.Public(), c.key)
	if err != nil {
		t.Fatal(err)
	}
	if c.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	c.put("ca.pem", "CERTIFICATE", der)
	return c
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (c *ca) put(name, kind string, der []byte) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

func (c *ca) issue(name string, until time.Time, roles ...string) tls.Certificate {
	c.t.Helper()
	c.last++
	key := newKey(c.t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(c.last), Subject: pkix.Name{OrganizationalUnit: roles, CommonName: name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, c.cert, key.Public(), c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		c.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (c *ca) revoke(revoked ...*x509.Certificate) {
	c.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(int64(len(revoked))), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for _, r := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: r.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, c.cert, c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	c.put(CRLFile, "X509 CRL", der)
}

func TestARevocationListIsTakenUpAndABadOneIsNot(t *testing.T) {
	authority, other := newCA(t), newCA(t)
	ended := authority.issue("hv1", time.Now().Add(time.Hour), Host).Leaf
	good := authority.issue("hv2", time.Now().Add(time.Hour), Host).Leaf
	list := filepath.Join(authority.dir, CRLFile)
	if _, err := OpenRevocations(filepath.Join(authority.dir, "ca.pem"), list, log.NewNoopLogger()); err == nil {
		t.Error("a list that is named and missing is no error")
	}
	r, err := OpenRevocations(filepath.Join(authority.dir, "ca.pem"), "", log.NewNoopLogger())
	if err != nil {
		t.Fatal(err)
	}
	check := func(c *x509.Certificate) error {
		r.looked = time.Time{}
		return r.Check([]*x509.Certificate{c, authority.cert})
	}
	if err := check(ended); err != nil {
		t.Error(err)
	}
	authority.revoke(ended)
	if err := check(ended); err == nil {
		t.Error("a revoked certificate is honoured")
	}
	if err := check(good); err != nil {
		t.Error(err)
	}
	gone := list + ".away"
	if err := os.Rename(list, gone); err != nil {
		t.Fatal(err)
	}
	if err := check(ended); err == nil {
		t.Error("a certificate is honoured again because the list is gone")
	}
	if err := os.Rename(gone, list); err != nil {
		t.Fatal(err)
	}
	other.revoke(good)
	text, err := os.ReadFile(filepath.Join(other.dir, CRLFile))
	if err != nil {
		t.Fatal(err)
	}
	older, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	authority.revoke(ended, good)
	if check(good) == nil {
		t.Error("a revoked certificate is honoured")
	}
	if err := os.WriteFile(list, older, 0o600); err != nil {
		t.Fatal(err)
	}
	if check(good) == nil {
		t.Error("a certificate is honoured again because an older list was put back")
	}
	good = authority.issue("hv3", time.Now().Add(time.Hour), Host).Leaf
	for _, bad := range [][]byte{text, []byte("rubbish")} {
		if err := os.WriteFile(list, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if check(ended) == nil || check(good) != nil {
			t.Errorf("a list that is not the CA's has replaced the last one: %.30q", bad)
		}
	}
}

// engine stands for the server behind the interceptors: it hands out tasks and takes the tokens that it knows.
type engine struct {
	workflowservice.UnimplementedWorkflowServiceServer
	token   []byte
	waiting func() // what happens while a poll waits
}

func (e *engine) PollActivityTaskQueue(context.Context, *workflowservice.PollActivityTaskQueueRequest) (*workflowservice.PollActivityTaskQueueResponse, error) {
	if e.waiting != nil {
		e.waiting()
	}
	return &workflowservice.PollActivityTaskQueueResponse{TaskToken: bytes.Clone(e.token)}, nil
}

func (e *engine) RespondActivityTaskCompleted(_ context.Context, r *workflowservice.RespondActivityTaskCompletedRequest) (*workflowservice.RespondActivityTaskCompletedResponse, error) {
	if !bytes.Equal(r.GetTaskToken(), e.token) {
		return nil, status.Error(codes.InvalidArgument, "not the server's token")
	}
	return &workflowservice.RespondActivityTaskCompletedResponse{}, nil
}

func (e *engine) DescribeNamespace(context.Context, *workflowservice.DescribeNamespaceRequest) (*workflowservice.DescribeNamespaceResponse, error) {
	return &workflowservice.DescribeNamespaceResponse{}, nil
}

// heard is a log whose errors can be read.
type heard struct {
	log.Logger
	mu    sync.Mutex
	lines []string
}

func (h *heard) Error(_ string, tags ...tag.Tag) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, one := range tags {
		if text, ok := one.Value().(string); ok {
			h.lines = append(h.lines, text)
		}
		if err, ok := one.Value().(error); ok {
			h.lines = append(h.lines, err.Error())
		}
	}
}

func (h *heard) last() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.lines) == 0 {
		return ""
	}
	return h.lines[len(h.lines)-1]
}

func TestTheChainOfInterceptorsBindsATaskToWhoPolledIt(t *testing.T) {
	authority := newCA(t)
	revocations, err := OpenRevocations(filepath.Join(authority.dir, "ca.pem"), "", log.NewNoopLogger())
	if err != nil {
		t.Fatal(err)
	}
	p := testPolicy(t, revocations)
	said := &heard{Logger: log.NewNoopLogger()}
	yes := func() bool { return true }
	guard := authorization.NewInterceptor(p, p, metrics.NoopMetricsHandler, said, anyNamespace{}, nil, "", "", yes, yes)
	roots := x509.NewCertPool()
	roots.AddCert(authority.cert)
	server := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(&tls.Config{
			Certificates: []tls.Certificate{authority.issue("temporal", time.Now().Add(time.Hour), Control)},
			ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: roots, MinVersion: tls.VersionTLS13,
		})),
		grpc.ChainUnaryInterceptor(interceptor.ServiceErrorInterceptor, guard.Intercept, p.Intercept),
	)
	token, err := tasktoken.NewSerializer().Serialize(&tokenspb.Task{NamespaceId: "n", WorkflowId: "server/1"})
	if err != nil {
		t.Fatal(err)
	}
	behind := &engine{token: token}
	workflowservice.RegisterWorkflowServiceServer(server, behind)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	as := func(c tls.Certificate) workflowservice.WorkflowServiceClient {
		t.Helper()
		conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
			RootCAs: roots, Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS13,
		})))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return workflowservice.NewWorkflowServiceClient(conn)
	}
	later := time.Now().Add(time.Hour)
	cert := authority.issue("hv1", later, Host)
	hv1, hv2, control := as(cert), as(authority.issue("hv2", later, Host)), as(authority.issue("api-1", later, Control))
	poll := func(c workflowservice.WorkflowServiceClient, queue string, kind enumspb.TaskQueueKind) ([]byte, error) {
		task, err := c.PollActivityTaskQueue(t.Context(), &workflowservice.PollActivityTaskQueueRequest{
			Namespace: "slipway", TaskQueue: &taskqueue.TaskQueue{Name: queue, Kind: kind},
		})
		return task.GetTaskToken(), err
	}
	answer := func(c workflowservice.WorkflowServiceClient, token []byte) codes.Code {
		_, err := c.RespondActivityTaskCompleted(t.Context(), &workflowservice.RespondActivityTaskCompletedRequest{Namespace: "slipway", TaskToken: token})
		return status.Code(err)
	}
	bound, err := poll(hv1, "host:hv1", enumspb.TASK_QUEUE_KIND_NORMAL)
	if err != nil || bytes.Equal(bound, token) {
		t.Fatalf("a host polls its queue: %x, %v", bound, err)
	}
	if got, err := poll(control, "control", enumspb.TASK_QUEUE_KIND_NORMAL); err != nil || !bytes.Equal(got, token) {
		t.Errorf("the control plane polls its queue: %x, %v", got, err)
	}
	for what, got := range map[string][2]codes.Code{
		"its own":                   {answer(hv1, bound), codes.OK},
		"another's":                 {answer(hv2, bound), codes.PermissionDenied},
		"the server's":              {answer(hv1, token), codes.PermissionDenied},
		"the control plane answers": {answer(control, token), codes.OK},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %s, want %s", what, got[0], got[1])
		}
	}
	if _, err := poll(hv1, "host:hv1", enumspb.TASK_QUEUE_KIND_STICKY); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a sticky queue: %v", err)
	}
	if _, err := poll(hv1, "host:hv2", enumspb.TASK_QUEUE_KIND_NORMAL); status.Code(err) != codes.PermissionDenied ||
		!strings.Contains(status.Convert(err).Message(), `the queue "host:hv2" is not its own`) || !strings.Contains(said.last(), `"hv1" (role "host") at 127.0.0.1`) {
		t.Errorf("another's queue: %v; log: %s", err, said.last())
	}
	describe := func(c workflowservice.WorkflowServiceClient) error {
		_, err := c.DescribeNamespace(t.Context(), &workflowservice.DescribeNamespaceRequest{Namespace: "slipway"})
		return err
	}
	for what, c := range map[string]tls.Certificate{
		"no role": authority.issue("x", later), "two roles": authority.issue("x", later, Host, Control), "an unknown role": authority.issue("x", later, "root"),
		"no name": authority.issue("", later, Control),
	} {
		if err := describe(as(c)); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: %v", what, err)
		}
	}

	// Both end while their connections are open.
	brief := as(authority.issue("hv3", time.Now().Add(2*time.Second), Host))
	if err := errJoin(describe(brief), describe(hv1)); err != nil {
		t.Fatal(err)
	}
	behind.waiting = func() {
		authority.revoke(cert.Leaf)
		revocations.mu.Lock()
		defer revocations.mu.Unlock()
		revocations.looked = time.Time{}
	}
	if got, err := poll(hv1, "host:hv1", enumspb.TASK_QUEUE_KIND_NORMAL); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a certificate that was revoked while its poll waited: %x, %v", got, err)
	}
	for what, c := range map[string]workflowservice.WorkflowServiceClient{"has expired": brief, "is revoked": hv1} {
		for deadline := time.Now().Add(20 * time.Second); !strings.Contains(status.Convert(describe(c)).Message(), what); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("a certificate that %s is honoured", what)
			}
		}
	}
}

type anyNamespace struct{}

func (anyNamespace) Exists(namespace.Name) error { return nil }

func TestTheControlPlaneStartsAndEndsNothingByIt(t *testing.T) {
	p, control := testPolicy(t, nil), Caller{Role: Control, Name: "c1"}
	start := func(reuse enumspb.WorkflowIdReusePolicy, conflict enumspb.WorkflowIdConflictPolicy) *workflowservice.StartWorkflowExecutionRequest {
		return &workflowservice.StartWorkflowExecutionRequest{Namespace: "slipway", WorkflowIdReusePolicy: reuse, WorkflowIdConflictPolicy: conflict}
	}
	bundled := func(start *workflowservice.StartWorkflowExecutionRequest) *workflowservice.ExecuteMultiOperationRequest {
		return &workflowservice.ExecuteMultiOperationRequest{Namespace: "slipway", Operations: []*workflowservice.ExecuteMultiOperationRequest_Operation{
			{Operation: &workflowservice.ExecuteMultiOperationRequest_Operation_StartWorkflow{StartWorkflow: start}},
		}}
	}
	scheduled := func(overlap enumspb.ScheduleOverlapPolicy) *schedulepb.Schedule {
		return &schedulepb.Schedule{Policies: &schedulepb.SchedulePolicies{OverlapPolicy: overlap}}
	}
	plain := start(enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE, enumspb.WORKFLOW_ID_CONFLICT_POLICY_FAIL)
	ends := start(enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE, enumspb.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING)
	for _, c := range []struct {
		what    string
		rule    condition
		request any
		refused bool
	}{
		{"a start", starts, plain, false},
		{"a start that replaces", starts, ends, true},
		{"a start that replaces, as older clients ask", starts, start(enumspb.WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING, 0), true}, //nolint:staticcheck // they do
		{"no start", starts, &workflowservice.ListWorkflowExecutionsRequest{}, true},
		{"a bundle", multiple, bundled(plain), false},
		{"a bundle that replaces", multiple, bundled(ends), true},
		{"no bundle", multiple, plain, true},
		{"a schedule", schedules, &workflowservice.CreateScheduleRequest{Schedule: scheduled(enumspb.SCHEDULE_OVERLAP_POLICY_SKIP)}, false},
		{"a schedule that cancels", schedules, &workflowservice.CreateScheduleRequest{Schedule: scheduled(enumspb.SCHEDULE_OVERLAP_POLICY_CANCEL_OTHER)}, true},
		{"one that comes to terminate", schedules, &workflowservice.UpdateScheduleRequest{Schedule: scheduled(enumspb.SCHEDULE_OVERLAP_POLICY_TERMINATE_OTHER)}, true},
		{"a trigger", schedules, &workflowservice.PatchScheduleRequest{Patch: &schedulepb.SchedulePatch{TriggerImmediately: &schedulepb.TriggerImmediatelyRequest{}}}, false},
		{"a trigger that terminates", schedules, &workflowservice.PatchScheduleRequest{Patch: &schedulepb.SchedulePatch{
			TriggerImmediately: &schedulepb.TriggerImmediatelyRequest{OverlapPolicy: enumspb.SCHEDULE_OVERLAP_POLICY_TERMINATE_OTHER}}}, true},
		{"a backfill that cancels", schedules, &workflowservice.PatchScheduleRequest{Patch: &schedulepb.SchedulePatch{
			BackfillRequest: []*schedulepb.BackfillRequest{{OverlapPolicy: enumspb.SCHEDULE_OVERLAP_POLICY_CANCEL_OTHER}}}}, true},
		{"no schedule", schedules, plain, true},
	} {
		if why := c.rule(p, control, "slipway", c.request); (why != "") != c.refused {
			t.Errorf("%s: %q; want it refused: %t", c.what, why, c.refused)
		}
	}
}
