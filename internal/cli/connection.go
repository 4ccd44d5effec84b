package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
	"github.com/spf13/pflag"
	yaml "go.yaml.in/yaml/v3"
)

// connection is how to reach the API and as whom: flags first, then a named cloud of clouds.yaml, else the usual OS_*
// variables. The names are those of the OpenStack clients, so an openrc or clouds.yaml works unchanged.
type connection struct {
	cloud, authURL, username, password, token string
	projectName, projectID                    string
	userDomainName, projectDomainName         string
	region, endpointInterface, caCert         string
	insecure, debug                           bool
}

func (c *connection) bind(flags *pflag.FlagSet) {
	flags.StringVar(&c.cloud, "os-cloud", "", "named cloud of clouds.yaml (OS_CLOUD)")
	flags.StringVar(&c.authURL, "os-auth-url", "", "address of the identity API (OS_AUTH_URL)")
	flags.StringVar(&c.username, "os-username", "", "user name (OS_USERNAME)")
	flags.StringVar(&c.password, "os-password", "", "password (OS_PASSWORD; better there than on a command line)")
	flags.StringVar(&c.token, "os-token", "", "a token instead of name and password (OS_TOKEN)")
	flags.StringVar(&c.projectName, "os-project-name", "", "project name (OS_PROJECT_NAME)")
	flags.StringVar(&c.projectID, "os-project-id", "", "project id (OS_PROJECT_ID)")
	flags.StringVar(&c.userDomainName, "os-user-domain-name", "", "domain of the user (OS_USER_DOMAIN_NAME)")
	flags.StringVar(&c.projectDomainName, "os-project-domain-name", "", "domain of the project (OS_PROJECT_DOMAIN_NAME)")
	flags.StringVar(&c.region, "os-region-name", "", "region (OS_REGION_NAME)")
	flags.StringVar(&c.endpointInterface, "os-interface", "", "public, internal or admin endpoints (OS_INTERFACE)")
	flags.StringVar(&c.caCert, "os-cacert", "", "file with the certificates of the API's CA (OS_CACERT)")
	flags.BoolVar(&c.insecure, "insecure", false, "do not verify the API's certificate (OS_INSECURE)")
	flags.BoolVar(&c.debug, "debug", false, "log every request and answer to standard error, without secrets")
}

// options reads the settings into gophercloud's form. Settings from the environment go through the same reader as
// clouds.yaml, so TLS, scope and endpoint rules exist once.
func (c *connection) options(env func(string) string) (gophercloud.AuthOptions, gophercloud.EndpointOpts, *http.Transport, error) {
	var parse []clouds.ParseOption
	cloud := first(c.cloud, env("OS_CLOUD"))
	if c.cloud == "" && c.authURL != "" {
		cloud = "" // an address on the command line is about that address, not about the cloud of the environment
	}
	insecure, err := c.skipVerify(env)
	if err != nil {
		return gophercloud.AuthOptions{}, gophercloud.EndpointOpts{}, nil, err
	}
	if insecure {
		parse = append(parse, clouds.WithInsecure(true))
	}
	if cloud != "" {
		parse = append(parse, clouds.WithCloudName(cloud))
		parse = append(parse, c.overrides()...)
	} else {
		file, err := c.environmentCloud(env)
		if err != nil {
			return gophercloud.AuthOptions{}, gophercloud.EndpointOpts{}, nil, err
		}
		parse = append(parse, clouds.WithCloudName("environment"), clouds.WithCloudsYAML(bytes.NewReader(file)))
	}
	auth, endpoints, tls, err := clouds.Parse(parse...)
	if err != nil {
		return auth, endpoints, nil, &Error{Code: ExitUsage, What: "the settings of the cloud cannot be read", Reason: err.Error(),
			Hints: []string{"see `slipway help token issue`"}, Cause: err}
	}
	if auth.IdentityEndpoint == "" {
		return auth, endpoints, nil, &Error{Code: ExitUsage, What: fmt.Sprintf("the cloud %q has no auth_url", cloud)}
	}
	if auth.DomainID == "" && auth.DomainName == "" && auth.UserID == "" && auth.TokenID == "" {
		auth.DomainID = "default"
	}
	c.oneOfEach(&auth)
	if s := auth.Scope; s != nil && s.ProjectName != "" && s.DomainID == "" && s.DomainName == "" {
		s.DomainID = "default"
	}
	auth.AllowReauth = auth.TokenID == ""
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = tls
	return auth, endpoints, transport, nil
}

