// Package stack starts and supervises the programs that Slipway stands on: a private Postgres cluster, the Temporal
// server and libvirt. `slipway dev` and the test environment use it; a deployment that has its own does not.
//
// What a function here starts, its Stop ends, by process id; what it found running it leaves running.
package stack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const (
	defaultReadyTimeout = 60 * time.Second
	defaultStopTimeout  = 15 * time.Second
	// readyPoll is the pause between two readiness checks. The programs offer no event that says so.
	readyPoll = 25 * time.Millisecond
)

// Command describes a child process.
type Command struct {
	Name string // in errors and logs
	Path string // executable
	Args []string
	Env  []string // added to this process's environment
	Dir  string   // working directory; "" means /

	// Prepare runs before each start, a supervised child's further ones too: what a child that was killed has left and the
	// next one would stumble over. Nil: nothing is to be done.
	Prepare func(context.Context) error
	// LogFile takes standard output and error, appended.
	LogFile string
	// Credential runs the child as another user. Only root may set it.
	Credential *syscall.Credential
	// ParentDeathSignal is sent to the child when this process dies, even by SIGKILL. 0: the child outlives it.
	ParentDeathSignal syscall.Signal
	// StopSignal asks the child to end. Default SIGTERM.
	StopSignal syscall.Signal
	// StopTimeout is how long the child may take before it is killed. Default 15 s.
	StopTimeout time.Duration
	// Ready returns nil once the child serves. It is polled, each time with a context of at most 5 s. Nil: a started
	// child counts as ready.
	Ready func(context.Context) error
	// ReadyTimeout is how long the child may take to become ready. Default 60 s.
	ReadyTimeout time.Duration
}

// Process is a running child, in a process group of its own (a Ctrl-C in the terminal does not reach it).
type Process struct {
	cmd    Command
	pid    int
	exited chan struct{}
	err    error // valid once exited is closed
}

