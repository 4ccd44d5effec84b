package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	batchpb "go.temporal.io/api/batch/v1"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	namespacepb "go.temporal.io/api/namespace/v1"
	nexuspb "go.temporal.io/api/nexus/v1"
	"go.temporal.io/api/operatorservice/v1"
	querypb "go.temporal.io/api/query/v1"
	schedulepb "go.temporal.io/api/schedule/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	updatepb "go.temporal.io/api/update/v1"
	workerpb "go.temporal.io/api/worker/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/slipway-cloud/slipway/internal/dev/testenv/testca"
	"github.com/slipway-cloud/slipway/internal/pki"
)

// parties are all who try something.
type parties struct {
	control, ada, chassis  *somebody // certificates as they should be
	hv1, hv2, hv3, hv4     *somebody // hv4 is what somebody calls himself whose certificate will be revoked
	nobody, plain          *somebody // on the network, without a certificate
	stranger               *somebody // with one of another CA
	expired, early, noRole *somebody
	twoRoles, roleInSAN    *somebody
}

func (c *cluster) parties() *parties {
	other := testca.New(c.t)
	good := func(role, name string, m machine) *somebody {
		return c.somebody(role, name, m, c.ca.Client(c.ca.Holder(role, name)))
	}
	odd := func(role, name string, change func(*x509.Certificate)) *somebody {
		return c.somebody(role, name, c.street, c.ca.Client(c.ca.Odd(pki.Control, name, change)))
	}
	host := func(name string) *somebody {
		return c.somebody(pki.Host, name, c.hosts[name], c.ca.Client(c.certificate("host-"+name)))
	}
	return &parties{
		control: c.somebody(pki.Control, "cloud", c.control, c.ca.Client(c.certificate("control-cloud"))),
		ada:     good(pki.Operator, "ada", c.street), chassis: good(pki.OVNChassis, "chassis-1", c.street),
		hv1: host("hv1"), hv2: host("hv2"), hv3: host("hv3"), hv4: good(pki.Host, "hv4", c.street),
		nobody: c.somebody("", "nobody", c.street, c.ca.Client()), plain: c.somebody("", "nobody in clear", c.street, nil),
		stranger:  c.somebody("", "a stranger", c.street, c.ca.Client(other.Holder(pki.Control, "cloud", controlIP))),
		expired:   odd("", "expired", func(x *x509.Certificate) { x.NotAfter = time.Now().Add(-time.Minute) }),
		early:     odd("", "not yet", func(x *x509.Certificate) { x.NotBefore = time.Now().Add(30 * time.Minute) }),
		noRole:    odd("", "no role", func(x *x509.Certificate) { x.Subject = pkix.Name{CommonName: "no role"} }),
		twoRoles:  odd("", "two roles", func(x *x509.Certificate) { x.Subject.OrganizationalUnit = []string{pki.Host, pki.Control} }),
		roleInSAN: odd("", "role in a SAN", func(x *x509.Certificate) { x.Subject.OrganizationalUnit, x.DNSNames = nil, []string{pki.Control} }),
	}
}

