package networks

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/models"
)

// Filters says whether rules are enforced. Without an engine that does each project has its default group all the same, as clients expect, with
// no rule: everything passes.
func (r *Repository) Filters() bool { return r.config.Engine == OVN }

// mustFilter refuses what nothing would enforce.
func (r *Repository) mustFilter() error {
	if !r.Filters() {
		return ipam.BadInput("nothing enforces security groups while network.engine is %s", cmp.Or(r.config.Engine, Bridge))
	}
	return nil
}

// unfiltered is the project's group where nothing is filtered.
func (r *Repository) unfiltered() models.SecurityGroup {
	return models.SecurityGroup{
		ID: ids.SecurityGroup(r.caller.ProjectID), ProjectID: r.caller.ProjectID, Name: models.DefaultGroup, IsDefault: true, Stateful: true, Revision: 1,
		Description: "Default security group: all traffic passes", Tags: []string{}, Rules: []models.SecurityGroupRule{},
	}
}

// SecurityGroups lists the project's, for an admin all; the project's default is made with it. Without an engine that filters it is alone, and
// the filter does not count.
func (r *Repository) SecurityGroups(ctx context.Context, f models.OwnedFilter) ([]models.SecurityGroup, error) {
	if r.caller.ProjectID == "" && !r.caller.Admin() {
		return nil, nil
	}
	if !r.Filters() {
		return []models.SecurityGroup{r.unfiltered()}, nil
	}
	if err := r.ensureDefault(ctx); err != nil {
		return nil, err
	}
	if !r.caller.Admin() {
		f.ProjectID = r.caller.ProjectID
	}
	found, err := r.store.ListSecurityGroups(ctx, f)
	return found, markerOf(err, f.Marker)
}

// ensureDefault makes the default group of the caller's project, where it is not there yet.
func (r *Repository) ensureDefault(ctx context.Context) error {
	if r.caller.ProjectID == "" {
		return nil
	}
	return r.store.EnsureDefaultGroup(ctx, r.caller.ProjectID)
}

// SecurityGroup is one of those.
func (r *Repository) SecurityGroup(ctx context.Context, id string) (models.SecurityGroup, error) {
	if !r.Filters() {
		if g := r.unfiltered(); g.ID == id {
			return g, nil
		}
		return models.SecurityGroup{}, models.NoSecurityGroup(id)
	}
	if id == ids.SecurityGroup(r.caller.ProjectID) {
		if err := r.ensureDefault(ctx); err != nil {
			return models.SecurityGroup{}, err
		}
	}
	g, err := r.store.SecurityGroup(ctx, id)
	if err == nil && !r.caller.Owns(g.ProjectID) {
		return models.SecurityGroup{}, models.NoSecurityGroup(id)
	}
	return g, err
}

// NamedGroup is the group of a project that the caller may look into with that name, or else that id, as python-neutronclient finds it for Nova.
func (r *Repository) NamedGroup(ctx context.Context, projectID, name string) (models.GroupRef, error) {
	if name == models.DefaultGroup {
		return models.GroupRef{ID: ids.SecurityGroup(projectID), Name: name}, nil
	}
	if r.Filters() {
		for _, key := range []string{"id", "name"} {
			found, err := r.store.ListSecurityGroups(ctx, models.OwnedFilter{
				ProjectID: projectID, Match: []models.Match{{Key: key, Values: []string{name}}}, Limit: 2,
			})
			switch {
			case err != nil:
				return models.GroupRef{}, err
			case len(found) > 1:
				return models.GroupRef{}, fault.New(fault.Conflict, "Multiple security_group matches found for name '%s', use an ID to be more specific.", name)
			case len(found) == 1:
				return models.GroupRef{ID: found[0].ID, Name: found[0].Name}, nil
			}
		}
	}
	if name == ids.SecurityGroup(projectID) {
		return models.GroupRef{ID: name, Name: models.DefaultGroup}, nil
	}
	return models.GroupRef{}, fault.New(fault.NotFound, "Unable to find security_group with name or id '%s'", name)
}

// NewSecurityGroup is what a group is of which nothing is said.
func NewSecurityGroup() models.SecurityGroup { return models.SecurityGroup{Stateful: true} }

