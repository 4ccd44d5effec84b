package models

import (
	"net/netip"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/sdn"
)

// filter says what passes a port: without port security all. That the default group is there is not looked at: a port waits for it.
func filter(p *sdn.Port, projectID string, grouped bool, groups []string) {
	if p.Unguarded {
		return
	}
	p.Filtered = true
	if grouped {
		groups = append(groups, ids.SecurityGroup(projectID))
	}
	slices.Sort(groups)
	p.Groups = slices.Compact(groups)
}

func queueGroup(b *pgx.Batch, id string, found func(sdn.Desired)) {
	d := sdn.Desired{Ref: sdn.Ref{Kind: sdn.KindGroup, ID: id}}
	b.Queue(`SELECT NOT stateful FROM security_groups WHERE id = $1`, id).Query(func(rows pgx.Rows) error {
		all, err := pgx.CollectRows(rows, pgx.RowTo[bool])
		if len(all) == 1 {
			d.Group = &sdn.Group{ID: id, Stateless: all[0]}
		}
		return err
	})
	b.Queue(`SELECT id, direction = 'egress', ethertype = 'IPv6', protocol, port_range_min, port_range_max, remote_ip_prefix, COALESCE(remote_group_id, '')
FROM security_group_rules WHERE security_group_id = $1 ORDER BY id`, id).Query(func(rows pgx.Rows) error {
		all, err := pgx.CollectRows(rows, desiredRule)
		if err == nil && d.Group != nil {
			d.Group.Rules = all
			found(d)
		}
		return err
	})
}

func desiredRule(row pgx.CollectableRow) (sdn.Rule, error) {
	var (
		r        sdn.Rule
		protocol *string
		remote   *string
	)
	err := row.Scan(&r.ID, &r.Egress, &r.IPv6, &protocol, &r.First, &r.Last, &remote, &r.FromGroup)
	r.Protocol = SecurityGroupRule{Protocol: protocol}.ProtocolNumber()
	if err == nil && remote != nil {
		r.From, err = netip.ParsePrefix(*remote)
	}
	return r, err
}
