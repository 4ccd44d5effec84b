package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Confinement is for programs that read what tenants have written (docs/decisions/0044-confined-tools.md). Such a program runs as User, in
// a mount namespace of its own with the host's programs and libraries and what Files names, in a network namespace with nothing in
// it, with no_new_privs and under a seccomp filter.
//
// All of it is done to the thread that starts the program, which the program takes after: no other program stands between. The
// thread ends with the program.
type Confinement struct {
	// Files are seen under their own names, which are absolute: files, and folders with what lies in them. User must have the right to
	// what the program does with them.
	Files []File
	// ReadsAll lets it read its Files whosever they are, by CAP_DAC_READ_SEARCH: it sees no others.
	ReadsAll bool
	// Exports has the program mount FUSE, in a user namespace of its own.
	Exports bool
	// Starts has the program start others, as what runs a virtual machine does. They are in a process namespace of their own, which ends with
	// the program, and speak with each other by Unix sockets, in a network namespace of their own.
	Starts bool
	// Scratch is how many bytes /tmp and /var/tmp have room for, in memory; with 0 there are none.
	Scratch int64
	// Beside is the mount namespace of a confined program that runs: instead of Files and Scratch, what it has is seen, its exports among it.
	Beside *os.File
}

// File is one of a Confinement's.
type File struct {
	Path     string
	Writable bool
}

// User runs confined programs, as its own group. Nobody has this id: Debian's policy (9.2.2) reserves it, systemd's table of ids leaves it unused.
const User = 65533

// CannotConfine is why this machine lets no program be confined.
type CannotConfine struct{ cause error }

func (e CannotConfine) Error() string {
	why := e.cause.Error()
	switch {
	case os.Geteuid() != 0:
		why = "Slipway does not run as root"
	case errors.Is(e.cause, unix.EPERM), errors.Is(e.cause, unix.EACCES):
		why = "root may not make namespaces and devices here, as in a container without the capability SYS_ADMIN (" + why + ")"
	case errors.Is(e.cause, unix.ENOSPC), errors.Is(e.cause, unix.EUSERS):
		why = "namespaces are switched off (sysctl user.max_user_namespaces, user.max_mnt_namespaces, user.max_net_namespaces)"
	case errors.Is(e.cause, unix.ENOSYS):
		why = "its kernel is too old (" + why + ")"
	}
	return "this machine does not let Slipway confine programs that read tenants' bytes: " + why
}

func (e CannotConfine) Unwrap() error { return e.cause }

// CanConfine says why this machine lets no program be confined, a CannotConfine. It tries once.
var CanConfine = sync.OnceValue(func() error {
	_, _, err := Run(context.Background(), Command{Name: "true", Confine: &Confinement{}})
	return err
})

// Lend gives a file to User, and TakeBack takes it back to whose this process is.
func Lend(path string) error { return os.Lchown(path, User, User) }

// TakeBack is of a file that was lent; whoever dies in between leaves one that a later run takes back or makes anew.
func TakeBack(path string) error { return os.Lchown(path, os.Geteuid(), os.Getegid()) }

// On the thread's root; programs have box as theirs. What is beside it is for what Go does before the program begins.
const box = "/box"

// apply has cmd become User in the box, which do makes.
func (c *Confinement) apply(cmd *exec.Cmd) {
	a := cmd.SysProcAttr
	a.Chroot = box
	a.Credential = &syscall.Credential{Uid: User, Gid: User, NoSetGroups: true} // do has none
	cmd.Dir = "/"
	if c.ReadsAll {
		a.AmbientCaps = []uintptr{unix.CAP_DAC_READ_SEARCH}
	}
	if c.Exports {
		same := []syscall.SysProcIDMap{{ContainerID: User, HostID: User, Size: 1}}
		a.Cloneflags, a.UidMappings, a.GidMappings = unix.CLONE_NEWUSER|unix.CLONE_NEWNS, same, same
		a.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN} // in that user namespace: it mounts
	}
	if c.Starts {
		a.Cloneflags |= unix.CLONE_NEWPID | unix.CLONE_NEWNET
	}
}

// do runs f on a thread that is confined, and whose programs are.
func (c *Confinement) do(f func() error) error {
	return c.thread(func() error {
		if err := filter(c.Exports, c.Starts); err != nil {
			return CannotConfine{fmt.Errorf("seccomp: %w", err)}
		}
		err := f()
		var start *os.SyscallError
		var fork *os.PathError
		if errors.As(err, &start) || errors.As(err, &fork) && fork.Op == "fork/exec" && !errors.Is(err, os.ErrNotExist) {
			return CannotConfine{err}
		}
		return err
	})
}

