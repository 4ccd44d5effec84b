package matrix

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/faultinject"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
	"github.com/slipway-cloud/slipway/test/system"
)

// many is how many servers a request asks for.
const many = 3

// reserveModes hit the steps of a request for several servers.
var reserveModes = []mode{
	{name: "fails before its effect", run: reserving(faultinject.Rule{Mode: faultinject.FailBefore, Times: 1})},
	{name: "fails after its effect", run: reserving(faultinject.Rule{Mode: faultinject.FailAfter, Times: 1})},
	{name: "times out", slow: true, run: reserving(faultinject.Rule{Mode: faultinject.TimeoutAfter, Times: 1})},
	{name: "has its process killed before", slow: true, run: reserving(faultinject.Rule{Mode: faultinject.KillBefore, Times: 1})},
	{name: "has its process killed after", slow: true, run: reserving(faultinject.Rule{Mode: faultinject.KillAfter, Times: 1})},
	{name: "is done twice", run: reserving(faultinject.Rule{Mode: faultinject.Twice, Times: 1})},
}

// admitModes hit the admission too: from its effect on there is something to delete, or to give back.
var admitModes = append([]mode{
	{name: "is deleted after its effect", run: reservingDeleted(faultinject.HoldAfter)},
	{name: "is cancelled before its effect", run: reservingCancelled(faultinject.HoldBefore)},
	{name: "is cancelled after its effect", run: reservingCancelled(faultinject.HoldAfter)},
}, reserveModes...)

// startModes hit the start of the builds. Servers that are being started are neither torn up nor given back.
var startModes = append([]mode{
	{name: "is deleted before its effect", run: reservingDeleted(faultinject.HoldBefore)},
	{name: "is deleted after its effect", run: reservingDeleted(faultinject.HoldAfter)},
	{name: "is cancelled before its effect", run: starting(faultinject.HoldBefore)},
	{name: "is cancelled after its effect", run: starting(faultinject.HoldAfter)},
}, reserveModes...)

// dropModes hit the undo of an admission whose builds were never started.
var dropModes = []mode{
	{name: "fails three times before its effect", run: dropping(faultinject.Rule{Mode: faultinject.FailBefore, Times: 3}, nil)},
	{name: "fails three times after its effect", run: dropping(faultinject.Rule{Mode: faultinject.FailAfter, Times: 3}, nil)},
	{name: "has its process killed before", slow: true, run: dropping(faultinject.Rule{Mode: faultinject.KillBefore, Times: 1}, nil)},
	{name: "has its process killed after", slow: true, run: dropping(faultinject.Rule{Mode: faultinject.KillAfter, Times: 1}, nil)},
	{name: "is deleted", run: dropping(faultinject.Rule{Mode: faultinject.HoldBefore, Times: 1}, (*trial).deleteOne)},
	{name: "is done twice", run: dropping(faultinject.Rule{Mode: faultinject.Twice, Times: 1}, nil)},
}

// reserve asks for several servers and learns the first one's id from the reservation that runs for them.
func (tr *trial) reserve() {
	tr.t.Helper()
	tr.answered = make(chan answer, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), settlePatience)
		defer cancel()
		config := tr.random.IntN(2) == 0
		s, err := servers.Create(ctx, tr.compute, servers.CreateOpts{
			Name: "matrix", ImageRef: tr.image, FlavorRef: tr.flavor, Networks: []servers.Network{{UUID: tr.network}}, ConfigDrive: &config,
			Min: many - 1, Max: many,
		}, nil).Extract()
		if err != nil {
			tr.answered <- answer{err: err}
			return
		}
		tr.answered <- answer{id: s.ID}
	}()
	ctx, cancel := context.WithTimeout(tr.t.Context(), 2*settlePatience)
	defer cancel()
	system.Eventually(tr.t, settlePatience, func() (bool, string) {
		all, err := tr.temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Namespace: "slipway", Query: fmt.Sprintf("TaskQueue = '%s' AND WorkflowType = '%s' AND StartTime > '%s'",
				tr.ControlQueue(), contract.WorkflowReserve, tr.began.UTC().Format("2006-01-02T15:04:05.000Z")),
		})
		if err != nil || len(all.GetExecutions()) == 0 {
			return false, fmt.Sprintf("no reservation runs: %v", err)
		}
		tr.id = strings.TrimPrefix(all.GetExecutions()[0].GetExecution().GetWorkflowId(), ids.ReservationWorkflow(""))
		return true, ""
	})
}

