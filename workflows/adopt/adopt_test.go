package adopt

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
	"github.com/slipway-cloud/slipway/workflows/boot"
	"github.com/slipway-cloud/slipway/workflows/teardown"
)

const id = "11111111-2222-3333-4444-555555555555"

// world is what an adoption finds and makes.
type world struct {
	mu      sync.Mutex // activities are real goroutines here
	found   contract.FoundServer
	refused map[string]error
	done    []string
	made    contract.AdoptServerInput
	answer  error
	reached func(activity string)
}

func (w *world) does(name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = append(w.done, name)
	if w.reached != nil {
		w.reached(name)
	}
	return failure.Of(w.refused[name])
}

func adopted(t *testing.T, w *world, script ...func(*testsuite.TestWorkflowEnvironment)) error {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(20 * time.Second)
	for name, f := range map[string]any{
		contract.ReadFacts: func(context.Context, contract.ReadFactsInput) (contract.FoundServer, error) {
			return w.found, w.does(contract.ReadFacts)
		},
		contract.AdoptServer: func(_ context.Context, in contract.AdoptServerInput) error {
			w.made = in
			return w.does(contract.AdoptServer)
		},
		contract.HostSeen: func(context.Context, contract.HostSeenInput) (bool, error) { return false, nil },
		contract.MarkDeleting: func(context.Context, contract.DeleteInput) (contract.Takings, error) {
			return contract.Takings{Hostnames: []string{"hv1"}}, w.does(contract.MarkDeleting)
		},
		contract.RemoveServer: func(context.Context, contract.RemoveServerInput) error { return w.does(contract.RemoveServer) },
	} {
		env.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}
	for _, row := range boot.Table() {
		if row.Undo != "" && row.Undo != contract.FailServer {
			env.RegisterActivityWithOptions(func(context.Context, contract.Undo) error { return w.does(row.Undo) }, activity.RegisterOptions{Name: row.Undo})
		}
	}
	env.RegisterDelayedCallback(func() {
		env.UpdateWorkflow(contract.UpdateSubmit, "submit", &testsuite.TestUpdateCallback{
			OnAccept: func() {}, OnReject: func(err error) { t.Errorf("rejected: %v", err) },
			OnComplete: func(_ any, err error) { w.answer = err },
		}, contract.Submission{AnswerBy: time.Unix(2, 0).UTC()})
	}, 0)
	for _, s := range script {
		s(env)
	}
	env.ExecuteWorkflow(Workflow{Ends: teardown.Workflow{Rows: boot.Table(), Version: boot.TableVersion}}.AdoptGuest, contract.AdoptInput{
		ServerID: id, Hostname: "hv1", RequestID: "req-1", Deadlines: contract.DefaultDeadlines(),
		Submission: contract.Submission{AnswerBy: time.Unix(1, 0).UTC()},
	})
	require.True(t, env.IsWorkflowCompleted())
	return env.GetWorkflowError()
}

func TestAGuestBecomesAServerOfWhatItsHostHas(t *testing.T) {
	w := &world{found: contract.FoundServer{Facts: contract.ServerFacts{Server: contract.Server{ServerID: id, Name: "web"}}, PowerState: 1}}
	require.NoError(t, adopted(t, w))
	require.NoError(t, w.answer)
	require.Equal(t, []string{contract.ReadFacts, contract.AdoptServer}, w.done)
	require.Equal(t, w.found, w.made.FoundServer)
	require.Equal(t, "hv1", w.made.Hostname)
	require.Equal(t, time.Unix(2, 0).UTC(), w.made.AnswerBy, "whoever asks waits for so long")
}

func TestAnAdoptionThatIsRefusedMakesAndTouchesNothing(t *testing.T) {
	for _, at := range []string{contract.ReadFacts, contract.AdoptServer} {
		w := &world{refused: map[string]error{at: fault.New(fault.Conflict, "It cannot be.")}}
		require.Error(t, adopted(t, w))
		require.Equal(t, "It cannot be.", failure.Fault(w.answer).Text)
		require.Equal(t, fault.Conflict, failure.Fault(w.answer).Kind)
		require.Equal(t, at, w.done[len(w.done)-1], "nothing is undone")
	}
}

func TestADeleteThatComesAsAGuestIsAdoptedEndsTheServer(t *testing.T) {
	w := &world{}
	require.NoError(t, adopted(t, w, func(env *testsuite.TestWorkflowEnvironment) {
		w.reached = func(activity string) {
			if activity == contract.AdoptServer {
				env.SignalWorkflow(contract.SignalDelete, contract.DeleteInput{ServerID: id, RequestID: "req-2", Deadlines: contract.DefaultDeadlines()})
			}
		}
	}))
	require.Contains(t, w.done, contract.DestroyDomain)
	require.Equal(t, contract.RemoveServer, w.done[len(w.done)-1])
}
