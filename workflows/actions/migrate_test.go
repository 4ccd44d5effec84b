package actions

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// machine is what one of two hosts has of a server.
type machine struct{ room, disks, drive, domain, on, offers bool }

// move is a server that goes from hv1 to hv2, or has gone there, without any of the real parts.
type move struct {
	mu            sync.Mutex
	t             *testing.T
	done          []string // activities, with the host of those that belong to one
	vmState       lifecycle.VMState
	earlier       lifecycle.VMState // before it was moved
	hosts         map[string]*machine
	at            string // its host
	status        string // of the migration
	lost          bool   // its image is
	before, after map[string]error
	failed        contract.FailActionInput
	becomes       contract.FinishActionInput
	left          []contract.PendingUndo // to the clean-up
	reached       func(activity string)
}

// movable is a server of a state on hv1, or one that was moved from there to hv2.
func movable(t *testing.T, was lifecycle.VMState) *move {
	whole := func(on bool) *machine { return &machine{room: true, disks: true, drive: true, domain: true, on: on} }
	m := &move{t: t, vmState: was, earlier: lifecycle.Active, at: "hv1", status: "none", hosts: map[string]*machine{"hv1": whole(was == lifecycle.Active), "hv2": {}}}
	if was == lifecycle.Resized {
		m.at, m.status, m.hosts["hv2"] = "hv2", "finished", whole(true)
	}
	return m
}

func (m *move) does(name string, effect func()) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done = append(m.done, name)
	if m.reached != nil {
		m.reached(name)
	}
	if err := m.before[name]; err != nil {
		if silent := new(*temporal.TimeoutError); errors.As(err, silent) {
			return err
		}
		return failure.Of(err)
	}
	effect()
	require.False(m.t, m.hosts["hv1"].on && m.hosts["hv2"].on, "%s: both run", name)
	return failure.Of(m.after[name])
}

// on does something to what the host has whose queue the activity came by.
func (m *move) on(ctx context.Context, name string, effect func(*machine)) error {
	for host, is := range m.hosts {
		if contract.HostQueue(host) == activity.GetInfo(ctx).TaskQueue {
			return m.does(name+" "+host, func() { effect(is) })
		}
	}
	return fault.New(fault.Internal, "%s came by the queue %s", name, activity.GetInfo(ctx).TaskQueue)
}

