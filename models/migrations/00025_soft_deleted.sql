-- +goose Up

CREATE INDEX servers_gone ON servers (created_at, id) WHERE deleted_at IS NOT NULL OR vm_state = 'soft-delete'; -- ListServers of the deleted
CREATE INDEX servers_soft_deleted ON servers (id) WHERE vm_state = 'soft-delete';                                 -- those to reclaim
DROP INDEX servers_deleted_at;

-- +goose Down

CREATE INDEX servers_deleted_at ON servers (created_at, id) WHERE deleted_at IS NOT NULL;
DROP INDEX servers_gone, servers_soft_deleted;
