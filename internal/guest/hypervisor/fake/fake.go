// Package fake is a hypervisor in memory, for load and fault tests: the contract of the port without guests, with latencies
// and failures where a test wants them and a world that a test can compare.
package fake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/hostapi"
	"github.com/slipway-cloud/slipway/internal/program"
)

// Hook is called around a method's effect, with the method's name ("Define", "Start", ...) and the domain's uuid ("" for
// Capabilities, Trial and List). An error before the effect prevents it; an error after it is returned although the effect took
// place. A hook may block until ctx ends, to make a step time out.
type Hook func(ctx context.Context, method, uuid string) error

// Options of a Hypervisor. The zero value is a host of 64 vCPUs and 256 GiB that answers at once.
type Options struct {
	Hostname      string // "fake" when empty
	Architectures []string
	UEFI          bool
	VCPUs         int
	MemoryMiB     int

	// How long each method takes. The effect comes at the end; a context that ends earlier prevents it.
	DefineLatency   time.Duration
	StartLatency    time.Duration
	DestroyLatency  time.Duration
	UndefineLatency time.Duration
	ReadLatency     time.Duration // Capabilities, State, List

	// Dir keeps the world, one JSON file for each domain, so that it outlives the process as guests outlive the host
	// service. "" keeps it in memory only. One Hypervisor at a time may use a folder.
	Dir string

	Before, After Hook
}

// Record is one domain of the world.
type Record struct {
	Domain   hypervisor.Domain `json:"domain"`
	State    hypervisor.State  `json:"state"`
	ByItself bool              `json:"by_itself,omitempty"`
	Asked    bool              `json:"asked,omitempty"` // to do what it did by itself
	Saved    bool              `json:"saved,omitempty"` // its memory is
	Frozen   bool              `json:"frozen,omitempty"`
}

// World is every domain there is, by uuid.
type World map[string]Record

// Hypervisor is safe for concurrent use.
type Hypervisor struct {
	o Options

	mu       sync.Mutex
	world    World
	trial    hostapi.Trial
	watchers map[*func()]bool
}

var _ hypervisor.Hypervisor = (*Hypervisor)(nil)

// New makes a host with the world that its folder holds, if any.
func New(o Options) (*Hypervisor, error) {
	if o.Hostname == "" {
		o.Hostname = "fake"
	}
	if len(o.Architectures) == 0 {
		o.Architectures = []string{map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]}
	}
	if o.VCPUs == 0 {
		o.VCPUs = 64
	}
	if o.MemoryMiB == 0 {
		o.MemoryMiB = 256 * 1024
	}
	h := &Hypervisor{o: o, world: World{}, watchers: map[*func()]bool{}}
	if o.Dir == "" {
		return h, nil
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the fake hypervisor's folder: %w", err)
	}
	entries, err := os.ReadDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("list the fake hypervisor's folder: %w", err)
	}
	for _, e := range entries {
		f := filepath.Join(o.Dir, e.Name())
		if strings.HasSuffix(f, freshSuffix) { // of a process that died; it had told nobody of the change
			if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("remove half a fake domain: %w", err)
			}
		}
		if filepath.Ext(f) != ".json" {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("read a fake domain: %w", err)
		}
		var r Record
		if err := json.Unmarshal(b, &r); err != nil {
			return nil, fmt.Errorf("parse the fake domain %s: %w", f, err)
		}
		h.world[r.Domain.UUID] = r
	}
	return h, nil
}

// Close ends nothing: the world stays, as guests do.
func (h *Hypervisor) Close() error { return nil }

// Snapshot is a copy of the whole world, to compare with another.
func (h *Hypervisor) Snapshot() World {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make(World, len(h.world))
	for id, r := range h.world {
		r.Domain = clone(r.Domain)
		out[id] = r
	}
	return out
}

// Watch tells of each change that is put into the world.
func (h *Hypervisor) Watch(ctx context.Context, connected, changed func()) error {
	h.mu.Lock()
	h.watchers[&changed] = true
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.watchers, &changed)
		h.mu.Unlock()
	}()
	connected()
	<-ctx.Done()
	return ctx.Err()
}

