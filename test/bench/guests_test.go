package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/remoteconsoles"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/test/system"
)

const (
	keyPresses = 40
	guestRuns  = 3
)

// guestReport is what takes a guest's disk of 1 GiB, or a key press, through Slipway.
type guestReport struct {
	key                     series
	snapshot, bareSnapshot  series // convert and upload, one after the other
	move, bareMove, tarMove series // by cp, by tar over TLS
}

// benchGuests has one guest, on whose disk there is 1 GiB, and two hypervisors.
func benchGuests(b *testing.B, r *guestReport) {
	second := system.OwnLibvirt(b)
	c := start(b, system.Options{Hypervisor: "libvirt", Hosts: 2, HostSettings: func(_ *system.System, i int) map[string]any {
		if i == 1 {
			return map[string]any{"libvirt_socket": second.Socket}
		}
		return nil
	}})
	g := &guestBench{cloud: c, bare: &transferBench{B: b, dir: b.TempDir()}}
	g.bare.certificates("hv1", "hv2")
	require.NoError(b, flavors.Create(context.Background(), system.Compute(b, c.Admin()), flavors.CreateOpts{
		ID: "4GiB", Name: "4GiB", VCPUs: 1, RAM: 128, Disk: gophercloud.IntToPointer(4),
	}).Err)
	created, err := servers.Create(context.Background(), c.compute, servers.CreateOpts{
		Name: "bench", ImageRef: c.image, FlavorRef: "4GiB", ConfigDrive: new(true), Networks: "none",
	}, nil).Extract()
	require.NoError(b, err)
	g.id = created.ID
	defer c.remove(g.id)
	c.waitActive(g.id, pollAlone)
	r.key = g.keyPresses()

	g.power("os-stop", "SHUTOFF")
	g.fill()
	g.power("os-start", "ACTIVE")
	for range guestRuns {
		r.bareSnapshot = append(r.bareSnapshot, g.convertAndUpload())
		r.snapshot = append(r.snapshot, g.snapshot())
	}
	g.power("os-stop", "SHUTOFF")
	for range guestRuns {
		g.link()
		settle()
		r.bareMove = append(r.bareMove, g.bare.shell(`cp --sparse=always from/disk to && sync to`))
		settle()
		r.tarMove = append(r.tarMove, g.bare.shell(g.bare.overTLS()))
		r.move = append(r.move, g.move())
	}
}

type guestBench struct {
	*cloud
	id   string
	bare *transferBench
}

// keyPresses types on the serial console and waits for each echo.
func (g *guestBench) keyPresses() (echoes series) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	poll(g.b, pollCrowd, func() (bool, string) {
		printed, err := servers.ShowConsoleOutput(ctx, g.compute, g.id, servers.ShowConsoleOutputOpts{}).Extract()
		require.NoError(g.b, err)
		return strings.Contains(printed, "slipway-guest: ready in "), "the guest is not ready"
	})
	compute := *g.compute
	compute.Microversion = "2.6"
	opened, err := remoteconsoles.Create(ctx, &compute, g.id, remoteconsoles.CreateOpts{
		Protocol: remoteconsoles.ConsoleProtocolSerial, Type: remoteconsoles.ConsoleTypeSerial,
	}).Extract()
	require.NoError(g.b, err)
	socket, _, err := websocket.Dial(ctx, opened.URL, &websocket.DialOptions{HTTPClient: g.HTTP()}) //nolint:bodyclose // Dial has read it
	require.NoError(g.b, err)
	defer socket.CloseNow() //nolint:errcheck // it was all read
	console := websocket.NetConn(ctx, socket, websocket.MessageBinary)
	var printed strings.Builder
	types := func(text, awaits string) time.Duration {
		buffer := make([]byte, 4096)
		began := time.Now()
		_, err := io.WriteString(console, text)
		require.NoError(g.b, err)
		for !strings.Contains(printed.String(), awaits) {
			n, err := console.Read(buffer)
			require.NoError(g.b, err)
			printed.Write(buffer[:n])
		}
		printed.Reset()
		return time.Since(began)
	}
	types("\recho it is $((6*7))\r", "it is 42\r\n")
	for i := range keyPresses {
		digit := fmt.Sprint(i % 10)
		echoes = append(echoes, types(digit, digit))
	}
	return echoes
}

func (g *guestBench) power(word, status string) {
	g.acts(g.id, word, nil, status)
}

// at is the folder of the guest on its host.
func (g *guestBench) at() string {
	s, err := servers.Get(context.Background(), system.Compute(g.b, g.Admin()), g.id).Extract()
	require.NoError(g.b, err)
	return filepath.Join(g.HostState(s.Host), "instances", g.id)
}

// fill writes 1 GiB that nothing compresses where no filesystem of the guest is.
func (g *guestBench) fill() {
	noise := filepath.Join(g.Dir, "noise")
	const piece = 64 << 20
	args := []string{"-c", `head -c 64M /dev/urandom >"$0" && exec qemu-io "$@"`, noise, "-f", "qcow2", filepath.Join(g.at(), "disk")}
	for at := 0; at < moved; at += piece {
		args = append(args, "-c", fmt.Sprintf("write -s %s %d %d", noise, 1<<30+at, piece))
	}
	out, err := exec.Command("sh", args...).CombinedOutput()
	require.NoError(g.b, err, "%s", out)
	require.NoError(g.b, os.Remove(noise))
}

