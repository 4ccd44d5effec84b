package contract

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/test/system"
)

// shell is the command line of a Python client, called command after command in one process: to start one takes longer than what it
// does. It has no terminal, so what it would ask a person for it reads.
type shell struct {
	t      *testing.T
	say    io.Writer
	hear   *bufio.Reader
	before []string // arguments of every command
}

const calls = `
import contextlib, importlib, io, json, sys
main, commands = importlib.import_module(sys.argv[1] + ".shell").main, sys.stdin
for command in commands:
    arguments, typed = json.loads(command)
    sys.stdin, out, complaint, code = io.StringIO(typed), io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(complaint):
        try:
            code = main(arguments)
        except SystemExit as e:
            code = e.code
    print(json.dumps([out.getvalue(), complaint.getvalue(), code or 0]), flush=True)
`

// python starts the shell of a package, whose command is installed, as one of the system's users.
func python(t *testing.T, s *system.System, module, user, password string) *shell {
	t.Helper()
	return shellOf(t, newTool(t, s, "/usr/bin/python3", user, password), module) // Debian's own, for which its packages are
}

// shellOf is python with another environment.
func shellOf(t *testing.T, as tool, module string) *shell {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), as.path, "-c", calls, module)
	cmd.Env, cmd.Dir, cmd.SysProcAttr = as.env, as.dir, &syscall.SysProcAttr{Setsid: true}
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	return &shell{t: t, say: in, hear: bufio.NewReader(out)}
}

// typing answers what a command printed and its exit code, with what a person types meanwhile.
func (c *shell) typing(typed string, args ...string) (stdout, stderr string, code int) {
	c.t.Helper()
	require.NoError(c.t, json.NewEncoder(c.say).Encode([]any{append(append([]string{}, c.before...), args...), typed}))
	line, err := c.hear.ReadString('\n')
	require.NoError(c.t, err, "%v", args)
	require.NoError(c.t, json.Unmarshal([]byte(line), &[]any{&stdout, &stderr, &code}), line)
	return stdout, stderr, code
}

func (c *shell) try(args ...string) (stdout, stderr string, code int) {
	c.t.Helper()
	return c.typing("", args...)
}

// run is try for a command that has to succeed.
func (c *shell) run(args ...string) string {
	c.t.Helper()
	stdout, stderr, code := c.try(args...)
	require.Zero(c.t, code, "%v\n%s%s", args, stdout, stderr)
	return stdout
}

// refused holds that a command ends with the API's words.
func (c *shell) refused(says string, args ...string) {
	c.t.Helper()
	stdout, stderr, code := c.try(args...)
	require.NotZero(c.t, code, "%v", args)
	require.Contains(c.t, stdout+stderr, says, "%v", args)
}
