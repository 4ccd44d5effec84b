package scheduler

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// aggregateSpecs begins the extra specs that are about aggregates.
const aggregateSpecs = "aggregate_instance_extra_specs:"

// tenantKey begins the names of metadata that keep an aggregate's hosts for projects: what follows tells several apart, as a value is
// not long enough for many.
const tenantKey = "filter_tenant_id"

// Aggregate is what a host is in, by its metadata.
type Aggregate struct {
	metadata map[string]string
	projects []string // that its hosts are kept for; none is for all
}

// Aggregates reads the metadata of those that a host is in.
func Aggregates(metadata []map[string]string) []Aggregate {
	var all []Aggregate
	for _, m := range metadata {
		a := Aggregate{metadata: m}
		for name, v := range m {
			if strings.HasPrefix(name, tenantKey) {
				a.projects = append(a.projects, listed(v)...)
			}
		}
		all = append(all, a)
	}
	return all
}

// metadata are the values that a host's aggregates have under a name; one may list several, with commas.
func (h *Host) metadata(name string) []string {
	var values []string
	for _, a := range h.Aggregates {
		if v, is := a.metadata[name]; is {
			values = append(values, listed(v)...)
		}
	}
	return values
}

// keptFor says whether the host takes servers of a project: it is kept for those that its aggregates name, where they name any.
func (h *Host) keptFor(project string) bool {
	kept := false
	for i := range h.Aggregates {
		projects := h.Aggregates[i].projects
		if slices.Contains(projects, project) {
			return true
		}
		kept = kept || len(projects) > 0
	}
	return !kept
}

// wanted is an extra spec about aggregates.
type wanted struct{ name, value string }

// wantedOf are those of a flavor, by name.
func wantedOf(specs map[string]string) []wanted {
	var all []wanted
	for _, key := range slices.Sorted(maps.Keys(specs)) {
		if name, is := strings.CutPrefix(key, aggregateSpecs); is {
			all = append(all, wanted{name, specs[key]})
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
