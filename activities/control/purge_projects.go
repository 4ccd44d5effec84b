package control

import (
	"context"
	"errors"
	"fmt"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

// PurgeProjects goes on with the delete of projects that are to go with all that they own: begins the delete of their servers, removes
// images, ports, subnets, networks and security groups that nothing uses, groups of servers, and in the end the project. What cannot go yet is left to
// the next turn.
func (a *Activities) PurgeProjects(ctx context.Context, _ contract.Housekeeping) error {
	projects, err := a.store.PurgingProjects(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range projects {
		if err := a.purge(ctx, p); err != nil {
			errs = append(errs, fmt.Errorf("purge project %s: %w", p.ID, err))
		}
	}
	return errors.Join(errs...)
}

func (a *Activities) purge(ctx context.Context, p models.Project) error {
	has, err := a.store.Belongings(ctx, p.ID)
	if err != nil {
		return err
	}
	by, request := *p.PurgedBy, newRequest()
	repository := a.images.For(images.Caller{
		Caller: imagepolicy.Caller{UserID: by, ProjectID: p.ID, Roles: []string{auth.RoleAdmin}}, RequestID: request,
	})
	deleteServer := func(ctx context.Context, id string) error {
		return a.builds.Delete(ctx, contract.DeleteInput{ServerID: id, ProjectID: p.ID, UserID: by, RequestID: request, Deadlines: a.deadlines})
	}
	removeImage := func(ctx context.Context, id string) error {
		image, err := repository.Get(ctx, id)
		if err != nil {
			return err
		}
		return repository.Remove(ctx, image)
	}
	var errs []error
	for _, kind := range []struct {
		what string
		ids  []string
		gone func(context.Context, string) error
	}{
		{"server", has.Servers, deleteServer}, {"image", has.Images, removeImage},
		{"floating IP", has.FloatingIPs, a.store.DeleteFloatingIP}, {"router", has.Routers, a.store.PurgeRouter}, {"port", has.Ports, a.store.DeletePort},
		{"subnet", has.Subnets, a.store.DeleteSubnet}, {"network", has.Networks, a.store.DeleteNetwork},
		{"server group", has.ServerGroups, a.store.DeleteServerGroup}, {"security group", has.SecurityGroups, a.store.DeleteSecurityGroup}, {"project", []string{p.ID}, a.store.EndPurge},
	} {
		for _, id := range kind.ids {
			// A turn may take minutes, and who enables the project keeps what is left of it.
			if purging, err := a.store.Purging(ctx, p.ID); err != nil || !purging {
				return errors.Join(append(errs, err)...)
			}
			err := kind.gone(ctx, id)
			switch {
			case err == nil, fault.Is(err, fault.NotFound):
			case fault.Is(err, fault.Conflict), fault.Is(err, fault.Forbidden): // something is done to it, or it is protected
				a.log.Info("a project that is purged keeps something for now", "project_id", p.ID, kind.what, id, "reason", err)
			default:
				errs = append(errs, fmt.Errorf("%s %s: %w", kind.what, id, err))
			}
		}
	}
	return errors.Join(errs...)
}
