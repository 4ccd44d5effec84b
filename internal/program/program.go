// Package program runs the host's own programs (qemu-img, mkfs, debugfs, ...) on files that users may have written: each
// run has limits on memory, processor seconds and file size, a deadline, bounded output, and dies with this process. Only
// the program itself dies with a process that is killed, not what it started in its turn: run none that starts others and
// leaves the work to them.
package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Limits bound one run. A zero field is replaced by Default's.
type Limits struct {
	MemoryBytes int64         // address space (RLIMIT_AS)
	FileBytes   int64         // largest file the program may write (RLIMIT_FSIZE)
	CPU         time.Duration // processor time (RLIMIT_CPU), in whole seconds
	Deadline    time.Duration // wall clock
	OutputBytes int64         // of stdout; more is an error
}

// Default suits programs that write metadata only: Nova gives qemu-img 1 GiB and 30 s as well (nova/privsep/qemu.py).
var Default = Limits{
	MemoryBytes: 1 << 30,
	FileBytes:   1 << 30,
	CPU:         30 * time.Second,
	Deadline:    2 * time.Minute,
	OutputBytes: 1 << 20,
}

// WithFile is l with room for a file of n bytes.
func (l Limits) WithFile(n int64) Limits { l.FileBytes = n; return l }

func (l Limits) filled() Limits {
	set := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&l.MemoryBytes, Default.MemoryBytes)
	set(&l.FileBytes, Default.FileBytes)
	set((*int64)(&l.CPU), int64(Default.CPU))
	set((*int64)(&l.Deadline), int64(Default.Deadline))
	set(&l.OutputBytes, Default.OutputBytes)
	return l
}

// stderrBytes bounds what is kept of a program's complaint.
const stderrBytes = 16 << 10

// searchPath is where the programs lie; a service's own PATH often lacks the sbin folders.
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Command is one run. Args never pass a shell.
type Command struct {
	Name   string
	Args   []string
	Stdin  []byte
	Env    []string // beside what all are given
	Limits Limits
	// OKCodes are exit codes besides 0 that are no failure (e2fsck tells "repaired" by 1).
	OKCodes []int
	// Confine is for what tenants have written; nil runs the program as this process.
	Confine *Confinement
	// Mixed has a Conversation's Out take what the program writes to stderr as well, in the order in which it was written.
	Mixed bool
}

// Error is a run that failed: which program, how it ended and what it complained.
type Error struct {
	Name   string
	Args   []string
	How    string // "exit status 1", "signal: killed", ...
	Code   int    // -1 where it did not exit by itself
	Stderr string
	// Exceeded is the limit that ended it, as far as that can be told; "" is none.
	Exceeded Limit
	cause    error
}

// Limit names one of Limits, for people.
type Limit string

// The limits that end a run from within.
const (
	FileSize Limit = "file size"
	CPUTime  Limit = "processor time"
	Memory   Limit = "memory"
)

// Exceeded tells which limit ended the run that err is about; "" is none.
func Exceeded(err error) Limit {
	var e *Error
	if errors.As(err, &e) {
		return e.Exceeded
	}
	return ""
}

// exceeded reads it from the signal, or from the words of programs that handle the error themselves (strerror's for EFBIG
// and ENOMEM, GLib's for an allocation that failed).
func exceeded(exit *exec.ExitError, stderr string) Limit {
	if st, ok := exit.Sys().(syscall.WaitStatus); ok && st.Signaled() {
		switch st.Signal() {
		case syscall.SIGXFSZ:
			return FileSize
		case syscall.SIGXCPU:
			return CPUTime
		}
	}
	switch {
	case strings.Contains(stderr, "File too large"):
		return FileSize
	case strings.Contains(stderr, "Cannot allocate memory"), strings.Contains(stderr, "failed to allocate"):
		return Memory
	}
	return ""
}

