package libvirt

import (
	"cmp"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// packagedUsers are those that QEMU runs as with Debian's and with Fedora's libvirt.
var packagedUsers = []string{"libvirt-qemu", "qemu"}

// CheckReach says which folder keeps QEMU's user from the guests' files below dir: libvirt hands it the files themselves but
// not the folders on the way, and a folder such as /root (0700) stops it. name is the user; "" is the one of the packages,
// and where there is none only folders that everyone may pass count. dir need not exist yet; what will be made inside
// existing folders counts as passable.
func CheckReach(dir, name string) error {
	uid, groups, err := qemuUser(&name)
	if err != nil {
		return err
	}
	if uid == 0 {
		return nil
	}
	blocking, mode, err := blocks(dir, uid, groups)
	if err != nil || blocking == "" {
		return err
	}
	return fmt.Errorf("QEMU runs as the user %s, which cannot pass the folder %s (mode %04o), and so not reach the guests' disks in %s: run chmod o+x %s, or set host.state_dir to a folder elsewhere, such as /var/lib/slipway/host",
		cmp.Or(name, "that libvirt chooses"), blocking, mode, dir, blocking)
}

func qemuUser(name *string) (uid uint32, groups map[uint32]bool, err error) {
	names := packagedUsers
	if *name != "" {
		names = []string{*name}
	}
	for _, n := range names {
		u, err := user.Lookup(n)
		if err != nil && *name != "" {
			return 0, nil, fmt.Errorf("find the user of host.qemu_user: %w", err)
		}
		if err != nil {
			continue
		}
		*name = n
		ids, err := u.GroupIds()
		if err != nil {
			return 0, nil, fmt.Errorf("list the groups of user %s: %w", n, err)
		}
		groups = map[uint32]bool{}
		for _, g := range ids {
			if gid, err := strconv.ParseUint(g, 10, 32); err == nil {
				groups[uint32(gid)] = true
			}
		}
		id, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return 0, nil, fmt.Errorf("read the id of user %s: %w", n, err)
		}
		return uint32(id), groups, nil
	}
	return nobody, nil, nil
}

// nobody owns no folder and is in no group.
const nobody = ^uint32(0)

// blocks gives the first of dir and the folders above it that a user may not pass, "" where there is none, by the rule of
// path_resolution(7): the first of owner, group and others that applies decides. Access lists are not looked at, so they can
// only make it find one too many.
func blocks(dir string, uid uint32, groups map[uint32]bool) (folder string, mode uint32, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return "", 0, fmt.Errorf("find %s: %w", dir, err)
	}
	for {
		real, err := filepath.EvalSymlinks(dir)
		if err == nil {
			dir = real
			break
		}
		if !os.IsNotExist(err) {
			return "", 0, fmt.Errorf("find %s: %w", dir, err)
		}
		dir = filepath.Dir(dir)
	}
	for {
		info, err := os.Stat(dir)
		if err != nil {
			return "", 0, fmt.Errorf("look at %s: %w", dir, err)
		}
		st := info.Sys().(*syscall.Stat_t)
		bit := uint32(0o001)
		switch {
		case st.Uid == uid:
			bit = 0o100
		case groups[st.Gid]:
			bit = 0o010
		}
		if info.IsDir() && st.Mode&bit == 0 {
			return dir, st.Mode & 0o7777, nil
		}
		if dir == filepath.Dir(dir) {
			return "", 0, nil
		}
		dir = filepath.Dir(dir)
	}
}
