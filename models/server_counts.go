package models

import "context"

// ServerCount is how many servers have a status and a task state ("" is none).
type ServerCount struct {
	Status    ServerStatus
	TaskState string
	Servers   int64
}

// CountServers counts all servers that are not deleted, by status and task state.
func (s *Store) CountServers(ctx context.Context) ([]ServerCount, error) {
	all := []ServerCount{}
	err := s.db.WithContext(ctx).Raw(`
SELECT status, COALESCE(task_state, '') AS task_state, count(*) AS servers
FROM servers WHERE deleted_at IS NULL GROUP BY 1, 2 ORDER BY 1, 2`).Scan(&all).Error
	return all, failed(err, "count the servers")
}
