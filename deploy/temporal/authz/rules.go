package authz

import (
	"fmt"
	"slices"
	"strings"

	enumspb "go.temporal.io/api/enums/v1"
	namespacepb "go.temporal.io/api/namespace/v1"
	schedulepb "go.temporal.io/api/schedule/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	workerpb "go.temporal.io/api/worker/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/protobuf/proto"
)

const (
	workflows = "/temporal.api.workflowservice.v1.WorkflowService/"
	operator  = "/temporal.api.operatorservice.v1.OperatorService/"
)

// rule is who may call one method. Each cell is a condition on the request; no is never.
type rule struct {
	method                        string
	control, host, operator, ovns condition
}

// condition says why a request is refused, "" where it is not.
type condition func(p *Policy, c Caller, namespace string, request any) (why string)

// rules is every method of the two services that this version of the server has. What is not listed is refused, and a
// test fails for a method that nobody has decided on.
//
// Reads are a control plane's and an operator's. A host gets its own tasks and nothing else: its queue's name is made of
// the name in its certificate. Nobody terminates, resets, cancels or deletes: what such a server holds would stay taken.
var rules = []rule{
	// method                                           control       host          operator OVN
	{"/grpc.health.v1.Health/Check", open, open, open, open},
	{workflows + "GetSystemInfo", open, open, open, open},
	{workflows + "GetClusterInfo", open, open, open, open},
	{workflows + "DescribeNamespace", open, open, open, open},

	{workflows + "StartWorkflowExecution", starts, no, no, no},
	{workflows + "ExecuteMultiOperation", multiple, no, no, no},
	{workflows + "SignalWorkflowExecution", own, no, no, no},
	{workflows + "SignalWithStartWorkflowExecution", starts, no, no, no},
	{workflows + "UpdateWorkflowExecution", own, no, no, no},
	{workflows + "PollWorkflowExecutionUpdate", own, no, no, no},
	{workflows + "CreateSchedule", schedules, no, no, no},
	{workflows + "UpdateSchedule", schedules, no, no, no},
	{workflows + "PatchSchedule", schedules, no, no, no},
	{workflows + "DeleteSchedule", own, no, no, no},
	{workflows + "UpdateNamespace", marks, no, no, no},
	{operator + "AddSearchAttributes", own, no, no, no},

	{workflows + "PollWorkflowTaskQueue", own, no, no, no},
	{workflows + "PollActivityTaskQueue", controlQueue, hostQueue, no, no},
	{workflows + "RespondWorkflowTaskCompleted", own, no, no, no},
	{workflows + "RespondWorkflowTaskFailed", own, no, no, no},
	{workflows + "RespondQueryTaskCompleted", own, no, no, no},
	{workflows + "RespondActivityTaskCompleted", own, polled, no, no},
	{workflows + "RespondActivityTaskFailed", own, polled, no, no},
	{workflows + "RespondActivityTaskCanceled", own, polled, no, no},
	{workflows + "RecordActivityTaskHeartbeat", own, polled, no, no},
	{workflows + "RespondActivityTaskCompletedById", no, noToken, no, no},
	{workflows + "RespondActivityTaskFailedById", no, noToken, no, no},
	{workflows + "RespondActivityTaskCanceledById", no, noToken, no, no},
	{workflows + "RecordActivityTaskHeartbeatById", no, noToken, no, no},
	{workflows + "RecordWorkerHeartbeat", own, hostHeartbeat, no, no},
	{workflows + "ShutdownWorker", own, hostShutdown, no, no},
	{workflows + "ResetStickyTaskQueue", own, no, no, no},
	{workflows + "FetchWorkerConfig", no, no, no, no},
	{workflows + "UpdateWorkerConfig", no, no, no, no},

	{workflows + "DescribeWorkflowExecution", own, no, own, no},
	{workflows + "GetWorkflowExecutionHistory", own, no, own, no},
	{workflows + "GetWorkflowExecutionHistoryReverse", own, no, own, no},
	{workflows + "QueryWorkflow", own, no, own, no},
	{workflows + "ListWorkflowExecutions", own, no, own, no},
	{workflows + "ListOpenWorkflowExecutions", own, no, own, no},
	{workflows + "ListClosedWorkflowExecutions", own, no, own, no},
	{workflows + "ListArchivedWorkflowExecutions", own, no, own, no},
	{workflows + "ScanWorkflowExecutions", own, no, own, no},
	{workflows + "CountWorkflowExecutions", own, no, own, no},
	{workflows + "DescribeSchedule", own, no, own, no},
	{workflows + "ListSchedules", own, no, own, no},
	{workflows + "ListScheduleMatchingTimes", own, no, own, no},
	{workflows + "DescribeTaskQueue", own, no, own, no},
	{workflows + "ListTaskQueuePartitions", own, no, own, no},
	{workflows + "DescribeWorker", own, no, own, no},
	{workflows + "ListWorkers", own, no, own, no},
	{workflows + "DescribeWorkerDeployment", own, no, own, no},
	{workflows + "DescribeWorkerDeploymentVersion", own, no, own, no},
	{workflows + "ListWorkerDeployments", own, no, own, no},
	{workflows + "DescribeDeployment", own, no, own, no},
	{workflows + "ListDeployments", own, no, own, no},
	{workflows + "GetCurrentDeployment", own, no, own, no},
	{workflows + "GetDeploymentReachability", own, no, own, no},
	{workflows + "GetWorkerBuildIdCompatibility", own, no, own, no},
	{workflows + "GetWorkerTaskReachability", own, no, own, no},
	{workflows + "GetWorkerVersioningRules", own, no, own, no},
	{workflows + "DescribeBatchOperation", own, no, own, no},
	{workflows + "ListBatchOperations", own, no, own, no},
	{workflows + "DescribeWorkflowRule", own, no, own, no},
	{workflows + "ListWorkflowRules", own, no, own, no},
	{workflows + "DescribeActivityExecution", own, no, own, no},
	{workflows + "ListActivityExecutions", own, no, own, no},
	{workflows + "CountActivityExecutions", own, no, own, no},
	{workflows + "GetSearchAttributes", open, no, open, no},
	{workflows + "ListNamespaces", no, no, open, no},
	{operator + "ListSearchAttributes", own, no, own, no},
	{operator + "ListClusters", no, no, open, no},
	{operator + "ListNexusEndpoints", no, no, open, no},
	{operator + "GetNexusEndpoint", no, no, open, no},

	{workflows + "TerminateWorkflowExecution", no, no, no, no},
	{workflows + "ResetWorkflowExecution", no, no, no, no},
	{workflows + "RequestCancelWorkflowExecution", no, no, no, no},
	{workflows + "DeleteWorkflowExecution", no, no, no, no},
	{workflows + "PauseWorkflowExecution", no, no, no, no},
	{workflows + "UnpauseWorkflowExecution", no, no, no, no},
	{workflows + "UpdateWorkflowExecutionOptions", no, no, no, no},
	{workflows + "StartBatchOperation", no, no, no, no},
	{workflows + "StopBatchOperation", no, no, no, no},
	{workflows + "CreateWorkflowRule", no, no, no, no},
	{workflows + "DeleteWorkflowRule", no, no, no, no},
	{workflows + "TriggerWorkflowRule", no, no, no, no},
	{workflows + "PauseActivity", no, no, no, no},
	{workflows + "UnpauseActivity", no, no, no, no},
	{workflows + "ResetActivity", no, no, no, no},
	{workflows + "UpdateActivityOptions", no, no, no, no},
	{workflows + "StartActivityExecution", no, no, no, no},
	{workflows + "PollActivityExecution", no, no, no, no},
	{workflows + "RequestCancelActivityExecution", no, no, no, no},
	{workflows + "TerminateActivityExecution", no, no, no, no},
	{workflows + "DeleteActivityExecution", no, no, no, no},
	{workflows + "RegisterNamespace", no, no, no, no},
	{workflows + "DeprecateNamespace", no, no, no, no},
	{workflows + "UpdateTaskQueueConfig", no, no, no, no},
	{workflows + "UpdateWorkerBuildIdCompatibility", no, no, no, no},
	{workflows + "UpdateWorkerVersioningRules", no, no, no, no},
	{workflows + "SetCurrentDeployment", no, no, no, no},
	{workflows + "SetWorkerDeploymentCurrentVersion", no, no, no, no},
	{workflows + "SetWorkerDeploymentRampingVersion", no, no, no, no},
	{workflows + "SetWorkerDeploymentManager", no, no, no, no},
	{workflows + "UpdateWorkerDeploymentVersionMetadata", no, no, no, no},
	{workflows + "DeleteWorkerDeployment", no, no, no, no},
	{workflows + "DeleteWorkerDeploymentVersion", no, no, no, no},
	{workflows + "PollNexusTaskQueue", no, no, no, no},
	{workflows + "RespondNexusTaskCompleted", no, no, no, no},
	{workflows + "RespondNexusTaskFailed", no, no, no, no},
	{operator + "RemoveSearchAttributes", no, no, no, no},
	{operator + "DeleteNamespace", no, no, no, no},
	{operator + "AddOrUpdateRemoteCluster", no, no, no, no},
	{operator + "RemoveRemoteCluster", no, no, no, no},
	{operator + "CreateNexusEndpoint", no, no, no, no},
	{operator + "UpdateNexusEndpoint", no, no, no, no},
	{operator + "DeleteNexusEndpoint", no, no, no, no},
}

