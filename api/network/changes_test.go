package network_test

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/network"
	"github.com/slipway-cloud/slipway/internal/service/networks"
	"github.com/slipway-cloud/slipway/models"
)

func TestWhatCanChangeIsChangedAndEveryChangeIsARevision(t *testing.T) {
	e := newEnv(t)
	net := e.make(t, e.member, "network", fields{"name": "ours", "mtu": "1400", "admin_state_up": "true"})
	sub := e.make(t, e.member, "subnet", fields{"network_id": net, "cidr": "10.5.0.0/24", "ip_version": "4", "service_types": []any{}})
	port := e.make(t, e.member, "port", fields{"network_id": net, "security_groups": []any{}, "binding:profile": fields{}})
	for _, tt := range []struct {
		path, kind string
		body, want fields
	}{
		{"/networks/" + net, "network", fields{"name": "theirs", "description": "d", "mtu": 1280, "admin_state_up": 1}, fields{"name": "theirs", "description": "d", "mtu": 1280.0}},
		{"/subnets/" + sub, "subnet", fields{"name": "s", "enable_dhcp": "off", "dns_nameservers": []string{"9.9.9.9"}, "gateway_ip": nil,
			"host_routes":      []fields{{"destination": "10.9.0.0/16", "nexthop": "10.5.0.9"}},
			"allocation_pools": []fields{{"start": "10.5.0.90", "end": "10.5.0.99"}, {"start": "10.5.0.20", "end": "10.5.0.29"}}},
			fields{"name": "s", "enable_dhcp": false, "dns_nameservers": []any{"9.9.9.9"}, "gateway_ip": nil, "host_routes": []any{fields{"destination": "10.9.0.0/16", "nexthop": "10.5.0.9"}},
				"allocation_pools": []any{fields{"start": "10.5.0.20", "end": "10.5.0.29"}, fields{"start": "10.5.0.90", "end": "10.5.0.99"}}}},
		{"/ports/" + port, "port", fields{"name": "p", "mac_address": "52-54-00-00-00-01", "device_id": "box", "device_owner": "rack", "fixed_ips": []fields{{"subnet_id": sub}, {"ip_address": "10.5.0.90"}}},
			fields{"name": "p", "mac_address": "52:54:00:00:00:01", "device_id": "box", "device_owner": "rack", "security_groups": []any{},
				"fixed_ips": []any{fields{"subnet_id": sub, "ip_address": "10.5.0.2"}, fields{"subnet_id": sub, "ip_address": "10.5.0.90"}}}},
	} {
		before := e.neutron(t, e.member, "GET", tt.path, nil)
		require.Equal(t, 1.0, before.At(t, tt.kind, "revision_number"))
		a := e.neutron(t, e.member, "PUT", tt.path, fields{tt.kind: tt.body})
		require.Equal(t, 200, a.Status, a.Body)
		for k, v := range tt.want {
			require.Equal(t, v, a.At(t, tt.kind, k), k)
		}
		require.Equal(t, 2.0, a.At(t, tt.kind, "revision_number"), tt.kind)
		a = e.neutron(t, e.member, "PUT", tt.path, fields{tt.kind: tt.want})
		require.Equal(t, 200, a.Status, a.Body)
		require.Equal(t, 2.0, a.At(t, tt.kind, "revision_number"), "what is so already is no change")

		require.Equal(t, 403, e.neutron(t, e.reader, "PUT", tt.path, fields{tt.kind: fields{"name": "x"}}).Status)
		require.Equal(t, 404, e.neutron(t, e.stranger, "PUT", tt.path, fields{tt.kind: fields{"name": "x"}}).Status)
		a = e.neutron(t, e.member, "PUT", tt.path, fields{tt.kind: fields{"project_id": e.member.ProjectID}})
		require.Equal(t, []any{400, "HTTPBadRequest", "Cannot update read-only attribute project_id"}, fault(t, a))

		for match, want := range map[string]int{"revision_number=1": 412, `"revision_number=x"`: 400, "revision_number=2,revision_number=2": 400, `"revision_number=2"`: 200} {
			a = e.Do(t, "PUT", "/network/v2.0"+tt.path, e.member.Token, fields{tt.kind: fields{"name": "again"}}, "If-Match", match)
			require.Equal(t, want, a.Status, a.Body)
			if want == 412 {
				require.Equal(t, []any{412, "RevisionNumberConstraintFailed", "Constrained to 1, but current revision is 2"}, fault(t, a))
			}
			if want == 200 {
				break
			}
		}
	}
	a := e.neutron(t, e.member, "PUT", "/ports/"+port, fields{"port": fields{"fixed_ips": []fields{{"ip_address": "10.5.0.90"}}}})
	require.Equal(t, []any{fields{"subnet_id": sub, "ip_address": "10.5.0.90"}}, a.At(t, "port", "fixed_ips"))
	a = e.neutron(t, e.member, "POST", "/ports", fields{"port": fields{"network_id": net}})
	require.Equal(t, []any{fields{"subnet_id": sub, "ip_address": "10.5.0.20"}}, a.At(t, "port", "fixed_ips"), "the first pool's first")
	for range 9 {
		e.make(t, e.member, "port", fields{"network_id": net})
	}
	a = e.neutron(t, e.member, "POST", "/ports", fields{"port": fields{"network_id": net}})
	require.Equal(t, []any{fields{"subnet_id": sub, "ip_address": "10.5.0.91"}}, a.At(t, "port", "fixed_ips"), "then the next pool's")
	a = e.neutron(t, e.member, "PUT", "/subnets/"+sub, fields{"subnet": fields{"gateway_ip": "10.5.0.21"}})
	require.Equal(t, []any{409, "GatewayConflictWithAllocationPools", "Gateway ip 10.5.0.21 conflicts with allocation pool 10.5.0.20-10.5.0.29."}, fault(t, a))
	e.make(t, e.member, "port", fields{"network_id": net, "fixed_ips": []fields{{"ip_address": "10.5.0.2"}}})
	a = e.neutron(t, e.member, "PUT", "/subnets/"+sub, fields{"subnet": fields{"gateway_ip": "10.5.0.2"}})
	require.Equal(t, []any{409, "GatewayIpInUse"}, fault(t, a)[:2], "somebody has it")
	a = e.neutron(t, e.member, "PUT", "/networks/"+net, fields{"network": fields{"shared": true}})
	require.Equal(t, []any{403, "PolicyNotAuthorized"}, fault(t, a)[:2])
	require.Equal(t, 412, e.Do(t, "DELETE", "/network/v2.0/ports/"+port, e.member.Token, nil, "If-Match", "revision_number=1").Status)
}

