package contract

import (
	"io"
	"net/http"
	"os"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/availabilityzones"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/diagnostics"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/hypervisors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/instanceactions"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/keypairs"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/limits"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/quotasets"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/services"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/tags"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/catalog"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/projects"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/roles"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/users"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/attributestags"
	networkquotas "github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/quotas"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
	"github.com/gophercloud/gophercloud/v2/pagination"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/test/system"
)

func ptr[T any](v T) *T { return &v }

// all reads every page of a listing.
func all[T any](t *testing.T, list pagination.Pager, extract func(pagination.Page) ([]T, error)) []T {
	t.Helper()
	pages, err := list.AllPages(t.Context())
	require.NoError(t, err)
	items, err := extract(pages)
	require.NoError(t, err)
	return items
}

// refused holds that a call was answered with a status.
func refused(t *testing.T, err error, status int) {
	t.Helper()
	require.Error(t, err)
	require.True(t, gophercloud.ResponseCodeIs(err, status), "%d expected: %v", status, err)
}

// TestGophercloudCallsWhatThereIs makes each call of gophercloud that Slipway answers, as one story, and looks at what the
// library made of the answer.
func TestGophercloudCallsWhatThereIs(t *testing.T) {
	s := system.Start(t, system.Options{Hypervisor: "fake"})
	unchanged(t, s)
	ctx := t.Context()
	admin, demo := s.Admin(), s.Demo()
	compute, adminCompute := system.Compute(t, demo), system.Compute(t, admin)
	image, network := system.Image(t, demo), system.Network(t, demo)

	identity, err := openstack.NewIdentityV3(demo, gophercloud.EndpointOpts{Region: "RegionOne"})
	require.NoError(t, err)
	adminIdentity, err := openstack.NewIdentityV3(admin, gophercloud.EndpointOpts{Region: "RegionOne"})
	require.NoError(t, err)
	var projectID string
	{ // identity
		token := tokens.Get(ctx, identity, demo.Token())
		user, err := token.ExtractUser()
		require.NoError(t, err)
		require.Equal(t, "demo", user.Name)
		project, err := token.ExtractProject()
		require.NoError(t, err)
		projectID = project.ID
		of, err := token.ExtractRoles()
		require.NoError(t, err)
		names := []string{}
		for _, role := range of {
			names = append(names, role.Name)
		}
		require.ElementsMatch(t, []string{"member", "reader"}, names, "as in Keystone a member is a reader too")
		valid, err := tokens.Validate(ctx, identity, demo.Token())
		require.NoError(t, err)
		require.True(t, valid)
		require.NotEmpty(t, all(t, catalog.List(identity), catalog.ExtractServiceCatalog))
		require.Len(t, all(t, projects.ListAvailable(identity), projects.ExtractProjects), 1)
		require.Len(t, all(t, projects.List(adminIdentity, nil), projects.ExtractProjects), 2)
		require.Len(t, all(t, users.List(adminIdentity, nil), users.ExtractUsers), 2)
		require.NotEmpty(t, all(t, roles.List(adminIdentity, nil), roles.ExtractRoles))
		_, err = users.List(identity, nil).AllPages(ctx)
		refused(t, err, http.StatusForbidden)

		another := s.Demo()
		another.ReauthFunc = nil
		require.NoError(t, tokens.Revoke(ctx, identity, another.Token()).Err)
		_, err = images.List(system.Image(t, another), nil).AllPages(ctx)
		refused(t, err, http.StatusUnauthorized)
	}

	bytes, err := os.ReadFile(noise(t, 1<<20))
	require.NoError(t, err)
	var imageID string
	{ // images
		made, err := images.Create(ctx, image, images.CreateOpts{
			Name: "noise", DiskFormat: "raw", ContainerFormat: "bare", Tags: []string{"one"}, Properties: map[string]string{"os_distro": "none"},
		}).Extract()
		require.NoError(t, err)
		imageID = made.ID
		require.Equal(t, images.ImageStatusQueued, made.Status)
		require.NoError(t, imagedata.Upload(ctx, image, imageID, reader(bytes)).ExtractErr())
		got, err := images.Get(ctx, image, imageID).Extract()
		require.NoError(t, err)
		require.Equal(t, images.ImageStatusActive, got.Status)
		require.EqualValues(t, len(bytes), got.SizeBytes)
		require.Equal(t, "none", got.Properties["os_distro"])
		updated, err := images.Update(ctx, image, imageID, images.UpdateOpts{
			images.ReplaceImageName{NewName: "noise 2"}, images.ReplaceImageTags{NewTags: []string{"two"}},
			images.UpdateImageProperty{Op: images.AddOp, Name: "hw_disk_bus", Value: "virtio"},
		}).Extract()
		require.NoError(t, err)
		require.Equal(t, "noise 2", updated.Name)
		require.Equal(t, []string{"two"}, updated.Tags)
		require.Equal(t, "virtio", updated.Properties["hw_disk_bus"])
		require.Len(t, all(t, images.List(image, images.ListOpts{Name: "noise 2", Tags: []string{"two"}}), images.ExtractImages), 1)
		require.Empty(t, all(t, images.List(image, images.ListOpts{Name: "noise"}), images.ExtractImages))
		body, err := imagedata.Download(ctx, image, imageID).Extract()
		require.NoError(t, err)
		downloaded, err := io.ReadAll(body)
		require.NoError(t, err)
		require.True(t, string(bytes) == string(downloaded), "another image came back")
		refused(t, imagedata.Upload(ctx, image, imageID, reader(bytes)).ExtractErr(), http.StatusConflict)
	}

	var networkID, portID, quietID string // quiet: without an address
	{                                     // networks
		n, err := networks.Create(ctx, network, networks.CreateOpts{Name: "private"}).Extract()
		require.NoError(t, err)
		networkID = n.ID
		subnet, err := subnets.Create(ctx, network, subnets.CreateOpts{
			NetworkID: n.ID, Name: "of private", CIDR: "192.0.2.0/28", IPVersion: gophercloud.IPv4,
			AllocationPools: []subnets.AllocationPool{{Start: "192.0.2.4", End: "192.0.2.6"}}, DNSNameservers: []string{"192.0.2.2"},
		}).Extract()
		require.NoError(t, err)
		got, err := subnets.Get(ctx, network, subnet.ID).Extract()
		require.NoError(t, err)
		require.Equal(t, "192.0.2.0/28", got.CIDR)
		require.Len(t, all(t, subnets.List(network, subnets.ListOpts{NetworkID: n.ID}), subnets.ExtractSubnets), 1)
		p, err := ports.Create(ctx, network, ports.CreateOpts{
			NetworkID: n.ID, Name: "mine", FixedIPs: []ports.IP{{SubnetID: subnet.ID, IPAddress: "192.0.2.6"}},
		}).Extract()
		require.NoError(t, err)
		portID = p.ID
		require.Equal(t, "192.0.2.6", p.FixedIPs[0].IPAddress)
		quiet, err := ports.Create(ctx, network, ports.CreateOpts{NetworkID: n.ID, Name: "quiet", FixedIPs: []ports.IP{}}).Extract()
		require.NoError(t, err)
		require.Empty(t, quiet.FixedIPs)
		quietID = quiet.ID
		port, err := ports.Get(ctx, network, portID).Extract()
		require.NoError(t, err)
		require.Equal(t, p.MACAddress, port.MACAddress)
		require.Len(t, all(t, ports.List(network, ports.ListOpts{NetworkID: n.ID}), ports.ExtractPorts), 2)
		require.Len(t, all(t, networks.List(network, networks.ListOpts{}), networks.ExtractNetworks), 2, "the shared one too")
		refused(t, networks.Delete(ctx, network, networkID).ExtractErr(), http.StatusConflict)

		renamed, err := networks.Update(ctx, network, networkID, networks.UpdateOpts{Description: ptr("of demo"), RevisionNumber: ptr(n.RevisionNumber)}).Extract()
		require.NoError(t, err)
		require.Equal(t, []any{"of demo", n.RevisionNumber + 1}, []any{renamed.Description, renamed.RevisionNumber})
		refused(t, networks.Update(ctx, network, networkID, networks.UpdateOpts{Name: ptr("x"), RevisionNumber: ptr(n.RevisionNumber)}).Err, http.StatusPreconditionFailed)
		routed, err := subnets.Update(ctx, network, subnet.ID, subnets.UpdateOpts{
			HostRoutes:      &[]subnets.HostRoute{{DestinationCIDR: "198.51.100.0/24", NextHop: "192.0.2.9"}},
			AllocationPools: []subnets.AllocationPool{{Start: "192.0.2.4", End: "192.0.2.6"}, {Start: "192.0.2.10", End: "192.0.2.12"}},
		}).Extract()
		require.NoError(t, err)
		require.Len(t, routed.AllocationPools, 2)
		require.Equal(t, []subnets.HostRoute{{DestinationCIDR: "198.51.100.0/24", NextHop: "192.0.2.9"}}, routed.HostRoutes)
		named, err := ports.Update(ctx, network, portID, ports.UpdateOpts{Name: ptr("still mine"), SecurityGroups: &[]string{}}).Extract()
		require.NoError(t, err)
		require.Equal(t, []any{"still mine", 0}, []any{named.Name, len(named.SecurityGroups)})
		tagged, err := attributestags.ReplaceAll(ctx, network, "ports", portID, attributestags.ReplaceAllOpts{Tags: []string{"front"}}).Extract()
		require.NoError(t, err)
		require.Equal(t, []string{"front"}, tagged)
		require.Len(t, all(t, ports.List(network, ports.ListOpts{Tags: "front"}), ports.ExtractPorts), 1)
		several, err := networkquotas.GetDetail(ctx, network, n.ProjectID).Extract()
		require.NoError(t, err)
		require.Equal(t, []int{2, 500}, []int{several.Port.Used, several.Port.Limit})
	}

	flavor, err := flavors.Create(ctx, adminCompute, flavors.CreateOpts{Name: "m1.nano", RAM: 64, VCPUs: 1, Disk: ptr(1)}).Extract()
	require.NoError(t, err)
	{ // what surrounds a server
		_, err = flavors.Create(ctx, compute, flavors.CreateOpts{Name: "mine", RAM: 64, VCPUs: 1, Disk: ptr(1)}).Extract()
		refused(t, err, http.StatusForbidden)
		_, err := flavors.CreateExtraSpecs(ctx, adminCompute, flavor.ID, flavors.ExtraSpecsOpts{"hw:mem_page_size": "small"}).Extract()
		require.NoError(t, err)
		specs, err := flavors.ListExtraSpecs(ctx, compute, flavor.ID).Extract()
		require.NoError(t, err)
		require.Equal(t, map[string]string{"hw:mem_page_size": "small"}, specs)
		require.Len(t, all(t, flavors.ListDetail(compute, nil), flavors.ExtractFlavors), 1)
		got, err := flavors.Get(ctx, compute, flavor.ID).Extract()
		require.NoError(t, err)
		require.Equal(t, 64, got.RAM)

		_, err = keypairs.Create(ctx, compute, keypairs.CreateOpts{Name: "laptop", PublicKey: publicKey}).Extract()
		require.NoError(t, err)
		_, err = keypairs.Create(ctx, compute, keypairs.CreateOpts{Name: "laptop", PublicKey: publicKey}).Extract()
		refused(t, err, http.StatusConflict)
		require.Len(t, all(t, keypairs.List(compute, nil), keypairs.ExtractKeyPairs), 1)
		key, err := keypairs.Get(ctx, compute, "laptop", nil).Extract()
		require.NoError(t, err)
		require.Equal(t, publicKey, key.PublicKey)
		require.NotEmpty(t, key.Fingerprint)

		require.Len(t, all(t, availabilityzones.List(compute), availabilityzones.ExtractAvailabilityZones), 1)
		require.NotEmpty(t, all(t, services.List(adminCompute, nil), services.ExtractServices))
		found := all(t, hypervisors.List(adminCompute, nil), hypervisors.ExtractHypervisors)
		require.Len(t, found, 1)
		require.Equal(t, s.Hosts[0], found[0].HypervisorHostname)
		one, err := hypervisors.Get(ctx, adminCompute, found[0].ID).Extract()
		require.NoError(t, err)
		require.Equal(t, found[0].HypervisorHostname, one.HypervisorHostname)
		older := *adminCompute
		older.Microversion = "2.87" // Nova took the statistics away with 2.88
		sum, err := hypervisors.GetStatistics(ctx, &older).Extract()
		require.NoError(t, err)
		require.Equal(t, 1, sum.Count)
		_, err = hypervisors.List(compute, nil).AllPages(ctx)
		refused(t, err, http.StatusForbidden)
	}

	{ // a server
		made, err := servers.Create(ctx, compute, keypairs.CreateOptsExt{KeyName: "laptop", CreateOptsBuilder: servers.CreateOpts{
			Name: "web", ImageRef: imageID, FlavorRef: flavor.ID, Networks: []servers.Network{{Port: portID}, {UUID: networkID}, {Port: quietID}},
			Metadata: map[string]string{"role": "web"}, Tags: []string{"blue", "red"}, ConfigDrive: ptr(true), UserData: []byte("#!/bin/sh\n"),
		}}, nil).Extract()
		require.NoError(t, err)
		require.NoError(t, servers.WaitForStatus(ctx, compute, made.ID, "ACTIVE"))
		got, err := servers.Get(ctx, compute, made.ID).Extract()
		require.NoError(t, err)
		require.Equal(t, "web", got.Name)
		require.Len(t, got.Addresses["private"], 2)
		require.Equal(t, "m1.nano", got.Flavor["original_name"])
		require.Len(t, all(t, servers.List(compute, servers.ListOpts{Status: "ACTIVE", Name: "web"}), servers.ExtractServers), 1)
		require.Len(t, all(t, servers.ListSimple(compute, nil), servers.ExtractServers), 1)
		require.Len(t, all(t, servers.List(adminCompute, servers.ListOpts{AllTenants: true, Host: s.Hosts[0]}), servers.ExtractServers), 1)
		require.Empty(t, all(t, servers.List(adminCompute, nil), servers.ExtractServers), "another project's")
		_, err = servers.Get(ctx, system.Compute(t, admin), "00000000-0000-4000-8000-000000000000").Extract()
		refused(t, err, http.StatusNotFound)

		metadata, err := servers.Metadata(ctx, compute, made.ID).Extract()
		require.NoError(t, err)
		require.Equal(t, map[string]string{"role": "web"}, metadata)
		item, err := servers.Metadatum(ctx, compute, made.ID, "role").Extract()
		require.NoError(t, err)
		require.Equal(t, map[string]string{"role": "web"}, item)
		of, err := tags.List(ctx, compute, made.ID).Extract()
		require.NoError(t, err)
		require.Equal(t, []string{"blue", "red"}, of)
		has, err := tags.Check(ctx, compute, made.ID, "blue").Extract()
		require.NoError(t, err)
		require.True(t, has)
		pages, err := servers.ListAddresses(compute, made.ID).AllPages(ctx)
		require.NoError(t, err)
		addresses, err := servers.ExtractAddresses(pages)
		require.NoError(t, err)
		require.Equal(t, "192.0.2.6", addresses["private"][0].Address)
		says(t, s, made.ID, "hello\n")
		console, err := servers.ShowConsoleOutput(ctx, compute, made.ID, servers.ShowConsoleOutputOpts{Length: 10}).Extract()
		require.NoError(t, err)
		require.Equal(t, "hello\n", console)
		actions := all(t, instanceactions.List(compute, made.ID, nil), instanceactions.ExtractInstanceActions)
		require.Len(t, actions, 1)
		action, err := instanceactions.Get(ctx, compute, made.ID, actions[0].RequestID).Extract()
		require.NoError(t, err)
		require.NotEmpty(t, *action.Events)
		refused(t, servers.ChangeAdminPassword(ctx, compute, made.ID, "s3cret").ExtractErr(), 409)
		counted, err := diagnostics.Get(ctx, adminCompute, made.ID).Extract()
		require.NoError(t, err)
		require.Equal(t, "running", counted["state"])

		absolute, err := limits.Get(ctx, compute, nil).Extract()
		require.NoError(t, err)
		require.Equal(t, 1, absolute.Absolute.TotalInstancesUsed)
		quota, err := quotasets.GetDetail(ctx, compute, projectID).Extract()
		require.NoError(t, err)
		require.Equal(t, 1, quota.Instances.InUse)
		bound, err := ports.Get(ctx, network, portID).Extract()
		require.NoError(t, err)
		require.Equal(t, made.ID, bound.DeviceID)
		refused(t, ports.Delete(ctx, network, portID).ExtractErr(), http.StatusConflict)

		require.NoError(t, servers.Delete(ctx, compute, made.ID).ExtractErr())
		system.Eventually(t, commandPatience, func() (bool, string) {
			_, err := servers.Get(ctx, compute, made.ID).Extract()
			return gophercloud.ResponseCodeIs(err, http.StatusNotFound), "the server is still there"
		})
		free, err := ports.Get(ctx, network, portID).Extract()
		require.NoError(t, err, "a port that the user made outlives the server")
		require.Empty(t, free.DeviceID)
	}

	{ // an admin boots what it sees of other projects, and a name of any script has a hostname
		theirs := *system.Compute(t, admin)
		theirs.Microversion = "2.90"
		made, err := servers.Create(ctx, &theirs, servers.CreateOpts{Name: "日本", ImageRef: imageID, FlavorRef: flavor.ID, Networks: "none"}, nil).Extract()
		require.NoError(t, err)
		require.NoError(t, servers.WaitForStatus(ctx, &theirs, made.ID, "ACTIVE"))
		got, err := servers.Get(ctx, &theirs, made.ID).Extract()
		require.NoError(t, err)
		require.Equal(t, "Server-"+made.ID, *got.Hostname)
		require.NoError(t, servers.Delete(ctx, &theirs, made.ID).ExtractErr())
		system.Eventually(t, commandPatience, func() (bool, string) {
			_, err := servers.Get(ctx, &theirs, made.ID).Extract()
			return gophercloud.ResponseCodeIs(err, http.StatusNotFound), "the admin's server is still there"
		})
	}

	{ // quota
		set, err := quotasets.Update(ctx, adminCompute, projectID, quotasets.UpdateOpts{Instances: ptr(0)}).Extract()
		require.NoError(t, err)
		require.Zero(t, set.Instances)
		_, err = servers.Create(ctx, compute, servers.CreateOpts{Name: "none", ImageRef: imageID, FlavorRef: flavor.ID, Networks: "none"}, nil).Extract()
		refused(t, err, http.StatusForbidden)
		require.ErrorContains(t, err, "Quota exceeded for instances")
		require.NoError(t, quotasets.Delete(ctx, adminCompute, projectID).Err)
		back, err := quotasets.Get(ctx, compute, projectID).Extract()
		require.NoError(t, err)
		require.Equal(t, 10, back.Instances)
	}

	require.NoError(t, ports.Delete(ctx, network, portID).ExtractErr())
	require.NoError(t, ports.Delete(ctx, network, quietID).ExtractErr())
	require.NoError(t, networks.Delete(ctx, network, networkID).ExtractErr())
	require.NoError(t, keypairs.Delete(ctx, compute, "laptop", nil).ExtractErr())
	require.NoError(t, flavors.Delete(ctx, adminCompute, flavor.ID).ExtractErr())
	require.NoError(t, images.Delete(ctx, image, imageID).ExtractErr())
}
