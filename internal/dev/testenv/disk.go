package testenv

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// SmallDisk is a folder that is a filesystem of its own, of the size that is given as tmpfs takes it (64k, 16m). It needs root.
func SmallDisk(t testing.TB, size string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test fills a disk, and only root can mount one of its own")
	}
	dir := GuestDir(t)
	if err := unix.Mount("slipway-test", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mounting a small filesystem: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting the small filesystem: %v", err)
		}
	})
	return dir
}
