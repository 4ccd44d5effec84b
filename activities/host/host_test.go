package host

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/disk"
	fakeports "github.com/slipway-cloud/slipway/internal/guest/hostnet/fake"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor/fake"
	"github.com/slipway-cloud/slipway/internal/guest/imagecache"
	"github.com/slipway-cloud/slipway/internal/imageprops"
	"github.com/slipway-cloud/slipway/internal/payload"
)

const server = "83679162-1378-4288-a2d4-70e13ec132aa"

// store gives images by id; slow is how long it waits in the middle.
type store struct {
	images map[string][]byte
	slow   time.Duration
}

func (s store) Open(_ context.Context, id string, offset int64) (io.ReadCloser, int64, error) {
	b, ok := s.images[id]
	if !ok {
		return nil, 0, fault.New(fault.NotFound, "Image %s could not be found.", id)
	}
	r, w := io.Pipe()
	go func() {
		w.Write(b[offset : offset+1])
		time.Sleep(s.slow)
		w.Write(b[offset+1:])
		w.Close()
	}()
	return r, int64(len(b)), nil
}

type place struct {
	*Activities
	hyp    *fake.Hypervisor
	dir    string // the instances folder
	root   contract.Image
	kernel contract.Image
	initrd contract.Image
}

func imageOf(id string, b []byte, format string) contract.Image {
	sum := sha512.Sum512(b)
	return contract.Image{ID: id, SHA512: hex.EncodeToString(sum[:]), SizeBytes: int64(len(b)), DiskFormat: format}
}

// newPlace is a host whose root image is a 16 MiB ext4 filesystem.
func newPlace(t testing.TB, change ...func(*Options, *store)) *place {
	t.Helper()
	tmp := t.TempDir()
	tree, image := filepath.Join(tmp, "tree"), filepath.Join(tmp, "fs")
	require.NoError(t, os.MkdirAll(filepath.Join(tree, "etc"), 0o755))
	out, err := exec.Command("mkfs.ext4", "-q", "-d", tree, image, "16M").CombinedOutput()
	require.NoError(t, err, "%s", out)
	root, err := os.ReadFile(image)
	require.NoError(t, err)
	p := &place{dir: filepath.Join(tmp, "instances")}
	kernel, initrd := []byte("MZ a kernel"), []byte("070701 a ramdisk")
	p.root, p.kernel, p.initrd = imageOf("root", root, "raw"), imageOf("kernel", kernel, "aki"), imageOf("initrd", initrd, "ari")
	s := &store{images: map[string][]byte{"root": root, "kernel": kernel, "initrd": initrd}}
	p.hyp, err = fake.New(fake.Options{})
	require.NoError(t, err)
	ports, err := fakeports.New(filepath.Join(tmp, "ports"))
	require.NoError(t, err)
	o := Options{Hostname: "h1", InstancesDir: p.dir, Hypervisor: p.hyp, Keys: keysOf(t, tmp), Ports: ports, PlugPatience: time.Second, PlugFatal: true}
	for _, c := range change {
		c(&o, s)
	}
	o.Cache, err = imagecache.New(imagecache.Options{Dir: filepath.Join(tmp, "cache"), InstancesDir: p.dir, Source: s})
	require.NoError(t, err)
	p.Activities, err = New(o)
	require.NoError(t, err)
	return p
}

func (p *place) fetch(t testing.TB) {
	t.Helper()
	_, err := p.FetchImage(t.Context(), contract.FetchImageInput{ServerID: server, Images: []contract.Image{p.root, p.kernel, p.initrd}})
	require.NoError(t, err)
}

// made is whether disks were built.
func made(_ contract.InjectedData, err error) error { return err }

func (p *place) metadata() contract.InstanceMetadata {
	return contract.InstanceMetadata{ServerID: server, Name: "web", Hostname: "web", Files: []contract.File{{Path: "/etc/motd", Contents: []byte("hello")}}}
}

func (p *place) define() contract.DefineDomainInput {
	facts := p.facts("web")
	in := facts.Domain()
	in.Facts = &facts
	return in
}

