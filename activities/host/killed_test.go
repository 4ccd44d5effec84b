package host

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	fakeports "github.com/slipway-cloud/slipway/internal/guest/hostnet/fake"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor/fake"
	"github.com/slipway-cloud/slipway/internal/guest/imagecache"
)

// asHost makes the test's binary a host that does one step: its value is a killedHost.
const asHost = "SLIPWAY_TEST_HOST"

func TestMain(m *testing.M) {
	if text := os.Getenv(asHost); text != "" {
		if err := doOneStep(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// killedHost is a host whose process may end at any moment: all that it knows lies in its folder.
type killedHost struct {
	Dir                  string
	Root, Kernel, Initrd contract.Image
	Images               map[string]string // files, by image
	Step                 string
	Slow                 time.Duration
}

// open is the host after a restart.
func (k killedHost) open() (*place, error) {
	p := &place{dir: filepath.Join(k.Dir, "instances"), root: k.Root, kernel: k.Kernel, initrd: k.Initrd}
	s := store{images: map[string][]byte{}, slow: k.Slow}
	var err error
	for id, path := range k.Images {
		if s.images[id], err = os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	if p.hyp, err = fake.New(fake.Options{Dir: filepath.Join(k.Dir, "fake")}); err != nil {
		return nil, err
	}
	keys, err := openKeys(k.Dir)
	if err != nil {
		return nil, err
	}
	ports, err := fakeports.New(filepath.Join(k.Dir, "ports"))
	if err != nil {
		return nil, err
	}
	o := Options{Hostname: "h1", InstancesDir: p.dir, Hypervisor: p.hyp, Keys: keys, Ports: ports, PlugPatience: time.Second, PlugFatal: true, Logger: slog.New(slog.DiscardHandler)}
	if o.Cache, err = imagecache.New(imagecache.Options{Dir: filepath.Join(k.Dir, "cache"), InstancesDir: p.dir, Source: s}); err != nil {
		return nil, err
	}
	p.Activities, err = New(o)
	return p, err
}

func (k killedHost) mustOpen(t *testing.T) *place {
	t.Helper()
	p, err := k.open()
	require.NoError(t, err)
	return p
}

// fetchStep stands beside the table: a download has no undo.
var fetchStep = step{"FetchImage", func(ctx context.Context, p *place) error {
	for _, image := range []contract.Image{p.root, p.kernel, p.initrd} {
		if _, _, err := p.o.Cache.Fetch(ctx, image, nil); err != nil {
			return err
		}
	}
	return nil
}, func(context.Context, *place) error { return nil }, nil}

// injectStep needs the disk that BuildDisk makes, and is undone with it.
var injectStep = step{"InjectData", func(ctx context.Context, p *place) error {
	_, err := p.InjectData(ctx, contract.InjectDataInput{ServerID: server, Metadata: p.metadata()})
	return err
}, func(ctx context.Context, p *place) error { return p.RemoveDisk(ctx, undoIn) }, nil}

func stepNamed(name string) step {
	all := slices.Concat([]step{fetchStep, injectStep, plugStep}, steps, rebuildSteps, rescueSteps, resizeSteps)
	return all[slices.IndexFunc(all, func(s step) bool { return s.name == name })]
}

func doOneStep(text string) error {
	var k killedHost
	if err := json.Unmarshal([]byte(text), &k); err != nil {
		return err
	}
	p, err := k.open()
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return stepNamed(k.Step).do(context.Background(), p)
}

// kill does the step in a process of its own, ends that with SIGKILL after a while, and gives how long the step took where
// it was not cut off. The process alone is killed: what it started has to die by itself.
func (k killedHost) kill(t *testing.T, after time.Duration) (took time.Duration) {
	t.Helper()
	text, err := json.Marshal(k)
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	host := exec.Command(self)
	host.Env = append(os.Environ(), asHost+"="+string(text))
	var complaint strings.Builder
	host.Stderr = &complaint
	out, err := host.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, host.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = host.Wait()
		t.Fatalf("%v: %s", err, complaint.String())
	}
	require.Equal(t, "ready\n", line)
	began := time.Now()
	deadly := time.AfterFunc(after, func() { _ = host.Process.Signal(syscall.SIGKILL) })
	defer deadly.Stop()
	if err := host.Wait(); err != nil && host.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("%v: %s", err, complaint.String())
	}
	return time.Since(began)
}

// names are the paths of a world: two builds' disks need not have the same bytes.
func names(world map[string]any) []string { return slices.Sorted(maps.Keys(world)) }

// present are they without what is to follow: whether that is there still, its own undo does not ask.
func present(world map[string]any) []string {
	return slices.DeleteFunc(names(world), func(name string) bool {
		return strings.Contains(name, "/"+nextName) || strings.Contains(name, "/"+rescueName)
	})
}

func mounts(t *testing.T, below string) []string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	var found []string
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); strings.HasPrefix(fields[4], below) {
			found = append(found, fields[4])
		}
	}
	return found
}

