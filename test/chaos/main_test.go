package chaos

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// stageVariable tells the test's processes apart: the one that was started, the init of the namespaces, and the test.
const (
	stageVariable = "SLIPWAY_CHAOS_STAGE"
	stageInit     = "init"
	stageTest     = "test"
)

// TestMain runs the tests in a mount and a process namespace of their own. There the run has a libvirtd of its own, although
// libvirt has one place for its state and its socket, and whatever the run starts ends with it, guests and daemons too,
// even where the run itself is killed.
func TestMain(m *testing.M) {
	var code int
	var err error
	switch {
	case os.Getenv(stageVariable) == stageInit:
		code, err = initOfNamespaces()
	case os.Getenv(stageVariable) == "" && os.Geteuid() == 0:
		code, err = enterNamespaces()
	default:
		code = m.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		code = 1
	}
	os.Exit(code)
}

func again(stage string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), stageVariable+"="+stage)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd
}

func enterNamespaces() (int, error) {
	runtime.LockOSThread() // the kernel sends the parent's death signal when the thread ends that forked
	cmd := again(stageInit)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return max(1, exit.ExitCode()), nil
	}
	return 0, err
}

// initOfNamespaces is process 1: it prepares the folders, starts the test, and reaps every process that loses its parent,
// as QEMU does. When it ends, the kernel kills whatever is left.
func initOfNamespaces() (int, error) {
	if err := ownFolders(); err != nil {
		return 0, fmt.Errorf("making folders of the run's own: %w", err)
	}
	cmd := again(stageTest)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, fmt.Errorf("waiting for the test: %w", err)
		case pid == cmd.Process.Pid && status.Exited():
			return status.ExitStatus(), nil
		case pid == cmd.Process.Pid && status.Signaled():
			return 0, fmt.Errorf("the test was ended by %s", status.Signal())
		}
	}
}

// ownFolders puts empty folders over those that libvirt and the network namespaces are found by. libvirt keeps its settings
// and what it has found out about QEMU, which takes it 8 s.
func ownFolders() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keeping mounts apart: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	for _, folder := range []string{"/run", "/var/lib/libvirt", "/var/log/libvirt", "/etc/libvirt", "/var/cache/libvirt"} {
		if _, err := os.Stat(folder); err != nil {
			return fmt.Errorf("libvirt is not installed: %w", err)
		}
		kept, err := os.MkdirTemp("", "slipway-chaos-kept")
		if err != nil {
			return err
		}
		if folder == "/etc/libvirt" || folder == "/var/cache/libvirt" {
			err = copyFolder(kept, folder)
		}
		if err == nil {
			err = syscall.Mount("tmpfs", folder, "tmpfs", 0, "mode=0755")
		}
		if err == nil {
			err = copyFolder(folder, kept)
		}
		if err := errors.Join(err, os.RemoveAll(kept)); err != nil {
			return fmt.Errorf("%s: %w", folder, err)
		}
	}
	return nil
}

// copyFolder copies files and folders, but no definitions of the machine's own domains and networks.
func copyFolder(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		at := filepath.Join(to, strings.TrimPrefix(path, from))
		switch {
		case path == "/etc/libvirt/qemu":
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(at, 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(at, text, 0o644)
	})
}
