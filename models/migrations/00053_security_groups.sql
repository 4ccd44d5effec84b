-- +goose Up

-- Security groups: what may reach the ports in them, and be reached (Neutron's). Each project has one that is its default.
CREATE TABLE security_groups (
    id          text PRIMARY KEY,
    project_id  text NOT NULL REFERENCES projects,
    name        text NOT NULL,
    description text NOT NULL DEFAULT '',
    stateful    boolean NOT NULL DEFAULT true, -- an answer passes without a rule of its own
    is_default  boolean NOT NULL DEFAULT false,
    tags        jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(tags) = 'array'),
    revision    bigint NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);
CREATE UNIQUE INDEX security_groups_default_key ON security_groups (project_id) WHERE is_default;
CREATE INDEX security_groups_project ON security_groups (project_id, created_at, id); -- ListSecurityGroups; the quota
CREATE INDEX security_groups_created ON security_groups (created_at, id); -- ListSecurityGroups of an admin
CREATE TRIGGER security_groups_project_stands BEFORE INSERT ON security_groups FOR EACH ROW EXECUTE FUNCTION project_stands('project_id');
CREATE TRIGGER security_groups_revised BEFORE UPDATE ON security_groups FOR EACH ROW EXECUTE FUNCTION revised();

CREATE TABLE security_group_rules (
    id                text PRIMARY KEY,
    project_id        text NOT NULL REFERENCES projects, -- the group's
    security_group_id text NOT NULL REFERENCES security_groups ON DELETE CASCADE,
    direction         text NOT NULL CHECK (direction IN ('ingress', 'egress')),
    ethertype         text NOT NULL CHECK (ethertype IN ('IPv4', 'IPv6')),
    protocol          text CHECK (protocol <> ''), -- as it was said: a name or a number; null is any
    port_range_min    integer,                     -- of ICMP the type
    port_range_max    integer,                     -- of ICMP the code
    remote_ip_prefix  text,
    remote_group_id   text REFERENCES security_groups ON DELETE CASCADE,
    description       text NOT NULL DEFAULT '',
    revision          bigint NOT NULL DEFAULT 1,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    CHECK (remote_ip_prefix IS NULL OR remote_group_id IS NULL)
);
CREATE INDEX security_group_rules_group ON security_group_rules (security_group_id, created_at, id); -- a group with its rules; the cascade
CREATE INDEX security_group_rules_created ON security_group_rules (created_at, id); -- ListSecurityGroupRules of an admin
CREATE INDEX security_group_rules_project ON security_group_rules (project_id, created_at, id);      -- ListSecurityGroupRules; the quota
CREATE INDEX security_group_rules_remote ON security_group_rules (remote_group_id) WHERE remote_group_id IS NOT NULL; -- the cascade
CREATE TRIGGER security_group_rules_revised BEFORE UPDATE ON security_group_rules FOR EACH ROW EXECUTE FUNCTION revised();

-- The groups that a port is in, but for its project's default: that is ports.grouped, which every way to make a port knows.
CREATE TABLE port_security_groups (
    port_id  text NOT NULL REFERENCES ports ON DELETE CASCADE,
    group_id text NOT NULL REFERENCES security_groups, -- which stands while a port is in it
    PRIMARY KEY (port_id, group_id)
);
CREATE INDEX port_security_groups_group ON port_security_groups (group_id); -- whether a group is in use
CREATE INDEX ports_grouped ON ports (project_id) WHERE grouped; -- EnsureDefaultGroups

-- A port without port security is filtered by nothing, and so in no group.
UPDATE ports SET grouped = false WHERE NOT port_security;

CREATE TRIGGER security_groups_changed AFTER INSERT OR UPDATE OR DELETE ON security_groups FOR EACH ROW EXECUTE FUNCTION network_changes_kept('group', 'id');
CREATE TRIGGER security_group_rules_changed AFTER INSERT OR UPDATE OR DELETE ON security_group_rules
    FOR EACH ROW EXECUTE FUNCTION network_changes_kept('group', 'security_group_id');
CREATE TRIGGER port_security_groups_changed AFTER INSERT OR DELETE ON port_security_groups FOR EACH ROW EXECUTE FUNCTION network_changes_kept('port', 'port_id');

-- +goose Down

DROP TABLE port_security_groups, security_group_rules, security_groups;
DROP INDEX ports_grouped;
