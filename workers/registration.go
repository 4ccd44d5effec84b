package workers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/hypervisor"
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
	StateDir   string // its filesystem is the host's disk
	Reserve    space.Floor
	Logger     *slog.Logger
}

// reportTimeout bounds one report, and the question to the hypervisor before it.
const reportTimeout = 10 * time.Second

// Run registers the host and reports until ctx ends. An API that does not answer is no reason to stop: builds that run go
// on, and the next report is the registration if the first could not be made. A host whose hypervisor does not answer says
// so, and gets no new servers meanwhile.
func (r *Registration) Run(ctx context.Context) error {
	registered, described, was := false, false, "unknown"
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
		case err != nil:
			r.Logger.Warn("The API did not take this host's report; trying again.", "hostname", report.Hostname, "error", err)
			// An API that has forgotten the host is told everything.
			registered = registered && status != http.StatusNotFound && status != http.StatusUnauthorized
		case register:
			registered, described = true, asked
			r.Logger.Info("Registered.", "hostname", report.Hostname, "vcpus", report.VCPUs, "memory_mib", report.MemoryMiB, "disk_gib", report.DiskGiB, "kvm", report.KVM)
		}
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
	body, err := json.Marshal(map[string]any{"host": report})
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(r.API, "/")+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+r.Token())
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	if answer.StatusCode >= http.StatusMultipleChoices {
		return answer.StatusCode, fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, bytes.TrimSpace(text))
	}
	return answer.StatusCode, nil
}
