package actions

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/workflows/run"
)

// The change of a guest's admin password.
var passwordSteps = awaited(
	host(contract.SetAdminPassword, 20*time.Second, setAdminPassword).
		TakesNothing("nobody knows the password of before; one that was set stays, as the user wanted it"),
)

// ChangePassword has the agent in a guest set the admin's password.
func (w Actions) ChangePassword(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, passwordSteps)
}

func setAdminPassword(a *action, _ int) (contract.SetAdminPasswordInput, func(run.None)) {
	return contract.SetAdminPasswordInput{ServerID: a.in.ServerID, Password: a.in.AdminPass}, nil
}