// Read has f read a file that a confined program sees, as User on a thread of its own: what is exported by FUSE answers nobody else.
func (c *Confinement) Read(path string, f func(io.ReaderAt) error) error {
	return c.thread(func() error {
		if err := inTurn(
			func() error { return raw(unix.SYS_SETRESGID, User, User, User) },
			func() error { return raw(unix.SYS_SETRESUID, User, User, User) },
		); err != nil {
			return err
		}
		file, err := os.Open(filepath.Join(box, path))
		if err != nil {
			return err
		}
		defer file.Close()
		return f(file)
	})
}

// thread runs f on a thread in the namespaces, which ends with it.
func (c *Confinement) thread(f func() error) error {
	outside, err := outsideOf()
	if err != nil {
		return CannotConfine{err}
	}
	trees, err := c.trees()
	defer func() { // also of those before one that failed
		for _, t := range trees {
			_ = unix.Close(t)
		}
	}()
	if err != nil {
		return err
	}
	return doomed(func() error {
		if err := enter(outside, c.Beside); err != nil {
			return CannotConfine{err}
		}
		if c.Beside == nil {
			if err := c.furnish(trees); err != nil {
				return err
			}
		}
		return f()
	})
}

// raw asks for this thread alone, where package unix asks for all of the process.
func raw(call, a, b, c uintptr) error {
	if _, _, errno := unix.RawSyscall(call, a, b, c); errno != 0 {
		return errno
	}
	return nil
}

// doomed runs f on a thread that does nothing after it.
func doomed(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		if unix.Gettid() == unix.Getpid() {
			// The main thread would not end, but stay as it is, and with it what is seen of this process in /proc. It is held until
			// another one has done it.
			defer runtime.UnlockOSThread()
			done <- doomed(f)
			return
		}
		done <- f()
	}()
	return <-done
}

// outside are the namespaces in which threads make theirs: one with next to no mounts, which is quickly copied, and one without a network.
type outside struct{ mounts, net int }

