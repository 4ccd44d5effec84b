package network_test

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/apitest"
	"github.com/slipway-cloud/slipway/api/network"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/service/networks"
	"github.com/slipway-cloud/slipway/models"
)

type fields = map[string]any

type env struct {
	*apitest.Env
	admin, member, reader, stranger apitest.User
}

func newEnv(t *testing.T) *env {
	t.Helper()
	return newEnvOf(t, networks.Config{HostDownAfter: time.Minute})
}

func newEnvOf(t *testing.T, config networks.Config) *env {
	t.Helper()
	e := &env{Env: apitest.New(t, func(e *echo.Echo, store *models.Store) {
		network.New(store, networks.New(store, config)).Mount(e.Group("/network"))
	})}
	e.admin, e.member = e.User(t, "ops", "admin"), e.User(t, "one", "member")
	e.reader, e.stranger = e.User(t, "one", "reader"), e.User(t, "two", "member")
	return e
}

func (e *env) neutron(t *testing.T, u apitest.User, method, path string, body any) apitest.Answer {
	t.Helper()
	return e.Do(t, method, "/network/v2.0"+path, u.Token, body)
}

// make creates an object and gives its id.
func (e *env) make(t *testing.T, u apitest.User, kind string, f fields) string {
	t.Helper()
	a := e.neutron(t, u, "POST", "/"+kind+"s", fields{strings.ReplaceAll(kind, "-", "_"): f})
	require.Equal(t, 201, a.Status, a.Body)
	kind = strings.ReplaceAll(kind, "-", "_")
	id, _ := a.At(t, kind, "id").(string)
	return id
}

// ids lists a collection.
func (e *env) ids(t *testing.T, u apitest.User, collection, query string) []string {
	t.Helper()
	a := e.neutron(t, u, "GET", "/"+collection+query, nil)
	require.Equal(t, 200, a.Status, a.Body)
	ids := []string{}
	for _, row := range a.At(t, strings.ReplaceAll(collection, "-", "_")).([]any) {
		ids = append(ids, row.(map[string]any)["id"].(string))
	}
	return ids
}

// fault is type and message of an error.
func fault(t *testing.T, a apitest.Answer) []any {
	t.Helper()
	return []any{a.Status, a.At(t, "NeutronError", "type"), a.At(t, "NeutronError", "message")}
}

func TestNetworksSubnetsAndPortsComeAndGo(t *testing.T) {
	e := newEnv(t)
	net := e.make(t, e.member, "network", fields{"name": "ours", "admin_state_up": true})
	a := e.neutron(t, e.member, "GET", "/networks/"+net, nil)
	require.Equal(t, []any{"ours", "ACTIVE", false, 1500.0, e.member.ProjectID, []any{}},
		[]any{a.At(t, "network", "name"), a.At(t, "network", "status"), a.At(t, "network", "shared"), a.At(t, "network", "mtu"), a.At(t, "network", "project_id"), a.At(t, "network", "subnets")})

	sub := e.make(t, e.member, "subnet", fields{"network_id": net, "cidr": "10.5.0.0/24", "ip_version": 4, "name": "s", "dns_nameservers": []string{"9.9.9.9"}})
	a = e.neutron(t, e.reader, "GET", "/subnets/"+sub, nil)
	require.Equal(t, []any{"10.5.0.1", 4.0, true, []any{"9.9.9.9"}, []any{fields{"start": "10.5.0.2", "end": "10.5.0.254"}}},
		[]any{a.At(t, "subnet", "gateway_ip"), a.At(t, "subnet", "ip_version"), a.At(t, "subnet", "enable_dhcp"), a.At(t, "subnet", "dns_nameservers"), a.At(t, "subnet", "allocation_pools")})

	port := e.make(t, e.member, "port", fields{"network_id": net, "name": "p"})
	a = e.neutron(t, e.member, "GET", "/ports/"+port, nil)
	require.Equal(t, []any{"DOWN", "", []any{fields{"subnet_id": sub, "ip_address": "10.5.0.2"}}}, []any{a.At(t, "port", "status"), a.At(t, "port", "device_id"), a.At(t, "port", "fixed_ips")})
	require.Regexp(t, "^fa:16:3e:", a.At(t, "port", "mac_address"))
	require.NotContains(t, a.At(t, "port"), "binding:host_id")
	require.Contains(t, e.neutron(t, e.admin, "GET", "/ports/"+port, nil).At(t, "port"), "binding:host_id", "where it is bound is for admins")

	a = e.neutron(t, e.member, "DELETE", "/networks/"+net, nil)
	require.Equal(t, []any{409, "NetworkInUse", "Unable to complete operation on network " + net + ". There are one or more ports still in use on the network."}, fault(t, a))
	a = e.neutron(t, e.member, "DELETE", "/subnets/"+sub, nil)
	require.Equal(t, []any{409, "SubnetInUse", "Unable to complete operation on subnet " + sub + ": One or more ports have an IP allocation from this subnet."}, fault(t, a))
	for _, path := range []string{"/ports/" + port, "/subnets/" + sub, "/networks/" + net} {
		require.Equal(t, 403, e.neutron(t, e.reader, "DELETE", path, nil).Status)
		require.Equal(t, 404, e.neutron(t, e.stranger, "DELETE", path, nil).Status)
		require.Equal(t, 204, e.neutron(t, e.member, "DELETE", path, nil).Status)
		require.Equal(t, 404, e.neutron(t, e.member, "GET", path, nil).Status)
	}
	a = e.neutron(t, e.member, "GET", "/networks/"+net, nil)
	require.Equal(t, []any{404, "NetworkNotFound", "Network " + net + " could not be found."}, fault(t, a))
}

