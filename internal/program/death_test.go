package program

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// asHost makes the test's binary a host that runs programs until it is killed: its value is the folder that they write to.
const asHost = "SLIPWAY_TEST_HOST"

// programs is how many run at once.
const programs = 8

func TestMain(m *testing.M) {
	if dir := os.Getenv(asHost); dir != "" {
		host(dir)
	}
	os.Exit(m.Run())
}

// host runs slow programs that write without end; each tells its process id first.
func host(dir string) {
	churn := make(chan struct{})
	go endThreads(churn)
	for i := range programs {
		go func() {
			script := fmt.Sprintf(`echo $$ > %[1]s.new && mv %[1]s.new %[1]s.pid && exec dd if=/dev/zero of=%[1]s bs=1 count=100000000`, filepath.Join(dir, strconv.Itoa(i)))
			_, _, err := Run(context.Background(), Command{Name: "sh", Args: []string{"-c", script}})
			fmt.Println("ended early:", err)
			os.Exit(1)
		}()
	}
	go func() { // what this one has started holds a lock
		script := `exec 9>>"$1"; flock 9; sleep 100000 & echo held >&9; exec 9>&-; wait`
		held := filepath.Join(dir, "held")
		_, _, err := Run(context.Background(), Command{
			Name: "sh", Args: []string{"-c", script, "sh", held}, Confine: &Confinement{Starts: true, Files: []File{{Path: held, Writable: true}}},
		})
		fmt.Println("ended early:", err)
		os.Exit(1)
	}()
	fmt.Println("ready")
	select {}
}

// endThreads ends threads of this process as long as the channel is open: the kernel's "die with the parent" means the
// parent's thread.
func endThreads(until <-chan struct{}) {
	for {
		select {
		case <-until:
			return
		default:
		}
		var ended sync.WaitGroup
		for range 10 {
			ended.Go(runtime.LockOSThread) // a goroutine that ends locked takes its thread along
		}
		ended.Wait()
		time.Sleep(time.Millisecond)
	}
}

func TestProgramsDieWithTheHostThatIsKilled(t *testing.T) {
	dir := t.TempDir()
	held, err := os.Create(filepath.Join(dir, "held"))
	require.NoError(t, err)
	defer held.Close()
	require.NoError(t, Lend(held.Name()))
	self, err := os.Executable()
	require.NoError(t, err)
	host := exec.Command(self)
	host.Env = append(os.Environ(), asHost+"="+dir)
	out, err := host.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, host.Start())
	t.Cleanup(func() { _ = host.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)

	var children []int
	for i := range programs {
		path := filepath.Join(dir, strconv.Itoa(i))
		pid := 0
		require.Eventually(t, func() bool {
			text, err := os.ReadFile(path + ".pid")
			if err != nil {
				return false
			}
			pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
			st, statErr := os.Stat(path)
			return err == nil && statErr == nil && st.Size() > 0
		}, 30*time.Second, 10*time.Millisecond, "program %d does not write", i)
		child, err := unix.PidfdOpen(pid, 0)
		require.NoError(t, err, "program %d has ended while its host lived", i)
		defer unix.Close(child)
		children = append(children, child)
	}
	require.Eventually(t, func() bool {
		st, err := held.Stat()
		return err == nil && st.Size() > 0
	}, 30*time.Second, 10*time.Millisecond, "nothing holds the lock")
	require.ErrorIs(t, unix.Flock(int(held.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
	require.NoError(t, host.Process.Signal(syscall.SIGKILL))
	require.Error(t, host.Wait())
	require.Eventually(t, func() bool {
		return unix.Flock(int(held.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
	}, 30*time.Second, 10*time.Millisecond, "what a program has started outlives the host")
	for i, child := range children {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(child), Events: unix.POLLIN}}, 10_000)
		for errors.Is(err, unix.EINTR) {
			n, err = unix.Poll([]unix.PollFd{{Fd: int32(child), Events: unix.POLLIN}}, 10_000)
		}
		require.NoError(t, err)
		require.Equal(t, 1, n, "program %d outlives its host and goes on writing", i)
	}
}

func TestProgramsOutliveTheThreadsOfTheirHost(t *testing.T) {
	churn := make(chan struct{})
	go endThreads(churn)
	defer close(churn)
	var running sync.WaitGroup
	for range programs {
		running.Go(func() {
			for range 20 {
				if _, _, err := Run(t.Context(), Command{Name: "sleep", Args: []string{"0.05"}}); err != nil {
					t.Errorf("it died with a thread that is not its parent's: %v", err)
					return
				}
			}
		})
	}
	running.Wait()
}