func (e *Error) Error() string {
	s := e.Name + " " + strings.Join(e.Args, " ") + ": " + e.How
	if e.Stderr != "" {
		s += ": " + e.Stderr
	}
	return s
}

func (e *Error) Unwrap() error { return e.cause }

// TooMuch says whether a run was ended for it said more than its limits allow.
func TooMuch(err error) bool { return errors.Is(err, errOutputTooLarge) }

var errOutputTooLarge = errors.New("the program's output is larger than allowed")

// Exec prepares a process under the limits, in its own process group, without starting it. The caller starts it from a
// thread of its own until the process has ended (see Locked): the kernel ties "die with the parent" to the parent's thread, and what
// confines the process is the thread's.
func Exec(ctx context.Context, c Command) *exec.Cmd {
	l := c.Limits.filled()
	// prlimit(1) sets the limits and becomes the program: there is no moment in which it runs without them.
	seconds := int64((l.CPU + time.Second - 1) / time.Second)
	args := []string{
		"--as=" + strconv.FormatInt(l.MemoryBytes, 10),
		"--fsize=" + strconv.FormatInt(l.FileBytes, 10),
		// The soft limit ends it with a signal that tells why, the hard one a second later without.
		fmt.Sprintf("--cpu=%d:%d", seconds, seconds+1),
		"--core=0",
		"--", c.Name,
	}
	cmd := exec.CommandContext(ctx, "/usr/bin/prlimit", append(args, c.Args...)...)
	cmd.Env = []string{searchPath, "LC_ALL=C", "TZ=UTC", "HOME=/nonexistent", "MTOOLS_SKIP_CHECK=1", "MTOOLSRC=/dev/null", "DEBUGFS_PAGER=__none__",
		// Each arena of glibc's reserves 64 MiB of the address space, one a thread.
		"MALLOC_ARENA_MAX=2"}
	cmd.Env = append(cmd.Env, c.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if c.Confine != nil {
		c.Confine.apply(cmd)
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	if c.Name == "qemu-img" && !namesFormats(c.Args) {
		cmd.Err = fmt.Errorf("qemu-img %s does not name its formats: it would take them from what a user wrote", strings.Join(c.Args, " "))
	}
	return cmd
}

// namesFormats says whether a run of qemu-img is told every format, so that it probes none: the file's (-f), the result's
// (-O), and for an overlay the backing file's (-F).
func namesFormats(args []string) bool {
	if len(args) == 0 {
		return false
	}
	has := func(option string) bool { return slices.Contains(args, option) }
	switch args[0] {
	case "create", "rebase":
		return has("-f") && (!has("-b") || has("-F"))
	case "convert", "dd":
		return has("-f") && has("-O") && !has("-B")
	case "compare":
		return has("-f") && has("-F")
	default:
		return has("-f")
	}
}

// Locked runs f on a thread that belongs to it alone, confined as the command wants it, until f returns.
func (c Command) Locked(f func() error) error {
	if c.Confine != nil {
		return c.Confine.do(f)
	}
	return doomed(f)
}

// Run runs the command to its end and returns what it wrote to stdout, and to stderr as text. A run that is cut off by
// ctx returns ctx's error within the chain.
func Run(ctx context.Context, c Command) (stdout []byte, stderr string, err error) {
	l := c.Limits.filled()
	ctx, cancel := context.WithTimeout(ctx, l.Deadline)
	defer cancel()
	cmd := Exec(ctx, c)
	out := &bounded{max: int(l.OutputBytes), cancel: cancel}
	complaint := &bounded{max: stderrBytes}
	cmd.Stdout, cmd.Stderr = out, complaint
	cmd.Stdin = bytes.NewReader(c.Stdin)
	err = c.Locked(cmd.Run)
	stderr = complaint.text()
	if out.full {
		return nil, stderr, &Error{Name: c.Name, Args: c.Args, Code: -1, Stderr: stderr, How: errOutputTooLarge.Error(), cause: errOutputTooLarge}
	}
	if err := c.failure(ctx, err, stderr); err != nil {
		return nil, stderr, err
	}
	return out.buf.Bytes(), stderr, nil
}

// failure makes an Error of how a run has ended, nil where that is no failure.
func (c Command) failure(ctx context.Context, err error, stderr string) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && slices.Contains(c.OKCodes, exit.ExitCode()) || err == nil {
		return nil
	}
	l := c.Limits.filled()
	e := &Error{Name: c.Name, Args: c.Args, Code: -1, Stderr: stderr, cause: err}
	switch {
	case ctx.Err() != nil:
		e.How, e.cause = "stopped: "+ctx.Err().Error(), ctx.Err()
	case exit != nil:
		e.How, e.Code = exit.String(), exit.ExitCode()
		switch e.Exceeded = exceeded(exit, stderr); e.Exceeded {
		case FileSize:
			e.How = fmt.Sprintf("it tried to write a file larger than %d bytes", l.FileBytes)
		case CPUTime:
			e.How = fmt.Sprintf("it took more than %s of processor time", l.CPU)
		case Memory:
			e.How = fmt.Sprintf("it took more than %d bytes of memory", l.MemoryBytes)
		}
	default:
		e.How = err.Error()
	}
	return e
}

// NoSpace says whether err tells that a disk is full: by errno, or by a program's own words.
func NoSpace(err error) bool {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return true
	}
	var e *Error
	return errors.As(err, &e) && (strings.Contains(e.Stderr, "No space left on device") || strings.Contains(e.Stderr, "Disk full"))
}

