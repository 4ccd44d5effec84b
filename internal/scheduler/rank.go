package scheduler

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Rank gives the hosts that can take the request, best first: by the sum of what the weighers say, and where that is equal
// by name, so that the order is the same everywhere. Where none can, the fault is NoValidHost and says how many hosts each
// filter removed, and why. The ranking points into hosts.
func Rank(r Request, hosts []Host) (*Ranking, error) {
	r.wanted = wantedOf(r.ExtraSpecs)
	fit := sift(&r, hosts, nil)
	if len(fit) == 0 {
		_, removed := removals(&r, hosts, shownHosts)
		return nil, noValidHost(len(hosts), removed)
	}
	ranking := &Ranking{first: r.First, left: make([]weighted, len(fit))}
	for i, weight := range weigh(&r, fit, nil) {
		ranking.left[i] = weighted{fit[i], weight}
	}
	for i := len(fit)/2 - 1; i >= 0; i-- {
		ranking.sink(i)
	}
	return ranking, nil
}

// Ranking are hosts in order, which is found as it is asked for: who takes the best of ten thousand needs no order of the rest.
type Ranking struct {
	first string
	left  []weighted // a heap, the best on top
}

type weighted struct {
	host   *Host
	weight float64
}

// before is the order of hosts.
func before(first string, a, b weighted) bool {
	if first != "" && a.host.Hostname != b.host.Hostname && (a.host.Hostname == first || b.host.Hostname == first) {
		return a.host.Hostname == first
	}
	if a.weight != b.weight {
		return a.weight > b.weight
	}
	return a.host.Hostname < b.host.Hostname
}

// Next takes the best that is left; nil where none is.
func (r *Ranking) Next() *Host {
	if len(r.left) == 0 {
		return nil
	}
	best, last := r.left[0].host, len(r.left)-1
	r.left[0] = r.left[last]
	r.left = r.left[:last]
	r.sink(0)
	return best
}

// Names takes the names of the best n that are left, or of all.
func (r *Ranking) Names(n int) []string {
	var names []string
	for len(names) < n {
		h := r.Next()
		if h == nil {
			break
		}
		names = append(names, h.Hostname)
	}
	return names
}

// sink moves one down to where none below it is better.
func (r *Ranking) sink(i int) {
	for {
		best := i
		for _, child := range [...]int{2*i + 1, 2*i + 2} {
			if child < len(r.left) && before(r.first, r.left[child], r.left[best]) {
				best = child
			}
		}
		if best == i {
			return
		}
		r.left[i], r.left[best] = r.left[best], r.left[i]
		i = best
	}
}

// sift lets the hosts through that can take the request; refused, where it is given, is told of the others.
func sift(r *Request, hosts []Host, refused func(filter int, h *Host, why reason)) []*Host {
	fit := make([]*Host, 0, len(hosts))
each:
	for i := range hosts {
		h := &hosts[i]
		for f := range filters {
			if why := filters[f].refuse(r, h); why != nil {
				if refused != nil {
					refused(f, h, why)
				}
				continue each
			}
		}
		fit = append(fit, h)
	}
	return fit
}

// weigh sums up what the weighers say of each host. As in Nova each weigher's values are brought between 0 and 1 before its multiplier
// counts, so that MiB and vCPUs can be added. told, where it is given, is told what each weigher says of each host, and what that adds.
func weigh(r *Request, hosts []*Host, told func(weigher, host, value int, adds float64)) []float64 {
	weights, values := make([]float64, len(hosts)), make([]int, len(hosts))
	for n, w := range weighers {
		low, high := math.MaxInt, math.MinInt
		for i, h := range hosts {
			v := w.weigh(r, h)
			values[i], low, high = v, min(low, v), max(high, v)
		}
		multiplier := w.multiplier(r.Multipliers)
		for i, v := range values {
			adds := 0.0
			if low != high {
				adds = multiplier * float64(v-low) / float64(high-low)
			}
			weights[i] += adds
			if told != nil {
				told(n, i, v, adds)
			}
		}
	}
	return weights
}

