package servers

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/service/facts"
)

// Specs are what the builds of servers knew, of those that have one: servers of before they were kept do not. They hold secrets
// of guests, and are for admins.
func (s Servers) Specs(ctx context.Context, ids ...string) (map[string]contract.ServerSpec, error) {
	if !s.caller.Admin() {
		return nil, fault.New(fault.Forbidden, "Policy doesn't allow os_compute_api:os-extended-server-attributes to be performed.")
	}
	kept, err := s.store.ServerSpecs(ctx, ids...)
	if err != nil {
		return nil, err
	}
	specs := make(map[string]contract.ServerSpec, len(kept))
	for id, k := range kept {
		if specs[id], err = facts.Spec(s.config.Keys, k); err != nil {
			return nil, err
		}
	}
	return specs, nil
}
