package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"go.yaml.in/yaml/v3"

	"github.com/slipway-cloud/slipway/internal/dev/stack"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor/libvirt"
	"github.com/slipway-cloud/slipway/internal/pki"
)

// devHostname is the one hypervisor of a development stack; more can be started beside it.
const devHostname = "dev-1"

// devFlavors are DevStack's, with a nano that a 128 MiB guest is happy with.
var devFlavors = []flavors.CreateOpts{
	{ID: "n1", Name: "m1.nano", VCPUs: 1, RAM: 128, Disk: gophercloud.IntToPointer(1)},
	{ID: "1", Name: "m1.tiny", VCPUs: 1, RAM: 512, Disk: gophercloud.IntToPointer(1)},
	{ID: "2", Name: "m1.small", VCPUs: 1, RAM: 2048, Disk: gophercloud.IntToPointer(20)},
	{ID: "3", Name: "m1.medium", VCPUs: 2, RAM: 4096, Disk: gophercloud.IntToPointer(40)},
	{ID: "4", Name: "m1.large", VCPUs: 4, RAM: 8192, Disk: gophercloud.IntToPointer(80)},
}

// writeSettings writes what the roles read (slipway.yaml) and what clients read (openrc, clouds.yaml). All of them hold
// secrets or show where they are: mode 0600.
func (d *dev) writeSettings(dsn string, temporal, network map[string]any, virt *stack.Libvirt) error {
	temporal["ui_url"], temporal["payload_keys"] = d.uiURL(), d.payloadKeys
	cert, key := pki.Files(d.pki(), pki.Control, controlName)
	settings := map[string]any{
		"database": map[string]any{"dsn": dsn},
		"temporal": temporal,
		"api": map[string]any{
			"listen": d.api, "tls_cert": cert, "tls_key": key, "tls_host_ca": caOf(d.pki()),
			"admin_password": d.secrets.admin, "demo_password": d.secrets.demo, "default_network": "10.20.0.0/24",
			"novnc": d.path("novnc"),
		},
		"images":  map[string]any{"dir": d.path("images")},
		"network": network,
		"host":    d.hostSettings(virt),
	}
	text, err := yaml.Marshal(settings)
	if err != nil {
		return err
	}
	clouds := map[string]any{}
	files := map[string][]byte{"slipway.yaml": text}
	for _, user := range []struct{ cloud, name, password, file string }{
		{"slipway-admin", "admin", d.secrets.admin, "openrc"},
		{"slipway-demo", "demo", d.secrets.demo, "openrc-demo"},
	} {
		clouds[user.cloud] = map[string]any{
			"auth": map[string]any{
				"auth_url": d.apiURL + "/v3", "username": user.name, "password": user.password, "project_name": user.name,
				"user_domain_name": "Default", "project_domain_name": "Default",
			},
			"region_name": "RegionOne", "identity_api_version": 3, "cacert": caOf(d.pki()),
		}
		files[user.file] = []byte(strings.Join([]string{
			"# For any OpenStack client, and for slipway's own verbs: source this file.",
			"unset OS_CLOUD OS_TOKEN OS_PROJECT_ID",
			"export OS_AUTH_URL=" + d.apiURL + "/v3",
			"export OS_CACERT=" + quoted(caOf(d.pki())),
			"export OS_USERNAME=" + user.name,
			"export OS_PASSWORD=" + user.password,
			"export OS_PROJECT_NAME=" + user.name,
			"export OS_USER_DOMAIN_NAME=Default",
			"export OS_PROJECT_DOMAIN_NAME=Default",
			"export OS_REGION_NAME=RegionOne",
			"export OS_IDENTITY_API_VERSION=3",
			"",
		}, "\n"))
	}
	if files["clouds.yaml"], err = yaml.Marshal(map[string]any{"clouds": clouds}); err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(d.path(name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// quoted is one word of a shell.
func quoted(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// settings are what is read of a stack's own by what is beside it: where it answers, and as whom.
type settings struct {
	Temporal map[string]any
	API      struct {
		AdminPassword string `yaml:"admin_password"`
	}
	Network struct {
		Engine string
		OVNNB  string `yaml:"ovn_nb"`
	}
	Host struct {
		Hypervisor string
		APIURL     string `yaml:"api_url"`
		APICA      string `yaml:"api_ca"`
	}
}

func (o options) settings() (s settings, err error) {
	text, err := os.ReadFile(o.path("slipway.yaml"))
	if err == nil {
		err = yaml.Unmarshal(text, &s)
	}
	if err != nil {
		return s, fmt.Errorf("reading the settings of the stack: %w", err)
	}
	return s, nil
}

// hostSettings are those of the host role.
func (d *dev) hostSettings(virt *stack.Libvirt) map[string]any {
	return map[string]any{
		"hostname": d.hostname, "api_url": d.apiURL, "api_ca": d.apiCA, "api_cert": d.hostCert, "api_key": d.hostKey,
		"token_file": d.path("secrets", "host-token"), "state_dir": d.guests,
		"hypervisor": d.hypervisor, "libvirt_socket": virt.Socket, "resume_guests": virt.Started, "ovsdb": d.ovsdb,
		// A machine for trying things out has little memory, and its guests use less than they are given.
		"cpu_ratio": 16.0,
		// Several hosts share its address.
		"transfer_listen": "127.0.0.1:0",
	}
}

// admin is a client of our own API.
func (d *dev) admin(ctx context.Context) (*gophercloud.ProviderClient, error) {
	auth := gophercloud.AuthOptions{
		IdentityEndpoint: d.apiURL + "/v3", Username: "admin", Password: d.secrets.admin, DomainName: "Default",
		Scope: &gophercloud.AuthScope{ProjectName: "admin", DomainName: "Default"},
	}
	provider, err := openstack.NewClient(auth.IdentityEndpoint)
	if err == nil {
		provider.HTTPClient = *d.client
		err = openstack.Authenticate(ctx, provider, auth)
	}
	if err != nil {
		return nil, fmt.Errorf("signing in as admin: %w", err)
	}
	return provider, nil
}

// enroll makes the host known to the API once, and keeps its token in a file.
func (d *dev) enroll(ctx context.Context) error {
	if token, err := os.ReadFile(d.path("secrets", "host-token")); err == nil && len(bytes.TrimSpace(token)) > 0 {
		return nil
	}
	provider, err := d.admin(ctx)
	if err != nil {
		return err
	}
	var made struct {
		Host struct{ Token string }
	}
	_, err = provider.Request(ctx, http.MethodPost, d.apiURL+"/hosts", &gophercloud.RequestOpts{
		JSONBody:     map[string]any{"host": map[string]any{"hostname": d.hostname}},
		JSONResponse: &made, OkCodes: []int{http.StatusCreated},
	})
	if gophercloud.ResponseCodeIs(err, http.StatusConflict) {
		// It was enrolled, and the token was lost before it was written down.
		_, err = provider.Request(ctx, http.MethodPost, d.apiURL+"/hosts/"+d.hostname+"/token", &gophercloud.RequestOpts{
			JSONResponse: &made, OkCodes: []int{http.StatusOK, http.StatusCreated},
		})
	}
	if err != nil {
		return fmt.Errorf("enrolling the host: %w", err)
	}
	return os.WriteFile(d.path("secrets", "host-token"), []byte(made.Host.Token), 0o600)
}

// hostPatience bounds the wait for the host's first report.
const hostPatience = 2 * time.Minute

// furnish makes the flavors that are missing.
func (d *dev) furnish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, hostPatience)
	defer cancel()
	provider, err := d.admin(ctx)
	if err != nil {
		return err
	}
	compute, err := openstack.NewComputeV2(provider, gophercloud.EndpointOpts{Region: "RegionOne"})
	if err != nil {
		return err
	}
	for _, f := range devFlavors {
		if err := flavors.Create(ctx, compute, f).Err; err != nil && !gophercloud.ResponseCodeIs(err, http.StatusConflict) {
			return fmt.Errorf("making flavor %s: %w", f.Name, err)
		}
	}
	return nil
}

// waitForHost returns when the host takes servers.
func (d *dev) waitForHost(ctx context.Context) error {
	d.say("waiting for the host to be ready")
	ctx, cancel := context.WithTimeout(ctx, hostPatience)
	defer cancel()
	provider, err := d.admin(ctx)
	if err != nil {
		return err
	}
	for {
		var shown struct {
			Host struct {
				Ready  bool
				Reason string `json:"not_ready_reason"`
			}
		}
		_, err := provider.Request(ctx, http.MethodGet, d.apiURL+"/hosts/"+d.hostname, &gophercloud.RequestOpts{JSONResponse: &shown})
		if err == nil && shown.Host.Ready {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("the host is not ready after %s: %s (log: %s)", hostPatience, shown.Host.Reason, d.path("logs", "host.log")), err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// stopGuests powers off the guests of this stack: their QEMU processes were started by it.
func (d *dev) stopGuests(virt *stack.Libvirt) func(context.Context) error {
	return func(ctx context.Context) error {
		return d.eachGuest(ctx, virt, d.log, func(h hypervisor.Hypervisor, domain hypervisor.Status) error {
			d.say("powering off %s", domain.Name)
			return h.Destroy(ctx, domain.UUID)
		})
	}
}

// eachGuest does something with each domain of this stack, and with no other's.
func (o options) eachGuest(ctx context.Context, virt *stack.Libvirt, log *slog.Logger, do func(hypervisor.Hypervisor, hypervisor.Status) error) error {
	h, err := libvirt.New(libvirt.Options{Socket: virt.Socket, Logger: log})
	if err != nil {
		return err
	}
	defer h.Close()
	domains, err := h.List(ctx)
	if err != nil {
		return err
	}
	for _, domain := range domains {
		if _, absent := os.Stat(o.path("host", "instances", domain.UUID)); absent == nil { // else it is another stack's
			err = errors.Join(err, do(h, domain))
		}
	}
	return err
}

// forgetGuests removes the domains of a stopped stack from libvirt.
func (o options) forgetGuests(ctx context.Context) error {
	if kept, _ := os.ReadDir(o.path("host", "instances")); len(kept) == 0 {
		return nil
	}
	return o.endGuests(ctx, func(h hypervisor.Hypervisor, domain hypervisor.Status) error {
		if err := h.Destroy(ctx, domain.UUID); err != nil {
			return err
		}
		return h.Undefine(ctx, domain.UUID)
	})
}

// endGuests does something with each domain of a folder that nobody supervises, and ends its libvirtd.
func (o options) endGuests(ctx context.Context, do func(hypervisor.Hypervisor, hypervisor.Status) error) error {
	log := slog.New(slog.DiscardHandler)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	virt, err := stack.EnsureLibvirt(ctx, o.libvirt(self, log))
	if err != nil {
		return err
	}
	return errors.Join(o.eachGuest(ctx, virt, log, do), virt.Stop(ctx))
}
