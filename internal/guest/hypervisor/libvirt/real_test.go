package libvirt

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"libvirt.org/go/libvirtxml"

	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor/hypervisortest"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/imageprops"
)

// realOptions are those of the run's libvirtd, for guests below dir.
func realOptions(t *testing.T, dir string) Options {
	env := testenv.Libvirt(t)
	require.NoError(t, CheckReach(dir, ""))
	return Options{
		Socket: env.Socket, TBCacheMiB: 32,
		Virt: hypervisor.Virt{Type: hypervisor.QEMU}, TrialDir: filepath.Join(dir, "trial"),
	}
}

// emptyGuest has nothing on its disk: its firmware looks for something to boot for as long as it runs.
func emptyGuest(t *testing.T) hypervisor.Domain {
	id := uuid.NewString()
	dir := testenv.GuestDir(t)
	disk := filepath.Join(dir, "disk")
	require.NoError(t, os.WriteFile(disk, nil, 0o644))
	require.NoError(t, os.Truncate(disk, 128<<20))
	return hypervisor.Domain{
		UUID: id, Name: namePrefix + id, Title: t.Name(), ProjectID: "test", VCPUs: 1, MemoryMiB: 64,
		Disks:      []hypervisor.Disk{{Path: disk, Format: "raw", Role: hypervisor.RootDisk, Device: "disk"}},
		NICs:       []hypervisor.NIC{{MAC: "fa:16:3e:" + id[0:2] + ":" + id[2:4] + ":" + id[4:6], Bridge: "slw" + id[:8], MTU: 1450, PortID: uuid.NewString(), Slot: 0x10}},
		ConsoleLog: filepath.Join(dir, "console.log"),
	}
}

func removeLater(t *testing.T, h *Hypervisor, d hypervisor.Domain) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, h.Destroy(ctx, d.UUID))
		require.NoError(t, h.Undefine(ctx, d.UUID))
	})
}

func TestLibvirtKeepsTheContract(t *testing.T) {
	o := realOptions(t, testenv.GuestDir(t))
	hypervisortest.Run(t, func(t *testing.T) hypervisor.Hypervisor { return newHypervisor(t, o) }, emptyGuest)
}

func TestLibvirtAcceptsEveryDefinitionByItsSchema(t *testing.T) {
	h := newHypervisor(t, realOptions(t, testenv.GuestDir(t)))
	for name, g := range goldens {
		t.Run(name, func(t *testing.T) {
			id := uuid.NewString()
			g.domain.UUID, g.domain.Name = id, namePrefix+id
			doc, _, err := domainXML(g.domain, g.platform)
			require.NoError(t, err)
			err = h.pool.do(t.Context(), func(c *client) error {
				p, err := h.platformOf(c)
				if err != nil {
					return err
				}
				dom, err := c.DomainDefineXMLFlags(doc, golibvirt.DomainDefineValidate)
				if err == nil {
					return c.DomainUndefineFlags(dom, undefineFlags)
				}
				// The schema is checked first. What comes after it may be that this host has no KVM or no firmware.
				if (g.platform.virt.kvm || g.platform.firmware != nil && len(p.firmware) == 0) && !hasCode(err, uint32(golibvirt.ErrXMLInvalidSchema)) {
					return nil
				}
				return err
			})
			require.NoError(t, err)
		})
	}
}

