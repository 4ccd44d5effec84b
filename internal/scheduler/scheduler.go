// Package scheduler chooses the hypervisor for a server: filters that say no with a reason, weighers that prefer. It is
// pure: the claim that makes a choice hold is the caller's transaction.
package scheduler

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
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
	Servers                        int       // that hold room on it
	Address                        string    // from which it reports

	Aggregates []map[string]string // the metadata of the aggregates that it is in

	// Capacity is what may be given away: ratios applied, reserves taken off. Used is the sum of the allocations.
	Capacity, Used contract.Resources
}

func (h Host) free() contract.Resources {
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
	Group            *Group // that the server is in; nil is none
	With             *Others
	Apart            []string     // hostnames of servers that it is not to be with
	Query            *Query       // nil is any
	Near             netip.Prefix // that has to hold the host's address; the zero one is any
	ProjectID        string
	ExtraSpecs       map[string]string // of the server's flavor
	Now              time.Time
	DownAfter        time.Duration // a host not seen for so long is down
	CleanFor         time.Duration // how long a host that is back takes nothing new while it holds leftovers
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
	RAM, CPU, Disk, BuildFailure, SoftAffinity, SoftAntiAffinity float64
}

// filter says why a host cannot take the request; "" lets it pass.
type filter struct {
	name   string
	refuse func(Request, Host) string
}

// filters run in this order; a host is counted at the first that refuses it. Names are Nova's where it has the filter.
var filters = []filter{
	{"RetryFilter", func(r Request, h Host) string {
		if slices.Contains(r.Excluded, h.Hostname) {
			return cmp.Or(r.Because, "failed this build already")
		}
		return ""
	}},
	{"RequestedHostFilter", func(r Request, h Host) string {
		if r.Host != "" && r.Host != h.Hostname {
			return "not the host that was asked for"
		}
		return ""
	}},
	{"ComputeFilter", func(r Request, h Host) string {
		switch {
		case !h.Enabled:
			return strings.TrimSuffix("disabled: "+h.Reason, ": ")
		case r.Now.Sub(h.SeenAt) > r.DownAfter:
			return fmt.Sprintf("down: last heard of %s ago", r.Now.Sub(h.SeenAt).Round(time.Second))
		case !h.Ready:
			return strings.TrimSuffix("not ready: "+h.Reason, ": ")
		}
		return ""
	}},
	{"LeftoversFilter", func(r Request, h Host) string {
		if h.Leftovers > 0 && !h.BackAt.IsZero() && r.Now.Sub(h.BackAt) < r.CleanFor {
			return fmt.Sprintf("still being cleaned of what lost builds left there: %d", h.Leftovers)
		}
		return ""
	}},
	{"AvailabilityZoneFilter", func(r Request, h Host) string {
		if r.AvailabilityZone != "" && r.AvailabilityZone != h.AvailabilityZone {
			return "in zone " + h.AvailabilityZone
		}
		return ""
	}},
	{"AggregateMultiTenancyIsolation", func(r Request, h Host) string {
		if projects := h.projects(); len(projects) > 0 && !slices.Contains(projects, r.ProjectID) {
			return "kept for other projects"
		}
		return ""
	}},
	{"AggregateInstanceExtraSpecsFilter", func(r Request, h Host) string {
		for _, key := range slices.Sorted(maps.Keys(r.ExtraSpecs)) {
			name, wanted := strings.CutPrefix(key, aggregateSpecs)
			if !wanted {
				continue
			}
			values := h.metadata(name)
			if len(values) == 0 {
				return "in no aggregate with " + name
			}
			if !slices.ContainsFunc(values, func(v string) bool { return Matches(v, r.ExtraSpecs[key]) }) {
				return fmt.Sprintf("in aggregates whose %s is %s, not %s", name, strings.Join(values, ", "), r.ExtraSpecs[key])
			}
		}
		return ""
	}},
	{"ImagePropertiesFilter", func(r Request, h Host) string {
		if r.Architecture != "" && !slices.Contains(h.Architectures, r.Architecture) {
			return "cannot run " + r.Architecture
		}
		if r.UEFI && !h.UEFI {
			return "has no UEFI firmware"
		}
		return ""
	}},
	{"ServerGroupAntiAffinityFilter", func(r Request, h Host) string {
		if g := r.Group; g != nil && g.Policy == "anti-affinity" && g.Members[h.Hostname] >= g.MaxPerHost {
			return fmt.Sprintf("holds %d of the server's group, which is apart", g.Members[h.Hostname])
		}
		return ""
	}},
	{"ServerGroupAffinityFilter", func(r Request, h Host) string {
		if g := r.Group; g != nil && g.Policy == "affinity" && len(g.Homes) > 0 && !slices.Contains(g.Homes, h.Hostname) {
			return "the server's group is together elsewhere"
		}
		return ""
	}},
	{"SameHostFilter", func(r Request, h Host) string {
		if r.With != nil && !slices.Contains(r.With.Hosts, h.Hostname) {
			return "has none of the servers of same_host"
		}
		return ""
	}},
	{"DifferentHostFilter", func(r Request, h Host) string {
		if slices.Contains(r.Apart, h.Hostname) {
			return "has one of the servers of different_host"
		}
		return ""
	}},
	{"JsonFilter", func(r Request, h Host) string {
		if r.Query != nil && !r.Query.holds(h) {
			return "is not as the query asks"
		}
		return ""
	}},
	{"SimpleCIDRAffinityFilter", func(r Request, h Host) string {
		if !r.Near.IsValid() {
			return ""
		}
		if at, err := netip.ParseAddr(h.Address); err != nil || !r.Near.Contains(at) {
			return "has no address in " + r.Near.String()
		}
		return ""
	}},
	{"CoreFilter", func(r Request, h Host) string {
		return shortfall("vCPUs", r.Resources.VCPUs, h.free().VCPUs)
	}},
	{"RamFilter", func(r Request, h Host) string {
		return shortfall("MiB of memory", r.Resources.RAMMiB, h.free().RAMMiB)
	}},
	{"DiskFilter", func(r Request, h Host) string {
		return shortfall("GiB of disk", r.Resources.DiskGiB, h.free().DiskGiB)
	}},
}

