package ovn

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/ovn-kubernetes/libovsdb/model"

	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/sdn"
)

// Keys of external_ids. Everything that Slipway has made has the first three; other keys are somebody else's and stay.
const (
	tagID       = "slipway-id"
	tagKind     = "slipway-kind"
	tagRevision = "slipway-revision"
	tagPart     = "slipway-part"    // of a resource with several rows in one table: which one it is
	tagNetwork  = "slipway-network" // of a switch's port: whose that is
	tagRouter   = "slipway-router"  // of what a router has: whose that is
	tagPort     = "slipway-port"    // of a gateway's chassis: the port that they are for
	tagWriter   = "slipway-writer"  // of NB_Global: who writes
	tagGroups   = "slipway-groups"  // of a port: those that it was put into, with commas

	tagMTU = "neutron:mtu" // where Neutron's own tools look for it
)

// Tables of the Northbound database, with the columns that are read or written; ovn-nb(5) says what each means.

type logicalSwitch struct {
	UUID        string            `ovsdb:"_uuid"`
	Name        string            `ovsdb:"name"`
	ExternalIDs map[string]string `ovsdb:"external_ids"`
}

type logicalSwitchPort struct {
	UUID          string            `ovsdb:"_uuid"`
	Name          string            `ovsdb:"name"`
	Type          string            `ovsdb:"type"`
	Addresses     []string          `ovsdb:"addresses"`
	PortSecurity  []string          `ovsdb:"port_security"`
	Enabled       *bool             `ovsdb:"enabled"`
	Tag           *int              `ovsdb:"tag"`
	Options       map[string]string `ovsdb:"options"`
	DHCPv4Options *string           `ovsdb:"dhcpv4_options"`
	DHCPv6Options *string           `ovsdb:"dhcpv6_options"`
	ExternalIDs   map[string]string `ovsdb:"external_ids"`
}

type dhcpOptions struct {
	UUID        string            `ovsdb:"_uuid"`
	CIDR        string            `ovsdb:"cidr"`
	Options     map[string]string `ovsdb:"options"`
	ExternalIDs map[string]string `ovsdb:"external_ids"`
}

type nbGlobal struct {
	UUID        string            `ovsdb:"_uuid"`
	ExternalIDs map[string]string `ovsdb:"external_ids"`
}

const (
	switchTable = "Logical_Switch"
	portTable   = "Logical_Switch_Port"
	dhcpTable   = "DHCP_Options"
	globalTable = "NB_Global"
)

// tables are those in which resources of a kind have rows, those that have others last: they are removed after them.
var tables = map[sdn.Kind][]string{
	sdn.KindNetwork: {portTable, switchTable}, sdn.KindSubnet: {dhcpTable}, sdn.KindGroup: {groupTable}, sdn.KindRouter: {routeTable, natTable, routerTable},
	sdn.KindPort: {gatewayTable, routerPortTable, portTable}, sdn.KindFloatingIP: {natTable},
}

// noName is nobody's: where names are unique, a copy looks by them before it looks by tags.
const noName = "slipway: no name"

// like are rows that have these tags, by their tables.
var like = map[string]func(tags map[string]string) model.Model{
	switchTable: func(tags map[string]string) model.Model { return &logicalSwitch{ExternalIDs: tags} },
	portTable:   func(tags map[string]string) model.Model { return &logicalSwitchPort{Name: noName, ExternalIDs: tags} },
	dhcpTable:   func(tags map[string]string) model.Model { return &dhcpOptions{ExternalIDs: tags} },
	groupTable:  func(tags map[string]string) model.Model { return &portGroup{Name: noName, ExternalIDs: tags} },

	routerTable:     func(tags map[string]string) model.Model { return &logicalRouter{ExternalIDs: tags} },
	routerPortTable: func(tags map[string]string) model.Model { return &logicalRouterPort{Name: noName, ExternalIDs: tags} },
	gatewayTable:    func(tags map[string]string) model.Model { return &gatewayChassis{Name: noName, ExternalIDs: tags} },
	routeTable:      func(tags map[string]string) model.Model { return &staticRoute{ExternalIDs: tags} },
	natTable:        func(tags map[string]string) model.Model { return &nat{ExternalIDs: tags} },
}

// row is a row of one of them, by columns: a string, an int, a *bool, an *int, an optional reference (*string), a set or a map of strings. An optional
// string is a set of none or one.
type row struct {
	uuid    string
	columns map[string]any
}

func (r row) external() map[string]string { return r.columns["external_ids"].(map[string]string) }

func (s *logicalSwitch) row() row {
	return row{s.UUID, map[string]any{"name": s.Name, "external_ids": s.ExternalIDs}}
}

func (p *logicalSwitchPort) row() row {
	return row{p.UUID, map[string]any{
		"name": p.Name, "type": p.Type, "addresses": set(p.Addresses), "port_security": set(p.PortSecurity), "enabled": p.Enabled, "tag": p.Tag,
		"options": p.Options, "dhcpv4_options": p.DHCPv4Options, "dhcpv6_options": p.DHCPv6Options, "external_ids": p.ExternalIDs,
	}}
}

func (d *dhcpOptions) row() row {
	return row{d.UUID, map[string]any{"cidr": d.CIDR, "options": d.Options, "external_ids": d.ExternalIDs}}
}

