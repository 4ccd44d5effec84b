package stack

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"syscall"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"

	"github.com/slipway-cloud/slipway/internal/listener"
)

// TemporalOptions describes the Temporal server (deploy/temporal) of one machine.
type TemporalOptions struct {
	// Binary is the program slipway-temporal.
	Binary string
	// Postgres holds its databases; the server creates them.
	Postgres *Postgres
	// Database and VisibilityDatabase are their names. Default temporal and temporal_visibility.
	Database, VisibilityDatabase string
	// FrontendAddr and UIAddr are ip:port; port 0 takes a free one, which then stays over restarts. UIAddr may be empty:
	// no Web UI. Default 127.0.0.1:7233 and none.
	FrontendAddr, UIAddr string
	// CodecEndpoint is the URL with which the Web UI decodes payloads.
	CodecEndpoint string
	// Namespace to register. Default slipway.
	Namespace string
	// HistoryShards is fixed when the databases are created. 0: the program's default.
	HistoryShards int
	LogFile       string
	LogLevel      string // default warn
	Logger        *slog.Logger
}

// Temporal is a supervised Temporal server.
type Temporal struct {
	FrontendAddr string
	UIAddr       string
	Namespace    string

	supervised *Supervised
}

// readySearchAttribute is the last thing that slipway-temporal registers; once a query by it is answered, everything
// else is there.
const readySearchAttribute = "SlipwayReservation"

// StartTemporal starts the server, keeps it running, and returns when a client can use the namespace.
func StartTemporal(ctx context.Context, o TemporalOptions) (*Temporal, error) {
	if _, err := os.Stat(o.Binary); err != nil {
		return nil, fmt.Errorf("start Temporal: %w (deploy/dev/build-temporal.sh builds it)", err)
	}
	t := &Temporal{Namespace: orDefault(o.Namespace, "slipway")}
	var err error
	if t.FrontendAddr, err = claimAddr(ctx, "Temporal", orDefault(o.FrontendAddr, "127.0.0.1:7233")); err != nil {
		return nil, err
	}
	if o.UIAddr != "" {
		if t.UIAddr, err = claimAddr(ctx, "Temporal's Web UI", o.UIAddr); err != nil {
			return nil, err
		}
	}
	args := []string{
		"--postgres-host", o.Postgres.SocketDir,
		"--postgres-port", strconv.Itoa(o.Postgres.Port()),
		"--postgres-user", o.Postgres.User(),
		"--database", orDefault(o.Database, "temporal"),
		"--visibility-database", orDefault(o.VisibilityDatabase, "temporal_visibility"),
		"--frontend", t.FrontendAddr,
		"--ui", t.UIAddr,
		"--codec-endpoint", o.CodecEndpoint,
		"--namespace", t.Namespace,
		"--log-level", orDefault(o.LogLevel, "warn"),
	}
	if o.HistoryShards > 0 {
		args = append(args, "--history-shards", strconv.Itoa(o.HistoryShards))
	}
	t.supervised, err = Supervise(ctx, Command{
		Name:              "temporal",
		Path:              o.Binary,
		Args:              args,
		LogFile:           o.LogFile,
		ParentDeathSignal: syscall.SIGTERM,
		StopTimeout:       20 * time.Second,
		ReadyTimeout:      2 * time.Minute,
		Ready:             t.ready,
	}, o.Logger)
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Temporal) ready(ctx context.Context) error {
	c, err := client.DialContext(ctx, client.Options{
		HostPort: t.FrontendAddr, Namespace: t.Namespace, Logger: sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{
		Namespace: t.Namespace, Query: readySearchAttribute + " = 'none'",
	})
	return err
}

// Pid is the server's process id, 0 while it is being started again.
func (t *Temporal) Pid() int { return t.supervised.Pid() }

// Restarts counts how often the server died and was started again.
func (t *Temporal) Restarts() int { return t.supervised.Restarts() }

// Stop ends the server in order.
func (t *Temporal) Stop() error { return t.supervised.Stop() }

// claimAddr makes sure that nobody listens on addr yet, since the readiness check could not tell a stranger's server
// from ours, and replaces port 0 by a free one.
func claimAddr(ctx context.Context, what, addr string) (string, error) {
	l, err := listener.Open(ctx, what, addr)
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func orDefault(v, otherwise string) string {
	if v == "" {
		return otherwise
	}
	return v
}
