package models

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// ServerCount is how many servers are in a state and have a task state ("" is none).
type ServerCount struct {
	VMState   lifecycle.VMState `gorm:"column:vm_state"`
	TaskState string
	Servers   int64
}

// CountServers counts all servers that are not deleted, by state and task state.
func (s *Store) CountServers(ctx context.Context) ([]ServerCount, error) {
	all := []ServerCount{}
	err := s.db.WithContext(ctx).Raw(`
SELECT vm_state, COALESCE(task_state, '') AS task_state, count(*) AS servers
FROM servers WHERE deleted_at IS NULL GROUP BY 1, 2 ORDER BY 1, 2`).Scan(&all).Error
	return all, failed(err, "count the servers")
}
