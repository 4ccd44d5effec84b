-- +goose Up
-- When the first of the certificates ends that a host serves or presents, by its own word. NULL: it has none, or is of the version before.
ALTER TABLE hosts ADD COLUMN certificate_expires_at timestamptz;

-- +goose Down
ALTER TABLE hosts DROP COLUMN certificate_expires_at;
