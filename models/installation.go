package models

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Installation is who this database is. Its id stays for as long as there is the database, and is restored with it.
//
// Its generation rises with time. Each host and each image store is given it and keeps the highest that it saw; what each
// was given is written here before. So one that holds a later generation than it was given has met a later state of this
// database than this one: it was restored from a backup (or one of two copies that both are in use). That is seen however
// long ago the restore was and however far the generation has come since.
type Installation struct {
	ID           string
	CreatedAt    time.Time
	Generation   int64
	Acknowledged int64 // generations up to this one are held here and there from before a restore that was acknowledged
	Restore      *Restore
}

// Restore is the latest time at which it was noticed that the database is older than what was seen of it.
type Restore struct {
	NoticedAt      time.Time
	Evidence       map[string]RestoreEvidence // by who holds it: "host hv1", "image store local"
	AcknowledgedAt *time.Time
	AcknowledgedBy *string // user id
}

// RestoreEvidence is a generation that somebody holds and was not given by this database.
type RestoreEvidence struct {
	Holds int64     `json:"holds"`
	Given int64     `json:"given"`
	At    time.Time `json:"at"`
}

// Restored says whether the database was restored and nobody has acknowledged that yet.
func (i Installation) Restored() bool { return i.Restore != nil && i.Restore.AcknowledgedAt == nil }

// Witnesses are those whose word the evidence is, in order.
func (r Restore) Witnesses() []string {
	names := make([]string, 0, len(r.Evidence))
	for name := range r.Evidence {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Stopped is the fault of what must not be done until a restore is acknowledged.
func (i Installation) Stopped() error {
	if !i.Restored() {
		return nil
	}
	return fault.New(fault.Unavailable, "The database was restored from an older state: what it does not know is left alone until an administrator acknowledges that (slipway installation show, slipway installation acknowledge).")
}

// installationSQL has the latest restore beside the installation.
const installationSQL = `
SELECT i.id, i.created_at, i.generation, i.acknowledged, r.noticed_at, COALESCE(r.evidence, '{}'), r.acknowledged_at, r.acknowledged_by
FROM installation i LEFT JOIN (SELECT * FROM restores ORDER BY noticed_at DESC LIMIT 1) r ON true`

// Installation tells who this database is.
func (s *Store) Installation(ctx context.Context) (Installation, error) {
	var i Installation
	err := withRetries(ctx, func() (err error) {
		i, err = scanInstallation(s.pool.QueryRow(ctx, installationSQL))
		return err
	})
	return i, failed(err, "read the installation")
}

func scanInstallation(row pgx.Row) (Installation, error) {
	var i Installation
	var r Restore
	var noticed *time.Time
	err := row.Scan(&i.ID, &i.CreatedAt, &i.Generation, &i.Acknowledged, &noticed, &r.Evidence, &r.AcknowledgedAt, &r.AcknowledgedBy)
	if noticed != nil {
		r.NoticedAt, i.Restore = *noticed, &r
	}
	return i, err
}

// AdvanceGeneration raises the generation unless that was done within the time, by whichever process.
func (s *Store) AdvanceGeneration(ctx context.Context, within time.Duration) error {
	return failed(s.exec(ctx, `UPDATE installation SET generation = generation + 1, advanced_at = now() WHERE advanced_at <= now() - $1::interval`, within),
		"advance the generation")
}

// HostHolds takes the generation that a host of this installation says it holds (0 is none) and answers the installation,
// whose generation the host may be given now. One that the host can't have from this database is noticed as a restore; until that is
// acknowledged nobody is given another, so that it can still be told who saw what.
func (s *Store) HostHolds(ctx context.Context, h Host, holds int64) (Installation, error) {
	i, err := s.judge(ctx, "host "+h.Hostname, holds, h.Generation)
	if err == nil && !i.Restored() && h.Generation < i.Generation {
		err = s.exec(ctx, `UPDATE hosts SET generation = GREATEST(generation, $2) WHERE id = $1`, h.ID, i.Generation)
	}
	return i, failed(err, "keep which generation host %s was given", h.Hostname)
}

// ImageStore is a place of image bytes that this installation uses. ID is the store's own.
type ImageStore struct {
	ID         string
	Name       string
	Location   string
	Generation int64
	SeenAt     *time.Time // when it last said that it belongs here; nil: it is about to be told
}

// ImageStoreHolds is HostHolds for an image store; store's Generation is what it holds. A store that says that it belongs
// to this installation and that the database does not know joined after the backup.
func (s *Store) ImageStoreHolds(ctx context.Context, store ImageStore) (Installation, error) {
	var given int64
	err := s.pool.QueryRow(ctx, `SELECT generation FROM image_stores WHERE id = $1`, store.ID).Scan(&given)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return Installation{}, failed(err, "look for image store %s", store.Name)
	}
	i, err := s.judge(ctx, "image store "+store.Name, store.Generation, given)
	if err == nil && !i.Restored() {
		seen := now()
		store.Generation, store.SeenAt = i.Generation, &seen
		err = s.KeepImageStore(ctx, store)
	}
	return i, failed(err, "keep which generation image store %s was given", store.Name)
}

// KeepImageStore keeps which generation a store is about to be given.
func (s *Store) KeepImageStore(ctx context.Context, store ImageStore) error {
	return failed(s.exec(ctx, `
INSERT INTO image_stores (id, name, location, generation, seen_at) VALUES (@id, @name, @location, @generation, @seen_at)
ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, location = EXCLUDED.location, seen_at = COALESCE(EXCLUDED.seen_at, image_stores.seen_at),
    generation = GREATEST(image_stores.generation, EXCLUDED.generation)`, named{
		"id": store.ID, "name": store.Name, "location": store.Location, "generation": store.Generation, "seen_at": store.SeenAt,
	}),
		"keep image store %s", store.Name)
}

// ImageStores lists the stores that belong to this installation, by name.
func (s *Store) ImageStores(ctx context.Context) ([]ImageStore, error) {
	all := []ImageStore{}
	err := s.db.WithContext(ctx).Order("name, seen_at").Find(&all).Error
	return all, failed(err, "list the image stores")
}

// judge notices a restore where somebody holds a later generation than it was given.
func (s *Store) judge(ctx context.Context, witness string, holds, given int64) (Installation, error) {
	i, err := s.Installation(ctx)
	if err != nil || holds <= max(given, i.Acknowledged) {
		return i, err
	}
	if err := s.NoticeRestore(ctx, witness, RestoreEvidence{Holds: holds, Given: given, At: now()}); err != nil {
		return i, err
	}
	return s.Installation(ctx)
}

// NoticeRestore keeps evidence that the database was restored. The first word of each witness counts.
func (s *Store) NoticeRestore(ctx context.Context, witness string, e RestoreEvidence) error {
	done, err := s.pool.Exec(ctx, `
INSERT INTO restores (noticed_at, evidence) VALUES ($1, $2)
ON CONFLICT ((true)) WHERE acknowledged_at IS NULL DO UPDATE SET evidence = restores.evidence || EXCLUDED.evidence
    WHERE NOT restores.evidence ? $3`, now(), asJSON(map[string]RestoreEvidence{witness: e}), witness)
	if err != nil {
		return failed(err, "keep that %s saw a later state of the database", witness)
	}
	if done.RowsAffected() > 0 {
		s.log.ErrorContext(ctx, "The database is older than what was seen of it: it was restored from a backup, or a copy of it is in use. "+
			"Sweeps of image stores, repairs and undos of what it does not know stop until `slipway installation acknowledge`.",
			"witness", witness, "holds", e.Holds, "given", e.Given)
	}
	return nil
}

// AcknowledgeRestore makes the database as it is the truth: what holds a later generation from before takes the next one.
// Conflict where nothing is to be acknowledged.
func (s *Store) AcknowledgeRestore(ctx context.Context, userID string) (Installation, error) {
	err := withRetries(ctx, func() error {
		return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			var seen int64
			err := tx.QueryRow(ctx, `
UPDATE restores SET acknowledged_at = $1, acknowledged_by = $2 WHERE acknowledged_at IS NULL
RETURNING (SELECT COALESCE(max((e.value->>'holds')::bigint), 0) FROM jsonb_each(evidence) e)`, now(), userID).Scan(&seen)
			if errors.Is(err, pgx.ErrNoRows) {
				return fault.New(fault.Conflict, "Nothing has to be acknowledged: no restore of the database was noticed since the last time.")
			}
			if err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `
UPDATE installation SET acknowledged = GREATEST(acknowledged, $1), generation = GREATEST(generation, $1) + 1, advanced_at = now()`, seen)
			return err
		})
	})
	if err != nil {
		return Installation{}, failed(err, "acknowledge the restore")
	}
	return s.Installation(ctx)
}

