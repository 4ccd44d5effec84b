package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/bcrypt"

	"github.com/slipway-cloud/slipway/internal/dev/stack"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/dev/testenv/testca"
	"github.com/slipway-cloud/slipway/internal/payload"
	"github.com/slipway-cloud/slipway/internal/pki"
	"github.com/slipway-cloud/slipway/test/system"
)

const (
	patience      = 2 * time.Minute
	adminPassword = "admin-of-the-test"
	demoPassword  = "demo-of-the-test"
	uiPassword    = "ui-of-the-test"
)

// Addresses of the control plane.
const (
	controlIP       = "10.77.0.1"
	apiAddress      = controlIP + ":8774"
	apiOperators    = controlIP + ":8775"
	workerOperators = controlIP + ":8776"
	frontend        = controlIP + ":7233"
	webUI           = controlIP + ":8233"
)

// cluster is an installation on several machines.
type cluster struct {
	t   *testing.T
	dir string

	ca        *testca.CA
	internode *testca.CA // of Temporal's services alone

	network *network
	control machine
	street  machine // somebody's on the same network, who has no certificate; users come from there too
	hosts   map[string]machine
	tokens  map[string]string // the hosts' own

	processes map[string]*stack.Process
}

func start(t *testing.T) *cluster {
	t.Helper()
	dir, err := os.MkdirTemp("", "slc")
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logs and state are kept in %s", dir)
			return
		}
		require.NoError(t, os.RemoveAll(dir))
	})
	n := newNetwork(t)
	c := &cluster{
		t: t, dir: dir, ca: testca.New(t), internode: testca.New(t), network: n, control: n.machine("control", controlIP), street: n.machine("street", "10.77.0.99"),
		hosts: map[string]machine{}, tokens: map[string]string{}, processes: map[string]*stack.Process{},
	}
	c.ca.Issue(pki.Control, "cloud", controlIP)
	require.NoError(t, payload.EnsureKeys(c.file("payload.keys")))
	c.startTemporal()
	c.startControlPlane()
	for i := range 3 {
		name := fmt.Sprintf("hv%d", i+1)
		c.hosts[name] = n.machine(name, fmt.Sprintf("10.77.0.1%d", i+1))
		c.startHost(name)
	}
	admin := c.user(c.street, "admin", adminPassword)
	for name := range c.hosts {
		system.Eventually(t, patience, func() (bool, string) {
			var got struct{ Host struct{ Ready bool } }
			_, err := admin.Request(t.Context(), http.MethodGet, "https://"+apiAddress+"/hosts/"+name, &gophercloud.RequestOpts{JSONResponse: &got})
			return err == nil && got.Host.Ready, fmt.Sprintf("%s is not ready: %v", name, err)
		})
	}
	return c
}

func (c *cluster) file(name string) string { return filepath.Join(c.dir, name) }

func (c *cluster) startTemporal() {
	c.t.Helper()
	dsn, err := pgx.ParseConfig(testenv.Database(c.t))
	require.NoError(c.t, err)
	visibility, err := pgx.ParseConfig(testenv.Database(c.t))
	require.NoError(c.t, err)
	cert, key, _ := c.ca.Issue(pki.Control, "temporal", controlIP)
	uiCert, uiKey, _ := c.ca.Issue(pki.Operator, "web-ui")
	innerCert, innerKey, _ := c.internode.Issue(pki.Control, "internode")
	hash, err := bcrypt.GenerateFromPassword([]byte(uiPassword), bcrypt.MinCost)
	require.NoError(c.t, err)
	require.NoError(c.t, os.WriteFile(c.file("ui-passwords"), fmt.Appendf(nil, "ada:%s\n", hash), 0o600))
	c.start(c.control, "temporal", nil, func(context.Context) error {
		if !strings.Contains(c.log("temporal"), `"ready":true`) {
			return errors.New("it has not said that it is ready")
		}
		return nil
	}, filepath.Join(filepath.Dir(c.program()), "slipway-temporal"),
		"--postgres-host", dsn.Host, "--postgres-port", strconv.Itoa(int(dsn.Port)), "--postgres-user", dsn.User,
		"--database", dsn.Database, "--visibility-database", visibility.Database,
		"--frontend", frontend, "--frontend-cert", cert, "--frontend-key", key, "--frontend-client-ca", c.ca.File("ca.pem"), "--task-token-keys", c.file("task-tokens"),
		"--internode-cert", innerCert, "--internode-key", innerKey, "--internode-ca", c.internode.File("ca.pem"), "--internal-frontend-port", "7236",
		"--ui", webUI, "--ui-client-cert", uiCert, "--ui-client-key", uiKey, "--ui-cert", cert, "--ui-key", key, "--ui-passwords", c.file("ui-passwords"))
}

