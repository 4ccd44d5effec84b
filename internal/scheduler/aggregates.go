package scheduler

import (
	"slices"
	"strconv"
	"strings"
)

// aggregateSpecs begins the extra specs that are about aggregates.
const aggregateSpecs = "aggregate_instance_extra_specs:"

// tenantKey begins the names of metadata that keep an aggregate's hosts for projects: what follows tells several apart, as a value is
// not long enough for many.
const tenantKey = "filter_tenant_id"

// metadata are the values that a host's aggregates have under a name; one may list several, with commas.
func (h Host) metadata(name string) []string {
	var values []string
	for _, m := range h.Aggregates {
		if v, is := m[name]; is {
			values = append(values, listed(v)...)
		}
	}
	return values
}

// projects are those that a host is kept for; none is for all.
func (h Host) projects() []string {
	var all []string
	for _, m := range h.Aggregates {
		for name, v := range m {
			if strings.HasPrefix(name, tenantKey) {
				all = append(all, listed(v)...)
			}
		}
	}
	return all
}

func listed(value string) []string {
	var parts []string
	for part := range strings.SplitSeq(value, ",") {
		parts = append(parts, strings.TrimSpace(part))
	}
	return parts
}

// comparisons of extra specs, by their operator (nova/scheduler/filters/extra_specs_ops.py). = is "at least", as there.
var (
	numbers = map[string]func(v, w float64) bool{
		"=": func(v, w float64) bool { return v >= w }, "==": func(v, w float64) bool { return v == w }, "!=": func(v, w float64) bool { return v != w },
		"<=": func(v, w float64) bool { return v <= w }, ">=": func(v, w float64) bool { return v >= w },
	}
	texts = map[string]func(order int) bool{
		"s==": func(o int) bool { return o == 0 }, "s!=": func(o int) bool { return o != 0 }, "s<": func(o int) bool { return o < 0 },
		"s<=": func(o int) bool { return o <= 0 }, "s>": func(o int) bool { return o > 0 }, "s>=": func(o int) bool { return o >= 0 },
	}
)

// Matches says whether a value is as an extra spec asks: the same text, or by an operator.
func Matches(value, wanted string) bool {
	words := strings.Fields(wanted)
	if len(words) < 2 {
		return value == wanted
	}
	op, rest := words[0], words[1:]
	if compare, is := numbers[op]; is {
		v, err := strconv.ParseFloat(value, 64)
		w, bad := strconv.ParseFloat(rest[0], 64)
		return err == nil && bad == nil && compare(v, w)
	}
	if compare, is := texts[op]; is {
		return compare(strings.Compare(value, rest[0]))
	}
	switch op {
	case "<in>":
		return strings.Contains(value, rest[0])
	case "<all-in>":
		return !slices.ContainsFunc(rest, func(word string) bool { return !strings.Contains(value, word) })
	case "<or>": // A <or> B: between two words there is the operator again
		return slices.Contains(slices.DeleteFunc(slices.Clone(rest), func(word string) bool { return word == "<or>" }), value)
	}
	return value == wanted
}
