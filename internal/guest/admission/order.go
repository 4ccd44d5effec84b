package admission

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// remembered is how long a host knows that a server was undone here. A step's task that was on its way when the step was
// given up arrives within seconds; an hour is generous, and bounds the memory.
const remembered = time.Hour

// errOvertaken is why a do was cancelled or refused: an undo of its server has begun here.
var errOvertaken = errors.New("an undo of its server has begun on this host")

// order keeps the undo of a server behind its dos on this host. The engine gives a do up that it does not hear of and has
// it undone, while the do may still run here, or its task may still be on the way: what it takes afterwards would stay
// behind. So an undo cancels the dos of its server that run here and waits for their end, undos of a server run one after
// another, and a do that was scheduled before an undo that has begun here is refused. Servers never wait for each other.
type order struct {
	now func() time.Time

	mu      sync.Mutex
	servers map[string]*ordered
	swept   time.Time
}

// ordered is one server. The order's lock guards it.
type ordered struct {
	dos     map[*running]struct{}
	undos   int           // that wait or run
	undoing *running      // the undo that runs
	undone  time.Time     // when the latest undo that has begun here was scheduled
	changed chan struct{} // closed, and made anew, whenever something of the server has ended
	users   int           // who waits or runs
	ended   time.Time     // when the last of them left
}

// running is one try of a step that works, or is left behind and still counts.
type running struct {
	name   string
	cancel context.CancelCauseFunc
}

func newOrder() *order { return &order{now: time.Now, servers: map[string]*ordered{}} }

// do lets a do of a server begin. cancel is called when an undo of the server begins; end must be called when nothing of
// the do works any more. It waits for undos that were scheduled before it and still run: their workflow gave them up.
func (o *order) do(ctx context.Context, server, name string, scheduled time.Time, cancel context.CancelCauseFunc) (end func(), err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.enter(server)
	overtaken := func() bool { return scheduled.Before(s.undone) }
	if !o.wait(ctx, s, func() bool { return overtaken() || s.undos == 0 }) {
		o.leave(server, s)
		return nil, fault.Wrap(fault.Unavailable, ctx.Err(), "the host is still undoing what it had made for the server")
	}
	if overtaken() {
		o.leave(server, s)
		// Nobody waits for the answer. If somebody does, this host is not where it can be done.
		return nil, fault.Wrap(fault.HostUnfit, errOvertaken, "the step was given up before it began")
	}
	r := &running{name: name, cancel: cancel}
	s.dos[r] = struct{}{}
	return o.ending(server, s, func() { delete(s.dos, r) }), nil
}

// undo lets an undo of a server begin: when the server's dos, which it cancels, and other undos have ended. Where they do
// not within ctx it answers Unavailable, names them, and has to be tried again.
func (o *order) undo(ctx context.Context, server, name string, scheduled time.Time) (end func(), err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.enter(server)
	if scheduled.After(s.undone) {
		s.undone = scheduled
	}
	s.undos++
	for r := range s.dos {
		r.cancel(errOvertaken)
	}
	if !o.wait(ctx, s, func() bool { return s.undoing == nil && len(s.dos) == 0 }) {
		err = fault.Wrap(fault.Unavailable, ctx.Err(), "the undo waits for what still runs for the server on this host: %s", s.names())
		s.undos--
		s.tell()
		o.leave(server, s)
		return nil, err
	}
	s.undoing = &running{name: name}
	return o.ending(server, s, func() { s.undoing = nil; s.undos-- }), nil
}

// wait returns when ready, which it asks whenever something of the server has ended; false: ctx ended first. The lock is
// held when it is called, when it asks and when it returns.
func (o *order) wait(ctx context.Context, s *ordered, ready func() bool) bool {
	for !ready() {
		changed := s.changed
		o.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		o.mu.Lock()
		if ctx.Err() != nil && !ready() {
			return false
		}
	}
	return true
}

// ending is the end of a do or an undo.
func (o *order) ending(server string, s *ordered, f func()) func() {
	return sync.OnceFunc(func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		f()
		s.tell()
		o.leave(server, s)
	})
}

func (o *order) enter(server string) *ordered {
	o.forget()
	s := o.servers[server]
	if s == nil {
		s = &ordered{dos: map[*running]struct{}{}, changed: make(chan struct{})}
		o.servers[server] = s
	}
	s.users++
	return s
}

func (o *order) leave(server string, s *ordered) {
	if s.users--; s.users > 0 {
		return
	}
	if s.ended = o.now(); s.undone.IsZero() {
		delete(o.servers, server)
	}
}

// forget drops, at most once a minute, the servers of which nothing has run for long.
func (o *order) forget() {
	now := o.now()
	if now.Sub(o.swept) < time.Minute {
		return
	}
	o.swept = now
	for id, s := range o.servers {
		if s.users == 0 && now.Sub(s.ended) >= remembered {
			delete(o.servers, id)
		}
	}
}

func (s *ordered) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// names lists what runs.
func (s *ordered) names() string {
	var names []string
	for r := range s.dos {
		names = append(names, r.name)
	}
	if s.undoing != nil {
		names = append(names, s.undoing.name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
