package workers

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor/fake"
	"github.com/slipway-cloud/slipway/internal/hostapi"
	"github.com/slipway-cloud/slipway/internal/space"
)

func TestAHostWhoseHypervisorCameUpAfterItTellsWhatItCanRun(t *testing.T) {
	type request struct {
		to     string
		report hostapi.Report
	}
	requests := make(chan request, 100)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Host hostapi.Report }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		requests <- request{r.Method + " " + r.URL.Path, body.Host}
	}))
	defer api.Close()
	var away atomic.Bool
	away.Store(true)
	hv, err := fake.New(fake.Options{Architectures: []string{"x86_64"}, Before: func(context.Context, string, string) error {
		if away.Load() {
			return errors.New("connection refused")
		}
		return nil
	}})
	require.NoError(t, err)
	r := Registration{
		API: api.URL, Token: func() string { return "token" }, Every: 10 * time.Millisecond, Hypervisor: hv,
		StateDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	next := func(to string) hostapi.Report {
		t.Helper()
		select {
		case got := <-requests:
			require.Equal(t, to, got.to)
			return got.report
		case <-time.After(10 * time.Second):
			t.Fatalf("no %s", to)
			panic("unreachable")
		}
	}

	first := next("PUT /hosts/self")
	require.False(t, first.Ready)
	require.Empty(t, first.Architectures)
	require.False(t, next("POST /hosts/self/heartbeat").Ready)
	away.Store(false)
	for got := (request{}); got.to != "PUT /hosts/self"; {
		select {
		case got = <-requests: // reports that were on their way come first
		case <-time.After(10 * time.Second):
			t.Fatal("it did not register again")
		}
		if got.to == "PUT /hosts/self" {
			require.Equal(t, []string{"x86_64"}, got.report.Architectures)
		}
	}
	// From then on it only reports, with a pause of its hypervisor too.
	for !next("POST /hosts/self/heartbeat").Ready { // its first trial has not ended
	}
	away.Store(true)
	for next("POST /hosts/self/heartbeat").Ready {
	}
	away.Store(false)
	for !next("POST /hosts/self/heartbeat").Ready {
	}
	cancel()
	require.NoError(t, <-ended)
}

func TestAHostWhoseDiskIsFullIsNotReadyUntilThereIsRoom(t *testing.T) {
	hv, err := fake.New(fake.Options{})
	require.NoError(t, err)
	reserve, err := space.Parse("50%")
	require.NoError(t, err)
	r := Registration{Hypervisor: hv, StateDir: testenv.SmallDisk(t, "16m"), Reserve: reserve}
	r.trial.Store(&hostapi.Trial{Passed: true})
	report, _ := r.observe(t.Context())
	require.True(t, report.Ready, report.NotReadyReason)
	file := filepath.Join(r.StateDir, "disk")
	require.NoError(t, os.WriteFile(file, make([]byte, 9<<20), 0o600))
	report, _ = r.observe(t.Context())
	require.False(t, report.Ready)
	require.Contains(t, report.NotReadyReason, "its disk is full")
	require.NoError(t, os.Remove(file))
	report, _ = r.observe(t.Context())
	require.True(t, report.Ready, report.NotReadyReason)
}

// trying is a hypervisor whose trials end as the test says.
type trying struct {
	hypervisor.Hypervisor
	tries chan hostapi.Trial
	asked chan struct{} // for a new one
	last  hostapi.Trial
}

func (h *trying) Trial(ctx context.Context, again bool) (hostapi.Trial, error) {
	if again {
		h.asked <- struct{}{}
	}
	if !again && !h.last.At.IsZero() {
		return h.last, nil
	}
	select {
	case h.last = <-h.tries:
		return h.last, nil
	case <-ctx.Done():
		return hostapi.Trial{}, ctx.Err()
	}
}

func TestAHostIsReadyWhenItsTrialPassedAndMakesAnotherWhenTheAPIWantsOne(t *testing.T) {
	reports := make(chan hostapi.Report, 1)
	var wanted atomic.Bool
	var told atomic.Value // of its certificate
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Host hostapi.Report }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		told.Store(r.Header.Get(hostapi.HeaderCertificateExpires))
		select {
		case reports <- body.Host:
		default: // nobody looks
		}
		if wanted.Swap(false) {
			_, _ = w.Write([]byte(`{"host": {"trial_wanted": true}}`))
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer api.Close()
	hv, err := fake.New(fake.Options{})
	require.NoError(t, err)
	var end atomic.Pointer[time.Time]
	end.Store(&time.Time{})
	h := &trying{Hypervisor: hv, tries: make(chan hostapi.Trial), asked: make(chan struct{}, 10)}
	r := Registration{
		API: api.URL, Token: func() string { return "token" }, Every: 10 * time.Millisecond, Hypervisor: h,
		CertificateEnds: func() time.Time { return *end.Load() },
		StateDir:        t.TempDir(), Logger: slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	until := func(what string, is func(hostapi.Report) bool) hostapi.Report {
		t.Helper()
		for late := time.After(20 * time.Second); ; {
			select {
			case got := <-reports:
				if is(got) {
					return got
				}
			case <-late:
				t.Fatal("no report is", what)
			}
		}
	}

	first := until("the first", func(hostapi.Report) bool { return true })
	require.Equal(t, []any{false, "no guest has been tried here yet"}, []any{first.Ready, first.NotReadyReason})
	require.Empty(t, told.Load())
	began := time.Now()
	end.Store(&began)
	h.tries <- hostapi.Trial{At: began, Passed: true, VirtType: "kvm", Accelerated: true}
	until("ready", func(r hostapi.Report) bool { return r.Ready && r.Trial.Accelerated })
	require.Equal(t, began.UTC().Format(time.RFC3339), told.Load())

	wanted.Store(true)
	select {
	case <-h.asked:
	case <-time.After(20 * time.Second):
		t.Fatal("no new trial was made")
	}
	until("ready meanwhile", func(r hostapi.Report) bool { return r.Ready })
	h.tries <- hostapi.Trial{At: began.Add(time.Second), VirtType: "qemu", Reason: "QEMU is gone"}
	failed := until("not ready", func(r hostapi.Report) bool { return !r.Ready })
	require.Equal(t, "no guest runs here: QEMU is gone", failed.NotReadyReason)
	require.Empty(t, h.asked, "once was enough")

	wanted.Store(true)
	go func() { h.tries <- hostapi.Trial{At: began.Add(2 * time.Second), Untried: true, VirtType: "qemu"} }()
	until("ready again", func(r hostapi.Report) bool { return r.Ready && r.Trial.Untried })
	cancel()
	require.NoError(t, <-ended)
}