// facts are those of a server of a name.
func (p *place) facts(name string) contract.ServerFacts {
	return contract.ServerFacts{
		Server: contract.Server{ServerID: server, ProjectID: "p", Name: name, ConfigDrive: true},
		Spec: contract.ServerSpec{
			Flavor:   contract.Flavor{VCPUs: 2, RAMMiB: 512, DiskGiB: 1, EphemeralGiB: 1, SwapMiB: 16},
			Image:    contract.ResolvedImage{Root: p.root, Kernel: &p.kernel, Ramdisk: &p.initrd},
			UserData: []byte("the password is hunter2"),
		},
		Ports: []contract.Port{{ID: "port", MAC: "fa:16:3e:00:00:01", Bridge: "br1", MTU: 1450}},
	}
}

// keysOf are the payload keys of a folder.
func keysOf(t testing.TB, dir string) *payload.Keys {
	t.Helper()
	keys, err := openKeys(dir)
	require.NoError(t, err)
	return keys
}

func openKeys(dir string) (*payload.Keys, error) {
	path := filepath.Join(dir, "payload-keys")
	if err := payload.EnsureKeys(path); err != nil {
		return nil, err
	}
	return payload.LoadKeys(path)
}

// world is every file below the instances folder with its size, every domain and every port that is plugged.
func (p *place) world(t testing.TB) map[string]any {
	t.Helper()
	w := map[string]any{}
	require.NoError(t, filepath.WalkDir(p.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if d.IsDir() {
			w[path] = "folder"
			return nil
		}
		w[path] = info.Size()
		return nil
	}))
	for id, r := range p.hyp.Snapshot() {
		w["domain "+id] = r
	}
	plugged, err := p.o.Ports.List(t.Context())
	require.NoError(t, err)
	for _, port := range plugged {
		w["port "+port.Tap] = port
	}
	return w
}

type step struct {
	name string
	do   func(ctx context.Context, p *place) error
	undo func(ctx context.Context, p *place) error
	// after is what the do makes, below the server's folder.
	after []string
}

var undoIn = contract.Undo{ServerID: server, Hostname: "h1"}

var steps = []step{
	{"BuildConfigDrive", func(ctx context.Context, p *place) error {
		return p.BuildConfigDrive(ctx, contract.BuildConfigDriveInput{ServerID: server, Format: "iso9660", Metadata: p.metadata()})
	}, func(ctx context.Context, p *place) error { return p.RemoveConfigDrive(ctx, undoIn) }, []string{"disk.config"}},
	{"BuildDisk", func(ctx context.Context, p *place) error {
		return made(p.BuildDisk(ctx, contract.BuildDiskInput{ServerID: server, Image: p.root, RootGiB: 1, EphemeralGiB: 1, SwapMiB: 16, Grow: true}))
	}, func(ctx context.Context, p *place) error { return p.RemoveDisk(ctx, undoIn) }, []string{"disk", "disk.eph0", "disk.swap"}},
	{"DefineDomain", func(ctx context.Context, p *place) error {
		return p.DefineDomain(ctx, p.define())
	}, func(ctx context.Context, p *place) error { return p.UndefineDomain(ctx, undoIn) }, []string{"kernel", "ramdisk"}},
	{"StartDomain", func(ctx context.Context, p *place) error {
		if err := p.StartDomain(ctx, contract.StartDomainInput{ServerID: server}); err != nil {
			return err
		}
		// What virtlogd would do.
		for _, name := range []string{"console.log", "console.log.0"} {
			if err := os.WriteFile(filepath.Join(p.dir, server, name), []byte("booting\n"), 0o600); err != nil {
				return err
			}
		}
		return nil
	}, func(ctx context.Context, p *place) error { return p.DestroyDomain(ctx, undoIn) }, []string{"console.log", "console.log.0"}},
}

func TestEveryStepMayBeDoneTwiceAndUndoneTwiceAndLeavesTheWorldAsItWas(t *testing.T) {
	p := newPlace(t)
	p.fetch(t)
	var before []map[string]any
	for _, s := range steps {
		before = append(before, p.world(t))
		require.NoError(t, s.undo(t.Context(), p), "%s: undo of what never happened", s.name)
		require.Equal(t, before[len(before)-1], p.world(t), s.name)
		require.NoError(t, s.do(t.Context(), p), s.name)
		for _, f := range s.after {
			require.FileExists(t, filepath.Join(p.dir, server, f))
		}
		after := p.world(t)
		require.NoError(t, s.do(t.Context(), p), "%s: do again", s.name)
		require.Equal(t, after, p.world(t), s.name)
		if s.name == "DefineDomain" || s.name == "StartDomain" {
			continue // undone below, in order
		}
		require.NoError(t, s.undo(t.Context(), p), s.name)
		require.Equal(t, before[len(before)-1], p.world(t), "%s: undo", s.name)
		require.NoError(t, s.do(t.Context(), p), "%s: do after undo", s.name)
		require.Equal(t, after, p.world(t), s.name)
	}
	for i := len(steps) - 1; i >= 0; i-- {
		require.NoError(t, steps[i].undo(t.Context(), p), steps[i].name)
		require.NoError(t, steps[i].undo(t.Context(), p), "%s: undo again", steps[i].name)
		require.Equal(t, before[i], p.world(t), steps[i].name)
	}
	require.NoDirExists(t, filepath.Join(p.dir, server))
	require.Empty(t, p.servers, "no turn is left behind")
}

