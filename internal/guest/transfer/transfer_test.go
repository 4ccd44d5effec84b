package transfer

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/pki"
	"github.com/slipway-cloud/slipway/internal/space"
	"github.com/slipway-cloud/slipway/internal/tlsfile"
)

const (
	server = "11111111-1111-4111-8111-111111111111"
	move   = "22222222-2222-4222-8222-222222222222"
)

// site is a CA, two hosts of it, and a server on the first.
type site struct {
	testing.TB
	pki       string
	authority *pki.Authority
	instances string // of src
	dir       string // of the server there
	offers    *Offers
	metrics   *Metrics
	registry  *prometheus.Registry
	timing    Timing
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{TB: t, pki: filepath.Join(t.TempDir(), "pki"), instances: t.TempDir(), registry: prometheus.NewRegistry(),
		timing: Timing{Stall: 2 * time.Second, Patience: 5 * time.Second, Pause: 10 * time.Millisecond}}
	s.metrics = NewMetrics(s.registry)
	var err error
	s.authority, err = pki.Init(t.Context(), s.pki, "")
	require.NoError(t, err)
	s.issue(pki.Host, "src")
	s.issue(pki.Host, "dst")
	s.dir = filepath.Join(s.instances, server)
	require.NoError(t, os.Mkdir(s.dir, 0o711))
	s.offers = s.start("127.0.0.1:0")
	return s
}

// counted is what a host has sent, received or refused.
func (s *site) counted(what string) (n float64) {
	s.Helper()
	families, err := s.registry.Gather()
	require.NoError(s, err)
	for _, f := range families {
		for _, m := range f.Metric {
			if len(m.Label) == 0 && what == "refused" || len(m.Label) == 1 && m.Label[0].GetValue() == what {
				n += m.Counter.GetValue()
			}
		}
	}
	return n
}

func (s *site) issue(role, name string) {
	s.Helper()
	_, err := s.authority.Issue(s.Context(), pki.Request{Role: role, Name: name})
	require.NoError(s, err)
}

func (s *site) pair(holder string) tlsfile.Pair {
	return tlsfile.Pair{Setting: "x.tls", Cert: filepath.Join(s.pki, holder+".pem"), Key: filepath.Join(s.pki, holder+".key")}
}

func (s *site) ca() tlsfile.Authority {
	return tlsfile.Authority{Setting: "x.tls_ca", CA: filepath.Join(s.pki, "ca.pem")}
}

// serverTLS is that of whoever holds a certificate.
func (s *site) serverTLS(holder string) *tls.Config {
	s.Helper()
	config, err := tlsfile.New(slog.New(slog.DiscardHandler)).Server(s.pair(holder), s.ca(), tls.VersionTLS13, pki.Host)
	require.NoError(s, err)
	return config
}

func (s *site) start(listen string) *Offers {
	s.Helper()
	o := NewOffers(Options{Listen: listen, Hostname: "src", TLS: s.serverTLS("host-src"), Metrics: s.metrics, Timing: s.timing, Logger: slog.New(slog.DiscardHandler)})
	s.Cleanup(o.Close)
	return o
}

func (s *site) receiver(holder string) Receiver {
	s.Helper()
	clients, err := tlsfile.New(slog.New(slog.DiscardHandler)).Clients(s.pair(holder), s.ca())
	require.NoError(s, err)
	return Receiver{Metrics: s.metrics, Timing: s.timing, Logger: slog.New(slog.DiscardHandler), TLS: func(hostname string) *tls.Config {
		return Peer(clients(hostname), hostname)
	}}
}

// put makes a file of data at offsets, sparse between them.
func (s *site) put(name string, size int64, data map[int64][]byte) {
	s.Helper()
	f, err := os.Create(filepath.Join(s.dir, name))
	require.NoError(s, err)
	defer f.Close()
	require.NoError(s, f.Truncate(size))
	for at, b := range data {
		_, err := f.WriteAt(b, at)
		require.NoError(s, err)
	}
}

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b)
	return b
}

func (s *site) offer(names ...string) contract.DiskOffer {
	s.Helper()
	var disks []Disk
	for _, n := range names {
		disks = append(disks, Disk{Name: n, Path: n})
	}
	out, err := s.offers.Make(s.Context(), s.dir, contract.OfferDisksInput{ServerID: server, MoveID: move, To: "dst"}, disks)
	require.NoError(s, err)
	return out
}

