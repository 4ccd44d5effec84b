-- +goose Up

-- Whether a guest that shuts itself down ends its server (EC2's InstanceInitiatedShutdownBehavior terminate). Otherwise it is stopped.
ALTER TABLE servers ADD COLUMN ends_at_shutdown boolean NOT NULL DEFAULT false;

-- +goose Down

ALTER TABLE servers DROP COLUMN ends_at_shutdown;