func TestAServersFilesAreOpenToNobodyElse(t *testing.T) {
	p := newPlace(t)
	p.fetch(t)
	for _, s := range steps {
		require.NoError(t, s.do(t.Context(), p), s.name)
	}
	dir := filepath.Join(p.dir, server)
	st, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.ModeDir|0o711, st.Mode(), "QEMU's user passes it and cannot list it")
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		info, err := f.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode(), f.Name())
	}
}

func TestUndosInAnyOrderLeaveNoFolder(t *testing.T) {
	p := newPlace(t)
	p.fetch(t)
	for shift := range steps {
		for _, s := range steps {
			require.NoError(t, s.do(t.Context(), p), s.name)
		}
		for i := range steps {
			require.NoError(t, steps[(i+shift)%len(steps)].undo(t.Context(), p))
		}
		require.Equal(t, map[string]any{p.dir: "folder"}, p.world(t))
	}
}

func TestTheDomainIsWhatWasAskedFor(t *testing.T) {
	p := newPlace(t)
	p.fetch(t)
	require.NoError(t, p.DefineDomain(t.Context(), p.define()))
	in := func(name string) string { return filepath.Join(p.dir, server, name) }
	require.Equal(t, hypervisor.Domain{
		UUID: server, Name: "slipway-" + server, Title: "web", ProjectID: "p", VCPUs: 2, MemoryMiB: 512,
		Boot: hypervisor.Boot{Kernel: in("kernel"), Ramdisk: in("ramdisk"), CmdLine: "root=/dev/vda console=ttyS0"},
		Disks: []hypervisor.Disk{
			{Path: in("disk"), Format: "qcow2", Role: hypervisor.RootDisk, Device: "disk", Serial: "root", BootOrder: 1},
			{Path: in("disk.eph0"), Format: "raw", Role: hypervisor.EphemeralDisk, Device: "disk", Serial: "ephemeral"},
			{Path: in("disk.swap"), Format: "raw", Role: hypervisor.SwapDisk, Device: "disk", Serial: "swap"},
			{Path: in("disk.config"), Format: "raw", Role: hypervisor.ConfigDisk, Device: "cdrom"},
		},
		NICs:       []hypervisor.NIC{{MAC: "fa:16:3e:00:00:01", Bridge: "br1", MTU: 1450, PortID: "port"}},
		ConsoleLog: in("console.log"),
		Hardware:   imageprops.Hardware{RNG: imageprops.RNG{Present: true}},
	}, p.hyp.Snapshot()[server].Domain)

	mapped := p.define()
	mapped.Image.BlockDevices = []contract.BlockDevice{
		{Role: contract.RootDisk, BootOrder: 1, Bus: "scsi", Path: "/dev/sda"},
		{Role: contract.EphemeralDisk, MiB: 512, Format: "ext2", BootOrder: 2},
		{Role: contract.EphemeralDisk, MiB: 256, Device: "cdrom"},
	}
	mapped.Image.RootDevice = "/dev/sda"
	require.NoError(t, made(p.BuildDisk(t.Context(), contract.BuildDiskInput{ServerID: server, Image: p.root, EphemeralGiB: 1, SwapMiB: 16, BlockDevices: mapped.Image.BlockDevices})))
	require.NoError(t, p.DefineDomain(t.Context(), mapped))
	d := p.hyp.Snapshot()[server].Domain
	require.Equal(t, []hypervisor.Disk{
		{Path: in("disk.eph0"), Format: "raw", Role: hypervisor.EphemeralDisk, Device: "disk", Serial: "ephemeral", BootOrder: 2},
		{Path: in("disk.eph1"), Format: "raw", Role: hypervisor.EphemeralDisk, Device: "cdrom", Serial: "ephemeral1"},
		{Path: in("disk.config"), Format: "raw", Role: hypervisor.ConfigDisk, Device: "cdrom"},
	}, d.Disks[1:])
	require.Equal(t, "scsi", d.Disks[0].Bus)
	require.Equal(t, "root=/dev/sda console=ttyS0", d.Boot.CmdLine)
	for name, mib := range map[string]int64{"disk.eph0": 512, "disk.eph1": 256} {
		st, err := os.Stat(in(name))
		require.NoError(t, err)
		require.Equal(t, mib<<20, st.Size())
	}
	require.NoFileExists(t, in("disk.swap"), "what was asked for has none")
	require.NoError(t, p.UndefineDomain(t.Context(), contract.Undo{ServerID: server}))
	require.NoError(t, p.RemoveDisk(t.Context(), contract.Undo{ServerID: server}))

	other := p.define()
	other.Format = "vfat"
	other.Image.Root.DiskFormat = "iso"
	other.Image.Root.Properties = map[string]string{"os_command_line": "quiet root=LABEL=x", "hw_disk_bus": "scsi"}
	other.Flavor.ExtraSpecs = map[string]string{"hw_rng:allowed": "False"}
	require.NoError(t, p.DefineDomain(t.Context(), other))
	d = p.hyp.Snapshot()[server].Domain
	require.Equal(t, "quiet root=LABEL=x", d.Boot.CmdLine)
	require.Equal(t, imageprops.Hardware{DiskBus: "scsi"}, d.Hardware, "the flavor allows no source of random bytes")
	require.Equal(t, "cdrom", d.Disks[0].Device)
	require.Equal(t, "disk", d.Disks[3].Device, "a vfat config drive is a disk")
	delete(other.Image.Root.Properties, "os_command_line")
	require.NoError(t, p.DefineDomain(t.Context(), other))
	require.Equal(t, "root=/dev/sda console=ttyS0", p.hyp.Snapshot()[server].Domain.Boot.CmdLine)
}

