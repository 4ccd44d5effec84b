package admission

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// hostUnderTest is a host that does as many steps at once as a test likes. In a synctest bubble its clock is the test's.
type hostUnderTest struct{ *Host }

func newHost() *hostUnderTest { return &hostUnderTest{New(100, nil)} }

// work is what a step does.
type work func(ctx context.Context) error

const ownDeadline = time.Minute

// try runs one try of a step to its answer.
func (h *hostUnderTest) try(ctx context.Context, s Step, w work) error {
	s.Log, s.Wanted = slog.New(slog.DiscardHandler), func(context.Context) error { return nil }
	_, _, err := h.Do(ctx, s, func(ctx context.Context) (any, error) { return nil, w(ctx) })
	return err
}

// do and undo begin a try, and give its answer when there is one. An undo has a minute, as the build gives it.
func (h *hostUnderTest) do(ctx context.Context, server string, scheduled time.Time, w work) <-chan error {
	return later(func() error {
		return h.try(ctx, Step{Name: "BuildDisk", Server: server, Turn: true, Scheduled: scheduled, Deadline: ownDeadline}, w)
	})
}

func (h *hostUnderTest) undo(ctx context.Context, server string, scheduled time.Time, w work) <-chan error {
	return later(func() error {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		return h.try(ctx, Step{Name: "RemoveDisk", Server: server, Undo: true, Scheduled: scheduled}, w)
	})
}

func later(f func() error) <-chan error {
	answer := make(chan error, 1)
	go func() { answer <- f() }()
	return answer
}

// waiting says that there is no answer, and that nothing but time could bring one.
func waiting(t *testing.T, answer <-chan error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-answer:
		t.Fatalf("it has answered: %v", err)
	default:
	}
}

func nothing(context.Context) error { return nil }

func TestAnUndoCancelsTheDosOfItsServerAndWaitsForTheirEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, start := newHost(), time.Now()
		var world []string
		cleanUp := make(chan struct{})
		do := h.do(t.Context(), "a", start, func(ctx context.Context) error {
			<-ctx.Done()
			<-cleanUp
			world = append(world, "made")
			return fmt.Errorf("copying: %w", ctx.Err())
		})
		synctest.Wait()
		undo := h.undo(t.Context(), "a", start.Add(time.Second), func(context.Context) error {
			world = append(world, "removed")
			return nil
		})
		waiting(t, undo)
		close(cleanUp)
		require.NoError(t, <-undo)
		require.Equal(t, []string{"made", "removed"}, world)
		err := <-do
		require.Equal(t, fault.HostUnfit, fault.KindOf(err), "nobody should try it again here")
		require.ErrorContains(t, err, "is being undone")
	})
}

func TestAnUndoReachesADoThatWaitsForItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, start := newHost(), time.Now()
		require.NoError(t, h.turns.Acquire(t.Context(), 100))
		do := h.do(t.Context(), "a", start, func(context.Context) error { t.Error("it was undone before it began"); return nil })
		waiting(t, do)
		require.NoError(t, <-h.undo(t.Context(), "a", start.Add(time.Second), nothing))
		require.Equal(t, fault.HostUnfit, fault.KindOf(<-do))
		h.turns.Release(100)
		require.NoError(t, <-h.do(t.Context(), "b", start, nothing), "the turns are all back")
	})
}

func TestADoThatWasScheduledBeforeAnUndoIsRefusedAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, start := newHost(), time.Now()
		require.NoError(t, <-h.undo(t.Context(), "a", start.Add(time.Second), nothing))
		err := <-h.do(t.Context(), "a", start, func(context.Context) error { t.Error("its undo has run"); return nil })
		require.Equal(t, fault.HostUnfit, fault.KindOf(err))
		require.ErrorContains(t, err, "given up before it began")
		require.NoError(t, <-h.do(t.Context(), "b", start, nothing), "another server's")
		require.NoError(t, <-h.do(t.Context(), "a", start.Add(2*time.Second), nothing), "a later one of the same server")
		require.NoError(t, <-h.undo(t.Context(), "a", start, nothing), "undos are never refused")
	})
}

func TestAnUndoThatFailedHasBegunAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, start := newHost(), time.Now()
		require.Error(t, <-h.undo(t.Context(), "a", start.Add(time.Second), func(context.Context) error { return errors.New("no") }))
		require.Error(t, <-h.do(t.Context(), "a", start, nothing))
	})
}

func TestUndosOfAServerRunOneAfterAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, start := newHost(), time.Now()
		end := make(chan struct{})
		slow := func(context.Context) error { <-end; return nil }
		first := h.undo(t.Context(), "a", start, slow)
		synctest.Wait()
		second := h.undo(t.Context(), "a", start, func(context.Context) error {
			select {
			case <-end:
			default:
				t.Error("the first one still runs")
			}
			return nil
		})
		waiting(t, second)
		close(end)
		require.NoError(t, <-first)
		require.NoError(t, <-second)
	})
}

func TestServersNeverWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, start := newHost(), time.Now()
		stop := make(chan struct{})
		stuck := func(context.Context) error { <-stop; return nil }
		do := h.do(t.Context(), "a", start, stuck)
		undo := h.undo(t.Context(), "b", start, stuck)
		waiting(t, do)
		waiting(t, undo)
		for range 3 {
			require.NoError(t, <-h.do(t.Context(), "c", start, nothing))
			require.NoError(t, <-h.undo(t.Context(), "c", start, nothing))
		}
		require.Zero(t, time.Since(start))
		close(stop)
		require.NoError(t, <-do)
		require.NoError(t, <-undo)
	})
}

func TestAStepThatIgnoresItsDeadlineIsLeftBehindAndItsUndoWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, start := newHost(), time.Now()
		stop := make(chan struct{})
		err := <-h.do(t.Context(), "a", start, func(context.Context) error { <-stop; return nil })
		require.Equal(t, fault.HostUnfit, fault.KindOf(err))
		require.ErrorContains(t, err, "within 1m0s")
		require.Equal(t, ownDeadline+h.grace, time.Since(start))
		require.True(t, h.turns.TryAcquire(100), "others have its turn")
		h.turns.Release(100)

		asked := time.Now()
		err = <-h.undo(t.Context(), "a", asked, func(context.Context) error { t.Error("it overtook its do"); return nil })
		require.Equal(t, fault.Unavailable, fault.KindOf(err))
		require.ErrorContains(t, err, "BuildDisk", "an operator sees what it waits for")
		require.Less(t, time.Since(asked), time.Minute, "the engine hears nothing of what is said after the deadline")

		undo := h.undo(t.Context(), "a", asked, nothing) // the next try
		waiting(t, undo)
		close(stop)
		require.NoError(t, <-undo)
	})
}

func TestAStepThatTheEngineCancelledIsLeftBehindToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, start := newHost(), time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		stop := make(chan struct{})
		do := h.do(ctx, "a", start, func(context.Context) error { <-stop; return nil })
		waiting(t, do)
		cancel()
		require.ErrorIs(t, <-do, context.Canceled, "the answer to a cancellation is that it was cancelled")
		require.Equal(t, h.grace, time.Since(start))
		undo := h.undo(t.Context(), "a", time.Now(), nothing)
		waiting(t, undo)
		close(stop)
		require.NoError(t, <-undo)
	})
}

func TestADoWaitsForAnUndoThatItsWorkflowHasLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, start := newHost(), time.Now()
		stop := make(chan struct{})
		undo := h.undo(t.Context(), "a", start, func(context.Context) error { <-stop; return nil })
		require.ErrorIs(t, <-undo, context.DeadlineExceeded)
		do := h.do(t.Context(), "a", time.Now(), nothing)
		waiting(t, do)
		close(stop)
		require.NoError(t, <-do)
	})
}

