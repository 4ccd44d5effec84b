// Package cloudguest boots Debian, with its own systemd and cloud-init (deploy/dev/cloud-guest), and compares what it made of a
// drive, or of what was injected, with what was asked for: `make test-cloud-guest`, which is no part of `make test`.
package cloudguest

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/keypairs"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/mtu"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/guest/configdrive"
	"github.com/slipway-cloud/slipway/test/system"
)

// Debian starts in a minute of a processor of its own, emulated; here several share two.
const (
	buildPatience = 3 * time.Minute
	guestPatience = 12 * time.Minute
	gonePatience  = 3 * time.Minute
)

// What every guest is given.
const (
	password = `R: "s3cr<t" $6$ é`
	key      = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVwdGhlc2xpcHdheWFuZGludG90aGV3YXRlcjEyMzQ1 laptop@example.org"
	file     = "from the request\n"
	diskGiB  = 3
	ownMTU   = 1400
)

const (
	script = "#!/bin/sh\nmkdir -p /opt/given\nid -un >/opt/given/script\n"
	config = "#cloud-config\nwrite_files: [{path: /opt/given/config, content: of cloud-config, permissions: '0640'}]\nruncmd: ['cp /etc/hostname /opt/given/ran']\n"
	vendor = "#!/bin/sh\nmkdir -p /opt/given\nprintf '%s' 'of the operator' >/opt/given/vendor\n"
)

func TestDebiansCloudInitAppliesADrive(t *testing.T) {
	t.Parallel()
	multipart := "Content-Type: multipart/mixed; boundary=\"==b==\"\nMIME-Version: 1.0\n\n" +
		"--==b==\nContent-Type: text/x-shellscript\n\n" + script + "\n" +
		"--==b==\nContent-Type: text/cloud-config\nContent-Transfer-Encoding: base64\n\n" + base64.StdEncoding.EncodeToString([]byte(config)) + "\n--==b==--\n"
	for format, test := range map[string]struct {
		device, userData string
		files            []string
	}{
		configdrive.ISO9660: {"/dev/sr0", packed(t, multipart), []string{
			given("config", "640", "of cloud-config"), given("ran", "644", "debian-one\n"), given("script", "644", "root\n"),
		}},
		configdrive.VFAT: {"/dev/vdb", script, []string{given("script", "644", "root\n")}},
	} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, format)
			s, said := r.boot(t, true, test.userData)

			require.Regexp(t, `(?m)^status status: done$`, said, "cloud-init is not content")
			require.Contains(t, said, "status DataSourceConfigDrive [net,ver=2][source="+test.device+"]")
			require.Regexp(t, `(?m)^datasources datasource_list: \[ ?ConfigDrive, None ?\]`, said)
			require.Contains(t, said, fmt.Sprintf("query %s configdrive config-disk (%s) %s debian-one", s.ID, test.device, s.AvailabilityZone))
			require.Contains(t, said, "\nhostname debian-one\n")
			require.Contains(t, said, "\nssh debian debian 700 debian 600 \n")
			require.Contains(t, said, "\nkey debian "+key+"\n")
			for _, want := range append(test.files, given("asked", "660", file), given("vendor", "644", "of the operator")) {
				require.Contains(t, said, want)
			}
			require.Greater(t, number(t, said, `disk vda1 (\d+)`), diskGiB<<30-2<<20, "the partition did not grow")
			require.Greater(t, number(t, said, `root (\d+)`), diskGiB<<30/10*9, "the filesystem did not grow")
			// virtio's NIC has it of its own, too: what cloud-init reads is a test of internal/guest/configdrive.
			require.Contains(t, said, fmt.Sprintf("link eth0 %s %d\n", r.ports[0].MACAddress, ownMTU))
			r.reached(t, said)
			opens(t, said)
		})
	}
}

func TestDebianFindsWhatWasInjected(t *testing.T) {
	t.Parallel()
	r := newRig(t, configdrive.ISO9660)
	_, said := r.boot(t, false, "")
	require.Contains(t, said, "status status: disabled", "without a drive cloud-init has nothing to do")
	require.Contains(t, said, "\nssh root root 700 root 600 \n")
	require.Contains(t, said, "\nkey root "+key+"\n")
	require.Contains(t, said, "\n"+given("asked", "644", file))
	require.Contains(t, said, "\nmeta {\"role\"")
	r.reached(t, said)
	opens(t, said)
}

// given is the line that tells of a file below /opt/given.
func given(name, mode, contents string) string {
	return fmt.Sprintf("file /opt/given/%s root:root %s %s\n", name, mode, base64.StdEncoding.EncodeToString([]byte(contents)))
}

func packed(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return b.String()
}

