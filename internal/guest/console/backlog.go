package console

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"

	"github.com/slipway-cloud/slipway/internal/alive"
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
	writing    bool          // what was taken last
	came, went chan struct{} // one may wait for each
}

func newBacklog(full error, patience time.Duration) *backlog {
	return &backlog{full: full, patience: patience, came: make(chan struct{}, 1), went: make(chan struct{}, 1)}
}

// fill reads until that ends and what was said last is taken, or until there is no room.
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
			b.settle(ctx)
			return err
		}
	}
}

// settle waits until nothing is left.
func (b *backlog) settle(ctx context.Context) {
	late := time.After(alive.Stall)
	for b.busy() {
		select {
		case <-b.went:
		case <-late:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (b *backlog) busy() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.writing || b.held.Len() > 0
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
		b.wrote()
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
	b.writing = n > 0
	return n
}

func (b *backlog) wrote() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writing = false
	signal(b.went)
}

func signal(to chan struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}
