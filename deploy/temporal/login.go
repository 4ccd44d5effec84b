package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	uiauth "github.com/temporalio/ui-server/v2/server/auth"
	uiconfig "github.com/temporalio/ui-server/v2/server/config"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/log/tag"
	"golang.org/x/crypto/bcrypt"
)

// certFiles is a certificate that is read again when its files have changed. One that cannot be read leaves the last.
type certFiles struct {
	files tlsFiles
	mu    sync.Mutex
	read  [2]time.Time
	last  *tls.Certificate
}

func (c *certFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var seen [2]time.Time
	for i, path := range []string{c.files.Cert, c.files.Key} {
		if info, err := os.Stat(path); err == nil {
			seen[i] = info.ModTime()
		}
	}
	if c.last != nil && seen == c.read {
		return c.last, nil
	}
	pair, err := tls.LoadX509KeyPair(c.files.Cert, c.files.Key)
	if err == nil {
		c.last, c.read = &pair, seen
	}
	if c.last == nil {
		return nil, fmt.Errorf("read the certificate %s of the Web UI: %w", c.files.Cert, err)
	}
	return c.last, nil
}

// passwords are names and bcrypt hashes, as `htpasswd -B` writes them. The file is read with each question.
type passwords struct {
	path   string
	logger log.Logger
	turn   chan struct{} // a hash takes a while of a processor, for strangers too
	mu     sync.Mutex
	known  map[[sha256.Size]byte]bool // what was right, so that not each picture of a page costs a hash
}

// noPassword is hashed for names that are not there, which then take as long as others.
var noPassword, _ = bcrypt.GenerateFromPassword([]byte("nobody"), bcrypt.DefaultCost)

func askPassword(path string, logger log.Logger, next http.Handler) (http.Handler, error) {
	p := &passwords{path: path, logger: logger, turn: make(chan struct{}, 2), known: map[[sha256.Size]byte]bool{}}
	hashes, err := p.hashes()
	if err != nil {
		return nil, err
	}
	if len(hashes) == 0 {
		return nil, fmt.Errorf("the passwords of the Web UI, %s: there is none (htpasswd -B adds one)", path)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, password, ok := r.BasicAuth()
		if !ok || !p.right(r.Context(), name, password) {
			if ok {
				logger.Warn("A login to the Web UI was refused", tag.NewStringTag("name", name), tag.Address(r.RemoteAddr))
			}
			w.Header().Set("WWW-Authenticate", `Basic realm="Temporal", charset="UTF-8"`)
			http.Error(w, "Name and password, please.", http.StatusUnauthorized)
			return
		}
		// The UI skips its CSRF check where the header is there, and passes it on to the frontend.
		r.Header.Del("Authorization")
		next.ServeHTTP(w, r)
	}), nil
}

func (p *passwords) hashes() (map[string][]byte, error) {
	text, err := os.ReadFile(p.path)
	if err != nil {
		return nil, fmt.Errorf("read the passwords of the Web UI: %w", err)
	}
	hashes := map[string][]byte{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, hash, _ := strings.Cut(line, ":")
		if _, err := bcrypt.Cost([]byte(hash)); err != nil || name == "" {
			return nil, fmt.Errorf("the passwords of the Web UI, %s: a line is a name, a colon and a bcrypt hash (htpasswd -B)", p.path)
		}
		hashes[name] = []byte(hash)
	}
	return hashes, nil
}

func (p *passwords) right(ctx context.Context, name, password string) bool {
	hashes, err := p.hashes()
	if err != nil {
		p.logger.Error("Nobody can log in to the Web UI", tag.Error(err))
		return false
	}
	hash, exists := hashes[name]
	if !exists {
		hash = noPassword
	}
	seen := sha256.Sum256([]byte(string(hash) + "\x00" + password))
	p.mu.Lock()
	known := p.known[seen]
	p.mu.Unlock()
	if known && exists {
		return true
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return false
	}
	if bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil || !exists {
		return false
	}
	p.mu.Lock()
	p.known[seen] = true
	p.mu.Unlock()
	return true
}

// oidcOptions are a provider's that knows who may look, by OpenID Connect.
type oidcOptions struct{ Provider, ClientID, Callback, clientSecret string }

func (o oidcOptions) any() bool { return o.Provider != "" || o.ClientID != "" || o.Callback != "" }

func (o oidcOptions) auth() uiconfig.Auth {
	if !o.any() {
		return uiconfig.Auth{}
	}
	return uiconfig.Auth{Enabled: true, Providers: []uiconfig.AuthProvider{{
		Label: "Temporal", Type: "oidc", ProviderURL: o.Provider, ClientID: o.ClientID, ClientSecret: o.clientSecret,
		CallbackURL: o.Callback, Scopes: []string{oidc.ScopeOpenID, "profile", "email"}, UseIDTokenAsBearer: true,
	}}}
}

// askToken looks at the token that the UI's pages send. The UI's own server only looks whether there is one and leaves
// the rest to the frontend, which goes by the UI's certificate here.
func (o oidcOptions) askToken(ctx context.Context, logger log.Logger) (func(http.Handler) http.Handler, error) {
	// The provider keeps the context for the keys that it fetches later.
	patient := oidc.ClientContext(context.WithoutCancel(ctx), &http.Client{Timeout: providerTimeout})
	provider, err := oidc.NewProvider(patient, o.Provider)
	if err != nil {
		return nil, fmt.Errorf("ask the OpenID provider of the Web UI: %w", err)
	}
	verifier := provider.Verifier(&oidc.Config{ClientID: o.ClientID})
	return func(next http.Handler) http.Handler { return verified(verifier, logger, next) }, nil
}

// providerTimeout is how long the provider may take to answer.
const providerTimeout = 15 * time.Second

func verified(verifier *oidc.IDTokenVerifier, logger log.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The pages themselves, and which provider there is, hold nothing of the workflows.
		if !strings.Contains(r.URL.Path, "/api/") && !ofCodec(r) || r.URL.Path == "/api/v1/settings" {
			next.ServeHTTP(w, r)
			return
		}
		if _, err := verifier.Verify(r.Context(), r.Header.Get(uiauth.AuthorizationExtrasHeader)); err != nil {
			logger.Warn("A login to the Web UI was refused", tag.Address(r.RemoteAddr), tag.Error(err))
			http.Error(w, "The token is not valid: log in anew.", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}