func TestAPortOfAServerIsNotItsUsersToDelete(t *testing.T) {
	e := newEnv(t)
	ctx := context.Background()
	net := e.make(t, e.member, "network", fields{"name": "ours"})
	e.make(t, e.member, "subnet", fields{"network_id": net, "cidr": "10.5.0.0/24", "ip_version": 4})
	_, err := e.Store.CreateFlavor(ctx, models.Flavor{ID: "1", Name: "f", VCPUs: 1, RAMMiB: 1, RxTxFactor: 1, Public: true})
	require.NoError(t, err)
	image := uuid.NewString()
	_, err = e.Store.CreateImage(ctx, models.Image{ID: image, OwnerID: e.member.ProjectID, Status: models.ImageActive, Visibility: "public"}, nil)
	require.NoError(t, err)
	host, err := e.Store.RegisterHost(ctx, models.Host{ID: uuid.NewString(), Hostname: "hv1", AvailabilityZone: "nova", TokenHash: []byte("12345678901234567890123456789012"), Architectures: []string{}, VCPUs: 4, MemoryMiB: 4096, DiskGiB: 10, CPURatio: 1, RAMRatio: 1, DiskRatio: 1, Enabled: true, Ready: true, SeenAt: time.Now(), StartedAt: time.Now()})
	require.NoError(t, err)
	server := uuid.NewString()
	require.NoError(t, e.Store.RecordServer(ctx, models.Server{ID: server, ProjectID: e.member.ProjectID, UserID: e.member.UserID, Name: "s", Hostname: "s", ImageID: image, FlavorID: "1"},
		models.InstanceAction{ServerID: server, RequestID: "req-" + uuid.NewString(), Action: "create", UserID: e.member.UserID, ProjectID: e.member.ProjectID, StartedAt: time.Now(), UpdatedAt: time.Now()}))
	require.NoError(t, e.Store.Place(ctx, models.Placement{ServerID: server, HostID: host.ID, VCPUs: 1, MemoryMiB: 1}, "networking"))
	p, err := e.Store.AllocatePort(ctx, models.PortRequest{ID: uuid.NewString(), ServerID: server, ProjectID: e.member.ProjectID, NetworkID: net, Hostname: "hv1"})
	require.NoError(t, err)

	a := e.neutron(t, e.member, "DELETE", "/ports/"+p.ID, nil)
	require.Equal(t, 409, a.Status)
	require.Equal(t, "PortInUse", a.At(t, "NeutronError", "type"))
	require.Equal(t, []string{p.ID}, e.ids(t, e.member, "ports", "?device_id="+server))
	same := fields{"fixed_ips": []fields{{"ip_address": p.FixedIPs[0].IP}}, "device_id": server, "device_owner": "compute:nova"}
	require.Equal(t, 200, e.neutron(t, e.member, "PUT", "/ports/"+p.ID, fields{"port": same}).Status)
	require.Equal(t, 409, e.neutron(t, e.member, "PUT", "/ports/"+p.ID, fields{"port": fields{"fixed_ips": []fields{{"ip_address": "10.5.0.99"}}}}).Status)
	a = e.neutron(t, e.admin, "GET", "/ports/"+p.ID, nil)
	require.Equal(t, []any{"ACTIVE", server, "compute:nova", "hv1", "bridge"},
		[]any{a.At(t, "port", "status"), a.At(t, "port", "device_id"), a.At(t, "port", "device_owner"), a.At(t, "port", "binding:host_id"), a.At(t, "port", "binding:vif_type")})
}

