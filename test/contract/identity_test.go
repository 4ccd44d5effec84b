package contract

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/test/system"
)

// TestTheOpenStackCommandKeepsPeople runs the real `openstack` on everything that the identity API keeps, and then as one of
// those whom it has made.
func TestTheOpenStackCommandKeepsPeople(t *testing.T) {
	path := installed(t, "openstack", "python3-openstackclient")
	s := system.Start(t, system.Options{Hypervisor: "fake"})
	admin := newTool(t, s, path, "admin", system.AdminPassword)
	type row map[string]any
	js := func(args ...string) []string { return append(args, "-f", "json") }
	names := func(args ...string) (list []string) {
		var rows []row
		admin.json(t, &rows, js(append(args, "-c", "Name")...)...)
		for _, r := range rows {
			list = append(list, r["Name"].(string))
		}
		return list
	}
	one := func(args ...string) row {
		var made row
		admin.json(t, &made, js(args...)...)
		return made
	}

	domain := one("domain", "create", "acme", "--description", "of the test")
	require.Equal(t, true, domain["enabled"])
	project := one("project", "create", "web", "--domain", "acme", "--tag", "blue", "--property", "cost=c1")
	require.Equal(t, domain["id"], project["domain_id"])
	require.Equal(t, []any{"blue"}, project["tags"])
	require.Equal(t, []string{"web"}, names("project", "list", "--domain", "acme", "--tags", "blue"))
	admin.run(t, "project", "set", "web", "--domain", "acme", "--description", "shop")
	require.Equal(t, "shop", one("project", "show", "web", "--domain", "acme")["description"])

	user := one("user", "create", "ann", "--domain", "acme", "--password", "ann's own", "--email", "ann@acme.example", "--project", "web", "--project-domain", "acme")
	require.Equal(t, "ann@acme.example", user["email"])
	admin.run(t, "user", "set", "ann", "--domain", "acme", "--description", "Ann")
	require.Equal(t, []string{"ann"}, names("user", "list", "--domain", "acme"))
	one("group", "create", "devs", "--domain", "acme")
	admin.run(t, "group", "add", "user", "devs", "ann", "--group-domain", "acme", "--user-domain", "acme")
	require.Contains(t, admin.run(t, "group", "contains", "user", "devs", "ann", "--group-domain", "acme", "--user-domain", "acme"), "ann in group devs")
	one("role", "create", "auditor")
	require.Equal(t, []string{"admin", "auditor", "member", "reader"}, names("role", "list"))
	admin.run(t, "role", "add", "member", "--group", "devs", "--group-domain", "acme", "--project", "web", "--project-domain", "acme")
	admin.run(t, "role", "add", "auditor", "--user", "ann", "--user-domain", "acme", "--domain", "acme", "--inherited")
	admin.run(t, "role", "add", "reader", "--user", "ann", "--user-domain", "acme", "--system", "all")
	assignments := admin.run(t, "role", "assignment", "list", "--names", "--project", "web", "--project-domain", "acme", "--effective")
	require.Contains(t, assignments, "ann@acme")
	require.Contains(t, assignments, "member")
	require.Contains(t, assignments, "auditor")

	ann := newTool(t, s, path, "ann", "ann's own")
	ann.env = append(ann.env, "OS_USER_DOMAIN_NAME=acme", "OS_PROJECT_DOMAIN_NAME=acme", "OS_PROJECT_NAME=web")
	require.NotEmpty(t, ann.run(t, "token", "issue"))
	ann.run(t, "server", "list")
	ann.run(t, "network", "create", "of-ann")
	_, stderr, code := admin.try(t, "project", "delete", "web", "--domain", "acme")
	require.NotZero(t, code)
	require.Contains(t, stderr, "owns 1 network")
	ann.run(t, "network", "delete", "of-ann")
	ann.run(t, "user", "password", "set", "--original-password", "ann's own", "--password", "another")
	_, _, code = ann.try(t, "token", "issue")
	require.NotZero(t, code)

	admin.run(t, "role", "remove", "member", "--group", "devs", "--group-domain", "acme", "--project", "web", "--project-domain", "acme")
	admin.run(t, "group", "remove", "user", "devs", "ann", "--group-domain", "acme", "--user-domain", "acme")
	admin.run(t, "role", "delete", "auditor")
	admin.run(t, "group", "delete", "devs", "--domain", "acme")
	admin.run(t, "user", "delete", "ann", "--domain", "acme")
	admin.run(t, "project", "delete", "web", "--domain", "acme")
	admin.run(t, "domain", "set", "acme", "--disable")
	admin.run(t, "domain", "delete", "acme")
	require.Equal(t, []string{"Default"}, names("domain", "list"))
}
