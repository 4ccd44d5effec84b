-- +goose Up

-- What is neither a project's, a user's nor anything else's column is kept as it was given (Keystone's extra).
CREATE TABLE domains (
    id          text PRIMARY KEY,
    name        text NOT NULL CHECK (name <> ''),
    description text NOT NULL DEFAULT '',
    enabled     boolean NOT NULL,
    extra       jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(extra) = 'object'),
    created_at  timestamptz NOT NULL,
    CONSTRAINT domains_name_key UNIQUE (name)
);
INSERT INTO domains (id, name, description, enabled, created_at) VALUES ('default', 'Default', 'The default domain', true, now());

-- Servers, images and records of before refer to their project and their user for ever: these are marked as deleted, and their
-- name, which is free again, is their id.
ALTER TABLE projects
    ADD COLUMN tags       jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(tags) = 'array'),
    ADD COLUMN extra      jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(extra) = 'object'),
    ADD COLUMN deleted_at timestamptz,
    ADD CONSTRAINT projects_domain_id_fkey FOREIGN KEY (domain_id) REFERENCES domains;

ALTER TABLE users
    ADD COLUMN description        text NOT NULL DEFAULT '',
    ADD COLUMN default_project_id text,
    ADD COLUMN extra              jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(extra) = 'object'),
    ADD COLUMN deleted_at         timestamptz,
    ADD CONSTRAINT users_domain_id_fkey FOREIGN KEY (domain_id) REFERENCES domains;

CREATE TABLE groups (
    id          text PRIMARY KEY,
    name        text NOT NULL CHECK (name <> ''),
    domain_id   text NOT NULL REFERENCES domains,
    description text NOT NULL DEFAULT '',
    extra       jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(extra) = 'object'),
    created_at  timestamptz NOT NULL,
    CONSTRAINT groups_name_key UNIQUE (domain_id, name)
);

CREATE TABLE group_members (
    user_id  text NOT NULL REFERENCES users ON DELETE CASCADE,
    group_id text NOT NULL REFERENCES groups ON DELETE CASCADE,
    PRIMARY KEY (user_id, group_id) -- Token: the groups of its user
);
CREATE INDEX group_members_group ON group_members (group_id); -- ListUsers of a group; the cascade from groups

-- The ids are ids.Identity("role", name).
CREATE TABLE roles (
    id          text PRIMARY KEY,
    name        text NOT NULL CHECK (name <> ''),
    description text,
    extra       jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(extra) = 'object'),
    created_at  timestamptz NOT NULL,
    CONSTRAINT roles_name_key UNIQUE (name)
);
INSERT INTO roles (id, name, created_at) VALUES
    ('132821daf5815738a3a8eaab7d014900', 'admin', now()),
    ('228f2f9559da5ae38c423f06685ac414', 'member', now()),
    ('6ad20dec975c51c3a74421c4b4f72873', 'reader', now());

-- A role of a user or of a group, on a project, on a domain (inherited: on each of its projects instead), or on the system.
CREATE TABLE grants (
    role       text NOT NULL REFERENCES roles (name) ON UPDATE CASCADE ON DELETE CASCADE,
    user_id    text REFERENCES users ON DELETE CASCADE,
    group_id   text REFERENCES groups ON DELETE CASCADE,
    project_id text REFERENCES projects ON DELETE CASCADE,
    domain_id  text REFERENCES domains ON DELETE CASCADE,
    inherited  boolean NOT NULL DEFAULT false,
    CONSTRAINT grants_once UNIQUE NULLS NOT DISTINCT (user_id, group_id, project_id, domain_id, inherited, role), -- Token
    CONSTRAINT grants_actor CHECK (num_nonnulls(user_id, group_id) = 1),
    CONSTRAINT grants_target CHECK (num_nonnulls(project_id, domain_id) <= 1),
    CONSTRAINT grants_inherited CHECK (NOT inherited OR num_nonnulls(project_id, domain_id) = 1)
);
CREATE INDEX grants_group ON grants (group_id) WHERE group_id IS NOT NULL; -- Token: the roles of its user's groups
CREATE INDEX grants_project ON grants (project_id);                       -- the cascade from projects
CREATE INDEX grants_domain ON grants (domain_id);                         -- the cascade from domains
CREATE INDEX grants_role ON grants (role);                                -- the cascades from roles

