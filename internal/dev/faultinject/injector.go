package faultinject

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"image"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/hostapi"
	"github.com/slipway-cloud/slipway/internal/ids"
)

// Injector obeys the rules of a folder in one process. It is safe for concurrent use.
type Injector struct {
	dir  folder
	host string
}

// Open makes the injector of a process; hostname is empty for a worker of the control plane.
func Open(dir, hostname string) (*Injector, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the folder of faults: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("opening the folder of faults: %s is none", dir)
	}
	return &Injector{dir: folder(dir), host: hostname}, nil
}

// call is what rules choose by.
type call struct {
	step, server string
	index        int
	attempt      int32
}

// around does a call as the rules say.
func around[T any](ctx context.Context, in *Injector, c call, effect func() (T, error)) (T, error) {
	var nothing T
	r, err := in.choose(c)
	if err != nil {
		return nothing, fault.Wrap(fault.Internal, err, "the faults of this test could not be read")
	}
	if r == nil {
		return effect()
	}
	injected := func(cause error) error {
		kind := r.Kind
		if kind == "" {
			kind = fault.Internal
		}
		return fault.Wrap(kind, errors.Join(fmt.Errorf("injected by rule %s", r.ID), cause), "%s was made to fail by a test", c.step)
	}
	switch r.Mode {
	case FailBefore:
		return nothing, injected(nil)
	case FailAfter:
		_, err := effect()
		return nothing, injected(err)
	case Timeout:
		<-ctx.Done()
		return nothing, ctx.Err()
	case TimeoutAfter:
		_, _ = effect()
		<-ctx.Done()
		return nothing, ctx.Err()
	case Hang:
		err := in.hold(context.Background(), r, c)
		return nothing, injected(err)
	case KillBefore:
		die()
	case KillAfter:
		_, _ = effect()
		die()
	case Twice:
		_, _ = effect()
		return effect()
	case HoldBefore:
		if err := in.hold(ctx, r, c); err != nil {
			return nothing, err
		}
		return effect()
	case HoldAfter:
		out, err := effect()
		if held := in.hold(ctx, r, c); held != nil {
			return nothing, held
		}
		return out, err
	}
	return nothing, fault.New(fault.Internal, "rule %s has the mode %q, which this process does not know", r.ID, r.Mode)
}

// die ends the process as a crash does: nothing is told to anybody.
func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// choose finds the rule that takes a call and writes the injection down.
func (in *Injector) choose(c call) (*Rule, error) {
	rules, err := in.dir.rules()
	if err != nil {
		return nil, err
	}
	for i := range rules {
		r := &rules[i]
		if r.Step != "" && r.Step != c.step || r.Host != "" && r.Host != in.host ||
			r.Server != "" && r.Server != c.server || r.Index != nil && *r.Index != c.index {
			continue
		}
		if r.Chance > 0 {
			if drawn, err := in.draw(r); err != nil {
				return nil, err
			} else if drawn >= r.Chance {
				continue
			}
		}
		if r.Times > 0 {
			if took, err := in.dir.takeSlot(r.ID, r.Times); err != nil {
				return nil, err
			} else if !took {
				continue
			}
		}
		line, err := json.Marshal(in.injection(r, c))
		if err != nil {
			return nil, err
		}
		_, err = appendTo(in.dir.log(), append(line, '\n'))
		return r, err
	}
	return nil, nil
}

// draw gives the next number of a rule's sequence on this host, from 0 up to 1. Each draw is a byte in a file, so a process
// that was killed by the sequence goes on behind that place.
func (in *Injector) draw(r *Rule) (float64, error) {
	name := in.host
	if name == "" {
		name = "worker"
	}
	n, err := appendTo(filepath.Join(in.dir.draws(r.ID), name), []byte{'.'})
	if err != nil {
		return 0, err
	}
	of := fnv.New64a()
	fmt.Fprintf(of, "%s %s %d", r.Step, in.host, n)
	return rand.New(rand.NewPCG(r.Seed, of.Sum64())).Float64(), nil
}

func (in *Injector) injection(r *Rule, c call) Injection {
	return Injection{
		Rule: r.ID, Step: c.step, Mode: r.Mode, Host: in.host, Server: c.server, Attempt: c.attempt, PID: os.Getpid(), Time: time.Now(),
	}
}

