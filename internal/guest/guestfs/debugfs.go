package guestfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/slipway-cloud/slipway/internal/program"
)

// run gives debugfs commands and returns what it said to them. Nothing but its words says whether they worked.
func (e *ext) run(ctx context.Context, commands ...string) (said []byte, err error) {
	if e.debugfs == nil {
		if err := e.start(ctx); err != nil {
			return nil, err
		}
	}
	for _, c := range commands {
		if err := fits(c); err != nil {
			return nil, err
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

func (e *ext) ask(ctx context.Context, command string) (said []byte, err error) {
	if said, err = ask(ctx, e.debugfs, command, ""); err != nil {
		e.debugfs = nil
	}
	return said, err
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
	if err := sayable(s); err != nil {
		return "", err
	}
	if strings.HasPrefix(path.Base(s), "<") {
		return "", fmt.Errorf("the path %q cannot be used", s)
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`, nil
}
