package control

import (
	"context"
	"slices"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/imageprops"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/internal/scheduler"
	"github.com/slipway-cloud/slipway/models"
)

// SelectDestination chooses where a server becomes what it is to be, and takes the room there beside its own, and shows that the disks
// are next: its own host, where it may stay and that has the room for both, else the best of the others. NoValidHost says what each filter
// removed. A server that has the room already keeps it: the step had taken effect before.
func (a *Activities) SelectDestination(ctx context.Context, in contract.SelectDestinationInput) (contract.Destination, error) {
	rows, err := a.store.ListHostsForBuild(ctx, a.now().Add(-a.cleanFor))
	if err != nil {
		return contract.Destination{}, err
	}
	held, err := a.store.Placements(ctx, in.ServerID)
	if err != nil {
		return contract.Destination{}, err
	}
	for _, h := range rows {
		if slices.ContainsFunc(held, func(p models.Placement) bool { return p.HostID == h.ID && p.Role == models.PlacementResize }) {
			return a.goTo(ctx, in, h.Host)
		}
	}
	ranked, err := a.destinations(ctx, in, rows, held)
	if err != nil {
		return contract.Destination{}, err
	}
	return onTheBest(rows, ranked, func(h models.Host, _ []scheduler.Host) (contract.Destination, error) { return a.goTo(ctx, in, h) })
}

// destinations are the hosts that take what the server becomes, best first. Its own comes before all others, which cost the travel of
// its disks. One where it has left something is none: what it gets there would go with that.
func (a *Activities) destinations(ctx context.Context, in contract.SelectDestinationInput, rows []models.HostUsage, held []models.Placement) ([]scheduler.Host, error) {
	image := in.New.Spec.Image
	hardware, err := imageprops.Parse(image.Root.Properties, in.New.Spec.Flavor.ExtraSpecs)
	if err != nil {
		return nil, err
	}
	request := scheduler.Request{
		Resources: in.New.Resources, Architecture: hardware.Architecture, UEFI: hardware.UEFI(),
		AvailabilityZone: in.New.Server.AvailabilityZone, Host: in.Host, Now: a.now(), DownAfter: a.downAfter, CleanFor: a.cleanFor,
		Multipliers: a.weigh, ProjectID: in.New.Server.ProjectID, ExtraSpecs: in.New.Spec.Flavor.ExtraSpecs,
		Because: "the server is to leave it, or has left something there",
	}
	if err := a.follow(ctx, &request, in.ServerID, in.New.Spec.Hints); err != nil {
		return nil, err
	}
	hosts := make([]scheduler.Host, len(rows))
	for i, h := range rows {
		hosts[i] = schedulable(h)
		if h.Hostname != in.Hostname && slices.ContainsFunc(held, func(p models.Placement) bool { return p.HostID == h.ID }) {
			request.Excluded = append(request.Excluded, h.Hostname)
		}
	}
	stays := !in.Migrates && (in.Host == in.Hostname || in.Host == "" && !a.resizeAway)
	if !stays {
		request.Excluded = append(request.Excluded, in.Hostname)
	}
	ranked, err := scheduler.Rank(request, hosts)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(ranked, func(x, y scheduler.Host) int {
		switch in.Hostname {
		case x.Hostname:
			return -1
		case y.Hostname:
			return 1
		}
		return 0
	})
	return ranked, nil
}

// goTo takes the room on a host.
func (a *Activities) goTo(ctx context.Context, in contract.SelectDestinationInput, h models.Host) (contract.Destination, error) {
	to := contract.Destination{Hostname: h.Hostname, AvailabilityZone: h.AvailabilityZone}
	store := a.taking(ctx, contract.SelectHost, 0, h.Hostname) // which ReleaseAllocation gives back
	if err := store.ChooseDestination(ctx, in.ServerID, in.RequestID, h.Hostname); err != nil {
		return to, err
	}
	err := store.Place(ctx, models.Placement{
		ServerID: in.ServerID, HostID: h.ID, Role: models.PlacementResize, Zone: in.New.Server.AvailabilityZone,
		VCPUs: in.New.Resources.VCPUs, MemoryMiB: in.New.Resources.RAMMiB, DiskGiB: in.New.Resources.DiskGiB,
	}, lifecycle.ResizePrep)
	if err != nil {
		return to, err
	}
	if _, err := store.MoveMigration(ctx, in.ServerID, in.RequestID, false, []string{models.MigrationBegun}, models.MigrationMigrating); err != nil {
		return to, err
	}
	return to, a.advance(ctx, in.ServerID, in.RequestID, 0)
}
