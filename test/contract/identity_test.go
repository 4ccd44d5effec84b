package contract

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/test/system"
)

// TestTheOpenStackCommandKeepsPeople runs the real `openstack` on everything that the identity API keeps, and then as one of
// those whom it has made.
func TestTheOpenStackCommandKeepsPeople(t *testing.T) {
	installed(t, "openstack", "python3-openstackclient")
	s := system.Start(t, system.Options{Hypervisor: "fake"})
	admin := python(t, s, "openstackclient", "admin", system.AdminPassword)
	type row map[string]any
	read := func(into any, args ...string) {
		require.NoError(t, json.Unmarshal([]byte(admin.run(append(args, "-f", "json")...)), into), "%v", args)
	}
	names := func(args ...string) (list []string) {
		var rows []row
		read(&rows, append(args, "-c", "Name")...)
		for _, r := range rows {
			list = append(list, r["Name"].(string))
		}
		return list
	}
	one := func(args ...string) row {
		var made row
		read(&made, args...)
		return made
	}

	domain := one("domain", "create", "acme", "--description", "of the test")
	require.Equal(t, true, domain["enabled"])
	project := one("project", "create", "web", "--domain", "acme", "--tag", "blue", "--property", "cost=c1")
	require.Equal(t, domain["id"], project["domain_id"])
	require.Equal(t, []any{"blue"}, project["tags"])
	require.Equal(t, []string{"web"}, names("project", "list", "--domain", "acme", "--tags", "blue"))
	admin.run("project", "set", "web", "--domain", "acme", "--description", "shop")
	require.Equal(t, "shop", one("project", "show", "web", "--domain", "acme")["description"])

	user := one("user", "create", "ann", "--domain", "acme", "--password", "ann's own", "--email", "ann@acme.example", "--project", "web", "--project-domain", "acme")
	require.Equal(t, "ann@acme.example", user["email"])
	admin.run("user", "set", "ann", "--domain", "acme", "--description", "Ann")
	require.Equal(t, []string{"ann"}, names("user", "list", "--domain", "acme"))
	one("group", "create", "devs", "--domain", "acme")
	admin.run("group", "add", "user", "devs", "ann", "--group-domain", "acme", "--user-domain", "acme")
	require.Contains(t, admin.run("group", "contains", "user", "devs", "ann", "--group-domain", "acme", "--user-domain", "acme"), "ann in group devs")
	one("role", "create", "auditor")
	require.Equal(t, []string{"admin", "auditor", "member", "reader"}, names("role", "list"))
	admin.run("role", "add", "member", "--group", "devs", "--group-domain", "acme", "--project", "web", "--project-domain", "acme")
	admin.run("role", "add", "auditor", "--user", "ann", "--user-domain", "acme", "--domain", "acme", "--inherited")
	admin.run("role", "add", "reader", "--user", "ann", "--user-domain", "acme", "--system", "all")
	assignments := admin.run("role", "assignment", "list", "--names", "--project", "web", "--project-domain", "acme", "--effective")
	require.Contains(t, assignments, "ann@acme")
	require.Contains(t, assignments, "member")
	require.Contains(t, assignments, "auditor")

	ann := python(t, s, "openstackclient", "ann", "ann's own")
	ann.before = []string{"--os-user-domain-name", "acme", "--os-project-domain-name", "acme", "--os-project-name", "web"}
	require.NotEmpty(t, ann.run("token", "issue"))
	ann.run("server", "list")
	ann.run("network", "create", "of-ann")
	admin.refused("owns 1 network", "project", "delete", "web", "--domain", "acme")
	ann.run("network", "delete", "of-ann")
	ann.run("user", "password", "set", "--original-password", "ann's own", "--password", "another")
	_, _, code := ann.try("token", "issue")
	require.NotZero(t, code)

	admin.run("role", "remove", "member", "--group", "devs", "--group-domain", "acme", "--project", "web", "--project-domain", "acme")
	admin.run("group", "remove", "user", "devs", "ann", "--group-domain", "acme", "--user-domain", "acme")
	admin.run("role", "delete", "auditor")
	admin.run("group", "delete", "devs", "--domain", "acme")
	admin.run("user", "delete", "ann", "--domain", "acme")
	admin.run("project", "delete", "web", "--domain", "acme")
	admin.run("domain", "set", "acme", "--disable")
	admin.run("domain", "delete", "acme")
	require.Equal(t, []string{"Default"}, names("domain", "list"))
}
