package control

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

// ServerStands says whether a server was built and nobody deletes it: what it has on its host, and what it counts for, is its
// user's.
func (a *Activities) ServerStands(ctx context.Context, in contract.ServerStandsInput) (bool, error) {
	if in.Guest {
		return a.store.ServerHasGuest(ctx, in.ServerID)
	}
	return a.store.ServerStands(ctx, in.ServerID, "")
}

// ServerStandsOn says the same of one host: whether that is where the server is in use.
func (a *Activities) ServerStandsOn(ctx context.Context, in contract.ServerStandsOnInput) (bool, error) {
	return a.store.ServerStands(ctx, in.ServerID, in.Hostname)
}

// Activate ends a build: ACTIVE, running, launched now, with the steps as the action's events.
func (a *Activities) Activate(ctx context.Context, in contract.ActivateInput) error {
	now := a.now()
	return a.store.ActivateServer(ctx, models.Activation{
		ServerID:   in.ServerID,
		RequestID:  in.RequestID,
		Hostname:   in.Hostname,
		PowerState: lifecycle.Running,
		LaunchedAt: now,
		Events:     models.ActionEvents(in.Steps, contract.Activate, now),
	})
}
