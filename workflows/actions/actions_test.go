package actions

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/workflows/boot"
	"github.com/slipway-cloud/slipway/workflows/run"
	"github.com/slipway-cloud/slipway/workflows/teardown"
)

// guest is a server and its guest without any of the real parts.
type guest struct {
	mu       sync.Mutex
	done     []string // activities, in order
	task     string
	state    string
	on       bool
	password string
	vmState  lifecycle.VMState          // of its server, when an action begins
	power    int                        // and its power state
	put      contract.PutBackGuestInput // back
	failed   contract.FailActionInput
	ended    string
	before   map[string]error // fails an activity before it has an effect
	after    map[string]error // and after
	reached  func(activity string)
	answered bool
	answer   error

	// Of a rebuild.
	image, row string // of the guest, and of the server
	beside     bool   // another guest is built
	kept       bool   // the old one is
	mended     bool
	notes      []string // of what its image did not take
	told       []contract.StepProgress

	// Of a resize.
	held    bool   // the room of both
	earlier string // vm_state before it
	becomes contract.FinishActionInput

	// Of a shelve.
	shelved  bool                       // its image is the server's
	host     string                     // of the server; "" is none
	ports    string                     // the host that they are bound to
	disk     contract.BuildDiskInput    // of which it is built anew
	selects  []contract.SelectHostInput // for it
	fetched  contract.FetchImageInput   // for it
	hasGuest bool                       // by another run
	standsOn bool                       // the same, on the host that it left
	handed   *contract.CleanUpInput     // what a clean-up was given
	asks     []contract.ShowPhaseInput  // how far it was shown to be
	zone     string                     // that was asked for
	planned  func(*contract.UnshelvePlan)
}

func (g *guest) does(name string, effect func()) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done = append(g.done, name)
	if g.reached != nil {
		g.reached(name)
	}
	if err := g.before[name]; err != nil {
		return failure.Of(err)
	}
	effect()
	return failure.Of(g.after[name])
}

