package contract

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/common/extensions"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/aggregates"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/availabilityzones"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/hypervisors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/limits"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/quotasets"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servergroups"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/services"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/usage"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/pagination"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/test/system"
)

// TestClientsKeepWhatIsAroundServers has the clients make, change and delete each thing that the compute API keeps beside servers.
func TestClientsKeepWhatIsAroundServers(t *testing.T) {
	installed(t, "openstack", "python3-openstackclient")
	installed(t, "nova", "python3-novaclient")
	s := system.Start(t, system.Options{Hypervisor: "fake"})
	compute := system.Compute(t, s.Admin())
	demoID := projectOf(t, s.Demo())
	require.NoError(t, flavors.Create(t.Context(), compute, flavors.CreateOpts{ID: "small", Name: "small", VCPUs: 1, RAM: 64, Disk: ptr(1)}).Err)

	t.Run("gophercloud", func(t *testing.T) { gophercloudKeepsWhatIsAround(t, s, compute, demoID) })
	t.Run("openstack", func(t *testing.T) { theOpenStackCommandKeepsWhatIsAround(t, s) })
	t.Run("nova", func(t *testing.T) { theNovaCommandKeepsWhatIsAround(t, s) })
}

// projectOf is the project of a client's token.
func projectOf(t *testing.T, p *gophercloud.ProviderClient) string {
	t.Helper()
	identity, err := openstack.NewIdentityV3(p, gophercloud.EndpointOpts{Region: "RegionOne"})
	require.NoError(t, err)
	project, err := tokens.Get(t.Context(), identity, p.Token()).ExtractProject()
	require.NoError(t, err)
	return project.ID
}

