package models

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// snapshotSQL finds an image that is made of a server, which is on the host while it is.
const snapshotSQL = `
SELECT EXISTS (
    SELECT FROM images i JOIN servers s ON s.id = i.snapshot_of
    WHERE i.id = $2 AND s.host_id = $1 AND i.deleted_at IS NULL AND s.deleted_at IS NULL)`

// SnapshotAt is an image that was made for the bytes of a server of this host; NotFound for any other.
func (s *Store) SnapshotAt(ctx context.Context, hostID, imageID string) (Image, error) {
	var is bool
	err := withRetries(ctx, func() error { return s.pool.QueryRow(ctx, snapshotSQL, hostID, imageID).Scan(&is) })
	if err != nil {
		return Image{}, failed(err, "look whether host %s may store image %s", hostID, imageID)
	}
	if !is {
		return Image{}, fault.New(fault.NotFound, "No image found with ID %s", imageID)
	}
	return s.Image(ctx, imageID)
}
