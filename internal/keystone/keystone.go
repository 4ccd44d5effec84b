// Package keystone asks an OpenStack Keystone whose a token is, and whose the signature of a request, as a service user of its own.
// It believes that Keystone, and still takes no answer that is not whole.
package keystone

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/sigv4"
)

// Config is where Keystone is, and who asks it.
type Config struct {
	URL                                          string // of its v3 API, or its root
	Username, UserDomain, Project, ProjectDomain string // by name
	// Password is asked for with each login, so that one that is changed is taken up.
	Password func() (string, error)
	TLS      *tls.Config
	// Patience is how long an answer may take, a login on the way included.
	Patience time.Duration
}

const (
	maxAnswer = 1 << 20 // bytes; a token with a catalog has some ten thousand
	maxToken  = 8 << 10 // bytes; Fernet's have some two hundred, JWS's a thousand
	maxAsking = 64      // connections at once
	// pause is how long no login is tried after one that failed: Keystone may lock out who fails often.
	pause = 5 * time.Second
)

// ErrRefused is a login of the service user that Keystone refuses.
var ErrRefused = errors.New("keystone refuses the service user")

// Client asks one Keystone.
type Client struct {
	config   Config
	identity *gophercloud.ServiceClient
	now      func() time.Time

	turn   chan struct{} // held by who logs in
	mu     sync.Mutex
	own    own
	failed struct {
		at  time.Time
		err error
	}
}

// own is the service user's token.
type own struct {
	text           string
	renew, expires time.Time
}

// New makes a client; nothing is asked yet.
func New(c Config) (*Client, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, fmt.Errorf("read Keystone's address: %w", err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig, transport.MaxConnsPerHost, transport.MaxIdleConnsPerHost = c.TLS, maxAsking, maxAsking
	provider := &gophercloud.ProviderClient{HTTPClient: http.Client{
		Transport: bounded{transport},
		// What is asked has tokens in its headers, which would go with it.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	provider.UserAgent.Prepend("slipway")
	u.Path, u.RawPath = strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), "/v3")+"/v3/", ""
	return &Client{config: c, identity: &gophercloud.ServiceClient{ProviderClient: provider, Endpoint: u.String()}, now: time.Now, turn: make(chan struct{}, 1)}, nil
}

// bounded cuts off answers that are too long.
type bounded struct{ next http.RoundTripper }

// RoundTrip asks.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.next.RoundTrip(r)
	if err == nil {
		response.Body = http.MaxBytesReader(nil, response.Body, maxAnswer)
	}
	return response, err
}

// Token is whose a token is: NotFound where Keystone lets nobody in with it, Unavailable where it does not say.
func (c *Client) Token(ctx context.Context, text string) (Token, error) {
	if text == "" || len(text) > maxToken {
		return Token{}, errNoToken
	}
	ctx, cancel := context.WithTimeout(ctx, c.config.Patience)
	defer cancel()
	var said answer
	// Access rules need a header with which a service says that it holds them (OpenStack-Identity-Access-Rules): without it Keystone
	// lets nobody in who has some.
	err := c.ask(ctx, func(own string) error { return c.get(ctx, own, text, &said) })
	switch {
	case gophercloud.ResponseCodeIs(err, http.StatusNotFound):
		return Token{}, errNoToken
	case err != nil:
		return Token{}, c.unavailable("whose a token is", err)
	}
	return said.token(c.now())
}

func (c *Client) get(ctx context.Context, own, subject string, said *answer) error {
	_, err := c.identity.Get(ctx, c.identity.ServiceURL("auth", "tokens")+"?nocatalog", said, &gophercloud.RequestOpts{
		MoreHeaders: map[string]string{"X-Auth-Token": own, "X-Subject-Token": subject},
	})
	return err
}

var errNoToken = fault.New(fault.NotFound, "Could not find token.")

// Signer is who signed a request with an access key: Unauthorized where Keystone lets nobody in with it. Keystone looks at no query
// string of a POST, which is signed by nobody then, and refused.
func (c *Client) Signer(ctx context.Context, r sigv4.Request, signature sigv4.Signature) (Token, error) {
	if r.Method == http.MethodPost && len(r.Query) > 0 {
		return Token{}, fault.New(fault.Invalid, "Where Keystone checks signatures, the parameters of a POST are in its body alone.")
	}
	ctx, cancel := context.WithTimeout(ctx, c.config.Patience)
	defer cancel()
	var said answer
	body := map[string]any{"credentials": signedOf(r, signature)}
	err := c.ask(ctx, func(own string) error {
		_, err := c.identity.Post(ctx, c.identity.ServiceURL("ec2tokens"), body, &said, &gophercloud.RequestOpts{
			MoreHeaders: map[string]string{"X-Auth-Token": own}, OkCodes: []int{http.StatusOK},
		})
		if gophercloud.ResponseCodeIs(err, http.StatusUnauthorized) && c.get(ctx, own, own, new(answer)) == nil {
			return errNotSigned // the service user is let in, so it is the other one who is not
		}
		return err
	})
	switch {
	case errors.Is(err, errNotSigned), gophercloud.ResponseCodeIs(err, http.StatusNotFound):
		return Token{}, fault.New(fault.Unauthorized, "Keystone knows no access key %q that signed this.", signature.Access)
	case err != nil:
		return Token{}, c.unavailable("who signed a request", err)
	}
	return said.token(c.now())
}

