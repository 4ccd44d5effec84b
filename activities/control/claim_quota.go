package control

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/models"
)

// ClaimQuota takes the server's share of its project's quota; OverQuota names what is exceeded.
func (a *Activities) ClaimQuota(ctx context.Context, in contract.ClaimQuotaInput) error {
	return a.taking(ctx, contract.ClaimQuota, 0, "").ClaimQuota(ctx,
		models.Claim{ServerID: in.ServerID, ProjectID: in.ProjectID, Instances: 1, Cores: in.VCPUs, RAMMiB: in.RAMMiB}, limitsOf(in.Limits))
}

func limitsOf(q contract.Quota) models.Limits {
	return models.Limits(q)
}

// ReleaseQuota gives it back.
func (a *Activities) ReleaseQuota(ctx context.Context, in contract.Undo) error {
	if err := a.giveBack(ctx, in.Run, contract.ClaimQuota, 0, ""); err != nil {
		return err
	}
	if in.RequestID != "" {
		return a.store.ReleaseClaimOf(ctx, in.ServerID, in.RequestID)
	}
	return a.store.ReleaseClaim(ctx, in.ServerID)
}
