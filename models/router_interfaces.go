package models

import (
	"context"
	"net/netip"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ipam"
)

// AddRouterSubnet puts a router onto a subnet, as its gateway. A port with IPv6 addresses is of all IPv6 subnets of its network.
func (s *Store) AddRouterSubnet(ctx context.Context, routerID, subnetID string) (Interface, error) {
	var made Interface
	err := s.tx(ctx, func(tx *gorm.DB) error {
		r, err := lockRouter(tx, routerID)
		if err != nil {
			return err
		}
		var sub Subnet
		if err := tx.Where("id = ?", subnetID).Take(&sub).Error; isAbsent(err) {
			return noSubnet(subnetID)
		} else if err != nil {
			return err
		}
		network, err := lockNetwork(tx, sub.NetworkID)
		if err != nil {
			return err
		}
		if err := tx.Clauses(clause.Locking{Strength: "KEY SHARE"}).Where("id = ?", subnetID).Take(&sub).Error; isAbsent(err) { // as it is now
			return noSubnet(subnetID)
		} else if err != nil {
			return err
		}
		if sub.GatewayIP == nil {
			return badRouter("Subnet for router interface must have a gateway IP")
		}
		if err := routes(network, sub); err != nil {
			return err
		}
		if err := apart(tx, r.ID, []Subnet{sub}, false); err != nil {
			return err
		}
		cidr, ip := netip.MustParsePrefix(sub.CIDR), netip.MustParseAddr(*sub.GatewayIP)
		if !ipam.Usable(cidr, ip) {
			return ipam.Refuse("InvalidIpForSubnet", fault.Invalid, "IP address %s is not a valid IP for the specified subnet.", ip)
		}
		wanted := []FixedIP{{SubnetID: sub.ID, IP: ip.String()}}
		made = Interface{NetworkID: network.ID, SubnetIDs: []string{sub.ID}}
		if cidr.Addr().Is6() {
			var there Port
			err := tx.Where(`router_id = ? AND network_id = ? AND device_owner = ? AND EXISTS (
				SELECT FROM fixed_ips f WHERE f.port_id = ports.id AND family(f.ip) = 6)`, r.ID, network.ID, InterfaceOwner).Limit(1).Find(&there).Error
			if err != nil {
				return err
			}
			if made.PortID = there.ID; there.ID != "" {
				_, err := take(tx, there, wanted)
				return err
			}
		}
		p := Port{NetworkID: network.ID, ProjectID: r.ProjectID, DeviceID: r.ID, DeviceOwner: InterfaceOwner, RouterID: &r.ID}
		err = addPort(tx, &p, wanted)
		made.PortID = p.ID
		return err
	})
	return made, failed(err, "add subnet %s to router %s", subnetID, routerID)
}

// routes refuses subnets that no router of users' is for.
func routes(n Network, sub Subnet) error {
	switch {
	case n.External():
		return badRouter("Subnet %s is of an external network: a router has that as its gateway", sub.ID)
	case sub.IPv6RAMode == nil && sub.IPv6AddressMode != nil:
		return badRouter("IPv6 subnet %s configured to receive RAs from an external router cannot be added to Neutron Router", sub.ID)
	}
	return nil
}

// AddRouterPort gives a router a port that nothing has.
func (s *Store) AddRouterPort(ctx context.Context, routerID, portID string) (Interface, error) {
	var made Interface
	err := s.tx(ctx, func(tx *gorm.DB) error {
		r, err := lockRouter(tx, routerID)
		if err != nil {
			return err
		}
		one := make([]Port, 1)
		err = tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("id = ?", portID).Take(&one[0]).Error
		if isAbsent(err) {
			return noPort(portID)
		}
		if err != nil {
			return err
		}
		if err := completePorts(tx, one); err != nil {
			return err
		}
		p := one[0]
		if p.Device() != "" {
			return PortInUse(p)
		}
		made = Interface{PortID: p.ID, NetworkID: p.NetworkID}
		var fresh []Subnet
		for _, sub := range p.Network.Subnets {
			if slices.ContainsFunc(p.FixedIPs, func(ip FixedIP) bool { return ip.SubnetID == sub.ID }) {
				if err := routes(*p.Network, sub); err != nil {
					return err
				}
				fresh, made.SubnetIDs = append(fresh, sub), append(made.SubnetIDs, sub.ID)
			}
		}
		v4 := 0
		for _, ip := range p.FixedIPs {
			if netip.MustParseAddr(ip.IP).Is4() {
				v4++
			}
		}
		switch {
		case len(fresh) == 0:
			return badRouter("Router port must have at least one fixed IP")
		case v4 > 1:
			return badRouter("Cannot have multiple IPv4 subnets on router port")
		}
		if err := apart(tx, r.ID, fresh, false); err != nil {
			return err
		}
		// What a router passes on was filtered where it came in.
		if err := tx.Exec(`DELETE FROM port_security_groups WHERE port_id = ?`, p.ID).Error; err != nil {
			return err
		}
		return tx.Model(&Port{ID: p.ID}).Updates(map[string]any{
			"router_id": r.ID, "device_id": r.ID, "device_owner": InterfaceOwner, "port_security": false, "grouped": false, "updated_at": now(),
		}).Error
	})
	return made, failed(err, "add port %s to router %s", portID, routerID)
}

