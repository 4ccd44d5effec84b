// Package system runs Slipway's own processes (api, worker, hosts) for a test, on the real parts of internal/dev/testenv, with
// certificates as between machines, and gives clients for them. What it starts ends with the test, and what a test leaves
// behind on the hypervisor is an error of that test.
package system

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.yaml.in/yaml/v3"
	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/dev/faultinject"
	"github.com/slipway-cloud/slipway/internal/dev/stack"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/payload"
	"github.com/slipway-cloud/slipway/models"
)

// Options of a system.
type Options struct {
	Hosts      int            // hypervisors; 0 is one
	APIAlone   bool           // neither worker nor hosts: for what the API does by itself
	Hypervisor string         // libvirt or fake
	Settings   map[string]any // more settings for all roles, by section
	HostState  string         // folder for the hosts' state; "" is one of the test's own
	// HostSettings are settings of the i-th host alone (from 0), over those of all; nil is none.
	HostSettings func(s *System, i int) map[string]any
	// Zone is the availability zone of the i-th host; nil leaves all of them in the one that there is anyway.
	Zone func(i int) string

	// Identity is asked, with the API's address, for the identity service that issues the tokens: where clients log in, and the api's
	// settings. It has the users and projects that a system of its own has, and the catalog. nil: Slipway issues them.
	Identity func(apiURL string) (loginURL string, settings map[string]any)

	// Faults runs processes that can be told to fail, by System.Faults.
	Faults bool

	// Plaintext runs all of it without certificates, on a Temporal that asks for none: what they cost can be compared.
	Plaintext bool

	// Parts of the test's own, for one that breaks them. "" are those that internal/dev/testenv gives, which tests share.
	DSN      string // an empty database
	Temporal string // address of a server with the namespace slipway and the run's certificates (stack.TemporalTLSIn)
	// APITemporal is the address by which the API alone reaches that server.
	APITemporal string
	Libvirt     testenv.LibvirtEnv // for the hosts that HostSettings makes libvirt's too
}

// System is a running Slipway.
type System struct {
	Dir     string
	APIURL  string
	Metrics string // address of the API's
	DSN     string
	Store   *models.Store // the database, to look at
	Hosts   []string      // hostnames
	Libvirt testenv.LibvirtEnv
	Faults  *faultinject.Plan // nil without Options.Faults

	t         testing.TB
	loginURL  string
	control   *testenv.Certificate // nil: plain text
	client    *http.Client
	program   func() (string, error)
	temporal  string
	processes map[string]*stack.Supervised
	commands  map[string]stack.Command
	settings  map[string]any
	states    map[string]string // of the hosts
}

// Passwords of the two users that every system has.
const (
	AdminPassword = "admin-of-the-test"
	DemoPassword  = "demo-of-the-test"
)

const startPatience = time.Minute

