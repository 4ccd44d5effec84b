package control

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// ending notes the servers whose end was asked for, and marks them as their workflow does.
type ending struct {
	Builds
	store *models.Store
	asked []contract.DeleteInput
	then  func() // once, after the next
}

func (e *ending) Delete(ctx context.Context, in contract.DeleteInput) error {
	e.asked = append(e.asked, in)
	_, err := e.store.MarkServerDeleting(ctx, in.ServerID, models.InstanceAction{
		ServerID: in.ServerID, RequestID: in.RequestID, Action: "delete", UserID: in.UserID, ProjectID: in.ProjectID, StartedAt: time.Now(),
	})
	if e.then != nil {
		e.then()
		e.then = nil
	}
	return err
}

func TestAPurgedProjectGoesWithAllThatItOwns(t *testing.T) {
	ctx, store := newStore(t)
	_, place := placing(ctx, t, store) // with an image of p1
	_, err := store.EnsureProject(ctx, models.Project{ID: "p2", Name: "p2", DomainID: "default", Enabled: true})
	require.NoError(t, err)
	engine := &ending{store: store}
	a := withImages(t, Options{Store: store, Builds: engine})
	turn := func() { require.NoError(t, a.PurgeProjects(ctx, contract.Housekeeping{})) }

	first, second := place(), place()
	own, err := store.CreateNetwork(ctx, models.Network{ProjectID: "p1", Name: "own", MTU: 1500, Shared: true})
	require.NoError(t, err)
	anothers, err := store.CreateNetwork(ctx, models.Network{ProjectID: "p2", Name: "another's", MTU: 1500, Shared: true})
	require.NoError(t, err)
	_, err = store.CreateSubnet(ctx, models.Subnet{NetworkID: anothers.ID, ProjectID: "p1", CIDR: "10.9.0.0/24"})
	require.NoError(t, err)
	_, err = store.CreateServerGroup(ctx, models.ServerGroup{ProjectID: "p1", UserID: "u1", Name: "apart", Policy: models.AntiAffinity}, -1)
	require.NoError(t, err)
	guest, err := store.CreatePort(ctx, models.Port{NetworkID: own.ID, ProjectID: "p2"})
	require.NoError(t, err)
	port, err := store.CreatePort(ctx, models.Port{NetworkID: own.ID, ProjectID: "p1"})
	require.NoError(t, err)

	turn()
	require.Empty(t, engine.asked, "nobody has asked")
	enable := func() {
		_, err := store.UpdateProject(ctx, "p1", models.ProjectPatch{Enabled: new(true)})
		require.NoError(t, err)
	}
	require.NoError(t, store.PurgeProject(ctx, "p1", "ops"))
	engine.then = enable
	turn()
	require.Len(t, engine.asked, 1, "what is left is kept from then on, within a turn too")
	_, err = store.Port(ctx, port.ID)
	require.NoError(t, err)
	require.ErrorContains(t, store.EndPurge(ctx, "p1"), "Project p1 is purged no more.")

	require.NoError(t, store.PurgeProject(ctx, "p1", "ops"))
	turn()
	require.Len(t, engine.asked, 2)
	for _, in := range engine.asked {
		require.Contains(t, []string{first, second}, in.ServerID)
		require.Equal(t, []string{"p1", "ops"}, []string{in.ProjectID, in.UserID})
	}
	_, err = store.Port(ctx, port.ID)
	require.True(t, fault.Is(err, fault.NotFound), err)
	turn()
	require.Len(t, engine.asked, 2, "they are being deleted already")
	for _, in := range engine.asked {
		require.NoError(t, store.ReleasePlacement(ctx, in.ServerID, "hv1"))
		require.NoError(t, store.RemoveServer(ctx, in.ServerID, in.RequestID, nil, time.Now()))
	}
	turn()
	_, err = store.Network(ctx, own.ID)
	require.NoError(t, err, "another project has a port there")
	requireOwns := func(says string) {
		t.Helper()
		require.ErrorContains(t, store.DeleteProject(ctx, "p1"), says)
	}
	requireOwns("Project p1 owns 1 network")
	require.NoError(t, store.DeletePort(ctx, guest.ID))

	// Who enables it keeps what is left.
	enable()
	turn()
	requireOwns("Project p1 owns 1 network")

	require.NoError(t, store.PurgeProject(ctx, "p1", "ops"))
	turn()
	_, err = store.Project(ctx, "p1")
	require.True(t, fault.Is(err, fault.NotFound), err)
	_, err = store.Network(ctx, anothers.ID)
	require.NoError(t, err)
	turn()
}
