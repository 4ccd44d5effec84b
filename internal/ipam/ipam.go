// Package ipam is the rules of addresses: which subnets, gateways, allocation pools, fixed addresses, MACs and MTUs there
// can be. They are Neutron's (neutron-lib's validators, neutron/db/db_base_plugin_v2.py, neutron/ipam/utils.py), with its
// texts and the names of its exceptions.
package ipam

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Refusal is a fault with the name of the exception that Neutron answers with.
type Refusal struct {
	Exception string
	Fault     *fault.Error
}

func (r *Refusal) Error() string { return r.Fault.Error() }

// Unwrap gives the fault.
func (r *Refusal) Unwrap() error { return r.Fault }

// NeutronType is what Neutron's body shows as "type".
func (r *Refusal) NeutronType() string { return r.Exception }

// Refuse makes one.
func Refuse(exception string, kind fault.Kind, format string, args ...any) error {
	return &Refusal{exception, fault.New(kind, format, args...)}
}

// BadAttribute is what Neutron says of a value that is malformed by itself.
func BadAttribute(attribute, reason string, args ...any) error {
	return Refuse("HTTPBadRequest", fault.Invalid, "Invalid input for %s. Reason: %s.", attribute, fmt.Sprintf(reason, args...))
}

// BadInput is what it says of values that do not go together.
func BadInput(reason string, args ...any) error {
	return Refuse("InvalidInput", fault.Invalid, "Invalid input for operation: %s.", fmt.Sprintf(reason, args...))
}

// Outdated is the exception of a change that was asked for of another revision than there is.
const Outdated = "RevisionNumberConstraintFailed"

// Absent is what it says of an object of a kind ("Network") that is not there, or not the asker's to know of.
func Absent(kind, id string) error {
	return Refuse(kind+"NotFound", fault.NotFound, "%s %s could not be found.", kind, id)
}

// Address reads an address.
func Address(attribute, text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		return a, BadAttribute(attribute, "'%s' is not a valid IP address", text)
	}
	return a, nil
}

// MAC reads a NIC's address and gives its usual form. Unlike Neutron it refuses every group address: no NIC can have one.
func MAC(text string) (string, error) {
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != 6 || mac[0]&1 == 1 || mac.String() == "00:00:00:00:00:00" {
		return "", BadAttribute("mac_address", "'%s' is not a valid MAC address", text)
	}
	return mac.String(), nil
}

// The least that IPv4 and IPv6 can do with (RFC 791, RFC 8200), and the most that an IP packet can have.
const (
	minMTU     = 68
	minMTUIPv6 = 1280
	maxMTU     = 65535
)

// MTU checks a network's, before it has subnets.
func MTU(bytes int) error {
	switch {
	case bytes < minMTU:
		return BadAttribute("mtu", "'%d' is too small - must be at least '%d'", bytes, minMTU)
	case bytes > maxMTU:
		return BadInput("Requested MTU is too big, maximum is %d", maxMTU)
	}
	return nil
}

// MTUOf checks that a network's MTU is enough for a subnet.
func MTUOf(networkID string, bytes int, cidr netip.Prefix) error {
	if cidr.Addr().Is6() && bytes < minMTUIPv6 {
		return Refuse("NetworkMTUSubnetConflict", fault.Conflict, "MTU of %s is not valid, subnet requires a minimum of %d", networkID, minMTUIPv6)
	}
	return nil
}

// CIDR reads a subnet's range. Neutron drops the bits of a host, here they are refused: one of the two was meant.
func CIDR(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return p, BadAttribute("cidr", "'%s' is not a valid IP subnet", text)
	}
	if p != p.Masked() {
		return p, BadAttribute("cidr", "'%s' isn't a recognized IP subnet cidr, '%s' is recommended", text, p.Masked())
	}
	return p, nil
}

// SameVersion checks that an address is of the subnet's IP version.
func SameVersion(version int, attribute, text string, a netip.Addr) error {
	if version != VersionOf(a) {
		return BadInput("%s '%s' does not match the ip_version '%d'", attribute, text, version)
	}
	return nil
}

// VersionOf is 4 or 6.
func VersionOf(a netip.Addr) int {
	if a.Is4() {
		return 4
	}
	return 6
}

// Hosts are the lowest and the highest address of a subnet that a host can have: neither the network's own (in IPv6 the
// routers' anycast) nor IPv4's broadcast. Point-to-point links have no such (RFC 3021, RFC 6164).
func Hosts(cidr netip.Prefix) (low, high netip.Addr) {
	low, high = cidr.Addr(), last(cidr)
	if cidr.Bits() < low.BitLen()-1 {
		low = low.Next()
		if low.Is4() {
			high = high.Prev()
		}
	}
	return low, high
}

// Usable says whether a port can have the address.
func Usable(cidr netip.Prefix, a netip.Addr) bool {
	low, high := Hosts(cidr)
	return a.BitLen() == low.BitLen() && !a.Less(low) && !high.Less(a)
}

// last is the highest address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
