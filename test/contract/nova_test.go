package contract

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/test/system"
)

// table is what a Python client printed as one: its rows, by the heads of the columns.
func table(out string) []map[string]string {
	var heads []string
	rows := []map[string]string{}
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "|") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|\n"), "|")
		row := map[string]string{}
		for i, cell := range cells {
			cells[i] = strings.TrimSpace(cell)
			if i < len(heads) {
				row[heads[i]] = cells[i]
			}
		}
		if heads == nil {
			heads = cells
			continue
		}
		rows = append(rows, row)
	}
	return rows
}

// column is one of a table's.
func column(out, head string) []string {
	all := []string{}
	for _, row := range table(out) {
		all = append(all, row[head])
	}
	return all
}

// properties are those of a table of two columns.
func properties(out string) map[string]string {
	all := map[string]string{}
	for _, row := range table(out) {
		all[row["Property"]] = row["Value"]
	}
	return all
}

// TestNovasOwnShellSaysAllItCan runs each command that novaclient has for a server, with each flag that still has a meaning.
func TestNovasOwnShellSaysAllItCan(t *testing.T) {
	installed(t, "nova", "python3-novaclient")
	s := system.Start(t, system.Options{Hypervisor: "fake", Settings: map[string]any{"build": map[string]any{"reclaim_interval": "1h", "max_local_block_devices": 5}}})
	for name, ram := range map[string]int{"disks": 64, "larger": 128} {
		require.NoError(t, flavors.Create(t.Context(), system.Compute(t, s.Admin()), flavors.CreateOpts{
			ID: name, Name: name, VCPUs: 1, RAM: ram, Disk: ptr(1), Ephemeral: ptr(2), Swap: ptr(64)}).Err)
	}
	unchanged(t, s)
	compute, image := system.Compute(t, s.Demo()), system.Image(t, s.Demo())
	upload := func(name string, properties map[string]string) string {
		f, err := os.Open(noise(t, 1<<20))
		require.NoError(t, err)
		defer f.Close()
		return system.Upload(t, image, images.CreateOpts{Name: name, DiskFormat: "raw", ContainerFormat: "bare", Properties: properties}, f)
	}
	noiseID := upload("noise", map[string]string{"os_distro": "none", "hw_qemu_guest_agent": "yes"})
	otherID := upload("other", nil)
	net := s.SharedNetwork(t)
	port, err := ports.Create(t.Context(), system.Network(t, s.Demo()), ports.CreateOpts{NetworkID: net.ID}).Extract()
	require.NoError(t, err)
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	script, key := file("script", "#!/bin/sh\n"), file("key.pub", publicKey)

	nova, admin := python(t, s, "novaclient", "demo", system.DemoPassword), python(t, s, "novaclient", "admin", system.AdminPassword)
	nova.before, admin.before = []string{"--os-compute-api-version", "2.92"}, []string{"--os-compute-api-version", "2.92"}
	do := func(format string, args ...any) string {
		t.Helper()
		return nova.run(strings.Fields(fmt.Sprintf(format, args...))...)
	}
	show := func(server string) map[string]string { t.Helper(); return properties(do("show %s", server)) }
	rests := func(server, status string) {
		t.Helper()
		system.Eventually(t, commandPatience, func() (bool, string) {
			now, err := servers.Get(t.Context(), compute, server).Extract()
			require.NoError(t, err)
			return now.Status == status && now.TaskState == "", fmt.Sprintf("%s/%s", now.Status, now.TaskState)
		})
	}

	named := func(name string) (ids []string) {
		pages, err := images.List(image, images.ListOpts{Name: name}).AllPages(t.Context())
		require.NoError(t, err)
		all, err := images.ExtractImages(pages)
		require.NoError(t, err)
		for _, i := range all {
			ids = append(ids, i.ID)
		}
		return ids
	}

	do("keypair-add --pub-key %s laptop", key)
	made := properties(do("boot --flavor disks --image-with os_distro=none --meta role=web --meta tier=1 --key-name laptop --user-data %s"+
		" --availability-zone nova --security-groups default --ephemeral size=1,format=ext4 --swap 32"+
		" --block-device source=blank,dest=local,size=1,format=ext3,bus=scsi,type=disk,device=sdb,bootindex=-1,shutdown=remove,tag=scratch"+
		" --hint colour=blue --nic net-name=%s,v4-fixed-ip=10.20.0.77,tag=front --nic net-id=%s --nic port-id=%s --config-drive true --admin-pass s3cret"+
		" --access-ip-v4 192.0.2.7 --access-ip-v6 2001:db8::7 --description until-March --tags blue,red --hostname web-example --poll web",
		script, net.Name, net.ID, port.ID))
	require.Equal(t, "s3cret", made["adminPass"])
	web := made["id"]
	rests(web, "ACTIVE")
	shown := show("web")
	for name, is := range map[string]string{
		"status": "ACTIVE", "metadata": `{"role": "web", "tier": "1"}`, "key_name": "laptop", "OS-EXT-AZ:availability_zone": "nova",
		"accessIPv4": "192.0.2.7", "accessIPv6": "2001:db8::7", "description": "until-March", "tags": `["blue", "red"]`,
		"OS-EXT-SRV-ATTR:hostname": "web-example", "config_drive": "True", "image": "noise (" + noiseID + ")", "flavor:original_name": "disks",
		"security_groups": "default",
	} {
		require.Equal(t, is, shown[name], name)
	}
	require.Contains(t, shown[net.Name+" network"], "10.20.0.77")
	require.Contains(t, shown[net.Name+" network"], port.FixedIPs[0].IPAddress)
	require.Equal(t, "disks", properties(do("show --minimal web"))["flavor"])

	// Debian 12's cannot print the reservation that it got.
	_, _, _ = nova.try(strings.Fields("boot --flavor disks --image noise --nic none --min-count 2 --max-count 3 --return-reservation-id many")...)
	reservation, err := servers.Get(t.Context(), system.Compute(t, s.Admin()), properties(do("show many-2"))["id"]).Extract()
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"many-1", "many-2", "many-3"}, column(do("list --reservation-id %s", *reservation.ReservationID), "Name"))
	_, complaint, code := nova.try("boot", "--flavor", "disks", "--image", "noise", "--min-count", "100", "--nic", "none", "too-many")
	require.NotZero(t, code)
	require.Contains(t, complaint, "Quota exceeded for ")
	old := properties(nova.run("--os-compute-api-version", "2.56", "boot", "--flavor", "disks", "--image", "noise", "--nic", "net-id="+net.ID,
		"--file", "/etc/motd="+script, "--config-drive", "1", "--poll", "old"))["id"]
	admin.run("boot", "--flavor", "disks", "--image", noiseID, "--nic", "none", "--host", s.Hosts[0], "--hypervisor-hostname", s.Hosts[0], "--poll", "placed")
	require.Equal(t, s.Hosts[0], properties(admin.run("show", "placed"))["OS-EXT-SRV-ATTR:host"])
	for _, no := range []struct{ flags, says string }{
		{"--image noise --host " + s.Hosts[0], "Policy doesn't allow"},
		{"--image noise --trusted-image-certificate-id " + absent, "img_signature"},
		{"--boot-volume " + absent, "Volumes are not offered"},
		{"--snapshot " + absent, "Volumes are not offered"},
		{"--block-device-mapping vda=" + absent + ":snap:1:0", "Volumes are not offered"},
		{"--image noise --block-device source=image,id=" + noiseID + ",dest=local,bootindex=0", "Boot sequence for the instance"}, // it adds the image itself
		{"--image noise --hint group=" + absent, "group"},
		{"--image noise --security-groups closed", "closed"},
	} {
		nova.refused(no.says, strings.Fields("boot --flavor disks --nic none "+no.flags+" refused")...)
	}

	for _, act := range []struct{ command, becomes string }{
		{"stop web", "SHUTOFF"},
		{"start web", "ACTIVE"},
		{"reboot --poll web", "ACTIVE"},
		{"pause web", "PAUSED"},
		{"unpause web", "ACTIVE"},
		{"suspend web", "SUSPENDED"},
		{"reboot --hard --poll web", "ACTIVE"},
		{"suspend web", "SUSPENDED"},
		{"resume web", "ACTIVE"},
		{"trigger-crash-dump web", "ACTIVE"},
		{"rescue --password s3cret --image other web", "RESCUE"},
		{"unrescue web", "ACTIVE"},
		{"rescue web", "RESCUE"},
		{"unrescue web", "ACTIVE"},
	} {
		do("%s", act.command)
		rests(web, act.becomes)
	}
	require.NotEmpty(t, properties(do("rescue web"))["adminPass"], "one that the API made")
	rests(web, "RESCUE")
	do("unrescue web")
	rests(web, "ACTIVE")

	script2 := file("script2", "#!/bin/sh\nexit\n")
	do("keypair-add --pub-key %s desktop", key)
	rebuilt := properties(do("rebuild --rebuild-password t0ps3cret --name web-2 --description rebuilt --meta role=db --key-name desktop --user-data %s"+
		" --hostname db-example --poll web other", script2))
	require.Equal(t, "t0ps3cret", rebuilt["adminPass"])
	rests(web, "ACTIVE")
	shown = show("web-2")
	for name, is := range map[string]string{
		"id": web, "image": "other (" + otherID + ")", "description": "rebuilt", "metadata": `{"role": "db"}`, "key_name": "desktop",
		"OS-EXT-SRV-ATTR:hostname": "db-example", "tags": `["blue", "red"]`,
	} {
		require.Equal(t, is, shown[name], name)
	}
	do("rebuild --minimal --key-unset --user-data-unset --trusted-image-certificates-unset --name web --poll web-2 noise")
	rests(web, "ACTIVE")
	require.Equal(t, "-", show("web")["key_name"])
	nova.run("--os-compute-api-version", "2.56", "rebuild", "--file", "/etc/motd="+script, "--poll", "web", "noise")
	rests(web, "ACTIVE")
	nova.refused("preserve_ephemeral", "rebuild", "--preserve-ephemeral", "web", "noise")
	nova.refused("img_signature", "rebuild", "--trusted-image-certificate-id", absent, "web", "noise")

	_, complaint, code = nova.typing("t0ps3cret\nt0ps3cret\n", "set-password", "web")
	require.Zero(t, code, complaint)
	require.Equal(t, "\n", do("get-password web"))
	do("clear-password web")
	says(t, s, web, "one\ntwo\n")
	require.Equal(t, "one\ntwo\n\n", do("console-log web"))
	require.Equal(t, "two\n\n", do("console-log --length 1 web"))
	require.Equal(t, "running", properties(admin.run("diagnostics", web))["state"])
	require.Contains(t, do("server-topology web"), "pagesize_kb")
	require.Equal(t, []string{"default"}, column(do("list-secgroup web"), "Name"))

	do("lock --reason audit web")
	require.Equal(t, []string{"True", "audit"}, []string{show("web")["locked"], show("web")["locked_reason"]})
	nova.refused("Instance "+web+" is locked", "stop", "web")
	nova.refused("Instance "+web+" is locked", "meta", "web", "set", "k=v")
	require.Equal(t, []string{"web"}, column(do("list --locked true"), "Name"))
	do("unlock web")

	do("update --name www --description changed --hostname www-example web")
	do("meta www set tier=2 zone=a")
	do("meta www delete role zone")
	do("server-tag-add www green blue")
	do("server-tag-delete www red")
	require.Equal(t, []string{"blue", "green"}, column(do("server-tag-list www"), "Tag"))
	do("server-tag-set www green amber")
	shown = show("www")
	for name, is := range map[string]string{
		"name": "www", "description": "changed", "metadata": `{"tier": "2"}`, "tags": `["amber", "green"]`, "OS-EXT-SRV-ATTR:hostname": "www-example",
	} {
		require.Equal(t, is, shown[name], name)
	}

	do("stop many-1")
	rests(properties(do("show many-1"))["id"], "SHUTOFF")
	all := []string{"many-1", "many-2", "many-3", "old", "www"}
	for _, by := range []struct {
		flags string
		names []string
	}{
		{"", all},
		{"--ip 10.20.0.77", []string{"www"}},
		{"--ip 10.20", []string{"old", "www"}},
		{"--ip6 2001", nil},
		{"--name ^many-[12]$", []string{"many-1", "many-2"}},
		{"--status SHUTOFF", []string{"many-1"}},
		{"--flavor disks", all},
		{"--image other", nil},
		{"--image noise", all},
		{"--minimal --image noise", all},
		{"--tags green,amber", []string{"www"}},
		{"--tags-any green,blue", []string{"www"}},
		{"--not-tags green,amber", []string{"many-1", "many-2", "many-3", "old"}},
		{"--not-tags-any green", []string{"many-1", "many-2", "many-3", "old"}},
		{"--locked false", all},
		{"--availability-zone nova --key-name laptop", nil},
		{"--config-drive", []string{"old", "www"}},
		{"--vm-state stopped", []string{"many-1"}},
		{"--task-state deleting", nil},
		{"--power-state 4", []string{"many-1"}},
		{"--progress 100", nil},
		{"--changes-since 2020-01-01T00:00:00Z", all},
		{"--changes-since 2020-01-01T00:00:00Z --changes-before 2021-01-01T00:00:00Z", nil},
		{"--limit 2 --sort display_name:asc", []string{"many-1", "many-2"}},
		{"--marker " + old + " --sort display_name:asc", []string{"www"}},
	} {
		require.ElementsMatch(t, by.names, column(do("list %s", by.flags), "Name"), by.flags)
	}
	require.Equal(t, []string{"www", "old", "many-3", "many-2", "many-1"}, column(do("list --sort display_name"), "Name"))
	require.Equal(t, []string{"many-1", "many-2", "many-3", "old", "www"}, column(do("list --sort vm_state:desc,display_name:asc"), "Name"))
	require.Equal(t, []string{web}, column(do("list --fields name,metadata,security_groups --name www"), "ID"))
	project := shown["tenant_id"]
	for _, flags := range []string{"--all-tenants --status SHUTOFF", "--tenant " + project + " --name many-1",
		"--all-tenants --user " + shown["user_id"] + " --name many-1", "--all-tenants --host " + s.Hosts[0] + " --name many-1"} {
		require.Equal(t, []string{"many-1"}, column(admin.run(strings.Fields("list "+flags)...), "Name"), flags)
	}

	actions := table(do("instance-action-list www")) // in the order of their start
	require.Equal(t, "create", actions[0]["Action"])
	previous := do("instance-action-list --limit 1 --marker %s --changes-since 2020-01-01T00:00:00Z www", actions[len(actions)-1]["Request_ID"])
	require.Equal(t, "lock", actions[len(actions)-2]["Action"])
	require.Equal(t, []string{"lock"}, column(previous, "Action"))
	require.Empty(t, table(do("instance-action-list --changes-before 2020-01-01T00:00:00Z www")))
	require.Contains(t, do("instance-action www %s", actions[0]["Request_ID"]), "'result': 'Success'")

	do("resize --poll www larger")
	rests(web, "VERIFY_RESIZE")
	do("resize-revert www")
	rests(web, "ACTIVE")
	do("resize --poll www larger")
	do("resize-confirm www")
	rests(web, "ACTIVE")
	require.Equal(t, "larger", show("www")["flavor:original_name"])

	admin.run("reset-state", "--all-tenants", "www")
	rests(web, "ERROR")
	admin.run("reset-state", "--active", web)
	rests(web, "ACTIVE")
	nova.refused("Policy doesn't allow", "reset-state", "www")

	taken := properties(do("image-create --metadata stage=tested --show --poll www snap"))
	require.Equal(t, []string{"snap", "tested", web}, []string{taken["name"], taken["stage"], taken["instance_uuid"]})
	rests(web, "ACTIVE")
	for range 2 {
		do("backup www nightly daily 1")
		rests(web, "ACTIVE")
	}
	system.Eventually(t, commandPatience, func() (bool, string) {
		left := named("nightly")
		return len(left) == 1, fmt.Sprint(left)
	})

	do("shelve www")
	rests(web, "SHELVED_OFFLOADED")
	nova.refused("Policy doesn't allow", "shelve-offload", "www")
	do("unshelve www")
	rests(web, "ACTIVE")
	for _, not := range []string{"evacuate " + web, "live-migration " + web} {
		admin.refused("The requested functionality is not supported", strings.Fields(not)...)
	}

	do("delete www")
	system.Eventually(t, commandPatience, func() (bool, string) {
		now, err := servers.Get(t.Context(), system.Compute(t, s.Admin()), web).Extract()
		require.NoError(t, err)
		return now.Status == "SOFT_DELETED" && now.TaskState == "", now.Status
	})
	require.NotContains(t, column(do("list"), "Name"), "www")
	require.Equal(t, []string{"www"}, column(admin.run("list", "--all-tenants", "--deleted", "--name", "www"), "Name"))
	do("restore %s", web)
	rests(web, "ACTIVE")
	do("force-delete www")
	for _, name := range []string{"many-1", "many-2", "many-3", "old"} {
		do("force-delete %s", name)
	}
	admin.run("force-delete", "placed")
	system.Eventually(t, commandPatience, func() (bool, string) {
		left := column(admin.run("list", "--all-tenants"), "Name")
		return len(left) == 0, fmt.Sprint(left)
	})
	do("keypair-delete laptop")
	do("keypair-delete desktop")
	require.NoError(t, ports.Delete(t.Context(), system.Network(t, s.Demo()), port.ID).ExtractErr())
	for _, id := range append([]string{noiseID, otherID, named("snap")[0]}, named("nightly")...) {
		require.NoError(t, images.Delete(t.Context(), image, id).ExtractErr())
	}
}

const absent = "00000000-0000-4000-8000-000000000000"
