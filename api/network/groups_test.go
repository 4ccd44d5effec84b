package network_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/apitest"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/service/networks"
)

func filtering(t *testing.T) *env { return newEnvOf(t, networks.Config{Engine: networks.OVN}) }

// rules are those of a group as they are shown, each "direction ethertype protocol min-max remote".
func (e *env) rules(t *testing.T, u apitest.User, group string) []string {
	t.Helper()
	a := e.neutron(t, u, "GET", "/security-groups/"+group, nil)
	require.Equal(t, 200, a.Status, a.Body)
	all := []string{}
	for _, r := range a.At(t, "security_group", "security_group_rules").([]any) {
		r := r.(fields)
		text := r["direction"].(string) + " " + r["ethertype"].(string)
		if r["protocol"] != nil {
			text += " " + r["protocol"].(string)
		}
		if r["remote_group_id"] == group {
			text += " itself"
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return all
}

func TestEveryProjectHasItsDefaultGroup(t *testing.T) {
	e := filtering(t)
	group := ids.SecurityGroup(e.member.ProjectID)
	var asked sync.WaitGroup
	for range 8 { // at once, and it is one
		asked.Go(func() { e.neutron(t, e.member, "GET", "/security-groups", nil) })
	}
	asked.Wait()
	require.Equal(t, []string{group}, e.ids(t, e.member, "security-groups", ""))
	require.Equal(t, []string{"egress IPv4", "egress IPv6", "ingress IPv4 itself", "ingress IPv6 itself"}, e.rules(t, e.reader, group))
	require.Len(t, e.ids(t, e.member, "security-group-rules", "?security_group_id="+group), 4)
	require.Equal(t, 404, e.neutron(t, e.stranger, "GET", "/security-groups/"+group, nil).Status)
	require.Len(t, e.ids(t, e.admin, "security-groups", "?name=default"), 2)

	a := e.neutron(t, e.member, "DELETE", "/security-groups/"+group, nil)
	require.Equal(t, []any{409, "SecurityGroupCannotRemoveDefault", "Insufficient rights for removing default security group."}, fault(t, a))
	a = e.neutron(t, e.member, "PUT", "/security-groups/"+group, fields{"security_group": fields{"name": "other"}})
	require.Equal(t, []any{409, "SecurityGroupCannotUpdateDefault", "Updating default security group not allowed."}, fault(t, a))
	a = e.neutron(t, e.member, "PUT", "/security-groups/"+group, fields{"security_group": fields{"description": "ours"}})
	require.Equal(t, []any{200, "ours"}, []any{a.Status, a.At(t, "security_group", "description")})
	a = e.neutron(t, e.member, "POST", "/security-groups", fields{"security_group": fields{"name": "Default"}})
	require.Equal(t, []any{409, "SecurityGroupDefaultAlreadyExists", "Default security group already exists."}, fault(t, a))
}

func TestGroupsAndRulesAreMadeChangedAndDeleted(t *testing.T) {
	e := filtering(t)
	web := e.make(t, e.member, "security-group", fields{"name": "web", "description": "d", "stateful": "false"})
	a := e.neutron(t, e.member, "GET", "/security-groups/"+web, nil)
	require.Equal(t, []any{"web", "d", false, 1.0, []any{}}, []any{
		a.At(t, "security_group", "name"), a.At(t, "security_group", "description"), a.At(t, "security_group", "stateful"),
		a.At(t, "security_group", "revision_number"), a.At(t, "security_group", "tags"),
	})
	require.Equal(t, []string{"egress IPv4", "egress IPv6"}, e.rules(t, e.member, web))
	a = e.neutron(t, e.member, "PUT", "/security-groups/"+web, fields{"security_group": fields{"name": "www", "stateful": true}})
	require.Equal(t, []any{200, "www", true}, []any{a.Status, a.At(t, "security_group", "name"), a.At(t, "security_group", "stateful")})
	require.Equal(t, 201, e.neutron(t, e.member, "PUT", "/security-groups/"+web+"/tags/blue", nil).Status)
	require.Equal(t, []string{web}, e.ids(t, e.member, "security-groups", "?tags=blue"))

	a = e.neutron(t, e.member, "POST", "/security-group-rules", fields{"security_group_rules": []fields{
		{"security_group_id": web, "direction": "ingress", "protocol": "TCP", "port_range_min": "22", "port_range_max": 22, "remote_ip_prefix": "10.0.0.9", "description": "ssh"},
		{"security_group_id": web, "direction": "ingress", "ethertype": "ipv6", "protocol": "icmp", "port_range_min": 128},
		{"security_group_id": web, "direction": "ingress", "protocol": 47, "remote_group_id": web},
	}})
	require.Equal(t, 201, a.Status, a.Body)
	made := a.At(t, "security_group_rules").([]any)
	ssh, icmp := made[0].(fields), made[1].(fields)
	require.Equal(t, []any{"tcp", 22.0, 22.0, "10.0.0.9/32", "IPv4", nil, "ssh", e.member.ProjectID}, []any{
		ssh["protocol"], ssh["port_range_min"], ssh["port_range_max"], ssh["remote_ip_prefix"], ssh["ethertype"], ssh["remote_group_id"], ssh["description"], ssh["project_id"],
	})
	require.Equal(t, []any{"ipv6-icmp", 128.0, nil, nil, "IPv6"}, []any{icmp["protocol"], icmp["port_range_min"], icmp["port_range_max"], icmp["remote_ip_prefix"], icmp["ethertype"]})
	require.Equal(t, []string{"egress IPv4", "egress IPv6", "ingress IPv4 47 itself", "ingress IPv4 tcp", "ingress IPv6 ipv6-icmp"}, e.rules(t, e.member, web))
	require.Greater(t, e.neutron(t, e.member, "GET", "/security-groups/"+web, nil).At(t, "security_group", "revision_number"), 3.0)
	require.Equal(t, []string{ssh["id"].(string)}, e.ids(t, e.member, "security-group-rules", "?protocol=tcp&port_range_min=22"))
	require.Empty(t, e.ids(t, e.stranger, "security-group-rules", "?security_group_id="+web))
	a = e.neutron(t, e.member, "GET", "/security-group-rules/"+ssh["id"].(string)+"?fields=protocol", nil)
	require.JSONEq(t, `{"security_group_rule": {"protocol": "tcp"}}`, a.Body)

	// A group that is deleted takes the rules of others along that name it.
	db := e.make(t, e.member, "security-group", fields{"name": "db"})
	e.make(t, e.member, "security-group-rule", fields{"security_group_id": db, "direction": "ingress", "remote_group_id": web})
	require.Equal(t, 204, e.neutron(t, e.member, "DELETE", "/security-group-rules/"+ssh["id"].(string), nil).Status)
	require.Equal(t, 404, e.neutron(t, e.member, "DELETE", "/security-group-rules/"+ssh["id"].(string), nil).Status)
	require.Equal(t, 204, e.neutron(t, e.member, "DELETE", "/security-groups/"+web, nil).Status)
	require.Equal(t, []string{"egress IPv4", "egress IPv6"}, e.rules(t, e.member, db))
	require.Equal(t, []any{404, "SecurityGroupNotFound", "Security group " + web + " does not exist"}, fault(t, e.neutron(t, e.member, "GET", "/security-groups/"+web, nil)))
}

func TestBadRulesAreRefusedInNeutronsWords(t *testing.T) {
	e := filtering(t)
	web := e.make(t, e.member, "security-group", fields{"name": "web"})
	theirs := e.make(t, e.stranger, "security-group", fields{"name": "theirs"})
	rule := func(f fields) fields {
		all := fields{"security_group_id": web, "direction": "ingress"}
		for k, v := range f {
			all[k] = v
		}
		return fields{"security_group_rule": all}
	}
	first := e.neutron(t, e.member, "POST", "/security-group-rules", rule(fields{"protocol": "tcp", "port_range_min": 80, "port_range_max": 80}))
	require.Equal(t, 201, first.Status, first.Body)
	for _, tt := range []struct {
		body    any
		status  int
		kind    string
		message string
	}{
		{rule(fields{"protocol": "6", "port_range_min": 80, "port_range_max": 80, "remote_ip_prefix": "0.0.0.0/0"}), 409, "SecurityGroupRuleExists",
			"Security group rule already exists. Rule id is " + first.At(t, "security_group_rule", "id").(string) + "."},
		{fields{"security_group_rules": []any{rule(fields{"protocol": "udp"})["security_group_rule"], rule(fields{"protocol": 17})["security_group_rule"]}},
			409, "DuplicateSecurityGroupRuleInPost", "Duplicate Security Group Rule in POST."},
		{rule(fields{"direction": "in"}), 400, "HTTPBadRequest", "Invalid input for direction. Reason: in is not in ['ingress', 'egress']."},
		{rule(fields{"ethertype": "IPv5"}), 400, "HTTPBadRequest", "Invalid input for ethertype. Reason: 'IPv5' is not in ['IPv4', 'IPv6']."},
		{rule(fields{"protocol": "tcpp"}), 400, "SecurityGroupRuleInvalidProtocol", ""},
		{rule(fields{"protocol": 256}), 400, "SecurityGroupRuleInvalidProtocol", ""},
		{rule(fields{"protocol": "ipv6-icmp"}), 400, "SecurityGroupEthertypeConflictWithProtocol", "Invalid ethertype IPv4 for protocol ipv6-icmp."},
		{rule(fields{"port_range_min": 1, "port_range_max": 2}), 400, "SecurityGroupProtocolRequiredWithPorts", "Must also specify protocol if port range is given."},
		{rule(fields{"protocol": "tcp", "port_range_min": 3, "port_range_max": 2}), 400, "SecurityGroupInvalidPortRange",
			"For TCP/UDP protocols, port_range_min must be <= port_range_max"},
		{rule(fields{"protocol": "tcp", "port_range_min": 3}), 400, "SecurityGroupInvalidPortRange", ""},
		{rule(fields{"protocol": "tcp", "port_range_min": 0, "port_range_max": 2}), 400, "SecurityGroupInvalidPortValue", "Invalid value for port 0"},
		{rule(fields{"protocol": "tcp", "port_range_min": 1, "port_range_max": 65536}), 400, "SecurityGroupInvalidPortValue", "Invalid value for port 65536"},
		{rule(fields{"protocol": "udplite", "port_range_min": 1, "port_range_max": 2}), 400, "SecurityGroupInvalidProtocolForPort",
			"Invalid protocol udplite for port range, only supported for TCP, UDP, SCTP."},
		{rule(fields{"protocol": "icmp", "port_range_min": 256}), 400, "SecurityGroupInvalidIcmpValue", "Invalid value for ICMP type (port_range_min) 256. It must be 0 to 255."},
		{rule(fields{"protocol": "icmp", "port_range_max": 1}), 400, "SecurityGroupMissingIcmpType",
			"ICMP code (port-range-max) 1 is provided but ICMP type (port-range-min) is missing."},
		{rule(fields{"remote_ip_prefix": "ten"}), 400, "InvalidCIDR", "Invalid CIDR ten given as IP prefix."},
		{rule(fields{"remote_ip_prefix": "2001:db8::/64"}), 400, "SecurityGroupRuleParameterConflict", "Conflicting value ethertype IPv4 for CIDR 2001:db8::/64"},
		{rule(fields{"remote_ip_prefix": "10.0.0.0/8", "remote_group_id": web}), 400, "SecurityGroupRemoteGroupAndRemoteIpPrefix",
			"Only remote_ip_prefix or remote_group_id may be provided."},
		{rule(fields{"remote_group_id": theirs}), 404, "SecurityGroupNotFound", "Security group " + theirs + " does not exist"},
		{rule(fields{"security_group_id": theirs}), 404, "SecurityGroupNotFound", ""},
		{rule(fields{"remote_address_group_id": nil}), 400, "HTTPBadRequest", "Unrecognized attribute(s) 'remote_address_group_id'"},
		{fields{"security_group_rule": fields{"direction": "ingress"}}, 400, "HTTPBadRequest",
			"Failed to parse request. Required attribute 'security_group_id' not specified"},
	} {
		a := e.neutron(t, e.member, "POST", "/security-group-rules", tt.body)
		got := fault(t, a)
		require.Equal(t, []any{tt.status, tt.kind}, got[:2], "%v: %s", tt.body, a.Body)
		if tt.message != "" {
			require.Equal(t, tt.message, got[2])
		}
	}
	require.Len(t, e.ids(t, e.member, "security-group-rules", "?security_group_id="+web), 3)
	require.Equal(t, 403, e.neutron(t, e.reader, "POST", "/security-group-rules", rule(nil)).Status)
}

func TestPortsAreInGroups(t *testing.T) {
	e := filtering(t)
	net := e.make(t, e.member, "network", fields{"name": "ours"})
	e.make(t, e.member, "subnet", fields{"network_id": net, "cidr": "10.5.0.0/24", "ip_version": 4})
	web := e.make(t, e.member, "security-group", fields{"name": "web"})
	theirs := e.make(t, e.stranger, "security-group", fields{"name": "theirs"})
	usual := ids.SecurityGroup(e.member.ProjectID)
	groups := func(port string) any {
		return e.neutron(t, e.member, "GET", "/ports/"+port, nil).At(t, "port", "security_groups")
	}
	plain := e.make(t, e.member, "port", fields{"network_id": net})
	none := e.make(t, e.member, "port", fields{"network_id": net, "security_groups": []string{}})
	both := e.make(t, e.member, "port", fields{"network_id": net, "security_groups": []string{web, usual, web}})
	require.Equal(t, []any{[]any{usual}, []any{}, []any{usual, web}}, []any{groups(plain), groups(none), groups(both)})
	require.Equal(t, []string{both}, e.ids(t, e.member, "ports", "?security_groups="+web))
	require.ElementsMatch(t, []string{plain, both}, e.ids(t, e.member, "ports", "?security_groups="+usual))

	put := func(port string, f fields) apitest.Answer {
		return e.neutron(t, e.member, "PUT", "/ports/"+port, fields{"port": f})
	}
	require.Equal(t, []any{200, []any{web}}, []any{put(plain, fields{"security_groups": []string{web}}).Status, groups(plain)})
	require.Equal(t, []any{200, []any{web}}, []any{put(plain, fields{"name": "p"}).Status, groups(plain)})
	require.Equal(t, []any{404, "SecurityGroupNotFound", "Security group " + theirs + " does not exist"}, fault(t, put(plain, fields{"security_groups": []string{theirs}})))
	require.Equal(t, 404, put(plain, fields{"security_groups": []string{uuid.NewString()}}).Status)
	require.Equal(t, []any{web}, groups(plain))

	require.Equal(t, []any{409, "SecurityGroupInUse", "Security Group " + web + " in use."}, fault(t, e.neutron(t, e.member, "DELETE", "/security-groups/"+web, nil)))
	a := e.neutron(t, e.member, "PUT", "/security-groups/"+web, fields{"security_group": fields{"stateful": false}})
	require.Equal(t, []any{409, "SecurityGroupInUse"}, fault(t, a)[:2])

	// Without port security a port is filtered by nothing, and in no group.
	require.Equal(t, []any{409, "PortSecurityPortHasSecurityGroup",
		"Port has security group associated. Cannot disable port security or IP address until security group is removed."},
		fault(t, put(plain, fields{"port_security_enabled": false})))
	require.Equal(t, []any{400, "PortSecurityAndIPRequiredForSecurityGroups", "Port security must be enabled and port must have an IP address in order to use security groups."},
		fault(t, put(none, fields{"port_security_enabled": false, "security_groups": []string{web}})))
	require.Equal(t, []any{200, []any{}}, []any{put(plain, fields{"port_security_enabled": false, "security_groups": nil}).Status, groups(plain)})
	open := e.make(t, e.member, "port", fields{"network_id": net, "port_security_enabled": false})
	require.Equal(t, []any{}, groups(open))

	require.Equal(t, 204, e.neutron(t, e.member, "DELETE", "/ports/"+both, nil).Status)
	require.Equal(t, 204, e.neutron(t, e.member, "DELETE", "/security-groups/"+web, nil).Status)
}

func TestGroupsHaveQuotas(t *testing.T) {
	e := filtering(t)
	require.Equal(t, 200, e.neutron(t, e.admin, "PUT", "/quotas/"+e.member.ProjectID, fields{"quota": fields{"security_group": 3, "security_group_rule": 9}}).Status)
	web := e.make(t, e.member, "security-group", fields{"name": "web"}) // with its project's default there are two
	group := fields{"security_group": fields{"name": "more"}}
	status := make(chan int, 4)
	var asked sync.WaitGroup
	for range cap(status) {
		asked.Go(func() { status <- e.neutron(t, e.member, "POST", "/security-groups", group).Status })
	}
	asked.Wait()
	close(status)
	made := 0
	for s := range status {
		if s == 201 {
			made++
		}
	}
	require.Equal(t, 1, made)
	require.Equal(t, []any{409, "OverQuota", "Quota exceeded for resources: ['security_group']."}, fault(t, e.neutron(t, e.member, "POST", "/security-groups", group)))
	rule := fields{"security_group_id": web, "direction": "ingress"}
	e.make(t, e.member, "security-group-rule", rule)
	rule["ethertype"] = "IPv6"
	require.Equal(t, []any{409, "OverQuota", "Quota exceeded for resources: ['security_group_rule']."},
		fault(t, e.neutron(t, e.member, "POST", "/security-group-rules", fields{"security_group_rule": rule})))
	a := e.neutron(t, e.member, "GET", "/quotas/"+e.member.ProjectID+"/details", nil)
	require.Equal(t, []any{3.0, 9.0}, []any{a.At(t, "quota", "security_group", "used"), a.At(t, "quota", "security_group_rule", "used")})
}

func TestWithoutAnEngineGroupsAreRefused(t *testing.T) {
	e := newEnv(t)
	const why = "Invalid input for operation: nothing enforces security groups while network.engine is bridge."
	a := e.neutron(t, e.member, "POST", "/security-groups", fields{"security_group": fields{"name": "web"}})
	require.Equal(t, []any{400, "InvalidInput", why}, fault(t, a))
	usual := ids.SecurityGroup(e.member.ProjectID)
	a = e.neutron(t, e.member, "POST", "/security-group-rules", fields{"security_group_rule": fields{"security_group_id": usual, "direction": "ingress"}})
	require.Equal(t, []any{400, "InvalidInput", why}, fault(t, a))
	require.Equal(t, 400, e.neutron(t, e.member, "PUT", "/security-groups/"+usual, fields{"security_group": fields{"description": "d"}}).Status)
	require.Equal(t, []string{usual}, e.ids(t, e.member, "security-groups", ""))
	require.Empty(t, e.rules(t, e.member, usual))
	require.Empty(t, e.ids(t, e.member, "security-group-rules", ""))
	require.Equal(t, 404, e.neutron(t, e.member, "GET", "/extensions/stateful-security-group", nil).Status)
}