// SetState puts a domain that is known into a state, as a guest that crashed or an operator at the host would.
func (h *Hypervisor) SetState(id string, state hypervisor.State) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.world[id]
	if !ok {
		return fmt.Errorf("set the state of fake domain %s: there is none", id)
	}
	r.State, r.ByItself = state, false
	return h.put(r)
}

// PowerOff is a guest that shuts itself down.
func (h *Hypervisor) PowerOff(id string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.world[id]
	if !ok {
		return fmt.Errorf("power off the fake domain %s: there is none", id)
	}
	r.State, r.ByItself = hypervisor.ShutOff, true
	return h.put(r)
}

// call is the frame of every method: hooks, latency, and the effect under the lock.
func (h *Hypervisor) call(ctx context.Context, method, id string, latency time.Duration, effect func() error) error {
	if err := ctx.Err(); err != nil {
		return h.overdue(err)
	}
	if method != "Capabilities" && method != "Trial" && method != "List" {
		if _, err := uuid.Parse(id); err != nil {
			return fault.Wrap(fault.Internal, err, "%q is no domain's uuid", id)
		}
	}
	if h.o.Before != nil {
		if err := h.o.Before(ctx, method, id); err != nil {
			return err
		}
	}
	if latency > 0 {
		t := time.NewTimer(latency)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return h.overdue(ctx.Err())
		}
	}
	h.mu.Lock()
	err := effect()
	h.mu.Unlock()
	if err == nil && h.o.After != nil {
		err = h.o.After(ctx, method, id)
	}
	return err
}

func (h *Hypervisor) overdue(err error) error {
	return fault.Wrap(fault.Unavailable, err, "The fake hypervisor on %s did not answer in time", h.o.Hostname)
}

// Capabilities gives what Options say.
func (h *Hypervisor) Capabilities(ctx context.Context) (out hypervisor.Capabilities, err error) {
	err = h.call(ctx, "Capabilities", "", h.o.ReadLatency, func() error {
		out = hypervisor.Capabilities{
			Hostname: h.o.Hostname, Type: "fake", Version: 1_000_000, Architectures: slices.Clone(h.o.Architectures),
			UEFI: h.o.UEFI, VCPUs: h.o.VCPUs, MemoryMiB: h.o.MemoryMiB,
		}
		return nil
	})
	return out, err
}

// Trial passes: what is made up runs.
func (h *Hypervisor) Trial(ctx context.Context, again bool) (out hostapi.Trial, err error) {
	err = h.call(ctx, "Trial", "", h.o.ReadLatency, func() error {
		if h.trial.At.IsZero() || again {
			h.trial.At = time.Now()
		}
		if h.trial.Since.IsZero() {
			h.trial = hostapi.Trial{At: h.trial.At, Since: h.trial.At, Passed: true, VirtType: hypervisor.QEMU, CPU: "fake", Reason: "the fake hypervisor runs no guests"}
		}
		out = h.trial
		return nil
	})
	return out, err
}

// Define makes the domain known.
func (h *Hypervisor) Define(ctx context.Context, d hypervisor.Domain) error {
	return h.define(ctx, "Define", d, false)
}

// Redefine makes it anew.
func (h *Hypervisor) Redefine(ctx context.Context, d hypervisor.Domain) error {
	return h.define(ctx, "Redefine", d, true)
}

func (h *Hypervisor) define(ctx context.Context, method string, d hypervisor.Domain, anew bool) error {
	return h.call(ctx, method, d.UUID, h.o.DefineLatency, func() error {
		if d.Name == "" || d.VCPUs < 1 || d.MemoryMiB < 1 {
			return fault.New(fault.Invalid, "A domain needs a name, at least 1 vCPU and 1 MiB of memory.")
		}
		made := Record{Domain: clone(d), State: hypervisor.ShutOff}
		if known, ok := h.world[d.UUID]; ok {
			switch {
			case known.Domain.Name != d.Name:
				return fault.New(fault.Conflict, "The domain %s on %s is named %s, not %s", d.UUID, h.o.Hostname, known.Domain.Name, d.Name)
			case !anew && reflect.DeepEqual(known.Domain, made.Domain):
				return nil
			case active(known.State):
				return fault.New(fault.Conflict, "The domain %s runs on %s with another definition", d.UUID, h.o.Hostname)
			}
			made.State, made.Saved = known.State, known.Saved && !anew
		}
		for id, other := range h.world {
			if id != d.UUID && other.Domain.Name == d.Name {
				return fault.New(fault.Conflict, "The name %s belongs to the domain %s on %s", d.Name, id, h.o.Hostname)
			}
		}
		return h.put(made)
	})
}

