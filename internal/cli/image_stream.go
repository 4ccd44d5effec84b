package cli

import (
	"bytes"
	"context"
	"io"

	"github.com/slipway-cloud/slipway/internal/imageformat"
)

// stream is what can be read only once: standard input, or a pipe. Who writes it may be silent for good, so one goroutine
// reads it, and whoever waits for that can give up. The goroutine begins with the first byte that is asked for, and ends with
// the stream, at close, or, where its read cannot be broken off, with the program.
type stream struct {
	from   io.Reader
	begun  bool
	pieces chan piece    // what the goroutine read
	closed chan struct{} // ends it
	ahead  []byte        // read, and not given yet
	end    error         // what follows those
}

// piece is what one read brought. Its bytes belong to whoever takes it.
type piece struct {
	bytes []byte
	err   error
}

func newStream(from io.Reader) *stream {
	return &stream{from: from, pieces: make(chan piece), closed: make(chan struct{})}
}

func (s *stream) pump() {
	buffer := make([]byte, imageformat.HeadBytes)
	for {
		n, err := s.from.Read(buffer)
		select {
		case s.pieces <- piece{bytes.Clone(buffer[:n]), err}:
		case <-s.closed:
			return
		}
		if err != nil {
			return
		}
	}
}

// more waits for the next piece.
func (s *stream) more(ctx context.Context) error {
	if !s.begun {
		s.begun = true
		go s.pump()
	}
	select {
	case p := <-s.pieces:
		s.ahead, s.end = append(s.ahead, p.bytes...), p.err
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// peek gives the next n bytes without using them up, or with io.EOF all that there are.
func (s *stream) peek(ctx context.Context, n int) ([]byte, error) {
	for len(s.ahead) < n && s.end == nil {
		if err := s.more(ctx); err != nil {
			return nil, err
		}
	}
	if len(s.ahead) < n {
		return s.ahead, s.end
	}
	return s.ahead[:n], nil
}

// read gives the next bytes, as an io.Reader does.
func (s *stream) read(ctx context.Context, p []byte) (int, error) {
	for len(s.ahead) == 0 {
		if s.end != nil {
			return 0, s.end
		}
		if err := s.more(ctx); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.ahead)
	s.ahead = s.ahead[n:]
	return n, nil
}

func (s *stream) close() { close(s.closed) }
