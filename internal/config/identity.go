package config

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"strings"
	"time"
)

// Identity is who says who there is.
type Identity struct {
	Mode     string   `koanf:"mode" help:"who issues tokens: slipway, or keystone (an OpenStack Keystone, whose users, projects and roles these are then)"`
	Keystone Keystone `koanf:"keystone"`
}

// The modes.
const (
	IdentitySlipway  = "slipway"
	IdentityKeystone = "keystone"
)

// Keystone is an OpenStack Keystone, and who asks it there.
type Keystone struct {
	URL           string        `koanf:"url" help:"address at which api processes ask Keystone, as https://keystone.example.org:5000/v3"`
	PublicURL     string        `koanf:"public_url" help:"address at which clients log in (keystonemiddleware's www_authenticate_uri); empty: identity.keystone.url"`
	CAFile        string        `koanf:"ca_file" help:"file with the CAs that Keystone's certificate has to be issued by; a crl.pem beside it is honoured; empty: the machine's"`
	Username      string        `koanf:"username" help:"service user that asks whose tokens are; it needs the role service or admin on its project"`
	UserDomain    string        `koanf:"user_domain" help:"name of the domain of that user"`
	Project       string        `koanf:"project" help:"name of the project that it logs in to"`
	ProjectDomain string        `koanf:"project_domain" help:"name of the domain of that project"`
	Password      string        `koanf:"password" help:"its password; set it by file or environment" secret:"yes"`
	PasswordFile  string        `koanf:"password_file" help:"file with its password, readable by its owner alone; read with each login"`
	CacheTTL      time.Duration `koanf:"cache_ttl" help:"how long it is believed what Keystone said of a token: one that is revoked lets in for so long; 0: it is asked with each request"`
	Patience      time.Duration `koanf:"timeout" help:"how long Keystone may take to answer"`
}

// maxCacheTTL is the default of keystonemiddleware's token_cache_time.
const maxCacheTTL = 5 * time.Minute

// External says whether another service issues the tokens.
func (i Identity) External() bool { return i.Mode == IdentityKeystone }

// LoginURL is where clients log in.
func (k Keystone) LoginURL() string {
	at := k.PublicURL
	if at == "" {
		at = k.URL
	}
	return strings.TrimSuffix(strings.TrimSuffix(at, "/"), "/v3") + "/v3"
}

// ReadPassword is the service user's, as it is now.
func (k Keystone) ReadPassword() (string, error) {
	if k.PasswordFile == "" {
		return k.Password, nil
	}
	info, err := os.Stat(k.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("identity.keystone.password_file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("identity.keystone.password_file: others may read %s: chmod 600 it", k.PasswordFile)
	}
	text, err := os.ReadFile(k.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("identity.keystone.password_file: %w", err)
	}
	password := strings.TrimRight(string(text), "\r\n")
	if password == "" {
		return "", fmt.Errorf("identity.keystone.password_file: %s is empty", k.PasswordFile)
	}
	return password, nil
}

func (c Config) checkIdentity() error {
	k := c.Identity.Keystone
	switch c.Identity.Mode {
	case IdentityKeystone:
	case IdentitySlipway:
		preset := Default().Identity.Keystone
		var wrong error
		walk(reflect.ValueOf(k), "identity.keystone.", func(name string, field reflect.StructField, value reflect.Value) {
			if wrong == nil && !value.Equal(reflect.ValueOf(preset).FieldByIndex(field.Index)) {
				wrong = fmt.Errorf("%s is of no use without identity.mode: keystone", name)
			}
		})
		return wrong
	default:
		return fmt.Errorf("identity.mode must be slipway or keystone, not %q", c.Identity.Mode)
	}
	for _, setting := range [][2]string{{"url", k.URL}, {"public_url", k.PublicURL}} {
		name, address := setting[0], setting[1]
		if address == "" && name == "public_url" {
			continue
		}
		// What is wrong is told without the address: somebody may have put a password into it.
		if u, err := url.Parse(address); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("identity.keystone.%s must be like https://keystone.example.org:5000/v3", name)
		}
	}
	for _, setting := range [][2]string{{"username", k.Username}, {"user_domain", k.UserDomain}, {"project", k.Project}, {"project_domain", k.ProjectDomain}} {
		if setting[1] == "" {
			return fmt.Errorf("identity.keystone.%s is not set: name the service user, its project, and their domains", setting[0])
		}
	}
	switch {
	case k.Password == "" && k.PasswordFile == "":
		return errors.New("identity.keystone.password_file is not set: name the file with the service user's password (or set identity.keystone.password)")
	case k.Password != "" && k.PasswordFile != "":
		return errors.New("identity.keystone.password and identity.keystone.password_file are both set: which one?")
	case k.CAFile != "" && !strings.HasPrefix(k.URL, "https:"):
		return errors.New("identity.keystone.ca_file is of no use without an https:// address in identity.keystone.url")
	case k.CacheTTL < 0 || k.CacheTTL > maxCacheTTL:
		return fmt.Errorf("identity.keystone.cache_ttl must be 0 to %s, for which a token that is revoked still lets in, not %s", maxCacheTTL, k.CacheTTL)
	case k.Patience <= 0 || k.Patience > 30*time.Second:
		return fmt.Errorf("identity.keystone.timeout must be more than 0 and at most 30s, not %s", k.Patience)
	}
	for _, setting := range [][2]string{{"api.admin_password", c.API.AdminPassword}, {"api.demo_password", c.API.DemoPassword}} {
		if setting[1] != "" {
			return fmt.Errorf("%s is of no use with identity.mode: keystone, where users are Keystone's", setting[0])
		}
	}
	if c.API.DefaultNetwork != "" {
		return errors.New("api.default_network is of no use with identity.mode: keystone, as it would be a project's of Slipway's own: make one with `openstack network create --share`")
	}
	return nil
}