// Start starts a defined domain.
func (h *Hypervisor) Start(ctx context.Context, id string) error {
	return h.call(ctx, "Start", id, h.o.StartLatency, func() error {
		r, ok := h.world[id]
		switch {
		case !ok:
			return fault.New(fault.NotFound, "The domain is not defined on %s", h.o.Hostname)
		case r.State == hypervisor.Running:
			return nil
		case r.State == hypervisor.Paused:
			return fault.New(fault.Conflict, "The domain %s is paused on %s; resume it or destroy it", id, h.o.Hostname)
		}
		r.State, r.ByItself, r.Asked, r.Saved = hypervisor.Running, false, false, false
		return h.put(r)
	})
}

// Suspend stops a guest's processors.
func (h *Hypervisor) Suspend(ctx context.Context, id string) error {
	return h.turn(ctx, "Suspend", id, hypervisor.Running, hypervisor.Paused)
}

// Resume lets them go on.
func (h *Hypervisor) Resume(ctx context.Context, id string) error {
	return h.turn(ctx, "Resume", id, hypervisor.Paused, hypervisor.Running)
}

func (h *Hypervisor) turn(ctx context.Context, method, id string, from, to hypervisor.State) error {
	return h.call(ctx, method, id, 0, func() error {
		r, ok := h.world[id]
		switch {
		case !ok:
			return fault.New(fault.NotFound, "The domain is not defined on %s", h.o.Hostname)
		case r.State == to:
			return nil
		case r.State != from:
			return h.off(id)
		}
		r.State = to
		return h.put(r)
	})
}

// Save puts a guest's memory away.
func (h *Hypervisor) Save(ctx context.Context, id string) error {
	return h.call(ctx, "Save", id, 0, func() error {
		r, ok := h.world[id]
		switch {
		case !ok:
			return fault.New(fault.NotFound, "The domain is not defined on %s", h.o.Hostname)
		case active(r.State):
			r.State, r.ByItself, r.Saved = hypervisor.ShutOff, false, true
			return h.put(r)
		case r.Saved:
			return nil
		}
		return h.off(id)
	})
}

func (h *Hypervisor) off(id string) error {
	return fault.New(fault.Conflict, "The domain %s is off on %s", id, h.o.Hostname)
}

// Shutdown stops a domain: its guest does what it is asked.
func (h *Hypervisor) Shutdown(ctx context.Context, id string) error {
	return h.call(ctx, "Shutdown", id, 0, func() error {
		r, ok := h.world[id]
		if !ok || r.State != hypervisor.Running {
			return nil
		}
		r.State, r.ByItself, r.Asked = hypervisor.ShutOff, true, true
		return h.put(r)
	})
}

// Destroy stops a domain.
func (h *Hypervisor) Destroy(ctx context.Context, id string) error {
	return h.call(ctx, "Destroy", id, h.o.DestroyLatency, func() error {
		r, ok := h.world[id]
		switch {
		case ok && active(r.State):
			r.State, r.ByItself = hypervisor.ShutOff, false
		case ok && r.ByItself:
			r.Asked = true
		default:
			return nil
		}
		return h.put(r)
	})
}