func (c *cluster) startControlPlane() {
	c.t.Helper()
	cert, key := c.ca.File("control-cloud.pem"), c.ca.File("control-cloud.key")
	operator := func(listen string) map[string]any {
		return map[string]any{"listen": listen, "tls_cert": cert, "tls_key": key, "tls_client_ca": c.ca.File("ca.pem")}
	}
	temporal := c.temporal("control-cloud")
	temporal["payload_keys"] = c.file("payload.keys")
	settings := map[string]any{
		"database":     map[string]any{"dsn": testenv.Database(c.t)},
		"temporal":     temporal,
		"images":       map[string]any{"dir": c.file("images")},
		"build":        map[string]any{"host_lost": "5m"}, // longer than a step waits here that nobody works at
		"audit":        map[string]any{"every": "0s"},
		"housekeeping": map[string]any{"every": "0s", "stores_every": "0s"},
		"api": map[string]any{
			"listen": apiAddress, "public_url": "https://" + apiAddress, "tls_cert": cert, "tls_key": key, "tls_host_ca": c.ca.File("ca.pem"),
			"admin_password": adminPassword, "demo_password": demoPassword, "default_network": "10.20.0.0/24",
		},
		"operator": operator(apiOperators),
	}
	c.start(c.control, "api", settings, c.apiAnswers, c.program(), "api")
	settings["operator"] = operator(workerOperators)
	c.start(c.control, "worker", settings, nil, c.program(), "worker")
}

// temporal is how a process with that certificate reaches the frontend.
func (c *cluster) temporal(holder string) map[string]any {
	return map[string]any{
		"address": frontend, "tls_ca": c.ca.File("ca.pem"), "tls_cert": c.ca.File(holder + ".pem"), "tls_key": c.ca.File(holder + ".key"),
		"ui_url": "https://" + webUI,
	}
}

func (c *cluster) apiAnswers(ctx context.Context) error {
	if got := ask(ctx, c.web(c.control, c.ca.Client()), http.MethodGet, "https://"+apiAddress+"/readyz", nil, nil); !strings.HasPrefix(got, "200 ") {
		return errors.New(got)
	}
	return nil
}

// startHost admits a hypervisor, in an availability zone of its own, and starts it.
func (c *cluster) startHost(name string) {
	c.t.Helper()
	c.ca.Issue(pki.Host, name, c.hosts[name].ip)
	c.tokens[name] = strings.TrimSpace(c.slipway("host", "create", name, "--availability-zone", "zone-"+name, "--quiet"))
	cert, key := c.ca.File("host-"+name+".pem"), c.ca.File("host-"+name+".key")
	c.start(c.hosts[name], name, map[string]any{
		"temporal": c.temporal("host-" + name), // without payload keys: it has its own
		"operator": map[string]any{"listen": c.hosts[name].ip + ":8777", "tls_cert": cert, "tls_key": key, "tls_client_ca": c.ca.File("ca.pem")},
		"host": map[string]any{
			"hostname": name, "token": c.tokens[name], "api_url": "https://" + apiAddress, "api_ca": c.ca.File("ca.pem"), "api_cert": cert, "api_key": key,
			"state_dir": c.file(name), "hypervisor": "fake", "heartbeat_every": "1s", "cpu_ratio": 64.0,
		},
	}, nil, c.program(), "host")
}

