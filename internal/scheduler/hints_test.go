package scheduler

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
)

const server = "3f1c27a5-1111-4222-8333-123456789abc"

func TestHintsThatPlaceAServerAreReadAndOthersMeanNothing(t *testing.T) {
	h, err := ReadHints(map[string]any{
		"group": server, "same_host": server, "different_host": []any{server, server}, "build_near_host_ip": "192.0.2.7", "ours": 1, "query": `["=","$host","a"]`,
	})
	require.NoError(t, err)
	require.Equal(t, []any{server, []string{server}, []string{server, server}, netip.MustParsePrefix("192.0.2.0/24")}, []any{h.Group, h.SameHost, h.DifferentHost, h.Near})
	h, err = ReadHints(map[string]any{"build_near_host_ip": "2001:db8::7", "cidr": "/64"})
	require.NoError(t, err)
	require.Equal(t, "2001:db8::/64", h.Near.String())
	h, err = ReadHints(nil)
	require.NoError(t, err)
	require.Equal(t, Hints{}, h)
	for name, value := range map[string]any{
		"group": "x", "same_host": "x", "different_host": []any{}, "build_near_host_ip": "near", "query": "{}", "target_cell": "c", "different_cell": "c",
	} {
		_, err := ReadHints(map[string]any{name: value})
		require.Equal(t, fault.Invalid, fault.KindOf(err), "%s: %v", name, err)
	}
	for _, one := range []any{7, []any{server, 7}, map[string]any{}} {
		_, err := ReadHints(map[string]any{"same_host": one})
		require.Error(t, err)
	}
}

func TestAQueryAsksWhatAHostIs(t *testing.T) {
	h := fit("hv1", func(h *Host) {
		h.Used, h.Servers, h.Address, h.BuildFailures = contract.Resources{VCPUs: 2, RAMMiB: 1024, DiskGiB: 10}, 3, "192.0.2.7", 1
	})
	for query, want := range map[string]bool{
		`[">=", "$free_ram_mb", 7168]`: true, `[">", "$free_ram_mb", 7168]`: false, `["=", "$free_disk_mb", 92160]`: true,
		`["<", "$vcpus_used", 3]`: true, `["<=", "$vcpus_total", 7]`: false, `["=", "$total_usable_ram_mb", 8192]`: true, `["=", "$total_usable_disk_gb", 100]`: true,
		`["in", "$host", "hv2", "hv1"]`: true, `["in", "$hypervisor_hostname", "hv2"]`: false, `["=", "$nodename", "hv1"]`: true, `["=", "$host_ip", "192.0.2.7"]`: true,
		`["not", ["=", "$num_instances", 3]]`: false, `["not", ["=", "$failed_builds", 0]]`: true,
		`["and", ["=", "$host", "hv1"], [">", "$free_ram_mb", 1]]`: true, `["and", ["=", "$host", "hv1"], [">", "$free_ram_mb", 9999]]`: false,
		`["or", ["=", "$host", "hv2"], ["=", "$host", "hv1"]]`: true, `["=", 5, 5, 5]`: true, `["=", 5, 5, 6]`: false, `[">", "$host", 5]`: false, `["<", "$free_ram_mb", "many"]`: false,
	} {
		q, err := ReadQuery(query)
		require.NoError(t, err, query)
		require.Equal(t, want, q.holds(&h), query)
	}
	deep := strings.Repeat(`["not",`, 20) + `["=",1,1]` + strings.Repeat(`]`, 20)
	for _, bad := range []any{`{"a":1}`, `[]`, `["~", 1, 2]`, `["=", "$colour", 1]`, `["="]`, `["=", 1]`, `["not"]`, `no JSON`, 7, map[string]any{}, deep, `["in",` + strings.Repeat(`"x",`, 2000) + `"y"]`} {
		_, err := ReadQuery(bad)
		require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", bad)
	}
}

