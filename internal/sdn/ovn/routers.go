package ovn

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"

	"github.com/slipway-cloud/slipway/internal/sdn"
)

type logicalRouter struct {
	UUID        string            `ovsdb:"_uuid"`
	Name        string            `ovsdb:"name"`
	Enabled     *bool             `ovsdb:"enabled"`
	Options     map[string]string `ovsdb:"options"`
	ExternalIDs map[string]string `ovsdb:"external_ids"`
}

type logicalRouterPort struct {
	UUID          string            `ovsdb:"_uuid"`
	Name          string            `ovsdb:"name"`
	MAC           string            `ovsdb:"mac"`
	Networks      []string          `ovsdb:"networks"`
	Enabled       *bool             `ovsdb:"enabled"`
	Options       map[string]string `ovsdb:"options"`
	IPv6RAConfigs map[string]string `ovsdb:"ipv6_ra_configs"`
	ExternalIDs   map[string]string `ovsdb:"external_ids"`
}

type gatewayChassis struct {
	UUID        string            `ovsdb:"_uuid"`
	Name        string            `ovsdb:"name"`
	ChassisName string            `ovsdb:"chassis_name"`
	Priority    int               `ovsdb:"priority"`
	ExternalIDs map[string]string `ovsdb:"external_ids"`
}

type staticRoute struct {
	UUID        string            `ovsdb:"_uuid"`
	IPPrefix    string            `ovsdb:"ip_prefix"`
	Nexthop     string            `ovsdb:"nexthop"`
	ExternalIDs map[string]string `ovsdb:"external_ids"`
}

type nat struct {
	UUID        string            `ovsdb:"_uuid"`
	Type        string            `ovsdb:"type"`
	ExternalIP  string            `ovsdb:"external_ip"`
	LogicalIP   string            `ovsdb:"logical_ip"`
	ExternalMAC *string           `ovsdb:"external_mac"`
	LogicalPort *string           `ovsdb:"logical_port"`
	ExternalIDs map[string]string `ovsdb:"external_ids"`
}

const (
	routerTable     = "Logical_Router"
	routerPortTable = "Logical_Router_Port"
	gatewayTable    = "Gateway_Chassis"
	routeTable      = "Logical_Router_Static_Route"
	natTable        = "NAT"
)

func (r *logicalRouter) row() row {
	return row{r.UUID, map[string]any{"name": r.Name, "enabled": r.Enabled, "options": r.Options, "external_ids": r.ExternalIDs}}
}

func (p *logicalRouterPort) row() row {
	return row{p.UUID, map[string]any{
		"name": p.Name, "mac": p.MAC, "networks": set(p.Networks), "enabled": p.Enabled, "options": p.Options,
		"ipv6_ra_configs": p.IPv6RAConfigs, "external_ids": p.ExternalIDs,
	}}
}

func (g *gatewayChassis) row() row {
	return row{g.UUID, map[string]any{"name": g.Name, "chassis_name": g.ChassisName, "priority": g.Priority, "external_ids": g.ExternalIDs}}
}

func (r *staticRoute) row() row {
	return row{r.UUID, map[string]any{"ip_prefix": r.IPPrefix, "nexthop": r.Nexthop, "external_ids": r.ExternalIDs}}
}

func (n *nat) row() row {
	return row{n.UUID, map[string]any{
		"type": n.Type, "external_ip": n.ExternalIP, "logical_ip": n.LogicalIP, "external_mac": optional(n.ExternalMAC),
		"logical_port": optional(n.LogicalPort), "external_ids": n.ExternalIDs,
	}}
}

// optional is a string that may be missing.
func optional(s *string) set {
	if s == nil {
		return set{}
	}
	return set{*s}
}

// networkRows are the switch, and the port through which hosts reach what is outside.
func networkRows(n sdn.Network) []want {
	rows := []want{{table: switchTable, columns: networkRow(n)}}
	if n.Physical == nil {
		return rows
	}
	columns := map[string]any{
		"name": "provnet-" + n.ID, "type": "localnet", "addresses": set{"unknown"}, "port_security": set{}, "enabled": (*bool)(nil), "tag": (*int)(nil),
		"options": map[string]string{"network_name": n.Physical.Name}, "dhcpv4_options": (*string)(nil), "dhcpv6_options": (*string)(nil),
		"external_ids": map[string]string{},
	}
	if n.Physical.VLAN != 0 {
		columns["tag"] = new(n.Physical.VLAN)
	}
	return append(rows, want{table: portTable, part: "outside", in: sdn.Ref{Kind: sdn.KindNetwork, ID: n.ID}, columns: columns})
}

