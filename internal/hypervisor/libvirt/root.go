package libvirt

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// NeedsRoot says whether guests whose files lie below dir can only run when QEMU runs as root: with the system's libvirtd
// QEMU runs as an unprivileged user, libvirt hands it the files themselves but not the folders on the way, and a folder
// such as /root (0700) stops it. dir need not exist yet; what will be made inside existing folders counts as passable.
//
// The user is the one of Debian's and Fedora's packages; where neither exists only folders that everyone may pass count.
func NeedsRoot(dir string) (bool, error) {
	for _, name := range []string{"libvirt-qemu", "qemu"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return false, fmt.Errorf("read the id of user %s: %w", name, err)
		}
		groups, err := u.GroupIds()
		if err != nil {
			return false, fmt.Errorf("list the groups of user %s: %w", name, err)
		}
		member := map[uint32]bool{}
		for _, g := range groups {
			if gid, err := strconv.ParseUint(g, 10, 32); err == nil {
				member[uint32(gid)] = true
			}
		}
		ok, err := passable(dir, uint32(uid), member)
		return !ok, err
	}
	ok, err := passable(dir, nobody, nil)
	return !ok, err
}

// nobody owns no folder and is in no group.
const nobody = ^uint32(0)

// passable says whether a user may pass dir and every folder above it, by the rule of path_resolution(7): the first of
// owner, group and others that applies decides. Access lists are not looked at, so they can only make it say no.
func passable(dir string, uid uint32, groups map[uint32]bool) (bool, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return false, fmt.Errorf("find %s: %w", dir, err)
	}
	for {
		real, err := filepath.EvalSymlinks(dir)
		if err == nil {
			dir = real
			break
		}
		if !os.IsNotExist(err) {
			return false, fmt.Errorf("find %s: %w", dir, err)
		}
		dir = filepath.Dir(dir)
	}
	for {
		info, err := os.Stat(dir)
		if err != nil {
			return false, fmt.Errorf("look at %s: %w", dir, err)
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
			return false, nil
		}
		if dir == filepath.Dir(dir) {
			return true, nil
		}
		dir = filepath.Dir(dir)
	}
}
