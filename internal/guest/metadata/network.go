package metadata

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/ids"
)

// Network is network_data.json (nova/virt/netutils.py get_network_metadata).
type Network struct {
	Links    []Link    `json:"links"`
	Networks []Subnet  `json:"networks"`
	Services []Service `json:"services"`
}

// Link is one NIC.
type Link struct {
	ID   string `json:"id"`
	VIF  string `json:"vif_id"`
	Type string `json:"type"`
	MTU  *int   `json:"mtu"`
	MAC  string `json:"ethernet_mac_address"`
}

// Subnet is one address on a link. Of one that DHCP tells the guest, nothing else is said here.
type Subnet struct {
	ID        string    `json:"id"`
	Type      string    `json:"type"` // ipv4 or ipv6, and how the guest comes to it
	Link      string    `json:"link"`
	IP        string    `json:"ip_address,omitempty"`
	Netmask   string    `json:"netmask,omitempty"`
	Routes    []Route   `json:"routes,omitzero"`
	NetworkID string    `json:"network_id"`
	Services  []Service `json:"services,omitzero"`
}

// Route is one route; the default one has network and netmask zero.
type Route struct {
	Network string `json:"network"`
	Netmask string `json:"netmask"`
	Gateway string `json:"gateway"`
}

// Service is a service of a network; only dns is known.
type Service struct {
	Type    string `json:"type"`
	Address string `json:"address"`
}

// NetworkData describes the ports. A link's id is the name of the tap device in Nova ("tap" and the first 11 digits of the
// port's id).
func NetworkData(ports []contract.Port) (Network, error) {
	n := Network{Links: []Link{}, Networks: []Subnet{}, Services: []Service{}}
	seen := map[Service]bool{}
	for i, p := range ports {
		link := Link{ID: cmp.Or(ids.Tap(p.ID), "interface"+strconv.Itoa(i)), VIF: p.ID, Type: contract.VIFName(p.VIFType), MAC: p.MAC}
		if p.MTU > 0 {
			link.MTU = &p.MTU
		}
		n.Links = append(n.Links, link)
		for _, a := range p.Addresses {
			ip, mask, err := addressAndMask(a)
			if err != nil {
				return Network{}, fmt.Errorf("port %s: %w", p.ID, err)
			}
			s := Subnet{ID: "network" + strconv.Itoa(len(n.Networks)), Type: "ipv4", Link: link.ID, NetworkID: p.NetworkID}
			zero := "0.0.0.0"
			if ip.Is6() {
				s.Type, zero = "ipv6", "::"
			}
			if a.Mode != contract.AddressStatic {
				s.Type += "_" + string(a.Mode)
			}
			services := []Service{}
			for _, dns := range a.DNSServers {
				service := Service{"dns", dns}
				services = append(services, service)
				if !seen[service] {
					seen[service] = true
					n.Services = append(n.Services, service)
				}
			}
			if a.Mode != contract.AddressDHCP {
				s.IP, s.Netmask, s.Routes, s.Services = a.IP, mask, []Route{}, services
				if a.Gateway != "" {
					s.Routes = append(s.Routes, Route{zero, zero, a.Gateway})
				}
				for _, r := range a.Routes {
					to, err := netip.ParsePrefix(r.Destination)
					if err != nil {
						return Network{}, fmt.Errorf("port %s: %w", p.ID, err)
					}
					s.Routes = append(s.Routes, Route{to.Addr().String(), Netmask(to).String(), r.NextHop})
				}
			}
			n.Networks = append(n.Networks, s)
		}
	}
	return n, nil
}

func addressAndMask(a contract.Address) (netip.Addr, string, error) {
	ip, err := netip.ParseAddr(a.IP)
	if err != nil {
		return netip.Addr{}, "", err
	}
	net, err := netip.ParsePrefix(a.CIDR)
	if err != nil {
		return netip.Addr{}, "", err
	}
	return ip, Netmask(net).String(), nil
}

// Netmask is a prefix's mask as an address: 255.255.255.0, ffff:ffff::.
func Netmask(p netip.Prefix) netip.Addr {
	b := make([]byte, p.Addr().BitLen()/8)
	for i := range p.Bits() {
		b[i/8] |= 0x80 >> (i % 8)
	}
	mask, _ := netip.AddrFromSlice(b)
	return mask
}

// Interfaces is Debian's /etc/network/interfaces for the ports, after Nova's interfaces.template; the first address of
// each family, as there. Of each family the first gateway alone is named: ifup fails on the interface of a second, which Nova has.
// "" where no port has an address.
func Interfaces(ports []contract.Port) string {
	var b strings.Builder
	n := 0
	var routed [2]bool
	for i, p := range ports {
		var seen [2]bool
		for _, a := range p.Addresses {
			ip, err := netip.ParseAddr(a.IP)
			if err != nil {
				continue
			}
			prefix, err := netip.ParsePrefix(a.CIDR)
			if err != nil {
				continue
			}
			family, index := "inet", 0
			if ip.Is6() {
				family, index = "inet6", 1
			}
			if seen[index] {
				continue
			}
			n++
			if seen[index] = true; seen[0] != seen[1] { // the port's first address
				fmt.Fprintf(&b, "\nauto eth%d\n", i)
			}
			fmt.Fprintf(&b, "iface eth%d %s %s\n    hwaddress ether %s\n", i, family, method(a.Mode), p.MAC)
			if a.Mode == contract.AddressStateless {
				b.WriteString("    dhcp 1\n")
			}
			if a.Mode != contract.AddressStatic {
				continue
			}
			fmt.Fprintf(&b, "    address %s\n", a.IP)
			if index == 0 {
				fmt.Fprintf(&b, "    netmask %s\n", Netmask(prefix))
			} else {
				fmt.Fprintf(&b, "    netmask %d\n", prefix.Bits())
			}
			if a.Gateway != "" && !routed[index] {
				routed[index] = true
				fmt.Fprintf(&b, "    gateway %s\n", a.Gateway)
			}
			if len(a.DNSServers) > 0 {
				fmt.Fprintf(&b, "    dns-nameservers %s\n", strings.Join(a.DNSServers, " "))
			}
		}
	}
	if n == 0 {
		return ""
	}
	return "# Made by Slipway at the first boot of the server; see interfaces(5).\n\nauto lo\niface lo inet loopback\n" + b.String()
}

// method is how an interface of a mode is configured: interfaces(5).
func method(m contract.AddressMode) string {
	switch m {
	case contract.AddressDHCP, contract.AddressStateful:
		return "dhcp"
	case contract.AddressSLAAC, contract.AddressStateless:
		return "auto"
	default:
		return "static"
	}
}
