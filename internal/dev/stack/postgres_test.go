package stack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// ownerEnv makes this test binary the process that starts a cluster and then waits to be killed.
const ownerEnv = "SLIPWAY_STACK_TEST_OWNER_DIR"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == reapArgument {
		status, err := Reap(os.Args[2:])
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(status)
	}
	if dir := os.Getenv(ownerEnv); dir != "" {
		p, err := StartPostgres(context.Background(), PostgresOptions{Dir: dir})
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		fmt.Println("pid", p.Pid())
		select {}
	}
	os.Exit(m.Run())
}

// clusterDir is a short folder that the system user postgres can reach, which t.TempDir is not for root.
func clusterDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "slipway-pg-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "postgres")
}

func startPostgres(t *testing.T, dir string) *Postgres {
	t.Helper()
	p, err := StartPostgres(t.Context(), PostgresOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if err := PurgePostgres(context.Background(), dir); err != nil {
			t.Error(err)
		}
	})
	return p
}

func query[T any](t *testing.T, p *Postgres, database, sql string) (v T) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), p.DSN(database))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func TestAClusterKeepsItsDataOverARestartAndHasNoTCPPort(t *testing.T) {
	dir := clusterDir(t)
	p, err := StartPostgres(t.Context(), PostgresOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := p.EnsureDatabase(t.Context(), `od'd "name"`); err != nil {
			t.Fatal(err)
		}
	}
	query[int](t, p, `od'd "name"`, "WITH x AS (SELECT 1) SELECT 7 FROM x")
	if got := query[string](t, p, "postgres", "SHOW listen_addresses"); got != "" {
		t.Errorf("listens on %q, want the unix socket only", got)
	}
	for _, setting := range []string{"synchronous_commit", "fsync"} {
		if got := query[string](t, p, "postgres", "SHOW "+setting); got != "on" {
			t.Errorf("%s is %s", setting, got)
		}
	}
	if _, err := StartPostgres(t.Context(), PostgresOptions{Dir: dir}); err == nil || !strings.Contains(err.Error(), "another process is using it") {
		t.Errorf("a second owner got %v, want an error that says so", err)
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := startPostgres(t, dir)
	if !query[bool](t, again, "postgres", `SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'od''d "name"')`) {
		t.Error("the database is gone after a restart")
	}
}

func TestAClusterWhoseOwnerWasKilledIsTakenOver(t *testing.T) {
	for _, kill := range []string{"owner", "owner and postmaster"} {
		t.Run(kill, func(t *testing.T) {
			dir := clusterDir(t)
			owner := exec.Command(os.Args[0])
			owner.Env = append(os.Environ(), ownerEnv+"="+dir)
			out, err := owner.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := owner.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			var pid int
			if _, scanErr := fmt.Sscanf(line, "pid %d", &pid); err != nil || scanErr != nil {
				t.Fatalf("owner said %q (%v, %v)", line, err, scanErr)
			}
			if kill == "owner and postmaster" { // leaves a stale postmaster.pid behind
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			if err := owner.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = owner.Wait()

			p := startPostgres(t, dir)
			if p.Pid() == pid {
				t.Error("the orphan was kept")
			}
			query[int](t, p, "postgres", "SELECT 1")
		})
	}
}

func TestAClusterInAFolderThatIsTooDeepOrClosedMovesWhatItMust(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root runs Postgres as another user")
	}
	closed := t.TempDir() // below a folder of mode 0700
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(closed, strings.Repeat("deep-checkout/", 8), "postgres")
	p := startPostgres(t, dir)
	query[int](t, p, "postgres", "SELECT 1")
	for name, at := range map[string]string{"data": p.DataDir, "run": p.SocketDir} {
		if strings.HasPrefix(at, closed) {
			t.Errorf("%s is in %s, which user postgres can't reach", name, at)
		}
		if target, err := os.Readlink(filepath.Join(dir, name)); err != nil || target != at {
			t.Errorf("%s/%s points to %q (%v), want %s", dir, name, target, err, at)
		}
		if _, err := os.Stat(at); err != nil {
			t.Error(err)
		}
	}
	if err := PurgePostgres(t.Context(), dir); err == nil {
		t.Error("a cluster in use was deleted")
	}
	moved := []string{p.DataDir, p.SocketDir}
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := PurgePostgres(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	for _, at := range append(moved, dir) {
		if _, err := os.Lstat(at); !os.IsNotExist(err) {
			t.Errorf("%s is left after the purge (%v)", at, err)
		}
	}
}

func TestAChildThatDoesNotBecomeReadyIsAnErrorWithTheEndOfItsLog(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	_, err := Start(t.Context(), Command{
		Name: "broken", Path: "sh", Args: []string{"-c", "echo the cause; exit 3"}, LogFile: log,
		Ready: func(context.Context) error { return fmt.Errorf("not yet") },
	})
	if err == nil || !strings.Contains(err.Error(), "the cause") || !strings.Contains(err.Error(), "exit status 3") {
		t.Fatalf("got %v, want the exit status and the log", err)
	}
}

func TestAChildThatIgnoresSIGTERMIsKilledWithItsChildren(t *testing.T) {
	out := filepath.Join(t.TempDir(), "grandchild")
	p, err := Start(t.Context(), Command{
		Name: "stubborn", Path: "sh", Args: []string{"-c", `trap "" TERM; sleep 1000 & echo $! > ` + out + `.new && mv ` + out + `.new ` + out + `; wait`},
		StopTimeout: 100 * time.Millisecond,
		Ready:       func(context.Context) error { _, err := os.Stat(out); return err },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(t.Context()); err == nil {
		t.Error("Stop did not say that it had to kill")
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(b), &pid); err != nil {
		t.Fatal(err)
	}
	wait, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := refTo(pid).wait(wait); err != nil {
		t.Errorf("grandchild %d lives: %v", pid, err)
	}
}

func TestASupervisedChildThatDiesIsStartedAgainUntilItIsStopped(t *testing.T) {
	s, err := Supervise(t.Context(), Command{Name: "sleeper", Path: "sleep", Args: []string{"1000"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	first := s.Pid()
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for s.Restarts() == 0 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	second := s.Pid()
	if second == 0 || second == first {
		t.Fatalf("pid %d after %d was killed", second, first)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if refTo(second).alive() && refTo(second).StartTime != 0 {
		t.Errorf("process %d lives after Stop", second)
	}
}

func TestAClusterThatLosesAllItsProcessesAtOnceComesBackWithWhatItHadAcknowledged(t *testing.T) {
	p := startPostgres(t, clusterDir(t))
	const rows = 200
	conn, err := pgx.Connect(t.Context(), p.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), "CREATE TABLE acknowledged (n int)"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if conn, err = pgx.Connect(t.Context(), p.DSN("postgres")); err != nil {
			t.Fatal(err)
		}
		for n := range rows {
			if _, err := conn.Exec(t.Context(), "INSERT INTO acknowledged VALUES ($1)", n); err != nil {
				t.Fatal(err)
			}
		}
		before, restarts := p.Pid(), p.Restarts()
		pids, err := processesIn(p.DataDir)
		if err != nil || len(pids) < 3 {
			t.Fatalf("the cluster's processes are %v (%v), want the postmaster, its own and a backend", pids, err)
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				t.Fatal(err)
			}
		}
		conn.Close(context.Background())
		deadline := time.Now().Add(time.Minute)
		for p.Restarts() == restarts {
			if time.Now().After(deadline) {
				t.Fatal("the cluster was not started again")
			}
			time.Sleep(20 * time.Millisecond)
		}
		if p.Pid() == before {
			t.Error("it has the same postmaster as before")
		}
	}
	if got := query[int](t, p, "postgres", "SELECT count(*) FROM acknowledged"); got != 2*rows {
		t.Errorf("%d rows are left of the %d that were acknowledged", got, 2*rows)
	}
}