// TestLibvirtAcceptsWhateverAnImageMayAskFor defines every pair of buses on every machine with every firmware. What shares
// nothing with them, cards and adapters, takes turns until each has been on each machine with each firmware.
func TestLibvirtAcceptsWhateverAnImageMayAskFor(t *testing.T) {
	h := newHypervisor(t, realOptions(t, testenv.GuestDir(t)))
	values, met := map[string][]string{}, map[string]bool{}
	for _, p := range imageprops.Obeyed {
		values[p.Name] = p.Values
	}
	turns := []string{"hw_vif_model", "hw_video_model", "hw_scsi_model", "hw_qemu_guest_agent", "os_type"}
	for _, machine := range []string{"pc", "q35"} {
		for _, firmware := range values["hw_firmware_type"] {
			n := 0
			for _, disk := range values["hw_disk_bus"] {
				for _, cdrom := range values["hw_cdrom_bus"] {
					properties := map[string]string{"hw_machine_type": machine, "hw_firmware_type": firmware, "hw_disk_bus": disk, "hw_cdrom_bus": cdrom}
					for _, name := range turns {
						properties[name] = values[name][n%len(values[name])]
					}
					hardware, err := imageprops.Parse(properties, nil)
					if machine == "q35" && (disk == "ide" || cdrom == "ide") {
						require.Equal(t, fault.Invalid, fault.KindOf(err), "%v: %v", properties, err)
						continue
					}
					require.NoError(t, err, "%v", properties)
					n++
					for _, name := range turns {
						met[machine+firmware+name+properties[name]] = true
					}
					d := server()
					d.UUID = uuid.NewString()
					d.Name, d.Hardware = namePrefix+d.UUID, hardware
					d.NICs[0].Slot = 0x10
					require.NoError(t, h.pool.do(t.Context(), func(c *client) error { return validated(h, c, d) }), "%v", properties)
				}
			}
			for _, name := range turns {
				for _, value := range values[name] {
					require.True(t, met[machine+firmware+name+value], "%s %s has not been tried on %s with %s", name, value, machine, firmware)
				}
			}
		}
	}
}

// validated defines a domain for this host, checked by libvirt's schema, and forgets it.
func validated(h *Hypervisor, c *client, d hypervisor.Domain) error {
	p, err := h.platformOf(c)
	if err != nil {
		return err
	}
	p.virt = way{cpu: plain}
	doc, _, err := domainXML(d, p)
	if err != nil {
		return err
	}
	dom, err := c.DomainDefineXMLFlags(doc, golibvirt.DomainDefineValidate)
	if err != nil {
		return err
	}
	return c.DomainUndefineFlags(dom, undefineFlags)
}

func TestAGuestWithUEFIHasVariablesOfItsOwnForAsLongAsItIsDefined(t *testing.T) {
	h := newHypervisor(t, realOptions(t, testenv.GuestDir(t)))
	caps, err := h.Capabilities(t.Context())
	require.NoError(t, err)
	require.True(t, caps.UEFI, "deploy/dev/install.sh installs the firmware (ovmf)")
	for _, machine := range []string{"pc", "q35"} {
		t.Run(machine, func(t *testing.T) {
			t.Parallel()
			d := emptyGuest(t)
			setProperties("hw_firmware_type", "uefi", "hw_machine_type", machine)(&d)
			removeLater(t, h, d)
			require.NoError(t, h.Define(t.Context(), d))
			require.NoError(t, h.Define(t.Context(), d), "a second try finds what the first one made")
			require.NoError(t, h.Start(t.Context(), d.UUID))
			variables := variablesOf(t, h, d)
			require.FileExists(t, variables)
			require.NoError(t, h.Destroy(t.Context(), d.UUID))
			require.NoError(t, h.Redefine(t.Context(), d))
			require.FileExists(t, variables, "what the guest told its firmware outlives the guest's run, and its definition")
			require.NoError(t, h.Undefine(t.Context(), d.UUID))
			require.NoFileExists(t, variables)
		})
	}
}

