package keystone

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/sigv4"
)

// double is a Keystone that says what a test has it say.
type double struct {
	*httptest.Server
	logins, asked atomic.Int64
	life          time.Duration // of the service user's tokens

	mu      sync.Mutex
	current string // token of the service user
	login   func(w http.ResponseWriter)
	token   func(w http.ResponseWriter, r *http.Request)
	signed  map[string]any
}

const secret = "the service user's own"

func newDouble(t *testing.T) *double {
	d := &double{life: time.Hour}
	d.Server = httptest.NewServer(d)
	t.Cleanup(d.Close)
	return d
}

func (d *double) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	login, token, current := d.login, d.token, d.current
	d.mu.Unlock()
	switch r.Method + " " + r.URL.Path {
	case "POST /v3/auth/tokens":
		n := d.logins.Add(1)
		if login != nil {
			login(w)
			return
		}
		var in struct {
			Auth struct {
				Identity struct {
					Password struct {
						User struct{ Name, Password string }
					}
				}
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Auth.Identity.Password.User.Password != secret {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		d.mu.Lock()
		d.current = fmt.Sprintf("own-%d", n)
		w.Header().Set("X-Subject-Token", d.current)
		d.mu.Unlock()
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"token": {"expires_at": %q}}`, time.Now().Add(d.life).UTC().Format(time.RFC3339Nano))
		return
	case "GET /v3/auth/tokens":
		d.asked.Add(1)
	case "POST /v3/ec2tokens":
		d.mu.Lock()
		d.signed = map[string]any{}
		_ = json.NewDecoder(r.Body).Decode(&d.signed)
		d.mu.Unlock()
	default:
		w.WriteHeader(http.StatusTeapot)
		return
	}
	if r.Header.Get("X-Auth-Token") != current {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if r.Header.Get("X-Subject-Token") == current {
		fmt.Fprint(w, good(""))
		return
	}
	token(w, r)
}

func (d *double) says(body string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.token = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }
}

func (d *double) answers(status int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.token = func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error": {"message": "about %s"}}`, r.Header.Get("X-Subject-Token"))
	}
}

func (d *double) client(t *testing.T) *Client {
	c, err := New(Config{
		URL: d.URL + "/v3", Username: "slipway", UserDomain: "Default", Project: "service", ProjectDomain: "Default",
		Password: func() (string, error) { return secret, nil }, Patience: 5 * time.Second,
	})
	require.NoError(t, err)
	return c
}

const someone = `"user": {"id": "u1", "name": "ann", "domain": {"id": "default", "name": "Default"}}, "expires_at": "2999-01-02T03:04:05.000000Z"`

func good(more string) string { return `{"token": {` + someone + more + `}}` }

const onProject = `, "project": {"id": "p1", "name": "demo", "domain": {"id": "d1", "name": "Ours"}}`