func arrival(o contract.DiskOffer) Arrival {
	return Arrival{ServerID: server, MoveID: move, From: "src", Offer: o, Progress: func(int64, int64) {}}
}

// target is where the other host receives.
func (s *site) target() string { return filepath.Join(s.TempDir(), "next") }

// same says that two files have the same bytes and the same holes, at least as many.
func (s *site) same(dir string, names ...string) {
	s.Helper()
	for _, n := range names {
		want, got := filepath.Join(s.dir, n), filepath.Join(dir, n)
		a, err := os.Stat(want)
		require.NoError(s, err)
		b, err := os.Stat(got)
		require.NoError(s, err)
		require.Equal(s, a.Size(), b.Size(), n)
		require.Equal(s, os.FileMode(0o600), b.Mode().Perm(), n)
		require.LessOrEqual(s, allocated(b), allocated(a)+pageBytes, n)
		f, err := os.Open(want)
		require.NoError(s, err)
		g, err := os.Open(got)
		require.NoError(s, err)
		for _, at := range append(extents(s, f), extents(s, g)...) {
			x, y := make([]byte, at[1]-at[0]), make([]byte, at[1]-at[0])
			_, err := f.ReadAt(x, at[0])
			require.NoError(s, err)
			_, err = g.ReadAt(y, at[0])
			require.NoError(s, err)
			require.True(s, bytes.Equal(x, y), "%s differs between %d and %d", n, at[0], at[1])
		}
		f.Close()
		g.Close()
	}
	entries, err := os.ReadDir(dir)
	require.NoError(s, err)
	require.Len(s, entries, len(names)+1, "the disks and the transfer's own")
}

// extents are where a file holds data.
func extents(t testing.TB, f *os.File) (all [][2]int64) {
	t.Helper()
	for at := int64(0); ; {
		data, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return all
		}
		require.NoError(t, err)
		at, err = unix.Seek(int(f.Fd()), data, unix.SEEK_HOLE)
		require.NoError(t, err)
		all = append(all, [2]int64{data, at})
	}
}

func TestDisksArriveAsTheyAreWithTheirHoles(t *testing.T) {
	s := newSite(t)
	s.put("disk", 64<<20+512, map[int64][]byte{0: noise(1, 5<<20), 20<<20 + 4096: noise(2, 4096), 40<<20 + 100: noise(3, 3<<20), 64<<20 + 500: []byte("end of disk.")})
	s.put("disk.eph0", 8<<20, nil)
	s.put("disk.swap", 3<<20, map[int64][]byte{0: make([]byte, 2<<20)}) // zeros that are written are not sent
	s.put("disk.config", 364544, map[int64][]byte{0: noise(4, 364544)})
	s.put("empty", 0, nil)
	o := s.offer("disk", "disk.eph0", "disk.swap", "disk.config", "empty")
	dir, told := s.target(), int64(0)
	in := arrival(o)
	in.Progress = func(done, total int64) {
		require.GreaterOrEqual(t, done, told)
		require.Equal(t, o.Total, total)
		told = done
	}
	require.NoError(t, s.receiver("host-dst").Receive(t.Context(), dir, in))
	s.same(dir, "disk", "disk.eph0", "disk.swap", "disk.config", "empty")
	require.Equal(t, o.Total, told)
	swap, err := os.Stat(filepath.Join(dir, "disk.swap"))
	require.NoError(t, err)
	require.Zero(t, allocated(swap))
	require.Less(t, s.counted("sent"), float64(9<<20))
	require.Equal(t, float64(0), s.counted("refused"))
}

func TestAHugeDiskWithFewBytesIsQuick(t *testing.T) {
	s := newSite(t)
	s.put("disk", 1<<40, map[int64][]byte{1 << 39: []byte("few bytes"), 1<<40 - 5: []byte("and 5")})
	o := s.offer("disk")
	// To read all of it would take many times as long, on any machine.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := s.target()
	require.NoError(t, s.receiver("host-dst").Receive(ctx, dir, arrival(o)))
	require.Less(t, s.counted("sent"), float64(3<<20))
	s.same(dir, "disk")
}

// cutter is a way between two hosts that ends after so many bytes, each way. 0 is never.
type cutter struct {
	net.Listener
	to    string
	after atomic.Int64
	cuts  atomic.Int64
}