func TestListsAreFilteredCutAndPaged(t *testing.T) {
	e := newEnv(t)
	red := e.make(t, e.member, "network", fields{"name": "red"})
	blue := e.make(t, e.member, "network", fields{"name": "blue"})
	theirs := e.make(t, e.stranger, "network", fields{"name": "theirs"})
	shared := e.make(t, e.admin, "network", fields{"name": "shared", "shared": true})
	sub := e.make(t, e.member, "subnet", fields{"network_id": red, "cidr": "10.5.0.0/24", "ip_version": 4})
	port := e.make(t, e.member, "port", fields{"network_id": red})

	require.Equal(t, []string{blue, red, shared}, e.ids(t, e.member, "networks", "?sort_key=name&sort_dir=asc"))
	require.Equal(t, []string{shared, red, blue}, e.ids(t, e.member, "networks", "?sort_key=name&sort_dir=desc"))
	require.Len(t, e.ids(t, e.admin, "networks", ""), 4)
	require.ElementsMatch(t, []string{red, blue}, e.ids(t, e.member, "networks", "?name=red&name=blue"))
	require.Equal(t, []string{shared}, e.ids(t, e.member, "networks", "?shared=True"))
	require.Empty(t, e.ids(t, e.member, "networks", "?id="+theirs))
	require.Empty(t, e.ids(t, e.member, "networks", "?id=no-uuid"))
	require.Empty(t, e.ids(t, e.member, "networks", "?status=DOWN"))
	require.Empty(t, e.ids(t, e.member, "networks", "?router%3Aexternal=True"))
	require.Equal(t, []string{theirs}, e.ids(t, e.admin, "networks", "?project_id="+e.stranger.ProjectID))
	require.Equal(t, []string{sub}, e.ids(t, e.member, "subnets", "?network_id="+red+"&ip_version=4"))
	require.Empty(t, e.ids(t, e.stranger, "subnets", ""))
	require.Equal(t, []string{port}, e.ids(t, e.member, "ports", "?fixed_ips="+url.QueryEscape("ip_address=10.5.0.2")))
	require.Equal(t, []string{port}, e.ids(t, e.member, "ports", "?fixed_ips="+url.QueryEscape("subnet_id="+sub)+"&network_id="+red))
	require.Empty(t, e.ids(t, e.stranger, "ports", ""))
	require.Empty(t, e.ids(t, e.stranger, "ports", "?project_id="+e.member.ProjectID))
	require.Equal(t, []string{port}, e.ids(t, e.admin, "ports", "?project_id="+e.stranger.ProjectID+"&project_id="+e.member.ProjectID))

	a := e.neutron(t, e.member, "GET", "/networks?name=red&fields=", nil)
	require.Equal(t, red, a.At(t, "networks").([]any)[0].(map[string]any)["id"], "no field is named: all are shown")
	a = e.neutron(t, e.member, "GET", "/networks?name=red&fields=id&fields=name", nil)
	require.JSONEq(t, `{"networks":[{"id":"`+red+`","name":"red"}]}`, a.Body)

	a = e.neutron(t, e.member, "GET", "/networks?limit=2&sort_key=name&sort_dir=asc", nil)
	follow := func(a apitest.Answer, rel string) string {
		for _, l := range a.At(t, "networks_links").([]any) {
			if link := l.(map[string]any); link["rel"] == rel {
				u, err := url.Parse(link["href"].(string))
				require.NoError(t, err)
				return "?" + u.RawQuery
			}
		}
		t.Fatalf("no link %s: %s", rel, a.Body)
		return ""
	}
	require.Equal(t, []string{shared}, e.ids(t, e.member, "networks", follow(a, "next")))
	last := e.neutron(t, e.member, "GET", "/networks"+follow(a, "next"), nil)
	require.NotContains(t, last.Body, `"rel":"next"`)
	require.Equal(t, []string{blue, red}, e.ids(t, e.member, "networks", follow(last, "previous")), "the page before, in its order")

	for query, message := range map[string]string{
		"?sort_key=name&sort_dir=up":              "['up'] is invalid value for sort_dirs, valid value is 'asc' and 'desc'",
		"?sort_key=subnets&sort_dir=asc":          "['subnets'] is invalid attribute for sort_keys",
		"?sort_key=name&sort_key=id&sort_dir=asc": "The number of sort_keys and sort_dirs must be same",
		"?color=red&subnets=x&name=y":             "['color', 'subnets'] is invalid attribute for filtering",
		"?limit=x":                                "",
		"?changed_since=0000-01-01":               "",
		"?limit=1&marker=" + uuid.NewString():     "",
	} {
		a := e.neutron(t, e.member, "GET", "/networks"+query, nil)
		require.Equal(t, 400, a.Status, query)
		if message != "" {
			require.Equal(t, []any{400, "HTTPBadRequest", message}, fault(t, a))
		}
	}
}