// Fault names the failure of host work for what it is: a full disk and a missing program make the host unfit, a cut-off
// run is Unavailable, a fault stays as it is, everything else is Internal. doing says what was going on, with an id.
func Fault(err error, doing string) error {
	var f *fault.Error
	var cannot CannotConfine
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return err
	case errors.As(err, &cannot): // what needs no confined program goes on here
		return fault.Wrap(fault.HostUnfit, fmt.Errorf("%s: %w", doing, err), "%s", cannot).NotTheHosts()
	case NoSpace(err):
		// For this server, at least: what was asked for may be larger than what others need. A host that has no room for
		// anybody says so itself.
		return fault.Wrap(fault.HostUnfit, fmt.Errorf("%s: %w", doing, err), "the host's disk is full").NotTheHosts()
	case errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EIO):
		return fault.Wrap(fault.HostUnfit, fmt.Errorf("%s: %w", doing, err), "the host's disk cannot be written")
	case errors.Is(err, os.ErrPermission), Missing(err):
		return fault.Wrap(fault.HostUnfit, fmt.Errorf("%s: %w", doing, err), "the host is not set up for building servers")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fault.Wrap(fault.Unavailable, fmt.Errorf("%s: %w", doing, err), "the host did not finish in time")
	default:
		return fault.Wrap(fault.Internal, fmt.Errorf("%s: %w", doing, err), "the host could not prepare the server")
	}
}

// Missing says whether the program, or prlimit, is not there or could not be executed (prlimit's exit codes 126 and 127, as a
// shell's). A file that is not there is something else.
func Missing(err error) bool {
	var e *Error
	return errors.Is(err, exec.ErrNotFound) || errors.As(err, &e) && (e.Code == 127 || e.Code == 126)
}

// bounded keeps at most max bytes; what comes after is dropped, and stops the program where cancel is set.
type bounded struct {
	buf    bytes.Buffer
	max    int
	full   bool
	cancel context.CancelFunc
}

func (b *bounded) Write(p []byte) (int, error) {
	room := b.max - b.buf.Len()
	if len(p) > room {
		b.buf.Write(p[:room])
		if b.cancel != nil && !b.full {
			b.full = true
			b.cancel()
		}
		return len(p), nil
	}
	return b.buf.Write(p)
}

func (b *bounded) text() string { return strings.TrimSpace(b.buf.String()) }
