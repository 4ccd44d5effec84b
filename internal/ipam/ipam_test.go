package ipam

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// requireRefusal holds the exception's name and the text.
func requireRefusal(t *testing.T, err error, exception, text string) {
	t.Helper()
	var r *Refusal
	require.ErrorAs(t, err, &r, text)
	require.Equal(t, []string{exception, text}, []string{r.Exception, fault.Public(err)})
}

func TestASubnetsPoolsAreWhatItsGatewayLeaves(t *testing.T) {
	for _, c := range []struct {
		in   Subnet
		want []Pool
	}{
		{Subnet{CIDR: "10.0.0.0/24", GatewayIP: new("10.0.0.1")}, []Pool{{"10.0.0.2", "10.0.0.254"}}},
		{Subnet{CIDR: "10.0.0.0/24", GatewayIP: new("10.0.0.254")}, []Pool{{"10.0.0.1", "10.0.0.253"}}},
		{Subnet{CIDR: "10.0.0.0/24", GatewayIP: new("10.0.0.7")}, []Pool{{"10.0.0.1", "10.0.0.6"}, {"10.0.0.8", "10.0.0.254"}}},
		{Subnet{CIDR: "10.0.0.0/24"}, []Pool{{"10.0.0.1", "10.0.0.254"}}},
		{Subnet{CIDR: "10.0.0.0/30", GatewayIP: new("10.0.0.1"), EnableDHCP: true}, []Pool{{"10.0.0.2", "10.0.0.2"}}},
		{Subnet{CIDR: "10.0.0.0/31"}, []Pool{{"10.0.0.0", "10.0.0.1"}}},
		{Subnet{CIDR: "10.0.0.0/31", GatewayIP: new("10.0.0.1")}, []Pool{{"10.0.0.0", "10.0.0.0"}}},
		{Subnet{CIDR: "10.0.0.7/32"}, []Pool{{"10.0.0.7", "10.0.0.7"}}},
		{Subnet{CIDR: "169.254.0.0/16"}, []Pool{{"169.254.0.1", "169.254.255.254"}}},
		{Subnet{CIDR: "fd00::/64", GatewayIP: new("fd00:0::1")}, []Pool{{"fd00::2", "fd00::ffff:ffff:ffff:ffff"}}},
		{Subnet{CIDR: "fd00::/64", GatewayIP: new("fe80::1")}, []Pool{{"fd00::1", "fd00::ffff:ffff:ffff:ffff"}}},
		{Subnet{CIDR: "10.0.0.0/24", Pools: []Pool{{"10.0.0.5", "10.0.0.5"}}}, []Pool{{"10.0.0.5", "10.0.0.5"}}},
		{Subnet{CIDR: "10.0.0.0/24", Pools: []Pool{{"10.0.0.50", "10.0.0.59"}, {"10.0.0.5", "10.0.0.9"}}}, []Pool{{"10.0.0.5", "10.0.0.9"}, {"10.0.0.50", "10.0.0.59"}}},
		{Subnet{CIDR: "10.0.0.0/24", Pools: []Pool{}}, []Pool{}},
	} {
		for range 2 { // again it is the same
			require.NoError(t, c.in.Complete(), c.in.CIDR)
			require.Equal(t, c.want, c.in.Pools, c.in.CIDR)
		}
	}
}

