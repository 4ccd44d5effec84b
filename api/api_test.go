package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	consolesapi "github.com/slipway-cloud/slipway/api/consoles"
	"github.com/slipway-cloud/slipway/api/ec2"
	"github.com/slipway-cloud/slipway/api/hosts"
	"github.com/slipway-cloud/slipway/api/identity"
	"github.com/slipway-cloud/slipway/api/image"
	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/engine"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/internal/service/consoles"
	people "github.com/slipway-cloud/slipway/internal/service/identity"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/internal/service/servers"
	"github.com/slipway-cloud/slipway/models"
)

// noBuilds is the build side of an API whose tests build nothing.
type noBuilds struct{}

var errNoBuilds = fault.New(fault.Unavailable, "Nothing is built here.")

func (noBuilds) Submit(context.Context, contract.BootInput) error { return errNoBuilds }
func (noBuilds) Reserve(context.Context, contract.ReserveInput) (int, error) {
	return 0, errNoBuilds
}
func (noBuilds) Delete(context.Context, contract.DeleteInput) error { return errNoBuilds }
func (noBuilds) Arrived(context.Context, string) (contract.TransferProgress, error) {
	return contract.TransferProgress{}, nil
}

func (noBuilds) Progress(context.Context, string) ([]contract.StepProgress, error) {
	return nil, errNoBuilds
}
func (noBuilds) Console(context.Context, contract.ConsoleInput) (string, error) {
	return "", errNoBuilds
}
func (noBuilds) Diagnostics(context.Context, contract.GuestInput) (contract.Diagnostics, error) {
	return contract.Diagnostics{}, errNoBuilds
}
func (noBuilds) Screenshot(context.Context, contract.GuestInput) (contract.Screenshot, error) {
	return contract.Screenshot{}, errNoBuilds
}
func (noBuilds) OpenConsole(context.Context, contract.OpenConsoleInput) error { return errNoBuilds }
func (noBuilds) TriggerCrashDump(context.Context, contract.GuestInput) error  { return errNoBuilds }
func (noBuilds) Builds(context.Context, engine.BuildFilter) ([]engine.BuildSummary, string, error) {
	return nil, "", errNoBuilds
}
func (noBuilds) Build(context.Context, string) (engine.Build, error) {
	return engine.Build{}, errNoBuilds
}
func (noBuilds) Do(context.Context, string, contract.ActionInput) error { return errNoBuilds }
func (noBuilds) Adopt(context.Context, contract.AdoptInput) error       { return errNoBuilds }
func (noBuilds) Reset(context.Context, contract.ResetInput) error       { return errNoBuilds }

func (noBuilds) ForgetHost(context.Context, contract.ForgetHostInput) error { return errNoBuilds }

func (noBuilds) HostNetwork(context.Context, contract.HostNetworkInput) (contract.HostNetwork, error) {
	return contract.HostNetwork{}, errNoBuilds
}

func (noBuilds) DrainHost(context.Context, contract.DrainInput) error { return errNoBuilds }

func (noBuilds) Drain(context.Context, string) (contract.DrainState, error) {
	return contract.DrainState{}, errNoBuilds
}

func (noBuilds) ActOnDrain(context.Context, string, contract.DrainAct) error { return errNoBuilds }
func (noBuilds) Act(context.Context, string, contract.OperatorAct) error     { return errNoBuilds }
func (noBuilds) CountBuilds(context.Context) (engine.BuildCounts, error) {
	return engine.BuildCounts{}, errNoBuilds
}

// world is one API with a database and an image store of its own, and tokens of everybody who plays a part.
type world struct {
	t          testing.TB
	store      *models.Store
	files      *imagestore.Files
	dir        string // of files
	reserve    string // of their disk
	imports    images.Imports
	builds     Builds // noBuilds
	consoles   consoles.Config
	ec2Rate    ec2.Config
	engine     string // of networks; "" is bridges
	mostBuilt  int    // by one request
	advertises bool   // its address to hosts, as each of several processes has to
	page       consolesapi.Config
	external   *people.External // that issues the tokens, at loginURL
	measured   *prometheus.Registry
	url        string
	server     *Server
	log        *safeBuffer
	tokens     map[string]string // by role in the play: admin, demo, reader, other, unscoped, expired
	stop       func() error      // ends the server as a SIGTERM would
}

// safeBuffer is a log that requests write to while a test reads.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

