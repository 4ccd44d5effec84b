package api

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/console"
	"github.com/slipway-cloud/slipway/internal/service/consoles"
	"github.com/slipway-cloud/slipway/models"
)

// guests stand where Temporal and a hypervisor would: an order to open a console is one to the host's own relay.
type guests struct {
	noBuilds
	relay *console.Relay
	fails error
	ends  chan net.Conn // the guest's end of each console that was opened
	asked []contract.OpenConsoleInput
}

func (g *guests) OpenConsole(ctx context.Context, in contract.OpenConsoleInput) error {
	g.asked = append(g.asked, in)
	if in.Session == "" || g.fails != nil {
		return g.fails
	}
	guest, here := net.Pipe()
	if err := g.relay.Bring(ctx, in, here); err != nil {
		return err
	}
	g.ends <- guest
	return nil
}

// consoleWorld is an API with a server whose host comes when it is called.
type consoleWorld struct {
	*world
	guests *guests
	token  string // of the server's host
	server string
}

func newConsoleWorld(t *testing.T, config consoles.Config) *consoleWorld {
	w := &consoleWorld{world: newWorld(t), guests: &guests{ends: make(chan net.Conn, 1)}}
	require.NoError(t, w.stop())
	config.Logger = slog.New(slog.NewTextHandler(w.log, nil))
	w.consoles, w.builds = config, w.guests
	w.token = w.admitHost("hv1")
	w.again()
	w.server = w.runs("hv1")
	return w
}

// again starts an api process with what the world says now, and has the host come to that.
func (w *consoleWorld) again() {
	w.t.Helper()
	w.serve()
	w.guests.relay = console.New(console.Options{
		API: w.url, Token: func() string { return w.token }, Client: http.DefaultClient, Logger: slog.New(slog.NewTextHandler(w.log, nil)),
	})
	w.t.Cleanup(w.guests.relay.Close)
}

// runs makes a server of the demo project that runs on a host.
func (w *world) runs(hostname string) string {
	w.t.Helper()
	ctx, now := context.Background(), time.Now()
	v := models.Server{
		ID: uuid.NewString(), ProjectID: demoProject, UserID: demoUser, Name: "web", Hostname: "web", ImageID: uuid.NewString(), FlavorID: "1",
		ReservationID: "r-abcdefgh", CreatedAt: now, UpdatedAt: now, Flavor: models.FlavorSnapshot{ID: "1", Name: "m1", VCPUs: 1, RAMMiB: 64},
	}
	_, err := w.store.CreateImage(ctx, models.Image{ID: v.ImageID, OwnerID: demoProject, Status: models.ImageActive, Visibility: "public"}, nil)
	require.NoError(w.t, err)
	create := models.InstanceAction{ServerID: v.ID, RequestID: "req-" + uuid.NewString(), Action: "create", UserID: demoUser, ProjectID: demoProject, StartedAt: now}
	require.NoError(w.t, w.store.RecordServer(ctx, v, create))
	hosts, err := w.store.ListHosts(ctx)
	require.NoError(w.t, err)
	require.Equal(w.t, hostname, hosts[0].Hostname)
	require.NoError(w.t, w.store.Place(ctx, models.Placement{ServerID: v.ID, HostID: hosts[0].ID, VCPUs: 1, MemoryMiB: 64}, "networking"))
	require.NoError(w.t, w.store.ActivateServer(ctx, models.Activation{ServerID: v.ID, RequestID: create.RequestID, Hostname: hostname, PowerState: 1, LaunchedAt: now}))
	return v.ID
}

// beside starts another api process on the same database. The host knows of the first alone.
func (w *consoleWorld) beside(advertises bool) *consoleWorld {
	w.t.Helper()
	other, first := *w, *w.world
	other.world = &first
	other.advertises = advertises
	other.serve()
	return &other
}

// remote asks for a console as demo, and gives the url of it.
func (w *consoleWorld) remote(protocol, kind string) string {
	w.t.Helper()
	a := w.do("demo", "POST", "/compute/v2.1/servers/"+w.server+"/remote-consoles",
		map[string]any{"remote_console": map[string]any{"protocol": protocol, "type": kind}}, "X-OpenStack-Nova-API-Version", "2.6")
	require.Equal(w.t, 200, a.status, string(a.body))
	return a.json(w.t)["remote_console"].(map[string]any)["url"].(string)
}

// address is that of a serial console.
func (w *consoleWorld) address() string {
	w.t.Helper()
	return w.remote("serial", "serial")
}

// screen is the address that the page of a screen opens.
func (w *consoleWorld) screen() string {
	w.t.Helper()
	page, err := url.Parse(w.remote("vnc", "novnc"))
	require.NoError(w.t, err)
	return "ws" + strings.TrimPrefix(w.url, "http") + "/" + page.Query().Get("path")
}

