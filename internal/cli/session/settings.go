package session

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"strconv"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
	"github.com/spf13/pflag"
	yaml "go.yaml.in/yaml/v3"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// Settings is how to reach the API and as whom: flags first, then a named cloud of clouds.yaml, else the usual OS_*
// variables. The names are those of the OpenStack clients, so an openrc or clouds.yaml works unchanged.
type Settings struct {
	cloud, authURL, username, password, token string
	projectName, projectID                    string
	userDomainName, projectDomainName         string
	region, endpointInterface, caCert         string
	insecure, debug                           bool
}

// Bind declares the flags.
func (c *Settings) Bind(flags *pflag.FlagSet) {
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
	flags.StringVar(&c.caCert, "os-cacert", "", "file with the certificates of the API's CA (OS_CACERT; SLIPWAY_CACERT where neither that nor the cloud names one)")
	flags.BoolVar(&c.insecure, "insecure", false, "do not verify the API's certificate (OS_INSECURE)")
	flags.BoolVar(&c.debug, "debug", false, "log every request and answer to standard error, without secrets")
}

// options reads the settings into gophercloud's form. Settings from the environment go through the same reader as
// clouds.yaml, so TLS, scope and endpoint rules exist once.
func (c *Settings) options(env func(string) string) (gophercloud.AuthOptions, gophercloud.EndpointOpts, *http.Transport, error) {
	var parse []clouds.ParseOption
	cloud := cmp.Or(c.cloud, env("OS_CLOUD"))
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
		return auth, endpoints, nil, &show.Error{Code: show.ExitUsage, What: "the settings of the cloud cannot be read", Reason: err.Error(),
			Hints: []string{"see `slipway help token issue`"}, Cause: err}
	}
	if auth.IdentityEndpoint == "" {
		return auth, endpoints, nil, &show.Error{Code: show.ExitUsage, What: fmt.Sprintf("the cloud %q has no auth_url", cloud)}
	}
	if auth.DomainID == "" && auth.DomainName == "" && auth.UserID == "" && auth.TokenID == "" {
		auth.DomainID = "default"
	}
	c.oneOfEach(&auth)
	if s := auth.Scope; s != nil && s.ProjectName != "" && s.DomainID == "" && s.DomainName == "" {
		s.DomainID = "default"
	}
	if file := env("SLIPWAY_CACERT"); file != "" && tls.RootCAs == nil && !tls.InsecureSkipVerify {
		if tls.RootCAs, err = readCAs(file); err != nil {
			return auth, endpoints, nil, show.UsageError("SLIPWAY_CACERT: %v", err)
		}
	}
	auth.AllowReauth = auth.TokenID == ""
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = tls
	return auth, endpoints, transport, nil
}

// readCAs reads certificates in PEM.
func readCAs(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("there is no certificate (PEM) in %s", file)
	}
	return pool, nil
}

// oneOfEach leaves one of an id and a name that are about the same, since gophercloud refuses both: a flag before the file, then
// the id, as keystoneauth does.
func (c *Settings) oneOfEach(auth *gophercloud.AuthOptions) {
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

func (c *Settings) skipVerify(env func(string) string) (bool, error) {
	if c.insecure {
		return true, nil
	}
	value := env("OS_INSECURE")
	if value == "" {
		return false, nil
	}
	insecure, err := strconv.ParseBool(value)
	if err != nil {
		return false, show.UsageError("OS_INSECURE is %q: use true or false", value)
	}
	return insecure, nil
}

// overrides are the flags that were given beside a named cloud.
func (c *Settings) overrides() []clouds.ParseOption {
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
func (c *Settings) environmentCloud(env func(string) string) ([]byte, error) {
	auth := map[string]string{}
	set := func(key string, values ...string) {
		if v := cmp.Or(values...); v != "" {
			auth[key] = v
		}
	}
	set("auth_url", c.authURL, env("OS_AUTH_URL"))
	if auth["auth_url"] == "" {
		return nil, &show.Error{Code: show.ExitUsage, What: "no cloud to talk to: neither OS_AUTH_URL nor OS_CLOUD is set",
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
			return nil, &show.Error{Code: show.ExitUsage, What: "no user name or no password: set OS_USERNAME and OS_PASSWORD",
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
		"region_name": cmp.Or(c.region, env("OS_REGION_NAME")),
		"interface":   cmp.Or(c.endpointInterface, env("OS_INTERFACE"), env("OS_ENDPOINT_TYPE")),
		"cacert":      cmp.Or(c.caCert, env("OS_CACERT")),
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
