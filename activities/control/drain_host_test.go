package control

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/internal/service/placement"
	"github.com/slipway-cloud/slipway/models"
)

// draining is a host with servers, and the activities over it.
type draining struct {
	*Activities
	host  models.Host
	place func() string
}

func newDraining(ctx context.Context, t *testing.T, store *models.Store) *draining {
	t.Helper()
	d := &draining{Activities: New(Options{Store: store, Keys: testenv.PayloadKeys(t), Placement: placement.Settings{DownAfter: time.Minute}, Logger: slog.New(slog.DiscardHandler)})}
	d.host, d.place = placing(ctx, t, store)
	return d
}

// active is a server that runs on the host, or on which an action is done, or has been.
func (d *draining) active(ctx context.Context, t *testing.T, action string, finished bool) string {
	t.Helper()
	id := d.place()
	require.NoError(t, d.store.ActivateServer(ctx, models.Activation{ServerID: id, RequestID: "req-" + id, PowerState: lifecycle.Running}))
	if action == "" {
		return id
	}
	row, _ := lifecycle.Find(action)
	_, err := d.store.BeginAction(ctx, id, row, models.InstanceAction{RequestID: "req-2", Action: row.Method, UserID: "u1", ProjectID: "p1"})
	require.NoError(t, err)
	if finished {
		require.NoError(t, d.store.FinishAction(ctx, id, "req-2", row, nil))
	}
	return id
}

func idsOf(all []contract.DrainServer) (list []string) {
	for _, s := range all {
		list = append(list, s.ServerID)
	}
	return list
}

func TestALookTellsWhatCanBeMovedFromWhatIsBusyAndWhatStays(t *testing.T) {
	ctx, store := newStore(t)
	d := newDraining(ctx, t, store)
	runs, stopped, locked := d.active(ctx, t, "", false), d.active(ctx, t, "os-stop", true), d.active(ctx, t, "", false)
	lock := models.InstanceAction{ServerID: locked, RequestID: "req-l", Action: "lock", UserID: "u1", ProjectID: "p1", StartedAt: time.Now(), Events: []models.InstanceActionEvent{{ServerID: locked, RequestID: "req-l", Event: "lock", StartedAt: time.Now()}}}
	require.NoError(t, store.ReviseServer(ctx, lock, func(v *models.Server) error { v.LockedBy = new(models.LockedByOwner); return nil }))
	builds, reboots, paused := d.place(), d.active(ctx, t, "reboot-hard", false), d.active(ctx, t, "pause", true)

	look := func(in contract.LookToDrainInput) contract.DrainLook {
		in.HostID = d.host.ID
		found, err := d.LookToDrain(ctx, in)
		require.NoError(t, err)
		return found
	}
	found := look(contract.LookToDrainInput{Limit: 9})
	require.Len(t, found.Move, 3)
	require.Equal(t, []string{runs, stopped, locked}, []string{found.Move[0].ServerID, found.Move[1].ServerID, found.Move[2].ServerID})
	m := found.Move[0]
	require.Equal(t, []string{"p1", "s"}, []string{m.ProjectID, m.Name})
	require.NotEqual(t, m.MigrateBy, m.ConfirmBy)
	require.Equal(t, []string{builds, reboots}, idsOf(found.Busy))
	require.Equal(t, "Cannot 'migrate' instance "+reboots+" while it is in task_state rebooting_hard", found.Busy[1].Why)
	require.Equal(t, []string{paused}, idsOf(found.Stays))
	require.Equal(t, "Cannot 'migrate' instance "+paused+" while it is in vm_state paused", found.Stays[0].Why)
	require.Equal(t, []any{true, "", 0}, []any{found.Enabled, found.Silent, found.Leftovers})

	found = look(contract.LookToDrainInput{Limit: 1, Except: []string{runs, paused}})
	require.Equal(t, 1, found.Waiting)
	require.Equal(t, []any{stopped, 1, 0}, []any{found.Move[0].ServerID, len(found.Move), len(found.Stays)})
	require.Empty(t, found.Gone)

	found = look(contract.LookToDrainInput{Limit: 1, Except: []string{runs, "nobody"}})
	require.Equal(t, []string{"nobody"}, found.Gone)
}

func TestALookNamesOnlySomeAndCountsTheRest(t *testing.T) {
	var list []contract.DrainServer
	more := map[string]int{}
	for range shownOfHost + 3 {
		list = named(list, more, contract.DrainBusy, models.Server{}, "why")
	}
	require.Equal(t, []any{shownOfHost, 3}, []any{len(list), more[contract.DrainBusy]})
}