func (s *site) cutter(to string) *cutter {
	s.Helper()
	l, err := (&net.ListenConfig{}).Listen(s.Context(), "tcp", "127.0.0.1:0")
	require.NoError(s, err)
	c := &cutter{Listener: l, to: to}
	var all sync.WaitGroup
	s.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", c.to) //nolint:noctx // it ends with its other side
			if err != nil {
				in.Close()
				continue
			}
			end := sync.OnceFunc(func() { in.Close(); out.Close() })
			all.Go(func() { defer end(); _, _ = io.Copy(out, in) })
			all.Go(func() {
				defer end()
				if n := c.after.Load(); n > 0 {
					_, _ = io.CopyN(in, out, n)
					c.cuts.Add(1)
				} else {
					_, _ = io.Copy(in, out)
				}
			})
		}
	})
	return c
}

func TestWhatBreaksOffGoesOnWhereItWas(t *testing.T) {
	s := newSite(t)
	s.put("disk", 48<<20, map[int64][]byte{0: noise(1, 20<<20), 30 << 20: noise(2, 10<<20)})
	s.put("disk.config", 400_000, map[int64][]byte{0: noise(3, 400_000)})
	o := s.offer("disk", "disk.config")
	way := s.cutter(o.Address)
	o.Address = way.Addr().String()
	way.after.Store(2<<20 + 12_345)
	sent := s.counted("received")
	dir := s.target()
	in := arrival(o)
	in.Progress = func(int64, int64) { way.after.Store(1<<20 + rand.Int64N(6<<20)) }
	require.NoError(t, s.receiver("host-dst").Receive(t.Context(), dir, in))
	s.same(dir, "disk", "disk.config")
	require.Greater(t, way.cuts.Load(), int64(4))
	require.InDelta(t, 30<<20+400_000, s.counted("received")-sent, 8192, "nothing that was written is fetched twice")
}

func TestAReceiverThatWasStoppedGoesOnAndAHostThatWasRestartedOffersTheSame(t *testing.T) {
	s := newSite(t)
	s.put("disk", 64<<20, map[int64][]byte{0: noise(1, 64<<20)})
	o := s.offer("disk")
	dir := s.target()
	for tries := 0; ; tries++ {
		require.Less(t, tries, 200)
		ctx, stop := context.WithCancel(t.Context())
		in, until := arrival(o), int64(tries+1)*3<<20
		in.Progress = func(done, _ int64) {
			if done > until {
				stop()
			}
		}
		err := s.receiver("host-dst").Receive(ctx, dir, in)
		stop()
		if err == nil {
			break
		}
		require.Equal(t, fault.Unavailable, fault.KindOf(err), "%v", err)
		require.NoFileExists(t, filepath.Join(dir, "disk"))
		s.offers.Close()
		s.offers = s.start("127.0.0.1:0")
		require.NoError(t, s.offers.TakeUp(t.Context(), s.instances))
	}
	s.same(dir, "disk")
}

func TestWhatWasReadOnceIsNotReadAgainForItsChecksum(t *testing.T) {
	s := newSite(t)
	s.put("disk", 300<<20, map[int64][]byte{0: noise(1, 130<<20), 280 << 20: noise(2, 20<<20)})
	o := s.offer("disk")
	way := s.cutter(o.Address)
	o.Address = way.Addr().String()
	way.after.Store(140 << 20)
	in, dir := arrival(o), s.target()
	in.Progress = func(int64, int64) { way.after.Store(0) }
	require.NoError(t, s.receiver("host-dst").Receive(t.Context(), dir, in))
	require.Equal(t, int64(1), way.cuts.Load())
	s.same(dir, "disk")
	f := s.offers.of(server)
	_, end, ok := f.begin(t.Context())
	require.True(t, ok)
	defer end()
	var at []int64
	for _, m := range f.marks[0] {
		at = append(at, m.offset>>20)
	}
	require.Equal(t, []int64{64, 128, 280}, at)
}

func TestAHostThatIsNotToListenAnyMoreTakesNoOfferUp(t *testing.T) {
	s := newSite(t)
	s.put("disk", 1<<20, nil)
	for _, change := range []func(*Options){func(o *Options) { o.Listen = "" }, func(o *Options) { o.TLS = nil }} {
		o := s.offer("disk")
		s.offers.Close()
		options := s.offers.o
		change(&options)
		offers := NewOffers(options)
		require.ErrorContains(t, offers.TakeUp(t.Context(), s.instances), "host.transfer_listen")
		require.NoDirExists(t, filepath.Join(s.dir, Folder))
		l, err := net.Listen("tcp", o.Address) // nobody else does
		require.NoError(t, err)
		require.NoError(t, l.Close())
	}
}

