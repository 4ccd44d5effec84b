// Package pace is how loops wait: for a while, for a bell, and longer with each failure.
package pace

import (
	"context"
	"math/rand/v2"
	"time"
)

// Rest waits for a while, or for the bell (nil is none), or for the end of ctx.
func Rest(ctx context.Context, d time.Duration, bell <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-bell:
	}
}

// Bell is rung by those who have something for a loop. It rings once for all who rang it since the loop rested.
type Bell chan struct{}

// NewBell makes one.
func NewBell() Bell { return make(Bell, 1) }

// Ring rings it.
func (b Bell) Ring() {
	select {
	case b <- struct{}{}:
	default: // it rings already
	}
}

// Backoff is the pause after so many failures: first, doubled with each further one up to last, and from half of that on by chance, so that
// what failed together does not come back together.
func Backoff(failures int, first, last time.Duration) time.Duration {
	p := first
	for i := 1; i < failures && p < last; i++ {
		p *= 2
	}
	p = min(p, last)
	return p/2 + rand.N(p/2+1)
}
