package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"
)

// options is what an operator may choose. Each flag has an environment variable: SLIPWAY_TEMPORAL_ and the flag's name
// in capitals with underscores. A flag wins over its variable. Passwords have only a variable, since a process's
// arguments are readable by every user of the machine.
type options struct {
	PostgresHost     string
	PostgresPort     int
	PostgresUser     string
	PostgresPassword string
	PostgresTLS      string
	PostgresRootCert string
	Database         string
	VisibilityDB     string

	FrontendAddr string
	Frontend     tlsFiles // CA: that of the clients, and of the frontend itself for the Web UI
	FrontendCRL  string
	TaskKeys     string
	Internode    tlsFiles
	InternalPort int
	Insecure     bool

	UIAddr        string
	UIClient      tlsFiles // CA unused: it is the frontend's
	UI            tlsFiles // CA unused: people log in
	UIPasswords   string
	UIOIDC        oidcOptions
	CodecEndpoint string
	CodecUpstream string
	Codec         tlsFiles // towards CodecUpstream
	MetricsAddr   string

	Namespace string
	Retention time.Duration
	// The end of a workflow whose history is longer; a warning comes at a fifth.
	HistoryEvents, HistoryBytes int
	// HistoryShards: a shard commits one transition at a time, so too few make a burst wait; each costs pollers and memory.
	// On 2 cores 16 built 15.7 and 16.8 servers a second, 4 built 13.4 and 15.3, 64 no more than 16.
	HistoryShards int
	LogLevel      string

	// serverName is a name of the frontend's certificate, for which the Web UI looks.
	serverName string
	// internal holds the loopback ports on which the services of this process reach one another.
	internal internalPorts
}

type internalPorts struct{ history, matching, worker, frontend int }

// tlsFiles are the files (PEM) with which one side shows who it is and knows the other one.
type tlsFiles struct{ Cert, Key, CA string }

func (f tlsFiles) any() bool { return f != tlsFiles{} }

// guarded is whether the frontend asks for certificates. The server's own workers then have a frontend of their own.
func (o options) guarded() bool { return o.Frontend.any() }

const envPrefix = "SLIPWAY_TEMPORAL_"