// routerRows are a router with its routes and with what it translates.
func routerRows(r sdn.Router) []want {
	ref := sdn.Ref{Kind: sdn.KindRouter, ID: r.ID}
	rows := []want{{table: routerTable, columns: map[string]any{
		"name": "neutron-" + r.ID, "enabled": enabled(!r.Down), "external_ids": map[string]string{},
		// Neighbours are looked up when they are wanted: with all of them known beforehand flows grow with the square of the networks outside.
		"options": map[string]string{"always_learn_from_arp_request": "false", "dynamic_neigh_routers": "true"},
	}}}
	for i, route := range r.Routes {
		if slices.Contains(r.Routes[:i], route) {
			continue // the way out, asked for once more
		}
		rows = append(rows, want{table: routeTable, part: route.To.String() + " " + route.Through.String(), in: ref, columns: map[string]any{
			"ip_prefix": route.To.String(), "nexthop": route.Through.String(), "external_ids": map[string]string{},
		}})
	}
	for _, s := range r.Sources {
		rows = append(rows, want{table: natTable, part: s.From.String(), in: ref, columns: translated("snat", s.To.String(), s.From.String())})
	}
	return rows
}

func translated(kind, outside, inside string) map[string]any {
	return map[string]any{
		"type": kind, "external_ip": outside, "logical_ip": inside, "external_mac": set{}, "logical_port": set{}, "external_ids": map[string]string{},
	}
}

func floatingRow(f sdn.FloatingIP) want {
	columns := translated("dnat_and_snat", f.Outside.String(), f.Inside.String())
	if f.PortID != "" {
		columns["external_mac"], columns["logical_port"] = set{f.MAC}, set{f.PortID}
	}
	return want{table: natTable, in: sdn.Ref{Kind: sdn.KindRouter, ID: f.RouterID}, columns: columns}
}

// enabled is empty where something is.
func enabled(is bool) *bool {
	if is {
		return nil
	}
	return new(false)
}

// routerPortName is the one of a port's other side, as Neutron's with OVN.
func routerPortName(p sdn.Port) string { return "lrp-" + p.ID }

// routerPortOptions are the switch's side of it.
func routerPortOptions(p sdn.Port) map[string]string {
	options := map[string]string{"router-port": routerPortName(p)}
	if p.Router.External {
		// What is outside is told where an address is by now.
		options["nat-addresses"], options["exclude-lb-vips-from-garp"] = "router", "true"
	}
	return options
}

// raIntervals are Neutron's with OVN, in seconds.
var raIntervals = map[string]string{"send_periodic": "true", "max_interval": "600", "min_interval": "200"}

// addressModes are OVN's words.
var addressModes = map[string]string{sdn.SLAAC: "slaac", sdn.DHCPStateful: "dhcpv6_stateful", sdn.DHCPStateless: "dhcpv6_stateless"}

// routerPortRows are the router's side of a port, with the chassis where it is.
func routerPortRows(p sdn.Port) []want {
	r := p.Router
	if r == nil {
		return nil
	}
	networks, told := set{}, map[string]string{}
	for _, n := range r.Networks {
		networks = append(networks, n.String())
	}
	if t := r.Tells; t != nil {
		for k, v := range raIntervals {
			told[k] = v
		}
		told["address_mode"], told["mtu"] = addressModes[t.Addresses], strconv.Itoa(t.MTU)
		if t.DNS.IsValid() {
			told["rdnss"] = t.DNS.String()
		}
	}
	rows := []want{{table: routerPortTable, in: sdn.Ref{Kind: sdn.KindRouter, ID: r.RouterID}, columns: map[string]any{
		"name": routerPortName(p), "mac": p.MAC, "networks": networks, "enabled": enabled(!p.Down), "options": map[string]string{}, "ipv6_ra_configs": told,
		"external_ids": map[string]string{},
	}}}
	for i, host := range chassis(p.ID, r.Gateways) {
		rows = append(rows, want{table: gatewayTable, part: host, in: sdn.Ref{Kind: sdn.KindPort, ID: p.ID}, columns: map[string]any{
			"name": fmt.Sprintf("%s_%s", routerPortName(p), host), "chassis_name": host, "priority": mostChassis - i, "external_ids": map[string]string{},
		}})
	}
	return rows
}

// mostChassis is how many stand for a gateway, as Neutron's with OVN.
const mostChassis = 5

// chassis are those for a gateway, out of the hosts that could be it. Each port has an order of its own, so that the work spreads, and one host
// more or less moves little. Two would never take over from each other: each takes the other's silence for its own isolation.
func chassis(portID string, hosts []string) []string {
	place := func(host string) []byte {
		sum := sha256.Sum256([]byte(portID + " " + host))
		return sum[:]
	}
	all := slices.SortedFunc(slices.Values(hosts), func(a, b string) int {
		return cmp.Or(bytes.Compare(place(a), place(b)), cmp.Compare(a, b))
	})
	if len(all) == 2 {
		return all[:1]
	}
	return all[:min(len(all), mostChassis)]
}
