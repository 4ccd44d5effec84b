package servers

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// DrainHost begins to empty a host, which gets no servers any more: those that are on it move to others, so many at once, into a zone or with
// "" anywhere. For operators. Conflict where it is being emptied as another request has asked.
func (s Servers) DrainHost(ctx context.Context, hostID, zone string, atOnce int) (contract.DrainState, error) {
	host, err := s.store.Host(ctx, hostID)
	if err != nil {
		return contract.DrainState{}, err
	}
	if zone != "" {
		hosts, err := s.store.ListHosts(ctx)
		if err != nil {
			return contract.DrainState{}, fmt.Errorf("list the hosts: %w", err)
		}
		if !slices.ContainsFunc(hosts, func(h models.HostUsage) bool { return h.ID != host.ID && h.Enabled && h.AvailabilityZone == zone }) {
			return contract.DrainState{}, invalid("No other host takes servers in availability zone %s.", zone)
		}
	}
	in := contract.DrainInput{
		HostID: host.ID, Hostname: host.Hostname, Zone: zone, AtOnce: atOnce, UserID: s.caller.UserID, RequestID: s.caller.RequestID,
		Deadlines: s.config.Deadlines,
	}
	refused := s.engine.DrainHost(ctx, in)
	if refused != nil && !fault.Is(refused, fault.Unavailable) {
		return contract.DrainState{}, fmt.Errorf("drain host %s: %w", host.Hostname, refused)
	}
	// The drain says whose it is, where the answer was lost.
	is, err := s.engine.Drain(ctx, host.ID)
	switch {
	case err == nil && is.RequestID == in.RequestID && (refused == nil || is.Begun):
		return is, nil
	case refused != nil:
		return contract.DrainState{}, fmt.Errorf("drain host %s: %w", host.Hostname, refused)
	}
	return contract.DrainState{
		HostID: in.HostID, Hostname: in.Hostname, Zone: in.Zone, AtOnce: in.AtOnce, UserID: in.UserID, RequestID: in.RequestID,
		Phase: contract.DrainRuns, StartedAt: time.Now(),
	}, nil
}

// Drain tells how far the drain of a host is; NotFound where none is known any more.
func (s Servers) Drain(ctx context.Context, hostID string) (contract.DrainState, error) {
	return s.engine.Drain(ctx, hostID)
}

// ActOnDrain pauses, resumes or stops a drain, and tells how far it is then.
func (s Servers) ActOnDrain(ctx context.Context, hostID, act string) (contract.DrainState, error) {
	err := s.engine.ActOnDrain(ctx, hostID, contract.DrainAct{Act: act, UserID: s.caller.UserID, RequestID: s.caller.RequestID})
	if err != nil {
		return contract.DrainState{}, fmt.Errorf("%s the drain of host %s: %w", act, hostID, err)
	}
	return s.Drain(ctx, hostID)
}
