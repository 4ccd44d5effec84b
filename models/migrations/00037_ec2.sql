-- +goose Up

-- When somebody first asked for a server's end. Its workflow marks it when it has ended what it does.
ALTER TABLE servers ADD COLUMN delete_asked_at timestamptz;

-- The signatures of requests to the EC2 API that changed something, for as long as they hold.
CREATE TABLE ec2_signatures (
    signature   bytea PRIMARY KEY, -- TakeSignature
    holds_until timestamptz NOT NULL
);
CREATE INDEX ec2_signatures_until ON ec2_signatures (holds_until); -- TakeSignature

-- +goose Down

DROP TABLE ec2_signatures;
ALTER TABLE servers DROP COLUMN delete_asked_at;
