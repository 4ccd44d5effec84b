package models

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// placed is a server in BUILD with room on the host.
func (w *world) placed(t testing.TB, on Host) Server {
	t.Helper()
	v := w.record(t, "s-"+uuid.NewString())
	require.NoError(t, w.Place(context.Background(), Placement{ServerID: v.ID, HostID: on.ID, VCPUs: 1, MemoryMiB: 64, DiskGiB: 1}, "spawning"))
	return v
}

func (w *world) fails(t testing.TB, v Server, on Host, at time.Time, limit int) Host {
	t.Helper()
	h, counted, err := w.CountBuildFailure(context.Background(), BuildFailure{
		ServerID: v.ID, Hostname: on.Hostname, Text: "StartDomain: no memory", At: at, Limit: limit,
	})
	require.NoError(t, err)
	require.True(t, counted)
	return h
}

func (w *world) activate(t testing.TB, v Server) {
	t.Helper()
	require.NoError(t, w.ActivateServer(context.Background(), Activation{ServerID: v.ID, RequestID: "req-" + v.ID, PowerState: 1}))
}

func (w *world) reread(t testing.TB, h Host) Host {
	t.Helper()
	got, err := w.Host(context.Background(), h.ID)
	require.NoError(t, err)
	return got
}

func TestAFailureIsCountedOnceHoweverOftenItIsTold(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	h := w.host(t, "n1", 64, 65536, 640)
	v := w.placed(t, h)
	told := func() (bool, error) {
		_, counted, err := w.CountBuildFailure(ctx, BuildFailure{ServerID: v.ID, Hostname: "n1", Text: "BuildDisk: the disk is full", At: now(), Limit: 3})
		return counted, err
	}
	counted := make([]bool, 8)
	for _, err := range atOnce(len(counted), func(i int) (err error) { counted[i], err = told(); return err }) {
		require.NoError(t, err)
	}
	require.ElementsMatch(t, []bool{true, false, false, false, false, false, false, false}, counted)
	require.Equal(t, 1, w.reread(t, h).BuildFailures)

	require.NoError(t, w.ReleasePlacement(ctx, v.ID, "n1"))
	again, err := told()
	require.NoError(t, err)
	require.False(t, again, "a try that comes late finds that the build has left the host")
	require.Equal(t, 1, w.reread(t, h).BuildFailures)
}

func TestServersThatFailAtOnceCountEach(t *testing.T) {
	w := newWorld(t)
	h, other := w.host(t, "n1", 64, 65536, 640), w.host(t, "n2", 64, 65536, 640)
	servers := make([]Server, 10)
	for i := range servers {
		servers[i] = w.placed(t, h)
	}
	for _, err := range atOnce(len(servers), func(i int) error {
		_, _, err := w.CountBuildFailure(context.Background(), BuildFailure{ServerID: servers[i].ID, Hostname: "n1", Text: fmt.Sprint(i), At: now(), Limit: 3})
		return err
	}) {
		require.NoError(t, err)
	}
	got := w.reread(t, h)
	require.Equal(t, 10, got.BuildFailures)
	require.True(t, got.Suspended)
	require.Zero(t, w.reread(t, other).BuildFailures)
}

func TestTooManyFailuresSuspendAHostUntilItsTrialHasPassedAndOneMoreDoesAgain(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	h := w.host(t, "n1", 64, 65536, 640)
	at := now()
	running := w.placed(t, h) // it succeeds, late
	last := w.placed(t, h)    // and this one was being built while the others failed
	require.False(t, w.fails(t, w.placed(t, h), h, at, 3).Suspended)
	require.False(t, w.fails(t, w.placed(t, h), h, at, 3).Suspended)
	refused := w.record(t, "refused")
	got := w.fails(t, w.placed(t, h), h, at, 3)
	require.True(t, got.Suspended)
	ok, reason := got.CanTake()
	require.False(t, ok)
	require.Equal(t, "3 builds in a row failed on it; `slipway host show n1` says how", reason)
	require.Equal(t, "StartDomain: no memory", *got.LastFailure)
	require.Equal(t, at, *got.LastFailureAt)
	requireFault(t, w.Place(ctx, Placement{ServerID: refused.ID, HostID: h.ID, VCPUs: 1}, "spawning"), fault.HostUnfit, "Host n1 is not ready.")

	due := func(at time.Time) bool {
		wanted, err := w.TakeTrial(ctx, h.ID, at)
		require.NoError(t, err)
		return wanted
	}
	require.True(t, due(at), "the first trial is wanted at once")
	for _, pause := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		require.False(t, due(at.Add(pause*time.Minute-time.Millisecond)), "not before %d min", pause)
		at = at.Add(pause * time.Minute)
		wanted := make([]bool, 4)
		for _, err := range atOnce(len(wanted), func(i int) (err error) { wanted[i], err = w.TakeTrial(ctx, h.ID, at); return err }) {
			require.NoError(t, err)
		}
		require.ElementsMatch(t, []bool{true, false, false, false}, wanted, "asked once, however many ask")
	}

	was, err := w.EndSuspension(ctx, h.ID)
	require.NoError(t, err)
	require.True(t, was)
	was, err = w.EndSuspension(ctx, h.ID)
	require.NoError(t, err)
	require.False(t, was)
	ok, _ = w.reread(t, h).CanTake()
	require.True(t, ok)
	require.False(t, due(at.Add(time.Hour)), "a host that is not suspended is asked for nothing")

	got = w.fails(t, last, h, at, 3)
	require.True(t, got.Suspended, "it was on probation")
	require.Equal(t, at.Add(30*time.Minute), *got.TrialDueAt, "the pause that has grown holds")

	w.activate(t, running)
	got = w.reread(t, h)
	require.Equal(t, []any{0, false}, []any{got.BuildFailures, got.Suspended})
	require.Nil(t, got.TrialDueAt)
	require.NotNil(t, got.LastFailure, "it stays to be read")
	for range 3 {
		got = w.fails(t, w.placed(t, h), h, at, 3)
	}
	require.Equal(t, at, *got.TrialDueAt, "and all begins anew")
}

func TestASuccessForgetsFailuresAndAnOperatorDoesToo(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	h := w.host(t, "n1", 64, 65536, 640)
	for name, forgets := range map[string]func(){
		"success":  func() { w.activate(t, w.placed(t, h)) },
		"operator": func() { require.NoError(t, w.SetHostEnabled(ctx, h.ID, true, nil)) },
	} {
		w.fails(t, w.placed(t, h), h, now(), 3)
		require.Equal(t, 1, w.reread(t, h).BuildFailures, name)
		forgets()
		require.Zero(t, w.reread(t, h).BuildFailures, name)
	}
	w.fails(t, w.placed(t, h), h, now(), 1)
	require.NoError(t, w.SetHostEnabled(ctx, h.ID, false, nil))
	require.True(t, w.reread(t, h).Suspended, "to disable it says nothing of its health")
	_, err := w.RegisterHost(ctx, h)
	require.NoError(t, err)
	require.True(t, w.reread(t, h).Suspended, "nor does a restart")
}

func TestWithoutALimitFailuresAreCountedAndSuspendNothing(t *testing.T) {
	w := newWorld(t)
	h := w.host(t, "n1", 64, 65536, 640)
	var got Host
	for range 5 {
		got = w.fails(t, w.placed(t, h), h, now(), 0)
	}
	require.Equal(t, 5, got.BuildFailures)
	require.False(t, got.Suspended)
	require.Nil(t, got.TrialDueAt)
}