func perform(t *testing.T, g *guest, action any, name string, script ...func(*testsuite.TestWorkflowEnvironment)) error {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(20 * time.Second)
	none := func() {}
	for activityName, f := range map[string]any{
		contract.BeginAction: func(_ context.Context, in contract.ActionInput) (contract.BegunAction, error) {
			return contract.BegunAction{Hostname: "hv1", ShutdownTimeout: time.Minute, VMState: string(g.vmState), PowerState: g.power}, g.does(contract.BeginAction, func() { g.task = in.Action })
		},
		contract.FinishAction: func(_ context.Context, in contract.FinishActionInput) error {
			return g.does(contract.FinishAction, func() { g.task, g.state, g.mended, g.told, g.becomes = "", "done", in.Mended, in.Steps, in })
		},
		contract.FailAction: func(_ context.Context, in contract.FailActionInput) error {
			return g.does(contract.FailAction, func() { g.task, g.failed = "", in })
		},
		contract.ResetState: func(_ context.Context, in contract.ResetStateInput) error {
			return g.does(contract.ResetState, func() { g.task, g.state, g.ended = "", in.VMState, in.Ended })
		},
		contract.StopDomain: func(_ context.Context, in contract.StopDomainInput) error {
			return g.does(contract.StopDomain, func() { g.on = in.Timeout != time.Minute })
		},
		contract.StartDomain: func(context.Context, contract.StartDomainInput) error {
			return g.does(contract.StartDomain, func() { g.on = true })
		},
		contract.PowerOnDomain: func(context.Context, contract.Undo) error {
			return g.does(contract.PowerOnDomain, func() { g.on = true })
		},
		contract.PowerOffDomain: func(context.Context, contract.Undo) error {
			return g.does(contract.PowerOffDomain, func() { g.on = false })
		},
		contract.SetAdminPassword: func(_ context.Context, in contract.SetAdminPasswordInput) error {
			return g.does(contract.SetAdminPassword, func() { g.password = in.Password })
		},
		contract.PutBackGuest: func(_ context.Context, in contract.PutBackGuestInput) error {
			return g.does(contract.PutBackGuest, func() { g.put, g.on = in, in.PowerState == lifecycle.Running })
		},
		contract.RemakeDomain:  func(context.Context, contract.RemakeDomainInput) error { return g.does(contract.RemakeDomain, none) },
		contract.PauseDomain:   func(context.Context, contract.PauseDomainInput) error { return g.does(contract.PauseDomain, none) },
		contract.UnpauseDomain: func(context.Context, contract.UnpauseDomainInput) error { return g.does(contract.UnpauseDomain, none) },
		contract.SaveDomain:    func(context.Context, contract.SaveDomainInput) error { return g.does(contract.SaveDomain, none) },
		contract.ResolveImage: func(context.Context, contract.ResolveImageInput) (contract.ResolvedImage, error) {
			return contract.ResolvedImage{Root: contract.Image{ID: "new"}}, g.does(contract.ResolveImage, none)
		},
		contract.PlanRebuild: func(_ context.Context, in contract.PlanRebuildInput) (contract.RebuildPlan, error) {
			of := func(image string) contract.ServerFacts {
				return contract.ServerFacts{Server: contract.Server{ServerID: in.ServerID, ImageID: image, ConfigDrive: true}}
			}
			return contract.RebuildPlan{Old: of("old"), New: of(in.Image.Root.ID)}, g.does(contract.PlanRebuild, none)
		},
		contract.ForgetRebuild: func(context.Context, contract.Undo) error { return g.does(contract.ForgetRebuild, none) },
		contract.FetchImage: func(_ context.Context, in contract.FetchImageInput) (contract.FetchImageOutput, error) {
			return contract.FetchImageOutput{}, g.does(contract.FetchImage, func() { g.fetched = in })
		},
		contract.BuildReplacement: func(_ context.Context, in contract.BuildReplacementInput) (contract.InjectedData, error) {
			return contract.InjectedData{Notes: g.notes}, g.does(contract.BuildReplacement, func() { g.beside = in.ConfigDrive != nil && in.Inject == nil })
		},
		contract.RemoveReplacement: func(context.Context, contract.Undo) error {
			return g.does(contract.RemoveReplacement, func() { g.beside = false })
		},
		contract.ReplaceGuest: func(_ context.Context, in contract.ReplaceGuestInput) error {
			return g.does(contract.ReplaceGuest, func() { g.image, g.beside, g.kept = in.Facts.Server.ImageID, false, true })
		},
		contract.RestoreGuest: func(context.Context, contract.Undo) error {
			return g.does(contract.RestoreGuest, func() { g.image, g.kept = "old", false })
		},
		contract.RecordRebuild: func(_ context.Context, in contract.RecordRebuildInput) error {
			return g.does(contract.RecordRebuild, func() { g.row = in.New.Server.ImageID })
		},
		contract.UnrecordRebuild: func(_ context.Context, in contract.RecordRebuildInput) error {
			return g.does(contract.UnrecordRebuild, func() { g.row = in.New.Server.ImageID })
		},
		contract.BuildRescue: func(context.Context, contract.BuildReplacementInput) (contract.InjectedData, error) {
			return contract.InjectedData{Notes: g.notes}, g.does(contract.BuildRescue, func() { g.beside = true })
		},
		contract.RemoveRescue: func(context.Context, contract.Undo) error {
			return g.does(contract.RemoveRescue, func() { g.beside = false })
		},
		contract.EnterRescue: func(_ context.Context, in contract.EnterRescueInput) error {
			return g.does(contract.EnterRescue, func() { g.image, g.on = in.Facts.Server.ImageID, false })
		},
		contract.UndoRescue: func(context.Context, contract.Undo) error {
			return g.does(contract.UndoRescue, func() { g.image, g.on = "old", false })
		},
		contract.LeaveRescue: func(context.Context, contract.LeaveRescueInput) error {
			return g.does(contract.LeaveRescue, func() { g.image, g.on = "old", false })
		},
		contract.UndoUnrescue: func(context.Context, contract.Undo) error {
			return g.does(contract.UndoUnrescue, func() { g.image, g.on = "new", true })
		},
		contract.EndRescue: func(context.Context, contract.EndRescueInput) error {
			return g.does(contract.EndRescue, func() { g.beside = false })
		},
		contract.ForgetRescueImages: func(context.Context, contract.ForgetRescueImagesInput) error {
			return g.does(contract.ForgetRescueImages, none)
		},
		contract.PlanResize: func(context.Context, contract.PlanResizeInput) (contract.ResizePlan, error) {
			return resizePlan("old", "new", g.earlier), g.does(contract.PlanResize, none)
		},
		contract.RecordMigration: func(context.Context, contract.RecordMigrationInput) error {
			return g.does(contract.RecordMigration, func() { g.held = true })
		},
		contract.SelectDestination: func(_ context.Context, in contract.SelectDestinationInput) (contract.Destination, error) {
			return contract.Destination{Hostname: in.Hostname}, g.does(contract.SelectDestination, none)
		},
		contract.ForgetResize: func(context.Context, contract.Undo) error {
			return g.does(contract.ForgetResize, func() { g.held = false })
		},
		contract.BuildResized: func(_ context.Context, in contract.BuildResizedInput) error {
			return g.does(contract.BuildResized, func() { g.beside = in.ConfigDrive != nil })
		},
		contract.FinishResize: func(context.Context, contract.FinishResizeInput) error { return g.does(contract.FinishResize, none) },
		contract.RecordResize: func(_ context.Context, in contract.RecordResizeInput) error {
			return g.does(contract.RecordResize, func() { g.row = in.New.Server.ImageID })
		},
		contract.UnrecordResize: func(_ context.Context, in contract.RecordResizeInput) error {
			return g.does(contract.UnrecordResize, func() { g.row = in.New.Server.ImageID })
		},
		contract.ConfirmResize: func(context.Context, contract.ConfirmResizeInput) error {
			return g.does(contract.ConfirmResize, func() { g.held = false })
		},
		contract.UnconfirmResize: func(context.Context, contract.Undo) error {
			return g.does(contract.UnconfirmResize, func() { g.held = true })
		},
		contract.PlanRevert: func(context.Context, contract.PlanRevertInput) (contract.ResizePlan, error) {
			return resizePlan("new", "old", g.earlier), g.does(contract.PlanRevert, none)
		},
		contract.RevertGuest: func(context.Context, contract.RevertGuestInput) error {
			return g.does(contract.RevertGuest, func() { g.image, g.on = "old", false })
		},
		contract.UnrevertGuest: func(context.Context, contract.Undo) error {
			return g.does(contract.UnrevertGuest, func() { g.image, g.on = "new", false })
		},
		contract.RecordRevert: func(_ context.Context, in contract.RecordResizeInput) error {
			return g.does(contract.RecordRevert, func() { g.row, g.held = in.New.Server.ImageID, false })
		},
		contract.UnrecordRevert: func(_ context.Context, in contract.RecordResizeInput) error {
			return g.does(contract.UnrecordRevert, func() { g.row, g.held = in.New.Server.ImageID, true })
		},
		contract.RemoveReplaced: func(context.Context, contract.RemoveReplacedInput) error {
			return g.does(contract.RemoveReplaced, func() { g.kept = false })
		},
		contract.RecordSnapshot: func(_ context.Context, in contract.RecordSnapshotInput) error {
			return g.does(contract.RecordSnapshot, func() { g.image = in.Snapshot.ImageID })
		},
		contract.ForgetSnapshot: func(context.Context, contract.ForgetSnapshotInput) error {
			return g.does(contract.ForgetSnapshot, func() { g.image = "" })
		},
		contract.TakeSnapshot: func(context.Context, contract.TakeSnapshotInput) error {
			return g.does(contract.TakeSnapshot, func() { g.beside = true })
		},
		contract.RemoveSnapshot: func(context.Context, contract.Undo) error {
			return g.does(contract.RemoveSnapshot, func() { g.beside = false })
		},
		contract.StoreSnapshot: func(context.Context, contract.StoreSnapshotInput) error { return g.does(contract.StoreSnapshot, none) },
		contract.DropSnapshot: func(context.Context, contract.DropSnapshotInput) error {
			return g.does(contract.DropSnapshot, func() { g.beside = false })
		},
		contract.RotateBackups: func(_ context.Context, in contract.RotateBackupsInput) error {
			return g.does(contract.RotateBackups, func() { g.row = in.Snapshot.Backup.Type })
		},
		contract.HostSeen: func(context.Context, contract.HostSeenInput) (bool, error) { return false, nil },
		contract.MarkDeleting: func(context.Context, contract.DeleteInput) (contract.Takings, error) {
			return contract.Takings{Hostnames: []string{"hv1"}, NICs: 1}, g.does(contract.MarkDeleting, none)
		},
		contract.RemoveServer: func(context.Context, contract.RemoveServerInput) error {
			return g.does(contract.RemoveServer, func() { g.state = "deleted" })
		},
		contract.RecordOperatorAct: func(context.Context, contract.OperatorActRecord) error { return nil },
	} {
		env.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: activityName})
	}
	registerShelving(env, g)
	for _, row := range boot.Table() {
		if row.Undo != "" && row.Undo != contract.FailServer {
			env.RegisterActivityWithOptions(func(context.Context, contract.Undo) error { return g.does(row.Undo, none) }, activity.RegisterOptions{Name: row.Undo})
		}
	}
	env.RegisterDelayedCallback(func() {
		env.UpdateWorkflow(contract.UpdateSubmit, "submit", &testsuite.TestUpdateCallback{
			OnAccept: func() {}, OnReject: func(err error) { t.Errorf("rejected: %v", err) },
			OnComplete: func(_ any, err error) { g.answer, g.answered = err, true },
		})
	}, 0)
	for _, s := range script {
		s(env)
	}
	env.ExecuteWorkflow(action, contract.ActionInput{
		Action: name, ServerID: "11111111-2222-3333-4444-555555555555", RequestID: "req-1", Deadlines: contract.DefaultDeadlines(),
		ActionArguments: arguments[name],
	})
	require.True(t, env.IsWorkflowCompleted())
	require.True(t, g.answered, "every submission is answered")
	return env.GetWorkflowError()
}