func TestEveryKindIsShownWithTheFieldsThatWereAskedFor(t *testing.T) {
	e := newEnv(t)
	net := e.make(t, e.member, "network", fields{"name": "ours"})
	sub := e.make(t, e.member, "subnet", fields{"network_id": net, "cidr": "10.5.0.0/24", "ip_version": 4})
	port := e.make(t, e.member, "port", fields{"network_id": net})
	group := ids.SecurityGroup(e.member.ProjectID)
	for path, kind := range map[string]string{
		"/networks/" + net: "network", "/subnets/" + sub: "subnet", "/ports/" + port: "port", "/security-groups/" + group: "security_group",
	} {
		a := e.neutron(t, e.member, "GET", path+"?fields=id", nil)
		require.JSONEq(t, `{"`+kind+`": {"id": "`+path[strings.LastIndex(path, "/")+1:]+`"}}`, a.Body)
	}
}

func TestBadNetworkRequestsLeaveNoRow(t *testing.T) {
	e := newEnv(t)
	net := e.make(t, e.member, "network", fields{"name": "ours"})
	shared := e.make(t, e.admin, "network", fields{"name": "shared", "shared": true})
	e.make(t, e.member, "subnet", fields{"network_id": net, "cidr": "10.5.0.0/24", "ip_version": 4})
	narrow := e.make(t, e.member, "network", fields{"mtu": 1279})
	port := func(f fields) fields {
		f["network_id"] = net
		return fields{"port": f}
	}
	ip := func(list ...fields) fields { return port(fields{"fixed_ips": list}) }
	taken := e.neutron(t, e.member, "POST", "/ports", ip(fields{"ip_address": "10.5.0.9"}))
	require.Equal(t, 201, taken.Status, taken.Body)
	of := taken.At(t, "port", "fixed_ips").([]any)[0].(map[string]any)["subnet_id"].(string)
	elsewhere := e.make(t, e.member, "subnet", fields{"network_id": narrow, "cidr": "10.5.1.0/24", "ip_version": 4})
	before, err := e.Store.Snapshot(t.Context())
	require.NoError(t, err)
	subnet := func(f fields) fields {
		s := fields{"network_id": net, "cidr": "10.6.0.0/24", "ip_version": 4}
		for k, v := range f {
			s[k] = v
		}
		return fields{"subnet": s}
	}
	for _, tt := range []struct {
		name    string
		user    apitest.User
		path    string
		body    any
		status  int
		kind    string
		message string
	}{
		{"pools that are null", e.member, "/subnets", subnet(fields{"allocation_pools": nil}), 400, "HTTPBadRequest", "Invalid input for allocation_pools. Reason: Invalid data format for IP pool: 'None'."},
		{"addresses that are null", e.member, "/ports", port(fields{"fixed_ips": nil}), 400, "HTTPBadRequest", "Invalid input for fixed_ips. Reason: Invalid data format for fixed IP: 'None'."},
		{"malformed", e.member, "/networks", `{`, 400, "", "Malformed request body"},
		{"no body", e.member, "/networks", nil, 400, "HTTPBadRequest", "Resource body required"},
		{"nothing", e.member, "/networks", fields{}, 400, "HTTPBadRequest", "Unable to find 'network' in request body"},
		{"a list", e.member, "/networks", []any{}, 400, "HTTPBadRequest", "Body contains invalid data"},
		{"no object", e.member, "/networks", fields{"network": 5}, 400, "HTTPBadRequest", "Object 'network' contains invalid data"},
		{"none of many", e.member, "/networks", fields{"networks": []any{}}, 400, "HTTPBadRequest", "Resources required"},
		{"a long name", e.member, "/networks", fields{"network": fields{"name": strings.Repeat("n", 256)}}, 400, "HTTPBadRequest",
			"Invalid input for name. Reason: '" + strings.Repeat("n", 256) + "' exceeds maximum length of 255."},
		{"a wrong type", e.member, "/networks", fields{"network": fields{"name": 5}}, 400, "HTTPBadRequest", "Invalid input for name. Reason: '5' is not a valid string."},
		{"no name", e.member, "/networks", fields{"network": fields{"name": nil}}, 400, "HTTPBadRequest", "Invalid input for name. Reason: 'None' is not a valid string."},
		{"unknown attributes", e.member, "/networks", fields{"network": fields{"color": "red", "size": 1, "tags-any": ""}}, 400, "HTTPBadRequest",
			"Unrecognized attribute(s) 'color, size, tags-any'"},
		{"an attribute that is only shown", e.member, "/networks", fields{"network": fields{"status": "DOWN"}}, 400, "HTTPBadRequest", "Attribute 'status' not allowed in POST"},
		{"two projects", e.member, "/networks", fields{"network": fields{"project_id": "a", "tenant_id": "b"}}, 400, "HTTPBadRequest", "'project_id' and 'tenant_id' do not match"},
		{"no number", e.member, "/networks", fields{"network": fields{"mtu": "large"}}, 400, "InvalidInput", "Invalid input for operation: 'large' is not an integer."},
		{"no flag", e.member, "/networks", fields{"network": fields{"admin_state_up": "maybe"}}, 400, "InvalidInput", "Invalid input for operation: 'maybe' cannot be converted to boolean."},
		{"external", e.member, "/networks", fields{"network": fields{"router:external": true}}, 400, "HTTPBadRequest", "Invalid input for router:external. Reason: nothing enforces it while network.engine is bridge."},
		{"down", e.member, "/networks", fields{"network": fields{"admin_state_up": false}}, 400, "HTTPBadRequest",
			"Invalid input for admin_state_up. Reason: nothing enforces it while network.engine is bridge."},
		{"one of two", e.member, "/networks", fields{"networks": []fields{{"name": "one"}, {"mtu": 1}}}, 400, "HTTPBadRequest", ""},
		{"no network", e.member, "/subnets", fields{"subnet": fields{"cidr": "10.6.0.0/24"}}, 400, "HTTPBadRequest", "Failed to parse request. Required attribute 'network_id' not specified"},
		{"of no UUID", e.member, "/subnets", subnet(fields{"network_id": "n"}), 400, "HTTPBadRequest", "Invalid input for network_id. Reason: 'n' is not a valid UUID."},
		{"a version that there is not", e.member, "/subnets", subnet(fields{"ip_version": "5"}), 400, "HTTPBadRequest", "Invalid input for ip_version. Reason: 5 is not in [4, 6]."},
		{"announced addresses", e.member, "/subnets", subnet(fields{"cidr": "fd07::/64", "ip_version": 6, "ipv6_ra_mode": "slaac"}), 400, "HTTPBadRequest",
			"Invalid input for ipv6_ra_mode. Reason: nothing enforces it while network.engine is bridge."},
		{"a pool without an end", e.member, "/subnets", subnet(fields{"allocation_pools": []fields{{"start": "10.6.0.2"}}}), 400, "HTTPBadRequest",
			"Invalid input for allocation_pools. Reason: Validation of dictionary's keys failed. Expected keys: {'end', 'start'} Provided keys: {'start'}."},
		{"two subnets of which one overlaps", e.member, "/subnets", fields{"subnets": []fields{
			{"network_id": net, "cidr": "10.8.0.0/24", "ip_version": 4}, {"network_id": net, "cidr": "10.8.0.0/25", "ip_version": 4}}}, 400, "InvalidInput", ""},
		{"the gateway's address", e.member, "/ports", ip(fields{"ip_address": "10.5.0.1"}), 400, "InvalidIpForNetwork", ""},
		{"two ports of which one has an address in use", e.member, "/ports", fields{"ports": []fields{
			{"network_id": net}, {"network_id": net, "fixed_ips": []fields{{"ip_address": "10.5.0.9"}}}}}, 409, "IpAddressAlreadyAllocated", ""},
		{"two ports with one address", e.member, "/ports", fields{"ports": []fields{
			{"network_id": net, "fixed_ips": []fields{{"ip_address": "10.5.0.8"}}}, {"network_id": net, "fixed_ips": []fields{{"ip_address": "10.5.0.8"}}}}}, 409, "IpAddressAlreadyAllocated", ""},
		{"address pairs", e.member, "/ports", port(fields{"allowed_address_pairs": []fields{{"ip_address": "10.5.0.77"}}}), 400, "HTTPBadRequest",
			"Invalid input for allowed_address_pairs. Reason: nothing enforces it while network.engine is bridge."},
		{"an unprotected port", e.member, "/ports", port(fields{"port_security_enabled": "False"}), 400, "HTTPBadRequest", ""},
		{"another kind of NIC", e.member, "/ports", port(fields{"binding:vnic_type": "direct"}), 400, "HTTPBadRequest", "Invalid input for binding:vnic_type. Reason: direct is not in ['normal']."},
		{"a chosen MAC on another's network", e.member, "/ports", fields{"port": fields{"network_id": shared, "mac_address": "52:54:00:00:00:01"}}, 403, "PolicyNotAuthorized",
			"rule:create_port and rule:create_port:mac_address is disallowed by policy"},
		{"shared by a member", e.member, "/networks", fields{"network": fields{"shared": true}}, 403, "PolicyNotAuthorized", "rule:create_network and rule:create_network:shared is disallowed by policy"},
		{"for another project", e.member, "/networks", fields{"network": fields{"project_id": e.stranger.ProjectID}}, 403, "PolicyNotAuthorized", ""},
		{"for a project that there is not", e.admin, "/networks", fields{"network": fields{"project_id": "nobody"}}, 404, "HTTPNotFound", "Could not find project: nobody."},
		{"by a reader", e.reader, "/networks", fields{"network": fields{"name": "x"}}, 403, "PolicyNotAuthorized", "rule:create_network is disallowed by policy"},
		{"subnet of nothing", e.member, "/subnets", subnet(fields{"network_id": uuid.NewString()}), 404, "NetworkNotFound", ""},
		{"subnet of a shared network", e.member, "/subnets", subnet(fields{"network_id": shared}), 403, "PolicyNotAuthorized", ""},
		{"no cidr", e.member, "/subnets", subnet(fields{"cidr": "ten"}), 400, "HTTPBadRequest", "Invalid input for cidr. Reason: 'ten' is not a valid IP subnet."},
		{"host bits", e.member, "/subnets", subnet(fields{"cidr": "10.6.0.1/24"}), 400, "HTTPBadRequest", "Invalid input for cidr. Reason: '10.6.0.1/24' isn't a recognized IP subnet cidr, '10.6.0.0/24' is recommended."},
		{"one address", e.member, "/subnets", subnet(fields{"cidr": "10.6.0.0/32"}), 400, "InvalidInput", "Invalid input for operation: Subnet has a prefix length that is incompatible with DHCP service enabled."},
		{"multicast", e.member, "/subnets", subnet(fields{"cidr": "224.0.1.0/24"}), 400, "InvalidInput", "Invalid input for operation: Multicast IP subnet is not supported if enable_dhcp is True."},
		{"multicast without DHCP", e.member, "/subnets", subnet(fields{"cidr": "ff05::/64", "ip_version": 6, "enable_dhcp": false}), 400, "InvalidInput", "Invalid input for operation: Multicast IP subnet is not supported."},
		{"wrong version", e.member, "/subnets", subnet(fields{"ip_version": 6}), 400, "InvalidInput", "Invalid input for operation: cidr '10.6.0.0/24' does not match the ip_version '6'."},
		{"overlap", e.member, "/subnets", subnet(fields{"cidr": "10.5.0.128/25"}), 400, "InvalidInput", ""},
		{"gateway outside", e.member, "/subnets", subnet(fields{"gateway_ip": "10.7.0.1"}), 400, "InvalidInput", "Invalid input for operation: Gateway is not valid on subnet."},
		{"gateway that is none", e.member, "/subnets", subnet(fields{"gateway_ip": ""}), 400, "HTTPBadRequest", "Invalid input for gateway_ip. Reason: '' is not a valid IP address."},
		{"pool outside", e.member, "/subnets", subnet(fields{"allocation_pools": []fields{{"start": "10.6.0.2", "end": "10.6.1.9"}}}), 400, "OutOfBoundsAllocationPool", "The allocation pool 10.6.0.2-10.6.1.9 spans beyond the subnet cidr 10.6.0.0/24."},
		{"pool backwards", e.member, "/subnets", subnet(fields{"allocation_pools": []fields{{"start": "10.6.0.9", "end": "10.6.0.2"}}}), 400, "InvalidAllocationPool", ""},
		{"pool over the gateway", e.member, "/subnets", subnet(fields{"allocation_pools": []fields{{"start": "10.6.0.1", "end": "10.6.0.9"}}}), 409, "GatewayConflictWithAllocationPools", ""},
		{"no name server", e.member, "/subnets", subnet(fields{"dns_nameservers": []string{"dns"}}), 400, "HTTPBadRequest", "Invalid input for dns_nameservers. Reason: 'dns' is not a valid nameserver. 'dns' is not a valid IP address."},
		{"six name servers", e.member, "/subnets", subnet(fields{"dns_nameservers": []string{"9.9.9.1", "9.9.9.2", "9.9.9.3", "9.9.9.4", "9.9.9.5", "9.9.9.6"}}), 400, "DNSNameServersExhausted", ""},
		{"a small MTU", e.member, "/networks", fields{"network": fields{"mtu": 67}}, 400, "HTTPBadRequest", "Invalid input for mtu. Reason: '67' is too small - must be at least '68'."},
		{"a large MTU", e.member, "/networks", fields{"network": fields{"mtu": 65536}}, 400, "InvalidInput", "Invalid input for operation: Requested MTU is too big, maximum is 65535."},
		{"IPv6 over a small MTU", e.member, "/subnets", fields{"subnet": fields{"network_id": narrow, "cidr": "fd00::/64", "ip_version": 6}}, 409, "NetworkMTUSubnetConflict", "MTU of " + narrow + " is not valid, subnet requires a minimum of 1280"},
		{"port of a stranger", e.stranger, "/ports", port(fields{}), 404, "NetworkNotFound", ""},
		{"multicast MAC", e.member, "/ports", port(fields{"mac_address": "01:00:5e:00:00:01"}), 400, "HTTPBadRequest", "Invalid input for mac_address. Reason: '01:00:5e:00:00:01' is not a valid MAC address."},
		{"the metadata service's MAC", e.member, "/ports", port(fields{"mac_address": "0E:00:A9:FE:A9:FE"}), 400, "HTTPBadRequest", "Invalid input for mac_address. Reason: '0e:00:a9:fe:a9:fe' is the metadata service's on every network."},
		{"no MAC", e.member, "/ports", port(fields{"mac_address": "00:00:00:00:00:00"}), 400, "HTTPBadRequest", "Invalid input for mac_address. Reason: '00:00:00:00:00:00' is not a valid MAC address."},
		{"every MAC", e.member, "/ports", port(fields{"mac_address": "ff:ff:ff:ff:ff:ff"}), 400, "HTTPBadRequest", ""},
		{"a MAC in use", e.member, "/ports", port(fields{"mac_address": taken.At(t, "port", "mac_address")}), 409, "MacAddressInUse", ""},
		{"no address", e.member, "/ports", ip(fields{"ip_address": "ten"}), 400, "HTTPBadRequest", "Invalid input for fixed_ips. Reason: 'ten' is not a valid IP address."},
		{"an address twice", e.member, "/ports", ip(fields{"ip_address": "10.5.0.7"}, fields{"ip_address": "10.5.0.7"}), 400, "HTTPBadRequest", "Invalid input for fixed_ips. Reason: Duplicate IP address '10.5.0.7'."},
		{"an address in use", e.member, "/ports", ip(fields{"ip_address": "10.5.0.9"}), 409, "IpAddressAlreadyAllocated", "IP address 10.5.0.9 already allocated in subnet " + of},
		{"address outside", e.member, "/ports", ip(fields{"ip_address": "10.9.0.1"}), 400, "InvalidIpForNetwork", "IP address 10.9.0.1 is not a valid IP for any of the subnets on the specified network."},
		{"the network's address", e.member, "/ports", ip(fields{"ip_address": "10.5.0.0"}), 400, "InvalidIpForNetwork", ""},
		{"the broadcast address", e.member, "/ports", ip(fields{"ip_address": "10.5.0.255", "subnet_id": of}), 400, "InvalidIpForSubnet", "IP address 10.5.0.255 is not a valid IP for the specified subnet."},
		{"a subnet of another network", e.member, "/ports", ip(fields{"subnet_id": elsewhere}), 400, "InvalidInput", "Invalid input for operation: Failed to create port on network " + net + ", because fixed_ips included invalid subnet " + elsewhere + "."},
		{"a subnet that is not there", e.member, "/ports", ip(fields{"subnet_id": uuid.Nil.String()}), 404, "SubnetNotFound", ""},
		{"neither address nor subnet", e.member, "/ports", ip(fields{}), 400, "InvalidInput", "Invalid input for operation: IP allocation requires subnet_id or ip_address."},
		{"no group", e.member, "/ports", port(fields{"security_groups": []string{"web"}}), 400, "HTTPBadRequest", "Invalid input for security_groups. Reason: 'web' is not an integer or uuid."},
		{"unknown group", e.member, "/ports", port(fields{"security_groups": []string{uuid.Nil.String()}}), 404, "SecurityGroupNotFound", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := e.neutron(t, tt.user, "POST", tt.path, tt.body)
			require.Equal(t, tt.status, a.Status, a.Body)
			if tt.kind != "" {
				require.Equal(t, tt.kind, a.At(t, "NeutronError", "type"))
			}
			if tt.message != "" {
				require.Equal(t, tt.message, a.Message(t))
			}
		})
	}
	require.Equal(t, 401, e.Do(t, "GET", "/network/v2.0/networks", "", nil).Status)
	after, err := e.Store.Snapshot(t.Context())
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func TestAPortIsMadeWithoutAnAddressWhereThatIsAskedFor(t *testing.T) {
	e := newEnv(t)
	net := e.make(t, e.member, "network", fields{"name": "ours"})
	e.make(t, e.member, "subnet", fields{"network_id": net, "cidr": "10.5.0.0/28", "ip_version": 4})
	a := e.neutron(t, e.member, "POST", "/ports", fields{"port": fields{"network_id": net, "fixed_ips": []any{}}})
	require.Equal(t, 201, a.Status, a.Body)
	require.Equal(t, []any{[]any{}, "none"}, []any{a.At(t, "port", "fixed_ips"), a.At(t, "port", "ip_allocation")})
	a = e.neutron(t, e.member, "POST", "/ports", fields{"port": fields{"network_id": net}})
	require.Equal(t, "immediate", a.At(t, "port", "ip_allocation"))
	require.Len(t, a.At(t, "port", "fixed_ips"), 1)
}

