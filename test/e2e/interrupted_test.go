package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/test/system"
)

// TestInterruptedBuilds interrupts builds at moments that gates hold: in the middle of an image's download, in front of
// libvirt, and just after the submission was accepted.
func TestInterruptedBuilds(t *testing.T) {
	const imageBytes = 8 << 20
	libvirt := newSocketGate(t, testenv.Libvirt(t).Socket)
	var downloads *imageGate
	r := newRig(t, system.Options{
		Settings: map[string]any{
			"build": map[string]any{"host_lost": "6s", "undo_patience": "3s"},
			"quota": map[string]any{"instances": 20},
		},
		HostSettings: func(s *system.System, _ int) map[string]any {
			downloads = newImageGate(t, s)
			// Whose namespace it is the gate cannot tell.
			return map[string]any{"libvirt_socket": libvirt.path, "libvirt_netns": s.Libvirt.NetNS, "api_url": downloads.URL}
		},
	})
	host := r.Hosts[0]
	cached := r.upload(t, r.adminImages, images.CreateOpts{Name: "cached", DiskFormat: "raw", ContainerFormat: "bare"}, "", noise(1<<20)...)
	ask := func(name, image string) servers.CreateOpts {
		return servers.CreateOpts{Name: name, ImageRef: image, FlavorRef: r.flavor, Networks: r.on(), ConfigDrive: ptr(true)}
	}
	// fresh is an image that the host does not have and whose download stops in its middle.
	fresh := func(t *testing.T) string {
		image := r.upload(t, r.demoImages, images.CreateOpts{Name: "fresh", DiskFormat: "raw", ContainerFormat: "bare"}, "", noise(imageBytes)...)
		t.Cleanup(func() {
			require.NoError(t, images.Delete(context.WithoutCancel(t.Context()), r.demoImages, image).ExtractErr())
		})
		downloads.stop(image)
		return image
	}
	half := func(t *testing.T, image string) {
		system.Eventually(t, buildPatience, func() (bool, string) {
			all := downloads.downloads(image)
			return len(all) == 1 && all[0].bytes >= imageBytes/2, fmt.Sprintf("downloads of the image: %+v", all)
		})
	}
	// calm is the state before and after each test.
	calm := func(t *testing.T) {
		r.hostIsReady(t)
		r.remember(t)
		t.Cleanup(func() {
			libvirt.open(t)
			downloads.openAll()
		})
	}
	// Once without interruption, so that the image is in the host's cache.
	warm := r.create(t, ask("warm", cached))
	r.active(t, warm.ID)
	r.deleted(t, warm.ID)

	for _, process := range []string{host, "worker", "api"} {
		what := map[string]string{host: "host"}[process]
		if what == "" {
			what = process
		}
		t.Run("kill -9 of the "+what+": every build ends, none leaks", func(t *testing.T) {
			calm(t)
			image := fresh(t)
			downloading := r.create(t, ask("in the middle of the download", image))
			half(t, image)
			libvirt.hold()
			defining := r.create(t, ask("in front of libvirt", cached))
			r.runs(t, defining.ID, contract.DefineDomain)
			submitted := r.create(t, ask("just submitted", cached))
			r.Kill(process)
			libvirt.open(t)
			downloads.openAll()
			for _, s := range []*servers.Server{submitted, defining, downloading} {
				r.active(t, s.ID)
				require.Contains(t, r.domains(t), s.ID)
			}
			if process == host {
				all := downloads.downloads(image)
				require.Len(t, all, 2)
				require.Positive(t, all[1].from, "the host started the download anew")
				require.EqualValues(t, imageBytes, all[1].from+all[1].bytes)
			}
		})
	}

	t.Run("kill -9 of the api in the middle of a submission: the client asks again and gets one server", func(t *testing.T) {
		calm(t)
		for _, wait := range []time.Duration{0, 5 * time.Millisecond, 20 * time.Millisecond, 60 * time.Millisecond} {
			as := *r.demo
			as.MoreHeaders = map[string]string{"Idempotency-Key": uuid.NewString()}
			answered := make(chan *servers.Server, 1)
			go func() {
				s, _ := servers.Create(t.Context(), &as, ask("twice", cached), nil).Extract() // lost where the api died first
				answered <- s
			}()
			<-time.After(wait) // the moment is what varies
			r.Kill("api")
			first := <-answered
			var s *servers.Server
			system.Eventually(t, buildPatience, func() (bool, string) {
				var err error
				s, err = servers.Create(t.Context(), &as, ask("twice", cached), nil).Extract()
				return err == nil, fmt.Sprint(err)
			})
			t.Cleanup(func() { r.deleted(t, s.ID) })
			if first.ID != "" {
				require.Equal(t, first.ID, s.ID, "one key, two servers")
			}
			r.active(t, s.ID)
			pages, err := servers.List(r.demo, servers.ListOpts{Name: "twice"}).AllPages(t.Context())
			require.NoError(t, err)
			all, err := servers.ExtractServers(pages)
			require.NoError(t, err)
			require.Len(t, all, 1)
			r.deleted(t, s.ID)
		}
	})

	t.Run("a delete ends a build in the middle of the download", func(t *testing.T) {
		calm(t)
		image := fresh(t)
		s := r.create(t, ask("in the middle of the download", image))
		half(t, image)
		r.deleted(t, s.ID) // the download is still stopped: it is not waited for
		require.Len(t, downloads.downloads(image), 1)
		downloads.openAll()
	})

	t.Run("a delete ends a build in front of libvirt", func(t *testing.T) {
		calm(t)
		libvirt.hold()
		s := r.create(t, ask("in front of libvirt", cached))
		r.runs(t, s.ID, contract.DefineDomain)
		require.NoError(t, servers.Delete(t.Context(), r.demo, s.ID).ExtractErr())
		libvirt.open(t)
		r.gone(t, s.ID)
	})

	t.Run("a delete ends a build that has just been submitted, whenever it comes", func(t *testing.T) {
		calm(t)
		for _, wait := range []time.Duration{0, 20 * time.Millisecond, 60 * time.Millisecond, 150 * time.Millisecond, 400 * time.Millisecond} {
			s := r.create(t, ask("short-lived", cached))
			<-time.After(wait) // the moment is what varies
			require.NoError(t, servers.Delete(t.Context(), r.demo, s.ID).ExtractErr())
			r.gone(t, s.ID)
		}
	})
}

// hostIsReady waits until the scheduler would choose the host: after an interruption its next report has to arrive.
func (r *rig) hostIsReady(t *testing.T) {
	t.Helper()
	system.Eventually(t, buildPatience, func() (bool, string) {
		hosts, err := r.Store.ListHosts(t.Context())
		require.NoError(t, err)
		return hosts[0].Ready && time.Since(hosts[0].SeenAt) < 5*time.Second, fmt.Sprintf("%s: ready %v, seen %s", hosts[0].Hostname, hosts[0].Ready, hosts[0].SeenAt)
	})
}
