package scheduler

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func fit(name string, change func(*Host)) Host {
	h := Host{
		ID: name, Hostname: name, AvailabilityZone: "nova", Architectures: []string{"x86_64"},
		Enabled: true, Ready: true, SeenAt: now,
		Capacity: contract.Resources{VCPUs: 8, RAMMiB: 8192, DiskGiB: 100},
	}
	if change != nil {
		change(&h)
	}
	return h
}

// nova are Nova's defaults.
var nova = Multipliers{RAM: 1, CPU: 1, BuildFailure: 1_000_000}

func request(change func(*Request)) Request {
	r := Request{
		Resources: contract.Resources{VCPUs: 2, RAMMiB: 1024, DiskGiB: 10}, Multipliers: nova,
		Now: now, DownAfter: time.Minute, CleanFor: 5 * time.Minute,
	}
	if change != nil {
		change(&r)
	}
	return r
}

func TestEachFilterRefusesWithItsReason(t *testing.T) {
	for _, tc := range []struct {
		want    string
		host    func(*Host)
		request func(*Request)
	}{
		{"RequestedHostFilter removed 1: a (not the host that was asked for)", nil, func(r *Request) { r.Host = "b" }},
		{"RetryFilter removed 1: a (failed this build already)", nil, func(r *Request) { r.Excluded = []string{"a"} }},
		{"ComputeFilter removed 1: a (disabled: maintenance)", func(h *Host) { h.Enabled, h.Reason = false, "maintenance" }, nil},
		{"ComputeFilter removed 1: a (down: last heard of 1m1s ago)", func(h *Host) { h.SeenAt = now.Add(-61 * time.Second) }, nil},
		{"ComputeFilter removed 1: a (not ready: libvirt does not answer)", func(h *Host) { h.Ready, h.Reason = false, "libvirt does not answer" }, nil},
		{"LeftoversFilter removed 1: a (still being cleaned of what lost builds left there: 2)", func(h *Host) { h.Leftovers, h.BackAt = 2, now.Add(-4*time.Minute) }, nil},
		{"AvailabilityZoneFilter removed 1: a (in zone nova)", nil, func(r *Request) { r.AvailabilityZone = "other" }},
		{"ImagePropertiesFilter removed 1: a (cannot run aarch64)", nil, func(r *Request) { r.Architecture = "aarch64" }},
		{"ImagePropertiesFilter removed 1: a (has no UEFI firmware)", nil, func(r *Request) { r.UEFI = true }},
		{"IoOpsFilter removed 1: a (builds, moves or copies 8 servers, of at most 8)", func(h *Host) { h.IOOps = 8 }, func(r *Request) { r.MaxIOOps = 8 }},
		{"CoreFilter removed 1: a (2 vCPUs asked for, 1 free)", func(h *Host) { h.Used.VCPUs = 7 }, nil},
		{"RamFilter removed 1: a (1024 MiB of memory asked for, 1023 free)", func(h *Host) { h.Used.RAMMiB = 7169 }, nil},
		{"DiskFilter removed 1: a (10 GiB of disk asked for, 0 free)", func(h *Host) { h.Used.DiskGiB = 120 }, nil},
	} {
		_, err := Rank(request(tc.request), []Host{fit("a", tc.host)})
		require.True(t, fault.Is(err, fault.NoValidHost), tc.want)
		require.ErrorContains(t, err, tc.want)
	}
}

func TestARequestThatJustFitsIsPlaced(t *testing.T) {
	ranked, err := Rank(request(func(r *Request) { r.Architecture, r.UEFI = "x86_64", true }), []Host{fit("a", func(h *Host) {
		h.UEFI = true
		h.Used = contract.Resources{VCPUs: 6, RAMMiB: 7168, DiskGiB: 90}
	})})
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, ranked.Names(2))
}

func TestAHostThatIsBackTakesServersOnceItIsCleanOrHasHadItsTime(t *testing.T) {
	for name, host := range map[string]func(*Host){
		"clean":                           func(h *Host) { h.BackAt = now.Add(-time.Second) },
		"not clean for as long as may be": func(h *Host) { h.Leftovers, h.BackAt = 2, now.Add(-5*time.Minute) },
		"never away":                      func(h *Host) { h.Leftovers = 2 },
	} {
		ranked, err := Rank(request(nil), []Host{fit("a", host)})
		require.NoError(t, err, name)
		require.Equal(t, []string{"a"}, ranked.Names(2), name)
	}
}

