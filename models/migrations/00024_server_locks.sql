-- +goose Up

-- Who has locked a server, and why; NULL is nobody. The owner is anybody of its project, an admin one of another.
ALTER TABLE servers
    ADD COLUMN locked_by     text CHECK (locked_by IN ('owner', 'admin')),
    ADD COLUMN locked_reason text,
    ADD CONSTRAINT servers_locked CHECK (locked_by IS NOT NULL OR locked_reason IS NULL);

-- +goose Down

ALTER TABLE servers DROP COLUMN locked_by, DROP COLUMN locked_reason;
