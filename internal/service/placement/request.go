package placement

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/scheduler"
	"github.com/slipway-cloud/slipway/models"
)

// Request is what the scheduler is asked for a server. Its hints are followed: what they name may be gone by now: a group that was deleted asks
// for nothing, and a server that was is nowhere. A server that is none yet would be in the group that its hints name.
func (h *Hosts) Request(ctx context.Context, in contract.SelectHostInput) (scheduler.Request, error) {
	r := scheduler.Request{
		Resources: in.Resources, AvailabilityZone: in.AvailabilityZone, Architecture: in.Architecture, UEFI: in.UEFI,
		Excluded: in.Excluded, Host: in.Host, ProjectID: in.ProjectID, ExtraSpecs: in.ExtraSpecs,
		Now: h.now(), DownAfter: h.settings.DownAfter, CleanFor: h.settings.CleanBeforeUse, MaxIOOps: h.settings.MaxIOOps, Multipliers: h.settings.Multipliers,
	}
	hints, err := scheduler.ReadHints(in.Hints)
	if err != nil {
		return r, err
	}
	r.Query, r.Near = hints.Query, hints.Near
	if hints.Group != "" {
		if r.Group, err = h.group(ctx, in.ServerID, hints.Group); err != nil {
			return r, err
		}
	}
	if hints.SameHost != nil {
		hosts, err := h.store.HostsOf(ctx, hints.SameHost)
		if err != nil {
			return r, err
		}
		r.With = &scheduler.Others{Hosts: hosts}
	}
	if hints.DifferentHost != nil {
		r.Apart, err = h.store.HostsOf(ctx, hints.DifferentHost)
	}
	return r, err
}

func (h *Hosts) group(ctx context.Context, serverID, hinted string) (*scheduler.Group, error) {
	var (
		group models.ServerGroup
		hosts []models.GroupHost
		err   error
	)
	if serverID == "" {
		group, hosts, err = h.store.GroupHosts(ctx, hinted)
	} else {
		group, hosts, err = h.store.GroupOf(ctx, serverID)
	}
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	g := &scheduler.Group{Policy: group.Policy, MaxPerHost: 1, Members: map[string]int{}}
	if group.MaxPerHost != nil {
		g.MaxPerHost = *group.MaxPerHost
	}
	for _, on := range hosts {
		g.Members[on.Hostname] = on.Servers
		if on.Placed {
			g.Homes = append(g.Homes, on.Hostname)
		}
	}
	return g, nil
}
