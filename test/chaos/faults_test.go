package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// kinds of what is killed.
var kinds = []string{"api", "worker", "host", "temporal", "postgres", "libvirtd"}

// target is something that can be killed. It is started again by itself.
type target struct {
	kind string
	name string
	zone string     // of a host and of libvirtd: whose servers it touches
	pid  func() int // 0 while it is being started again
	// more are processes that go in the same moment.
	more func(pid int) ([]int, error)
}

// hit is a fault that took place.
type hit struct {
	target
	at, up time.Time // killed, and there again
}

func (h hit) String() string {
	return fmt.Sprintf("%s %s at %s for %s", h.kind, h.name, h.at.Format("15:04:05.0"), h.up.Sub(h.at).Round(10*time.Millisecond))
}

// Waits, all of them bounds and none of them the thing's own time.
const (
	restartPatience = 2 * time.Minute
	pollEvery       = 20 * time.Millisecond
)

// pace keeps boots and faults together: a fault waits for its boot, and boots do not run ahead of the faults.
type pace struct {
	mu            sync.Mutex
	changed       chan struct{}
	begun, struck int
	boots, faults int
}

func newPace(boots, faults int) *pace {
	return &pace{changed: make(chan struct{}), boots: boots, faults: faults}
}

func (p *pace) note(begun, struck int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begun, p.struck = p.begun+begun, p.struck+struck
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *pace) until(ctx context.Context, met func() bool) error {
	for {
		p.mu.Lock()
		ok, changed := met(), p.changed
		p.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// begin waits until the boot may begin.
func (p *pace) begin(ctx context.Context, n int) error {
	err := p.until(ctx, func() bool { return p.struck >= n*p.faults/p.boots-1 })
	p.note(1, 0)
	return err
}

// strike kills one target after another, as planned, and gives what it has done when all of them are up again.
func strike(ctx context.Context, p *pace, targets []target, crashes []crash, say func(string, ...any)) (hits []hit, err error) {
	var mu sync.Mutex
	var watching sync.WaitGroup
	defer watching.Wait()
	for _, c := range crashes {
		if err := p.until(ctx, func() bool { return p.begun >= c.after }); err != nil {
			return hits, err
		}
		select {
		case <-time.After(c.wait): // the moment is what varies
		case <-ctx.Done():
			return hits, context.Cause(ctx)
		}
		var of []target
		for _, t := range targets {
			if t.kind == c.kind {
				of = append(of, t)
			}
		}
		t := of[c.which%len(of)]
		pid, err := t.kill(ctx)
		if err != nil {
			return hits, err
		}
		at := time.Now()
		say("kill -9 of %s %s (pid %d)", t.kind, t.name, pid)
		p.note(0, 1)
		mu.Lock()
		k := len(hits)
		hits = append(hits, hit{target: t, at: at, up: at.Add(restartPatience)})
		mu.Unlock()
		watching.Go(func() {
			if _, err := t.running(ctx, pid); err == nil {
				mu.Lock()
				defer mu.Unlock()
				hits[k].up = time.Now()
			}
		})
	}
	watching.Wait()
	return hits, nil
}

// running waits until the target runs as another process than before.
func (t target) running(ctx context.Context, before int) (int, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, restartPatience, fmt.Errorf("%s %s is not there after %s", t.kind, t.name, restartPatience))
	defer cancel()
	for {
		if pid := t.pid(); pid != 0 && pid != before {
			return pid, nil
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

func (t target) kill(ctx context.Context) (int, error) {
	pid, err := t.running(ctx, 0)
	if err != nil {
		return 0, err
	}
	pids := []int{pid}
	if t.more != nil {
		more, err := t.more(pid)
		if err != nil {
			return 0, err
		}
		pids = append(pids, more...)
	}
	for _, p := range pids {
		if err := syscall.Kill(p, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return 0, fmt.Errorf("killing %s %s: %w", t.kind, t.name, err)
		}
	}
	return pid, nil
}

// processes lists what runs here, all of it the run's own: pid, parent and name.
func processes() (map[int]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	found := map[int]process{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// proc(5): pid, the name in parentheses, which may hold anything, state, the parent's pid.
		text, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue // gone meanwhile
		}
		before, after, _ := strings.Cut(string(text), "(")
		last := strings.LastIndexByte(after, ')')
		if before == "" || last < 0 {
			continue
		}
		p := process{name: after[:last]}
		if _, err := fmt.Sscanf(after[last+1:], " %1s %d", &p.state, &p.parent); err != nil {
			return nil, fmt.Errorf("reading process %d: %w", pid, err)
		}
		found[pid] = p
	}
	return found, nil
}

type process struct {
	name, state string
	parent      int
}

func childrenOf(parent int) ([]int, error) {
	all, err := processes()
	var pids []int
	for pid, p := range all {
		if p.parent == parent {
			pids = append(pids, pid)
		}
	}
	return pids, err
}