func TestDataIsInjectedIntoTheDisk(t *testing.T) {
	p := newPlace(t)
	p.fetch(t)
	require.NoError(t, made(p.BuildDisk(t.Context(), contract.BuildDiskInput{ServerID: server, Image: p.root})))
	for range 2 {
		injected, err := p.InjectData(t.Context(), contract.InjectDataInput{ServerID: server, Metadata: p.metadata()})
		require.NoError(t, err)
		require.Empty(t, injected.Notes)
	}
	md := p.metadata()
	md.AdminPass = "secret"
	injected, err := p.InjectData(t.Context(), contract.InjectDataInput{ServerID: server, Metadata: md})
	require.NoError(t, err, "a password is not owed")
	require.Len(t, injected.Notes, 1)
	require.Regexp(t, "^the admin password not injected: .*/etc/shadow", injected.Notes[0])
	raw := filepath.Join(t.TempDir(), "raw")
	out, err := exec.Command("qemu-img", "convert", "-f", "qcow2", "-O", "raw", filepath.Join(p.dir, server, "disk"), raw).CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command("debugfs", "-R", "cat /etc/motd", raw).Output()
	require.NoError(t, err)
	require.Equal(t, "hello", string(out))
	require.NoError(t, p.RemoveDisk(t.Context(), undoIn))
	require.NoDirExists(t, filepath.Join(p.dir, server))
}

func TestADiskThatIsTooSmallForTheImageIsRefusedAndItsUndoCleansUp(t *testing.T) {
	big := qcow2(t, "2G")
	p := newPlace(t, func(_ *Options, s *store) { s.images["big"] = big })
	image := imageOf("big", big, "qcow2")
	_, err := p.BuildDisk(t.Context(), contract.BuildDiskInput{ServerID: server, Image: image, RootGiB: 1})
	require.True(t, fault.Is(err, fault.Invalid), "%v", err)
	require.ErrorContains(t, err, "larger flavor")
	require.NoError(t, p.RemoveDisk(t.Context(), undoIn))
	require.Equal(t, map[string]any{p.dir: "folder"}, p.world(t))
}

