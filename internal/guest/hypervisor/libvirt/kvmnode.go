package libvirt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// kvmNode is /dev/kvm as it was seen: two looks are equal where nobody changed it in between.
type kvmNode struct {
	present  bool
	mode     uint32
	uid, gid uint32
	rdev     uint64
}

const kvmPath = "/dev/kvm"

func lookAtKVM() (kvmNode, error) {
	info, err := os.Stat(kvmPath)
	if errors.Is(err, fs.ErrNotExist) {
		return kvmNode{}, nil
	}
	if err != nil {
		return kvmNode{}, fmt.Errorf("look at %s: %w", kvmPath, err)
	}
	st := info.Sys().(*syscall.Stat_t)
	return kvmNode{present: true, mode: st.Mode, uid: st.Uid, gid: st.Gid, rdev: st.Rdev}, nil
}

// advice is what an operator should do about the node itself; "" where it is as it should be.
func (n kvmNode) advice() string {
	switch {
	case !n.present:
		return "load the kernel module kvm_intel or kvm_amd, which makes /dev/kvm, with virtualization switched on in the machine's firmware"
	case n.mode&syscall.S_IFMT != syscall.S_IFCHR || n.rdev != unix.Mkdev(10, 232): // Documentation/admin-guide/devices.txt
		return kvmPath + " is not the kernel's KVM device: remove it and load the kernel module kvm_intel or kvm_amd"
	case n.mode&0o006 != 0o006 && (n.mode&0o060 != 0o060 || n.gid == 0):
		return "chgrp kvm /dev/kvm; chmod 0660 /dev/kvm"
	}
	return ""
}
