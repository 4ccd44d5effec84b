package writer

import (
	"context"
	"errors"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/stack"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/sdn"
	"github.com/slipway-cloud/slipway/internal/sdn/fake"
	"github.com/slipway-cloud/slipway/internal/sdn/ovn"
	"github.com/slipway-cloud/slipway/models"
)

const soon = 30 * time.Second

// world is a database with a project, and an engine.
type world struct {
	*models.Store
	engine *fake.Network
}

func newWorld(t testing.TB) world {
	t.Helper()
	ctx := context.Background()
	store, err := models.Open(ctx, testenv.Migrated(t), models.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	_, err = store.EnsureProject(ctx, models.Project{ID: "p1", Name: "demo", DomainID: "default", Enabled: true})
	require.NoError(t, err)
	return world{store, fake.New()}
}

// process is one that stands for election.
type process struct {
	*Writer
	kill func() // and waits for its end
}

// start runs a writer as a process of its own would.
func (w world) start(t testing.TB, with ...func(*Options)) process {
	t.Helper()
	locks := w.Locks("network engine")
	o := Options{
		Engine: "fake", Store: w.Store, Logger: slog.New(slog.DiscardHandler),
		Open: func(context.Context) (sdn.Engine, error) { return w.engine.Open(), nil },
		Elect: func(ctx context.Context) (Lock, error) {
			lock, err := locks.Lock(ctx, "writer")
			if err != nil {
				return nil, err
			}
			return lock, nil
		},
		Stand: 20 * time.Millisecond, Poll: 50 * time.Millisecond, FirstRetry: 20 * time.Millisecond, SecondLook: 200 * time.Millisecond, Reconcile: 200 * time.Millisecond,
	}
	for _, f := range with {
		f(&o)
	}
	p := process{Writer: New(o)}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx) })
	p.kill = sync.OnceFunc(func() { stop(); running.Wait(); locks.Close() })
	t.Cleanup(p.kill)
	return p
}

// value is what a counter or a gauge shows.
func value(t testing.TB, of prometheus.Metric) float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(of.(prometheus.Collector)))
	families, err := registry.Gather()
	require.NoError(t, err)
	shown := families[0].Metric[0]
	return shown.GetCounter().GetValue() + shown.GetGauge().GetValue()
}

func (w world) network(t testing.TB) (models.Network, models.Subnet) {
	t.Helper()
	n, err := w.CreateNetwork(context.Background(), models.Network{ProjectID: "p1", Name: "n", MTU: 1442})
	require.NoError(t, err)
	s, err := w.CreateSubnet(context.Background(), models.Subnet{
		NetworkID: n.ID, ProjectID: "p1", CIDR: "192.0.2.0/24", GatewayIP: new("192.0.2.1"), EnableDHCP: true,
	})
	require.NoError(t, err)
	return n, s
}

func (w world) port(t testing.TB, on models.Network) models.Port {
	t.Helper()
	p, err := w.CreatePort(context.Background(), models.Port{ProjectID: "p1", NetworkID: on.ID})
	require.NoError(t, err)
	return p
}

// inStep says whether the engine has what Postgres says, all of it and nothing else.
func (w world) inStep(t testing.TB, engine sdn.Engine) bool {
	t.Helper()
	ctx := context.Background()
	var all []sdn.Ref
	for _, kind := range sdn.Kinds() {
		for after := ""; ; { // until there are none: a short page is not the last
			refs, err := w.NetworkRefs(ctx, kind, after, 1000)
			require.NoError(t, err)
			if len(refs) == 0 {
				break
			}
			all, after = append(all, refs...), refs[len(refs)-1].ID
		}
	}
	desired, err := w.NetworkDesired(ctx, all...)
	require.NoError(t, err)
	differ, err := engine.Differing(ctx, desired...)
	require.NoError(t, err)
	known, err := engine.Known(ctx)
	require.NoError(t, err)
	backlog, err := w.NetworkBacklog(ctx)
	require.NoError(t, err)
	wanted := 0
	for _, d := range desired {
		if d.Stands() && (d.Subnet == nil || d.Subnet.DHCP) {
			wanted++
		}
	}
	return len(differ) == 0 && len(known) == wanted && backlog.Waiting == 0
}