func gophercloudKeepsWhatIsAround(t *testing.T, s *system.System, admin *gophercloud.ServiceClient, demoID string) {
	unchanged(t, s)
	ctx, demo := t.Context(), system.Compute(t, s.Demo())
	host := s.Hosts[0]

	own, err := flavors.Create(ctx, admin, flavors.CreateOpts{Name: "own", RAM: 64, VCPUs: 1, Disk: ptr(1), IsPublic: gophercloud.Disabled}).Extract()
	require.NoError(t, err)
	_, err = flavors.Get(ctx, demo, own.ID).Extract()
	refused(t, err, http.StatusNotFound)
	given, err := flavors.AddAccess(ctx, admin, own.ID, flavors.AddAccessOpts{Tenant: demoID}).Extract()
	require.NoError(t, err)
	require.Equal(t, []flavors.FlavorAccess{{FlavorID: own.ID, TenantID: demoID}}, given)
	require.Equal(t, given, all(t, flavors.ListAccesses(admin, own.ID), flavors.ExtractAccesses))
	_, err = flavors.Get(ctx, demo, own.ID).Extract()
	require.NoError(t, err)
	updated, err := flavors.Update(ctx, admin, own.ID, flavors.UpdateOpts{Description: "ours"}).Extract()
	require.NoError(t, err)
	require.Equal(t, "ours", updated.Description)
	specs, err := flavors.CreateExtraSpecs(ctx, admin, own.ID, flavors.ExtraSpecsOpts{"hw_rng:allowed": "True", "mine": "1"}).Extract()
	require.NoError(t, err)
	require.Len(t, specs, 2)
	spec, err := flavors.UpdateExtraSpec(ctx, admin, own.ID, flavors.ExtraSpecsOpts{"mine": "2"}).Extract()
	require.NoError(t, err)
	require.Equal(t, map[string]string{"mine": "2"}, spec)
	require.NoError(t, flavors.DeleteExtraSpec(ctx, admin, own.ID, "mine").ExtractErr())
	specs, err = flavors.ListExtraSpecs(ctx, demo, own.ID).Extract()
	require.NoError(t, err)
	require.Equal(t, map[string]string{"hw_rng:allowed": "True"}, specs)
	_, err = flavors.RemoveAccess(ctx, admin, own.ID, flavors.RemoveAccessOpts{Tenant: demoID}).Extract()
	require.NoError(t, err)
	require.NoError(t, flavors.Delete(ctx, admin, own.ID).ExtractErr())

	set, err := quotasets.Update(ctx, admin, demoID, quotasets.UpdateOpts{Cores: ptr(40), ServerGroups: ptr(2), ServerGroupMembers: ptr(3), MetadataItems: ptr(9)}).Extract()
	require.NoError(t, err)
	require.Equal(t, []int{40, 2, 3, 9}, []int{set.Cores, set.ServerGroups, set.ServerGroupMembers, set.MetadataItems})
	detail, err := quotasets.GetDetail(ctx, demo, demoID).Extract()
	require.NoError(t, err)
	require.Equal(t, quotasets.QuotaDetail{Limit: 2}, detail.ServerGroups)
	of, err := limits.Get(ctx, demo, nil).Extract()
	require.NoError(t, err)
	require.Equal(t, []int{2, 3, 9}, []int{of.Absolute.MaxServerGroups, of.Absolute.MaxServerGroupMembers, of.Absolute.MaxServerMeta})

	group, err := servergroups.Create(ctx, demo, servergroups.CreateOpts{Name: "apart", Policy: "anti-affinity", Rules: &servergroups.Rules{MaxServerPerHost: 1}}).Extract()
	require.NoError(t, err)
	require.Equal(t, "anti-affinity", *group.Policy)
	require.Len(t, all(t, servergroups.List(demo, nil), servergroups.ExtractServerGroups), 1)
	bytes, err := os.Open(noise(t, 1<<20))
	require.NoError(t, err)
	defer bytes.Close()
	image := system.Upload(t, system.Image(t, s.Demo()), images.CreateOpts{Name: "noise", DiskFormat: "raw", ContainerFormat: "bare"}, bytes)
	boot := func(name string, hints servers.SchedulerHintOpts) (*servers.Server, error) {
		return servers.Create(ctx, demo, servers.CreateOpts{Name: name, FlavorRef: "small", ImageRef: image, Networks: "none"}, hints).Extract()
	}
	ends := func(id, status string) *servers.Server {
		var now *servers.Server
		system.Eventually(t, commandPatience, func() (bool, string) {
			now, err = servers.Get(ctx, demo, id).Extract()
			require.NoError(t, err)
			return now.Status == status, now.Status + " " + now.Fault.Message
		})
		return now
	}
	first, err := boot("first", servers.SchedulerHintOpts{Group: group.ID})
	require.NoError(t, err)
	ends(first.ID, "ACTIVE")
	second, err := boot("second", servers.SchedulerHintOpts{Group: group.ID})
	require.NoError(t, err)
	require.Contains(t, ends(second.ID, "ERROR").Fault.Message, "ServerGroupAntiAffinityFilter removed 1: "+host+" (holds 1 of the server's group, which is apart)")
	_, err = boot("third", servers.SchedulerHintOpts{SameHost: []string{"3f1c27a5-1111-4222-8333-123456789abc"}})
	refused(t, err, http.StatusBadRequest)
	near, err := boot("near", servers.SchedulerHintOpts{SameHost: []string{first.ID}, Query: []any{">=", "$free_ram_mb", 1}})
	require.NoError(t, err)
	ends(near.ID, "ACTIVE")
	group, err = servergroups.Get(ctx, demo, group.ID).Extract()
	require.NoError(t, err)
	require.ElementsMatch(t, []string{first.ID, second.ID}, group.Members)

	launched := []string{} // by its pages: it finds no list in them that it could put together
	err = usage.SingleTenant(demo, demoID, usage.SingleTenantOpts{Start: ptr(time.Now().UTC().Add(-time.Hour)), Limit: 1}).
		EachPage(ctx, func(_ context.Context, page pagination.Page) (bool, error) {
			used, err := usage.ExtractSingleTenant(page)
			require.NoError(t, err)
			for _, v := range used.ServerUsages {
				launched = append(launched, v.InstanceID)
			}
			return true, nil
		})
	require.NoError(t, err)
	require.ElementsMatch(t, []string{first.ID, near.ID}, launched)
	for _, v := range []string{first.ID, second.ID, near.ID} {
		require.NoError(t, servers.Delete(ctx, demo, v).ExtractErr())
		system.Eventually(t, commandPatience, func() (bool, string) {
			err := servers.Get(ctx, demo, v).Err
			return gophercloud.ResponseCodeIs(err, http.StatusNotFound), "still there"
		})
	}
	require.NoError(t, images.Delete(ctx, system.Image(t, s.Demo()), image).ExtractErr())
	require.NoError(t, servergroups.Delete(ctx, demo, group.ID).ExtractErr())
	require.NoError(t, quotasets.Delete(ctx, admin, demoID).Err)

	made, err := aggregates.Create(ctx, admin, aggregates.CreateOpts{Name: "east", AvailabilityZone: "east"}).Extract()
	require.NoError(t, err)
	_, err = aggregates.AddHost(ctx, admin, made.ID, aggregates.AddHostOpts{Host: host}).Extract()
	require.NoError(t, err)
	with, err := aggregates.SetMetadata(ctx, admin, made.ID, aggregates.SetMetadataOpts{Metadata: map[string]any{"disk": "ssd"}}).Extract()
	require.NoError(t, err)
	require.Equal(t, []any{[]string{host}, map[string]string{"availability_zone": "east", "disk": "ssd"}}, []any{with.Hosts, with.Metadata})
	zones := all(t, availabilityzones.List(demo), availabilityzones.ExtractAvailabilityZones)
	require.Equal(t, "east", zones[0].ZoneName)
	_, err = aggregates.Update(ctx, admin, made.ID, aggregates.UpdateOpts{Name: "orient", AvailabilityZone: "orient"}).Extract()
	require.NoError(t, err)
	_, err = aggregates.RemoveHost(ctx, admin, made.ID, aggregates.RemoveHostOpts{Host: host}).Extract()
	require.NoError(t, err)
	require.Len(t, all(t, aggregates.List(admin), aggregates.ExtractAggregates), 1)
	require.NoError(t, aggregates.Delete(ctx, admin, made.ID).ExtractErr())

	running := all(t, services.List(admin, nil), services.ExtractServices)
	require.Len(t, running, 1)
	down, err := services.Update(ctx, admin, running[0].ID, services.UpdateOpts{Status: services.ServiceDisabled, DisabledReason: "memory", ForcedDown: true}).Extract()
	require.NoError(t, err)
	require.Equal(t, []any{"disabled", "memory", true, "down"}, []any{down.Status, down.DisabledReason, down.ForcedDown, down.State})
	_, err = services.Update(ctx, admin, running[0].ID, services.UpdateOpts{Status: services.ServiceEnabled}).Extract()
	require.NoError(t, err)
	// Its options leave out what is false.
	_, err = admin.Put(ctx, admin.ServiceURL("os-services", running[0].ID), map[string]any{"forced_down": false}, nil, &gophercloud.RequestOpts{OkCodes: []int{200}}) //nolint:bodyclose // it is read and closed
	require.NoError(t, err)
	old := *admin
	old.Microversion = "2.52"
	hv := all(t, hypervisors.List(&old, nil), hypervisors.ExtractHypervisors)
	require.Equal(t, "127.0.0.1", hv[0].HostIP)
	require.NotEmpty(t, hv[0].CPUInfo.Features)
	up, err := hypervisors.GetUptime(ctx, &old, hv[0].ID).Extract()
	require.NoError(t, err)
	require.Contains(t, up.Uptime, "load average: ")
	require.NotEmpty(t, all(t, extensions.List(demo), extensions.ExtractExtensions))
}

