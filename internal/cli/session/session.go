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
			// Slipway's own resource is no OpenStack service: it lies at the root of the API, beside the compute API, and where the
			// token has no catalog, beside the identity API.
			root, found := s.root()
			if !found {
				if root, err = rootOf(s.authURL); err != nil {
					return "", err
				}
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

// root is the API's, by where the catalog has its compute API; none is found in another cloud's.
func (s *Session) root() (address string, found bool) {
	compute, err := s.Base("compute")
	if err != nil {
		return "", false
	}
	compute = strings.TrimSuffix(strings.TrimSuffix(compute, "/"), "/v2.1")
	address, found = strings.CutSuffix(compute, "/compute")
	return address + "/", found
}

// OwnIdentity refuses what Slipway's own identity API alone can do, where another service has its place: what that made of the request
// would be something else. The API itself says where clients log in.
func (s *Session) OwnIdentity(ctx context.Context, what string) error {
	refused := &show.Error{Code: show.ExitRefused, What: "cannot " + what}
	root, found := s.root()
	if !found {
		refused.Reason = "this is Slipway's own identity API's to do, and the catalog has no compute API of Slipway's"
		refused.Hints = []string{"log in to a project (OS_PROJECT_NAME)"}
		return refused
	}
	var said struct {
		Version struct {
			Links []struct{ Href string }
		}
	}
	response, err := s.provider.Request(ctx, http.MethodGet, root+"v3", &gophercloud.RequestOpts{JSONResponse: &said, OkCodes: success})
	if err != nil {
		return Doing(s.apiError("identity", err), "ask %s who issues its tokens", root)
	}
	response.Body.Close()
	for _, link := range said.Version.Links {
		if strings.TrimSuffix(link.Href, "/") != root+"v3" {
			refused.Reason = "users, projects and tokens of this cloud are Keystone's, at " + link.Href
			refused.Hints = []string{"Keystone has no such act: delete what a project owns first, or revoke single tokens with `openstack token revoke`"}
			return refused
		}
	}
	return nil
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