var byMethod = func() map[string]rule {
	index := make(map[string]rule, len(rules))
	for _, r := range rules {
		index[r.method] = r
	}
	return index
}()

func (r rule) of(role string) condition {
	switch role {
	case Control:
		return r.control
	case Host:
		return r.host
	case Operator:
		return r.operator
	case OVNCentral, OVNChassis:
		return r.ovns
	}
	return no
}

// no is the cell of a method that is not the role's.
func no(_ *Policy, c Caller, _ string, _ any) string {
	if c.Role == Operator {
		return "an operator only reads"
	}
	return "it is none of the calls of that role"
}

func open(*Policy, Caller, string, any) string { return "" }

func own(p *Policy, _ Caller, namespace string, _ any) string {
	if !slices.Contains(p.namespaces, namespace) {
		return fmt.Sprintf("the namespace %q is not open to it", namespace)
	}
	return ""
}

// starts is a start that ends nothing: none takes the place of a workflow that runs under the same id.
func starts(p *Policy, c Caller, namespace string, request any) string {
	r, ok := request.(interface {
		GetWorkflowIdReusePolicy() enumspb.WorkflowIdReusePolicy
		GetWorkflowIdConflictPolicy() enumspb.WorkflowIdConflictPolicy
	})
	if !ok {
		return "it is no start"
	}
	if r.GetWorkflowIdReusePolicy() == enumspb.WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING || //nolint:staticcheck // older clients still ask by it
		r.GetWorkflowIdConflictPolicy() == enumspb.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING {
		return "it would terminate what runs under that id"
	}
	return own(p, c, namespace, request)
}

