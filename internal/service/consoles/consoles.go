// Package consoles brings users to the consoles of their servers. A hypervisor does not listen for users: the API process that a user has
// come to orders the server's host there too, by a workflow, and passes the bytes between the two.
package consoles

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

// Engine has a server's host bring a console to a session, or, without one, say whether there is one (engine.Client): Invalid and
// Conflict where there is none, Unavailable where the host does not answer.
type Engine interface {
	OpenConsole(ctx context.Context, in contract.OpenConsoleInput) error
}

// Config of the service. A zero field is what is said beside it, where something is.
type Config struct {
	TokenTTL time.Duration // 10 minutes
	// Idle is how long a console stays open on which nothing passes: 30 minutes.
	Idle time.Duration
	// AdvertiseURL is the address of this process for hosts; "" is what they know, right where it is the only one.
	AdvertiseURL string
	Logger       *slog.Logger // slog.Default()
}

// What a process keeps open at once. A serial port has one reader, which its host sees to.
const (
	maxPerUser   = 20
	maxPerServer = 10
)

// meetPatience bounds how long a host may take to come.
const meetPatience = 20 * time.Second

// Service is the consoles of one process.
type Service struct {
	store  *models.Store
	engine Engine
	config Config

	stopping context.Context
	stop     context.CancelFunc

	mu     sync.Mutex
	closed bool
	open   map[string]*Session // by id
	served sync.WaitGroup
}

// New makes the service; Close ends it.
func New(store *models.Store, engine Engine, config Config) *Service {
	if config.TokenTTL <= 0 {
		config.TokenTTL = 10 * time.Minute
	}
	if config.Idle <= 0 {
		config.Idle = 30 * time.Minute
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	s := &Service{store: store, engine: engine, config: config, open: map[string]*Session{}}
	s.stopping, s.stop = context.WithCancel(context.Background())
	return s
}

// Close ends every session and waits for them; none is opened afterwards.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.served.Wait()
}

// Open counts the sessions, by the console's type.
func (s *Service) Open() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := map[string]int{contract.ConsoleSerial: 0, contract.ConsoleVNC: 0}
	for _, x := range s.open {
		count[x.grant.Type]++
	}
	return count
}

// Grant gives a token that opens a console of a server once, where its host says that there is such a console now. what is asked is
// told in refusals, in Nova's name for it.
func (s *Service) Grant(ctx context.Context, v models.Server, kind, what, userID string) (token string, err error) {
	switch {
	case v.Task() == lifecycle.Deleting:
		return "", v.Refuses(what, "task_state", v.Task())
	case v.Host == nil:
		return "", notReady(v)
	}
	if err := s.engine.OpenConsole(ctx, contract.OpenConsoleInput{ServerID: v.ID, Hostname: v.Host.Hostname, Type: kind}); err != nil {
		return "", fmt.Errorf("look for the %s console of server %s: %w", kind, v.ID, err)
	}
	token, hash := auth.NewToken()
	return token, s.store.CreateConsoleToken(ctx, models.ConsoleToken{
		Hash: hash, ServerID: v.ID, Type: kind, UserID: userID, ExpiresAt: time.Now().Add(s.config.TokenTTL),
	})
}

// Granted is the server whose console a token opens; NotFound where it has been used or has expired.
func (s *Service) Granted(ctx context.Context, token string) (models.Server, error) {
	grant, err := s.store.ConsoleToken(ctx, auth.HashToken(token), time.Now())
	if err != nil {
		return models.Server{}, err
	}
	return s.store.Server(ctx, grant.ServerID)
}

// Peer is one side of a session, who is told why it ends; nil is in peace.
type Peer interface {
	net.Conn
	End(why error)
}

// Serve brings whoever holds a token to the console that it opens, once, and returns when that is over.
func (s *Service) Serve(ctx context.Context, token string, user Peer) {
	why := s.serve(ctx, token, user)
	user.End(why)
}

func (s *Service) serve(ctx context.Context, token string, user Peer) error {
	const spent = "The address of the console has been used or has expired: ask for another"
	hash := auth.HashToken(token)
	grant, err := s.store.ConsoleToken(ctx, hash, time.Now())
	if err != nil {
		return fault.Absent(err, fault.Unauthorized, spent)
	}
	v, err := s.store.Server(ctx, grant.ServerID)
	switch {
	case err != nil:
		return err
	case v.Host == nil:
		return notReady(v)
	}
	x, err := s.enter(grant, v.Host.ID)
	if err != nil {
		return err
	}
	defer s.leave(x)
	// Now only: whoever has too many open may close one, and come again.
	if _, err := s.store.UseConsoleToken(ctx, hash, time.Now()); err != nil {
		return fault.Absent(err, fault.Unauthorized, spent)
	}
	log := s.config.Logger.With("server_id", v.ID, "type", grant.Type, "user", grant.UserID, "session", x.id)
	err = s.meet(ctx, x, v.Host.Hostname, user)
	log.Info("A console is closed.", "why", fmt.Sprint(err))
	return err
}

// meet has the host come, and passes bytes until one side ends.
func (s *Service) meet(ctx context.Context, x *Session, hostname string, user Peer) error {
	var order sync.WaitGroup
	defer order.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.stopping, cancel)()
	waiting, stop := context.WithTimeout(ctx, meetPatience)
	defer stop()
	asked := make(chan error, 1)
	order.Go(func() {
		asked <- s.engine.OpenConsole(waiting, contract.OpenConsoleInput{
			ServerID: x.grant.ServerID, Hostname: hostname, Type: x.grant.Type, Session: x.id, API: s.config.AdvertiseURL,
		})
	})
	for {
		select {
		case host := <-x.arrived:
			return s.pass(ctx, user, host)
		case err := <-asked:
			switch {
			case s.stopping.Err() != nil: // which ended the order too
				return errStopping
			case err != nil:
				return err
			}
			asked = nil // it is on its way
		case <-waiting.Done():
			if s.stopping.Err() != nil {
				return errStopping
			}
			return fault.New(fault.Unavailable, "The console could not be opened: the server's host did not come in time")
		}
	}
}

var errStopping = fault.New(fault.Unavailable, "The API process that the console was open at is being stopped: open it again")

func notReady(v models.Server) error {
	return fault.New(fault.Conflict, "Instance %s is not ready", v.ID)
}
