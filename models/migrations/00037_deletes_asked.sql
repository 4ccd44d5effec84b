-- +goose Up

-- When somebody first asked for a server's end. Its workflow marks it when it has ended what it does.
ALTER TABLE servers ADD COLUMN delete_asked_at timestamptz;

-- +goose Down

ALTER TABLE servers DROP COLUMN delete_asked_at;