func parseOptions(args []string, getenv func(string) string, usage io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("slipway-temporal", flag.ContinueOnError)
	fs.SetOutput(usage)
	fs.StringVar(&o.PostgresHost, "postgres-host", "/var/run/postgresql", "host of Postgres, or the directory of its unix socket")
	fs.IntVar(&o.PostgresPort, "postgres-port", 5432, "port of Postgres (also a part of the socket's name)")
	fs.StringVar(&o.PostgresUser, "postgres-user", "postgres", "user; needs CREATEDB only while the databases are missing. Password: "+envPrefix+"POSTGRES_PASSWORD")
	fs.StringVar(&o.PostgresTLS, "postgres-sslmode", "disable", "libpq sslmode: disable, require, verify-ca, verify-full")
	fs.StringVar(&o.PostgresRootCert, "postgres-sslrootcert", "", "file of the authority that signed Postgres's certificate")
	fs.StringVar(&o.Database, "database", "temporal", "database of workflow histories")
	fs.StringVar(&o.VisibilityDB, "visibility-database", "temporal_visibility", "database of the workflow index (search attributes)")
	fs.StringVar(&o.FrontendAddr, "frontend", "127.0.0.1:7233", "address of the gRPC frontend, ip:port; port 0 takes a free one")
	fs.StringVar(&o.Frontend.Cert, "frontend-cert", "", "file of the frontend's certificate (PEM)")
	fs.StringVar(&o.Frontend.Key, "frontend-key", "", "file of its key")
	fs.StringVar(&o.Frontend.CA, "frontend-client-ca", "", "file of the CAs of clients' certificates: who has none is not answered, and what each may ask its role says (docs/operations.md)")
	fs.StringVar(&o.FrontendCRL, "frontend-crl", "", "file of revoked certificates; empty: a crl.pem beside the CAs is honoured")
	fs.StringVar(&o.TaskKeys, "task-token-keys", "", "file of the keys that bind tasks to the host that polled them, the same for all frontends; made where it is missing. Needed with --frontend-client-ca")
	fs.StringVar(&o.Internode.Cert, "internode-cert", "", "file of the certificate with which the services of this process, all on loopback, know one another; empty: they do not ask")
	fs.StringVar(&o.Internode.Key, "internode-key", "", "file of its key")
	fs.StringVar(&o.Internode.CA, "internode-ca", "", "file of its CA")
	fs.IntVar(&o.InternalPort, "internal-frontend-port", 0, "loopback port of the frontend that asks nobody who they are, for this server's own workers; 0 takes a free one. Only with --frontend-client-ca")
	fs.BoolVar(&o.Insecure, "insecure-plaintext", false, "let plain text be beyond loopback: of the frontend without --frontend-client-ca, which then answers everybody (who can build and destroy anything), of the way to Postgres, of --metrics")
	fs.StringVar(&o.UIClient.Cert, "ui-client-cert", "", "file of the Web UI's own certificate for the frontend, of the role operator. Needed with --frontend-client-ca")
	fs.StringVar(&o.UIClient.Key, "ui-client-key", "", "file of its key")
	fs.StringVar(&o.UIAddr, "ui", "127.0.0.1:8233", "address of the Web UI, ip:port; port 0 takes a free one; empty: no Web UI")
	fs.StringVar(&o.UI.Cert, "ui-cert", "", "file of the certificate that the Web UI shows browsers; empty: plain HTTP, on loopback only")
	fs.StringVar(&o.UI.Key, "ui-key", "", "file of its key")
	fs.StringVar(&o.UIPasswords, "ui-passwords", "", "file of names and bcrypt hashes (htpasswd -B) of who may look at the Web UI")
	fs.StringVar(&o.UIOIDC.Provider, "ui-oidc-provider", "", "URL of the OpenID provider that knows who may look at the Web UI. Client secret: "+envPrefix+"UI_OIDC_CLIENT_SECRET")
	fs.StringVar(&o.UIOIDC.ClientID, "ui-oidc-client-id", "", "the Web UI's name there")
	fs.StringVar(&o.UIOIDC.Callback, "ui-oidc-callback", "", "URL to which the provider sends browsers back: https://HOST:PORT/auth/sso/callback")
	fs.StringVar(&o.CodecEndpoint, "codec-endpoint", "", "URL of the codec endpoint with which the Web UI decodes payloads (it has to allow the UI's origin itself)")
	fs.StringVar(&o.CodecUpstream, "codec-upstream", "", "URL of the codec of the api's operators' listener, https://HOST:8775/codec: the Web UI offers it at its own origin, to who is logged in. Instead of --codec-endpoint, where browsers do not reach that listener or have no certificate")
	fs.StringVar(&o.Codec.Cert, "codec-cert", "", "file of the certificate of the role operator that is shown there. Needed with an https --codec-upstream")
	fs.StringVar(&o.Codec.Key, "codec-key", "", "file of its key")
	fs.StringVar(&o.Codec.CA, "codec-ca", "", "file of the CA of that listener's certificate; a crl.pem beside it is honoured")
	fs.StringVar(&o.MetricsAddr, "metrics", "", "address of the Prometheus endpoint, ip:port; empty: none")
	fs.StringVar(&o.Namespace, "namespace", "slipway", "namespace to register")
	fs.DurationVar(&o.Retention, "retention", 7*24*time.Hour, "how long closed workflows are kept in a namespace that is registered now; at least 24h. Workers set it to their temporal.retention")
	fs.IntVar(&o.HistoryEvents, "history-events", 51200, "events at which a workflow is ended; a warning comes at a fifth")
	fs.IntVar(&o.HistoryBytes, "history-bytes", 50<<20, "bytes of history at which a workflow is ended; a warning comes at a fifth")
	fs.IntVar(&o.HistoryShards, "history-shards", 16, "number of history shards. Fixed when the databases are created: the server keeps to the number it finds there")
	fs.StringVar(&o.LogLevel, "log-level", "warn", "debug, info, warn or error")

	var envErr error
	fs.VisitAll(func(f *flag.Flag) {
		name := envPrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if v := getenv(name); v != "" && envErr == nil {
			if err := f.Value.Set(v); err != nil {
				envErr = fmt.Errorf("%s=%q: %w", name, v, err)
			}
		}
	})
	if envErr != nil {
		return options{}, envErr
	}
	if err := fs.Parse(args); err != nil {
		return options{}, err
	}
	if fs.NArg() > 0 {
		return options{}, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	o.PostgresPassword = getenv(envPrefix + "POSTGRES_PASSWORD")
	o.UIOIDC.clientSecret = getenv(envPrefix + "UI_OIDC_CLIENT_SECRET")
	return o, o.validate()
}

func (o options) validate() error {
	for _, a := range []struct{ flag, addr string }{
		{"frontend", o.FrontendAddr}, {"ui", o.UIAddr}, {"metrics", o.MetricsAddr},
	} {
		if a.addr == "" && a.flag != "frontend" {
			continue
		}
		if _, _, err := splitAddr(a.addr); err != nil {
			return fmt.Errorf("--%s: %w", a.flag, err)
		}
	}
	switch {
	case o.PostgresHost == "" || o.PostgresUser == "" || o.Database == "" || o.VisibilityDB == "" || o.Namespace == "":
		return fmt.Errorf("--postgres-host, --postgres-user, --database, --visibility-database and --namespace must not be empty")
	case o.Database == o.VisibilityDB:
		return fmt.Errorf("--database and --visibility-database must differ: both schemas have a table schema_version")
	case o.PostgresPort < 1 || o.PostgresPort > 65535:
		return fmt.Errorf("--postgres-port %d is no port", o.PostgresPort)
	case o.HistoryShards < 1 || o.HistoryShards > 16384:
		return fmt.Errorf("--history-shards %d: want 1 to 16384", o.HistoryShards)
	case o.HistoryEvents < 10_000 || o.HistoryBytes < 10<<20:
		return fmt.Errorf("--history-events %d, --history-bytes %d: want 10,000 and 10 MiB or more, which Slipway's workflows may take", o.HistoryEvents, o.HistoryBytes)
	case o.Retention < 24*time.Hour:
		return fmt.Errorf("--retention %s: the server keeps closed workflows for 24h or longer", o.Retention)
	}
	if err := errors.Join(o.validateTLS(), o.validatePlaintext(), o.validateUI(), o.validateCodec()); err != nil {
		return err
	}
	switch o.LogLevel {
	case "debug", "info", "warn", "error":
		return nil
	}
	return fmt.Errorf("--log-level %q: want debug, info, warn or error", o.LogLevel)
}

// splitAddr takes ip:port apart. A host name is refused: the server binds to an address, and which of a name's
// addresses that would be is not for this program to guess.
func splitAddr(addr string) (net.IP, int, error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, 0, fmt.Errorf("%q is not ip:port: %w", addr, err)
	}
	ip := net.ParseIP(host)
	if ip == nil {
		return nil, 0, fmt.Errorf("%q: %q is not an IP address", addr, host)
	}
	port, err := strconv.Atoi(p)
	if err != nil || port < 0 || port > 65535 {
		return nil, 0, fmt.Errorf("%q: %q is not a port", addr, p)
	}
	return ip, port, nil
}

