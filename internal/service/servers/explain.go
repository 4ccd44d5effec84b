package servers

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/scheduler"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

// Explanation is what Boot would do with a request, if nothing happened before.
type Explanation struct {
	// Refused is why it would not be accepted, by which step of the build; nil where it would be.
	Refused error
	Step    string
	// Admitted is how many servers it would be accepted for.
	Admitted int
	Quota    []Share

	Flavor contract.Flavor
	// Image is what each server would be built of, and Resources what it would take of its host. Hosts are those that could take the first
	// one, or why its build would fail; none of it is known where the image is what is refused.
	Image     *contract.ResolvedImage
	Resources contract.Resources
	Hosts     scheduler.Explanation

	Times models.BuildTimes // of the last builds here
}

// Share is what a request would take of a quota. A limit below 0 is none.
type Share struct {
	Name               string // Nova's
	Limit, Used, Asked int
}

// shownRemoved is how many of the hosts that one filter removed are named.
const shownRemoved = 100

// Explain says what Boot would do with a request now, by what Boot and the steps of its build go by themselves. It takes nothing and writes
// nothing. What Boot refuses of the request itself is refused likewise; what the build's first steps would refuse is explained.
func (s Servers) Explain(ctx context.Context, r Request) (Explanation, error) {
	in, err := s.input(ctx, uuid.NewString(), r)
	if err != nil {
		return Explanation{}, err
	}
	e := Explanation{Flavor: in.Flavor}
	if e.Times, err = s.store.BuildTimes(ctx); err != nil {
		return e, err
	}
	image, err := images.Resolve(ctx, s.store, in.Resolution())
	if e.refuse(contract.ResolveImage, err); err != nil && e.Refused == nil {
		return e, err
	}
	if err := s.explainQuota(ctx, &e, in, r); err != nil || e.Step == contract.ResolveImage {
		return e, err
	}
	selection := in.Selection(image)
	e.Image, e.Resources = &image, selection.Resources
	selection.ServerID = "" // it is none yet
	request, err := s.hosts.Request(ctx, selection)
	if err != nil {
		return e, err
	}
	e.Hosts, err = s.hosts.Explain(ctx, request, shownRemoved)
	return e, err
}

// explainQuota says what the request would take of what is left.
func (s Servers) explainQuota(ctx context.Context, e *Explanation, in contract.BootInput, r Request) error {
	q, err := s.Quota(ctx, in.ProjectID)
	if err != nil {
		return err
	}
	used, err := s.store.QuotaUsage(ctx, in.ProjectID)
	if err != nil {
		return err
	}
	claim := models.Claim{Instances: 1, Cores: in.Flavor.VCPUs, RAMMiB: in.Flavor.RAMMiB}
	e.Quota = []Share{
		{"instances", q.Instances, used.Instances, r.Max}, {"cores", q.Cores, used.Cores, r.Max * claim.Cores}, {"ram", q.RAMMiB, used.RAMMiB, r.Max * claim.RAMMiB},
		{"metadata_items", q.MetadataItems, 0, len(r.Metadata)}, {"injected_files", q.InjectedFiles, 0, len(r.Files)},
	}
	n, err := used.Admits(r.Min, r.Max, claim, models.Limits(in.Limits))
	e.refuse(contract.ClaimQuota, err)
	if in.Group != nil {
		g, err := s.store.ServerGroup(ctx, in.Group.ID)
		if err != nil {
			return err
		}
		e.Quota = append(e.Quota, Share{"server_group_members", in.Group.Limit, len(g.Members), r.Max})
		if over(len(g.Members)+n, in.Group.Limit) {
			e.refuse(contract.RecordServer, models.FullGroup())
		}
	}
	if e.Refused == nil {
		e.Admitted = n
	}
	return nil
}

// refuse keeps the first refusal of a step: what is wrong with the request, and not with who looked.
func (e *Explanation) refuse(step string, err error) {
	var f *fault.Error
	if e.Refused == nil && errors.As(err, &f) && (f.Kind == fault.Invalid || f.Kind == fault.OverQuota) {
		e.Step, e.Refused = step, err
	}
}
