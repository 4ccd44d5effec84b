package compute_test

import (
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/hypervisors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/keypairs"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/apitest"
)

func TestGophercloudFindsItsWay(t *testing.T) {
	c := newCloud(t)
	ctx := t.Context()
	client := func(u apitest.User, kind, path, version string) *gophercloud.ServiceClient {
		return &gophercloud.ServiceClient{
			ProviderClient: &gophercloud.ProviderClient{TokenID: u.Token}, Endpoint: c.URL + path, Type: kind, Microversion: version,
		}
	}
	nova, neutron := client(c.member, "compute", "/compute/v2.1/", "2.96"), client(c.member, "network", "", "")
	neutron.ResourceBase = c.URL + "/network/v2.0/"
	admin := client(c.admin, "compute", "/compute/v2.1/", "2.53")

	made, err := flavors.Create(ctx, client(c.admin, "compute", "/compute/v2.1/", "2.61"), flavors.CreateOpts{Name: "m1.medium", ID: "3", RAM: 4096, VCPUs: 2, Disk: gophercloud.IntToPointer(40)}).Extract()
	require.NoError(t, err)
	pages, err := flavors.ListDetail(nova, nil).AllPages(ctx)
	require.NoError(t, err)
	all, err := flavors.ExtractFlavors(pages)
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, *made, all[1])

	k, err := keypairs.Create(ctx, nova, keypairs.CreateOpts{Name: "mine", PublicKey: key}).Extract()
	require.NoError(t, err)
	require.Equal(t, "mine", k.Name)

	network, err := networks.Create(ctx, neutron, networks.CreateOpts{Name: "ours", AdminStateUp: gophercloud.Enabled}).Extract()
	require.NoError(t, err)
	subnet, err := subnets.Create(ctx, neutron, subnets.CreateOpts{NetworkID: network.ID, CIDR: "10.7.0.0/24", IPVersion: gophercloud.IPv4, Name: "ours"}).Extract()
	require.NoError(t, err)
	require.Equal(t, "10.7.0.1", subnet.GatewayIP)
	require.Equal(t, []subnets.AllocationPool{{Start: "10.7.0.2", End: "10.7.0.254"}}, subnet.AllocationPools)
	port, err := ports.Create(ctx, neutron, ports.CreateOpts{NetworkID: network.ID, Name: "front", FixedIPs: []ports.IP{{SubnetID: subnet.ID, IPAddress: "10.7.0.9"}}}).Extract()
	require.NoError(t, err)
	require.Equal(t, "10.7.0.9", port.FixedIPs[0].IPAddress)

	server, err := servers.Create(ctx, nova, keypairs.CreateOptsExt{KeyName: "mine", CreateOptsBuilder: servers.CreateOpts{
		Name: "web", FlavorRef: "3", ImageRef: c.image, Networks: []servers.Network{{Port: port.ID}}, UserData: []byte("#cloud-config"), Tags: []string{"blue"},
	}}, nil).Extract()
	require.NoError(t, err)
	require.NotEmpty(t, server.AdminPass)
	in := c.builds.take()[0]
	require.Equal(t, []string{server.ID, port.ID, "#cloud-config"}, []string{in.ServerID, in.Networks[0].PortID, string(in.UserData)})
	_, err = servers.Create(ctx, nova, servers.CreateOpts{Name: "web", FlavorRef: "9", ImageRef: c.image, Networks: "none"}, nil).Extract()
	require.True(t, gophercloud.ResponseCodeIs(err, 400), err)

	row := c.row(t, c.member, "row", time.Now())
	got, err := servers.Get(ctx, nova, row.ID).Extract()
	require.NoError(t, err)
	require.Equal(t, []string{"row", "BUILD", c.member.ProjectID}, []string{got.Name, got.Status, got.TenantID})
	list, err := servers.List(nova, servers.ListOpts{Name: "^row$"}).AllPages(ctx)
	require.NoError(t, err)
	found, err := servers.ExtractServers(list)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.NoError(t, servers.Delete(ctx, nova, row.ID).ExtractErr())
	require.Equal(t, row.ID, c.builds.deleted[0].ServerID)

	hosts, err := hypervisors.List(admin, nil).AllPages(ctx)
	require.NoError(t, err)
	hv, err := hypervisors.ExtractHypervisors(hosts)
	require.NoError(t, err)
	require.Equal(t, "hv1", hv[0].HypervisorHostname)
	require.Equal(t, 8192, hv[0].MemoryMB)

	require.NoError(t, ports.Delete(ctx, neutron, port.ID).ExtractErr())
	require.NoError(t, subnets.Delete(ctx, neutron, subnet.ID).ExtractErr())
	require.NoError(t, networks.Delete(ctx, neutron, network.ID).ExtractErr())
}
