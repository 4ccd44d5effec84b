package networks

import (
	"context"
	"fmt"
	"reflect"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/models"
)

// FloatingIPs lists the project's, for an admin all.
func (r *Repository) FloatingIPs(ctx context.Context, f models.OwnedFilter) ([]models.FloatingIP, error) {
	if err := r.routed(); err != nil {
		return nil, err
	}
	if !r.owned(&f) {
		return nil, nil
	}
	found, err := r.store.ListFloatingIPs(ctx, f)
	return found, markerOf(err, f.Marker)
}

// FloatingIP is one of those.
func (r *Repository) FloatingIP(ctx context.Context, id string) (models.FloatingIP, error) {
	if err := r.routed(); err != nil {
		return models.FloatingIP{}, err
	}
	found, err := r.store.FloatingIP(ctx, id)
	if err == nil && !r.caller.Owns(found.ProjectID) {
		return models.FloatingIP{}, ipam.Refuse("FloatingIPNotFound", fault.NotFound, "Floating IP %s could not be found", id)
	}
	return found, err
}

// CreateFloatingIPs takes addresses of external networks (in a project each, "" is the caller's), all or none. Which address it is only admins choose.
func (r *Repository) CreateFloatingIPs(ctx context.Context, drafts ...models.FloatingIP) ([]models.FloatingIP, error) {
	if err := r.routed(); err != nil {
		return nil, err
	}
	if err := r.May("create_floatingip"); err != nil {
		return nil, err
	}
	for i := range drafts {
		f := &drafts[i]
		var err error
		if f.ProjectID, err = r.ownerOf(f.ProjectID, "create_floatingip:tenant_id"); err != nil {
			return nil, err
		}
		if f.IP != "" && !r.caller.Admin() {
			return nil, forbidden("create_floatingip and rule:create_floatingip:floating_ip_address")
		}
		n, err := r.Network(ctx, f.NetworkID)
		if err != nil {
			return nil, err
		}
		if !n.External() {
			return nil, models.BadResource("floatingip", "Network %s is not a valid external network", f.NetworkID)
		}
		if err := r.mayStandFor(ctx, *f); err != nil {
			return nil, err
		}
	}
	made, err := r.store.CreateFloatingIPs(ctx, drafts, r.config.Quota)
	if err != nil {
		return nil, fmt.Errorf("create %d floating IPs: %w", len(drafts), err)
	}
	return made, nil
}

// mayStandFor refuses ports of others.
func (r *Repository) mayStandFor(ctx context.Context, f models.FloatingIP) error {
	if f.PortID == nil {
		return nil
	}
	p, err := r.port(ctx, *f.PortID)
	if err != nil {
		return err
	}
	if p.ProjectID != f.ProjectID && !r.caller.Admin() {
		return models.BadResource("floatingip", "Cannot process floating IP association with Port %s, since that port is owned by a different tenant", p.ID)
	}
	return nil
}

// UpdateFloatingIP changes a floating IP of the caller's.
func (r *Repository) UpdateFloatingIP(ctx context.Context, id string, change func(*models.FloatingIP)) (models.FloatingIP, error) {
	is, err := r.mayFloat(ctx, id, "update_floatingip")
	if err != nil {
		return models.FloatingIP{}, err
	}
	// Whose the port is, is looked up before the address is held.
	asked := is
	change(&asked)
	if !reflect.DeepEqual(is.PortID, asked.PortID) {
		if err := r.mayStandFor(ctx, asked); err != nil {
			return models.FloatingIP{}, err
		}
	}
	return r.store.UpdateFloatingIP(ctx, id, change)
}

func (r *Repository) mayFloat(ctx context.Context, id, rule string) (models.FloatingIP, error) {
	if err := r.routed(); err != nil {
		return models.FloatingIP{}, err
	}
	if err := r.May(rule); err != nil {
		return models.FloatingIP{}, err
	}
	return r.FloatingIP(ctx, id)
}

// DeleteFloatingIP gives a floating IP back.
func (r *Repository) DeleteFloatingIP(ctx context.Context, id string) error {
	if _, err := r.mayFloat(ctx, id, "delete_floatingip"); err != nil {
		return err
	}
	return r.store.DeleteFloatingIP(ctx, id)
}