// Start starts api, worker and hosts and returns when the hosts take servers.
func Start(t testing.TB, o Options) *System {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*startPatience)
	defer cancel()
	s := &System{
		t: t, DSN: o.DSN, temporal: o.Temporal, Libvirt: o.Libvirt, Dir: shortDir(t),
		program:   binary,
		processes: map[string]*stack.Supervised{}, commands: map[string]stack.Command{}, states: map[string]string{},
	}
	if o.Faults {
		var err error
		s.Faults, err = faultinject.New(filepath.Join(s.Dir, "faults"))
		require.NoError(t, err)
		s.program = faultyBinary
	}
	if s.DSN == "" {
		s.DSN = testenv.Database(t)
	}
	if s.temporal == "" {
		s.temporal = testenv.Temporal(t)
	}
	if o.Hypervisor == "libvirt" && s.Libvirt.Socket == "" {
		s.Libvirt = testenv.Libvirt(t)
	}
	api, operator, scheme := freeAddress(t), freeAddress(t), "http://"
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 16
	t.Cleanup(transport.CloseIdleConnections)
	s.client = &http.Client{Transport: transport}
	if !o.Plaintext {
		control := testenv.Control(t)
		s.control, transport.TLSClientConfig, scheme = &control, control.TLS(t), "https://"
	}
	s.APIURL, s.Metrics = scheme+api, scheme+operator+"/metrics"
	keys := filepath.Join(s.Dir, "payload.keys")
	require.NoError(t, payload.EnsureKeys(keys))
	s.settings = map[string]any{
		"log":      map[string]any{"level": "info"},
		"database": map[string]any{"dsn": s.DSN},
		"temporal": map[string]any{
			"address": s.temporal, "control_queue": testenv.Queue(t, "control"),
			"ui_url": os.Getenv(testenv.UIVariable), "payload_keys": keys,
		},
		"api": map[string]any{
			"listen": api, "admin_password": AdminPassword, "demo_password": DemoPassword, "default_network": "10.20.0.0/24",
		},
		"images":   map[string]any{"dir": filepath.Join(s.Dir, "images")},
		"operator": map[string]any{"listen": ""},
		// What is broken on purpose is to be built on again.
		"build": map[string]any{"host_failures": 0, "build_failure_weight_multiplier": 0},
		// A schedule would outlive the test, in the engine that all share.
		"audit":        map[string]any{"every": "0s"},
		"housekeeping": map[string]any{"every": "0s", "stores_every": "0s"},
		"host":         map[string]any{},
	}
	s.loginURL = s.APIURL + "/v3"
	s.set(s.tls())
	if o.Identity != nil {
		own := s.settings["api"].(map[string]any)
		for _, setting := range []string{"admin_password", "demo_password", "default_network"} {
			delete(own, setting)
		}
		var settings map[string]any
		s.loginURL, settings = o.Identity(s.APIURL)
		s.set(settings)
	}
	s.set(o.Settings)
	s.writeSettings("slipway.yaml", s.settings)

	env := []string{"SLIPWAY_OPERATOR_LISTEN=" + operator}
	if o.APITemporal != "" {
		env = append(env, "SLIPWAY_TEMPORAL_ADDRESS="+o.APITemporal)
	}
	s.start(ctx, "api", "slipway.yaml", env, s.answers("/readyz"))
	store, err := models.Open(ctx, s.DSN, models.Options{MaxConns: 4})
	require.NoError(t, err)
	s.Store = store
	t.Cleanup(func() { store.Close() })
	if o.APIAlone {
		return s
	}
	s.start(ctx, "worker", "slipway.yaml", nil, nil)
	for i := range max(1, o.Hosts) {
		s.addHost(ctx, i, o)
	}
	s.waitForHosts(ctx)
	return s
}

// set adds settings, by section.
func (s *System) set(more map[string]any) {
	for section, settings := range more {
		if s.settings[section] == nil {
			s.settings[section] = map[string]any{}
		}
		maps.Copy(s.settings[section].(map[string]any), settings.(map[string]any))
	}
}

// tls is what the control plane's processes show and believe.
func (s *System) tls() map[string]any {
	c := s.control
	if c == nil {
		return nil
	}
	return map[string]any{
		"temporal": map[string]any{"tls_ca": c.CA, "tls_cert": c.Cert, "tls_key": c.Key},
		"api":      map[string]any{"tls_cert": c.Cert, "tls_key": c.Key, "tls_host_ca": c.CA},
		"operator": map[string]any{"tls_cert": c.Cert, "tls_key": c.Key, "tls_client_ca": c.CA},
	}
}

// shortDir is the test's folder, short enough for unix sockets and open to QEMU's own user.
func shortDir(t testing.TB) string {
	dir, err := os.MkdirTemp("", "slw")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logs and state are kept in %s", dir)
			return
		}
		require.NoError(t, os.RemoveAll(dir))
	})
	return dir
}

func (s *System) writeSettings(name string, settings map[string]any) {
	text, err := yaml.Marshal(settings)
	require.NoError(s.t, err)
	require.NoError(s.t, os.WriteFile(filepath.Join(s.Dir, name), text, 0o600))
}

// The binaries are built once for a run, unless variables name them.
var (
	binary       = built("SLIPWAY_TEST_BINARY", "")
	faultyBinary = built("SLIPWAY_TEST_FAULTS_BINARY", "faultinject")
)

