package control

import (
	"context"
	"slices"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/service/placement"
	"github.com/slipway-cloud/slipway/models"
)

// shownAlternates is how many further hosts a selection names.
const shownAlternates = 2

// SelectHost filters and weighs the hosts and claims room on the best that still has it when the claim is made; NoValidHost
// says what each filter removed. A server that holds room on a host that is not excluded keeps it: the step had taken
// effect before.
func (a *Activities) SelectHost(ctx context.Context, in contract.SelectHostInput) (contract.HostSelection, error) {
	held, err := a.store.Placements(ctx, in.ServerID)
	if err != nil {
		return contract.HostSelection{}, err
	}
	for _, room := range held {
		h, err := a.store.Host(ctx, room.HostID)
		if fault.Is(err, fault.NotFound) {
			continue // it was given up in between, and its room with it
		}
		if err != nil {
			return contract.HostSelection{}, err
		}
		if !slices.Contains(in.Excluded, h.Hostname) {
			return a.allocate(ctx, in, placement.Choice{ID: h.ID, Hostname: h.Hostname, AvailabilityZone: h.AvailabilityZone})
		}
	}
	request, err := a.hosts.Request(ctx, in)
	if err != nil {
		return contract.HostSelection{}, err
	}
	return placement.Take(ctx, a.hosts, request, func(c placement.Choice, others func(int) []string) (contract.HostSelection, error) {
		selection, err := a.allocate(ctx, in, c)
		if err == nil {
			selection.Alternates = others(shownAlternates)
		}
		return selection, err
	})
}

func (a *Activities) allocate(ctx context.Context, in contract.SelectHostInput, c placement.Choice) (contract.HostSelection, error) {
	err := a.taking(ctx, contract.SelectHost, 0, c.Hostname).Place(ctx, models.Placement{
		ServerID: in.ServerID, HostID: c.ID, Zone: in.AvailabilityZone,
		VCPUs: in.Resources.VCPUs, MemoryMiB: in.Resources.RAMMiB, DiskGiB: in.Resources.DiskGiB,
	}, string(in.NextPhase), in.Excluded...)
	return contract.HostSelection{HostID: c.ID, Hostname: c.Hostname, AvailabilityZone: c.AvailabilityZone}, err
}

// ReleaseAllocation gives the room back: on the named host, or, where the selection's answer was lost, on every host but
// the excepted. What the server has left on a host before is not its to give back: that host may not be clean.
func (a *Activities) ReleaseAllocation(ctx context.Context, in contract.Undo) error {
	if err := a.giveBack(ctx, in.Run, contract.SelectHost, 0, in.Hostname); err != nil {
		return err
	}
	if in.Hostname != "" {
		return a.store.ReleasePlacement(ctx, in.ServerID, in.Hostname)
	}
	held, err := a.store.Placements(ctx, in.ServerID)
	if err != nil {
		return err
	}
	m, err := a.store.LastMigration(ctx, in.ServerID)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	for _, al := range held {
		h, err := a.store.Host(ctx, al.HostID)
		if err != nil {
			return err
		}
		chosen := m.RequestID == in.RequestID && m.DestHost == h.Hostname // which ForgetResize may have ended by now
		if slices.Contains(in.Except, h.Hostname) || al.Role == models.PlacementLeft && !chosen {
			continue
		}
		if err := a.store.ReleasePlacement(ctx, in.ServerID, h.Hostname); err != nil {
			return err
		}
	}
	return nil
}

// HostSeen says whether a host has reported within a time: one that a step was not answered from may be well while the
// engine was away. It takes nothing.
func (a *Activities) HostSeen(ctx context.Context, in contract.HostSeenInput) (bool, error) {
	h, err := a.store.HostByName(ctx, in.Hostname)
	if err != nil {
		return false, err
	}
	return h.Ready && !h.ForcedDown && a.now().Sub(h.SeenAt) < in.Within, nil
}
