package models

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// forgotten is a server that was built, with a port, and of which the database knows nothing any more.
func (w *world) forgotten(t testing.TB, h Host) Adoption {
	t.Helper()
	at := now()
	return Adoption{
		Server: Server{
			ID: uuid.NewString(), ProjectID: "p1", UserID: "u1", Name: "web", Hostname: "web", ImageID: w.image.ID, FlavorID: "1",
			Flavor: FlavorSnapshot{ID: "1", Name: "small", VCPUs: 1, RAMMiB: 512, DiskGiB: 1}, PowerState: lifecycle.Running, CreatedAt: at,
			Metadata: map[string]string{"k": "v"}, Tags: []string{"blue"},
			Ports: []Port{{
				ID: uuid.NewString(), NetworkID: w.network.ID, MAC: "fa:16:3e:00:00:01", MadeByBuild: true,
				FixedIPs: []FixedIP{{SubnetID: w.network.Subnets[0].ID, IP: "10.0.0.77"}},
			}},
		},
		Host: h.Hostname, Spec: ServerSpec{KeyID: "k1", Sealed: []byte("sealed")}, Claim: Claim{Instances: 1, Cores: 1, RAMMiB: 512},
		Room: Placement{VCPUs: 1, MemoryMiB: 512, DiskGiB: 1},
		Action: InstanceAction{
			RequestID: "req-" + uuid.NewString(), Action: "adopt", UserID: "u1", ProjectID: "p1", StartedAt: at,
			Events: []InstanceActionEvent{{Event: "AdoptServer", Host: &h.Hostname, StartedAt: at, EndedAt: &at, Result: new("Success")}},
		},
	}
}

func TestAnAdoptedServerHasAllThatItHad(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	h := w.host(t, "n1", 1, 512, 1)
	a := w.forgotten(t, h)
	require.NoError(t, w.AdoptServer(ctx, a))
	require.NoError(t, w.AdoptServer(ctx, a), "the same request again")

	v, err := w.Server(ctx, a.Server.ID)
	require.NoError(t, err)
	require.Equal(t, []any{lifecycle.Active, lifecycle.Running, h.ID, "v", "blue"}, []any{v.VMState, v.PowerState, *v.HostID, v.Metadata["k"], v.Tags[0]})
	require.Nil(t, v.TaskState)
	require.NotNil(t, v.LaunchedAt)
	require.Equal(t, []any{a.Server.Ports[0].ID, "10.0.0.77", true}, []any{v.Ports[0].ID, v.Ports[0].FixedIPs[0].IP, v.Ports[0].MadeByBuild})
	held, err := w.Placements(ctx, v.ID)
	require.NoError(t, err)
	require.Len(t, held, 1)
	used, err := w.QuotaUsage(ctx, "p1")
	require.NoError(t, err)
	require.Equal(t, Usage{Instances: 1, Cores: 1, RAMMiB: 512}, used)
	specs, err := w.ServerSpecs(ctx, v.ID)
	require.NoError(t, err)
	require.Equal(t, "k1", specs[v.ID].KeyID)
	action, err := w.Action(ctx, v.ID, a.Action.RequestID)
	require.NoError(t, err)
	require.Equal(t, []string{"adopt", "AdoptServer"}, []string{action.Action, action.Events[0].Event})

	full := w.forgotten(t, h)
	full.Server.Ports, full.Server.PowerState = nil, lifecycle.Shutdown
	require.NoError(t, w.AdoptServer(ctx, full), "the host has no room, and holds it all the same")
	v, err = w.Server(ctx, full.Server.ID)
	require.NoError(t, err)
	require.Equal(t, lifecycle.Stopped, v.VMState)
}

