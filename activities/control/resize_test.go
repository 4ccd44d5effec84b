package control

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/testsuite"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/internal/serverspec"
	"github.com/slipway-cloud/slipway/internal/service/placement"
	"github.com/slipway-cloud/slipway/models"
)

// confirming notes what was confirmed.
type confirming struct {
	Builds
	asked []contract.ActionInput
	busy  string
}

func (c *confirming) Do(_ context.Context, _ string, in contract.ActionInput) error {
	if in.ServerID == c.busy {
		return fault.New(fault.Conflict, "something is done to it")
	}
	c.asked = append(c.asked, in)
	return nil
}

var (
	smallFlavor = contract.Flavor{ID: "small", Name: "small", VCPUs: 1, RAMMiB: 512, DiskGiB: 2, EphemeralGiB: 1, SwapMiB: 16}
	largeFlavor = contract.Flavor{ID: "large", Name: "large", VCPUs: 4, RAMMiB: 2048, DiskGiB: 4, EphemeralGiB: 2, SwapMiB: 8}
)

// resizable is a running server of the small flavor with all that its build kept, on hv1.
func resizable(ctx context.Context, t *testing.T, store *models.Store, a *Activities) string {
	t.Helper()
	host, _ := placing(ctx, t, store)
	id := uuid.NewString()
	spec := contract.ServerSpec{Flavor: smallFlavor, Image: contract.ResolvedImage{Root: contract.Image{ID: "i", VirtualBytes: 1 << 30, MinRAMMiB: 256}}}
	sealed, err := serverspec.Spec.Seal(a.keys, id, spec)
	require.NoError(t, err)
	images, err := store.ListImages(ctx, models.ImageFilter{})
	require.NoError(t, err)
	require.NoError(t, store.ClaimQuota(ctx, models.Claim{ServerID: id, ProjectID: "p1", Instances: 1, Cores: 1, RAMMiB: 512}, models.Limits{Instances: -1, Cores: -1, RAMMiB: -1}))
	require.NoError(t, store.RecordServer(ctx, models.Server{
		ID: id, ProjectID: "p1", UserID: "u1", Name: "s", Hostname: "s", ImageID: images[0].ID, FlavorID: "small", Flavor: models.FlavorSnapshot(smallFlavor),
	}, models.InstanceAction{ServerID: id, RequestID: "req-1", Action: "create", UserID: "u1", ProjectID: "p1"},
		models.ServerSpec{ServerID: id, KeyID: sealed.KeyID, Sealed: sealed.Bytes, Parts: []string{}}))
	require.NoError(t, store.Place(ctx, models.Placement{ServerID: id, HostID: host.ID, VCPUs: 1, MemoryMiB: 512, DiskGiB: 4}, lifecycle.Scheduling))
	require.NoError(t, store.ActivateServer(ctx, models.Activation{ServerID: id, RequestID: "req-1", PowerState: lifecycle.Running}))
	return id
}

