package network_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/hostapi"
	"github.com/slipway-cloud/slipway/internal/service/networks"
	"github.com/slipway-cloud/slipway/models"
)

// newRouted is an env with OVN, a host that leads out, and an external network with a subnet.
func newRouted(t *testing.T) (e *env, external, outside string) {
	t.Helper()
	e = newEnvOf(t, networks.Config{Engine: networks.OVN, HostDownAfter: time.Minute})
	_, err := e.Store.RegisterHost(context.Background(), models.Host{
		Hostname: "h1", AvailabilityZone: "nova", TokenHash: []byte(uuid.NewString()), HypervisorType: "QEMU", CPURatio: 1, RAMRatio: 1, DiskRatio: 1,
		Machine: &hostapi.Machine{Outside: &hostapi.Outside{Networks: []string{"dc", "public"}}}, SeenAt: time.Now(), StartedAt: time.Now(),
	})
	require.NoError(t, err)
	external = e.make(t, e.admin, "network", fields{
		"name": "public", "router:external": true, "provider:network_type": "flat", "provider:physical_network": "public",
	})
	outside = e.make(t, e.admin, "subnet", fields{"network_id": external, "cidr": "198.51.100.0/24", "ip_version": 4, "enable_dhcp": false})
	return e, external, outside
}

// inner is a network of the member's with a subnet.
func (e *env) inner(t *testing.T, cidr string) (network, subnet string) {
	t.Helper()
	network = e.make(t, e.member, "network", fields{"name": cidr})
	return network, e.make(t, e.member, "subnet", fields{"network_id": network, "cidr": cidr, "ip_version": 4})
}

func TestWithoutAnEngineNothingRoutes(t *testing.T) {
	e := newEnv(t)
	for _, path := range []string{"/routers", "/floatingips", "/routers/" + uuid.NewString()} {
		a := e.neutron(t, e.admin, "GET", path, nil)
		require.Equal(t, []any{404, "HTTPNotFound", "The resource could not be found."}, fault(t, a))
	}
	require.Equal(t, 404, e.neutron(t, e.member, "POST", "/routers", fields{"router": fields{"name": "r"}}).Status)
	require.Equal(t, 404, e.neutron(t, e.member, "GET", "/extensions/router", nil).Status)
	a := e.neutron(t, e.admin, "POST", "/networks", fields{"network": fields{"router:external": true}})
	require.Equal(t, []any{400, "HTTPBadRequest", "Invalid input for router:external. Reason: nothing enforces it while network.engine is bridge."}, fault(t, a))
}

