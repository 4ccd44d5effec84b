package ipam

import (
	"net/netip"
	"slices"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Neutron's defaults (max_dns_nameservers, max_subnet_host_routes).
const (
	maxNameservers = 5
	maxHostRoutes  = 20
)

// Subnet is one as it is asked for; Complete makes it what it will be.
type Subnet struct {
	CIDR       string
	GatewayIP  *string // nil is none
	Pools      []Pool  // nil: all that the gateway leaves; empty: none
	DNSServers []string
	HostRoutes []Route
	EnableDHCP bool
	// How guests come to an IPv6 address, and what routers announce (slaac, dhcpv6-stateful, dhcpv6-stateless); nil is not said.
	RAMode, AddressMode *string
}

// Pool is a range of addresses that ports get, with both its ends.
type Pool struct {
	Start string `json:"start"`
	End   string `json:"end"`
}

// Route is what every guest of a subnet is told beside its gateway.
type Route struct {
	Destination string `json:"destination"`
	NextHop     string `json:"nexthop"`
}

// Complete brings the addresses into their usual form, chooses the pools where none are asked for, and refuses what does not
// fit together. Done again it changes nothing.
func (s *Subnet) Complete() error {
	cidr, err := CIDR(s.CIDR)
	if err != nil {
		return err
	}
	s.CIDR = cidr.String()
	if err := s.checkRange(cidr); err != nil {
		return err
	}
	if err := s.checkModes(cidr); err != nil {
		return err
	}
	gateway, err := s.gateway(cidr)
	if err != nil {
		return err
	}
	if err := s.checkNameservers(cidr); err != nil {
		return err
	}
	if err := s.checkRoutes(cidr); err != nil {
		return err
	}
	if s.Pools == nil {
		if s.Pools = around(cidr, gateway); len(s.Pools) == 0 {
			return BadInput("the gateway leaves no address of %s for servers", s.CIDR)
		}
		return nil
	}
	return s.checkPools(cidr, gateway)
}

// checkRange refuses what no host can be addressed in. Neutron lets most of it through without DHCP, although no guest can
// use it then either.
func (s *Subnet) checkRange(cidr netip.Prefix) error {
	a, what := cidr.Addr(), ""
	switch {
	case a.Is6() && a.IsUnspecified():
		return BadInput("IPv6 subnet '::' is not supported")
	case s.EnableDHCP && cidr.Bits() > a.BitLen()-2:
		return BadInput("Subnet has a prefix length that is incompatible with DHCP service enabled")
	case a.IsUnspecified():
		what = "First IP '0.0.0.0' of network"
	case a.IsLoopback(), cidr.Overlaps(loopback):
		what = "Loopback IP subnet"
	case a.IsMulticast(), cidr.Overlaps(multicast):
		what = "Multicast IP subnet"
	default:
		return nil
	}
	if s.EnableDHCP {
		return BadInput("%s is not supported if enable_dhcp is True", what)
	}
	return BadInput("%s is not supported", what)
}

var (
	loopback  = netip.MustParsePrefix("127.0.0.0/8")
	multicast = netip.MustParsePrefix("224.0.0.0/4")
)

// gateway reads and checks it; the zero address is none. An IPv6 gateway is often known by its link-local address alone.
func (s *Subnet) gateway(cidr netip.Prefix) (netip.Addr, error) {
	if s.GatewayIP == nil {
		return netip.Addr{}, nil
	}
	g, err := Address("gateway_ip", *s.GatewayIP)
	if err != nil {
		return g, err
	}
	if err := SameVersion(VersionOf(cidr.Addr()), "gateway_ip", *s.GatewayIP, g); err != nil {
		return g, err
	}
	if !Usable(cidr, g) && (!g.Is6() || !g.IsLinkLocalUnicast()) {
		return g, BadInput("Gateway is not valid on subnet")
	}
	s.GatewayIP = new(g.String())
	return g, nil
}

func (s *Subnet) checkNameservers(cidr netip.Prefix) error {
	for i, text := range s.DNSServers {
		d, err := netip.ParseAddr(text)
		if err != nil || d.Zone() != "" {
			return BadAttribute("dns_nameservers", "'%s' is not a valid nameserver. '%s' is not a valid IP address", text, text)
		}
		if slices.Contains(s.DNSServers[:i], text) {
			return BadAttribute("dns_nameservers", "Duplicate nameserver '%s'", text)
		}
		if err := SameVersion(VersionOf(cidr.Addr()), "dns_nameserver", text, d); err != nil {
			return err
		}
	}
	if len(s.DNSServers) > maxNameservers {
		return Refuse("DNSNameServersExhausted", fault.Invalid,
			"Unable to complete operation for new subnet. The number of DNS nameservers exceeds the limit %d.", maxNameservers)
	}
	return nil
}

// checkRoutes is Neutron's _validate_host_route.
func (s *Subnet) checkRoutes(cidr netip.Prefix) error {
	routes, err := Routes("host_routes", "hostroute", s.HostRoutes)
	if err != nil {
		return err
	}
	for _, r := range s.HostRoutes {
		for _, a := range []netip.Addr{netip.MustParsePrefix(r.Destination).Addr(), netip.MustParseAddr(r.NextHop)} {
			if VersionOf(a) != VersionOf(cidr.Addr()) {
				return BadInput("host_route '%s via %s' does not match the ip_version '%d'", r.Destination, r.NextHop, VersionOf(cidr.Addr()))
			}
		}
	}
	if len(routes) > maxHostRoutes {
		return Refuse("HostRoutesExhausted", fault.Invalid,
			"Unable to complete operation for new subnet. The number of host routes exceeds the limit %d.", maxHostRoutes)
	}
	s.HostRoutes = routes
	return nil
}

// checkModes is Neutron's _validate_ipv6_attributes.
func (s *Subnet) checkModes(cidr netip.Prefix) error {
	if s.RAMode == nil && s.AddressMode == nil {
		return nil
	}
	switch {
	case cidr.Addr().Is4():
		return BadInput("ipv6_ra_mode or ipv6_address_mode cannot be set when ip_version is set to 4")
	case !s.EnableDHCP:
		return BadInput("ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False")
	case s.RAMode != nil && s.AddressMode != nil && *s.RAMode != *s.AddressMode:
		return BadInput("ipv6_ra_mode set to '%s' with ipv6_address_mode set to '%s' is not valid. "+
			"If both attributes are set, they must be the same value", *s.RAMode, *s.AddressMode)
	case s.AddressMode != nil && *s.AddressMode != "dhcpv6-stateful" && cidr.Bits() != 64:
		return BadInput("Invalid CIDR %s for IPv6 address mode. OpenStack uses the EUI-64 address format, which requires the prefix to be /64", s.CIDR)
	}
	return nil
}

// checkPools reads and checks those that are asked for, and puts them in order.
func (s *Subnet) checkPools(cidr netip.Prefix, gateway netip.Addr) error {
	type span struct{ start, end netip.Addr }
	spans := make([]span, 0, len(s.Pools))
	for _, p := range s.Pools {
		start, err := Address("allocation_pools", p.Start)
		if err != nil {
			return err
		}
		end, err := Address("allocation_pools", p.End)
		if err != nil {
			return err
		}
		switch {
		case start.BitLen() != cidr.Addr().BitLen(), end.BitLen() != start.BitLen(), end.Less(start):
			return Refuse("InvalidAllocationPool", fault.Invalid, "The allocation pool %s-%s is not valid.", start, end)
		case !Usable(cidr, start), !Usable(cidr, end):
			return Refuse("OutOfBoundsAllocationPool", fault.Invalid,
				"The allocation pool %s-%s spans beyond the subnet cidr %s.", start, end, s.CIDR)
		case gateway.IsValid() && !gateway.Less(start) && !end.Less(gateway):
			return Refuse("GatewayConflictWithAllocationPools", fault.Conflict,
				"Gateway ip %s conflicts with allocation pool %s-%s.", gateway, start, end)
		}
		spans = append(spans, span{start, end})
	}
	slices.SortFunc(spans, func(a, b span) int { return a.start.Compare(b.start) })
	s.Pools = make([]Pool, len(spans))
	for i, p := range spans {
		s.Pools[i] = Pool{p.start.String(), p.end.String()}
		if i > 0 && !spans[i-1].end.Less(p.start) {
			return Refuse("OverlappingAllocationPools", fault.Conflict, "Found overlapping allocation pools: %s-%s %s-%s for subnet %s.",
				s.Pools[i-1].Start, s.Pools[i-1].End, s.Pools[i].Start, s.Pools[i].End, s.CIDR)
		}
	}
	return nil
}

// around is what the gateway leaves of a subnet: what comes before it and what follows (Neutron's generate_pools).
func around(cidr netip.Prefix, gateway netip.Addr) (pools []Pool) {
	low, high := Hosts(cidr)
	if !gateway.IsValid() || !Usable(cidr, gateway) {
		return []Pool{{low.String(), high.String()}}
	}
	if low.Less(gateway) {
		pools = append(pools, Pool{low.String(), gateway.Prev().String()})
	}
	if gateway.Less(high) {
		pools = append(pools, Pool{gateway.Next().String(), high.String()})
	}
	return pools
}

// Routes brings the routes of an attribute into their usual form, and refuses what is none and what is said twice.
func Routes(attribute, what string, in []Route) ([]Route, error) {
	routes := make([]Route, 0, len(in))
	for _, r := range in {
		to, err := netip.ParsePrefix(r.Destination)
		if err != nil || to.Addr().Is4In6() {
			return nil, BadAttribute(attribute, "'%s' is not a valid CIDR", r.Destination)
		}
		if to != to.Masked() {
			return nil, BadAttribute(attribute, "'%s' is not a recognized CIDR, '%s' is recommended", r.Destination, to.Masked())
		}
		hop, err := Address(attribute, r.NextHop)
		if err != nil {
			return nil, err
		}
		one := Route{to.String(), hop.String()}
		if slices.Contains(routes, one) {
			return nil, BadAttribute(attribute, "Duplicate %s '%s via %s'", what, one.Destination, one.NextHop)
		}
		routes = append(routes, one)
	}
	return routes, nil
}
