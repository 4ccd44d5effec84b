package models

import (
	"context"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// PurgeProject disables a project and notes that it is to be deleted with all that it owns; again is success. Conflict where it has
// an image that is protected.
func (s *Store) PurgeProject(ctx context.Context, id, by string) error {
	err := s.keepingAnAdmin(ctx, func(tx *gorm.DB) error {
		if err := standing[Project](tx, id, "UPDATE", noProject(id)); err != nil {
			return err
		}
		var protected int64
		if err := tx.Model(&Image{}).Where("owner_id = ? AND deleted_at IS NULL AND protected", id).Count(&protected).Error; err != nil {
			return err
		}
		if protected > 0 {
			return fault.New(fault.Conflict, "Project %s has %s that is protected: take that from it first.", id, plural(protected, "image"))
		}
		return tx.Exec("UPDATE projects SET enabled = false, purging_since = COALESCE(purging_since, now()), purged_by = ? WHERE id = ?", by, id).Error
	})
	return failed(err, "purge project %s", id)
}

// PurgingProjects are those that are to be deleted with all that they own, the oldest request first.
func (s *Store) PurgingProjects(ctx context.Context) ([]Project, error) {
	var all []Project
	err := s.db.WithContext(ctx).Where("purging_since IS NOT NULL").Order("purging_since, id").Find(&all).Error
	return all, failed(err, "look for projects that are purged")
}

// Purging says whether a project is to be deleted with all that it owns, still: who enables it keeps what is left.
func (s *Store) Purging(ctx context.Context, id string) (is bool, err error) {
	err = s.db.WithContext(ctx).Model(&Project{}).Where("id = ?", id).Select("purging_since IS NOT NULL").Scan(&is).Error
	return is, failed(err, "read whether project %s is purged", id)
}

// EndPurge deletes a project that is purged and owns nothing any more; Conflict where it does, or where somebody has enabled it.
func (s *Store) EndPurge(ctx context.Context, id string) error {
	err := s.keepingAnAdmin(ctx, func(tx *gorm.DB) error {
		enabled := fault.New(fault.Conflict, "Project %s is purged no more.", id)
		if err := standing[Project](tx.Where("purging_since IS NOT NULL"), id, "UPDATE", enabled); err != nil {
			return err
		}
		return deleteProject(tx, id)
	})
	return failed(err, "delete project %s", id)
}

// Belongings are what a project owns that can be deleted now; of each kind some.
type Belongings struct {
	Servers                          []string // that are not being deleted already
	Images, Ports, Subnets, Networks []string // ports that no server has, networks without ports, subnets on others' networks
	ServerGroups                     []string
	SecurityGroups                   []string // without ports, and but for the default, which goes with the project
	FloatingIPs, Routers             []string
}

// atOnceOfAKind is how much of each kind a purge takes on at a time.
const atOnceOfAKind = 1000

// Belongings of a project.
func (s *Store) Belongings(ctx context.Context, projectID string) (Belongings, error) {
	var b Belongings
	err := s.read(ctx, func(tx *gorm.DB) error {
		b = Belongings{}
		for _, kind := range []struct {
			ids   *[]string
			table any
			where string
		}{
			{&b.Servers, &Server{}, "project_id = ? AND deleted_at IS NULL AND task_state IS DISTINCT FROM '" + lifecycle.Deleting + "'"},
			{&b.Images, &Image{}, "owner_id = ? AND deleted_at IS NULL"},
			{&b.Ports, &Port{}, "project_id = ? AND server_id IS NULL AND router_id IS NULL"},
			{&b.FloatingIPs, &FloatingIP{}, "project_id = ?"},
			{&b.Routers, &Router{}, "project_id = ?"},
			{&b.Subnets, &Subnet{}, "project_id = ? AND network_id IN (SELECT id FROM networks n WHERE n.project_id <> subnets.project_id)"},
			{&b.ServerGroups, &ServerGroup{}, "project_id = ?"},
			{&b.SecurityGroups, &SecurityGroup{}, "project_id = ? AND NOT is_default AND NOT EXISTS (SELECT FROM port_security_groups m WHERE m.group_id = security_groups.id)"},
			{&b.Networks, &Network{}, "project_id = ? AND NOT EXISTS (SELECT FROM ports p WHERE p.network_id = networks.id)"},
		} {
			err := tx.Model(kind.table).Where(kind.where, projectID).
				Order(clause.OrderByColumn{Column: clause.Column{Name: "id"}}).Limit(atOnceOfAKind).Pluck("id", kind.ids).Error
			if err != nil {
				return err
			}
		}
		return nil
	})
	return b, failed(err, "read what project %s owns", projectID)
}
