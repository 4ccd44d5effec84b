package stack

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// reapArgument makes this test binary a reaper.
const reapArgument = "reap"

func reaper(t *testing.T) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{self, reapArgument}
}

func parentOf(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "\nPPid:")
	line, _, _ := strings.Cut(after, "\n")
	parent, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	return parent
}

// underReaper starts a shell script under a reaper and reads the first line that it prints, a process id.
func underReaper(t *testing.T, script string) (cmd *exec.Cmd, pid int) {
	t.Helper()
	command := append(reaper(t), "sh", "-c", script)
	cmd = exec.Command(command[0], command[1:]...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(line)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	return cmd, pid
}

func TestAnOrphanBelongsToTheReaperAndIsReapedWithoutItsCommand(t *testing.T) {
	// The orphan holds no pipe open, so that nothing waits for it but the reaper.
	cmd, orphan := underReaper(t, `(sleep 600 >/dev/null & echo $!); exit 7`)
	deadline := time.Now().Add(30 * time.Second)
	for parentOf(t, orphan) != cmd.Process.Pid {
		if time.Now().After(deadline) {
			t.Fatalf("the orphan belongs to %d, want the reaper %d", parentOf(t, orphan), cmd.Process.Pid)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := syscall.Kill(orphan, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait() // the reaper ends when it has reaped
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("the reaper ended with %v, want the command's status 7", err)
	}
	if err := syscall.Kill(orphan, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the orphan is still there (%v) when the reaper has ended", err)
	}
}

func TestAReaperPassesATerminationOnAndHearsNothingElse(t *testing.T) {
	cmd, _ := underReaper(t, `trap 'exit 3' TERM; echo $$; while :; do sleep 0.05; done`)
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM} {
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	err := cmd.Wait()
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("the reaper ended with %v, want the command's own status 3", err)
	}
}

func TestAReaperWithoutACommandSaysSo(t *testing.T) {
	for _, command := range [][]string{nil, {"/nonexistent"}} {
		if _, err := Reap(command); err == nil {
			t.Errorf("Reap(%v) found nothing wrong", command)
		}
	}
}
