package models

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// ServerSpec is what a server's build knew of it, sealed: which key opens it, and of which images it was built, can be read here.
// It is made with the server and goes with it. Servers of before there were any have none.
type ServerSpec struct {
	ServerID  string `gorm:"primaryKey"`
	KeyID     string
	Sealed    []byte
	CreatedAt time.Time
	// Parts are the images beside its own, kernel and ramdisk; nil is not known, as of a build of the version before.
	Parts []string `gorm:"serializer:json" db:"-"`
}

// insertSpecSQL keeps the spec of a server that this request has in BUILD. It waits for a delete of the server, and is
// waited for: no spec comes after its server has gone.
const insertSpecSQL = `
INSERT INTO server_specs (server_id, key_id, sealed, parts, created_at)
SELECT s.id, @key_id, @sealed, NULLIF(@parts::jsonb, 'null'), @created_at FROM servers s
WHERE s.id = @server_id AND s.` + isBuilding + ` AND EXISTS (SELECT FROM instance_actions a WHERE a.server_id = s.id AND a.request_id = @request_id)
FOR SHARE OF s
ON CONFLICT (server_id) DO NOTHING`

// removeSpecSQL takes what the guest has posted with it.
const removeSpecSQL = `
WITH gone AS (SELECT id FROM servers WHERE id = $1 AND deleted_at IS NOT NULL),
     posted AS (DELETE FROM guest_passwords WHERE server_id IN (SELECT id FROM gone))
DELETE FROM server_specs WHERE server_id IN (SELECT id FROM gone)`

// ServerSpecs of those of the servers that have one, by server.
func (s *Store) ServerSpecs(ctx context.Context, serverIDs ...string) (map[string]ServerSpec, error) {
	var all []ServerSpec
	if err := s.db.WithContext(ctx).Where("server_id = ANY(?)", texts(serverIDs)).Find(&all).Error; err != nil {
		return nil, failed(err, "read the specs of %d servers", len(serverIDs))
	}
	by := make(map[string]ServerSpec, len(all))
	for _, spec := range all {
		by[spec.ServerID] = spec
	}
	return by, nil
}

// ForgetServerSpec removes the spec of a server that is deleted; that of any other stays.
func (s *Store) ForgetServerSpec(ctx context.Context, serverID string) error {
	return failed(s.exec(ctx, removeSpecSQL, serverID), "remove the spec of server %s", serverID)
}

// ReviseServerSpec changes what is sealed in a server's spec, and its Parts where they are set, while nobody else does. Nothing
// happens where there is none.
func (s *Store) ReviseServerSpec(ctx context.Context, serverID string, revise func(ServerSpec) (ServerSpec, error)) error {
	return failed(withRetries(ctx, func() error {
		return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			var b pgx.Batch
			s.taking.queue(&b)
			if err := tx.SendBatch(ctx, &b).Close(); err != nil {
				return err
			}
			_, err := replaceSpecs(ctx, tx, revise, `server_id = $1`, serverID)
			return err
		})
	}), "revise the spec of server %s", serverID)
}

// SpecKeys says how many specs are sealed with each key.
func (s *Store) SpecKeys(ctx context.Context) (map[string]int, error) {
	return s.sealedWith(ctx, "server_specs")
}

// sealedWith counts the rows of a table that each key seals.
func (s *Store) sealedWith(ctx context.Context, table string) (map[string]int, error) {
	var all []struct {
		KeyID string
		Rows  int
	}
	if err := s.db.WithContext(ctx).Table(table).Select("key_id, count(*) AS rows").Group("key_id").Scan(&all).Error; err != nil {
		return nil, failed(err, "count what each key seals of %s", table)
	}
	by := make(map[string]int, len(all))
	for _, k := range all {
		by[k.KeyID] = k.Rows
	}
	return by, nil
}

// ResealSpecs seals some specs, at most limit, that are sealed with another key than keyID, and says how many; 0 is none left.
// A spec that cannot be sealed anew leaves all as they were.
func (s *Store) ResealSpecs(ctx context.Context, keyID string, limit int, reseal func(ServerSpec) (ServerSpec, error)) (int, error) {
	var done int
	err := withRetries(ctx, func() error {
		return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) (err error) {
			done, err = replaceSpecs(ctx, tx, reseal, `key_id <> $1 ORDER BY server_id LIMIT $2`, keyID, limit)
			return err
		})
	})
	return done, failed(err, "seal the specs of servers anew")
}

// replaceSpecs locks the specs of a condition and puts others in their places; it says how many.
func replaceSpecs(ctx context.Context, tx pgx.Tx, change func(ServerSpec) (ServerSpec, error), condition string, args ...any) (int, error) {
	rows, err := tx.Query(ctx, `SELECT server_id, key_id, sealed, created_at FROM server_specs WHERE `+condition+` FOR UPDATE`, args...)
	if err != nil {
		return 0, err
	}
	old, err := pgx.CollectRows(rows, pgx.RowToStructByPos[ServerSpec])
	if err != nil {
		return 0, err
	}
	var b pgx.Batch
	for _, spec := range old {
		fresh, err := change(spec)
		if err != nil {
			return 0, err
		}
		b.Queue(`UPDATE server_specs SET key_id = $2, sealed = $3, parts = COALESCE(NULLIF($4::jsonb, 'null'), parts) WHERE server_id = $1`,
			spec.ServerID, fresh.KeyID, fresh.Sealed, asJSON(fresh.Parts))
	}
	return len(old), tx.SendBatch(ctx, &b).Close()
}
