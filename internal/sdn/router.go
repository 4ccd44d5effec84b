package sdn

import "net/netip"

// Router carries packets between the networks that its ports are on, and to an external one.
type Router struct {
	ID     string
	Down   bool // carries nothing
	Routes []Route
	// Sources are whose packets leave with another address than they came with (SNAT).
	Sources []Source
}

// Source is an address that packets from a range get.
type Source struct {
	From netip.Prefix
	To   netip.Addr
}

// RouterPort is what a port is to the router that has it, and the router to guests on the port's network.
type RouterPort struct {
	RouterID string
	Networks []netip.Prefix // the port's addresses, with the ranges that are reached through it
	External bool           // leads out
	Gateways []string       // hosts that could carry what comes in and goes out here
	Tells    *Announcement
}

// Announcement is what guests are told of IPv6 (RFC 4861).
type Announcement struct {
	Addresses string // how they come to theirs: SLAAC, DHCPStateful or DHCPStateless
	MTU       int
	DNS       netip.Addr // the zero Addr is none: DHCP may tell
}

// How guests come to IPv6 addresses.
const (
	SLAAC         = "slaac"
	DHCPStateful  = "dhcpv6-stateful"
	DHCPStateless = "dhcpv6-stateless"
)

// FloatingIP is an address outside that stands for one inside.
type FloatingIP struct {
	ID       string
	RouterID string
	Outside  netip.Addr
	Inside   netip.Addr
	// Where the host of the port that has Inside leads out itself, packets need not go by the gateway's: PortID is that port, and MAC the one that
	// Outside has there. Both are "" elsewhere.
	PortID, MAC string
}
