-- +goose Up

-- The server that an image is made of: its host may bring the bytes.
ALTER TABLE images ADD COLUMN snapshot_of text;
CREATE INDEX images_snapshot_of ON images (snapshot_of, created_at) WHERE snapshot_of IS NOT NULL; -- the newest of a server

-- +goose Down

ALTER TABLE images DROP COLUMN snapshot_of;