func (m *move) perform(action any, name string, as contract.Resize, script ...func(*testsuite.TestWorkflowEnvironment)) error {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(20 * time.Second)
	none := func() {}
	status := func(s string) func() { return func() { m.status = s } }
	undoes := func(name string, effect func(*machine)) any {
		return func(ctx context.Context, _ contract.Undo) error { return m.on(ctx, name, effect) }
	}
	plan := func(old, is string) contract.ResizePlan {
		p := resizePlan(old, is, string(m.earlier))
		p.Lost = m.lost
		return p
	}
	for name, f := range map[string]any{
		contract.PlanResize: func(context.Context, contract.PlanResizeInput) (contract.ResizePlan, error) {
			return plan("old", "new"), m.does(contract.PlanResize, none)
		},
		contract.PlanRevert: func(context.Context, contract.PlanRevertInput) (contract.ResizePlan, error) {
			return plan("new", "old"), m.does(contract.PlanRevert, none)
		},
		contract.BeginAction: func(context.Context, contract.ActionInput) (contract.BegunAction, error) {
			begun := contract.BegunAction{Hostname: m.at, ShutdownTimeout: time.Minute, VMState: string(m.vmState), PowerState: lifecycle.Running}
			if m.status == "finished" {
				begun.Source = "hv1"
			}
			return begun, m.does(contract.BeginAction, none)
		},
		contract.FinishAction: func(_ context.Context, in contract.FinishActionInput) error {
			return m.does(contract.FinishAction, func() { m.becomes = in })
		},
		contract.FailAction: func(_ context.Context, in contract.FailActionInput) error {
			return m.does(contract.FailAction, func() { m.failed = in })
		},
		contract.RecordMigration: func(context.Context, contract.RecordMigrationInput) error {
			return m.does(contract.RecordMigration, status("begun"))
		},
		contract.ForgetResize: func(context.Context, contract.Undo) error {
			return m.does(contract.ForgetResize, func() { m.status, m.at = "none", "hv1" })
		},
		contract.SelectDestination: func(context.Context, contract.SelectDestinationInput) (contract.Destination, error) {
			return contract.Destination{Hostname: "hv2", AvailabilityZone: "west"}, m.does(contract.SelectDestination, func() { m.hosts["hv2"].room = true })
		},
		contract.ReleaseAllocation: func(_ context.Context, in contract.Undo) error {
			return m.does(contract.ReleaseAllocation, func() {
				if in.Hostname == "hv1" {
					require.Contains(m.t, m.done, contract.MarkDeleting)
					return
				}
				require.True(m.t, in.Hostname == "hv2" || slices.Equal([]string{"hv1"}, in.Except), "%v", in)
				m.hosts["hv2"].room = false
			})
		},
		contract.FetchImage: func(ctx context.Context, _ contract.FetchImageInput) (contract.FetchImageOutput, error) {
			return contract.FetchImageOutput{}, m.on(ctx, contract.FetchImage, func(*machine) {})
		},
		contract.OfferDisks: func(ctx context.Context, in contract.OfferDisksInput) (contract.DiskOffer, error) {
			return contract.DiskOffer{Address: "hv1:1"}, m.on(ctx, contract.OfferDisks, func(h *machine) {
				require.Equal(m.t, []any{"req-1", "hv2", m.lost}, []any{in.MoveID, in.To, in.Whole})
				require.False(m.t, h.on)
				h.offers = true
			})
		},
		contract.WithdrawDisks: undoes(contract.WithdrawDisks, func(h *machine) { h.offers = false }),
		contract.EndOffer: func(ctx context.Context, _ contract.EndOfferInput) error {
			return m.on(ctx, contract.EndOffer, func(h *machine) { h.offers = false })
		},
		contract.ReceiveDisks: func(ctx context.Context, in contract.ReceiveDisksInput) error {
			return m.on(ctx, contract.ReceiveDisks, func(h *machine) {
				require.Equal(m.t, []any{"req-1", "hv1", "hv1:1"}, []any{in.MoveID, in.From, in.Offer.Address})
				h.disks = true
			})
		},
		contract.DiscardReceived: undoes(contract.DiscardReceived, func(h *machine) { h.disks = false }),
		contract.BuildArrived: func(ctx context.Context, _ contract.BuildArrivedInput) error {
			return m.on(ctx, contract.BuildArrived, func(*machine) {})
		},
		contract.RemoveDisk: undoes(contract.RemoveDisk, func(h *machine) { h.disks = false }),
		contract.BuildConfigDrive: func(ctx context.Context, in contract.BuildConfigDriveInput) error {
			return m.on(ctx, contract.BuildConfigDrive, func(h *machine) {
				require.Equal(m.t, "west", in.Metadata.AvailabilityZone)
				h.drive = true
			})
		},
		contract.RemoveConfigDrive: undoes(contract.RemoveConfigDrive, func(h *machine) { h.drive = false }),
		contract.FinishResize: func(context.Context, contract.FinishResizeInput) error {
			return m.does(contract.FinishResize, status("moved"))
		},
		contract.DefineDomain: func(ctx context.Context, in contract.DefineDomainInput) error {
			return m.on(ctx, contract.DefineDomain, func(h *machine) { h.domain = in.Facts.Server.ImageID == "new" })
		},
		contract.UndefineDomain: undoes(contract.UndefineDomain, func(h *machine) { h.domain, h.on = false, false }),
		contract.RemakeDomain: func(ctx context.Context, _ contract.RemakeDomainInput) error {
			return m.on(ctx, contract.RemakeDomain, func(*machine) {})
		},
		contract.StopDomain: func(ctx context.Context, _ contract.StopDomainInput) error {
			return m.on(ctx, contract.StopDomain, func(h *machine) { h.on = false })
		},
		contract.StartDomain: func(ctx context.Context, _ contract.StartDomainInput) error {
			return m.on(ctx, contract.StartDomain, func(h *machine) { h.on = true })
		},
		contract.PowerOnDomain:  undoes(contract.PowerOnDomain, func(h *machine) { h.on = true }),
		contract.PowerOffDomain: undoes(contract.PowerOffDomain, func(h *machine) { h.on = false }),
		contract.PutBackGuest: func(ctx context.Context, _ contract.PutBackGuestInput) error {
			return m.on(ctx, contract.PutBackGuest, func(h *machine) { h.on = true })
		},
		contract.RecordResize: func(context.Context, contract.RecordResizeInput) error {
			return m.does(contract.RecordResize, func() { m.status, m.at = "finished", "hv2" })
		},
		contract.UnrecordResize: func(context.Context, contract.RecordResizeInput) error {
			return m.does(contract.UnrecordResize, func() { m.status, m.at = "moved", "hv1" })
		},
		contract.ConfirmResize: func(context.Context, contract.ConfirmResizeInput) error {
			return m.does(contract.ConfirmResize, status("confirmed"))
		},
		contract.UnconfirmResize: func(context.Context, contract.Undo) error {
			return m.does(contract.UnconfirmResize, status("finished"))
		},
		contract.RecordRevert: func(context.Context, contract.RecordResizeInput) error {
			return m.does(contract.RecordRevert, func() { m.status, m.at = "reverted", "hv1" })
		},
		contract.UnrecordRevert: func(context.Context, contract.RecordResizeInput) error {
			return m.does(contract.UnrecordRevert, func() { m.status, m.at = "finished", "hv2" })
		},
		contract.MarkDeleting: func(context.Context, contract.DeleteInput) (contract.Takings, error) {
			return contract.Takings{Hostnames: []string{"hv1", "hv2"}, NICs: 1}, m.does(contract.MarkDeleting, none)
		},
		contract.DestroyDomain:  undoes(contract.DestroyDomain, func(h *machine) { h.on = false }),
		contract.ReleaseNetwork: func(context.Context, contract.Undo) error { return m.does(contract.ReleaseNetwork, none) },
		contract.ReleaseQuota:   func(context.Context, contract.Undo) error { return m.does(contract.ReleaseQuota, none) },
		contract.ForgetSpec:     func(context.Context, contract.Undo) error { return m.does(contract.ForgetSpec, none) },
		contract.RemoveServer: func(context.Context, contract.RemoveServerInput) error {
			return m.does(contract.RemoveServer, status("deleted"))
		},
		contract.HostSeen: func(context.Context, contract.HostSeenInput) (bool, error) { return false, nil },
	} {
		env.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}
	env.RegisterWorkflowWithOptions(func(_ workflow.Context, in contract.CleanUpInput) error {
		m.left = append(m.left, in.Undos...)
		return nil
	}, workflow.RegisterOptions{Name: contract.WorkflowCleanUp})
	for _, s := range script {
		s(env)
	}
	env.ExecuteWorkflow(action, contract.ActionInput{
		Action: name, ServerID: "11111111-2222-3333-4444-555555555555", RequestID: "req-1", Deadlines: contract.DefaultDeadlines(),
		ActionArguments: contract.ActionArguments{Resize: &as},
	})
	require.True(m.t, env.IsWorkflowCompleted())
	return env.GetWorkflowError()
}

