-- +goose Up

-- The images beside its own that a server was built of, kernel and ramdisk. NULL: not known, of a server of before.
ALTER TABLE server_specs ADD COLUMN parts jsonb CHECK (jsonb_typeof(parts) = 'array'); -- HostNeedsImage

-- +goose Down

ALTER TABLE server_specs DROP COLUMN parts;
