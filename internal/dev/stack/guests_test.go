package stack

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestGuestsLieWhereQEMUsUserReachesThem(t *testing.T) {
	owner, ok := qemuOwner()
	if !ok || os.Geteuid() != 0 {
		t.Fatal("this test wants root and libvirt's packages")
	}
	open := clusterDir(t)
	at := filepath.Join(open, "host")
	if got, err := PlaceGuests(at); err != nil || got != at {
		t.Fatalf("got %s (%v), want the folder itself", got, err)
	}

	closed := filepath.Join(open, "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	at = filepath.Join(closed, "host")
	first, err := PlaceGuests(at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(first) })
	if first == at || !reachable(first, owner) {
		t.Fatalf("got %s, which QEMU's user cannot reach", first)
	}
	if again, err := PlaceGuests(at); err != nil || again != first {
		t.Fatalf("the second time: %s (%v), want %s", again, err, first)
	}
	if err := os.WriteFile(filepath.Join(at, "disk"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := PurgeGuests(at); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{at, first} {
		if _, err := os.Lstat(gone); !os.IsNotExist(err) {
			t.Errorf("%s is left (%v)", gone, err)
		}
	}
	if err := PurgeGuests(at); err != nil {
		t.Error("there is nothing to purge:", err)
	}

	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(at, "disk"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := PlaceGuests(at); err == nil || !strings.Contains(err.Error(), "chmod o+x") {
		t.Errorf("got %v, want what to do with the disks that lie there", err)
	}
	if err := PurgeGuests(at); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(at, "disk")); err != nil {
		t.Error("what lies in the folder itself is not this function's:", err)
	}
	elsewhere := filepath.Join(closed, "link")
	if err := os.Symlink(open, elsewhere); err != nil {
		t.Fatal(err)
	}
	if err := PurgeGuests(elsewhere); err == nil {
		t.Error("a link that somebody else made was followed")
	}
}

func TestALibvirtdOfOurOwnSeesNoKVMThatItsGuestsCannotUse(t *testing.T) {
	if !alone(t) {
		return
	}
	dir := clusterDir(t)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// A /dev of this test's own.
	if out, err := exec.Command("sh", "-ec", hideKVM, "sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := os.Stat("/dev/kvm"); !os.IsNotExist(err) {
		t.Fatalf("/dev/kvm is still there (%v)", err)
	}
	if out, err := exec.Command("mknod", "-m", "0600", "/dev/kvm", "c", "10", "232").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l, err := EnsureLibvirt(t.Context(), LibvirtOptions{Dir: filepath.Join(dir, "libvirt"), Reaper: reaper(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	rec, _ := l.record()
	seen := filepath.Join("/proc", strconv.Itoa(rec.Libvirtd.Pid), "root", "dev")
	if _, err := os.Stat(filepath.Join(seen, "kvm")); !os.IsNotExist(err) {
		t.Errorf("libvirtd sees /dev/kvm (%v)", err)
	}
	if _, err := os.Stat(filepath.Join(seen, "null")); err != nil {
		t.Errorf("libvirtd sees no /dev/null: %v", err)
	}
	runGuest(t, l)()
}