func TestAHostThatIsAwayForAWhileIsWaitedFor(t *testing.T) {
	s := newSite(t)
	s.put("disk", 16<<20, map[int64][]byte{0: noise(1, 16<<20)})
	o := s.offer("disk")
	s.offers.Close()
	over := make(chan error, 1)
	dir := s.target()
	go func() { over <- s.receiver("host-dst").Receive(t.Context(), dir, arrival(o)) }()
	nobody, err := net.Listen("tcp", o.Address)
	require.NoError(t, err)
	for range 2 { // it asks again
		c, err := nobody.Accept()
		require.NoError(t, err)
		require.NoError(t, c.Close())
	}
	require.NoError(t, nobody.Close())
	s.offers = s.start("127.0.0.1:0")
	require.NoError(t, s.offers.TakeUp(t.Context(), s.instances))
	require.NoError(t, <-over)
	s.same(dir, "disk")
	s.offers.Close()
	in := arrival(o)
	in.MoveID = "another"
	s.timing.Patience = 300 * time.Millisecond
	err = s.receiver("host-dst").Receive(t.Context(), s.target(), in)
	require.Equal(t, fault.Unavailable, fault.KindOf(err), "%v", err)
}

func TestOnlyTheHostThatItIsForGetsADiskAndOnlyWithWhatItWasGiven(t *testing.T) {
	s := newSite(t)
	s.issue(pki.Host, "hv9")
	s.issue(pki.Control, "c1")
	s.issue(pki.Operator, "jane")
	s.put("disk", 1<<20, map[int64][]byte{0: noise(1, 1<<20)})
	o := s.offer("disk")
	fetch := func(holder string, change func(*Arrival)) error {
		in := arrival(o)
		if change != nil {
			change(&in)
		}
		r := s.receiver(holder)
		r.Timing.Patience = 100 * time.Millisecond
		dir := s.target()
		err := r.Receive(t.Context(), dir, in)
		if err != nil {
			require.NoFileExists(t, filepath.Join(dir, "disk"))
		}
		return err
	}
	other := "33333333-3333-4333-8333-333333333333"
	for name, c := range map[string]struct {
		holder string
		change func(*Arrival)
		kind   fault.Kind
	}{
		"another host's certificate": {"host-hv9", nil, fault.Conflict},
		"no host's certificate":      {"control-c1", nil, fault.Unavailable},
		"a person's certificate":     {"operator-jane", nil, fault.Unavailable},
		"another credential":         {"host-dst", func(a *Arrival) { a.Offer.Credential = "00" + a.Offer.Credential[2:] }, fault.Conflict},
		"no credential":              {"host-dst", func(a *Arrival) { a.Offer.Credential = "" }, fault.Conflict},
		"another server":             {"host-dst", func(a *Arrival) { a.ServerID = other }, fault.Conflict},
		"another move":               {"host-dst", func(a *Arrival) { a.MoveID = other }, fault.Conflict},
		"another host's address":     {"host-dst", func(a *Arrival) { a.From = "hv9" }, fault.HostUnfit},
		"a path":                     {"host-dst", func(a *Arrival) { a.ServerID = "../.." }, fault.Conflict},
	} {
		t.Run(name, func(t *testing.T) {
			before := s.counted("refused")
			err := fetch(c.holder, c.change)
			require.Equal(t, c.kind, fault.KindOf(err), "%v", err)
			require.Eventually(t, func() bool { return s.counted("refused") > before }, time.Second, time.Millisecond)
		})
	}
	require.NoError(t, fetch("host-dst", nil))
	require.Equal(t, fault.Conflict, fault.KindOf(fetch("host-dst", nil)), "it is used")
	again := s.offer("disk")
	require.NotEqual(t, o.Credential, again.Credential)
	require.Equal(t, fault.Conflict, fault.KindOf(fetch("host-dst", nil)), "another one took its place")
	o = again
	require.NoError(t, fetch("host-dst", nil))
}

