package identity

import (
	"context"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/slipway-cloud/slipway/api/rest"
)

// A user may fail to log in failBurst times at once and then once every failEvery. Checking a password costs about 60 ms
// of a core, so guessing would otherwise also be a way to burn the machine.
const (
	failBurst = 10
	failEvery = 3 * time.Second
	// maxThrottled bounds how many users' failures are remembered; beyond it, users without a count of their own share one.
	maxThrottled = 4096
	// patience is how long a login waits for its turn at a core.
	patience = 10 * time.Second
)

// throttle limits failed logins by user, and how many passwords are checked at once. The count is each api process's own.
type throttle struct {
	mu     sync.Mutex
	failed map[string]*rate.Limiter
	shared *rate.Limiter
	turn   chan struct{}
	now    func() time.Time
}

func newThrottle() *throttle {
	return &throttle{
		failed: map[string]*rate.Limiter{},
		shared: newLimiter(),
		turn:   make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), // half the cores stay free for everybody with a token
		now:    time.Now,
	}
}

func newLimiter() *rate.Limiter { return rate.NewLimiter(rate.Every(failEvery), failBurst) }

// check runs verify unless key has failed too often: then 429. A success costs nothing.
func (t *throttle) check(ctx context.Context, key string, verify func() bool) (bool, error) {
	limiter := t.of(key)
	if err := t.allowed(limiter); err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return false, rest.Status(http.StatusServiceUnavailable, "Too many logins at once. Try again.")
	}
	// Again: those that were before us in the queue may have used the failures up.
	if err := t.allowed(limiter); err != nil {
		return false, err
	}
	if verify() {
		return true, nil
	}
	limiter.AllowN(t.now(), 1)
	return false, nil
}

func (t *throttle) allowed(l *rate.Limiter) error {
	if l.TokensAt(t.now()) >= 1 {
		return nil
	}
	err := rest.Status(http.StatusTooManyRequests, "Too many failed logins. Wait a moment and try again.")
	err.Header = http.Header{"Retry-After": {strconv.Itoa(int(failEvery / time.Second))}}
	return err
}

func (t *throttle) of(key string) *rate.Limiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l, ok := t.failed[key]; ok {
		return l
	}
	if len(t.failed) >= maxThrottled {
		for k, l := range t.failed {
			if l.TokensAt(t.now()) >= failBurst {
				delete(t.failed, k) // nothing to remember
			}
		}
		if len(t.failed) >= maxThrottled {
			return t.shared
		}
	}
	l := newLimiter()
	t.failed[key] = l
	return l
}
