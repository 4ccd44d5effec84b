package imds

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A guest that starts reads some fifty documents at once; one that does nothing but read shall cost its host no more than this.
const (
	perSecond, atOnce = 50, 200
	mostSources       = 4096
)

// limits bound how often each source may ask. A source is what has a MAC on a network: a guest may try many addresses.
type limits struct {
	mu  sync.Mutex
	of  map[source]*rate.Limiter
	all *rate.Limiter // of sources that are not told apart any more
}

type source struct{ network, mac string }

func (l *limits) allow(a Asker, at time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of, l.all = map[source]*rate.Limiter{}, rate.NewLimiter(perSecond, atOnce)
	}
	from := source{a.Network, a.MAC}
	mine := l.of[from]
	if mine == nil && len(l.of) >= mostSources {
		for other, limit := range l.of {
			if limit.TokensAt(at) >= atOnce { // it asks nothing
				delete(l.of, other)
			}
		}
	}
	switch {
	case mine != nil:
	case len(l.of) < mostSources:
		mine = rate.NewLimiter(perSecond, atOnce)
		l.of[from] = mine
	default:
		mine = l.all
	}
	return mine.AllowN(at, 1)
}
