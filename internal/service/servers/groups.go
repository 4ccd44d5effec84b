package servers

import (
	"context"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/scheduler"
	"github.com/slipway-cloud/slipway/models"
)

// Group finds a server group; another project's is as absent as one that never was.
func (s Servers) Group(ctx context.Context, id string) (models.ServerGroup, error) {
	absent := fault.New(fault.NotFound, "Instance group %s could not be found.", id)
	if uuid.Validate(id) != nil {
		return models.ServerGroup{}, absent
	}
	g, err := s.store.ServerGroup(ctx, id)
	if err == nil && !s.caller.Owns(g.ProjectID) {
		return models.ServerGroup{}, absent
	}
	return g, err
}

// Groups lists the groups of the caller's project, an admin's with all of every one.
func (s Servers) Groups(ctx context.Context, all bool, offset, limit int) ([]models.ServerGroup, error) {
	project := s.caller.ProjectID
	if all && s.caller.Admin() {
		project = ""
	}
	return s.store.ListServerGroups(ctx, project, offset, limit)
}

// CreateGroup makes one in the caller's project; most is how many of it may share a host, nil is not said.
func (s Servers) CreateGroup(ctx context.Context, name, policy string, most *int) (models.ServerGroup, error) {
	if most != nil && policy != models.AntiAffinity {
		return models.ServerGroup{}, invalid("Only anti-affinity policy supports rules.")
	}
	q, err := s.Quota(ctx, s.caller.ProjectID)
	if err != nil {
		return models.ServerGroup{}, err
	}
	return s.store.CreateServerGroup(ctx, models.ServerGroup{
		ProjectID: s.caller.ProjectID, UserID: s.caller.UserID, Name: name, Policy: policy, MaxPerHost: most,
	}, q.ServerGroups)
}

// DeleteGroup deletes a group; its servers stay where they are.
func (s Servers) DeleteGroup(ctx context.Context, id string) error {
	g, err := s.Group(ctx, id)
	if err != nil {
		return err
	}
	return s.store.DeleteServerGroup(ctx, g.ID)
}

// follow checks what the hints of a request name, and gives the group that its server is to be in, nil where it is none.
func (s Servers) follow(ctx context.Context, given map[string]any, q models.ProjectQuota) (*contract.GroupMembership, error) {
	hints, err := scheduler.ReadHints(given)
	if err != nil {
		return nil, err
	}
	for _, ids := range [][]string{hints.SameHost, hints.DifferentHost} {
		for _, id := range ids {
			if _, err := s.Get(ctx, id); err != nil {
				return nil, fault.Absent(err, fault.Invalid, "Instance %s could not be found.", id)
			}
		}
	}
	if hints.Group == "" {
		return nil, nil
	}
	g, err := s.Group(ctx, hints.Group)
	if err != nil {
		return nil, fault.Absent(err, fault.Invalid, "Instance group %s could not be found.", hints.Group)
	}
	if g.ProjectID != s.caller.ProjectID {
		return nil, fault.New(fault.Invalid, "Instance group %s is another project's than the server.", g.ID)
	}
	if over(len(g.Members)+1, q.ServerGroupMembers) {
		return nil, models.FullGroup()
	}
	return &contract.GroupMembership{ID: g.ID, Limit: q.ServerGroupMembers}, nil
}