// multiple is that for each of the operations that one request bundles: each names a namespace of its own.
func multiple(p *Policy, c Caller, namespace string, request any) string {
	r, ok := request.(*workflowservice.ExecuteMultiOperationRequest)
	if !ok {
		return "it bundles nothing"
	}
	for _, o := range r.GetOperations() {
		for _, name := range []string{o.GetStartWorkflow().GetNamespace(), o.GetUpdateWorkflow().GetNamespace()} {
			if name != "" && name != namespace {
				return fmt.Sprintf("it asks for the namespace %q within a request for %q", name, namespace)
			}
		}
		if start := o.GetStartWorkflow(); start != nil {
			if why := starts(p, c, namespace, start); why != "" {
				return why
			}
		}
	}
	return own(p, c, namespace, request)
}

// schedules is a schedule that ends nothing: none of its starts takes the place of the one before.
func schedules(p *Policy, c Caller, namespace string, request any) string {
	var overlaps []enumspb.ScheduleOverlapPolicy
	switch r := request.(type) {
	case *workflowservice.CreateScheduleRequest:
		overlaps = append(patched(r.GetInitialPatch()), r.GetSchedule().GetPolicies().GetOverlapPolicy())
	case *workflowservice.UpdateScheduleRequest:
		overlaps = append(overlaps, r.GetSchedule().GetPolicies().GetOverlapPolicy())
	case *workflowservice.PatchScheduleRequest:
		overlaps = patched(r.GetPatch())
	default:
		return "it is no schedule"
	}
	for _, overlap := range overlaps {
		if overlap == enumspb.SCHEDULE_OVERLAP_POLICY_CANCEL_OTHER || overlap == enumspb.SCHEDULE_OVERLAP_POLICY_TERMINATE_OTHER {
			return "it would end what the schedule started before"
		}
	}
	return own(p, c, namespace, request)
}

func patched(patch *schedulepb.SchedulePatch) []enumspb.ScheduleOverlapPolicy {
	overlaps := []enumspb.ScheduleOverlapPolicy{patch.GetTriggerImmediately().GetOverlapPolicy()}
	for _, b := range patch.GetBackfillRequest() {
		overlaps = append(overlaps, b.GetOverlapPolicy())
	}
	return overlaps
}

