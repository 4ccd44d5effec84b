package models

import "context"

// ImageCounts is what a project's images take together.
type ImageCounts struct {
	Bytes     int64 // stored, once for every store that has them
	Staged    int64 // bytes that wait for their import
	Images    int64
	Uploading int64 // images whose bytes come just now, or wait for their import
}

const imageCountsSQL = `
SELECT COALESCE(sum(i.size_bytes * GREATEST(1, (SELECT count(*) FROM image_locations l WHERE l.image_id = i.id))), 0),
       COALESCE(sum(i.staged_bytes), 0), count(*), count(*) FILTER (WHERE i.status IN ('saving', 'uploading', 'importing'))
FROM images i WHERE i.owner_id = $1 AND i.deleted_at IS NULL`

// ImageCounts adds up a project's images that are not deleted.
func (s *Store) ImageCounts(ctx context.Context, projectID string) (ImageCounts, error) {
	var c ImageCounts
	err := s.pool.QueryRow(ctx, imageCountsSQL, projectID).Scan(&c.Bytes, &c.Staged, &c.Images, &c.Uploading)
	return c, failed(err, "count the images of project %s", projectID)
}
