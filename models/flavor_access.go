package models

import (
	"context"

	"gorm.io/gorm/clause"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// FlavorAccess says that a project may use a flavor which is not public.
type FlavorAccess struct {
	FlavorID  string `gorm:"primaryKey"`
	ProjectID string `gorm:"primaryKey"`
}

// TableName is said because gorm would make a plural of it.
func (FlavorAccess) TableName() string { return "flavor_access" }

// isGiven is whether a project, the parameter, was given the flavor of the query.
const isGiven = "EXISTS (SELECT FROM flavor_access a WHERE a.flavor_id = flavors.id AND a.project_id = ?)"

// FlavorProjects are the projects that were given a flavor.
func (s *Store) FlavorProjects(ctx context.Context, id string) ([]string, error) {
	all := []string{}
	err := s.db.WithContext(ctx).Model(&FlavorAccess{}).Where("flavor_id = ?", id).Order("project_id").Pluck("project_id", &all).Error
	return all, failed(err, "list the projects of flavor %s", id)
}

// GiveFlavor lets a project use a flavor; Conflict where it may already.
func (s *Store) GiveFlavor(ctx context.Context, id, projectID string) error {
	u := s.db.WithContext(ctx).Clauses(clause.OnConflict{DoNothing: true}).Create(&FlavorAccess{FlavorID: id, ProjectID: projectID})
	switch {
	case violates(u.Error, "flavor_access_flavor_id_fkey"):
		return noFlavor(id)
	case violates(u.Error, "flavor_access_project_id_fkey"):
		return noProject(projectID)
	case u.Error == nil && u.RowsAffected == 0:
		return fault.New(fault.Conflict, "Flavor access already exists for flavor %s and project %s combination.", id, projectID)
	}
	return failed(u.Error, "give flavor %s to project %s", id, projectID)
}

// TakeFlavor takes a flavor from a project; NotFound where it had not been given it. Its servers keep theirs.
func (s *Store) TakeFlavor(ctx context.Context, id, projectID string) error {
	d := s.db.WithContext(ctx).Where("flavor_id = ? AND project_id = ?", id, projectID).Delete(&FlavorAccess{})
	if d.Error == nil && d.RowsAffected == 0 {
		return fault.New(fault.NotFound, "Flavor access not found for %s / %s combination.", id, projectID)
	}
	return failed(d.Error, "take flavor %s from project %s", id, projectID)
}
