-- +goose Up
-- Whether a host can start guests by UEFI firmware. What was registered before says so with its next start.
ALTER TABLE hosts ADD COLUMN uefi boolean NOT NULL DEFAULT false;

-- +goose Down
ALTER TABLE hosts DROP COLUMN uefi;
