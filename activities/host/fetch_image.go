package host

import (
	"context"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/slipway-cloud/slipway/internal/contract"
)

// heartbeatEvery is how often a step that moves bytes tells how far it is.
const heartbeatEvery = time.Second

// FetchImage brings the images into this host's cache. It has no undo: the cache evicts what no server uses.
func (a *Activities) FetchImage(ctx context.Context, in contract.FetchImageInput) (out contract.FetchImageOutput, err error) {
	beat := startHeart(ctx, contract.FetchProgress{})
	defer beat.stop()
	for _, image := range in.Images {
		beat.set(contract.FetchProgress{ImageID: image.ID, Total: image.SizeBytes})
		_, n, err := a.o.Cache.Fetch(ctx, image, func(bytes, total int64) {
			beat.set(contract.FetchProgress{ImageID: image.ID, Bytes: bytes, Total: total})
		})
		out.DownloadedBytes += n
		if err != nil {
			return out, err
		}
		if n > 0 {
			a.o.Logger.InfoContext(ctx, "image fetched", "server_id", in.ServerID, "image_id", image.ID, "bytes", n)
		}
	}
	return out, nil
}

// heart beats once a second with the latest progress, also while nothing moves: reading what an earlier try left can take
// long, and a stalled connection is the cache's to give up.
type heart struct {
	mu     sync.Mutex
	latest any
	end    chan struct{}
	ended  chan struct{}
}

func startHeart(ctx context.Context, latest any) *heart {
	h := &heart{latest: latest, end: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(h.ended)
		tick := time.NewTicker(heartbeatEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if activity.IsActivity(ctx) { // not in a test that calls the step itself
					activity.RecordHeartbeat(ctx, h.get())
				}
			case <-h.end:
				return
			}
		}
	}()
	return h
}

func (h *heart) set(p any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.latest = p
}

func (h *heart) get() any {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.latest
}

func (h *heart) stop() {
	close(h.end)
	<-h.ended
}
