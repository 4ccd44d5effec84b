// Package scheduler chooses the hypervisor for a server: filters that say no with a reason, weighers that prefer. It is
// pure: the claim that makes a choice hold is the caller's transaction.
package scheduler

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cloud/slipway/internal/contract"
)

// Host is a hypervisor as the scheduler sees it. Units: MiB of memory, GiB of disk.
type Host struct {
	ID, Hostname, AvailabilityZone string
	Architectures                  []string
	UEFI                           bool // it has UEFI firmware
	Enabled                        bool
	Ready                          bool
	Reason                         string // why it is disabled or not ready
	SeenAt                         time.Time
	BackAt                         time.Time // when it last came back after it had been given up; zero: never
	Leftovers                      int       // servers of which it still holds something that lost builds or deletes left
	BuildFailures                  int       // builds in a row that failed on it, by its own fault
	IOOps                          int       // servers on it that are being built, moved, copied: what its disks are busy with
	Servers                        int       // that hold room on it
	Address                        string    // from which it reports

	Aggregates []Aggregate // that it is in

	// Capacity is what may be given away: ratios applied, reserves taken off. Used is the sum of the allocations.
	Capacity, Used contract.Resources
}

func (h *Host) free() contract.Resources {
	return contract.Resources{
		VCPUs:   h.Capacity.VCPUs - h.Used.VCPUs,
		RAMMiB:  h.Capacity.RAMMiB - h.Used.RAMMiB,
		DiskGiB: h.Capacity.DiskGiB - h.Used.DiskGiB,
	}
}

// Request is what has to be placed.
type Request struct {
	Resources        contract.Resources
	AvailabilityZone string // "" is any
	Architecture     string // "" is any
	UEFI             bool   // UEFI firmware is needed
	Excluded         []string
	Because          string // they are excluded; "" is that they failed this build
	Host             string // the only one that will do; "" is any
	First            string // a host that comes before all others where it can take the request; "" is none
	Group            *Group // that the server is in; nil is none
	With             *Others
	Apart            []string     // hostnames of servers that it is not to be with
	Query            *Query       // nil is any
	Near             netip.Prefix // that has to hold the host's address; the zero one is any
	ProjectID        string
	ExtraSpecs       map[string]string // of the server's flavor
	wanted           []wanted          // of them, what is about aggregates
	Now              time.Time
	DownAfter        time.Duration // a host not seen for so long is down
	CleanFor         time.Duration // how long a host that is back takes nothing new while it holds leftovers
	MaxIOOps         int           // how many IOOps a host may have that gets another; 0 is any number
	Multipliers      Multipliers
}

// Others are servers that a server is to be with: at least one of them.
type Others struct{ Hosts []string }

// Group is a server's group, as its own placement sees it.
type Group struct {
	Policy     string         // Nova's: affinity, anti-affinity, or the soft one of either
	MaxPerHost int            // how many of it may share a host, of anti-affinity
	Members    map[string]int // how many of the others hold room on each host, by name
	Homes      []string       // hosts where others are placed
}

// Multipliers say how much each weigher counts beside the others. RAM, CPU and Disk above 0 spread servers over the hosts, below
// 0 they fill one host after another; 0 switches a weigher off. They mean what Nova's do
// (https://docs.openstack.org/nova/latest/admin/scheduling.html#weights).
type Multipliers struct {
	RAM, CPU, Disk, IOOps, BuildFailure, SoftAffinity, SoftAntiAffinity float64
}

// filter says why a host cannot take the request; nil lets it pass.
type filter struct {
	name   string
	refuse func(*Request, *Host) reason
}

// reason is why, and is asked only where it is told: of ten thousand hosts most are refused when a cloud is full.
type reason func(*Request, *Host) string

// because is a reason that is always the same.
func because(text string) reason { return func(*Request, *Host) string { return text } }

