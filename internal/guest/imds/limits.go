package imds

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A guest that starts reads some fifty documents at once; one that does nothing but read shall cost its host no more than this, nor a
// network more than ten such guests do: who has a port of its own there may ask with any number of MACs.
const (
	perSecond, atOnce               = 50, 200
	networkPerSecond, networkAtOnce = 10 * perSecond, 10 * atOnce
	mostSources                     = 1024 // of a network
)

// limits bound how often each network may ask, and each source there. A source is what has a MAC: a guest may try many addresses.
type limits struct {
	mu sync.Mutex
	of map[string]*limit
}

// limit is a network's.
type limit struct {
	all    *rate.Limiter
	of     map[string]*rate.Limiter
	others *rate.Limiter // of sources that are not told apart any more
}

func (l *limits) allow(a Asker, at time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.of[a.Network]
	if n == nil {
		if l.of == nil {
			l.of = map[string]*limit{}
		}
		n = &limit{
			all: rate.NewLimiter(networkPerSecond, networkAtOnce), of: map[string]*rate.Limiter{}, others: rate.NewLimiter(perSecond, atOnce),
		}
		l.of[a.Network] = n
	}
	// What a source is refused takes nothing of its network's.
	return n.source(a.MAC, at).AllowN(at, 1) && n.all.AllowN(at, 1)
}

func (n *limit) source(mac string, at time.Time) *rate.Limiter {
	if mine := n.of[mac]; mine != nil {
		return mine
	}
	if len(n.of) >= mostSources {
		for other, limit := range n.of {
			if limit.TokensAt(at) >= atOnce { // it asks nothing
				delete(n.of, other)
			}
		}
	}
	if len(n.of) >= mostSources {
		return n.others
	}
	mine := rate.NewLimiter(perSecond, atOnce)
	n.of[mac] = mine
	return mine
}

func (l *limits) forget(network string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.of, network)
}