// leaves are what a clean-up gives back on a host, in the order of the build: the last first.
func (m *move) leaves(t *testing.T, hostname string) {
	t.Helper()
	var undos, hosts []string
	for _, u := range m.left {
		require.Equal(t, hostname, u.Input.Hostname)
		undos, hosts = append(undos, u.Activity), append(hosts, u.Host)
	}
	require.Equal(t, []string{
		contract.ReleaseAllocation, contract.RemoveConfigDrive, contract.RemoveDisk, contract.UndefineDomain, contract.DestroyDomain,
	}, undos)
	require.Equal(t, []string{"", hostname, hostname, hostname, hostname}, hosts)
}

func TestAMigrationMakesTheGuestOnTheOtherHostAndKeepsTheOldOneOff(t *testing.T) {
	for _, was := range []lifecycle.VMState{lifecycle.Active, lifecycle.Stopped} {
		m := movable(t, was)
		require.NoError(t, m.perform(does.MigrateServer, "migrate", contract.Resize{Migrates: true}))
		steps := []string{
			contract.PlanResize, contract.BeginAction, contract.RecordMigration, contract.SelectDestination, "FetchImage hv2", "StopDomain hv1",
			"OfferDisks hv1", "ReceiveDisks hv2", "BuildArrived hv2", "BuildConfigDrive hv2", contract.FinishResize, "DefineDomain hv2", "StartDomain hv2",
			contract.RecordResize, contract.FinishAction, "EndOffer hv1",
		}
		if was == lifecycle.Stopped {
			steps = slices.DeleteFunc(steps, func(s string) bool { return s == "StopDomain hv1" || s == "StartDomain hv2" })
		}
		require.Equal(t, steps, m.done)
		require.Equal(t, machine{room: true, disks: true, drive: true, domain: true}, *m.hosts["hv1"])
		require.Equal(t, machine{room: true, disks: true, drive: true, domain: true, on: was == lifecycle.Active}, *m.hosts["hv2"])
		require.Equal(t, []string{"hv2", "finished"}, []string{m.at, m.status})
		require.Empty(t, m.left)
	}
}

