package webdownload

import (
	"net/netip"
	"slices"
)

// notPublic are the addresses of IANA's special-purpose registries (RFC 6890 and its successors) that do not lead to a
// host of the public internet, and those that do but mean something else to the machine that asks.
var notPublic = prefixes(
	"0.0.0.0/8",         // this network; Linux connects 0.0.0.0 to itself
	"10.0.0.0/8",        // private
	"100.64.0.0/10",     // carriers' NAT, and some clouds' metadata
	"127.0.0.0/8",       // loopback
	"168.63.129.16/32",  // Azure's host agent, inside every virtual machine
	"169.254.0.0/16",    // link-local, and most clouds' metadata
	"172.16.0.0/12",     // private
	"192.0.0.0/24",      // protocol assignments, and a cloud's metadata
	"192.0.2.0/24",      // documentation
	"192.88.99.0/24",    // relays of 6to4
	"192.168.0.0/16",    // private
	"198.18.0.0/15",     // benchmarking
	"198.51.100.0/24",   // documentation
	"203.0.113.0/24",    // documentation
	"224.0.0.0/4",       // multicast
	"240.0.0.0/4",       // reserved, and broadcast
	"2001::/23",         // protocol assignments, among them Teredo, benchmarking and ORCHID
	"2001:db8::/32",     // documentation
	"2002::/16",         // 6to4: any IPv4 address behind a relay of this network
	"3fff::/20",         // documentation
	"2620:4f:8000::/48", // AS112, answers for private addresses
)

var (
	// globalUnicast is all of IPv6 that IANA has given out for public use. Loopback, unspecified, IPv4-compatible,
	// local NAT64, discard, unique local, link-local, site-local and multicast lie outside.
	globalUnicast = netip.MustParsePrefix("2000::/3")
	// nat64 leads to the IPv4 address in its last four bytes (RFC 6052).
	nat64 = netip.MustParsePrefix("64:ff9b::/96")
)

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		out[i] = netip.MustParsePrefix(t)
	}
	return out
}

// reachable says whether an address may be connected to: a public one, or one of the operator's Networks.
func (r Rules) reachable(addr netip.Addr) bool {
	addr = addr.Unmap()
	return r.listed(addr) || public(addr)
}

// listed says whether the operator named the address in Networks.
func (r Rules) listed(addr netip.Addr) bool {
	addr = addr.Unmap()
	return slices.ContainsFunc(r.Networks, func(n netip.Prefix) bool { return n.Contains(addr) })
}

// public says whether an address is one of the public internet. An IPv6 address with a zone is not.
func public(addr netip.Addr) bool {
	addr = addr.Unmap()
	if !addr.IsValid() || addr.Zone() != "" {
		return false
	}
	if nat64.Contains(addr) {
		bytes := addr.As16()
		return public(netip.AddrFrom4([4]byte(bytes[12:])))
	}
	if addr.Is6() && !globalUnicast.Contains(addr) {
		return false
	}
	return !slices.ContainsFunc(notPublic, func(n netip.Prefix) bool { return n.Contains(addr) })
}
