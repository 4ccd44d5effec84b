package control

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/serverspec"
	"github.com/slipway-cloud/slipway/internal/service/facts"
	"github.com/slipway-cloud/slipway/internal/vendordata"
	"github.com/slipway-cloud/slipway/models"
)

// AskVendorData asks the operator's services what the guest is to be told, and keeps their answers in the server's sealed spec. What
// is kept there is not asked for again.
func (a *Activities) AskVendorData(ctx context.Context, in contract.AskVendorDataInput) (contract.DynamicVendorData, error) {
	specs, err := a.store.ServerSpecs(ctx, in.ServerID)
	if err != nil {
		return nil, err
	}
	if kept, is := specs[in.ServerID]; is {
		spec, err := a.openSpec(kept)
		if err != nil || spec.DynamicVendorData != nil {
			return spec.DynamicVendorData, err
		}
	}
	answers, failed := vendordata.Ask(ctx, in)
	names := slices.Sorted(maps.Keys(failed))
	for _, name := range names {
		a.log.WarnContext(ctx, "a vendor data service gave no answer", "server_id", in.ServerID, "target", name, "error", failed[name])
	}
	if in.FailureFatal && len(failed) > 0 {
		return nil, fault.Wrap(fault.Internal, failed[names[0]],
			"No vendor data could be had from %s, without which servers are not built here (build.vendordata_dynamic_failure_fatal). Try again later.",
			strings.Join(names, ", "))
	}
	return answers, a.store.ReviseServerSpec(ctx, in.ServerID, func(kept models.ServerSpec) (models.ServerSpec, error) {
		spec, err := a.openSpec(kept)
		if err != nil {
			return kept, err
		}
		spec.DynamicVendorData = answers
		sealed, err := serverspec.Spec.Seal(a.keys, in.ServerID, spec)
		kept.KeyID, kept.Sealed = sealed.KeyID, sealed.Bytes
		return kept, err
	})
}

func (a *Activities) openSpec(kept models.ServerSpec) (contract.ServerSpec, error) {
	return facts.Spec(a.keys, kept)
}
