package e2e

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/instanceactions"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/keypairs"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/test/system"
)

// TestServersBootAsAskedFor boots guests in every way that there is, all at once, and believes only what they print.
func TestServersBootAsAskedFor(t *testing.T) {
	r := newRig(t, system.Options{})
	wholeDisk, root := r.wholeDisk(t, r.adminImages), r.kernelRamdisk(t, r.adminImages)
	r.remember(t)
	for name, test := range map[string]func(*testing.T, *rig, string){
		"a whole disk with everything a config drive can tell":           bootsWithConfigDrive,
		"a whole disk of the member's own, told by file injection":       bootsWithInjection,
		"ephemeral and swap disks and a larger root disk are there":      bootsWithMoreDisks,
		"disks that the request maps, on their buses, with their tags":   bootsWithMappedDisks,
		"two servers of one network have addresses and reach each other": bootsTwoOnOneNetwork,
		"no secret is readable in the database, the histories, the logs": keepsSecrets,
		"a damaged image is an error that says so":                       failsForDamagedImage,
		"a flavor that no host can take is an error that says which":     failsForTooLargeFlavor,
		"the hardware that the image asks for":                           bootsOnTheHardwareOfItsImage,
		"UEFI starts a kernel":                                           bootsByUEFI,
		"an image that cannot boot is refused, or finds no host":         refusesAnImageThatCannotBoot,
		"a guest with an agent is looked into":                           isLookedInto,
		"a name from everywhere":                                         bootsWithoutAnything,
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); test(t, r, wholeDisk) })
	}
	for name, drive := range map[string]bool{"with a config drive": true, "with injection": false} {
		t.Run("kernel, ramdisk and root image "+name, func(t *testing.T) { t.Parallel(); bootsFromKernel(t, r, root, drive) })
	}
}

func sum(text string) string {
	s := sha256.Sum256([]byte(text))
	return hex.EncodeToString(s[:])
}

// keyPair imports a public key for the length of a test. The key is a fixed one: nobody signs in with it.
func (r *rig) keyPair(t *testing.T, name string) (publicKey string) {
	t.Helper()
	publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVwdGhlc2xpcHdheWFuZGludG90aGV3YXRlcjEyMzQ1 " + name + "@example.org"
	_, err := keypairs.Create(t.Context(), r.demo, keypairs.CreateOpts{Name: name, PublicKey: publicKey}).Extract()
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, keypairs.Delete(context.WithoutCancel(t.Context()), r.demo, name, keypairs.DeleteOpts{}).ExtractErr())
	})
	return publicKey
}