// variablesOf is the file of a running domain's UEFI variables: libvirt chooses it at the start.
func variablesOf(t *testing.T, h *Hypervisor, d hypervisor.Domain) string {
	t.Helper()
	var dom libvirtxml.Domain
	id, err := parseUUID(d.UUID)
	require.NoError(t, err)
	require.NoError(t, h.pool.do(t.Context(), func(c *client) error {
		known, err := c.DomainLookupByUUID(id)
		if err != nil {
			return err
		}
		doc, err := c.DomainGetXMLDesc(known, 0)
		if err != nil {
			return err
		}
		return dom.Unmarshal(doc)
	}))
	require.NotNil(t, dom.OS.NVRam)
	require.Contains(t, dom.OS.NVRam.NVRam, d.Name)
	var seen string // libvirtd may have folders of its own in the place of this process's
	require.NoError(t, h.do(t.Context(), "find libvirtd", func(_ context.Context, c *client) error {
		pid, err := c.peer()
		seen = fmt.Sprintf("/proc/%d/root%s", pid, dom.OS.NVRam.NVRam)
		return err
	}))
	return seen
}

func inNamespace(t *testing.T, h *Hypervisor, f func(*netlink.Handle) error) error {
	return h.do(context.WithoutCancel(t.Context()), "look at the network", func(_ context.Context, c *client) error {
		return h.bridges.inNamespace(c, f)
	})
}

// link looks at an interface in libvirtd's network namespace; nil is none.
func link(t *testing.T, h *Hypervisor, name string) netlink.Link {
	var l netlink.Link
	err := inNamespace(t, h, func(n *netlink.Handle) (err error) {
		if l, err = n.LinkByName(name); isNoLink(err) {
			l, err = nil, nil
		}
		return err
	})
	require.NoError(t, err)
	return l
}

func TestANetworksBridgeIsThereWhileAGuestRunsOnItAndNoLonger(t *testing.T) {
	h := newHypervisor(t, realOptions(t, testenv.GuestDir(t)))
	one, two := emptyGuest(t), emptyGuest(t)
	name := one.NICs[0].Bridge
	two.NICs[0].Bridge = name
	for _, d := range []hypervisor.Domain{one, two} {
		removeLater(t, h, d)
		require.NoError(t, h.Define(t.Context(), d))
	}
	require.Nil(t, link(t, h, name), "a domain that is only defined needs no bridge")
	require.NoError(t, h.Start(t.Context(), one.UUID))
	require.NoError(t, h.Start(t.Context(), two.UUID))

	br := link(t, h, name)
	require.NotNil(t, br)
	require.Equal(t, 1450, br.Attrs().MTU)
	require.NotZero(t, br.Attrs().Flags&net.FlagUp)
	require.NoError(t, inNamespace(t, h, func(n *netlink.Handle) error {
		addrs, err := n.AddrList(br, netlink.FAMILY_ALL)
		require.Empty(t, addrs, "the host has no address on its guests' networks")
		off, readErr := os.ReadFile("/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6")
		require.NoError(t, readErr)
		require.Equal(t, "1", strings.TrimSpace(string(off)))
		return err
	}))
	tap := link(t, h, ids.Tap(one.NICs[0].PortID))
	require.NotNil(t, tap, "the tap is named from the port")
	require.Equal(t, br.Attrs().Index, tap.Attrs().MasterIndex)
	require.Equal(t, 1450, tap.Attrs().MTU)

	require.NoError(t, h.Destroy(t.Context(), one.UUID))
	require.NotNil(t, link(t, h, name), "the other guest is still on it")
	require.NoError(t, h.Destroy(t.Context(), two.UUID))
	require.Nil(t, link(t, h, name))
}

func TestATapThatIsThereIsUsedAndLeft(t *testing.T) {
	h := newHypervisor(t, realOptions(t, testenv.GuestDir(t)))
	d := emptyGuest(t)
	d.NICs[0].Bridge, d.NICs[0].Tap = "", ids.Tap(d.NICs[0].PortID)
	removeLater(t, h, d)
	require.NoError(t, h.Define(t.Context(), d))
	require.True(t, fault.Is(h.Start(t.Context(), d.UUID), fault.HostUnfit), "nobody else makes it")

	attrs := netlink.NewLinkAttrs()
	attrs.Name = d.NICs[0].Tap
	tap := &netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR}
	require.NoError(t, inNamespace(t, h, func(n *netlink.Handle) error { return n.LinkAdd(tap) }))
	t.Cleanup(func() {
		require.NoError(t, inNamespace(t, h, func(n *netlink.Handle) error { return n.LinkDel(tap) }))
	})
	require.NoError(t, h.Start(t.Context(), d.UUID))
	require.NoError(t, h.Destroy(t.Context(), d.UUID))
	require.NotNil(t, link(t, h, attrs.Name))
}

