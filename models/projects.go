package models

import (
	"context"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Project owns everything a user makes (Keystone's project).
type Project struct {
	ID          string `gorm:"primaryKey"`
	Name        string
	DomainID    string
	Description string
	Enabled     bool
	Tags        []string `gorm:"serializer:json"`
	Extra       Extra    `gorm:"serializer:json"`
	CreatedAt   time.Time
	DeletedAt   gorm.DeletedAt // what it owned refers to it for ever

	PurgingSince *time.Time // it is being deleted with all that it owns
	PurgedBy     *string    // by whom
}

// MaxProjectTags is how many tags a project may have (Keystone's limit).
const MaxProjectTags = 80

// ProjectPatch is what changes of a project; nil leaves it.
type ProjectPatch struct {
	Name, Description *string
	Enabled           *bool
	Tags              *[]string
	Extra             Extra
}

// CreateProject records one; Conflict where another of its domain has its name, NotFound where the domain is none.
func (s *Store) CreateProject(ctx context.Context, p Project) error {
	err := s.db.WithContext(ctx).Create(&p).Error
	switch {
	case violates(err, "projects_name_key"):
		return duplicate("project", p.Name)
	case violates(err, "projects_domain_id_fkey"):
		return noDomain(p.DomainID)
	}
	return failed(err, "create project %s", p.Name)
}

// EnsureProject returns the project of that domain and name, making it if it is not there.
func (s *Store) EnsureProject(ctx context.Context, p Project) (Project, error) {
	if p.CreatedAt.IsZero() {
		p.CreatedAt = now()
	}
	p.Tags, p.Extra = []string{}, Extra{}
	err := s.db.WithContext(ctx).Clauses(clause.OnConflict{
		Columns:   []clause.Column{{Name: "domain_id"}, {Name: "name"}},
		DoUpdates: clause.AssignmentColumns([]string{"name"}), // nothing changes, but the row is returned
	}, clause.Returning{}).Create(&p).Error
	if violates(err, "projects_pkey") {
		return Project{}, fault.New(fault.Conflict, "Conflict occurred attempting to store project - Duplicate ID, %s.", p.ID)
	}
	return p, failed(err, "ensure project %s", p.Name)
}

// Project by id.
func (s *Store) Project(ctx context.Context, id string) (Project, error) {
	return found[Project](ctx, s, noProject(id), "id = ?", id)
}

// ProjectByName within a domain.
func (s *Store) ProjectByName(ctx context.Context, domainID, name string) (Project, error) {
	return found[Project](ctx, s, noProject(name), "domain_id = ? AND name = ?", domainID, name)
}

// ListProjects lists them by name.
func (s *Store) ListProjects(ctx context.Context, f IdentityFilter) ([]Project, error) {
	all, err := listed[Project](ctx, s, f)
	return all, failed(err, "list the projects")
}

// UpdateProject changes one. A disabled one ends no token: no request is let in by them. One that is enabled is purged no further.
func (s *Store) UpdateProject(ctx context.Context, id string, p ProjectPatch) (Project, error) {
	var changedTo Project
	err := s.keepingAnAdmin(ctx, func(tx *gorm.DB) (err error) {
		set := columns{"name": p.Name, "description": p.Description, "enabled": p.Enabled, "tags": p.Tags, "extra": p.Extra}.set()
		if p.Enabled != nil && *p.Enabled {
			set["purging_since"], set["purged_by"] = nil, nil
		}
		changedTo, err = revised[Project](tx, id, set, noProject(id))
		return err
	})
	if violates(err, "projects_name_key") {
		return changedTo, duplicate("project", *p.Name)
	}
	return changedTo, failed(err, "change project %s", id)
}

// owned is what keeps a project from being deleted, with how much of it there is.
var owned = []struct{ what, sql string }{
	{"server", "SELECT count(*) FROM servers WHERE project_id = $1 AND deleted_at IS NULL"},
	{"build", "SELECT count(*) FROM claims WHERE project_id = $1 AND server_id NOT IN (SELECT id FROM servers WHERE deleted_at IS NULL)"},
	{"image", "SELECT count(*) FROM images WHERE owner_id = $1 AND deleted_at IS NULL"},
	{"network", "SELECT count(*) FROM networks WHERE project_id = $1"},
	{"subnet", "SELECT count(*) FROM subnets s JOIN networks n ON n.id = s.network_id WHERE s.project_id = $1 AND n.project_id <> $1"},
	{"server group", "SELECT count(*) FROM server_groups WHERE project_id = $1"},
	{"port", "SELECT count(*) FROM ports WHERE project_id = $1"},
	{"security group", "SELECT count(*) FROM security_groups WHERE project_id = $1 AND NOT is_default"},
	{"router", "SELECT count(*) FROM routers WHERE project_id = $1"},
	{"floating IP", "SELECT count(*) FROM floating_ips WHERE project_id = $1"},
}

// DeleteProject deletes one that owns nothing; Conflict says what it owns.
func (s *Store) DeleteProject(ctx context.Context, id string) error {
	err := s.keepingAnAdmin(ctx, func(tx *gorm.DB) error { return deleteProject(tx, id) })
	return failed(err, "delete project %s", id)
}

// deleteProject waits for whoever is giving the project something (project_stands), and they wait for it.
func deleteProject(tx *gorm.DB, id string) error {
	var p Project
	if err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).Where("id = ?", id).Take(&p).Error; isAbsent(err) {
		return noProject(id)
	} else if err != nil {
		return err
	}
	var has []string
	for _, o := range owned {
		var n int64
		if err := tx.Raw(o.sql, id).Scan(&n).Error; err != nil {
			return err
		}
		if n > 0 {
			has = append(has, plural(n, o.what))
		}
	}
	if len(has) > 0 {
		return fault.New(fault.Conflict, "Project %s owns %s: delete what it owns first.", id, strings.Join(has, ", "))
	}
	for _, what := range []string{
		"DELETE FROM grants WHERE project_id = ?", "DELETE FROM tokens WHERE project_id = ?", "DELETE FROM project_quotas WHERE project_id = ?", "DELETE FROM network_quotas WHERE project_id = ?",
		"DELETE FROM security_groups WHERE project_id = ?", // its default, which goes with it
		"DELETE FROM image_members WHERE member_id = ?", "DELETE FROM flavor_access WHERE project_id = ?", "UPDATE users SET default_project_id = NULL WHERE default_project_id = ?",
		"DELETE FROM credentials WHERE project_id = ?", "DELETE FROM application_credentials WHERE project_id = ?",
		"UPDATE projects SET name = " + nameOfDeleted + " WHERE id = ?",
	} {
		if err := tx.Exec(what, id).Error; err != nil {
			return err
		}
	}
	return tx.Delete(&p).Error
}

func plural(n int64, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// TagProject adds a tag; again is success. Invalid where there are as many as there may be.
func (s *Store) TagProject(ctx context.Context, id, tag string) error {
	u := s.db.WithContext(ctx).Model(&Project{}).Where("id = ? AND (jsonb_exists(tags, ?) OR jsonb_array_length(tags) < ?)", id, tag, MaxProjectTags).
		Update("tags", gorm.Expr("(SELECT jsonb_agg(DISTINCT t ORDER BY t) FROM jsonb_array_elements(tags || to_jsonb(?::text)) t)", tag))
	if u.Error == nil && u.RowsAffected == 0 {
		return fault.New(fault.Invalid, "Project %s has %d tags: more than that are not kept.", id, MaxProjectTags)
	}
	return failed(u.Error, "tag project %s", id)
}

// UntagProject takes a tag away, and says whether there was one.
func (s *Store) UntagProject(ctx context.Context, id, tag string) (bool, error) {
	u := s.db.WithContext(ctx).Model(&Project{}).Where("id = ? AND jsonb_exists(tags, ?)", id, tag).Update("tags", gorm.Expr("tags - ?::text", tag))
	return u.RowsAffected > 0, failed(u.Error, "take a tag of project %s away", id)
}
