-- +goose Up

-- What a server's build knew and no row says, sealed with the payload key of that id (contract.ServerSpec). Servers of the
-- version before have none.
CREATE TABLE server_specs (
    server_id  text PRIMARY KEY REFERENCES servers,
    key_id     text NOT NULL,
    sealed     bytea NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX server_specs_key ON server_specs (key_id, server_id); -- SpecKeys, ResealSpecs

-- +goose Down

DROP TABLE server_specs;
