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

const patience = 30 * time.Second

type undo func(workflow.Context) error

// run executes body as a workflow and returns what its undos wrote down.
func run(t *testing.T, body func(ctx workflow.Context, s *Saga[undo], note func(string) undo)) []string {
	t.Helper()
	var notes []string
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.ExecuteWorkflow(func(ctx workflow.Context) error {
		s := &Saga[undo]{Undo: func(ctx workflow.Context, what undo) error { return what(ctx) }}
		body(ctx, s, func(n string) undo {
			return func(workflow.Context) error { notes = append(notes, n); return nil }
		})
		return nil
	})
	require.True(t, env.IsWorkflowCompleted())
	require.NoError(t, env.GetWorkflowError())
	return notes
}

// after is an undo that takes an hour and can be stopped.
func after(d time.Duration, u undo) undo {
	return func(ctx workflow.Context) error {
		if err := workflow.Sleep(ctx, d); err != nil {
			return err
		}
		return u(ctx)
	}
}

func TestUndosRunInReverse(t *testing.T) {
	notes := run(t, func(ctx workflow.Context, s *Saga[undo], note func(string) undo) {
		for _, n := range []string{"a", "b", "c"} {
			s.Register(Entry[undo]{Name: n, What: note(n)})
		}
		s.Unwind(ctx, patience)
		s.Wait(ctx)
	})
	require.Equal(t, []string{"c", "b", "a"}, notes)
}

func TestWhatIsRegisteredTwiceIsUndoneOnce(t *testing.T) {
	notes := run(t, func(ctx workflow.Context, s *Saga[undo], note func(string) undo) {
		s.Register(Entry[undo]{Name: "a", What: note("a")})
		s.Register(Entry[undo]{Name: "a", What: note("a")})
		s.Register(Entry[undo]{Name: "a", Chain: "other", What: note("other a")})
		s.Unwind(ctx, patience)
		s.Wait(ctx)
	})
	require.Equal(t, []string{"other a", "a"}, notes)
}

func TestWhatIsKeptIsNotUndoneAndWhatComesAfterItIs(t *testing.T) {
	notes := run(t, func(ctx workflow.Context, s *Saga[undo], note func(string) undo) {
		s.Register(Entry[undo]{Name: "mark", Behind: true, What: note("mark")})
		kept := s.Register(Entry[undo]{Name: "a", What: note("a")})
		s.Keep(func(e *Entry[undo]) bool { return !e.Behind })
		s.Register(Entry[undo]{Name: "a", What: note("another a")})
		s.Unwind(ctx, patience)
		s.Wait(ctx)
		require.Equal(t, Kept, kept.State)
	})
	require.Equal(t, []string{"another a", "mark"}, notes)
}

func TestACancelledRunStillUndoes(t *testing.T) {
	notes := run(t, func(ctx workflow.Context, s *Saga[undo], note func(string) undo) {
		ctx, cancel := workflow.WithCancel(ctx)
		s.Register(Entry[undo]{Name: "a", What: after(time.Second, note("a"))})
		cancel()
		s.Unwind(ctx, patience)
		s.Wait(ctx)
	})
	require.Equal(t, []string{"a"}, notes)
}

func TestAStuckUndoHoldsUpItsOwnChainOnly(t *testing.T) {
	var atPark []string
	notes := run(t, func(ctx workflow.Context, s *Saga[undo], note func(string) undo) {
		var seen []string
		s.Observe = func(_ workflow.Context, e *Entry[undo]) {
			if e.State == Parked {
				atPark = append(atPark, e.Name)
			}
			if e.State == Undone {
				seen = append(seen, e.Name)
			}
		}
		s.Register(Entry[undo]{Name: "claim", What: note("claim")})
		s.Register(Entry[undo]{Name: "allocation", Chain: "host", What: note("allocation")})
		s.Register(Entry[undo]{Name: "domain", Chain: "host", What: after(time.Hour, note("domain"))})
		s.Unwind(ctx, patience)
		require.Equal(t, []string{"claim"}, seen, "the other chain went on; nothing of the stuck one was given back early")
		s.Wait(ctx)
	})
	require.Equal(t, []string{"domain", "allocation"}, atPark)
	require.Equal(t, []string{"domain", "allocation"}, notes[1:])
}

