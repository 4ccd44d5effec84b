package host

import (
	"context"
	"crypto/tls"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/disk"
	"github.com/slipway-cloud/slipway/internal/guest/transfer"
	"github.com/slipway-cloud/slipway/internal/pki"
	"github.com/slipway-cloud/slipway/internal/tlsfile"
)

const moveID = "5f6cf4a2-5b7e-4dc3-9d3c-6a1c0e9b7f10"

// twoPlaces are hosts of one authority: h1 has a server that is off, h2 its image.
func twoPlaces(t *testing.T) (h1, h2 *place) {
	t.Helper()
	dir, log := filepath.Join(t.TempDir(), "pki"), slog.New(slog.DiscardHandler)
	authority, err := pki.Init(t.Context(), dir, "")
	require.NoError(t, err)
	open := func(name string) *place {
		_, err := authority.Issue(t.Context(), pki.Request{Role: pki.Host, Name: name})
		require.NoError(t, err)
		own := tlsfile.Pair{Setting: "x", Cert: filepath.Join(dir, "host-"+name+".pem"), Key: filepath.Join(dir, "host-"+name+".key")}
		ca, metrics := tlsfile.Authority{Setting: "x_ca", CA: filepath.Join(dir, "ca.pem")}, transfer.NewMetrics(prometheus.NewRegistry())
		listens, err := tlsfile.New(log).Server(own, ca, tls.VersionTLS13, pki.Host)
		require.NoError(t, err)
		dials, err := tlsfile.New(log).Clients(own, ca)
		require.NoError(t, err)
		offers := transfer.NewOffers(transfer.Options{Listen: "127.0.0.1:0", Hostname: name, TLS: listens, Metrics: metrics, Logger: log})
		t.Cleanup(offers.Close)
		return newPlace(t, func(o *Options, _ *store) {
			o.Hostname, o.Offers = name, offers
			o.Receiver = transfer.Receiver{Metrics: metrics, Logger: log, Timing: transfer.Timing{Patience: time.Second}, TLS: func(hostname string) *tls.Config { return transfer.Peer(dials(hostname), hostname) }}
		})
	}
	h1, h2 = open("h1"), open("h2")
	h2.root, h2.kernel, h2.initrd = h1.root, h1.kernel, h1.initrd
	h2.images(t, h1)
	h1.fetch(t)
	for _, s := range steps[:3] {
		require.NoError(t, s.do(t.Context(), h1), s.name)
	}
	h1.wrote(t, "by the guest")
	run(t, "qemu-io", "-f", "qcow2", "-c", "write -P 7 64M 3M", filepath.Join(h1.dir, server, "disk"))
	return h1, h2
}

// images gives a host's cache what another one's has.
func (p *place) images(t *testing.T, other *place) {
	t.Helper()
	for _, image := range []contract.Image{other.root, other.kernel, other.initrd} {
		_, _, err := other.o.Cache.Fetch(t.Context(), image, nil)
		require.NoError(t, err)
		from, err := other.o.Cache.Path(image.SHA512)
		require.NoError(t, err)
		to, err := p.o.Cache.Path(image.SHA512)
		require.NoError(t, err)
		bytes, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(to, bytes, 0o444))
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
}

func (p *place) receive(ctx context.Context, offer contract.DiskOffer, change ...func(*contract.ReceiveDisksInput)) error {
	in := contract.ReceiveDisksInput{
		ServerID: server, MoveID: moveID, From: "h1", Offer: offer,
		Disk: contract.BuildDiskInput{ServerID: server, Image: p.root, RootGiB: 1, EphemeralGiB: 1, SwapMiB: 16},
	}
	for _, c := range change {
		c(&in)
	}
	return p.ReceiveDisks(ctx, in)
}

var offerIn = contract.OfferDisksInput{ServerID: server, MoveID: moveID, To: "h2"}

