package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
)

// idOfProject is how Keystone writes ids: 32 hexadecimal digits, or a UUID.
var idOfProject = regexp.MustCompile(`^[0-9a-fA-F]{32}$|^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// projectID finds the project that a user named by id or name: the token's own, one of the user's, or any, if the user may
// list all. Where the identity API lists none for this user the name is taken as an id, and the API that gets it decides.
func (s *session) projectID(ctx context.Context, ref string) (string, error) {
	if ref == "" {
		return "", usage("the name or id of the project is empty")
	}
	if idOfProject.MatchString(ref) {
		return ref, nil
	}
	token, err := s.token()
	if err != nil {
		return "", err
	}
	if text(token, "project", "name") == ref {
		return text(token, "project_id"), nil
	}
	listed := false
	for _, list := range []request{
		{service: "identity", path: "auth/projects"},
		{service: "identity", path: "projects", query: url.Values{"name": {ref}}},
	} {
		projects, err := s.pages(ctx, list, "projects")
		switch {
		case isStatus(err, http.StatusForbidden), isStatus(err, http.StatusNotFound):
			continue
		case err != nil:
			return "", doing(err, "look for the project %q", ref)
		}
		listed = list.path == "projects"
		named := map[string]bool{}
		for _, p := range projects {
			if text(p, "name") == ref || text(p, "id") == ref {
				named[text(p, "id")] = true
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
		return "", usage("%d projects are named %q: use an id", len(named), ref)
	}
	if listed {
		return "", &Error{Code: ExitNotFound, What: fmt.Sprintf("there is no project with the name or id %q", ref)}
	}
	return ref, nil
}

// ownProject is the project of the token.
func (s *session) ownProject() (string, error) {
	token, err := s.token()
	if err != nil {
		return "", err
	}
	id := text(token, "project_id")
	if id == "" {
		return "", usage("the token is of no project: set OS_PROJECT_NAME, or say which project")
	}
	return id, nil
}