// CreateSecurityGroups makes groups of drafts (NewSecurityGroup), all or none, in a project each ("" is the caller's).
func (r *Repository) CreateSecurityGroups(ctx context.Context, drafts ...models.SecurityGroup) ([]models.SecurityGroup, error) {
	if err := cmp.Or(r.May("create_security_group"), r.mustFilter()); err != nil {
		return nil, err
	}
	for i := range drafts {
		if err := nameOfGroup(drafts[i].Name); err != nil {
			return nil, err
		}
		var err error
		if drafts[i].ProjectID, err = r.ownerOf(drafts[i].ProjectID, "create_security_group:tenant_id"); err != nil {
			return nil, err
		}
	}
	if err := r.ensureDefault(ctx); err != nil {
		return nil, err
	}
	made, err := r.store.CreateSecurityGroups(ctx, drafts, r.config.Quota)
	if err != nil {
		return nil, fmt.Errorf("create %d security groups: %w", len(drafts), err)
	}
	return made, nil
}

// nameOfGroup keeps the default's for that one.
func nameOfGroup(name string) error {
	if strings.EqualFold(name, models.DefaultGroup) {
		return ipam.Refuse("SecurityGroupDefaultAlreadyExists", fault.Conflict, "Default security group already exists.")
	}
	return nil
}

// UpdateSecurityGroup changes a group of the caller's.
func (r *Repository) UpdateSecurityGroup(ctx context.Context, id string, change func(*models.SecurityGroup)) (models.SecurityGroup, error) {
	if err := cmp.Or(r.May("update_security_group"), r.mustFilter()); err != nil {
		return models.SecurityGroup{}, err
	}
	if _, err := r.SecurityGroup(ctx, id); err != nil {
		return models.SecurityGroup{}, err
	}
	return r.store.UpdateSecurityGroup(ctx, id, func(g *models.SecurityGroup) error {
		before := g.Name
		change(g)
		switch {
		case g.Name == before:
			return nil
		case g.IsDefault:
			return ipam.Refuse("SecurityGroupCannotUpdateDefault", fault.Conflict, "Updating default security group not allowed.")
		}
		return nameOfGroup(g.Name)
	})
}

// DeleteSecurityGroup removes a group of the caller's that no port is in.
func (r *Repository) DeleteSecurityGroup(ctx context.Context, id string) error {
	if err := cmp.Or(r.May("delete_security_group"), r.mustFilter()); err != nil {
		return err
	}
	if _, err := r.SecurityGroup(ctx, id); err != nil {
		return err
	}
	return r.store.DeleteSecurityGroup(ctx, id)
}

// SecurityGroupRules lists the project's, for an admin all.
func (r *Repository) SecurityGroupRules(ctx context.Context, f models.OwnedFilter) ([]models.SecurityGroupRule, error) {
	if !r.Filters() || r.caller.ProjectID == "" && !r.caller.Admin() {
		return nil, nil
	}
	if err := r.ensureDefault(ctx); err != nil {
		return nil, err
	}
	if !r.caller.Admin() {
		f.ProjectID = r.caller.ProjectID
	}
	found, err := r.store.ListSecurityGroupRules(ctx, f)
	return found, markerOf(err, f.Marker)
}

// SecurityGroupRule is one of those.
func (r *Repository) SecurityGroupRule(ctx context.Context, id string) (models.SecurityGroupRule, error) {
	if !r.Filters() {
		return models.SecurityGroupRule{}, models.NoSecurityGroupRule(id)
	}
	rule, err := r.store.SecurityGroupRule(ctx, id)
	if err == nil && !r.caller.Owns(rule.ProjectID) {
		return models.SecurityGroupRule{}, models.NoSecurityGroupRule(id)
	}
	return rule, err
}

// NewSecurityGroupRule is what a rule is of which nothing is said.
func NewSecurityGroupRule() models.SecurityGroupRule {
	return models.SecurityGroupRule{Ethertype: models.IPv4}
}

