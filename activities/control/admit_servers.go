package control

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/models"
)

// AdmitServers takes quota for as many servers as fit and makes their rows, all or nothing: from here the user sees them.
// OverQuota when fewer fit than were asked for at least.
func (a *Activities) AdmitServers(ctx context.Context, in contract.AdmitServersInput) (contract.Admitted, error) {
	first := in.Server
	n, err := a.taking(ctx, contract.AdmitServers, 0, "").AdmitServers(ctx, models.Admission{
		Reservation: models.Reservation{
			ServerID:  first.ServerID,
			ID:        ids.Reservation(first.ServerID),
			ProjectID: first.ProjectID,
			UserID:    first.UserID,
			MinCount:  in.Min,
			MaxCount:  in.Max,
		},
		Server: serverOf(first),
		Row: func(i, of int) (id, name, hostname string) {
			id = ids.ReservedServer(first.ServerID, i)
			name, hostname = ids.Reserved(id, first.Name, first.Hostname, i, of)
			return id, name, hostname
		},
		Claim:  models.Claim{Instances: 1, Cores: first.Flavor.VCPUs, RAMMiB: first.Flavor.RAMMiB},
		Limits: limitsOf(in.Limits),
		Action: createOf(first),
	})
	return contract.Admitted{Servers: n}, err
}

// DropServers is its undo, for servers whose builds were never started: the rows stay, in ERROR, and the quota is free.
func (a *Activities) DropServers(ctx context.Context, in contract.DropServersInput) error {
	if err := a.giveBack(ctx, "", contract.AdmitServers, 0, ""); err != nil {
		return err
	}
	servers := make([]string, len(in.Places))
	for i, place := range in.Places {
		servers[i] = ids.ReservedServer(in.FirstServerID, place)
	}
	return a.store.DropServers(ctx, servers, in.RequestID, models.ServerFault{
		Code: in.Code, Message: in.Message, Details: in.Details, CreatedAt: a.now(),
	})
}
