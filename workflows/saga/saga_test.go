package saga

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"
)

// run executes body as a workflow and returns what its undos wrote down.
func run(t *testing.T, body func(ctx workflow.Context, s *Saga, note func(string) func(workflow.Context) error)) []string {
	t.Helper()
	var notes []string
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.ExecuteWorkflow(func(ctx workflow.Context) error {
		s := &Saga{Patience: 30 * time.Second}
		body(ctx, s, func(n string) func(workflow.Context) error {
			return func(workflow.Context) error { notes = append(notes, n); return nil }
		})
		return nil
	})
	require.True(t, env.IsWorkflowCompleted())
	require.NoError(t, env.GetWorkflowError())
	return notes
}

func TestUndosRunInReverse(t *testing.T) {
	notes := run(t, func(ctx workflow.Context, s *Saga, note func(string) func(workflow.Context) error) {
		for _, n := range []string{"a", "b", "c"} {
			s.Register(n, "", note(n))
		}
		s.Unwind(ctx)
		s.Wait(ctx)
	})
	require.Equal(t, []string{"c", "b", "a"}, notes)
}

func TestACancelledRunStillUndoes(t *testing.T) {
	notes := run(t, func(ctx workflow.Context, s *Saga, note func(string) func(workflow.Context) error) {
		ctx, cancel := workflow.WithCancel(ctx)
		s.Register("a", "", func(ctx workflow.Context) error {
			if err := workflow.Sleep(ctx, time.Second); err != nil {
				return err
			}
			return note("a")(ctx)
		})
		cancel()
		s.Unwind(ctx)
		s.Wait(ctx)
	})
	require.Equal(t, []string{"a"}, notes)
}

func TestAStuckUndoHoldsUpItsOwnChainOnly(t *testing.T) {
	var atPark []string
	notes := run(t, func(ctx workflow.Context, s *Saga, note func(string) func(workflow.Context) error) {
		var seen []string
		s.Observe = func(_ workflow.Context, e *Entry) {
			if e.State == Parked {
				atPark = append(atPark, e.Name)
			}
			if e.State == Undone {
				seen = append(seen, e.Name)
			}
		}
		s.Register("claim", "", note("claim"))
		s.Register("allocation", "host", note("allocation"))
		s.Register("domain", "host", func(ctx workflow.Context) error {
			_ = workflow.Sleep(ctx, time.Hour)
			return note("domain")(ctx)
		})
		s.Unwind(ctx)
		require.Equal(t, []string{"claim"}, seen, "the other chain went on; nothing of the stuck one was given back early")
		s.Wait(ctx)
	})
	require.Equal(t, []string{"domain", "allocation"}, atPark)
	require.Equal(t, []string{"claim", "domain", "allocation"}, notes)
}

func TestWhatIsBehindWaitsForEveryLaterChain(t *testing.T) {
	notes := run(t, func(ctx workflow.Context, s *Saga, note func(string) func(workflow.Context) error) {
		s.Register("row", "", note("row"))
		s.RegisterBehind("address", "network", note("address"))
		s.Register("domain", "host", func(ctx workflow.Context) error {
			_ = workflow.Sleep(ctx, time.Hour)
			return note("domain")(ctx)
		})
		s.Unwind(ctx)
		s.Wait(ctx)
	})
	require.Equal(t, []string{"row", "domain", "address"}, notes, "the guest may still use the address")
}

func TestOneChainCanBeUndoneWhileTheRestStands(t *testing.T) {
	notes := run(t, func(ctx workflow.Context, s *Saga, note func(string) func(workflow.Context) error) {
		s.Register("claim", "", note("claim"))
		s.Register("allocation", "host:a", note("allocation a"))
		s.Unwind(ctx, "host:a")
		s.Register("allocation", "host:b", note("allocation b"))
		s.Wait(ctx)
		note("moved")(ctx) //nolint:errcheck // it only writes down
		s.Unwind(ctx)
		s.Unwind(ctx) // twice is once
		s.Wait(ctx)
	})
	require.Equal(t, []string{"allocation a", "moved", "allocation b", "claim"}, notes)
}

func TestAnUndoThatTheEngineRefusesIsAskedAgain(t *testing.T) {
	tries := 0
	run(t, func(ctx workflow.Context, s *Saga, _ func(string) func(workflow.Context) error) {
		s.Register("a", "", func(workflow.Context) error {
			if tries++; tries < 4 {
				return temporal.NewNonRetryableApplicationError("no such activity", "", errors.New("x"))
			}
			return nil
		})
		s.Unwind(ctx)
		s.Wait(ctx)
	})
	require.Equal(t, 4, tries)
}
