package chaos

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/stretchr/testify/require"
)

var (
	seed   = flag.Uint64("seed", 1, "what the boots and the faults are drawn from")
	boots  = flag.Int("boots", 40, "how many servers are asked for, at most 5000")
	faults = flag.Int("faults", -1, "how many processes are killed, at most 500; -1: two of each kind, more with more boots")
)

const (
	atATime = 6
	// runPatience bounds the part of the run with faults, for each boot; a minute comes on top.
	runPatience = 5 * time.Second
	// settlePatience bounds what goes on when the faults have ended.
	settlePatience = 3 * time.Minute
)

// TestWhateverDiesEveryBuildEndsAndNothingIsLeft kills api, worker, hosts, Temporal, Postgres and libvirtd with SIGKILL, at
// moments drawn from the seed, while clients boot and delete servers.
func TestWhateverDiesEveryBuildEndsAndNothingIsLeft(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root starts a libvirtd of its own, in namespaces of its own")
	}
	require.True(t, *boots > 0 && *boots <= 5000 && *faults <= 500, "-boots 1..5000, -faults 0..500")
	c := start(t, *boots)
	if *faults < 0 {
		*faults = max(2*len(kinds), min(500, *boots/6))
	}
	plans, crashes := plan(*seed, *boots, *faults, len(c.images))
	before := c.look(t)
	require.Empty(t, before["workflows"])
	began := time.Now()
	r := &report{seed: *seed, boots: *boots}
	y := &tally{causes: map[string]int{}}

	ctx, cancel := within(t.Context(), time.Minute+time.Duration(*boots)*runPatience+buildPatience, "the run")
	defer cancel()
	r.storm(ctx, t, c, plans, crashes, y)
	c.up(t)
	r.settle(t, c, y)
	c.audit(t, "with servers that are ACTIVE")
	r.explained(t)
	r.clear(t, c, y)
	c.audit(t, "without servers")

	var after world
	deadline := time.Now().Add(settlePatience)
	for after = c.look(t); len(after.without(before)) > 0 && time.Now().Before(deadline); after = c.look(t) {
		time.Sleep(lookEvery) // what the engine shows, and a guest's end, come a moment later
	}
	r.leaks = after.without(before)
	for _, item := range before.without(after) {
		t.Errorf("it was there before: %s", item)
	}
	r.steps = c.steps(t, r.longest())
	r.took, r.causes = time.Since(began), y.causes
	t.Log("\n" + r.text())
	require.Empty(t, r.leaks, "leaks")
	require.Empty(t, r.open, "unfinished")
}

// storm lets clients work and kills what they work with.
func (r *report) storm(ctx context.Context, t *testing.T, c *cloud, plans []boot, crashes []crash, y *tally) {
	p := newPace(len(plans), len(crashes))
	work := make(chan boot)
	var mu sync.Mutex
	var all sync.WaitGroup
	for range atATime {
		all.Go(func() {
			for b := range work {
				o, err := c.do(ctx, b, y)
				mu.Lock()
				r.outcomes = append(r.outcomes, o)
				if err != nil {
					r.open = append(r.open, fmt.Sprintf("%s (server %s): %v", o.name, o.id, err))
				}
				mu.Unlock()
			}
		})
	}
	all.Go(func() {
		hits, err := strike(ctx, p, c.targets, crashes, t.Logf)
		mu.Lock()
		defer mu.Unlock()
		r.hits = hits
		if err != nil {
			t.Errorf("faults: %v", err)
		}
	})
	for _, b := range plans {
		if err := p.begin(ctx, b.n); err != nil {
			t.Errorf("boot %d of %d could not begin: %v", b.n, len(plans), err)
			break
		}
		work <- b
	}
	close(work)
	all.Wait()
}

// settle waits until nothing builds any more, servers included of which their clients have not heard.
func (r *report) settle(t *testing.T, c *cloud, y *tally) {
	ctx, cancel := within(t.Context(), settlePatience, "settling")
	defer cancel()
	for {
		all := c.list(ctx, t, y)
		var open []string
		for _, s := range all {
			if s.Status != "ACTIVE" && s.Status != "ERROR" {
				open = append(open, fmt.Sprintf("server %s (%s) is %s", s.ID, s.Name, s.Status))
			}
		}
		for _, id := range c.workflows(t) {
			open = append(open, "workflow "+id+" runs")
		}
		if len(open) == 0 {
			r.adopt(t, all)
			return
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			r.open = append(r.open, open...)
			r.adopt(t, all)
			return
		}
	}
}

