-- +goose Up
-- Who this database is, and how far it has come: what is kept elsewhere (image stores, hosts, Temporal's namespace) says to
-- whom it belongs, and which generation of this database it last saw.
CREATE TABLE installation (
    one          boolean PRIMARY KEY DEFAULT true CHECK (one),
    id           text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    generation   bigint NOT NULL DEFAULT 1,
    advanced_at  timestamptz NOT NULL DEFAULT now(),
    acknowledged bigint NOT NULL DEFAULT 0 -- generations up to this one may be held elsewhere without having been given by this database
);
INSERT INTO installation (id) VALUES (gen_random_uuid());

-- Times at which it was noticed that this database is older than what was seen of it: it was restored from a backup.
CREATE TABLE restores (
    noticed_at      timestamptz PRIMARY KEY,
    evidence        jsonb NOT NULL CHECK (jsonb_typeof(evidence) = 'object'), -- by who saw more
    acknowledged_at timestamptz,
    acknowledged_by text, -- user id
    CONSTRAINT restores_acknowledged CHECK ((acknowledged_at IS NULL) = (acknowledged_by IS NULL))
);
CREATE UNIQUE INDEX restores_open ON restores ((true)) WHERE acknowledged_at IS NULL; -- at most one

-- The generation that each host and each image store was given last. It is written before they are given it.
ALTER TABLE hosts ADD COLUMN generation bigint NOT NULL DEFAULT 0;
CREATE TABLE image_stores (
    id         text PRIMARY KEY, -- in the store's own mark: names and addresses change
    name       text NOT NULL,
    location   text NOT NULL,
    generation bigint NOT NULL,
    seen_at    timestamptz -- it has said that it belongs here; NULL: it is about to be told
);

-- Findings that only an operator who names them has repaired.
ALTER TABLE audit_findings ADD COLUMN named boolean NOT NULL DEFAULT false;

-- +goose Down
ALTER TABLE audit_findings DROP COLUMN named;
DROP TABLE image_stores;
ALTER TABLE hosts DROP COLUMN generation;
DROP TABLE restores, installation;
