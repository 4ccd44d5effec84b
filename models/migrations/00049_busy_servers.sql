-- +goose Up
-- Servers to which something is done: ListHostsForBuild counts those of each host that keep its disks busy. They are few.
CREATE INDEX servers_busy ON servers (id) WHERE task_state IS NOT NULL AND deleted_at IS NULL;

-- +goose Down
DROP INDEX servers_busy;
