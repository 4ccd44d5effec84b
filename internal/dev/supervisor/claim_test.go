package supervisor

import (
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhoAsksWhileAStackStartsAndEndsIsToldItsSupervisorOrNobody(t *testing.T) {
	o := options{state: t.TempDir()}
	require.NoError(t, os.WriteFile(o.pidFile(), []byte("12345678901\n"), 0o644)) // a longer one was killed
	stop := make(chan struct{})
	var asking sync.WaitGroup
	for range 2 {
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				pid, err := o.running()
				if err != nil || pid != 0 && pid != os.Getpid() && pid != 12345678901 {
					t.Errorf("told %d, %v", pid, err)
					return
				}
			}
		})
	}
	for range 2000 {
		release, err := o.claim()
		if err != nil {
			t.Error("whoever asks keeps nobody from starting:", err)
			break
		}
		release()
	}
	close(stop)
	asking.Wait()
	release, err := o.claim()
	require.NoError(t, err)
	pid, err := o.running()
	require.NoError(t, err)
	require.Equal(t, os.Getpid(), pid)
	release()
	pid, err = o.running()
	require.NoError(t, err)
	require.Zero(t, pid)
}
