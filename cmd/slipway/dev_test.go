package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/supervisor"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/pki"
)

// elsewhere are variables with which somebody else's database is reached.
var elsewhere = []string{
	"PGHOST=192.0.2.1", "PGPORT=1", "PGUSER=nobody", "PGDATABASE=none", "PGPASSWORD=wrong", "PGSERVICE=none", "PGSERVICEFILE=/does/not/exist",
	"PGOPTIONS=-c search_path=none -c default_transaction_read_only=on", "PGTARGETSESSIONATTRS=standby", "PGSSLMODE=verify-full",
	"PGSSLROOTCERT=/does/not/exist", "PGCONNECT_TIMEOUT=no", "PGAPPNAME=x", "PGTZ=No/Where", "PGDATA=/does/not/exist", "PGCLIENTENCODING=SQL_ASCII",
}

func TestARoleTakesNothingOfItsDatabaseFromPostgresVariables(t *testing.T) {
	env := append([]string{
		"SLIPWAY_DATABASE_DSN=" + testenv.Database(t), "SLIPWAY_API_ADMIN_PASSWORD=x", "SLIPWAY_IMAGES_DIR=" + filepath.Join(openFolder(t), "images"),
		"SLIPWAY_TEMPORAL_PAYLOAD_KEYS=/does/not/exist", // what an api reads after it has its database
	}, elsewhere...)
	output, code := program(t, nil, "/", env, ":", "api")
	require.Equal(t, 1, code)
	require.Contains(t, output, "database migrated")
	require.Contains(t, output, "/does/not/exist")
	require.Contains(t, output, `"PGTARGETSESSIONATTRS"`, "it says what it does not take")
}

// openFolder is a folder of the test's own that every user can write to.
func openFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sl")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o777))
	return dir
}

func TestTheDevelopmentStackStartsWhateverItsFolderIsNamedAndWhateverIsSet(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	state := filepath.Join(openFolder(t), `ü "1" 100%, [a]*?#'\`)
	giveEngine(t, state)
	// Its certificates are of last year.
	ca, err := pki.Init(t.Context(), filepath.Join(state, "pki"), "")
	require.NoError(t, err)
	for role, name := range map[string]string{pki.Control: "slipway", pki.Host: "dev-1"} {
		_, err := ca.Issue(t.Context(), pki.Request{Role: role, Name: name, DNS: []string{"localhost"}, IPs: []string{"127.0.0.1", "::1"}, Validity: 10 * 24 * time.Hour})
		require.NoError(t, err)
	}
	port := freePorts(t, 5)
	at := func(n int) string { return fmt.Sprintf("127.0.0.1:%d", port+n) }

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	stack := exec.CommandContext(ctx, self, "dev", "--state-dir", state, "--hypervisor", "fake", "--temporal", at(0), "--api", at(1), "--operator", at(2), "--ui", "127.0.0.1:0")
	stack.Dir = filepath.Dir(state)
	stack.Env = append([]string{asProgram + "=yes", "PATH=" + os.Getenv("PATH"), "TZ=No/Where", "LANG=xx_YY.none", "LC_MESSAGES=xx_YY.none"}, elsewhere...)
	stack.Cancel = func() error { return stack.Process.Signal(syscall.SIGTERM) }
	errors, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	require.NoError(t, err)
	defer errors.Close()
	stack.Stderr = errors
	out, err := stack.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, stack.Start())
	ready := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.HasSuffix(lines.Text(), "] "+supervisor.ReadyLine) {
			ready = true
			output, code := program(t, nil, state, []string{"PATH=" + os.Getenv("PATH")}, ". ./openrc-demo", "token", "issue")
			require.Equal(t, 0, code, output)
			output, code = program(t, nil, state, []string{"OS_CLIENT_CONFIG_FILE=clouds.yaml", "OS_CLOUD=slipway-admin"}, ":", "host", "show", "dev-1")
			require.Equal(t, 0, code, output)
			output, code = program(t, nil, "/", nil, ":", "dev", "status", "--state-dir", state)
			require.Equal(t, 0, code, output)
			require.Contains(t, output, "\nAPI       https://"+at(1)+"\n")
			for _, holder := range []string{"control slipway", "control temporal", "host dev-1", "operator web-ui"} {
				require.Regexp(t, holder+`: valid until \S+, 36\d days`, output, "they are renewed at the start")
			}
			stranger, err := tls.Dial("tcp", at(0), &tls.Config{InsecureSkipVerify: true})
			require.NoError(t, err)
			_, err = stranger.Read(make([]byte, 1))
			require.ErrorContains(t, err, "certificate required", "Temporal answers nobody without one")
			require.NoError(t, stranger.Close())
			require.NoError(t, stack.Process.Signal(syscall.SIGTERM))
		}
	}
	err = stack.Wait()
	said, readErr := os.ReadFile(errors.Name())
	require.NoError(t, readErr)
	require.True(t, ready, "%s", said)
	require.NoError(t, err, "%s", said)
}

// giveEngine puts the engine's server where a stack looks for it.
func giveEngine(t *testing.T, state string) {
	t.Helper()
	engine, err := filepath.Abs("../../.slipway/bin/slipway-temporal")
	require.NoError(t, err)
	require.FileExists(t, engine, "`make temporal` builds it")
	require.NoError(t, os.MkdirAll(filepath.Join(state, "bin"), 0o755))
	require.NoError(t, os.Symlink(engine, filepath.Join(state, "bin", "slipway-temporal")))
}

// freePorts finds so many in a row on which nothing listens, and which the kernel gives no connection by itself.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	for range 100 {
		first, free := 20_000+rand.IntN(12_000), true
		for i := range n {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+i))
			if free = free && err == nil; err == nil {
				require.NoError(t, l.Close())
			}
		}
		if free {
			return first
		}
	}
	t.Fatal("no ports are free")
	return 0
}