func TestAnExternalNetworkIsAnAdminsAndEverybodySeesIt(t *testing.T) {
	e, external, outside := newRouted(t)
	for _, ext := range []string{"router", "external-net", "provider", "ext-gw-mode", "extraroute"} {
		require.Equal(t, 200, e.neutron(t, e.member, "GET", "/extensions/"+ext, nil).Status, ext)
	}
	a := e.neutron(t, e.admin, "GET", "/networks/"+external, nil)
	require.Equal(t, []any{true, "flat", "public", nil, 1500.0}, []any{a.At(t, "network", "router:external"), a.At(t, "network", "provider:network_type"),
		a.At(t, "network", "provider:physical_network"), a.At(t, "network", "provider:segmentation_id"), a.At(t, "network", "mtu")})
	a = e.neutron(t, e.member, "GET", "/networks/"+external, nil)
	require.Equal(t, true, a.At(t, "network", "router:external"))
	require.NotContains(t, a.Body, "provider:")
	require.Equal(t, []string{external}, e.ids(t, e.stranger, "networks", "?router:external=True"))
	require.Equal(t, []string{outside}, e.ids(t, e.stranger, "subnets", "?network_id="+external))
	require.Equal(t, []string{external}, e.ids(t, e.admin, "networks", "?provider:physical_network=public"))
	require.Empty(t, e.ids(t, e.member, "networks", "?provider:physical_network=public"), "that is told to admins")
	require.Equal(t, 403, e.neutron(t, e.member, "PUT", "/networks/"+external, fields{"network": fields{"name": "mine"}}).Status)

	for want, said := range map[string]fields{
		"PolicyNotAuthorized": {"router:external": true},
	} {
		require.Equal(t, []any{403, want}, fault(t, e.neutron(t, e.member, "POST", "/networks", fields{"network": said}))[:2])
	}
	for text, said := range map[string]fields{
		"Invalid input for operation: network_type required.":                                     {"router:external": true, "provider:physical_network": "dc"},
		"Invalid input for operation: network_type value 'vxlan' not supported.":                  {"provider:network_type": "vxlan"},
		"Invalid input for operation: physical_network required for vlan provider network.":       {"router:external": true, "provider:network_type": "vlan"},
		"Invalid input for operation: segmentation_id prohibited for flat provider network.":      {"router:external": true, "provider:network_type": "flat", "provider:physical_network": "dc", "provider:segmentation_id": 7},
		"Invalid input for operation: segmentation_id out of range (1 through 4094).":             {"router:external": true, "provider:network_type": "vlan", "provider:physical_network": "dc", "provider:segmentation_id": "4095"},
		"Invalid input for operation: physical_network 'moon' unknown for flat provider network.": {"router:external": true, "provider:network_type": "flat", "provider:physical_network": "moon"},
		"Unable to create the flat network. Physical network public is in use.":                   {"router:external": true, "provider:network_type": "flat", "provider:physical_network": "public"},
	} {
		a := e.neutron(t, e.admin, "POST", "/networks", fields{"network": said})
		require.Equal(t, text, fault(t, a)[2])
	}
	vlan := fields{"router:external": true, "provider:network_type": "vlan", "provider:physical_network": "public", "provider:segmentation_id": 7}
	e.make(t, e.admin, "network", vlan)
	a = e.neutron(t, e.admin, "POST", "/networks", fields{"network": vlan})
	require.Equal(t, []any{409, "VlanIdInUse", "Unable to create the network. The VLAN 7 on physical network public is in use."}, fault(t, a))
	require.Equal(t, 400, e.neutron(t, e.admin, "PUT", "/networks/"+external, fields{"network": fields{"router:external": false}}).Status)
	require.Equal(t, 200, e.neutron(t, e.admin, "PUT", "/networks/"+external, fields{"network": fields{"router:external": true, "name": "out"}}).Status)
	require.Equal(t, 400, e.neutron(t, e.admin, "POST", "/ports", fields{"port": fields{"network_id": external}}).Status, "for routers and floating IPs")
}

