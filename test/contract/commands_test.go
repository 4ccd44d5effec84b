package contract

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/test/system"
)

// TestTheOpenStackCommandDoesADaysWork runs the real `openstack` as admin and as a plain member.
func TestTheOpenStackCommandDoesADaysWork(t *testing.T) {
	path := installed(t, "openstack", "python3-openstackclient")
	s := system.Start(t, system.Options{Hypervisor: "fake"})
	unchanged(t, s)
	admin := newTool(t, s, path, "admin", system.AdminPassword)
	demo := newTool(t, s, path, "demo", system.DemoPassword)
	type row map[string]any
	js := func(args ...string) []string { return append(args, "-f", "json") }

	var token row
	demo.json(t, &token, js("token", "issue")...)
	require.NotEmpty(t, token["id"])
	var catalog []row
	demo.json(t, &catalog, js("catalog", "list")...)
	types := []any{}
	for _, c := range catalog {
		types = append(types, c["Type"])
	}
	require.Subset(t, types, []any{"identity", "image", "compute", "network"})
	elsewhere(t, admin, demo)

	admin.run(t, "flavor", "create", "--ram", "64", "--vcpus", "1", "--disk", "1", "--id", "nano", "m1.nano")
	var flavors []row
	demo.json(t, &flavors, js("flavor", "list")...)
	require.Len(t, flavors, 1)
	require.Equal(t, "m1.nano", flavors[0]["Name"])

	file := noise(t, 1<<20)
	var image row
	demo.json(t, &image, js("image", "create", "noise", "--disk-format", "raw", "--container-format", "bare", "--property", "os_distro=none",
		"--property", "hw_qemu_guest_agent=yes", "--file", file)...)
	var images []row
	demo.json(t, &images, js("image", "list")...)
	require.Equal(t, []row{{"ID": image["id"], "Name": "noise", "Status": "active"}}, images)
	var shown row
	demo.json(t, &shown, js("image", "show", "noise")...)
	require.EqualValues(t, 1<<20, shown["size"])
	require.Equal(t, "none", shown["properties"].(map[string]any)["os_distro"])
	saved := filepath.Join(t.TempDir(), "saved")
	demo.run(t, "image", "save", "noise", "--file", saved)
	sameFile(t, file, saved)

	key := filepath.Join(t.TempDir(), "key.pub")
	require.NoError(t, os.WriteFile(key, []byte(publicKey), 0o600))
	demo.run(t, "keypair", "create", "--public-key", key, "laptop")
	var networks []row
	demo.json(t, &networks, js("network", "list")...)
	require.Len(t, networks, 1)
	ownNetwork(t, demo)

	userData := filepath.Join(t.TempDir(), "user-data")
	require.NoError(t, os.WriteFile(userData, []byte("#!/bin/sh\n"), 0o600))
	var server row
	demo.json(t, &server, js("server", "create", "--image", "noise", "--flavor", "m1.nano", "--network", networks[0]["Name"].(string),
		"--key-name", "laptop", "--property", "role=web", "--user-data", userData, "--config-drive", "True", "--wait", "web-1")...)
	require.Equal(t, "ACTIVE", server["status"])
	require.NotEmpty(t, server["adminPass"])
	id := server["id"].(string)
	var servers []row
	demo.json(t, &servers, js("server", "list", "--long")...)
	require.Len(t, servers, 1)
	require.Equal(t, id, servers[0]["ID"])
	require.EqualValues(t, 1, servers[0]["Power State"])
	demo.json(t, &shown, js("server", "show", "web-1")...)
	require.Equal(t, "laptop", shown["key_name"])
	require.Equal(t, map[string]any{"role": "web"}, shown["properties"])
	require.Contains(t, shown["addresses"], networks[0]["Name"])
	says(t, s, id, "hello from the guest\nlogin:\n")
	require.Contains(t, demo.run(t, "console", "log", "show", "web-1"), "hello from the guest\nlogin:")
	var events []row
	demo.json(t, &events, js("server", "event", "list", "web-1")...)
	require.Len(t, events, 1)
	require.Equal(t, "create", events[0]["Action"])

	const newer = "--os-compute-api-version=2.92"
	demo.run(t, newer, "server", "set", "--name", "web-2", "--description", "until March", "--hostname", "web-example", "--property", "tier=1", "--tag", "blue", id)
	demo.json(t, &shown, js(newer, "server", "show", "web-2")...)
	require.Equal(t, map[string]any{"role": "web", "tier": "1"}, shown["properties"])
	require.Equal(t, []any{"blue"}, shown["tags"])
	require.Equal(t, []any{"until March", "web-example"}, []any{shown["description"], shown["OS-EXT-SRV-ATTR:hostname"]})
	demo.run(t, newer, "server", "unset", "--property", "role", "--tag", "blue", "web-2")
	demo.json(t, &shown, js(newer, "server", "show", "web-2")...)
	require.Equal(t, map[string]any{"tier": "1"}, shown["properties"])
	require.Empty(t, shown["tags"])
	demo.run(t, "server", "set", "--name", "web-1", "web-2")

	demo.run(t, "server", "set", "--password", "s3cret", "web-1")
	demo.run(t, "server", "set", "--no-password", "web-1")
	demo.run(t, newer, "server", "dump", "create", "web-1")
	var counted row
	admin.json(t, &counted, js(newer, "server", "show", id, "--diagnostics")...)
	require.Equal(t, "running", counted["state"])
	require.Contains(t, admin.run(t, js(newer, "server", "show", id, "--topology")...), "pagesize_kb")
	_, complaint, code := demo.try(t, "server", "show", "web-1", "--diagnostics")
	require.NotZero(t, code)
	require.Contains(t, complaint, "os-server-diagnostics")

	require.Contains(t, demo.run(t, "quota", "show"), "instances")
	var hypervisors []row
	admin.json(t, &hypervisors, js("hypervisor", "list")...)
	require.Len(t, hypervisors, 1)
	require.Equal(t, s.Hosts[0], hypervisors[0]["Hypervisor Hostname"])
	require.Equal(t, "up", hypervisors[0]["State"])

	// Refusals are words, not stack traces.
	_, complaint, code = demo.try(t, "server", "create", "--image", "noise", "--flavor", "absent", "--network", "none", "web-2")
	require.NotZero(t, code)
	require.Contains(t, complaint, "No flavor with a name or ID of 'absent' exists")
	_, complaint, code = demo.try(t, "hypervisor", "list")
	require.NotZero(t, code)
	require.Contains(t, complaint, "Policy doesn't allow")

	demo.run(t, "server", "delete", "--wait", "web-1")
	demo.json(t, &servers, js("server", "list")...)
	require.Empty(t, servers)
	demo.run(t, "image", "delete", "noise")
	demo.run(t, "keypair", "delete", "laptop")
	admin.run(t, "flavor", "delete", "nano")
}

