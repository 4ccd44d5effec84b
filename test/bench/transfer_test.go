package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/guest/transfer"
	"github.com/slipway-cloud/slipway/internal/pki"
	"github.com/slipway-cloud/slipway/internal/tlsfile"
)

const (
	moved         = 1 << 30 // bytes that a disk holds
	movedDisk     = 4 << 30 // and shows
	transferRuns  = 5
	transferredBy = "83679162-1378-4288-a2d4-70e13ec132aa"
)

// transferReport is what it takes to carry the disk of a guest from a host to another, until it is on the other's disk.
type transferReport struct {
	transfer       series
	tarred, copied series // by tar over TLS, as between two machines; by cp, as on one
	transferGrowth int    // MiB of this process, which is both hosts
}

// benchTransfer carries a disk between two ends in this process, over TLS on loopback, by turns with bare tools on the same filesystem.
func benchTransfer(b *testing.B, r *transferReport) {
	t := newTransferBench(b)
	t.carry() // both ends are warm now
	for range transferRuns {
		settle()
		r.copied = append(r.copied, t.shell(`cp --sparse=always from/disk to && sync to`))
		settle()
		r.tarred = append(r.tarred, t.shell(t.overTLS()))
		settle()
		before := ownMemory(b, rssLine)
		r.transfer = append(r.transfer, t.carry())
		r.transferGrowth = max(r.transferGrowth, ownMemory(b, hwmLine)-before)
	}
}

type transferBench struct {
	*testing.B
	dir      string
	offers   *transfer.Offers
	receiver transfer.Receiver
}

func newTransferBench(b *testing.B) *transferBench {
	b.Helper()
	t := &transferBench{B: b, dir: b.TempDir()}
	require.NoError(b, os.Mkdir(filepath.Join(t.dir, "from"), 0o700))
	f, err := os.Create(filepath.Join(t.dir, "from", "disk"))
	require.NoError(b, err)
	noise := rand.NewChaCha8([32]byte{1})
	require.NoError(b, f.Truncate(movedDisk))
	for part := range int64(4) { // as a guest has it: here and there
		_, err := io.CopyN(io.NewOffsetWriter(f, part<<30), noise, moved/4)
		require.NoError(b, err)
	}
	require.NoError(b, f.Close())

	pair := t.certificates("hv1", "hv2")
	log, metrics := slog.New(slog.DiscardHandler), transfer.NewMetrics(prometheus.NewRegistry())
	authority := tlsfile.Authority{Setting: "bench_ca", CA: filepath.Join(t.dir, "pki", pki.CAFile)}
	listens, err := tlsfile.New(log).Server(pair["hv1"], authority, tls.VersionTLS13, pki.Host)
	require.NoError(b, err)
	dials, err := tlsfile.New(log).Clients(pair["hv2"], authority)
	require.NoError(b, err)
	t.offers = transfer.NewOffers(transfer.Options{Listen: "127.0.0.1:0", Hostname: "hv1", TLS: listens, Metrics: metrics, Logger: log})
	b.Cleanup(t.offers.Close)
	t.receiver = transfer.Receiver{Metrics: metrics, Logger: log, TLS: func(hostname string) *tls.Config { return transfer.Peer(dials(hostname), hostname) }}
	return t
}

// certificates makes those of hosts, below pki.
func (t *transferBench) certificates(hosts ...string) map[string]tlsfile.Pair {
	dir := filepath.Join(t.dir, "pki")
	ca, err := pki.Init(t.Context(), dir, "")
	require.NoError(t, err)
	pairs := map[string]tlsfile.Pair{}
	for _, name := range hosts {
		_, err := ca.Issue(t.Context(), pki.Request{Role: pki.Host, Name: name, DNS: []string{"localhost"}})
		require.NoError(t, err)
		cert, key := pki.Files(dir, pki.Host, name)
		pairs[name] = tlsfile.Pair{Setting: "bench", Cert: cert, Key: key}
	}
	return pairs
}

// carry is all that the two steps do for one disk, but for the disk's own.
func (t *transferBench) carry() time.Duration {
	from, to := filepath.Join(t.dir, "from"), filepath.Join(t.dir, "arrived")
	began := time.Now()
	in := contract.OfferDisksInput{ServerID: transferredBy, MoveID: "bench", To: "hv2"}
	offer, err := t.offers.Make(context.Background(), from, in, []transfer.Disk{{Name: "disk", Path: "disk"}})
	require.NoError(t, err)
	require.NoError(t, t.receiver.Receive(context.Background(), to, transfer.Arrival{
		ServerID: transferredBy, MoveID: "bench", From: "hv1", Offer: offer, Progress: func(int64, int64) {},
	}))
	require.NoError(t, t.offers.End(from, transferredBy))
	took := time.Since(began)
	t.compare(filepath.Join(to, "disk"))
	require.NoError(t, os.RemoveAll(to))
	return took
}

// shell runs a script that brings from/disk to the file to.
func (t *transferBench) shell(script string) time.Duration {
	cmd := exec.Command("bash", "-c", "set -o pipefail; "+script)
	cmd.Dir = t.dir
	began := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(began)
	require.NoError(t, err, "%s", out)
	t.compare(filepath.Join(t.dir, "to"))
	require.NoError(t, os.Remove(filepath.Join(t.dir, "to")))
	return took
}

// overTLS is tar and socat on both sides.
func (t *transferBench) overTLS() string {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it only finds a port
	require.NoError(t, err)
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	require.NoError(t, l.Close())
	tls := func(name string) string {
		return "cert=pki/host-" + name + ".pem,key=pki/host-" + name + ".key,cafile=pki/ca.pem"
	}
	return `socat -u OPENSSL-LISTEN:` + port + `,bind=127.0.0.1,reuseaddr,` + tls("hv1") + ` - | tar -xSf - --transform s/disk/to/ & taker=$!
		until ss -ltn | grep -q 127.0.0.1:` + port + `; do sleep 0.005; done
		tar -cSf - -C from disk | socat -u - OPENSSL:localhost:` + port + `,` + tls("hv2") + ` && wait $taker && sync to`
}

func (t *transferBench) compare(got string) {
	out, err := exec.Command("cmp", filepath.Join(t.dir, "from", "disk"), got).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// ownMemory is a line of this process's memory, in MiB.
func ownMemory(b *testing.B, line interface{ FindSubmatch([]byte) [][]byte }) int {
	b.Helper()
	text, err := os.ReadFile("/proc/self/status")
	require.NoError(b, err)
	found := line.FindSubmatch(text)
	require.NotNil(b, found)
	kib, err := strconv.Atoi(string(found[1]))
	require.NoError(b, err)
	return kib >> 10
}

func (r *transferReport) rows(line func(what string, ours, raw any, nova string)) {
	line("1 GiB of a disk from host to host, over TLS", r.transfer, r.tarred, "")
	line("the same, bare `cp` on one machine", "", r.copied, "")
	line("RSS growth of both hosts together, 1 GiB from one to the other", fmt.Sprintf("%d MiB", r.transferGrowth), "", "")
}

func (r *transferReport) text() string {
	return fmt.Sprintf("\nA disk of 4 GiB that holds 1 GiB takes, from one host to another, %.2f times as long as with `tar -S | socat` and certificates on both\n"+
		"sides, and %.2f times as long as `cp --sparse=always` takes, which knows neither a network nor a checksum. Both hosts are on this\n"+
		"machine and share its processors, and every way ends with what `sync` does. A move may take 1.3 times the bare copy.\n",
		times(r.transfer, r.tarred), times(r.transfer, r.copied))
}