func qcow2(t testing.TB, size string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", path, size).CombinedOutput()
	require.NoError(t, err, "%s", out)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

func TestAFullHostSaysSoAndIsCleanAfterTheUndo(t *testing.T) {
	small := testenv.SmallDisk(t, "64k")
	p := newPlace(t, func(o *Options, _ *store) { o.InstancesDir = filepath.Join(small, "instances") })
	p.dir = filepath.Join(small, "instances")
	p.fetch(t)
	for _, s := range steps[:2] {
		t.Run(s.name, func(t *testing.T) {
			err := s.do(t.Context(), p)
			require.True(t, fault.Is(err, fault.HostUnfit), "%v", err)
			require.ErrorContains(t, err, "the host's disk is full")
			require.NoError(t, s.undo(t.Context(), p))
			require.Equal(t, map[string]any{p.dir: "folder"}, p.world(t))
		})
	}
}

func TestAnIdThatIsNoUUIDNeverBecomesAPath(t *testing.T) {
	p := newPlace(t)
	for _, id := range []string{"", ".", "..", "../../etc", "x", "{" + server + "}", strings.ToUpper(server), "urn:uuid:" + server, strings.ReplaceAll(server, "-", "")} {
		undo := contract.Undo{ServerID: id}
		_, inject := p.InjectData(t.Context(), contract.InjectDataInput{ServerID: id})
		for name, err := range map[string]error{
			"BuildDisk": made(p.BuildDisk(t.Context(), contract.BuildDiskInput{ServerID: id})), "RemoveDisk": p.RemoveDisk(t.Context(), undo),
			"BuildConfigDrive": p.BuildConfigDrive(t.Context(), contract.BuildConfigDriveInput{ServerID: id}), "RemoveConfigDrive": p.RemoveConfigDrive(t.Context(), undo),
			"InjectData":   inject,
			"DefineDomain": p.DefineDomain(t.Context(), contract.DefineDomainInput{ServerID: id}), "UndefineDomain": p.UndefineDomain(t.Context(), undo),
			"StartDomain": p.StartDomain(t.Context(), contract.StartDomainInput{ServerID: id}), "DestroyDomain": p.DestroyDomain(t.Context(), undo),
		} {
			require.True(t, fault.Is(err, fault.Invalid), "%s %q: %v", name, id, err)
		}
		_, err := p.ReadConsoleLog(t.Context(), contract.ConsoleInput{ServerID: id})
		require.True(t, fault.Is(err, fault.Invalid))
	}
	require.Equal(t, map[string]any{p.dir: "folder"}, p.world(t))
}

func TestTheHypervisorsFailuresPassUnchangedAndUndosKeepTheirFilesUntilItAnswers(t *testing.T) {
	down := fault.New(fault.Unavailable, "libvirt does not answer")
	broken := false
	p := newPlace(t, func(o *Options, _ *store) {
		h, err := fake.New(fake.Options{Before: func(context.Context, string, string) error {
			if broken {
				return down
			}
			return nil
		}})
		require.NoError(t, err)
		o.Hypervisor = h
	})
	p.hyp = p.o.Hypervisor.(*fake.Hypervisor)
	p.fetch(t)
	for _, s := range steps {
		require.NoError(t, s.do(t.Context(), p), s.name)
	}
	broken = true
	before := p.world(t)
	for _, s := range steps[2:] {
		require.ErrorIs(t, s.do(t.Context(), p), down)
		require.ErrorIs(t, s.undo(t.Context(), p), down)
	}
	require.Equal(t, before, p.world(t))
}

func TestAnUndoWaitsForADoThatOutlivedItsAttemptButNotForever(t *testing.T) {
	p := newPlace(t)
	_, leave, err := p.make(t.Context(), server)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.True(t, fault.Is(p.RemoveDisk(ctx, undoIn), fault.Unavailable))
	done := make(chan error, 1)
	go func() { done <- p.RemoveDisk(context.WithoutCancel(t.Context()), undoIn) }()
	leave()
	require.NoError(t, <-done)
	require.Empty(t, p.servers)
}

// The engine may begin an undo while the do's first attempt, of which it had not heard any more, still works.
func TestTheUndoOfAStartWaitsForTheStart(t *testing.T) {
	p := newPlace(t)
	p.fetch(t)
	require.NoError(t, p.DefineDomain(t.Context(), p.define()))
	_, leave, err := p.make(t.Context(), server)
	require.NoError(t, err)
	started := make(chan error, 1)
	go func() { started <- p.StartDomain(t.Context(), contract.StartDomainInput{ServerID: server}) }()
	select {
	case err := <-started:
		t.Fatalf("it started beside another step of the same server: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	leave()
	require.NoError(t, <-started)
}

func TestAHostWithoutItsFolderForServersIsUnfit(t *testing.T) {
	p := newPlace(t)
	require.NoError(t, os.Remove(p.dir))
	err := p.BuildConfigDrive(t.Context(), contract.BuildConfigDriveInput{ServerID: server, Metadata: p.metadata()})
	require.True(t, fault.Is(err, fault.HostUnfit), "%v", err)
	require.NoError(t, p.RemoveConfigDrive(t.Context(), undoIn), "its undo has nothing to do")
}

func TestADownloadBeatsItsHeartWithItsProgress(t *testing.T) {
	p := newPlace(t, func(_ *Options, s *store) { s.slow = 1500 * time.Millisecond })
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.RegisterActivity(p.FetchImage)
	var beats []contract.FetchProgress
	env.SetOnActivityHeartbeatListener(func(_ *activity.Info, details converter.EncodedValues) {
		var b contract.FetchProgress
		if err := details.Get(&b); err != nil {
			t.Error(err)
		}
		beats = append(beats, b)
	})
	v, err := env.ExecuteActivity(p.FetchImage, contract.FetchImageInput{ServerID: server, Images: []contract.Image{p.root}})
	require.NoError(t, err)
	var out contract.FetchImageOutput
	require.NoError(t, v.Get(&out))
	require.Equal(t, p.root.SizeBytes, out.DownloadedBytes)
	require.NotEmpty(t, beats)
	require.Equal(t, "root", beats[0].ImageID)
	require.Equal(t, p.root.SizeBytes, beats[0].Total)
}

func TestAnImageThatIsGoneIsNotFound(t *testing.T) {
	p := newPlace(t)
	_, err := p.FetchImage(t.Context(), contract.FetchImageInput{ServerID: server, Images: []contract.Image{imageOf("gone", []byte("x"), "raw")}})
	require.True(t, fault.Is(err, fault.NotFound))
}

func TestAFullCopyLeansOnNoImage(t *testing.T) {
	p := newPlace(t, func(o *Options, _ *store) { o.FullCopy = true })
	require.NoError(t, made(p.BuildDisk(t.Context(), contract.BuildDiskInput{ServerID: server, Image: p.root})), "fetched on the way where the cache lost it")
	backing, _, err := disk.Backing(filepath.Join(p.dir, server, "disk"))
	require.NoError(t, err)
	require.Empty(t, backing)
}

func TestTheEndOfTheConsoleIsRead(t *testing.T) {
	p := newPlace(t)
	dir := filepath.Join(p.dir, server)
	read := func(lines int) string {
		text, err := p.ReadConsoleLog(t.Context(), contract.ConsoleInput{ServerID: server, Lines: lines})
		require.NoError(t, err)
		return text
	}
	require.Empty(t, read(0), "nothing was printed yet")
	require.NoError(t, os.Mkdir(dir, 0o755))
	write := func(name string, b []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
	write("console.log", []byte("one\ntwo\nthree\n"))
	require.Equal(t, "one\ntwo\nthree\n", read(0))
	require.Equal(t, "two\nthree\n", read(2))
	require.Equal(t, "one\ntwo\nthree\n", read(100))
	write("console.log", []byte("one\ntwo"))
	require.Equal(t, "two", read(1))
	write("console.log.0", []byte("zero\n"))
	require.Equal(t, "zero\none\ntwo", read(0), "a rotated log comes before")

	write("console.log", append(bytes.Repeat([]byte("\xff\xfe"), contract.ConsoleMaxBytes), "end\n"...))
	text := read(0)
	require.LessOrEqual(t, len(text), contract.ConsoleMaxBytes)
	require.True(t, strings.HasSuffix(text, "end\n"))
	require.Equal(t, text, strings.ToValidUTF8(text, ""))

	require.NoError(t, os.Remove(filepath.Join(dir, "console.log")))
	require.NoError(t, os.Symlink("/etc/shadow", filepath.Join(dir, "console.log")))
	_, err := p.ReadConsoleLog(t.Context(), contract.ConsoleInput{ServerID: server})
	require.Error(t, err, "a link is not followed")
	require.False(t, errors.Is(err, fs.ErrNotExist))
}
