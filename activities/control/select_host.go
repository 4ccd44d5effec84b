package control

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/scheduler"
	"github.com/slipway-cloud/slipway/models"
)

// shownAlternates is how many further hosts a selection names.
const shownAlternates = 2

// SelectHost filters and weighs the hosts and claims room on the best that still has it when the claim is made; NoValidHost
// says what each filter removed. A server that holds room on a host that is not excluded keeps it: the step had taken
// effect before.
func (a *Activities) SelectHost(ctx context.Context, in contract.SelectHostInput) (contract.HostSelection, error) {
	now := a.now()
	rows, err := a.store.ListHostsForBuild(ctx, now.Add(-a.cleanFor))
	if err != nil {
		return contract.HostSelection{}, err
	}
	held, err := a.store.Placements(ctx, in.ServerID)
	if err != nil {
		return contract.HostSelection{}, err
	}
	for _, h := range rows {
		holds := slices.ContainsFunc(held, func(al models.Placement) bool { return al.HostID == h.ID })
		if holds && !slices.Contains(in.Excluded, h.Hostname) {
			return a.allocate(ctx, in, h.Host, nil)
		}
	}

	request := scheduler.Request{
		Resources:        in.Resources,
		AvailabilityZone: in.AvailabilityZone,
		Architecture:     in.Architecture,
		UEFI:             in.UEFI,
		Excluded:         in.Excluded,
		Host:             in.Host,
		Now:              now,
		DownAfter:        a.downAfter,
		CleanFor:         a.cleanFor,
		Multipliers:      a.weigh,
		ProjectID:        in.ProjectID,
		ExtraSpecs:       in.ExtraSpecs,
	}
	if err := a.follow(ctx, &request, in.ServerID, in.Hints); err != nil {
		return contract.HostSelection{}, err
	}
	hosts := make([]scheduler.Host, len(rows))
	for i, h := range rows {
		hosts[i] = schedulable(h)
	}
	ranked, err := scheduler.Rank(request, hosts)
	if err != nil {
		return contract.HostSelection{}, err
	}
	return onTheBest(rows, ranked, func(h models.Host, others []scheduler.Host) (contract.HostSelection, error) {
		return a.allocate(ctx, in, h, others)
	})
}

// onTheBest takes room on the best of the ranked hosts that still has it when it is taken; others are those behind it.
func onTheBest[T any](rows []models.HostUsage, ranked []scheduler.Host, take func(h models.Host, others []scheduler.Host) (T, error)) (T, error) {
	refused := []string{} // what is so by now, by each host that was fit when the hosts were listed
	for i, choice := range ranked {
		row := rows[slices.IndexFunc(rows, func(h models.HostUsage) bool { return h.ID == choice.ID })]
		taken, err := take(row.Host, ranked[i+1:])
		if fault.Is(err, fault.HostUnfit) {
			refused = append(refused, fault.Public(err))
			continue
		}
		return taken, err
	}
	var none T
	return none, fault.New(fault.NoValidHost, "No valid host was found. What was fit is not any more: %s", strings.Join(refused, " "))
}

func (a *Activities) allocate(ctx context.Context, in contract.SelectHostInput, h models.Host, others []scheduler.Host) (contract.HostSelection, error) {
	err := a.taking(ctx, contract.SelectHost, 0, h.Hostname).Place(ctx, models.Placement{
		ServerID: in.ServerID, HostID: h.ID, Zone: in.AvailabilityZone,
		VCPUs: in.Resources.VCPUs, MemoryMiB: in.Resources.RAMMiB, DiskGiB: in.Resources.DiskGiB,
	}, string(in.NextPhase), in.Excluded...)
	if err != nil {
		return contract.HostSelection{}, err
	}
	selection := contract.HostSelection{HostID: h.ID, Hostname: h.Hostname, AvailabilityZone: h.AvailabilityZone}
	for _, o := range others[:min(len(others), shownAlternates)] {
		selection.Alternates = append(selection.Alternates, o.Hostname)
	}
	return selection, nil
}

func schedulable(h models.HostUsage) scheduler.Host {
	ready, reason := h.CanTake()
	if !h.Enabled {
		reason = value(h.DisabledReason)
	}
	var back time.Time
	if h.BackAt != nil {
		back = *h.BackAt
	}
	return scheduler.Host{
		ID: h.ID, Hostname: h.Hostname, AvailabilityZone: h.AvailabilityZone, Architectures: h.Architectures, UEFI: h.UEFI,
		Enabled: h.Enabled, Ready: ready, Reason: reason, SeenAt: h.SeenAt,
		BackAt: back, Leftovers: h.Leftovers, BuildFailures: h.BuildFailures, Servers: h.Servers, Address: h.Address, Aggregates: h.Aggregates,
		Capacity: contract.Resources{VCPUs: h.CapacityVCPUs, RAMMiB: h.CapacityMemoryMiB, DiskGiB: h.CapacityDiskGiB},
		Used:     contract.Resources{VCPUs: h.UsedVCPUs, RAMMiB: h.UsedMemoryMiB, DiskGiB: h.UsedDiskGiB},
	}
}

// follow has a request follow the hints of its server. What they name may be gone by now: a group that was deleted asks for nothing, and a
// server that was is nowhere.
func (a *Activities) follow(ctx context.Context, request *scheduler.Request, serverID string, given map[string]any) error {
	hints, err := scheduler.ReadHints(given)
	if err != nil {
		return err
	}
	request.Query, request.Near = hints.Query, hints.Near
	if hints.Group != "" {
		if request.Group, err = a.groupOf(ctx, serverID); err != nil {
			return err
		}
	}
	if hints.SameHost != nil {
		hosts, err := a.store.HostsOf(ctx, hints.SameHost)
		if err != nil {
			return err
		}
		request.With = &scheduler.Others{Hosts: hosts}
	}
	if hints.DifferentHost != nil {
		request.Apart, err = a.store.HostsOf(ctx, hints.DifferentHost)
	}
	return err
}

func (a *Activities) groupOf(ctx context.Context, serverID string) (*scheduler.Group, error) {
	group, hosts, err := a.store.GroupOf(ctx, serverID)
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	g := &scheduler.Group{Policy: group.Policy, MaxPerHost: 1, Members: map[string]int{}}
	if group.MaxPerHost != nil {
		g.MaxPerHost = *group.MaxPerHost
	}
	for _, h := range hosts {
		g.Members[h.Hostname] = h.Servers
		if h.Placed {
			g.Homes = append(g.Homes, h.Hostname)
		}
	}
	return g, nil
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