func TestNobodyListensUnlessSomethingIsOffered(t *testing.T) {
	s := newSite(t)
	s.put("disk", 1<<20, nil)
	require.Empty(t, s.offers.at)
	o := s.offer("disk")
	dial := func() error {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", o.Address)
		if err == nil {
			c.Close()
		}
		return err
	}
	require.NoError(t, dial())
	require.NoError(t, s.offers.End(s.dir, server))
	require.Error(t, dial())
	require.NoDirExists(t, filepath.Join(s.dir, Folder))
	require.NoError(t, s.offers.End(s.dir, server), "again")

	out, err := s.offers.Make(t.Context(), s.dir, contract.OfferDisksInput{ServerID: server, MoveID: move, To: "dst", Within: 200 * time.Millisecond}, []Disk{{Name: "disk", Path: "disk"}})
	require.NoError(t, err)
	o = out
	require.NoError(t, dial())
	require.Eventually(t, func() bool { return dial() != nil }, 3*time.Second, 20*time.Millisecond, "an offer ends by itself")
	require.NoDirExists(t, filepath.Join(s.dir, Folder))
	require.NoError(t, s.offers.TakeUp(t.Context(), s.instances))
	require.Error(t, dial())
}

func TestWhoListensSpeaksTLS13AndToHostsAlone(t *testing.T) {
	s := newSite(t)
	s.put("disk", 1<<20, nil)
	o := s.offer("disk")
	pair, err := tls.LoadX509KeyPair(s.pair("host-dst").Cert, s.pair("host-dst").Key)
	require.NoError(t, err)
	get := func(c *tls.Config) error {
		c.InsecureSkipVerify = true
		client := http.Client{Transport: &http.Transport{TLSClientConfig: c}}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+o.Address+"/", http.NoBody)
		require.NoError(t, err)
		answer, err := client.Do(r)
		if err == nil {
			require.Equal(t, http.StatusNotFound, answer.StatusCode)
			answer.Body.Close()
		}
		return err
	}
	require.NoError(t, get(&tls.Config{Certificates: []tls.Certificate{pair}}))
	require.Error(t, get(&tls.Config{Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS12}))
	require.Error(t, get(&tls.Config{}))
	plain, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", o.Address)
	require.NoError(t, err)
	defer plain.Close()
	require.NoError(t, plain.SetDeadline(time.Now().Add(5*time.Second)))
	_, err = io.Copy(io.Discard, plain)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "who says nothing is sent away")
}

func TestTwoHostsThatAreNoHostsOfOneAuthorityDoNotSpeak(t *testing.T) {
	s, foreign := newSite(t), newSite(t)
	s.put("disk", 1<<20, nil)
	o := s.offer("disk")
	r := foreign.receiver("host-dst")
	err := r.Receive(t.Context(), s.target(), arrival(o))
	require.Equal(t, fault.HostUnfit, fault.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "is not host src")
}

// liar is a host whose certificate is right, and which sends what a test likes.
func (s *site) liar(send func(w io.Writer, n int)) contract.DiskOffer {
	s.Helper()
	l, err := (&net.ListenConfig{}).Listen(s.Context(), "tcp", "127.0.0.1:0")
	require.NoError(s, err)
	asked := 0
	srv := &http.Server{TLSConfig: s.serverTLS("host-src"), ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		send(w, asked)
	})}
	var all sync.WaitGroup
	all.Go(func() { _ = srv.ServeTLS(l, "", "") })
	s.Cleanup(func() { srv.Close(); all.Wait() })
	return contract.DiskOffer{Address: l.Addr().String(), Credential: "x", Total: 2 << 20, Files: []contract.OfferedFile{{Name: "disk", Bytes: 2<<20 + 4096, Allocated: 2 << 20}}}
}

func chunkOf(at int64, data []byte) *chunk {
	c := newChunk()
	c.data = append(c.data, data...)
	c.fill(at, c.data)
	return c
}

