package ec2

import (
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/slipway-cloud/slipway/api/rest"
)

// maxProjects bounds how many projects' requests are counted at once; beyond it, who has asked least of late is forgotten.
const maxProjects = 4096

// rates limits how often each project may ask, by a bucket of tokens, as Amazon limits accounts (EC2 User Guide, API request
// throttling). The count is each api process's own.
type rates struct {
	every rate.Limit // 0: no limit
	burst int

	mu      sync.Mutex
	buckets map[string]*rate.Limiter // by project
}

func newRates(c Config) *rates {
	return &rates{every: rate.Limit(c.RequestsPerSecond), burst: max(1, c.RequestBurst), buckets: map[string]*rate.Limiter{}}
}

// take takes a token of a project's bucket: RequestLimitExceeded, which clients wait for and ask again, where there is none.
func (r *rates) take(project string, now time.Time) error {
	if r.every == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	bucket, ok := r.buckets[project]
	if !ok {
		r.makeRoom(now)
		bucket = rate.NewLimiter(r.every, r.burst)
		r.buckets[project] = bucket
	}
	if !bucket.AllowN(now, 1) {
		return rest.Status(http.StatusTooManyRequests, "Request limit exceeded.")
	}
	return nil
}

// makeRoom forgets projects whose buckets are full again, of which there is nothing to remember, or else the one whose bucket is fullest.
func (r *rates) makeRoom(now time.Time) {
	if len(r.buckets) < maxProjects {
		return
	}
	fullest, most := "", -1.0
	for project, bucket := range r.buckets {
		switch left := bucket.TokensAt(now); {
		case left >= float64(r.burst):
			delete(r.buckets, project)
		case left > most:
			fullest, most = project, left
		}
	}
	if len(r.buckets) >= maxProjects {
		delete(r.buckets, fullest)
	}
}
