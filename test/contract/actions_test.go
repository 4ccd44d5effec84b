package contract

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/tags"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/test/system"
)

// TestClientsRebuildRescueAndLock has gophercloud and the openstack command do to a server what the other tests do not.
func TestClientsRebuildRescueAndLock(t *testing.T) {
	installed(t, "openstack", "python3-openstackclient")
	s := system.Start(t, system.Options{Hosts: 2, Hypervisor: "fake", Settings: map[string]any{"build": map[string]any{"reclaim_interval": "1h"}}})
	s.Flavor(t, "small", 64)
	s.Flavor(t, "large", 128)
	unchanged(t, s)
	ctx := t.Context()
	compute, adminCompute, image := system.Compute(t, s.Demo()), system.Compute(t, s.Admin()), system.Image(t, s.Demo())
	upload := func(name string) string {
		f, err := os.Open(noise(t, 1<<20))
		require.NoError(t, err)
		defer f.Close()
		return system.Upload(t, image, images.CreateOpts{Name: name, Properties: map[string]string{"hw_qemu_guest_agent": "yes"}}, f)
	}
	noiseID, otherID := upload("noise"), upload("other")
	made, err := servers.Create(ctx, compute, servers.CreateOpts{Name: "web", ImageRef: noiseID, FlavorRef: "small", Networks: "auto"}, nil).Extract()
	require.NoError(t, err)
	id := made.ID
	var now *servers.Server
	rests := func(status string) {
		t.Helper()
		system.Eventually(t, commandPatience, func() (bool, string) {
			now, err = servers.Get(ctx, compute, id).Extract()
			require.NoError(t, err)
			return now.Status == status && now.TaskState == "", fmt.Sprintf("%s/%s", now.Status, now.TaskState)
		})
	}
	rests("ACTIVE")

	t.Run("gophercloud", func(t *testing.T) {
		require.NoError(t, servers.Stop(ctx, compute, id).ExtractErr())
		rests("SHUTOFF")
		require.NoError(t, servers.Start(ctx, compute, id).ExtractErr())
		rests("ACTIVE")
		require.NoError(t, servers.ChangeAdminPassword(ctx, compute, id, "s3cret").ExtractErr())
		password, err := servers.GetPassword(ctx, compute, id).ExtractPassword(nil)
		require.NoError(t, err)
		require.Empty(t, password)
		rebuilt, err := servers.Rebuild(ctx, compute, id, servers.RebuildOpts{
			ImageRef: otherID, Name: "db", AdminPass: "t0ps3cret", Metadata: map[string]string{"role": "db"},
		}).Extract()
		require.NoError(t, err)
		require.Equal(t, "t0ps3cret", rebuilt.AdminPass)
		rests("ACTIVE")
		require.Equal(t, []any{"db", otherID, map[string]string{"role": "db"}}, []any{now.Name, now.Image["id"], now.Metadata})
		password, err = servers.Rescue(ctx, compute, id, servers.RescueOpts{AdminPass: "s3cret", RescueImageRef: noiseID}).Extract()
		require.NoError(t, err)
		require.Equal(t, "s3cret", password)
		rests("RESCUE")
		require.NoError(t, servers.Unrescue(ctx, compute, id).ExtractErr())
		rests("ACTIVE")
		require.NoError(t, servers.Lock(ctx, compute, id).ExtractErr())
		require.NoError(t, servers.Unlock(ctx, compute, id).ExtractErr())
		require.NoError(t, servers.ResetState(ctx, adminCompute, id, servers.StateError).ExtractErr())
		rests("ERROR")
		require.NoError(t, servers.ResetState(ctx, adminCompute, id, servers.StateActive).ExtractErr())
		rests("ACTIVE")

		updated, err := servers.Update(ctx, compute, id, servers.UpdateOpts{Name: "web", AccessIPv4: "192.0.2.7", Hostname: ptr("web-example")}).Extract()
		require.NoError(t, err)
		require.Equal(t, []string{"web", "192.0.2.7", "web-example"}, []string{updated.Name, updated.AccessIPv4, *updated.Hostname})
		items, err := servers.ResetMetadata(ctx, compute, id, servers.MetadataOpts{"tier": "1"}).Extract()
		require.NoError(t, err)
		require.Equal(t, map[string]string{"tier": "1"}, items)
		items, err = servers.UpdateMetadata(ctx, compute, id, servers.MetadataOpts{"role": "web"}).Extract()
		require.NoError(t, err)
		require.Equal(t, map[string]string{"tier": "1", "role": "web"}, items)
		require.NoError(t, servers.CreateMetadatum(ctx, compute, id, servers.MetadatumOpts{"zone": "a"}).Err)
		require.NoError(t, servers.DeleteMetadatum(ctx, compute, id, "zone").ExtractErr())
		_, err = tags.ReplaceAll(ctx, compute, id, tags.ReplaceAllOpts{Tags: []string{"blue", "red"}}).Extract()
		require.NoError(t, err)
		require.NoError(t, tags.Add(ctx, compute, id, "green").ExtractErr())
		require.NoError(t, tags.Delete(ctx, compute, id, "red").ExtractErr())
		of, err := tags.List(ctx, compute, id).Extract()
		require.NoError(t, err)
		require.ElementsMatch(t, []string{"blue", "green"}, of)
		require.NoError(t, tags.DeleteAll(ctx, compute, id).ExtractErr())

		require.NoError(t, servers.Resize(ctx, compute, id, servers.ResizeOpts{FlavorRef: "large"}).ExtractErr())
		rests("VERIFY_RESIZE")
		require.NoError(t, servers.RevertResize(ctx, compute, id).ExtractErr())
		rests("ACTIVE")
		require.NoError(t, servers.Shelve(ctx, compute, id).ExtractErr())
		rests("SHELVED_OFFLOADED")
		require.NoError(t, servers.Unshelve(ctx, compute, id, servers.UnshelveOpts{}).ExtractErr())
		rests("ACTIVE")
		for name, err := range map[string]error{
			"evacuate": servers.Evacuate(ctx, adminCompute, id, servers.EvacuateOpts{}).Err,
		} {
			t.Log(name)
			refused(t, err, 501)
		}
	})

	t.Run("openstack", func(t *testing.T) {
		openstack, admin := python(t, s, "openstackclient", "demo", system.DemoPassword), python(t, s, "openstackclient", "admin", system.AdminPassword)
		openstack.before, admin.before = []string{"--os-compute-api-version", "2.92"}, []string{"--os-compute-api-version", "2.92"}
		script := filepath.Join(t.TempDir(), "script")
		require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\n"), 0o600))
		do := func(format string, args ...any) string {
			t.Helper()
			return openstack.run(strings.Fields(fmt.Sprintf(format, args...))...)
		}
		do("server stop web")
		rests("SHUTOFF")
		do("server start web")
		rests("ACTIVE")
		do("server rebuild --image noise --name db --password s3cret --property role=db --description rebuilt --no-key-name --user-data %s"+
			" --hostname db-example --no-trusted-image-certs --wait web", script)
		rests("ACTIVE")
		require.Equal(t, []any{"db", noiseID, map[string]string{"role": "db"}, "db-example"}, []any{now.Name, now.Image["id"], now.Metadata, *now.Hostname})
		do("server rescue --image other --password s3cret db")
		rests("RESCUE")
		do("server unrescue db")
		rests("ACTIVE")
		do("server lock --reason audit db")
		openstack.refused("Instance "+id+" is locked", "server", "stop", "db")
		require.Contains(t, do("server show -f json db"), `"locked_reason": "audit"`)
		require.Contains(t, do("server list --locked"), id)
		do("server unlock db")
		admin.run("server", "set", "--state", "error", id)
		rests("ERROR")
		admin.run("server", "set", "--state", "active", id)
		rests("ACTIVE")
		do("server shelve --wait db")
		rests("SHELVED_OFFLOADED")
		require.Contains(t, do("image list -f value -c Name"), "db-shelved")
		openstack.refused("while it is in vm_state shelved_offloaded", "server", "start", "db")
		do("server unshelve --wait db")
		rests("ACTIVE")
		require.NotContains(t, do("image list -f value -c Name"), "db-shelved")
		do("server resize --flavor large --wait db")
		rests("VERIFY_RESIZE")
		do("server resize confirm db")
		rests("ACTIVE")
		require.Equal(t, "large", now.Flavor["original_name"])

		host := func() string {
			return strings.TrimSpace(admin.run("server", "show", "-f", "value", "-c", "OS-EXT-SRV-ATTR:host", id))
		}
		from := host()
		to := s.Hosts[1-slices.Index(s.Hosts, from)]
		admin.run("server", "migrate", "--wait", id)
		require.Equal(t, to, host())
		do("server resize revert db")
		rests("ACTIVE")
		require.Equal(t, from, host())
		admin.refused("Cannot migrate to the host where the server exists.", "server", "migrate", "--host", from, id)
		admin.refused("Compute host hv9 could not be found.", "server", "migrate", "--host", "hv9", id)
		system.Eventually(t, commandPatience, func() (bool, string) { // that host is clean
			admin.run("server", "migrate", "--host", to, "--wait", id)
			now, err = servers.Get(ctx, compute, id).Extract()
			require.NoError(t, err)
			return now.Status == "VERIFY_RESIZE" && now.TaskState == "", now.Status + "/" + now.TaskState
		})
		admin.run("server", "migration", "confirm", id)
		rests("ACTIVE")
		require.Equal(t, to, host())
		var moved []map[string]any
		require.NoError(t, json.Unmarshal([]byte(admin.run("server", "migration", "list", "-f", "json", "--server", id, "--type", "cold-migration")), &moved))
		var statuses []any
		for _, m := range moved {
			require.Equal(t, []any{from, "migration"}, []any{m["Source Compute"], m["Type"]})
			statuses = append(statuses, m["Status"])
		}
		require.Subset(t, statuses, []any{"confirmed", "reverted"})

		do("server delete db")
		system.Eventually(t, commandPatience, func() (bool, string) {
			all := admin.run("server", "list", "--all-projects", "--deleted", "--long", "-f", "value")
			return strings.Contains(all, id+" db SOFT_DELETED None"), all
		})
		do("server restore %s", id)
		rests("ACTIVE")
		do("server delete --force --wait db")
	})
	require.NoError(t, images.Delete(ctx, image, noiseID).ExtractErr())
	require.NoError(t, images.Delete(ctx, image, otherID).ExtractErr())
}
