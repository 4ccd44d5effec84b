package networks

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/models"
)

// Agent is a hypervisor as Neutron's agents are: what plugs ports there.
type Agent struct {
	models.Host
	Alive bool // it has reported lately
}

// Zone is an availability zone with its hosts.
type Zone struct {
	Name      string
	Available bool // a host of it takes servers
}

// Agents are for admins alone; others see none.
func (r *Repository) Agents(ctx context.Context) ([]Agent, error) {
	if !r.caller.Admin() {
		return nil, nil
	}
	hosts, err := r.store.ListHosts(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the hosts: %w", err)
	}
	all := make([]Agent, len(hosts))
	for i, h := range hosts {
		all[i] = Agent{h.Host, !h.ForcedDown && time.Since(h.SeenAt) <= r.config.HostDownAfter}
	}
	return all, nil
}

// Agent is one of those.
func (r *Repository) Agent(ctx context.Context, id string) (Agent, error) {
	all, err := r.Agents(ctx)
	if err != nil {
		return Agent{}, err
	}
	if i := slices.IndexFunc(all, func(a Agent) bool { return a.ID == id }); i >= 0 {
		return all[i], nil
	}
	return Agent{}, ipam.Refuse("AgentNotFound", fault.NotFound, "Agent %s could not be found.", id)
}

// Zones are those of the hosts, by name.
func (r *Repository) Zones(ctx context.Context) ([]Zone, error) {
	hosts, err := r.store.ListHosts(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the hosts: %w", err)
	}
	var all []Zone
	for _, h := range hosts {
		i, there := slices.BinarySearchFunc(all, h.AvailabilityZone, func(z Zone, name string) int {
			return cmp.Compare(z.Name, name)
		})
		if !there {
			all = slices.Insert(all, i, Zone{Name: h.AvailabilityZone})
		}
		all[i].Available = all[i].Available || h.Enabled
	}
	return all, nil
}
