package program

import (
	"os"
	"strings"
	"sync"
	"unsafe"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// calls are what confined programs may ask of the kernel: files, memory, threads and time, and what Go does on a thread between the filter
// and the program's first instruction. There is no socket, no signal to others, no mount, no key, no trace.
const calls = `
access arch_prctl brk capget capset chdir chroot clock_getres clock_gettime clock_nanosleep close close_range copy_file_range dup dup2 dup3
epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 execve exit exit_group
faccessat faccessat2 fadvise64 fallocate fchdir fchmod fcntl fdatasync flock fork fstat fstatfs fsync ftruncate futex
get_robust_list getcpu getcwd getdents getdents64 getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getpriority getrandom getresgid getresuid
getrlimit getrusage getsid gettid gettimeofday getuid ioctl lseek lstat madvise membarrier memfd_create mincore mkdir mkdirat mlock mmap mprotect mremap
msync munlock munmap nanosleep newfstatat open openat openat2 pause pipe pipe2 poll ppoll prctl pread64 preadv preadv2
prlimit64 pselect6 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv restart_syscall rename renameat renameat2 rseq rt_sigaction rt_sigpending
rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait sched_getaffinity sched_getparam sched_getscheduler sched_yield select set_robust_list
set_tid_address setgid setgroups setpgid setrlimit setuid sigaltstack signalfd4 stat statfs statx sync_file_range sysinfo time timer_create
timer_delete timer_settime timerfd_create timerfd_gettime timerfd_settime times truncate umask uname unlink unlinkat utimensat vfork wait4 waitid
write writev`

// callsOfStarts are what programs need beside these that start others: their processes, which are alone in a namespace, and Unix sockets.
const callsOfStarts = `
accept accept4 bind chmod chown connect fchown getpeername getsockname getsockopt kill lchown link listen recvfrom recvmsg rmdir
sched_setaffinity sched_setscheduler sendmsg sendto setsid setsockopt shutdown symlink tgkill`

// filter puts the calling thread, and what it starts, under no_new_privs and the filter.
func filter(exports, starts bool) error {
	f, err := filters[[2]bool{exports, starts}]()
	if err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]} //nolint:gosec // G115: the kernel takes 4096 at most
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return errno
	}
	return nil
}

const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// filters are the four, each assembled once.
var filters = func() map[[2]bool]func() ([]unix.SockFilter, error) {
	all := map[[2]bool]func() ([]unix.SockFilter, error){}
	for _, exports := range []bool{false, true} {
		for _, starts := range []bool{false, true} {
			all[[2]bool{exports, starts}] = sync.OnceValues(func() ([]unix.SockFilter, error) { return assemble(exports, starts) })
		}
	}
	return all
}()

func assemble(exports, starts bool) ([]unix.SockFilter, error) {
	here, err := arch.GetInfo("")
	if err != nil {
		return nil, err
	}
	allowed := seccomp.SyscallGroup{Action: seccomp.ActionAllow}
	allow := func(names string) {
		for name := range strings.FieldsSeq(names) {
			if _, ok := here.SyscallNames[name]; ok { // arm64 has no open, no stat
				allowed.Names = append(allowed.Names, name)
			}
		}
	}
	allow(calls)
	when := func(name string, conditions ...seccomp.Condition) {
		allowed.NamesWithCondtions = append(allowed.NamesWithCondtions, seccomp.NameWithConditions{Name: name, Conditions: conditions})
	}
	without := func(bits uint64) seccomp.Condition {
		return seccomp.Condition{Argument: 0, Operation: seccomp.BitsNotSet, Value: bits}
	}
	made := 0 // namespaces that Go makes for the program
	if starts {
		allow(callsOfStarts)
		local := seccomp.Condition{Argument: 0, Operation: seccomp.Equal, Value: unix.AF_UNIX}
		when("socket", local)
		when("socketpair", local)
		made |= unix.CLONE_NEWPID | unix.CLONE_NEWNET
	} else {
		// Go interrupts its own threads from any of them. To a program the number is nobody's whom it may signal.
		when("tgkill", seccomp.Condition{Argument: 0, Operation: seccomp.Equal, Value: uint64(os.Getpid())}) //nolint:gosec // G115: a process id
	}
	if exports {
		when("mount", seccomp.Condition{Argument: 3, Operation: seccomp.Equal, Value: unix.MS_NOSUID | unix.MS_NODEV}) // a new one: libfuse's
		allow("umount2")
		made |= unix.CLONE_NEWUSER | unix.CLONE_NEWNS
	}
	when("clone", without(uint64(namespaces&^made))) //nolint:gosec // G115: bits
	// clone3's flags lie in memory, where no filter sees them: libc takes clone where there is no clone3.
	missing := seccomp.SyscallGroup{Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS), Names: []string{"clone3"}}
	policy := seccomp.Policy{DefaultAction: seccomp.ActionErrno, Syscalls: []seccomp.SyscallGroup{missing, allowed}}
	instructions, err := policy.Assemble()
	if err != nil {
		return nil, err
	}
	raw, err := bpf.Assemble(instructions)
	if err != nil {
		return nil, err
	}
	out := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		out[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return out, nil
}
