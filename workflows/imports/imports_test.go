package imports

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
)

// imported is an engine and an image that is imported in it.
type imported struct {
	env *testsuite.TestWorkflowEnvironment

	mu       sync.Mutex
	status   string
	in       []string // stores that have it
	stays    bool
	finished *contract.FinishImportInput
	undone   *contract.AbandonImportInput
	tried    []string // stores' steps, in order

	begin   func() error
	store   func(name, store string) error // fails a step of a store
	abandon func(try int) error
	answers map[string]error // of submissions, by task
}

func newImported() *imported {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	i := &imported{env: suite.NewTestWorkflowEnvironment(), status: "queued", answers: map[string]error{}}
	i.begin = func() error { return nil }
	i.store = func(string, string) error { return nil }
	i.abandon = func(int) error { return nil }
	i.env.SetTestTimeout(time.Minute)
	for name, f := range map[string]any{
		contract.BeginImport: func(_ context.Context, in contract.ImportInput) (contract.ImportBegun, error) {
			if err := i.begin(); err != nil {
				return contract.ImportBegun{}, failure.Of(err)
			}
			i.status = "importing"
			return contract.ImportBegun{Stores: in.Stores, Staged: "hot"}, nil
		},
		contract.StoreImage: func(_ context.Context, in contract.StoreImageInput) (contract.StoredImage, error) {
			err := i.bring(contract.StoreImage, in.Store)
			if err == nil {
				i.stays = in.Stays
				if !in.Stays {
					i.status = "active"
				}
			}
			return contract.StoredImage{}, err
		},
		contract.CopyImage: func(_ context.Context, in contract.CopyImageInput) (contract.StoredImage, error) {
			return contract.StoredImage{}, i.bring(contract.CopyImage, in.Store)
		},
		contract.FinishImport: func(_ context.Context, in contract.FinishImportInput) error {
			i.finished, i.status = &in, "active"
			return nil
		},
		contract.AbandonImport: func(ctx context.Context, in contract.AbandonImportInput) error {
			if err := i.abandon(int(activity.GetInfo(ctx).Attempt)); err != nil {
				return failure.Retryable(err)
			}
			i.undone, i.in = &in, nil
			if i.status == "importing" {
				i.status = "queued"
			}
			return nil
		},
	} {
		i.env.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}
	return i
}

func (i *imported) bring(name, store string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.tried = append(i.tried, name+" "+store)
	if err := i.store(name, store); err != nil {
		return failure.Of(err)
	}
	i.in = append(i.in, store)
	return nil
}

func importInput(method string, every bool, stores ...string) contract.ImportInput {
	return contract.ImportInput{
		Task: contract.ImportTask{ID: "t1", ImageID: "i1", RequestID: "req-1"}, Method: method, Stores: stores, Every: every,
		Deadline: time.Hour, Patience: 0, UndoPatience: 30 * time.Second, KeepTask: time.Hour,
	}
}

// run imports, with a submission of each task at the beginning.
func (i *imported) run(t *testing.T, in contract.ImportInput, tasks ...string) error {
	t.Helper()
	for _, task := range append([]string{in.Task.ID}, tasks...) {
		i.env.RegisterDelayedCallback(func() {
			i.env.UpdateWorkflow(contract.UpdateImport, "import-"+task, &testsuite.TestUpdateCallback{
				OnAccept: func() {}, OnReject: func(err error) { i.answers[task] = err },
				OnComplete: func(_ any, err error) { i.answers[task] = err },
			}, task)
		}, 0)
	}
	i.env.ExecuteWorkflow(ImportImage, in)
	require.True(t, i.env.IsWorkflowCompleted())
	require.Contains(t, i.answers, in.Task.ID, "every submission is answered")
	return i.env.GetWorkflowError()
}

func (i *imported) state(t *testing.T) (s contract.ImportState) {
	t.Helper()
	value, err := i.env.QueryWorkflow(contract.QueryImport)
	require.NoError(t, err)
	require.NoError(t, value.Get(&s))
	return s
}

