package control

import (
	"cmp"
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imageprops"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/internal/scheduler"
	"github.com/slipway-cloud/slipway/internal/service/placement"
	"github.com/slipway-cloud/slipway/models"
)

// SelectDestination chooses where a server becomes what it is to be, and takes the room there beside its own, and shows that the disks
// are next: its own host, where it may stay and that has the room for both, else the best of the others. NoValidHost says what each filter
// removed. A server that has the room already keeps it: the step had taken effect before.
func (a *Activities) SelectDestination(ctx context.Context, in contract.SelectDestinationInput) (contract.Destination, error) {
	held, err := a.store.Placements(ctx, in.ServerID)
	if err != nil {
		return contract.Destination{}, err
	}
	var left []string // where it has left something
	for _, room := range held {
		h, err := a.store.Host(ctx, room.HostID)
		if fault.Is(err, fault.NotFound) {
			continue // it was given up in between, and its room with it
		}
		if err != nil {
			return contract.Destination{}, err
		}
		if room.Role == models.PlacementResize {
			return a.goTo(ctx, in, placement.Choice{ID: h.ID, Hostname: h.Hostname, AvailabilityZone: h.AvailabilityZone})
		}
		if h.Hostname != in.Hostname {
			left = append(left, h.Hostname)
		}
	}
	request, err := a.destination(ctx, in, left)
	if err != nil {
		return contract.Destination{}, err
	}
	return placement.Take(ctx, a.hosts, request, func(c placement.Choice, _ func(int) []string) (contract.Destination, error) {
		return a.goTo(ctx, in, c)
	})
}

// destination is the request for what the server becomes. Its own host comes before all others, which cost the travel of its disks. One where
// it has left something is none: what it gets there would go with that.
func (a *Activities) destination(ctx context.Context, in contract.SelectDestinationInput, left []string) (scheduler.Request, error) {
	image := in.New.Spec.Image
	if asked := in.New.Server.AvailabilityZone; in.Zone != "" && asked != "" && asked != in.Zone {
		return scheduler.Request{}, fault.New(fault.NoValidHost,
			"No valid host was found. The server was asked for in availability zone %s, and is to go to %s.", asked, in.Zone)
	}
	hardware, err := imageprops.Parse(image.Root.Properties, in.New.Spec.Flavor.ExtraSpecs)
	if err != nil {
		return scheduler.Request{}, err
	}
	excluded := left
	if stays := !in.Migrates && (in.Host == in.Hostname || in.Host == "" && !a.resizeAway); !stays {
		excluded = append(excluded, in.Hostname)
	}
	request, err := a.hosts.Request(ctx, contract.SelectHostInput{
		ServerID: in.ServerID, Resources: in.New.Resources, Architecture: hardware.Architecture, UEFI: hardware.UEFI(),
		AvailabilityZone: zoneOf(in), Host: in.Host, Excluded: excluded,
		ProjectID: in.New.Server.ProjectID, ExtraSpecs: in.New.Spec.Flavor.ExtraSpecs, Hints: in.New.Spec.Hints,
	})
	request.Because, request.First = "the server is to leave it, or has left something there", in.Hostname
	return request, err
}

// zoneOf is the zone of the destination: that which the server was asked for in, or is to go to.
func zoneOf(in contract.SelectDestinationInput) string {
	return cmp.Or(in.New.Server.AvailabilityZone, in.Zone)
}

// goTo takes the room on a host.
func (a *Activities) goTo(ctx context.Context, in contract.SelectDestinationInput, c placement.Choice) (contract.Destination, error) {
	to := contract.Destination{Hostname: c.Hostname, AvailabilityZone: c.AvailabilityZone}
	store := a.taking(ctx, contract.SelectHost, 0, c.Hostname) // which ReleaseAllocation gives back
	if err := store.ChooseDestination(ctx, in.ServerID, in.RequestID, c.Hostname); err != nil {
		return to, err
	}
	err := store.Place(ctx, models.Placement{
		ServerID: in.ServerID, HostID: c.ID, Role: models.PlacementResize, Zone: zoneOf(in),
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
