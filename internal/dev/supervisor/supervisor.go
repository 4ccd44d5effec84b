// Package supervisor is the development stack as a command: it starts all of Slipway on one machine, with its state in one folder,
// keeps it running, and furnishes it with what a newcomer needs.
package supervisor

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/dev/stack"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/libpq"
	"github.com/slipway-cloud/slipway/internal/listener"
	"github.com/slipway-cloud/slipway/internal/payload"
	"github.com/slipway-cloud/slipway/internal/pki"
)

// options of the development stack.
type options struct {
	state      string
	hypervisor string
	engine     string // of networks
	api        string
	operator   string
	temporal   string
	ui         string
	hostname   string // of the one hypervisor that is supervised with it
}

// Command is "slipway dev".
func Command() *cobra.Command {
	o := options{hostname: devHostname}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything on this machine: Postgres, Temporal with its Web UI, libvirtd, api, worker and host",
		Long: `Starts and supervises all of Slipway on one machine, with its state in one folder (.slipway): a private Postgres
cluster, the Temporal server with its Web UI on that Postgres, libvirtd where no init system runs it, with --network-engine ovn OVN,
and the roles api, worker and host. Runs until it is stopped; "slipway dev up" does the same in the background, "slipway dev down" stops it.

With SLIPWAY_TEMPORAL_ADDRESS set, that Temporal cluster is used instead of one of our own.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(cmd.Context(), o, cmd.OutOrStdout(), (*dev).start)
		},
	}
	flags := cmd.PersistentFlags()
	flags.StringVar(&o.state, "state-dir", ".slipway", "folder of all state")
	flags.StringVar(&o.hypervisor, "hypervisor", "libvirt", "libvirt, or fake for load tests")
	flags.StringVar(&o.engine, "network-engine", "", "what networks stand on: bridge (isolated on each host), or ovn, which switches them between hosts too (default: as at the last start, at first bridge)")
	flags.StringVar(&o.api, "api", "127.0.0.1:8774", "address of the API")
	flags.StringVar(&o.operator, "operator", "127.0.0.1:8775", "address of the api's operators' listener (metrics, codec); worker and host take the next two ports")
	flags.StringVar(&o.temporal, "temporal", "127.0.0.1:7233", "address of the Temporal frontend")
	flags.StringVar(&o.ui, "ui", "127.0.0.1:8233", "address of the Temporal Web UI")
	cmd.AddCommand(
		&cobra.Command{
			Use: "up", Short: "Start everything in the background and return when it is ready", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return up(cmd.Context(), o, cmd.OutOrStdout()) },
		},
		&cobra.Command{
			Use: "down", Short: "Stop what up and hosts started, and nothing else; the state stays", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return down(cmd.Context(), o, cmd.OutOrStdout()) },
		},
		&cobra.Command{
			Use: "purge", Short: "Delete the guests and databases of a stopped stack", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return purge(cmd.Context(), o) },
		},
		&cobra.Command{
			Use: "status", Short: "Say whether it runs, where, and how long its certificates last; exit status 1 if not", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return status(o, cmd.OutOrStdout()) },
		},
		hostsCommand(&o),
		pingCommand(&o),
		hostCommand(&o),
		&cobra.Command{
			Use: "reap", Short: "The process over libvirtd that reaps guests", Hidden: true, DisableFlagParsing: true,
			RunE: func(_ *cobra.Command, command []string) error {
				status, err := stack.Reap(command)
				if err == nil {
					os.Exit(status)
				}
				return err
			},
		},
	)
	return cmd
}

// dev is a running development stack, or one more host beside it.
type dev struct {
	options
	self    string // this program
	guests  string // the host's state folder
	log     *slog.Logger
	say     func(format string, args ...any)
	secrets secrets

	apiURL, apiCA     string
	client            *http.Client // of the API
	hostCert, hostKey string
	payloadKeys       string // the control plane's file of them
	ovsdb             string // of the host's Open vSwitch, where networks stand on OVN
}

func (o options) path(parts ...string) string {
	return filepath.Join(append([]string{o.state}, parts...)...)
}

// libvirt is how a libvirtd of this state folder is started, by this program (self).
func (o options) libvirt(self string, log *slog.Logger) stack.LibvirtOptions {
	return stack.LibvirtOptions{Dir: o.path("libvirt"), Reaper: []string{self, "dev", "reap"}, Logger: log}
}

func (o options) pidFile() string { return o.path("dev.pid") }
func (o options) uiURL() string   { return "http://" + o.ui }

// run starts everything in order, writes the files that clients need, and waits for its end. What was started is
// stopped in reverse.
func run(ctx context.Context, o options, out io.Writer, start func(*dev, context.Context, stops) (stops, error)) (err error) {
	if o.state, err = filepath.Abs(o.state); err != nil {
		return err
	}
	syscall.Umask(0o022) // as slipway host has it: others' users pass the folders that are made here
	for _, dir := range []string{o.state, o.path("logs")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making the state folder: %w", err)
		}
	}
	guests, err := stack.PlaceGuests(o.path("host"))
	if err != nil {
		return err
	}
	release, err := o.claim()
	if err != nil {
		return err
	}
	defer release()
	libpq.Forget() // the cluster is this stack's own
	self, err := os.Executable()
	if err != nil {
		return err
	}
	d := &dev{options: o, self: self, guests: guests, log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	began := time.Now()
	d.say = func(format string, args ...any) {
		fmt.Fprintf(out, "slipway: [%5.1fs] %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}

	rotated := make(chan struct{})
	rotating, endRotation := context.WithCancel(context.WithoutCancel(ctx))
	logs := []string{d.path("logs", "*.log"), d.path("postgres", "*.log"), d.path("libvirt", "*.log"), d.path("network", "*", "*.log")}
	go func() {
		defer close(rotated)
		stack.RotateLogs(rotating, d.log, logs...)
	}()
	defer func() { endRotation(); <-rotated }()

	if guests != o.path("host") {
		d.say("the guests' disks lie in %s: QEMU's own user cannot reach %s", guests, o.path("host"))
	}

	var started stops
	defer func() {
		d.say("stopping")
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
		defer cancel()
		for _, stop := range slices.Backward(started) {
			err = errors.Join(err, stop(stopping))
		}
		d.say("stopped; the state is in %s", o.state)
	}()
	started, err = start(d, ctx, nil)
	if err != nil {
		return err
	}
	d.say("%s", ReadyLine)
	<-ctx.Done()
	return nil
}

// ReadyLine ends the start; `up` waits for it in the log.
const ReadyLine = "ready"

// stops are how to stop what was started, in the order of the starts.
type stops []func(context.Context) error

// start starts the parts one after another and adds how to stop each.
func (d *dev) start(ctx context.Context, stops stops) (stops, error) {
	if err := errors.Join(d.freePorts(ctx), d.chooseEngine()); err != nil {
		return stops, err
	}
	if err := os.MkdirAll(d.path("images"), 0o755); err != nil {
		return stops, err
	}
	if err := d.prepareSecrets(); err != nil {
		return stops, err
	}

	d.say("starting Postgres (a private cluster in %s)", d.path("postgres"))
	postgres, err := stack.StartPostgres(ctx, stack.PostgresOptions{Dir: d.path("postgres"), Logger: d.log})
	if err != nil {
		return stops, err
	}
	stops = append(stops, postgres.Stop)
	if err := postgres.EnsureDatabase(ctx, "slipway"); err != nil {
		return stops, err
	}

	if err := d.certifyServer(ctx, controlName, d.api); err != nil {
		return stops, err
	}
	temporal := map[string]any{"address": os.Getenv("SLIPWAY_TEMPORAL_ADDRESS")}
	if temporal["address"] != "" {
		d.say("using the Temporal cluster at %s", temporal["address"])
	} else {
		d.say("starting Temporal with its Web UI")
		secure, err := d.certifyTemporal(ctx)
		if err != nil {
			return stops, err
		}
		// What a browser asks is plain, and on loopback: it would not believe a CA that nobody has given it.
		server, err := stack.StartTemporal(ctx, stack.TemporalOptions{
			Binary: d.path("bin", "slipway-temporal"), Postgres: postgres,
			FrontendAddr: d.temporal, TLS: secure, UIAddr: d.ui, CodecEndpoint: "http://" + d.operator + "/codec",
			LogFile: d.path("logs", "temporal.log"), Logger: d.log,
		})
		if err != nil {
			return stops, err
		}
		stops = append(stops, func(context.Context) error { return server.Stop() })
		temporal = map[string]any{"address": server.FrontendAddr, "tls_ca": secure.CA}
		temporal["tls_cert"], temporal["tls_key"] = pki.Files(d.pki(), pki.Control, controlName)
	}
	if err := d.certifyHost(ctx, d.pki()); err != nil {
		return stops, err
	}
	d.payloadKeys = d.path("secrets", "payload.keys")
	hostEnv := []string{"SLIPWAY_TEMPORAL_PAYLOAD_KEYS=" + d.sharedKeys()}
	if temporal["tls_ca"] != nil {
		hostEnv = append(hostEnv, "SLIPWAY_TEMPORAL_TLS_CERT="+d.hostCert, "SLIPWAY_TEMPORAL_TLS_KEY="+d.hostKey)
	}

	if err := d.believe(d.apiAddress(), caOf(d.pki())); err != nil {
		return stops, err
	}
	network, stops, err := d.startOVN(ctx, stops)
	if err != nil {
		return stops, err
	}
	libvirt, stops, err := d.startLibvirt(ctx, stops)
	if err != nil {
		return stops, err
	}
	if stops, err = d.startChassis(ctx, stops, libvirt, d.options); err != nil {
		return stops, err
	}
	if err := d.writeSettings(postgres.DSN("slipway"), temporal, network, libvirt); err != nil {
		return stops, err
	}
	for _, r := range []struct {
		name  string
		port  int
		ready func(context.Context) error
		env   []string
	}{
		{"api", 0, answers(d.client, d.apiURL+"/readyz"), nil},
		{"worker", 1, nil, nil},
		{"host", 2, nil, hostEnv},
	} {
		if r.name == "host" {
			if err := d.enroll(ctx); err != nil {
				return stops, err
			}
		}
		operator, err := next(d.operator, r.port)
		if err != nil {
			return stops, err
		}
		if r.ready == nil {
			r.ready = answers(http.DefaultClient, "http://"+operator+"/healthz")
		}
		if stops, err = d.startRole(ctx, stops, r.name, r.ready, append(r.env, "SLIPWAY_OPERATOR_LISTEN="+operator)...); err != nil {
			return stops, err
		}
	}
	if err := d.furnish(ctx); err != nil {
		return stops, err
	}
	return stops, d.waitForHost(ctx)
}

// startLibvirt starts the host's libvirtd, where it has one.
func (d *dev) startLibvirt(ctx context.Context, stops stops) (*stack.Libvirt, stops, error) {
	if d.hypervisor != "libvirt" {
		return &stack.Libvirt{}, stops, nil
	}
	d.say("looking for libvirtd (the first start takes about 10 s)")
	libvirt, err := stack.EnsureLibvirt(ctx, d.libvirt(d.self, d.log))
	if err == nil && libvirt.Started {
		stops = append(stops, libvirt.Stop, d.stopGuests(libvirt)) // guests end before the libvirtd that runs them
	}
	return libvirt, stops, err
}

// startRole starts this program as a role, with the settings of this folder.
func (d *dev) startRole(ctx context.Context, stops stops, name string, ready func(context.Context) error, env ...string) (stops, error) {
	d.say("starting %s", name)
	role, err := stack.Supervise(ctx, stack.Command{
		Name: name, Path: d.self, Args: []string{name}, Dir: d.state,
		Env:               append(env, "SLIPWAY_CONFIG="+d.path("slipway.yaml")),
		LogFile:           d.path("logs", name+".log"),
		ParentDeathSignal: syscall.SIGTERM,
		StopTimeout:       40 * time.Second,
		Ready:             ready,
	}, d.log)
	if err != nil {
		return stops, err
	}
	return append(stops, func(context.Context) error { return role.Stop() }), nil
}

// freePorts says which port is taken before anything is started.
func (d *dev) freePorts(ctx context.Context) error {
	addresses := [][2]string{{"--api", d.api}}
	for i, role := range []string{"api", "worker", "host"} {
		a, err := next(d.operator, i)
		if err != nil {
			return err
		}
		addresses = append(addresses, [2]string{"--operator, " + role, a})
	}
	if os.Getenv("SLIPWAY_TEMPORAL_ADDRESS") == "" {
		addresses = append(addresses, [2]string{"--temporal", d.temporal}, [2]string{"--ui", d.ui})
	}
	for _, a := range addresses {
		l, err := listener.Open(ctx, a[0], a[1])
		if err != nil {
			return err
		}
		l.Close()
	}
	return nil
}

// next is the address n ports higher.
func next(address string, n int) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("%q is not host:port", address)
	}
	p, err := strconv.Atoi(port)
	if err != nil {
		return "", fmt.Errorf("%q is not host:port", address)
	}
	return net.JoinHostPort(host, strconv.Itoa(p+n)), nil
}

// answers asks an address for 200.
func answers(client *http.Client, url string) func(context.Context) error {
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
			text, _ := io.ReadAll(io.LimitReader(answer.Body, 300))
			return fmt.Errorf("%s: %s: %s", url, answer.Status, bytes.TrimSpace(text))
		}
		return nil
	}
}

// secrets are made at the first start and kept in files that only their owner reads.
type secrets struct{ admin, demo string }

func (d *dev) prepareSecrets() error {
	if err := os.MkdirAll(d.path("secrets"), 0o700); err != nil {
		return err
	}
	for name, into := range map[string]*string{"admin-password": &d.secrets.admin, "demo-password": &d.secrets.demo} {
		path := d.path("secrets", name)
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || err == nil && len(bytes.TrimSpace(text)) == 0 { // empty: it died while writing
			random := make([]byte, 18)
			if _, err := rand.Read(random); err != nil {
				return err
			}
			text = []byte(base64.RawURLEncoding.EncodeToString(random))
			err = os.WriteFile(path, text, 0o600)
			if err != nil {
				return err
			}
		} else if err != nil {
			return err
		}
		*into = strings.TrimSpace(string(text))
	}
	return payload.EnsureKeys(d.path("secrets", "payload.keys"))
}

// claim makes this process the one that runs the stack of this state folder. The lock goes with the process, so a pid
// file that a killed one left behind holds nobody up.
func (o options) claim() (release func(), err error) {
	f, err := os.OpenFile(o.pidFile(), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		if pid, err := o.running(); err != nil || pid != 0 { // else somebody was asking just then
			f.Close()
			return nil, fmt.Errorf("it runs already for %s (slipway dev status)", o.state)
		}
	}
	// Whoever reads meanwhile finds a whole first line; what is left of a longer one goes after it.
	line := strconv.Itoa(os.Getpid()) + "\n"
	if _, err := f.WriteAt([]byte(line), 0); err != nil {
		f.Close()
		return nil, err
	}
	if err := f.Truncate(int64(len(line))); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// running gives the pid of the process that runs the stack, 0 if none does.
func (o options) running() (int, error) {
	f, err := os.Open(o.pidFile())
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for {
		// Shared, so that two who ask do not take each other for a supervisor. Closing gives it back.
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err == nil {
			return 0, nil
		}
		line := make([]byte, 32)
		n, err := f.ReadAt(line, 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if first, _, whole := strings.Cut(string(line[:n]), "\n"); whole {
			return strconv.Atoi(first)
		}
		<-time.After(time.Millisecond) // it has just been claimed for the first time
	}
}

func up(ctx context.Context, o options, out io.Writer) error {
	if pid, err := o.running(); err == nil && pid != 0 && o.engine != "" {
		if now, err := o.settings(); err == nil && cmp.Or(now.Network.Engine, config.EngineBridge) != o.engine {
			return fmt.Errorf("it runs already (pid %d), and its networks stand on %s: `slipway dev down` stops it", pid, cmp.Or(now.Network.Engine, config.EngineBridge))
		}
	}
	return o.background(ctx, out, "--state-dir", o.state, "--hypervisor", o.hypervisor, "--network-engine", o.engine, "--api", o.api,
		"--operator", o.operator, "--temporal", o.temporal, "--ui", o.ui)
}

// background has this program supervise the folder, in a process that outlives this one, unless one does already, and returns
// when it is ready.
func (o options) background(ctx context.Context, out io.Writer, arguments ...string) error {
	pid, err := o.running()
	if err != nil {
		return err
	}
	if pid != 0 {
		fmt.Fprintf(out, "slipway: it runs already (pid %d)\n", pid)
		return nil
	}
	if err := os.MkdirAll(o.path("logs"), 0o755); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	logFile, err := os.OpenFile(o.path("logs", "dev.log"), os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer logFile.Close()
	child := exec.Command(self, append([]string{"dev"}, arguments...)...)
	child.Stdout, child.Stderr = logFile, logFile
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives this terminal
	if err := child.Start(); err != nil {
		return fmt.Errorf("starting it in the background: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	return follow(ctx, logFile.Name(), out, ended)
}

// follow shows the log's progress lines until it says ready or the process has ended.
func follow(ctx context.Context, path string, out io.Writer, ended <-chan error) error {
	log, err := os.Open(path)
	if err != nil {
		return err
	}
	defer log.Close()
	var kept []byte
	show := func() (ready bool, err error) {
		more, err := io.ReadAll(log)
		if err != nil {
			return false, err
		}
		kept = append(kept, more...)
		for {
			line, rest, whole := bytes.Cut(kept, []byte("\n"))
			if !whole {
				return ready, nil
			}
			kept = rest
			fmt.Fprintf(out, "%s\n", line)
			ready = ready || bytes.HasSuffix(line, []byte("] "+ReadyLine))
		}
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			_, _ = show()
			return fmt.Errorf("it did not start (%v): the log is %s", err, path)
		case <-ctx.Done():
			return fmt.Errorf("interrupted while it starts in the background: `slipway dev down` stops it")
		case <-tick.C:
			if ready, err := show(); ready || err != nil {
				return err
			}
		}
	}
}

// downPatience bounds the stop of a supervisor and of all that it runs.
const downPatience = 3 * time.Minute

func down(ctx context.Context, o options, out io.Writer) (err error) {
	if o.state, err = filepath.Abs(o.state); err != nil {
		return err
	}
	found := false
	for _, each := range append(o.added(), o) { // hosts go before what they report to
		ran, stopErr := each.stop(ctx)
		found, err = found || ran, errors.Join(err, stopErr)
		if ran && stopErr == nil {
			fmt.Fprintf(out, "slipway: stopped; the state is in %s\n", each.state)
		}
	}
	if !found && err == nil {
		fmt.Fprintln(out, "slipway: nothing of it runs")
	}
	return err
}

// stop ends the supervisor of a folder with all that it runs, and says whether there was anything to end.
func (o options) stop(ctx context.Context) (ran bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, downPatience)
	defer cancel()
	pid, err := o.running()
	if err != nil {
		return false, err
	}
	if pid == 0 {
		return o.stopLeft(ctx)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return true, fmt.Errorf("stopping process %d: %w", pid, err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return true, fmt.Errorf("process %d does not stop: see %s", pid, o.path("logs", "dev.log"))
		case <-tick.C:
			if now, err := o.running(); err != nil || now != pid {
				return true, err
			}
		}
	}
}

// stopLeft ends what outlives a supervisor that was killed: libvirtd and its guests. The rest ends with it by itself.
func (o options) stopLeft(ctx context.Context) (ran bool, err error) {
	if !stack.LibvirtLeft(o.path("libvirt")) {
		return false, nil
	}
	release, err := o.claim()
	if err != nil {
		return true, err
	}
	defer release()
	return true, o.endGuests(ctx, func(h hypervisor.Hypervisor, domain hypervisor.Status) error {
		return h.Destroy(ctx, domain.UUID)
	})
}

// purge deletes what the stack has outside of its state folder: domains that libvirt knows, and the host's state and
// the Postgres clusters of the stack and of the tests, which lie elsewhere where the users of QEMU and of Postgres cannot
// reach into the folder.
func purge(ctx context.Context, o options) (err error) {
	if o.state, err = filepath.Abs(o.state); err != nil {
		return err
	}
	for _, each := range append(o.added(), o) {
		pid, runErr := each.running()
		if runErr == nil && pid != 0 {
			runErr = fmt.Errorf("it runs (pid %d): `slipway dev down` stops it", pid)
		}
		if runErr != nil {
			return runErr
		}
		forgetErr := each.forgetGuests(ctx)
		if forgetErr == nil {
			forgetErr = stack.PurgeGuests(each.path("host"))
		}
		err = errors.Join(err, forgetErr)
	}
	return errors.Join(err, stack.PurgePostgres(ctx, o.path("postgres")), stack.PurgePostgres(ctx, o.path("test", "postgres")))
}

var errNotRunning = errors.New("it does not run: `make up` or `slipway dev` starts it")

func status(o options, out io.Writer) error {
	pid, err := o.running()
	if err != nil {
		return err
	}
	if pid == 0 {
		return errNotRunning
	}
	settings, err := o.settings()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "slipway: it runs (pid %d)\nAPI       %s\nWeb UI    %s\nstate     %s\n", pid, settings.Host.APIURL, settings.Temporal["ui_url"], o.state)
	if settings.Network.Engine == config.EngineOVN {
		fmt.Fprintf(out, "networks  on OVN (%s), switched on %s\n", settings.Network.OVNNB, cmp.Or(strings.Join(o.chassis(), ", "), "no host"))
	}
	if settings.Host.APICA == "" {
		return nil // it was started by a program of before
	}
	return o.showCertificates(out)
}
