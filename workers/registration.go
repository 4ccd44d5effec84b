package workers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/hostapi"
	"github.com/slipway-cloud/slipway/internal/installation"
	"github.com/slipway-cloud/slipway/internal/payload"
	"github.com/slipway-cloud/slipway/internal/space"
)

// Registration keeps a hypervisor known to the API.
type Registration struct {
	API   string        // base address
	Token func() string // asked for each request, so that it can be rotated
	Every time.Duration
	// Report is what does not change: name, ratios, reserves, version. The rest is asked each time.
	Report     hostapi.Report
	Hypervisor hypervisor.Hypervisor
	Switch     Switch  // nil where the host has none of OVN's
	StateDir   string  // its filesystem is the host's disk
	Member     *Member // whose the state folder is
	// Met is called when the first report was answered or could not be made: what the API says of the host is known then, as
	// far as it can be. nil is nobody.
	Met func()
	// CertificateEnds is when the first of the host's certificates does, asked for each request; zero where it has none, as nil is.
	CertificateEnds func() time.Time
	Reserve         space.Floor
	Logger          *slog.Logger

	trial atomic.Pointer[hostapi.Trial] // the last one; nil before the first
	again chan struct{}                 // the API wants a new one
	news  chan struct{}                 // one ended

	cpu       sync.Once
	processor hostapi.CPU
}

// reportTimeout bounds one report, and the question to the hypervisor before it.
const reportTimeout = 10 * time.Second

// Run registers the host and reports until ctx ends. An API that does not answer is no reason to stop: builds that run go
// on, and the next report is the registration if the first could not be made. A host whose hypervisor does not answer says
// so, and gets no new servers meanwhile.
func (r *Registration) Run(ctx context.Context) error {
	r.again, r.news = make(chan struct{}, 1), make(chan struct{}, 1)
	ctx, stop := context.WithCancel(ctx)
	var tries sync.WaitGroup
	tries.Go(func() { r.tryOut(ctx) })
	defer tries.Wait()
	defer stop()
	registered, described, was := false, false, "unknown"
	met := sync.OnceFunc(func() {
		if r.Met != nil {
			r.Met()
		}
	})
	every := time.NewTicker(r.Every)
	defer every.Stop()
	for {
		report, asked := r.observe(ctx)
		method, path, body := http.MethodPost, "/hosts/self/heartbeat", any(report.Heartbeat)
		// What its hypervisor can run is a part of the registration alone. It is told as soon as the hypervisor answers.
		register := !registered || asked && !described
		if register {
			method, path, body = http.MethodPut, "/hosts/self", report
		}
		status, wanted, err := r.send(ctx, method, path, body)
		if wanted {
			nudge(r.again)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, new(*installation.Mismatch)):
			return err
		case err != nil:
			r.Logger.Warn("The API did not take this host's report; trying again.", "hostname", report.Hostname, "error", err)
			// An API that has forgotten the host is told everything.
			registered = registered && status != http.StatusNotFound && status != http.StatusUnauthorized
		case register:
			registered, described = true, asked
			r.Logger.Info("Registered.", "hostname", report.Hostname, "vcpus", report.VCPUs, "memory_mib", report.MemoryMiB, "disk_gib", report.DiskGiB)
		}
		met()
		if now := fmt.Sprint(report.Ready, report.NotReadyReason); now != was {
			was = now
			r.Logger.Info("Readiness changed.", "hostname", report.Hostname, "ready", report.Ready, "reason", report.NotReadyReason)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		case <-r.news:
		}
	}
}

// trialEvery is how soon a change that asks for another trial is noticed.
const trialEvery = time.Second

// tryOut has trials made, beside the reports: one may take longer than the API waits for a host's next word. The hypervisor
// knows when a new one is due.
func (r *Registration) tryOut(ctx context.Context) {
	tick := time.NewTicker(min(r.Every, trialEvery))
	defer tick.Stop()
	again := false
	for {
		trial, err := r.Hypervisor.Trial(ctx, again)
		// A hypervisor that does not answer is told of by the report that asks it, too.
		if last := r.trial.Load(); err == nil && (last == nil || !last.At.Equal(trial.At)) {
			select { // who asked while it ran, asked for this one
			case <-r.again:
			default:
			}
			r.trial.Store(&trial)
			nudge(r.news)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			again = again && err != nil
		case <-r.again:
			again = true
		}
	}
}

// nudge leaves a word that need not be said twice.
func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// observe asks the hypervisor and the machine how they are; answered says whether the hypervisor did.
func (r *Registration) observe(ctx context.Context) (report hostapi.Report, answered bool) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	report = r.Report
	caps, err := r.Hypervisor.Capabilities(ctx)
	if err != nil {
		report.NotReadyReason = cut(err.Error())
		// What the machine is, it is without its hypervisor too.
		caps = hypervisor.Capabilities{VCPUs: runtime.NumCPU(), MemoryMiB: machineMemoryMiB(), Architectures: []string{}}
	}
	report.Ready = err == nil
	if report.Trial = r.trial.Load(); report.Ready && (report.Trial == nil || !report.Trial.Usable()) {
		report.Ready, report.NotReadyReason = false, "no guest has been tried here yet"
		if report.Trial != nil {
			report.NotReadyReason = cut("no guest runs here: " + report.Trial.Reason)
		}
	}
	report.HypervisorType, report.HypervisorVersion, report.Architectures = caps.Type, caps.Version, caps.Architectures
	report.KVM, report.UEFI = report.Trial != nil && report.Trial.Accelerated, caps.UEFI
	report.VCPUs, report.MemoryMiB = caps.VCPUs, caps.MemoryMiB
	var disk unix.Statfs_t
	if err := unix.Statfs(r.StateDir, &disk); err != nil {
		report.Ready, report.NotReadyReason = false, fmt.Sprintf("its state folder %s is not to be had: %v", r.StateDir, err)
	} else {
		report.DiskGiB = int(int64(disk.Blocks) * disk.Bsize >> 30)
	}
	if err := r.Reserve.Check(r.StateDir, 0); report.Ready && err != nil {
		report.Ready, report.NotReadyReason = false, "its disk is full: "+err.Error()
	}
	return report, err == nil
}