func (w *consoleWorld) dial(address string, headers ...string) (*websocket.Conn, *http.Response, error) {
	h := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return websocket.Dial(w.t.Context(), address, &websocket.DialOptions{HTTPHeader: h, Subprotocols: []string{"binary"}}) //nolint:bodyclose // Dial has read it
}

// open opens a console, and gives its guest's end too.
func (w *consoleWorld) open(address string) (*websocket.Conn, net.Conn) {
	w.t.Helper()
	socket, _, err := w.dial(address) //nolint:bodyclose // as above
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = socket.CloseNow() })
	select {
	case guest := <-w.guests.ends:
		w.t.Cleanup(func() { _ = guest.Close() })
		return socket, guest
	case <-time.After(time.Minute):
		require.Fail(w.t, "the host does not come")
		return nil, nil
	}
}

// closed reads a console to its end, and gives what it is told.
func closed(t *testing.T, socket *websocket.Conn) (websocket.StatusCode, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		if _, _, err := socket.Read(ctx); err != nil {
			var said websocket.CloseError
			require.ErrorAs(t, err, &said)
			return said.Code, said.Reason
		}
	}
}

// sessions are what the metrics say is open.
func (w *consoleWorld) sessions() map[string]float64 {
	w.t.Helper()
	families, err := w.measured.Gather()
	require.NoError(w.t, err)
	open := map[string]float64{}
	for _, f := range families {
		if f.GetName() == "slipway_console_sessions" {
			for _, m := range f.GetMetric() {
				open[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	return open
}

func TestWhatIsTypedReachesTheGuestAndWhatItPrintsItsUser(t *testing.T) {
	w := newConsoleWorld(t, consoles.Config{})
	address := w.address()
	require.True(t, strings.HasPrefix(address, "ws"+strings.TrimPrefix(w.url, "http")+"/console?token="), address)
	require.Equal(t, contract.OpenConsoleInput{ServerID: w.server, Hostname: "hv1", Type: "serial"}, w.guests.asked[0], "its host says that there is one")

	socket, guest := w.open(address)
	require.Equal(t, "binary", socket.Subprotocol())
	require.NoError(t, socket.Write(t.Context(), websocket.MessageBinary, []byte("ls\r")))
	typed := make([]byte, 3)
	_, err := io.ReadFull(guest, typed)
	require.NoError(t, err)
	require.Equal(t, "ls\r", string(typed))
	printed := strings.Repeat("x", 1<<18)
	go func() { _, _ = io.WriteString(guest, printed) }()
	got, err := io.ReadAll(io.LimitReader(websocket.NetConn(t.Context(), socket, websocket.MessageBinary), int64(len(printed))))
	require.NoError(t, err)
	require.Equal(t, printed, string(got))
	require.Equal(t, map[string]float64{"serial": 1, "vnc": 0}, w.sessions())

	require.NoError(t, guest.Close())
	code, reason := closed(t, socket)
	require.Equal(t, websocket.StatusNormalClosure, code, reason)
	require.NotContains(t, w.log.String(), strings.SplitAfter(address, "token=")[1])
}

func TestAnAddressOpensAConsoleOnceAndBeforeItExpires(t *testing.T) {
	w := newConsoleWorld(t, consoles.Config{})
	address := w.address()
	socket, _ := w.open(address)
	require.NoError(t, socket.Close(websocket.StatusNormalClosure, ""))
	for _, spent := range []string{address, strings.SplitAfter(address, "token=")[0] + "guessed"} {
		socket, _, err := w.dial(spent) //nolint:bodyclose // as above
		require.NoError(t, err)
		code, reason := closed(t, socket)
		require.EqualValues(t, 4401, code)
		require.Equal(t, "The address of the console has been used or has expired: ask for another", reason)
	}
	token := strings.SplitAfter(w.address(), "token=")[1]
	show := "/compute/v2.1/os-console-auth-tokens/"
	at := []string{"X-OpenStack-Nova-API-Version", "2.31"}
	a := w.do("admin", "GET", show+token, nil, at...)
	require.Equal(t, 200, a.status)
	require.Equal(t, map[string]any{"instance_uuid": w.server, "host": "hv1", "port": 0., "internal_access_path": nil}, a.json(t)["console"])
	require.Equal(t, 404, w.do("admin", "GET", show+"guessed", nil, at...).status)
	require.Equal(t, 400, w.do("admin", "GET", show+token, nil, "X-OpenStack-Nova-API-Version", "2.30").status)
	n, err := w.store.PurgeTokens(t.Context(), time.Now().Add(11*time.Minute))
	require.NoError(t, err)
	require.EqualValues(t, 2, n, "and an expired token of a user")
	require.Equal(t, 404, w.do("admin", "GET", show+token, nil, at...).status)
}

func TestAnotherSessionTakesASerialConsoleOver(t *testing.T) {
	w := newConsoleWorld(t, consoles.Config{})
	first, _ := w.open(w.address())
	second, guest := w.open(w.address())
	code, reason := closed(t, first)
	require.EqualValues(t, 4503, code)
	require.Equal(t, "another session has taken the console over", reason)
	go func() { _, _ = io.WriteString(guest, "login: ") }()
	_, printed, err := second.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, "login: ", string(printed))
}

func TestAGuestIsNotHeldUpByWhoDoesNotRead(t *testing.T) {
	w := newConsoleWorld(t, consoles.Config{})
	socket, guest := w.open(w.address())
	line := []byte(strings.Repeat("x", 1<<16))
	for {
		if _, err := guest.Write(line); err != nil { // each is taken at once, until the host has had enough
			break
		}
	}
	code, reason := closed(t, socket)
	require.EqualValues(t, 4503, code)
	require.Equal(t, "the guest prints faster than its output is taken", reason)
}

func TestAConsoleOnWhichNothingPassesIsClosed(t *testing.T) {
	w := newConsoleWorld(t, consoles.Config{Idle: 100 * time.Millisecond})
	socket, _ := w.open(w.address())
	code, reason := closed(t, socket)
	require.EqualValues(t, 4409, code)
	require.Equal(t, "Nothing has passed on the console for 100ms", reason)
}

func TestWhyAConsoleDoesNotOpenIsToldAsItIsClosed(t *testing.T) {
	w := newConsoleWorld(t, consoles.Config{})
	address := w.address()
	w.guests.fails = fault.New(fault.Conflict, "The guest of instance %s is off: start it first", w.server)
	socket, _, err := w.dial(address) //nolint:bodyclose // as above
	require.NoError(t, err)
	code, reason := closed(t, socket)
	require.EqualValues(t, 4409, code)
	require.Equal(t, "The guest of instance "+w.server+" is off: start it first", reason)
}

func TestAHostThatDiesInTheMiddleIsNoEndInPeace(t *testing.T) {
	w := newConsoleWorld(t, consoles.Config{})
	dialed := make(chan net.Conn, 1)
	w.guests.relay = console.New(console.Options{
		API: w.url, Token: func() string { return w.token }, Logger: slog.New(slog.DiscardHandler),
		Client: &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			dialed <- c
			return c, err
		}}},
	})
	t.Cleanup(w.guests.relay.Close)
	socket, _ := w.open(w.address())
	require.NoError(t, (<-dialed).Close())
	code, reason := closed(t, socket)
	require.EqualValues(t, 4503, code)
	require.Equal(t, "The connection to the server's host broke", reason)
}