const (
	adminProject = "a0000000000000000000000000000001"
	demoProject  = "a0000000000000000000000000000002"
	otherProject = "a0000000000000000000000000000003"
	adminUser    = "b0000000000000000000000000000001"
	demoUser     = "b0000000000000000000000000000002"
	readerUser   = "b0000000000000000000000000000003"
	otherUser    = "b0000000000000000000000000000004"
	disabledUser = "b0000000000000000000000000000005"
	password     = "correct horse"
	maxImage     = 4 << 20
)

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldOn(t, testenv.Migrated(t))
}

func newWorldOn(t testing.TB, dsn string) *world {
	t.Helper()
	ctx := context.Background()
	store, err := models.Open(ctx, dsn, models.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })

	w := &world{t: t, store: store, dir: filepath.Join(t.TempDir(), "images"), log: &safeBuffer{}, tokens: map[string]string{}}
	w.files, err = imagestore.NewFiles(w.dir)
	require.NoError(t, err)
	w.populate()
	w.serve()
	return w
}

// service is an image service of its own on the world's database and files, as each process has one.
func (w *world) service() *images.Service {
	w.t.Helper()
	stores, err := imagestore.OpenStores(imagestore.Settings{Dir: w.dir, Reserve: w.reserve})
	require.NoError(w.t, err)
	return images.New(w.store, stores, images.Config{MaxBytes: maxImage}, slog.New(slog.NewTextHandler(w.log, nil)))
}

// options are those of an api process on the world's database and files, with the defaults of the settings.
func (w *world) options() Options {
	d := config.Default()
	return Options{
		Store: w.store, Images: w.service(), Builds: noBuilds{}, Logger: slog.New(slog.NewTextHandler(w.log, nil)),
		Image:    image.Config{Idle: d.Images.Idle, ImportDeadline: d.Images.ImportDeadline, TaskTTL: d.Images.TaskTTL},
		Identity: identity.Config{TokenTTL: d.API.TokenTTL},
		Hosts:    hosts.Config{Keys: testenv.PayloadKeys(w.t)},
		Servers:  servers.Config{Keys: testenv.PayloadKeys(w.t), Quota: models.ProjectQuota{KeyPairs: d.Quota.KeyPairs, ServerGroups: d.Quota.ServerGroups, ServerGroupMembers: d.Quota.ServerGroupMembers, MetadataItems: d.Quota.MetadataItems}},
	}
}

// serve starts an api process on the world's database and files, on a socket of its own.
func (w *world) serve() {
	w.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(w.t, err)
	o := w.options()
	w.measured = prometheus.NewRegistry()
	o.Listener, o.ShutdownTimeout, o.Metrics = listener, 2*time.Second, w.measured
	o.Image.Idle, o.Image.Imports = 2*time.Second, w.imports
	o.Consoles, o.ConsolePage = w.consoles, w.page
	o.EC2, o.Network.Engine, o.Servers.MaxCount = w.ec2Rate, w.engine, w.mostBuilt
	if w.advertises {
		o.Consoles.AdvertiseURL = "http://" + listener.Addr().String()
	}
	if w.builds != nil {
		o.Builds = w.builds
	}
	if w.external != nil {
		o.External, o.IdentityURL = w.external, loginURL
	}
	server, err := New(o)
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	w.t.Cleanup(func() { _ = stop() })
	w.server, w.stop, w.url = server, stop, "http://"+listener.Addr().String()
}

func (w *world) populate() {
	w.t.Helper()
	ctx := context.Background()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	require.NoError(w.t, err)
	now := time.Now().UTC()
	for id, name := range map[string]string{adminProject: "admin", demoProject: "demo", otherProject: "other"} {
		_, err := w.store.EnsureProject(ctx, models.Project{ID: id, Name: name, DomainID: "default", Enabled: true, CreatedAt: now})
		require.NoError(w.t, err)
	}
	for id, name := range map[string]string{adminUser: "admin", demoUser: "demo", readerUser: "reader", otherUser: "other", disabledUser: "disabled"} {
		_, err := w.store.EnsureUser(ctx, models.User{ID: id, Name: name, DomainID: "default", PasswordHash: string(hash), Enabled: name != "disabled", CreatedAt: now})
		require.NoError(w.t, err)
	}
	for _, r := range [][3]string{
		{adminUser, adminProject, "admin"}, {demoUser, demoProject, "member"}, {readerUser, demoProject, "reader"},
		{otherUser, otherProject, "member"}, {disabledUser, demoProject, "member"},
	} {
		require.NoError(w.t, w.store.EnsureRole(ctx, r[0], r[1], r[2]))
	}
	w.issue()
}

