package models

import (
	"context"
	"time"

	"gorm.io/gorm"

	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// ServerUse is a server that was there for some of a time.
type ServerUse struct {
	ServerID     string
	ProjectID    string
	Name         string
	Flavor       FlavorSnapshot `gorm:"serializer:json"`
	VMState      lifecycle.VMState
	LaunchedAt   time.Time
	TerminatedAt *time.Time
}

// UsageFilter selects servers that were there between two moments, deleted ones too.
type UsageFilter struct {
	ProjectID  string // "" is any
	Start, End time.Time
	Marker     string // a server's id
	Limit      int    // 0 is all
}

var usageOrder = order{
	id: "id", preset: Sort{Key: "project"}, keys: map[string]string{"project": "project_id"},
}

// ServersInUse lists what the filter selects, those of a project together.
func (s *Store) ServersInUse(ctx context.Context, f UsageFilter) ([]ServerUse, error) {
	all := []ServerUse{}
	err := s.read(ctx, func(tx *gorm.DB) error {
		all = all[:0]
		visible := func() *gorm.DB {
			q := tx.Table("servers").Where("launched_at <= ? AND (terminated_at IS NULL OR terminated_at >= ?)", f.End, f.Start)
			if f.ProjectID != "" {
				q = q.Where("project_id = ?", f.ProjectID)
			}
			return q
		}
		q, err := usageOrder.page(visible(), visible(), nil, f.Marker, f.Limit)
		if err != nil {
			return err
		}
		return q.Select("id AS server_id, project_id, name, flavor, vm_state, launched_at, terminated_at").Find(&all).Error
	})
	return all, failed(err, "list the servers that were there")
}
