package keystone

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/endpoints"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/projects"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/roles"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/services"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/users"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/stack"
	"github.com/slipway-cloud/slipway/test/system"
)

// patience bounds one thing that is waited for: Keystone's programs take seconds to start on a busy machine.
const patience = 3 * time.Minute

// servicePassword is the service user's.
const servicePassword = "service-of-the-test"

// realKeystone is Debian's Keystone on a database of its own, with the users and projects that a system has.
type realKeystone struct {
	dir, url, password string // folder, address of v3, file with the service user's password
	program            string
	env                []string
	server             *stack.Supervised
	admin              *gophercloud.ServiceClient
	roles              map[string]string // ids by name
	project, user      string            // demo's ids
	service            string            // the service user's
}

// start starts one from what deploy/dev/fetch-keystone.sh unpacked.
func start(t *testing.T, tree string) *realKeystone {
	t.Helper()
	k := &realKeystone{dir: t.TempDir(), program: filepath.Join(tree, "run"), roles: map[string]string{}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := listener.Addr().(*net.TCPAddr).Port
	require.NoError(t, listener.Close())
	k.url = fmt.Sprintf("http://127.0.0.1:%d/v3", port)
	k.password = filepath.Join(k.dir, "password")
	require.NoError(t, os.WriteFile(k.password, []byte(servicePassword+"\n"), 0o600))
	settings := filepath.Join(k.dir, "keystone.conf")
	require.NoError(t, os.WriteFile(settings, fmt.Appendf(nil, `[DEFAULT]
log_file = %[1]s/keystone.log
[database]
connection = sqlite:///%[1]s/keystone.db
[token]
provider = fernet
[fernet_tokens]
key_repository = %[1]s/fernet
[fernet_receipts]
key_repository = %[1]s/fernet
[credential]
key_repository = %[1]s/credential
[cache]
enabled = false
[identity]
password_hash_rounds = 4
`, k.dir), 0o600))
	k.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + k.dir, "LANG=C.UTF-8", "OS_KEYSTONE_CONFIG_FILES=" + settings}
	manage := func(arguments ...string) {
		k.exec(t, k.program, append([]string{"keystone-manage", "--config-file", settings}, arguments...)...)
	}
	manage("db_sync")
	// A session of Keystone's that has read stays open, which would keep its others from writing.
	k.exec(t, "/usr/bin/python3", "-c", "import sqlite3; sqlite3.connect('keystone.db').execute('PRAGMA journal_mode=WAL')")
	for _, what := range []string{"fernet_setup", "credential_setup"} {
		manage(what, "--keystone-user", "root", "--keystone-group", "root")
	}
	manage("bootstrap", "--bootstrap-password", system.AdminPassword, "--bootstrap-region-id", "RegionOne", "--bootstrap-public-url", k.url)
	k.serve(t, port)
	t.Cleanup(func() {
		_ = k.server.Stop()
		if said, err := os.ReadFile(filepath.Join(k.dir, "server.log")); t.Failed() && err == nil {
			t.Logf("Keystone said last:\n%s", said[max(0, len(said)-8<<10):])
		}
	})

	provider, err := openstack.NewClient(k.url)
	require.NoError(t, err)
	require.NoError(t, openstack.Authenticate(t.Context(), provider, gophercloud.AuthOptions{
		IdentityEndpoint: k.url, Username: "admin", Password: system.AdminPassword, DomainName: "Default", AllowReauth: true,
		Scope: &gophercloud.AuthScope{ProjectName: "admin", DomainName: "Default"},
	}))
	k.admin, err = openstack.NewIdentityV3(provider, gophercloud.EndpointOpts{Region: "RegionOne"})
	require.NoError(t, err)
	k.furnish(t)
	return k
}

func (k *realKeystone) exec(t *testing.T, program string, arguments ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, arguments...)
	cmd.Env, cmd.Dir = k.env, k.dir
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	require.NoError(t, cmd.Run(), "%v: %s", arguments, &said)
}

func (k *realKeystone) serve(t *testing.T, port int) {
	t.Helper()
	server, err := stack.Supervise(t.Context(), stack.Command{
		Name: "keystone", Path: k.program, Args: []string{"keystone-wsgi-public", "--host", "127.0.0.1", "--port", strconv.Itoa(port)},
		Dir: k.dir, Env: k.env, LogFile: filepath.Join(k.dir, "server.log"), ParentDeathSignal: syscall.SIGKILL, StopTimeout: 10 * time.Second,
		ReadyTimeout: patience,
		Ready:        system.Answers(http.DefaultClient, k.url),
	}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	k.server = server
}

// furnish makes what operations.md says, and the users of a system.
func (k *realKeystone) furnish(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	pages, err := roles.List(k.admin, nil).AllPages(ctx)
	require.NoError(t, err)
	all, err := roles.ExtractRoles(pages)
	require.NoError(t, err)
	for _, role := range all {
		k.roles[role.Name] = role.ID
	}
	if k.roles["service"] == "" { // newer ones have it from the beginning
		made, err := roles.Create(ctx, k.admin, roles.CreateOpts{Name: "service"}).Extract()
		require.NoError(t, err)
		k.roles["service"] = made.ID
	}
	of := func(user, password, project, role string) (userID, projectID string) {
		in, err := projects.Create(ctx, k.admin, projects.CreateOpts{Name: project, DomainID: "default"}).Extract()
		require.NoError(t, err)
		who, err := users.Create(ctx, k.admin, users.CreateOpts{Name: user, Password: password, DomainID: "default"}).Extract()
		require.NoError(t, err)
		k.gives(t, who.ID, in.ID, role)
		return who.ID, in.ID
	}
	k.service, _ = of("slipway", servicePassword, "service", "service")
	k.user, k.project = of("demo", system.DemoPassword, "demo", "member")
}

func (k *realKeystone) gives(t *testing.T, user, project, role string) {
	t.Helper()
	require.NoError(t, roles.Assign(t.Context(), k.admin, k.roles[role], roles.AssignOpts{UserID: user, ProjectID: project}).ExtractErr())
}

func (k *realKeystone) takes(t *testing.T, user, project, role string) {
	t.Helper()
	require.NoError(t, roles.Unassign(t.Context(), k.admin, k.roles[role], roles.UnassignOpts{UserID: user, ProjectID: project}).ExtractErr())
}

// identity registers the services of a system, and tells its api where Keystone is.
func (k *realKeystone) identity(t *testing.T, cache string) func(apiURL string) (string, map[string]any) {
	return func(apiURL string) (string, map[string]any) {
		for kind, path := range map[string]string{"compute": "/compute/v2.1", "image": "/image", "network": "/network", "ec2": "/ec2"} {
			service, err := services.Create(t.Context(), k.admin, services.CreateOpts{Type: kind, Extra: map[string]any{"name": "slipway-" + kind}}).Extract()
			require.NoError(t, err)
			require.NoError(t, endpoints.Create(t.Context(), k.admin, endpoints.CreateOpts{
				Availability: gophercloud.AvailabilityPublic, Region: "RegionOne", ServiceID: service.ID, URL: apiURL + path, Name: kind,
			}).Err)
		}
		return k.url, map[string]any{"identity": map[string]any{"mode": "keystone", "keystone": map[string]any{
			"url": k.url, "username": "slipway", "password_file": k.password, "cache_ttl": cache,
		}}}
	}
}

// openstackCommand is Debian's: another one on the way may lack what its packages bring.
const openstackCommand = "/usr/bin/openstack"