func TestSharingEndsOnlyWhereNobodyElseUsesTheNetwork(t *testing.T) {
	e := newEnv(t)
	net := e.make(t, e.admin, "network", fields{"name": "all", "shared": true})
	port := e.make(t, e.member, "port", fields{"network_id": net})
	unshare := fields{"network": fields{"shared": false}}
	a := e.neutron(t, e.admin, "PUT", "/networks/"+net, unshare)
	require.Equal(t, []any{409, "InvalidSharedSetting", "Unable to reconfigure sharing settings for network all. Multiple tenants are using it."}, fault(t, a))
	require.Equal(t, 403, e.neutron(t, e.member, "PUT", "/networks/"+net, fields{"network": fields{"name": "mine"}}).Status, "a shared network is its owner's")
	require.Equal(t, 204, e.neutron(t, e.member, "DELETE", "/ports/"+port, nil).Status)
	require.Equal(t, 200, e.neutron(t, e.admin, "PUT", "/networks/"+net, unshare).Status)
	require.Equal(t, 404, e.neutron(t, e.member, "GET", "/networks/"+net, nil).Status)
}

func TestTagsComeAndGoAndSelect(t *testing.T) {
	e := newEnv(t)
	net := e.make(t, e.member, "network", fields{"name": "one"})
	other := e.make(t, e.member, "network", fields{"name": "two"})
	port := e.make(t, e.member, "port", fields{"network_id": net, "tags": []string{"web"}})
	require.Equal(t, []string{port}, e.ids(t, e.member, "ports", "?tags=web"))
	path := "/networks/" + net + "/tags"
	for _, tag := range []string{"red", "blue", "red"} {
		require.Equal(t, 201, e.neutron(t, e.member, "PUT", path+"/"+tag, nil).Status)
	}
	require.JSONEq(t, `{"tags": ["red", "blue"]}`, e.neutron(t, e.reader, "GET", path, nil).Body)
	require.Equal(t, 3.0, e.neutron(t, e.member, "GET", "/networks/"+net, nil).At(t, "network", "revision_number"))
	require.Equal(t, 204, e.neutron(t, e.reader, "GET", path+"/red", nil).Status)
	a := e.neutron(t, e.member, "GET", path+"/green", nil)
	require.Equal(t, []any{404, "TagNotFound", "Tag green could not be found."}, fault(t, a))
	for query, want := range map[string][]string{
		"?tags=red,blue": {net}, "?tags=red,green": {}, "?tags-any=red,green": {net}, "?not-tags=red": {other}, "?not-tags-any=green,red": {other},
	} {
		require.Equal(t, want, e.ids(t, e.member, "networks", query), query)
	}
	require.Equal(t, 204, e.neutron(t, e.member, "DELETE", path+"/red", nil).Status)
	require.Equal(t, 404, e.neutron(t, e.member, "DELETE", path+"/red", nil).Status)
	require.JSONEq(t, `{"tags": ["a", "b"]}`, e.neutron(t, e.member, "PUT", path, fields{"tags": []string{"a", "b"}}).Body)
	require.Equal(t, []any{400, "InvalidInput"}, fault(t, e.neutron(t, e.member, "PUT", path, fields{"tag": "a"}))[:2])
	require.Equal(t, 400, e.neutron(t, e.member, "PUT", path, fields{"tags": []string{"a", "a"}}).Status)
	many := make([]string, 51)
	for i := range many {
		many[i] = fmt.Sprint("t", i)
	}
	require.Equal(t, 400, e.neutron(t, e.member, "PUT", path, fields{"tags": many}).Status)
	require.Equal(t, 403, e.neutron(t, e.reader, "DELETE", path, nil).Status)
	require.Equal(t, 404, e.neutron(t, e.stranger, "DELETE", path, nil).Status)
	require.Equal(t, 204, e.neutron(t, e.member, "DELETE", path, nil).Status)
	require.JSONEq(t, `{"tags": []}`, e.neutron(t, e.member, "GET", path, nil).Body)
}

