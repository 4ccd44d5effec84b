package servers

import (
	"context"
	"fmt"
	"strings"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// ForgetHost gives a host up for good, with everything on it: nothing waits for it any more, its servers go into ERROR, and its row
// goes when nothing names it. It answers when that is recorded and the host is heard no more. For operators, of a host that will not
// come back. Once more it is the same act, while it lasts.
func (s Servers) ForgetHost(ctx context.Context, hostID, reason string) (models.ForgottenHost, error) {
	if reason = strings.TrimSpace(reason); reason == "" {
		return models.ForgottenHost{}, fault.New(fault.Invalid, "To give a host up needs a reason.")
	}
	host, err := s.store.Host(ctx, hostID)
	if err != nil {
		return models.ForgottenHost{}, err
	}
	refused := s.engine.ForgetHost(ctx, contract.ForgetHostInput{
		HostID: host.ID, Hostname: host.Hostname, Reason: reason, UserID: s.caller.UserID, RequestID: s.caller.RequestID,
	})
	// The row says what was accepted.
	given, err := s.store.ForgottenHost(ctx, host.ID)
	switch {
	case err == nil:
		return given, nil
	case refused == nil || !fault.Is(err, fault.NotFound):
		return models.ForgottenHost{}, fmt.Errorf("look whether host %s was given up: %w", host.Hostname, err)
	}
	return models.ForgottenHost{}, fmt.Errorf("give host %s up: %w", host.Hostname, refused)
}