// dialAddr is the address at which this machine reaches a listener bound to addr.
func dialAddr(addr string) string {
	ip, port, err := splitAddr(addr)
	if err != nil {
		return addr
	}
	if ip.IsUnspecified() {
		ip = net.IPv4(127, 0, 0, 1)
	}
	return net.JoinHostPort(ip.String(), strconv.Itoa(port))
}

// choosePorts replaces each port 0 by a free one and picks the loopback ports of the internal services, so that any
// number of instances runs on one machine as long as their frontends differ.
func (o *options) choosePorts() error {
	for _, addr := range []*string{&o.FrontendAddr, &o.UIAddr} {
		if *addr == "" {
			continue
		}
		ip, port, err := splitAddr(*addr)
		if err != nil {
			return err
		}
		if port == 0 {
			if port, err = freePort(ip); err != nil {
				return err
			}
			*addr = net.JoinHostPort(ip.String(), strconv.Itoa(port))
		}
	}
	taken := map[int]bool{}
	o.internal.frontend = o.InternalPort
	for _, p := range []*int{&o.internal.frontend, &o.internal.history, &o.internal.matching, &o.internal.worker} {
		for *p == 0 || taken[*p] {
			port, err := freePort(net.IPv4(127, 0, 0, 1))
			if err != nil {
				return err
			}
			*p = port
		}
		taken[*p] = true
	}
	return nil
}

// freePort finds a port that nobody listens on. It looks below 32768, where Linux takes no ports for outgoing
// connections by default: a port from above could be gone again before the server binds it.
func freePort(ip net.IP) (int, error) {
	const lowest, highest, tries = 20000, 32767, 200
	var err error
	for range tries {
		port := lowest + rand.IntN(highest-lowest+1)
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort(ip.String(), strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("find a free port on %s: %w", ip, err)
}