// boot builds a server, waits until its guest has said all, and gives the guest's lines. The server goes with the test.
func (r *rig) boot(t *testing.T, drive bool, userData string) (*servers.Server, string) {
	t.Helper()
	o := servers.CreateOpts{
		Name: "Debian One", ImageRef: r.image, FlavorRef: r.flavor, ConfigDrive: &drive, AdminPass: password, UserData: []byte(userData),
		Networks: []servers.Network{{Port: r.ports[0].ID}, {Port: r.ports[1].ID}}, Metadata: map[string]string{"role": "guest"},
		Personality: servers.Personality{{Path: "/opt/given/asked", Contents: []byte(file)}},
	}
	s, err := servers.Create(t.Context(), r.demo, keypairs.CreateOptsExt{KeyName: "laptop", CreateOptsBuilder: o}, nil).Extract()
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), gonePatience)
		defer cancel()
		require.NoError(t, servers.Delete(ctx, r.demo, s.ID).ExtractErr())
		system.Eventually(t, gonePatience, func() (bool, string) {
			_, err := servers.Get(ctx, r.demo, s.ID).Extract()
			return gophercloud.ResponseCodeIs(err, http.StatusNotFound), fmt.Sprintf("the server is still there: %v", err)
		})
	})
	system.Eventually(t, buildPatience, func() (bool, string) {
		s, err = servers.Get(t.Context(), r.demo, s.ID).Extract()
		require.NoError(t, err)
		require.NotEqual(t, "ERROR", s.Status, s.Fault.Message)
		return s.Status == "ACTIVE", s.Status
	})
	var console string
	system.Eventually(t, guestPatience, func() (bool, string) {
		var err error
		console, err = servers.ShowConsoleOutput(t.Context(), r.demo, s.ID, servers.ShowConsoleOutputOpts{}).Extract()
		if err != nil {
			return false, err.Error() // a busy machine's host may not answer in time
		}
		return strings.Contains(console, "cloud-guest: done"), console
	})
	var said strings.Builder
	for line := range strings.Lines(console) {
		if _, line, found := strings.Cut(line, "cloud-guest: "); found {
			said.WriteString(strings.TrimRight(line, "\r\n") + "\n")
		}
	}
	t.Logf("the guest says:\n%s", said.String())
	require.NotRegexp(t, `(?m)^failed `, said.String())
	require.Contains(t, said.String(), "sshd active\n")
	return s, said.String()
}

// reached holds that the guest has the addresses of its ports, on the right NICs, and the gateways of both families.
func (r *rig) reached(t *testing.T, said string) {
	t.Helper()
	for i, p := range r.ports {
		name := "eth" + strconv.Itoa(i)
		require.Contains(t, said, "link "+name+" "+p.MACAddress)
		for _, a := range p.FixedIPs {
			require.Regexp(t, `(?m)^address `+name+` `+regexp.QuoteMeta(a.IPAddress)+`/(20|24|64)$`, said)
		}
	}
	require.Regexp(t, `(?m)^route default via 10\.77\.0\.1 dev eth0`, said)
	require.Regexp(t, `(?m)^route default via fd77::1 dev eth0`, said)
}

// opens holds that the password which was asked for is root's, and that it has not expired.
func opens(t *testing.T, said string) {
	t.Helper()
	hash := field(t, said, `shadow root:([^:]*):[1-9]`)
	crypt := exec.Command("perl", "-e", `print crypt($ENV{PASSWORD}, $ENV{HASH})`) // which knows what Debian's libcrypt knows
	crypt.Env = append(os.Environ(), "PASSWORD="+password, "HASH="+hash)
	answer, err := crypt.Output()
	require.NoError(t, err)
	require.Equal(t, hash, string(answer), "the password does not open root's account")
}

// field is what a line says in the pattern's one group.
func field(t *testing.T, said, pattern string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + pattern).FindStringSubmatch(said)
	require.NotNil(t, found, "no line %s in\n%s", pattern, said)
	return found[1]
}

func number(t *testing.T, said, pattern string) int {
	t.Helper()
	n, err := strconv.Atoi(field(t, said, pattern))
	require.NoError(t, err)
	return n
}

// rig is a Slipway with Debian's image and two ports for a server: of a network with an MTU and of both families, and of the shared one.
type rig struct {
	*system.System
	demo   *gophercloud.ServiceClient
	image  string
	flavor string
	ports  []ports.Port
}

func newRig(t *testing.T, format string) *rig {
	t.Helper()
	vendorData, err := json.Marshal(map[string]string{"cloud-init": vendor})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "vendor.json")
	require.NoError(t, os.WriteFile(path, vendorData, 0o644))
	r := &rig{System: system.Start(t, system.Options{Hypervisor: "libvirt", Settings: map[string]any{
		"build": map[string]any{"config_drive_format": format, "vendordata_jsonfile_path": path},
	}})}
	demo := r.Demo()
	r.demo = system.Compute(t, demo)
	r.demo.Microversion = "2.56" // files went away with 2.57

	flavor, err := flavors.Create(t.Context(), system.Compute(t, r.Admin()), flavors.CreateOpts{
		Name: "debian", RAM: 512, VCPUs: 1, Disk: gophercloud.IntToPointer(diskGiB),
	}).Extract()
	require.NoError(t, err)
	r.flavor = flavor.ID
	image, err := os.Open(filepath.Join(testenv.CloudGuest(t), "cloud-guest.qcow2"))
	require.NoError(t, err)
	defer image.Close()
	r.image = system.Upload(t, system.Image(t, demo), images.CreateOpts{Name: "debian", DiskFormat: "qcow2", ContainerFormat: "bare"}, image)
	_, err = keypairs.Create(t.Context(), r.demo, keypairs.CreateOpts{Name: "laptop", PublicKey: key}).Extract()
	require.NoError(t, err)

	c := system.Network(t, demo)
	shared := r.SharedNetwork(t)
	own, err := networks.Create(t.Context(), c, mtu.CreateOptsExt{CreateOptsBuilder: networks.CreateOpts{Name: "own"}, MTU: ownMTU}).Extract()
	require.NoError(t, err)
	for _, o := range []subnets.CreateOpts{
		{NetworkID: own.ID, IPVersion: gophercloud.IPv4, CIDR: "10.77.0.0/20", DNSNameservers: []string{"9.9.9.9"}},
		{NetworkID: own.ID, IPVersion: gophercloud.IPv6, CIDR: "fd77::/64"},
	} {
		_, err := subnets.Create(t.Context(), c, o).Extract()
		require.NoError(t, err)
	}
	for _, network := range []string{own.ID, shared.ID} {
		p, err := ports.Create(t.Context(), c, ports.CreateOpts{NetworkID: network}).Extract()
		require.NoError(t, err)
		r.ports = append(r.ports, *p)
	}
	return r
}