var errNotSigned = errors.New("the signature is not the key's")

// signed is a request as Keystone is told of it (keystone/api/ec2tokens.py).
type signed struct {
	Access    string            `json:"access"`
	Signature string            `json:"signature"`
	Host      string            `json:"host"`
	Verb      string            `json:"verb"`
	Path      string            `json:"path"`
	Params    map[string]string `json:"params"`
	Headers   map[string]string `json:"headers"`
	BodyHash  string            `json:"body_hash"`
}

// signedOf has what was signed and nothing else, the signature written again from how it was read here: what two programs read in
// two ways would be signed in one of them alone.
func signedOf(r sigv4.Request, s sigv4.Signature) signed {
	out := signed{
		Access: s.Access, Signature: s.Hex, Host: r.Value("Host"), Verb: r.Method, Path: r.Path, BodyHash: r.BodyHash,
		Params: map[string]string{}, Headers: map[string]string{},
	}
	for _, name := range s.Headers {
		out.Headers[sigv4.HeaderName(name)] = r.Value(name)
	}
	for name, values := range r.Query {
		if name != "X-Amz-Signature" && len(values) == 1 {
			out.Params[name] = values[0]
		}
	}
	if s.Expires == 0 {
		out.Headers["Authorization"] = s.Authorization()
	}
	return out
}

// ask asks with the service user's token, once more where Keystone knows that one no longer.
func (c *Client) ask(ctx context.Context, request func(own string) error) error {
	text, err := c.token(ctx, "")
	if err != nil {
		return err
	}
	err = request(text)
	if !gophercloud.ResponseCodeIs(err, http.StatusUnauthorized) {
		return err
	}
	if text, err = c.token(ctx, text); err != nil {
		return err
	}
	return request(text)
}

// Login has the service user log in where it has not; ErrRefused where Keystone does not let it.
func (c *Client) Login(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.config.Patience)
	defer cancel()
	_, err := c.token(ctx, "")
	return err
}

// token is the service user's, another one than what was refused. It is renewed before it ends, by one login at a time.
func (c *Client) token(ctx context.Context, refused string) (string, error) {
	if own, good := c.kept(refused); good {
		return own, nil
	}
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if own, good := c.kept(refused); good {
		return own, nil
	}
	err := c.lately()
	if err == nil {
		var got own
		if got, err = c.login(ctx); err == nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.own = got
			return got.text, nil
		}
		c.mu.Lock()
		c.failed.at, c.failed.err = c.now(), err
		c.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.own.text == "" || c.own.text == refused || !c.now().Before(c.own.expires) {
		return "", err
	}
	return c.own.text, nil // it could not be renewed, and lives
}

func (c *Client) kept(refused string) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.own.text, c.own.text != "" && c.own.text != refused && c.now().Before(c.own.renew)
}

// lately is how the last login failed, if that is no longer ago than the pause.
func (c *Client) lately() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now().Before(c.failed.at.Add(pause)) {
		return c.failed.err
	}
	return nil
}

// login is for all who wait, so who came first does not end it.
func (c *Client) login(ctx context.Context) (own, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.config.Patience)
	defer cancel()
	password, err := c.config.Password()
	if err != nil {
		return own{}, err
	}
	created := tokens.Create(ctx, c.identity, &tokens.AuthOptions{
		Username: c.config.Username, DomainName: c.config.UserDomain, Password: password,
		Scope: tokens.Scope{ProjectName: c.config.Project, DomainName: c.config.ProjectDomain},
	})
	if gophercloud.ResponseCodeIs(created.Err, http.StatusUnauthorized) {
		return own{}, fmt.Errorf("%w %s of the domain %s on the project %s of the domain %s", ErrRefused,
			c.config.Username, c.config.UserDomain, c.config.Project, c.config.ProjectDomain)
	}
	token, err := created.ExtractToken()
	if err != nil {
		return own{}, fmt.Errorf("log in as %s: %w", c.config.Username, bare(err))
	}
	now := c.now()
	lives := token.ExpiresAt.Sub(now)
	if token.ID == "" || lives <= 0 {
		return own{}, fmt.Errorf("log in as %s: the token that Keystone gave has ended: are the clocks alike?", c.config.Username)
	}
	return own{text: token.ID, renew: now.Add(lives * 4 / 5), expires: token.ExpiresAt}, nil
}

// bare is an error without what Keystone said: older ones repeat tokens in it.
func bare(err error) error {
	var code gophercloud.ErrUnexpectedResponseCode
	if !errors.As(err, &code) {
		return err
	}
	switch code.Actual {
	case http.StatusForbidden:
		return errors.New("it lets the service user ask for no one: give it the role service or admin on its project (403)")
	default:
		return fmt.Errorf("it answered %d", code.Actual)
	}
}

// unavailable is the answer where Keystone does not say what it is asked.
func (c *Client) unavailable(what string, err error) error {
	return fault.Wrap(fault.Unavailable, fmt.Errorf("ask Keystone (%s) %s: %w", c.config.URL, what, bare(err)),
		"The identity service does not answer. Please try again later.")
}