// marks is a change of what an installation writes into its namespace's data, and of how long the namespace keeps what has ended,
// which a worker sets. It is nothing else of the namespace.
func marks(p *Policy, c Caller, namespace string, request any) string {
	r, ok := request.(*workflowservice.UpdateNamespaceRequest)
	if !ok {
		return "it is no change of a namespace"
	}
	may := &workflowservice.UpdateNamespaceRequest{Namespace: r.GetNamespace()}
	if info := r.GetUpdateInfo(); info != nil {
		may.UpdateInfo = &namespacepb.UpdateNamespaceInfo{Data: info.GetData()}
	}
	if config := r.GetConfig(); config != nil {
		may.Config = &namespacepb.NamespaceConfig{WorkflowExecutionRetentionTtl: config.GetWorkflowExecutionRetentionTtl()}
	}
	if !proto.Equal(r, may) {
		return "of a namespace it may change the data and the retention alone"
	}
	return own(p, c, namespace, request)
}

// controlQueue is any queue of activities but those of hosts.
func controlQueue(p *Policy, c Caller, namespace string, request any) string {
	r, _ := request.(*workflowservice.PollActivityTaskQueueRequest)
	if name := r.GetTaskQueue().GetName(); strings.HasPrefix(name, HostQueue) || strings.HasPrefix(name, partition) {
		return fmt.Sprintf("the queue %q is its host's", name)
	}
	return own(p, c, namespace, request)
}

// partition begins the names that the server gives to the partitions of a queue. No client has to know them.
const partition = "/_sys/"

// hostQueue is the queue of the host that the certificate names. A worker that takes part in versioning would found a
// deployment by polling, which is the control plane's to do.
func hostQueue(p *Policy, c Caller, namespace string, request any) string {
	r, _ := request.(*workflowservice.PollActivityTaskQueueRequest)
	if why := c.queue(r.GetTaskQueue()); why != "" {
		return why
	}
	if r.GetDeploymentOptions().GetWorkerVersioningMode() == enumspb.WORKER_VERSIONING_MODE_VERSIONED ||
		r.GetWorkerVersionCapabilities().GetUseVersioning() { //nolint:staticcheck // older workers still ask by it
		return "a host's worker takes no part in versioning"
	}
	return own(p, c, namespace, request)
}

// queue says why the queue is not the caller's own.
func (c Caller) queue(q *taskqueuepb.TaskQueue) string {
	if want := HostQueue + c.Name; q.GetName() != want || q.GetKind() == enumspb.TASK_QUEUE_KIND_STICKY {
		return fmt.Sprintf("the queue %q is not its own, which is %q", q.GetName(), want)
	}
	return ""
}

// polled is the answer to a task whose token says that it was handed to this very host.
func polled(p *Policy, c Caller, namespace string, request any) string {
	r, ok := request.(interface{ GetTaskToken() []byte })
	if !ok {
		return "the request has no task"
	}
	if _, ok := p.keys.unbind(r.GetTaskToken(), c.Role, c.Name); !ok {
		return "it was not this host that polled the task, or the token was changed"
	}
	return own(p, c, namespace, request)
}

func noToken(*Policy, Caller, string, any) string {
	return "a host answers with the token of a task that it polled, and with nothing else"
}

// hostHeartbeat is what a worker of the host's own queue says of itself.
func hostHeartbeat(p *Policy, c Caller, namespace string, request any) string {
	r, _ := request.(*workflowservice.RecordWorkerHeartbeatRequest)
	for _, beat := range r.GetWorkerHeartbeat() {
		if why := c.heartbeat(beat); why != "" {
			return why
		}
	}
	return own(p, c, namespace, request)
}

func (c Caller) heartbeat(beat *workerpb.WorkerHeartbeat) string {
	if want := HostQueue + c.Name; beat != nil && beat.GetTaskQueue() != want {
		return fmt.Sprintf("it speaks for a worker of the queue %q, and its own is %q", beat.GetTaskQueue(), want)
	}
	return ""
}

// hostShutdown is the goodbye of a worker that runs no workflows: a sticky queue would be somebody else's.
func hostShutdown(p *Policy, c Caller, namespace string, request any) string {
	r, _ := request.(*workflowservice.ShutdownWorkerRequest)
	if why := c.heartbeat(r.GetWorkerHeartbeat()); why != "" {
		return why
	}
	if sticky := r.GetStickyTaskQueue(); sticky != "" {
		return fmt.Sprintf("a host has no sticky queue as %q", sticky)
	}
	return own(p, c, namespace, request)
}
