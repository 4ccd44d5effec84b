package servers

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

// How often an action is submitted where the server's lock is held although its row says that nothing is done to it: what
// held it is about to end.
const (
	submissions    = 10
	submissionRest = 100 * time.Millisecond
)

// Act begins an action on a server, as it was just read. It has begun when the server is marked with it; Conflict, in Nova's
// words, where the server's state does not allow it.
func (s Servers) Act(ctx context.Context, v models.Server, action lifecycle.Action, arguments contract.ActionArguments) error {
	for n := 1; ; n++ {
		if err := v.CanBegin(action, s.caller.Admin()); err != nil {
			return err
		}
		refused := s.engine.Do(ctx, action.Workflow, contract.ActionInput{
			Action: action.Name, ServerID: v.ID, ProjectID: v.ProjectID, UserID: s.caller.UserID,
			RequestID: s.caller.RequestID, Name: v.Name, Deadlines: s.config.Deadlines, OverLock: s.caller.Admin(),
			ActionArguments: arguments,
		})
		if refused == nil {
			return nil
		}
		// The row says who was accepted, as of a build (docs/decisions/0018-the-row-answers.md).
		begun, err := s.store.Action(ctx, v.ID, s.caller.RequestID)
		// A run that has ended well is not asked again: a second one, where the answer of the first got lost, is refused.
		failed := action.Awaited && (begun.Message != nil || !fault.Is(refused, fault.Conflict))
		switch {
		case err == nil && !failed:
			return nil
		case err != nil && !fault.Is(err, fault.NotFound):
			return fmt.Errorf("look for what was asked of server %s: %w", v.ID, err)
		case err == nil || !fault.Is(refused, fault.Conflict) || n == submissions:
			return fmt.Errorf("%s server %s: %w", action.Method, v.ID, refused)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(submissionRest):
		}
		if v, err = s.Get(ctx, v.ID); err != nil {
			return err
		}
	}
}