func TestABridgeThatSomebodyElseMadeIsUsedAndLeftAlone(t *testing.T) {
	h := newHypervisor(t, realOptions(t, testenv.GuestDir(t)))
	d := emptyGuest(t)
	removeLater(t, h, d)
	d.NICs[0].Bridge = "br-" + d.UUID[:8]
	theirs := netlink.NewLinkAttrs()
	theirs.Name, theirs.MTU = d.NICs[0].Bridge, 1400
	require.NoError(t, inNamespace(t, h, func(n *netlink.Handle) error { return n.LinkAdd(&netlink.Bridge{LinkAttrs: theirs}) }))
	t.Cleanup(func() {
		require.NoError(t, inNamespace(t, h, func(n *netlink.Handle) error { return n.LinkDel(&netlink.Bridge{LinkAttrs: theirs}) }))
	})
	require.NoError(t, h.Define(t.Context(), d))
	require.NoError(t, h.Start(t.Context(), d.UUID))
	require.NoError(t, h.Destroy(t.Context(), d.UUID))
	require.NoError(t, h.Undefine(t.Context(), d.UUID))
	require.NotNil(t, link(t, h, theirs.Name))
	require.Zero(t, link(t, h, theirs.Name).Attrs().Flags&net.FlagUp, "not even its state was changed")

	absent := emptyGuest(t)
	removeLater(t, h, absent)
	absent.NICs[0].Bridge = "br-" + absent.UUID[:8]
	require.NoError(t, h.Define(t.Context(), absent))
	require.Equal(t, fault.HostUnfit, fault.KindOf(h.Start(t.Context(), absent.UUID)), "nor is one made in its place")
	require.Nil(t, link(t, h, absent.NICs[0].Bridge))
}