func TestRoutersJoinNetworksAndLeadOut(t *testing.T) {
	e, external, outside := newRouted(t)
	net, sub := e.inner(t, "10.1.0.0/24")
	_, other := e.inner(t, "10.2.0.0/24")
	_, overlapping := e.inner(t, "10.1.0.0/16")
	router := e.make(t, e.member, "router", fields{"name": "r", "external_gateway_info": fields{"network_id": external}})
	put := func(path string, body fields) fields {
		a := e.neutron(t, e.member, "PUT", "/routers/"+router+path, body)
		require.Equal(t, 200, a.Status, a.Body)
		return a.At(t).(fields)
	}
	refused := func(path string, body fields) []any {
		return fault(t, e.neutron(t, e.member, "PUT", "/routers/"+router+path, body))
	}
	a := e.neutron(t, e.reader, "GET", "/routers/"+router, nil)
	require.Equal(t, fields{"network_id": external, "enable_snat": true, "external_fixed_ips": []any{fields{"subnet_id": outside, "ip_address": "198.51.100.2"}}},
		a.At(t, "router", "external_gateway_info"))
	require.Equal(t, []any{"ACTIVE", true, []any{}, 1.0}, []any{a.At(t, "router", "status"), a.At(t, "router", "admin_state_up"), a.At(t, "router", "routes"), a.At(t, "router", "revision_number")})

	added := put("/add_router_interface", fields{"subnet_id": sub})
	require.Equal(t, []any{router, sub, []any{sub}, net}, []any{added["id"], added["subnet_id"], added["subnet_ids"], added["network_id"]})
	port := added["port_id"].(string)
	a = e.neutron(t, e.member, "GET", "/ports/"+port, nil)
	require.Equal(t, []any{"network:router_interface", router, []any{fields{"subnet_id": sub, "ip_address": "10.1.0.1"}}, "ACTIVE", e.member.ProjectID},
		[]any{a.At(t, "port", "device_owner"), a.At(t, "port", "device_id"), a.At(t, "port", "fixed_ips"), a.At(t, "port", "status"), a.At(t, "port", "project_id")})
	a = e.neutron(t, e.member, "DELETE", "/ports/"+port, nil)
	require.Equal(t, []any{409, "ServicePortInUse", "Port " + port + " cannot be deleted directly via the port API: has device owner network:router_interface."}, fault(t, a))
	a = e.neutron(t, e.member, "PUT", "/ports/"+port, fields{"port": fields{"device_id": ""}})
	require.Equal(t, []any{409, "PortInUse"}, fault(t, a)[:2])
	require.Equal(t, []any{409, "SubnetInUse"}, fault(t, e.neutron(t, e.member, "DELETE", "/subnets/"+sub, nil))[:2])
	a = e.neutron(t, e.member, "PUT", "/subnets/"+sub, fields{"subnet": fields{"gateway_ip": nil}})
	require.Equal(t, []any{409, "GatewayIpInUse", "Current gateway ip 10.1.0.1 already in use by port " + port + ". Unable to update."}, fault(t, a))
	require.Equal(t, 200, e.neutron(t, e.member, "PUT", "/subnets/"+sub, fields{"subnet": fields{"name": "s"}}).Status)
	require.Empty(t, e.ids(t, e.member, "ports", "?device_owner=network:router_gateway"), "no project's")
	require.Len(t, e.ids(t, e.admin, "ports", "?device_id="+router), 2)

	require.Equal(t, []any{400, "BadRequest", "Bad router request: Router already has a port on subnet " + sub + "."}, refused("/add_router_interface", fields{"subnet_id": sub}))
	require.Equal(t, []any{400, "BadRequest", "Bad router request: Cidr 10.1.0.0/16 of subnet " + overlapping + " overlaps with cidr 10.1.0.0/24 of subnet " + sub + "."},
		refused("/add_router_interface", fields{"subnet_id": overlapping}))
	require.Equal(t, []any{400, "BadRequest", "Bad router request: Either subnet_id or port_id must be specified."}, refused("/add_router_interface", fields{}))
	require.Equal(t, 400, refused("/add_router_interface", fields{"subnet_id": outside})[0])
	require.Equal(t, []any{404, "RouterInterfaceNotFoundForSubnet", "Router " + router + " has no interface on subnet " + other}, refused("/remove_router_interface", fields{"subnet_id": other}))
	require.Equal(t, []any{409, "RouterInUse", "Router " + router + " still has ports"}, fault(t, e.neutron(t, e.member, "DELETE", "/routers/"+router, nil)))

	// By a port.
	otherPort := e.make(t, e.member, "port", fields{"network_id": e.neutron(t, e.member, "GET", "/subnets/"+other, nil).At(t, "subnet", "network_id"),
		"fixed_ips": []fields{{"ip_address": "10.2.0.77"}}})
	require.Equal(t, []any{otherPort, other}, []any{put("/add_router_interface", fields{"port_id": otherPort})["port_id"], other})
	require.Equal(t, []any{409, "PortInUse"}, refused("/add_router_interface", fields{"port_id": otherPort})[:2])

	// Routes go through what it reaches.
	hop := func(to, by string) fields {
		return fields{"router": fields{"routes": []fields{{"destination": to, "nexthop": by}}}}
	}
	require.Equal(t, []any{400, "InvalidRoutes"}, refused("", hop("10.9.0.0/16", "10.7.0.9"))[:2])
	require.Contains(t, refused("", hop("10.9.0.0/16", "10.2.0.77"))[2], "the nexthop is used by router")
	put("", hop("10.9.0.0/16", "10.2.0.9"))
	require.Equal(t, []any{409, "RouterInterfaceInUseByRoute"}, refused("/remove_router_interface", fields{"port_id": otherPort})[:2])
	put("", fields{"router": fields{"routes": []fields{}}})
	put("/remove_router_interface", fields{"port_id": otherPort})
	require.Equal(t, 404, e.neutron(t, e.member, "GET", "/ports/"+otherPort, nil).Status)

	// The gateway: what is shown said again is no change, SNAT and addresses are an admin's.
	info := e.neutron(t, e.member, "GET", "/routers/"+router, nil).At(t, "router", "external_gateway_info")
	require.Equal(t, info, put("", fields{"router": fields{"external_gateway_info": info}})["router"].(fields)["external_gateway_info"])
	require.Equal(t, []any{403, "PolicyNotAuthorized"}, refused("", fields{"router": fields{"external_gateway_info": fields{"network_id": external, "enable_snat": false}}})[:2])
	a = e.neutron(t, e.admin, "PUT", "/routers/"+router, fields{"router": fields{"external_gateway_info": fields{
		"network_id": external, "enable_snat": false, "external_fixed_ips": []fields{{"ip_address": "198.51.100.99"}}}}})
	require.Equal(t, fields{"network_id": external, "enable_snat": false, "external_fixed_ips": []any{fields{"subnet_id": outside, "ip_address": "198.51.100.99"}}},
		a.At(t, "router", "external_gateway_info"))
	require.Equal(t, []any{400, "BadRequest", "Bad router request: Network " + net + " is not an external network."},
		refused("", fields{"router": fields{"external_gateway_info": fields{"network_id": net}}}))
	require.Nil(t, put("", fields{"router": fields{"external_gateway_info": fields{}}})["router"].(fields)["external_gateway_info"])

	require.Equal(t, 404, e.neutron(t, e.stranger, "GET", "/routers/"+router, nil).Status)
	require.Equal(t, 404, e.neutron(t, e.stranger, "PUT", "/routers/"+router+"/add_router_interface", fields{"subnet_id": sub}).Status)
	require.Equal(t, 403, e.neutron(t, e.reader, "DELETE", "/routers/"+router, nil).Status)
	put("/remove_router_interface", fields{"subnet_id": sub})
	require.Equal(t, 204, e.neutron(t, e.member, "DELETE", "/routers/"+router, nil).Status)
	require.Empty(t, e.ids(t, e.admin, "ports", "?device_id="+router))
}

