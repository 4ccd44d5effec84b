package control

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

// actInTime begins an action on servers whose time for it has come, locked ones too.
func (a *Activities) actInTime(ctx context.Context, action lifecycle.Action, servers []models.Server) error {
	return inTheirOwnersNames(servers, action.Name, func(s models.Server, requestID string) error {
		return a.builds.Do(ctx, action.Workflow, contract.ActionInput{
			Action: action.Name, ServerID: s.ID, ProjectID: s.ProjectID, UserID: s.UserID, RequestID: requestID, Name: s.Name,
			Deadlines: a.deadlines, OverLock: true,
		})
	})
}

// inTheirOwnersNames begins something on servers that nobody has asked for. One to which something else is begun meanwhile is left to the
// next turn.
func inTheirOwnersNames(servers []models.Server, what string, begin func(s models.Server, requestID string) error) error {
	var errs []error
	for _, s := range servers {
		if err := begin(s, newRequest()); err != nil && !fault.Is(err, fault.Conflict) {
			errs = append(errs, fmt.Errorf("%s server %s: %w", what, s.ID, err))
		}
	}
	return errors.Join(errs...)
}

// newRequest is the id of a request that no user has sent.
func newRequest() string { return "req-" + uuid.NewString() }
