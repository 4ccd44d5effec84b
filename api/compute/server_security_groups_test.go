package compute_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/apitest"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/service/networks"
	"github.com/slipway-cloud/slipway/models"
)

// group makes a security group with a rule, and gives its id.
func (c *cloud) group(t testing.TB, owner apitest.User, name string) string {
	t.Helper()
	made, err := c.Store.CreateSecurityGroups(context.Background(), []models.SecurityGroup{{ProjectID: owner.ProjectID, Name: name, Stateful: true}}, nil)
	require.NoError(t, err)
	_, err = c.Store.CreateSecurityGroupRules(context.Background(), []models.SecurityGroupRule{{
		ProjectID: owner.ProjectID, SecurityGroupID: made[0].ID, Direction: models.Ingress, Ethertype: models.IPv4, Protocol: new("tcp"), RemoteIPPrefix: new("10.0.0.0/8"),
	}}, nil)
	require.NoError(t, err)
	return made[0].ID
}

func TestPortsOfABuildAreMadeInTheGroupsThatItNames(t *testing.T) {
	c := newCloudOn(t, networks.OVN)
	n := c.network(t, c.member, "ours", "10.1.0.0/24", "10.1.0.2", "10.1.0.254")
	web, twin := c.group(t, c.member, "web"), c.group(t, c.member, "twin")
	c.group(t, c.member, "twin")
	theirs := c.group(t, c.stranger, "theirs")
	usual := ids.SecurityGroup(c.member.ProjectID)
	own, err := c.Store.CreatePort(context.Background(), models.Port{ProjectID: c.member.ProjectID, NetworkID: n.ID})
	require.NoError(t, err)
	boot := func(nic fields, groups ...string) apitest.Answer {
		named := []fields{}
		for _, g := range groups {
			named = append(named, fields{"name": g})
		}
		return c.nova(t, c.member, at96, "POST", "/servers", c.with(fields{"networks": []fields{nic}, "security_groups": named}))
	}
	on := fields{"uuid": n.ID}
	for _, tt := range []struct {
		nic    fields
		named  []string
		groups []string
	}{
		{on, nil, nil},
		{on, []string{"default"}, nil},
		{on, []string{usual}, nil},
		{on, []string{"web"}, []string{web}},
		{on, []string{web, "default", "web"}, []string{web, usual}},
		{on, []string{twin}, []string{twin}},
		{fields{"port": own.ID}, []string{"web"}, nil}, // which is in its own
	} {
		a := boot(tt.nic, tt.named...)
		require.Equal(t, 202, a.Status, a.Body)
		require.Equal(t, tt.groups, c.builds.take()[0].Networks[0].SecurityGroups, tt.named)
	}
	require.Equal(t, []any{fields{"name": "web"}}, boot(on, "web").At(t, "server", "security_groups"))
	c.builds.take()
	for named, want := range map[string]struct {
		status  int
		message string
	}{
		"none": {400, "Unable to find security_group with name or id 'none'"},
		theirs: {400, "Unable to find security_group with name or id '" + theirs + "'"},
		"twin": {409, "Multiple security_group matches found for name 'twin', use an ID to be more specific."},
	} {
		a := boot(on, named)
		require.Equal(t, []any{want.status, want.message}, []any{a.Status, a.Message(t)})
	}
	_, err = c.Store.UpdateNetwork(context.Background(), n.ID, func(n *models.Network) error { n.PortSecurity = false; return nil })
	require.NoError(t, err)
	a := boot(on, "web")
	require.Equal(t, []any{400, "Network requires port_security_enabled and subnet associated in order to apply security groups."}, []any{a.Status, a.Message(t)})
	require.Equal(t, 202, boot(on, "default").Status)
}

func TestAServersGroupsAreShownAndChanged(t *testing.T) {
	c := newCloudOn(t, networks.OVN)
	s := c.running(t, "web")
	web, db := c.group(t, c.member, "web"), c.group(t, c.member, "db")
	c.group(t, c.member, "twin")
	c.group(t, c.member, "twin")
	at := "/servers/" + s.ID
	act := func(word string, said any) []any {
		a := c.nova(t, c.member, at96, "POST", at+"/action", fields{word: said})
		if a.Status == 202 {
			return []any{202, a.Body}
		}
		return []any{a.Status, a.Message(t)}
	}
	shown := func() (names []string) {
		groups, _ := c.nova(t, c.reader, at96, "GET", at, nil).At(t, "server").(fields)["security_groups"].([]any)
		for _, g := range groups {
			names = append(names, g.(fields)["name"].(string))
		}
		return names
	}
	require.Equal(t, []string{"default"}, shown())
	for range 2 {
		require.Equal(t, []any{202, ""}, act("addSecurityGroup", fields{"name": "web"}))
		require.Equal(t, []string{"default", "web"}, shown())
	}
	require.Equal(t, []any{202, ""}, act("removeSecurityGroup", fields{"name": "default"}))
	require.Equal(t, []any{202, ""}, act("addSecurityGroup", fields{"name": db}))
	require.Equal(t, []string{"web", "db"}, shown())

	a := c.nova(t, c.reader, at96, "GET", at+"/os-security-groups", nil)
	require.Equal(t, 200, a.Status, a.Body)
	group := a.At(t, "security_groups").([]any)[0].(fields)
	require.Equal(t, []any{web, "web", c.member.ProjectID}, []any{group["id"], group["name"], group["tenant_id"]})
	require.Len(t, group["rules"], 1, "of what is sent to it alone")
	rule := group["rules"].([]any)[0].(fields)
	require.Equal(t, []any{"tcp", 1.0, 65535.0, fields{"cidr": "10.0.0.0/8"}, fields{}, web},
		[]any{rule["ip_protocol"], rule["from_port"], rule["to_port"], rule["ip_range"], rule["group"], rule["parent_group_id"]})

	require.Equal(t, []any{202, ""}, act("removeSecurityGroup", fields{"name": web}))
	require.Equal(t, []any{404, "Security group web not associated with the instance " + s.ID}, act("removeSecurityGroup", fields{"name": "web"}))
	require.Equal(t, []any{404, "Unable to find security_group with name or id 'none'"}, act("addSecurityGroup", fields{"name": "none"}))
	require.Equal(t, []any{409, "Multiple security_group matches found for name 'twin', use an ID to be more specific."}, act("addSecurityGroup", fields{"name": "twin"}))
	require.Equal(t, 400, act("addSecurityGroup", fields{})[0])
	require.Equal(t, 400, act("addSecurityGroup", nil)[0])
	require.Equal(t, 404, c.nova(t, c.stranger, at96, "POST", at+"/action", fields{"addSecurityGroup": fields{"name": "db"}}).Status)
	require.Equal(t, 403, c.nova(t, c.reader, at96, "POST", at+"/action", fields{"addSecurityGroup": fields{"name": "db"}}).Status)

	require.Equal(t, []any{202, ""}, act("removeSecurityGroup", fields{"name": "db"}))
	require.Nil(t, shown(), "as in Nova")
	bare := c.row(t, c.member, "bare", s.CreatedAt)
	a = c.nova(t, c.member, at96, "POST", "/servers/"+bare.ID+"/action", fields{"addSecurityGroup": fields{"name": "db"}})
	require.Equal(t, []any{404, "instance_id " + bare.ID + " could not be found as device id on any ports"}, []any{a.Status, a.Message(t)})
}
