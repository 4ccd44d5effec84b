package engine

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/requestid"
	"github.com/slipway-cloud/slipway/workflows/attributes"
)

// What bounds an operator's questions.
const (
	lookPatience  = 10 * time.Second // one call of the engine
	queryPatience = 5 * time.Second  // the workflow's own answer, which needs a worker
	shownFailure  = 2000             // bytes of a failure's text
)

// BuildFilter chooses builds, deletes and clean-ups. The zero value chooses all that run.
type BuildFilter struct {
	Ended   bool // those too that have ended, while the engine keeps them
	Parked  bool // an undo does not succeed, or waits for a host
	Overdue bool // the phase takes longer than its deadline allows

	ServerID, ProjectID, Host, ReservationID, Phase string // "" is any

	Limit int
	Page  string // a former answer's
}

// BuildSummary is a build, delete or clean-up as the engine lists it.
type BuildSummary struct {
	ID            string // server:<server id> or cleanup:<server id>
	RunID         string
	Workflow      string // BootServer, DeleteServer, CleanUp
	ServerID      string
	ProjectID     string
	Host          string
	ImageID       string
	ReservationID string
	Phase         string
	Overdue       string // the overdue phase, "" while none is
	Status        string // running, completed, failed, canceled, terminated, timed out
	StartedAt     time.Time
	EndedAt       *time.Time
}

// Running says whether it has not ended.
func (b BuildSummary) Running() bool { return b.EndedAt == nil }

// Build is one build with what its workflow and the engine know of it.
type Build struct {
	BuildSummary
	State *contract.BuildState // nil where the workflow does not answer
	// Unanswered is why State is nil.
	Unanswered string
	Pending    []PendingStep
}

// PendingStep is a do or undo that runs, or waits for its next try.
type PendingStep struct {
	Step      string // the activity
	Undo      string // the undo's id; "" for a do
	Host      string // "" is the control plane
	Tries     int    // the one that runs or comes next included
	StartedAt time.Time
	Error     string     // of the last try
	NextTry   *time.Time // nil while one runs or waits for a worker
}

// BuildCounts are the running builds by what operators watch.
type BuildCounts struct {
	Running map[string]int64 // by phase
	Parked  int64
	Overdue map[string]int64 // by phase
}

var buildTypes = []string{contract.WorkflowBoot, contract.WorkflowDelete, contract.WorkflowCleanUp}

// countedPhases are those that a running workflow can be in; phaseOther takes what another version calls differently.
var countedPhases = []string{
	string(contract.PhaseScheduling), string(contract.PhaseNetworking), string(contract.PhaseSpawning), string(contract.PhaseDeleting),
	attributes.PhaseActive, attributes.PhaseParked,
}

const phaseOther = "other"

