// Package placement finds the hosts that can take a server, best first: what the scheduler decides by, read from the database, and what
// is done with its answer until a claim of room holds.
package placement

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/scheduler"
	"github.com/slipway-cloud/slipway/models"
)

// Settings of the choice.
type Settings struct {
	// DownAfter is how long a host may be silent before it gets no new servers.
	DownAfter time.Duration
	// CleanBeforeUse is how long a host that was given up and is back gets no new servers while it still holds what lost
	// builds left there; 0 does not wait.
	CleanBeforeUse time.Duration
	// MaxIOOps is how many servers may be built, moved or copied on a host that gets another; 0 is any number.
	MaxIOOps int
	// Multipliers say how much each weigher counts.
	Multipliers scheduler.Multipliers
}

// How hosts are read. Of a few, each choice reads what is so now. Many are read once for all choices of a moment: to read them costs more than
// everything else that a build asks of the database.
const (
	few     = 256
	keptFor = time.Second
)

// Hosts are all that there are. Its methods may be called at the same time.
type Hosts struct {
	store    *models.Store
	settings Settings
	now      func() time.Time

	reading atomic.Pointer[reading] // the last, of many; nil is none
	turn    chan struct{}           // who reads many
}

// reading are hosts as they were at a time, with what this process has placed on them since.
type reading struct {
	at    time.Time
	mu    sync.RWMutex // of what took changes
	hosts []scheduler.Host
}

// New gives the hosts of a store.
func New(store *models.Store, settings Settings) *Hosts {
	return &Hosts{store: store, settings: settings, now: time.Now, turn: make(chan struct{}, 1)}
}

// Choice is a host that can take what is asked for.
type Choice struct{ ID, Hostname, AvailabilityZone string }

// Take gives the request to the best host whose take succeeds: HostUnfit goes on to the next. others gives the names of the best n behind it.
// A reading of a moment ago chooses, and never refuses: where it has no host, or none that still is as it says, the hosts are read anew.
func Take[T any](ctx context.Context, h *Hosts, r scheduler.Request, take func(c Choice, others func(n int) []string) (T, error)) (T, error) {
	var none T
	for asked, again := h.now(), false; ; again = true {
		from, fresh, err := h.read(ctx, asked, again)
		if err != nil {
			return none, err
		}
		from.mu.RLock()
		ranked, err := scheduler.Rank(r, from.hosts)
		from.mu.RUnlock()
		if err != nil {
			if fault.Is(err, fault.NoValidHost) && !fresh {
				continue
			}
			return none, err
		}
		var refused []string // what is so by now, by each host that was fit when the hosts were read
		for best := ranked.Next(); best != nil; best = ranked.Next() {
			taken, err := take(Choice{best.ID, best.Hostname, best.AvailabilityZone}, ranked.Names)
			if fault.Is(err, fault.HostUnfit) {
				refused = append(refused, fault.Public(err))
				continue
			}
			if err == nil {
				from.took(best, r.Resources)
			}
			return taken, err
		}
		if fresh {
			return none, fault.New(fault.NoValidHost, "No valid host was found. What was fit is not any more: %s", strings.Join(refused, " "))
		}
	}
}

// took counts what was just placed, for the choices that are made by the same reading.
func (r *reading) took(h *scheduler.Host, resources contract.Resources) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h.Used.VCPUs += resources.VCPUs
	h.Used.RAMMiB += resources.RAMMiB
	h.Used.DiskGiB += resources.DiskGiB
	h.Servers++
	h.IOOps++
}

// Explain says what the scheduler makes of the hosts as they are now; nothing is taken. Of those that a filter removed it names at most so many.
func (h *Hosts) Explain(ctx context.Context, r scheduler.Request, most int) (scheduler.Explanation, error) {
	hosts, err := h.list(ctx)
	return scheduler.Explain(r, hosts, most), err
}

// read gives the hosts, as they were at most a moment before it was asked for them; or, anew, as they have been since then: that is fresh.
func (h *Hosts) read(ctx context.Context, asked time.Time, anew bool) (r *reading, fresh bool, err error) {
	if h.reading.Load() == nil {
		return h.readAll(ctx)
	}
	select {
	case h.turn <- struct{}{}:
		defer func() { <-h.turn }()
	case <-ctx.Done():
		return nil, false, fault.Wrap(fault.Unavailable, context.Cause(ctx), "the wait for the list of hosts was ended")
	}
	switch last := h.reading.Load(); {
	case last == nil:
	case last.at.After(asked):
		return last, true, nil
	case !anew && h.now().Sub(last.at) < keptFor:
		return last, false, nil
	}
	return h.readAll(ctx)
}

func (h *Hosts) readAll(ctx context.Context) (*reading, bool, error) {
	r := &reading{at: h.now()}
	var err error
	if r.hosts, err = h.list(ctx); err != nil {
		return nil, false, err
	}
	if len(r.hosts) > few {
		h.reading.Store(r)
	} else {
		h.reading.Store(nil)
	}
	return r, true, nil
}

func (h *Hosts) list(ctx context.Context) ([]scheduler.Host, error) {
	rows, err := h.store.ListHostsForBuild(ctx, h.now().Add(-h.settings.CleanBeforeUse))
	if err != nil {
		return nil, err
	}
	hosts := make([]scheduler.Host, len(rows))
	for i := range rows {
		hosts[i] = schedulable(&rows[i])
	}
	return hosts, nil
}

func schedulable(h *models.HostUsage) scheduler.Host {
	ready, reason := h.CanTake()
	if !h.Enabled {
		reason = ""
		if h.DisabledReason != nil {
			reason = *h.DisabledReason
		}
	}
	var back time.Time
	if h.BackAt != nil {
		back = *h.BackAt
	}
	return scheduler.Host{
		ID: h.ID, Hostname: h.Hostname, AvailabilityZone: h.AvailabilityZone, Architectures: h.Architectures, UEFI: h.UEFI,
		Enabled: h.Enabled, Ready: ready, Reason: reason, SeenAt: h.SeenAt, BackAt: back, Leftovers: h.Leftovers,
		BuildFailures: h.BuildFailures, IOOps: h.IOOps, Servers: h.Servers, Address: h.Address, Aggregates: scheduler.Aggregates(h.Aggregates),
		Capacity: contract.Resources{VCPUs: h.CapacityVCPUs, RAMMiB: h.CapacityMemoryMiB, DiskGiB: h.CapacityDiskGiB},
		Used:     contract.Resources{VCPUs: h.UsedVCPUs, RAMMiB: h.UsedMemoryMiB, DiskGiB: h.UsedDiskGiB},
	}
}
