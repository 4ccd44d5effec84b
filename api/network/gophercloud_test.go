package network_test

import (
	"context"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/external"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/apitest"
)

// neutronClient is gophercloud's for a user.
func (e *env) neutronClient(u apitest.User) *gophercloud.ServiceClient {
	return &gophercloud.ServiceClient{ProviderClient: &gophercloud.ProviderClient{TokenID: u.Token}, Endpoint: e.URL + "/network/", ResourceBase: e.URL + "/network/v2.0/"}
}

// A session as Terraform's provider has it: network, router, interface, floating IP, and everything back.
func TestGophercloudRoutes(t *testing.T) {
	ctx := context.Background()
	e, public, _ := newRouted(t)
	c := e.neutronClient(e.member)
	var seen struct {
		networks.Network
		external.NetworkExternalExt
	}
	require.NoError(t, networks.Get(ctx, c, public).ExtractInto(&seen))
	require.True(t, seen.External)
	net, sub := e.inner(t, "10.3.0.0/24")
	router, err := routers.Create(ctx, c, routers.CreateOpts{Name: "r", GatewayInfo: &routers.GatewayInfo{NetworkID: public}}).Extract()
	require.NoError(t, err)
	require.Equal(t, "198.51.100.2", router.GatewayInfo.ExternalFixedIPs[0].IPAddress)
	iface, err := routers.AddInterface(ctx, c, router.ID, routers.AddInterfaceOpts{SubnetID: sub}).Extract()
	require.NoError(t, err)
	require.Equal(t, sub, iface.SubnetID)
	routes := []routers.Route{{DestinationCIDR: "10.99.0.0/16", NextHop: "10.3.0.9"}}
	router, err = routers.Update(ctx, c, router.ID, routers.UpdateOpts{Routes: &routes}).Extract()
	require.NoError(t, err)
	require.Equal(t, routes, router.Routes)
	port, err := ports.Create(ctx, c, ports.CreateOpts{NetworkID: net}).Extract()
	require.NoError(t, err)
	floating, err := floatingips.Create(ctx, c, floatingips.CreateOpts{FloatingNetworkID: public, PortID: port.ID}).Extract()
	require.NoError(t, err)
	require.Equal(t, []string{"ACTIVE", "10.3.0.2", router.ID}, []string{floating.Status, floating.FixedIP, floating.RouterID})
	pages, err := floatingips.List(c, floatingips.ListOpts{PortID: port.ID}).AllPages(ctx)
	require.NoError(t, err)
	all, err := floatingips.ExtractFloatingIPs(pages)
	require.NoError(t, err)
	require.Len(t, all, 1)
	floating, err = floatingips.Update(ctx, c, floating.ID, floatingips.UpdateOpts{PortID: new(string)}).Extract()
	require.NoError(t, err)
	require.Empty(t, floating.PortID)

	require.NoError(t, floatingips.Delete(ctx, c, floating.ID).ExtractErr())
	_, err = routers.RemoveInterface(ctx, c, router.ID, routers.RemoveInterfaceOpts{SubnetID: sub}).Extract()
	require.True(t, gophercloud.ResponseCodeIs(err, 409), "a route goes there")
	_, err = routers.Update(ctx, c, router.ID, routers.UpdateOpts{Routes: &[]routers.Route{}}).Extract()
	require.NoError(t, err)
	_, err = routers.RemoveInterface(ctx, c, router.ID, routers.RemoveInterfaceOpts{SubnetID: sub}).Extract()
	require.NoError(t, err)
	require.NoError(t, routers.Delete(ctx, c, router.ID).ExtractErr())
	require.NoError(t, ports.Delete(ctx, c, port.ID).ExtractErr())
	require.NoError(t, networks.Delete(ctx, c, net).ExtractErr())
}