func TestWithoutPatienceNobodyWaits(t *testing.T) {
	run(t, func(ctx workflow.Context, s *Saga[undo], note func(string) undo) {
		s.Register(Entry[undo]{Name: "a", What: after(time.Second, note("a"))})
		began := workflow.Now(ctx)
		s.Unwind(ctx, 0)
		require.Equal(t, began, workflow.Now(ctx))
		require.Equal(t, Parked, s.Entries()[0].State)
		s.Wait(ctx)
		require.Equal(t, Undone, s.Entries()[0].State)
	})
}

func TestWhatIsBehindWaitsForEveryLaterChain(t *testing.T) {
	notes := run(t, func(ctx workflow.Context, s *Saga[undo], note func(string) undo) {
		s.Register(Entry[undo]{Name: "row", What: note("row")})
		s.Register(Entry[undo]{Name: "address", Chain: "network", Behind: true, What: note("address")})
		s.Register(Entry[undo]{Name: "domain", Chain: "host", What: after(time.Hour, note("domain"))})
		s.Unwind(ctx, patience)
		s.Wait(ctx)
	})
	require.Equal(t, []string{"row", "domain", "address"}, notes, "the guest may still use the address")
}

func TestOneChainCanBeUndoneWhileTheRestStands(t *testing.T) {
	notes := run(t, func(ctx workflow.Context, s *Saga[undo], note func(string) undo) {
		s.Register(Entry[undo]{Name: "claim", What: note("claim")})
		s.Register(Entry[undo]{Name: "allocation", Chain: "host:a", What: note("allocation a")})
		s.Unwind(ctx, patience, "host:a")
		s.Register(Entry[undo]{Name: "allocation", Chain: "host:b", What: note("allocation b")})
		s.Wait(ctx)
		_ = note("moved")(ctx)
		s.Unwind(ctx, patience)
		s.Unwind(ctx, patience) // twice is once
		s.Wait(ctx)
	})
	require.Equal(t, []string{"allocation a", "moved", "allocation b", "claim"}, notes)
}

func TestAnUndoThatTheEngineRefusesIsAskedAgain(t *testing.T) {
	tries := 0
	run(t, func(ctx workflow.Context, s *Saga[undo], _ func(string) undo) {
		s.Register(Entry[undo]{Name: "a", What: func(workflow.Context) error {
			if tries++; tries < 4 {
				return temporal.NewNonRetryableApplicationError("no such activity", "", errors.New("x"))
			}
			return nil
		}})
		s.Unwind(ctx, patience)
		s.Wait(ctx)
	})
	require.Equal(t, 4, tries)
}

func TestThePausesAfterRefusalsGrowUpToABoundAndBeginAnewWithARetry(t *testing.T) {
	var tried []time.Time
	run(t, func(ctx workflow.Context, s *Saga[undo], _ func(string) undo) {
		s.Register(Entry[undo]{Name: "a", What: func(ctx workflow.Context) error {
			if tried = append(tried, workflow.Now(ctx)); len(tried) < 12 {
				return temporal.NewNonRetryableApplicationError("no such activity", "", errors.New("x"))
			}
			return nil
		}})
		s.Unwind(ctx, patience)
		_ = workflow.Await(ctx, func() bool { return len(tried) == 9 })
		_ = workflow.Sleep(ctx, time.Minute)
		s.Retry(s.Entries()[0])
		s.Wait(ctx)
	})
	var pauses []time.Duration
	for i := range tried[1:] {
		pauses = append(pauses, tried[i+1].Sub(tried[i]))
	}
	const m = time.Minute
	require.Equal(t, []time.Duration{m, 2 * m, 4 * m, 8 * m, 16 * m, 32 * m, 60 * m, 60 * m, m, m, 2 * m}, pauses)
}

