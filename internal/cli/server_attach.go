package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/coder/websocket"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// protocolsOfConsoles are those of Nova, by the types that this cloud has.
var protocolsOfConsoles = map[string]string{"novnc": "vnc", "serial": "serial"}

// consoleAddress asks for the address of a console.
func consoleAddress(ctx context.Context, s *session.Session, id, kind string) (string, error) {
	protocol, ok := protocolsOfConsoles[kind]
	if !ok {
		return "", show.UsageError("--url is %q: use novnc or serial", kind)
	}
	answer, _, err := s.Call(ctx, session.Request{
		Service: "compute", Method: http.MethodPost, Path: serverKind.item(id, "remote-consoles"),
		Body: show.Object{"remote_console": show.Object{"protocol": protocol, "type": kind}},
	})
	if err != nil {
		return "", err
	}
	return show.Text(answer, "remote_console", "url"), nil
}

// leaving is Ctrl-], as of telnet and virsh.
const leaving = 0x1d

// attachConsole makes the terminal the guest's, until either side ends it.
func (c *client) attachConsole(ctx context.Context, cmd *cobra.Command, s *session.Session, name, id string) error {
	address, err := consoleAddress(ctx, s, id, "serial")
	if err != nil {
		return session.Doing(err, "open the console of server %q", name)
	}
	socket, err := s.Socket(ctx, address)
	if err != nil {
		return session.Doing(err, "open the console of server %q", name)
	}
	defer socket.CloseNow() //nolint:errcheck // it has been closed, or there is nobody to tell
	c.say(cmd, "attached to the serial console of server %s (%s): Ctrl-] leaves it", name, id)
	if onTerminal(cmd) {
		fd := int(os.Stdin.Fd())
		before, err := term.MakeRaw(fd)
		if err != nil {
			return fmt.Errorf("make the terminal the guest's: %w", err)
		}
		defer term.Restore(fd, before) //nolint:errcheck // as good as can be
	}
	guest := websocket.NetConn(ctx, socket, websocket.MessageBinary)
	left := make(chan error, 1)
	go func() { left <- typeOn(guest, cmd.InOrStdin()) }() // ends with the process: a read of a terminal cannot be ended
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(cmd.OutOrStdout(), guest)
		ended <- err
	}()
	for {
		select {
		case err := <-left:
			if errors.Is(err, errLeft) {
				_ = socket.Close(websocket.StatusNormalClosure, "")
				<-ended // nothing is printed any more
				return nil
			}
			left = nil // nothing more is typed, and more may be printed
		case err := <-ended:
			var said websocket.CloseError
			if errors.As(err, &said) && said.Reason != "" {
				return &show.Error{Code: show.ExitFailed, What: fmt.Sprintf("the console of server %q was closed", name), Reason: said.Reason}
			}
			if err != nil {
				return session.Doing(err, "read the console of server %q", name)
			}
			return nil
		}
	}
}

// errLeft is the user's word that it is enough.
var errLeft = errors.New("left")

// typeOn types what is read until its end, or until Ctrl-].
func typeOn(guest io.Writer, typed io.Reader) error {
	buffer := make([]byte, 4<<10)
	for {
		n, err := typed.Read(buffer)
		keys, _, leaves := bytes.Cut(buffer[:n], []byte{leaving})
		if len(keys) > 0 {
			if _, err := guest.Write(keys); err != nil {
				return err
			}
		}
		switch {
		case leaves:
			return errLeft
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}
