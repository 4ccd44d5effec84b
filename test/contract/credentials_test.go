package contract

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/test/system"
)

// loggedInBy is a tool that logs in with what is set instead of a user's name and password.
func loggedInBy(t *testing.T, s *system.System, path string, set ...string) tool {
	t.Helper()
	as := newTool(t, s, path, "", "")
	as.env = slices.DeleteFunc(as.env, func(v string) bool {
		return slices.ContainsFunc([]string{"OS_USERNAME=", "OS_PASSWORD=", "OS_PROJECT_", "OS_USER_DOMAIN_"}, func(p string) bool { return strings.HasPrefix(v, p) })
	})
	as.env = append(as.env, set...)
	return as
}

// TestTheOpenStackCommandKeepsCredentials runs the real `openstack` on access keys, credentials and application credentials, and then
// as a program that logs in with one of these; gophercloud does so too.
func TestTheOpenStackCommandKeepsCredentials(t *testing.T) {
	installed(t, "openstack", "python3-openstackclient")
	s := system.Start(t, system.Options{Hypervisor: "fake"})
	demo, admin := python(t, s, "openstackclient", "demo", system.DemoPassword), python(t, s, "openstackclient", "admin", system.AdminPassword)
	type row map[string]any
	one := func(as *shell, args ...string) (made row) {
		require.NoError(t, json.Unmarshal([]byte(as.run(append(args, "-f", "json")...)), &made))
		return made
	}

	key := one(demo, "ec2", "credentials", "create")
	require.Len(t, key["access"], 32)
	require.Len(t, key["secret"], 32)
	require.Contains(t, demo.run("ec2", "credentials", "list"), key["secret"])
	require.Equal(t, key["secret"], one(demo, "ec2", "credentials", "show", key["access"].(string))["secret"])
	require.Contains(t, admin.run("ec2", "credentials", "list", "--user", "demo"), key["access"])
	demo.refused("Could not find credential", "ec2", "credentials", "show", "another")
	demo.run("ec2", "credentials", "delete", key["access"].(string))
	require.NotContains(t, demo.run("ec2", "credentials", "list"), key["access"])

	kept := one(admin, "credential", "create", "--type", "cert", "demo", "BEGIN CERTIFICATE")
	require.Equal(t, "BEGIN CERTIFICATE", one(demo, "credential", "show", kept["id"].(string))["blob"])
	require.Contains(t, demo.run("credential", "list", "--type", "cert"), kept["id"])
	admin.refused("totp", "credential", "create", "--type", "totp", "demo", "secret")
	demo.run("credential", "delete", kept["id"].(string))

	made := one(demo, "application", "credential", "create", "backup", "--role", "reader", "--description", "looks only", "--expiration", "2096-01-01T00:00:00")
	require.Equal(t, false, made["unrestricted"])
	require.Contains(t, demo.run("application", "credential", "list"), "backup")
	require.Equal(t, "looks only", one(demo, "application", "credential", "show", "backup")["description"])
	demo.refused("access rules", "application", "credential", "create", "x", "--access-rules", `[{"path": "/v2.1/servers", "method": "GET", "service": "compute"}]`)
	require.Empty(t, strings.TrimSpace(demo.run("access", "rule", "list", "-f", "value")))

	id, secret := made["id"].(string), made["secret"].(string)
	byID := shellOf(t, loggedInBy(t, s, "/usr/bin/python3", "OS_AUTH_TYPE=v3applicationcredential", "OS_APPLICATION_CREDENTIAL_ID="+id,
		"OS_APPLICATION_CREDENTIAL_SECRET="+secret), "openstackclient")
	byName := shellOf(t, loggedInBy(t, s, "/usr/bin/python3", "OS_AUTH_TYPE=v3applicationcredential", "OS_APPLICATION_CREDENTIAL_NAME=backup",
		"OS_APPLICATION_CREDENTIAL_SECRET="+secret, "OS_USERNAME=demo", "OS_USER_DOMAIN_NAME=Default"), "openstackclient")
	for _, program := range []*shell{byID, byName} {
		require.NotEmpty(t, program.run("token", "issue"))
		program.run("server", "list")
		program.run("network", "list")
		program.refused("os-keypairs:create", "keypair", "create", "k")
		program.refused("restricted", "application", "credential", "create", "another")
		program.refused("restricted", "ec2", "credentials", "create")
	}

	client, err := openstack.NewClient(s.APIURL + "/v3")
	require.NoError(t, err)
	client.HTTPClient = *s.HTTP()
	require.NoError(t, openstack.Authenticate(t.Context(), client, gophercloud.AuthOptions{
		IdentityEndpoint: s.APIURL + "/v3", ApplicationCredentialName: "backup", ApplicationCredentialSecret: secret, Username: "demo", DomainName: "Default",
	}))
	compute, err := openstack.NewComputeV2(client, gophercloud.EndpointOpts{})
	require.NoError(t, err)
	_, err = servers.List(compute, nil).AllPages(t.Context())
	require.NoError(t, err)

	demo.run("application", "credential", "delete", "backup")
	byID.refused("requires authentication", "token", "issue")
	_, err = servers.List(compute, nil).AllPages(t.Context())
	refused(t, err, 401)
}
