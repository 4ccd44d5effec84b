package stack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// placedGuests begins the names of the folders that PlaceGuests makes.
const placedGuests = "/var/lib/slipway-guests-"

// PlaceGuests makes the folder of a host's state: dir, or, where QEMU's own user can't reach that (a checkout below /root),
// one below /var/lib that dir then links to. It gives the folder itself.
func PlaceGuests(dir string) (string, error) {
	if target, err := os.Readlink(dir); err == nil {
		return target, os.MkdirAll(target, 0o755)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	owner, ok := qemuOwner()
	if !ok || os.Geteuid() != 0 || reachable(dir, owner) {
		return dir, nil
	}
	// Remove refuses a folder with something in it.
	if err := os.Remove(dir); err != nil {
		return "", fmt.Errorf("QEMU's own user %s cannot reach the guests' disks in %s: give it the way (chmod o+x on the folders above), or delete that folder (make purge): %w", qemuUser, dir, err)
	}
	// A name of its own: what a checkout that was deleted has left is not this one's.
	target, err := os.MkdirTemp(filepath.Dir(placedGuests), filepath.Base(placedGuests)+"*")
	if err == nil {
		err = os.Chmod(target, 0o755)
	}
	if err == nil && !reachable(target, owner) {
		err = fmt.Errorf("the user %s can reach neither %s nor /var/lib", qemuUser, dir)
	}
	if err == nil {
		err = os.Symlink(target, dir)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("make a folder for the guests: %w", err), os.RemoveAll(target))
	}
	return target, nil
}

// PurgeGuests deletes what PlaceGuests made elsewhere, when no guest runs from it any more. What lies in dir itself is left.
func PurgeGuests(dir string) error {
	target, err := os.Readlink(dir)
	if err != nil {
		return nil
	}
	if !strings.HasPrefix(filepath.Clean(target), placedGuests) {
		return fmt.Errorf("delete the guests' folder: %s points to %s, which Slipway did not make", dir, target)
	}
	return errors.Join(os.RemoveAll(target), os.Remove(dir))
}