// Explanation is what Rank decides by.
type Explanation struct {
	Hosts   []Weighed // that can take the request, best first
	Removed []Removal // those that cannot, by each filter that removed any, in the filters' order
	all     int
}

// Weighed is a host with its weight, which is the sum of what each weigher adds.
type Weighed struct {
	Host   *Host
	Weight float64
	Parts  []Part
}

// Part is what a weigher says of a host, and what that adds to its weight beside the other hosts.
type Part struct {
	Weigher string
	Value   int
	Adds    float64
}

// Removal is what one filter removed.
type Removal struct {
	Filter string
	Count  int
	Hosts  []Refused // the first of them
}

// Refused is a host that a filter removed.
type Refused struct {
	Hostname string
	Reason   string
}

// Explain says of hosts what Rank makes of them. Of those that a filter removed it names at most so many.
func Explain(r Request, hosts []Host, most int) Explanation {
	r.wanted = wantedOf(r.ExtraSpecs)
	fit, removed := removals(&r, hosts, most)
	e := Explanation{all: len(hosts), Removed: removed}
	parts := make([][]Part, len(fit))
	weights := weigh(&r, fit, func(w, i, value int, adds float64) {
		parts[i] = append(parts[i], Part{weighers[w].name, value, adds})
	})
	for i, h := range fit {
		e.Hosts = append(e.Hosts, Weighed{h, weights[i], parts[i]})
	}
	slices.SortFunc(e.Hosts, func(a, b Weighed) int {
		if before(r.First, weighted{a.Host, a.Weight}, weighted{b.Host, b.Weight}) {
			return -1
		}
		return 1
	})
	return e
}

// Fault is NoValidHost where no host can take the request, as Rank has it; nil where one can.
func (e Explanation) Fault() error {
	if len(e.Hosts) > 0 {
		return nil
	}
	return noValidHost(e.all, e.Removed)
}

// Unnamed is the explanation without which hosts they are, for those who are not told.
func (e Explanation) Unnamed() Explanation {
	e.Removed = slices.Clone(e.Removed)
	for i := range e.Removed {
		e.Removed[i].Hosts = nil
	}
	return e
}

// removals are what each filter removed that removed any, most of them named, beside the hosts that are left.
func removals(r *Request, hosts []Host, most int) (fit []*Host, removed []Removal) {
	removed = make([]Removal, len(filters))
	fit = sift(r, hosts, func(filter int, h *Host, why reason) {
		of := &removed[filter]
		if of.Count++; of.Count <= most {
			of.Hosts = append(of.Hosts, Refused{h.Hostname, why(r, h)})
		}
	})
	for i := range removed {
		removed[i].Filter = filters[i].name
	}
	return fit, slices.DeleteFunc(removed, func(r Removal) bool { return r.Count == 0 })
}

// shownHosts is how many of the hosts that one filter removed are named in a fault.
const shownHosts = 3

func noValidHost(all int, removed []Removal) error {
	if all == 0 {
		return fault.New(fault.NoValidHost, "No valid host was found. No hypervisor is registered: start one with `slipway host`.")
	}
	var parts []string
	for _, r := range removed {
		var shown []string
		for _, h := range r.Hosts[:min(len(r.Hosts), shownHosts)] {
			shown = append(shown, h.Hostname+" ("+h.Reason+")")
		}
		if r.Count > shownHosts {
			shown = append(shown, "...")
		}
		part := fmt.Sprintf("%s removed %d", r.Filter, r.Count)
		if len(r.Hosts) > 0 {
			part += ": " + strings.Join(shown, ", ")
		}
		parts = append(parts, part)
	}
	return fault.New(fault.NoValidHost, "No valid host was found. Of %d hosts, %s.", all, strings.Join(parts, "; "))
}
