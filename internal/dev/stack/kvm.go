package stack

import (
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// hideKVM is a part of a script that takes /dev/kvm out of a mount namespace; $1 is a folder for it. The rest of
// /dev stays, by an overlay that takes its place and not only covers it: libvirt takes each mount at and below /dev for one
// that the guest's own /dev has to have.
const hideKVM = `(cd "$1" && mkdir -p hidden && mount -t tmpfs tmpfs hidden && cd hidden && mkdir up work dev && mknod up/kvm c 0 0 &&
mount -t overlay -o lowerdir=/dev,upperdir=up,workdir=work overlay dev || exit
for at in pts shm mqueue hugepages; do
	! mountpoint -q /dev/$at || mount --rbind /dev/$at dev/$at || exit
done
umount --recursive --lazy /dev ; mount --move dev /dev) ; `

// usableKVM says whether /dev/kvm is the kernel's and QEMU's user can open it. One that it cannot is worse than none:
// libvirt 9.0, as root, finds in it what QEMU does not, and starts QEMU for its features again at each question, for seconds.
func usableKVM(owner *syscall.Credential) bool {
	info, err := os.Stat("/dev/kvm")
	if err != nil {
		return true // there is nothing to hide
	}
	if st := info.Sys().(*syscall.Stat_t); st.Mode&syscall.S_IFMT != syscall.S_IFCHR || st.Rdev != unix.Mkdev(10, 232) {
		return false
	}
	cmd := exec.Command("sh", "-c", "exec 3<>/dev/kvm")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: owner}
	return cmd.Run() == nil
}