var arguments = map[string]contract.ActionArguments{
	"changePassword": {AdminPass: "s3cret"},
	"rebuild":        {Rebuild: &contract.Rebuild{ImageID: "new"}},
	"rescue":         {Rescue: &contract.Rebuild{ImageID: "new"}},
	"createBackup":   {Snapshot: &contract.Snapshot{ImageID: "snap", ProjectID: "p", Backup: &contract.Backup{Type: "daily", Rotation: 1}}},
	"createImage":    {Snapshot: &contract.Snapshot{ImageID: "snap", ProjectID: "p"}},
	"resize":         {Resize: &contract.Resize{}},

	"shelve":             {Snapshot: &contract.Snapshot{ImageID: "snap", ProjectID: "p"}},
	"shelve-at-once":     {Snapshot: &contract.Snapshot{ImageID: "snap", ProjectID: "p"}},
	"unshelve-offloaded": {Unshelve: &contract.Unshelve{Zone: new("az2"), MaxHosts: 2}},
}

// resizePlan is that of a server whose image says which guest it is.
func resizePlan(old, becomes, vmState string) contract.ResizePlan {
	of := func(image string) contract.ServerFacts {
		return contract.ServerFacts{Server: contract.Server{ImageID: image, ConfigDrive: true}}
	}
	return contract.ResizePlan{Old: of(old), New: of(becomes), VMState: vmState}
}

