package operators

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/engine"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/test/system"
	"github.com/slipway-cloud/slipway/workers"
)

// rig is a control plane and one host on queues of their own. Undos on the host fail until mend.
type rig struct {
	*engine.Client
	temporal client.Client
	queue    string
	host     string
	worker   worker.Worker

	mu     sync.Mutex
	broken bool
	done   []string
	acts   []contract.OperatorActRecord
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{temporal: dial(t, testenv.Control(t)), queue: testenv.Queue(t, "control"), host: testenv.Queue(t, "hv"), broken: true}
	r.Client = engine.NewClient(r.temporal, r.queue)
	host := worker.New(dial(t, testenv.Host(t, r.host)), contract.HostQueue(r.host), worker.Options{DisableWorkflowWorker: true})
	for _, name := range []string{contract.RemoveDisk, contract.UndefineDomain} {
		host.RegisterActivityWithOptions(r.undo(name), activity.RegisterOptions{Name: name})
	}
	require.NoError(t, host.Start())
	t.Cleanup(host.Stop)
	r.startControl(t)
	t.Cleanup(func() { r.worker.Stop() })
	return r
}

func dial(t *testing.T, as testenv.Certificate) client.Client {
	t.Helper()
	c, err := client.Dial(client.Options{
		HostPort: testenv.Temporal(t), Namespace: "slipway", ConnectionOptions: client.ConnectionOptions{TLS: as.TLS(t)},
		Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func (r *rig) startControl(t *testing.T) {
	r.worker = worker.New(r.temporal, r.queue, worker.Options{})
	workers.RegisterWorkflows(r.worker)
	r.worker.RegisterActivityWithOptions(r.undo(contract.ReleaseAllocation), activity.RegisterOptions{Name: contract.ReleaseAllocation})
	r.worker.RegisterActivityWithOptions(func(context.Context, contract.ServerStandsOnInput) (bool, error) {
		return false, nil
	}, activity.RegisterOptions{Name: contract.ServerStandsOn})
	r.worker.RegisterActivityWithOptions(func(_ context.Context, in contract.OperatorActRecord) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.acts = append(r.acts, in)
		return nil
	}, activity.RegisterOptions{Name: contract.RecordOperatorAct})
	require.NoError(t, r.worker.Start())
}

func (r *rig) undo(name string) func(context.Context, contract.Undo) error {
	return func(context.Context, contract.Undo) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.broken && name != contract.ReleaseAllocation {
			return failure.Retryable(fault.Wrap(fault.Unavailable, errors.New("input/output error"), "The disk does not answer."))
		}
		r.done = append(r.done, name)
		return nil
	}
}

func (r *rig) mend() { r.mu.Lock(); r.broken = false; r.mu.Unlock() }

// leave starts a clean-up of what a build left on the host.
func (r *rig) leave(t *testing.T) (serverID string, ended client.WorkflowRun) {
	t.Helper()
	serverID = uuid.NewString()
	pending := func(name, host string) contract.PendingUndo {
		return contract.PendingUndo{
			Undoing: contract.Undoing{Activity: name, Input: contract.Undo{ServerID: serverID, Hostname: r.host}, Host: host}, Name: name + "/0", Chain: "attempt/1",
		}
	}
	in := contract.CleanUpInput{
		ServerID: serverID, ProjectID: "p1", RequestID: "req-1",
		Undos:     []contract.PendingUndo{pending(contract.ReleaseAllocation, ""), pending(contract.RemoveDisk, r.host), pending(contract.UndefineDomain, r.host)},
		Deadlines: contract.Deadlines{UndoPatience: 50 * time.Millisecond},
	}
	run, err := r.temporal.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		ID: ids.CleanUpWorkflow(serverID), TaskQueue: r.queue,
		TypedSearchAttributes: temporal.NewSearchAttributes(
			temporal.NewSearchAttributeKeyKeyword(contract.AttrServer).ValueSet(serverID),
			temporal.NewSearchAttributeKeyKeyword(contract.AttrHost).ValueSet(r.host),
			temporal.NewSearchAttributeKeyKeyword(contract.AttrPhase).ValueSet("parked"),
			temporal.NewSearchAttributeKeyKeyword(contract.AttrOverdue).ValueSet("spawning"),
		),
	}, contract.WorkflowCleanUp, in)
	require.NoError(t, err)
	return serverID, run
}

func (r *rig) show(t *testing.T, id string) engine.Build {
	t.Helper()
	b, err := r.Build(t.Context(), id)
	require.NoError(t, err)
	return b
}

// waits says whether the first undo is tried on the host.
func (r *rig) waits(b engine.Build) bool {
	return len(b.Pending) == 1 && b.Pending[0].Step == contract.UndefineDomain
}