func built(variable, tags string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		if path := os.Getenv(variable); path != "" {
			return path, nil
		}
		module, err := exec.Command("go", "env", "GOMOD").Output()
		if err != nil {
			return "", fmt.Errorf("looking for the module: %w", err)
		}
		return build(filepath.Join(filepath.Dir(strings.TrimSpace(string(module))), ".slipway", "test"), tags)
	})
}

// build builds slipway with some tags into a folder, under a name that stays: nothing tells when the last test has ended, and
// a program without a name cannot read itself. Another test process may run what is there, and may build it too: the new
// program takes the place of the old in one moment.
func build(dir, tags string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	fresh, err := os.MkdirTemp(dir, "build")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(fresh)
	name := strings.TrimSuffix("slipway-"+tags, "-")
	made := filepath.Join(fresh, name)
	compile := exec.Command("go", "build", "-tags", tags, "-o", made, "github.com/slipway-cloud/slipway/cmd/slipway")
	compile.Stderr = os.Stderr
	if err := compile.Run(); err != nil {
		return "", fmt.Errorf("building slipway: %w", err)
	}
	path := filepath.Join(dir, name)
	return path, os.Rename(made, path)
}

// Program is the slipway binary that the system runs.
func (s *System) Program(t testing.TB) string {
	t.Helper()
	path, err := s.program()
	require.NoError(t, err, "building slipway")
	return path
}

// Slipway runs the command line as the admin and gives what it printed and its exit status.
func (s *System) Slipway(t testing.TB, arguments ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), verbPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.Program(t), arguments...)
	cmd.Env = append(s.Openrc("admin", AdminPassword), "HOME="+s.Dir, "PATH="+os.Getenv("PATH"))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		require.ErrorAs(t, err, new(*exec.ExitError), "slipway %v", arguments)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// Openrc is the environment of a user's command line clients.
func (s *System) Openrc(user, password string) []string {
	env := []string{
		"OS_AUTH_URL=" + s.loginURL, "OS_USERNAME=" + user, "OS_PASSWORD=" + password, "OS_PROJECT_NAME=" + user,
		"OS_USER_DOMAIN_NAME=Default", "OS_PROJECT_DOMAIN_NAME=Default",
	}
	if s.control != nil {
		env = append(env, "OS_CACERT="+s.control.CA)
	}
	return env
}

// HTTP is a client that the API and its operators' listener answer.
func (s *System) HTTP() *http.Client { return s.client }

// verbPatience bounds one verb; an audit looks twice, and waits for hosts that do not answer.
const verbPatience = 3 * time.Minute

func (s *System) start(ctx context.Context, role, settings string, env []string, ready func(context.Context) error) {
	s.t.Helper()
	path, err := s.program()
	require.NoError(s.t, err, "building slipway")
	if s.Faults != nil && role != "api" {
		env = append(env, faultinject.Variable+"="+s.Faults.Dir())
	}
	verb := role
	if role != "api" && role != "worker" {
		verb = "host"
	}
	command := stack.Command{
		Name: role, Path: path, Args: []string{verb}, Dir: s.Dir,
		Env:               append(env, "SLIPWAY_CONFIG="+filepath.Join(s.Dir, settings)),
		LogFile:           filepath.Join(s.Dir, role+".log"),
		ParentDeathSignal: syscall.SIGKILL,
		StopTimeout:       40 * time.Second,
		Ready:             ready,
		ReadyTimeout:      startPatience,
	}
	p, err := stack.Supervise(ctx, command, slog.New(slog.DiscardHandler))
	require.NoError(s.t, err)
	s.processes[role], s.commands[role] = p, command
	s.t.Cleanup(func() {
		if p := s.processes[role]; p != nil {
			require.NoError(s.t, p.Stop(), "stopping %s", role)
		}
	})
}

func (s *System) answers(path string) func(context.Context) error {
	return Answers(s.client, s.APIURL+path)
}

// Answers is ready when what is asked at an address is answered with 200.
func Answers(client *http.Client, url string) func(context.Context) error {
	return func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		answer, err := client.Do(r)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return errors.New(answer.Status)
		}
		return nil
	}
}

