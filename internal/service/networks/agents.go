package networks

import (
	"context"
	"fmt"
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
		all[i] = r.agent(h.Host)
	}
	return all, nil
}

func (r *Repository) agent(h models.Host) Agent {
	return Agent{h, !h.ForcedDown && time.Since(h.SeenAt) <= r.config.HostDownAfter}
}

// Agent is one of those.
func (r *Repository) Agent(ctx context.Context, id string) (Agent, error) {
	absent := ipam.Refuse("AgentNotFound", fault.NotFound, "Agent %s could not be found.", id)
	if !r.caller.Admin() {
		return Agent{}, absent
	}
	h, err := r.store.Host(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return Agent{}, absent
	}
	return r.agent(h), err
}

// Zones are those of the hosts, by name.
func (r *Repository) Zones(ctx context.Context) ([]Zone, error) {
	kinds, err := r.store.HostZones(ctx)
	var all []Zone
	for _, k := range kinds {
		if len(all) == 0 || all[len(all)-1].Name != k.Name {
			all = append(all, Zone{Name: k.Name})
		}
		z := &all[len(all)-1]
		z.Available = z.Available || k.Enabled
	}
	return all, err
}