// searchable is what a filter's value may hold: the query language is not reached by anything else.
var searchable = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$`)

// query is the filter in the engine's language.
func (f BuildFilter) query() (string, error) {
	terms := []string{fmt.Sprintf("WorkflowType IN ('%s')", strings.Join(buildTypes, "', '"))}
	if !f.Ended {
		terms = append(terms, "ExecutionStatus = 'Running'")
	}
	if f.Parked {
		terms = append(terms, equals(contract.AttrPhase, attributes.PhaseParked))
	}
	if f.Overdue {
		terms = append(terms, contract.AttrOverdue+" IS NOT NULL")
	}
	for _, t := range []struct{ attribute, name, value string }{
		{contract.AttrServer, "server", f.ServerID},
		{contract.AttrProject, "project", f.ProjectID},
		{contract.AttrHost, "host", f.Host},
		{contract.AttrReservation, "reservation", f.ReservationID},
		{contract.AttrPhase, "phase", f.Phase},
	} {
		if t.value == "" {
			continue
		}
		if !searchable.MatchString(t.value) {
			return "", fault.New(fault.Invalid, "The filter %s has to be made of letters, digits, dots, dashes and underscores.", t.name)
		}
		terms = append(terms, equals(t.attribute, t.value))
	}
	return strings.Join(terms, " AND "), nil
}

func equals(attribute, value string) string { return fmt.Sprintf("%s = '%s'", attribute, value) }

// Builds lists builds, the newest first, and the page that follows ("" where none does). What has just begun or changed is
// listed a moment later. Invalid for a filter or page that cannot be.
func (c *Client) Builds(ctx context.Context, f BuildFilter) (found []BuildSummary, next string, err error) {
	query, err := f.query()
	if err != nil {
		return nil, "", err
	}
	page, err := openPage(f.Page)
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	list, err := c.temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
		Query: query, PageSize: int32(f.Limit), NextPageToken: page,
	})
	if err != nil {
		return nil, "", faultOf(err, "The builds could not be listed", again)
	}
	for _, e := range list.GetExecutions() {
		found = append(found, summaryOf(e))
	}
	return found, closePage(list.GetNextPageToken()), nil
}

// closePage makes a marker of the engine's token for the next page, with a checksum: the engine calls a token that it cannot
// read its own failure, and is asked again until the patience ends.
func closePage(token []byte) string {
	if len(token) == 0 {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(slices.Clone(token), crc32.ChecksumIEEE(token)))
}

func openPage(marker string) ([]byte, error) {
	if marker == "" {
		return nil, nil
	}
	const sum = 4
	page, err := base64.RawURLEncoding.DecodeString(marker)
	if err == nil && len(page) > sum {
		token := page[:len(page)-sum]
		if crc32.ChecksumIEEE(token) == binary.BigEndian.Uint32(page[len(token):]) {
			return token, nil
		}
	}
	return nil, fault.Wrap(fault.Invalid, err, "The marker is not one that a list of builds has named.")
}

func summaryOf(e *workflowpb.WorkflowExecutionInfo) BuildSummary {
	text := func(attribute string) (value string) {
		if p := e.GetSearchAttributes().GetIndexedFields()[attribute]; p != nil {
			_ = converter.GetDefaultDataConverter().FromPayload(p, &value) // a value of another type is none of ours
		}
		return value
	}
	b := BuildSummary{
		ID:       strings.Replace(e.GetExecution().GetWorkflowId(), "/", ":", 1),
		RunID:    e.GetExecution().GetRunId(),
		Workflow: e.GetType().GetName(),
		ServerID: text(contract.AttrServer), ProjectID: text(contract.AttrProject), Host: text(contract.AttrHost),
		ImageID: text(contract.AttrImage), ReservationID: text(contract.AttrReservation), Phase: text(contract.AttrPhase),
		Overdue:   text(contract.AttrOverdue),
		Status:    statuses[e.GetStatus()],
		StartedAt: e.GetStartTime().AsTime(),
	}
	if e.GetCloseTime() != nil {
		ended := e.GetCloseTime().AsTime()
		b.EndedAt = &ended
		b.Overdue = ""
	}
	return b
}

var statuses = map[enumspb.WorkflowExecutionStatus]string{
	enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING:          "running",
	enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED:        "completed",
	enumspb.WORKFLOW_EXECUTION_STATUS_FAILED:           "failed",
	enumspb.WORKFLOW_EXECUTION_STATUS_CANCELED:         "canceled",
	enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED:       "terminated",
	enumspb.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW: "continued",
	enumspb.WORKFLOW_EXECUTION_STATUS_TIMED_OUT:        "timed out",
}

// BuildWorkflowID is the workflow that a build's id names: server:<server id>, cleanup:<server id>, or a server's id alone
// for its own workflow. NotFound for what can be none.
func BuildWorkflowID(id string) (string, error) {
	kind, server, ok := strings.Cut(id, ":")
	if !ok {
		kind, server = "server", id
	}
	parsed, err := uuid.Parse(server)
	switch {
	case err != nil || len(server) != len(uuid.UUID{}.String()):
	case kind == "server":
		return ids.ServerWorkflow(parsed.String()), nil
	case kind == "cleanup":
		return ids.CleanUpWorkflow(parsed.String()), nil
	}
	return "", noBuild(id, err)
}

func noBuild(id string, err error) error {
	return fault.Wrap(fault.NotFound, err, "There is no build %s.", id)
}

// Build shows one build: what the workflow says, and of each step that runs or waits what the engine knows of its tries. It
// is the newest run under the id, also an ended one while its history is kept. A workflow that does not answer, because no
// worker does, is shown as far as it is known.
func (c *Client) Build(ctx context.Context, id string) (Build, error) {
	workflowID, err := BuildWorkflowID(id)
	if err != nil {
		return Build{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	described, err := c.temporal.DescribeWorkflow(ctx, workflowID, "")
	if err != nil {
		if errors.As(err, new(*serviceerror.NotFound)) {
			return Build{}, noBuild(id, err)
		}
		return Build{}, faultOf(err, "The build could not be read", again)
	}
	info := described.RawResponse.GetWorkflowExecutionInfo()
	b := Build{BuildSummary: summaryOf(info), Pending: pendingOf(described.RawResponse.GetPendingActivities())}
	if b.State, err = c.state(ctx, workflowID, b.RunID); err != nil {
		b.Unanswered = failure.Fault(err).Text
		return b, nil
	}
	b.merge()
	return b, nil
}

// state is what the workflow says of itself.
func (c *Client) state(ctx context.Context, workflowID, runID string) (*contract.BuildState, error) {
	ctx, cancel := context.WithTimeout(ctx, queryPatience)
	defer cancel()
	value, err := c.temporal.QueryWorkflow(ctx, workflowID, runID, contract.QueryBuild)
	if err != nil {
		if errors.As(err, new(*serviceerror.QueryFailed)) {
			return nil, fault.Wrap(fault.Unavailable, err, "The build cannot say how far it is: an older version began it, or its worker cannot replay it.")
		}
		return nil, fault.Wrap(fault.Unavailable, err, "The build does not say how far it is: no worker of the control plane answers.")
	}
	var s contract.BuildState
	if err := value.Get(&s); err != nil {
		return nil, fault.Wrap(fault.Unavailable, err, "The build says how far it is in a form that this version does not know.")
	}
	return &s, nil
}

func pendingOf(all []*workflowpb.PendingActivityInfo) []PendingStep {
	var pending []PendingStep
	for _, a := range all {
		p := PendingStep{
			Step: a.GetActivityType().GetName(), Host: contract.HostOf(a.GetActivityOptions().GetTaskQueue().GetName()), Tries: int(a.GetAttempt()), StartedAt: a.GetScheduledTime().AsTime(),
		}
		if next := a.GetNextAttemptScheduleTime(); next != nil {
			at := next.AsTime()
			p.NextTry = &at
		}
		if last := a.GetLastFailure(); last != nil {
			p.Error = cut(failure.Fault(temporal.GetDefaultFailureConverter().FailureToError(last)).Error(), shownFailure)
		}
		pending = append(pending, p)
	}
	slices.SortStableFunc(pending, func(a, b PendingStep) int { return a.StartedAt.Compare(b.StartedAt) })
	return pending
}

func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// merge finds the undo that each pending step belongs to, and gives it the failure that only the engine knows. Of a chain
// one undo runs at a time, the last that was registered; of several chains the same undo may run on one queue, begun in that
// order.
func (b *Build) merge() {
	busy := map[string]bool{} // chains whose running undo was seen
	for i := len(b.State.Undos) - 1; i >= 0; i-- {
		u := &b.State.Undos[i]
		if !u.Waiting() {
			continue
		}
		if busy[u.Chain] {
			continue
		}
		busy[u.Chain] = true
		for j := range b.Pending {
			p := &b.Pending[j]
			if p.Undo == "" && p.Step == u.Activity && p.Host == u.Host {
				p.Undo, u.Error, u.Tries = u.ID, p.Error, p.Tries
				break
			}
		}
	}
}

// Act does what an operator asks with undos that wait, once it is recorded. NotFound for an unknown build or undo, Conflict
// where nothing waits.
func (c *Client) Act(ctx context.Context, id string, act contract.OperatorAct) error {
	workflowID, err := BuildWorkflowID(id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(requestid.With(ctx, act.RequestID), submitPatience)
	defer cancel()
	described, err := c.temporal.DescribeWorkflow(ctx, workflowID, "")
	if errors.As(err, new(*serviceerror.NotFound)) {
		return noBuild(id, err)
	}
	if err != nil {
		return faultOf(err, "The build could not be read", again)
	}
	// Where the answer gets lost it is asked for again, of this run: the next one under the id may never have had the undo.
	runID := described.RawResponse.GetWorkflowExecutionInfo().GetExecution().GetRunId()
	err = c.update(ctx, workflowID, runID, ids.OperatorAct(act.Act, act.RequestID), act)
	if errors.As(err, new(*serviceerror.NotFound)) {
		return fault.Wrap(fault.Conflict, err, "The build %s has ended, or has just gone on in another run: look at it again.", id)
	}
	return faultOf(err, "The build did not take it", "It may still: look at the build before you ask again.")
}

// update has a run take an act, and waits until it is done.
func (c *Client) update(ctx context.Context, workflowID, runID, updateID string, act contract.OperatorAct) error {
	update, err := c.temporal.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		UpdateID: updateID, WorkflowID: workflowID, RunID: runID,
		UpdateName: contract.UpdateUndo, Args: []any{act}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = update.Get(ctx, nil)
	}
	return err
}

// CountBuilds counts what runs, at most one question of the engine for each phase: it counts one value at a time.
func (c *Client) CountBuilds(ctx context.Context) (BuildCounts, error) {
	counts := BuildCounts{Running: map[string]int64{}, Overdue: map[string]int64{}}
	running, err := BuildFilter{}.query()
	if err != nil {
		return counts, err
	}
	if err := c.countBy(ctx, running, contract.AttrPhase, counts.Running); err != nil {
		return counts, err
	}
	counts.Parked = counts.Running[attributes.PhaseParked]
	return counts, c.countBy(ctx, running+" AND "+contract.AttrOverdue+" IS NOT NULL", contract.AttrOverdue, counts.Overdue)
}

// countBy divides all that a query finds by an attribute that names a phase.
func (c *Client) countBy(ctx context.Context, query, attribute string, into map[string]int64) error {
	count := func(query string) (int64, error) {
		n, err := c.temporal.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{Query: query})
		return n.GetCount(), faultOf(err, "The builds could not be counted", again)
	}
	all, err := count(query)
	for _, phase := range countedPhases {
		if err != nil || all <= 0 {
			return err
		}
		var n int64
		if n, err = count(query + " AND " + equals(attribute, phase)); n > 0 {
			into[phase] = n
		}
		all -= n
	}
	if err == nil && all > 0 {
		into[phaseOther] = all
	}
	return err
}