func TestWhatIsNotADiskIsRefusedWhateverItSays(t *testing.T) {
	s := newSite(t)
	good := chunkOf(0, noise(1, chunkBytes))
	end := func(w io.Writer, chunks ...*chunk) {
		all := newTotal()
		for _, c := range chunks {
			all.add(c)
		}
		sum := all.sum(2<<20 + 4096)
		_, _ = w.Write(append([]byte{kindEnd}, sum[:]...))
	}
	for name, c := range map[string]struct {
		send func(w io.Writer, n int)
		kind fault.Kind
		text string
	}{
		"a byte that is another": {func(w io.Writer, _ int) {
			bad := chunkOf(0, noise(1, chunkBytes))
			bad.data[777] ^= 1
			_ = bad.send(w)
			end(w, good)
		}, fault.HostUnfit, "did not arrive as host src has them"},
		"a chunk that is missing": {func(w io.Writer, _ int) {
			_ = good.send(w)
			end(w, good, chunkOf(1<<20, noise(2, chunkBytes)))
		}, fault.HostUnfit, "did not arrive as host src has them"},
		"a chunk in another's place": {func(w io.Writer, _ int) {
			bad := chunkOf(0, noise(1, chunkBytes))
			bad.head[5] = 0x10
			_ = bad.send(w)
			end(w, good)
		}, fault.HostUnfit, "did not arrive as host src has them"},
		"a chunk that comes twice":     {func(w io.Writer, _ int) { _ = good.send(w); _ = good.send(w); end(w, good, good) }, fault.HostUnfit, "is no disk"},
		"a chunk behind the end":       {func(w io.Writer, _ int) { _ = chunkOf(3<<20, noise(1, 4096)).send(w) }, fault.HostUnfit, "is no disk"},
		"a chunk across the end":       {func(w io.Writer, _ int) { _ = chunkOf(2<<20, noise(1, 8192)).send(w) }, fault.HostUnfit, "is no disk"},
		"a chunk before the start":     {func(w io.Writer, _ int) { _ = chunkOf(-chunkBytes, noise(1, 4096)).send(w) }, fault.HostUnfit, "is no disk"},
		"an empty chunk":               {func(w io.Writer, _ int) { _ = chunkOf(0, make([]byte, 4096)).send(w) }, fault.HostUnfit, "is no disk"},
		"a page":                       {func(w io.Writer, _ int) { _, _ = io.WriteString(w, "<html>") }, fault.HostUnfit, "is no disk"},
		"its own word":                 {func(w io.Writer, _ int) { _ = sendError(w, errors.New("the disk has changed")) }, fault.HostUnfit, "the disk has changed"},
		"nothing":                      {func(io.Writer, int) {}, fault.Unavailable, "does not send"},
		"half a chunk":                 {func(w io.Writer, _ int) { b := new(bytes.Buffer); _ = good.send(b); _, _ = w.Write(b.Bytes()[:5000]) }, fault.Unavailable, "does not send"},
		"an error of the web server's": {func(w io.Writer, _ int) { w.(http.ResponseWriter).WriteHeader(http.StatusBadGateway) }, fault.Unavailable, "502"},
		"another address": {func(w io.Writer, _ int) {
			w.(http.ResponseWriter).Header().Set("Location", "https://127.0.0.1:1/")
			w.(http.ResponseWriter).WriteHeader(http.StatusFound)
		}, fault.Internal, "302"},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.receiver("host-dst")
			r.Timing.Patience = 200 * time.Millisecond
			dir := s.target()
			err := r.Receive(t.Context(), dir, arrival(s.liar(c.send)))
			require.Equal(t, c.kind, fault.KindOf(err), "%v", err)
			require.ErrorContains(t, err, c.text)
			require.NoFileExists(t, filepath.Join(dir, "disk"))
			if name == "a byte that is another" {
				require.True(t, IsMismatch(err))
				require.NoDirExists(t, dir, "nothing of it is gone on with")
			}
		})
	}
}

func TestAHostThatSendsNothingMoreIsGivenUpAndAskedAgain(t *testing.T) {
	s := newSite(t)
	first, second := chunkOf(0, noise(1, chunkBytes)), chunkOf(1<<20, noise(2, chunkBytes))
	over := make(chan struct{})
	defer close(over)
	o := s.liar(func(w io.Writer, n int) {
		if n == 1 {
			_ = first.send(w)
			_ = http.NewResponseController(w.(http.ResponseWriter)).Flush()
			<-over
			return
		}
		all := newTotal()
		all.add(first)
		all.add(second)
		_ = second.send(w)
		sum := all.sum(2<<20 + 4096)
		_, _ = w.Write(append([]byte{kindEnd}, sum[:]...))
	})
	r, dir := s.receiver("host-dst"), s.target()
	r.Timing.Stall = 300 * time.Millisecond
	require.NoError(t, r.Receive(t.Context(), dir, arrival(o)))
	b, err := os.ReadFile(filepath.Join(dir, "disk"))
	require.NoError(t, err)
	require.True(t, bytes.Equal(b, append(append(noise(1, chunkBytes), noise(2, chunkBytes)...), make([]byte, 4096)...)))
}