func TestAGatewayInTheRangeIsNeverGivenToAServer(t *testing.T) {
	e := newEnv(t)
	for gateway, want := range map[any][]any{
		"10.6.0.254": {fields{"start": "10.6.0.1", "end": "10.6.0.253"}},
		"10.6.0.7":   {fields{"start": "10.6.0.1", "end": "10.6.0.6"}, fields{"start": "10.6.0.8", "end": "10.6.0.254"}},
		"10.6.0.1":   {fields{"start": "10.6.0.2", "end": "10.6.0.254"}},
		nil:          {fields{"start": "10.6.0.1", "end": "10.6.0.254"}},
	} {
		net := e.make(t, e.member, "network", fields{})
		a := e.neutron(t, e.member, "POST", "/subnets", fields{"subnet": fields{"network_id": net, "cidr": "10.6.0.0/24", "ip_version": 4, "gateway_ip": gateway}})
		require.Equal(t, 201, a.Status, a.Body)
		require.Equal(t, gateway, a.At(t, "subnet", "gateway_ip"))
		require.Equal(t, want, a.At(t, "subnet", "allocation_pools"), gateway)
	}
}

func TestTheDefaultNetworkIsMadeOnce(t *testing.T) {
	e := newEnv(t)
	first, err := networks.New(e.Store, networks.Config{}).EnsureDefault(t.Context(), e.admin.ProjectID, "private", "10.20.0.0/24", "1.1.1.1")
	require.NoError(t, err)
	again, err := networks.New(e.Store, networks.Config{}).EnsureDefault(t.Context(), e.admin.ProjectID, "private", "10.20.0.0/24", "1.1.1.1")
	require.NoError(t, err)
	require.Equal(t, first.ID, again.ID)
	require.Equal(t, []string{first.ID}, e.ids(t, e.stranger, "networks", ""), "everybody sees it")
	a := e.neutron(t, e.stranger, "GET", "/subnets/"+first.Subnets[0].ID, nil)
	require.Equal(t, []any{"10.20.0.0/24", "10.20.0.1"}, []any{a.At(t, "subnet", "cidr"), a.At(t, "subnet", "gateway_ip")})
	require.Equal(t, 403, e.neutron(t, e.stranger, "DELETE", "/networks/"+first.ID, nil).Status, "but only admins delete it")
	_, err = networks.New(e.Store, networks.Config{}).EnsureDefault(t.Context(), e.admin.ProjectID, "odd", "ten")
	require.ErrorContains(t, err, `"ten"`)
}