func TestGroupsAndHintsRefuseHostsWithTheirReason(t *testing.T) {
	query, err := ReadQuery(`["=", "$host", "b"]`)
	require.NoError(t, err)
	for _, tc := range []struct {
		want   string
		change func(*Request)
	}{
		{"ServerGroupAntiAffinityFilter removed 1: a (holds 2 of the server's group, which is apart)", func(r *Request) {
			r.Group = &Group{Policy: "anti-affinity", MaxPerHost: 2, Members: map[string]int{"a": 2}}
		}},
		{"ServerGroupAffinityFilter removed 1: a (the server's group is together elsewhere)", func(r *Request) {
			r.Group = &Group{Policy: "affinity", MaxPerHost: 1, Members: map[string]int{"a": 1}, Homes: []string{"b"}}
		}},
		{"SameHostFilter removed 1: a (has none of the servers of same_host)", func(r *Request) { r.With = &Others{} }},
		{"DifferentHostFilter removed 1: a (has one of the servers of different_host)", func(r *Request) { r.Apart = []string{"b", "a"} }},
		{"JsonFilter removed 1: a (is not as the query asks)", func(r *Request) { r.Query = query }},
		{"SimpleCIDRAffinityFilter removed 1: a (has no address in 198.51.100.0/24)", func(r *Request) { r.Near = netip.MustParsePrefix("198.51.100.0/24") }},
	} {
		_, err := Rank(request(tc.change), []Host{fit("a", func(h *Host) { h.Address = "192.0.2.1" })})
		require.ErrorContains(t, err, tc.want)
	}
	for _, change := range []func(*Request){
		func(r *Request) {
			r.Group = &Group{Policy: "anti-affinity", MaxPerHost: 2, Members: map[string]int{"a": 1}}
		},
		func(r *Request) { r.Group = &Group{Policy: "affinity", MaxPerHost: 1} },
		func(r *Request) { r.Group = &Group{Policy: "affinity", Homes: []string{"a", "b"}} },
		func(r *Request) { r.With = &Others{Hosts: []string{"a"}} }, func(r *Request) { r.Apart = []string{"b"} },
		func(r *Request) { r.Near = netip.MustParsePrefix("192.0.2.0/28") },
	} {
		_, err := Rank(request(change), []Host{fit("a", func(h *Host) { h.Address = "192.0.2.1" })})
		require.NoError(t, err)
	}
}

func TestSoftGroupsPreferAndTheirMultipliersSayHowMuch(t *testing.T) {
	hosts := []Host{fit("a", nil), fit("b", func(h *Host) { h.Used.RAMMiB = 100 }), fit("c", func(h *Host) { h.Used.RAMMiB = 200 })}
	members := map[string]int{"b": 1, "c": 2}
	rank := func(policy string, m Multipliers) []string {
		ranked, err := Rank(request(func(r *Request) { r.Group, r.Multipliers = &Group{Policy: policy, Members: members}, m }), hosts)
		require.NoError(t, err)
		return ranked.Names(99)
	}
	require.Equal(t, []string{"c", "b", "a"}, rank("soft-affinity", Multipliers{SoftAffinity: 1, SoftAntiAffinity: 1}))
	require.Equal(t, []string{"a", "b", "c"}, rank("soft-anti-affinity", Multipliers{SoftAffinity: 1, SoftAntiAffinity: 1}))
	require.Equal(t, []string{"a", "b", "c"}, rank("soft-affinity", Multipliers{RAM: 5, SoftAffinity: 1}))
	require.Equal(t, []string{"c", "b", "a"}, rank("soft-affinity", Multipliers{RAM: 1, SoftAffinity: 5}))
	full := []Host{fit("a", func(h *Host) { h.Used.DiskGiB = 50 }), fit("b", func(h *Host) { h.Used.DiskGiB = 10 })}
	ranked, err := Rank(request(func(r *Request) { r.Multipliers = Multipliers{Disk: 1} }), full)
	require.NoError(t, err)
	require.Equal(t, []string{"b", "a"}, ranked.Names(99), "DiskWeigher")
}