func TestWhatFitsNoGuestIsRefusedInNeutronsWords(t *testing.T) {
	const input = "Invalid input for operation: "
	with := func(cidr string, change func(*Subnet)) Subnet {
		s := Subnet{CIDR: cidr, EnableDHCP: true}
		change(&s)
		return s
	}
	dhcp := func(*Subnet) {}
	static := func(s *Subnet) { s.EnableDHCP = false }
	gateway := func(ip string) func(*Subnet) { return func(s *Subnet) { s.GatewayIP = &ip } }
	dns := func(ips ...string) func(*Subnet) { return func(s *Subnet) { s.DNSServers = ips } }
	pool := func(start, end string) func(*Subnet) {
		return func(s *Subnet) { s.Pools = append(s.Pools, Pool{start, end}) }
	}
	routes := func(list ...Route) func(*Subnet) { return func(s *Subnet) { s.HostRoutes = list } }
	modes := func(ra, address string) func(*Subnet) {
		return func(s *Subnet) { s.RAMode, s.AddressMode = &ra, &address }
	}
	for _, c := range []struct {
		in              Subnet
		exception, text string
	}{
		{with("10.0.0.0/24", routes(Route{"10.9.0.0/16", "ten"})), "HTTPBadRequest", "Invalid input for host_routes. Reason: 'ten' is not a valid IP address."},
		{with("10.0.0.0/24", routes(Route{"10.9.0.1/16", "10.0.0.9"})), "HTTPBadRequest",
			"Invalid input for host_routes. Reason: '10.9.0.1/16' is not a recognized CIDR, '10.9.0.0/16' is recommended."},
		{with("10.0.0.0/24", routes(Route{"fd00::/64", "10.0.0.9"})), "InvalidInput", input + "host_route 'fd00::/64 via 10.0.0.9' does not match the ip_version '4'."},
		{with("10.0.0.0/24", routes(Route{"10.9.0.0/16", "10.0.0.9"}, Route{"10.9.0.0/16", "10.0.0.9"})), "HTTPBadRequest",
			"Invalid input for host_routes. Reason: Duplicate hostroute '10.9.0.0/16 via 10.0.0.9'."},
		{with("10.0.0.0/24", modes("slaac", "slaac")), "InvalidInput", input + "ipv6_ra_mode or ipv6_address_mode cannot be set when ip_version is set to 4."},
		{with("fd00::/64", func(s *Subnet) { static(s); modes("slaac", "slaac")(s) }), "InvalidInput",
			input + "ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False."},
		{with("fd00::/64", modes("slaac", "dhcpv6-stateful")), "InvalidInput", input + "ipv6_ra_mode set to 'slaac' with ipv6_address_mode set to 'dhcpv6-stateful' is not valid. " +
			"If both attributes are set, they must be the same value."},
		{with("fd00::/63", modes("slaac", "slaac")), "InvalidInput", input + "Invalid CIDR fd00::/63 for IPv6 address mode. " +
			"OpenStack uses the EUI-64 address format, which requires the prefix to be /64."},
		{with("10.0.0.0/24", func(s *Subnet) { pool("10.0.0.5", "10.0.0.9")(s); pool("10.0.0.9", "10.0.0.12")(s) }), "OverlappingAllocationPools",
			"Found overlapping allocation pools: 10.0.0.5-10.0.0.9 10.0.0.9-10.0.0.12 for subnet 10.0.0.0/24."},
		{with("ten", dhcp), "HTTPBadRequest", "Invalid input for cidr. Reason: 'ten' is not a valid IP subnet."},
		{with("10.0.0.0", dhcp), "HTTPBadRequest", "Invalid input for cidr. Reason: '10.0.0.0' is not a valid IP subnet."},
		{with("010.0.0.0/8", dhcp), "HTTPBadRequest", "Invalid input for cidr. Reason: '010.0.0.0/8' is not a valid IP subnet."},
		{with("::ffff:10.0.0.0/120", dhcp), "HTTPBadRequest", "Invalid input for cidr. Reason: '::ffff:10.0.0.0/120' is not a valid IP subnet."},
		{with("fd00::1/64", dhcp), "HTTPBadRequest", "Invalid input for cidr. Reason: 'fd00::1/64' isn't a recognized IP subnet cidr, 'fd00::/64' is recommended."},
		{with("0.0.0.0/0", dhcp), "InvalidInput", input + "First IP '0.0.0.0' of network is not supported if enable_dhcp is True."},
		{with("0.0.0.0/8", static), "InvalidInput", input + "First IP '0.0.0.0' of network is not supported."},
		{with("127.1.0.0/16", dhcp), "InvalidInput", input + "Loopback IP subnet is not supported if enable_dhcp is True."},
		{with("126.0.0.0/7", static), "InvalidInput", input + "Loopback IP subnet is not supported."},
		{with("::1/128", static), "InvalidInput", input + "Loopback IP subnet is not supported."},
		{with("239.0.0.0/8", dhcp), "InvalidInput", input + "Multicast IP subnet is not supported if enable_dhcp is True."},
		{with("ff02::/64", static), "InvalidInput", input + "Multicast IP subnet is not supported."},
		{with("::/64", dhcp), "InvalidInput", input + "IPv6 subnet '::' is not supported."},
		{with("10.0.0.0/31", dhcp), "InvalidInput", input + "Subnet has a prefix length that is incompatible with DHCP service enabled."},
		{with("fd00::/127", dhcp), "InvalidInput", input + "Subnet has a prefix length that is incompatible with DHCP service enabled."},
		{with("10.0.0.0/24", gateway("ten")), "HTTPBadRequest", "Invalid input for gateway_ip. Reason: 'ten' is not a valid IP address."},
		{with("10.0.0.0/24", gateway("fd00::1")), "InvalidInput", input + "gateway_ip 'fd00::1' does not match the ip_version '4'."},
		{with("10.0.0.0/24", gateway("10.0.0.0")), "InvalidInput", input + "Gateway is not valid on subnet."},
		{with("10.0.0.0/24", gateway("10.0.0.255")), "InvalidInput", input + "Gateway is not valid on subnet."},
		{with("10.0.0.0/24", gateway("10.0.1.1")), "InvalidInput", input + "Gateway is not valid on subnet."},
		{with("10.0.0.7/32", func(s *Subnet) { static(s); gateway("10.0.0.7")(s) }), "InvalidInput", input + "the gateway leaves no address of 10.0.0.7/32 for servers."},
		{with("10.0.0.0/24", dns("9.9.9.9", "dns")), "HTTPBadRequest", "Invalid input for dns_nameservers. Reason: 'dns' is not a valid nameserver. 'dns' is not a valid IP address."},
		{with("10.0.0.0/24", dns("9.9.9.9", "9.9.9.9")), "HTTPBadRequest", "Invalid input for dns_nameservers. Reason: Duplicate nameserver '9.9.9.9'."},
		{with("10.0.0.0/24", dns("fd00::53")), "InvalidInput", input + "dns_nameserver 'fd00::53' does not match the ip_version '4'."},
		{with("10.0.0.0/24", dns("9.9.9.1", "9.9.9.2", "9.9.9.3", "9.9.9.4", "9.9.9.5", "9.9.9.6")), "DNSNameServersExhausted",
			"Unable to complete operation for new subnet. The number of DNS nameservers exceeds the limit 5."},
		{with("10.0.0.0/24", pool("ten", "10.0.0.9")), "HTTPBadRequest", "Invalid input for allocation_pools. Reason: 'ten' is not a valid IP address."},
		{with("10.0.0.0/24", pool("10.0.0.5", "")), "HTTPBadRequest", "Invalid input for allocation_pools. Reason: '' is not a valid IP address."},
		{with("10.0.0.0/24", pool("10.0.0.9", "10.0.0.5")), "InvalidAllocationPool", "The allocation pool 10.0.0.9-10.0.0.5 is not valid."},
		{with("10.0.0.0/24", pool("fd00::5", "fd00::9")), "InvalidAllocationPool", "The allocation pool fd00::5-fd00::9 is not valid."},
		{with("10.0.0.0/24", pool("10.0.0.0", "10.0.0.9")), "OutOfBoundsAllocationPool", "The allocation pool 10.0.0.0-10.0.0.9 spans beyond the subnet cidr 10.0.0.0/24."},
		{with("10.0.0.0/24", pool("10.0.0.9", "10.0.0.255")), "OutOfBoundsAllocationPool", "The allocation pool 10.0.0.9-10.0.0.255 spans beyond the subnet cidr 10.0.0.0/24."},
		{with("10.0.0.0/24", func(s *Subnet) { gateway("10.0.0.5")(s); pool("10.0.0.5", "10.0.0.9")(s) }), "GatewayConflictWithAllocationPools",
			"Gateway ip 10.0.0.5 conflicts with allocation pool 10.0.0.5-10.0.0.9."},
	} {
		requireRefusal(t, c.in.Complete(), c.exception, c.text)
	}
}

