package guestfs

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/slipway-cloud/slipway/internal/program"
)

const (
	maxLine   = 8190             // what debugfs reads as one; the rest of a longer line would be a command of its own
	maxAnswer = maxFile + 64<<10 // a file, and what is said beside it
)

// errTool is of a tool that failed in the middle of its work: the filesystem is half written.
var errTool = errors.New("the image's filesystem makes the tools fail")

// run gives debugfs commands and returns what it said to them. Nothing but its words says whether they worked.
func (e *ext) run(ctx context.Context, commands ...string) (said []byte, err error) {
	if e.debugfs == nil {
		if err := e.start(ctx); err != nil {
			return nil, err
		}
	}
	for _, c := range commands {
		if len(c) > maxLine {
			return nil, fmt.Errorf("the path %q is too long", c[:100])
		}
		answer, err := e.ask(ctx, c+"\n")
		if err != nil {
			return nil, err
		}
		said = append(said, bytes.TrimPrefix(answer, []byte("debugfs: "+c+"\n"))...) // it repeats the command
	}
	return said, nil
}

func (e *ext) start(ctx context.Context) (err error) {
	args := []string{"-f", "-", e.image}
	if e.writable {
		args = append([]string{"-w"}, args...)
	}
	if e.debugfs, err = program.Converse(ctx, program.Command{Name: "debugfs", Args: args, Limits: e.limits, Confine: e.inside, Mixed: true}); err != nil {
		return err
	}
	said, err := e.ask(ctx, "")
	if err != nil {
		return err
	}
	if _, complaint, _ := bytes.Cut(said, []byte("\n")); len(complaint) > 0 { // the first line is its version
		return fmt.Errorf("opening the filesystem: %s", bytes.TrimSpace(complaint))
	}
	return nil
}

// ask gives what debugfs says until it repeats a comment that no file holds.
func (e *ext) ask(ctx context.Context, command string) (said []byte, err error) {
	defer e.debugfs.Watch(ctx)()
	end := "#" + rand.Text() + "\n"
	_, err = e.debugfs.In.WriteString(command + end)
	for chunk := make([]byte, 32<<10); err == nil && !bytes.HasSuffix(said, []byte(end)) && len(said) <= maxAnswer; {
		var n int
		n, err = e.debugfs.Out.Read(chunk)
		said = append(said, chunk[:n]...)
	}
	if len(said) > maxAnswer {
		e.debugfs.Kill()
		_, _ = e.debugfs.End()
		err = errors.Join(errTool, errors.New("debugfs says more than any file is large"))
	} else if err != nil { // it has ended, which says more than that
		_, ended := e.debugfs.End()
		err = errors.Join(errTool, err, ended)
	}
	if err != nil {
		e.debugfs = nil
		return nil, err
	}
	return said[:len(said)-len(end)], nil
}

// close has debugfs write what it has not written yet.
func (e *ext) close(context.Context) error {
	if e.debugfs == nil {
		return nil
	}
	said, err := e.debugfs.End()
	e.debugfs = nil
	if err == nil && len(said) > 0 {
		err = fmt.Errorf("debugfs: %s", bytes.TrimSpace(said))
	}
	if err != nil {
		err = errors.Join(errTool, err)
	}
	return err
}

// quote makes one argument of debugfs's shell (libss): double quotes, doubled within.
func quote(s string) (string, error) {
	for _, c := range []byte(s) {
		if c < 0x20 || c == 0x7f {
			return "", fmt.Errorf("the path %q has control characters", s)
		}
	}
	if len(s) > 4095 || strings.HasPrefix(path.Base(s), "<") {
		return "", fmt.Errorf("the path %q cannot be used", s)
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`, nil
}
