package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
	"github.com/slipway-cloud/slipway/internal/imageformat"
)

// source is where the bytes of an upload come from: a file, which can be read again, or a stream, which cannot.
type source struct {
	name   string
	file   *os.File // nil for standard input
	stream *stream  // nil for what can be read again
	size   int64    // -1 when nobody knows
}

// sector is how much of an image's end its format is guessed from.
const sector = 512

// openSource opens a file, or standard input for "-". The opening of a pipe waits for its writer, at most as long as ctx.
func openSource(ctx context.Context, cmd *cobra.Command, name string) (*source, error) {
	if name == "-" {
		if in, ok := cmd.InOrStdin().(*os.File); ok && show.IsTerminal(in) {
			return nil, show.UsageError("--file - reads standard input, which is a terminal: pipe the image into it")
		}
		return &source{name: "standard input", stream: newStream(cmd.InOrStdin()), size: -1}, nil
	}
	file, err := openWithin(ctx, name)
	if err != nil {
		return nil, session.Doing(err, "read the image")
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, session.Doing(err, "read the image")
	}
	s := &source{name: name, file: file, size: -1}
	switch mode := info.Mode(); {
	case mode.IsDir():
		file.Close()
		return nil, show.UsageError("--file %s is a directory", name)
	case mode.IsRegular(), mode.Type() == os.ModeDevice: // the size of a block device is where its end is
		if s.size, err = file.Seek(0, io.SeekEnd); err == nil {
			_, err = file.Seek(0, io.SeekStart)
		}
		if err != nil {
			file.Close()
			return nil, session.Doing(err, "read the image")
		}
	default: // a pipe
		s.stream = newStream(file)
	}
	return s, nil
}

// openWithin opens a file, unless ctx ends before.
func openWithin(ctx context.Context, name string) (*os.File, error) {
	type opened struct {
		file *os.File
		err  error
	}
	done := make(chan opened)
	go func() {
		file, err := os.Open(name)
		select {
		case done <- opened{file, err}:
		case <-ctx.Done():
			file.Close() // a nil file refuses it
		}
	}()
	select {
	case o := <-done:
		return o.file, o.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *source) close() {
	if s.stream != nil {
		s.stream.close()
	}
	if s.file != nil {
		s.file.Close()
	}
}

// read gives the next bytes. It waits for those of a stream no longer than ctx.
func (s *source) read(ctx context.Context, p []byte) (int, error) {
	if s.stream != nil {
		return s.stream.read(ctx, p)
	}
	return s.file.Read(p)
}

var errReadOnce = errors.New("standard input and pipes can be read only once: run the command again")

func (s *source) rewind() error {
	if s.stream != nil {
		return errReadOnce
	}
	_, err := s.file.Seek(0, io.SeekStart)
	return err
}

// ends are the first bytes of the image and, where they can be read ahead, its last sector; nothing is used up.
func (s *source) ends(ctx context.Context) (head, tail []byte, err error) {
	if s.stream != nil {
		head, err = s.stream.peek(ctx, imageformat.HeadBytes)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, nil, fmt.Errorf("reading %s: %w", s.name, err)
		}
		return head, nil, nil
	}
	head = make([]byte, min(imageformat.HeadBytes, s.size))
	if _, err := s.file.ReadAt(head, 0); err != nil {
		return nil, nil, fmt.Errorf("reading the beginning of %s: %w", s.name, err)
	}
	tail = make([]byte, min(sector, s.size))
	if _, err := s.file.ReadAt(tail, s.size-int64(len(tail))); err != nil {
		return nil, nil, fmt.Errorf("reading the end of %s: %w", s.name, err)
	}
	return head, tail, nil
}

// sum reads the whole again for one more checksum.
func (s *source) sum(ctx context.Context, algorithm string) (*checksums, error) {
	if err := s.rewind(); err != nil {
		return nil, err
	}
	sums := newChecksums(algorithm)
	_, err := io.Copy(writerFunc(func(p []byte) (int, error) {
		sums.write(p)
		return len(p), ctx.Err()
	}), s.file)
	return sums, err
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