func TestAResizeIsRefusedThatMakesADiskSmallerOrIsNotAllowed(t *testing.T) {
	ctx, store := newStore(t)
	a := New(Options{Store: store, Keys: testenv.PayloadKeys(t), Logger: slog.New(slog.DiscardHandler)})
	id := resizable(ctx, t, store, a)
	free := contract.Quota{Instances: -1, Cores: -1, RAMMiB: -1}
	plan := func(change func(*contract.Flavor), limits contract.Quota) (contract.ResizePlan, error) {
		flavor := largeFlavor
		if change != nil {
			change(&flavor)
		}
		return a.PlanResize(ctx, contract.PlanResizeInput{ServerID: id, ProjectID: "p1", Resize: contract.Resize{Flavor: flavor, Limits: limits}})
	}
	for why, change := range map[string]func(*contract.Flavor){
		"Server disk was unable to be resized because: Resize to zero disk flavor is not allowed.": func(f *contract.Flavor) { f.DiskGiB = 0 },
		"Server disk was unable to be resized because: Unable to resize disk down.":                func(f *contract.Flavor) { f.DiskGiB = 1 },
		"The flavor has less of ephemeral disks.":                                                  func(f *contract.Flavor) { f.EphemeralGiB = 0 },
		"Flavor's memory is too small for requested image.":                                        func(f *contract.Flavor) { f.RAMMiB = 128 },
	} {
		_, err := plan(change, free)
		require.True(t, fault.Is(err, fault.Invalid), "%v", err)
		require.Contains(t, fault.Public(err), why)
	}
	_, err := plan(nil, contract.Quota{Instances: -1, Cores: 3, RAMMiB: -1})
	require.True(t, fault.Is(err, fault.OverQuota), "%v", err)
	got, err := plan(nil, free)
	require.NoError(t, err)
	require.Equal(t, []any{smallFlavor, largeFlavor, largeFlavor}, []any{got.Old.Spec.Flavor, got.New.Spec.Flavor, got.New.Server.Flavor})
	require.Equal(t, []any{"nova", "active", contract.Resources{VCPUs: 4, RAMMiB: 2048, DiskGiB: 7}}, []any{got.Zone, got.VMState, got.New.Resources})

	asked := got.Old
	asked.Spec.Image.BlockDevices = []contract.BlockDevice{{Role: contract.RootDisk}, {Role: contract.SwapDisk, MiB: 16}}
	require.ErrorContains(t, onlyGrows(asked, largeFlavor), "larger ephemeral or swap disks than the flavor allows")
}

