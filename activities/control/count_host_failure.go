package control

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/models"
)

// CountHostFailure counts a build's failure against its host, which gets no new servers after too many in a row. It takes
// nothing: the count ends with a build that succeeds there.
func (a *Activities) CountHostFailure(ctx context.Context, in contract.CountHostFailureInput) error {
	h, counted, err := a.store.CountBuildFailure(ctx, models.BuildFailure{
		ServerID: in.ServerID, Hostname: in.Hostname, Text: in.Step + ": " + in.Text, At: a.now(), Limit: a.failures,
	})
	if err != nil || !counted {
		return err
	}
	log := a.log.With("host", in.Hostname, "server_id", in.ServerID, "failures", h.BuildFailures, "last", value(h.LastFailure))
	if h.Suspended {
		log.ErrorContext(ctx, "Builds fail on a host one after another: it gets no new servers until its trial passes.")
	} else {
		log.WarnContext(ctx, "A build failed on a host.")
	}
	return nil
}
