package e2e

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image/jpeg"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/instanceactions"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/test/system"
)

// TestWhatBecomesOfAGuestWithoutAnybodysWord is libvirt's events, and the look that makes up for those that were missed. The
// host looks by itself so rarely here that it does not matter.
func TestWhatBecomesOfAGuestWithoutAnybodysWord(t *testing.T) {
	libvirt := newSocketGate(t, testenv.Libvirt(t).Socket)
	r := newRig(t, system.Options{
		HostSettings: func(s *system.System, _ int) map[string]any {
			// Whose namespace it is the gate cannot tell.
			return map[string]any{"libvirt_socket": libvirt.path, "libvirt_netns": s.Libvirt.NetNS, "resume_guests": true, "sync_power_every": "1h"}
		},
	})
	guest := r.wholeDisk(t, r.demoImages)
	empty := r.upload(t, r.adminImages, images.CreateOpts{Name: "nothing", DiskFormat: "raw", ContainerFormat: "bare"}, "", noise(1<<20)...)
	boot := func(t *testing.T, name, image, script string) string {
		r.hostIsReady(t) // the test before may have killed it
		s := r.create(t, servers.CreateOpts{Name: name, ImageRef: image, FlavorRef: r.flavor, Networks: r.on(), ConfigDrive: ptr(true), UserData: []byte(script)})
		r.active(t, s.ID)
		return s.ID
	}
	// becomes waits until the server is as told and nothing is done to it.
	becomes := func(t *testing.T, id, status string, power int) {
		t.Helper()
		system.Eventually(t, guestPatience, func() (bool, string) {
			s := r.server(t, id)
			return s.Status == status && int(s.PowerState) == power && s.TaskState == "",
				fmt.Sprintf("server %s is %s/%s, power state %d", id, s.Status, s.TaskState, s.PowerState)
		})
	}
	// newest is the last thing that was done to the server, with its first event.
	newest := func(t *testing.T, id string) (instanceactions.InstanceActionDetail, instanceactions.Event) {
		t.Helper()
		pages, err := instanceactions.List(r.demo, id, nil).AllPages(t.Context())
		require.NoError(t, err)
		all, err := instanceactions.ExtractInstanceActions(pages)
		require.NoError(t, err)
		detail, err := instanceactions.Get(t.Context(), r.admin, id, all[0].RequestID).Extract()
		require.NoError(t, err)
		event := instanceactions.Event{}
		if len(*detail.Events) > 0 {
			event = (*detail.Events)[0]
		}
		return detail, event
	}

	t.Run("it shuts itself down: the server is stopped, and starts when somebody says so", func(t *testing.T) {
		id := boot(t, "shuts-down", guest, "#!/bin/sh\npoweroff -f\n")
		becomes(t, id, "SHUTOFF", lifecycle.Shutdown)
		action, event := newest(t, id)
		require.Equal(t, []any{"stop", "", "GuestWentDown", "Success"}, []any{action.Action, action.Message, event.Event, event.Result})
		r.Lose(r.Hosts[0])
		r.Restart(r.Hosts[0])
		r.hostIsReady(t)
		require.Equal(t, "SHUTOFF", r.server(t, id).Status, "a host that comes back leaves it as it is")
		require.NoError(t, servers.Start(t.Context(), r.demo, id).ExtractErr())
		system.Eventually(t, guestPatience, func() (bool, string) {
			pages, err := instanceactions.List(r.demo, id, nil).AllPages(t.Context())
			require.NoError(t, err)
			all, err := instanceactions.ExtractInstanceActions(pages)
			require.NoError(t, err)
			for _, a := range all {
				if a.Action == "start" && r.server(t, id).TaskState == "" {
					return true, ""
				}
			}
			return false, fmt.Sprintf("not started: %+v", all)
		})
	})

	t.Run("its QEMU dies: the server is stopped, with why", func(t *testing.T) {
		id := boot(t, "crashes", empty, "")
		r.killQEMU(t, id)
		becomes(t, id, "SHUTOFF", lifecycle.Crashed)
		action, event := newest(t, id)
		require.Equal(t, []any{"stop", "Error", "GuestWentDown", "Error"}, []any{action.Action, action.Message, event.Event, event.Result})
	})

	t.Run("it is to end with its guest: it does where that shut itself down, and is stopped where its QEMU was ended", func(t *testing.T) {
		r.hostIsReady(t)
		c := system.EC2(t, r.demo.ProviderClient)
		subnets, err := c.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{})
		require.NoError(t, err)
		run := func(image, script string) string {
			t.Helper()
			ran, err := c.RunInstances(t.Context(), &ec2.RunInstancesInput{
				ImageId: ptr(ids.EC2(ids.EC2Machine, image)), InstanceType: "m1.nano", MinCount: ptr(int32(1)), MaxCount: ptr(int32(1)),
				SubnetId: subnets.Subnets[0].SubnetId, UserData: ptr(base64.StdEncoding.EncodeToString([]byte(script))), DisableApiTermination: ptr(true),
				InstanceInitiatedShutdownBehavior: types.ShutdownBehaviorTerminate,
			})
			require.NoError(t, err)
			return *ran.Instances[0].InstanceId
		}
		becomes := func(instance string, want types.InstanceStateName) {
			t.Helper()
			system.Eventually(t, guestPatience, func() (bool, string) {
				found, err := c.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{instance}})
				require.NoError(t, err)
				is := found.Reservations[0].Instances[0].State.Name
				return is == want, fmt.Sprintf("%s is %s", instance, is)
			})
		}
		off := run(guest, "#!/bin/sh\npoweroff -f\n")
		signalled := run(empty, "")
		becomes(signalled, types.InstanceStateNameRunning)
		screen, err := c.GetConsoleScreenshot(t.Context(), &ec2.GetConsoleScreenshotInput{InstanceId: &signalled})
		require.NoError(t, err)
		_, err = jpeg.Decode(base64.NewDecoder(base64.StdEncoding, strings.NewReader(*screen.ImageData)))
		require.NoError(t, err)
		pid, err := qemuOf(r.ServerOf(t, signalled))
		require.NoError(t, err)
		require.NoError(t, unix.Kill(pid, unix.SIGTERM))
		becomes(signalled, types.InstanceStateNameStopped)
		becomes(off, types.InstanceStateNameTerminated) // whatever DisableApiTermination says, as at Amazon
		_, err = c.ModifyInstanceAttribute(t.Context(), &ec2.ModifyInstanceAttributeInput{InstanceId: &signalled, DisableApiTermination: &types.AttributeBooleanValue{Value: ptr(false)}})
		require.NoError(t, err)
		_, err = c.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{signalled}})
		require.NoError(t, err)
	})

	t.Run("its machine goes down: it is started again", func(t *testing.T) {
		id := boot(t, "runs", empty, "")
		r.Lose(r.Hosts[0])
		r.killQEMU(t, id)
		r.Restart(r.Hosts[0])
		system.Eventually(t, guestPatience, func() (bool, string) {
			pid, err := qemuOf(id)
			return err == nil && pid > 0, fmt.Sprintf("no QEMU of %s, which is %s: %v", id, r.server(t, id).Status, err)
		})
		becomes(t, id, "ACTIVE", lifecycle.Running)
	})

	t.Run("it goes while libvirt is not to be had: it is started again", func(t *testing.T) {
		id := boot(t, "runs-too", empty, "")
		libvirt.close(t)
		r.killQEMU(t, id)
		libvirt.open(t)
		system.Eventually(t, guestPatience, func() (bool, string) {
			pid, err := qemuOf(id)
			return err == nil && pid > 0, fmt.Sprintf("no QEMU of %s, which is %s: %v", id, r.server(t, id).Status, err)
		})
		becomes(t, id, "ACTIVE", lifecycle.Running)
	})
}

