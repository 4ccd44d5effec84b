package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// idOfProject is how Keystone writes ids: 32 hexadecimal digits, or a UUID.
var idOfProject = regexp.MustCompile(`^[0-9a-fA-F]{32}$|^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// projectID finds the project that a user named by id or name: the token's own, one of the user's, or any, if the user may
// list all. Where the identity API lists none for this user the name is taken as an id, and the API that gets it decides.
func projectID(ctx context.Context, s *session.Session, ref string) (string, error) {
	if ref == "" {
		return "", show.UsageError("the name or id of the project is empty")
	}
	if idOfProject.MatchString(ref) {
		return ref, nil
	}
	token, err := s.Token()
	if err != nil {
		return "", err
	}
	if show.Text(token, "project", "name") == ref {
		return show.Text(token, "project_id"), nil
	}
	listed := false
	for _, list := range []session.Request{
		{Service: "identity", Path: "auth/projects"},
		{Service: "identity", Path: "projects", Query: url.Values{"name": {ref}}},
	} {
		projects, err := s.Pages(ctx, list, "projects")
		switch {
		case session.IsStatus(err, http.StatusForbidden), session.IsStatus(err, http.StatusNotFound):
			continue
		case err != nil:
			return "", session.Doing(err, "look for the project %q", ref)
		}
		listed = list.Path == "projects"
		named := map[string]bool{}
		for _, p := range projects {
			if show.Text(p, "name") == ref || show.Text(p, "id") == ref {
				named[show.Text(p, "id")] = true
			}
		}
		switch len(named) {
		case 0:
			continue
		case 1:
			for id := range named {
				return id, nil
			}
		}
		return "", show.UsageError("%d projects are named %q: use an id", len(named), ref)
	}
	if listed {
		return "", &show.Error{Code: show.ExitNotFound, What: fmt.Sprintf("there is no project with the name or id %q", ref)}
	}
	return ref, nil
}

// ownProject is the project of the token.
func ownProject(s *session.Session) (string, error) {
	token, err := s.Token()
	if err != nil {
		return "", err
	}
	id := show.Text(token, "project_id")
	if id == "" {
		return "", show.UsageError("the token is of no project: set OS_PROJECT_NAME, or say which project")
	}
	return id, nil
}
