package stack

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
)

// insideEnv marks the run of a test inside the mount namespace that alone makes.
const insideEnv = "SLIPWAY_STACK_TEST_INSIDE"

// alone runs the calling test again where /run is empty and its own, and mounts reach nobody: a libvirtd of the machine's is
// not seen there. It returns true in that inner run.
func alone(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideEnv) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("only root starts a libvirtd")
	}
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", `mount -t tmpfs tmpfs /run && exec "$0" "$@"`,
		os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v", "-test.timeout", "5m")
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Fatal("the inner run did not run")
	}
	return false
}

func TestALibvirtdOfOurOwnRunsGuestsOutlivesItsStarterAndIsStoppedByPid(t *testing.T) {
	if !alone(t) {
		return
	}
	dir := clusterDir(t)
	links := func() string {
		out, err := exec.Command("ip", "-br", "link").Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	before := links()
	ours := LibvirtOptions{Dir: dir, Reaper: reaper(t)}
	first, err := EnsureLibvirt(t.Context(), ours)
	if err != nil {
		t.Fatal(err)
	}
	if !first.Started || first.Netns() == "" {
		t.Fatalf("got %+v, want one started here in a namespace of its own", first)
	}
	rec, _ := first.record()
	t.Cleanup(func() { _ = rec.Libvirtd.stop(context.Background()); _ = rec.Virtlogd.stop(context.Background()) })
	first.Release()
	if !rec.Libvirtd.alive() {
		t.Fatal("libvirtd ended with its starter")
	}

	second, err := EnsureLibvirt(t.Context(), ours)
	if err != nil {
		t.Fatal(err)
	}
	if now, _ := second.record(); now != rec || !second.Started || second.Netns() != first.Netns() {
		t.Fatalf("second start: %+v, record %+v, want the first one taken over", second, now)
	}

	guest := runGuest(t, second)
	reaping := refTo(parentOf(t, rec.Libvirtd.Pid))
	qemu := second.guests()[0]
	if parent := parentOf(t, qemu); parent != reaping.Pid {
		t.Fatalf("QEMU is left to process %d, which reaps it when it likes; want the reaper %d", parent, reaping.Pid)
	}
	network := namespaceOf(t, qemu)
	if network == namespaceOf(t, os.Getpid()) {
		t.Fatal("the guest is in the machine's network")
	}

	if err := errors.Join(syscall.Kill(rec.Libvirtd.Pid, syscall.SIGKILL), rec.Virtlogd.stop(t.Context())); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for pingLibvirt(t.Context(), second.Socket) != nil || rec.Libvirtd.alive() || second.Pid() == 0 {
		if time.Now().After(deadline) {
			t.Fatal("libvirtd was not started again")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if parent := parentOf(t, qemu); parent != reaping.Pid {
		t.Errorf("QEMU was left to process %d when libvirtd died, want the reaper %d", parent, reaping.Pid)
	}
	if got := namespaceOf(t, second.Pid()); got != network {
		t.Errorf("libvirtd is back in network namespace %s, its guest is in %s", got, network)
	}
	guest()
	ended, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := reaping.wait(ended); err != nil {
		t.Errorf("the reaper has nothing left to reap, and lives (%v)", err)
	}

	now, _ := second.record()
	reaping = refTo(parentOf(t, now.Libvirtd.Pid))
	t.Cleanup(func() { _ = now.Libvirtd.stop(context.Background()); _ = now.Virtlogd.stop(context.Background()) })
	if err := second.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now.Libvirtd.alive() || now.Virtlogd.alive() {
		t.Error("a daemon lives after Stop")
	}
	if err := reaping.wait(ended); err != nil {
		t.Errorf("the reaper outlives libvirtd without guests (%v)", err)
	}
	if _, err := os.Stat(second.run); !os.IsNotExist(err) {
		t.Errorf("%s is left (%v)", second.run, err)
	}
	if after := links(); after != before {
		t.Errorf("the machine's links changed:\n%s\nbefore:\n%s", after, before)
	}
}

func TestLibvirtdsOfTwoFoldersDoNotMeet(t *testing.T) {
	if !alone(t) {
		return
	}
	start := func(dir string) *Libvirt {
		l, err := EnsureLibvirt(t.Context(), LibvirtOptions{Dir: dir, Reaper: reaper(t)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := l.Stop(context.Background()); err != nil {
				t.Error(err)
			}
		})
		return l
	}
	dir := clusterDir(t)
	one, other := start(filepath.Join(dir, "one")), start(filepath.Join(dir, "other"))
	if !one.Started || !other.Started || one.Socket == other.Socket || one.Pid() == other.Pid() {
		t.Fatalf("got %+v and %+v, want one for each folder", one, other)
	}
	if namespaceOf(t, one.Pid()) == namespaceOf(t, other.Pid()) {
		t.Error("both are in one network namespace")
	}
	guest := runGuest(t, one)
	l := connect(t, other)
	domains, _, err := l.ConnectListAllDomains(1, 0)
	if err != nil || len(domains) != 0 {
		t.Errorf("the other folder's libvirtd knows of %v (%v)", domains, err)
	}
	if err := errors.Join(l.Disconnect(), other.Stop(t.Context())); err != nil {
		t.Fatal(err)
	}
	guest()
}

func namespaceOf(t *testing.T, pid int) string {
	t.Helper()
	name, err := os.Readlink(netnsOf(pid))
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func connect(t *testing.T, to *Libvirt) *libvirt.Libvirt {
	t.Helper()
	l := libvirt.NewWithDialer(dialers.NewLocal(dialers.WithSocket(to.Socket)))
	if err := l.ConnectToURI(libvirt.QEMUSystem); err != nil {
		t.Fatal(err)
	}
	return l
}

// runGuest starts an empty guest with a disk owned by root and returns a check that it still runs, which ends it.
func runGuest(t *testing.T, on *Libvirt) (check func()) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "slipway-guest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(dir, "disk")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	l := connect(t, on)
	d, err := l.DomainCreateXML(`<domain type='qemu'><name>slipway-stack-test</name><memory unit='MiB'>64</memory>
		<os><type machine='pc'>hvm</type></os>
		<features><tcg><tb-cache unit='MiB'>32</tb-cache></tcg></features>
		<devices><disk type='file'><source file='`+disk+`'/><target dev='vda' bus='virtio'/></disk>
		<serial type='file'><source path='`+dir+`/console'/></serial></devices></domain>`, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Disconnect(); err != nil {
		t.Fatal(err)
	}
	return func() {
		l := connect(t, on)
		defer l.Disconnect()
		if state, _, err := l.DomainGetState(d, 0); err != nil || libvirt.DomainState(state) != libvirt.DomainRunning {
			t.Errorf("guest is in state %d (%v) after libvirtd was killed, want running", state, err)
		}
		// A new libvirtd answers before it has taken over its guests, and to destroy one in that moment is reported as "not
		// found". A command to the guest's monitor waits for the takeover.
		if _, err := l.QEMUDomainMonitorCommand(d, `{"execute":"query-status"}`, 0); err != nil {
			t.Errorf("libvirtd has lost its guest: %v", err)
		}
		if err := l.DomainDestroy(d); err != nil {
			t.Errorf("destroy the guest: %v%s", err, logTail(filepath.Join(on.dir, "libvirtd.log")))
		}
	}
}
