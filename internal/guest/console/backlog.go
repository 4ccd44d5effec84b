package console

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"
)

const (
	ahead = 1 << 20 // bytes that a side may be ahead of who takes them
	keys  = 1 << 10 // bytes that are typed at once: a slow guest is seen to take something
)

// backlog is what one side has said and the other has not taken yet. It counts bytes: a guest prints one at a time.
type backlog struct {
	full     error         // why the console ends where it has no room
	patience time.Duration // for room

	mu         sync.Mutex
	held       bytes.Buffer
	came, went chan struct{} // one may wait for each
}

func newBacklog(full error, patience time.Duration) *backlog {
	return &backlog{full: full, patience: patience, came: make(chan struct{}, 1), went: make(chan struct{}, 1)}
}

// fill reads until that ends, or until there is no room.
func (b *backlog) fill(ctx context.Context, from io.Reader) error {
	buffer := make([]byte, chunk)
	for {
		n, err := from.Read(buffer)
		for n > 0 && !b.put(buffer[:n]) {
			select {
			case <-b.went:
			case <-time.After(b.patience):
				return b.full
			case <-ctx.Done():
				return nil
			}
		}
		if err != nil {
			return err
		}
	}
}

// drain writes what there is, at most so many bytes at once.
func (b *backlog) drain(ctx context.Context, to io.Writer, most int) error {
	buffer := make([]byte, most)
	for {
		n := b.take(buffer)
		if n == 0 {
			select {
			case <-b.came:
				continue
			case <-ctx.Done():
				return nil
			}
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return err
		}
		signal(b.went)
	}
}

func (b *backlog) put(p []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held.Len()+len(p) > ahead {
		return false
	}
	b.held.Write(p)
	signal(b.came)
	return true
}

func (b *backlog) take(into []byte) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, _ := b.held.Read(into) // io.EOF where there is none
	return n
}

func signal(to chan struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}
