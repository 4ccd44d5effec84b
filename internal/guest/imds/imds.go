// Package imds is the metadata service that this host's guests find at 169.254.169.254 and fe80::a9fe:a9fe: Nova's trees and EC2's, with
// the tokens of its second version. Who asks is told by the network alone (Asker), what is answered by the API (Source).
package imds

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/singleflight"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/metadata"
	"github.com/slipway-cloud/slipway/internal/ids"
)

// Where guests find it.
var (
	AddressV4 = netip.MustParseAddr(ids.MetadataV4)
	AddressV6 = netip.MustParseAddr(ids.MetadataV6)
)

// Port is that of the service.
const Port = 80

// Asker is who asks, by what the network says: which network it came from, and which address and MAC its connection has. Nothing that
// a request says adds to it.
type Asker struct {
	Network string
	Address netip.Addr // without a zone
	MAC     string
	// Connected is when its connection was made.
	Connected time.Time
}

// Source is what knows the servers of this host.
type Source interface {
	// Metadata of the server whose port has the address on the network, and is on this host; NotFound where there is none. Another fault
	// is that it cannot be told now.
	Metadata(ctx context.Context, network string, address netip.Addr) (metadata.Instance, error)
	// SetPassword keeps what the guest of a port made for itself; Conflict where something is kept.
	SetPassword(ctx context.Context, portID, password string) error
}

// Options of a Service.
type Options struct {
	Source Source
	Logger *slog.Logger
}

// Service answers guests. It is safe for concurrent use.
type Service struct {
	source Source
	log    *slog.Logger
	tokens tokens
	limits limits
	asking singleflight.Group
	now    func() time.Time

	mu    sync.Mutex
	known map[place]*known
}

// place is where a server's port is.
type place struct {
	network string
	address netip.Addr
}

// known is what was answered for a place. None is known of it where instance is nil.
type known struct {
	instance *metadata.Instance
	tree     *metadata.Tree
	err      error     // in which it was asked for last, whatever was known before
	asked    time.Time // it is not asked for again before keepsNone have passed
	until    time.Time // it is asked for again behind that
}

const (
	keeps     = 15 * time.Second // what was answered is answered again (Nova's metadata_cache_expiration)
	keepsNone = time.Second      // a guest that asks while its server is not known yet, or cannot be told, waits no longer than it has to
	mostKnown = 4096             // places of which anything is kept
)

// New makes the service.
func New(o Options) *Service {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	s := &Service{source: o.Source, log: o.Logger, now: time.Now, known: map[place]*known{}}
	_, _ = rand.Read(s.tokens.key[:]) // it never fails
	return s
}

// Forget drops all that is known of a network: this host has no port on it any more.
func (s *Service) Forget(network string) {
	s.limits.forget(network)
	s.mu.Lock()
	defer s.mu.Unlock()
	for at := range s.known {
		if at.network == network {
			delete(s.known, at)
		}
	}
}

// ForgetPort drops what is known of a port.
func (s *Service) ForgetPort(portID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at, k := range s.known {
		if k.instance != nil && k.instance.PortID == portID {
			delete(s.known, at)
		}
	}
}

var (
	errNobody    = errors.New("no server of this host has the address")
	errUnguarded = errors.New("the port has no port security")
	errUnkept    = errors.New("the server was built before what its guest is told was kept")
)

// who is the server that asks. The MAC has to be its port's: an address may have gone to another server since the switch was told, and
// may be allowed to one that is not its own. A port that asks with one MAC after another has the API asked no more often than any.
func (s *Service) who(ctx context.Context, a Asker) (*known, error) {
	at := place{a.Network, a.Address}
	s.mu.Lock()
	k := s.known[at]
	s.mu.Unlock()
	now := s.now()
	another := k != nil && k.instance != nil && k.instance.MAC != a.MAC
	if k == nil || !now.Before(k.until) || another && now.Sub(k.asked) >= keepsNone {
		fresh, _, _ := s.asking.Do(at.network+" "+at.address.String(), func() (any, error) { return s.ask(ctx, at), nil })
		k = fresh.(*known)
	}
	switch {
	case k.instance == nil && k.err != nil:
		return nil, k.err
	case k.instance == nil:
		return nil, errNobody
	case k.instance.Unguarded:
		return nil, errUnguarded
	case k.instance.MAC != a.MAC:
		return nil, errNobody
	case k.instance.Unkept:
		return nil, errUnkept
	}
	return k, nil
}

// askPatience is how long a guest waits for the API.
const askPatience = 5 * time.Second

