package identity

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
)

// unserved is what Keystone has and this API has not, by route, and what to do instead. The paths are in docs/api.md.
var unserved = []struct {
	paths []string
	text  string
}{
	{[]string{"/OS-TRUST/trusts", "/OS-TRUST/trusts/*"},
		"Trusts are not served: give a program an application credential (POST /v3/users/{id}/application_credentials)."},
	{[]string{"/OS-OAUTH1/*", "/users/:id/OS-OAUTH1/*", "/OS-OAUTH2/*"},
		"OAuth is not served: give a program an application credential (POST /v3/users/{id}/application_credentials)."},
	{[]string{"/OS-FEDERATION/*", "/auth/OS-FEDERATION/*"},
		"Federation is not served: users log in with a password, a token or an application credential."},
	{[]string{"/domains/config/*", "/domains/:id/config", "/domains/:id/config/*"},
		"Domains have no settings of their own: LDAP is not served, and every domain's users are kept here."},
	{[]string{"/registered_limits", "/registered_limits/*", "/limits", "/limits/*"},
		"Unified limits are not served: projects have the quotas of the compute API (os-quota-sets)."},
	{[]string{"/policies", "/policies/*", "/OS-ENDPOINT-POLICY/*"},
		"Policies are not kept here: docs/policy.md lists who may call what, and a file of the operator's may say otherwise (api.policy_file)."},
	{[]string{"/OS-EP-FILTER/*"}, "The catalog is the same for every project: endpoints are not filtered."},
	{[]string{"/OS-REVOKE/events", "/OS-PKI/revoked"},
		"There are no events of revocation: a token is looked up with each request, and ends at once."},
	{[]string{"/s3tokens"}, "There is no object store here whose signatures could be exchanged for tokens."},
}

var anyMethod = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

func (a *API) mountUnserved(g reading) {
	for _, u := range unserved {
		for _, path := range u.paths {
			g.Match(anyMethod, path, func(echo.Context) error {
				return rest.Status(http.StatusNotImplemented, "%s", u.text)
			}, rest.Expect(http.StatusNotImplemented))
		}
	}
}
