-- +goose Up

-- What a server was asked for, and what its image made of it.
ALTER TABLE servers
    ADD COLUMN access_ip_v4               text NOT NULL DEFAULT '',
    ADD COLUMN access_ip_v6               text NOT NULL DEFAULT '',
    ADD COLUMN auto_disk_config           boolean NOT NULL DEFAULT false, -- OS-DCF:diskConfig is AUTO
    ADD COLUMN root_device_name           text NOT NULL DEFAULT '',
    ADD COLUMN kernel_id                  text NOT NULL DEFAULT '',
    ADD COLUMN ramdisk_id                 text NOT NULL DEFAULT '',
    ADD COLUMN trusted_image_certificates jsonb CHECK (jsonb_typeof(trusted_image_certificates) = 'array'), -- NULL is none
    ADD COLUMN deleted_from               jsonb; -- where it was when its delete began: host, zone and addresses

-- +goose Down

ALTER TABLE servers
    DROP COLUMN access_ip_v4, DROP COLUMN access_ip_v6, DROP COLUMN auto_disk_config, DROP COLUMN root_device_name,
    DROP COLUMN kernel_id, DROP COLUMN ramdisk_id, DROP COLUMN trusted_image_certificates, DROP COLUMN deleted_from;
