package scheduler

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnExtraSpecMatchesAsNovasOperatorsDo(t *testing.T) {
	for _, c := range []struct {
		value, wanted string
		want          bool
	}{
		{"ssd", "ssd", true}, {"ssd", "hdd", false}, {"", "", true}, {"a b", "a b", true},
		{"8", "= 4", true}, {"3", "= 4", false}, {"4", "== 4", true}, {"4.0", "== 4", true}, {"5", "== 4", false}, {"5", "!= 4", true},
		{"4", ">= 4", true}, {"3", ">= 4", false}, {"4", "<= 4", true}, {"5", "<= 4", false}, {"many", ">= 4", false},
		{"b", "s== b", true}, {"b", "s!= b", false}, {"a", "s< b", true}, {"b", "s<= b", true}, {"c", "s> b", true}, {"a", "s>= b", false},
		{"12310321", "<in> 1032", true}, {"12310321", "<in> 77", false}, {"aes mmx", "<all-in> aes mmx", true}, {"aes", "<all-in> aes mmx", false},
		{"gpu", "<or> cpu <or> gpu", true}, {"tpu", "<or> cpu <or> gpu", false},
	} {
		require.Equal(t, c.want, Matches(c.value, c.wanted), "%q %q", c.value, c.wanted)
	}
}

func TestAggregatesTakeWhatTheirMetadataSays(t *testing.T) {
	in := func(name string, aggregates ...map[string]string) Host {
		return fit(name, func(h *Host) { h.Aggregates = Aggregates(aggregates) })
	}
	hosts := []Host{
		in("plain"), in("ssd", map[string]string{"disk": "ssd", "n": "8"}), in("both", map[string]string{"disk": "hdd"}, map[string]string{"disk": "nvme, ssd"}),
		in("kept", map[string]string{"filter_tenant_id": "p1", "filter_tenant_id2": "p2,p3", "disk": "ssd"}),
	}
	fits := func(project string, specs map[string]string) []string {
		ranked, err := Rank(request(func(r *Request) { r.ProjectID, r.ExtraSpecs = project, specs }), hosts)
		if err != nil {
			return nil
		}
		return ranked.Names(99)
	}
	require.ElementsMatch(t, []string{"plain", "ssd", "both"}, fits("p9", nil))
	require.ElementsMatch(t, []string{"plain", "ssd", "both", "kept"}, fits("p3", nil))
	require.ElementsMatch(t, []string{"ssd", "both"}, fits("p9", map[string]string{"aggregate_instance_extra_specs:disk": "ssd", "disk": "of no scope", "hw:x": "y"}))
	require.ElementsMatch(t, []string{"ssd", "both", "kept"}, fits("p1", map[string]string{"aggregate_instance_extra_specs:disk": "ssd"}))
	require.ElementsMatch(t, []string{"ssd"}, fits("p1", map[string]string{"aggregate_instance_extra_specs:n": ">= 4", "aggregate_instance_extra_specs:disk": "<or> ssd <or> hdd"}))
	require.Empty(t, fits("p1", map[string]string{"aggregate_instance_extra_specs:n": ">= 9"}))

	_, err := Rank(request(func(r *Request) {
		r.ProjectID, r.ExtraSpecs = "p9", map[string]string{"aggregate_instance_extra_specs:n": ">= 9"}
	}), hosts)
	require.ErrorContains(t, err, "AggregateMultiTenancyIsolation removed 1: kept (kept for other projects); "+
		"AggregateInstanceExtraSpecsFilter removed 3: plain (in no aggregate with n), ssd (in aggregates whose n is 8, not >= 9), both (in no aggregate with n)")
}
