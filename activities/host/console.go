package host

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/program"
)

// consoleName is the file that keeps what the serial console prints.
const consoleName = "console.log"

// rotations is how many older logs virtlogd keeps at most (max_backups in virtlogd.conf is 3 by default; some ask for
// more).
const rotations = 10

// consoleFiles are the log and its rotations, the newest first.
func consoleFiles(dir string) []string {
	files := []string{filepath.Join(dir, consoleName)}
	for i := range rotations {
		files = append(files, filepath.Join(dir, consoleName+"."+strconv.Itoa(i)))
	}
	return files
}

// ReadConsoleLog answers the last lines of the server's console, at most contract.ConsoleMaxBytes of them; "" while it has
// printed nothing. It changes nothing and waits for no other step.
func (a *Activities) ReadConsoleLog(_ context.Context, in contract.ConsoleInput) (string, error) {
	dir, err := a.dir(in.ServerID)
	if err != nil {
		return "", err
	}
	var log []byte
	for _, path := range consoleFiles(dir) {
		older, err := tail(path, contract.ConsoleMaxBytes-int64(len(log)))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return "", program.Fault(err, "reading the console of server "+in.ServerID)
		}
		log = append(older, log...)
		if len(log) >= contract.ConsoleMaxBytes {
			break
		}
	}
	// A guest prints any bytes, and the first character may be cut; one byte in for one out keeps the bound.
	return lastLines(strings.ToValidUTF8(string(log), "?"), in.Lines), nil
}

// tail is the last n bytes of a file at most. A link is not followed: the log is a file of the hypervisor's.
func tail(path string, n int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(max(0, st.Size()-n), io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(f, n))
}

// lastLines cuts text to its last n lines; a line break at the end ends the last line. n 0 or less is everything.
func lastLines(text string, n int) string {
	if n <= 0 {
		return text
	}
	at := len(text)
	if strings.HasSuffix(text, "\n") {
		at--
	}
	for ; n > 0; n-- {
		i := strings.LastIndexByte(text[:at], '\n')
		if i < 0 {
			return text
		}
		at = i
	}
	return text[at+1:]
}