// same compares a column's values.
func same(a, b any) bool {
	switch a := a.(type) {
	case set:
		return slices.Equal(a.sorted(), b.(set).sorted())
	case map[string]string:
		return maps.Equal(a, b.(map[string]string))
	case *bool:
		b := b.(*bool)
		return a == b || a != nil && b != nil && *a == *b
	case *int:
		b := b.(*int)
		return a == b || a != nil && b != nil && *a == *b
	case *string:
		b := b.(*string)
		return a == b || a != nil && b != nil && *a == *b
	}
	return a == b
}

// set has no order.
type set []string

func (s set) sorted() []string { return slices.Sorted(slices.Values(s)) }

func networkRow(n sdn.Network) map[string]any {
	return map[string]any{
		"name":         "neutron-" + n.ID,
		"external_ids": map[string]string{tagMTU: strconv.Itoa(n.MTU)},
	}
}

// noGatewayServer is the address of a subnet's DHCP server where it has no gateway whose address it could be: one that no guest
// can have.
var noGatewayServer = netip.MustParseAddr(ids.MetadataV4)

const leaseSeconds = "43200" // Neutron's with OVN

// subnetRow is the subnet's DHCP; nil where it has none.
func subnetRow(s sdn.Subnet) map[string]any {
	if !s.DHCP {
		return nil
	}
	mac := ids.MACs(s.ID)[0]
	options := map[string]string{}
	if len(s.DNS) > 0 {
		options["dns_server"] = braced(s.DNS)
	}
	if s.CIDR.Addr().Is6() {
		options["server_id"] = mac
		if s.Stateless {
			options["dhcpv6_stateless"] = "true"
		}
	} else {
		server := noGatewayServer
		if s.Gateway.IsValid() {
			server = s.Gateway
			options["router"] = s.Gateway.String()
		}
		options["server_id"], options["server_mac"] = server.String(), mac
		options["lease_time"], options["mtu"] = leaseSeconds, strconv.Itoa(s.MTU)
		options["classless_static_route"] = classless(s)
	}
	return map[string]any{"cidr": s.CIDR.String(), "options": options, "external_ids": map[string]string{}}
}

// classless are the routes, with those to the metadata service and out among them: a client that takes these ignores the option router
// (RFC 3442). The service is on the link itself.
func classless(s sdn.Subnet) string {
	service := netip.PrefixFrom(noGatewayServer, noGatewayServer.BitLen())
	routes := s.Routes
	if !slices.ContainsFunc(routes, func(r sdn.Route) bool { return r.To == service }) {
		routes = append([]sdn.Route{{To: service, Through: netip.IPv4Unspecified()}}, routes...)
	}
	var all []string
	for _, r := range routes {
		all = append(all, r.To.String()+","+r.Through.String())
	}
	if s.Gateway.IsValid() {
		all = append(all, "0.0.0.0/0,"+s.Gateway.String())
	}
	return "{" + strings.Join(all, ", ") + "}"
}

func braced(all []netip.Addr) string {
	texts := make([]string, len(all))
	for i, a := range all {
		texts[i] = a.String()
	}
	return "{" + strings.Join(texts, ", ") + "}"
}

// portRow leaves the references to the subnets' DHCP open: they are rows.
func portRow(p sdn.Port) map[string]any {
	addresses := []string{p.MAC}
	for _, a := range p.Addresses {
		addresses = append(addresses, a.IP.String())
	}
	own := strings.Join(addresses, " ")
	columns := map[string]any{
		"name": p.ID, "type": "", "addresses": set{own}, "port_security": set{}, "enabled": (*bool)(nil), "tag": (*int)(nil),
		"options": map[string]string{}, "external_ids": map[string]string{tagGroups: groupsNoted(p)},
	}
	switch {
	case p.Service:
		columns["type"] = "localport"
	case p.Router != nil:
		columns["type"], columns["addresses"] = "router", set{"router"}
	case p.Unguarded:
		// What it sends from is known nowhere, so what is for unknown addresses goes to it.
		columns["addresses"] = set{own, "unknown"}
	default:
		columns["port_security"] = guard(p)
	}
	if p.Down {
		columns["enabled"] = new(false)
	}
	switch {
	case p.Router != nil:
		columns["options"] = routerPortOptions(p)
	case p.Host != "":
		columns["options"] = map[string]string{"requested-chassis": p.Host}
	}
	return columns
}

// guard is what a port may send from, by MAC. One without any address may send from none: a MAC alone would let it send from
// every address.
func guard(p sdn.Port) set {
	byMAC := map[string][]string{p.MAC: nil}
	for _, a := range p.Addresses {
		byMAC[p.MAC] = append(byMAC[p.MAC], a.IP.String())
	}
	for _, pair := range p.Also {
		mac := pair.MAC
		if mac == "" {
			mac = p.MAC
		}
		byMAC[mac] = append(byMAC[mac], host(pair.IP))
	}
	if len(byMAC[p.MAC]) == 0 {
		byMAC[p.MAC] = []string{netip.IPv4Unspecified().String()}
	}
	all := set{}
	for mac, addresses := range byMAC {
		all = append(all, fmt.Sprintf("%s %s", mac, strings.Join(addresses, " ")))
	}
	return all
}

// host is a prefix, or its address where there is but one.
func host(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