var does = Actions{Ends: teardown.Workflow{Rows: boot.Table(), Version: boot.TableVersion}}

func TestAStopEndsTheGuestAndKeepsTheServer(t *testing.T) {
	g := &guest{on: true}
	require.NoError(t, perform(t, g, does.StopServer, "os-stop"))
	require.NoError(t, g.answer)
	require.False(t, g.on)
	require.Equal(t, []string{contract.BeginAction, contract.StopDomain, contract.FinishAction}, g.done)
}

func TestAStartRunsTheGuest(t *testing.T) {
	g := &guest{}
	require.NoError(t, perform(t, g, does.StartServer, "os-start"))
	require.True(t, g.on)
	require.Equal(t, "done", g.state)
}

func TestAnActionThatIsRefusedSaysWhyAndTouchesNothing(t *testing.T) {
	g := &guest{on: true, before: map[string]error{contract.BeginAction: fault.New(fault.Conflict, "Cannot 'stop' instance x while it is in vm_state stopped")}}
	require.Error(t, perform(t, g, does.StopServer, "os-stop"))
	require.Equal(t, fault.Conflict, failure.Fault(g.answer).Kind)
	require.True(t, g.on)
	require.NotContains(t, g.done, contract.StopDomain)
}

func TestAStartThatFailsLeavesTheGuestOffAndTheServerAsItWas(t *testing.T) {
	for name, g := range map[string]*guest{
		"before": {before: map[string]error{contract.StartDomain: fault.New(fault.HostUnfit, "hv1 has no memory left")}},
		"after":  {after: map[string]error{contract.StartDomain: fault.New(fault.HostUnfit, "hv1 has no memory left")}},
		"bug":    {after: map[string]error{contract.StartDomain: fault.New(fault.Internal, "hv1 has no memory left")}},
	} {
		err := perform(t, g, does.StartServer, "os-start")
		require.ErrorContains(t, err, "hv1 has no memory left", name)
		require.NoError(t, g.answer, "it was accepted: %s", name)
		require.False(t, g.on, name)
		require.Empty(t, g.task, name)
		require.Equal(t, "hv1 has no memory left", g.failed.Message, name)
		require.Less(t, slices.Index(g.done, contract.PowerOffDomain), slices.Index(g.done, contract.FailAction), "the server stays locked until its guest is off: %s", name)
	}
}