func TestAPanicIsTheStepsBugAndNotTheEndOfTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost()
		err := <-h.do(t.Context(), "a", time.Now(), func(context.Context) error { panic("nil map") })
		require.Equal(t, fault.Internal, fault.KindOf(err))
		require.ErrorContains(t, err, "nil map")
		require.ErrorContains(t, err, "admission_test.go", "the stack is the panic's")
		require.NoError(t, <-h.undo(t.Context(), "a", time.Now(), nothing))
	})
}

func TestTheOrderForgetsServersAnHourAfterTheirLastUndo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, start := newHost(), time.Now()
		stop := make(chan struct{})
		for i := range 50 {
			require.NoError(t, <-h.do(t.Context(), fmt.Sprint("never undone ", i), start, nothing))
		}
		require.Empty(t, h.order.servers)
		for i := range 50 {
			require.NoError(t, <-h.undo(t.Context(), fmt.Sprint("undone ", i), start, nothing))
		}
		stuck := h.undo(t.Context(), "stuck", start, func(context.Context) error { <-stop; return nil })
		require.Error(t, <-stuck)
		time.Sleep(remembered - 2*time.Minute)
		require.NoError(t, <-h.do(t.Context(), "another", time.Now(), nothing))
		require.Len(t, h.order.servers, 51)
		time.Sleep(3 * time.Minute)
		require.NoError(t, <-h.do(t.Context(), "another", time.Now(), nothing))
		require.Len(t, h.order.servers, 1, "what still runs is not forgotten")
		close(stop)
	})
}

// What may not be undone ends nothing of the server and waits for nothing; what is done is not asked about.
func TestAnUndoThatMayNotBeHasNotBegun(t *testing.T) {
	var refused error
	h, worked := &hostUnderTest{New(1, func(context.Context, string) error { return refused })}, 0
	work := func(context.Context) error { worked++; return nil }
	refused = fault.New(fault.Unavailable, "not now")
	began := time.Now()
	require.Equal(t, refused, <-h.undo(t.Context(), "a", began, work))
	require.NoError(t, <-h.do(t.Context(), "a", began.Add(-time.Second), work), "no undo has begun here")
	refused = nil
	require.NoError(t, <-h.undo(t.Context(), "a", began, work))
	require.Equal(t, 2, worked)
}

// Whatever happens at the same moment, a server's undo is alone with it, and what is scheduled before an undo that has
// begun does not begin.
func TestNoUndoIsEverBesideAnythingOfItsServer(t *testing.T) {
	o := newOrder()
	type state struct {
		dos, undos atomic.Int64
		undone     atomic.Int64
	}
	servers := [3]state{}
	var tries sync.WaitGroup
	epoch := time.Unix(1_000_000, 0)
	for i := range 600 {
		tries.Go(func() {
			name := fmt.Sprint(i % len(servers))
			s, at := &servers[i%len(servers)], int64(i)
			scheduled := epoch.Add(time.Duration(at))
			if rand.N(3) > 0 {
				ctx, cancel := context.WithCancelCause(context.Background())
				defer cancel(nil)
				undone := s.undone.Load()
				end, err := o.do(ctx, name, "do", scheduled, cancel)
				if err != nil {
					return
				}
				s.dos.Add(1)
				if s.undos.Load() != 0 || at < undone {
					t.Errorf("a do of server %s runs beside its undo, or after a later one", name)
				}
				if rand.N(2) == 0 {
					time.Sleep(time.Duration(rand.N(200)) * time.Microsecond)
				}
				s.dos.Add(-1)
				end()
				return
			}
			end, err := o.undo(context.Background(), name, "undo", scheduled)
			if err != nil {
				t.Errorf("undo: %v", err)
				return
			}
			if s.undos.Add(1) != 1 || s.dos.Load() != 0 {
				t.Errorf("an undo of server %s is not alone", name)
			}
			for was := s.undone.Load(); was < at && !s.undone.CompareAndSwap(was, at); was = s.undone.Load() {
			}
			s.undos.Add(-1)
			end()
		})
	}
	tries.Wait()
	for name, s := range o.servers {
		require.Zero(t, s.users, name)
		require.Empty(t, s.dos, name)
	}
}