// wayOut gives a network's subnet a router with a gateway, and a port on it an address outside.
func (w world) wayOut(t testing.TB, s models.Subnet, p models.Port) (models.Router, models.FloatingIP) {
	t.Helper()
	ctx := context.Background()
	outside, err := w.CreateNetwork(ctx, models.Network{ProjectID: "p1", Name: "public", PhysicalNetwork: new("public")})
	require.NoError(t, err)
	_, err = w.CreateSubnet(ctx, models.Subnet{NetworkID: outside.ID, ProjectID: "p1", CIDR: "198.51.100.0/24", GatewayIP: new("198.51.100.1")})
	require.NoError(t, err)
	routers, err := w.CreateRouters(ctx, []models.Router{{ProjectID: "p1", AdminStateUp: true, EnableSNAT: true, Gateway: &models.Gateway{NetworkID: outside.ID}}}, nil)
	require.NoError(t, err)
	_, err = w.AddRouterSubnet(ctx, routers[0].ID, s.ID)
	require.NoError(t, err)
	floating, err := w.CreateFloatingIPs(ctx, []models.FloatingIP{{ProjectID: "p1", NetworkID: outside.ID, PortID: &p.ID}}, nil)
	require.NoError(t, err)
	return routers[0], floating[0]
}

func (w world) follows(t testing.TB) {
	t.Helper()
	require.Eventually(t, func() bool { return w.inStep(t, w.engine.Open()) }, soon, 10*time.Millisecond)
}

func TestTheEngineFollowsPostgres(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	before, _ := w.network(t) // nobody kept that
	p := w.start(t)
	w.follows(t)
	n, s := w.network(t)
	port := w.port(t, n)
	w.follows(t)
	router, floating := w.wayOut(t, s, port)
	w.follows(t)
	require.NoError(t, w.DeletePort(ctx, port.ID))
	w.follows(t)
	require.NoError(t, w.DeleteFloatingIP(ctx, floating.ID))
	require.NoError(t, w.PurgeRouter(ctx, router.ID))
	require.NoError(t, w.DeleteNetwork(ctx, floating.NetworkID))
	w.follows(t)
	require.NoError(t, w.DeleteSubnet(ctx, s.ID))
	require.NoError(t, w.DeleteNetwork(ctx, n.ID))
	require.NoError(t, w.DeleteNetwork(ctx, before.ID))
	w.follows(t)
	known, err := w.engine.Open().Known(ctx)
	require.NoError(t, err)
	require.Equal(t, []sdn.Ref{{Kind: sdn.KindGroup, ID: ids.SecurityGroup("p1")}}, known, "the project stays")
	require.Zero(t, value(t, p.metrics.failed.WithLabelValues("port")))
	require.EqualValues(t, 1, value(t, p.metrics.leading))
}

func TestAWriterThatDiesBetweenTheEngineAndPostgresIsFollowedByAnother(t *testing.T) {
	w := newWorld(t)
	var struck atomic.Bool
	dies := w.start(t, func(o *Options) {
		o.Store = unsettled{o.Store, &struck} // what was applied is never recorded
	})
	n, _ := w.network(t)
	for range 20 {
		w.port(t, n)
	}
	require.Eventually(t, func() bool { return struck.Load() }, soon, time.Millisecond)
	dies.kill()
	backlog, err := w.NetworkBacklog(context.Background())
	require.NoError(t, err)
	require.NotZero(t, backlog.Waiting)
	w.start(t)
	w.follows(t)
}

// unsettled fails where what was applied is recorded.
type unsettled struct {
	Store
	struck *atomic.Bool
}

func (u unsettled) NetworkChangesApplied(context.Context, ...sdn.Change) error {
	u.struck.Store(true)
	return errors.New("killed")
}

