package networks

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/models"
)

// Quota is how many of each kind of object a project may have, by Neutron's names; -1 is unlimited.
func (r *Repository) Quota(ctx context.Context, projectID string) (models.NetworkQuota, error) {
	if !r.caller.Owns(projectID) {
		return nil, forbidden("get_quota")
	}
	return r.store.NetworkQuota(ctx, projectID, r.config.Quota)
}

// DefaultQuota is that of projects for which nothing was set; a caller asks for it in a project's name.
func (r *Repository) DefaultQuota(projectID string) (models.NetworkQuota, error) {
	if !r.caller.Owns(projectID) {
		return nil, forbidden("get_quota")
	}
	return r.config.Quota, nil
}

// Usage is how much of its quota a project has used.
func (r *Repository) Usage(ctx context.Context, projectID string) (map[string]int, error) {
	if !r.caller.Owns(projectID) {
		return nil, forbidden("get_quota")
	}
	return r.store.NetworkUsage(ctx, projectID)
}

// Quotas are those of the projects for which some were set, by project.
func (r *Repository) Quotas(ctx context.Context) (map[string]models.NetworkQuota, error) {
	if err := r.MayAdmin("get_quota"); err != nil {
		return nil, err
	}
	return r.store.NetworkQuotas(ctx, "", r.config.Quota)
}

// SetQuota sets some of a project's limits.
func (r *Repository) SetQuota(ctx context.Context, projectID string, limits models.NetworkQuota) (models.NetworkQuota, error) {
	if err := r.MayAdmin("update_quota"); err != nil {
		return nil, err
	}
	if err := r.store.SetNetworkQuota(ctx, projectID, limits); err != nil {
		return nil, err
	}
	return r.Quota(ctx, projectID)
}

// ResetQuota takes a project's own limits away.
func (r *Repository) ResetQuota(ctx context.Context, projectID string) error {
	if err := r.MayAdmin("delete_quota"); err != nil {
		return err
	}
	had, err := r.store.ResetNetworkQuota(ctx, projectID)
	if err == nil && !had {
		return ipam.Refuse("TenantQuotaNotFound", fault.NotFound, "Quota for tenant %s could not be found.", projectID)
	}
	return err
}