func TestAServerWhoseImageIsLostTakesItAlong(t *testing.T) {
	m := movable(t, lifecycle.Active)
	m.lost = true
	require.NoError(t, m.perform(does.MigrateServer, "migrate", contract.Resize{Migrates: true}))
	require.NotContains(t, m.done, "FetchImage hv2")
}

// movings are what is done about a move, by the names of their steps that may fail.
var movings = []struct {
	name  string
	do    any
	from  lifecycle.VMState
	steps []string
}{
	{"migrate", does.MigrateServer, lifecycle.Active, []string{
		contract.RecordMigration, contract.SelectDestination, "FetchImage hv2", "StopDomain hv1", "OfferDisks hv1", "ReceiveDisks hv2",
		"BuildArrived hv2", "BuildConfigDrive hv2", contract.FinishResize, "DefineDomain hv2", "StartDomain hv2", contract.RecordResize, contract.FinishAction,
	}},
	{"confirmResize", does.ConfirmResize, lifecycle.Resized, []string{contract.ConfirmResize, contract.FinishAction}},
	{"soft-delete-resized", does.SoftDeleteResizedServer, lifecycle.Resized, []string{"StopDomain hv2", contract.ConfirmResize, contract.FinishAction}},
	{"revertResize", does.RevertResize, lifecycle.Resized, []string{
		contract.PlanRevert, "RemakeDomain hv1", "StopDomain hv2", "StartDomain hv1", contract.RecordRevert, contract.FinishAction,
	}},
}

func TestWhateverOfAMoveFailsLeavesOneGuestThatRunsWhereItsServerIs(t *testing.T) {
	for _, kind := range []fault.Kind{fault.Internal, fault.HostUnfit} {
		bad := fault.New(kind, "no")
		for _, c := range movings {
			for _, step := range c.steps {
				for way, fails := range map[string]func(*move){
					"before": func(m *move) { m.before = map[string]error{step: bad} },
					"after":  func(m *move) { m.after = map[string]error{step: bad} },
				} {
					m, was := movable(t, c.from), movable(t, c.from)
					fails(m)
					require.ErrorContains(t, m.perform(c.do, c.name, contract.Resize{Migrates: true}), "no", "%s: %s %s", c.name, step, way)
					require.Equal(t, []any{*was.hosts["hv1"], *was.hosts["hv2"], was.at, was.status}, []any{*m.hosts["hv1"], *m.hosts["hv2"], m.at, m.status},
						"%s: %s %s: %v", c.name, step, way, m.done)
					require.Equal(t, "no", m.failed.Message)
					require.Empty(t, m.left, "nothing waits")
				}
			}
		}
	}
}

func TestTheOldGuestRunsAgainBeforeADestinationThatDiedIsThere(t *testing.T) {
	m := movable(t, lifecycle.Active)
	away := fault.New(fault.Unavailable, "hv2 does not answer")
	m.after = map[string]error{"ReceiveDisks hv2": fault.New(fault.Internal, "no")}
	m.before = map[string]error{"DiscardReceived hv2": away}
	require.ErrorContains(t, m.perform(does.MigrateServer, "migrate", contract.Resize{Migrates: true}), "no")
	require.Equal(t, []any{true, "hv1", "none"}, []any{m.hosts["hv1"].on, m.at, m.status})
	require.Equal(t, contract.FailAction, m.done[len(m.done)-1], "the server is free")
	var left []string
	for _, u := range m.left {
		require.Equal(t, "hv2", u.Input.Hostname)
		left = append(left, u.Activity)
	}
	require.Equal(t, []string{contract.ReleaseAllocation, contract.DiscardReceived}, left, "and nothing is placed there as long as that waits")
}

