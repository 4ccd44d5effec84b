package control

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/testsuite"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

// asStep runs f as a step of a workflow's run, and gives what it answers.
func asStep(t *testing.T, f func(ctx context.Context) error) error {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.SetTestTimeout(time.Minute)
	var answer error
	env.RegisterActivityWithOptions(func(ctx context.Context) error {
		answer = f(ctx)
		return nil
	}, activity.RegisterOptions{Name: "step"})
	_, err := env.ExecuteActivity("step")
	require.NoError(t, err)
	return answer
}

func TestAClaimIsNotTakenAfterItsUndoWhoeverUndidIt(t *testing.T) {
	store, err := models.Open(t.Context(), testenv.Migrated(t), models.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	_, err = store.EnsureProject(t.Context(), models.Project{ID: "p1", Name: "p1", DomainID: "default", Enabled: true})
	require.NoError(t, err)
	a := New(Options{Store: store})
	claim := func(server string) error {
		return asStep(t, func(ctx context.Context) error {
			return a.ClaimQuota(ctx, contract.ClaimQuotaInput{ServerID: server, ProjectID: "p1", Limits: contract.Quota{Instances: -1, Cores: -1, RAMMiB: -1}})
		})
	}
	release := func(run string) error {
		return asStep(t, func(ctx context.Context) error { return a.ReleaseQuota(ctx, contract.Undo{ServerID: "s1", Run: run}) })
	}
	require.NoError(t, release("another run's, which a clean-up gives back"))
	require.NoError(t, claim("s1"))
	require.NoError(t, release(""))
	require.True(t, fault.Is(claim("s1"), fault.Conflict))
	used, err := store.QuotaUsage(t.Context(), "p1")
	require.NoError(t, err)
	require.Zero(t, used)
}

func TestAnImportDoesNotBeginAfterItsUndo(t *testing.T) {
	m := newImporting(t, images.Config{})
	in := m.queued(t, contract.ImportWeb)
	in.KeepTask = -time.Second
	require.NoError(t, m.do(m.AbandonImport, contract.AbandonImportInput{Import: in, Failed: in.Stores, Message: "It could not begin."}))
	forgotten, err := m.rows.PurgeImageTasks(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, forgotten, "so it is not the task that refuses")
	require.True(t, fault.Is(m.do(m.BeginImport, in), fault.Conflict))
	require.Equal(t, models.ImageQueued, m.row(t, in.Task.ImageID).Status)
	require.Empty(t, m.row(t, in.Task.ImageID).Properties)
	m.begin(t, m.importOf(t, in.Task.ImageID, contract.ImportWeb))
	require.Equal(t, models.ImageImporting, m.row(t, in.Task.ImageID).Status)
}