func theOpenStackCommandKeepsWhatIsAround(t *testing.T, s *system.System) {
	unchanged(t, s)
	admin := python(t, s, "openstackclient", "admin", system.AdminPassword)
	admin.before = []string{"--os-compute-api-version", "2.88"}
	type row map[string]any
	one := func(args ...string) (made row) {
		require.NoError(t, json.Unmarshal([]byte(admin.run(append(args, "-f", "json")...)), &made), "%v", args)
		return made
	}
	names := func(args ...string) (list []any) {
		var rows []row
		require.NoError(t, json.Unmarshal([]byte(admin.run(append(args, "-f", "json")...)), &rows), "%v", args)
		for _, r := range rows {
			list = append(list, r["Name"])
		}
		return list
	}
	host := s.Hosts[0]

	admin.run("flavor", "create", "--ram", "64", "--disk", "1", "--private", "--project", "demo", "--property", "hw_rng:allowed=True", "own")
	admin.run("flavor", "set", "own", "--description", "ours", "--property", "mine=1")
	require.Equal(t, "ours", one("flavor", "show", "own")["description"])
	admin.run("flavor", "unset", "own", "--property", "mine", "--project", "demo")
	require.Equal(t, map[string]any{"hw_rng:allowed": "True"}, one("flavor", "show", "own")["properties"])
	admin.refused("bogus", "flavor", "set", "own", "--property", "hw:cpu_policy=bogus")
	admin.run("flavor", "delete", "own")

	one("server", "group", "create", "--policy", "anti-affinity", "--rule", "max_server_per_host=2", "apart")
	require.Equal(t, "anti-affinity", one("server", "group", "show", "apart")["policy"])
	require.Equal(t, []any{"apart"}, names("server", "group", "list"))
	admin.run("server", "group", "delete", "apart")

	one("aggregate", "create", "--zone", "east", "--property", "disk=ssd", "rack-b")
	admin.run("aggregate", "add", "host", "rack-b", host)
	require.Contains(t, admin.run("availability", "zone", "list", "--compute"), "east")
	admin.run("aggregate", "set", "--property", "gpu=no", "rack-b")
	admin.run("aggregate", "unset", "--property", "gpu", "rack-b")
	require.Equal(t, []any{host}, one("aggregate", "show", "rack-b")["hosts"])
	admin.run("aggregate", "remove", "host", "rack-b", host)
	admin.run("aggregate", "delete", "rack-b")

	admin.run("compute", "service", "set", "--disable", "--disable-reason", "memory", host, "nova-compute")
	require.Contains(t, admin.run("compute", "service", "list", "--long"), "memory")
	admin.run("compute", "service", "set", "--enable", host, "nova-compute")
	admin.run("compute", "service", "set", "--down", host, "nova-compute")
	require.Contains(t, admin.run("compute", "service", "list"), "down")
	admin.run("compute", "service", "set", "--up", host, "nova-compute")
	require.Contains(t, admin.run("hypervisor", "list"), host)
	require.Contains(t, admin.run("extension", "list", "--compute"), "os-server-groups")
	admin.run("usage", "list")
	admin.run("usage", "show", "--project", "demo")
}

