package consoles

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// Session is a console that a user has open, or waits for.
type Session struct {
	id      string
	grant   models.ConsoleToken
	hostID  string
	arrived chan Peer     // the host, once
	over    chan struct{} // closed when it is

	expected bool // by the service's lock: the host has not come yet
}

// enter makes a session that waits for its host.
func (s *Service) enter(grant models.ConsoleToken, hostID string) (*Session, error) {
	x := &Session{id: rand.Text(), grant: grant, hostID: hostID, arrived: make(chan Peer, 1), over: make(chan struct{}), expected: true}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errStopping
	}
	ofUser, ofServer := 0, 0
	for _, y := range s.open {
		if y.grant.UserID == grant.UserID {
			ofUser++
		}
		if y.grant.ServerID == grant.ServerID {
			ofServer++
		}
	}
	switch {
	case ofUser >= maxPerUser:
		return nil, fault.New(fault.Forbidden, "You have %d consoles open: close one first", ofUser)
	case ofServer >= maxPerServer:
		return nil, fault.New(fault.Forbidden, "Instance %s has %d consoles open: close one first", grant.ServerID, ofServer)
	}
	s.open[x.id] = x
	s.served.Add(1)
	return x, nil
}

func (s *Service) leave(x *Session) {
	s.mu.Lock()
	delete(s.open, x.id)
	late := x.expected
	x.expected = false
	s.mu.Unlock()
	close(x.over)
	if !late {
		select {
		case host := <-x.arrived: // which came as the user gave up
			host.End(nil)
		default:
		}
	}
	s.served.Done()
}

// Expect is the session that a host has come for, which it is in for once: NotFound where it is another host's, or none of this process.
func (s *Service) Expect(hostID, id string) (*Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, ok := s.open[id]
	if !ok || x.hostID != hostID || !x.expected {
		return nil, fault.New(fault.NotFound, "Nobody waits here for the console of that session.")
	}
	x.expected = false
	return x, nil
}

// Join gives the session its host, and returns when it is over.
func (x *Session) Join(host Peer) {
	x.arrived <- host
	<-x.over
}

const (
	chunk = 32 << 10
	// stall is how long a side may leave what is sent to it untaken.
	stall = 30 * time.Second
)

// pass passes bytes both ways until one side ends, and says why; nil where it has ended in peace.
func (s *Service) pass(ctx context.Context, user, host Peer) error {
	ctx, end := context.WithCancelCause(ctx)
	idle := time.AfterFunc(s.config.Idle, func() {
		end(fault.New(fault.Conflict, "Nothing has passed on the console for %s", s.config.Idle))
	})
	defer idle.Stop()
	pass := func(to, from net.Conn, whose string) {
		err := copyAll(to, from, func() { idle.Reset(s.config.Idle) })
		if !errors.Is(err, io.EOF) && !errors.As(err, new(*fault.Error)) {
			err = fault.Wrap(fault.Unavailable, err, "The connection to the %s broke", whose)
		}
		end(err)
	}
	var both sync.WaitGroup
	both.Go(func() { pass(host, user, "user") })
	both.Go(func() { pass(user, host, "server's host") })
	<-ctx.Done()
	why := context.Cause(ctx)
	switch {
	case s.stopping.Err() != nil:
		why = errStopping
	case errors.Is(why, io.EOF):
		why = nil
	}
	// Each is told why before its reads end with it.
	user.End(why)
	host.End(why)
	both.Wait()
	return why
}

// copyAll ends with an error always: io.EOF where there is no more.
func copyAll(to, from net.Conn, passed func()) error {
	buffer := make([]byte, chunk)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			passed()
			if err := to.SetWriteDeadline(time.Now().Add(stall)); err != nil {
				return err
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return cmp.Or(err, io.EOF)
		}
	}
}