func TestWhatHasMovedAndIsNotConfirmedStaysAndIsAskedFor(t *testing.T) {
	ctx, store := newStore(t)
	d := newDraining(ctx, t, store)
	id := d.active(ctx, t, "migrate", false)
	other, err := store.RegisterHost(ctx, models.Host{
		Hostname: "hv2", AvailabilityZone: "nova", TokenHash: []byte("y"), VCPUs: 8, MemoryMiB: 8192, DiskGiB: 100,
		CPURatio: 1, RAMRatio: 1, DiskRatio: 1, Enabled: true, Ready: true, StartedAt: time.Now(), SeenAt: time.Now(),
	})
	require.NoError(t, err)
	ask := func(request string) contract.Move {
		is, err := d.AskMove(ctx, contract.AskMoveInput{ServerID: id, RequestID: request})
		require.NoError(t, err)
		require.NotEmpty(t, is.ConfirmBy)
		is.ConfirmBy = ""
		return is
	}
	require.Equal(t, contract.Move{Begun: true}, ask("req-2"))
	require.Equal(t, contract.Move{}, ask("req-another"))

	require.NoError(t, store.BeginMigration(ctx, models.Migration{
		ServerID: id, RequestID: "req-2", Kind: models.MigrationCold, SourceHost: "hv1", OldVMState: lifecycle.Active,
	}))
	require.NoError(t, store.ChooseDestination(ctx, id, "req-2", "hv2"))
	require.NoError(t, store.Place(ctx, models.Placement{ServerID: id, HostID: other.ID, Role: models.PlacementResize}, lifecycle.ResizePrep))
	at := func(hostID string) contract.DrainLook {
		found, err := d.LookToDrain(ctx, contract.LookToDrainInput{HostID: hostID, Limit: 9})
		require.NoError(t, err)
		return found
	}
	require.Equal(t, "It is on its way to this host.", at(other.ID).Busy[0].Why)
	for _, way := range [][]string{{models.MigrationBegun, models.MigrationMigrating}, {models.MigrationMigrating, models.MigrationFinished}} {
		moved, err := store.MoveMigration(ctx, id, "req-2", false, way[:1], way[1])
		require.NoError(t, err)
		require.True(t, moved)
	}
	migrate, _ := lifecycle.Find("migrate")
	require.NoError(t, store.FinishAction(ctx, id, "req-2", func() lifecycle.Action { migrate.Task = lifecycle.ResizePrep; return migrate }(), nil))
	require.Equal(t, contract.Move{Begun: true, Waits: true}, ask("req-2"))
	require.Contains(t, at(d.host.ID).Stays[0].Why, "its guest of before is kept here")
	require.Contains(t, at(other.ID).Stays[0].Why, "vm_state resized")

	moved, err := store.MoveMigration(ctx, id, "req-3", true, []string{models.MigrationFinished}, models.MigrationConfirmed)
	require.NoError(t, err)
	require.True(t, moved)
	require.Equal(t, contract.Move{Begun: true, Confirmed: true}, ask("req-2"))
	require.Equal(t, 1, at(d.host.ID).Leftovers, "until a clean-up has been there")
}

func TestADrainBeginsOnAHostThatAnswersAlone(t *testing.T) {
	ctx, store := newStore(t)
	d := newDraining(ctx, t, store)
	in := contract.DrainInput{HostID: d.host.ID, Hostname: "hv1", RequestID: "req-1", UserID: "ops"}
	begin := func() error { return asStep(t, func(ctx context.Context) error { return d.BeginDrain(ctx, in) }) }
	at := time.Now()
	d.now = func() time.Time { return at.Add(time.Hour) }
	err := begin()
	require.True(t, fault.Is(err, fault.Conflict))
	require.Contains(t, fault.Public(err), "Host hv1 cannot be drained: it is down: last heard of 1h0m0s ago.")
	d.now = time.Now
	require.NoError(t, store.ForceHostDown(ctx, d.host.ID, true))
	require.True(t, fault.Is(begin(), fault.Conflict))
	require.NoError(t, store.ForceHostDown(ctx, d.host.ID, false))
	h, err := store.Host(ctx, d.host.ID)
	require.NoError(t, err)
	require.True(t, h.Enabled, "what is refused leaves nothing")

	require.NoError(t, begin())
	found, err := d.LookToDrain(ctx, contract.LookToDrainInput{HostID: d.host.ID})
	require.NoError(t, err)
	require.False(t, found.Enabled)
	require.NoError(t, asStep(t, func(ctx context.Context) error {
		require.NoError(t, d.AbandonDrain(ctx, in))
		require.True(t, fault.Is(d.BeginDrain(ctx, in), fault.Conflict), "what a run has given back it does not take any more")
		return nil
	}))
	h, err = store.Host(ctx, d.host.ID)
	require.NoError(t, err)
	require.True(t, h.Enabled)
}
