package guestfs

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/slipway-cloud/slipway/internal/program"
)

const (
	maxLine   = 8190             // what debugfs and guestfish read as one; the rest of a longer line would be a command of its own
	maxAnswer = maxFile + 64<<10 // a file, and what is said beside it
)

// errTool is of a tool that failed in the middle of its work: the filesystem is half written.
var errTool = errors.New("the image's filesystem makes the tools fail")

// sayable holds that a path is one that Linux takes, and can be told and quoted in a line.
func sayable(p string) error {
	if strings.ContainsFunc(p, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return fmt.Errorf("the path %q has control characters", p[:min(len(p), 100)])
	}
	if len(p) > 4095 {
		return fmt.Errorf("the path %q is too long", p[:100])
	}
	return nil
}

// fits holds that a command is read as one.
func fits(command string) error {
	if len(command) > maxLine {
		return fmt.Errorf("the path %q is too long", command[:100])
	}
	return nil
}

// ask gives what a tool says to a command until it says a comment that no file holds, which echo has it say. Where that is an error, the
// tool has ended.
func ask(ctx context.Context, tool *program.Conversation, command, echo string) (said []byte, err error) {
	defer tool.Watch(ctx)()
	end := "#" + rand.Text() + "\n"
	_, err = tool.In.WriteString(command + echo + end)
	for chunk := make([]byte, 32<<10); err == nil && !bytes.HasSuffix(said, []byte(end)) && len(said) <= maxAnswer; {
		var n int
		n, err = tool.Out.Read(chunk)
		said = append(said, chunk[:n]...)
	}
	if len(said) > maxAnswer {
		tool.Kill()
		_, _ = tool.End()
		err = errors.Join(errTool, errors.New("it says more than any file is large"))
	} else if err != nil { // it has ended, which says more than that
		_, ended := tool.End()
		err = errors.Join(errTool, err, ended)
	}
	if err != nil {
		return nil, err
	}
	return said[:len(said)-len(end)], nil
}