func TestSeveralAreMadeAtOnce(t *testing.T) {
	e := newEnv(t)
	a := e.neutron(t, e.member, "POST", "/networks", fields{"networks": []fields{{"name": "a"}, {"name": "b"}}})
	require.Equal(t, 201, a.Status, a.Body)
	made := a.At(t, "networks").([]any)
	require.Len(t, made, 2)
	net := made[0].(map[string]any)["id"].(string)
	e.make(t, e.member, "subnet", fields{"network_id": net, "cidr": "10.5.0.0/24", "ip_version": 4})
	a = e.neutron(t, e.member, "POST", "/ports", fields{"ports": []fields{{"network_id": net, "name": "x"}, {"network_id": net, "name": "y"}}})
	require.Equal(t, 201, a.Status, a.Body)
	for i, want := range []string{"10.5.0.2", "10.5.0.3"} {
		p := a.At(t, "ports").([]any)[i].(map[string]any)
		require.Equal(t, want, p["fixed_ips"].([]any)[0].(map[string]any)["ip_address"])
	}
}

func TestAProjectHasNoMoreThanItsQuota(t *testing.T) {
	e := newEnvOf(t, networks.Config{Quota: models.NetworkQuota{"network": 2, "subnet": 1, "port": 1}})
	path := "/quotas/" + e.member.ProjectID
	net := e.make(t, e.member, "network", fields{"name": "a"})
	a := e.neutron(t, e.member, "POST", "/networks", fields{"networks": []fields{{}, {}}})
	require.Equal(t, []any{409, "OverQuota", "Quota exceeded for resources: ['network']."}, fault(t, a))
	require.Len(t, e.ids(t, e.member, "networks", ""), 1)
	e.make(t, e.member, "subnet", fields{"network_id": net, "cidr": "10.5.0.0/24", "ip_version": 4})
	a = e.neutron(t, e.member, "POST", "/subnets", fields{"subnet": fields{"network_id": net, "cidr": "10.6.0.0/24", "ip_version": 4}})
	require.Equal(t, []any{409, "OverQuota", "Quota exceeded for resources: ['subnet']."}, fault(t, a))
	results := make(chan int, 8)
	for range 8 {
		go func() {
			results <- e.neutron(t, e.member, "POST", "/ports", fields{"port": fields{"network_id": net}}).Status
		}()
	}
	statuses := map[int]int{}
	for range 8 {
		statuses[<-results]++
	}
	require.Equal(t, map[int]int{201: 1, 409: 7}, statuses, "one of eight at once")

	a = e.neutron(t, e.reader, "GET", path+"/details.json", nil)
	require.JSONEq(t, `{"quota": {"network": {"limit": 2, "used": 1, "reserved": 0}, "subnet": {"limit": 1, "used": 1, "reserved": 0}, "port": {"limit": 1, "used": 1, "reserved": 0}}}`, a.Body)
	require.Equal(t, 403, e.neutron(t, e.member, "PUT", path, fields{"quota": fields{"port": 9}}).Status)
	for _, tt := range []struct {
		set     fields
		message string
	}{
		{fields{"port": 0}, "Quota limit 0 for port must be greater than or equal to already used 1"},
		{fields{"port": -2}, "Invalid input for port. Reason: '-2' is too small - must be at least '-1'."},
		{fields{"port": "many"}, "Invalid input for operation: 'many' is not an integer."},
		{fields{"trunk": 1}, "Unrecognized attribute(s) 'trunk'"},
	} {
		a = e.neutron(t, e.admin, "PUT", path, fields{"quota": tt.set})
		require.Equal(t, []any{400, tt.message}, []any{a.Status, a.Message(t)})
	}
	a = e.neutron(t, e.admin, "PUT", path, fields{"quota": fields{"port": "2", "network": -1}})
	require.JSONEq(t, `{"quota": {"network": -1, "subnet": 1, "port": 2}}`, a.Body)
	e.make(t, e.member, "port", fields{"network_id": net})
	require.Contains(t, e.neutron(t, e.admin, "GET", "/quotas", nil).Body, e.member.ProjectID)
	require.JSONEq(t, `{"quota": {"network": 2, "subnet": 1, "port": 1}}`, e.neutron(t, e.member, "GET", path+"/default", nil).Body)
	require.Equal(t, 204, e.neutron(t, e.admin, "DELETE", path, nil).Status)
	require.Equal(t, []any{404, "TenantQuotaNotFound"}, fault(t, e.neutron(t, e.admin, "DELETE", path, nil))[:2])
	require.Equal(t, 409, e.neutron(t, e.member, "POST", "/ports", fields{"port": fields{"network_id": net}}).Status)
	require.Equal(t, 404, e.neutron(t, e.admin, "PUT", "/quotas/"+uuid.NewString(), fields{"quota": fields{"port": 9}}).Status)
}

