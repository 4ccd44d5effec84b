package network

import (
	"context"
	"strings"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/service/networks"
	"github.com/slipway-cloud/slipway/models"
)

var allPorts = resource[networks.Port, networks.NewPort]{
	one: "port", many: "ports",
	attributes: portTable(),
	id:         func(p networks.Port) string { return p.ID },
	draft: func() networks.NewPort {
		return networks.NewPort{Port: models.Port{AdminStateUp: true, Grouped: true}}
	},
	list: func(ctx context.Context, r *networks.Repository, q query) ([]networks.Port, error) {
		f := models.PortFilter{Sort: q.sorts, Marker: q.marker, Limit: q.limit}
		for _, m := range q.match {
			switch m.Key {
			case "fixed_ips": // "ip_address=10.0.0.4", "subnet_id=…"
				for _, v := range m.Values {
					switch key, value, _ := strings.Cut(v, "="); key {
					case "ip_address":
						f.IPs = append(f.IPs, value)
					case "subnet_id":
						f.SubnetIDs = append(f.SubnetIDs, value)
					default:
						return nil, badRequest("Invalid input for fixed_ips. Reason: '%s' is not a filter of fixed_ips.", v)
					}
				}
			default:
				f.Match = append(f.Match, m)
			}
		}
		return r.Ports(ctx, f)
	},
	find:   (*networks.Repository).Port,
	create: (*networks.Repository).CreatePorts,
	update: (*networks.Repository).UpdatePort,
	remove: (*networks.Repository).DeletePort,
	tagged: func(p networks.Port) []string { return p.Tags },
	tags:   func(d *networks.NewPort) *[]string { return &d.Tags },
}

func portTable() table[networks.Port, networks.NewPort] {
	type (
		p   = networks.Port
		d   = networks.NewPort
		row = attribute[p, d]
	)
	rows := standard(
		func(o p) facts {
			return facts{o.ID, o.Name, o.Description, o.ProjectID, o.Tags, o.Revision, rest.Time(o.CreatedAt), rest.Time(o.UpdatedAt)}
		},
		func(n *d) told { return told{&n.Name, &n.Description, &n.ProjectID} },

		row{"network_id", post | required | filter | sorts, id, func(n *d, v any) { n.NetworkID = v.(string) }, func(o p) any { return o.NetworkID }},
		row{"admin_state_up", post | put | filter | sorts, boolean, func(n *d, v any) { n.AdminStateUp = v.(bool) }, func(o p) any { return o.AdminStateUp }},
		row{"status", filter | sorts, anyText, nil, func(o p) any { return o.Status() }},
		row{"mac_address", post | put | filter | sorts, macAddress, func(n *d, v any) { n.MAC = v.(string) }, func(o p) any { return o.MAC }},
		row{"fixed_ips", post | put | filter, filterOr(fixedIPs), func(n *d, v any) { n.Addresses = v.([]networks.NewFixedIP) }, func(o p) any {
			return shownAddresses(o.FixedIPs)
		}},
		row{"device_id", post | put | filter | sorts, text(255), func(n *d, v any) { n.DeviceID = v.(string) }, func(o p) any { return o.Device() }},
		row{"device_owner", post | put | filter | sorts, text(255), func(n *d, v any) { n.DeviceOwner = v.(string) }, func(o p) any {
			if o.ServerID != nil {
				return models.ComputeOwner
			}
			return o.DeviceOwner
		}},
		row{"security_groups", post | put | filter, filterOr(groupIDs), func(n *d, v any) { n.Groups = new(v.([]string)) }, func(o p) any {
			ids := []string{}
			for _, g := range o.SecurityGroups() {
				ids = append(ids, g.ID)
			}
			return ids
		}},
		row{"port_security_enabled", post | put | filter, boolean, func(n *d, v any) { n.Secure = new(v.(bool)) }, func(o p) any { return o.PortSecurity }},
		row{"allowed_address_pairs", post | put, addressPairs, func(n *d, v any) { n.AddressPairs = v.([]models.AddressPair) },
			func(o p) any { return append([]models.AddressPair{}, o.AddressPairs...) }},
		row{"extra_dhcp_opts", post | put, dhcpOptions, func(n *d, v any) { n.DHCPOptions = v.([]models.DHCPOption) },
			func(o p) any { return append([]models.DHCPOption{}, o.DHCPOptions...) }},
		row{"ip_allocation", filter, anyText, nil, func(o p) any { return o.IPAllocation }},
		row{"binding:vnic_type", post | put | filter, filterOr(oneOf(anyText, "['normal']", "normal")), nil, func(p) any { return "normal" }},
		row{"binding:profile", post | put, nothing, nil, forAdmins(func(p) any { return object{} })},
		row{"binding:host_id", post | put | filter, filterOr(nothing), nil, forAdmins(func(o p) any { return *o.Host })},
		row{"binding:vif_details", 0, nil, nil, forAdmins(func(p) any { return object{} })},
		row{"binding:vif_type", 0, nil, nil, forAdmins(func(o p) any {
			if o.HostID == nil {
				return "unbound"
			}
			return o.VIFType
		})},
	)
	for i := range rows {
		if rows[i].name == "tags" { // which of a network and a subnet are said afterwards
			rows[i].may |= post
			rows[i].read, rows[i].set = filterOr(tags), func(n *d, v any) { n.Tags = v.([]string) }
		}
	}
	return rows
}

// forAdmins hides where a port is bound from all others, whom the service does not tell the host.
func forAdmins(show func(networks.Port) any) func(networks.Port) any {
	return func(p networks.Port) any {
		if p.Host == nil {
			return hidden{}
		}
		return show(p)
	}
}
