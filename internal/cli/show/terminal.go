package show

import (
	"io"
	"os"

	"golang.org/x/term"
)

// IsTerminal says whether w draws on a terminal, where lines can be redrawn.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	width, height, err := term.GetSize(int(f.Fd())) // some terminals of build systems have no size: nothing can be drawn there
	return err == nil && width > 0 && height > 0
}