func (s *System) addHost(ctx context.Context, i int, o Options) {
	hostname := testenv.Queue(s.t, fmt.Sprintf("hv%d", i+1))
	admitted := map[string]any{"hostname": hostname}
	if o.Zone != nil {
		admitted["availability_zone"] = o.Zone(i)
	}
	var made struct{ Host struct{ Token string } }
	_, err := s.Admin().Request(ctx, http.MethodPost, s.APIURL+"/hosts", &gophercloud.RequestOpts{
		JSONBody:     map[string]any{"host": admitted},
		JSONResponse: &made, OkCodes: []int{http.StatusCreated},
	})
	require.NoError(s.t, err, "enrolling a host")
	state := o.HostState
	if state == "" {
		state = filepath.Join(s.Dir, hostname)
	}
	s.states[hostname] = state
	require.NoError(s.t, os.MkdirAll(state, 0o755))
	temporal := maps.Clone(s.settings["temporal"].(map[string]any))
	delete(temporal, "payload_keys") // a host has its own
	settings := map[string]any{"log": s.settings["log"], "temporal": temporal, "build": s.settings["build"], "operator": s.settings["operator"]}
	host := map[string]any{
		"api_url": s.APIURL, "token": made.Host.Token, "hostname": hostname, "state_dir": state, "heartbeat_every": "1s",
		"hypervisor": o.Hypervisor, "libvirt_socket": s.Libvirt.Socket, "cpu_ratio": 64.0,
		"libguestfs":      false, // each host would make a machine for it, and try that
		"transfer_listen": "127.0.0.1:0",
	}
	if s.control != nil {
		own := testenv.Host(s.t, hostname)
		maps.Copy(settings["temporal"].(map[string]any), map[string]any{"tls_cert": own.Cert, "tls_key": own.Key})
		maps.Copy(host, map[string]any{"api_ca": own.CA, "api_cert": own.Cert, "api_key": own.Key})
	}
	maps.Copy(host, s.settings["host"].(map[string]any))
	if o.HostSettings != nil {
		maps.Copy(host, o.HostSettings(s, i))
	}
	settings["host"] = host
	s.writeSettings(hostname+".yaml", settings)
	s.Hosts = append(s.Hosts, hostname)
	s.start(ctx, hostname, hostname+".yaml", nil, nil)
}

// HostState is the folder of a host's instances and cached images.
func (s *System) HostState(hostname string) string { return s.states[hostname] }

func (s *System) waitForHosts(ctx context.Context) {
	s.t.Helper()
	Eventually(s.t, startPatience, func() (bool, string) {
		hosts, err := s.Store.ListHosts(ctx)
		if err != nil {
			return false, err.Error()
		}
		for _, h := range hosts {
			if !h.Ready {
				return false, h.Hostname + " is not ready"
			}
		}
		return len(hosts) == len(s.Hosts), fmt.Sprintf("%d of %d hosts", len(hosts), len(s.Hosts))
	})
}

// Kill ends a process (api, worker or a hostname) with SIGKILL; it is started again by itself.
func (s *System) Kill(process string) {
	s.t.Helper()
	pid := 0 // while it is being started again; as an argument of kill it would be this very process group
	Eventually(s.t, startPatience, func() (bool, string) {
		pid = s.processes[process].Pid()
		return pid != 0, process + " does not run"
	})
	require.NoError(s.t, syscall.Kill(pid, syscall.SIGKILL))
}

// Lose ends a process with SIGKILL, as a machine ends that dies, until Restart.
func (s *System) Lose(process string) {
	s.t.Helper()
	s.Kill(process)
	s.Stop(process)
}

// ControlQueue is the task queue of the system's own workflows.
func (s *System) ControlQueue() string {
	return s.settings["temporal"].(map[string]any)["control_queue"].(string)
}

// Stop ends a process until Restart.
func (s *System) Stop(process string) {
	s.t.Helper()
	require.NoError(s.t, s.processes[process].Stop())
	s.processes[process] = nil
}