func TestWhoTakesNothingIsGivenUp(t *testing.T) {
	s := newSite(t)
	s.timing.Stall = 300 * time.Millisecond
	s.offers = s.start("127.0.0.1:0")
	s.put("disk", 64<<20, map[int64][]byte{0: noise(1, 64<<20)})
	o := s.offer("disk")
	c, err := (&tls.Dialer{Config: s.receiver("host-dst").TLS("src")}).DialContext(t.Context(), "tcp", o.Address)
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "GET /v1/disks/"+server+"/"+move+"/0?from=0 HTTP/1.1\r\nHost: src\r\nAuthorization: Bearer "+o.Credential+"\r\n\r\n")
	require.NoError(t, err)
	f := s.offers.of(server)
	serving := func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.ended == nil {
			return false
		}
		select {
		case <-f.ended:
			return false
		default:
			return true
		}
	}
	require.Eventually(t, serving, time.Minute, time.Millisecond)
	require.Eventually(t, func() bool { return !serving() }, time.Minute, 10*time.Millisecond)
}

func TestADiskThatChangesIsNotSent(t *testing.T) {
	s := newSite(t)
	s.put("disk", 4<<20, map[int64][]byte{0: noise(1, 1<<20)})
	o := s.offer("disk")
	require.NoError(t, os.Chtimes(filepath.Join(s.dir, "disk"), time.Now(), time.Now().Add(time.Minute)))
	err := s.receiver("host-dst").Receive(t.Context(), s.target(), arrival(o))
	require.ErrorContains(t, err, "has changed since it was offered")
}

func TestLinksLeadNowhere(t *testing.T) {
	s := newSite(t)
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("not a disk"), 0o600))
	require.NoError(t, os.Symlink(secret, filepath.Join(s.dir, "disk")))
	_, err := s.offers.Make(t.Context(), s.dir, contract.OfferDisksInput{ServerID: server, MoveID: move, To: "dst"}, []Disk{{Name: "disk", Path: "disk"}})
	require.Error(t, err)
	require.NoError(t, os.Remove(filepath.Join(s.dir, "disk")))
	require.NoError(t, unix.Mkfifo(filepath.Join(s.dir, "disk"), 0o600))
	_, err = s.offers.Make(t.Context(), s.dir, contract.OfferDisksInput{ServerID: server, MoveID: move, To: "dst"}, []Disk{{Name: "disk", Path: "disk"}})
	require.Error(t, err, "a pipe is no disk")
	require.NoError(t, os.Remove(filepath.Join(s.dir, "disk")))

	s.put("disk", 1<<20, map[int64][]byte{0: noise(1, 1<<20)})
	o := s.offer("disk")
	dir := s.target()
	require.NoError(t, os.Symlink(filepath.Dir(secret), dir))
	require.Error(t, s.receiver("host-dst").Receive(t.Context(), dir, arrival(o)))
	require.NoError(t, os.Remove(dir))

	ctx, stop := context.WithCancel(t.Context())
	in := arrival(o)
	in.Progress = func(int64, int64) { stop() }
	_ = s.receiver("host-dst").Receive(ctx, dir, in)
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "disk.part")))
	require.NoError(t, os.Symlink(secret, filepath.Join(dir, "disk.part")))
	require.NoError(t, s.receiver("host-dst").Receive(t.Context(), dir, arrival(o)))
	s.same(dir, "disk")
	b, err := os.ReadFile(secret)
	require.NoError(t, err)
	require.Equal(t, "not a disk", string(b))

	for _, name := range []string{"../disk", "/etc/passwd", "", ".", "..", "a/b", "disk.part", "transfer.part"} {
		bad := o
		bad.Files = []contract.OfferedFile{{Name: name, Bytes: 1 << 20}}
		require.Equal(t, fault.Invalid, fault.KindOf(s.receiver("host-dst").Receive(t.Context(), s.target(), arrival(bad))), name)
	}
	twice := o
	twice.Files = append(twice.Files, o.Files...)
	require.Equal(t, fault.Invalid, fault.KindOf(s.receiver("host-dst").Receive(t.Context(), s.target(), arrival(twice))))
}

func TestAFilesystemWithoutRoomTakesNothing(t *testing.T) {
	s := newSite(t)
	s.put("disk", 1<<20, map[int64][]byte{0: noise(1, 1<<20)})
	r, o := s.receiver("host-dst"), s.offer("disk")
	r.Reserve = space.Bytes(1 << 62)
	err := r.Receive(t.Context(), s.target(), arrival(o))
	require.Equal(t, fault.HostUnfit, fault.KindOf(err), "%v", err)
	require.Zero(t, s.counted("received"))
}