var outsideOf = sync.OnceValues(func() (o outside, err error) {
	_, _ = os.FindProcess(os.Getpid()) // Go tries what it may do with processes once, and not under a filter then
	err = doomed(func() error {
		const at = "/usr" // it is there on every machine, and what it holds is taken along
		usr := -1
		open := func(name string, fd *int) (err error) {
			*fd, err = unix.Open("/proc/thread-self/ns/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			return err
		}
		return inTurn(
			func() error { return unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWNET) },
			func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") },
			func() (err error) {
				usr, err = unix.OpenTree(unix.AT_FDCWD, at, unix.OPEN_TREE_CLONE|unix.O_CLOEXEC)
				return err
			},
			func() error { return setTree(usr, false) },
			func() error { return unix.Mount("tmpfs", at, "tmpfs", unix.MS_NOSUID, "size=64k,mode=755") },
			func() error {
				return errors.Join(os.Mkdir(at+"/usr", 0o755), os.Mkdir(at+"/proc", 0o755), os.Mkdir(at+box, 0o755))
			},
			func() error { return linkUsr("/", at) },
			func() error { return unix.MoveMount(usr, "", unix.AT_FDCWD, at+"/usr", unix.MOVE_MOUNT_F_EMPTY_PATH) },
			func() error { return unix.Close(usr) },
			// Go writes the map of a user namespace's ids through it. Who is not root sees his own processes there, and nothing else.
			func() error {
				return unix.Mount("proc", at+"/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "hidepid=invisible,subset=pid")
			},
			func() error { return unix.Chdir(at) },
			func() error { return unix.PivotRoot(".", ".") },
			func() error { return unix.Unmount(".", unix.MNT_DETACH) },
			func() error { return open("mnt", &o.mounts) },
			func() error { return open("net", &o.net) },
		)
	})
	return o, err
})

// inTurn ends at the first that fails: none may work on the namespaces that another was to leave.
func inTurn(steps ...func() error) error {
	for i, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}

// linkUsr makes the links of a root folder into /usr, as another has them.
func linkUsr(from, to string) error {
	for _, name := range usrFolders {
		target, err := os.Readlink(filepath.Join(from, name))
		if err != nil {
			continue
		}
		if err := os.Symlink(target, filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return nil
}

// usrFolders hold programs and libraries. What else is in /usr is not needed.
var usrFolders = []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"}

// enter brings the thread into the namespaces.
func enter(o outside, beside *os.File) error {
	mounts := o.mounts
	if beside != nil {
		mounts = int(beside.Fd())
	}
	// A root and a current folder of its own come before another mount namespace.
	return inTurn(
		func() error { return unix.Unshare(unix.CLONE_FS) },
		func() error { unix.Umask(0o022); return nil },
		func() error { return unix.Setns(o.net, unix.CLONE_NEWNET) },
		func() error { return unix.Setns(mounts, unix.CLONE_NEWNS) },
		func() error {
			if beside != nil {
				return nil
			}
			return unix.Unshare(unix.CLONE_NEWNS)
		},
		func() error { return raw(unix.SYS_SETGROUPS, 0, 0, 0) },
	)
}

// trees are the mounts of the files, made where the host's names are known.
func (c *Confinement) trees() (fds []int, err error) {
	for _, f := range c.Files {
		if !filepath.IsAbs(f.Path) {
			return fds, fmt.Errorf("%q is no absolute name", f.Path)
		}
		fd, err := unix.OpenTree(unix.AT_FDCWD, f.Path, unix.OPEN_TREE_CLONE|unix.O_CLOEXEC)
		if err != nil {
			err = &os.PathError{Op: "open_tree", Path: f.Path, Err: err}
			if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
				err = CannotConfine{err}
			}
			return fds, err
		}
		fds = append(fds, fd)
		if err := setTree(fd, f.Writable); err != nil {
			return fds, CannotConfine{err}
		}
	}
	return fds, nil
}

func setTree(fd int, writable bool) error {
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE}
	if !writable {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	return unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr)
}

// furnish makes the box of one program.
func (c *Confinement) furnish(trees []int) error {
	if err := unix.Mount("tmpfs", box, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "size=64k,mode=755"); err != nil {
		return CannotConfine{err}
	}
	if err := linkUsr("/", box); err != nil {
		return err
	}
	for _, name := range usrFolders {
		at := filepath.Join("/usr", name)
		if st, err := os.Lstat(at); err != nil || !st.IsDir() {
			continue
		}
		if err := os.MkdirAll(box+at, 0o755); err != nil { //nolint:gosec // G301: programs run as another user
			return err
		}
		if err := unix.Mount(at, box+at, "", unix.MS_BIND, ""); err != nil {
			return CannotConfine{err}
		}
	}
	if err := os.Mkdir(box+"/dev", 0o755); err != nil { //nolint:gosec // G301: as above
		return err
	}
	if err := errors.Join(device("null", 1, 3), device("urandom", 1, 9)); err != nil {
		return CannotConfine{err}
	}
	if c.Exports {
		if err := device("fuse", 10, 229); err != nil {
			return CannotConfine{err}
		}
	}
	if c.Scratch > 0 {
		at, size := box+"/tmp", fmt.Sprintf("size=%d,mode=1777", c.Scratch)
		if err := errors.Join(os.Mkdir(at, 0o755), os.Mkdir(box+"/var", 0o755), os.Symlink("../tmp", box+"/var/tmp")); err != nil { //nolint:gosec // G301: as above
			return err
		}
		if err := unix.Mount("tmpfs", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, size); err != nil {
			return CannotConfine{err}
		}
	}
	for i, f := range c.Files {
		if err := place(trees[i], f.Path); err != nil {
			return fmt.Errorf("showing %s to a confined program: %w", f.Path, err)
		}
	}
	if err := unix.Mount("", box, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("making a confined program's files read-only: %w", err)
	}
	return nil
}

func device(name string, major, minor uint32) error {
	at := box + "/dev/" + name
	err := unix.Mknod(at, unix.S_IFCHR|0o666, int(unix.Mkdev(major, minor))) //nolint:gosec // G115: small numbers
	if err == nil {
		err = unix.Chmod(at, 0o666)
	}
	if err != nil {
		return fmt.Errorf("making the device %s: %w", name, err)
	}
	return nil
}

// place puts a mount under its name.
func place(tree int, path string) error {
	at := box + filepath.Clean(path)
	var st unix.Stat_t
	if err := unix.Fstat(tree, &st); err != nil {
		return err
	}
	folder := at
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		folder = filepath.Dir(at)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // G301: programs run as another user
		return err
	}
	if folder != at {
		// Made without being opened: a program that is forked at this moment elsewhere would hold it open for writing, and the box
		// could not be made read-only.
		if err := unix.Mknod(at, unix.S_IFREG|0o644, 0); err != nil {
			return err
		}
	}
	return unix.MoveMount(tree, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH)
}
