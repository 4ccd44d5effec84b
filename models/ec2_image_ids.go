package models

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/slipway-cloud/slipway/internal/ids"
)

// EC2ImageID is the image's number in EC2's ids (internal/ids has their text). It is given on first use and for good: a
// deleted image keeps it, and no other image ever gets it. NotFound for an image that never was.
func (s *Store) EC2ImageID(ctx context.Context, imageID string) (int64, error) {
	const read = `SELECT number FROM ec2_image_ids WHERE image_id = $1`
	var number int64
	err := withRetries(ctx, func() error { return s.pool.QueryRow(ctx, read, imageID).Scan(&number) })
	if errors.Is(err, pgx.ErrNoRows) {
		// Whoever comes second waits for the first one's row, and its second statement sees it.
		err = s.batch(ctx, func(b *pgx.Batch) {
			b.Queue(`INSERT INTO ec2_image_ids (image_id) SELECT id FROM images WHERE id = $1 ON CONFLICT (image_id) DO NOTHING`, imageID)
			b.Queue(read, imageID).QueryRow(func(r pgx.Row) error { return r.Scan(&number) })
		})
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, noImage(imageID)
	}
	return number, failed(err, "give image %s its EC2 number", imageID)
}

// ImageByEC2ID is the image that has the number, deleted or not and whoever asks; NotFound in EC2's words.
func (s *Store) ImageByEC2ID(ctx context.Context, number int64) (imageID string, err error) {
	err = withRetries(ctx, func() error {
		return s.pool.QueryRow(ctx, `SELECT image_id FROM ec2_image_ids WHERE number = $1`, number).Scan(&imageID)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return "", ids.NoEC2Image(ids.EC2Image(ids.EC2Machine, number))
	}
	return imageID, failed(err, "find the image with EC2 number %d", number)
}
