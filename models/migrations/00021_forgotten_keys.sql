-- +goose Up
-- Which keys a host that was given up has: a new one of its name waits until others are used.

ALTER TABLE forgotten_hosts ADD COLUMN payload_key text NOT NULL DEFAULT ''; -- the first one then; '' is not known

-- +goose Down

ALTER TABLE forgotten_hosts DROP COLUMN payload_key;
