package stack

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// Reap runs a command and takes over whatever its descendants orphan (prctl(2), PR_SET_CHILD_SUBREAPER), so that what ends
// is reaped at once. It is the body of a process of its own: it waits for every child of the process. It returns when the
// command and all that it orphaned have ended, with the command's exit status. SIGTERM is passed on to the command; other
// requests to end are not heard, because guests are to outlive a terminal.
//
// libvirt needs it: each QEMU is orphaned on purpose, and to stop one takes until kill(2) no longer finds it, which is when
// its parent has reaped it. The first process of a container or of a small virtual machine often looks for the dead only
// every second or two, and each guest then takes that much longer to stop.
func Reap(command []string) (status int, err error) {
	if len(command) == 0 {
		return 0, errors.New("reap: no command")
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return 0, fmt.Errorf("reap: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("reap: take over orphans: %w", err)
	}
	// Caught, not ignored: what is ignored would be ignored by the command too.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	pid, err := syscall.ForkExec(path, command, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
	if err != nil {
		return 0, fmt.Errorf("reap: start %s: %w", path, err)
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case s := <-signals:
				if s == syscall.SIGTERM {
					_ = syscall.Kill(pid, syscall.SIGTERM)
				}
			case <-ended:
				return
			}
		}
	}()
	for {
		var how syscall.WaitStatus
		switch dead, err := syscall.Wait4(-1, &how, 0, nil); {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.ECHILD):
			return status, nil
		case err != nil:
			return status, fmt.Errorf("reap: wait: %w", err)
		case dead == pid && how.Signaled():
			status = 128 + int(how.Signal())
		case dead == pid:
			status = how.ExitStatus()
		}
	}
}
