package models

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// running is a server that is active on a host.
func (w *world) running(t *testing.T, name string) Server {
	t.Helper()
	ctx := context.Background()
	v := w.record(t, name)
	h := w.host(t, "hv-"+name, 8, 8192, 100)
	require.NoError(t, w.Place(ctx, Placement{ServerID: v.ID, HostID: h.ID, VCPUs: 1, MemoryMiB: 512, DiskGiB: 1}, "spawning"))
	require.NoError(t, w.ActivateServer(ctx, Activation{ServerID: v.ID, RequestID: "req-" + v.ID, Hostname: h.Hostname, PowerState: lifecycle.Running}))
	return w.read(t, v.ID)
}

func (w *world) read(t *testing.T, id string) Server {
	t.Helper()
	v, err := w.Server(context.Background(), id)
	require.NoError(t, err)
	return v
}

func asked(v Server, action lifecycle.Action, request string) InstanceAction {
	return InstanceAction{ServerID: v.ID, RequestID: request, Action: action.Method, UserID: v.UserID, ProjectID: v.ProjectID}
}

func action(t *testing.T, name string) lifecycle.Action {
	t.Helper()
	a, ok := lifecycle.Find(name)
	require.True(t, ok)
	return a
}

func TestAnActionMarksFinishesOrFailsAndTwiceIsOnce(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	stop, start := action(t, "os-stop"), action(t, "os-start")
	v := w.running(t, "web")

	for range 2 {
		got, err := w.BeginAction(ctx, v.ID, stop, asked(v, stop, "req-1"))
		require.NoError(t, err)
		require.Equal(t, "hv-web", got.Host.Hostname)
	}
	v = w.read(t, v.ID)
	require.Equal(t, []any{lifecycle.Active, lifecycle.PoweringOff}, []any{v.VMState, *v.TaskState})
	_, err := w.BeginAction(ctx, v.ID, stop, asked(v, stop, "req-2"))
	require.True(t, fault.Is(err, fault.Conflict))
	require.EqualError(t, err, "Cannot 'stop' instance "+v.ID+" while it is in task_state powering-off")

	for range 2 {
		require.NoError(t, w.FinishAction(ctx, v.ID, "req-1", stop, []InstanceActionEvent{{Seq: 0, Event: "StopDomain"}}))
	}
	v = w.read(t, v.ID)
	require.Equal(t, []any{lifecycle.Stopped, (*string)(nil), lifecycle.Shutdown}, []any{v.VMState, v.TaskState, v.PowerState})
	_, err = w.BeginAction(ctx, v.ID, stop, asked(v, stop, "req-3"))
	require.EqualError(t, err, "Cannot 'stop' instance "+v.ID+" while it is in vm_state stopped")
	_, err = w.BeginAction(ctx, v.ID, stop, asked(v, stop, "req-1"))
	require.True(t, fault.Is(err, fault.Conflict), "what has ended does not begin again: %v", err)

	_, err = w.BeginAction(ctx, v.ID, start, asked(v, start, "req-4"))
	require.NoError(t, err)
	for range 2 {
		require.NoError(t, w.FailAction(ctx, v.ID, "req-4", start, v, ServerFault{Code: 500, Message: "no memory"}, []InstanceActionEvent{{Seq: 0, Event: "StartDomain"}}))
	}
	v = w.read(t, v.ID)
	require.Equal(t, []any{lifecycle.Stopped, (*string)(nil)}, []any{v.VMState, v.TaskState}, "it is what it was")
	a, err := w.Action(ctx, v.ID, "req-4")
	require.NoError(t, err)
	require.Equal(t, "Error", *a.Message)
	require.Equal(t, "StartDomain", a.Events[0].Event)

	// It had finished, and nobody heard of it.
	_, err = w.BeginAction(ctx, v.ID, start, asked(v, start, "req-6"))
	require.NoError(t, err)
	require.NoError(t, w.FinishAction(ctx, v.ID, "req-6", start, nil))
	require.Equal(t, lifecycle.Active, w.read(t, v.ID).VMState)
	require.NoError(t, w.FailAction(ctx, v.ID, "req-6", start, v, ServerFault{Code: 500, Message: "lost"}, nil))
	require.Equal(t, []any{lifecycle.Stopped, lifecycle.Shutdown}, []any{w.read(t, v.ID).VMState, w.read(t, v.ID).PowerState})

	// An undo of what has been followed by something else changes nothing.
	_, err = w.BeginAction(ctx, v.ID, start, asked(v, start, "req-5"))
	require.NoError(t, err)
	require.NoError(t, w.FailAction(ctx, v.ID, "req-4", start, v, ServerFault{Code: 500, Message: "late"}, nil))
	require.Equal(t, lifecycle.PoweringOn, *w.read(t, v.ID).TaskState)
}

