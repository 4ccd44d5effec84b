package actions

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

func registerShelving(env *testsuite.TestWorkflowEnvironment, g *guest) {
	none := func() {}
	for name, f := range map[string]any{
		contract.RemoveShelvedImage: func(context.Context, contract.RemoveShelvedImageInput) error {
			return g.does(contract.RemoveShelvedImage, func() { g.image, g.shelved = "", false })
		},
		contract.ShowImagePending: func(_ context.Context, in contract.ShowPhaseInput) error {
			return g.does(contract.ShowImagePending, func() { g.asks = append(g.asks, in) })
		},
		contract.ShowImageUploading: func(context.Context, contract.ShowPhaseInput) error { return g.does(contract.ShowImageUploading, none) },
		contract.ShowOffloading:     func(context.Context, contract.ShowPhaseInput) error { return g.does(contract.ShowOffloading, none) },
		contract.RecordShelve: func(_ context.Context, in contract.RecordShelveInput) error {
			return g.does(contract.RecordShelve, func() { g.shelved = in.ImageID == "snap" })
		},
		contract.CheckShelved: func(context.Context, contract.CheckShelvedInput) error { return g.does(contract.CheckShelved, none) },
		contract.LeaveHost: func(context.Context, contract.LeaveHostInput) error {
			return g.does(contract.LeaveHost, func() { g.host, g.ports = "", "" })
		},
		contract.StayOnHost: func(_ context.Context, in contract.LeaveHostInput) error {
			return g.does(contract.StayOnHost, func() { g.host, g.ports = in.Hostname, in.Hostname })
		},
		contract.PlanUnshelve: func(_ context.Context, in contract.PlanUnshelveInput) (contract.UnshelvePlan, error) {
			plan := contract.UnshelvePlan{
				Facts: contract.ServerFacts{
					Server: contract.Server{ServerID: in.ServerID, ImageID: "base", ConfigDrive: true, AvailabilityZone: "az2", AutoDiskConfig: new(true)},
					Spec: contract.ServerSpec{
						Image: contract.ResolvedImage{Root: contract.Image{ID: "base"}, Kernel: &contract.Image{ID: "kernel"}}, Flavor: contract.Flavor{DiskGiB: 3},
					},
					Resources: contract.Resources{VCPUs: 1},
				},
				Disk: contract.Image{ID: "snap"}, Zone: "az1",
			}
			if g.planned != nil {
				g.planned(&plan)
			}
			return plan, g.does(contract.PlanUnshelve, none)
		},
		contract.SelectHost: func(_ context.Context, in contract.SelectHostInput) (contract.HostSelection, error) {
			hosts := []string{"hv2", "hv3"}
			n := len(g.selects)
			return contract.HostSelection{Hostname: hosts[min(n, 1)], AvailabilityZone: "az2"}, g.does(contract.SelectHost, func() {
				g.selects, g.host = append(g.selects, in), hosts[min(n, 1)]
			})
		},
		contract.BindPorts: func(_ context.Context, in contract.BindPortsInput) error {
			return g.does(contract.BindPorts, func() { g.ports = in.Hostname })
		},
		contract.UnbindPorts: func(context.Context, contract.Undo) error {
			return g.does(contract.UnbindPorts, func() { g.ports = "" })
		},
		contract.BuildConfigDrive: func(context.Context, contract.BuildConfigDriveInput) error {
			return g.does(contract.BuildConfigDrive, none)
		},
		contract.BuildDisk: func(_ context.Context, in contract.BuildDiskInput) (contract.InjectedData, error) {
			return contract.InjectedData{}, g.does(contract.BuildDisk, func() { g.disk = in })
		},
		contract.DefineDomain: func(_ context.Context, in contract.DefineDomainInput) error {
			return g.does(contract.DefineDomain, func() { g.row = in.Facts.Server.ImageID })
		},
		contract.RecordUnshelve: func(_ context.Context, in contract.RecordUnshelveInput) error {
			return g.does(contract.RecordUnshelve, func() { g.zone = in.Zone })
		},
		contract.UnrecordUnshelve: func(_ context.Context, in contract.RecordUnshelveInput) error {
			return g.does(contract.UnrecordUnshelve, func() { g.zone = in.Zone })
		},
		contract.DropShelvedImage: func(context.Context, contract.DropShelvedImageInput) error {
			return g.does(contract.DropShelvedImage, func() { g.image, g.shelved = "", false })
		},
		contract.ServerStands: func(_ context.Context, in contract.ServerStandsInput) (bool, error) {
			return g.hasGuest && in.Guest, nil
		},
		contract.ServerStandsOn: func(_ context.Context, in contract.ServerStandsOnInput) (bool, error) {
			return g.standsOn && in.Hostname == "hv1", nil
		},
		contract.CountHostFailure: func(context.Context, contract.CountHostFailureInput) error {
			return g.does(contract.CountHostFailure, none)
		},
	} {
		env.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}
	env.RegisterWorkflowWithOptions(func(_ workflow.Context, in contract.CleanUpInput) error { g.handed = &in; return nil },
		workflow.RegisterOptions{Name: contract.WorkflowCleanUp})
}

