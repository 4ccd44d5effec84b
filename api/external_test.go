package api

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/keystone"
	people "github.com/slipway-cloud/slipway/internal/service/identity"
	"github.com/slipway-cloud/slipway/internal/sigv4"
)

// saying is a Keystone that says what a test has it say (internal/keystone asks a double of one).
type saying struct {
	mu    sync.Mutex
	token keystone.Token
	err   error
	wait  chan struct{}
	asked atomic.Int64
}

func (s *saying) says(token keystone.Token, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token, s.err = token, err
}

func (s *saying) Token(_ context.Context, text string) (keystone.Token, error) {
	s.asked.Add(1)
	if s.wait != nil {
		<-s.wait
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.HasPrefix(text, "nobody's") {
		return keystone.Token{}, fault.New(fault.NotFound, "Could not find token.")
	}
	return s.token, s.err
}

func (s *saying) Signer(ctx context.Context, _ sigv4.Request, _ sigv4.Signature) (keystone.Token, error) {
	return s.Token(ctx, "")
}

func annIn(project string, roles ...string) keystone.Token {
	home := keystone.Named{ID: "d1", Name: "Acme"}
	return keystone.Token{
		User: keystone.Named{ID: "ann-id", Name: "ann", Domain: &home}, Project: keystone.Named{ID: project, Name: project, Domain: &home},
		Roles: roles, ExpiresAt: time.Now().Add(time.Hour),
	}
}

const loginURL = "https://keystone.example.org:5000/v3"

// external is a world whose tokens another service issues.
func external(t *testing.T, k *saying, ttl time.Duration) *world {
	w := newWorld(t)
	require.NoError(t, w.stop())
	w.external = people.NewExternal(w.store, k, ttl)
	w.serve()
	return w
}

func (w *world) with(token, path string) answer {
	w.t.Helper()
	w.tokens["theirs"] = token
	return w.do("theirs", "GET", path, nil)
}

func TestAnotherServicesTokensLetInAsItSays(t *testing.T) {
	k := &saying{}
	w := external(t, k, time.Minute)
	k.says(annIn("p-1", "member", "reader", "ours-alone"), nil)
	require.Equal(t, http.StatusOK, w.with("one", "/compute/v2.1/servers").status)
	require.Equal(t, http.StatusForbidden, w.with("one", "/hosts").status)
	p, err := w.store.Project(t.Context(), "p-1")
	require.NoError(t, err)
	require.Equal(t, "d1", p.DomainID)
	a := w.do("theirs", "POST", "/compute/v2.1/os-keypairs", map[string]any{"keypair": map[string]any{"name": "mine"}})
	require.Equal(t, http.StatusOK, a.status, a.body)
	require.EqualValues(t, 1, k.asked.Load(), "it is believed for a while")

	k.says(annIn("p-1", "admin", "member", "reader"), nil)
	require.Equal(t, http.StatusOK, w.with("two", "/hosts").status)
	domain := annIn("", "admin")
	domain.Project, domain.Domain = keystone.Named{}, keystone.Named{ID: "d1", Name: "Acme"}
	k.says(domain, nil)
	require.Equal(t, http.StatusForbidden, w.with("three", "/hosts").status)

	a = w.with("nobody's", "/compute/v2.1/servers")
	require.Equal(t, http.StatusUnauthorized, a.status)
	require.Equal(t, "Keystone uri='"+loginURL+"'", a.header.Get("WWW-Authenticate"))

	k.says(keystone.Token{}, fault.New(fault.Unavailable, "The identity service does not answer. Please try again later."))
	a = w.with("four", "/image/v2/images")
	require.Equal(t, http.StatusServiceUnavailable, a.status, a.body)
	require.NotEmpty(t, a.header.Get("Retry-After"))
	require.Empty(t, a.header.Get("WWW-Authenticate"))
	require.Equal(t, http.StatusOK, w.with("one", "/compute/v2.1/servers").status, "what was said holds for its time")
	require.NotContains(t, w.log.String(), "four")

	// Its own tokens let nobody in any more, however long they would have lived.
	k.says(keystone.Token{}, fault.New(fault.NotFound, "Could not find token."))
	require.Equal(t, http.StatusUnauthorized, w.do("admin", "GET", "/hosts", nil).status)
}

func TestWhatIsBelievedOfATokenEndsWithItAndWithItsTime(t *testing.T) {
	k := &saying{}
	w := external(t, k, 0)
	k.says(annIn("p-1", "member"), nil)
	for range 3 {
		require.Equal(t, http.StatusOK, w.with("one", "/compute/v2.1/servers").status)
	}
	require.EqualValues(t, 3, k.asked.Load(), "nothing is believed without being asked")

	short := &saying{}
	w = external(t, short, time.Hour)
	ending := annIn("p-1", "member")
	ending.ExpiresAt = time.Now().Add(-time.Second) // it ended while it was asked
	short.says(ending, nil)
	w.with("one", "/compute/v2.1/servers")
	w.with("one", "/compute/v2.1/servers")
	require.EqualValues(t, 2, short.asked.Load())
}

func TestManyWithOneTokenWaitForOneAnswer(t *testing.T) {
	k := &saying{wait: make(chan struct{})}
	w := external(t, k, time.Minute)
	k.says(annIn("p-1", "member"), nil)
	ctx, give := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := w.external.Token(ctx, "one")
		first <- err
	}()
	require.Eventually(t, func() bool { return k.asked.Load() == 1 }, time.Minute, time.Millisecond)
	give() // who came first has gone
	require.ErrorIs(t, <-first, context.Canceled)
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			info, err := w.external.Token(t.Context(), "one")
			if err != nil || info.User.ID != "ann-id" {
				t.Error(info, err)
			}
		})
	}
	close(k.wait)
	wait.Wait()
	require.EqualValues(t, 1, k.asked.Load())
}

func TestTheAPIsOwnIdentityServiceSaysWhereToLogIn(t *testing.T) {
	w := external(t, &saying{}, 0)
	require.Contains(t, string(w.do("", "GET", "/", nil).body), loginURL+"/")
	require.Contains(t, string(w.do("", "GET", "/v3", nil).body), loginURL+"/")
	for _, asked := range []struct{ method, path string }{
		{"POST", "/v3/auth/tokens"}, {"GET", "/v3/projects"}, {"PUT", "/v3/projects/a/users/b/roles/c"}, {"DELETE", "/v3/users/x"}, {"POST", "/v3/ec2tokens"},
	} {
		a := w.do("", asked.method, asked.path, map[string]any{"auth": map[string]any{"password": "somebody's"}})
		require.Equal(t, http.StatusNotImplemented, a.status, asked)
		require.Contains(t, string(a.body), loginURL, asked)
	}
	require.NotContains(t, w.log.String(), "somebody's")
}

func BenchmarkATokenThatIsBelieved(b *testing.B) {
	k := &saying{token: annIn("p-1", "member")}
	w := newWorld(b)
	e := people.NewExternal(w.store, k, time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Token(b.Context(), "gAAAAA-a-token"); err != nil {
			b.Fatal(err)
		}
	}
}