func TestAPortHasAnAddressOfTheHostsOfItsSubnet(t *testing.T) {
	for _, c := range []struct {
		cidr, ip string
		usable   bool
	}{
		{"10.0.0.0/24", "10.0.0.1", true},
		{"10.0.0.0/24", "10.0.0.0", false},
		{"10.0.0.0/24", "10.0.0.255", false},
		{"10.0.0.0/24", "10.0.1.1", false},
		{"10.0.0.0/24", "::ffff:10.0.0.1", false},
		{"10.0.0.0/31", "10.0.0.0", true},
		{"10.0.0.7/32", "10.0.0.7", true},
		{"fd00::/64", "fd00::", false},
		{"fd00::/64", "fd00::ffff:ffff:ffff:ffff", true},
		{"fd00::/64", "10.0.0.1", false},
	} {
		require.Equal(t, c.usable, Usable(netip.MustParsePrefix(c.cidr), netip.MustParseAddr(c.ip)), "%s in %s", c.ip, c.cidr)
	}
}

func TestANICHasAnAddressOfOneCard(t *testing.T) {
	for text, want := range map[string]string{"52-54-00-AB-CD-EF": "52:54:00:ab:cd:ef", "0200.5e00.5301": "02:00:5e:00:53:01"} {
		got, err := MAC(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, text := range []string{"", "52:54:00", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "33:33:00:00:00:01", "02:00:5e:10:00:00:00:01", "52:54:00:ab:cd:ef\n"} {
		_, err := MAC(text)
		requireRefusal(t, err, "HTTPBadRequest", "Invalid input for mac_address. Reason: '"+text+"' is not a valid MAC address.")
	}
}

func TestAnMTUHoldsAPacket(t *testing.T) {
	for _, bytes := range []int{68, 1280, 65535} {
		require.NoError(t, MTU(bytes))
	}
	requireRefusal(t, MTU(-1), "HTTPBadRequest", "Invalid input for mtu. Reason: '-1' is too small - must be at least '68'.")
	requireRefusal(t, MTU(65536), "InvalidInput", "Invalid input for operation: Requested MTU is too big, maximum is 65535.")
	require.NoError(t, MTUOf("n", 68, netip.MustParsePrefix("10.0.0.0/24")))
	require.NoError(t, MTUOf("n", 1280, netip.MustParsePrefix("fd00::/64")))
	err := MTUOf("n", 1279, netip.MustParsePrefix("fd00::/64"))
	requireRefusal(t, err, "NetworkMTUSubnetConflict", "MTU of n is not valid, subnet requires a minimum of 1280")
	require.True(t, fault.Is(err, fault.Conflict))
}