func TestWhoHasTooManyConsolesOpenDoesNotSpendAnAddress(t *testing.T) {
	w := newConsoleWorld(t, consoles.Config{})
	address := w.address()
	var screens []*websocket.Conn
	for range 10 {
		socket, _ := w.open(w.screen())
		screens = append(screens, socket)
	}
	refused, _, err := w.dial(address) //nolint:bodyclose // as above
	require.NoError(t, err)
	code, reason := closed(t, refused)
	require.EqualValues(t, 4403, code)
	require.Equal(t, "Instance "+w.server+" has 10 consoles open: close one first", reason)

	require.NoError(t, screens[0].Close(websocket.StatusNormalClosure, ""))
	require.Eventually(t, func() bool { return w.sessions()["vnc"] == 9 }, 10*time.Second, 10*time.Millisecond)
	w.open(address)
}

func TestAConsoleIsMeasuredAsARequestUntilItIsOpen(t *testing.T) {
	w := newConsoleWorld(t, consoles.Config{})
	socket, _ := w.open(w.address())
	measured := func() (n uint64, seconds float64) {
		families, err := w.measured.Gather()
		require.NoError(t, err)
		for _, f := range families {
			for _, m := range f.GetMetric() {
				for _, label := range m.GetLabel() {
					if f.GetName() == "slipway_http_request_duration_seconds" && label.GetName() == "route" && label.GetValue() == "/console" {
						n, seconds = n+m.GetHistogram().GetSampleCount(), seconds+m.GetHistogram().GetSampleSum()
					}
				}
			}
		}
		return n, seconds
	}
	n, took := measured()
	require.EqualValues(t, 1, n)
	require.NoError(t, socket.Close(websocket.StatusNormalClosure, ""))
	require.Eventually(t, func() bool { return strings.Contains(w.log.String(), "path=/console status=101") }, 10*time.Second, 10*time.Millisecond)
	n, after := measured()
	require.EqualValues(t, 1, n)
	require.Equal(t, took, after)
}