// A host's process is killed again and again on the way through each step. The restarted host undoes the step at once, or
// does it again; either leaves what an undisturbed host would have left, and no program of the dead one adds to it.
func TestWhateverAKilledHostLeavesIsUndoneOrDoneAgain(t *testing.T) {
	template := newPlace(t)
	home := filepath.Dir(template.dir)
	base := killedHost{Root: template.root, Kernel: template.kernel, Initrd: template.initrd, Images: map[string]string{
		"root": filepath.Join(home, "fs"), "kernel": filepath.Join(home, "kernel"), "initrd": filepath.Join(home, "initrd"),
	}}
	require.NoError(t, os.WriteFile(base.Images["kernel"], []byte("MZ a kernel"), 0o600))
	require.NoError(t, os.WriteFile(base.Images["initrd"], []byte("070701 a ramdisk"), 0o600))

	const kills = 6
	for _, c := range []struct {
		step   string
		before []step // what the build has done when it comes to the step
		slow   time.Duration
		keeps  bool // its own undo leaves what was done before it
	}{
		{step: "FetchImage", slow: 30 * time.Millisecond},
		{step: "BuildConfigDrive", before: []step{fetchStep}},
		{step: "BuildDisk", before: []step{fetchStep}},
		{step: "InjectData", before: []step{fetchStep, stepNamed("BuildDisk")}},
		{step: "PlugPort", before: []step{fetchStep}},
		{step: "DefineDomain", before: []step{fetchStep}},
		{step: "StartDomain", before: []step{fetchStep, stepNamed("DefineDomain")}},
		{step: "BuildReplacement", before: slices.Concat([]step{fetchStep}, steps[:3]), keeps: true},
		{step: "ReplaceGuest", before: slices.Concat([]step{fetchStep}, steps[:3], rebuildSteps[:1]), keeps: true},
		{step: "BuildResized", before: slices.Concat([]step{fetchStep}, steps[:3]), keeps: true},
		{step: "RevertGuest", before: slices.Concat([]step{fetchStep}, steps[:3], resizeSteps[:2]), keeps: true},
		{step: "EnterRescue", before: slices.Concat([]step{fetchStep}, steps[:3], rescueSteps[:1]), keeps: true},
	} {
		t.Run(c.step, func(t *testing.T) {
			k, s := base, stepNamed(c.step)
			k.Dir, k.Step, k.Slow = t.TempDir(), c.step, c.slow
			prepared := func() *place {
				p := k.mustOpen(t)
				for _, before := range c.before {
					require.NoError(t, before.do(t.Context(), p), before.name)
				}
				return p
			}
			empty := k.mustOpen(t).world(t)
			p := prepared()
			ready := present(p.world(t))
			require.NoError(t, s.do(t.Context(), p))
			whole := names(p.world(t))
			clear := func(p *place) {
				for _, undo := range slices.Backward(append(slices.Clone(c.before), s)) {
					require.NoError(t, undo.undo(t.Context(), p), undo.name)
				}
				require.Equal(t, empty, p.world(t))
				require.Empty(t, mounts(t, k.Dir))
				left, err := filepath.Glob(filepath.Join(k.Dir, "fake", "*"))
				require.NoError(t, err)
				require.Empty(t, left)
			}
			clear(p)

			prepared()
			took := k.kill(t, time.Hour)
			for i := range kills {
				p := k.mustOpen(t)
				if c.keeps {
					require.NoError(t, s.undo(t.Context(), p))
					require.Equal(t, ready, present(p.world(t)), "what was there before is there again")
				}
				clear(p)
				if c.step == "FetchImage" {
					require.NoError(t, os.RemoveAll(filepath.Join(k.Dir, "cache")))
				}
				prepared()
				k.kill(t, took*time.Duration(i)/kills)
				p = k.mustOpen(t) // the restarted host
				if i%2 == 0 {
					continue // undone at the top
				}
				require.NoError(t, s.do(t.Context(), p), "done again")
				require.Equal(t, whole, names(p.world(t)))
				require.Empty(t, mounts(t, k.Dir))
				parts, err := filepath.Glob(filepath.Join(k.Dir, "cache", "*.part"))
				require.NoError(t, err)
				require.Empty(t, parts)
			}
			clear(k.mustOpen(t))
		})
	}
}

func TestUndosAtTheSameMomentAgree(t *testing.T) {
	p := newPlace(t)
	p.fetch(t)
	for range 3 {
		for _, s := range steps {
			require.NoError(t, s.do(t.Context(), p), s.name)
		}
		var undos sync.WaitGroup
		for range 3 {
			for _, s := range steps {
				undos.Go(func() {
					if err := s.undo(t.Context(), p); err != nil {
						t.Errorf("%s: %v", s.name, err)
					}
				})
			}
		}
		undos.Wait()
		require.Equal(t, map[string]any{p.dir: "folder"}, p.world(t))
	}
}

func TestAKernelThatWasCutOffOrWrittenIsReplacedOrRemoved(t *testing.T) {
	p := newPlace(t)
	p.fetch(t)
	kernel := filepath.Join(p.dir, server, kernelName)
	require.NoError(t, os.MkdirAll(filepath.Dir(kernel), 0o755))
	for range 2 {
		require.NoError(t, os.WriteFile(kernel, []byte("written by a guest"), 0o600))
		require.NoError(t, os.WriteFile(kernel+part, []byte("half a ker"), 0o600))
		require.NoError(t, p.DefineDomain(t.Context(), p.define()))
		require.NoFileExists(t, kernel+part)
		text, err := os.ReadFile(kernel)
		require.NoError(t, err)
		require.Equal(t, "MZ a kernel", string(text))
	}
	require.NoError(t, os.WriteFile(kernel+part, []byte("half a ker"), 0o600))
	require.NoError(t, p.UndefineDomain(t.Context(), undoIn))
	require.NoDirExists(t, filepath.Join(p.dir, server))
}
