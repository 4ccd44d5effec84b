-- +goose Up

-- What users keep here (Keystone's credentials), readable for holders of the payload keys alone. The id of an access key's (type
-- ec2) is the SHA-256 of the access key.
CREATE TABLE credentials (
    id         text PRIMARY KEY,
    type       text NOT NULL CHECK (type <> ''),
    user_id    text NOT NULL REFERENCES users ON DELETE CASCADE,
    project_id text REFERENCES projects ON DELETE CASCADE,
    key_id     text NOT NULL,
    sealed     bytea NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT credentials_ec2 CHECK (type <> 'ec2' OR project_id IS NOT NULL)
);
CREATE INDEX credentials_user ON credentials (user_id);       -- ListCredentials; deleteUser
CREATE INDEX credentials_project ON credentials (project_id); -- deleteProject
CREATE INDEX credentials_key ON credentials (key_id);         -- CredentialKeys, ResealCredentials

-- +goose Down

DROP TABLE credentials;
