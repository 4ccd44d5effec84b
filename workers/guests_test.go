package workers

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor/fake"
	"github.com/slipway-cloud/slipway/internal/hostapi"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// told is an API that knows some guests and keeps what it is told.
type told struct {
	known   func() ([]hostapi.Guest, error)
	resumed chan []string
	seen    chan []hostapi.Sighting
}

func (a *told) Resume(_ context.Context, servers []string) error {
	a.resumed <- servers
	return nil
}
func (a *told) Guests(context.Context) ([]hostapi.Guest, error) { return a.known() }
func (a *told) Saw(_ context.Context, seen []hostapi.Sighting) error {
	a.seen <- seen
	return nil
}

type guestsRig struct {
	virt *fake.Hypervisor
	api  *told
	Guests
}

func newGuests(t *testing.T) *guestsRig {
	virt, err := fake.New(fake.Options{})
	require.NoError(t, err)
	api := &told{
		known:   func() ([]hostapi.Guest, error) { return nil, nil },
		resumed: make(chan []string, 10), seen: make(chan []hostapi.Sighting, 10),
	}
	return &guestsRig{virt, api, Guests{Hypervisor: virt, API: api, Instances: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}}
}

func (r *guestsRig) guest(t *testing.T, mine bool) string {
	id := uuid.NewString()
	require.NoError(t, r.virt.Define(t.Context(), hypervisor.Domain{UUID: id, Name: "slipway-" + id, VCPUs: 1, MemoryMiB: 128}))
	require.NoError(t, r.virt.Start(t.Context(), id))
	if mine {
		require.NoError(t, os.Mkdir(filepath.Join(r.Instances, id), 0o755))
	}
	return id
}

// run runs Guests for as long as the test.
func (r *guestsRig) run(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
}

func heard[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(time.Minute):
		t.Fatal("nothing was told")
		panic("unreachable")
	}
}

func TestGuestsThatWentDownWithTheirMachineAreResumedAndNoOthers(t *testing.T) {
	r := newGuests(t)
	r.Resume = true
	off, crashed, byItself, runs, others := r.guest(t, true), r.guest(t, true), r.guest(t, true), r.guest(t, true), r.guest(t, false)
	require.NoError(t, r.virt.SetState(off, hypervisor.ShutOff))
	require.NoError(t, r.virt.SetState(crashed, hypervisor.Crashed))
	require.NoError(t, r.virt.PowerOff(byItself))
	require.NoError(t, r.virt.SetState(others, hypervisor.ShutOff))
	_ = runs
	r.run(t)
	require.ElementsMatch(t, []string{off, crashed}, heard(t, r.api.resumed))
}

func TestWhatAHostSeesOfItsGuestsIsToldWhenItChanges(t *testing.T) {
	r := newGuests(t)
	id, foreign := r.guest(t, true), r.guest(t, false)
	asOf := time.Now()
	power := lifecycle.Running
	r.api.known = func() ([]hostapi.Guest, error) {
		return []hostapi.Guest{{ServerID: id, Active: true, PowerState: power, AsOf: asOf}}, nil
	}
	r.run(t)
	// Each change is looked at; while it runs as it should there is nothing to tell.
	require.NoError(t, r.virt.SetState(foreign, hypervisor.Paused))
	require.NoError(t, r.virt.SetState(id, hypervisor.Paused))
	require.Equal(t, []hostapi.Sighting{{ServerID: id, AsOf: asOf, PowerState: lifecycle.PausedGuest}}, heard(t, r.api.seen))
	require.NoError(t, r.virt.PowerOff(id))
	for {
		if heard(t, r.api.seen)[0].PowerState == lifecycle.Shutdown {
			break
		}
	}
	require.Empty(t, r.api.resumed, "nobody asked for that")
}

func TestAGuestIsToldToHaveShutItselfDownWhereItsServerEndsSoAndNobodyAskedItTo(t *testing.T) {
	for name, c := range map[string]struct {
		ends bool
		off  func(r *guestsRig, id string) error
		told bool
	}{
		"by itself":              {true, func(r *guestsRig, id string) error { return r.virt.PowerOff(id) }, true},
		"of a server that stops": {false, func(r *guestsRig, id string) error { return r.virt.PowerOff(id) }, false},
		"its button was pressed": {true, func(r *guestsRig, id string) error { return r.virt.Shutdown(t.Context(), id) }, false},
		"turned off after it went": {true, func(r *guestsRig, id string) error {
			return errors.Join(r.virt.PowerOff(id), r.virt.Destroy(t.Context(), id))
		}, false},
		"its QEMU was ended by a signal": {true, func(r *guestsRig, id string) error { return r.virt.SetState(id, hypervisor.ShutOff) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newGuests(t)
			id := r.guest(t, true)
			r.api.known = func() ([]hostapi.Guest, error) {
				return []hostapi.Guest{{ServerID: id, Active: true, PowerState: lifecycle.Running, EndsAtShutdown: c.ends}}, nil
			}
			require.NoError(t, c.off(r, id))
			r.run(t)
			require.Equal(t, []hostapi.Sighting{{ServerID: id, PowerState: lifecycle.Shutdown, ByGuest: c.told}}, heard(t, r.api.seen))
		})
	}
}

func TestAnAPIThatDoesNotAnswerIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGuests(t)
		id := r.guest(t, true)
		require.NoError(t, r.virt.SetState(id, hypervisor.Crashed))
		failures := 1
		r.api.known = func() ([]hostapi.Guest, error) {
			if failures--; failures >= 0 {
				return nil, errors.New("connection refused")
			}
			return []hostapi.Guest{{ServerID: id, Active: true, PowerState: lifecycle.Running}}, nil
		}
		r.run(t)
		require.Equal(t, lifecycle.Crashed, heard(t, r.api.seen)[0].PowerState)
	})
}
