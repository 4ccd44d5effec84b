package ipam

import (
	"net/netip"
	"slices"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// maxNameservers is Neutron's default (max_dns_nameservers).
const maxNameservers = 5

// Subnet is one as it is asked for; Complete makes it what it will be.
type Subnet struct {
	CIDR       string
	GatewayIP  *string // nil is none
	PoolStart  string  // both empty: all that the gateway leaves
	PoolEnd    string
	DNSServers []string
	EnableDHCP bool
}

// Complete brings the addresses into their usual form, chooses the pool where none is asked for, and refuses what does not
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
	gateway, err := s.gateway(cidr)
	if err != nil {
		return err
	}
	if err := s.checkNameservers(cidr); err != nil {
		return err
	}
	start, end := largerPart(cidr, gateway)
	if s.PoolStart != "" || s.PoolEnd != "" {
		if start, end, err = s.pool(cidr, gateway); err != nil {
			return err
		}
	}
	if !start.IsValid() {
		return BadInput("the gateway leaves no address of %s for servers", s.CIDR)
	}
	s.PoolStart, s.PoolEnd = start.String(), end.String()
	return nil
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

// pool reads and checks the one that is asked for.
func (s *Subnet) pool(cidr netip.Prefix, gateway netip.Addr) (start, end netip.Addr, err error) {
	if start, err = Address("allocation_pools", s.PoolStart); err != nil {
		return start, end, err
	}
	if end, err = Address("allocation_pools", s.PoolEnd); err != nil {
		return start, end, err
	}
	switch {
	case start.BitLen() != cidr.Addr().BitLen(), end.BitLen() != start.BitLen(), end.Less(start):
		return start, end, Refuse("InvalidAllocationPool", fault.Invalid, "The allocation pool %s-%s is not valid.", start, end)
	case !Usable(cidr, start), !Usable(cidr, end):
		return start, end, Refuse("OutOfBoundsAllocationPool", fault.Invalid,
			"The allocation pool %s-%s spans beyond the subnet cidr %s.", start, end, s.CIDR)
	case gateway.IsValid() && !gateway.Less(start) && !end.Less(gateway):
		return start, end, Refuse("GatewayConflictWithAllocationPools", fault.Conflict,
			"Gateway ip %s conflicts with allocation pool %s-%s.", gateway, start, end)
	}
	return start, end, nil
}

// largerPart is what the gateway leaves of a subnet: what follows it, or, where nothing does, what comes before. Invalid
// addresses are nothing.
func largerPart(cidr netip.Prefix, gateway netip.Addr) (start, end netip.Addr) {
	start, end = Hosts(cidr)
	switch {
	case !gateway.IsValid() || !Usable(cidr, gateway):
	case start == end:
		return netip.Addr{}, netip.Addr{}
	case gateway == end:
		end = end.Prev()
	default:
		start = gateway.Next()
	}
	return start, end
}
