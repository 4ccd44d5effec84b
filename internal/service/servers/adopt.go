package servers

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// Adopt makes a guest on a host, of which the database does not know, a server again: its id, its owner, its addresses, as they
// were when it was built. For operators, after the database was restored. Conflict says what is in the way.
func (s Servers) Adopt(ctx context.Context, id, hostID string) (models.Server, error) {
	if uuid.Validate(id) != nil {
		return models.Server{}, fault.New(fault.Invalid, "%q is no server's id.", id)
	}
	host, err := s.store.Host(ctx, hostID)
	if err != nil {
		return models.Server{}, err
	}
	refused := s.engine.Adopt(ctx, contract.AdoptInput{
		ServerID: id, Hostname: host.Hostname, UserID: s.caller.UserID, ProjectID: s.caller.ProjectID,
		RequestID: s.caller.RequestID, Deadlines: s.config.Deadlines,
	})
	// The row says who was accepted, as of a build.
	if _, err := s.store.Action(ctx, id, s.caller.RequestID); err != nil {
		if refused == nil || !fault.Is(err, fault.NotFound) {
			return models.Server{}, fmt.Errorf("look for server %s that was adopted: %w", id, err)
		}
		return models.Server{}, fmt.Errorf("adopt server %s: %w", id, refused)
	}
	return s.store.Server(ctx, id)
}