// oneOfEach leaves one of an id and a name that are about the same, since gophercloud refuses both: a flag before the file, then
// the id, as keystoneauth does.
func (c *connection) oneOfEach(auth *gophercloud.AuthOptions) {
	byToken := auth.TokenID != "" && auth.Password == ""
	if byToken {
		auth.UserID = ""
	}
	if byToken || auth.UserID != "" {
		auth.Username, auth.DomainID, auth.DomainName = "", "", ""
	}
	one := func(flag string, id, name *string) {
		if flag != "" {
			*id, *name = "", flag
		} else if *id != "" {
			*name = ""
		}
	}
	if !byToken && auth.UserID == "" {
		one(c.userDomainName, &auth.DomainID, &auth.DomainName)
	}
	if s := auth.Scope; s != nil && s.ProjectName != "" {
		one(c.projectDomainName, &s.DomainID, &s.DomainName)
	}
}

func (c *connection) skipVerify(env func(string) string) (bool, error) {
	if c.insecure {
		return true, nil
	}
	value := env("OS_INSECURE")
	if value == "" {
		return false, nil
	}
	insecure, err := strconv.ParseBool(value)
	if err != nil {
		return false, usage("OS_INSECURE is %q: use true or false", value)
	}
	return insecure, nil
}

// overrides are the flags that were given beside a named cloud.
func (c *connection) overrides() []clouds.ParseOption {
	var result []clouds.ParseOption
	add := func(value string, option func(string) clouds.ParseOption) {
		if value != "" {
			result = append(result, option(value))
		}
	}
	add(c.authURL, clouds.WithIdentityEndpoint)
	add(c.username, clouds.WithUsername)
	add(c.password, clouds.WithPassword)
	add(c.token, clouds.WithToken)
	add(c.projectName, clouds.WithProjectName)
	add(c.projectID, clouds.WithProjectID)
	add(c.userDomainName, clouds.WithDomainName)
	add(c.region, clouds.WithRegion)
	add(c.endpointInterface, clouds.WithEndpointType)
	add(c.caCert, clouds.WithCACertPath)
	return result
}

