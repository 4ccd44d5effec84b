-- +goose Up
-- What a server's request asked for, as a keyed hash: a repeated idempotency key has to ask for the same.
ALTER TABLE servers ADD COLUMN fingerprint text;

-- +goose Down
ALTER TABLE servers DROP COLUMN fingerprint;