// ownNetwork makes, changes, tags, finds and deletes what belongs to a network.
func ownNetwork(t *testing.T, demo tool) {
	t.Helper()
	js := func(args ...string) []string { return append(args, "-f", "json") }
	var made map[string]any
	demo.json(t, &made, js("network", "create", "own", "--description", "of demo", "--mtu", "1400", "--tag", "red")...)
	require.Equal(t, []any{1400.0, []any{"red"}}, []any{made["mtu"], made["tags"]})
	demo.json(t, &made, js("subnet", "create", "own-v4", "--network", "own", "--subnet-range", "10.44.0.0/24", "--dns-nameserver", "9.9.9.9",
		"--allocation-pool", "start=10.44.0.10,end=10.44.0.10", "--allocation-pool", "start=10.44.0.30,end=10.44.0.39",
		"--host-route", "destination=10.45.0.0/16,gateway=10.44.0.9")...)
	require.Len(t, made["allocation_pools"], 2)
	demo.json(t, &made, js("port", "create", "first", "--network", "own", "--no-security-group")...)
	require.Equal(t, "10.44.0.10", made["fixed_ips"].([]any)[0].(map[string]any)["ip_address"])
	require.Empty(t, made["security_group_ids"])
	demo.run(t, "network", "set", "--name", "owned", "own")
	demo.run(t, "subnet", "set", "--no-dhcp", "--no-host-route", "own-v4")
	demo.run(t, "port", "set", "--fixed-ip", "ip-address=10.44.0.31", "--tag", "front", "first")
	var found []map[string]any
	demo.json(t, &found, js("port", "list", "--tags", "front", "--network", "owned")...)
	require.Len(t, found, 1)
	require.Len(t, found[0]["Fixed IP Addresses"], 2)
	demo.json(t, &found, js("network", "list", "--any-tags", "red,blue")...)
	require.Len(t, found, 1)
	demo.run(t, "network", "unset", "--tag", "red", "owned")
	demo.json(t, &found, js("network", "list", "--tags", "red")...)
	require.Empty(t, found)
	_, complaint, code := demo.try(t, "network", "set", "--share", "owned")
	require.NotZero(t, code)
	require.Contains(t, complaint, "rule:update_network and rule:update_network:shared is disallowed by policy")
	demo.run(t, "port", "delete", "first")
	demo.run(t, "subnet", "delete", "own-v4")
	demo.run(t, "network", "delete", "owned")
}