// environmentCloud writes flags and OS_* variables as a clouds.yaml with one cloud in it.
func (c *connection) environmentCloud(env func(string) string) ([]byte, error) {
	auth := map[string]string{}
	set := func(key string, values ...string) {
		if v := first(values...); v != "" {
			auth[key] = v
		}
	}
	set("auth_url", c.authURL, env("OS_AUTH_URL"))
	if auth["auth_url"] == "" {
		return nil, &Error{Code: ExitUsage, What: "no cloud to talk to: neither OS_AUTH_URL nor OS_CLOUD is set",
			Hints: []string{
				"source an openrc, or name a cloud of clouds.yaml with --os-cloud",
				"`slipway dev` starts a cloud on this machine and says which openrc to source",
			}}
	}
	set("token", c.token, env("OS_TOKEN"))
	if auth["token"] == "" {
		set("application_credential_id", env("OS_APPLICATION_CREDENTIAL_ID"))
		set("application_credential_secret", env("OS_APPLICATION_CREDENTIAL_SECRET"))
		set("username", c.username, env("OS_USERNAME"))
		set("user_id", env("OS_USER_ID"), env("OS_USERID"))
		set("password", c.password, env("OS_PASSWORD"))
		set("user_domain_id", env("OS_USER_DOMAIN_ID"), env("OS_DOMAIN_ID"))
		set("user_domain_name", c.userDomainName, env("OS_USER_DOMAIN_NAME"), env("OS_DOMAIN_NAME"))
		if c.userDomainName != "" || auth["user_id"] != "" {
			delete(auth, "user_domain_id")
		}
		if auth["user_domain_id"] != "" || auth["user_id"] != "" {
			delete(auth, "user_domain_name") // Keystone takes one of them
		}
		if auth["application_credential_id"] == "" && (auth["password"] == "" || auth["username"] == "" && auth["user_id"] == "") {
			return nil, &Error{Code: ExitUsage, What: "no user name or no password: set OS_USERNAME and OS_PASSWORD",
				Hints: []string{"source an openrc, or name a cloud of clouds.yaml with --os-cloud"}}
		}
	}
	if auth["application_credential_id"] == "" {
		set("project_id", c.projectID, env("OS_PROJECT_ID"), env("OS_TENANT_ID"))
		set("project_name", c.projectName, env("OS_PROJECT_NAME"), env("OS_TENANT_NAME"))
		if c.projectName != "" && c.projectID == "" {
			delete(auth, "project_id")
		}
		set("project_domain_id", env("OS_PROJECT_DOMAIN_ID"))
		set("project_domain_name", c.projectDomainName, env("OS_PROJECT_DOMAIN_NAME"))
		if c.projectDomainName != "" {
			delete(auth, "project_domain_id")
		} else if auth["project_domain_id"] != "" {
			delete(auth, "project_domain_name")
		}
	}
	cloud := map[string]any{"auth": auth}
	for key, value := range map[string]string{
		"region_name": first(c.region, env("OS_REGION_NAME")),
		"interface":   first(c.endpointInterface, env("OS_INTERFACE"), env("OS_ENDPOINT_TYPE")),
		"cacert":      first(c.caCert, env("OS_CACERT")),
		"cert":        env("OS_CERT"),
		"key":         env("OS_KEY"),
	} {
		if value != "" {
			cloud[key] = value
		}
	}
	file, err := yaml.Marshal(map[string]any{"clouds": map[string]any{"environment": cloud}})
	if err != nil {
		return nil, fmt.Errorf("writing the settings of the environment: %w", err)
	}
	return file, nil
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// session is an authenticated connection to one cloud.
type session struct {
	provider    *gophercloud.ProviderClient
	endpoints   gophercloud.EndpointOpts
	authURL     string
	bases       map[string]string // by service, ends with a slash
	computeMax  microversion      // zero until asked
	computeSeen bool
}

// open authenticates.
func (c *connection) open(ctx context.Context, log io.Writer) (*session, error) {
	auth, endpoints, transport, err := c.options(os.Getenv)
	if err != nil {
		return nil, err
	}
	provider, err := openstack.NewClient(auth.IdentityEndpoint)
	if err != nil {
		return nil, usage("%q is no address of an identity API: %v", auth.IdentityEndpoint, err)
	}
	provider.UserAgent.Prepend("slipway")
	provider.HTTPClient = http.Client{Transport: announcing{transport}}
	if c.debug {
		provider.HTTPClient.Transport = &debugTransport{next: announcing{transport}, log: log}
	}
	s := &session{provider: provider, endpoints: endpoints, authURL: auth.IdentityEndpoint, bases: map[string]string{}}
	if err := openstack.Authenticate(ctx, provider, auth); err != nil {
		return nil, doing(s.answer("identity", err), "log in at %s", auth.IdentityEndpoint)
	}
	return s, nil
}

// serviceVersions are the path elements that a catalog may leave out of an endpoint.
var serviceVersions = map[string]string{"image": "v2", "network": "v2.0"}

// ownServices are Slipway's own resources, which need no place in a catalog.
var ownServices = map[string]bool{"hosts": true, "builds": true, "reservations": true, "image-orphans": true}

// base is the address of a service of the catalog, ending with a slash.
func (s *session) base(service string) (string, error) {
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
			return "", &Error{Code: ExitFailed, What: fmt.Sprintf("the cloud's catalog has no %s API", service), Reason: err.Error(),
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