// Every attribute that the tables name is asked for once: what the store cannot select or sort by would be an error.
func TestEveryFilterAndSortKeyOfTheTablesIsServed(t *testing.T) {
	e := filtering(t)
	net := e.make(t, e.member, "network", fields{"name": "ours", "mtu": 1500})
	e.make(t, e.member, "subnet", fields{"network_id": net, "cidr": "10.5.0.0/24", "ip_version": 4})
	e.make(t, e.member, "port", fields{"network_id": net})
	values := map[string]string{
		"fixed_ips": "ip_address=10.5.0.2", "changed_since": "2020-01-01T00:00:00Z", "network_id": net, "cidr": "10.5.0.0/24", "gateway_ip": "10.5.0.1",
		"mac_address": "52:54:00:00:00:01", "ip_version": "4", "mtu": "1500", "revision_number": "1", "ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac",
		"admin_state_up": "True", "shared": "False", "enable_dhcp": "True", "port_security_enabled": "True", "router:external": "True", "is_default": "False",
		"stateful": "True", "alive": "True", "security_group_id": net, "remote_group_id": net, "direction": "ingress", "ethertype": "ipv6",
		"port_range_min": "22", "port_range_max": "22", "remote_ip_prefix": "10.0.0.0/8",
		"provider:segmentation_id": "7", "floating_ip_address": "198.51.100.9", "fixed_ip_address": "10.5.0.2",
		"floating_network_id": net, "port_id": net,
	}
	for collection, of := range network.Listings() {
		for _, name := range of.Filters {
			value, ok := values[name]
			if !ok {
				value = "x"
			}
			a := e.neutron(t, e.admin, "GET", "/"+collection+"?"+url.QueryEscape(name)+"="+url.QueryEscape(value), nil)
			require.Equal(t, 200, a.Status, "%s by %s: %s", collection, name, a.Body)
		}
		for _, key := range of.Sorts {
			for _, dir := range []string{"asc", "desc"} {
				a := e.neutron(t, e.admin, "GET", "/"+collection+"?limit=1&sort_dir="+dir+"&sort_key="+url.QueryEscape(key), nil)
				require.Equal(t, 200, a.Status, "%s by %s: %s", collection, key, a.Body)
			}
		}
	}
	require.Empty(t, e.ids(t, e.admin, "networks", "?changed_since="+url.QueryEscape(time.Now().Add(time.Hour).UTC().Format(time.RFC3339))))
	require.Empty(t, e.ids(t, e.admin, "networks", "?router:external=True"))
	require.Equal(t, []string{net}, e.ids(t, e.admin, "networks", "?mtu=1500&admin_state_up=1"))
}