func TestFloatingIPsStandForPortsAndMove(t *testing.T) {
	e, external, _ := newRouted(t)
	net, sub := e.inner(t, "10.1.0.0/24")
	first, second := e.make(t, e.member, "port", fields{"network_id": net}), e.make(t, e.member, "port", fields{"network_id": net})
	a := e.neutron(t, e.member, "POST", "/floatingips", fields{"floatingip": fields{"floating_network_id": external, "port_id": first}})
	require.Equal(t, []any{404, "ExternalGatewayForFloatingIPNotFound", "External network " + external + " is not reachable from subnet " + sub +
		".  Therefore, cannot associate Port " + first + " with a Floating IP."}, fault(t, a))
	router := e.make(t, e.member, "router", fields{"external_gateway_info": fields{"network_id": external}})
	require.Equal(t, 200, e.neutron(t, e.member, "PUT", "/routers/"+router+"/add_router_interface", fields{"subnet_id": sub}).Status)

	a = e.neutron(t, e.member, "POST", "/floatingips", fields{"floatingip": fields{"floating_network_id": external, "description": "d"}})
	require.Equal(t, 201, a.Status, a.Body)
	of := func(keys ...string) []any {
		var all []any
		for _, k := range keys {
			all = append(all, a.At(t, "floatingip", k))
		}
		return all
	}
	require.Equal(t, []any{"198.51.100.3", nil, nil, nil, "DOWN", "d"}, of("floating_ip_address", "port_id", "fixed_ip_address", "router_id", "status", "description"))
	id := a.At(t, "floatingip", "id").(string)
	put := func(f fields) { a = e.neutron(t, e.member, "PUT", "/floatingips/"+id, fields{"floatingip": f}) }
	put(fields{"port_id": first})
	require.Equal(t, []any{first, "10.1.0.2", router, "ACTIVE", 2.0}, of("port_id", "fixed_ip_address", "router_id", "status", "revision_number"))
	put(fields{"port_id": second, "fixed_ip_address": "10.1.0.3"})
	require.Equal(t, []any{second, "10.1.0.3"}, of("port_id", "fixed_ip_address"))
	require.Equal(t, []string{id}, e.ids(t, e.member, "floatingips", "?port_id="+second+"&status=ACTIVE"))
	put(fields{"port_id": second, "fixed_ip_address": "10.1.0.99"})
	require.Equal(t, []any{400, "BadRequest", "Bad floatingip request: Port " + second + " does not have fixed ip 10.1.0.99."}, fault(t, a))
	a = e.neutron(t, e.member, "POST", "/floatingips", fields{"floatingip": fields{"floating_network_id": external, "port_id": second}})
	require.Equal(t, []any{409, "FloatingIPPortAlreadyAssociated"}, fault(t, a)[:2])
	put(fields{"port_id": nil})
	require.Equal(t, []any{nil, "DOWN"}, of("port_id", "status"))
	put(fields{"fixed_ip_address": "10.1.0.3"})
	require.Equal(t, []any{400, "BadRequest", "Bad floatingip request: fixed_ip_address cannot be specified without a port_id."}, fault(t, a))
	put(fields{"port_id": second})
	require.Equal(t, 204, e.neutron(t, e.member, "DELETE", "/ports/"+second, nil).Status)
	require.Nil(t, e.neutron(t, e.member, "GET", "/floatingips/"+id, nil).At(t, "floatingip", "port_id"))

	chosen := fields{"floatingip": fields{"floating_network_id": external, "floating_ip_address": "198.51.100.50"}}
	require.Equal(t, []any{403, "PolicyNotAuthorized"}, fault(t, e.neutron(t, e.member, "POST", "/floatingips", chosen))[:2])
	require.Equal(t, 201, e.neutron(t, e.admin, "POST", "/floatingips", chosen).Status)
	require.Equal(t, []any{409, "IpAddressAlreadyAllocated"}, fault(t, e.neutron(t, e.admin, "POST", "/floatingips", chosen))[:2])
	a = e.neutron(t, e.member, "POST", "/floatingips", fields{"floatingip": fields{"floating_network_id": net}})
	require.Equal(t, []any{400, "BadRequest", "Bad floatingip request: Network " + net + " is not a valid external network."}, fault(t, a))
	a = e.neutron(t, e.member, "POST", "/floatingips", fields{"floatingips": []fields{{"floating_network_id": external}, {"floating_network_id": external}}})
	require.Equal(t, 201, a.Status, a.Body)
	require.Len(t, e.ids(t, e.member, "floatingips", "?sort_key=floating_ip_address&limit=2"), 2)

	require.Equal(t, 404, e.neutron(t, e.stranger, "PUT", "/floatingips/"+id, fields{"floatingip": fields{"port_id": nil}}).Status)
	require.Equal(t, 201, e.neutron(t, e.member, "PUT", "/floatingips/"+id+"/tags/red", nil).Status)
	require.Equal(t, []string{id}, e.ids(t, e.member, "floatingips", "?tags=red"))
	q := e.neutron(t, e.member, "GET", "/quotas/"+e.member.ProjectID+"/details", nil)
	require.Equal(t, []any{3.0, 50.0, 1.0, 10.0}, []any{q.At(t, "quota", "floatingip", "used"), q.At(t, "quota", "floatingip", "limit"), q.At(t, "quota", "router", "used"), q.At(t, "quota", "router", "limit")})
	require.Equal(t, 204, e.neutron(t, e.member, "DELETE", "/floatingips/"+id, nil).Status)
	require.Equal(t, 404, e.neutron(t, e.member, "GET", "/floatingips/"+id, nil).Status)
	require.Equal(t, []any{409, "RouterExternalGatewayInUseByFloatingIp"}, func() []any {
		e.make(t, e.member, "floatingip", fields{"floating_network_id": external, "port_id": first})
		return fault(t, e.neutron(t, e.member, "PUT", "/routers/"+router, fields{"router": fields{"external_gateway_info": nil}}))[:2]
	}())
}