// Restart starts a stopped process.
func (s *System) Restart(process string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startPatience)
	defer cancel()
	p, err := stack.Supervise(ctx, s.commands[process], slog.New(slog.DiscardHandler))
	require.NoError(s.t, err)
	s.processes[process] = p
}

// Pid of a process.
func (s *System) Pid(process string) int { return s.processes[process].Pid() }

// Log is what a process has logged.
func (s *System) Log(process string) string {
	text, err := os.ReadFile(filepath.Join(s.Dir, process+".log"))
	require.NoError(s.t, err)
	return string(text)
}

// Admin is a client with the role admin, Demo one of a plain member of another project.
func (s *System) Admin() *gophercloud.ProviderClient { return s.as("admin", AdminPassword) }

// Demo is a plain member's client.
func (s *System) Demo() *gophercloud.ProviderClient { return s.as("demo", DemoPassword) }

func (s *System) as(user, password string) *gophercloud.ProviderClient {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startPatience)
	defer cancel()
	p, err := openstack.NewClient(s.loginURL)
	require.NoError(s.t, err)
	p.HTTPClient = *s.client
	require.NoError(s.t, openstack.Authenticate(ctx, p, gophercloud.AuthOptions{
		IdentityEndpoint: s.loginURL, Username: user, Password: password, DomainName: "Default", AllowReauth: true,
		Scope: &gophercloud.AuthScope{ProjectName: user, DomainName: "Default"},
	}), "signing in as %s", user)
	return p
}

// Compute, Image and Network are service clients of a user.
func Compute(t testing.TB, p *gophercloud.ProviderClient) *gophercloud.ServiceClient {
	t.Helper()
	c, err := openstack.NewComputeV2(p, gophercloud.EndpointOpts{Region: "RegionOne"})
	require.NoError(t, err)
	c.Microversion = "2.90"
	return c
}

// Image is the client of the image service.
func Image(t testing.TB, p *gophercloud.ProviderClient) *gophercloud.ServiceClient {
	t.Helper()
	c, err := openstack.NewImageV2(p, gophercloud.EndpointOpts{Region: "RegionOne"})
	require.NoError(t, err)
	return c
}

// Network is the client of the network service.
func Network(t testing.TB, p *gophercloud.ProviderClient) *gophercloud.ServiceClient {
	t.Helper()
	c, err := openstack.NewNetworkV2(p, gophercloud.EndpointOpts{Region: "RegionOne"})
	require.NoError(t, err)
	return c
}

// Converter reads what the system's workflows recorded, which is encrypted with keys of the system's own or of its settings.
func (s *System) Converter(t testing.TB) converter.DataConverter {
	t.Helper()
	keys, err := payload.LoadKeys(s.settings["temporal"].(map[string]any)["payload_keys"].(string))
	require.NoError(t, err)
	return payload.ControlConverter(keys)
}

// Temporal is a client that may do what the control plane may, and reads what the system's workflows recorded.
func (s *System) Temporal() client.Client {
	s.t.Helper()
	o := client.Options{HostPort: s.temporal, Namespace: "slipway", DataConverter: s.Converter(s.t), Logger: quiet{}}
	if s.control != nil {
		o.ConnectionOptions.TLS = s.control.TLS(s.t)
	}
	c, err := client.Dial(o)
	require.NoError(s.t, err)
	s.t.Cleanup(c.Close)
	return c
}

// Cancel asks a workflow of the run's Temporal to end, which no certificate may: it takes the machine that Temporal runs on.
func (s *System) Cancel(ctx context.Context, workflowID string) error {
	c, err := client.DialContext(ctx, client.Options{HostPort: testenv.TemporalInternal(s.t), Namespace: "slipway", Logger: quiet{}})
	if err != nil {
		return err
	}
	defer c.Close()
	return c.CancelWorkflow(ctx, workflowID, "")
}

type quiet struct{}

func (quiet) Debug(string, ...any) {}
func (quiet) Info(string, ...any)  {}
func (quiet) Warn(string, ...any)  {}
func (quiet) Error(string, ...any) {}

