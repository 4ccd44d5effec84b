// Command with starts the real parts that tests stand on, runs a command with their addresses in the environment, and
// stops what it started:
//
//	go run ./internal/dev/testenv/with [--parts postgres,temporal,libvirt,guest] go test ./models
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-cloud/slipway/internal/dev/stack"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/libpq"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "--reap" {
		code, err := stack.Reap(os.Args[2:])
		if err != nil {
			fmt.Fprintln(os.Stderr, "with:", err)
			os.Exit(1)
		}
		os.Exit(code)
	}
	parts := flag.String("parts", "postgres,temporal,libvirt,guest", "what the command needs")
	state := flag.String("state-dir", ".slipway/test", "folder for the parts' data and logs")
	fsync := flag.Bool("fsync", true, "Postgres writes through to the disk; false is faster, and measures nothing")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "with: which command? For example: with go test ./models")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, *state, *fsync, strings.Split(*parts, ","), flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "with:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

// stopPatience bounds the stop of each part.
const stopPatience = time.Minute

func run(ctx context.Context, state string, fsync bool, parts, command []string) (code int, err error) {
	dir, err := filepath.Abs(state)
	if err != nil {
		return 0, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	libpq.Forget() // the cluster is this run's own, for the command too
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	env := os.Environ()
	// The time to stop begins when the command has ended, however long it took.
	stop := func(stop func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
		defer cancel()
		return stop(ctx)
	}
	var postgres *stack.Postgres
	for _, part := range parts {
		began := time.Now()
		switch part {
		case "postgres":
			postgres, err = stack.StartPostgres(ctx, stack.PostgresOptions{Dir: filepath.Join(dir, "postgres"), Volatile: !fsync, Logger: log})
			if err != nil {
				return 0, err
			}
			defer func() { err = errors.Join(err, stop(postgres.Stop)) }()
			env = append(env, testenv.PostgresVariable+"="+postgres.DSN("postgres"))
		case "temporal":
			if postgres == nil {
				return 0, errors.New("temporal needs postgres before it")
			}
			ca := filepath.Join(dir, "pki") // of a run before; while this one holds the cluster, none uses it
			if err := errors.Join(os.RemoveAll(ca), testenv.MakePKI(ctx, ca)); err != nil {
				return 0, err
			}
			temporal, err := stack.StartTemporal(ctx, stack.TemporalOptions{
				Binary:       filepath.Join(filepath.Dir(dir), "bin", "slipway-temporal"),
				Postgres:     postgres,
				FrontendAddr: "127.0.0.1:0",
				UIAddr:       "127.0.0.1:0",
				TLS:          stack.TemporalTLSIn(ca),
				LogFile:      filepath.Join(dir, "temporal.log"),
				Logger:       log,
			})
			if err != nil {
				return 0, err
			}
			defer func() {
				if stopErr := temporal.Stop(); stopErr != nil {
					fmt.Fprintln(os.Stderr, "with: stopping Temporal:", stopErr)
				}
			}()
			env = append(env, testenv.PKIVariable+"="+ca, testenv.TemporalVariable+"="+temporal.FrontendAddr,
				testenv.TemporalInternalVariable+"="+temporal.InternalAddr, testenv.UIVariable+"=http://"+temporal.UIAddr)
		case "libvirt":
			self, err := os.Executable()
			if err != nil {
				return 0, err
			}
			libvirt, err := stack.EnsureLibvirt(ctx, stack.LibvirtOptions{
				Dir: filepath.Join(dir, "libvirt"), Reaper: []string{self, "--reap"}, Logger: log,
			})
			if err != nil {
				return 0, err
			}
			defer func() {
				if stopErr := stop(libvirt.Stop); stopErr != nil {
					fmt.Fprintln(os.Stderr, "with: stopping libvirtd:", stopErr)
				}
			}()
			env = append(env, testenv.LibvirtVariable+"="+libvirt.Socket, testenv.NetNSVariable+"="+libvirt.Netns())
		case "rabbitmq":
			broker, wrong := stack.StartRabbitMQ(ctx, filepath.Join(dir, "rabbitmq"))
			if wrong != nil {
				return 0, wrong
			}
			defer func() { err = errors.Join(err, stop(broker.Stop)) }()
			env = append(env, testenv.RabbitMQVariable+"="+broker.URL, testenv.RabbitMQTLSVariable+"="+broker.TLSURL, testenv.RabbitMQCAVariable+"="+broker.CA)
		case "ovn":
			fetch := exec.CommandContext(ctx, "deploy/dev/fetch-ovn.sh")
			fetch.Stdout, fetch.Stderr = os.Stderr, os.Stderr
			if err := fetch.Run(); err != nil {
				return 0, fmt.Errorf("fetching OVN: %w", err)
			}
			env = append(env, testenv.OVNVariable+"="+filepath.Join(filepath.Dir(dir), "ovn"))
		case "guest", "cloud-guest":
			guest := filepath.Join(filepath.Dir(dir), part)
			build := exec.CommandContext(ctx, filepath.Join("deploy/dev", part, "build.sh"), guest)
			build.Stdout, build.Stderr = os.Stderr, os.Stderr
			if err := build.Run(); err != nil {
				return 0, fmt.Errorf("building the %s: %w", part, err)
			}
			variable := testenv.GuestVariable
			if part == "cloud-guest" {
				variable = testenv.CloudGuestVariable
			}
			env = append(env, variable+"="+guest)
		default:
			return 0, fmt.Errorf("no part %q: there are postgres, temporal, libvirt, guest, rabbitmq, ovn and cloud-guest", part)
		}
		fmt.Fprintf(os.Stderr, "with: %s is ready (%s)\n", part, time.Since(began).Round(10*time.Millisecond))
	}

	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = os.Stdin, os.Stdout, os.Stderr, env
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopPatience
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	return 0, err
}
