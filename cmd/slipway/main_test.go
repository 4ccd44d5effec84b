package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// asProgram makes this test's executable the program itself, with everything that its packages do before main.
const asProgram = "SLIPWAY_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// nobody is a user to whom permissions apply; nil where that is this one.
func nobody() *syscall.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	return &syscall.Credential{Uid: 65534, Gid: 65534}
}

// program runs the program after what a shell does first, as somebody (nil: this user).
func program(t *testing.T, who *syscall.Credential, dir string, env []string, before string, args ...string) (output string, code int) {
	t.Helper()
	path, err := os.Executable()
	require.NoError(t, err)
	self, err := os.Open(path)
	require.NoError(t, err)
	defer self.Close()
	cmd := exec.Command("/bin/sh", append([]string{"-c", before + ` && exec /proc/self/fd/3 "$@"`, "sh"}, args...)...)
	cmd.Dir, cmd.Env, cmd.ExtraFiles = dir, append(env, asProgram+"=yes"), []*os.File{self}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); !errors.As(err, new(*exec.ExitError)) {
		require.NoError(t, err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

func TestTheProgramStartsInAnyFolderAndAnyEnvironment(t *testing.T) {
	root := openFolder(t)
	type place struct{ name, before string }
	places := []place{{"gone", `rmdir "$PWD"`}, {"unreadable", `chmod 000 "$PWD"`}}
	for _, name := range []string{"a b", "Grüße", "100%", "%s%2F", `back\slash`, `"quoted" 'twice'`, "[a]*?", "$HOME", "q?a=b#c", "new\nline", "\xff"} {
		places = append(places, place{name, ":"})
	}
	for _, p := range places {
		for wanted, args := range map[int][]string{0: {"--version"}, 2: {"image", "list"}} {
			dir := filepath.Join(root, p.name)
			require.NoError(t, os.MkdirAll(dir, 0o777))
			require.NoError(t, os.Chmod(dir, 0o777))
			if who := nobody(); who != nil {
				require.NoError(t, os.Chown(dir, int(who.Uid), int(who.Gid)))
			}
			output, code := program(t, nobody(), dir, nil, p.before, args...)
			require.Equal(t, wanted, code, "%v in %q: %s", args, p.name, output)
		}
	}
	for _, env := range [][]string{
		{"HOME=/does/not/exist", "TMPDIR=/does/not/exist", "PATH="},
		{"TZ=No/Where", "LANG=xx_YY.none", "LC_ALL=xx_YY.none", "TERM="},
		{"TZ=:/etc/passwd", "HOME=relative", "XDG_CONFIG_HOME=relative"},
	} {
		output, code := program(t, nobody(), "/", env, ":", "--version")
		require.Equal(t, 0, code, "%v: %s", env, output)
	}
}