func TestAServersDisksArriveOnAnotherHostAndLeanOnItsImage(t *testing.T) {
	h1, h2 := twoPlaces(t)
	before, empty := h1.world(t), h2.world(t)
	offer, err := h1.OfferDisks(t.Context(), offerIn)
	require.NoError(t, err)
	require.NoError(t, h2.receive(t.Context(), offer))
	require.NoError(t, h2.receive(t.Context(), offer), "again")

	was, is := filepath.Join(h1.dir, server), filepath.Join(h2.dir, server, nextName)
	for name, format := range map[string]string{"disk": "qcow2", "disk.eph0": "raw"} {
		run(t, "qemu-img", "compare", "-f", format, "-F", format, filepath.Join(was, name), filepath.Join(is, name))
		require.NoFileExists(t, filepath.Join(is, name+part))
	}
	for _, name := range []string{"disk.swap", "disk.config"} {
		require.FileExists(t, filepath.Join(was, name))
		require.NoFileExists(t, filepath.Join(is, name), "it is made anew")
	}
	require.NoFileExists(t, filepath.Join(is, factsName), "they are sealed for the other host")
	base, err := h2.o.Cache.Path(h2.root.SHA512)
	require.NoError(t, err)
	file, format, err := disk.Backing(filepath.Join(is, "disk"))
	require.NoError(t, err)
	require.Equal(t, base, file)
	require.Equal(t, "raw", format)
	inventory, err := h2.TakeInventory(t.Context(), contract.InventoryInput{})
	require.NoError(t, err)
	require.Empty(t, inventory.Things[0].Foreign)

	require.NoError(t, h2.DiscardReceived(t.Context(), undoIn))
	require.NoError(t, h2.DiscardReceived(t.Context(), undoIn), "again")
	require.Equal(t, empty, h2.world(t))
	require.NoError(t, h1.WithdrawDisks(t.Context(), undoIn))
	require.NoError(t, h1.EndOffer(t.Context(), contract.EndOfferInput{ServerID: server}), "again")
	require.Equal(t, before, h1.world(t))
	require.Error(t, h2.receive(t.Context(), offer))
	require.NoError(t, h2.DiscardReceived(t.Context(), undoIn))
	require.Equal(t, empty, h2.world(t))
}

func TestAServerWhoseImageIsGoneTakesAllOfItsDiskAlong(t *testing.T) {
	h1, h2 := twoPlaces(t)
	whole := offerIn
	whole.Whole = true
	_, err := h1.OfferDisks(t.Context(), whole)
	require.NoError(t, err)
	offer, err := h1.OfferDisks(t.Context(), whole)
	require.NoError(t, err, "again")
	cached, err := h2.o.Cache.Path(h2.root.SHA512)
	require.NoError(t, err)
	require.NoError(t, os.Remove(cached))
	require.NoError(t, h2.receive(t.Context(), offer))
	was, is := filepath.Join(h1.dir, server, "disk"), filepath.Join(h2.dir, server, nextName, "disk")
	run(t, "qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", was, is)
	file, _, err := disk.Backing(is)
	require.NoError(t, err)
	require.Empty(t, file)
	require.NoError(t, h1.WithdrawDisks(t.Context(), undoIn))
	require.NoDirExists(t, filepath.Join(h1.dir, server, transfer.Folder))
}

func TestAGuestThatRunsOrHasNoDiskIsNotOffered(t *testing.T) {
	h1, h2 := twoPlaces(t)
	_, err := h2.OfferDisks(t.Context(), offerIn)
	require.Equal(t, fault.Conflict, fault.KindOf(err), "%v", err)
	require.NoError(t, h1.StartDomain(t.Context(), contract.StartDomainInput{ServerID: server}))
	_, err = h1.OfferDisks(t.Context(), offerIn)
	require.Equal(t, fault.Conflict, fault.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "only while it is off")
	require.NoError(t, h1.PowerOffDomain(t.Context(), undoIn))
	for _, id := range []string{"", "..", "a/b"} {
		in := offerIn
		in.MoveID = id
		_, err = h1.OfferDisks(t.Context(), in)
		require.Equal(t, fault.Invalid, fault.KindOf(err), "%q: %v", id, err)
	}
	alone := newPlace(t)
	alone.fetch(t)
	require.NoError(t, steps[1].do(t.Context(), alone))
	_, err = alone.OfferDisks(t.Context(), offerIn)
	require.ErrorContains(t, err, "host.transfer_listen")
}

