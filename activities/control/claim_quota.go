package control

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/models"
)

// ClaimQuota takes the server's share of its project's quota; OverQuota names what is exceeded.
func (a *Activities) ClaimQuota(ctx context.Context, in contract.ClaimQuotaInput) error {
	return a.store.ClaimQuota(ctx,
		models.Claim{ServerID: in.ServerID, ProjectID: in.ProjectID, Instances: 1, Cores: in.VCPUs, RAMMiB: in.RAMMiB},
		models.Limits{Instances: in.Limits.Instances, Cores: in.Limits.Cores, RAMMiB: in.Limits.RAMMiB})
}

// ReleaseQuota gives it back.
func (a *Activities) ReleaseQuota(ctx context.Context, in contract.Undo) error {
	return a.store.ReleaseClaim(ctx, in.ServerID)
}
