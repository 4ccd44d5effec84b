-- +goose Up

-- A server that was resized waits to be confirmed or reverted. What the version before reads of it is ACTIVE, by the trigger of 00014.
ALTER TABLE servers DROP CONSTRAINT servers_vm_state_check;
ALTER TABLE servers ADD CONSTRAINT servers_vm_state_check
    CHECK (vm_state IN ('building', 'active', 'paused', 'suspended', 'stopped', 'rescued', 'resized', 'soft-delete', 'error', 'deleted'));

-- Resizes of servers (Nova's migrations), kept when they are over. Hosts are named: they may be forgotten.
CREATE TABLE migrations (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid         text NOT NULL DEFAULT gen_random_uuid()::text,
    server_id    text NOT NULL REFERENCES servers ON DELETE CASCADE,
    request_id   text NOT NULL,
    ended_by     text, -- the request that confirmed or reverted it
    user_id      text NOT NULL,
    project_id   text NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('resize', 'migration')),
    status       text NOT NULL CHECK (status IN ('pre-migrating', 'migrating', 'post-migrating', 'finished', 'confirmed', 'reverted', 'error')),
    source_host  text NOT NULL,
    dest_host    text NOT NULL,
    old_flavor   jsonb NOT NULL,
    new_flavor   jsonb NOT NULL,
    old_disk_gib integer NOT NULL, -- the room on disk of each: a flavor without a root disk takes its image's
    new_disk_gib integer NOT NULL,
    old_vm_state text NOT NULL,    -- what a revert makes of the server
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    UNIQUE (server_id, request_id)
);
CREATE INDEX migrations_created_at ON migrations (created_at DESC, id DESC); -- ListMigrations
CREATE INDEX migrations_unconfirmed ON migrations (updated_at) WHERE status = 'finished';

-- +goose Down

UPDATE servers SET vm_state = CASE WHEN power_state = 4 THEN 'stopped' ELSE 'active' END WHERE vm_state = 'resized';
ALTER TABLE servers DROP CONSTRAINT servers_vm_state_check;
ALTER TABLE servers ADD CONSTRAINT servers_vm_state_check
    CHECK (vm_state IN ('building', 'active', 'paused', 'suspended', 'stopped', 'rescued', 'soft-delete', 'error', 'deleted'));
DROP TABLE migrations;