// cancelReservation asks the engine to cancel the reservation while a step is held, and waits until the workflow has heard
// of it: otherwise the builds would be started with the very task that ends the step.
func (tr *trial) cancelReservation() {
	tr.t.Helper()
	ctx, cancel := context.WithTimeout(tr.t.Context(), 2*settlePatience)
	defer cancel()
	id := ids.ReservationWorkflow(tr.id)
	require.NoError(tr.t, tr.Cancel(ctx, id))
	system.Eventually(tr.t, settlePatience, func() (bool, string) {
		events, asked := tr.temporal.GetWorkflowHistory(ctx, id, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT), false
		for events.HasNext() {
			event, err := events.Next()
			if err != nil {
				return false, err.Error()
			}
			switch event.GetEventType() {
			case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED:
				asked = true
			case enumspb.EVENT_TYPE_WORKFLOW_TASK_STARTED:
				if asked {
					return true, ""
				}
			}
		}
		return false, "the reservation has not heard that it is cancelled"
	})
}

// deleteOne deletes a server that is admitted.
func (tr *trial) deleteOne() {
	tr.t.Helper()
	id := ids.ReservedServer(tr.id, 1)
	tr.delete(tr.t, id)
	tr.gone(tr.t, id)
}

// met waits until a rule took its first call, or holds it.
func (tr *trial) met(rule string, held bool) (first faultinject.Injection) {
	tr.t.Helper()
	system.Eventually(tr.t, settlePatience, func() (bool, string) {
		all, err := tr.Faults.Injected(rule)
		if held {
			all, err = tr.Faults.Held(rule)
		}
		if err != nil || len(all) == 0 {
			return false, fmt.Sprintf("no call: %v", err)
		}
		first = all[0]
		return true, ""
	})
	return first
}

// reservationEnded waits until the reservation and its builds have ended, and gives the servers that there are.
func (tr *trial) reservationEnded() (a answer, all []models.Server) {
	tr.t.Helper()
	a = <-tr.answered
	ctx, cancel := context.WithTimeout(tr.t.Context(), 2*settlePatience)
	defer cancel()
	system.Eventually(tr.t, settlePatience, func() (bool, string) {
		running, err := tr.runs(ctx, ids.ReservationWorkflow(tr.id))
		return err == nil && !running, fmt.Sprintf("the reservation runs: %v", err)
	})
	for i := range many {
		if s := tr.settled(tr.t, ids.ReservedServer(tr.id, i), nil); s != nil {
			all = append(all, *s)
		}
	}
	return a, all
}

// reservationCleared deletes all servers and holds that the world is what it was.
func (tr *trial) reservationCleared(all []models.Server) {
	tr.t.Helper()
	require.NoError(tr.t, tr.Faults.Clear())
	for _, s := range all {
		tr.delete(tr.t, s.ID)
	}
	for _, s := range all {
		tr.gone(tr.t, s.ID)
	}
	tr.restored(tr.t, tr.before, "")
}

// took holds that the rule took so many calls.
func (tr *trial) took(times int) {
	tr.t.Helper()
	all, err := tr.Faults.Injected(tr.rule)
	require.NoError(tr.t, err)
	require.Len(tr.t, all, times, "injections")
}

// built holds that servers are ACTIVE and whole.
func (tr *trial) built(all []models.Server, n int) {
	tr.t.Helper()
	require.Len(tr.t, all, n)
	for _, s := range all {
		require.Equal(tr.t, lifecycle.Active, s.VMState, tr.explain(s.ID))
	}
}