func theNovaCommandKeepsWhatIsAround(t *testing.T, s *system.System) {
	nova := python(t, s, "novaclient", "admin", system.AdminPassword)
	project := projectOf(t, s.Demo())
	at := func(version string, args ...string) string {
		t.Helper()
		return nova.run(append([]string{"--os-compute-api-version", version}, args...)...)
	}
	host := s.Hosts[0]
	at("2.88", "quota-update", project, "--cores", "41", "--server-groups", "4")
	require.Contains(t, at("2.88", "quota-show", "--tenant", project), "41")
	at("2.35", "quota-update", project, "--floating-ips", "7", "--injected-files", "3")
	require.Contains(t, at("2.35", "quota-show", "--tenant", project), "| 7 ")
	at("2.88", "quota-delete", "--tenant", project)
	at("2.88", "quota-class-update", "gold", "--instances", "12")
	require.Contains(t, at("2.88", "quota-class-show", "gold"), "12")

	at("2.88", "server-group-create", "near", "affinity")
	group := column(at("2.88", "server-group-list"), "Id")
	require.Len(t, group, 1)
	at("2.88", "server-group-delete", group[0])

	at("2.88", "aggregate-create", "rack-c", "west")
	at("2.88", "aggregate-add-host", "rack-c", host)
	at("2.88", "aggregate-set-metadata", "rack-c", "disk=hdd")
	require.Contains(t, at("2.88", "aggregate-show", "rack-c"), "disk=hdd")
	at("2.88", "aggregate-remove-host", "rack-c", host)
	at("2.88", "aggregate-delete", "rack-c")

	at("2.52", "hypervisor-servers", host)
	at("2.52", "service-disable", host, "--reason", "disk")
	require.Contains(t, at("2.52", "service-list"), "disk")
	at("2.52", "service-enable", host)
	at("2.52", "service-force-down", host)
	at("2.52", "service-force-down", "--unset", host)
	at("2.88", "usage", "--tenant", project)
	at("2.88", "usage-list")
	at("2.88", "instance-usage-audit-log")
	at("2.54", "flavor-key", "small", "set", "mine=1")
	at("2.54", "flavor-key", "small", "unset", "mine")
	at("2.55", "flavor-update", "small", "for tests")
	at("2.88", "limits", "--tenant", project)
}