// qemuOf is the process of a server's guest, 0 where there is none.
func qemuOf(id string) (int, error) {
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, path := range all {
		command, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		program, _, _ := bytes.Cut(command, []byte{0})
		if bytes.Contains(program, []byte("qemu-system")) && bytes.Contains(command, []byte("guest=slipway-"+id)) {
			return strconv.Atoi(filepath.Base(filepath.Dir(path)))
		}
	}
	return 0, nil
}

// killQEMU returns when libvirtd has noticed: who looks before that is told of a guest that runs, and then of one that crashed.
func (r *rig) killQEMU(t *testing.T, id string) {
	t.Helper()
	pid, err := qemuOf(id)
	require.NoError(t, err)
	require.NotZero(t, pid, "no QEMU runs server %s", id)
	require.NoError(t, unix.Kill(pid, unix.SIGKILL))
	l := golibvirt.NewWithDialer(dialers.NewLocal(dialers.WithSocket(r.Libvirt.Socket)))
	require.NoError(t, l.Connect())
	defer func() { require.NoError(t, l.Disconnect()) }()
	system.Eventually(t, gonePatience, func() (bool, string) {
		pid, err := qemuOf(id)
		require.NoError(t, err)
		domain, err := l.DomainLookupByUUID(golibvirt.UUID(uuid.MustParse(id)))
		require.NoError(t, err)
		state, _, err := l.DomainGetState(domain, 0)
		require.NoError(t, err)
		return pid == 0 && golibvirt.DomainState(state) == golibvirt.DomainShutoff, fmt.Sprintf("QEMU %d of server %s goes on, its domain is in state %d", pid, id, state)
	})
}
