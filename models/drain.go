package models

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// HostDrain is that an operator has a host emptied.
type HostDrain struct {
	HostID    string
	RequestID string
	AnswerBy  time.Time // as an InstanceAction's
}

// reason is why a host is disabled that is emptied.
func (d HostDrain) reason() string { return "drained, as " + d.RequestID + " asked" }

// BeginDrain has a host get no servers any more, where it gets some: one that was disabled before stays so for the reason that it has. Again
// is success. NotFound for a host that is not there, Conflict for one that is given up, and behind AnswerBy.
func (s *Store) BeginDrain(ctx context.Context, d HostDrain) error {
	var begun, late bool
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(lockHostSQL, d.HostID) // as who takes room there does
		b.Queue(`UPDATE hosts SET enabled = false, disabled_reason = $2 WHERE id = $1 AND enabled AND NOT `+isForgotten+` AND NOT `+isLate("$3"),
			d.HostID, d.reason(), optionalTime(d.AnswerBy))
		b.Queue(`SELECT EXISTS (SELECT FROM hosts WHERE id = $1 AND NOT enabled AND NOT `+isForgotten+` AND (disabled_reason = $2 OR NOT `+isLate("$3")+`)), `+isLate("$3"),
			d.HostID, d.reason(), optionalTime(d.AnswerBy)).QueryRow(func(r pgx.Row) error { return r.Scan(&begun, &late) })
	})
	switch {
	case err != nil:
		return failed(err, "have host %s get no servers any more", d.HostID)
	case begun:
		return nil
	case late:
		return tooLate()
	}
	return s.noHostToUse(ctx, d.HostID)
}

// AbandonDrain has a host get servers again that gets none because of a drain which did not begin.
func (s *Store) AbandonDrain(ctx context.Context, d HostDrain) error {
	err := s.exec(ctx, `UPDATE hosts SET enabled = true, disabled_reason = NULL WHERE id = $1 AND NOT enabled AND disabled_reason = $2 AND NOT `+isForgotten,
		d.HostID, d.reason())
	return failed(err, "have host %s get servers again", d.HostID)
}

// HeldRoom is a server that is placed on a host, or holds room there in a role.
type HeldRoom struct {
	Server
	Role string // "" is none; of several the first by name
}

// HeldOn are the servers that are placed or hold room on a host, in whatever state, the oldest first.
func (s *Store) HeldOn(ctx context.Context, hostID string) ([]HeldRoom, error) {
	held := []HeldRoom{}
	err := s.db.WithContext(ctx).Raw(`
SELECT s.*, COALESCE((SELECT min(p.role) FROM placements p WHERE p.server_id = s.id AND p.host_id = @host_id), '') AS role FROM servers s
WHERE s.id IN (SELECT server_id FROM placements WHERE host_id = @host_id UNION SELECT id FROM servers WHERE host_id = @host_id)
ORDER BY s.created_at, s.id`, map[string]any{"host_id": hostID}).Scan(&held).Error
	return held, failed(err, "list what is on host %s", hostID)
}