func TestStartingAndStoppingOnOneBridgeDoNotRace(t *testing.T) {
	h := newHypervisor(t, realOptions(t, testenv.GuestDir(t)))
	guests := []hypervisor.Domain{emptyGuest(t), emptyGuest(t), emptyGuest(t)}
	name := guests[0].NICs[0].Bridge
	errs := make([]error, len(guests))
	var wg sync.WaitGroup
	for i, d := range guests {
		d.NICs[0].Bridge = name
		removeLater(t, h, d)
		require.NoError(t, h.Define(t.Context(), d))
		wg.Go(func() {
			for range 4 {
				errs[i] = errors.Join(errs[i], h.Start(t.Context(), d.UUID), h.Destroy(t.Context(), d.UUID))
			}
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	require.Nil(t, link(t, h, name))
}

func TestADiskThatIsMissingMakesTheHostUnfitAndLeavesNoBridge(t *testing.T) {
	h := newHypervisor(t, realOptions(t, testenv.GuestDir(t)))
	d := emptyGuest(t)
	removeLater(t, h, d)
	require.NoError(t, os.Remove(d.Disks[0].Path))
	require.NoError(t, h.Define(t.Context(), d))
	err := h.Start(t.Context(), d.UUID)
	require.Equal(t, fault.HostUnfit, fault.KindOf(err), "%v", err)
	require.Contains(t, fault.Public(err), "No such file or directory")
	require.NotContains(t, fault.Public(err), filepath.Dir(d.Disks[0].Path))
	require.Contains(t, err.Error(), d.Disks[0].Path)
	require.Nil(t, link(t, h, d.NICs[0].Bridge))
	state, err := h.State(t.Context(), d.UUID)
	require.NoError(t, err)
	require.NotEqual(t, hypervisor.Running, state)
}

func TestADomainThatSlipwayDidNotMakeIsNeitherTakenOverNorListed(t *testing.T) {
	h := newHypervisor(t, realOptions(t, testenv.GuestDir(t)))
	d := emptyGuest(t)
	removeLater(t, h, d)
	foreign := fmt.Sprintf(`<domain type='qemu'><name>%s</name><uuid>%s</uuid><memory unit='MiB'>64</memory><os><type>hvm</type></os></domain>`, d.Name, d.UUID)
	own := emptyGuest(t)
	removeLater(t, h, own)
	other := fmt.Sprintf(`<domain type='qemu'><name>theirs-%s</name><uuid>%s</uuid><memory unit='MiB'>64</memory><os><type>hvm</type></os></domain>`, own.UUID, own.UUID)
	for _, doc := range []string{foreign, other} {
		require.NoError(t, h.pool.do(t.Context(), func(c *client) error {
			_, err := c.DomainDefineXMLFlags(doc, 0)
			return err
		}))
	}
	require.Equal(t, fault.Conflict, fault.KindOf(h.Define(t.Context(), d)))
	list, err := h.List(t.Context())
	require.NoError(t, err)
	for _, s := range list {
		require.NotEqual(t, own.UUID, s.UUID)
	}
}

// proxy stands between a Hypervisor and libvirtd and can break like it.
type proxy struct {
	path, to string
	listener net.Listener

	mu     sync.Mutex
	conns  []net.Conn
	opened int
	mute   bool // take what comes from now on, answer nothing
	wg     sync.WaitGroup
}

func newProxy(t *testing.T, to string) *proxy {
	p := &proxy{path: filepath.Join(t.TempDir(), "sock"), to: to}
	p.listen(t)
	t.Cleanup(p.stop)
	return p
}

func (p *proxy) listen(t *testing.T) {
	var err error
	p.listener, err = net.Listen("unix", p.path)
	require.NoError(t, err)
	p.wg.Go(func() {
		for {
			near, err := p.listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("unix", p.to)
			if err != nil {
				near.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, near, far)
			p.opened++
			p.mu.Unlock()
			p.wg.Go(func() { io.Copy(far, near); far.Close() })
			p.wg.Go(func() { p.answers(near, far); near.Close() })
		}
	})
}

func (p *proxy) answers(near, far net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := far.Read(buf)
		p.mu.Lock()
		mute := p.mute
		p.mu.Unlock()
		if !mute {
			near.Write(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

func (p *proxy) setMute(m bool) { p.mu.Lock(); p.mute = m; p.mu.Unlock() }

// stop ends everything, as libvirtd does when it is stopped.
func (p *proxy) stop() {
	p.listener.Close()
	p.mu.Lock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
	p.mu.Unlock()
	p.wg.Wait()
}

func TestARestartOfLibvirtdIsNotNoticedByTheNextCall(t *testing.T) {
	o := realOptions(t, testenv.GuestDir(t))
	p := newProxy(t, o.Socket)
	o.Socket = p.path
	h := newHypervisor(t, o)
	d := emptyGuest(t)
	removeLater(t, h, d)
	require.NoError(t, h.Define(t.Context(), d))
	require.NoError(t, h.Start(t.Context(), d.UUID))
	require.Equal(t, 1, p.opened, "one call after the other shares a connection")

	p.stop()
	requireAllUnavailable(t, h, t.Context())
	p.listen(t)
	state, err := h.State(t.Context(), d.UUID)
	require.NoError(t, err)
	require.Equal(t, hypervisor.Running, state)

	p.stop()
	p.listen(t) // this time nobody called in between, so the kept connection is found dead when it is used
	require.NoError(t, h.Destroy(t.Context(), d.UUID))
}

func TestALibvirtdThatStopsAnsweringInTheMiddleEndsTheCallByItsDeadline(t *testing.T) {
	o := realOptions(t, testenv.GuestDir(t))
	p := newProxy(t, o.Socket)
	o.Socket = p.path
	h := newHypervisor(t, o)
	d := emptyGuest(t)
	removeLater(t, h, d)
	require.NoError(t, h.Define(t.Context(), d))

	p.setMute(true)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := h.Start(ctx, d.UUID)
	require.Less(t, time.Since(start), 5*time.Second)
	require.Equal(t, fault.Unavailable, fault.KindOf(err), "%v", err)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	p.setMute(false)
	require.NoError(t, h.Start(t.Context(), d.UUID))
}

func TestAConnectionThatBreaksWhileACallRunsIsUnavailable(t *testing.T) {
	o := realOptions(t, testenv.GuestDir(t))
	p := newProxy(t, o.Socket)
	o.Socket = p.path
	h := newHypervisor(t, o)
	p.setMute(true)
	failed := make(chan error, 1)
	go func() { _, err := h.List(t.Context()); failed <- err }()
	require.Eventually(t, func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.opened == 1 }, 10*time.Second, time.Millisecond)
	p.stop()
	err := <-failed
	require.Equal(t, fault.Unavailable, fault.KindOf(err), "%v", err)
	p.setMute(false)
	p.listen(t)
	_, err = h.List(t.Context())
	require.NoError(t, err)
}

func TestGuestsStartWithWhateverDevicesTheirImageAsksFor(t *testing.T) {
	h := newHypervisor(t, realOptions(t, testenv.GuestDir(t)))
	for name, properties := range map[string][]string{
		"ide, rtl8139, cirrus":      {"hw_disk_bus", "ide", "hw_vif_model", "rtl8139", "hw_video_model", "cirrus"},
		"scsi, agent, vga":          {"hw_disk_bus", "scsi", "hw_cdrom_bus", "scsi", "hw_qemu_guest_agent", "yes", "hw_video_model", "vga"},
		"lsilogic, e1000, bochs":    {"hw_disk_bus", "scsi", "hw_scsi_model", "lsilogic", "hw_vif_model", "e1000", "hw_video_model", "bochs"},
		"lsisas1068, ne2k_pci, qxl": {"hw_disk_bus", "scsi", "hw_scsi_model", "lsisas1068", "hw_vif_model", "ne2k_pci", "hw_video_model", "qxl"},
		"lsisas1078, pcnet, vmvga":  {"hw_disk_bus", "scsi", "hw_scsi_model", "lsisas1078", "hw_vif_model", "pcnet", "hw_video_model", "vmvga"},
		"pvscsi, no video":          {"hw_disk_bus", "scsi", "hw_scsi_model", "vmpvscsi", "hw_video_model", "none"},
		"sata on q35, e1000e":       {"hw_machine_type", "q35", "hw_disk_bus", "sata", "hw_vif_model", "e1000e"},
		"virtio on q35":             {"hw_machine_type", "q35", "hw_video_model", "virtio"},
		"usb, windows":              {"hw_disk_bus", "usb", "hw_cdrom_bus", "usb", "os_type", "windows", "hw_vif_model", "vmxnet3"},
		"uefi, virtio-scsi":         {"hw_firmware_type", "uefi", "hw_disk_bus", "scsi", "hw_cdrom_bus", "sata"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := emptyGuest(t)
			removeLater(t, h, d)
			setProperties(properties...)(&d)
			config := d.Disks[0].Path + ".config"
			require.NoError(t, os.WriteFile(config, make([]byte, 1<<20), 0o644))
			d.Disks = append(d.Disks, hypervisor.Disk{Path: config, Format: "raw", Role: hypervisor.ConfigDisk, Device: "cdrom"})
			require.NoError(t, h.Define(t.Context(), d))
			require.NoError(t, h.Start(t.Context(), d.UUID))
		})
	}
}

func TestADeviceThatThisHostsQEMULacksMayBeHadOnAnother(t *testing.T) {
	h := newHypervisor(t, realOptions(t, testenv.GuestDir(t)))
	for name, properties := range map[string][]string{
		"machine": {"hw_machine_type", "pc-i440fx-99.0"},
		"card":    {"hw_vif_model", "igb"}, // of QEMU 8.0
	} {
		d := emptyGuest(t)
		removeLater(t, h, d)
		setProperties(properties...)(&d)
		err := h.Define(t.Context(), d)
		if err == nil {
			err = h.Start(t.Context(), d.UUID)
		}
		if name == "card" && err == nil {
			continue // this QEMU is newer
		}
		require.Equal(t, fault.HostUnfit, fault.KindOf(err), "%s: %v", name, err)
		require.Contains(t, fault.Public(err), properties[1])
	}
}

func BenchmarkLibvirt(b *testing.B) {
	env := testenv.Libvirt(b)
	h, err := New(Options{Socket: env.Socket, Virt: hypervisor.Virt{Type: hypervisor.QEMU}})
	require.NoError(b, err)
	defer h.Close()
	d := with(server(), allDisks)
	defer h.Undefine(context.Background(), d.UUID)
	b.Run("Define and Undefine", func(b *testing.B) {
		for b.Loop() {
			require.NoError(b, errors.Join(h.Define(b.Context(), d), h.Undefine(b.Context(), d.UUID)))
		}
	})
	require.NoError(b, h.Define(b.Context(), d))
	b.Run("State", func(b *testing.B) {
		for b.Loop() {
			_, err := h.State(b.Context(), d.UUID)
			require.NoError(b, err)
		}
	})
	b.Run("connect", func(b *testing.B) {
		for b.Loop() {
			c, err := h.pool.open(b.Context())
			require.NoError(b, err)
			c.conn.Close()
		}
	})
}

// cachedFile is how a file of the cache is, down to its bytes.
type cachedFile struct {
	uid, gid uint32
	mode     os.FileMode
	content  string
}

func lookAt(t *testing.T, path string) cachedFile {
	t.Helper()
	info, err := os.Lstat(path)
	require.NoError(t, err)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	st := info.Sys().(*syscall.Stat_t)
	sum := sha256.Sum256(text)
	return cachedFile{st.Uid, st.Gid, info.Mode(), hex.EncodeToString(sum[:])}
}

// TestTheImageThatGuestsShareStaysWhoseItIs starts two guests on one image of the cache: libvirt gives them their own files,
// and neither can write, or be given, the one that they share.
func TestTheImageThatGuestsShareStaysWhoseItIs(t *testing.T) {
	h := newHypervisor(t, realOptions(t, testenv.GuestDir(t)))
	for _, format := range []string{"raw", "qcow2"} {
		t.Run(format, func(t *testing.T) {
			cache := filepath.Join(testenv.GuestDir(t), "images")
			require.NoError(t, os.Mkdir(cache, 0o711))
			base := filepath.Join(cache, "base")
			out, err := exec.Command("qemu-img", "create", "-q", "-f", format, base, "64M").CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.NoError(t, os.Chmod(base, 0o444))
			before := lookAt(t, base)
			var guests []hypervisor.Domain
			for range 2 {
				d := emptyGuest(t)
				removeLater(t, h, d)
				dir := filepath.Dir(d.ConsoleLog)
				overlay := filepath.Join(dir, "overlay")
				out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-F", format, "-b", base, overlay).CombinedOutput()
				require.NoError(t, err, "%s", out)
				require.NoError(t, os.Chmod(overlay, 0o600))
				d.Disks[0].Path, d.Disks[0].Format, d.Disks[0].Backing, d.Disks[0].BackingFormat = overlay, "qcow2", base, format
				require.NoError(t, h.Define(t.Context(), d))
				require.NoError(t, h.Start(t.Context(), d.UUID))
				require.Equal(t, before, lookAt(t, base), "started")
				guests = append(guests, d)
			}
			for _, d := range guests {
				state, err := h.State(t.Context(), d.UUID)
				require.NoError(t, err)
				require.Equal(t, hypervisor.Running, state)
				own := lookAt(t, d.Disks[0].Path)
				require.NotZero(t, own.uid, "libvirt gives QEMU's user the guest's own disk")
				asQEMU(t, own, "test -r "+base+" && ! test -w "+base+" && ! chmod u+w "+base+" 2>/dev/null && ! ls "+cache+" 2>/dev/null && ! touch "+cache+"/x 2>/dev/null")
			}
			require.NoError(t, h.Destroy(t.Context(), guests[0].UUID))
			require.Equal(t, before, lookAt(t, base), "one of two stopped")
			require.NoError(t, h.Start(t.Context(), guests[0].UUID))
			for _, d := range guests {
				require.NoError(t, h.Destroy(t.Context(), d.UUID))
				require.NoError(t, h.Undefine(t.Context(), d.UUID))
			}
			require.Equal(t, before, lookAt(t, base), "all gone")
		})
	}
}

// asQEMU runs a script as the user that a guest's files were given to.
func asQEMU(t *testing.T, own cachedFile, script string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: own.uid, Gid: own.gid}}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// TestAnOverlayThatQEMUHasWrittenNamesNoOtherFile holds what a guest that broke out of QEMU gains by its overlay's header: at
// the next start libvirt neither opens nor gives away the file that it names.
func TestAnOverlayThatQEMUHasWrittenNamesNoOtherFile(t *testing.T) {
	h := newHypervisor(t, realOptions(t, testenv.GuestDir(t)))
	d := emptyGuest(t)
	removeLater(t, h, d)
	dir := filepath.Dir(d.ConsoleLog)
	base, secret, overlay := filepath.Join(dir, "base"), filepath.Join(dir, "secret"), filepath.Join(dir, "overlay")
	for path, mode := range map[string]os.FileMode{base: 0o444, secret: 0o600} {
		require.NoError(t, os.WriteFile(path, make([]byte, 1<<20), mode))
	}
	for _, backing := range []string{base, secret} {
		out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", backing, overlay).CombinedOutput()
		require.NoError(t, err, "%s", out)
		d.Disks[0].Path, d.Disks[0].Format, d.Disks[0].Backing, d.Disks[0].BackingFormat = overlay, "qcow2", base, "raw"
		require.NoError(t, h.Define(t.Context(), d))
		before := lookAt(t, secret)
		require.NoError(t, h.Start(t.Context(), d.UUID))
		require.Equal(t, before, lookAt(t, secret))
		require.NoError(t, h.Destroy(t.Context(), d.UUID))
		require.Equal(t, before, lookAt(t, secret))
	}
}

// TestLibvirtGivesAKernelAway is why servers have copies of their own: the day it fails, they need none.
func TestLibvirtGivesAKernelAway(t *testing.T) {
	h := newHypervisor(t, realOptions(t, testenv.GuestDir(t)))
	d := emptyGuest(t)
	removeLater(t, h, d)
	dir := filepath.Dir(d.ConsoleLog)
	// QEMU takes what begins as a multiboot kernel (the flags say that the addresses are in the header).
	kernel := make([]byte, 8192)
	for i, v := range []uint32{0x1badb002, 0x10000, ^uint32(0x1badb002+0x10000) + 1, 0x100000, 0x100000, 0x102000, 0x102000, 0x100020} {
		binary.LittleEndian.PutUint32(kernel[4*i:], v)
	}
	copy(kernel[0x20:], []byte{0xf4, 0xeb, 0xfd}) // hlt; jmp
	d.Boot.Kernel = filepath.Join(dir, "kernel")
	require.NoError(t, os.WriteFile(d.Boot.Kernel, kernel, 0o444))
	require.NoError(t, h.Define(t.Context(), d))
	require.NoError(t, h.Start(t.Context(), d.UUID))
	require.NotZero(t, lookAt(t, d.Boot.Kernel).uid)
	require.NoError(t, h.Destroy(t.Context(), d.UUID))
}
