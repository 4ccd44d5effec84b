package models

import (
	"net/netip"

	"github.com/jackc/pgx/v5"

	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/internal/sdn"
)

// leadsOut says of host h whether it is there and has a bridge to the physical network of n.
const leadsOut = `(h.machine -> 'outside' -> 'networks' @> to_jsonb(n.physical_network) AND NOT EXISTS (SELECT FROM forgotten_hosts o WHERE o.host_id = h.id))`

// gatewayHosts are those that could be the gateway of n: where some are set apart for that, these alone (Neutron's enable-chassis-as-gw).
const gatewayHosts = `ARRAY(SELECT c.hostname FROM (
    SELECT h.hostname, COALESCE((h.machine -> 'outside' ->> 'gateway')::boolean, false) AS gateway,
        bool_or(COALESCE((h.machine -> 'outside' ->> 'gateway')::boolean, false)) OVER () AS apart
    FROM hosts h WHERE ` + leadsOut + `) c WHERE c.gateway OR NOT c.apart ORDER BY c.hostname)`

// routerPortColumns are what a router's port p on network n has beside others, whose addresses are a.
const routerPortColumns = `p.router_id, p.device_owner = '` + GatewayOwner + `', a.lengths,
    CASE WHEN p.router_id IS NOT NULL AND p.device_owner = '` + GatewayOwner + `' THEN ` + gatewayHosts + ` ELSE '{}' END,
    n.mtu, t.ipv6_ra_mode, t.dns`

// routerPortTells is the subnet of IPv6 by which a router's port p tells its network.
const routerPortTells = `LATERAL (
    SELECT s.ipv6_ra_mode, s.dns_servers ->> 0 AS dns FROM (SELECT) nothing LEFT JOIN (
        fixed_ips f JOIN subnets s ON s.id = f.subnet_id AND s.ipv6_ra_mode IS NOT NULL AND s.enable_dhcp)
    ON f.port_id = p.id AND p.router_id IS NOT NULL AND p.device_owner = '` + InterfaceOwner + `' ORDER BY s.created_at, s.id LIMIT 1) t`

// routedPort is those columns.
type routedPort struct {
	router        *string
	external      bool
	lengths       []int
	gateways      []string
	mtu           int
	announce, dns *string
}

func (r *routedPort) into() []any {
	return []any{&r.router, &r.external, &r.lengths, &r.gateways, &r.mtu, &r.announce, &r.dns}
}

// of is what the router has of a port; nil where none has it.
func (r *routedPort) of(p sdn.Port) (*sdn.RouterPort, error) {
	if r.router == nil {
		return nil, nil //nolint:nilnil // what it is
	}
	routed := &sdn.RouterPort{RouterID: *r.router, External: r.external}
	for i, a := range p.Addresses {
		routed.Networks = append(routed.Networks, netip.PrefixFrom(a.IP, r.lengths[i]))
	}
	if len(r.gateways) > 0 {
		routed.Gateways = r.gateways
	}
	if r.announce == nil {
		return routed, nil
	}
	routed.Tells = &sdn.Announcement{Addresses: *r.announce, MTU: r.mtu}
	var err error
	if r.dns != nil {
		routed.Tells.DNS, err = netip.ParseAddr(*r.dns)
	}
	return routed, err
}

// queueRouters reads routers: their ways out are the gateways of the subnets that they have outside, and what is translated is IPv4.
func queueRouters(b *pgx.Batch, which, id string, found func(sdn.Desired)) {
	queueFound(b, `
SELECT r.id, NOT r.admin_state_up, r.routes,
    ARRAY(SELECT DISTINCT ON (family(s.gateway_ip)) host(s.gateway_ip) FROM ports g JOIN fixed_ips f ON f.port_id = g.id JOIN subnets s ON s.id = f.subnet_id
          WHERE g.router_id = r.id AND g.device_owner = '`+GatewayOwner+`' AND s.gateway_ip IS NOT NULL ORDER BY family(s.gateway_ip), s.created_at, s.id),
    (SELECT host(f.ip) FROM ports g JOIN fixed_ips f ON f.port_id = g.id
     WHERE r.enable_snat AND g.router_id = r.id AND g.device_owner = '`+GatewayOwner+`' AND family(f.ip) = 4 ORDER BY f.ip LIMIT 1),
    ARRAY(SELECT DISTINCT s.cidr::text FROM ports i JOIN fixed_ips f ON f.port_id = i.id JOIN subnets s ON s.id = f.subnet_id
          WHERE i.router_id = r.id AND i.device_owner = '`+InterfaceOwner+`' AND family(s.cidr) = 4 ORDER BY 1)
FROM routers r WHERE `+which+` ORDER BY r.id`, id, desiredRouter, found)
}

func desiredRouter(row pgx.CollectableRow) (sdn.Desired, error) {
	var (
		r          sdn.Router
		routes     []ipam.Route
		out, inner []string
		source     *string
	)
	err := row.Scan(&r.ID, &r.Down, &routes, &out, &source, &inner)
	for _, route := range routes {
		var one sdn.Route
		if err == nil {
			one.To, err = netip.ParsePrefix(route.Destination)
		}
		if err == nil {
			one.Through, err = netip.ParseAddr(route.NextHop)
		}
		r.Routes = append(r.Routes, one)
	}
	for _, text := range out {
		if err == nil {
			one := sdn.Route{To: netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
			if one.Through, err = netip.ParseAddr(text); one.Through.Is6() {
				one.To = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
			}
			r.Routes = append(r.Routes, one)
		}
	}
	for _, text := range inner {
		if err == nil && source != nil {
			var one sdn.Source
			if one.From, err = netip.ParsePrefix(text); err == nil {
				one.To, err = netip.ParseAddr(*source)
			}
			r.Sources = append(r.Sources, one)
		}
	}
	return sdn.Desired{Ref: sdn.Ref{Kind: sdn.KindRouter, ID: r.ID}, Router: &r}, err
}

// queueFloatingIPs reads floating IPs that stand for something.
func queueFloatingIPs(b *pgx.Batch, which, id string, found func(sdn.Desired)) {
	queueFound(b, `
SELECT f.id, f.router_id, host(f.ip), host(f.fixed_ip), f.port_id, own.mac, EXISTS (SELECT FROM hosts h WHERE h.id = p.host_id AND `+leadsOut+`)
FROM floating_ips f JOIN networks n ON n.id = f.network_id JOIN ports own ON own.floating_ip_id = f.id JOIN ports p ON p.id = f.port_id
WHERE f.router_id IS NOT NULL AND `+which+` ORDER BY f.id`, id, desiredFloatingIP, found)
}

func desiredFloatingIP(row pgx.CollectableRow) (sdn.Desired, error) {
	var (
		f               sdn.FloatingIP
		outside, inside string
		there           bool
	)
	err := row.Scan(&f.ID, &f.RouterID, &outside, &inside, &f.PortID, &f.MAC, &there)
	if !there {
		f.PortID, f.MAC = "", ""
	}
	if err == nil {
		f.Outside, err = netip.ParseAddr(outside)
	}
	if err == nil {
		f.Inside, err = netip.ParseAddr(inside)
	}
	return sdn.Desired{Ref: sdn.Ref{Kind: sdn.KindFloatingIP, ID: f.ID}, FloatingIP: &f}, err
}
