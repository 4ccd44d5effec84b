-- +goose Up

-- What a user lets a program log in with (Keystone's application credentials): for one project, with some of the user's roles there.
-- Only the secret's hash is kept.
CREATE TABLE application_credentials (
    id           text PRIMARY KEY,
    name         text NOT NULL CHECK (name <> ''),
    user_id      text NOT NULL REFERENCES users ON DELETE CASCADE,
    project_id   text NOT NULL REFERENCES projects ON DELETE CASCADE,
    description  text,
    secret_hash  text NOT NULL,
    unrestricted boolean NOT NULL,
    expires_at   timestamptz,
    created_at   timestamptz NOT NULL,
    CONSTRAINT application_credentials_name_key UNIQUE (user_id, name)
);
CREATE INDEX application_credentials_project ON application_credentials (project_id); -- deleteProject

CREATE TABLE application_credential_roles (
    application_credential_id text NOT NULL REFERENCES application_credentials ON DELETE CASCADE,
    role                      text NOT NULL REFERENCES roles (name) ON UPDATE CASCADE ON DELETE CASCADE,
    PRIMARY KEY (application_credential_id, role) -- Token
);
CREATE INDEX application_credential_roles_role ON application_credential_roles (role); -- the cascades from roles

-- What was got with one goes with it: tokens, and the access keys that were made by one that may make them.
ALTER TABLE tokens ADD COLUMN application_credential_id text REFERENCES application_credentials ON DELETE CASCADE;
CREATE INDEX tokens_application_credential ON tokens (application_credential_id) WHERE application_credential_id IS NOT NULL;
ALTER TABLE credentials ADD COLUMN application_credential_id text REFERENCES application_credentials ON DELETE CASCADE;
CREATE INDEX credentials_application_credential ON credentials (application_credential_id) WHERE application_credential_id IS NOT NULL;

-- A subnet on another project's network is a project's own, too (project_stands).
CREATE TRIGGER subnets_project_stands BEFORE INSERT ON subnets FOR EACH ROW EXECUTE FUNCTION project_stands('project_id');

-- Since when a project is deleted with all that it owns, and who asked.
ALTER TABLE projects ADD COLUMN purging_since timestamptz, ADD COLUMN purged_by text;

-- +goose Down

ALTER TABLE projects DROP COLUMN purging_since, DROP COLUMN purged_by;
DROP TRIGGER subnets_project_stands ON subnets;
DROP INDEX tokens_application_credential, credentials_application_credential;
DELETE FROM tokens WHERE application_credential_id IS NOT NULL;
DELETE FROM credentials WHERE application_credential_id IS NOT NULL;
ALTER TABLE tokens DROP COLUMN application_credential_id;
ALTER TABLE credentials DROP COLUMN application_credential_id;
DROP TABLE application_credential_roles, application_credentials;
