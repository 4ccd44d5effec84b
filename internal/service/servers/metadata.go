package servers

import (
	"context"
	"net/netip"

	"github.com/slipway-cloud/slipway/internal/guest/metadata"
	"github.com/slipway-cloud/slipway/internal/service/facts"
	"github.com/slipway-cloud/slipway/models"
)

// Metadata is what a guest of a host is told that has an address on a network. NotFound where the host has no such server. The
// administrator's password is not in it: every process of a guest may ask the metadata service, and Nova's does not tell it either.
func (s *Service) Metadata(ctx context.Context, host models.Host, network string, at netip.Addr) (metadata.Instance, error) {
	p, err := s.store.PortAt(ctx, host.ID, network, at)
	if err != nil {
		return metadata.Instance{}, err
	}
	told := metadata.Instance{ServerID: *p.ServerID, PortID: p.ID, MAC: p.MAC, Unguarded: !p.PortSecurity}
	if told.Unguarded {
		return told, nil
	}
	v, err := s.store.Server(ctx, told.ServerID)
	if err != nil {
		return metadata.Instance{}, err
	}
	specs, err := s.store.ServerSpecs(ctx, v.ID)
	if err != nil {
		return metadata.Instance{}, err
	}
	if _, is := specs[v.ID]; !is {
		told.Unkept = true
		return told, nil
	}
	of, err := facts.Of(v, specs, s.config.Keys, s.networks.VIFType())
	if err != nil {
		return metadata.Instance{}, err
	}
	of.Spec.AdminPass = ""
	told.Metadata = of.Metadata(host.AvailabilityZone)
	told.Password, err = s.store.GuestPassword(ctx, v.ID)
	return told, err
}

// KeepGuestPassword keeps what the guest behind a port of a host has posted, once; Conflict where something else is kept.
func (s *Service) KeepGuestPassword(ctx context.Context, host models.Host, portID, password string) error {
	return s.store.KeepGuestPassword(ctx, host.ID, portID, password)
}

// GuestPassword is what the guest of a server has posted, encrypted with its key pair.
func (s Servers) GuestPassword(ctx context.Context, v models.Server) (string, error) {
	return s.store.GuestPassword(ctx, v.ID)
}

// ClearGuestPassword forgets it, so that the guest can post another.
func (s Servers) ClearGuestPassword(ctx context.Context, v models.Server) error {
	return s.store.ClearGuestPassword(ctx, v.ID)
}