func bootsWithConfigDrive(t *testing.T, r *rig, image string) {
	const password, script = "s3cret-Admin-pass", "#!/bin/sh\necho user data runs as $(id -u) on $(hostname)\nexit 3\n"
	key := r.keyPair(t, "laptop")
	submitted := r.create(t, keypairs.CreateOptsExt{KeyName: "laptop", CreateOptsBuilder: servers.CreateOpts{
		Name: "Web Server 1", ImageRef: image, FlavorRef: r.flavor, Networks: r.on(), ConfigDrive: ptr(true),
		UserData: []byte(script), AdminPass: password, Metadata: map[string]string{"role": "web", "tier": "a b=c"},
		Tags: []string{"blue", "green"},
	}})
	require.Equal(t, password, submitted.AdminPass)
	s := r.active(t, submitted.ID)
	ip, mac := address(t, s)
	require.Equal(t, map[string]string{"role": "web", "tier": "a b=c"}, s.Metadata)
	require.Equal(t, []string{"blue", "green"}, *s.Tags)
	require.Equal(t, "laptop", s.KeyName)
	require.True(t, s.ConfigDrive)
	require.EqualValues(t, 1, s.PowerState)
	require.False(t, s.LaunchedAt.IsZero())

	lines := r.console(t, s.ID)
	for _, want := range []string{
		"config-drive dev=sr0 fs=iso9660",
		"uuid=" + s.ID + " name=Web Server 1 hostname=web-server-1 az=" + s.AvailabilityZone,
		"project-id=" + s.TenantID,
		"meta role=web", "meta tier=a b=c",
		"public-key laptop " + key,
		"admin-pass-sha256=" + sum(password),
		fmt.Sprintf("user-data-sha256=%s user-data-bytes=%d", sum(script), len(script)),
		"user-data> user data runs as 0 on web-server-1", "user-data-exit=3",
		"root-disk bytes=1073741824 dev=vda",
	} {
		require.Contains(t, lines, want)
	}
	require.Regexp(t, `(?m)^boot image=whole-disk `, strings.Join(lines, "\n"))
	number, err := r.Store.EC2ImageID(t.Context(), image)
	require.NoError(t, err)
	require.Regexp(t, `(?m)^ec2 .*\bami-id=`+ids.EC2Image(ids.EC2Machine, number)+`\b`, strings.Join(lines, "\n"))
	require.Regexp(t, `(?m)^nic `+mac+` `+ip+`/24( mtu=\d+)?$`, strings.Join(lines, "\n"))
	require.NotContains(t, strings.Join(lines, "\n"), password)

	actionsTell(t, r, s)
	temporalTells(t, r, s.ID)
	require.Contains(t, r.domains(t), s.ID)
	require.FileExists(t, filepath.Join(r.folder(r.Hosts[0], s.ID), "disk.config"))
	require.NotEmpty(t, r.bridges(t))
}

// actionsTell holds that os-instance-actions shows each step of the build with its times.
func actionsTell(t *testing.T, r *rig, s *servers.Server) {
	pages, err := instanceactions.List(r.demo, s.ID, nil).AllPages(t.Context())
	require.NoError(t, err)
	all, err := instanceactions.ExtractInstanceActions(pages)
	require.NoError(t, err)
	require.Len(t, all, 1)
	create, err := instanceactions.Get(t.Context(), r.demo, s.ID, all[0].RequestID).Extract()
	require.NoError(t, err)
	require.Equal(t, "create", create.Action)
	var names []string
	for _, e := range *create.Events {
		names = append(names, e.Event)
		require.Equal(t, "Success", e.Result, e.Event)
		require.False(t, e.StartTime.IsZero(), "%s has no start", e.Event)
		require.False(t, e.FinishTime.Before(e.StartTime), "%s ended before it began", e.Event)
	}
	require.Equal(t, []string{
		contract.ResolveImage, contract.ClaimQuota, contract.RecordServer, contract.SelectHost, contract.AllocateNetwork,
		contract.FetchImage, contract.BuildConfigDrive, contract.BuildDisk, contract.DefineDomain, contract.StartDomain, contract.Activate,
	}, names)
}

// temporalTells holds that an operator finds the build by its server, completed, with one entry for each step.
func temporalTells(t *testing.T, r *rig, id string) {
	system.Eventually(t, buildPatience, func() (bool, string) {
		found, err := r.temporal.ListWorkflow(t.Context(), &workflowservice.ListWorkflowExecutionsRequest{
			Namespace: "slipway", Query: fmt.Sprintf("%s = '%s'", contract.AttrServer, id),
		})
		if err != nil || len(found.GetExecutions()) != 1 {
			return false, fmt.Sprintf("%d workflows, %v", len(found.GetExecutions()), err)
		}
		e := found.GetExecutions()[0]
		require.Equal(t, ids.ServerWorkflow(id), e.GetExecution().GetWorkflowId())
		return e.GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED, e.GetStatus().String()
	})
	entries := map[string]int{}
	history := r.temporal.GetWorkflowHistory(t.Context(), ids.ServerWorkflow(id), "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for history.HasNext() {
		e, err := history.Next()
		require.NoError(t, err)
		if a := e.GetActivityTaskScheduledEventAttributes(); a != nil {
			entries[a.GetActivityType().GetName()]++
		}
		if m := e.GetMarkerRecordedEventAttributes(); m != nil && m.GetMarkerName() == "LocalActivity" {
			entries["(local)"]++
		}
	}
	require.Equal(t, map[string]int{
		"(local)":                 6, // ResolveImage, ClaimQuota, RecordServer, SelectHost, AllocateNetwork, Activate
		contract.BuildConfigDrive: 1, contract.FetchImage: 1, contract.BuildDisk: 1, contract.DefineDomain: 1, contract.StartDomain: 1,
	}, entries)
}