func TestWhatClientsReadFirst(t *testing.T) {
	e := newEnv(t)
	for _, path := range []string{"/network", "/network/v2.0"} {
		require.Equal(t, 200, e.Do(t, "GET", path, "", nil).Status, path)
	}
	require.Contains(t, e.neutron(t, e.member, "GET", "/extensions", nil).Body, `"alias":"binding"`)
	require.Equal(t, 200, e.neutron(t, e.member, "GET", "/extensions/net-mtu", nil).Status)
	require.Equal(t, 404, e.neutron(t, e.member, "GET", "/extensions/router", nil).Status)
	group := ids.SecurityGroup(e.member.ProjectID)
	require.Contains(t, e.neutron(t, e.member, "GET", "/security-groups?name=default", nil).Body, group)
	require.NotContains(t, e.neutron(t, e.member, "GET", "/security-groups?name=web", nil).Body, group)
	require.Equal(t, 404, e.neutron(t, e.stranger, "GET", "/security-groups/"+group, nil).Status)
	require.Equal(t, 500.0, e.neutron(t, e.member, "GET", "/quotas/"+e.member.ProjectID, nil).At(t, "quota", "port"))
	require.Equal(t, 403, e.neutron(t, e.stranger, "GET", "/quotas/"+e.member.ProjectID, nil).Status)
}