func TestAnImportFillsEveryStoreAndThenMakesTheImageActive(t *testing.T) {
	i := newImported()
	require.NoError(t, i.run(t, importInput(contract.ImportWeb, true, "hot", "cold", "warm"), "t2"))
	require.NoError(t, i.answers["t1"])
	require.Equal(t, fault.Conflict, failure.Fault(i.answers["t2"]).Kind, "one import at a time")
	require.Equal(t, []string{"StoreImage hot", "CopyImage cold", "CopyImage warm"}, i.tried)
	require.True(t, i.stays, "it is not active before every store has it")
	require.Nil(t, i.undone)
	require.Equal(t, "hot", i.finished.Begun.Staged, "what was staged is dropped in the end")
	require.Equal(t, contract.ImportState{Phase: "active", Done: []string{"hot", "cold", "warm"}}, i.state(t))
}

func TestAnImportToOneStoreIsActiveAtOnce(t *testing.T) {
	i := newImported()
	require.NoError(t, i.run(t, importInput(contract.ImportStaged, true, "hot")))
	require.False(t, i.stays)
	require.Equal(t, "The image is in hot.", i.finished.Message)
}

func TestARefusedImportTakesNothingBack(t *testing.T) {
	i := newImported()
	i.begin = func() error { return fault.New(fault.Conflict, "Image needs to be staged") }
	require.Error(t, i.run(t, importInput(contract.ImportStaged, true, "hot")))
	refusal := failure.Fault(i.answers["t1"])
	require.Equal(t, []any{fault.Conflict, "Image needs to be staged"}, []any{refusal.Kind, refusal.Text})
	require.Nil(t, i.undone, "it would take the staged bytes of an image that it never had")
	require.Empty(t, i.tried)
}

func TestAnImportThatMayHaveBegunIsTakenBack(t *testing.T) {
	i := newImported()
	i.begin = func() error { return fault.New(fault.Unavailable, "The database does not answer.") }
	require.Error(t, i.run(t, importInput(contract.ImportWeb, true, "hot", "cold")))
	require.Equal(t, fault.Unavailable, failure.Fault(i.answers["t1"]).Kind)
	require.Equal(t, []string{"hot", "cold"}, i.undone.Failed)
	require.Nil(t, i.undone.Begun.Stores)
}

func TestOneStoreThatFailsEndsAnImportToAll(t *testing.T) {
	for method, tried := range map[string][]string{
		contract.ImportWeb:  {"StoreImage hot", "CopyImage cold"},
		contract.ImportCopy: {"CopyImage hot", "CopyImage cold"},
	} {
		i := newImported()
		i.store = func(_, store string) error {
			if store == "cold" {
				return fault.New(fault.Unavailable, "cold does not answer.")
			}
			return nil
		}
		require.ErrorContains(t, i.run(t, importInput(method, true, "hot", "cold", "warm")), "cold does not answer.")
		require.NoError(t, i.answers["t1"], "it was accepted")
		require.Equal(t, tried, i.tried, method)
		require.Equal(t, "cold does not answer.", i.undone.Message)
		require.Equal(t, []string{"hot", "cold", "warm"}, i.undone.Failed)
		require.Nil(t, i.finished)
		require.Equal(t, "failed", i.state(t).Phase)
	}
}

func TestAStoreThatFailsIsLeftOutWhereNotAllHaveToSucceed(t *testing.T) {
	for _, tc := range []struct {
		method string
		fails  []string
		tried  []string
		failed []string // nil: the import fails
	}{
		{contract.ImportWeb, []string{"hot"}, []string{"StoreImage hot", "StoreImage cold", "CopyImage warm"}, []string{"hot"}},
		{contract.ImportWeb, []string{"cold", "warm"}, []string{"StoreImage hot", "CopyImage cold", "CopyImage warm"}, []string{"cold", "warm"}},
		{contract.ImportWeb, []string{"hot", "cold", "warm"}, []string{"StoreImage hot", "StoreImage cold", "StoreImage warm"}, nil},
		{contract.ImportCopy, []string{"hot"}, []string{"CopyImage hot", "CopyImage cold", "CopyImage warm"}, []string{"hot"}},
		{contract.ImportCopy, []string{"hot", "cold", "warm"}, []string{"CopyImage hot", "CopyImage cold", "CopyImage warm"}, nil},
	} {
		i := newImported()
		i.store = func(_, store string) error {
			if slices.Contains(tc.fails, store) {
				return fault.New(fault.Internal, "%s is broken.", store)
			}
			return nil
		}
		err := i.run(t, importInput(tc.method, false, "hot", "cold", "warm"))
		require.Equal(t, tc.tried, i.tried)
		require.False(t, i.stays, "it is active as soon as one store has it")
		if tc.failed == nil {
			require.Error(t, err)
			require.Equal(t, tc.fails, i.undone.Failed)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, tc.failed, i.finished.Failed)
		require.Contains(t, i.finished.Message, "is broken.")
	}
}