func shortfall(what string, want, free int) string {
	if want <= free {
		return ""
	}
	return fmt.Sprintf("%d %s asked for, %d free", want, what, max(free, 0))
}

// weigher prefers hosts: the more, the better.
type weigher struct {
	name       string
	weigh      func(Request, Host) int
	multiplier func(Multipliers) float64
}

// weighers in any order: what they say is added up. Names are Nova's.
var weighers = []weigher{
	{"RAMWeigher", func(_ Request, h Host) int { return h.free().RAMMiB }, func(m Multipliers) float64 { return m.RAM }},
	{"CPUWeigher", func(_ Request, h Host) int { return h.free().VCPUs }, func(m Multipliers) float64 { return m.CPU }},
	{"DiskWeigher", func(_ Request, h Host) int { return h.free().DiskGiB }, func(m Multipliers) float64 { return m.Disk }},
	{"BuildFailureWeigher", func(_ Request, h Host) int { return -h.BuildFailures }, func(m Multipliers) float64 { return m.BuildFailure }},
	{"ServerGroupSoftAffinityWeigher", func(r Request, h Host) int { return r.Group.near("soft-affinity", h) }, func(m Multipliers) float64 { return m.SoftAffinity }},
	{"ServerGroupSoftAntiAffinityWeigher", func(r Request, h Host) int { return -r.Group.near("soft-anti-affinity", h) }, func(m Multipliers) float64 { return m.SoftAntiAffinity }},
}

// near is how many of a group of that policy hold room on the host.
func (g *Group) near(policy string, h Host) int {
	if g == nil || g.Policy != policy {
		return 0
	}
	return g.Members[h.Hostname]
}

// Rank gives the hosts that can take the request, best first: by the sum of what the weighers say, and where that is equal
// by name, so that the order is the same everywhere. Where none can, the fault is NoValidHost and says how many hosts each
// filter removed, and why.
func Rank(r Request, hosts []Host) ([]Host, error) {
	var fit []Host
	removed := make([][]string, len(filters))
	for _, h := range hosts {
		i := slices.IndexFunc(filters, func(f filter) bool { return f.refuse(r, h) != "" })
		if i < 0 {
			fit = append(fit, h)
			continue
		}
		removed[i] = append(removed[i], h.Hostname+" ("+filters[i].refuse(r, h)+")")
	}
	if len(fit) == 0 {
		return nil, noValidHost(len(hosts), removed)
	}
	return weighed(r, fit), nil
}

// weighed sorts hosts, the heaviest first. As in Nova each weigher's values are brought between 0 and 1 before its
// multiplier counts, so that MiB and vCPUs can be added.
func weighed(r Request, hosts []Host) []Host {
	type placed struct {
		host   *Host
		weight float64
	}
	order := make([]placed, len(hosts))
	for i := range hosts {
		order[i].host = &hosts[i]
	}
	values := make([]int, len(hosts))
	for _, w := range weighers {
		for i, h := range hosts {
			values[i] = w.weigh(r, h)
		}
		low, high := slices.Min(values), slices.Max(values)
		if low == high {
			continue
		}
		for i, v := range values {
			order[i].weight += w.multiplier(r.Multipliers) * float64(v-low) / float64(high-low)
		}
	}
	slices.SortFunc(order, func(a, b placed) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.host.Hostname, b.host.Hostname))
	})
	sorted := make([]Host, len(hosts))
	for i, p := range order {
		sorted[i] = *p.host
	}
	return sorted
}

// shownHosts is how many of the hosts that one filter removed are named.
const shownHosts = 3

func noValidHost(all int, removed [][]string) error {
	if all == 0 {
		return fault.New(fault.NoValidHost, "No valid host was found. No hypervisor is registered: start one with `slipway host`.")
	}
	var parts []string
	for i, names := range removed {
		if len(names) == 0 {
			continue
		}
		shown := strings.Join(names[:min(len(names), shownHosts)], ", ")
		if len(names) > shownHosts {
			shown += ", ..."
		}
		parts = append(parts, fmt.Sprintf("%s removed %d: %s", filters[i].name, len(names), shown))
	}
	return fault.New(fault.NoValidHost, "No valid host was found. Of %d hosts, %s.", all, strings.Join(parts, "; "))
}
