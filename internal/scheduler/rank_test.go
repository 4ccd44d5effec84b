package scheduler

import (
	"fmt"
	"slices"
	"sort"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// drawn is a cloud of any hosts, and a request.
func drawn(t *rapid.T) (Request, []Host) {
	var hosts []Host
	for i := range rapid.IntRange(0, 40).Draw(t, "hosts") {
		hosts = append(hosts, fit(fmt.Sprint("hv", i), func(h *Host) {
			h.Used.RAMMiB = 500 * rapid.IntRange(0, 16).Draw(t, "memory")
			h.Used.VCPUs = rapid.IntRange(0, 8).Draw(t, "vcpus")
			h.BuildFailures = rapid.IntRange(0, 2).Draw(t, "failures")
			h.IOOps = rapid.IntRange(0, 9).Draw(t, "io ops")
			h.Enabled = rapid.IntRange(0, 9).Draw(t, "enabled") > 0
			h.AvailabilityZone = rapid.SampledFrom([]string{"nova", "east"}).Draw(t, "zone")
			if rapid.Bool().Draw(t, "in an aggregate") {
				h.Aggregates = Aggregates([]map[string]string{{"filter_tenant_id": rapid.SampledFrom([]string{"p1", "p2"}).Draw(t, "kept for")}})
			}
		}))
	}
	return request(func(r *Request) {
		r.AvailabilityZone = rapid.SampledFrom([]string{"", "nova"}).Draw(t, "asked zone")
		r.ProjectID, r.MaxIOOps = "p1", rapid.SampledFrom([]int{0, 8}).Draw(t, "io ops allowed")
		r.First = rapid.SampledFrom([]string{"", "hv1", "nowhere"}).Draw(t, "first")
		r.Excluded = []string{"hv3"}
		r.Group = &Group{Policy: rapid.SampledFrom([]string{"anti-affinity", "soft-affinity"}).Draw(t, "policy"), MaxPerHost: 1, Members: map[string]int{"hv2": 1, "hv4": 2}}
		r.Multipliers = Multipliers{RAM: 1, CPU: 1, IOOps: -1, BuildFailure: 1_000_000, SoftAffinity: 1}
	}), hosts
}

// evaluate is the choice as it is defined: every host against every filter, every weigher over all that are left, everything sorted.
func evaluate(r Request, hosts []Host) (names []string) {
	var left []Host
	for _, h := range hosts {
		if !slices.ContainsFunc(filters, func(f filter) bool { return f.refuse(&r, &h) != nil }) {
			left = append(left, h)
		}
	}
	weights := map[string]float64{}
	for _, w := range weighers {
		var values []int
		for _, h := range left {
			values = append(values, w.weigh(&r, &h))
		}
		for i, h := range left {
			if low, high := slices.Min(values), slices.Max(values); low != high {
				weights[h.Hostname] += w.multiplier(r.Multipliers) * float64(values[i]-low) / float64(high-low)
			}
		}
	}
	for _, h := range left {
		names = append(names, h.Hostname)
	}
	sort.Slice(names, func(i, j int) bool {
		a, b := names[i], names[j]
		switch {
		case a == r.First || b == r.First:
			return a == r.First && a != b
		case weights[a] != weights[b]:
			return weights[a] > weights[b]
		}
		return a < b
	})
	return names
}

func TestTheChoiceIsThatOfAFullEvaluation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, hosts := drawn(t)
		want := evaluate(r, hosts)
		ranked, err := Rank(r, hosts)
		explained := Explain(r, hosts, 4)
		if len(want) == 0 {
			require.True(t, fault.Is(err, fault.NoValidHost))
			require.Equal(t, err.Error(), explained.Fault().Error(), "an explanation refuses in the same words")
			return
		}
		require.NoError(t, err)
		require.NoError(t, explained.Fault())
		require.Equal(t, want, ranked.Names(len(hosts)+1))
		var names []string
		count := 0
		for _, h := range explained.Hosts {
			names = append(names, h.Host.Hostname)
			sum := 0.0
			for _, p := range h.Parts {
				sum += p.Adds
			}
			require.InDelta(t, h.Weight, sum, 1e-9)
		}
		require.Equal(t, want, names)
		for _, removal := range explained.Removed {
			count += removal.Count
			require.LessOrEqual(t, len(removal.Hosts), 4)
		}
		require.Equal(t, len(hosts), count+len(names), "each host fits, or is counted at one filter")
	})
}

// BenchmarkPickOneOf10000Hosts: which fill up as a cloud's do, a third of them in aggregates.
func BenchmarkPickOneOf10000Hosts(b *testing.B) {
	for _, bench := range []struct {
		name string
		full int // of a hundred hosts
	}{{"with room on all", 0}, {"with room on one in ten", 90}, {"with room on none", 100}} {
		b.Run(bench.name, func(b *testing.B) {
			var hosts []Host
			for i := range 10_000 {
				hosts = append(hosts, fit(fmt.Sprintf("hv%05d", i), func(h *Host) {
					h.Used.RAMMiB, h.Used.VCPUs, h.BuildFailures = i*7%7000, i%6, i%3
					if i%3 == 0 {
						h.Aggregates = Aggregates([]map[string]string{{"disk": "ssd", "filter_tenant_id": "p1"}})
					}
					if i%100 < bench.full {
						h.Used.RAMMiB = 8192
					}
				}))
			}
			r := request(func(r *Request) {
				r.ProjectID = "p1"
				r.ExtraSpecs = map[string]string{"hw:cpu_sockets": "1"}
			})
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				ranked, err := Rank(r, hosts)
				if bench.full == 100 {
					require.Error(b, err)
				} else {
					require.NoError(b, err)
					ranked.Next()
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
		})
	}
}