var (
	wrongHost    = because("not the host that was asked for")
	kept         = because("kept for other projects")
	noUEFI       = because("has no UEFI firmware")
	togetherElse = because("the server's group is together elsewhere")
	withNone     = because("has none of the servers of same_host")
	withOne      = because("has one of the servers of different_host")
	notAsked     = because("is not as the query asks")
)

// filters run in this order; a host is counted at the first that refuses it. Names are Nova's where it has the filter.
var filters = []filter{
	{"RetryFilter", func(r *Request, h *Host) reason {
		if slices.Contains(r.Excluded, h.Hostname) {
			return func(r *Request, _ *Host) string { return cmp.Or(r.Because, "failed this build already") }
		}
		return nil
	}},
	{"RequestedHostFilter", func(r *Request, h *Host) reason {
		if r.Host != "" && r.Host != h.Hostname {
			return wrongHost
		}
		return nil
	}},
	{"ComputeFilter", func(r *Request, h *Host) reason {
		switch {
		case !h.Enabled:
			return func(_ *Request, h *Host) string { return strings.TrimSuffix("disabled: "+h.Reason, ": ") }
		case r.Now.Sub(h.SeenAt) > r.DownAfter:
			return func(*Request, *Host) string {
				return fmt.Sprintf("down: last heard of %s ago", r.Now.Sub(h.SeenAt).Round(time.Second))
			}
		case !h.Ready:
			return func(_ *Request, h *Host) string { return strings.TrimSuffix("not ready: "+h.Reason, ": ") }
		}
		return nil
	}},
	{"LeftoversFilter", func(r *Request, h *Host) reason {
		if h.Leftovers > 0 && !h.BackAt.IsZero() && r.Now.Sub(h.BackAt) < r.CleanFor {
			return func(*Request, *Host) string {
				return fmt.Sprintf("still being cleaned of what lost builds left there: %d", h.Leftovers)
			}
		}
		return nil
	}},
	{"AvailabilityZoneFilter", func(r *Request, h *Host) reason {
		if r.AvailabilityZone != "" && r.AvailabilityZone != h.AvailabilityZone {
			return func(_ *Request, h *Host) string { return "in zone " + h.AvailabilityZone }
		}
		return nil
	}},
	{"AggregateMultiTenancyIsolation", func(r *Request, h *Host) reason {
		if !h.keptFor(r.ProjectID) {
			return kept
		}
		return nil
	}},
	{"AggregateInstanceExtraSpecsFilter", func(r *Request, h *Host) reason {
		for _, w := range r.wanted {
			values := h.metadata(w.name)
			if len(values) == 0 {
				return func(*Request, *Host) string { return "in no aggregate with " + w.name }
			}
			if !slices.ContainsFunc(values, func(v string) bool { return Matches(v, w.value) }) {
				return func(*Request, *Host) string {
					return fmt.Sprintf("in aggregates whose %s is %s, not %s", w.name, strings.Join(values, ", "), w.value)
				}
			}
		}
		return nil
	}},
	{"ImagePropertiesFilter", func(r *Request, h *Host) reason {
		if r.Architecture != "" && !slices.Contains(h.Architectures, r.Architecture) {
			return func(r *Request, _ *Host) string { return "cannot run " + r.Architecture }
		}
		if r.UEFI && !h.UEFI {
			return noUEFI
		}
		return nil
	}},
	{"ServerGroupAntiAffinityFilter", func(r *Request, h *Host) reason {
		if g := r.Group; g != nil && g.Policy == "anti-affinity" && g.Members[h.Hostname] >= g.MaxPerHost {
			return func(*Request, *Host) string {
				return fmt.Sprintf("holds %d of the server's group, which is apart", g.Members[h.Hostname])
			}
		}
		return nil
	}},
	{"ServerGroupAffinityFilter", func(r *Request, h *Host) reason {
		if g := r.Group; g != nil && g.Policy == "affinity" && len(g.Homes) > 0 && !slices.Contains(g.Homes, h.Hostname) {
			return togetherElse
		}
		return nil
	}},
	{"SameHostFilter", func(r *Request, h *Host) reason {
		if r.With != nil && !slices.Contains(r.With.Hosts, h.Hostname) {
			return withNone
		}
		return nil
	}},
	{"DifferentHostFilter", func(r *Request, h *Host) reason {
		if slices.Contains(r.Apart, h.Hostname) {
			return withOne
		}
		return nil
	}},
	{"JsonFilter", func(r *Request, h *Host) reason {
		if r.Query != nil && !r.Query.holds(h) {
			return notAsked
		}
		return nil
	}},
	{"SimpleCIDRAffinityFilter", func(r *Request, h *Host) reason {
		if !r.Near.IsValid() {
			return nil
		}
		if at, err := netip.ParseAddr(h.Address); err != nil || !r.Near.Contains(at) {
			return func(r *Request, _ *Host) string { return "has no address in " + r.Near.String() }
		}
		return nil
	}},
	{"IoOpsFilter", func(r *Request, h *Host) reason {
		if r.MaxIOOps > 0 && h.IOOps >= r.MaxIOOps {
			return func(*Request, *Host) string {
				return fmt.Sprintf("builds, moves or copies %d servers, of at most %d", h.IOOps, r.MaxIOOps)
			}
		}
		return nil
	}},
	{"CoreFilter", func(r *Request, h *Host) reason {
		if r.Resources.VCPUs <= h.free().VCPUs {
			return nil
		}
		return func(r *Request, h *Host) string { return shortfall("vCPUs", r.Resources.VCPUs, h.free().VCPUs) }
	}},
	{"RamFilter", func(r *Request, h *Host) reason {
		if r.Resources.RAMMiB <= h.free().RAMMiB {
			return nil
		}
		return func(r *Request, h *Host) string {
			return shortfall("MiB of memory", r.Resources.RAMMiB, h.free().RAMMiB)
		}
	}},
	{"DiskFilter", func(r *Request, h *Host) reason {
		if r.Resources.DiskGiB <= h.free().DiskGiB {
			return nil
		}
		return func(r *Request, h *Host) string {
			return shortfall("GiB of disk", r.Resources.DiskGiB, h.free().DiskGiB)
		}
	}},
}

