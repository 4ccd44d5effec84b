package control

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

// waiting stands at the port to the engine: the servers on which something works, and how many undos of each wait for the host.
type waiting struct {
	Builds
	mu     sync.Mutex // several are asked at once
	undos  map[string]int
	listed []string
	acts   []contract.OperatorAct
	silent error
	mute   string // the one that is silent
}

func (w *waiting) ServersAt(context.Context, string) ([]string, error) { return w.listed, nil }

func (w *waiting) EndUndos(_ context.Context, server, hostname string, act contract.OperatorAct) (works bool, ended int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.silent != nil && server == w.mute {
		return true, 0, w.silent
	}
	n, works := w.undos[server]
	for range n {
		w.acts = append(w.acts, act)
	}
	w.undos[server] = 0
	if !works {
		return false, 0, nil
	}
	return true, n, nil
}

// placing is a host, hv1, and what places one more building server on it.
func placing(ctx context.Context, t *testing.T, store *models.Store) (host models.Host, place func() string) {
	t.Helper()
	_, err := store.EnsureUser(ctx, models.User{ID: "u1", Name: "u1", DomainID: "default", PasswordHash: "x", Enabled: true})
	require.NoError(t, err)
	image, err := store.CreateImage(ctx, models.Image{ID: uuid.NewString(), OwnerID: "p1", Visibility: "public"}, nil)
	require.NoError(t, err)
	host, err = store.RegisterHost(ctx, models.Host{
		Hostname: "hv1", AvailabilityZone: "nova", TokenHash: []byte("x"), VCPUs: 8, MemoryMiB: 8192, DiskGiB: 100,
		CPURatio: 1, RAMRatio: 1, DiskRatio: 1, Enabled: true, Ready: true, StartedAt: time.Now(), SeenAt: time.Now(),
	})
	require.NoError(t, err)
	return host, func() string {
		id := uuid.NewString()
		require.NoError(t, store.RecordServer(ctx, models.Server{ID: id, ProjectID: "p1", UserID: "u1", Name: "s", Hostname: "s", ImageID: image.ID, FlavorID: "1"},
			models.InstanceAction{ServerID: id, RequestID: "req-" + id, Action: "create", UserID: "u1", ProjectID: "p1"}))
		require.NoError(t, store.Place(ctx, models.Placement{ServerID: id, HostID: host.ID}, lifecycle.Scheduling))
		return id
	}
}

func TestAHostIsEmptyWhenNothingWaitsForItAnyMore(t *testing.T) {
	ctx, store := newStore(t)
	host, place := placing(ctx, t, store)
	active, builds, forgotten := place(), place(), place()
	require.NoError(t, store.ActivateServer(ctx, models.Activation{ServerID: active, RequestID: "req-" + active, PowerState: lifecycle.Running}))
	elsewhere := uuid.NewString() // its clean-up waits for the host, and its room there is given back
	engine := &waiting{undos: map[string]int{builds: 2, elsewhere: 1}, listed: []string{builds, elsewhere}}
	a := New(Options{Store: store, Builds: engine, Keys: testenv.PayloadKeys(t), Logger: slog.New(slog.DiscardHandler)})
	in := contract.ForgetHostInput{HostID: host.ID, Hostname: "hv1", Reason: "it burnt", UserID: "ops", RequestID: "req-f"}
	require.True(t, fault.Is(a.EmptyHost(ctx, in), fault.NotFound), "who was not given up is not emptied")
	for range 2 {
		require.NoError(t, a.BeginForget(ctx, in))
	}
	record, err := store.ForgottenHost(ctx, host.ID)
	require.NoError(t, err)
	require.Equal(t, "k1", record.PayloadKey)

	engine.mute = builds
	engine.silent = fault.Wrap(fault.Unavailable, errors.New("no worker"), "The build does not say.")
	err = a.EmptyHost(ctx, in)
	require.True(t, fault.Is(err, fault.Unavailable), err)
	require.Contains(t, err.Error(), "on host hv1")
	v, err := store.Server(ctx, active)
	require.NoError(t, err)
	require.Equal(t, lifecycle.Error, v.VMState, "no other server waits for one that does not answer")
	free, err := store.Placements(ctx, forgotten)
	require.NoError(t, err)
	require.Empty(t, free, "nor one on which nothing works")
	noted, err := store.ForgottenHost(ctx, host.ID)
	require.NoError(t, err)
	require.Contains(t, noted.WaitsFor, "is a worker running?")
	require.Contains(t, v.Fault.Message, "lost for good")
	require.Equal(t, "Host hv1 was given up by user ops (req-f): it burnt", v.Fault.Details)
	engine.silent = nil

	err = a.EmptyHost(ctx, in)
	require.True(t, fault.Is(err, fault.Unavailable), err)
	require.Contains(t, fault.Public(err), "Host hv1: 1 servers are still being built, deleted or acted upon there: "+builds)
	require.Len(t, engine.acts, 3)
	for _, act := range engine.acts {
		require.Equal(t, contract.OperatorAct{Act: contract.ActSkip, Reason: "host hv1 was given up: it burnt", UserID: "ops", RequestID: "req-f"}, act)
	}
	given, err := store.ForgottenHost(ctx, host.ID)
	require.NoError(t, err)
	require.Contains(t, given.WaitsFor, builds)
	held, err := store.Placements(ctx, forgotten)
	require.NoError(t, err)
	require.Empty(t, held, "no workflow would have given it back")

	require.NoError(t, store.ReleasePlacement(ctx, builds, "hv1"))
	engine.undos[elsewhere] = 1
	err = a.EmptyHost(ctx, in)
	require.True(t, fault.Is(err, fault.Unavailable), "what was behind an undo may begin now: %v", err)
	for range 2 {
		require.NoError(t, a.EmptyHost(ctx, in))
	}
	hosts, err := store.ListHosts(ctx)
	require.NoError(t, err)
	require.Empty(t, hosts)
	given, err = store.ForgottenHost(ctx, host.ID)
	require.NoError(t, err)
	require.NotNil(t, given.DoneAt)
	require.Equal(t, 1, given.Servers)
}
