package identity

import (
	"context"
	"crypto/sha256"
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
	// maxThrottled bounds how many users' failures are remembered; beyond it, who has failed least is forgotten.
	maxThrottled = 4096
	// patience is how long a login waits for its turn at a core.
	patience = 10 * time.Second
)

// name stands for a user in the count. What users are called is for clients to choose, and how long that is.
type name [sha256.Size]byte

// throttle limits failed logins by user, and how many passwords are checked at once. The count is each api process's own.
type throttle struct {
	mu     sync.Mutex
	failed map[name]*rate.Limiter
	turns  *turns
	now    func() time.Time
}

func newThrottle() *throttle {
	return &throttle{
		failed: map[name]*rate.Limiter{},
		turns:  newTurns(max(1, runtime.GOMAXPROCS(0)/2)), // half the cores stay free for everybody with a token
		now:    time.Now,
	}
}

// check runs verify unless key has failed too often: then 429. A success costs nothing. Clients take turns, so that one which logs in
// wrongly under ever other names keeps only itself waiting.
func (t *throttle) check(ctx context.Context, client, key string, verify func() bool) (bool, error) {
	user := name(sha256.Sum256([]byte(key)))
	if err := t.allowed(user); err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if !t.turns.take(ctx, client) {
		return false, rest.Status(http.StatusServiceUnavailable, "Too many logins at once. Try again.")
	}
	defer t.turns.give()
	// Again: those that were before us in the queue may have used the failures up.
	if err := t.allowed(user); err != nil {
		return false, err
	}
	if verify() {
		return true, nil
	}
	t.fail(user)
	return false, nil
}

func (t *throttle) allowed(user name) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l, ok := t.failed[user]; !ok || l.TokensAt(t.now()) >= 1 {
		return nil
	}
	err := rest.Status(http.StatusTooManyRequests, "Too many failed logins. Wait a moment and try again.")
	err.Header = http.Header{"Retry-After": {strconv.Itoa(int(failEvery / time.Second))}}
	return err
}

func (t *throttle) fail(user name) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l, ok := t.failed[user]
	if !ok {
		t.makeRoom()
		l = rate.NewLimiter(rate.Every(failEvery), failBurst)
		t.failed[user] = l
	}
	l.AllowN(t.now(), 1)
}

// makeRoom forgets users of whom there is nothing to remember any more, or else the one who has failed least: who wants a user's failures
// forgotten would have to fail as often with thousands of others.
func (t *throttle) makeRoom() {
	if len(t.failed) < maxThrottled {
		return
	}
	var least name
	most := -1.0
	for user, l := range t.failed {
		switch left := l.TokensAt(t.now()); {
		case left >= failBurst:
			delete(t.failed, user)
		case left > most:
			least, most = user, left
		}
	}
	if len(t.failed) >= maxThrottled {
		delete(t.failed, least)
	}
}