// cut keeps a reason within what the API takes.
func cut(reason string) string {
	return strings.ToValidUTF8(reason[:min(len(reason), hostapi.ReasonMax)], "")
}

func machineMemoryMiB() int {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return int(info.Totalram * uint64(info.Unit) >> 20)
}

func (r *Registration) send(ctx context.Context, method, path string, report any) (status int, trialWanted bool, err error) {
	if report != nil {
		report = map[string]any{"host": report}
	}
	var said struct{ Host hostapi.Orders }
	machine, err := json.Marshal(r.machine(ctx))
	if err != nil {
		return 0, false, err
	}
	status, err = r.ask(ctx, method, path, report, &said, hostapi.HeaderMachine, string(machine))
	return status, said.Host.TrialWanted, err
}

// answerMax bounds what is read of an answer, which tells of each guest of a host, and errorMax what is shown of one that refuses.
const (
	answerMax = 16 << 20
	errorMax  = 1 << 10
)

// ask puts the question to the API as JSON, nil without a body, and reads its answer into answer where it has one. headers are names and
// values.
func (r *Registration) ask(ctx context.Context, method, path string, question, answer any, headers ...string) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	var body io.Reader
	if question != nil {
		text, err := json.Marshal(question)
		if err != nil {
			return 0, err
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(r.API, "/")+path, body)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+r.Token())
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	if r.CertificateEnds != nil {
		if end := r.CertificateEnds(); !end.IsZero() {
			request.Header.Set(hostapi.HeaderCertificateExpires, end.UTC().Format(time.RFC3339))
		}
	}
	got, err := r.Member.Client().Do(request)
	if err != nil {
		return 0, err
	}
	defer got.Body.Close()
	text, err := io.ReadAll(io.LimitReader(got.Body, answerMax))
	if got.StatusCode >= http.StatusMultipleChoices {
		return got.StatusCode, fmt.Errorf("%s %s: %s: %s", method, path, got.Status, messageOf(text[:min(len(text), errorMax)]))
	}
	if err == nil && got.StatusCode == http.StatusOK && answer != nil && len(text) > 0 { // without a body it says nothing
		err = json.Unmarshal(text, answer)
	}
	if err != nil {
		return got.StatusCode, fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	return got.StatusCode, nil
}

// messageOf is the text of an error's body.
func messageOf(body []byte) string {
	var said struct{ Error struct{ Message string } }
	if json.Unmarshal(body, &said) == nil && said.Error.Message != "" {
		return said.Error.Message
	}
	return string(bytes.TrimSpace(body))
}

// Resume asks the API to have the guests of servers started that should run and are off. It takes a while where there are many.
func (r *Registration) Resume(ctx context.Context, servers []string) error {
	const atOnce = 50 // starts of workflows, within reportTimeout
	for some := range slices.Chunk(servers, atOnce) {
		if _, err := r.ask(ctx, http.MethodPost, "/hosts/self/resume", map[string]any{"servers": some}, nil); err != nil {
			return err
		}
	}
	return nil
}

// Guests asks the API for what it knows of the guests here. An API of before there was the question knows of none.
func (r *Registration) Guests(ctx context.Context) ([]hostapi.Guest, error) {
	var known struct{ Guests []hostapi.Guest }
	status, err := r.ask(ctx, http.MethodGet, "/hosts/self/guests", nil, &known)
	if status == http.StatusNotFound {
		return nil, nil
	}
	return known.Guests, err
}

// Saw tells the API how guests are.
func (r *Registration) Saw(ctx context.Context, seen []hostapi.Sighting) error {
	const atOnce = 200 // writes, within reportTimeout
	for some := range slices.Chunk(seen, atOnce) {
		if _, err := r.ask(ctx, http.MethodPut, "/hosts/self/guests", map[string]any{"guests": some}, nil); err != nil {
			return err
		}
	}
	return nil
}

// PayloadKeys asks the API for this host's own; none of an API of before there was the question.
func (r *Registration) PayloadKeys(ctx context.Context) ([]payload.Key, error) {
	var answer hostapi.PayloadKeys
	status, err := r.ask(ctx, http.MethodGet, "/hosts/self/payload-keys", nil, &answer)
	if status == http.StatusNotFound {
		return nil, nil
	}
	var own []payload.Key
	for _, k := range answer.Keys {
		own = append(own, payload.Key(k))
	}
	return own, err
}

// MayUndo asks the API whether this host may take away what it has of a server: after a restore of the database an undo may
// be one of an older state. Unavailable where it may not, or where nobody answers. An API of before there was the question
// refuses nothing.
func (r *Registration) MayUndo(ctx context.Context, serverID string) error {
	status, _, err := r.send(ctx, http.MethodGet, "/hosts/self/undo?server="+url.QueryEscape(serverID), nil)
	if err == nil || status == http.StatusNotFound {
		return nil
	}
	return fault.New(fault.Unavailable, "the undo waits until the API lets it: %v", err)
}
