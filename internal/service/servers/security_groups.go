package servers

import (
	"context"
	"fmt"
	"slices"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/models"
)

// guard has the ports that a build makes made in these groups (nova/network/neutron.py allocate_for_instance). Ports that users made keep
// theirs, as in Nova.
func (s Servers) guard(ctx context.Context, names []string, nics []contract.NICRequest) error {
	var groups []string
	for _, name := range names {
		if name == "" {
			continue
		}
		g, err := s.networks.For(s.caller.Caller).NamedGroup(ctx, s.caller.ProjectID, name)
		if err != nil {
			return fault.Absent(err, fault.Invalid, "%s", fault.Public(err))
		}
		if !slices.Contains(groups, g.ID) {
			groups = append(groups, g.ID)
		}
	}
	if len(groups) == 0 || len(groups) == 1 && groups[0] == ids.SecurityGroup(s.caller.ProjectID) {
		return nil // as where nothing is said
	}
	for i := range nics {
		if nics[i].NetworkID == "" {
			continue
		}
		n, err := s.networks.For(s.caller.Caller).Network(ctx, nics[i].NetworkID)
		if err != nil {
			return fault.Absent(err, fault.Invalid, "Network %s could not be found.", nics[i].NetworkID)
		}
		if !n.PortSecurity {
			return notApplied()
		}
		nics[i].SecurityGroups = groups
	}
	return nil
}

// notApplied is Nova's SecurityGroupCannotBeApplied.
func notApplied() error {
	return invalid("Network requires port_security_enabled and subnet associated in order to apply security groups.")
}

// SecurityGroups are those that any port of a server is in, with their rules.
func (s Servers) SecurityGroups(ctx context.Context, v models.Server) ([]models.SecurityGroup, error) {
	all := []models.SecurityGroup{}
	for _, ref := range v.SecurityGroups() {
		g, err := s.networks.For(s.caller.Caller).SecurityGroup(ctx, ref.ID)
		switch {
		case fault.Is(err, fault.NotFound): // nothing is filtered here, and it is another project's than the caller's
			g = models.SecurityGroup{ID: ref.ID, Name: ref.Name, ProjectID: v.ProjectID, Stateful: true}
		case err != nil:
			return nil, fmt.Errorf("read the security groups of server %s: %w", v.ID, err)
		}
		all = append(all, g)
	}
	return all, nil
}

// AddSecurityGroup puts all ports of a server into a group, by name or id (nova/network/security_group_api.py add_to_instance).
func (s Servers) AddSecurityGroup(ctx context.Context, v models.Server, name string) error {
	g, err := s.groupOf(ctx, v, name)
	if err != nil {
		return err
	}
	return s.store.ChangeServerGroups(ctx, v.ID, func(p *models.Port) error {
		switch {
		case !p.PortSecurity || len(p.FixedIPs) == 0:
			return notApplied()
		case g.ID == ids.SecurityGroup(p.ProjectID):
			p.Grouped = true
		case p.In(g.ID):
		default:
			p.FurtherGroups = append(slices.Clone(p.FurtherGroups), g)
		}
		return nil
	})
}

// RemoveSecurityGroup takes all ports of a server out of a group, by name or id (remove_from_instance).
func (s Servers) RemoveSecurityGroup(ctx context.Context, v models.Server, name string) error {
	g, err := s.groupOf(ctx, v, name)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(v.Ports, func(p models.Port) bool { return p.In(g.ID) }) {
		return fault.New(fault.NotFound, "Security group %s not associated with the instance %s", name, v.ID)
	}
	return s.store.ChangeServerGroups(ctx, v.ID, func(p *models.Port) error {
		p.Grouped = p.Grouped && g.ID != ids.SecurityGroup(p.ProjectID)
		p.FurtherGroups = slices.DeleteFunc(slices.Clone(p.FurtherGroups), func(in models.GroupRef) bool { return in.ID == g.ID })
		return nil
	})
}

// groupOf finds a group for a server that has ports: one of its project's, whoever asks, since a port is in no other's.
func (s Servers) groupOf(ctx context.Context, v models.Server, name string) (models.GroupRef, error) {
	g, err := s.networks.For(s.caller.Caller).NamedGroup(ctx, v.ProjectID, name)
	if err == nil && len(v.Ports) == 0 {
		err = fault.New(fault.NotFound, "instance_id %s could not be found as device id on any ports", v.ID)
	}
	return g, err
}
