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

-- +goose Down

ALTER TABLE servers DROP COLUMN group_id;
DROP TABLE server_groups;