// holdPoll is how often a call that is held looks whether it may go on.
const holdPoll = 10 * time.Millisecond

// hold shows the call as held until its rule is released (nil) or ctx ends.
func (in *Injector) hold(ctx context.Context, r *Rule, c call) error {
	shown := filepath.Join(in.dir.held(r.ID), uuid.NewString())
	text, err := json.Marshal(in.injection(r, c))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(shown), 0o755); err != nil {
		return err
	}
	if err := writeWhole(shown, text); err != nil {
		return err
	}
	defer os.Remove(shown)
	poll := time.NewTicker(holdPoll)
	defer poll.Stop()
	for !exists(in.dir.released(r.ID)) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-poll.C:
		}
	}
	return nil
}

// writeWhole writes a file that nobody sees half.
func writeWhole(path string, text []byte) error {
	fresh := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+uuid.NewString())
	if err := os.WriteFile(fresh, text, 0o644); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}

// Interceptor injects into activities, local ones too. It belongs inside the interceptor that turns faults into the engine's
// errors, so that what it injects is treated like a step's own.
func (in *Injector) Interceptor() interceptor.WorkerInterceptor {
	return &workerInterceptor{injector: in}
}

type workerInterceptor struct {
	interceptor.WorkerInterceptorBase
	injector *Injector
}

func (w *workerInterceptor) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	return &activities{ActivityInboundInterceptorBase: interceptor.ActivityInboundInterceptorBase{Next: next}, injector: w.injector}
}

type activities struct {
	interceptor.ActivityInboundInterceptorBase
	injector *Injector
}

func (a *activities) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	info := activity.GetInfo(ctx)
	c := call{step: info.ActivityType.Name, attempt: info.Attempt}
	c.server, c.index = subject(info.WorkflowExecution.ID, in.Args)
	return around(ctx, a.injector, c, func() (any, error) { return a.Next.ExecuteActivity(ctx, in) })
}

// subject is whom an activity serves: its input says so, under the names that every contract has for it.
func subject(workflowID string, args []any) (server string, index int) {
	var of struct {
		ServerID string `json:"server_id"`
		Index    int    `json:"index"`
	}
	if len(args) > 0 {
		if text, err := json.Marshal(args[0]); err == nil {
			_ = json.Unmarshal(text, &of) // an input that is no object serves nobody
		}
	}
	if of.ServerID == "" {
		of.ServerID, _ = ids.ServerOfWorkflow(workflowID)
	}
	return of.ServerID, of.Index
}

// Hypervisor injects into each method of the port, as the steps "hypervisor.Define" and so on. Close has no context: what
// blocks it, blocks it until Release.
func (in *Injector) Hypervisor(h hypervisor.Hypervisor) hypervisor.Hypervisor {
	return &injected{to: h, injector: in}
}

type injected struct {
	to       hypervisor.Hypervisor
	injector *Injector
}

func onHypervisor[T any](ctx context.Context, h *injected, method, server string, effect func() (T, error)) (T, error) {
	c := call{step: "hypervisor." + method, server: server}
	if activity.IsActivity(ctx) {
		c.attempt = activity.GetInfo(ctx).Attempt
	}
	return around(ctx, h.injector, c, effect)
}

func (h *injected) do(ctx context.Context, method, server string, effect func() error) error {
	_, err := onHypervisor(ctx, h, method, server, func() (struct{}, error) { return struct{}{}, effect() })
	return err
}

func (h *injected) Capabilities(ctx context.Context) (hypervisor.Capabilities, error) {
	return onHypervisor(ctx, h, "Capabilities", "", func() (hypervisor.Capabilities, error) { return h.to.Capabilities(ctx) })
}

func (h *injected) Trial(ctx context.Context, again bool) (hostapi.Trial, error) {
	return onHypervisor(ctx, h, "Trial", "", func() (hostapi.Trial, error) { return h.to.Trial(ctx, again) })
}

func (h *injected) Define(ctx context.Context, d hypervisor.Domain) error {
	return h.do(ctx, "Define", d.UUID, func() error { return h.to.Define(ctx, d) })
}

func (h *injected) Redefine(ctx context.Context, d hypervisor.Domain) error {
	return h.do(ctx, "Redefine", d.UUID, func() error { return h.to.Redefine(ctx, d) })
}