// volatile is what changes without anybody having asked for anything: credentials that tests make, what hosts report; the
// history of what audits found, operators did and images told of themselves; the numbers that images get with their first
// build and keep; and the generation of the database, which hosts and stores are given.
var volatile = []string{
	"tokens", "operator_acts", "audit_runs", "audit_findings", "audit_repairs", "ec2_image_ids", "notifications", "notification_deliveries",
	"installation", "image_stores", "restores", "hosts.generation",
	"hosts.build_failures", "hosts.last_failure", "hosts.last_failure_at", "hosts.suspended", "hosts.trial_due_at", "hosts.trial_pause", "hosts.trial",
	"hosts.ready", "hosts.not_ready_reason", "hosts.seen_at", "hosts.started_at", "hosts.back_at", "hosts.memory_mib", "hosts.machine",
}

// OwnTables hold what a server is, not what it took: of a deleted one they are history.
var OwnTables = []string{"servers", "server_metadata", "server_tags", "server_faults", "instance_actions", "instance_action_events", "operator_acts", "reservations", "migrations"}

// World is the database without what is volatile and without the history that is kept of the deleted. What a deleted server
// still holds is no history. Two worlds are equal when nothing is left of what was made between them.
func (s *System) World(t testing.TB) map[string][]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startPatience)
	defer cancel()
	all, err := s.Store.Snapshot(ctx, volatile...)
	require.NoError(t, err)
	fields := func(row string) map[string]any {
		var f map[string]any
		require.NoError(t, json.Unmarshal([]byte(row), &f), row)
		return f
	}
	deadServers, deadImages := map[any]bool{}, map[any]bool{}
	for table, dead := range map[string]map[any]bool{"servers": deadServers, "images": deadImages} {
		for _, row := range all[table] {
			if f := fields(row); f["deleted_at"] != nil {
				dead[f["id"]] = true
			}
		}
	}
	world := map[string][]string{}
	for table, rows := range all {
		world[table] = []string{}
		for _, row := range rows {
			f := fields(row)
			of := "id"
			if table != "servers" {
				of = "server_id"
			}
			if slices.Contains(OwnTables, table) && deadServers[f[of]] || table == "images" && deadImages[f["id"]] ||
				table == "image_tasks" && deadImages[f["image_id"]] || slices.Contains([]string{"projects", "users"}, table) && f["deleted_at"] != nil {
				continue
			}
			world[table] = append(world[table], row)
		}
	}
	return world
}

// Eventually asks again and again until done, and fails the test with the last word when the patience ends. It rests longer
// the longer a look takes, and the longer it has waited: the cores are for what is awaited.
func Eventually(t testing.TB, patience time.Duration, done func() (bool, string)) {
	t.Helper()
	began := time.Now()
	deadline := began.Add(patience)
	for {
		looked := time.Now()
		ok, word := done()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not after %s: %s", patience, word)
		}
		rest := max(3*time.Since(looked), time.Since(began)/20, 5*time.Millisecond)
		time.Sleep(min(rest, 500*time.Millisecond))
	}
}

// freeAddress is one that nothing listens on, and a port that the kernel gives no connection of its own accord
// (net.ipv4.ip_local_port_range): the process that it is meant for listens seconds later, while others connect. Until the
// test ends no other gets it, in this process or another: it is locked by a file.
func freeAddress(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(os.TempDir(), "slipway-test-ports")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for range 100 {
		port := strconv.Itoa(20_000 + rand.IntN(12_000))
		lock, err := os.OpenFile(filepath.Join(dir, port), os.O_CREATE|os.O_RDONLY, 0o644)
		require.NoError(t, err)
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			lock.Close()
			continue
		}
		address := net.JoinHostPort("127.0.0.1", port)
		if l, err := net.Listen("tcp", address); err == nil {
			require.NoError(t, l.Close())
			t.Cleanup(func() { lock.Close() })
			return address
		}
		lock.Close()
	}
	t.Fatal("no port is free")
	return ""
}

// NoVendorData is a vendor data service that nobody runs: a build asks it, and goes on without an answer.
const NoVendorData = "nobody@http://127.0.0.1:1/"