// adopt takes note of servers whose clients never got an answer, and holds that no boot made two.
func (r *report) adopt(t *testing.T, all []servers.Server) {
	names := map[string]string{}
	for _, s := range all {
		if other, twice := names[s.Name]; twice {
			t.Errorf("%s is two servers: %s and %s", s.Name, other, s.ID)
		}
		names[s.Name] = s.ID
		i := slices.IndexFunc(r.outcomes, func(o outcome) bool { return o.name == s.Name })
		if i < 0 {
			t.Errorf("nobody asked for server %s (%s)", s.ID, s.Name)
			continue
		}
		o := &r.outcomes[i]
		switch o.state {
		case "lost", "":
			o.id, o.state, o.cause, o.ended = s.ID, s.Status, s.Fault.Message, s.Updated
		case s.Status:
		default:
			t.Errorf("server %s (%s) is %s, and its client was told %s", s.ID, s.Name, s.Status, o.state)
		}
	}
	for _, o := range r.outcomes {
		if o.state == "ACTIVE" && !o.short && names[o.name] == "" {
			t.Errorf("server %s (%s) was ACTIVE and is gone", o.id, o.name)
		}
	}
}

// explained holds that a server is in ERROR only because of a hypervisor's fault.
func (r *report) explained(t *testing.T) {
	for _, o := range r.outcomes {
		if o.state == "ERROR" && !slices.ContainsFunc(r.hits, o.explains) {
			t.Errorf("no fault explains that server %s (%s), asked for at %s, is in ERROR since %s: %s", o.id, o.name, o.asked, o.ended, o.cause)
		}
	}
}

// clear deletes a part of the servers while the others stay, looks at the world, and deletes the rest.
func (r *report) clear(t *testing.T, c *cloud, y *tally) {
	for _, first := range []bool{true, false} {
		var all sync.WaitGroup
		var mu sync.Mutex
		turns := make(chan struct{}, atATime)
		for _, s := range c.list(t.Context(), t, y) {
			i := slices.IndexFunc(r.outcomes, func(o outcome) bool { return o.name == s.Name })
			if first && (i < 0 || !r.outcomes[i].long) {
				continue
			}
			all.Go(func() {
				turns <- struct{}{}
				defer func() { <-turns }()
				if err := c.remove(t.Context(), s.ID, y); err != nil {
					mu.Lock()
					defer mu.Unlock()
					r.open = append(r.open, err.Error())
				}
			})
		}
		all.Wait()
		if first {
			c.audit(t, "with a part of the servers deleted")
		}
	}
	for _, o := range r.outcomes {
		if o.portID != "" {
			if err := c.removePort(t.Context(), o.portID, y); err != nil {
				r.open = append(r.open, err.Error())
			}
		}
	}
}

// steps tell when each step of a build began and ended.
func (c *cloud) steps(t *testing.T, o outcome) (steps []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callPatience)
	defer cancel()
	actions, err := c.Store.Actions(ctx, o.id)
	require.NoError(t, err)
	for _, a := range actions {
		if a.Action != "create" {
			continue
		}
		a, err := c.Store.Action(ctx, o.id, a.RequestID)
		require.NoError(t, err)
		for _, e := range a.Events {
			if e.EndedAt == nil {
				continue
			}
			host := "-"
			if e.Host != nil {
				host = *e.Host
			}
			began := e.StartedAt.Sub(o.asked).Round(10 * time.Millisecond)
			steps = append(steps, fmt.Sprintf("%s on %s after %s for %s", e.Event, host, began, e.EndedAt.Sub(e.StartedAt).Round(10*time.Millisecond)))
		}
	}
	return steps
}

// list gives all servers of the clients' project.
func (c *cloud) list(ctx context.Context, t *testing.T, y *tally) (all []servers.Server) {
	t.Helper()
	require.NoError(t, y.retry(ctx, func(ctx context.Context) error {
		pages, err := servers.List(c.compute, servers.ListOpts{}).AllPages(ctx)
		if err != nil {
			return err
		}
		all, err = servers.ExtractServers(pages)
		return err
	}))
	return all
}