func shortfall(what string, want, free int) string {
	return fmt.Sprintf("%d %s asked for, %d free", want, what, max(free, 0))
}

// weigher prefers hosts: the more, the better.
type weigher struct {
	name       string
	weigh      func(*Request, *Host) int
	multiplier func(Multipliers) float64
}

// weighers in any order: what they say is added up. Names are Nova's.
var weighers = []weigher{
	{"RAMWeigher", func(_ *Request, h *Host) int { return h.free().RAMMiB }, func(m Multipliers) float64 { return m.RAM }},
	{"CPUWeigher", func(_ *Request, h *Host) int { return h.free().VCPUs }, func(m Multipliers) float64 { return m.CPU }},
	{"DiskWeigher", func(_ *Request, h *Host) int { return h.free().DiskGiB }, func(m Multipliers) float64 { return m.Disk }},
	{"IoOpsWeigher", func(_ *Request, h *Host) int { return h.IOOps }, func(m Multipliers) float64 { return m.IOOps }},
	{"BuildFailureWeigher", func(_ *Request, h *Host) int { return -h.BuildFailures }, func(m Multipliers) float64 { return m.BuildFailure }},
	{"ServerGroupSoftAffinityWeigher", func(r *Request, h *Host) int { return r.Group.near("soft-affinity", h) }, func(m Multipliers) float64 { return m.SoftAffinity }},
	{"ServerGroupSoftAntiAffinityWeigher", func(r *Request, h *Host) int { return -r.Group.near("soft-anti-affinity", h) }, func(m Multipliers) float64 { return m.SoftAntiAffinity }},
}

// near is how many of a group of that policy hold room on the host.
func (g *Group) near(policy string, h *Host) int {
	if g == nil || g.Policy != policy {
		return 0
	}
	return g.Members[h.Hostname]
}
