package host

import (
	"context"
	"io"

	"github.com/slipway-cloud/slipway/internal/contract"
)

// Consoles brings an open console to a session of the API, and returns once it is there.
type Consoles interface {
	Bring(ctx context.Context, in contract.OpenConsoleInput, console io.ReadWriteCloser) error
}

// OpenConsole opens a console of a guest and brings it to a session of the API, which goes on when this has returned; without one it
// only says whether there is such a console. Invalid and Conflict, in Nova's words, where there is none now.
func (a *Activities) OpenConsole(ctx context.Context, in contract.OpenConsoleInput) error {
	console, err := a.o.Hypervisor.OpenConsole(ctx, in.ServerID, in.Type)
	if err != nil {
		return err
	}
	if in.Session == "" {
		return console.Close()
	}
	return a.o.Consoles.Bring(ctx, in, console)
}