func TestNobodyWaitsForADestinationThatIsNotHeardOf(t *testing.T) {
	m := movable(t, lifecycle.Active)
	m.before = map[string]error{
		"ReceiveDisks hv2": temporal.NewHeartbeatTimeoutError(), "DiscardReceived hv2": fault.New(fault.Unavailable, "hv2 does not answer"),
	}
	var env *testsuite.TestWorkflowEnvironment
	var failed, on time.Time
	m.reached = func(name string) {
		switch name {
		case "ReceiveDisks hv2":
			failed = env.Now()
		case "PowerOnDomain hv1":
			on = env.Now()
		}
	}
	err := m.perform(does.MigrateServer, "migrate", contract.Resize{Migrates: true}, func(e *testsuite.TestWorkflowEnvironment) { env = e })
	require.Error(t, err)
	require.True(t, m.hosts["hv1"].on)
	require.Less(t, on.Sub(failed), time.Second)
	require.NotEmpty(t, m.left)
}

func TestTheOldGuestDoesNotRunBeforeTheNewOneIsCertainlyOff(t *testing.T) {
	m := movable(t, lifecycle.Active)
	tries := 0
	m.after = map[string]error{"StartDomain hv2": fault.New(fault.Internal, "no")}
	m.before = map[string]error{"PowerOffDomain hv2": fault.New(fault.Unavailable, "hv2 does not answer")}
	m.reached = func(name string) {
		if name == "PowerOffDomain hv2" {
			if tries++; tries == 50 {
				delete(m.before, name)
			}
		}
		if tries < 50 {
			require.NotEqual(t, "PowerOnDomain hv1", name)
			require.NotEqual(t, contract.FailAction, name)
		}
	}
	require.ErrorContains(t, m.perform(does.MigrateServer, "migrate", contract.Resize{Migrates: true}), "no")
	require.Equal(t, []any{true, false, "hv1"}, []any{m.hosts["hv1"].on, m.hosts["hv2"].on, m.at})
}

func TestAConfirmedMoveLeavesTheOldHostToACleanUp(t *testing.T) {
	for name, do := range map[string]any{"confirmResize": does.ConfirmResize, "soft-delete-resized": does.SoftDeleteResizedServer} {
		m := movable(t, lifecycle.Resized)
		require.NoError(t, m.perform(do, name, contract.Resize{}))
		require.Equal(t, contract.FinishAction, m.done[len(m.done)-1])
		require.Equal(t, []string{"hv2", "confirmed"}, []string{m.at, m.status})
		m.leaves(t, "hv1")
	}
}

func TestARevertedMoveRunsTheOldGuestAgainAndLeavesTheNewHostToACleanUp(t *testing.T) {
	for _, was := range []lifecycle.VMState{lifecycle.Active, lifecycle.Stopped} {
		m := movable(t, lifecycle.Resized)
		m.earlier = was
		require.NoError(t, m.perform(does.RevertResize, "revertResize", contract.Resize{}))
		require.Equal(t, []any{was == lifecycle.Active, false, "hv1", "reverted"}, []any{m.hosts["hv1"].on, m.hosts["hv2"].on, m.at, m.status})
		require.Equal(t, string(was), m.becomes.VMState)
		m.leaves(t, "hv2")
	}
}

func TestAMoveThatIsDeletedIsTornDownOnBothHosts(t *testing.T) {
	for _, step := range movings[0].steps {
		m := movable(t, lifecycle.Active)
		sent := false
		err := m.perform(does.MigrateServer, "migrate", contract.Resize{Migrates: true}, func(env *testsuite.TestWorkflowEnvironment) {
			m.reached = func(name string) {
				if name == step && !sent {
					sent = true
					env.SignalWorkflow(contract.SignalDelete, contract.DeleteInput{ServerID: "s", RequestID: "req-2", Deadlines: contract.DefaultDeadlines()})
				}
			}
		})
		require.NoError(t, err, step)
		require.Equal(t, "deleted", m.status, step)
		require.Equal(t, []machine{{room: true}, {}}, []machine{*m.hosts["hv1"], *m.hosts["hv2"]}, "%s: %v", step, m.done)
	}
}