// Undefine forgets a stopped domain.
func (h *Hypervisor) Undefine(ctx context.Context, id string) error {
	return h.call(ctx, "Undefine", id, h.o.UndefineLatency, func() error {
		r, ok := h.world[id]
		if !ok {
			return nil
		}
		if active(r.State) {
			return fault.New(fault.Conflict, "The domain %s still runs on %s; destroy it first", id, h.o.Hostname)
		}
		if h.o.Dir != "" {
			if err := os.Remove(h.file(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fault.Wrap(fault.Internal, err, "The fake domain could not be removed")
			}
		}
		delete(h.world, id)
		return nil
	})
}

// State tells how a domain is.
func (h *Hypervisor) State(ctx context.Context, id string) (state hypervisor.State, err error) {
	err = h.call(ctx, "State", id, h.o.ReadLatency, func() error {
		state = hypervisor.Absent
		if r, ok := h.world[id]; ok {
			state = r.State
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return state, nil
}

// List tells of every domain.
func (h *Hypervisor) List(ctx context.Context) (out []hypervisor.Status, err error) {
	err = h.call(ctx, "List", "", h.o.ReadLatency, func() error {
		for id, r := range h.world {
			out = append(out, hypervisor.Status{UUID: id, Name: r.Domain.Name, State: r.State, ByItself: r.ByItself, ByGuest: r.ByItself && !r.Asked && r.State == hypervisor.ShutOff, Saved: r.Saved})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b hypervisor.Status) int { return strings.Compare(a.UUID, b.UUID) })
	return out, nil
}

// SetUserPassword succeeds in a running guest that has the channel to an agent.
func (h *Hypervisor) SetUserPassword(ctx context.Context, id, _, _ string) error {
	return h.call(ctx, "SetUserPassword", id, 0, func() error {
		r, err := h.on(id)
		switch {
		case err != nil:
			return err
		case !r.Domain.Hardware.GuestAgent:
			return fault.New(fault.Conflict, "QEMU guest agent is not enabled")
		}
		return nil
	})
}

// Freeze succeeds where SetUserPassword does.
func (h *Hypervisor) Freeze(ctx context.Context, id string) error {
	return h.freeze(ctx, "Freeze", id, true)
}

// Thaw ends it.
func (h *Hypervisor) Thaw(ctx context.Context, id string) error {
	return h.freeze(ctx, "Thaw", id, false)
}

func (h *Hypervisor) freeze(ctx context.Context, method, id string, frozen bool) error {
	return h.call(ctx, method, id, 0, func() error {
		r, err := h.on(id)
		switch {
		case err != nil:
			return err
		case !r.Domain.Hardware.GuestAgent:
			return fault.New(fault.Conflict, "QEMU guest agent is not enabled")
		case r.Frozen == frozen:
			return nil
		}
		r.Frozen = frozen
		return h.put(r)
	})
}

// BeginBackup copies the disk at once: no guest writes to it.
func (h *Hypervisor) BeginBackup(ctx context.Context, id, disk, target string) error {
	return h.call(ctx, "BeginBackup", id, 0, func() error {
		r, err := h.on(id)
		if err != nil {
			return err
		}
		n := slices.IndexFunc(r.Domain.Disks, func(d hypervisor.Disk) bool { return d.Path == disk })
		if n < 0 {
			return fault.New(fault.Internal, "the domain has no disk that is backed up")
		}
		_, _, err = program.Run(ctx, program.Command{
			Name: "qemu-img", Args: []string{"convert", "-q", "-f", r.Domain.Disks[n].Format, "-O", "qcow2", disk, target}, Limits: program.Default.WithFile(1 << 40),
		})
		return program.Fault(err, "copying a fake domain's disk")
	})
}

// AwaitBackup has nothing to wait for.
func (h *Hypervisor) AwaitBackup(ctx context.Context, id string, _ func(done, total int64)) error {
	return h.call(ctx, "AwaitBackup", id, 0, func() error { return nil })
}

// EndBackup has nothing to end.
func (h *Hypervisor) EndBackup(ctx context.Context, id string) error {
	return h.call(ctx, "EndBackup", id, 0, func() error { return nil })
}

// InjectNMI is what no guest of the fake's notices.
func (h *Hypervisor) InjectNMI(ctx context.Context, id string) error {
	return h.call(ctx, "InjectNMI", id, 0, func() error {
		_, err := h.on(id)
		return err
	})
}

// Diagnostics tells of the devices of a guest, which have done nothing.
func (h *Hypervisor) Diagnostics(ctx context.Context, id string) (out contract.Diagnostics, err error) {
	err = h.call(ctx, "Diagnostics", id, h.o.ReadLatency, func() error {
		r, err := h.on(id)
		if err != nil {
			return err
		}
		kib := uint64(r.Domain.MemoryMiB) << 10
		out = contract.Diagnostics{Hypervisor: hypervisor.QEMU, MemoryKiB: kib, Memory: map[string]uint64{"actual": kib}}
		for i := range r.Domain.VCPUs {
			out.CPUs = append(out.CPUs, contract.CPUDiagnostics{ID: i})
		}
		for _, d := range r.Domain.Disks {
			out.Disks = append(out.Disks, contract.DiskDiagnostics{Device: string(d.Role), Errors: -1})
		}
		for _, n := range r.Domain.NICs {
			out.NICs = append(out.NICs, contract.NICDiagnostics{Device: "tap" + n.PortID, MAC: n.MAC})
		}
		return nil
	})
	return out, err
}

// Screenshot is a screen of one color: the guest of a fake domain shows nothing.
func (h *Hypervisor) Screenshot(ctx context.Context, id string) (picture image.Image, err error) {
	err = h.call(ctx, "Screenshot", id, h.o.ReadLatency, func() error {
		picture = image.NewGray(image.Rect(0, 0, 720, 400))
		_, err := h.on(id)
		return err
	})
	return picture, err
}

// OpenConsole gives a serial console that says what is typed again; there is no screen.
func (h *Hypervisor) OpenConsole(ctx context.Context, id, kind string) (console io.ReadWriteCloser, err error) {
	err = h.call(ctx, "OpenConsole", id, h.o.ReadLatency, func() error {
		if _, err := h.on(id); err != nil {
			return err
		}
		if kind != contract.ConsoleSerial {
			return fault.New(fault.Invalid, "Unavailable console type %s.", kind)
		}
		here, guest := net.Pipe()
		go func() {
			_, _ = io.Copy(guest, guest)
			_ = guest.Close()
		}()
		console = here
		return nil
	})
	return console, err
}

// on is a domain whose guest is not off. The caller holds the lock.
func (h *Hypervisor) on(id string) (Record, error) {
	r, ok := h.world[id]
	switch {
	case !ok:
		return r, fault.New(fault.NotFound, "The domain is not defined on %s", h.o.Hostname)
	case !active(r.State):
		return r, fault.New(fault.Conflict, "The domain %s does not run on %s", id, h.o.Hostname)
	}
	return r, nil
}

func active(s hypervisor.State) bool { return s == hypervisor.Running || s == hypervisor.Paused }

// freshSuffix marks a record that is being written.
const freshSuffix = ".new"

func (h *Hypervisor) file(id string) string { return filepath.Join(h.o.Dir, id+".json") }

// put keeps a record, in the folder first: a process that dies in between has told nobody of the change. The caller holds
// the lock.
func (h *Hypervisor) put(r Record) error {
	if h.o.Dir != "" {
		b, err := json.MarshalIndent(r, "", "  ")
		if err == nil {
			fresh := h.file(r.Domain.UUID) + freshSuffix
			if err = os.WriteFile(fresh, append(b, '\n'), 0o644); err == nil {
				err = os.Rename(fresh, h.file(r.Domain.UUID))
			}
		}
		if err != nil {
			return fault.Wrap(fault.Internal, err, "The fake domain could not be kept")
		}
	}
	h.world[r.Domain.UUID] = r
	for changed := range h.watchers {
		(*changed)()
	}
	return nil
}

// clone keeps callers and the world apart. Empty slices become nil, as they do on the way through a file, so that
// worlds compare equal.
func clone(d hypervisor.Domain) hypervisor.Domain {
	d.Disks = append([]hypervisor.Disk(nil), d.Disks...)
	d.NICs = append([]hypervisor.NIC(nil), d.NICs...)
	return d
}