// RemoveRouterInterface takes a router off a subnet, or off all of a port's; of portID and subnetID one may be "". The port goes, unless others of its
// subnets stay.
func (s *Store) RemoveRouterInterface(ctx context.Context, routerID, portID, subnetID string) (Interface, error) {
	var gone Interface
	err := s.tx(ctx, func(tx *gorm.DB) error {
		r, err := lockRouter(tx, routerID)
		if err != nil {
			return err
		}
		one := make([]Port, 1)
		q := tx.Where("router_id = ? AND device_owner = ?", r.ID, InterfaceOwner)
		absent := ipam.Refuse("RouterInterfaceNotFound", fault.NotFound, "Router %s does not have an interface with id %s", r.ID, portID)
		if portID != "" {
			q = q.Where("id = ?", portID)
		} else {
			q = q.Where("EXISTS (SELECT FROM fixed_ips f WHERE f.port_id = ports.id AND f.subnet_id = ?)", subnetID)
			absent = ipam.Refuse("RouterInterfaceNotFoundForSubnet", fault.NotFound, "Router %s has no interface on subnet %s", r.ID, subnetID)
		}
		if err := q.Take(&one[0]).Error; isAbsent(err) {
			return absent
		} else if err != nil {
			return err
		}
		if _, err := lockNetwork(tx, one[0].NetworkID); err != nil {
			return err
		}
		if err := completePorts(tx, one); err != nil {
			return err
		}
		p := one[0]
		gone = Interface{PortID: p.ID, NetworkID: p.NetworkID}
		if subnetID != "" && !slices.ContainsFunc(p.FixedIPs, func(ip FixedIP) bool { return ip.SubnetID == subnetID }) {
			return ipam.Refuse("SubnetMismatchForPort", fault.Invalid, "Subnet on port %s does not match the requested subnet %s.", p.ID, subnetID)
		}
		for _, sub := range p.Network.Subnets {
			has := slices.ContainsFunc(p.FixedIPs, func(ip FixedIP) bool { return ip.SubnetID == sub.ID })
			if !has || subnetID != "" && portID == "" && sub.ID != subnetID {
				continue
			}
			if err := unused(tx, r, sub); err != nil {
				return err
			}
			gone.SubnetIDs = append(gone.SubnetIDs, sub.ID)
		}
		stays := slices.ContainsFunc(p.FixedIPs, func(ip FixedIP) bool { return !slices.Contains(gone.SubnetIDs, ip.SubnetID) })
		if stays {
			return tx.Where("port_id = ? AND subnet_id = ?", p.ID, subnetID).Delete(&FixedIP{}).Error
		}
		return tx.Where("id = ?", p.ID).Delete(&Port{}).Error
	})
	return gone, failed(err, "remove an interface of router %s", routerID)
}

// unused refuses to take a router off a subnet by which floating IPs or routes go.
func unused(tx *gorm.DB, r Router, sub Subnet) error {
	var floating int64
	if err := tx.Model(&FloatingIP{}).Where("router_id = ? AND subnet_id = ?", r.ID, sub.ID).Count(&floating).Error; err != nil {
		return err
	}
	if floating > 0 {
		return ipam.Refuse("RouterInterfaceInUseByFloatingIP", fault.Conflict,
			"Router interface for subnet %s on router %s cannot be deleted, as it is required by one or more floating IPs.", sub.ID, r.ID)
	}
	cidr := netip.MustParsePrefix(sub.CIDR)
	if slices.ContainsFunc(r.Routes, func(route ipam.Route) bool { return cidr.Contains(netip.MustParseAddr(route.NextHop)) }) {
		return ipam.Refuse("RouterInterfaceInUseByRoute", fault.Conflict,
			"Router interface for subnet %s on router %s cannot be deleted, as it is required by one or more routes.", sub.ID, r.ID)
	}
	return nil
}
