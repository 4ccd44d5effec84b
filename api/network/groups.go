package network

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/internal/service/networks"
	"github.com/slipway-cloud/slipway/models"
)

var allGroups = resource[models.SecurityGroup, models.SecurityGroup]{
	one: "security_group", many: "security_groups",
	attributes: groupTable(),
	id:         func(g models.SecurityGroup) string { return g.ID },
	draft:      networks.NewSecurityGroup,
	list: func(ctx context.Context, r *networks.Repository, q query) ([]models.SecurityGroup, error) {
		found, err := r.SecurityGroups(ctx, models.OwnedFilter{Match: q.match, Sort: q.sorts, Marker: q.marker, Limit: q.limit})
		if !r.Filters() {
			found = groupTable().sift(found, q)
		}
		return found, err
	},
	find: func(r *networks.Repository, ctx context.Context, id string) (models.SecurityGroup, error) {
		return r.SecurityGroup(ctx, id)
	},
	create: (*networks.Repository).CreateSecurityGroups,
	update: (*networks.Repository).UpdateSecurityGroup,
	remove: (*networks.Repository).DeleteSecurityGroup,
	tagged: func(g models.SecurityGroup) []string { return g.Tags },
	tags:   func(g *models.SecurityGroup) *[]string { return &g.Tags },
}

func groupTable() table[models.SecurityGroup, models.SecurityGroup] {
	type (
		g   = models.SecurityGroup
		row = attribute[g, g]
	)
	rules := ruleTable()
	rows := standard(
		func(o g) facts {
			return facts{o.ID, o.Name, o.Description, o.ProjectID, o.Tags, o.Revision, rest.Time(o.CreatedAt), rest.Time(o.UpdatedAt)}
		},
		func(d *g) told { return told{&d.Name, &d.Description, &d.ProjectID} },

		row{"stateful", post | put | filter | sorts, boolean, func(d *g, v any) { d.Stateful = v.(bool) }, func(o g) any { return o.Stateful }},
		row{"shared", filter, boolean, nil, func(g) any { return false }},
		row{"security_group_rules", 0, nil, nil, func(o g) any {
			all := make([]object, len(o.Rules))
			for i, r := range o.Rules {
				all[i] = rules.view(r, nil)
			}
			return all
		}},
	)
	for i := range rows {
		if show := rows[i].show; rows[i].name == "created_at" || rows[i].name == "updated_at" {
			rows[i].show = func(o g) any {
				if o.CreatedAt.IsZero() { // the group of a project where nothing is filtered
					return nil
				}
				return show(o)
			}
		}
	}
	return rows
}

var allRules = resource[models.SecurityGroupRule, models.SecurityGroupRule]{
	one: "security_group_rule", many: "security_group_rules",
	attributes: ruleTable(),
	id:         func(r models.SecurityGroupRule) string { return r.ID },
	draft:      networks.NewSecurityGroupRule,
	list: func(ctx context.Context, r *networks.Repository, q query) ([]models.SecurityGroupRule, error) {
		return r.SecurityGroupRules(ctx, models.OwnedFilter{Match: q.match, Sort: q.sorts, Marker: q.marker, Limit: q.limit})
	},
	find: func(r *networks.Repository, ctx context.Context, id string) (models.SecurityGroupRule, error) {
		return r.SecurityGroupRule(ctx, id)
	},
	create: (*networks.Repository).CreateSecurityGroupRules,
	remove: (*networks.Repository).DeleteSecurityGroupRule,
}