func TestAServerIsOfTheNewFlavorFromItsResizeToItsRevert(t *testing.T) {
	ctx, store := newStore(t)
	a := New(Options{Store: store, Keys: testenv.PayloadKeys(t), Placement: placement.Settings{DownAfter: time.Hour}, Logger: slog.New(slog.DiscardHandler)})
	id := resizable(ctx, t, store, a)
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.SetTestTimeout(time.Minute)
	for name, f := range map[string]any{
		contract.RecordMigration: a.RecordMigration, contract.SelectDestination: a.SelectDestination, contract.ForgetResize: a.ForgetResize, contract.RecordResize: a.RecordResize, contract.UnrecordResize: a.UnrecordResize,
		contract.ConfirmResize: a.ConfirmResize, contract.RecordRevert: a.RecordRevert, contract.UnrecordRevert: a.UnrecordRevert,
	} {
		env.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}
	do := func(name string, in any) {
		t.Helper()
		for range 2 {
			_, err := env.ExecuteActivity(name, in)
			require.NoError(t, err, name)
		}
	}
	begin := func(name, request string) lifecycle.Action {
		action, _ := lifecycle.Find(name)
		_, err := store.BeginAction(ctx, id, action, models.InstanceAction{RequestID: request, Action: action.Method, UserID: "u1", ProjectID: "p1"})
		require.NoError(t, err)
		return action
	}
	is := func(flavor contract.Flavor) {
		t.Helper()
		v, err := store.Server(ctx, id)
		require.NoError(t, err)
		facts, err := a.factsOf(ctx, v)
		require.NoError(t, err)
		require.Equal(t, []any{flavor.ID, flavor, flavor}, []any{v.FlavorID, contract.Flavor(v.Flavor), facts.Spec.Flavor})
	}
	plan, err := a.PlanResize(ctx, contract.PlanResizeInput{ServerID: id, ProjectID: "p1", Resize: contract.Resize{Flavor: largeFlavor, Limits: contract.Quota{Instances: -1, Cores: -1, RAMMiB: -1}}})
	require.NoError(t, err)
	resize := begin("resize", "req-2")
	do(contract.RecordMigration, contract.RecordMigrationInput{
		ServerID: id, ProjectID: "p1", RequestID: "req-2", Hostname: "hv1", Limits: contract.Quota{Instances: -1, Cores: -1, RAMMiB: -1},
		Old: plan.Old, New: plan.New, VMState: plan.VMState,
	})
	do(contract.SelectDestination, contract.SelectDestinationInput{ServerID: id, RequestID: "req-2", Hostname: "hv1", New: plan.New})
	require.NoError(t, a.FinishResize(ctx, contract.FinishResizeInput{ServerID: id, RequestID: "req-2"}))
	is(smallFlavor)
	do(contract.RecordResize, contract.RecordResizeInput{ServerID: id, RequestID: "req-2", Old: plan.Old, New: plan.New})
	is(largeFlavor)
	require.NoError(t, store.FinishAction(ctx, id, "req-2", resize, nil))
	held, err := store.Placements(ctx, id)
	require.NoError(t, err)
	require.Len(t, held, 2)

	engine := &confirming{}
	a.builds, a.confirmAfter, a.now = engine, time.Hour, func() time.Time { return time.Now().Add(61 * time.Minute) }
	require.NoError(t, a.ConfirmResized(ctx, contract.Housekeeping{}))
	require.Equal(t, []any{id, "confirmResize", true}, []any{engine.asked[0].ServerID, engine.asked[0].Action, engine.asked[0].OverLock})
	a.builds = &confirming{busy: id}
	require.NoError(t, a.ConfirmResized(ctx, contract.Housekeeping{}), "what is busy waits for the next turn")
	a.confirmAfter = 0
	a.builds = engine
	require.NoError(t, a.ConfirmResized(ctx, contract.Housekeeping{}))
	require.Len(t, engine.asked, 1, "0 is never")

	begin("revertResize", "req-3")
	back, err := a.PlanRevert(ctx, contract.PlanRevertInput{ServerID: id})
	require.NoError(t, err)
	require.Equal(t, []any{largeFlavor, smallFlavor, "active"}, []any{back.Old.Spec.Flavor, back.New.Spec.Flavor, back.VMState})
	do(contract.RecordRevert, contract.RecordResizeInput{ServerID: id, RequestID: "req-3", Old: back.Old, New: back.New})
	is(smallFlavor)
	held, err = store.Placements(ctx, id)
	require.NoError(t, err)
	require.Equal(t, 4, held[0].DiskGiB)
	require.Len(t, held, 1)
	_, err = a.PlanRevert(ctx, contract.PlanRevertInput{ServerID: id})
	require.True(t, fault.Is(err, fault.Conflict), "nothing waits any more: %v", err)
	_, err = env.ExecuteActivity(contract.ConfirmResize, contract.ConfirmResizeInput{ServerID: id, RequestID: "req-4"})
	require.ErrorContains(t, err, "Instance has not been resized.")
	do(contract.UnrecordRevert, contract.RecordResizeInput{ServerID: id, RequestID: "req-3", Old: back.New, New: back.Old})
	is(largeFlavor)
}

func TestAResizeThatBeganWhenThereWasNoOtherHostStays(t *testing.T) {
	ctx, store := newStore(t)
	a := New(Options{Store: store, Keys: testenv.PayloadKeys(t), Placement: placement.Settings{DownAfter: time.Hour}, ResizeAway: true, Logger: slog.New(slog.DiscardHandler)})
	id := resizable(ctx, t, store, a)
	as := contract.Resize{Flavor: largeFlavor, Limits: contract.Quota{Instances: -1, Cores: -1, RAMMiB: -1}}
	plan, err := a.PlanResize(ctx, contract.PlanResizeInput{ServerID: id, ProjectID: "p1", Resize: as})
	require.NoError(t, err)
	action, _ := lifecycle.Find("resize")
	_, err = store.BeginAction(ctx, id, action, models.InstanceAction{RequestID: "req-2", Action: "resize", UserID: "u1", ProjectID: "p1"})
	require.NoError(t, err)
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.RegisterActivityWithOptions(a.HoldResize, activity.RegisterOptions{Name: contract.HoldResize})
	for range 2 {
		_, err = env.ExecuteActivity(contract.HoldResize, contract.HoldResizeInput{
			ServerID: id, ProjectID: "p1", RequestID: "req-2", Hostname: "hv1", Limits: as.Limits, Old: plan.Old, New: plan.New, VMState: plan.VMState,
		})
		require.NoError(t, err)
	}
	held, err := store.Placements(ctx, id)
	require.NoError(t, err)
	require.Len(t, held, 2)
	m, err := store.LastMigration(ctx, id)
	require.NoError(t, err)
	require.Equal(t, []string{models.MigrationMigrating, "hv1", "hv1"}, []string{m.Status, m.SourceHost, m.DestHost})
}