func bootsFromKernel(t *testing.T, r *rig, image string, configDrive bool) {
	s := r.create(t, servers.CreateOpts{
		Name: "direct", ImageRef: image, FlavorRef: r.flavor, Networks: r.on(), ConfigDrive: &configDrive,
		AdminPass: "of-a-kernel", Metadata: map[string]string{"booted": "directly"},
	})
	ip, mac := address(t, r.active(t, s.ID))
	lines := r.console(t, s.ID)
	require.Contains(t, lines, "root-image dev=vda writable boots=1")
	require.Contains(t, lines, "meta booted=directly")
	all := strings.Join(lines, "\n")
	require.Regexp(t, `(?m)^boot image=kernel-ramdisk `, all)
	require.Regexp(t, `(?m)^nic `+mac+` `+ip+`/24`, all)
	if configDrive {
		require.Contains(t, lines, "admin-pass-sha256="+sum("of-a-kernel"))
	} else {
		require.Contains(t, lines, "config-drive none")
		require.Contains(t, lines, "admin-pass-hash=$6$")
	}
}

func bootsWithInjection(t *testing.T, r *rig, _ string) {
	own := r.wholeDisk(t, r.demoImages)
	t.Cleanup(func() {
		require.NoError(t, images.Delete(context.WithoutCancel(t.Context()), r.demoImages, own).ExtractErr())
	})
	const greeting = "hello from the file that was asked for\n"
	key := r.keyPair(t, "injected")
	older := *r.demo
	older.Microversion = "2.56" // files went away with 2.57
	s := r.createAs(t, &older, keypairs.CreateOptsExt{KeyName: "injected", CreateOptsBuilder: servers.CreateOpts{
		Name: "injected", ImageRef: own, FlavorRef: r.flavor, Networks: r.on(), ConfigDrive: ptr(false), AdminPass: "an-injected-password",
		Metadata:    map[string]string{"by": "injection"},
		Personality: servers.Personality{{Path: "/opt/slipway/greeting", Contents: []byte(greeting)}},
	}})
	ip, mac := address(t, r.active(t, s.ID))
	lines := r.console(t, s.ID)
	for _, want := range []string{
		"config-drive none", "meta by=injection", "public-key injected " + key,
		"file /opt/slipway/greeting sha256=" + sum(greeting), "admin-pass-hash=$6$",
	} {
		require.Contains(t, lines, want)
	}
	require.Regexp(t, `(?m)^nic `+mac+` `+ip+`/24`, strings.Join(lines, "\n"))
}

func bootsWithMoreDisks(t *testing.T, r *rig, image string) {
	flavor := r.makeFlavor(t, flavors.CreateOpts{Name: "disks", RAM: 128, VCPUs: 1, Disk: ptr(2), Ephemeral: ptr(1), Swap: ptr(64)})
	t.Cleanup(func() {
		require.NoError(t, flavors.Delete(context.WithoutCancel(t.Context()), r.admin, flavor).ExtractErr())
	})
	s := r.create(t, servers.CreateOpts{Name: "disks", ImageRef: image, FlavorRef: flavor, Networks: "none", ConfigDrive: ptr(true)})
	require.Empty(t, r.active(t, s.ID).Addresses)
	all := strings.Join(r.console(t, s.ID), "\n")
	require.Regexp(t, `(?m)^root-disk bytes=2147483648 `, all)
	require.Regexp(t, `(?m)^ephemeral-disk bytes=1073741824 `, all)
	require.Regexp(t, `(?m)^swap-disk bytes=67108864 `, all)
}