// gone are the undos of a build on a host, in their order, with its room last.
var gone = []string{
	contract.DestroyDomain, contract.UndefineDomain, contract.RemoveDisk, contract.RemoveConfigDrive, contract.ReleaseAllocation,
}

var shelving = []string{
	contract.RecordSnapshot, contract.BeginAction, contract.StopDomain, contract.ShowImagePending, contract.TakeSnapshot,
	contract.ShowImageUploading, contract.StoreSnapshot, contract.RecordShelve,
}

// shelvable is a server that runs on hv1, or one that is shelved there.
func shelvable(was lifecycle.VMState) *guest {
	g := &guest{vmState: was, on: true, power: lifecycle.Running, host: "hv1", ports: "hv1"}
	if was == lifecycle.Shelved {
		g.on, g.power, g.image, g.shelved = false, lifecycle.Shutdown, "snap", true
	}
	if was == lifecycle.ShelvedOffloaded {
		g.on, g.power, g.image, g.shelved, g.host, g.ports, g.zone = false, lifecycle.Shutdown, "snap", true, "", "", "az1"
	}
	return g
}

func (g *guest) is() []any { return []any{g.on, g.image, g.shelved, g.host, g.ports, g.beside} }

func TestAShelvedServerIsOffWithItsImageAndStaysOnItsHost(t *testing.T) {
	g := shelvable(lifecycle.Active)
	require.NoError(t, perform(t, g, does.ShelveServer, "shelve"))
	require.NoError(t, g.answer)
	require.Equal(t, append(append([]string{}, shelving...), contract.FinishAction, contract.DropSnapshot), g.done)
	require.Equal(t, []any{false, "snap", true, "hv1", "hv1", false}, g.is())
	require.Equal(t, "shelve", g.asks[0].Action)
}

func TestAServerThatIsShelvedAtOnceLeavesItsHostWithAllThatItHasThere(t *testing.T) {
	g := shelvable(lifecycle.Active)
	require.NoError(t, perform(t, g, does.ShelveServerAtOnce, "shelve-at-once"))
	want := append(append([]string{}, shelving...), contract.ShowOffloading, contract.LeaveHost)
	require.Equal(t, append(append(want, gone...), contract.FinishAction), g.done)
	require.Equal(t, []any{false, "snap", true, "", "", true}, g.is(), "what its host had of it went as a whole")
}

func TestAShelvedServerLeavesItsHostLater(t *testing.T) {
	g := shelvable(lifecycle.Shelved)
	require.NoError(t, perform(t, g, does.ShelveOffloadServer, "shelveOffload"))
	want := append([]string{contract.CheckShelved, contract.BeginAction, contract.LeaveHost}, gone...)
	require.Equal(t, append(want, contract.FinishAction), g.done)
	require.Empty(t, g.host)
}

func TestWhateverOfAShelveFailsLeavesTheServerWhatItWas(t *testing.T) {
	bad := fault.New(fault.Internal, "no")
	for name, c := range map[string]struct {
		do    any
		from  lifecycle.VMState
		steps []string
	}{
		"shelve":         {does.ShelveServer, lifecycle.Active, append(append([]string{}, shelving[2:]...), contract.FinishAction)},
		"shelve-at-once": {does.ShelveServerAtOnce, lifecycle.Active, append(append([]string{}, shelving[2:]...), contract.ShowOffloading, contract.LeaveHost)},
		"shelveOffload":  {does.ShelveOffloadServer, lifecycle.Shelved, []string{contract.LeaveHost}},
	} {
		for _, step := range c.steps {
			for way, fails := range map[string]func(*guest){
				"before": func(g *guest) { g.before = map[string]error{step: bad} },
				"after":  func(g *guest) { g.after = map[string]error{step: bad} },
			} {
				g := shelvable(c.from)
				fails(g)
				require.Error(t, perform(t, g, c.do, name), "%s: %s %s", name, step, way)
				require.Equal(t, shelvable(c.from).is(), g.is(), "%s: %s %s", name, step, way)
				require.Equal(t, "no", g.failed.Message)
				require.Equal(t, string(c.from), g.failed.VMState)
				require.NotContains(t, g.done, contract.RemoveDisk)
			}
		}
	}
}