// issue gives the users their tokens.
func (w *world) issue() {
	w.t.Helper()
	now := time.Now().UTC()
	for name, k := range map[string]struct {
		user, project string
		life          time.Duration
	}{
		"admin": {adminUser, adminProject, time.Hour}, "demo": {demoUser, demoProject, time.Hour},
		"reader": {readerUser, demoProject, time.Hour}, "other": {otherUser, otherProject, time.Hour},
		"unscoped": {demoUser, "", time.Hour}, "expired": {demoUser, demoProject, -time.Second},
	} {
		token, hash := auth.NewToken()
		require.NoError(w.t, w.store.CreateToken(context.Background(), models.Token{
			Hash: hash, AuditID: auth.NewAuditID(), UserID: k.user, Scope: models.Scope{ProjectID: k.project}, Methods: "password",
			IssuedAt: now.Add(-time.Minute), ExpiresAt: now.Add(k.life),
		}))
		w.tokens[name] = token
	}
}

// answer is a whole response.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// json reads the body as a JSON object.
func (a answer) json(t testing.TB) map[string]any {
	t.Helper()
	var v map[string]any
	require.NoError(t, json.Unmarshal(a.body, &v), string(a.body))
	return v
}

// do makes one request as somebody of w.tokens ("" is nobody). body is nil, text, or what becomes JSON. More headers are
// pairs; an empty value removes.
func (w *world) do(as, method, path string, body any, headers ...string) answer {
	w.t.Helper()
	var reader io.Reader
	contentType := ""
	switch b := body.(type) {
	case nil:
	case string:
		reader, contentType = strings.NewReader(b), "application/json"
	case []byte:
		reader, contentType = bytes.NewReader(b), "application/octet-stream"
	case io.Reader:
		reader, contentType = b, "application/octet-stream"
	default:
		raw, err := json.Marshal(b)
		require.NoError(w.t, err)
		reader, contentType = bytes.NewReader(raw), "application/json"
	}
	req, err := http.NewRequest(method, w.url+path, reader)
	require.NoError(w.t, err)
	req.Header.Set("Accept", "application/json")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if as != "" {
		req.Header.Set("X-Auth-Token", w.tokens[as])
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(w.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	return answer{resp.StatusCode, resp.Header, raw}
}

// bytesKept lists the files of the image store.
func (w *world) bytesKept() []string {
	w.t.Helper()
	kept := []string{}
	require.NoError(w.t, filepath.WalkDir(w.dir, func(path string, d os.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // an upload that ends while we look
		}
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(w.dir, path)
			kept = append(kept, rel)
		}
		return err
	}))
	slices.Sort(kept)
	return kept
}

// everything is all rows and files, to compare the world after a refusal with the world before.
func (w *world) everything() map[string][]string {
	w.t.Helper()
	all, err := w.store.Snapshot(context.Background(), "images.updated_at")
	require.NoError(w.t, err)
	all["files"] = w.bytesKept()
	return all
}

func TestEveryServiceIsWhereTheCatalogSays(t *testing.T) {
	w := newWorld(t)
	got := w.do("demo", "GET", "/v3/auth/catalog", nil).json(t)["catalog"].([]any)
	kinds := []string{}
	for _, s := range got {
		entry := s.(map[string]any)
		kinds = append(kinds, entry["type"].(string))
		for _, e := range entry["endpoints"].([]any) {
			url := e.(map[string]any)["url"].(string)
			require.True(t, strings.HasPrefix(url, w.url), url)
			a := w.do("", "GET", strings.TrimPrefix(url, w.url)+"/", nil)
			fine := []int{200, 300}
			if entry["type"] == "ec2" { // which shows nothing to whoever signs nothing
				fine = []int{401}
			}
			require.Contains(t, fine, a.status, "%s: %s", url, a.body)
		}
	}
	require.ElementsMatch(t, []string{"compute", "ec2", "identity", "image", "network"}, kinds)
}