func TestAResizeStaysWhereThereIsRoomAndGoesToAnotherHostWhereItHasTo(t *testing.T) {
	for name, c := range map[string]struct {
		away     bool
		migrates bool
		host     string
		full     bool   // its own host
		left     string // where something is still to be cleaned
		zone     string // that it is to go to
		asked    string // that it was asked for in
		lost     bool   // the answer that says where
		want     string
		why      string
	}{
		"its host has the room":        {want: "hv1"},
		"its host is full":             {full: true, want: "hv2"},
		"it may not stay":              {away: true, want: "hv2"},
		"it migrates":                  {migrates: true, want: "hv2"},
		"nobody hears where it goes":   {migrates: true, want: "hv2", lost: true},
		"it migrates to a host":        {migrates: true, host: "tiny", why: "DiskFilter removed 1: tiny (7 GiB of disk asked for, 5 free)"},
		"it migrates to its own":       {migrates: true, host: "hv1", why: "RetryFilter removed 1: hv1 (the server is to leave it, or has left something there)"},
		"it migrates to a zone":        {migrates: true, zone: "nova", want: "hv2"},
		"it migrates to another zone":  {migrates: true, zone: "rack", why: "AvailabilityZoneFilter removed 2"},
		"it was asked for in a zone":   {migrates: true, asked: "rack", why: "AvailabilityZoneFilter removed 2"},
		"it was asked for in another":  {migrates: true, zone: "nova", asked: "rack", why: "The server was asked for in availability zone rack, and is to go to nova."},
		"it goes where it left things": {migrates: true, left: "hv2", why: "RetryFilter removed 2: hv1"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, store := newStore(t)
			a := New(Options{Store: store, Keys: testenv.PayloadKeys(t), Placement: placement.Settings{DownAfter: time.Hour}, ResizeAway: c.away, Logger: slog.New(slog.DiscardHandler)})
			id := resizable(ctx, t, store, a)
			for hostname, disk := range map[string]int{"hv2": 100, "tiny": 5} {
				h, err := store.RegisterHost(ctx, models.Host{
					Hostname: hostname, AvailabilityZone: "nova", TokenHash: []byte(hostname), VCPUs: 8, MemoryMiB: 8192, DiskGiB: disk,
					CPURatio: 1, RAMRatio: 1, DiskRatio: 1, Enabled: true, Ready: true, StartedAt: time.Now(), SeenAt: time.Now(),
				})
				require.NoError(t, err)
				if hostname == c.left {
					action, _ := lifecycle.Find("os-stop")
					_, err := store.BeginAction(ctx, id, action, models.InstanceAction{RequestID: "req-0", Action: "stop", UserID: "u1", ProjectID: "p1"})
					require.NoError(t, err)
					require.NoError(t, store.Place(ctx, models.Placement{ServerID: id, HostID: h.ID, Role: models.PlacementLeft, VCPUs: 1, MemoryMiB: 1, DiskGiB: 1}, lifecycle.PoweringOff))
					action.To = lifecycle.Active
					require.NoError(t, store.FinishAction(ctx, id, "req-0", action, nil))
				}
			}
			if c.full {
				hv1, err := store.HostByName(ctx, "hv1")
				require.NoError(t, err)
				require.NoError(t, store.SetHostEnabled(ctx, hv1.ID, false, nil))
			}
			var suite testsuite.WorkflowTestSuite
			env := suite.NewTestActivityEnvironment()
			env.SetTestTimeout(time.Minute)
			for name, f := range map[string]any{
				contract.RecordMigration: a.RecordMigration, contract.SelectDestination: a.SelectDestination, contract.ReleaseAllocation: a.ReleaseAllocation,
				contract.ForgetResize: a.ForgetResize,
			} {
				env.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
			}
			as := contract.Resize{Flavor: largeFlavor, Migrates: c.migrates, Limits: contract.Quota{Instances: -1, Cores: -1, RAMMiB: -1}}
			if c.migrates {
				as.Flavor = smallFlavor
			}
			plan, err := a.PlanResize(ctx, contract.PlanResizeInput{ServerID: id, ProjectID: "p1", Resize: as})
			require.NoError(t, err)
			plan.New.Resources.DiskGiB, plan.New.Server.AvailabilityZone = 7, c.asked
			action, _ := lifecycle.Find("resize")
			_, err = store.BeginAction(ctx, id, action, models.InstanceAction{RequestID: "req-2", Action: "resize", UserID: "u1", ProjectID: "p1"})
			require.NoError(t, err)
			_, err = env.ExecuteActivity(contract.RecordMigration, contract.RecordMigrationInput{
				ServerID: id, ProjectID: "p1", RequestID: "req-2", Migrates: c.migrates, Hostname: "hv1", Limits: as.Limits, Old: plan.Old, New: plan.New, VMState: "active",
			})
			require.NoError(t, err)
			for range 2 {
				answer, err := env.ExecuteActivity(contract.SelectDestination, contract.SelectDestinationInput{
					ServerID: id, RequestID: "req-2", Hostname: "hv1", Migrates: c.migrates, Host: c.host, Zone: c.zone, New: plan.New,
				})
				if c.why != "" {
					require.ErrorContains(t, err, c.why)
					continue
				}
				require.NoError(t, err)
				var to contract.Destination
				require.NoError(t, answer.Get(&to))
				require.Equal(t, contract.Destination{Hostname: c.want, AvailabilityZone: "nova"}, to)
			}
			m, err := store.LastMigration(ctx, id)
			require.NoError(t, err)
			kind := map[bool]string{false: models.MigrationResize, true: models.MigrationCold}[c.migrates]
			require.Equal(t, []string{kind, c.want}, []string{m.Kind, m.DestHost})
			// Given back as the workflow does: by the host, or by all but its own where the answer was lost.
			undo := contract.Undo{ServerID: id, RequestID: "req-2", Except: []string{"hv1"}}
			undos := []string{contract.ReleaseAllocation, contract.ForgetResize}
			if c.lost {
				slices.Reverse(undos) // they do not wait for each other
			} else if c.want != "" && c.want != "hv1" {
				undo.Hostname = c.want
			}
			for range 2 {
				for _, name := range undos {
					_, err = env.ExecuteActivity(name, undo)
					require.NoError(t, err)
				}
			}
			held, err := store.Placements(ctx, id)
			require.NoError(t, err)
			if c.left != "" { // it is for whoever cleans that host
				at := slices.IndexFunc(held, func(p models.Placement) bool { return p.Role == models.PlacementLeft })
				require.NotEqual(t, -1, at)
				held = slices.Delete(held, at, at+1)
			}
			require.Len(t, held, 1)
			require.Equal(t, []any{models.PlacementActive, 4}, []any{held[0].Role, held[0].DiskGiB})
			v, err := store.Server(ctx, id)
			require.NoError(t, err)
			require.Equal(t, "hv1", v.Host.Hostname)
		})
	}
}