func TestWhatFailsBehindTheLeaveLeavesTheServerWithoutAHost(t *testing.T) {
	for name, do := range map[string]any{"shelveOffload": does.ShelveOffloadServer, "shelve-at-once": does.ShelveServerAtOnce} {
		g := shelvable(lifecycle.Active)
		if name == "shelveOffload" {
			g = shelvable(lifecycle.Shelved)
		}
		g.before = map[string]error{contract.FinishAction: fault.New(fault.Internal, "no")}
		require.Error(t, perform(t, g, do, name))
		require.Equal(t, []string{string(lifecycle.ShelvedOffloaded), "no"}, []string{g.failed.VMState, g.failed.Message})
		for _, undo := range []string{contract.StayOnHost, contract.PutBackGuest, contract.RemoveShelvedImage, contract.RemoveSnapshot} {
			require.NotContains(t, g.done, undo)
		}
		require.Equal(t, "snap", g.image, "it is all that is left of the server")
	}
}

func TestAHostThatDoesNotAnswerIsLeftToACleanUp(t *testing.T) {
	g := shelvable(lifecycle.Shelved)
	g.before = map[string]error{contract.UndefineDomain: fault.New(fault.Unavailable, "away")}
	require.NoError(t, perform(t, g, does.ShelveOffloadServer, "shelveOffload"))
	require.Equal(t, contract.FinishAction, g.done[len(g.done)-1])
	require.NotContains(t, g.done, contract.ReleaseAllocation, "its room is held until nothing is there")
	require.NotNil(t, g.handed)
	var left []string
	for _, u := range g.handed.Undos {
		left = append(left, u.Activity)
		require.Equal(t, "hv1", u.Input.Hostname)
	}
	require.ElementsMatch(t, gone[1:], left)
}

func TestAServerThatAnotherRunHasUnshelvedOnItsHostKeepsItsGuest(t *testing.T) {
	g := shelvable(lifecycle.Shelved)
	g.standsOn = true
	require.NoError(t, perform(t, g, does.ShelveOffloadServer, "shelveOffload"))
	require.NotContains(t, g.done, contract.DestroyDomain)
	require.NotContains(t, g.done, contract.RemoveDisk)
}

func TestADeleteDuringALeaveFollowsIt(t *testing.T) {
	g := shelvable(lifecycle.Shelved)
	require.NoError(t, perform(t, g, does.ShelveOffloadServer, "shelveOffload", func(env *testsuite.TestWorkflowEnvironment) {
		sent := false
		g.reached = func(activity string) {
			if activity == contract.UndefineDomain && !sent {
				sent = true
				env.SignalWorkflow(contract.SignalDelete, contract.DeleteInput{ServerID: "s", RequestID: "req-2", Deadlines: contract.DefaultDeadlines()})
			}
		}
	}))
	require.Equal(t, "deleted", g.state)
	require.NotContains(t, g.done, contract.StayOnHost)
	require.Contains(t, g.done, contract.FinishAction, "what was begun is said")
}

func TestAShelvedServerIsStartedWhereItIs(t *testing.T) {
	g := shelvable(lifecycle.Shelved)
	require.NoError(t, perform(t, g, does.UnshelveServer, "unshelve"))
	require.Equal(t, []string{contract.BeginAction, contract.StartDomain, contract.FinishAction, contract.DropShelvedImage}, g.done)
	require.Equal(t, []any{true, "", false, "hv1", "hv1", false}, g.is())

	g = shelvable(lifecycle.Shelved)
	g.after = map[string]error{contract.StartDomain: fault.New(fault.Internal, "no")}
	require.Error(t, perform(t, g, does.UnshelveServer, "unshelve"))
	require.Equal(t, shelvable(lifecycle.Shelved).is(), g.is())
}

func TestTheImageOfAServerWhoseDeleteIsDeferredGoes(t *testing.T) {
	g := shelvable(lifecycle.Shelved)
	require.NoError(t, perform(t, g, does.SoftDeleteShelvedServer, "soft-delete-shelved"))
	require.Equal(t, []string{contract.BeginAction, contract.StopDomain, contract.FinishAction, contract.DropShelvedImage}, g.done)
}

var building = []string{
	contract.PlanUnshelve, contract.BeginAction, contract.SelectHost, contract.BindPorts, contract.FetchImage, contract.BuildDisk,
	contract.DefineDomain, contract.StartDomain, contract.RecordUnshelve, contract.FinishAction, contract.DropShelvedImage,
}