// unbuilt holds that servers are in ERROR and say why, and hold nothing.
func (tr *trial) unbuilt(all []models.Server, why string) {
	tr.t.Helper()
	for _, s := range all {
		require.Equal(tr.t, lifecycle.Error, s.VMState)
		require.NotNil(tr.t, s.Fault)
		require.Contains(tr.t, s.Fault.Message, why)
	}
	now := tr.world(tr.t)
	for _, table := range []string{"claims", "placements", "ports"} {
		require.Equal(tr.t, tr.before.tables[table], now.tables[table], table)
	}
}

// reserving is a step of a reservation that meets a failure: all servers are built, or the request is refused and nothing is
// held. The start of builds that are promised is never refused.
func reserving(r faultinject.Rule) func(*trial) {
	return func(tr *trial) {
		tr.aim(r)
		tr.reserve()
		tr.killed(r, tr.met(tr.rule, false))
		a, all := tr.reservationEnded()
		tr.took(r.Times)
		fails := r.Mode == faultinject.FailBefore || r.Mode == faultinject.FailAfter
		if fails && tr.kind != fault.Unavailable && tr.target.name != contract.StartBuilds {
			require.Equal(tr.t, len(all) == 0, a.err != nil, "who has rows was accepted: they say what failed")
			tr.unbuilt(all, madeToFail)
			tr.ended = refused
		} else {
			require.NoError(tr.t, a.err)
			require.Equal(tr.t, tr.id, a.id)
			tr.built(all, many)
			tr.ended = recovered
		}
		tr.reservationCleared(all)
	}
}

// reservingCancelled is a reservation that an operator cancels before any build has begun. What is admitted by then fails.
func reservingCancelled(m faultinject.Mode) func(*trial) {
	return held(m, (*trial).cancelReservation, func(tr *trial, _ answer, all []models.Server) {
		tr.unbuilt(all, "not started")
		tr.ended = failed
	})
}

// starting is a reservation that an operator cancels when its builds are being started: all are built.
func starting(m faultinject.Mode) func(*trial) {
	return held(m, (*trial).cancelReservation, func(tr *trial, a answer, all []models.Server) {
		require.NoError(tr.t, a.err)
		tr.built(all, many)
		tr.ended = recovered
	})
}

// reservingDeleted deletes one server while a step is held: the others are built.
func reservingDeleted(m faultinject.Mode) func(*trial) {
	return held(m, (*trial).deleteOne, func(tr *trial, a answer, all []models.Server) {
		require.NoError(tr.t, a.err)
		tr.built(all, many-1)
		tr.ended = removed
	})
}

// held does something while a step of a reservation is held, and looks at the servers when all has ended.
func held(m faultinject.Mode, does func(*trial), then func(*trial, answer, []models.Server)) func(*trial) {
	return func(tr *trial) {
		tr.aim(faultinject.Rule{Mode: m, Times: 1})
		tr.reserve()
		tr.met(tr.rule, true)
		does(tr)
		tr.release()
		a, all := tr.reservationEnded()
		tr.took(1)
		then(tr, a, all)
		tr.reservationCleared(all)
	}
}

// dropping cancels a reservation when its servers are admitted, and hits what gives them back.
func dropping(r faultinject.Rule, does func(*trial)) func(*trial) {
	return func(tr *trial) {
		r.ID, r.Step, r.Kind = uuid.NewString(), tr.target.name, tr.kind
		admitted := faultinject.Rule{ID: uuid.NewString(), Step: contract.AdmitServers, Mode: faultinject.HoldAfter, Times: 1}
		_, err := tr.Faults.Set(r, admitted)
		require.NoError(tr.t, err)
		tr.rule = r.ID
		tr.t.Cleanup(func() { require.NoError(tr.t, tr.Faults.Clear()) })
		tr.reserve()
		tr.met(admitted.ID, true)
		tr.cancelReservation()
		require.NoError(tr.t, tr.Faults.Release(admitted.ID))
		tr.killed(r, tr.met(r.ID, does != nil))
		if does != nil {
			does(tr)
			tr.release()
		}
		_, all := tr.reservationEnded()
		tr.took(r.Times)
		tr.unbuilt(all, "not started")
		tr.ended = failed
		tr.reservationCleared(all)
	}
}