func TestOfTwoProcessesOneWrites(t *testing.T) {
	w := newWorld(t)
	one, two := w.start(t), w.start(t)
	n, _ := w.network(t)
	leading := func(p process) float64 { return value(t, p.metrics.leading) }
	require.Eventually(t, func() bool { return leading(one)+leading(two) == 1 }, soon, time.Millisecond)
	w.follows(t)
	for range 20 {
		w.port(t, n)
		require.EqualValues(t, 1, leading(one)+leading(two))
	}
	w.follows(t)
	first, second := one, two
	if leading(two) == 1 {
		first, second = two, one
	}
	require.Zero(t, value(t, second.metrics.applied.WithLabelValues("port")))
	first.kill()
	w.port(t, n)
	require.Eventually(t, func() bool { return leading(second) == 1 }, soon, time.Millisecond)
	w.follows(t)
}

func TestAnEngineThatLostEverythingIsFilledAgain(t *testing.T) {
	w := newWorld(t)
	p := w.start(t)
	n, _ := w.network(t)
	w.port(t, n)
	w.follows(t)
	w.engine.Forget()
	w.follows(t)
	require.NotZero(t, value(t, p.metrics.repaired.WithLabelValues("network")))
}

func TestAnEngineThatIsAwayGetsEverythingLater(t *testing.T) {
	w := newWorld(t)
	p := w.start(t)
	n, _ := w.network(t)
	w.follows(t)
	w.engine.Away(errors.New("cut"))
	w.port(t, n)
	require.Eventually(t, func() bool { return value(t, p.metrics.leading) == 0 }, soon, time.Millisecond, "it has noticed")
	w.engine.Away(nil)
	w.follows(t)
	backlog, err := w.NetworkBacklog(context.Background())
	require.NoError(t, err)
	require.Zero(t, backlog.Failing, "no resource is blamed for it")
}

func TestWhatPostgresDoesNotKnowGoesAtTheSecondLook(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	stranger := sdn.Ref{Kind: sdn.KindNetwork, ID: uuid.NewString()}
	e := w.engine.Open()
	require.NoError(t, e.Lead(ctx, "before"))
	require.NoError(t, e.Apply(ctx, sdn.Desired{Ref: stranger, Network: &sdn.Network{ID: stranger.ID}}))
	began := time.Now()
	w.start(t)
	require.Eventually(t, func() bool { _, there := w.engine.Has(stranger); return !there }, soon, time.Millisecond)
	require.GreaterOrEqual(t, time.Since(began), 200*time.Millisecond)
	w.follows(t)
}

func TestAResourceThatTheEngineRefusesHoldsUpNoOther(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	var refused atomic.Pointer[string]
	p := w.start(t, func(o *Options) {
		o.Open = func(context.Context) (sdn.Engine, error) { return picky{w.engine.Open(), &refused}, nil }
	})
	n, _ := w.network(t)
	w.follows(t)
	id := uuid.NewString()
	refused.Store(&id)
	_, err := w.CreatePort(ctx, models.Port{ID: id, ProjectID: "p1", NetworkID: n.ID})
	require.NoError(t, err)
	other := w.port(t, n)
	require.Eventually(t, func() bool {
		_, there := w.engine.Has(sdn.Ref{Kind: sdn.KindPort, ID: other.ID})
		return there && value(t, p.metrics.failed.WithLabelValues("port")) > 0
	}, soon, time.Millisecond)
	refused.Store(nil)
	w.follows(t)
}

// picky refuses one port.
type picky struct {
	*fake.Engine
	id *atomic.Pointer[string]
}

func (p picky) Apply(ctx context.Context, all ...sdn.Desired) error {
	for _, d := range all {
		if id := p.id.Load(); id != nil && d.ID == *id {
			return errors.New("constraint violation")
		}
	}
	return p.Engine.Apply(ctx, all...)
}

