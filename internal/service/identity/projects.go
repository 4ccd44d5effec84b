package identity

import (
	"context"
	"time"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

func domainOfProject(p models.Project) string { return p.DomainID }

// Projects lists them.
func (r *Repository) Projects(ctx context.Context, f models.IdentityFilter) ([]models.Project, error) {
	f, err := r.within("list_projects", f)
	if err != nil {
		return nil, err
	}
	return r.store.ListProjects(ctx, f)
}

// Project by id; everybody sees the one of the own token.
func (r *Repository) Project(ctx context.Context, id string) (models.Project, error) {
	p, err := r.store.Project(ctx, id)
	if err == nil && id == r.caller.ProjectID {
		return p, nil
	}
	return judged(r, reads, "get_project", domainOfProject, p, err)
}

// CreateProject makes one.
func (r *Repository) CreateProject(ctx context.Context, p models.Project) (models.Project, error) {
	p.DomainID = r.domainOr(p.DomainID)
	if err := r.may(writes, "create_project", p.DomainID); err != nil {
		return p, err
	}
	p.ID, p.CreatedAt = newID(), time.Now().UTC()
	return p, r.store.CreateProject(ctx, p)
}

// ProjectChange is what changes of a project; nil leaves it. DomainID is the one that it has, and ParentID too.
type ProjectChange struct {
	models.ProjectPatch
	DomainID, ParentID *string
}

// NoTree refuses another parent of a project than its domain: there is no tree of projects.
func NoTree(parentID *string, domainID string) error {
	if parentID != nil && *parentID != "" && *parentID != domainID {
		return fault.New(fault.Invalid, "Projects have no projects below them here: parent_id is the project's domain, or nothing.")
	}
	return nil
}

// UpdateProject changes one; a disabled one lets nobody in.
func (r *Repository) UpdateProject(ctx context.Context, id string, change ProjectChange) (models.Project, error) {
	p, err := r.store.Project(ctx, id)
	if p, err = judged(r, writes, "update_project", domainOfProject, p, err); err != nil {
		return p, err
	}
	if err := stays(change.DomainID, p.DomainID); err != nil {
		return p, err
	}
	if err := NoTree(change.ParentID, p.DomainID); err != nil {
		return p, err
	}
	return r.store.UpdateProject(ctx, id, change.ProjectPatch)
}

// DeleteProject deletes one that owns nothing.
func (r *Repository) DeleteProject(ctx context.Context, id string) error {
	p, err := r.store.Project(ctx, id)
	if _, err = judged(r, writes, "delete_project", domainOfProject, p, err); err != nil {
		return err
	}
	return r.store.DeleteProject(ctx, id)
}

// PurgeProject disables one and has it deleted with all that it owns, which an admin of everything may. It is certain then, and not yet
// done; who enables the project again keeps what is left of it.
func (r *Repository) PurgeProject(ctx context.Context, id string) error {
	if err := r.may(writes, "purge_project", ""); err != nil {
		return err
	}
	return r.store.PurgeProject(ctx, id, r.caller.UserID)
}

// Tag adds a tag; again is success.
func (r *Repository) Tag(ctx context.Context, id, tag string) error {
	p, err := r.store.Project(ctx, id)
	if _, err = judged(r, writes, "create_project_tag", domainOfProject, p, err); err != nil {
		return err
	}
	return r.store.TagProject(ctx, id, tag)
}

// Untag takes a tag away, and says whether there was one.
func (r *Repository) Untag(ctx context.Context, id, tag string) (bool, error) {
	p, err := r.store.Project(ctx, id)
	if _, err = judged(r, writes, "delete_project_tag", domainOfProject, p, err); err != nil {
		return false, err
	}
	return r.store.UntagProject(ctx, id, tag)
}