// atTheFrontend is what is asked of Temporal.
func (c *cluster) atTheFrontend(p *parties, w *world, tasks map[string]*workflowservice.PollActivityTaskQueueResponse) []attempt {
	bad, victim := p.hv3, workflowOf(w.servers["hv1"])
	own, others := tasks["hv3"].GetTaskToken(), tasks["hv2"].GetTaskToken()
	altered := bytes.Clone(own)
	altered[3] ^= 1
	begin := &workflowservice.StartWorkflowExecutionRequest{
		Namespace: namespace, WorkflowId: "server/of-a-stranger", RequestId: "1", WorkflowType: &commonpb.WorkflowType{Name: "Boot"}, TaskQueue: queue("control"),
	}
	signal := &workflowservice.SignalWorkflowExecutionRequest{Namespace: namespace, WorkflowExecution: victim, SignalName: "delete"}
	update := &workflowservice.UpdateWorkflowExecutionRequest{
		Namespace: namespace, WorkflowExecution: victim, Request: &updatepb.Request{Meta: &updatepb.Meta{UpdateId: "1"}, Input: &updatepb.Input{Name: "skip"}},
	}
	query := &workflowservice.QueryWorkflowRequest{Namespace: namespace, Execution: victim, Query: &querypb.WorkflowQuery{QueryType: "progress"}}
	terminate := &workflowservice.TerminateWorkflowExecutionRequest{Namespace: namespace, WorkflowExecution: victim}
	list := &workflowservice.ListWorkflowExecutionsRequest{Namespace: namespace}
	history := &workflowservice.GetWorkflowExecutionHistoryRequest{Namespace: namespace, Execution: victim}
	pollWorkflows := &workflowservice.PollWorkflowTaskQueueRequest{Namespace: namespace, TaskQueue: queue("control")}
	complete := func(token []byte) proto.Message {
		return &workflowservice.RespondActivityTaskCompletedRequest{Namespace: namespace, TaskToken: token}
	}
	beat := func(token []byte) proto.Message {
		return &workflowservice.RecordActivityTaskHeartbeatRequest{Namespace: namespace, TaskToken: token}
	}
	sticky := &taskqueuepb.TaskQueue{Name: "host:hv3", Kind: enumspb.TASK_QUEUE_KIND_STICKY, NormalName: "control"}
	byID := tasks["hv2"].GetWorkflowExecution().GetWorkflowId()
	schedule := &schedulepb.Schedule{Action: &schedulepb.ScheduleAction{Action: &schedulepb.ScheduleAction_StartWorkflow{
		StartWorkflow: &workflowpb.NewWorkflowExecutionInfo{WorkflowId: "later", WorkflowType: begin.WorkflowType, TaskQueue: queue("control")},
	}}}

	return []attempt{
		// Who has no certificate, or none that counts, gets no answer at all.
		p.plain.connects("speaks in clear"),
		p.nobody.connects("shows no certificate"),
		p.stranger.connects("shows one of another CA"),
		p.expired.connects("shows one that has expired"),
		p.early.connects("shows one that is not valid yet"),
		c.somebody("", "an older hv3", c.hosts["hv3"], older(p.hv3.config, tls.VersionTLS12)).connects("speaks TLS 1.2"),
		p.noRole.refused("is asked who he is", "may not call DescribeNamespace", `names no role or no name (OU []`),
		p.twoRoles.refused("claims two roles", "may not call DescribeNamespace", `(OU [\"host\" \"control\"]`),
		p.roleInSAN.refused("claims a role where names stand", "may not call DescribeNamespace", `names no role or no name (OU []`),

		// Those who read, and those who only exist.
		p.ada.may("lists workflows", workflows+"ListWorkflowExecutions", list),
		p.ada.may("reads a history", workflows+"GetWorkflowExecutionHistory", history),
		p.ada.asks("polls the control plane's queue", workflows+"PollActivityTaskQueue", pollOf("control")),
		p.ada.asks("polls for workflow tasks", workflows+"PollWorkflowTaskQueue", pollWorkflows),
		p.ada.asks("polls a host's queue", workflows+"PollActivityTaskQueue", pollOf("host:hv1")),
		p.ada.asks("starts a workflow", workflows+"StartWorkflowExecution", begin),
		p.ada.asks("signals one", workflows+"SignalWorkflowExecution", signal),
		p.ada.asks("terminates one", workflows+"TerminateWorkflowExecution", terminate),
		p.ada.asks("answers a host's step", workflows+"RespondActivityTaskCompleted", complete(others)),
		p.chassis.asks("lists workflows", workflows+"ListWorkflowExecutions", list),

		// The control plane itself ends nothing from outside, and does no host's work.
		p.control.asks("terminates a workflow", workflows+"TerminateWorkflowExecution", terminate),
		p.control.asks("polls a host's queue", workflows+"PollActivityTaskQueue", pollOf("host:hv1")),

		// A host that turned bad: workflows.
		bad.asks("starts a workflow", workflows+"StartWorkflowExecution", begin),
		bad.asks("starts one by an update", workflows+"ExecuteMultiOperation", &workflowservice.ExecuteMultiOperationRequest{
			Namespace: namespace, Operations: []*workflowservice.ExecuteMultiOperationRequest_Operation{
				{Operation: &workflowservice.ExecuteMultiOperationRequest_Operation_StartWorkflow{StartWorkflow: begin}},
				{Operation: &workflowservice.ExecuteMultiOperationRequest_Operation_UpdateWorkflow{UpdateWorkflow: update}},
			},
		}),
		bad.asks("starts one by a signal", workflows+"SignalWithStartWorkflowExecution", &workflowservice.SignalWithStartWorkflowExecutionRequest{
			Namespace: namespace, WorkflowId: begin.WorkflowId, RequestId: "1", WorkflowType: begin.WorkflowType, TaskQueue: begin.TaskQueue, SignalName: "delete",
		}),
		bad.asks("signals another's server", workflows+"SignalWorkflowExecution", signal),
		bad.asks("updates another's server", workflows+"UpdateWorkflowExecution", update),
		bad.asks("asks another's server how far it is", workflows+"QueryWorkflow", query),
		bad.asks("terminates", workflows+"TerminateWorkflowExecution", terminate),
		bad.asks("cancels", workflows+"RequestCancelWorkflowExecution", &workflowservice.RequestCancelWorkflowExecutionRequest{Namespace: namespace, WorkflowExecution: victim}),
		bad.asks("resets", workflows+"ResetWorkflowExecution", &workflowservice.ResetWorkflowExecutionRequest{Namespace: namespace, WorkflowExecution: victim, WorkflowTaskFinishEventId: 3, RequestId: "1"}),
		bad.asks("deletes a workflow", workflows+"DeleteWorkflowExecution", &workflowservice.DeleteWorkflowExecutionRequest{Namespace: namespace, WorkflowExecution: victim}),
		bad.asks("terminates all of them", workflows+"StartBatchOperation", &workflowservice.StartBatchOperationRequest{
			Namespace: namespace, JobId: "1", Reason: "why not", VisibilityQuery: "ExecutionStatus = 'Running'",
			Operation: &workflowservice.StartBatchOperationRequest_TerminationOperation{TerminationOperation: &batchpb.BatchOperationTermination{}},
		}),
		bad.asks("lists workflows", workflows+"ListWorkflowExecutions", list),
		bad.asks("reads another's history", workflows+"GetWorkflowExecutionHistory", history),
		bad.asks("reads it from its end", workflows+"GetWorkflowExecutionHistoryReverse", &workflowservice.GetWorkflowExecutionHistoryReverseRequest{Namespace: namespace, Execution: victim}),
		bad.asks("reads the history of its own step's workflow", workflows+"GetWorkflowExecutionHistory",
			&workflowservice.GetWorkflowExecutionHistoryRequest{Namespace: namespace, Execution: tasks["hv3"].GetWorkflowExecution()}),
		bad.asks("makes a schedule", workflows+"CreateSchedule", &workflowservice.CreateScheduleRequest{Namespace: namespace, ScheduleId: "1", RequestId: "1", Schedule: schedule}),
		bad.asks("deletes one", workflows+"DeleteSchedule", &workflowservice.DeleteScheduleRequest{Namespace: namespace, ScheduleId: "housekeeping"}),

		// Its tasks and others'.
		bad.asks("polls the control plane's activities", workflows+"PollActivityTaskQueue", pollOf("control")),
		bad.asks("polls for workflow tasks", workflows+"PollWorkflowTaskQueue", pollWorkflows),
		bad.asks("polls for workflow tasks by its own name", workflows+"PollWorkflowTaskQueue", &workflowservice.PollWorkflowTaskQueueRequest{Namespace: namespace, TaskQueue: queue("host:hv3")}),
		bad.asks("polls for workflow tasks by a sticky queue", workflows+"PollWorkflowTaskQueue", &workflowservice.PollWorkflowTaskQueueRequest{Namespace: namespace, TaskQueue: sticky}),
		bad.asks("polls another host's queue", workflows+"PollActivityTaskQueue", pollOf("host:hv1")),
		bad.asks("polls its own in capitals", workflows+"PollActivityTaskQueue", pollOf("host:HV3")),
		bad.asks("polls a partition of it", workflows+"PollActivityTaskQueue", pollOf("/_sys/host:hv1/1")),
		bad.asks("polls a sticky queue of its own name", workflows+"PollActivityTaskQueue", &workflowservice.PollActivityTaskQueueRequest{Namespace: namespace, TaskQueue: sticky}),
		bad.asks("answers another's step", workflows+"RespondActivityTaskCompleted", complete(others)),
		bad.asks("fails another's step", workflows+"RespondActivityTaskFailed", &workflowservice.RespondActivityTaskFailedRequest{Namespace: namespace, TaskToken: others}),
		bad.asks("cancels another's step", workflows+"RespondActivityTaskCanceled", &workflowservice.RespondActivityTaskCanceledRequest{Namespace: namespace, TaskToken: others}),
		bad.asks("heartbeats another's step", workflows+"RecordActivityTaskHeartbeat", beat(others)),
		bad.asks("answers another's step by its id", workflows+"RespondActivityTaskCompletedById",
			&workflowservice.RespondActivityTaskCompletedByIdRequest{Namespace: namespace, WorkflowId: byID, ActivityId: tasks["hv2"].GetActivityId()}),
		bad.asks("fails it by its id", workflows+"RespondActivityTaskFailedById",
			&workflowservice.RespondActivityTaskFailedByIdRequest{Namespace: namespace, WorkflowId: byID, ActivityId: tasks["hv2"].GetActivityId()}),
		bad.asks("heartbeats it by its id", workflows+"RecordActivityTaskHeartbeatById",
			&workflowservice.RecordActivityTaskHeartbeatByIdRequest{Namespace: namespace, WorkflowId: byID, ActivityId: tasks["hv2"].GetActivityId()}),
		bad.asks("answers with an altered token", workflows+"RespondActivityTaskCompleted", complete(altered)),
		p.hv2.asks("answers a step that hv3 polled", workflows+"RespondActivityTaskCompleted", complete(own)),
		bad.may("heartbeats its own step", workflows+"RecordActivityTaskHeartbeat", beat(own)),
		bad.may("answers its own step", workflows+"RespondActivityTaskCompleted", complete(own)),
		c.late(bad.may("says the same answer again", workflows+"RespondActivityTaskCompleted", complete(own))),
		p.hv2.asks("replays that answer", workflows+"RespondActivityTaskCompleted", complete(own)),
		bad.asks("speaks for another host's worker", workflows+"RecordWorkerHeartbeat", &workflowservice.RecordWorkerHeartbeatRequest{
			Namespace: namespace, WorkerHeartbeat: []*workerpb.WorkerHeartbeat{{WorkerInstanceKey: "1", TaskQueue: "host:hv1"}},
		}),
		bad.asks("takes a worker's sticky queue away", workflows+"ShutdownWorker", &workflowservice.ShutdownWorkerRequest{Namespace: namespace, StickyTaskQueue: "control"}),

		// The namespace, and the server itself.
		bad.asks("registers a namespace", workflows+"RegisterNamespace", &workflowservice.RegisterNamespaceRequest{Namespace: "mine", WorkflowExecutionRetentionPeriod: durationpb.New(24 * time.Hour)}),
		bad.asks("changes the namespace", workflows+"UpdateNamespace", &workflowservice.UpdateNamespaceRequest{
			Namespace: namespace, UpdateInfo: &namespacepb.UpdateNamespaceInfo{Data: map[string]string{"slipway-installation": "mine"}},
		}),
		bad.asks("deletes the namespace", operators+"DeleteNamespace", &operatorservice.DeleteNamespaceRequest{Namespace: namespace}),
		p.control.asks("deletes the namespace", operators+"DeleteNamespace", &operatorservice.DeleteNamespaceRequest{Namespace: namespace}),
		bad.asks("adds a search attribute", operators+"AddSearchAttributes", &operatorservice.AddSearchAttributesRequest{
			Namespace: namespace, SearchAttributes: map[string]enumspb.IndexedValueType{"Mine": enumspb.INDEXED_VALUE_TYPE_KEYWORD},
		}),
		bad.asks("takes one away", operators+"RemoveSearchAttributes", &operatorservice.RemoveSearchAttributesRequest{Namespace: namespace, SearchAttributes: []string{"SlipwayServer"}}),
		bad.asks("makes a Nexus endpoint", operators+"CreateNexusEndpoint", &operatorservice.CreateNexusEndpointRequest{Spec: &nexuspb.EndpointSpec{Name: "mine"}}),
		bad.asks("adds a cluster that copies workflows", operators+"AddOrUpdateRemoteCluster", &operatorservice.AddOrUpdateRemoteClusterRequest{FrontendAddress: "10.77.0.13:7233"}),
		bad.asks("looks at a workflow as an administrator", admins+"DescribeMutableState", &emptypb.Empty{}),
		bad.asks("reads raw histories as an administrator", admins+"GetWorkflowExecutionRawHistoryV2", &emptypb.Empty{}),
		bad.asks("writes a history as an administrator", admins+"ImportWorkflowExecution", &emptypb.Empty{}),
		bad.streams(),
		p.control.streams(),
	}
}