func TestWhatIsInTheWayOfAnAdoptionIsSaidAndLeavesNothing(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	h := w.host(t, "n1", 4, 4096, 40)
	known := w.record(t, "known")
	gone := w.record(t, "gone")
	require.NoError(t, w.exec(ctx, `UPDATE servers SET vm_state = 'deleted', deleted_at = now() WHERE id = $1`, gone.ID))
	taken, err := w.CreatePort(ctx, Port{ProjectID: "p1", NetworkID: w.network.ID, FixedIPs: []FixedIP{{IP: "10.0.0.78"}}})
	require.NoError(t, err)
	bound, err := w.AllocatePort(ctx, PortRequest{ID: uuid.NewString(), NetworkID: w.network.ID, ServerID: known.ID, ProjectID: "p1", Hostname: "n1"})
	require.NoError(t, err)
	before, err := w.Snapshot(ctx)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		change func(*Adoption)
		text   string
	}{
		"a server that is there":     {func(a *Adoption) { a.Server.ID = known.ID }, "Instance " + known.ID + " already exists."},
		"one that was deleted":       {func(a *Adoption) { a.Server.ID = gone.ID }, "Instance " + gone.ID + " was deleted."},
		"no such project":            {func(a *Adoption) { a.Server.ProjectID = "p9" }, "belongs to project p9, which is not known here."},
		"no such user":               {func(a *Adoption) { a.Server.UserID = "u9" }, "belongs to user u9, which is not known here."},
		"no such image":              {func(a *Adoption) { a.Server.ImageID = "i9" }, "was built of image i9, which is not known here: create an image of that id first."},
		"no such network":            {func(a *Adoption) { a.Server.Ports[0].NetworkID = "n9" }, "The guest is on network n9, which is not known here."},
		"no such subnet":             {func(a *Adoption) { a.Server.Ports[0].FixedIPs[0].SubnetID = "s9" }, "The guest has address 10.0.0.77 of subnet s9, which is not known here."},
		"an address of another":      {func(a *Adoption) { a.Server.Ports[0].FixedIPs[0].IP = "10.0.0.78" }, "The guest's address 10.0.0.78 belongs to another port by now."},
		"a MAC address of another":   {func(a *Adoption) { a.Server.Ports[0].MAC = taken.MAC }, "The guest's MAC address " + taken.MAC + " belongs to another port by now."},
		"a port of another server":   {func(a *Adoption) { a.Server.Ports[0].ID, a.Server.Ports[0].MAC = bound.ID, bound.MAC }, "Port " + bound.ID + " is still in use."},
		"a request that is too late": {func(a *Adoption) { a.Action.AnswerBy = now().Add(-1) }, "The request was not accepted in time, and nothing was done. Please try again."},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.forgotten(t, h)
			c.change(&a)
			err := w.AdoptServer(ctx, a)
			require.True(t, fault.Is(err, fault.Conflict), "%v", err)
			require.ErrorContains(t, err, c.text)
			after, err := w.Snapshot(ctx)
			require.NoError(t, err)
			require.Equal(t, before, after)
		})
	}
}

func TestAnAdoptedServerTakesWhatWasLeftOfIt(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	h := w.host(t, "n1", 4, 4096, 40)
	a := w.forgotten(t, h)
	mine, err := w.CreatePort(ctx, Port{ProjectID: "p1", NetworkID: w.network.ID})
	require.NoError(t, err)
	a.Server.Ports[0] = Port{ID: mine.ID, NetworkID: w.network.ID, MAC: mine.MAC}
	require.NoError(t, w.ClaimQuota(ctx, Claim{ServerID: a.Server.ID, ProjectID: "p1", Instances: 1, Cores: 4}, Limits{-1, -1, -1}))
	require.NoError(t, w.AdoptServer(ctx, a))
	v, err := w.Server(ctx, a.Server.ID)
	require.NoError(t, err)
	require.Equal(t, []any{mine.ID, false}, []any{v.Ports[0].ID, v.Ports[0].MadeByBuild}, "the user's port stays the user's")
	used, err := w.QuotaUsage(ctx, "p1")
	require.NoError(t, err)
	require.Equal(t, Usage{Instances: 1, Cores: 1, RAMMiB: 512}, used)
}
