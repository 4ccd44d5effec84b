package control

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
)

// parallelStarts is how many builds are being started at the same time: enough to hide the round trip to the engine.
const parallelStarts = 10

// StartBuilds starts a build for each of some reserved servers. It answers those that the engine refuses for good. Anything
// else is tried again with all of them: one that has begun stays the only one.
func (a *Activities) StartBuilds(ctx context.Context, in contract.StartBuildsInput) (contract.StartedBuilds, error) {
	var (
		out      contract.StartedBuilds
		mu       sync.Mutex
		starting errgroup.Group
	)
	starting.SetLimit(parallelStarts)
	for place := in.From; place < in.To; place++ {
		starting.Go(func() error {
			boot := contract.ReservedServer(in.Boot, place, in.Admitted)
			err := a.builds.Start(ctx, boot)
			switch {
			case fault.Is(err, fault.Internal):
				mu.Lock()
				defer mu.Unlock()
				if len(out.Refused) == 0 || place < out.Refused[0] {
					out.Reason = err.Error()
				}
				out.Refused = append(out.Refused, place)
				slices.Sort(out.Refused)
				return nil
			case err != nil:
				return fmt.Errorf("start the build of server %s: %w", boot.ServerID, err)
			}
			return nil
		})
	}
	if err := starting.Wait(); err != nil {
		return contract.StartedBuilds{}, err
	}
	return out, nil
}