func TestBytesThatAreRefusedAreNotOfferedToTheNextStore(t *testing.T) {
	i := newImported()
	i.store = func(string, string) error { return fault.New(fault.Invalid, "It is a qcow2.") }
	require.ErrorContains(t, i.run(t, importInput(contract.ImportWeb, false, "hot", "cold")), "It is a qcow2.")
	require.Equal(t, []string{"StoreImage hot"}, i.tried)
	require.Equal(t, "queued", i.status)
}

func TestAnImportOfADeletedImageEnds(t *testing.T) {
	i := newImported()
	i.store = func(name, _ string) error {
		if name == contract.CopyImage {
			return fault.New(fault.NotFound, "No image found with ID i1")
		}
		return nil
	}
	require.Error(t, i.run(t, importInput(contract.ImportWeb, false, "hot", "cold", "warm")))
	require.Equal(t, []string{"StoreImage hot", "CopyImage cold"}, i.tried)
	require.NotNil(t, i.undone)
}

func TestACancelledImportIsTakenBack(t *testing.T) {
	i := newImported()
	i.env.OnActivity(contract.StoreImage, mock.Anything, mock.Anything).After(10*time.Minute).Return(contract.StoredImage{}, nil)
	i.env.RegisterDelayedCallback(i.env.CancelWorkflow, time.Minute)
	require.Error(t, i.run(t, importInput(contract.ImportWeb, false, "hot", "cold")))
	require.Equal(t, "queued", i.status)
	require.NotContains(t, i.tried, "CopyImage cold")
}

func TestAnImportThatTakesTooLongIsTakenBack(t *testing.T) {
	i := newImported()
	i.env.OnActivity(contract.StoreImage, mock.Anything, mock.Anything).After(2*time.Minute).Return(contract.StoredImage{}, nil)
	in := importInput(contract.ImportWeb, true, "hot", "cold")
	in.Deadline = time.Minute
	require.Error(t, i.run(t, in))
	require.Empty(t, i.tried, "no copy begins after the deadline")
	require.Equal(t, "The import did not end within 1m0s.", i.undone.Message)
	require.Equal(t, "queued", i.status)
}

func TestAnImportThatIsTriedAgainUntilItsDeadlineSaysWhatWasWrong(t *testing.T) {
	i := newImported()
	i.store = func(string, string) error { return fault.New(fault.Unavailable, "hot does not answer.") }
	in := importInput(contract.ImportWeb, true, "hot")
	in.Deadline, in.Patience = time.Minute, time.Hour
	require.ErrorContains(t, i.run(t, in), "hot does not answer.")
	require.Greater(t, len(i.tried), 10)
	require.Equal(t, "queued", i.status)
}

func TestAnImportGoesOnBeingTakenBackUntilItIs(t *testing.T) {
	i := newImported()
	i.store = func(string, string) error { return fault.New(fault.Invalid, "It is a qcow2.") }
	parked := ""
	i.env.RegisterDelayedCallback(func() { parked = i.state(t).Phase }, time.Hour)
	began := i.env.Now()
	i.abandon = func(int) error {
		if i.env.Now().Sub(began) < 2*time.Hour {
			return fault.New(fault.Conflict, "Another process works on the image's bytes.")
		}
		return nil
	}
	require.ErrorContains(t, i.run(t, importInput(contract.ImportWeb, true, "hot")), "It is a qcow2.", "the first error is the one that is told")
	require.Equal(t, "parked", parked)
	require.Equal(t, "queued", i.status)
}