func TestAnUnknownPathOrMethodIsAnsweredInItsServicesForm(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		method, path string
		status       int
		holds        string
	}{
		{"GET", "/nothing", 404, `{"error":{"code":404`},
		{"GET", "/v3/nothing", 404, `{"error":{"code":404`},
		{"DELETE", "/v3/projects", 405, `{"error":{"code":405`},
		{"GET", "/compute/nothing", 404, `{"itemNotFound":`},
		{"GET", "/image/nothing", 404, `"code":"404 Not Found"`},
		{"PUT", "/image/v2/images", 405, `"code":"405 Method Not Allowed"`},
		{"GET", "/network/nothing", 404, `{"NeutronError":`},
		{"GET", "/hosts/nothing/at/all", 404, `"request_id":"req-`},
	} {
		a := w.do("demo", c.method, c.path, nil)
		require.Equal(t, c.status, a.status, "%s %s: %s", c.method, c.path, a.body)
		require.Contains(t, string(a.body), c.holds, c.path)
		require.NotEmpty(t, a.header.Get("X-Openstack-Request-Id"))
	}
}

func TestAPublicAddressStandsInLinksAndTheCatalog(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.stop())
	o := w.options()
	o.PublicURL = "https://cloud.example/api"
	server, err := New(o)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	plain := &http.Server{Handler: server.Handler()}
	go func() { _ = plain.Serve(listener) }()
	t.Cleanup(func() { require.NoError(t, plain.Close()) })
	w.url = "http://" + listener.Addr().String()
	require.Contains(t, string(w.do("demo", "GET", "/v3/auth/catalog", nil).body), "https://cloud.example/api/compute/v2.1")
	require.Contains(t, string(w.do("", "GET", "/", nil).body), "https://cloud.example/api/v3/")

	for _, bad := range []string{"cloud.example", "ftp://cloud.example", "http://", "://", "http://x?y=z"} {
		o.PublicURL = bad
		_, err := New(o)
		require.Error(t, err, bad)
	}
}

func TestHealthFollowsTheParts(t *testing.T) {
	w := newWorld(t)
	require.Equal(t, 200, w.do("", "GET", "/healthz", nil).status)
	require.Equal(t, 200, w.do("", "GET", "/readyz", nil).status)

	// Only a part of the permission is taken away in a way that root feels too: the folder itself.
	require.NoError(t, os.RemoveAll(w.dir))
	a := w.do("", "GET", "/readyz", nil)
	require.Equal(t, 503, a.status)
	require.JSONEq(t, `{"status": "not ready", "problems": {"images": "cannot be stored"}}`, string(a.body))
	require.Equal(t, 200, w.do("", "GET", "/healthz", nil).status)
}

// A full store takes nobody's requests away from the process: it says so, and refuses uploads.
func TestAFullStoreIsToldAndLeavesTheProcessReady(t *testing.T) {
	w := newWorld(t)
	w.dir, w.reserve = testenv.SmallDisk(t, "16m"), "100000000"
	_, err := imagestore.NewFiles(w.dir)
	require.NoError(t, err)
	w.serve()
	a := w.do("", "GET", "/readyz", nil)
	require.Equal(t, 200, a.status)
	require.JSONEq(t, `{"status": "ready", "problems": {}, "warnings": {"images": "the store is full: uploads are refused"}}`, string(a.body))
	a = w.do("demo", "PUT", "/image/v2/images/"+w.queued("demo", nil)+"/file", []byte("1234"))
	require.Equal(t, 413, a.status)
	require.Contains(t, string(a.body), "Image storage media is full")
	require.Equal(t, 200, w.do("demo", "GET", "/image/v2/images", nil).status)
}

func TestWhileTheDatabaseIsAwayRequestsAre503AndTheProcessLives(t *testing.T) {
	way := newWay(t, testenv.Migrated(t))
	w := newWorldOn(t, way.dsn)
	require.Equal(t, 200, w.do("demo", "GET", "/image/v2/images", nil).status)
	way.close()
	a := w.do("demo", "GET", "/image/v2/images", nil)
	require.Equal(t, 503, a.status, string(a.body))
	require.NotEmpty(t, a.header.Get("Retry-After"))
	require.Equal(t, 503, w.do("", "POST", "/v3/auth/tokens", login(byName("demo"), with(password), nil)).status)
	require.Equal(t, 503, w.do("", "GET", "/readyz", nil).status)
	require.Equal(t, 200, w.do("", "GET", "/healthz", nil).status)
	way.open()
	require.Equal(t, 200, w.do("demo", "GET", "/image/v2/images", nil).status, "it recovers by itself")
}

// way is a socket in front of Postgres that can be taken away.
type way struct {
	t        testing.TB
	dsn      string
	from, to string // addresses of unix sockets, or to of TCP
	network  string
	mu       sync.Mutex
	listener net.Listener
	conns    []net.Conn
	all      sync.WaitGroup
}