func sameFile(t *testing.T, want, got string) {
	t.Helper()
	a, err := os.ReadFile(want)
	require.NoError(t, err)
	b, err := os.ReadFile(got)
	require.NoError(t, err)
	require.True(t, string(a) == string(b), "%s is not what was uploaded", got)
}

// TestSlipwaysOwnCommandDoesADaysWork runs the user's verbs of the program itself.
func TestSlipwaysOwnCommandDoesADaysWork(t *testing.T) {
	s := system.Start(t, system.Options{Hypervisor: "fake"})
	unchanged(t, s)
	admin := newTool(t, s, s.Program(t), "admin", system.AdminPassword)
	demo := newTool(t, s, s.Program(t), "demo", system.DemoPassword)
	type row map[string]any
	js := func(args ...string) []string { return append(args, "-o", "json") }

	require.NotEmpty(t, demo.run(t, "token", "issue"))
	admin.run(t, "flavor", "create", "m1.nano", "--ram", "64", "--vcpus", "1", "--disk", "1")
	require.Contains(t, demo.run(t, "flavor", "list"), "m1.nano")

	file := noise(t, 1<<20)
	demo.run(t, "image", "create", "noise", "--file", file, "--disk-format", "raw")
	var images []row
	demo.json(t, &images, js("image", "list")...)
	require.Len(t, images, 1)
	require.Equal(t, "active", images[0]["status"])
	saved := filepath.Join(t.TempDir(), "saved")
	demo.run(t, "image", "save", "noise", "--file", saved)
	sameFile(t, file, saved)

	key := filepath.Join(t.TempDir(), "key.pub")
	require.NoError(t, os.WriteFile(key, []byte(publicKey), 0o600))
	demo.run(t, "keypair", "create", "laptop", "--public-key", key)
	var networks []row
	demo.json(t, &networks, js("network", "list")...)
	require.Len(t, networks, 1)

	booted := demo.run(t, "boot", "web-1", "--image", "noise", "--flavor", "m1.nano", "--network", networks[0]["name"].(string),
		"--key-name", "laptop", "--meta", "role=web", "--tag", "blue", "--wait", "--quiet")
	var servers []row
	demo.json(t, &servers, js("server", "list")...)
	require.Len(t, servers, 1)
	id := servers[0]["id"].(string)
	require.Equal(t, id+"\n", booted)
	var server row
	demo.json(t, &server, js("server", "show", "web-1")...)
	require.Equal(t, "ACTIVE", server["status"])
	require.Equal(t, map[string]any{"role": "web"}, server["metadata"])
	says(t, s, id, "hello from the guest\n")
	require.Contains(t, demo.run(t, "server", "console", "web-1"), "hello from the guest\n")
	var counted row
	admin.json(t, &counted, js("server", "diagnostics", id)...)
	require.EqualValues(t, 1, counted["num_cpus"])
	demo.run(t, "server", "dump", "web-1", "--wait")
	_, complaint, code := demo.try(t, "server", "set-password", "web-1")
	require.NotZero(t, code)
	require.Contains(t, complaint, "standard input is empty")
	events := demo.run(t, "server", "events", "web-1")
	for _, step := range []string{"ResolveImage", "StartDomain", "Activate"} {
		require.Contains(t, events, step)
	}
	demo.run(t, "server", "set", "web-1", "--name", "web-2", "--property", "tier=1", "--tag", "front")
	demo.run(t, "server", "unset", "web-2", "--property", "role", "--tag", "blue")
	demo.json(t, &server, js("server", "set", "web-2", "--name", "web-1")...)
	require.Equal(t, []any{map[string]any{"tier": "1"}, []any{"front"}}, []any{server["metadata"], server["tags"]})
	require.Contains(t, demo.run(t, "quota", "show"), "instances")
	var hosts []row
	admin.json(t, &hosts, js("host", "list")...)
	require.Len(t, hosts, 1)
	require.Equal(t, s.Hosts[0], hosts[0]["hostname"])

	_, complaint, code = demo.try(t, "boot", "web-2", "--image", "absent", "--flavor", "m1.nano")
	require.NotZero(t, code)
	require.Contains(t, complaint, "absent")
	_, _, code = demo.try(t, "host", "list")
	require.NotZero(t, code, "a member lists no hosts")

	demo.run(t, "boot", "told", "--image", "noise", "--flavor", "m1.nano", "--network", "none", "--key-name", "laptop", "--config-drive=false", "--wait")
	require.Regexp(t, `InjectData +Success .* nothing was injected: the image has no ext or FAT filesystem`, demo.run(t, "server", "events", "told"))

	demo.run(t, "server", "delete", "web-1", "--wait")
	demo.run(t, "server", "delete", "told", "--wait")
	demo.json(t, &servers, js("server", "list")...)
	require.Empty(t, servers)
	demo.run(t, "image", "delete", "noise")
	demo.run(t, "keypair", "delete", "laptop")
	admin.run(t, "flavor", "delete", "m1.nano")
}