func TestOfSeveralActionsAtOnceOneBegins(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	stop := action(t, "os-stop")
	v := w.running(t, "web")
	begun := 0
	for i, err := range atOnce(8, func(i int) error {
		_, err := w.BeginAction(ctx, v.ID, stop, asked(v, stop, "req-"+string(rune('a'+i))))
		return err
	}) {
		if err == nil {
			begun++
		} else {
			require.True(t, fault.Is(err, fault.Conflict), "%d: %v", i, err)
		}
	}
	require.Equal(t, 1, begun)
}

func TestAServerThatWasNeverStartedIsNotReadyForActions(t *testing.T) {
	w := newWorld(t)
	v := w.record(t, "web")
	stop := action(t, "os-stop")
	_, err := w.BeginAction(context.Background(), v.ID, stop, asked(v, stop, "req-1"))
	require.EqualError(t, err, "Cannot 'stop' instance "+v.ID+" while it is in vm_state building")
}

// Processes of the version before write status and know nothing of vm_state.
func TestWhatTheVersionBeforeWritesShowsInVMStateAndTheOtherWay(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	v := w.running(t, "web")
	for _, step := range []struct {
		set    string
		state  lifecycle.VMState
		status string // as the version before reads it
	}{
		{"vm_state = 'stopped'", lifecycle.Stopped, "ACTIVE"},
		{"task_state = 'deleting'", lifecycle.Stopped, "ACTIVE"},
		{"status = 'ERROR'", lifecycle.Error, "ERROR"},
		{"vm_state = 'active'", lifecycle.Active, "ACTIVE"},
		{"status = 'BUILD'", lifecycle.Building, "BUILD"},
	} {
		require.NoError(t, w.db.WithContext(ctx).Exec("UPDATE servers SET "+step.set+" WHERE id = ?", v.ID).Error)
		var status string
		require.NoError(t, w.db.WithContext(ctx).Raw("SELECT status FROM servers WHERE id = ?", v.ID).Scan(&status).Error)
		require.Equal(t, []any{step.state, step.status}, []any{w.read(t, v.ID).VMState, status}, step.set)
	}
}

func TestWhatIsDoneBesideTheLockIsRecordedAndThenHowItEnded(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	dump := action(t, "trigger_crash_dump")
	v := w.running(t, "web")
	a := asked(v, dump, "req-1")
	a.StartedAt = now()
	w.heard(t, v.ID)
	require.NoError(t, w.RecordAction(ctx, a))
	a.Events = []InstanceActionEvent{{Event: "InjectNMI", StartedAt: a.StartedAt, Result: new("Success")}}
	require.NoError(t, w.RecordAction(ctx, a))
	events, _ := w.heard(t, v.ID)
	require.Equal(t, []string{"instance.trigger_crash_dump.start", "instance.trigger_crash_dump.end"}, events)
	a.Message, a.Events = new("Error"), []InstanceActionEvent{{Event: "InjectNMI", StartedAt: a.StartedAt, Result: new("Error")}}
	for range 2 {
		require.NoError(t, w.RecordAction(ctx, a))
	}
	got, err := w.Action(ctx, v.ID, "req-1")
	require.NoError(t, err)
	require.Equal(t, []any{"trigger_crash_dump", "Error", 1}, []any{got.Action, *got.Message, len(got.Events)})
	require.Equal(t, v.UpdatedAt, w.read(t, v.ID).UpdatedAt, "the server is as it was")
}

func TestAnActionThatFailsAfterItsEndIsGivenUpAlsoWhereTheGuestWasSeenDownMeanwhile(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	v := w.running(t, "web")
	suspend, resume := action(t, "suspend"), action(t, "resume")
	_, err := w.BeginAction(ctx, v.ID, suspend, asked(v, suspend, "req-1"))
	require.NoError(t, err)
	require.NoError(t, w.FinishAction(ctx, v.ID, "req-1", suspend, nil))
	was, err := w.BeginAction(ctx, v.ID, resume, asked(v, resume, "req-2"))
	require.NoError(t, err)
	require.NoError(t, w.FinishAction(ctx, v.ID, "req-2", resume, nil), "its answer gets lost")
	host, g := w.sighting(t, v, lifecycle.Shutdown)
	moved, err := w.SawGuest(ctx, host, g)
	require.NoError(t, err)
	require.True(t, moved)
	require.NoError(t, w.FailAction(ctx, v.ID, "req-2", resume, was, ServerFault{ServerID: v.ID, Code: 500, Message: "x"}, nil))
	got := w.read(t, v.ID)
	require.Equal(t, []any{lifecycle.Suspended, lifecycle.Shutdown}, []any{got.VMState, got.PowerState})
}