func newWay(t testing.TB, dsn string) *way {
	t.Helper()
	config, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "way") // short: socket paths are
	require.NoError(t, err)
	w := &way{t: t, from: filepath.Join(dir, ".s.PGSQL.5432"), network: "unix"}
	w.to = filepath.Join(config.Host, fmt.Sprintf(".s.PGSQL.%d", config.Port))
	if !strings.HasPrefix(config.Host, "/") {
		w.network, w.to = "tcp", net.JoinHostPort(config.Host, fmt.Sprint(config.Port))
	}
	w.dsn = fmt.Sprintf("host=%s port=5432 user=%s dbname=%s sslmode=disable", dir, config.User, config.Database)
	if config.Password != "" {
		w.dsn += " password=" + config.Password
	}
	w.open()
	t.Cleanup(func() {
		w.close()
		require.NoError(t, os.RemoveAll(dir))
	})
	return w
}

func (w *way) open() {
	w.t.Helper()
	listener, err := net.Listen("unix", w.from)
	require.NoError(w.t, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listener = listener
	w.all.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial(w.network, w.to)
			if err != nil {
				in.Close()
				return
			}
			w.mu.Lock()
			w.conns = append(w.conns, in, out)
			w.mu.Unlock()
			for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
				w.all.Go(func() {
					io.Copy(pair[0], pair[1])
					pair[0].Close()
				})
			}
		}
	})
}

func (w *way) close() {
	w.mu.Lock()
	w.listener.Close()
	for _, c := range w.conns {
		c.Close()
	}
	w.mu.Unlock()
	w.all.Wait()
}

func TestAStopLetsARunningUploadFinish(t *testing.T) {
	w := newWorld(t)
	id := w.queued("demo", nil)
	body, feed := io.Pipe()
	done := make(chan answer, 1)
	go func() { done <- w.do("demo", "PUT", "/image/v2/images/"+id+"/file", body) }()
	_, err := feed.Write(make([]byte, 1<<20))
	require.NoError(t, err)
	w.await(id, models.ImageSaving)

	stopped := make(chan error, 1)
	go func() { stopped <- w.stop() }()
	require.Eventually(t, w.server.draining.Load, 5*time.Second, time.Millisecond)
	_, err = net.DialTimeout("tcp", strings.TrimPrefix(w.url, "http://"), time.Second)
	for err == nil { // the listener closes a moment after the drain begins
		_, err = net.DialTimeout("tcp", strings.TrimPrefix(w.url, "http://"), time.Second)
	}
	_, err = feed.Write(make([]byte, 512))
	require.NoError(t, err)
	require.NoError(t, feed.Close())
	require.Equal(t, 204, (<-done).status)
	require.NoError(t, <-stopped)
	require.Equal(t, []string{"images/" + id}, w.bytesKept())
}

func TestAStopThatTakesTooLongCutsUploadsOffAndLeavesNothing(t *testing.T) {
	w := newWorld(t)
	id := w.queued("demo", nil)
	before := w.everything()
	body, feed := io.Pipe()
	go func() {
		req, _ := http.NewRequest("PUT", w.url+"/image/v2/images/"+id+"/file", body)
		req.Header.Set("X-Auth-Token", w.tokens["demo"])
		req.Header.Set("Content-Type", "application/octet-stream")
		if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
			resp.Body.Close()
		}
	}()
	_, err := feed.Write(make([]byte, 1<<20))
	require.NoError(t, err)
	w.await(id, models.ImageSaving)
	keep := make(chan struct{})
	go func() { // a client that is alive but never ends
		for {
			select {
			case <-keep:
				return
			case <-time.After(100 * time.Millisecond):
				_, _ = feed.Write([]byte("x"))
			}
		}
	}()
	require.ErrorContains(t, w.stop(), "requests still ran")
	close(keep)
	feed.Close()
	w.await(id, models.ImageQueued)
	require.Eventually(t, func() bool { return len(w.bytesKept()) == 0 }, 5*time.Second, 10*time.Millisecond)
	require.Equal(t, before, w.everything())
}

// await waits for an image's state.
func (w *world) await(id string, status models.ImageStatus) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		i, err := w.store.Image(context.Background(), id)
		return err == nil && i.Status == status
	}, 10*time.Second, 5*time.Millisecond, "image %s never became %s", id, status)
}
