-- +goose Up

-- The room that a server holds on a host has a role, so that it may hold two on the same one and give one back.
ALTER TABLE allocations RENAME TO placements;
ALTER TABLE placements
    ADD COLUMN id text NOT NULL DEFAULT gen_random_uuid()::text,
    ADD COLUMN role text NOT NULL DEFAULT 'active' CHECK (role <> ''),
    DROP CONSTRAINT allocations_pkey,
    ADD PRIMARY KEY (id),
    ADD UNIQUE (server_id, host_id, role); -- Placements, MarkServerDeleting, ReleasePlacement
ALTER TABLE placements RENAME CONSTRAINT allocations_server_id_fkey TO placements_server_id_fkey;
ALTER INDEX allocations_host RENAME TO placements_host;
-- What the version before reads and writes. It knows the constraint to hosts by its name.
CREATE VIEW allocations AS SELECT server_id, host_id, vcpus, memory_mib, disk_gib, created_at, failed_at FROM placements;

-- +goose Down

DROP VIEW allocations;
ALTER INDEX placements_host RENAME TO allocations_host;
ALTER TABLE placements RENAME CONSTRAINT placements_server_id_fkey TO allocations_server_id_fkey;
ALTER TABLE placements
    DROP CONSTRAINT placements_server_id_host_id_role_key,
    DROP CONSTRAINT placements_pkey,
    ADD CONSTRAINT allocations_pkey PRIMARY KEY (server_id, host_id),
    DROP COLUMN role,
    DROP COLUMN id;
ALTER TABLE placements RENAME TO allocations;