func ruleTable() table[models.SecurityGroupRule, models.SecurityGroupRule] {
	type (
		r   = models.SecurityGroupRule
		row = attribute[r, r]
	)
	rows := standard(
		func(o r) facts {
			return facts{o.ID, "", o.Description, o.ProjectID, nil, o.Revision, rest.Time(o.CreatedAt), rest.Time(o.UpdatedAt)}
		},
		func(d *r) told { return told{new(string), &d.Description, &d.ProjectID} },

		row{"security_group_id", post | required | filter | sorts, id, func(d *r, v any) { d.SecurityGroupID = v.(string) }, func(o r) any { return o.SecurityGroupID }},
		row{"direction", post | required | filter | sorts, oneOf(anyText, "['ingress', 'egress']", models.Ingress, models.Egress),
			func(d *r, v any) { d.Direction = v.(string) }, func(o r) any { return o.Direction }},
		row{"ethertype", post | filter | sorts, ethertype, func(d *r, v any) { d.Ethertype = v.(string) }, func(o r) any { return o.Ethertype }},
		row{"protocol", post | filter | sorts, filterOr(protocol), func(d *r, v any) { d.Protocol = v.(*string) }, func(o r) any { return o.Protocol }},
		row{"port_range_min", post | filter | sorts, portNumber, func(d *r, v any) { d.PortRangeMin = v.(*int) }, func(o r) any { return o.PortRangeMin }},
		row{"port_range_max", post | filter | sorts, portNumber, func(d *r, v any) { d.PortRangeMax = v.(*int) }, func(o r) any { return o.PortRangeMax }},
		row{"remote_ip_prefix", post | filter | sorts, ipPrefix, func(d *r, v any) { d.RemoteIPPrefix = v.(*string) }, func(o r) any { return o.RemoteIPPrefix }},
		row{"remote_group_id", post | filter | sorts, orNone(id), func(d *r, v any) { d.RemoteGroupID = v.(*string) }, func(o r) any { return o.RemoteGroupID }},
	)
	rows = slices.DeleteFunc(rows, func(a row) bool { return a.name == "name" || strings.Contains(a.name, "tags") })
	for i := range rows {
		rows[i].may &^= put // a rule stays as it was made
	}
	return rows
}

// ethertype is read whatever its case.
func ethertype(name string, v any) (any, error) {
	s, _ := texted(v)
	for _, known := range []string{models.IPv4, models.IPv6} {
		if strings.EqualFold(s, known) {
			return known, nil
		}
	}
	return nil, ipam.BadAttribute(name, "'%s' is not in ['IPv4', 'IPv6']", rest.Python(v))
}

// protocol is a *string: a name or a number, which the service knows.
func protocol(name string, v any) (any, error) {
	if number, is := v.(json.Number); is {
		v = number.String()
	}
	return orNone(text(40))(name, v)
}

// portNumber is an *int.
func portNumber(name string, v any) (any, error) {
	if v == nil {
		return (*int)(nil), nil
	}
	got, err := integer(name, v)
	n, _ := got.(int)
	if _, is := v.(bool); err != nil || is || n < 0 || n > 65535 {
		return nil, ipam.Refuse("SecurityGroupInvalidPortValue", fault.Invalid, "Invalid value for port %s", rest.Python(v))
	}
	return &n, nil
}

// ipPrefix is a *string: a range, of an address itself alone. Nothing said is everywhere.
func ipPrefix(_ string, v any) (any, error) {
	s, ok := texted(v)
	if v == nil || ok && s == "" {
		return (*string)(nil), nil
	}
	p, err := netip.ParsePrefix(s)
	if a, single := netip.ParseAddr(s); single == nil && a.Zone() == "" {
		p, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	if err != nil || p.Addr().Is4In6() {
		return nil, ipam.Refuse("InvalidCIDR", fault.Invalid, "Invalid CIDR %s given as IP prefix.", rest.Python(v))
	}
	return new(p.String()), nil
}

// sift leaves the objects that a query selects, by what is shown of them.
func (t table[T, D]) sift(all []T, q query) []T {
	return slices.DeleteFunc(all, func(o T) bool {
		row := t.view(o, nil)
		return slices.ContainsFunc(q.match, func(m models.Match) bool { return !slices.Contains(m.Values, fmt.Sprint(row[m.Key])) })
	})
}