func TestOVNFollowsPostgresThroughDeathsOnEitherSide(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	programs, dir := testenv.OVN(t), filepath.Join(t.TempDir(), "central")
	central, err := stack.StartOVN(ctx, stack.OVNOptions{Dir: dir, Programs: programs})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, central.Stop()) })
	open := func(ctx context.Context) (sdn.Engine, error) {
		return ovn.Open(ctx, ovn.Options{Endpoints: []string{central.Northbound}})
	}
	nbctl := func(args ...string) string {
		out, err := exec.Command(filepath.Join(programs, "run"), append([]string{"ovn-nbctl", "--timeout=10", "--db=" + central.Northbound}, args...)...).CombinedOutput()
		require.NoError(t, err, string(out))
		return strings.TrimSpace(string(out))
	}
	real := func(o *Options) { o.Engine, o.Open = "ovn", open }
	follows := func() {
		t.Helper()
		require.Eventually(t, func() bool {
			e, err := open(ctx)
			if err != nil {
				return false
			}
			defer e.Close()
			return w.inStep(t, e)
		}, soon, 50*time.Millisecond)
	}
	nbctl("ls-add", "theirs", "--", "lsp-add", "theirs", "theirs-1")
	one := w.start(t, real)
	n, s := w.network(t)
	port := w.port(t, n)
	router, floating := w.wayOut(t, s, port)
	follows()
	require.Contains(t, nbctl("lsp-list", "neutron-"+n.ID), port.ID)
	require.Contains(t, nbctl("lr-nat-list", "neutron-"+router.ID), floating.IP)

	w.start(t, real)
	for range 10 {
		w.port(t, n)
	}
	one.kill() // whatever it is at
	for range 10 {
		w.port(t, n)
	}
	follows()

	nbctl("ls-del", "neutron-"+n.ID, "--", "lr-del", "neutron-"+router.ID, "--", "--all", "destroy", "DHCP_Options", "--", "clear", "NB_Global", ".", "external_ids")
	follows()
	require.Contains(t, nbctl("lsp-list", "neutron-"+n.ID), port.ID)
	require.Contains(t, nbctl("lr-nat-list", "neutron-"+router.ID), floating.IP)
	require.Contains(t, nbctl("lsp-list", "theirs"), "theirs-1")

	// Everything that it has is a router's, and goes with it.
	require.NoError(t, w.PurgeRouter(ctx, router.ID))
	follows()
	require.Empty(t, nbctl("list", "Logical_Router")+nbctl("list", "NAT")+nbctl("list", "Logical_Router_Port"))
}

// BenchmarkAPortsWayToOVN is from the port's request of Postgres to its row in the Northbound database.
func BenchmarkAPortsWayToOVN(b *testing.B) {
	ctx := context.Background()
	w := newWorld(b)
	central, err := stack.StartOVN(ctx, stack.OVNOptions{Dir: filepath.Join(b.TempDir(), "central"), Programs: testenv.OVN(b)})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, central.Stop()) })
	arrived := make(chan string, 1000)
	w.start(b, func(o *Options) {
		o.Engine, o.Poll, o.Reconcile = "ovn", time.Minute, time.Hour
		o.Open = func(ctx context.Context) (sdn.Engine, error) {
			e, err := ovn.Open(ctx, ovn.Options{Endpoints: []string{central.Northbound}})
			return told{e, arrived}, err
		}
	})
	n, err := w.CreateNetwork(ctx, models.Network{ProjectID: "p1", Name: "n"})
	require.NoError(b, err)
	_, err = w.CreateSubnet(ctx, models.Subnet{NetworkID: n.ID, ProjectID: "p1", CIDR: "10.0.0.0/12", EnableDHCP: true})
	require.NoError(b, err)
	require.Eventually(b, func() bool {
		backlog, err := w.NetworkBacklog(ctx)
		return err == nil && backlog.Waiting == 0
	}, soon, 10*time.Millisecond)
	var written time.Duration
	for b.Loop() {
		began := time.Now()
		p := w.port(b, n)
		written += time.Since(began)
		for id := range arrived {
			if id == p.ID {
				break
			}
		}
	}
	b.ReportMetric(float64(written.Nanoseconds())/float64(b.N)/1e6, "postgres-ms/op")
}

// told says which ports have arrived.
type told struct {
	*ovn.Engine
	arrived chan string
}

func (e told) Apply(ctx context.Context, all ...sdn.Desired) error {
	err := e.Engine.Apply(ctx, all...)
	for _, d := range all {
		if err == nil && d.Port != nil {
			e.arrived <- d.ID
		}
	}
	return err
}