func TestOnlyTheServersOwnHostComesToASession(t *testing.T) {
	w := newConsoleWorld(t, consoles.Config{})
	own, other := w.guests.relay, w.admitHost("hv2")
	w.guests.relay = console.New(console.Options{API: w.url, Token: func() string { return other }, Client: http.DefaultClient, Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(w.guests.relay.Close)
	socket, _, err := w.dial(w.address()) //nolint:bodyclose // as above
	require.NoError(t, err)
	code, reason := closed(t, socket)
	require.EqualValues(t, 4503, code)
	require.Contains(t, reason, "does not know of the session")
	w.guests.relay = own
}

func TestAHostComesToTheProcessThatTheUserHasComeTo(t *testing.T) {
	w := newConsoleWorld(t, consoles.Config{})
	other := w.beside(true)
	for kind, address := range map[string]func() string{"serial": w.address, "vnc": w.screen} {
		asked := address() // of the one; a load balancer leads its user to the other
		socket, guest := other.open("ws" + strings.TrimPrefix(other.url, "http") + asked[strings.Index(asked, "/console?"):])
		require.Equal(t, other.url, w.guests.asked[len(w.guests.asked)-1].API)
		require.EqualValues(t, 1, other.sessions()[kind])
		require.Zero(t, w.sessions()[kind])
		require.NoError(t, socket.Write(t.Context(), websocket.MessageBinary, []byte("root\r")))
		typed := make([]byte, 5)
		_, err := io.ReadFull(guest, typed)
		require.NoError(t, err)
		require.Equal(t, "root\r", string(typed))
		go func() { _, _ = io.WriteString(guest, "# ") }()
		_, printed, err := socket.Read(t.Context())
		require.NoError(t, err)
		require.Equal(t, "# ", string(printed))

		refused, _, err := w.dial(asked) //nolint:bodyclose // as above
		require.NoError(t, err)
		code, _ := closed(t, refused)
		require.EqualValues(t, 4401, code, "what is spent at one process is spent at all")
	}
}

func TestAUserIsToldThatAHostCannotComeToTheProcess(t *testing.T) {
	w := newConsoleWorld(t, consoles.Config{})
	for _, address := range []func() string{w.beside(false).address, w.beside(false).screen} {
		socket, _, err := w.dial(address()) //nolint:bodyclose // as above
		require.NoError(t, err)
		code, reason := closed(t, socket)
		require.EqualValues(t, 4503, code)
		require.Contains(t, reason, "of several, each needs its own api.advertise_url")
	}
}

func TestPagesOfOthersOpenNoConsoleUnlessTheyMay(t *testing.T) {
	w := newConsoleWorld(t, consoles.Config{})
	_, answer, err := w.dial(w.address(), "Origin", "https://evil.example.org") //nolint:bodyclose // as above
	require.Error(t, err)
	require.Equal(t, 403, answer.StatusCode)
	require.Empty(t, w.guests.ends)
	require.NoError(t, w.stop())
	w.page.Origins = []string{"https://dashboard.example.org", "https://[2001:db8::1]:8443"}
	w.again()
	_, answer, err = w.dial(w.address(), "Origin", "https://evil.example.org") //nolint:bodyclose // as above
	require.Error(t, err)
	require.Equal(t, 403, answer.StatusCode)
	for _, origin := range []string{"http://dashboard.example.org", "https://2", "null"} {
		_, answer, err = w.dial(w.address(), "Origin", origin) //nolint:bodyclose // as above
		require.Error(t, err)
		require.Equal(t, 403, answer.StatusCode, origin)
	}
	require.NotContains(t, w.log.String(), "request failed")
	for _, origin := range []string{"https://dashboard.example.org", "https://[2001:db8::1]:8443", w.url} {
		socket, _, err := w.dial(w.address(), "Origin", origin) //nolint:bodyclose // as above
		require.NoError(t, err, origin)
		require.NoError(t, (<-w.guests.ends).Close())
		require.NoError(t, socket.CloseNow())
	}
	require.Equal(t, 426, w.do("", "GET", "/console?token=x", nil).status)
	require.Equal(t, 400, w.do("", "GET", "/console?token=x", nil, "Upgrade", "websocket", "Connection", "Upgrade").status)
	require.NotContains(t, w.log.String(), "request failed")
}

func TestAProcessThatStopsClosesItsConsolesAndSaysSo(t *testing.T) {
	w := newConsoleWorld(t, consoles.Config{})
	socket, _ := w.open(w.address())
	stopped := make(chan error, 1)
	go func() { stopped <- w.stop() }()
	code, reason := closed(t, socket)
	require.EqualValues(t, 4503, code)
	require.Equal(t, "The API process that the console was open at is being stopped: open it again", reason)
	require.NoError(t, <-stopped)
}