// A host that says less than it sends gets no further than the reserve.
func TestAFilesystemIsNotFilledWhateverWasSaid(t *testing.T) {
	s := newSite(t)
	s.put("disk", 64<<20, map[int64][]byte{0: noise(1, 64<<20)})
	r, o := s.receiver("host-dst"), s.offer("disk")
	o.Total, o.Files[0].Allocated = 0, 0
	dir := s.target()
	var fs unix.Statfs_t
	require.NoError(t, unix.Statfs(filepath.Dir(dir), &fs))
	r.Reserve = space.Bytes(int64(fs.Bavail)*fs.Bsize - 1<<20)
	in := arrival(o)
	in.Progress = func(int64, int64) { time.Sleep(20 * time.Millisecond) }
	err := r.Receive(t.Context(), dir, in)
	require.Equal(t, fault.HostUnfit, fault.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "full")
	require.NoFileExists(t, filepath.Join(dir, "disk"))
}

func TestWhatADiskHasLostIsFetchedAgainThoughItSaysAfterwardsThatAllIsWell(t *testing.T) {
	s := newSite(t)
	s.put("disk", 16<<20, map[int64][]byte{0: noise(1, 16<<20)})
	o, dir := s.offer("disk"), s.target()
	r := s.receiver("host-dst")
	r.Checkpoint = 1
	lost := errors.New("it has lost what it was to write")
	told := false
	r.fails = func() error {
		if told {
			return nil
		}
		told = true
		return lost
	}
	require.ErrorIs(t, r.Receive(t.Context(), dir, arrival(o)), lost)
	var now state
	text, err := os.ReadFile(filepath.Join(dir, stateName))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &now))
	require.Zero(t, now.Offset)
	require.NoError(t, r.Receive(t.Context(), dir, arrival(o)))
	s.same(dir, "disk")
}

func TestWhatLiesThereOfAnotherMoveIsRemoved(t *testing.T) {
	s := newSite(t)
	s.put("disk", 8<<20, map[int64][]byte{0: noise(1, 8<<20)})
	o := s.offer("disk")
	dir := s.target()
	require.NoError(t, os.Mkdir(dir, 0o711))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "disk"), []byte("of another"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, stateName), []byte(`{"move_id": "another", "file": 1}`), 0o600))
	require.NoError(t, s.receiver("host-dst").Receive(t.Context(), dir, arrival(o)))
	s.same(dir, "disk")
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".transfer.part12345"), nil, 0o600))
	s.offers.Close()
	require.NoError(t, s.receiver("host-dst").Receive(t.Context(), dir, arrival(o)), "all of it is there, and nobody is asked for it")
	s.same(dir, "disk")
}

func TestWhoSettlesIsAskedAgainWhereItFailed(t *testing.T) {
	s := newSite(t)
	s.put("disk", 8<<20, map[int64][]byte{0: noise(1, 8<<20)})
	in, asked := arrival(s.offer("disk")), 0
	in.Settle = func(_ context.Context, name, path string) error {
		require.Equal(t, "disk", name)
		require.FileExists(t, path)
		if asked++; asked == 1 {
			return errors.New("no")
		}
		return nil
	}
	dir := s.target()
	require.Error(t, s.receiver("host-dst").Receive(t.Context(), dir, in))
	had := s.counted("received")
	require.NoError(t, s.receiver("host-dst").Receive(t.Context(), dir, in))
	require.Equal(t, had, s.counted("received"), "it had arrived")
	s.same(dir, "disk")
}

func TestOthersAreToldWhereAHostIsReached(t *testing.T) {
	for _, c := range []struct{ listen, advertise, at, want string }{
		{":8790", "", "[::]:8790", "hv1:8790"},
		{"0.0.0.0:8790", "", "0.0.0.0:8790", "hv1:8790"},
		{"10.0.0.2:8790", "", "10.0.0.2:8790", "10.0.0.2:8790"},
		{"127.0.0.1:0", "", "127.0.0.1:41234", "127.0.0.1:41234"},
		{"[fd00::2]:0", "", "[fd00::2]:41234", "[fd00::2]:41234"},
		{":8790", "hv1.storage.example.org", "[::]:8790", "hv1.storage.example.org:8790"},
		{":8790", "fd00::2", "[::]:8790", "[fd00::2]:8790"},
		{":8790", "gate.example.org:9000", "[::]:8790", "gate.example.org:9000"},
	} {
		o := NewOffers(Options{Listen: c.listen, Advertise: c.advertise, Hostname: "hv1"})
		o.at = c.at
		got, err := o.address()
		require.NoError(t, err)
		require.Equal(t, c.want, got, "%+v", c)
	}
}