func TestATokenIsWhatKeystoneSaysOfIt(t *testing.T) {
	d := newDouble(t)
	c := d.client(t)
	roles := `, "roles": [{"id": "1", "name": "member"}, {"id": "2", "name": "reader"}]`
	ann := Named{"u1", "ann", &Named{"default", "Default", nil}}
	ends := time.Date(2999, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, one := range map[string]struct {
		body string
		want Token
	}{
		"of a project":   {good(onProject + roles), Token{User: ann, Project: Named{"p1", "demo", &Named{"d1", "Ours", nil}}, Roles: []string{"member", "reader"}, ExpiresAt: ends}},
		"of a domain":    {good(`, "domain": {"id": "d1", "name": "Ours"}` + roles), Token{User: ann, Domain: Named{"d1", "Ours", nil}, Roles: []string{"member", "reader"}, ExpiresAt: ends}},
		"of the system":  {good(`, "system": {"all": true}` + roles), Token{User: ann, System: true, Roles: []string{"member", "reader"}, ExpiresAt: ends}},
		"of nothing":     {good(roles), Token{User: ann, ExpiresAt: ends}},
		"of a programme": {good(onProject + roles + `, "application_credential": {"id": "a1", "name": "ci", "restricted": true}`), Token{User: ann, Project: Named{"p1", "demo", &Named{"d1", "Ours", nil}}, Roles: []string{"member", "reader"}, ExpiresAt: ends, Application: Named{"a1", "ci", nil}, Restricted: true}},
	} {
		d.says(one.body)
		got, err := c.Token(t.Context(), "subject")
		require.NoError(t, err, name)
		got.IssuedAt = time.Time{}
		require.Equal(t, one.want, got, name)
	}
	require.EqualValues(t, 1, d.logins.Load(), "the service user logs in once")
}

func TestWhatLetsNobodyInAndWhatIsNoAnswerAreTwoThings(t *testing.T) {
	d := newDouble(t)
	c := d.client(t)
	for name, one := range map[string]struct {
		say  func()
		kind fault.Kind
	}{
		"no such token":              {func() { d.answers(404) }, fault.NotFound},
		"a server error":             {func() { d.answers(500) }, fault.Unavailable},
		"too many requests":          {func() { d.answers(429) }, fault.Unavailable},
		"no right to ask":            {func() { d.answers(403) }, fault.Unavailable},
		"a redirect":                 {func() { d.answers(302) }, fault.Unavailable},
		"no JSON":                    {func() { d.says("<html>") }, fault.Unavailable},
		"something else":             {func() { d.says(`{"version": {}}`) }, fault.Unavailable},
		"nothing":                    {func() { d.says("") }, fault.Unavailable},
		"without an end":             {func() { d.says(`{"token": {"user": {"id": "u", "name": "n", "domain": {"id": "d", "name": "d"}}}}`) }, fault.Unavailable},
		"ended":                      {func() { d.says(strings.Replace(good(""), "2999", "1999", 1)) }, fault.NotFound},
		"of a user without a domain": {func() { d.says(`{"token": {"user": {"id": "u", "name": "n"}, "expires_at": "2999-01-02T03:04:05Z"}}`) }, fault.Unavailable},
		"with a null character":      {func() { d.says(strings.Replace(good(""), "ann", `a\u0000n`, 1)) }, fault.Unavailable},
		"of two scopes":              {func() { d.says(good(onProject + `, "system": {"all": true}, "roles": [{"name": "admin"}]`)) }, fault.Unavailable},
		"of a project without roles": {func() { d.says(good(onProject)) }, fault.NotFound},
		"of a domain as a project":   {func() { d.says(good(onProject + `, "is_domain": true, "roles": [{"name": "admin"}]`)) }, fault.Forbidden},
		"with access rules": {func() {
			d.says(good(onProject + `, "roles": [{"name": "member"}], "application_credential": {"id": "a", "access_rules": [{"path": "/"}]}`))
		}, fault.Forbidden},
		"endless": {func() { d.says(good(`, "x": "` + strings.Repeat("x", maxAnswer) + `"`)) }, fault.Unavailable},
	} {
		one.say()
		_, err := c.Token(t.Context(), "a-users-token")
		require.Error(t, err, name)
		require.Equal(t, one.kind, fault.KindOf(err), "%s: %v", name, err)
		require.NotContains(t, err.Error(), "a-users-token", name)
		require.NotContains(t, err.Error(), "own-", name)
	}
	asked := d.asked.Load()
	for _, text := range []string{"", strings.Repeat("x", maxToken+1)} {
		_, err := c.Token(t.Context(), text)
		require.True(t, fault.Is(err, fault.NotFound))
	}
	require.Equal(t, asked, d.asked.Load(), "what can be none is not asked")
	require.EqualValues(t, 1, d.logins.Load())
}

func TestTokensAreNotSentWhereKeystoneRedirectsTo(t *testing.T) {
	var met atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { met.Store(true) }))
	t.Cleanup(other.Close)
	d := newDouble(t)
	d.token = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	}
	_, err := d.client(t).Token(t.Context(), "subject")
	require.True(t, fault.Is(err, fault.Unavailable))
	require.False(t, met.Load())
}

func TestTheServiceUsersTokenIsRenewedWhenKeystoneForgetsIt(t *testing.T) {
	d := newDouble(t)
	c := d.client(t)
	d.says(good(""))
	_, err := c.Token(t.Context(), "subject")
	require.NoError(t, err)
	d.mu.Lock()
	d.current = "another, since Keystone was restored"
	d.mu.Unlock()
	_, err = c.Token(t.Context(), "subject")
	require.NoError(t, err)
	require.EqualValues(t, 2, d.logins.Load())
}

func TestTheServiceUsersTokenIsRenewedBeforeItEndsAndUsedToItsEndWhereThatFails(t *testing.T) {
	d := newDouble(t)
	c := d.client(t)
	at := time.Now()
	c.now = func() time.Time { return at }
	d.says(good(""))
	ask := func() error {
		_, err := c.Token(t.Context(), "subject")
		return err
	}
	require.NoError(t, ask())
	at = at.Add(49 * time.Minute) // of 60
	require.NoError(t, ask())
	require.EqualValues(t, 2, d.logins.Load())

	d.mu.Lock()
	d.login = func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) }
	d.mu.Unlock()
	c.mu.Lock()
	c.own.renew = at
	c.mu.Unlock()
	require.NoError(t, ask(), "it lives")
	require.NoError(t, ask())
	require.EqualValues(t, 3, d.logins.Load(), "what failed is not tried with each request")
	at = at.Add(pause)
	require.NoError(t, ask())
	require.EqualValues(t, 4, d.logins.Load())
	at = at.Add(2 * time.Hour)
	require.True(t, fault.Is(ask(), fault.Unavailable))
}