func TestAStopThatFailsLeavesTheGuestRunning(t *testing.T) {
	g := &guest{on: true, after: map[string]error{contract.StopDomain: fault.New(fault.HostUnfit, "the host did not finish the step")}}
	require.Error(t, perform(t, g, does.StopServer, "os-stop"))
	require.True(t, g.on)
	require.Empty(t, g.task)
	require.Equal(t, "the host did not finish the step", g.failed.Message)
}

func TestAPasswordIsSetBeforeItsChangeIsAnswered(t *testing.T) {
	g := &guest{on: true}
	g.reached = func(activity string) { require.False(t, g.answered, activity) }
	require.NoError(t, perform(t, g, does.ChangePassword, "changePassword"))
	require.NoError(t, g.answer)
	require.Equal(t, "s3cret", g.password)
	require.Equal(t, []string{contract.BeginAction, contract.SetAdminPassword, contract.FinishAction}, g.done)
}

func TestAGuestWithoutAnAgentRefusesAPasswordOnceItsServerIsFree(t *testing.T) {
	g := &guest{on: true, before: map[string]error{contract.SetAdminPassword: fault.New(fault.Conflict, "QEMU guest agent is not enabled")}}
	g.reached = func(activity string) { require.False(t, g.answered, activity) }
	require.Error(t, perform(t, g, does.ChangePassword, "changePassword"))
	require.Equal(t, fault.Conflict, failure.Fault(g.answer).Kind)
	require.Equal(t, "QEMU guest agent is not enabled", failure.Fault(g.answer).Text)
	require.Equal(t, []string{contract.BeginAction, contract.SetAdminPassword, contract.FailAction}, g.done)
	require.Equal(t, 409, g.failed.Code)
}

// changesOfPower are the actions whose guest is put back where they fail.
var changesOfPower = []struct {
	name  string
	do    any
	steps []string
}{
	{"reboot-soft", does.SoftRebootServer, []string{contract.StopDomain, contract.StartDomain}},
	{"reboot-hard", does.HardRebootServer, []string{contract.RemakeDomain, contract.StartDomain}},
	{"pause", does.PauseServer, []string{contract.PauseDomain}},
	{"unpause", does.UnpauseServer, []string{contract.UnpauseDomain}},
	{"suspend", does.SuspendServer, []string{contract.SaveDomain}},
	{"resume", does.ResumeServer, []string{contract.StartDomain}},
}

func TestAChangeOfPowerThatFailsPutsTheGuestBackBeforeItsServerIsUnlocked(t *testing.T) {
	for _, c := range changesOfPower {
		row, _ := lifecycle.Find(c.name)
		g := &guest{}
		require.NoError(t, perform(t, g, c.do, c.name))
		require.Equal(t, slices.Concat([]string{contract.BeginAction}, c.steps, []string{contract.FinishAction}), g.done)
		for _, state := range row.From {
			for _, step := range append(slices.Clone(c.steps), contract.FinishAction) {
				for _, late := range []bool{false, true} {
					failing := map[string]error{step: fault.New(fault.HostUnfit, "hv1 cannot")}
					g := &guest{vmState: state, power: lifecycle.PausedGuest, before: failing}
					if late {
						g.before, g.after = nil, failing
					}
					require.ErrorContains(t, perform(t, g, c.do, c.name), "hv1 cannot", c.name)
					require.NoError(t, g.answer, "it was accepted: %s", c.name)
					require.Equal(t, []any{string(state), lifecycle.PausedGuest}, []any{g.put.VMState, g.put.PowerState}, c.name)
					require.Equal(t, []any{string(state), lifecycle.PausedGuest}, []any{g.failed.VMState, g.failed.PowerState}, c.name)
					require.Equal(t, []string{contract.PutBackGuest, contract.FailAction}, g.done[len(g.done)-2:], c.name)
				}
			}
		}
	}
}