func (h *injected) Suspend(ctx context.Context, uuid string) error {
	return h.do(ctx, "Suspend", uuid, func() error { return h.to.Suspend(ctx, uuid) })
}

func (h *injected) Resume(ctx context.Context, uuid string) error {
	return h.do(ctx, "Resume", uuid, func() error { return h.to.Resume(ctx, uuid) })
}

func (h *injected) Save(ctx context.Context, uuid string) error {
	return h.do(ctx, "Save", uuid, func() error { return h.to.Save(ctx, uuid) })
}

func (h *injected) Start(ctx context.Context, uuid string) error {
	return h.do(ctx, "Start", uuid, func() error { return h.to.Start(ctx, uuid) })
}

func (h *injected) Shutdown(ctx context.Context, uuid string) error {
	return h.do(ctx, "Shutdown", uuid, func() error { return h.to.Shutdown(ctx, uuid) })
}

func (h *injected) Destroy(ctx context.Context, uuid string) error {
	return h.do(ctx, "Destroy", uuid, func() error { return h.to.Destroy(ctx, uuid) })
}

func (h *injected) Undefine(ctx context.Context, uuid string) error {
	return h.do(ctx, "Undefine", uuid, func() error { return h.to.Undefine(ctx, uuid) })
}

func (h *injected) State(ctx context.Context, uuid string) (hypervisor.State, error) {
	return onHypervisor(ctx, h, "State", uuid, func() (hypervisor.State, error) { return h.to.State(ctx, uuid) })
}

func (h *injected) List(ctx context.Context) ([]hypervisor.Status, error) {
	return onHypervisor(ctx, h, "List", "", func() ([]hypervisor.Status, error) { return h.to.List(ctx) })
}

func (h *injected) Watch(ctx context.Context, connected, changed func()) error {
	return h.to.Watch(ctx, connected, changed)
}

func (h *injected) SetUserPassword(ctx context.Context, uuid, user, password string) error {
	return h.do(ctx, "SetUserPassword", uuid, func() error { return h.to.SetUserPassword(ctx, uuid, user, password) })
}

func (h *injected) Freeze(ctx context.Context, uuid string) error {
	return h.do(ctx, "Freeze", uuid, func() error { return h.to.Freeze(ctx, uuid) })
}

func (h *injected) Thaw(ctx context.Context, uuid string) error {
	return h.do(ctx, "Thaw", uuid, func() error { return h.to.Thaw(ctx, uuid) })
}

func (h *injected) BeginBackup(ctx context.Context, uuid, disk, target string) error {
	return h.do(ctx, "BeginBackup", uuid, func() error { return h.to.BeginBackup(ctx, uuid, disk, target) })
}

func (h *injected) AwaitBackup(ctx context.Context, uuid string, told func(done, total int64)) error {
	return h.do(ctx, "AwaitBackup", uuid, func() error { return h.to.AwaitBackup(ctx, uuid, told) })
}

func (h *injected) EndBackup(ctx context.Context, uuid string) error {
	return h.do(ctx, "EndBackup", uuid, func() error { return h.to.EndBackup(ctx, uuid) })
}

func (h *injected) InjectNMI(ctx context.Context, uuid string) error {
	return h.do(ctx, "InjectNMI", uuid, func() error { return h.to.InjectNMI(ctx, uuid) })
}

func (h *injected) Diagnostics(ctx context.Context, uuid string) (contract.Diagnostics, error) {
	return onHypervisor(ctx, h, "Diagnostics", uuid, func() (contract.Diagnostics, error) { return h.to.Diagnostics(ctx, uuid) })
}

func (h *injected) OpenConsole(ctx context.Context, uuid, kind string) (io.ReadWriteCloser, error) {
	return onHypervisor(ctx, h, "OpenConsole", uuid, func() (io.ReadWriteCloser, error) { return h.to.OpenConsole(ctx, uuid, kind) })
}

func (h *injected) Screenshot(ctx context.Context, uuid string) (image.Image, error) {
	return onHypervisor(ctx, h, "Screenshot", uuid, func() (image.Image, error) { return h.to.Screenshot(ctx, uuid) })
}

func (h *injected) Close() error {
	return h.do(context.Background(), "Close", "", h.to.Close)
}