-- Processes of the version before read and write the roles of users on projects under the old name.
INSERT INTO grants (role, user_id, project_id) SELECT role, user_id, project_id FROM role_assignments;
DROP TABLE role_assignments;
CREATE VIEW role_assignments AS
    SELECT user_id, project_id, role FROM grants WHERE user_id IS NOT NULL AND project_id IS NOT NULL AND NOT inherited;

-- Whoever was an admin is one of the system, as the first admin of a new installation is.
INSERT INTO grants (role, user_id) SELECT DISTINCT role, user_id FROM grants WHERE role = 'admin' AND user_id IS NOT NULL;

-- A token dies with the one that it was bought with. chain is the audit id of the first of such a line, '' for that one.
ALTER TABLE tokens
    ADD COLUMN domain_id text REFERENCES domains ON DELETE CASCADE,
    ADD COLUMN system    boolean NOT NULL DEFAULT false,
    ADD COLUMN parent    bytea REFERENCES tokens ON DELETE CASCADE,
    ADD COLUMN chain     text NOT NULL DEFAULT '',
    ADD CONSTRAINT tokens_scope CHECK (num_nonnulls(project_id, domain_id) + system::integer <= 1);
CREATE INDEX tokens_parent ON tokens (parent) WHERE parent IS NOT NULL;
CREATE INDEX tokens_domain ON tokens (domain_id) WHERE domain_id IS NOT NULL;

-- A request that was let in before its project was deleted gives it nothing any more: the deletion waits for it, or it for the deletion.
-- +goose StatementBegin
CREATE FUNCTION project_stands() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    owner text := to_jsonb(NEW) ->> TG_ARGV[0];
BEGIN
    PERFORM FROM projects WHERE id = owner AND deleted_at IS NULL FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'project % is deleted', owner
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = TG_TABLE_NAME || '_' || TG_ARGV[0] || '_fkey';
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER claims_project_stands BEFORE INSERT ON claims FOR EACH ROW EXECUTE FUNCTION project_stands('project_id');
CREATE TRIGGER images_project_stands BEFORE INSERT ON images FOR EACH ROW EXECUTE FUNCTION project_stands('owner_id');
CREATE TRIGGER networks_project_stands BEFORE INSERT ON networks FOR EACH ROW EXECUTE FUNCTION project_stands('project_id');
CREATE TRIGGER ports_project_stands BEFORE INSERT ON ports FOR EACH ROW EXECUTE FUNCTION project_stands('project_id');

-- +goose Down

DROP TRIGGER ports_project_stands ON ports;
DROP TRIGGER networks_project_stands ON networks;
DROP TRIGGER images_project_stands ON images;
DROP TRIGGER claims_project_stands ON claims;
DROP FUNCTION project_stands();
DROP INDEX tokens_parent, tokens_domain;
ALTER TABLE tokens DROP COLUMN domain_id, DROP COLUMN system, DROP COLUMN parent, DROP COLUMN chain;
DROP VIEW role_assignments;
CREATE TABLE role_assignments (
    user_id    text NOT NULL REFERENCES users ON DELETE CASCADE,
    project_id text NOT NULL REFERENCES projects ON DELETE CASCADE,
    role       text NOT NULL CHECK (role IN ('admin', 'member', 'reader')),
    PRIMARY KEY (user_id, project_id, role)
);
CREATE INDEX role_assignments_project ON role_assignments (project_id);
INSERT INTO role_assignments SELECT user_id, project_id, role FROM grants
WHERE user_id IS NOT NULL AND project_id IS NOT NULL AND NOT inherited AND role IN ('admin', 'member', 'reader');
DROP TABLE grants, roles, group_members, groups;
ALTER TABLE users DROP COLUMN description, DROP COLUMN default_project_id, DROP COLUMN extra, DROP COLUMN deleted_at,
    DROP CONSTRAINT users_domain_id_fkey;
ALTER TABLE projects DROP COLUMN tags, DROP COLUMN extra, DROP COLUMN deleted_at, DROP CONSTRAINT projects_domain_id_fkey;
DROP TABLE domains;
