package consoles

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/slipway-cloud/slipway/internal/alive"
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
	s.mu.Unlock()
	close(x.over)
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
	host.End(nil) // which the session has not seen if its user gave up as it came
}

const chunk = 32 << 10

// pass passes bytes both ways until one side ends, and says why; nil where it has ended in peace.
func (s *Service) pass(ctx context.Context, user, host Peer) error {
	ctx, end := context.WithCancelCause(ctx)
	idle := time.AfterFunc(s.config.Idle, func() {
		end(fault.New(fault.Conflict, "Nothing has passed on the console for %s", s.config.Idle))
	})
	defer idle.Stop()
	passed := func() { idle.Reset(s.config.Idle) }
	here, there := side{user, "user"}, side{host, "server's host"}
	var both sync.WaitGroup
	both.Go(func() { end(copyAll(there, here, passed)) })
	both.Go(func() { end(copyAll(here, there, passed)) })
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

// side is a peer, and whose it is.
type side struct {
	Peer
	whose string
}

func (x side) broke(err error) error {
	return fault.Wrap(fault.Unavailable, err, "The connection to the %s broke", x.whose)
}

// copyAll ends with an error always: io.EOF where from has ended in peace, and else a fault, of the side whose it is.
func copyAll(to, from side, passed func()) error {
	buffer := make([]byte, chunk)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			passed()
			wrong := to.SetWriteDeadline(time.Now().Add(alive.Stall))
			if wrong == nil {
				_, wrong = to.Write(buffer[:n])
			}
			if wrong != nil {
				return to.broke(wrong)
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF), errors.As(err, new(*fault.Error)):
			return err
		default:
			return from.broke(err)
		}
	}
}
