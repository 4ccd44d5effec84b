package models

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/slipway-cloud/slipway/internal/ids"
)

// ec2Tables are where the UUIDs lie of which EC2's ids are made. A deleted server keeps its row, and so its id; what has no row any
// more has no id either, and its UUID is never given again.
var ec2Tables = map[ids.EC2Kind]string{
	ids.EC2Instance: "servers", ids.EC2Interface: "ports", ids.EC2VPC: "networks", ids.EC2Subnet: "subnets",
	ids.EC2Machine: "images", ids.EC2Kernel: "images", ids.EC2Ramdisk: "images",
}

// OfEC2 finds what EC2's ids of a kind name (ids.ParseEC2), deleted or not and whoever asks: the UUID between two others. What is
// not there, or is not the only one, is not in the answer.
func (s *Store) OfEC2(ctx context.Context, kind ids.EC2Kind, among []ids.UUIDs) (map[ids.UUIDs]string, error) {
	first, last := make([]string, len(among)), make([]string, len(among))
	for i, a := range among {
		first[i], last[i] = a.First, a.Last
	}
	sql := fmt.Sprintf(`SELECT r.first, r.last, min(t.id) FROM unnest($1::text[], $2::text[]) AS r(first, last)
		JOIN %s t ON t.id BETWEEN r.first AND r.last GROUP BY r.first, r.last HAVING count(*) = 1`, ec2Tables[kind])
	found := map[ids.UUIDs]string{}
	err := withRetries(ctx, func() error {
		rows, err := s.pool.Query(ctx, sql, first, last)
		if err != nil {
			return err
		}
		var a ids.UUIDs
		var id string
		_, err = pgx.ForEachRow(rows, []any{&a.First, &a.Last, &id}, func() error {
			found[a] = id
			return nil
		})
		return err
	})
	return found, failed(err, "find what %d ids of the kind %s name", len(among), kind)
}

// EC2ImageIDs are the images' ids in EC2's words, by their own: EC2ImageID for many. An image that never was has none.
func (s *Store) EC2ImageIDs(ctx context.Context, imageIDs []string) (map[string]string, error) {
	texts := map[string]string{}
	err := s.batch(ctx, func(b *pgx.Batch) {
		clear(texts)
		b.Queue(`INSERT INTO ec2_image_ids (image_id) SELECT id FROM images WHERE id = ANY($1)
			AND NOT EXISTS (SELECT FROM ec2_image_ids n WHERE n.image_id = images.id) ORDER BY id ON CONFLICT (image_id) DO NOTHING`, imageIDs)
		b.Queue(`SELECT n.image_id, n.number, COALESCE(i.container_format, '') FROM ec2_image_ids n LEFT JOIN images i ON i.id = n.image_id
			WHERE n.image_id = ANY($1)`, imageIDs).Query(func(rows pgx.Rows) error {
			var id, format string
			var number int64
			_, err := pgx.ForEachRow(rows, []any{&id, &number, &format}, func() error {
				texts[id] = ids.EC2Image(ids.EC2ImageKind(format), number)
				return nil
			})
			return err
		})
	})
	return texts, failed(err, "give %d images their EC2 numbers", len(imageIDs))
}
