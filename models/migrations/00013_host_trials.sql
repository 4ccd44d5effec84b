-- +goose Up
-- How guests run on a host, by its last trial (contract.Trial). Hosts of the version before say nothing of it.
ALTER TABLE hosts ADD COLUMN trial jsonb;

-- +goose Down
ALTER TABLE hosts DROP COLUMN trial;