// snapshot makes an image of the guest, which runs, and waits for it and for the server.
func (g *guestBench) snapshot() time.Duration {
	settle()
	began := time.Now()
	image, err := servers.CreateImage(context.Background(), g.compute, g.id, servers.CreateImageOpts{Name: "1 GiB"}).ExtractImageID()
	require.NoError(g.b, err)
	service := system.Image(g.b, g.Demo())
	poll(g.b, pollAlone, func() (bool, string) {
		i, err := images.Get(context.Background(), service, image).Extract()
		require.NoError(g.b, err)
		return i.Status == images.ImageStatusActive, "the image is " + string(i.Status)
	})
	poll(g.b, pollAlone, func() (bool, string) {
		s, err := servers.Get(context.Background(), g.compute, g.id).Extract()
		require.NoError(g.b, err)
		return s.TaskState == "", "the server's task is " + s.TaskState
	})
	took := time.Since(began)
	require.NoError(g.b, images.Delete(context.Background(), service, image).ExtractErr())
	return took
}

// convertAndUpload is what somebody does who has a shell on the host: the copy, and when that is whole, the upload.
func (g *guestBench) convertAndUpload() time.Duration {
	disk, copied := filepath.Join(g.at(), "disk"), filepath.Join(g.Dir, "copied")
	service := system.Image(g.b, g.Demo())
	image, err := images.Create(context.Background(), service, images.CreateOpts{Name: "1 GiB", DiskFormat: "qcow2", ContainerFormat: "bare"}).Extract()
	require.NoError(g.b, err)
	settle()
	began := time.Now()
	out, err := exec.Command("qemu-img", "convert", "-U", "-f", "qcow2", "-O", "qcow2", disk, copied).CombinedOutput()
	require.NoError(g.b, err, "%s", out)
	f, err := os.Open(copied)
	require.NoError(g.b, err)
	defer f.Close()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPut, service.ServiceURL("images", image.ID, "file"), f)
	require.NoError(g.b, err)
	request.Header.Set("X-Auth-Token", g.Demo().Token())
	request.Header.Set("Content-Type", "application/octet-stream")
	answer, err := g.HTTP().Do(request)
	require.NoError(g.b, err)
	defer answer.Body.Close()
	var text bytes.Buffer
	_, err = text.ReadFrom(answer.Body)
	took := time.Since(began)
	require.NoError(g.b, err)
	require.Equal(g.b, http.StatusNoContent, answer.StatusCode, &text)
	require.NoError(g.b, os.Remove(copied))
	require.NoError(g.b, images.Delete(context.Background(), service, image.ID).ExtractErr())
	return took
}

// link gives the bare tools the guest's disk.
func (g *guestBench) link() {
	from := filepath.Join(g.bare.dir, "from")
	require.NoError(g.b, os.RemoveAll(from))
	require.NoError(g.b, os.Mkdir(from, 0o700))
	require.NoError(g.b, os.Link(filepath.Join(g.at(), "disk"), filepath.Join(from, "disk")))
}

// move has the server, which is off, go to the other host, and confirms it.
func (g *guestBench) move() time.Duration {
	admin := system.Compute(g.b, g.Admin())
	settle()
	began := time.Now()
	require.NoError(g.b, servers.Migrate(context.Background(), admin, g.id).ExtractErr())
	poll(g.b, pollAlone, func() (bool, string) {
		s, err := servers.Get(context.Background(), g.compute, g.id).Extract()
		require.NoError(g.b, err)
		return s.Status == "VERIFY_RESIZE" && s.TaskState == "", "the server is " + s.Status + "/" + s.TaskState
	})
	took := time.Since(began)
	require.NoError(g.b, servers.ConfirmResize(context.Background(), g.compute, g.id).ExtractErr())
	poll(g.b, pollCrowd, func() (bool, string) {
		s, err := servers.Get(context.Background(), g.compute, g.id).Extract()
		require.NoError(g.b, err)
		return s.Status == "SHUTOFF" && s.TaskState == "", "the server is " + s.Status + "/" + s.TaskState
	})
	return took
}

func (r *guestReport) rows(line func(what string, ours, raw any, nova string)) {
	line("a key press on a serial console until its echo, over the proxy", r.key, "", "")
	line("POST createImage → active, a guest that runs and 1 GiB", r.snapshot, r.bareSnapshot, "")
	line("POST migrate → VERIFY_RESIZE, a guest that is off and 1 GiB", r.move, r.tarMove, "")
	line("the same, bare `cp` of its disk", "", r.bareMove, "")
}

func (r *guestReport) text() string {
	return fmt.Sprintf("\nA key press may take 60 ms to be echoed.\n\n"+
		"An image of a running guest takes %.2f times as long as `qemu-img convert` and an upload of the copy, one after the other. It may take\n"+
		"1.25 times as long.\n\n"+
		"A cold move to another host takes %.2f times as long as `tar -S | socat` with certificates on both sides takes for the disk alone, and %.2f\n"+
		"times as long as `cp --sparse=always` and `sync`. It may take 1.3 times the bare copy.\n",
		times(r.snapshot, r.bareSnapshot), times(r.move, r.tarMove), times(r.move, r.bareMove))
}
