package workers

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/hostapi"
)

// Switch is the host's, where networks stand on OVN.
type Switch interface {
	// Outside are the physical networks to which it has a bridge, and whether the host is set apart to be a gateway.
	Outside(ctx context.Context) (networks []string, gateway bool, err error)
}

// outside is where the host's switch leads; nil where that is not known, which leaves what was said before.
func (r *Registration) outside(ctx context.Context) *hostapi.Outside {
	if r.Switch == nil {
		return &hostapi.Outside{Networks: []string{}}
	}
	networks, gateway, err := r.Switch.Outside(ctx)
	if err != nil {
		r.Logger.Warn("Where the switch leads cannot be told.", "error", err)
		return nil
	}
	return &hostapi.Outside{Networks: networks, Gateway: gateway}
}

// machine is what this host tells of its machine. The processor is looked at once.
func (r *Registration) machine(ctx context.Context) hostapi.Machine {
	r.cpu.Do(func() {
		text, err := os.ReadFile("/proc/cpuinfo")
		if err != nil {
			r.Logger.Warn("What the processor is cannot be told.", "error", err)
		}
		r.processor = processor(text)
	})
	m := hostapi.Machine{CPU: r.processor, Outside: r.outside(ctx)}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err == nil {
		m.BootedAt = time.Now().Add(-time.Duration(info.Uptime) * time.Second).UTC().Truncate(time.Second)
		for i, load := range info.Loads {
			m.Load[i] = float64(load) / (1 << 16) // SI_LOAD_SHIFT
		}
	}
	return m
}

// architectures are Go's names in libvirt's words.
var architectures = map[string]string{"amd64": "x86_64", "arm64": "aarch64", "ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64"}

// processor reads /proc/cpuinfo, whose names differ from one architecture to the next. What it does not tell is one socket of as many cores
// as there are processors.
func processor(text []byte) hostapi.CPU {
	cpu := hostapi.CPU{Arch: architectures[runtime.GOARCH], Features: []string{}}
	sockets := map[string]bool{}
	var threads, cores, siblings int
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(name) {
		case "processor":
			threads++
		case "physical id":
			sockets[value] = true
		case "cpu cores":
			cores, _ = strconv.Atoi(value)
		case "siblings":
			siblings, _ = strconv.Atoi(value)
		case "vendor_id", "CPU implementer":
			cpu.Vendor = value
		case "model name":
			cpu.Model = value
		case "flags", "Features":
			cpu.Features = strings.Fields(value)
		}
	}
	cpu.Topology = hostapi.Topology{Sockets: max(len(sockets), 1), Cores: max(cores, 1), Threads: 1}
	switch {
	case cores == 0:
		cpu.Topology.Cores = max(threads, 1)
	case siblings > cores:
		cpu.Topology.Threads = siblings / cores
	}
	return cpu
}