func act(kind, undo, reason string) contract.OperatorAct {
	return contract.OperatorAct{Act: kind, Undo: undo, Reason: reason, UserID: "u1", RequestID: "req-" + uuid.NewString()}
}

func TestAnOperatorFindsWhatWaitsSeesWhyAndHasItTriedAgainOrGivenUp(t *testing.T) {
	r := newRig(t)
	server, ended := r.leave(t)
	id := "cleanup:" + server

	system.Eventually(t, 20*time.Second, func() (bool, string) {
		found, next, err := r.Builds(t.Context(), engine.BuildFilter{Parked: true, Overdue: true, Host: r.host, ServerID: server, Limit: 10})
		require.NoError(t, err)
		require.Empty(t, next)
		return len(found) == 1 && found[0].ID == id && found[0].Overdue == "spawning" && found[0].Status == "running", "the clean-up is not listed"
	})
	var b engine.Build
	system.Eventually(t, 20*time.Second, func() (bool, string) {
		b = r.show(t, id)
		return b.State != nil && r.waits(b) && b.Pending[0].Tries > 1 && b.Pending[0].NextTry != nil, "no further try"
	})
	require.Equal(t, contract.WorkflowCleanUp, b.Workflow)
	require.Equal(t, "parked", b.State.Phase)
	const undefine, disk, allocation = "attempt/1:UndefineDomain/0", "attempt/1:RemoveDisk/0", "attempt/1:ReleaseAllocation/0"
	undos := map[string]contract.UndoState{}
	for _, u := range b.State.Undos {
		undos[u.ID] = u
	}
	require.Equal(t, r.host, undos[undefine].Host)
	require.Contains(t, undos[undefine].Error, "The disk does not answer.")
	require.Contains(t, undos[undefine].Error, "input/output error", "an operator sees the cause")
	require.Zero(t, undos[disk].Tries, "it waits for the domain")
	require.Equal(t, []string{undefine, r.host}, []string{b.Pending[0].Undo, b.Pending[0].Host})

	err := r.Act(t.Context(), id, act(contract.ActSkip, "attempt/1:Nothing/0", "x"))
	require.True(t, fault.Is(err, fault.NotFound), err)
	require.True(t, fault.Is(r.Act(t.Context(), id, act(contract.ActSkip, undefine, "")), fault.Invalid))
	require.True(t, fault.Is(r.Act(t.Context(), "server:"+server, act(contract.ActRetry, "", "")), fault.NotFound))
	require.Empty(t, r.acts, "nothing is recorded of what cannot be done")

	skip := act(contract.ActSkip, undefine, "removed by hand")
	require.NoError(t, r.Act(t.Context(), id, skip))
	require.True(t, fault.Is(r.Act(t.Context(), id, act(contract.ActSkip, undefine, "again")), fault.Conflict))
	r.mend()
	require.NoError(t, r.Act(t.Context(), id, act(contract.ActRetry, disk, "")))
	require.NoError(t, ended.Get(t.Context(), nil))
	// What was asked for may have begun by itself just before, and is done once more then.
	require.Equal(t, []string{contract.RemoveDisk, contract.ReleaseAllocation}, slices.Compact(slices.Clone(r.done)), "what is given up is not done")
	require.Equal(t, []string{"skip", undefine, "removed by hand", "u1", skip.RequestID, "cleanup/" + server, server}, []string{
		r.acts[0].Act, r.acts[0].Undo, r.acts[0].Reason, r.acts[0].UserID, r.acts[0].RequestID, r.acts[0].WorkflowID, r.acts[0].ServerID,
	})

	b = r.show(t, id)
	require.Equal(t, "completed", b.Status)
	require.Empty(t, b.Overdue)
	require.Equal(t, "clean", b.State.Phase, "the last state stays to be seen")
	require.Len(t, b.State.Acts, 2)
	require.True(t, fault.Is(r.Act(t.Context(), id, act(contract.ActRetry, "", "")), fault.Conflict), "it has ended")
	_, err = r.Build(t.Context(), "server:"+server)
	require.True(t, fault.Is(err, fault.NotFound), err)
}

func TestABuildThatNoWorkerAnswersForIsShownAsFarAsItIsKnown(t *testing.T) {
	r := newRig(t)
	server, ended := r.leave(t)
	id := "cleanup:" + server
	system.Eventually(t, 20*time.Second, func() (bool, string) { return r.waits(r.show(t, id)), "nothing is tried" })
	r.worker.Stop()
	b := r.show(t, id)
	require.Nil(t, b.State)
	require.Equal(t, "The build does not say how far it is: no worker of the control plane answers.", b.Unanswered)
	require.Equal(t, []string{contract.UndefineDomain, r.host, "running", server}, []string{b.Pending[0].Step, b.Pending[0].Host, b.Status, b.ServerID})
	r.startControl(t)
	r.mend()
	require.NoError(t, ended.Get(t.Context(), nil))
}

