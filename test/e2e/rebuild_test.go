package e2e

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/keypairs"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/test/system"
)

func TestARebuiltServerHasAnotherGuestAndOneThatCannotBeRebuiltHasTheOldOneWithItsData(t *testing.T) {
	r := newRig(t, system.Options{})
	guest := r.kernelRamdisk(t, r.demoImages) // it counts on its disk how often it has booted
	unfit := r.upload(t, r.demoImages, images.CreateOpts{
		Name: "of-no-machine", DiskFormat: "raw", ContainerFormat: "bare", Properties: map[string]string{"hw_machine_type": "pc-of-the-future"},
	}, "", noise(1<<20)...)
	key, err := keypairs.Create(t.Context(), r.demo, keypairs.CreateOpts{Name: "anew", PublicKey: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGrlH1ZLRMSYsVNGMdDDSQ8k9qwDPwBkmLIlSsSGd2C5 anew"}).Extract()
	require.NoError(t, err)

	s := r.create(t, servers.CreateOpts{
		Name: "web", ImageRef: guest, FlavorRef: r.flavor, Networks: r.on(), ConfigDrive: ptr(true), UserData: []byte("#!/bin/sh\necho I am old\n"),
	})
	before := r.active(t, s.ID)
	says := func(line string) {
		t.Helper()
		system.Eventually(t, guestPatience, func() (bool, string) {
			log, err := servers.ShowConsoleOutput(t.Context(), r.demo, s.ID, servers.ShowConsoleOutputOpts{}).Extract()
			return err == nil && strings.Contains(log, line), fmt.Sprintf("%v: %s", err, log)
		})
	}
	// rebuild asks and waits until nothing is done to the server any more.
	rebuild := func(fields map[string]any) *servers.Server {
		t.Helper()
		_, err := r.demo.Post(t.Context(), r.demo.ServiceURL("servers", s.ID, "action"), map[string]any{"rebuild": fields}, nil, nil) //nolint:bodyclose // gophercloud closes it
		require.NoError(t, err)
		require.Contains(t, []string{"REBUILD", "ACTIVE"}, r.server(t, s.ID).Status)
		var now *servers.Server
		system.Eventually(t, guestPatience, func() (bool, string) {
			now = r.server(t, s.ID)
			return now.TaskState == "", now.TaskState + ": " + r.progress(s.ID)
		})
		require.Equal(t, "ACTIVE", now.Status)
		require.Equal(t, before.Addresses, now.Addresses)
		return now
	}
	says("writable boots=1")
	says("user-data> I am old")

	rebuild(map[string]any{"imageRef": unfit})
	says("writable boots=2")
	says("user-data> I am old")
	require.Equal(t, before.Image, r.server(t, s.ID).Image)

	now := rebuild(map[string]any{"imageRef": guest, "key_name": key.Name, "user_data": base64.StdEncoding.EncodeToString([]byte("#!/bin/sh\necho I am new\n")), "name": "db"})
	require.Equal(t, []string{"db", "anew"}, []string{now.Name, now.KeyName})
	says("user-data> I am new")
	says("writable boots=1")
	console := r.console(t, s.ID)
	require.True(t, slices.ContainsFunc(console, func(line string) bool { return strings.HasPrefix(line, "public-key anew ssh-ed25519 ") }), "%q", console)
	require.NotContains(t, strings.Join(console, "\n"), "I am old")

	require.NoError(t, servers.Stop(t.Context(), r.demo, s.ID).ExtractErr())
	system.Eventually(t, guestPatience, func() (bool, string) {
		now := r.server(t, s.ID)
		return now.Status == "SHUTOFF" && now.TaskState == "", now.Status
	})
}
