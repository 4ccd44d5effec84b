package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/log/tag"
	"go.temporal.io/server/common/primitives"
)

func parse(t *testing.T, env map[string]string, args ...string) options {
	t.Helper()
	o, err := parseOptions(args, func(k string) string { return env[k] }, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestAFlagWinsOverItsVariableAndThatOverTheDefault(t *testing.T) {
	env := map[string]string{
		"SLIPWAY_TEMPORAL_FRONTEND":          "127.0.0.1:1000",
		"SLIPWAY_TEMPORAL_POSTGRES_USER":     "builder",
		"SLIPWAY_TEMPORAL_POSTGRES_PASSWORD": "s3cret",
	}
	o := parse(t, env, "--frontend", "127.0.0.1:2000")
	if o.FrontendAddr != "127.0.0.1:2000" || o.PostgresUser != "builder" || o.UIAddr != "127.0.0.1:8233" || o.PostgresPassword != "s3cret" {
		t.Errorf("got %+v", o)
	}
}

func TestOptionsThatCannotWorkAreRefused(t *testing.T) {
	for want, args := range map[string][]string{
		"not an IP address": {"--frontend", "localhost:7233"},
		"is not a port":     {"--ui", "127.0.0.1:70000"},
		"must differ":       {"--database", "a", "--visibility-database", "a"},
		"--history-shards":  {"--history-shards", "0"},
		"24h":               {"--retention", "1h"},
		"--history-events":  {"--history-events", "500"},
		"--log-level":       {"--log-level", "loud"},
		"unexpected":        {"start"},
		"--postgres-port":   {"--postgres-port", "0"},
		"go together":       {"--frontend-cert", "c", "--frontend-key", "k"},
		"--internode-ca":    {"--internode-cert", "c"},
		"--task-token-keys": {"--frontend-cert", "c", "--frontend-key", "k", "--frontend-client-ca", "a"},
		"role operator":     {"--frontend-cert", "c", "--frontend-key", "k", "--frontend-client-ca", "a", "--task-token-keys", "t"},
		"do nothing":        {"--frontend-crl", "r"},
		"other machines":    {"--frontend", "0.0.0.0:7233"},
		"would do what":     {"--frontend", "[::]:7233"},
		"a login":           {"--ui", "0.0.0.0:8233", "--ui-cert", "c", "--ui-key", "k"},
		"it needs TLS":      {"--ui", "0.0.0.0:8233", "--ui-passwords", "p"},
		"--ui-key go":       {"--ui-cert", "c"},
		"--ui-oidc-client":  {"--ui-oidc-provider", "https://id.example"},
		"upstream: which":   {"--codec-endpoint", "http://127.0.0.1:8775/codec", "--codec-upstream", "http://127.0.0.1:8775/codec", "--ui-passwords", "p"},
		"who is logged in":  {"--codec-upstream", "http://127.0.0.1:8775/codec"},
		"in clear":          {"--codec-upstream", "http://10.0.0.1:8775/codec", "--ui-passwords", "p"},
		"https needs":       {"--codec-upstream", "https://10.0.0.1:8775/codec", "--ui-passwords", "p", "--codec-cert", "c", "--codec-key", "k"},
		"want https://HOST": {"--codec-upstream", "127.0.0.1:8775", "--ui-passwords", "p"},
		"over https alone":  {"--codec-upstream", "http://127.0.0.1:8775/codec", "--ui-oidc-provider", "https://id.example", "--ui-oidc-client-id", "ui", "--ui-oidc-callback", "http://127.0.0.1:8233/auth/sso/callback"},
		"with an http":      {"--codec-upstream", "http://127.0.0.1:8775/codec", "--ui-passwords", "p", "--codec-ca", "c"},
		"without --codec-":  {"--codec-ca", "c"},
		"be in clear":       {"--postgres-host", "db.example"},
		"sslmode prefer":    {"--postgres-host", "10.0.0.1", "--postgres-sslmode", "prefer"},
		"--metrics 0.0.0.0": {"--metrics", "0.0.0.0:9090"},
	} {
		_, err := parseOptions(args, func(string) string { return "" }, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want an error with %q", args, err, want)
		}
	}
}

func TestASocketDirectoryReachesTheServerAsAParameter(t *testing.T) {
	sql := parse(t, nil, "--postgres-host", "/run/slipway", "--postgres-port", "5433").sql("temporal", 3)
	if sql.ConnectAddr != "localhost:5433" || sql.ConnectAttributes["host"] != "/run/slipway" || sql.ConnectAttributes["port"] != "5433" {
		t.Errorf("got %+v", sql)
	}
	sql = parse(t, nil, "--postgres-host", "db.example", "--postgres-sslmode", "verify-full", "--postgres-sslrootcert", "/ca.pem").sql("temporal", 3)
	if _, ok := sql.ConnectAttributes["host"]; ok || sql.ConnectAddr != "db.example:5432" ||
		sql.ConnectAttributes["sslmode"] != "verify-full" || sql.ConnectAttributes["sslrootcert"] != "/ca.pem" {
		t.Errorf("got %+v", sql)
	}
}

func TestTwoInstancesShareNoPort(t *testing.T) {
	taken := map[int]string{}
	for _, name := range []string{"one", "two"} {
		o := parse(t, nil, "--frontend", "127.0.0.1:0", "--ui", "127.0.0.1:0")
		if err := o.choosePorts(); err != nil {
			t.Fatal(err)
		}
		cfg := o.serverConfig()
		if err := cfg.Validate(); err != nil {
			t.Fatal(err)
		}
		ports := []int{o.uiConfig().Port}
		for _, s := range cfg.Services {
			if s.RPC.MembershipPort != 0 || s.RPC.HTTPPort != 0 {
				t.Errorf("%s: opens a port that nothing uses: %+v", name, s.RPC)
			}
			ports = append(ports, s.RPC.GRPCPort)
		}
		if len(ports) != 5 || cfg.Global.PProf.Port != 0 || cfg.Global.Metrics != nil {
			t.Errorf("%s: ports %v, pprof %d, metrics %v", name, ports, cfg.Global.PProf.Port, cfg.Global.Metrics)
		}
		for _, p := range ports {
			if p == 0 || taken[p] == name {
				t.Errorf("%s: port %d twice or not chosen", name, p)
			}
			taken[p] = name
		}
		for service, hosts := range o.staticHosts() {
			if !strings.HasPrefix(hosts.Self, "127.0.0.1:") {
				t.Errorf("%s is at %s", service, hosts.Self)
			}
		}
	}
}

func TestAFrontendOnAllAddressesIsReachedOverLoopback(t *testing.T) {
	o := parse(t, map[string]string{"SLIPWAY_TEMPORAL_INSECURE_PLAINTEXT": "true"}, "--frontend", "0.0.0.0:7233")
	if got := o.staticHosts()[primitives.FrontendService].Self; got != "127.0.0.1:7233" {
		t.Errorf("dials %s", got)
	}
	if got := o.serverConfig().Services[string(primitives.FrontendService)].RPC.BindOnIP; got != "0.0.0.0" {
		t.Errorf("binds %s", got)
	}
	for _, s := range []primitives.ServiceName{primitives.HistoryService, primitives.MatchingService, primitives.WorkerService} {
		if got := o.serverConfig().Services[string(s)].RPC.BindOnIP; got != "127.0.0.1" {
			t.Errorf("%s, which asks nobody who they are, binds %s", s, got)
		}
	}
}

// guardedOptions are those of a frontend that asks for certificates; nothing reads the files.
func guardedOptions(t *testing.T, more ...string) options {
	t.Helper()
	return parse(t, nil, append([]string{
		"--frontend-cert", "c.pem", "--frontend-key", "c.key", "--frontend-client-ca", "ca.pem", "--task-token-keys", "keys",
		"--ui-client-cert", "ui.pem", "--ui-client-key", "ui.key",
	}, more...)...)
}

func TestAFrontendThatAsksForCertificatesLeavesItsOwnWorkersOneOnLoopback(t *testing.T) {
	o := guardedOptions(t, "--frontend", "0.0.0.0:7233", "--internal-frontend-port", "7236")
	if err := o.choosePorts(); err != nil {
		t.Fatal(err)
	}
	cfg := o.serverConfig()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	internal := cfg.Services[string(primitives.InternalFrontendService)].RPC
	if internal.BindOnIP != "127.0.0.1" || internal.GRPCPort != 7236 || o.staticHosts()[primitives.InternalFrontendService].Self != "127.0.0.1:7236" {
		t.Errorf("the internal frontend: %+v", internal)
	}
	if s := cfg.Global.TLS.Frontend.Server; !s.RequireClientAuth || s.CertFile != "c.pem" || len(s.ClientCAFiles) != 1 || cfg.Global.TLS.RefreshInterval == 0 {
		t.Errorf("TLS: %+v", cfg.Global.TLS)
	}
	if ui := o.uiConfig().TLS; ui.CertFile != "ui.pem" || ui.CaFile != "ca.pem" || !ui.EnableHostVerification {
		t.Errorf("the Web UI: %+v", ui)
	}
	if !slices.Contains(o.services(), string(primitives.InternalFrontendService)) || slices.Contains(parse(t, nil).services(), string(primitives.InternalFrontendService)) {
		t.Error("the internal frontend runs where the frontend asks for certificates, and nowhere else")
	}
}

func TestPlainTextBeyondLoopbackIsInTheLogOfEachStart(t *testing.T) {
	for want, args := range map[bool][]string{true: {"--frontend", "0.0.0.0:7233", "--insecure-plaintext"}, false: nil} {
		o, said := parse(t, nil, args...), &warnings{Logger: log.NewNoopLogger()}
		guard, err := o.guard(said)
		if err != nil || guard != nil {
			t.Fatal(guard, err)
		}
		if got := len(said.lines) == 1 && strings.Contains(said.lines[0], "--insecure-plaintext"); got != want {
			t.Errorf("%v: %q", args, said.lines)
		}
	}
}

type warnings struct {
	log.Logger
	lines []string
}

func (w *warnings) Warn(line string, _ ...tag.Tag) { w.lines = append(w.lines, line) }

func TestTheWebUIKnowsTheCodecEndpointAndTheNamespace(t *testing.T) {
	o := parse(t, nil, "--codec-endpoint", "http://127.0.0.1:8774/codec", "--namespace", "n")
	ui := o.uiConfig()
	if ui.Codec.Endpoint != "http://127.0.0.1:8774/codec" || ui.DefaultNamespace != "n" || ui.TemporalGRPCAddress != "127.0.0.1:7233" {
		t.Errorf("got %+v", ui)
	}
	if err := ui.Validate(); err != nil {
		t.Error(err)
	}
}

func TestTheWebUIOffersNothingThatChangesAWorkflow(t *testing.T) {
	o := parse(t, nil, "--frontend", "127.0.0.1:0", "--ui", "127.0.0.1:0")
	if err := o.choosePorts(); err != nil {
		t.Fatal(err)
	}
	stop, err := startUI(t.Context(), o, log.NewNoopLogger())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := http.Client{Jar: jar, Timeout: 30 * time.Second} // the jar gets the CSRF cookie, as a browser does
	ui := "http://" + o.UIAddr
	var settings struct{ DisableWriteActions bool }
	answer, err := browser.Get(ui + "/api/v1/settings")
	if err != nil {
		t.Fatal(err)
	}
	err = json.NewDecoder(answer.Body).Decode(&settings)
	answer.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	if !settings.DisableWriteActions {
		t.Error("the UI shows the buttons that change workflows")
	}
	at, err := url.Parse(ui)
	if err != nil {
		t.Fatal(err)
	}
	workflow := "/api/v1/namespaces/slipway/workflows/server%2F1"
	for path, refused := range map[string]bool{
		workflow + "/terminate":   true,
		workflow + "/reset":       true,
		workflow + "/cancel":      true,
		workflow + "/signal/skip": true,
		workflow + "/update/boot": true,
		workflow:                  true, // start
		"/api/v1/namespaces/slipway/batch-operations/b":  true,
		"/api/v1/namespaces/slipway/activities/complete": true,
		// What the UI's own guard takes for a query: it looks at the unescaped path.
		"/api/v1/namespaces/slipway/batch-operations/x%2Fworkflows%2Fx%2Fquery%2Fx": true,
		"/api/v1/namespaces/slipway/workflows/%2Fquery%2F":                          true,
		workflow + "/signal/%2Fquery%2F":                                            true,
		workflow + "/query/state":                                                   false,
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, ui+path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		for _, cookie := range jar.Cookies(at) {
			if cookie.Name == "_csrf" {
				r.Header.Set("X-CSRF-Token", cookie.Value)
			}
		}
		answer, err := browser.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if got := answer.StatusCode == http.StatusMethodNotAllowed; got != refused {
			t.Errorf("POST %s: %s; want it refused: %t", path, answer.Status, refused)
		}
	}
}

func TestMetricsAreServedWhereAskedFor(t *testing.T) {
	cfg := parse(t, nil, "--metrics", "127.0.0.1:9100").serverConfig()
	if m := cfg.Global.Metrics; m == nil || m.Prometheus.ListenAddress != "127.0.0.1:9100" {
		t.Errorf("got %+v", cfg.Global.Metrics)
	}
	if got := cfg.Persistence.DataStores[storeName].SQL; got == nil || got.PluginName != "postgres12_pgx" || cfg.Archival.History.State != config.ArchivalDisabled {
		t.Errorf("got %+v", got)
	}
}

func TestASearchAttributeOfAnotherTypeIsNotTakenForOurs(t *testing.T) {
	if _, err := missingAttributes(nil); err != nil {
		t.Fatal(err)
	}
	missing, err := missingAttributes(map[string]enumspb.IndexedValueType{"SlipwayHost": enumspb.INDEXED_VALUE_TYPE_KEYWORD})
	if err != nil || len(missing) != len(searchAttributes)-1 {
		t.Errorf("missing %v, %v", missing, err)
	}
	if _, err := missingAttributes(map[string]enumspb.IndexedValueType{"SlipwayHost": enumspb.INDEXED_VALUE_TYPE_INT}); !errors.Is(err, errPermanent) {
		t.Errorf("got %v", err)
	}
}
