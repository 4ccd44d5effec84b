// Package session is the way to a cloud: who logs in where, by OS_* variables and clouds.yaml, where each service lies, which
// microversion both sides know, and a request with its answer or refusal.
package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// Session is an authenticated connection to one cloud.
type Session struct {
	provider    *gophercloud.ProviderClient
	transport   http.RoundTripper
	endpoints   gophercloud.EndpointOpts
	authURL     string
	password    string
	bases       map[string]string // by service, ends with a slash
	computeMax  Microversion      // zero until asked
	computeSeen bool
}

// Open authenticates.
func (c *Settings) Open(ctx context.Context, log io.Writer) (*Session, error) {
	auth, endpoints, transport, err := c.options(os.Getenv)
	if err != nil {
		return nil, err
	}
	provider, err := openstack.NewClient(auth.IdentityEndpoint)
	if err != nil {
		return nil, show.UsageError("%q is no address of an identity API: %v", auth.IdentityEndpoint, err)
	}
	provider.UserAgent.Prepend("slipway")
	provider.HTTPClient = http.Client{Transport: announcing{transport}}
	if c.debug {
		provider.HTTPClient.Transport = &debugTransport{next: announcing{transport}, log: log}
	}
	s := &Session{provider: provider, transport: transport, endpoints: endpoints, authURL: auth.IdentityEndpoint, password: auth.Password, bases: map[string]string{}}
	if err := openstack.Authenticate(ctx, provider, auth); err != nil {
		return nil, Doing(s.apiError("identity", err), "log in at %s", auth.IdentityEndpoint)
	}
	return s, nil
}

// Password is what was logged in with; "" where that was something else.
func (s *Session) Password() string { return s.password }

// serviceVersions are the path elements that a catalog may leave out of an endpoint.
var serviceVersions = map[string]string{"image": "v2", "network": "v2.0"}

// ownServices are Slipway's own resources, which need no place in a catalog.
var ownServices = map[string]bool{"hosts": true, "builds": true, "reservations": true, "image-orphans": true}

// Base is the address of a service of the catalog, ending with a slash.
func (s *Session) Base(service string) (string, error) {
	if known, ok := s.bases[service]; ok {
		return known, nil
	}
	var address string
	switch service {
	case "identity":
		address = s.provider.IdentityBase
		if !strings.HasSuffix(address, "/v3/") {
			address += "v3/"
		}
	default:
		wanted := s.endpoints
		wanted.Type = service
		wanted.ApplyDefaults(service)
		found, err := s.provider.EndpointLocator(wanted)
		var missing *gophercloud.ErrEndpointNotFound
		switch {
		case err == nil:
			address = found
		case ownServices[service] && (errors.As(err, &missing) || errors.As(err, new(gophercloud.ErrEndpointNotFound))):
			// Slipway's own resource is no OpenStack service: it lies at the root of the API, beside the identity API.
			root, err := rootOf(s.authURL)
			if err != nil {
				return "", err
			}
			address = root
		default:
			return "", &show.Error{Code: show.ExitFailed, What: fmt.Sprintf("the cloud's catalog has no %s API", service), Reason: err.Error(),
				Hints: []string{"check OS_REGION_NAME and OS_INTERFACE, and that the token is of a project (OS_PROJECT_NAME)"}, Cause: err}
		}
	}
	if version := serviceVersions[service]; version != "" && !strings.HasSuffix(strings.TrimSuffix(address, "/"), "/"+version) {
		address = strings.TrimSuffix(address, "/") + "/" + version
	}
	if ownServices[service] {
		// Paths of requests begin with the collection's name, as in the other services.
		address = strings.TrimSuffix(strings.TrimSuffix(address, "/"), "/"+service)
	}
	address = strings.TrimSuffix(address, "/") + "/"
	s.bases[service] = address
	return address, nil
}

// rootOf is the API's root: the identity address without /identity and the version.
func rootOf(authURL string) (string, error) {
	u, err := url.Parse(authURL)
	if err != nil {
		return "", fmt.Errorf("reading the identity address %q: %w", authURL, err)
	}
	path := strings.TrimSuffix(u.Path, "/")
	path = strings.TrimSuffix(path, "/v3")
	path = strings.TrimSuffix(path, "/identity")
	u.Path, u.RawPath, u.RawQuery, u.Fragment = path+"/", "", "", ""
	return u.String(), nil
}