// refused is a call by a certificate that says nobody.
func (s *somebody) refused(what string, says ...string) attempt {
	a := s.may(what, workflows+"DescribeNamespace", &workflowservice.DescribeNamespaceRequest{Namespace: namespace})
	a.want, a.log, a.says = "PermissionDenied", "temporal", append(says, s.machine.ip)
	return a
}

// late is an answer to a task that has one.
func (c *cluster) late(a attempt) attempt {
	a.want = codes.NotFound.String()
	return a
}

// streams opens the server's only stream, as the cluster itself. Streams pass no authorizer.
func (s *somebody) streams() attempt {
	const method = admins + "StreamWorkflowReplicationMessages"
	a := s.asks("opens the stream by which clusters copy workflows", method, nil)
	a.try = func(ctx context.Context) string {
		for _, of := range []string{"client-cluster", "client-shard", "server-cluster", "server-shard"} {
			ctx = metadata.AppendToOutgoingContext(ctx, "temporal-"+of+"-id", "1")
		}
		stream, err := s.engine.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
		if err == nil {
			err = stream.RecvMsg(&emptypb.Empty{})
		}
		return outcome(err)
	}
	return a
}

// everyMethod asks all that the frontend offers, with next to nothing in the request, by a certificate of each role but the control
// plane's: what is not refused is all that the role may call.
func (c *cluster) everyMethod(t *testing.T, p *parties) {
	open := []string{"DescribeNamespace", "GetClusterInfo", "GetSystemInfo"}
	require.ElementsMatch(t, open, methodsOf(t, p.chassis))
	// A worker's heartbeat of nobody, and its goodbye, change nothing.
	require.ElementsMatch(t, append(open, "RecordWorkerHeartbeat", "ShutdownWorker"), methodsOf(t, p.hv3))
	for _, name := range methodsOf(t, p.ada) {
		require.Regexp(t, "^(Get|Describe|List|Count|Scan|Query)", name, "an operator only reads")
	}
}

func methodsOf(t *testing.T, s *somebody) (may []string) {
	t.Helper()
	for _, service := range []protoreflect.ServiceDescriptor{
		workflowservice.File_temporal_api_workflowservice_v1_service_proto.Services().Get(0),
		operatorservice.File_temporal_api_operatorservice_v1_service_proto.Services().Get(0),
	} {
		for i := range service.Methods().Len() {
			m := service.Methods().Get(i)
			request := dynamicpb.NewMessage(m.Input())
			if f := m.Input().Fields().ByName("namespace"); f != nil {
				request.Set(f, protoreflect.ValueOfString(namespace))
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			err := s.engine.Invoke(ctx, "/"+string(service.FullName())+"/"+string(m.Name()), request, &emptypb.Empty{})
			cancel()
			switch status.Code(err) {
			case codes.PermissionDenied, codes.Unimplemented: // the server has not all that its clients know
			default:
				may = append(may, string(m.Name()))
			}
		}
	}
	return may
}
