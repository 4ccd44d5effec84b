package housekeeping

import (
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
)

// houseEnv is an engine whose tasks count their tries, and fail where fail says so.
func houseEnv(fail map[string]error) (*testsuite.TestWorkflowEnvironment, map[string]int) {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env, tries := suite.NewTestWorkflowEnvironment(), map[string]int{}
	for _, task := range []string{contract.SettleImages, contract.SettleStores, contract.PurgeTokens, contract.PurgeImageTasks} {
		env.RegisterActivityWithOptions(func(context.Context, contract.Housekeeping) error { return fail[task] }, activity.RegisterOptions{Name: task})
	}
	env.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ converter.EncodedValues) {
		tries[info.ActivityType.Name]++
	})
	return env, tries
}

func TestATaskThatFailsIsTriedAgainAndKeepsNoOtherFromItsTurn(t *testing.T) {
	env, tries := houseEnv(map[string]error{contract.SettleImages: failure.Of(fault.New(fault.Unavailable, "the store does not answer"))})
	env.ExecuteWorkflow(KeepHouse)
	require.ErrorContains(t, env.GetWorkflowError(), "the store does not answer")
	require.Equal(t, map[string]int{contract.SettleImages: 3, contract.PurgeTokens: 1, contract.PurgeImageTasks: 1}, tries)
}

func TestTheStoresAreLookedThroughApartFromTheRest(t *testing.T) {
	env, tries := houseEnv(nil)
	env.ExecuteWorkflow(SettleImageStores)
	require.NoError(t, env.GetWorkflowError())
	require.Equal(t, map[string]int{contract.SettleStores: 1}, tries)
}
