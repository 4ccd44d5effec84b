package stack

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"

	"github.com/slipway-cloud/slipway/internal/listener"
	"github.com/slipway-cloud/slipway/internal/pki"
	"github.com/slipway-cloud/slipway/internal/tlsfile"
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
	// TLS has the frontend ask for certificates; nil: plain text, for everybody.
	TLS *TemporalTLS
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

// TemporalTLS are the files (PEM) with which the frontend, its clients and the Web UI know one another.
type TemporalTLS struct {
	CA            string // of all of them
	Cert, Key     string // the frontend's, of the role control: by it one asks whether the server is ready, too
	UICert, UIKey string // the Web UI's, of the role operator; unused without one
	TaskTokenKeys string // made where it is missing
	// The server's services know one another by them, of a CA that issues no others; unused where they are empty.
	InternodeCA, InternodeCert, InternodeKey string
}

// TemporalTLSIn are the files of a CA's folder (internal/pki) that has issued what the server needs: to temporal, for the
// frontend's address, and to web-ui.
func TemporalTLSIn(dir string) *TemporalTLS {
	o := &TemporalTLS{CA: filepath.Join(dir, pki.CAFile), TaskTokenKeys: filepath.Join(dir, "task-tokens.keys")}
	o.Cert, o.Key = pki.Files(dir, pki.Control, "temporal")
	o.UICert, o.UIKey = pki.Files(dir, pki.Operator, "web-ui")
	return o
}

// Temporal is a supervised Temporal server.
type Temporal struct {
	FrontendAddr string
	UIAddr       string
	// InternalAddr, on loopback, asks nobody who they are; empty without TLS, where FrontendAddr does not either, and where the
	// services ask one another for certificates.
	InternalAddr string
	Namespace    string

	tls        *tls.Config // nil: plain text
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
	if o.TLS != nil {
		if t.tls, err = o.TLS.client(t.FrontendAddr); err != nil {
			return nil, err
		}
		args = append(args, "--task-token-keys", o.TLS.TaskTokenKeys,
			"--frontend-cert", o.TLS.Cert, "--frontend-key", o.TLS.Key, "--frontend-client-ca", o.TLS.CA)
		if t.UIAddr != "" {
			args = append(args, "--ui-client-cert", o.TLS.UICert, "--ui-client-key", o.TLS.UIKey)
		}
		if o.TLS.InternodeCA == "" {
			if t.InternalAddr, err = claimAddr(ctx, "Temporal's internal frontend", "127.0.0.1:0"); err != nil {
				return nil, err
			}
			_, port, _ := net.SplitHostPort(t.InternalAddr)
			args = append(args, "--internal-frontend-port", port)
		} else {
			args = append(args, "--internode-ca", o.TLS.InternodeCA, "--internode-cert", o.TLS.InternodeCert, "--internode-key", o.TLS.InternodeKey)
		}
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

// client is the TLS with which one that has the frontend's own certificate asks it.
func (o TemporalTLS) client(frontend string) (*tls.Config, error) {
	host, _, err := net.SplitHostPort(frontend)
	if err != nil {
		return nil, err
	}
	return tlsfile.New(slog.New(slog.DiscardHandler)).Client(tlsfile.Pair{Setting: "the frontend's tls", Cert: o.Cert, Key: o.Key},
		tlsfile.Authority{Setting: "the frontend's tls_ca", CA: o.CA}, host)
}

func (t *Temporal) ready(ctx context.Context) error {
	c, err := client.DialContext(ctx, client.Options{
		HostPort: t.FrontendAddr, Namespace: t.Namespace, Logger: sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)),
		ConnectionOptions: client.ConnectionOptions{TLS: t.tls},
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