func TestManyWaitForOneLogin(t *testing.T) {
	d := newDouble(t)
	c := d.client(t)
	d.says(good(""))
	var wait sync.WaitGroup
	for range 50 {
		wait.Go(func() {
			_, err := c.Token(t.Context(), "subject")
			if err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	require.EqualValues(t, 1, d.logins.Load())
}

func TestARefusedServiceUserIsToldFromAKeystoneThatIsAway(t *testing.T) {
	d := newDouble(t)
	c := d.client(t)
	c.config.Password = func() (string, error) { return "wrong", nil }
	err := c.Login(t.Context())
	require.ErrorIs(t, err, ErrRefused)
	require.NotContains(t, err.Error(), "wrong")
	_, err = c.Token(t.Context(), "subject")
	require.True(t, fault.Is(err, fault.Unavailable), "whose token it is nobody knows")
	require.EqualValues(t, 1, d.logins.Load(), "who fails often may be locked out")

	d.Close()
	gone := d.client(t)
	err = gone.Login(t.Context())
	require.Error(t, err)
	require.NotErrorIs(t, err, ErrRefused)
}

func TestAKeystoneThatDoesNotAnswerIsNotWaitedForForEver(t *testing.T) {
	d := newDouble(t)
	hold := make(chan struct{})
	t.Cleanup(func() { close(hold) })
	d.token = func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	}
	c := d.client(t)
	require.NoError(t, c.Login(t.Context()))
	c.config.Patience = 50 * time.Millisecond
	_, err := c.Token(t.Context(), "subject")
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func signedRequest(t *testing.T) (sigv4.Request, sigv4.Signature) {
	r := sigv4.Request{
		Method: "GET", Path: "/ec2/", Query: url.Values{"Action": {"DescribeInstances"}}, BodyHash: sigv4.HashBody(nil),
		Header: map[string][]string{
			"Host": {"cloud.example.org"}, "X-Amz-Date": {"20261128T120000Z"}, "Cookie": {"not signed"},
			"Authorization": {"AWS4-HMAC-SHA256 Credential=key/20261128/r/ec2/aws4_request,SignedHeaders=host;x-amz-date,  Signature=abcd"},
		},
	}
	s, err := sigv4.Of(r)
	require.NoError(t, err)
	return r, s
}

func TestKeystoneIsToldOfASignedRequestWhatWasSignedAndNoMore(t *testing.T) {
	d := newDouble(t)
	c := d.client(t)
	d.says(good(onProject + `, "roles": [{"name": "member"}]`))
	r, s := signedRequest(t)
	who, err := c.Signer(t.Context(), r, s)
	require.NoError(t, err)
	require.Equal(t, "p1", who.Project.ID)
	require.Equal(t, map[string]any{"credentials": map[string]any{
		"access": "key", "signature": "abcd", "host": "cloud.example.org", "verb": "GET", "path": "/ec2/",
		"params": map[string]any{"Action": "DescribeInstances"}, "body_hash": sigv4.HashBody(nil),
		"headers": map[string]any{
			"Host": "cloud.example.org", "X-Amz-Date": "20261128T120000Z",
			"Authorization": "AWS4-HMAC-SHA256 Credential=key/20261128/r/ec2/aws4_request, SignedHeaders=host;x-amz-date, Signature=abcd",
		},
	}}, d.signed)

	d.answers(401)
	_, err = c.Signer(t.Context(), r, s)
	require.True(t, fault.Is(err, fault.Unauthorized), "%v", err)
	require.EqualValues(t, 1, d.logins.Load(), "the service user is let in: the signer is not")
	d.answers(404)
	_, err = c.Signer(t.Context(), r, s)
	require.True(t, fault.Is(err, fault.Unauthorized), "%v", err)
	d.answers(403)
	_, err = c.Signer(t.Context(), r, s)
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	d.mu.Lock()
	d.current = "another"
	d.mu.Unlock()
	d.says(good(onProject + `, "roles": [{"name": "member"}]`))
	_, err = c.Signer(t.Context(), r, s)
	require.NoError(t, err, "a service user that is let in no longer logs in again")
	require.EqualValues(t, 2, d.logins.Load())
}

// Keystone's signer leaves the query string of a POST out of what is signed: whoever saw one could add to it.
func TestAPOSTWithAQueryStringIsRefused(t *testing.T) {
	d := newDouble(t)
	d.says(good(onProject + `, "roles": [{"name": "member"}]`))
	r, s := signedRequest(t)
	r.Method = "POST"
	_, err := d.client(t).Signer(t.Context(), r, s)
	require.True(t, fault.Is(err, fault.Invalid), "%v", err)
	require.Nil(t, d.signed, "it is not even asked")
}
