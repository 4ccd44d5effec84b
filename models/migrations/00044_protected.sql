-- +goose Up

-- Whether EC2's TerminateInstances is refused (DisableApiTermination). A delete by Nova's API is not.
ALTER TABLE servers ADD COLUMN protected boolean NOT NULL DEFAULT false;

-- +goose Down

ALTER TABLE servers DROP COLUMN protected;
