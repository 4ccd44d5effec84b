-- +goose Up

-- EC2's fingerprint of a key pair that was made here, where it is the private half's; '' elsewhere.
ALTER TABLE key_pairs ADD COLUMN made_fingerprint text NOT NULL DEFAULT '';

-- +goose Down

ALTER TABLE key_pairs DROP COLUMN made_fingerprint;
