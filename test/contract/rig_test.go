package contract

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/test/system"
)

// commandPatience bounds one command; the Python clients take seconds to start on a busy machine.
const commandPatience = 2 * time.Minute

// tool runs a command line client as one of the system's users.
type tool struct {
	path   string
	before []string // arguments of every command
	env    []string
	dir    string
}

func newTool(t *testing.T, s *system.System, path, user, password string) tool {
	t.Helper()
	home := t.TempDir()
	return tool{path: path, dir: home, env: append(s.Openrc(user, password),
		"PATH="+os.Getenv("PATH"), "HOME="+home, "LANG=C.UTF-8", "OS_IDENTITY_API_VERSION=3")}
}

// try runs the command and answers what it printed and its exit code.
func (c tool) try(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.path, slices.Concat(c.before, args)...)
	cmd.Env, cmd.Dir = c.env, c.dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	require.NoError(t, ctx.Err(), "%s %v: %s", c.path, args, &errs)
	if err != nil {
		require.ErrorAs(t, err, new(*exec.ExitError))
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// run is try for a command that has to succeed.
func (c tool) run(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, code := c.try(t, args...)
	require.Zero(t, code, "%s %v\n%s%s", filepath.Base(c.path), args, stdout, stderr)
	return stdout
}

// json runs the command and reads what it printed.
func (c tool) json(t *testing.T, into any, args ...string) {
	t.Helper()
	out := c.run(t, args...)
	require.NoError(t, json.Unmarshal([]byte(out), into), "%v printed %s", args, out)
}

// noise is a file of so many bytes that no other has, and is no format's.
func noise(t *testing.T, bytes int) string {
	t.Helper()
	data := make([]byte, bytes)
	_, _ = rand.Read(data[512:])
	path := filepath.Join(t.TempDir(), "noise.raw")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

// says puts text where a server's console log is: the fake hypervisor runs no guest that could print it.
func says(t *testing.T, s *system.System, id, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(s.HostState(s.Hosts[0]), "instances", id, "console.log"), []byte(text), 0o644))
}

// unchanged holds that a test leaves the database as it found it.
func unchanged(t *testing.T, s *system.System) {
	t.Helper()
	before := s.World(t)
	t.Cleanup(func() {
		if !t.Failed() { // one that did not come to its end says nothing of what it would have left
			require.Equal(t, before, s.World(t))
		}
	})
}

const publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVwdGhlc2xpcHdheWFuZGludG90aGV3YXRlcjEyMzQ1 a@example.org\n"
