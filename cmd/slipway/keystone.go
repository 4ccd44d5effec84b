package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"

	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/keystone"
	"github.com/slipway-cloud/slipway/internal/service/identity"
	"github.com/slipway-cloud/slipway/internal/tlsfile"
	"github.com/slipway-cloud/slipway/models"
)

// openKeystone is who there is where Keystone says so, and nil where Slipway does. A Keystone that is away is waited for by the
// requests that need it; one that refuses the service user would refuse it for ever.
func openKeystone(ctx context.Context, c config.Identity, store *models.Store, certificates *tlsfile.Files, log *slog.Logger) (*identity.External, error) {
	if !c.External() {
		return nil, nil
	}
	k := c.Keystone
	if _, err := k.ReadPassword(); err != nil {
		return nil, err
	}
	secure, err := keystoneTLS(k, certificates)
	if err != nil {
		return nil, err
	}
	client, err := keystone.New(keystone.Config{
		URL: k.URL, Username: k.Username, UserDomain: k.UserDomain, Project: k.Project, ProjectDomain: k.ProjectDomain,
		Password: k.ReadPassword, TLS: secure, Patience: k.Patience,
	})
	if err != nil {
		return nil, fmt.Errorf("identity.keystone: %w", err)
	}
	switch err := client.Login(ctx); {
	case errors.Is(err, keystone.ErrRefused):
		return nil, fmt.Errorf("identity.keystone: %w: are identity.keystone.username, project, their domains and the password right, and has it a role there?", err)
	case err != nil:
		log.Warn("Keystone does not answer: until it does, requests are answered 503.", "url", k.URL, "error", err)
	default:
		log.Info("Tokens are Keystone's.", "url", k.URL, "clients_log_in_at", k.LoginURL(), "revoked_tokens_let_in_for", k.CacheTTL)
	}
	return identity.NewExternal(store, client, k.CacheTTL), nil
}

// keystoneTLS is how Keystone is asked, which may be as old as users' clients; nil is plain HTTP.
func keystoneTLS(k config.Keystone, certificates *tlsfile.Files) (*tls.Config, error) {
	at, err := url.Parse(k.URL)
	if err != nil || at.Scheme != "https" {
		return nil, err
	}
	secure, err := certificates.Client(tlsfile.Pair{}, tlsfile.Authority{Setting: "identity.keystone.ca_file", CA: k.CAFile}, at.Hostname())
	if err != nil {
		return nil, err
	}
	secure.MinVersion = tls.VersionTLS12
	return secure, nil
}

// identityURL is where clients log in; "" is at the API itself.
func identityURL(c config.Identity) string {
	if !c.External() {
		return ""
	}
	return c.Keystone.LoginURL()
}