// ask has the API say who is at a place. Where it does not, what was true before stays.
func (s *Service) ask(ctx context.Context, at place) *known {
	// Others may wait for the same answer: it is not one request's.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askPatience)
	defer cancel()
	instance, err := s.source.Metadata(ctx, at.network, at.address)
	k := &known{asked: s.now()}
	if err == nil {
		k.instance, k.until = &instance, k.asked.Add(keeps)
		k.tree, err = metadata.NewTree(instance.Metadata)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.known[at]
	if err != nil {
		k = &known{asked: k.asked, until: k.asked.Add(keepsNone)}
		if !fault.Is(err, fault.NotFound) {
			k.err = err
			s.untold(at, before, err)
			if before != nil {
				k.instance, k.tree = before.instance, before.tree
			}
		}
	}
	if before == nil && len(s.known) >= mostKnown {
		s.makeRoom()
	}
	s.known[at] = k
	return k
}

// untold logs that the API does not say who is at a place, once until it does.
func (s *Service) untold(at place, before *known, err error) {
	switch {
	case before != nil && before.err != nil:
	case before != nil && before.instance != nil:
		s.log.Debug("metadata is answered as it was", "server_id", before.instance.ServerID, "error", err)
	default:
		s.log.Warn("metadata cannot be answered", "network_id", at.network, "address", at.address, "error", err)
	}
}

// makeRoom drops what is known of one place, of the network that has most: whose guests try many addresses loses what they are told, and
// no other. One where no server is goes first.
func (s *Service) makeRoom() {
	places, most := map[string]int{}, ""
	for at := range s.known {
		if places[at.network]++; places[at.network] > places[most] {
			most = at.network
		}
	}
	var drop place
	for at, k := range s.known {
		if at.network == most {
			if drop = at; k.instance == nil {
				break
			}
		}
	}
	delete(s.known, drop)
}

const (
	forwardedFor = "X-Forwarded-For"
	retryAfter   = "Retry-After"
)

// Handler answers who asks on a connection. Before it answers a server it has confirm make sure that answers go to that server's port,
// and tell since when they do.
func (s *Service) Handler(asker func(*http.Request) (Asker, bool), confirm func(Asker) (since time.Time, err error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		a, ok := asker(r)
		switch {
		case !ok:
			refuse(w, http.StatusNotFound, "Who asks cannot be told.")
			return
		case r.Header.Values(forwardedFor) != nil: // it was sent on: by whom, and for whom, nobody can tell
			refuse(w, http.StatusForbidden, "Requests with the header "+forwardedFor+" are not answered.")
			return
		case !s.limits.allow(a, s.now()):
			w.Header().Set(retryAfter, "1")
			refuse(w, http.StatusTooManyRequests, "Too many requests.")
			return
		}
		k, err := s.who(r.Context(), a)
		var since time.Time
		if err == nil {
			if since, err = confirm(a); err != nil {
				s.log.Warn("metadata cannot be answered", "network_id", a.Network, "address", a.Address, "error", err)
			}
		}
		switch {
		case err == nil && r.Method == http.MethodPost && !since.Before(a.Connected):
			// Whoever has made this connection may have been another, who does not see what is answered, and need not.
			w.Header().Set("Connection", "close")
			w.Header().Set(retryAfter, "1")
			refuse(w, http.StatusServiceUnavailable, "Please try again on another connection.")
		case err == nil:
			s.answer(w, r, k)
		case errors.Is(err, errUnguarded):
			refuse(w, http.StatusNotFound, "The port of this address has no port security, so it may be another's address. "+
				"Servers with such ports read their metadata from a config drive: create them with config_drive.")
		case errors.Is(err, errUnkept):
			refuse(w, http.StatusNotFound, "This server was built before what a server is told was kept: its config drive tells it, where it has one. "+
				"Create it anew to be answered here.")
		case errors.Is(err, errNobody):
			refuse(w, http.StatusNotFound, "No server of this host has this address as its own.")
		default:
			w.Header().Set(retryAfter, "5")
			refuse(w, http.StatusServiceUnavailable, "Metadata cannot be told now. Please try again later.")
		}
	})
}

func (s *Service) answer(w http.ResponseWriter, r *http.Request, k *known) {
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if strings.TrimRight(r.URL.Path, "/") == tokenPath && !reads {
		s.giveToken(w, r, k.instance.ServerID)
		return
	}
	if token := r.Header.Get(headerToken); token != "" && !s.tokens.valid(token, k.instance.ServerID, s.now()) {
		refuse(w, http.StatusUnauthorized, "The token is not one of this server, or has expired.")
		return
	}
	if metadata.IsPassword(r.URL.Path) {
		if r.Method == http.MethodPost {
			s.takePassword(w, r, k.instance)
			return
		}
		if reads {
			write(w, metadata.Answer{Type: "text/plain; charset=utf-8", Body: []byte(k.instance.Password)})
			return
		}
	}
	found, ok := k.tree.Get(r.URL.Path)
	switch {
	case !reads:
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, "This can only be read.")
	case !ok:
		refuse(w, http.StatusNotFound, "Not found.")
	default:
		write(w, found)
	}
}

// takePassword keeps what a guest posts, once (nova/api/metadata/password.py): the password that it made for itself, which it has
// encrypted with its key pair.
func (s *Service) takePassword(w http.ResponseWriter, r *http.Request, of *metadata.Instance) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, metadata.MostPassword))
	if err != nil || len(body) == 0 || !utf8.Valid(body) || bytes.IndexByte(body, 0) >= 0 {
		refuse(w, http.StatusBadRequest, "A password is text of 1 to "+strconv.Itoa(metadata.MostPassword)+" bytes.")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), askPatience)
	defer cancel()
	err = s.source.SetPassword(ctx, of.PortID, string(body))
	s.ForgetPort(of.PortID) // also where it failed: it may have been kept
	switch {
	case err == nil:
		w.WriteHeader(http.StatusOK)
	case fault.Is(err, fault.Conflict):
		refuse(w, http.StatusConflict, "A password was posted before.")
	case fault.Is(err, fault.NotFound):
		refuse(w, http.StatusNotFound, "No server of this host has this address as its own.")
	default:
		s.log.Warn("a guest's password cannot be kept", "server_id", of.ServerID, "error", err)
		w.Header().Set(retryAfter, "5")
		refuse(w, http.StatusServiceUnavailable, "The password cannot be kept now. Please try again later.")
	}
}

func write(w http.ResponseWriter, a metadata.Answer) {
	w.Header().Set("Content-Type", a.Type)
	w.Header().Set("Content-Length", strconv.Itoa(len(a.Body)))
	_, _ = w.Write(a.Body)
}

func refuse(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n")
}
