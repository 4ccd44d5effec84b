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
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/hypervisor"
	"github.com/slipway-cloud/slipway/internal/installation"
	"github.com/slipway-cloud/slipway/internal/space"
)

// Registration keeps a hypervisor known to the API.
type Registration struct {
	API   string        // base address
	Token func() string // asked for each request, so that it can be rotated
	Every time.Duration
	// Report is what does not change: name, ratios, reserves, version. The rest is asked each time.
	Report     contract.HostReport
	Hypervisor hypervisor.Hypervisor
	StateDir   string  // its filesystem is the host's disk
	Member     *Member // whose the state folder is
	// Met is called when the first report was answered or could not be made: what the API says of the host is known then, as
	// far as it can be. nil is nobody.
	Met     func()
	Reserve space.Floor
	Logger  *slog.Logger
}

// reportTimeout bounds one report, and the question to the hypervisor before it.
const reportTimeout = 10 * time.Second

// Run registers the host and reports until ctx ends. An API that does not answer is no reason to stop: builds that run go
// on, and the next report is the registration if the first could not be made. A host whose hypervisor does not answer says
// so, and gets no new servers meanwhile.
func (r *Registration) Run(ctx context.Context) error {
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
		method, path, body := http.MethodPost, "/hosts/self/heartbeat", any(report.HostHeartbeat)
		// What its hypervisor can run is a part of the registration alone. It is told as soon as the hypervisor answers.
		register := !registered || asked && !described
		if register {
			method, path, body = http.MethodPut, "/hosts/self", report
		}
		status, err := r.send(ctx, method, path, body)
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
			r.Logger.Info("Registered.", "hostname", report.Hostname, "vcpus", report.VCPUs, "memory_mib", report.MemoryMiB, "disk_gib", report.DiskGiB, "kvm", report.KVM)
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
		}
	}
}

// observe asks the hypervisor and the machine how they are; answered says whether the hypervisor did.
func (r *Registration) observe(ctx context.Context) (report contract.HostReport, answered bool) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	report = r.Report
	caps, err := r.Hypervisor.Capabilities(ctx)
	if err != nil {
		report.NotReadyReason = err.Error()[:min(len(err.Error()), contract.HostReasonMax)]
		// What the machine is, it is without its hypervisor too.
		caps = hypervisor.Capabilities{VCPUs: runtime.NumCPU(), MemoryMiB: machineMemoryMiB(), Architectures: []string{}}
	}
	report.Ready = err == nil
	report.HypervisorType, report.HypervisorVersion, report.Architectures = caps.Type, caps.Version, caps.Architectures
	report.KVM, report.UEFI = caps.KVM, caps.UEFI
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

func machineMemoryMiB() int {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return int(info.Totalram * uint64(info.Unit) >> 20)
}

func (r *Registration) send(ctx context.Context, method, path string, report any) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	var body io.Reader
	if report != nil {
		text, err := json.Marshal(map[string]any{"host": report})
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
	answer, err := r.Member.Client().Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	if answer.StatusCode >= http.StatusMultipleChoices {
		return answer.StatusCode, fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, messageOf(text))
	}
	return answer.StatusCode, nil
}

// messageOf is the text of an error's body.
func messageOf(body []byte) string {
	var said struct{ Error struct{ Message string } }
	if json.Unmarshal(body, &said) == nil && said.Error.Message != "" {
		return said.Error.Message
	}
	return string(bytes.TrimSpace(body))
}

// MayUndo asks the API whether this host may take away what it has of a server: after a restore of the database an undo may
// be one of an older state. Unavailable where it may not, or where nobody answers. An API of before there was the question
// refuses nothing.
func (r *Registration) MayUndo(ctx context.Context, serverID string) error {
	status, err := r.send(ctx, http.MethodGet, "/hosts/self/undo?server="+url.QueryEscape(serverID), nil)
	if err == nil || status == http.StatusNotFound {
		return nil
	}
	return fault.New(fault.Unavailable, "the undo waits until the API lets it: %v", err)
}