// elsewhere adds a service that another program is, and takes it away again.
func elsewhere(t *testing.T, admin, demo tool) {
	t.Helper()
	type row map[string]any
	js := func(args ...string) []string { return append(args, "-f", "json") }
	var region, service, endpoint, shown row
	admin.json(t, &region, js("region", "create", "north")...)
	require.Equal(t, "north", region["region"])
	admin.json(t, &service, js("service", "create", "--name", "swift", "object-store")...)
	admin.json(t, &endpoint, js("endpoint", "create", "--region", "north", "swift", "public", "https://swift.example/$(project_id)s")...)
	require.Equal(t, service["id"], endpoint["service_id"])
	var endpoints []row
	demo.json(t, &endpoints, js("endpoint", "list", "--region", "north")...)
	require.Len(t, endpoints, 1)
	demo.json(t, &shown, js("catalog", "show", "swift")...)
	require.Equal(t, "object-store", shown["type"])
	require.Contains(t, fmt.Sprint(shown["endpoints"]), "https://swift.example/")
	require.NotContains(t, fmt.Sprint(shown["endpoints"]), "project_id")
	admin.run(t, "service", "set", "--disable", "swift")
	admin.run(t, "endpoint", "delete", endpoint["id"].(string))
	admin.run(t, "service", "delete", "swift")
	admin.run(t, "region", "delete", "north")
}
