-- +goose Up

-- Servers that are kept together or apart (Nova's server groups). A server is in one or in none, from its acceptance to its end.
CREATE TABLE server_groups (
    id           text PRIMARY KEY,
    project_id   text NOT NULL REFERENCES projects,
    user_id      text NOT NULL,
    name         text NOT NULL CHECK (name <> ''),
    policy       text NOT NULL CHECK (policy IN ('affinity', 'anti-affinity', 'soft-affinity', 'soft-anti-affinity')),
    max_per_host integer CHECK (max_per_host > 0), -- how many of them anti-affinity lets share a host; null: one, and nobody said so
    created_at   timestamptz NOT NULL,
    CHECK (max_per_host IS NULL OR policy = 'anti-affinity')
);
CREATE INDEX server_groups_project ON server_groups (project_id, created_at, id); -- ListServerGroups; the quota
CREATE TRIGGER server_groups_project_stands BEFORE INSERT ON server_groups FOR EACH ROW EXECUTE FUNCTION project_stands('project_id');

ALTER TABLE servers ADD COLUMN group_id text REFERENCES server_groups ON DELETE SET NULL;
CREATE INDEX servers_group ON servers (group_id) WHERE group_id IS NOT NULL; -- Place, the members; the foreign key

-- Hosts that have something in common (Nova's host aggregates). One whose metadata names an availability zone is that zone.
CREATE TABLE aggregates (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid       text NOT NULL,
    name       text NOT NULL CHECK (name <> ''),
    metadata   jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    created_at timestamptz NOT NULL,
    updated_at timestamptz,
    CONSTRAINT aggregates_name_key UNIQUE (name)
);
CREATE TABLE aggregate_hosts (
    aggregate_id bigint NOT NULL REFERENCES aggregates ON DELETE CASCADE,
    host_id      text NOT NULL REFERENCES hosts ON DELETE CASCADE,
    PRIMARY KEY (aggregate_id, host_id)
);
CREATE INDEX aggregate_hosts_host ON aggregate_hosts (host_id); -- ListHosts; the zone of a host; the cascade from hosts

-- A host's zone is that of an aggregate that it is in, or its own, which it was admitted with. Whoever writes the column, what stands there is
-- that: a host that registers writes what it was told before.
ALTER TABLE hosts ADD COLUMN own_zone text;
UPDATE hosts SET own_zone = availability_zone;
-- +goose StatementBegin
CREATE FUNCTION hosts_zone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.own_zone := NEW.availability_zone;
    END IF;
    NEW.availability_zone := COALESCE((
        SELECT min(a.metadata ->> 'availability_zone') FROM aggregates a JOIN aggregate_hosts h ON h.aggregate_id = a.id WHERE h.host_id = NEW.id
    ), NEW.own_zone);
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER hosts_zone BEFORE INSERT OR UPDATE OF availability_zone ON hosts FOR EACH ROW EXECUTE FUNCTION hosts_zone();
ALTER TABLE hosts ALTER COLUMN own_zone SET NOT NULL;

-- +goose Down

DROP TRIGGER hosts_zone ON hosts;
DROP FUNCTION hosts_zone;
UPDATE hosts SET availability_zone = own_zone;
ALTER TABLE hosts DROP COLUMN own_zone;
DROP TABLE aggregate_hosts, aggregates;
ALTER TABLE servers DROP COLUMN group_id;
DROP TABLE server_groups;
