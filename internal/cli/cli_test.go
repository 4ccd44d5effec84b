package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// api is an HTTP server that speaks the real bodies: logins and catalog by itself, everything else as a test lays it out.
type api struct {
	*httptest.Server
	t     *testing.T
	mux   *http.ServeMux
	mu    sync.Mutex
	calls []call
}

type call struct {
	route  string // "POST /compute/v2.1/servers"
	query  string
	header http.Header
	body   string
}

const project = "9d2c0f1e8a7b4c6d9e0f112233445566"

// newAPI starts an API and points the environment at it.
func newAPI(t *testing.T) *api {
	t.Helper()
	a := &api{t: t, mux: http.NewServeMux()}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	a.environment()
	a.login()
	a.json("GET /v3", 200, `{"version":{"id":"v3.14","links":[{"rel":"self","href":"`+a.URL+`/v3/"}]}}`)
	a.json("GET /compute/v2.1/{$}", 200, `{"version":{"id":"v2.1","status":"CURRENT","version":"2.200","min_version":"2.1"}}`)
	return a
}

func (a *api) environment() {
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "OS_") {
			a.t.Setenv(name, "")
		}
	}
	a.t.Setenv("OS_AUTH_URL", a.URL+"/v3")
	a.t.Setenv("OS_USERNAME", "ada")
	a.t.Setenv("OS_PASSWORD", "correct horse")
	a.t.Setenv("OS_PROJECT_NAME", "demo")
}

func (a *api) login() {
	a.mux.HandleFunc("POST /v3/auth/tokens", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Subject-Token", "gAAAA-the-token")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(201)
		_, _ = io.WriteString(w, strings.ReplaceAll(`{"token":{"methods":["password"],"expires_at":"2030-01-02T03:04:05.000000Z",
			"issued_at":"2030-01-02T02:04:05.000000Z","audit_ids":["x"],"user":{"id":"u1","name":"ada","domain":{"id":"default","name":"Default"}},
			"project":{"id":"`+project+`","name":"demo","domain":{"id":"default","name":"Default"}},"roles":[{"id":"r1","name":"member"}],
			"catalog":[
			{"type":"compute","name":"nova","id":"1","endpoints":[{"interface":"public","region":"RegionOne","region_id":"RegionOne","id":"1","url":"URL/compute/v2.1"}]},
			{"type":"image","name":"glance","id":"2","endpoints":[{"interface":"public","region":"RegionOne","region_id":"RegionOne","id":"2","url":"URL/image"}]},
			{"type":"network","name":"neutron","id":"3","endpoints":[{"interface":"public","region":"RegionOne","region_id":"RegionOne","id":"3","url":"URL/network"}]}]}}`, "URL", a.URL))
	})
}

// ServeHTTP notes the call and answers it; a route that no test laid out is the test's own mistake.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	a.mu.Lock()
	a.calls = append(a.calls, call{r.Method + " " + r.URL.Path, r.URL.RawQuery, r.Header.Clone(), string(body)})
	a.mu.Unlock()
	if _, pattern := a.mux.Handler(r); pattern == "" {
		a.t.Errorf("unexpected call: %s %s", r.Method, r.URL)
	}
	a.mux.ServeHTTP(w, r)
}

// json lays out an answer.
func (a *api) json(pattern string, status int, body string, headers ...string) {
	a.mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { reply(w, status, body, headers...) })
}

// sequence lays out one answer after the other; the last one stays.
func (a *api) sequence(pattern string, bodies ...string) {
	n := 0
	a.mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
		body := bodies[min(n, len(bodies)-1)]
		n++
		if body == "404" {
			reply(w, 404, `{"itemNotFound":{"code":404,"message":"Instance could not be found."}}`)
			return
		}
		reply(w, 200, body)
	})
}

func reply(w http.ResponseWriter, status int, body string, headers ...string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Openstack-Request-Id", "req-11111111-2222-3333-4444-555555555555")
	for i := 0; i+1 < len(headers); i += 2 {
		w.Header().Set(headers[i], headers[i+1])
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// made gives the calls of a route.
func (a *api) made(route string) []call {
	a.mu.Lock()
	defer a.mu.Unlock()
	var found []call
	for _, c := range a.calls {
		if c.route == route {
			found = append(found, c)
		}
	}
	return found
}

type result struct {
	out, err string
	code     int
}

// run executes a command line as the program does.
func run(t *testing.T, args ...string) result {
	t.Helper()
	return runWith(t, t.Context(), "", args...)
}

func runWith(t *testing.T, ctx context.Context, stdin string, args ...string) result {
	t.Helper()
	return runClient(t, ctx, newClient(), stdin, args...)
}

func runClient(t *testing.T, ctx context.Context, c *client, stdin string, args ...string) result {
	t.Helper()
	c.poll = time.Millisecond
	if c.enroller == nil {
		c.enroller = enrolling{}
	}
	clock := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	c.now = func() time.Time { return clock }
	root := &cobra.Command{Use: "slipway"}
	root.AddCommand(c.commands()...)
	host := &cobra.Command{Use: "host"}
	host.AddCommand(c.hostCommands()...)
	root.AddCommand(host)
	var out, errs bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetIn(strings.NewReader(stdin))
	root.SetArgs(args)
	root.SilenceErrors, root.SilenceUsage = true, true // as the program's own root does
	code := Exit(&errs, root.ExecuteContext(ctx))
	return result{out.String(), errs.String(), code}
}

func asJSON(t *testing.T, s string) (o show.Object) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(s), &o), s)
	return o
}