// The engine's own word, after some thousand events: hand-overs without an undo make them as any others do.
func TestACleanUpThatWaitsForLongGoesOnInAnotherRunUnderTheSameIDs(t *testing.T) {
	r := newRig(t)
	server, ended := r.leave(t)
	id := "cleanup:" + server
	system.Eventually(t, 20*time.Second, func() (bool, string) { return r.waits(r.show(t, id)), "nothing is tried" })
	before := r.show(t, id)
	var senders sync.WaitGroup
	for range 32 {
		senders.Go(func() {
			for range 140 {
				if err := r.temporal.SignalWorkflow(t.Context(), ids.CleanUpWorkflow(server), "", contract.SignalUndos, []contract.PendingUndo{}); err != nil {
					t.Errorf("handing over: %v", err)
					return
				}
			}
		})
	}
	senders.Wait()
	var after engine.Build
	system.Eventually(t, 20*time.Second, func() (bool, string) {
		after = r.show(t, id)
		return after.RunID != before.RunID && after.State != nil && r.waits(after) && after.Pending[0].Tries > 1, "it does not go on in another run"
	})
	require.Equal(t, "running", after.Status)
	require.Equal(t, []string{r.host, "spawning", "parked"}, []string{after.Host, after.Overdue, after.Phase}, "it is found as before")
	require.Equal(t, before.State.Since, after.State.Since)
	require.Len(t, after.State.Undos, 3)
	for i, u := range after.State.Undos {
		was := before.State.Undos[i]
		require.Equal(t, []any{was.ID, was.Activity, was.Host, "parked", was.Since}, []any{u.ID, u.Activity, u.Host, u.State, u.Since})
	}
	require.NoError(t, r.Act(t.Context(), id, act(contract.ActSkip, before.Pending[0].Undo, "removed by hand")))
	r.mend()
	require.NoError(t, ended.Get(t.Context(), nil))
	require.Equal(t, []string{contract.RemoveDisk, contract.ReleaseAllocation}, slices.Compact(slices.Clone(r.done)))
}

func TestBuildsAreListedPageByPageAndCounted(t *testing.T) {
	r := newRig(t)
	ids := map[string]bool{}
	var runs []client.WorkflowRun
	for range 3 {
		server, run := r.leave(t)
		ids["cleanup:"+server] = true
		runs = append(runs, run)
	}
	filter := engine.BuildFilter{Host: r.host, Limit: 2}
	system.Eventually(t, 20*time.Second, func() (bool, string) {
		all, _, err := r.Builds(t.Context(), engine.BuildFilter{Host: r.host, Limit: 10})
		require.NoError(t, err)
		return len(all) == 3, "not all are listed"
	})
	first, next, err := r.Builds(t.Context(), filter)
	require.NoError(t, err)
	require.Len(t, first, 2)
	filter.Page = next
	last, next, err := r.Builds(t.Context(), filter)
	require.NoError(t, err)
	require.Len(t, last, 1)
	require.Empty(t, next)
	for _, b := range append(first, last...) {
		require.True(t, ids[b.ID], b.ID)
		delete(ids, b.ID)
	}
	for _, page := range []string{"!", "Zm9v", "Zm9vYmFyYmF6", filter.Page + "AA"} {
		_, _, err = r.Builds(t.Context(), engine.BuildFilter{Limit: 2, Page: page})
		require.True(t, fault.Is(err, fault.Invalid), "%s: %v", page, err)
	}

	counts, err := r.CountBuilds(t.Context())
	require.NoError(t, err)
	require.GreaterOrEqual(t, counts.Parked, int64(3), "other tests run beside this one")
	require.Equal(t, counts.Parked, counts.Running["parked"])
	require.GreaterOrEqual(t, counts.Overdue["spawning"], int64(3))
	r.mend()
	for _, run := range runs {
		require.NoError(t, run.Get(t.Context(), nil))
	}
	system.Eventually(t, 20*time.Second, func() (bool, string) {
		running, _, err := r.Builds(t.Context(), engine.BuildFilter{Host: r.host, Limit: 10})
		require.NoError(t, err)
		all, _, err := r.Builds(t.Context(), engine.BuildFilter{Host: r.host, Ended: true, Limit: 10})
		require.NoError(t, err)
		return len(running) == 0 && len(all) == 3 && !all[0].Running(), "they have not ended"
	})
}
