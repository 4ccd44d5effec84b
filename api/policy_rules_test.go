package api

import (
	"fmt"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/policy"
	"github.com/slipway-cloud/slipway/models"
)

// ruled starts the API anew with an operator's rules.
func (w *world) ruled(text string) {
	w.t.Helper()
	rules, err := policy.ParseRules(strings.NewReader(text))
	require.NoError(w.t, err)
	require.NoError(w.t, w.stop())
	o := w.options()
	o.Rules = rules
	server, err := New(o)
	require.NoError(w.t, err)
	listens := httptest.NewServer(server.Handler())
	w.t.Cleanup(listens.Close)
	w.url = listens.URL
}

func TestAnOperatorsRulesNarrowAndWidenWhatTheyNameAndNothingElse(t *testing.T) {
	w := newWorld(t)
	for _, role := range []string{"builder", "operator"} {
		w.made("role", object{"name": role})
		require.NoError(t, w.store.EnsureGrant(t.Context(), models.Grant{Role: role, UserID: new(readerUser), ProjectID: new(demoProject)}))
	}
	w.ruled(`
"os_compute_api:servers:create": "role:builder or role:admin"
"os_compute_api:servers:stop": "!"
"os_compute_api:os-shelve:shelve_offload": "role:operator"
"os_compute_api:os-services:list": "role:operator or role:admin"
"slipway:hosts:index": "role:operator"
"identity:list_services": "role:admin"
get_images: "role:member"
create_network: "role:builder"
"ec2:DescribeRegions": "role:builder"
"ec2:CreateTags": "!"
`)
	const server = "/compute/v2.1/servers/0c1f3a52-7f55-4c1e-9a0e-0d3f3d1f0a11/action"
	for _, c := range []struct {
		method, path        string
		body                any
		reader, demo, admin int // as whom
		rule                string
	}{
		{"POST", "/compute/v2.1/servers", object{}, 400, 403, 400, "os_compute_api:servers:create"},
		{"POST", "/compute/v2.1/os-volumes_boot", object{}, 400, 403, 400, "os_compute_api:servers:create"},
		{"POST", server, object{"os-stop": nil}, 403, 403, 403, "os_compute_api:servers:stop"},
		{"POST", server, object{"os-start": nil}, 403, 404, 404, ""},
		{"POST", server, object{"shelveOffload": nil}, 404, 403, 403, "os_compute_api:os-shelve:shelve_offload"},
		{"GET", "/compute/v2.1/os-services", nil, 200, 403, 200, "os_compute_api:os-services:list"},
		{"GET", "/compute/v2.1/os-aggregates", nil, 403, 403, 200, ""},
		{"GET", "/hosts", nil, 200, 403, 403, "slipway:hosts:index"},
		{"GET", "/v3/services", nil, 403, 403, 200, "identity:list_services"},
		{"HEAD", "/v3/services", nil, 403, 403, 200, ""},
		{"GET", "/v3/endpoints", nil, 200, 200, 200, ""},
		{"GET", "/image/v2/images", nil, 403, 200, 200, "get_images"},
		{"POST", "/network/v2.0/networks", object{}, 400, 403, 403, "create_network"},
		{"GET", "/compute/v2.1/servers?all_tenants=1", nil, 403, 403, 200, ""},
	} {
		for as, status := range map[string]int{"reader": c.reader, "demo": c.demo, "admin": c.admin} {
			a := w.do(as, c.method, c.path, c.body, "X-OpenStack-Nova-API-Version", "2.96")
			require.Equal(t, status, a.status, "%s %s %v as %s: %s", c.method, c.path, c.body, as, a.body)
			if status == 403 && c.rule != "" {
				require.Contains(t, string(a.body), c.rule)
			}
		}
	}
	key := w.accessKey("demo", demoUser, demoProject)
	require.Equal(t, 403, w.ec2(key, "Action", "DescribeRegions").status)
	require.Equal(t, 403, w.ec2(key, "Action", "CreateTags").status)
	require.Equal(t, 200, w.ec2(key, "Action", "DescribeInstances").status)
	require.Equal(t, 200, w.ec2(w.accessKey("reader", readerUser, demoProject), "Action", "DescribeRegions").status)
	shown := w.do("reader", "GET", "/v3/auth/tokens?nocatalog", nil, "X-Subject-Token", w.tokens["reader"])
	require.NotContains(t, string(shown.body), `"admin"`, "who was let through as an admin is none")
}

// Whatever a file says, who has no token gets no further than the door.
func TestNoFileOpensAnythingToWhoHasNoToken(t *testing.T) {
	w := newWorld(t)
	var file strings.Builder
	for _, rule := range slices.Sorted(maps.Keys(policy.Named())) {
		role := "reader"
		if strings.HasPrefix(rule, "identity:") {
			role = "admin"
		}
		fmt.Fprintf(&file, "%q: \"role:%s\"\n", rule, role)
	}
	w.ruled(file.String())
	for _, r := range policy.Routes() {
		if r.Who == policy.Anybody || r.Path == policy.EC2Path && r.Action != "" {
			continue
		}
		body := any(nil)
		if r.Action != "" {
			body = object{r.Action: nil}
		}
		path := parameter.ReplaceAllString(r.Path, "some")
		for _, as := range []string{"", "expired"} {
			a := w.do(as, r.Method, path, body)
			require.Equal(t, 401, a.status, "%s %s %s as %q: %s", r.Method, r.Path, r.Action, as, a.body)
		}
	}
}

func TestADomainsAdminGivesNobodyWhatTheRulesLendAnAdmins(t *testing.T) {
	w := newWorld(t)
	acme := w.made("domain", object{"name": "acme"})
	web := w.made("project", object{"name": "web", "domain_id": acme})
	boss := w.made("user", object{"name": "boss", "domain_id": acme, "password": "boss's own"})
	ann := w.made("user", object{"name": "ann", "domain_id": acme, "password": "ann's own"})
	operator, builder := w.made("role", object{"name": "operator"}), w.made("role", object{"name": "builder"})
	require.NoError(t, w.store.EnsureGrant(t.Context(), models.Grant{Role: "admin", UserID: &boss, DomainID: &acme}))
	w.ruled(`
"slipway:hosts:index": "role:operator"
"os_compute_api:servers:create": "role:builder"
`)
	w.loggedIn("boss", object{"name": "boss", "domain": object{"id": acme}}, "boss's own", object{"domain": object{"id": acme}})
	grant := "/v3/projects/" + web + "/users/" + boss + "/roles/"
	require.Equal(t, 403, w.do("boss", "PUT", grant+operator, nil).status)
	require.Equal(t, 204, w.do("boss", "PUT", grant+builder, nil).status, "that is a member's")
	require.NoError(t, w.store.EnsureGrant(t.Context(), models.Grant{Role: "operator", UserID: &ann, ProjectID: &web}))
	require.Equal(t, 403, w.do("boss", "PATCH", "/v3/users/"+ann, object{"user": object{"password": "mine"}}).status)
}
