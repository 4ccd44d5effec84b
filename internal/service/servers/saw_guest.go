package servers

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

// Seen is what became of what a host saw of a guest.
type Seen int

// What a sighting does to a server beside its power state.
const (
	SawNothing Seen = iota
	SawStopped      // the guest is off: so is its server
	SawEnded        // the guest shut itself down, which is its server's end
)

// SawGuest writes what a host saw of a guest. byGuest says that the guest was heard to shut itself down, which is the only reason to end
// a server that ends so; where it may not be deleted it is stopped, as any other is.
func (s *Service) SawGuest(ctx context.Context, hostID string, g models.Sighting, byGuest bool) (Seen, error) {
	if byGuest {
		// Before the row says anything: who dies here is told again.
		if ended, err := s.endShutDown(ctx, hostID, g); ended || err != nil {
			return SawEnded, err
		}
	}
	moved, err := s.store.SawGuest(ctx, hostID, g)
	if !moved || err != nil {
		return SawNothing, err
	}
	return SawStopped, nil
}

// endShutDown deletes the server of a guest, in its owner's name, where it ends at its guest's shutdown and nothing has changed since
// its host looked.
func (s *Service) endShutDown(ctx context.Context, hostID string, g models.Sighting) (ended bool, err error) {
	v, err := s.store.Server(ctx, g.ServerID)
	switch {
	case fault.Is(err, fault.NotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look up server %s, whose guest shut itself down: %w", g.ServerID, err)
	case !v.EndsAtShutdown, v.HostID == nil, *v.HostID != hostID, !v.UpdatedAt.Equal(g.AsOf), v.TaskState != nil,
		g.PowerState != lifecycle.Shutdown, !slices.Contains(lifecycle.WentDown.From, v.VMState):
		return false, nil
	}
	owner := Caller{Caller: auth.Caller{UserID: v.UserID, ProjectID: v.ProjectID}, RequestID: "req-" + uuid.NewString()}
	err = s.For(owner).end(ctx, v)
	if fault.Is(err, fault.Conflict) { // it is locked, or something is being done to it
		return false, nil
	}
	if err != nil && !fault.Is(err, fault.NotFound) {
		return false, fmt.Errorf("end server %s, whose guest shut itself down: %w", v.ID, err)
	}
	return true, nil
}