func TestEveryCommandSaysWhatItDoesWithAnExample(t *testing.T) {
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		require.NotEmpty(t, cmd.Short, cmd.CommandPath())
		require.NotEmpty(t, cmd.Example, cmd.CommandPath())
		require.NotNil(t, cmd.RunE, cmd.CommandPath())
		for line := range strings.SplitSeq(cmd.Example, "\n") {
			require.True(t, strings.HasPrefix(line, "  "), "%s: example %q", cmd.CommandPath(), line)
		}
		for _, child := range cmd.Commands() {
			check(child)
		}
	}
	for _, cmd := range append(Commands(), HostCommands(enrolling{})...) {
		check(cmd)
	}
}

func TestAWrongCommandLineIsExitTwoAndPointsToTheHelp(t *testing.T) {
	newAPI(t)
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"server", "show"}, "no argument is given: the command is slipway server show REF [flags]\n  → slipway server show --help"},
		{[]string{"server", "frobnicate"}, `unknown command "frobnicate" for "slipway server"`},
		{[]string{"frobnicate"}, `unknown command "frobnicate" for "slipway"`},
		{[]string{"server", "list", "--frob"}, "unknown flag: --frob"},
		{[]string{"server", "list", "-o", "xml"}, "-o xml: choose one of table, wide, json, yaml, value, name"},
		{[]string{"boot", "web", "--flavor", "1"}, "missing: --image, or --image-with\n  → slipway boot --help"},
		{[]string{"token", "issue", "x"}, `one argument is given ("x"): the command is slipway token issue [flags]`},
		{[]string{"flavor", "create", "f", "--vcpus", "two"}, `--vcpus wants a whole number, not "two"` + "\n  → slipway flavor create --help"},
		{[]string{"image", "list", "--limit", "99999999999999999999"}, "--limit: 99999999999999999999 is too large a number"},
		{[]string{"image", "list", "--insecure=maybe"}, `--insecure wants true or false, not "maybe"`},
		{[]string{"keypair", "create", "k", "--public-key", "a", "--private-key", "b"}, "none of the others can be"},
		{[]string{"server", "list", "--sort", "name:up"}, "--sort wants key[:asc|desc]"},
		{[]string{"subnet", "create", "s", "--network", "n", "--cidr", "10.0.0.0"}, "--cidr 10.0.0.0 is no range"},
	} {
		got := run(t, tc.args...)
		require.Equal(t, show.ExitUsage, got.code, "%v: %s", tc.args, got.err)
		require.Contains(t, got.err, tc.want, "%v", tc.args)
		require.Empty(t, got.out)
	}
}

func TestCompletionOffersNamesAndIdsWhereANameIsNotUnique(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"id-1","name":"web"},{"id":"id-2","name":"db"},{"id":"id-3","name":"web"}]}`)
	a.json("GET /image/v2/images", 200, `{"images":[{"id":"im-1","name":"debian"}]}`)
	require.Equal(t, "db\tid-2\n:4\n", run(t, "__complete", "server", "show", "d").out)
	require.Equal(t, "id-1\tweb\ndb\tid-2\nid-3\tweb\n:4\n", run(t, "__complete", "server", "delete", "").out)
	require.Equal(t, "debian\tim-1\n:4\n", run(t, "__complete", "boot", "x", "--image", "").out)
}

func TestTheErrorOfARoleIsPrintedAsItIs(t *testing.T) {
	var out bytes.Buffer
	failed := &net.OpError{Op: "listen", Net: "tcp", Err: syscall.EADDRINUSE} // to a verb it would be an API that does not answer
	require.Equal(t, show.ExitFailed, Exit(&out, fmt.Errorf("listen on :80: %w\nthe log", failed)))
	require.Equal(t, "Error: listen on :80: listen tcp: address already in use\n  the log\n", out.String())
	require.Equal(t, show.ExitOK, Exit(&out, nil))
}