func TestAServerThatHasLeftItsHostIsBuiltAnewOfItsImage(t *testing.T) {
	g := shelvable(lifecycle.ShelvedOffloaded)
	g.planned = func(p *contract.UnshelvePlan) { p.Left = []string{"hv1"} }
	require.NoError(t, perform(t, g, does.UnshelveOffloadedServer, "unshelve-offloaded"))
	var done []string
	for _, name := range g.done {
		if name != contract.BuildConfigDrive { // beside the others
			done = append(done, name)
		}
	}
	require.Equal(t, building, done)
	require.Contains(t, g.done, contract.BuildConfigDrive)
	require.Equal(t, []any{true, "", false, "hv2", "hv2", false}, g.is())
	require.Equal(t, "base", g.row, "the server's image is the one that it was made of")
	require.Equal(t, []any{"snap", true, false, 3}, []any{g.disk.Image.ID, g.disk.Whole, g.disk.Grow, g.disk.RootGiB})
	require.Equal(t, []string{"snap", "kernel"}, []string{g.fetched.Images[0].ID, g.fetched.Images[1].ID}, "the first image may be gone")
	require.Equal(t, []string{"hv1"}, g.selects[0].Excluded, "something of it may still be there")
	require.Equal(t, []string{"az2", lifecycle.Spawning}, []string{g.selects[0].AvailabilityZone, string(g.selects[0].NextPhase)})
	require.Equal(t, "az2", g.zone)
}

func TestAnUnshelveGoesOnToTheNextHost(t *testing.T) {
	g := shelvable(lifecycle.ShelvedOffloaded)
	failed := false
	g.reached = func(activity string) {
		g.after = nil
		if activity == contract.BuildDisk && !failed {
			failed, g.after = true, map[string]error{contract.BuildDisk: fault.New(fault.HostUnfit, "full")}
		}
	}
	require.NoError(t, perform(t, g, does.UnshelveOffloadedServer, "unshelve-offloaded"))
	require.Equal(t, []string{"hv2"}, g.selects[1].Excluded)
	require.Contains(t, g.done, contract.CountHostFailure)
	require.Contains(t, g.done, contract.UnbindPorts)
	require.Equal(t, []any{true, "", false, "hv3", "hv3", false}, g.is())
}

func TestAHostThatGivesNothingOfAnUnshelveBackIsLeftToACleanUp(t *testing.T) {
	g := shelvable(lifecycle.ShelvedOffloaded)
	g.before = map[string]error{contract.DefineDomain: fault.New(fault.Internal, "no"), contract.RemoveDisk: fault.New(fault.Unavailable, "away")}
	require.Error(t, perform(t, g, does.UnshelveOffloadedServer, "unshelve-offloaded"))
	require.Equal(t, string(lifecycle.ShelvedOffloaded), g.failed.VMState)
	require.NotNil(t, g.handed)
	var left []string
	for _, u := range g.handed.Undos {
		left = append(left, u.Activity)
		require.Equal(t, "hv2", u.Input.Hostname)
	}
	require.Contains(t, left, contract.RemoveDisk)
	require.Contains(t, left, contract.ReleaseAllocation, "its room is held until nothing is there")
}

func TestAnUnshelveThatFailsLeavesTheServerWithItsImage(t *testing.T) {
	bad := fault.New(fault.Internal, "no")
	for _, step := range building[2:10] {
		for way, fails := range map[string]func(*guest){
			"before": func(g *guest) { g.before = map[string]error{step: bad} },
			"after":  func(g *guest) { g.after = map[string]error{step: bad} },
		} {
			g := shelvable(lifecycle.ShelvedOffloaded)
			fails(g)
			require.Error(t, perform(t, g, does.UnshelveOffloadedServer, "unshelve-offloaded"), "%s %s", step, way)
			require.Equal(t, []string{string(lifecycle.ShelvedOffloaded), "no", "snap", "", "az1"},
				[]string{g.failed.VMState, g.failed.Message, g.image, g.ports, g.zone}, "%s %s", step, way)
			require.NotContains(t, g.done, contract.DropShelvedImage)
			require.Contains(t, g.done, contract.ReleaseAllocation)
		}
	}
}

func TestAnUnshelveWhoseImageIsGoneIsRefused(t *testing.T) {
	g := shelvable(lifecycle.ShelvedOffloaded)
	g.before = map[string]error{contract.PlanUnshelve: fault.New(fault.Conflict, "the image cannot be found")}
	require.Error(t, perform(t, g, does.UnshelveOffloadedServer, "unshelve-offloaded"))
	require.Equal(t, fault.Conflict, failure.Fault(g.answer).Kind)
	require.Equal(t, []string{contract.PlanUnshelve}, g.done)
}

func TestAnUnshelveThatAnotherRunHasDoneGivesNothingBack(t *testing.T) {
	g := shelvable(lifecycle.ShelvedOffloaded)
	g.hasGuest, g.before = true, map[string]error{contract.BuildDisk: fault.New(fault.Conflict, "another disk is there")}
	require.ErrorContains(t, perform(t, g, does.UnshelveOffloadedServer, "unshelve-offloaded"), "it is in use: nothing was given back")
	require.NotContains(t, g.done, contract.RemoveDisk)
	require.NotContains(t, g.done, contract.ReleaseAllocation)
}
