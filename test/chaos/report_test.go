package chaos

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// report is what a run has come to.
type report struct {
	seed     uint64
	boots    int
	took     time.Duration
	hits     []hit
	outcomes []outcome
	causes   map[string]int // what clients met
	leaks    []string
	open     []string // what did not end
	steps    []string // of the build that took longest
}

// longest is the build that took longest from its request to its end.
func (r *report) longest() (longest outcome) {
	for _, o := range r.outcomes {
		if (o.state == "ACTIVE" || o.state == "ERROR") && o.ended.Sub(o.asked) > longest.ended.Sub(longest.asked) {
			longest = o
		}
	}
	return longest
}

// touched says whether a fault hit something that a build uses, while it ran.
func (o outcome) touched(h hit) bool {
	return (h.zone == "" || h.zone == o.zone) && !o.asked.After(h.up) && !o.ended.Before(h.at)
}

// explains says whether a fault may end a build in ERROR. Only one kind may: the scheduler places nothing on a host whose
// hypervisor is away, and in libvirt's zone there is no other host. Whatever else dies comes back long before any build has
// to give up on it, so that a build in ERROR is a defect.
func (o outcome) explains(h hit) bool {
	h.up = h.up.Add(reportPatience)
	return h.kind == "libvirtd" && o.touched(h) && strings.Contains(o.cause, "not ready")
}

// reportPatience is how long it may take until a host's word that its hypervisor is back has reached the scheduler, with an
// API and a Postgres that are away as well.
const reportPatience = 20 * time.Second

func (r *report) text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("chaos: seed %d, %d boots in %s", r.seed, r.boots, r.took.Round(time.Second))
	kinds := map[string]int{}
	down := map[string]time.Duration{}
	for _, h := range r.hits {
		kinds[h.kind]++
		down[h.kind] = max(down[h.kind], h.up.Sub(h.at))
	}
	line("  killed            %d", len(r.hits))
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		line("    %-15s %d, down for %s at most", kind, kinds[kind], down[kind].Round(100*time.Millisecond))
	}
	states, recovered, twice := map[string]int{}, 0, 0
	causes := map[string]int{}
	for _, o := range r.outcomes {
		states[o.state]++
		if o.tries > 1 {
			twice++
		}
		if o.state == "ERROR" {
			causes[ids.ReplaceAllString(o.cause, "ID")]++
		}
		if o.state == "ACTIVE" && slices.ContainsFunc(r.hits, o.touched) {
			recovered++
		}
	}
	line("  builds completed  %d", states["ACTIVE"])
	line("  of them recovered %d: a fault hit something that they used while they ran", recovered)
	line("  deleted early     %d", states["deleted"])
	line("  refused           %d", states["refused"])
	line("  never accepted    %d: no key, the answer was lost, and no server came of it", states["lost"])
	line("  asked again       %d: with the same Idempotency-Key", twice)
	line("  ended in ERROR    %d", states["ERROR"])
	for _, cause := range slices.Sorted(maps.Keys(causes)) {
		line("    %dx %s", causes[cause], cause)
	}
	line("  clients were told")
	for _, cause := range slices.Sorted(maps.Keys(r.causes)) {
		line("    %dx %s", r.causes[cause], cause)
	}
	if longest := r.longest(); longest.id != "" {
		line("  longest stall     %s: server %s from %s to %s, in zone %s, touched by", longest.ended.Sub(longest.asked).Round(10*time.Millisecond),
			longest.id, longest.asked.Format("15:04:05.0"), longest.state, longest.zone)
		for _, h := range r.hits {
			if longest.touched(h) {
				line("    %s", h)
			}
		}
		for _, step := range r.steps {
			line("    %s", step)
		}
	}
	line("  unfinished        %d", len(r.open))
	for _, o := range r.open {
		line("    %s", o)
	}
	line("  leaks             %d", len(r.leaks))
	for _, l := range r.leaks {
		line("    %s", l)
	}
	return b.String()
}