// What is offered comes from a host that may be in other hands.
func TestAHostTakesNothingFromAnotherThatLeadsOutOfTheServersDisks(t *testing.T) {
	h1, h2 := twoPlaces(t)
	root := filepath.Join(h1.dir, server, "disk")
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, make([]byte, 1<<20), 0o600))
	empty := h2.world(t)
	for name, c := range map[string]struct {
		disk   func()
		change func(*contract.ReceiveDisksInput)
		kind   fault.Kind
	}{
		"no qcow2": {func() { require.NoError(t, os.WriteFile(root, make([]byte, 1<<20), 0o600)) }, nil, fault.HostUnfit},
		"larger":   {func() { run(t, "qemu-img", "create", "-q", "-f", "qcow2", root, "64T") }, nil, fault.HostUnfit},
		"another format": {func() {
			run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-u", "-F", "qcow2", "-b", secret, root, "1G")
		}, nil, fault.HostUnfit},
		"a data file": {func() {
			run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file="+secret, root, "1G")
		}, nil, fault.HostUnfit},
		"another image beside an offer of none": {func() { run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", secret, root, "1G") },
			func(in *contract.ReceiveDisksInput) { in.Offer.Files[0].Backed = false }, fault.HostUnfit},
		"another name":          {nil, func(in *contract.ReceiveDisksInput) { in.Offer.Files[1].Name = "disk.eph1" }, fault.HostUnfit},
		"the facts":             {nil, func(in *contract.ReceiveDisksInput) { in.Offer.Files[1].Name = "facts.sealed" }, fault.HostUnfit},
		"a larger second disk":  {nil, func(in *contract.ReceiveDisksInput) { in.Offer.Files[1].Bytes++ }, fault.HostUnfit},
		"a disk it has not":     {nil, func(in *contract.ReceiveDisksInput) { in.Disk.EphemeralGiB = 0 }, fault.HostUnfit},
		"what is made anew":     {nil, func(in *contract.ReceiveDisksInput) { in.Offer.Files[1].Name = "disk.swap" }, fault.HostUnfit},
		"no root disk":          {nil, func(in *contract.ReceiveDisksInput) { in.Offer.Files = in.Offer.Files[1:] }, fault.HostUnfit},
		"an image not fetched":  {nil, func(in *contract.ReceiveDisksInput) { in.Disk.Image.SHA512 = h2.kernel.SHA512[:120] + "00000000" }, fault.Unavailable},
		"another host than it":  {nil, func(in *contract.ReceiveDisksInput) { in.From = "h3" }, fault.HostUnfit},
		"another server's disk": {nil, func(in *contract.ReceiveDisksInput) { in.ServerID = "00000000-1378-4288-a2d4-70e13ec132aa" }, fault.Conflict},
	} {
		t.Run(name, func(t *testing.T) {
			if c.disk != nil {
				good := root + ".good"
				require.NoError(t, os.Rename(root, good))
				defer func() { require.NoError(t, os.Rename(good, root)) }()
				c.disk()
			}
			// Not by the step, which refuses some of them itself.
			offer, err := h1.o.Offers.Make(t.Context(), filepath.Dir(root), offerIn, []transfer.Disk{
				{Name: "disk", Path: "disk", Backed: true}, {Name: "disk.eph0", Path: "disk.eph0"},
			})
			require.NoError(t, err)
			id := server
			err = h2.receive(t.Context(), offer, func(in *contract.ReceiveDisksInput) {
				if c.change != nil {
					c.change(in)
				}
				id = in.ServerID
			})
			require.Equal(t, c.kind, fault.KindOf(err), "%v", err)
			require.NoFileExists(t, filepath.Join(h2.dir, id, nextName, "disk"))
			require.NoError(t, h2.DiscardReceived(t.Context(), contract.Undo{ServerID: id}))
			require.Equal(t, empty, h2.world(t))
		})
	}
}

func TestADeletedServersOfferEndsWithItsDisks(t *testing.T) {
	h1, h2 := twoPlaces(t)
	offer, err := h1.OfferDisks(t.Context(), offerIn)
	require.NoError(t, err)
	require.NoError(t, h2.receive(t.Context(), offer))
	require.NoError(t, h1.UndefineDomain(t.Context(), undoIn))
	require.NoError(t, h1.RemoveDisk(t.Context(), undoIn))
	require.NoError(t, h1.RemoveConfigDrive(t.Context(), undoIn))
	require.NoDirExists(t, filepath.Join(h1.dir, server))
	require.NoError(t, h2.RemoveDisk(t.Context(), undoIn))
	require.NoDirExists(t, filepath.Join(h2.dir, server))
}
