package session

import (
	"fmt"

	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// Token is what the identity API said at login, without the catalog: Keystone's fields, and id, project_id and user_id as
// the OpenStack client prints them.
func (s *Session) Token() (show.Object, error) {
	var body any
	switch result := s.provider.GetAuthResult().(type) {
	case tokens.CreateResult:
		body = result.Body
	case tokens.GetResult:
		body = result.Body
	default:
		return nil, &show.Error{Code: show.ExitFailed, What: "the identity API gave no token of version 3"}
	}
	whole, _ := body.(show.Object)
	inner, ok := whole["token"].(show.Object)
	if !ok {
		return nil, &show.Error{Code: show.ExitFailed, What: "the identity API answered without a token"}
	}
	token := show.Object{}
	for key, value := range inner {
		if key != "catalog" {
			token[key] = value
		}
	}
	token["id"] = s.provider.Token()
	token["user_id"] = fmt.Sprint(show.At(inner, "user", "id"))
	if id := show.Text(inner, "project", "id"); id != "" {
		token["project_id"] = id
	}
	return token, nil
}