func TestEveryActionOfTheTableHasSteps(t *testing.T) {
	for _, a := range lifecycle.Tabled() {
		steps := Tables()[a.Name]
		row := func(name string) int { return slices.IndexFunc(steps, func(s run.Spec) bool { return s.Name == name }) }
		require.Contains(t, []int{0, 1}, row(contract.BeginAction), a.Name)
		require.Positive(t, row(contract.FinishAction), a.Name)
		for i, s := range steps {
			if i < row(contract.BeginAction) {
				require.Equal(t, run.Control, s.Scope, "%s: %s is done to a server that is not marked", a.Name, s.Name)
			}
			if i > row(contract.FinishAction) {
				require.NotEmpty(t, s.WhyNoUndo, "%s: %s is done to a server that is not marked", a.Name, s.Name)
			}
			require.True(t, (s.Undo == "") != (s.WhyNoUndo == ""), "%s needs an undo, or the reason why it has none", s.Name)
		}
	}
}

func TestADeleteDuringAnActionTearsTheServerDown(t *testing.T) {
	for _, step := range []string{contract.BeginAction, contract.StopDomain, contract.FinishAction} {
		g := &guest{on: true}
		sent := false
		err := perform(t, g, does.StopServer, "os-stop", func(env *testsuite.TestWorkflowEnvironment) {
			g.reached = func(activity string) {
				if activity == step && !sent {
					sent = true
					env.SignalWorkflow(contract.SignalDelete, contract.DeleteInput{ServerID: "s", RequestID: "req-2", Deadlines: contract.DefaultDeadlines()})
				}
			}
		})
		require.NoError(t, err, step)
		require.True(t, sent)
		require.Equal(t, "deleted", g.state, step)
		require.Contains(t, g.done, contract.DestroyDomain, step)
		require.Contains(t, g.done, contract.RemoveDisk, step)
	}
}

func TestAResetDuringAnActionGivesBackWhatItTookAndSetsTheState(t *testing.T) {
	for _, step := range []string{contract.BeginAction, contract.StopDomain, contract.FinishAction} {
		g := &guest{on: true}
		sent := false
		err := perform(t, g, does.StopServer, "os-stop", func(env *testsuite.TestWorkflowEnvironment) {
			g.reached = func(activity string) {
				if activity == step && !sent {
					sent = true
					env.SignalWorkflow(contract.SignalReset, contract.ResetInput{ServerID: "s", RequestID: "req-2", VMState: "error", Deadlines: contract.DefaultDeadlines()})
				}
			}
		})
		require.NoError(t, err, step)
		require.Equal(t, "error", g.state, step)
		require.Equal(t, contract.ResetState, g.done[len(g.done)-1], step)
		if step == contract.StopDomain {
			require.True(t, g.on, "what the stop did is undone")
			require.Less(t, slices.Index(g.done, contract.FailAction), slices.Index(g.done, contract.ResetState))
		}
	}
}

func TestAResetDoesNotWaitForAHostThatIsAwayButKeepsTheLock(t *testing.T) {
	g := &guest{on: true, after: map[string]error{contract.StopDomain: fault.New(fault.Internal, "it did not stop")}}
	g.before = map[string]error{contract.PowerOnDomain: fault.New(fault.Unavailable, "hv1 does not answer")}
	err := perform(t, g, does.StopServer, "os-stop", func(env *testsuite.TestWorkflowEnvironment) {
		env.RegisterDelayedCallback(func() {
			env.SignalWorkflow(contract.SignalReset, contract.ResetInput{ServerID: "s", RequestID: "req-2", VMState: "error", Deadlines: contract.DefaultDeadlines()})
		}, time.Hour)
		env.RegisterDelayedCallback(func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			require.Equal(t, "error", g.state, "it is set although the host is away")
			require.False(t, env.IsWorkflowCompleted(), "and the host is waited for")
			delete(g.before, contract.PowerOnDomain)
		}, 2*time.Hour)
	})
	require.NoError(t, err)
	require.True(t, g.on)
	require.Equal(t, "req-1", g.ended, "what was ended changes the server no more")
}