// bootsWithMappedDisks asks for a part of the flavor's ephemeral and swap disks, the one on a bus of its own with a tag, by which its guest
// finds it.
func bootsWithMappedDisks(t *testing.T, r *rig, image string) {
	flavor := r.makeFlavor(t, flavors.CreateOpts{Name: "mapped", RAM: 128, VCPUs: 1, Disk: ptr(1), Ephemeral: ptr(3), Swap: ptr(64)})
	t.Cleanup(func() {
		require.NoError(t, flavors.Delete(context.WithoutCancel(t.Context()), r.admin, flavor).ExtractErr())
	})
	local := servers.BlockDevice{DestinationType: servers.DestinationLocal, DeleteOnTermination: true}
	root, data, swap := local, local, local
	root.SourceType, root.UUID, root.DiskBus = servers.SourceImage, image, "virtio"
	data.SourceType, data.BootIndex, data.VolumeSize, data.GuestFormat = servers.SourceBlank, -1, 1, "ext4"
	data.DeviceType, data.DiskBus, data.Tag = "disk", "scsi", "data"
	swap.SourceType, swap.BootIndex, swap.VolumeSize, swap.GuestFormat = servers.SourceBlank, -1, 32, "swap"
	s := r.create(t, servers.CreateOpts{
		Name: "mapped", ImageRef: image, FlavorRef: flavor, Networks: "none", ConfigDrive: ptr(true),
		BlockDevice: []servers.BlockDevice{root, data, swap},
		UserData:    []byte("#!/bin/sh\ntr '{' '\\n' </config/openstack/latest/meta_data.json | grep tags\n"),
	})
	r.active(t, s.ID)
	all := strings.Join(r.console(t, s.ID), "\n")
	require.Regexp(t, `(?m)^root-disk bytes=1073741824 dev=vda$`, all)
	require.Regexp(t, `(?m)^ephemeral-disk bytes=1073741824 dev=sda$`, all)
	require.Regexp(t, `(?m)^swap-disk bytes=33554432 dev=vdb$`, all)
	require.Regexp(t, `(?m)^user-data> "type":"disk".*"path":"/dev/sda","tags":\["data"\]`, all)
}

func bootsTwoOnOneNetwork(t *testing.T, r *rig, image string) {
	first := r.create(t, servers.CreateOpts{Name: "first", ImageRef: image, FlavorRef: r.flavor, Networks: r.on(), ConfigDrive: ptr(true)})
	firstIP, firstMAC := address(t, r.active(t, first.ID))
	second := r.create(t, servers.CreateOpts{
		Name: "second", ImageRef: image, FlavorRef: r.flavor, Networks: r.on(), ConfigDrive: ptr(true),
		UserData: []byte("#!/bin/sh\nwhile ! ping -c 1 -W 1 " + firstIP + " >/dev/null; do sleep 1; done\necho reached\n"),
	})
	secondIP, secondMAC := address(t, r.active(t, second.ID))
	require.NotEqual(t, firstIP, secondIP)
	require.NotEqual(t, firstMAC, secondMAC)
	domains := r.domains(t)
	bridge := "<source bridge='" + ids.Bridge(r.network.ID) + "'/>"
	require.Contains(t, domains[first.ID], bridge)
	require.Contains(t, domains[second.ID], bridge)
	require.Contains(t, r.console(t, second.ID), "user-data> reached")
}