// Start starts a child and waits until it is ready. If it does not become ready, it is stopped, and the error carries
// the end of its log. A cancelled ctx ends the wait, not a child that is ready.
func Start(ctx context.Context, c Command) (*Process, error) {
	if c.Prepare != nil {
		if err := c.Prepare(ctx); err != nil {
			return nil, fmt.Errorf("start %s: %w", c.Name, err)
		}
	}
	p := &Process{cmd: c, exited: make(chan struct{})}
	if err := p.spawn(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	if err := p.waitReady(ctx); err != nil {
		stopErr := p.Stop(context.WithoutCancel(ctx))
		return nil, errors.Join(fmt.Errorf("start %s: %w%s", c.Name, err, logTail(c.LogFile)), stopErr)
	}
	return p, nil
}

func (p *Process) spawn() error {
	cmd := exec.Command(p.cmd.Path, p.cmd.Args...)
	cmd.Env = append(os.Environ(), p.cmd.Env...)
	cmd.Dir = p.cmd.Dir
	if cmd.Dir == "" {
		cmd.Dir = "/" // another user may not be allowed into ours
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid: true, Credential: p.cmd.Credential, Pdeathsig: p.cmd.ParentDeathSignal,
	}
	if p.cmd.LogFile != "" {
		if err := os.MkdirAll(filepath.Dir(p.cmd.LogFile), 0o755); err != nil {
			return err
		}
		f, err := os.OpenFile(p.cmd.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
		if err != nil {
			return err
		}
		defer f.Close()
		cmd.Stdout, cmd.Stderr = f, f
	}
	started := make(chan error, 1)
	go func() {
		// The kernel sends the parent death signal when the *thread* that forked ends, so the thread has to stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.pid = cmd.Process.Pid
		started <- nil
		p.err = cmd.Wait()
		close(p.exited)
	}()
	return <-started
}

func (p *Process) waitReady(ctx context.Context) error {
	if p.cmd.Ready == nil {
		return nil
	}
	timeout := p.cmd.ReadyTimeout
	if timeout == 0 {
		timeout = defaultReadyTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not ready after %s", timeout))
	defer cancel()
	for {
		try, cancelTry := context.WithTimeout(ctx, 5*time.Second)
		err := p.cmd.Ready(try)
		cancelTry()
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("it ended before it was ready: %w", p.exitError())
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(readyPoll):
		}
	}
}

// Pid is the child's process id.
func (p *Process) Pid() int { return p.pid }

// Exited is closed when the child has ended and was reaped.
func (p *Process) Exited() <-chan struct{} { return p.exited }

func (p *Process) exitError() error {
	if p.err != nil {
		return p.err
	}
	return errors.New("exit status 0")
}

// Stop asks the child to end and kills its whole process group when it has not done so within its StopTimeout or
// before ctx ends. Stopping a child that has ended is no error.
func (p *Process) Stop(ctx context.Context) error {
	select {
	case <-p.exited:
		return nil
	default:
	}
	sig, timeout := p.cmd.StopSignal, p.cmd.StopTimeout
	if sig == 0 {
		sig = syscall.SIGTERM
	}
	if timeout == 0 {
		timeout = defaultStopTimeout
	}
	if err := syscall.Kill(p.pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop %s (pid %d): %w", p.cmd.Name, p.pid, err)
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-p.exited:
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	if err := syscall.Kill(-p.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill %s (pid %d): %w", p.cmd.Name, p.pid, err)
	}
	<-p.exited
	return fmt.Errorf("%s (pid %d) did not stop within %s and was killed", p.cmd.Name, p.pid, timeout)
}

// logTail is the end of a log file as a suffix of an error.
func logTail(file string) string {
	const keep = 2000
	if file == "" {
		return ""
	}
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	buf := make([]byte, keep)
	n, _ := f.ReadAt(buf, max(0, info.Size()-keep))
	return fmt.Sprintf("\n--- end of %s ---\n%s", file, buf[:n])
}

const (
	restartFirst = 500 * time.Millisecond
	restartMax   = 30 * time.Second
	// restartHealthy is how long a child has to run, after it was ready, for its next death to count as a first one. One that
	// cannot work dies sooner. One that is killed again and again, by an operator or by the lack of memory, is back at once:
	// starting it each time costs less than its absence.
	restartHealthy = 10 * time.Second
)

// backoff makes the pauses before a child is started again. The zero value has none behind it.
type backoff struct{ next time.Duration }

// after is the pause after a death of a child that had run for so long; 0 is one that could not be started.
func (b *backoff) after(ran time.Duration) time.Duration {
	if ran >= restartHealthy {
		b.next = 0
	}
	pause := max(restartFirst, b.next)
	b.next = min(2*pause, restartMax)
	return pause
}

// Supervised is a child that is started again whenever it dies, with growing pauses, until it is stopped.
type Supervised struct {
	cmd    Command
	log    *slog.Logger
	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex
	current  *Process // nil while there is none
	restarts int
	stopErr  error
}

// Supervise starts a child, waits until it is ready, and keeps it running from then on. A child that does not become
// ready the first time is an error, not something to retry. Only Stop ends it; ctx bounds the first start.
func Supervise(ctx context.Context, c Command, log *slog.Logger) (*Supervised, error) {
	p, err := Start(ctx, c)
	if err != nil {
		return nil, err
	}
	run, cancel := context.WithCancel(context.Background())
	s := &Supervised{cmd: c, log: logger(log), cancel: cancel, done: make(chan struct{}), current: p}
	go s.keep(run, p)
	return s, nil
}

func (s *Supervised) keep(ctx context.Context, p *Process) {
	defer close(s.done)
	var pauses backoff
	for {
		began := time.Now()
		select {
		case <-ctx.Done():
			s.setCurrent(nil)
			err := p.Stop(context.Background())
			s.mu.Lock()
			s.stopErr = err
			s.mu.Unlock()
			return
		case <-p.Exited():
		}
		s.setCurrent(nil)
		pause := pauses.after(time.Since(began))
		s.log.Warn("a program that Slipway stands on has ended; starting it again",
			"program", s.cmd.Name, "pid", p.Pid(), "error", p.exitError(), "pause", pause, "log", s.cmd.LogFile)
		for p = nil; p == nil; {
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			var err error
			if p, err = Start(ctx, s.cmd); err != nil && ctx.Err() == nil {
				pause = pauses.after(0)
				s.log.Error("could not start it", "program", s.cmd.Name, "error", err, "pause", pause)
			}
		}
		s.mu.Lock()
		s.current = p
		s.restarts++
		s.mu.Unlock()
		s.log.Info("started again", "program", s.cmd.Name, "pid", p.Pid())
	}
}

func (s *Supervised) setCurrent(p *Process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = p
}

// Pid is the process id of the running child, 0 while it is being started again.
func (s *Supervised) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return 0
	}
	return s.current.Pid()
}

// Restarts counts how often the child had to be started again.
func (s *Supervised) Restarts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.restarts
}

// Stop ends the child for good and waits for it: at most its StopTimeout, after which it is killed.
func (s *Supervised) Stop() error {
	s.cancel()
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopErr
}

func logger(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}
