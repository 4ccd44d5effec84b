package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func refTo(pid int) processRef {
	start, _ := startTime(pid)
	return processRef{Pid: pid, StartTime: start}
}

// startTime also says whether the process lives: a zombie does not.
func startTime(pid int) (uint64, bool) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, false
	}
	// The second field is the program's name in parentheses and may itself hold spaces and parentheses.
	_, rest, ok := strings.Cut(string(b[max(0, strings.LastIndexByte(string(b), ')')):]), " ")
	fields := strings.Fields(rest)
	const state, start = 3 - 3, 22 - 3 // proc(5) counts from 1, and two fields are cut off
	if !ok || len(fields) <= start || fields[state] == "Z" || fields[state] == "X" {
		return 0, false
	}
	t, err := strconv.ParseUint(fields[start], 10, 64)
	return t, err == nil
}

func (r processRef) alive() bool {
	if r.Pid == 0 {
		return false
	}
	t, ok := startTime(r.Pid)
	return ok && t == r.StartTime
}

// wait returns nil when the process has ended, whoever's child it is.
func (r processRef) wait(ctx context.Context) error {
	const step = 200 * time.Millisecond
	fd, err := unix.PidfdOpen(r.Pid, 0)
	if err == nil {
		defer unix.Close(fd)
	}
	for r.alive() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if fd < 0 || err != nil {
			time.Sleep(step) // a kernel without pidfds (before 5.3)
			continue
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, int(step.Milliseconds())); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for process %d: %w", r.Pid, err)
		}
	}
	return nil
}

// stop ends the process with SIGTERM, then SIGKILL. One that has ended is no error.
func (r processRef) stop(ctx context.Context) error {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if !r.alive() {
			return nil
		}
		if err := syscall.Kill(r.Pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop process %d: %w", r.Pid, err)
		}
		wait, cancel := context.WithTimeout(ctx, defaultStopTimeout)
		err := r.wait(wait)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	return fmt.Errorf("process %d survived SIGKILL", r.Pid)
}