func TestAgentsAreTheHostsForAdminsAlone(t *testing.T) {
	e := newEnv(t)
	h, err := e.Store.RegisterHost(t.Context(), models.Host{ID: uuid.NewString(), Hostname: "hv1", AvailabilityZone: "nova", TokenHash: []byte("12345678901234567890123456789012"),
		Architectures: []string{}, VCPUs: 4, CPURatio: 1, RAMRatio: 1, DiskRatio: 1, Enabled: true, Ready: true, SeenAt: time.Now(), StartedAt: time.Now()})
	require.NoError(t, err)
	require.Equal(t, []string{h.ID}, e.ids(t, e.admin, "agents", "?host=hv1&alive=true"))
	require.Empty(t, e.ids(t, e.admin, "agents", "?alive=false"))
	require.Empty(t, e.ids(t, e.member, "agents", ""))
	require.Equal(t, "hv1", e.neutron(t, e.admin, "GET", "/agents/"+h.ID, nil).At(t, "agent", "host"))
	require.Equal(t, []any{404, "AgentNotFound"}, fault(t, e.neutron(t, e.member, "GET", "/agents/"+h.ID, nil))[:2])
	require.JSONEq(t, `{"availability_zones": [{"name": "nova", "resource": "network", "state": "available"}]}`,
		e.neutron(t, e.member, "GET", "/availability_zones", nil).Body)
}

func TestWithOVNWhatItEnforcesIsKept(t *testing.T) {
	e := newEnvOf(t, networks.Config{Engine: networks.OVN})
	net := e.make(t, e.member, "network", fields{"port_security_enabled": false})
	require.Equal(t, 1442.0, e.neutron(t, e.member, "GET", "/networks/"+net, nil).At(t, "network", "mtu"))
	e.make(t, e.member, "subnet", fields{"network_id": net, "cidr": "fd07::/64", "ip_version": 6, "ipv6_ra_mode": "dhcpv6-stateful", "ipv6_address_mode": "dhcpv6-stateful"})
	a := e.neutron(t, e.member, "POST", "/ports", fields{"port": fields{"network_id": net, "admin_state_up": false,
		"allowed_address_pairs": []fields{{"ip_address": "10.0.0.0/24"}, {"ip_address": "10.1.0.1", "mac_address": "52-54-00-00-00-01"}}}})
	require.Equal(t, 201, a.Status, a.Body)
	require.Equal(t, []any{false, false, []any{fields{"ip_address": "10.0.0.0/24", "mac_address": ""}, fields{"ip_address": "10.1.0.1", "mac_address": "52:54:00:00:00:01"}}},
		[]any{a.At(t, "port", "admin_state_up"), a.At(t, "port", "port_security_enabled"), a.At(t, "port", "allowed_address_pairs")})
	a = e.neutron(t, e.member, "POST", "/ports", fields{"port": fields{"network_id": net, "extra_dhcp_opts": []fields{{"opt_name": "bootfile-name", "opt_value": "pxe.0"}}}})
	require.Equal(t, []any{400, "HTTPBadRequest", "Invalid input for extra_dhcp_opts. Reason: no guest is told of them."}, fault(t, a))
	require.Equal(t, 200, e.neutron(t, e.member, "GET", "/extensions/port-security", nil).Status)
	shared := e.make(t, e.admin, "network", fields{"shared": true})
	port := e.make(t, e.member, "port", fields{"network_id": shared})
	for _, said := range []fields{{"port_security_enabled": false}, {"allowed_address_pairs": []fields{{"ip_address": "0.0.0.0/0"}}}} {
		require.Equal(t, 403, e.neutron(t, e.member, "PUT", "/ports/"+port, fields{"port": said}).Status, "it would speak for others on the network: %v", said)
		said["network_id"] = shared
		require.Equal(t, 403, e.neutron(t, e.member, "POST", "/ports", fields{"port": said}).Status, said)
		require.Equal(t, 201, e.neutron(t, e.admin, "POST", "/ports", fields{"port": said}).Status, said)
	}
	a = e.neutron(t, e.member, "POST", "/subnets", fields{"subnet": fields{"network_id": net, "cidr": "fd08::/64", "ip_version": 6, "ipv6_address_mode": "slaac"}})
	require.Equal(t, []any{400, "HTTPBadRequest", "Invalid input for ipv6_address_mode. Reason: 'slaac' is not offered: every port is given its addresses."}, fault(t, a))
}
