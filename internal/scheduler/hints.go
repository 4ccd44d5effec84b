package scheduler

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Hints are those of a request that place its server, in Nova's words (nova/scheduler/filters). Others mean nothing here.
type Hints struct {
	Group         string   // id of the server group that it is to be in
	SameHost      []string // ids of servers; nil is not asked for
	DifferentHost []string
	Query         *Query
	Near          netip.Prefix // the addresses of hosts that will do
}

// foreign are hints for clouds that are made of cells.
var foreign = []string{"target_cell", "different_cell"}

// ReadHints reads what places a server out of its request's hints; Invalid, by the hint's name.
func ReadHints(given map[string]any) (h Hints, err error) {
	for _, name := range foreign {
		if _, is := given[name]; is {
			return h, fault.New(fault.Invalid, "Scheduler hint %s is not offered: there are no cells here. Leave it out, or name an availability_zone.", name)
		}
	}
	if group, is := given["group"]; is {
		if h.Group, _ = group.(string); uuid.Validate(h.Group) != nil {
			return h, fault.New(fault.Invalid, "Server group scheduler hint must be a UUID.")
		}
	}
	if h.SameHost, err = servers(given, "same_host"); err != nil {
		return h, err
	}
	if h.DifferentHost, err = servers(given, "different_host"); err != nil {
		return h, err
	}
	if query, is := given["query"]; is {
		if h.Query, err = ReadQuery(query); err != nil {
			return h, err
		}
	}
	h.Near, err = near(given)
	return h, err
}

// servers reads the ids of a hint: one, or a list.
func servers(given map[string]any, name string) ([]string, error) {
	asked, is := given[name]
	if !is {
		return nil, nil
	}
	ids := []string{}
	switch v := asked.(type) {
	case string:
		ids = append(ids, v)
	case []any:
		for _, one := range v {
			id, _ := one.(string)
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 || slices.ContainsFunc(ids, func(id string) bool { return uuid.Validate(id) != nil }) {
		return nil, fault.New(fault.Invalid, "Scheduler hint %s has to be the id of a server, or a list of such.", name)
	}
	return ids, nil
}

// near is the network of build_near_host_ip and cidr, by default /24.
func near(given map[string]any) (netip.Prefix, error) {
	address, is := given["build_near_host_ip"]
	if !is {
		return netip.Prefix{}, nil
	}
	text, _ := address.(string)
	bits, _ := given["cidr"].(string)
	network, err := netip.ParsePrefix(text + "/" + strings.TrimPrefix(cmp.Or(bits, "/24"), "/"))
	if err != nil {
		return netip.Prefix{}, fault.New(fault.Invalid, "Scheduler hints build_near_host_ip and cidr are no network: %q %q.", text, bits)
	}
	return network.Masked(), nil
}