func TestARetryDoesNotWaitForThePause(t *testing.T) {
	tries := 0
	run(t, func(ctx workflow.Context, s *Saga[undo], note func(string) undo) {
		s.Register(Entry[undo]{Name: "a", What: func(ctx workflow.Context) error {
			if tries++; tries == 1 {
				return workflow.Sleep(ctx, time.Hour) // as an activity in its back-off
			}
			return nil
		}})
		s.Unwind(ctx, patience)
		require.Equal(t, Parked, s.Entries()[0].State)
		asked := workflow.Now(ctx)
		s.Retry(s.Entries()[0])
		s.Wait(ctx)
		require.Equal(t, asked, workflow.Now(ctx))
	})
	require.Equal(t, 2, tries)
}

func TestWhatIsSkippedIsNotUndoneAndHoldsUpNobody(t *testing.T) {
	notes := run(t, func(ctx workflow.Context, s *Saga[undo], note func(string) undo) {
		s.Register(Entry[undo]{Name: "allocation", Chain: "host", What: note("allocation")})
		s.Register(Entry[undo]{Name: "domain", Chain: "host", What: after(time.Hour, note("domain"))})
		s.Unwind(ctx, patience)
		s.Skip(ctx, s.Entries()[1])
		s.Wait(ctx)
		require.Equal(t, []State{Undone, Skipped}, []State{s.Entries()[0].State, s.Entries()[1].State})
		s.Skip(ctx, s.Entries()[0])
		s.Retry(s.Entries()[0])
		require.Equal(t, Undone, s.Entries()[0].State, "what has ended stays as it is")
	})
	require.Equal(t, []string{"allocation"}, notes)
}

func TestWhatIsInUseStaysWithTheRestOfItsChain(t *testing.T) {
	var asked, undone, why []string
	var states []State
	run(t, func(ctx workflow.Context, _ *Saga[undo], _ func(string) undo) {
		s := Saga[string]{
			Undo: func(_ workflow.Context, what string) error { undone = append(undone, what); return nil },
			InUse: func(_ workflow.Context, what string) (string, error) {
				switch asked = append(asked, what); {
				case len(asked) == 1:
					return "", errors.New("no answer")
				case what == "disk":
					return "it runs", nil
				}
				return "", nil
			},
		}
		s.Register(Entry[string]{Name: "claim", Chain: "own", What: "claim"})
		for _, name := range []string{"allocation", "disk", "domain"} {
			s.Register(Entry[string]{Name: name, Chain: "host", What: name})
		}
		s.Unwind(ctx, patience)
		s.Wait(ctx)
		for _, e := range s.Entries() {
			states, why = append(states, e.State), append(why, e.Why)
		}
	})
	require.Equal(t, []string{"domain", "claim", "domain", "disk"}, asked, "until it is answered, which holds up no other chain")
	require.Equal(t, []string{"claim", "domain"}, undone)
	require.Equal(t, []State{Undone, Skipped, Skipped, Undone}, states)
	require.Equal(t, []string{"", "it runs", "it runs", ""}, why)
}

func TestWhatWaitsCanBeHandedOver(t *testing.T) {
	notes := run(t, func(ctx workflow.Context, s *Saga[undo], note func(string) undo) {
		s.Register(Entry[undo]{Name: "claim", Chain: "own", What: after(time.Minute, note("claim"))})
		s.Register(Entry[undo]{Name: "address", Chain: "network", Behind: true, What: note("address")})
		s.Register(Entry[undo]{Name: "domain", Chain: "host", What: after(time.Hour, note("domain"))})
		s.Register(Entry[undo]{Name: "kept", Chain: "later", What: note("kept")})
		s.Unwind(ctx, patience, "own", "network", "host")
		taken := s.HandOver(ctx, func(chain string) bool { return chain != "own" })
		require.Equal(t, []string{"network:address", "host:domain"}, []string{taken[0].ID(), taken[1].ID()}, "in order of registration")
		require.False(t, s.Settled("own"))
		s.Wait(ctx)
		require.Empty(t, s.HandOver(ctx, func(string) bool { return true }))
		_ = workflow.Sleep(ctx, 2*time.Hour)
	})
	require.Equal(t, []string{"claim"}, notes, "what was handed over is not undone here")
}
