package models

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/jackc/pgx/v5"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// PortAt is the port of a server on a host that has an address on a network as its own: a fixed one, or the link-local one that its MAC
// makes. Only ID, MAC, ServerID and PortSecurity are set. NotFound where there is none.
func (s *Store) PortAt(ctx context.Context, hostID, networkID string, at netip.Addr) (Port, error) {
	var p Port
	err := withRetries(ctx, func() error {
		return s.pool.QueryRow(ctx, `
SELECT p.id, p.mac, p.server_id, p.port_security FROM ports p JOIN servers s ON s.id = p.server_id
WHERE p.network_id = $1 AND p.host_id = $2 AND s.deleted_at IS NULL AND EXISTS (SELECT FROM placements a WHERE a.server_id = s.id AND a.host_id = $2)
  AND (p.mac = $4 OR EXISTS (SELECT FROM fixed_ips f WHERE f.port_id = p.id AND f.ip = $3::inet))`,
			networkID, hostID, at.String(), linkLocalMAC(at)).Scan(&p.ID, &p.MAC, &p.ServerID, &p.PortSecurity)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return Port{}, fault.New(fault.NotFound, "No server of this host has the address %s on network %s.", at, networkID)
	}
	return p, failed(err, "look for the port with %s on network %s", at, networkID)
}

// linkLocalMAC is the MAC that a link-local address is made of (RFC 4291, appendix A); "" of any other.
func linkLocalMAC(a netip.Addr) string {
	b := a.As16()
	if !a.Is6() || [8]byte(b[:8]) != [8]byte{0xfe, 0x80} || b[11] != 0xff || b[12] != 0xfe {
		return ""
	}
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", b[8]^2, b[9], b[10], b[13], b[14], b[15])
}

// KeepGuestPassword keeps what the guest behind a port of a host has posted, once: the same again is success, another is Conflict.
func (s *Store) KeepGuestPassword(ctx context.Context, hostID, portID, password string) error {
	var known, kept bool
	err := withRetries(ctx, func() error {
		return s.pool.QueryRow(ctx, `
WITH server AS (SELECT s.id FROM ports p JOIN servers s ON s.id = p.server_id WHERE p.id = $1 AND p.host_id = $2 AND s.deleted_at IS NULL FOR SHARE OF s),
     kept AS (
         INSERT INTO guest_passwords AS g (server_id, password, created_at) SELECT id, $3, $4 FROM server
         ON CONFLICT (server_id) DO UPDATE SET password = excluded.password WHERE g.password = excluded.password
         RETURNING server_id)
SELECT EXISTS (SELECT FROM server), EXISTS (SELECT FROM kept)`, portID, hostID, password, now()).Scan(&known, &kept)
	})
	switch {
	case err != nil:
		return failed(err, "keep the password of the guest at port %s", portID)
	case !known:
		return noPort(portID)
	case !kept:
		return fault.New(fault.Conflict, "The guest at port %s has posted a password before.", portID)
	}
	return nil
}

// GuestPassword is what a server's guest has posted; "" is nothing.
func (s *Store) GuestPassword(ctx context.Context, serverID string) (password string, err error) {
	err = withRetries(ctx, func() error {
		return s.pool.QueryRow(ctx, `SELECT COALESCE((SELECT password FROM guest_passwords WHERE server_id = $1), '')`, serverID).Scan(&password)
	})
	return password, failed(err, "read the password that the guest of server %s has posted", serverID)
}

// ClearGuestPassword forgets it, so that another can be posted.
func (s *Store) ClearGuestPassword(ctx context.Context, serverID string) error {
	return failed(s.exec(ctx, `DELETE FROM guest_passwords WHERE server_id = $1`, serverID), "forget the password of server %s", serverID)
}