// CreateSecurityGroupRules adds rules of drafts (NewSecurityGroupRule) to one group of the caller's, all or none.
func (r *Repository) CreateSecurityGroupRules(ctx context.Context, drafts ...models.SecurityGroupRule) ([]models.SecurityGroupRule, error) {
	if err := cmp.Or(r.May("create_security_group_rule"), r.mustFilter()); err != nil {
		return nil, err
	}
	for i := range drafts {
		rule := &drafts[i]
		if rule.SecurityGroupID != drafts[0].SecurityGroupID {
			return nil, ipam.Refuse("SecurityGroupNotSingleGroupRules", fault.Invalid, "Only allowed to update rules for one security profile at a time")
		}
		if err := checkRule(rule); err != nil {
			return nil, err
		}
		// Neutron looks for both groups in the project that the rule is to be of.
		g, err := r.SecurityGroup(ctx, rule.SecurityGroupID)
		if err == nil && rule.ProjectID != "" && rule.ProjectID != g.ProjectID {
			err = models.NoSecurityGroup(rule.SecurityGroupID)
		}
		if err != nil {
			return nil, err
		}
		rule.ProjectID = g.ProjectID
		if rule.RemoteGroupID != nil {
			remote, err := r.SecurityGroup(ctx, *rule.RemoteGroupID)
			if err == nil && remote.ProjectID != g.ProjectID {
				err = models.NoSecurityGroup(*rule.RemoteGroupID)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	made, err := r.store.CreateSecurityGroupRules(ctx, drafts, r.config.Quota)
	if err != nil {
		return nil, fmt.Errorf("create %d security group rules: %w", len(drafts), err)
	}
	return made, nil
}

// DeleteSecurityGroupRule removes a rule of the caller's.
func (r *Repository) DeleteSecurityGroupRule(ctx context.Context, id string) error {
	if err := cmp.Or(r.May("delete_security_group_rule"), r.mustFilter()); err != nil {
		return err
	}
	if _, err := r.SecurityGroupRule(ctx, id); err != nil {
		return err
	}
	return r.store.DeleteSecurityGroupRule(ctx, id)
}

// Numbers of protocols that rules say more of.
const (
	icmpNumber, tcpNumber, udpNumber, icmpv6Number, sctpNumber = 1, 6, 17, 58, 132
)

// onlyIPv6 are the protocols that IPv4 does not have.
var onlyIPv6 = []int{41, 43, 44, 58, 59, 60}

// checkRule brings a rule into its usual form and refuses what is none (neutron/db/securitygroups_db.py _validate_security_group_rule).
func checkRule(r *models.SecurityGroupRule) error {
	if r.Protocol != nil {
		if err := checkProtocol(r); err != nil {
			return err
		}
	}
	if err := checkPorts(*r); err != nil {
		return err
	}
	if p := r.RemoteIPPrefix; p != nil {
		prefix, err := netip.ParsePrefix(*p)
		if err != nil {
			return err
		}
		if version := map[bool]string{false: models.IPv4, true: models.IPv6}[prefix.Addr().Is6()]; version != r.Ethertype {
			return ipam.Refuse("SecurityGroupRuleParameterConflict", fault.Invalid, "Conflicting value ethertype %s for CIDR %s", r.Ethertype, *p)
		}
	}
	if r.RemoteIPPrefix != nil && r.RemoteGroupID != nil {
		return ipam.Refuse("SecurityGroupRemoteGroupAndRemoteIpPrefix", fault.Invalid, "Only remote_ip_prefix or remote_group_id may be provided.")
	}
	return nil
}

func checkProtocol(r *models.SecurityGroupRule) error {
	said := strings.ToLower(*r.Protocol)
	n, err := strconv.Atoi(said)
	if _, named := ipam.Protocols[said]; !named && (err != nil || n < 0 || n > 255) {
		return ipam.Refuse("SecurityGroupRuleInvalidProtocol", fault.Invalid,
			"Security group rule protocol %s not supported. Only protocol values %s and integer representations [0 to 255] are supported.",
			*r.Protocol, "['"+strings.Join(slices.Sorted(maps.Keys(ipam.Protocols)), "', '")+"']")
	}
	if r.Ethertype == models.IPv6 { // what is said of IPv4 is meant of IPv6
		switch said {
		case "icmp", "icmpv6":
			said = "ipv6-icmp"
		case "1":
			said = "58"
		}
	}
	r.Protocol = &said
	if r.Ethertype == models.IPv4 && slices.Contains(onlyIPv6, *r.ProtocolNumber()) {
		return ipam.Refuse("SecurityGroupEthertypeConflictWithProtocol", fault.Invalid, "Invalid ethertype %s for protocol %s.", r.Ethertype, said)
	}
	return nil
}

// checkPorts holds that a range is one of something that has ports, or types.
func checkPorts(r models.SecurityGroupRule) error {
	first, last := r.PortRangeMin, r.PortRangeMax
	if first == nil && last == nil {
		return nil
	}
	number := r.ProtocolNumber()
	if number == nil {
		return ipam.Refuse("SecurityGroupProtocolRequiredWithPorts", fault.Invalid, "Must also specify protocol if port range is given.")
	}
	switch *number {
	case tcpNumber, udpNumber, sctpNumber:
		switch {
		case first != nil && *first == 0, last != nil && *last == 0:
			return ipam.Refuse("SecurityGroupInvalidPortValue", fault.Invalid, "Invalid value for port 0")
		case first == nil || last == nil || *first > *last:
			return ipam.Refuse("SecurityGroupInvalidPortRange", fault.Invalid, "For TCP/UDP protocols, port_range_min must be <= port_range_max")
		}
	case icmpNumber, icmpv6Number:
		for _, f := range []struct {
			field, attribute string
			value            *int
		}{{"type", "port_range_min", first}, {"code", "port_range_max", last}} {
			if f.value != nil && *f.value > 255 {
				return ipam.Refuse("SecurityGroupInvalidIcmpValue", fault.Invalid, "Invalid value for ICMP %s (%s) %d. It must be 0 to 255.", f.field, f.attribute, *f.value)
			}
		}
		if first == nil {
			return ipam.Refuse("SecurityGroupMissingIcmpType", fault.Invalid, "ICMP code (port-range-max) %d is provided but ICMP type (port-range-min) is missing.", *last)
		}
	default: // Neutron lets DCCP and UDP-Lite through, of which the engine knows no ports
		return ipam.Refuse("SecurityGroupInvalidProtocolForPort", fault.Invalid, "Invalid protocol %s for port range, only supported for TCP, UDP, SCTP.", *r.Protocol)
	}
	return nil
}

// groupsOf finds the groups that a port of a project is to be in. had are those that it is in: they need no look.
func (r *Repository) groupsOf(ctx context.Context, projectID string, had []models.GroupRef, all []string) (grouped bool, further []models.GroupRef, err error) {
	further = []models.GroupRef{}
	for _, id := range all {
		if id == ids.SecurityGroup(projectID) {
			grouped = true
			continue
		}
		ref := models.GroupRef{ID: id}
		if i := slices.IndexFunc(had, func(g models.GroupRef) bool { return g.ID == id }); i >= 0 {
			ref = had[i]
		} else if !r.Filters() {
			return false, nil, models.NoSecurityGroup(id)
		} else if g, err := r.store.SecurityGroup(ctx, id); err != nil {
			return false, nil, err
		} else if g.ProjectID != projectID {
			return false, nil, models.NoSecurityGroup(id)
		} else {
			ref.Name = g.Name
		}
		if !slices.Contains(further, ref) {
			further = append(further, ref)
		}
	}
	return grouped, further, nil
}

// secured holds that only ports with port security are in groups (neutron/plugins/ml2/plugin.py). had says whether the port was in one, and said
// whether the caller has named some.
func secured(p *models.Port, had, said bool) error {
	in := p.Grouped || len(p.FurtherGroups) > 0
	switch {
	case p.PortSecurity || !in:
		return nil
	case said:
		return ipam.Refuse("PortSecurityAndIPRequiredForSecurityGroups", fault.Invalid,
			"Port security must be enabled and port must have an IP address in order to use security groups.")
	case had:
		return ipam.Refuse("PortSecurityPortHasSecurityGroup", fault.Conflict,
			"Port has security group associated. Cannot disable port security or IP address until security group is removed.")
	}
	p.Grouped = false // a new one, of which nothing was said
	return nil
}