// start runs a program in a machine. It ends with the test, even where that is killed.
func (c *cluster) start(m machine, name string, settings map[string]any, ready func(context.Context) error, line ...string) {
	c.t.Helper()
	if settings != nil {
		text, err := yaml.Marshal(settings)
		require.NoError(c.t, err)
		require.NoError(c.t, os.WriteFile(c.file(name+".yaml"), text, 0o600))
		line = append(line, "--config", c.file(name+".yaml"))
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	path, args := m.command(line...)
	p, err := stack.Start(ctx, stack.Command{
		Name: name, Path: path, Args: args, Dir: c.dir, LogFile: c.file(name + ".log"), ParentDeathSignal: syscall.SIGKILL,
		StopTimeout: 40 * time.Second, Ready: ready, ReadyTimeout: patience,
	})
	require.NoError(c.t, err)
	c.processes[name] = p
	c.t.Cleanup(func() { c.stop(name) })
}

func (c *cluster) stop(name string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(c.t, c.processes[name].Stop(ctx))
}

func (c *cluster) log(name string) string {
	text, err := os.ReadFile(c.file(name + ".log"))
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	require.NoError(c.t, err)
	return string(text)
}

func (c *cluster) program() string {
	c.t.Helper()
	path := os.Getenv("SLIPWAY_TEST_BINARY")
	require.NotEmpty(c.t, path, "SLIPWAY_TEST_BINARY names the program: run this by `make cluster`")
	return path
}

// slipway runs a verb as the admin, on the control plane.
func (c *cluster) slipway(arguments ...string) string {
	c.t.Helper()
	out, err := c.verb(c.control, "https://"+apiAddress, arguments...)
	require.NoError(c.t, err)
	return out
}

// verb runs one in a machine, against an API that claims to be the cluster's.
func (c *cluster) verb(m machine, api string, arguments ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	path, args := m.command(append([]string{c.program()}, arguments...)...)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{
		"HOME=" + c.dir, "PATH=" + os.Getenv("PATH"), "OS_AUTH_URL=" + api + "/v3", "OS_CACERT=" + c.ca.File("ca.pem"),
		"OS_USERNAME=admin", "OS_PASSWORD=" + adminPassword, "OS_PROJECT_NAME=admin", "OS_USER_DOMAIN_NAME=Default", "OS_PROJECT_DOMAIN_NAME=Default",
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("slipway %v: %w: %s", arguments, err, errs.String())
	}
	return out.String(), nil
}

func (c *cluster) certificate(holder string) tls.Certificate {
	c.t.Helper()
	pair, err := tls.LoadX509KeyPair(c.ca.File(holder+".pem"), c.ca.File(holder+".key"))
	require.NoError(c.t, err)
	return pair
}

// web is an HTTP client in a machine. Each request has a connection of its own.
func (c *cluster) web(m machine, config *tls.Config) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: m.dial, TLSClientConfig: config, DisableKeepAlives: true}}
}

// user signs in over HTTPS, as anybody does who has the CA.
func (c *cluster) user(m machine, name, password string) *gophercloud.ProviderClient {
	c.t.Helper()
	p, err := openstack.NewClient("https://" + apiAddress + "/v3")
	require.NoError(c.t, err)
	p.HTTPClient = *c.web(m, c.ca.Client())
	require.NoError(c.t, openstack.Authenticate(c.t.Context(), p, gophercloud.AuthOptions{
		IdentityEndpoint: "https://" + apiAddress + "/v3", Username: name, Password: password, DomainName: "Default",
		Scope: &gophercloud.AuthScope{ProjectName: name, DomainName: "Default"},
	}))
	return p
}

// ask is one request and what came of it: the status and the text of the answer, or why there was none.
func ask(ctx context.Context, client *http.Client, method, url string, header map[string]string, body any) string {
	var text io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err.Error()
		}
		text = bytes.NewReader(encoded)
	}
	r, err := http.NewRequestWithContext(ctx, method, url, text)
	if err != nil {
		return err.Error()
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	answer, err := client.Do(r)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(io.LimitReader(answer.Body, 4096))
	if err != nil {
		return err.Error()
	}
	return answer.Status + ": " + string(said)
}
