package ovn

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/sdn/sdntest"
)

func TestARoutersRowsSayWhatOVNReads(t *testing.T) {
	ctx := context.Background()
	c := newCentral(t)
	e, w := c.lead(t), sdntest.NewRouted()
	require.NoError(t, e.Apply(ctx, w.All()...))
	get := func(table, record, column string) string { return c.nbctl(t, "get", table, record, column) }
	inner, gateway := "lrp-"+w.Inner.ID, "lrp-"+w.Gateway.ID

	require.Equal(t, "localnet", get("Logical_Switch_Port", "provnet-"+w.External.ID, "type"))
	require.Equal(t, "7", get("Logical_Switch_Port", "provnet-"+w.External.ID, "tag"))
	require.Equal(t, "public", get("Logical_Switch_Port", "provnet-"+w.External.ID, "options:network_name"))
	require.Equal(t, "router", get("Logical_Switch_Port", w.Inner.ID, "type"))
	require.Equal(t, "[router]", get("Logical_Switch_Port", w.Inner.ID, "addresses"))
	require.Equal(t, `{router-port=`+inner+`}`, get("Logical_Switch_Port", w.Inner.ID, "options"))
	require.Equal(t, "router", get("Logical_Switch_Port", w.Gateway.ID, "options:nat-addresses"))
	require.Equal(t, `["192.0.2.1/24", "2001:db8::1/64"]`, get("Logical_Router_Port", inner, "networks"))
	require.Equal(t, `"fa:16:3e:00:01:01"`, get("Logical_Router_Port", inner, "mac"))
	require.Equal(t, `{address_mode=dhcpv6_stateful, max_interval="600", min_interval="200", mtu="1442", rdnss="2001:db8::53", send_periodic="true"}`,
		get("Logical_Router_Port", inner, "ipv6_ra_configs"))
	require.Equal(t, "[]", get("Logical_Router_Port", inner, "gateway_chassis"))
	router := "neutron-" + w.Router.ID
	require.Contains(t, c.nbctl(t, "lr-route-list", router), "0.0.0.0/0")
	require.Contains(t, c.nbctl(t, "lr-nat-list", router), "dnat_and_snat")
	require.Contains(t, c.nbctl(t, "lrp-get-gateway-chassis", gateway), gateway+"_h1")
	require.Len(t, chassisOf(t, c), 3)

	w.Router.Down, w.Gateway.Router.Gateways = true, []string{"h1", "h2"}
	w.Floating.PortID, w.Floating.MAC = w.Port.ID, "fa:16:3e:00:01:03"
	require.NoError(t, e.Apply(ctx, sdntest.Routes(w.Router), sdntest.At(w.Gateway), sdntest.Floats(w.Floating)))
	require.Equal(t, "false", get("Logical_Router", router, "enabled"))
	require.Len(t, chassisOf(t, c), 1, "two would never take over")
	nat := c.nbctl(t, "--bare", "--columns=_uuid", "find", "NAT", "type=dnat_and_snat")
	require.Equal(t, `"fa:16:3e:00:01:03"`, get("NAT", nat, "external_mac"))
	require.Equal(t, `"`+w.Port.ID+`"`, get("NAT", nat, "logical_port"))

	for _, ref := range w.Refs() {
		require.NoError(t, e.Apply(ctx, sdntest.No(ref)))
	}
	for _, table := range []string{"Logical_Router", "Logical_Router_Port", "NAT", "Logical_Router_Static_Route", "Gateway_Chassis", "Logical_Switch_Port"} {
		require.Empty(t, c.nbctl(t, "--bare", "--columns=_uuid", "list", table), table)
	}
}

func chassisOf(t *testing.T, c central) []string {
	t.Helper()
	var all []string
	for _, name := range []string{"h1", "h2", "h3"} {
		if c.nbctl(t, "--bare", "--columns=_uuid", "find", "Gateway_Chassis", "chassis_name="+name) != "" {
			all = append(all, name)
		}
	}
	return all
}

func TestGatewaysSpreadOverTheHostsAndAreNeverTwo(t *testing.T) {
	hosts := []string{"h1", "h2", "h3", "h4", "h5", "h6", "h7"}
	first := map[string]int{}
	for range 200 {
		id := sdntest.NewWorld().Port.ID
		all := chassis(id, hosts)
		require.Len(t, all, mostChassis)
		require.Equal(t, all, chassis(id, append([]string{"h7"}, hosts[:6]...)), "whatever order they come in")
		first[all[0]]++
	}
	require.Len(t, first, len(hosts))
	require.Empty(t, chassis("p", nil))
	require.Len(t, chassis("p", hosts[:1]), 1)
	require.Len(t, chassis("p", hosts[:2]), 1)
	require.Len(t, chassis("p", hosts[:3]), 3)
}

func TestARouteThatIsAskedForTwiceIsOne(t *testing.T) {
	w := sdntest.NewRouted()
	w.Router.Routes = append(w.Router.Routes, w.Router.Routes[0])
	routes := 0
	for _, row := range routerRows(w.Router) {
		if row.table == routeTable {
			routes++
		}
	}
	require.Equal(t, 1, routes)
}