// bootsWithoutAnything asks for as little as the API allows, under a name that is nobody's host name.
func bootsWithoutAnything(t *testing.T, r *rig, image string) {
	s := r.create(t, servers.CreateOpts{Name: "サーバー №1", ImageRef: image, FlavorRef: r.flavor, Networks: "auto"})
	require.Len(t, s.AdminPass, 12)
	active := r.active(t, s.ID)
	require.Equal(t, "サーバー №1", active.Name)
	ip, mac := address(t, active)
	require.Regexp(t, `^10\.20\.0\.\d+$`, ip)
	require.Contains(t, r.domains(t)[s.ID], mac)
	r.hasNoAgent(t, s.ID)
}

func failsForDamagedImage(t *testing.T, r *rig, _ string) {
	s := r.create(t, servers.CreateOpts{Name: "damaged", ImageRef: r.damaged(t), FlavorRef: r.flavor, Networks: r.on()})
	failed := r.failed(t, s.ID)
	require.Contains(t, failed.Fault.Message, "checksum")
}

// damaged is an image whose bytes have changed in the store since they were uploaded. No two are the same.
func (r *rig) damaged(t *testing.T) string {
	t.Helper()
	image := r.upload(t, r.demoImages, images.CreateOpts{Name: "damaged", DiskFormat: "raw", ContainerFormat: "bare"}, "", noise(1<<20)...)
	t.Cleanup(func() {
		require.NoError(t, images.Delete(context.WithoutCancel(t.Context()), r.demoImages, image).ExtractErr())
	})
	stored, err := os.OpenFile(filepath.Join(r.Dir, "images", "images", image), os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = stored.WriteAt([]byte("a bit that has rotted"), 4096)
	require.NoError(t, err)
	require.NoError(t, stored.Close())
	return image
}

// noise is an image of a disk without anything on it: a guest of it runs and finds nothing to boot.
func noise(bytes int) []byte {
	data := make([]byte, bytes)
	_, _ = rand.Read(data[512:]) // no boot sector, and no format's magic
	return data
}

func failsForTooLargeFlavor(t *testing.T, r *rig, image string) {
	flavor := r.makeFlavor(t, flavors.CreateOpts{Name: "whale", RAM: 128, VCPUs: 1, Disk: ptr(1 << 20)})
	t.Cleanup(func() {
		require.NoError(t, flavors.Delete(context.WithoutCancel(t.Context()), r.admin, flavor).ExtractErr())
	})
	s := r.create(t, servers.CreateOpts{Name: "whale", ImageRef: image, FlavorRef: flavor, Networks: r.on()})
	failed := r.failed(t, s.ID)
	require.Contains(t, failed.Fault.Message, "No valid host was found. ")
	require.Regexp(t, `DiskFilter removed 1: `+r.Hosts[0]+` \(1048576 GiB of disk asked for, \d+ free\)`, failed.Fault.Message)
}

// failed waits for a build's failure and holds that everything but the row, which tells of it, was given back by then.
func (r *rig) failed(t *testing.T, id string) *servers.Server {
	t.Helper()
	s := r.settled(t, id)
	require.Equal(t, "ERROR", s.Status, r.progress(id))
	require.NotEmpty(t, s.Fault.Message)
	r.givenBack(t, id)
	return s
}

// givenBack waits for the end of a server's workflow, and of the clean-up that it may have left, and holds that the server has nothing but its row.
func (r *rig) givenBack(t *testing.T, id string) {
	t.Helper()
	system.Eventually(t, buildPatience, func() (bool, string) {
		d, err := r.temporal.DescribeWorkflow(t.Context(), ids.ServerWorkflow(id), "")
		require.NoError(t, err)
		return d.RawResponse.GetWorkflowExecutionInfo().GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_FAILED, "the build's workflow has not failed: " + r.progress(id)
	})
	r.idle(t, id)
	require.NotContains(t, r.domains(t), id)
	for _, hostname := range r.Hosts {
		require.NoDirExists(t, r.folder(hostname, id))
	}
	world := r.World(t)
	for _, table := range []string{"claims", "placements", "ports"} {
		for _, row := range world[table] {
			require.NotContains(t, row, id, table)
		}
	}
}
