package bench

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/test/system"
)

// powerReport is what the actions on a guest's power take from the POST until Show says so, and the same calls of libvirt alone.
type powerReport struct{ stop, start, reboot, pause, bareStop, bareStart, bareReboot, barePause series }

func (r *powerReport) rows(line func(what string, ours, raw any, nova string)) {
	line("POST os-stop → SHUTOFF, a guest that is turned off at once", r.stop, r.bareStop, "")
	line("POST os-start → ACTIVE", r.start, r.bareStart, "")
	line("POST reboot, hard → ACTIVE", r.reboot, r.bareReboot, "")
	line("POST pause → PAUSED", r.pause, r.barePause, "")
}

// benchPower does each action to a server's guest and the bare calls to a guest of the same definition, by turns.
func benchPower(b *testing.B, r *powerReport) {
	c := start(b, system.Options{Hypervisor: "libvirt"})
	f, err := os.Open(filepath.Join(testenv.Guest(b), "slipway-demo.qcow2"))
	require.NoError(b, err)
	defer f.Close()
	c.image = system.Upload(b, system.Image(b, c.Demo()), images.CreateOpts{
		Name: "off-at-once", DiskFormat: "qcow2", ContainerFormat: "bare", Properties: map[string]string{"os_shutdown_timeout": "0"},
	}, f)
	id := c.bootActive("none", pollAlone)
	defer c.remove(id)
	bare := newBareGuest(c, id)
	defer bare.remove()
	for range *runs {
		r.pause = append(r.pause, c.acts(id, "pause", nil, "PAUSED"))
		c.acts(id, "unpause", nil, "ACTIVE")
		r.reboot = append(r.reboot, c.acts(id, "reboot", map[string]string{"type": "HARD"}, "ACTIVE"))
		r.stop = append(r.stop, c.acts(id, "os-stop", nil, "SHUTOFF"))
		r.start = append(r.start, c.acts(id, "os-start", nil, "ACTIVE"))

		r.barePause = append(r.barePause, bare.takes(bare.l.DomainSuspend))
		bare.takes(bare.l.DomainResume)
		r.bareReboot = append(r.bareReboot, bare.takes(bare.l.DomainDestroy, bare.define, bare.l.DomainCreate))
		r.bareStop = append(r.bareStop, bare.takes(bare.l.DomainDestroy))
		r.bareStart = append(r.bareStart, bare.takes(bare.l.DomainCreate))
	}
}

// acts asks for an action and waits until Show says that it is done.
func (c *cloud) acts(id, word string, says any, status string) time.Duration {
	began := time.Now()
	_, err := c.compute.Post(context.Background(), c.compute.ServiceURL("servers", id, "action"), map[string]any{word: says}, nil, //nolint:bodyclose // gophercloud closes it
		&gophercloud.RequestOpts{OkCodes: []int{202}})
	require.NoError(c.b, err)
	poll(c.b, pollAlone, func() (bool, string) {
		s, err := servers.Get(context.Background(), c.compute, id).Extract()
		require.NoError(c.b, err)
		return s.Status == status && s.TaskState == "", "server " + id + " is " + s.Status + "/" + s.TaskState
	})
	return time.Since(began)
}

// bareGuest is a guest of a server's definition and base image that Slipway does not know.
type bareGuest struct {
	raw *rawBuild
	l   *golibvirt.Libvirt
	id  string
	xml string
	dom golibvirt.Domain
}

func newBareGuest(c *cloud, id string) *bareGuest {
	g := &bareGuest{raw: newRaw(c, id), l: golibvirt.NewWithDialer(dialers.NewLocal(dialers.WithSocket(c.Libvirt.Socket))), id: uuid.NewString()}
	require.NoError(c.b, g.l.Connect())
	dir := filepath.Join(g.raw.instance, g.id)
	require.NoError(c.b, os.MkdirAll(dir, 0o755))
	g.raw.shell("cd %s && qemu-img create -q -f qcow2 -F qcow2 -b %s disk 1G && cp %s disk.config", dir, g.raw.base, filepath.Join(g.raw.instance, id, "disk.config"))
	g.xml = inXML.ReplaceAllString(strings.ReplaceAll(g.raw.xml, id, g.id), "")
	require.NoError(c.b, g.define(g.dom))
	require.NoError(c.b, g.l.DomainCreate(g.dom))
	return g
}

func (g *bareGuest) define(golibvirt.Domain) (err error) {
	g.dom, err = g.l.DomainDefineXML(g.xml)
	return err
}

func (g *bareGuest) takes(calls ...func(golibvirt.Domain) error) time.Duration {
	began := time.Now()
	for _, call := range calls {
		require.NoError(g.raw.c.b, call(g.dom))
	}
	return time.Since(began)
}

func (g *bareGuest) remove() {
	g.takes(g.l.DomainDestroy, g.l.DomainUndefine)
	require.NoError(g.raw.c.b, os.RemoveAll(filepath.Join(g.raw.instance, g.id)))
	require.NoError(g.raw.c.b, g.l.Disconnect())
}
