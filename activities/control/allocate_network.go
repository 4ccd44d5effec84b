package control

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/service/facts"
	"github.com/slipway-cloud/slipway/models"
)

// AllocateNetwork makes one NIC's port, named from the server's id and the NIC's place, or binds the port that the user
// made. On the next host of the same build it moves the binding.
func (a *Activities) AllocateNetwork(ctx context.Context, in contract.AllocateNetworkInput) (contract.Port, error) {
	id, err := ids.Port(in.ServerID, in.Index)
	if err != nil {
		return contract.Port{}, err
	}
	port, err := a.taking(ctx, contract.AllocateNetwork, in.Index, "").AllocatePort(ctx, models.PortRequest{
		ID:        id,
		ServerID:  in.ServerID,
		ProjectID: in.ProjectID,
		NetworkID: in.Request.NetworkID,
		PortID:    in.Request.PortID,
		FixedIP:   in.Request.FixedIP,
		Index:     in.Index,
		Hostname:  in.Hostname,
		Tag:       in.Request.Tag,
		TaskState: optional(string(in.NextPhase)),

		SecurityGroups: in.Request.SecurityGroups,
	})
	if err != nil {
		return contract.Port{}, err
	}
	return facts.Port(port, a.vif), nil
}

// ReleaseNetwork deletes the port that the build made, or unbinds the user's.
func (a *Activities) ReleaseNetwork(ctx context.Context, in contract.Undo) error {
	if err := a.giveBack(ctx, in.Run, contract.AllocateNetwork, in.Index, ""); err != nil {
		return err
	}
	return a.store.ReleasePort(ctx, in.ServerID, in.Index)
}
