package contract

import (
	"fmt"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/projects"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/test/system"
)

// TestAProjectGoesWithAllThatItOwnsThroughAKilledWorker purges a project with a server that runs, where deletes are deferred, an image, a
// network and a port, and kills the worker meanwhile.
func TestAProjectGoesWithAllThatItOwnsThroughAKilledWorker(t *testing.T) {
	s := system.Start(t, system.Options{Hypervisor: "fake", Settings: map[string]any{
		"housekeeping": map[string]any{"every": "1s"}, "build": map[string]any{"reclaim_interval": "1h"},
	}})
	ctx, demo := t.Context(), s.Demo()
	s.Flavor(t, "small", 64)
	image := system.Upload(t, system.Image(t, demo), images.CreateOpts{Name: "noise"}, reader(make([]byte, 1<<20)))
	network := system.Network(t, demo)
	own, err := networks.Create(ctx, network, networks.CreateOpts{Name: "own"}).Extract()
	require.NoError(t, err)
	_, err = subnets.Create(ctx, network, subnets.CreateOpts{NetworkID: own.ID, CIDR: "10.9.0.0/24", IPVersion: 4}).Extract()
	require.NoError(t, err)
	port, err := ports.Create(ctx, network, ports.CreateOpts{NetworkID: own.ID}).Extract()
	require.NoError(t, err)
	compute := system.Compute(t, demo)
	made, err := servers.Create(ctx, compute, servers.CreateOpts{
		Name: "web", ImageRef: image, FlavorRef: "small", Networks: []servers.Network{{UUID: own.ID}, {Port: port.ID}},
	}, nil).Extract()
	require.NoError(t, err)
	system.Eventually(t, commandPatience, func() (bool, string) {
		now, err := servers.Get(ctx, compute, made.ID).Extract()
		require.NoError(t, err)
		return now.Status == "ACTIVE", now.Status
	})

	identity, err := openstack.NewIdentityV3(s.Admin(), gophercloud.EndpointOpts{})
	require.NoError(t, err)
	found := all(t, projects.List(identity, projects.ListOpts{Name: "demo"}), projects.ExtractProjects)
	require.Len(t, found, 1)
	_, stderr, code := s.Slipway(t, "project", "delete", "demo")
	require.NotZero(t, code)
	require.Contains(t, stderr, "owns 1 server, 1 image, 1 network, 2 ports")
	_, stderr, code = s.Slipway(t, "project", "delete", "demo", "--purge")
	require.Zero(t, code, stderr)
	s.Kill("worker")
	require.ErrorContains(t, servers.Get(ctx, compute, made.ID).Err, "Unable to re-authenticate")

	system.Eventually(t, commandPatience, func() (bool, string) {
		p, err := projects.Get(ctx, identity, found[0].ID).Extract()
		if gophercloud.ResponseCodeIs(err, 404) {
			return true, ""
		}
		require.NoError(t, err)
		require.False(t, p.Enabled)
		return false, fmt.Sprintf("project %s is there still", p.Name)
	})
	left := s.World(t)
	for _, table := range []string{"servers", "images", "networks", "subnets", "ports", "fixed_ips", "claims", "placements", "server_specs"} {
		for _, row := range left[table] {
			require.NotContains(t, row, found[0].ID, table)
			require.NotContains(t, row, made.ID, table)
		}
	}
}