func TestEachWeigherPrefersAndItsMultiplierSaysHowMuch(t *testing.T) {
	used := func(name string, ram, vcpus, failures int) Host {
		return fit(name, func(h *Host) { h.Used.RAMMiB, h.Used.VCPUs, h.BuildFailures = ram, vcpus, failures })
	}
	for name, tc := range map[string]struct {
		multipliers Multipliers
		hosts       []Host
		want        []string
	}{
		"equal hosts come by name": {nova, []Host{fit("b", nil), fit("c", nil), fit("a", nil)}, []string{"a", "b", "c"}},
		"RAMWeigher alone":         {Multipliers{RAM: 1}, []Host{used("full", 6000, 0, 0), used("half", 3000, 6, 9), used("free", 0, 0, 0)}, []string{"free", "half", "full"}},
		"RAMWeigher below 0":       {Multipliers{RAM: -1}, []Host{used("full", 6000, 0, 0), used("half", 3000, 0, 0), used("free", 0, 0, 0)}, []string{"full", "half", "free"}},
		"CPUWeigher alone":         {Multipliers{CPU: 1}, []Host{used("full", 0, 6, 0), used("half", 6000, 3, 0), used("free", 0, 0, 9)}, []string{"free", "half", "full"}},
		"memory and vCPUs count alike, whatever their units": {nova, []Host{
			used("less-memory", 6000, 0, 0), used("fewer-vcpus", 0, 6, 0), used("half-of-both", 3000, 3, 0), used("a-little-better", 2900, 3, 0),
		}, []string{"a-little-better", "fewer-vcpus", "half-of-both", "less-memory"}},
		"a multiplier outweighs": {Multipliers{RAM: 1, CPU: 3}, []Host{used("fewer-vcpus", 0, 6, 0), used("less-memory", 6000, 0, 0)}, []string{"less-memory", "fewer-vcpus"}},
		"BuildFailureWeigher comes before all others": {nova, []Host{
			used("failed-twice", 0, 0, 2), used("failed-once", 0, 0, 1), used("full", 7000, 6, 0),
		}, []string{"full", "failed-once", "failed-twice"}},
		"IoOpsWeigher": {Multipliers{RAM: 1, IOOps: -2}, []Host{
			fit("busy", func(h *Host) { h.IOOps = 8 }), fit("calm", func(h *Host) { h.Used.RAMMiB = 6000 }), fit("less", func(h *Host) { h.IOOps = 3 }),
		}, []string{"less", "calm", "busy"}},
		"BuildFailureWeigher off": {Multipliers{RAM: 1}, []Host{used("failed", 0, 0, 2), used("full", 7000, 6, 0)}, []string{"failed", "full"}},
	} {
		ranked, err := Rank(request(func(r *Request) { r.Multipliers = tc.multipliers }), tc.hosts)
		require.NoError(t, err, name)
		require.Equal(t, tc.want, ranked.Names(99), name)
	}
}

func TestNoHostAtAllSaysWhatToDo(t *testing.T) {
	_, err := Rank(request(nil), nil)
	require.ErrorContains(t, err, "slipway host")
}

// The order of what a database answers is not to be relied on, and two workers should choose alike.
func TestTheOrderOfTheHostsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var hosts []Host
		for i := range rapid.IntRange(1, 12).Draw(t, "hosts") {
			hosts = append(hosts, fit(fmt.Sprint("hv", i), func(h *Host) {
				h.Used.RAMMiB = 1000 * rapid.IntRange(0, 3).Draw(t, "memory")
				h.Used.VCPUs = rapid.IntRange(0, 3).Draw(t, "vcpus")
				h.BuildFailures = rapid.IntRange(0, 2).Draw(t, "failures")
			}))
		}
		first, err := Rank(request(nil), hosts)
		require.NoError(t, err)
		again, err := Rank(request(nil), rapid.Permutation(hosts).Draw(t, "order"))
		require.NoError(t, err)
		require.Equal(t, first.Names(99), again.Names(99))
	})
}

func TestAChosenHostAlwaysHasRoom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var hosts []Host
		for i := range rapid.IntRange(0, 20).Draw(t, "hosts") {
			hosts = append(hosts, fit(fmt.Sprint(i), func(h *Host) {
				h.Used.RAMMiB = rapid.IntRange(0, 9000).Draw(t, "used")
				h.Enabled = rapid.Bool().Draw(t, "enabled")
			}))
		}
		r := request(func(r *Request) { r.Resources.RAMMiB = rapid.IntRange(0, 9000).Draw(t, "ram") })
		chosen, err := Rank(r, hosts)
		require.Equal(t, chosen == nil, err != nil)
		if err != nil {
			return
		}
		for h := chosen.Next(); h != nil; h = chosen.Next() {
			require.True(t, h.Enabled)
			require.LessOrEqual(t, r.Resources.RAMMiB, h.Capacity.RAMMiB-h.Used.RAMMiB)
		}
	})
}
