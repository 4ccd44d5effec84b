package scheduler

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Query is the hint query: an expression about a host, as Nova's JsonFilter reads it, such as
// ["and", [">=", "$free_ram_mb", 1024], ["in", "$host", "hv1", "hv2"]].
type Query struct {
	op   string
	args []any // numbers, texts, variables and queries
}

type variable string

// maxQuery and maxDepth bound what one request may have each of its builds look at.
const (
	maxQuery = 4096
	maxDepth = 16
)

// variables are what a query may ask of a host, by Nova's names.
var variables = map[variable]func(*Host) any{
	"host":                 func(h *Host) any { return h.Hostname },
	"nodename":             func(h *Host) any { return h.Hostname },
	"hypervisor_hostname":  func(h *Host) any { return h.Hostname },
	"host_ip":              func(h *Host) any { return h.Address },
	"free_ram_mb":          func(h *Host) any { return float64(h.free().RAMMiB) },
	"free_disk_mb":         func(h *Host) any { return float64(h.free().DiskGiB) * 1024 },
	"total_usable_ram_mb":  func(h *Host) any { return float64(h.Capacity.RAMMiB) },
	"total_usable_disk_gb": func(h *Host) any { return float64(h.Capacity.DiskGiB) },
	"vcpus_total":          func(h *Host) any { return float64(h.Capacity.VCPUs) },
	"vcpus_used":           func(h *Host) any { return float64(h.Used.VCPUs) },
	"num_instances":        func(h *Host) any { return float64(h.Servers) },
	"failed_builds":        func(h *Host) any { return float64(h.BuildFailures) },
}

// compares are the comparisons: the first argument with each of the others.
var compares = map[string]func(order int) bool{
	"=": func(o int) bool { return o == 0 }, "<": func(o int) bool { return o == -1 }, ">": func(o int) bool { return o == 1 },
	"<=": func(o int) bool { return o == -1 || o == 0 }, ">=": func(o int) bool { return o == 1 || o == 0 },
}

func wrongQuery(format string, args ...any) error {
	return fault.New(fault.Invalid, "Scheduler hint query: "+format, args...)
}

// ReadQuery reads a query, which is a text of JSON.
func ReadQuery(given any) (*Query, error) {
	text, is := given.(string)
	var list []any
	switch {
	case !is:
		return nil, wrongQuery("it has to be a text of JSON.")
	case len(text) > maxQuery:
		return nil, wrongQuery("it may have at most %d bytes.", maxQuery)
	case json.Unmarshal([]byte(text), &list) != nil:
		return nil, wrongQuery("%q is no JSON of a list.", text)
	}
	return readQuery(list, 1)
}

func readQuery(list []any, depth int) (*Query, error) {
	if len(list) == 0 || depth > maxDepth {
		return nil, wrongQuery("a list begins with an operator, and at most %d lie within each other.", maxDepth)
	}
	op, _ := list[0].(string)
	_, compared := compares[op]
	if !compared && !slices.Contains([]string{"in", "not", "and", "or"}, op) {
		return nil, wrongQuery("%v is no operator. There are =, <, >, <=, >=, in, not, and, or.", list[0])
	}
	q := &Query{op: op}
	for _, arg := range list[1:] {
		switch v := arg.(type) {
		case []any:
			inner, err := readQuery(v, depth+1)
			if err != nil {
				return nil, err
			}
			q.args = append(q.args, inner)
		case string:
			name, is := strings.CutPrefix(v, "$")
			if !is {
				q.args = append(q.args, v)
				continue
			}
			if _, known := variables[variable(name)]; !known {
				return nil, wrongQuery("$%s is not known of a host. There are %v.", name, slices.Sorted(maps.Keys(variables)))
			}
			q.args = append(q.args, variable(name))
		default:
			q.args = append(q.args, v)
		}
	}
	if len(q.args) == 0 || (compared || op == "in") && len(q.args) < 2 {
		return nil, wrongQuery("%s has too few arguments.", op)
	}
	return q, nil
}

// holds says whether the host is as the query asks.
func (q *Query) holds(h *Host) bool {
	values := make([]any, len(q.args))
	for i, arg := range q.args {
		switch v := arg.(type) {
		case variable:
			values[i] = variables[v](h)
		case *Query:
			values[i] = v.holds(h)
		default:
			values[i] = v
		}
	}
	first, rest := values[0], values[1:]
	switch q.op {
	case "and":
		return !slices.ContainsFunc(values, func(v any) bool { return !truth(v) })
	case "or":
		return slices.ContainsFunc(values, truth)
	case "not": // of several, whether one is not so
		return slices.ContainsFunc(values, func(v any) bool { return !truth(v) })
	case "in":
		return slices.ContainsFunc(rest, func(v any) bool { return order(first, v) == 0 })
	}
	is := compares[q.op]
	return !slices.ContainsFunc(rest, func(v any) bool { return !is(order(first, v)) })
}

// truth is Python's.
func truth(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case float64:
		return v != 0
	case string:
		return v != ""
	}
	return true
}

const unordered = 2

// order compares two numbers or two texts; what is of two kinds is neither less, equal nor more.
func order(a, b any) int {
	switch x := a.(type) {
	case float64:
		if y, is := b.(float64); is {
			switch {
			case x < y:
				return -1
			case x > y:
				return 1
			}
			return 0
		}
	case string:
		if y, is := b.(string); is {
			return strings.Compare(x, y)
		}
	}
	if x, is := a.(bool); is && b == any(x) {
		return 0
	}
	return unordered
}