// AdoptInstallation gives this database another's id, whose image stores and hosts then are its own. What they hold is not
// known here, so it counts as a restore that has to be acknowledged.
func (s *Store) AdoptInstallation(ctx context.Context, id string) error {
	if err := s.exec(ctx, `UPDATE installation SET id = $1`, id); err != nil {
		return failed(err, "adopt installation %s", id)
	}
	return s.NoticeRestore(ctx, "operator", RestoreEvidence{At: now()})
}

// MayUndoImport is MayUndo for an import: only what was made since the restore was noticed, or is deleted, loses bytes.
func (s *Store) MayUndoImport(ctx context.Context, imageID string) error {
	i, err := s.Installation(ctx)
	if err != nil || !i.Restored() {
		return err
	}
	var may bool
	err = s.pool.QueryRow(ctx, `SELECT COALESCE((SELECT created_at > $2 OR status IN ('deleted', 'pending_delete') FROM images WHERE id = $1), false)`,
		imageID, i.Restore.NoticedAt).Scan(&may)
	if err != nil {
		return failed(err, "look image %s up", imageID)
	}
	if !may {
		return i.Stopped()
	}
	return nil
}

// MayUndo says whether a host may take away what it has of a server: nil, or why not now. After a restore a workflow of the
// older state may give up a build that went well since; so until it is acknowledged, only what was made since it was
// noticed, what a user deletes, and what belongs on another host is undone.
func (s *Store) MayUndo(ctx context.Context, hostID, serverID string) error {
	i, err := s.Installation(ctx)
	if err != nil || !i.Restored() {
		return err
	}
	var may bool
	err = s.pool.QueryRow(ctx, `
SELECT COALESCE((
    SELECT created_at > $3 OR deleted_at IS NOT NULL OR `+isDeleting+` OR `+wasBuilt+` AND host_id IS DISTINCT FROM $2
    FROM servers WHERE id = $1), false)`, serverID, hostID, i.Restore.NoticedAt).Scan(&may)
	if err != nil {
		return failed(err, "look server %s up", serverID)
	}
	if !may {
		return i.Stopped()
	}
	return nil
}
