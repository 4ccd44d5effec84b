package libvirt

import (
	"encoding/xml"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/imageprops"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	machines = map[string]bool{"pc": true, "q35": true, "pc-i440fx-7.2": true, "pc-q35-7.2": true}
	emulated = platform{arch: "x86_64", virt: way{cpu: plain}, tbCache: 64, machines: machines}
	withKVM  = platform{arch: "x86_64", virt: way{kvm: true, cpu: cpu{mode: hypervisor.HostModel}}, firmware: map[string]bool{"pc": true, "q35": true}, machines: machines}
)

const testUUID = "6c1e1b5c-0f0c-4b52-9d2e-6a5f7f0c9e11"

// server is a server as the build asks for it: overlay, config drive, one port.
func server() hypervisor.Domain {
	dir := "/var/lib/slipway/instances/" + testUUID
	return hypervisor.Domain{
		UUID: testUUID, Name: "slipway-" + testUUID, Title: "web-1", ProjectID: "9f1d", VCPUs: 2, MemoryMiB: 512,
		Disks: []hypervisor.Disk{
			{Path: dir + "/disk", Format: "qcow2", Role: hypervisor.RootDisk, Device: "disk", Backing: "/var/lib/slipway/images/b5a1", BackingFormat: "raw"},
			{Path: dir + "/disk.config", Format: "raw", Role: hypervisor.ConfigDisk, Device: "cdrom"},
		},
		NICs: []hypervisor.NIC{{
			MAC: "fa:16:3e:11:22:33", Bridge: "slw0123456789a", MTU: 1450, PortID: "4f7a2a86-2f5e-4d43-8a51-7a8c2f1f0d01",
		}},
		ConsoleLog: dir + "/console.log",
		Hardware:   asks(nil, nil),
	}
}

// asks is what an image and a flavor ask for with properties that are right in themselves.
func asks(properties, extraSpecs map[string]string) imageprops.Hardware {
	hardware, err := imageprops.Parse(properties, extraSpecs)
	if err != nil {
		panic(err)
	}
	return hardware
}

func with(d hypervisor.Domain, change func(*hypervisor.Domain)) hypervisor.Domain {
	change(&d)
	return d
}

// goldens are the definitions that are kept in testdata; the test against libvirt has it check each by its own schema.
var goldens = map[string]struct {
	domain   hypervisor.Domain
	platform platform
}{
	"emulated":   {server(), emulated},
	"kvm":        {server(), withKVM},
	"all-disks":  {with(server(), allDisks), emulated},
	"mapped":     {with(server(), mapped), emulated},
	"kernel":     {with(server(), direct), emulated},
	"windows":    {with(server(), setProperties("os_type", "windows", "hw_disk_bus", "sata", "hw_vif_model", "e1000", "hw_machine_type", "q35", "hw_video_model", "qxl")), withKVM},
	"scsi-agent": {with(server(), setProperties("hw_disk_bus", "scsi", "hw_scsi_model", "virtio-scsi", "hw_cdrom_bus", "scsi", "hw_qemu_guest_agent", "yes", "hw_rng_model", "virtio")), emulated},
	"usb":        {with(server(), setProperties("hw_disk_bus", "usb")), emulated},
	"uefi":       {with(server(), setProperties("hw_firmware_type", "uefi", "hw_machine_type", "q35")), withKVM},
	"escaped":    {with(server(), func(d *hypervisor.Domain) { d.Title = "</title>\n<x a=\"1\">&\x00 ünï"; d.ProjectID = "<&>" }), emulated},
	"tap":        {with(server(), func(d *hypervisor.Domain) { d.NICs[0].Bridge, d.NICs[0].Tap = "", "tap4f7a2a86-2f" }), emulated},
	"headless":   {with(server(), setProperties("hw_video_model", "none")), emulated},
	"bare":       {hypervisor.Domain{UUID: testUUID, Name: "slipway-" + testUUID, VCPUs: 1, MemoryMiB: 64, Boot: hypervisor.Boot{Kernel: "/k"}, Hardware: asks(nil, nil)}, emulated},
}

func allDisks(d *hypervisor.Domain) {
	d.Disks = append(d.Disks[:1:1],
		hypervisor.Disk{Path: "/i/disk.eph0", Format: "qcow2", Role: hypervisor.EphemeralDisk, Device: "disk"},
		hypervisor.Disk{Path: "/i/disk.swap", Format: "raw", Role: hypervisor.SwapDisk, Device: "disk"},
		hypervisor.Disk{Path: "/i/disk.config", Format: "raw", Role: hypervisor.ConfigDisk, Device: "disk"})
	d.NICs = append(d.NICs[:1:1], hypervisor.NIC{MAC: "fa:16:3e:11:22:34", Bridge: "slwffffffffff", Slot: 0x11})
}

// mapped are disks as a request maps them, each by itself.
func mapped(d *hypervisor.Domain) {
	d.Disks[0].Bus = "scsi"
	d.Disks = append(d.Disks[:1:1],
		hypervisor.Disk{Path: "/i/disk.eph0", Format: "raw", Role: hypervisor.EphemeralDisk, Device: "disk", BootOrder: 2},
		hypervisor.Disk{Path: "/i/disk.eph1", Format: "raw", Role: hypervisor.EphemeralDisk, Device: "cdrom", Bus: "sata", Serial: "ephemeral1"},
		hypervisor.Disk{Path: "/i/disk.swap", Format: "raw", Role: hypervisor.SwapDisk, Device: "disk", Bus: "ide"})
}

func direct(d *hypervisor.Domain) {
	d.Boot = hypervisor.Boot{Kernel: "/i/kernel", Ramdisk: "/i/ramdisk", CmdLine: "console=ttyS0 root=/dev/vda1"}
}

func setProperties(kv ...string) func(*hypervisor.Domain) {
	return func(d *hypervisor.Domain) {
		properties := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			properties[kv[i]] = kv[i+1]
		}
		d.Hardware = asks(properties, nil)
	}
}

func TestADomainsDefinitionIsTheOneThatIsKept(t *testing.T) {
	for name, g := range goldens {
		t.Run(name, func(t *testing.T) {
			doc, digest, err := domainXML(g.domain, g.platform)
			require.NoError(t, err)
			file := filepath.Join("testdata", name+".xml")
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(doc+"\n"), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err, "go test -update writes it")
			require.Equal(t, string(want), doc+"\n")

			var back struct {
				Metadata ownMetadata `xml:"metadata"`
			}
			require.NoError(t, xml.Unmarshal([]byte(doc), &back))
			require.Equal(t, digest, back.Metadata.Server.Definition)
		})
	}
}

func TestTheDigestTellsDefinitionsApart(t *testing.T) {
	_, first, err := domainXML(server(), emulated)
	require.NoError(t, err)
	_, again, err := domainXML(server(), emulated)
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.Len(t, first, 64)
	for name, change := range map[string]func(*hypervisor.Domain){
		"memory":  func(d *hypervisor.Domain) { d.MemoryMiB++ },
		"title":   func(d *hypervisor.Domain) { d.Title = "web-2" },
		"project": func(d *hypervisor.Domain) { d.ProjectID = "other" },
		"nics":    func(d *hypervisor.Domain) { d.NICs = nil },
	} {
		_, other, err := domainXML(with(server(), change), emulated)
		require.NoError(t, err)
		require.NotEqual(t, first, other, name)
	}
}

func TestAnImageOrFlavorThatCannotBeObeyedIsRefusedWithAHelpfulText(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*hypervisor.Domain)
		kind   fault.Kind
		text   string
	}{
		"no uefi here":   {setProperties("hw_firmware_type", "uefi"), fault.HostUnfit, "install the package ovmf"},
		"machine":        {setProperties("hw_machine_type", "pc-i440fx-99"), fault.HostUnfit, "pc-i440fx-99"},
		"architecture":   {setProperties("hw_architecture", "aarch64"), fault.HostUnfit, "aarch64"},
		"no vcpus":       {func(d *hypervisor.Domain) { d.VCPUs = 0 }, fault.Invalid, "vCPU"},
		"no memory":      {func(d *hypervisor.Domain) { d.MemoryMiB = -1 }, fault.Invalid, "memory"},
		"nothing":        {func(d *hypervisor.Domain) { d.Disks = nil }, fault.Invalid, "boot from"},
		"ramdisk alone":  {func(d *hypervisor.Domain) { d.Boot.Ramdisk = "/r" }, fault.Invalid, "kernel_id"},
		"disk format":    {func(d *hypervisor.Domain) { d.Disks[0].Format = "vmdk" }, fault.Internal, "vmdk"},
		"device":         {func(d *hypervisor.Domain) { d.Disks[0].Device = "floppy" }, fault.Internal, "floppy"},
		"no bridge":      {func(d *hypervisor.Domain) { d.NICs[0].Bridge = "" }, fault.Internal, "bridge"},
		"long tap":       {func(d *hypervisor.Domain) { d.NICs[0].Bridge, d.NICs[0].Tap = "", strings.Repeat("t", 16) }, fault.Internal, "15 bytes"},
		"tap and bridge": {func(d *hypervisor.Domain) { d.NICs[0].Tap = "tap4f7a2a86-2f" }, fault.Internal, "beside a bridge"},
		"long bridge":    {func(d *hypervisor.Domain) { d.NICs[0].Bridge = strings.Repeat("b", 16) }, fault.Internal, "15 bytes"},
		"mtu":            {func(d *hypervisor.Domain) { d.NICs[0].MTU = 1 << 17 }, fault.Invalid, "MTU"},
		"too many disks": {fiveIDEDisks, fault.Invalid, "hw_disk_bus"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := domainXML(with(server(), c.change), emulated)
			require.Equal(t, c.kind, fault.KindOf(err), "%v", err)
			require.Contains(t, fault.Public(err), c.text)
		})
	}
}

func fiveIDEDisks(d *hypervisor.Domain) {
	setProperties("hw_disk_bus", "ide")(d)
	for range 4 {
		d.Disks = append(d.Disks, hypervisor.Disk{Path: "/i/d", Format: "raw", Role: hypervisor.EphemeralDisk, Device: "disk"})
	}
}

func TestAHostSaysWhatItLacks(t *testing.T) {
	onlyQ35 := platform{arch: "x86_64", machines: machines, firmware: map[string]bool{"q35": true}, video: map[string]bool{"vga": true, "none": true}}
	for _, c := range []struct {
		change func(*hypervisor.Domain)
		text   string // "" where it lacks nothing
	}{
		{setProperties("hw_firmware_type", "uefi", "hw_machine_type", "pc-q35-7.2"), ""},
		{setProperties("hw_firmware_type", "uefi"), "not made for machine type pc: set hw_machine_type to q35"},
		{setProperties("hw_video_model", "qxl"), "display adapter qxl"},
		{func(d *hypervisor.Domain) {
			setProperties("hw_machine_type", "q35")(d)
			d.Disks[0].Bus = "ide"
		}, "on the ide bus, which this host's machine type q35 does not have"},
		{setProperties("hw_video_model", "vga"), ""},
		{setProperties("hw_video_model", "none"), ""},
		{setProperties("architecture", "i386"), ""},
	} {
		_, _, err := domainXML(with(server(), c.change), onlyQ35)
		if c.text == "" {
			require.NoError(t, err)
			continue
		}
		require.Equal(t, fault.HostUnfit, fault.KindOf(err), "%v", err)
		require.ErrorContains(t, err, c.text)
	}
}

// TestEveryPropertyShowsInTheDefinition holds what each value of each property becomes.
func TestEveryPropertyShowsInTheDefinition(t *testing.T) {
	const always = `<rng model="virtio">`
	for _, c := range []struct {
		property, value string
		has, hasNot     []string
	}{
		{"hw_machine_type", "pc", []string{`machine="pc"`, `dev="hda" bus="ide"`}, nil},
		{"hw_machine_type", "q35", []string{`machine="q35"`, `dev="sda" bus="sata"`}, []string{`bus="ide"`}},
		{"hw_machine_type", "pc-q35-7.2", []string{`machine="pc-q35-7.2"`, `dev="sda" bus="sata"`}, nil},
		{"hw_firmware_type", "bios", nil, []string{"firmware"}},
		{"hw_firmware_type", "uefi", []string{`<os firmware="efi">`, `<feature enabled="no" name="secure-boot">`}, nil},
		{"hw_disk_bus", "virtio", []string{`dev="vda" bus="virtio"`}, []string{`type="scsi"`}},
		{"hw_disk_bus", "scsi", []string{`dev="sda" bus="scsi"`, `type="scsi" index="0" model="virtio-scsi"`}, nil},
		{"hw_disk_bus", "sata", []string{`dev="sda" bus="sata"`}, nil},
		{"hw_disk_bus", "ide", []string{`dev="hda" bus="ide"`, `dev="hdb" bus="ide"`}, nil},
		{"hw_disk_bus", "usb", []string{`dev="sda" bus="usb"`, `type="usb" model="qemu-xhci"`}, nil},
		{"hw_cdrom_bus", "ide", []string{`dev="hda" bus="ide"`}, nil},
		{"hw_cdrom_bus", "sata", []string{`dev="sda" bus="sata"`}, nil},
		{"hw_cdrom_bus", "scsi", []string{`dev="sda" bus="scsi"`, `type="scsi" index="0" model="virtio-scsi"`}, nil},
		{"hw_cdrom_bus", "usb", []string{`dev="sda" bus="usb"`, `type="usb" model="qemu-xhci"`}, nil},
		{"hw_vif_model", "virtio", []string{`<model type="virtio">`}, nil},
		{"hw_vif_model", "e1000", []string{`<model type="e1000">`}, nil},
		{"hw_vif_model", "e1000e", []string{`<model type="e1000e">`}, nil},
		{"hw_vif_model", "igb", []string{`<model type="igb">`}, nil},
		{"hw_vif_model", "ne2k_pci", []string{`<model type="ne2k_pci">`}, nil},
		{"hw_vif_model", "pcnet", []string{`<model type="pcnet">`}, nil},
		{"hw_vif_model", "rtl8139", []string{`<model type="rtl8139">`}, nil},
		{"hw_vif_model", "vmxnet3", []string{`<model type="vmxnet3">`}, nil},
		{"hw_video_model", "none", []string{`<model type="none">`}, []string{"<graphics"}},
		{"hw_video_model", "vga", []string{`<model type="vga">`}, nil},
		{"hw_video_model", "cirrus", []string{`<model type="cirrus">`}, nil},
		{"hw_video_model", "virtio", []string{`<video>`, `<model type="virtio">`}, nil},
		{"hw_video_model", "qxl", []string{`<model type="qxl">`}, nil},
		{"hw_video_model", "bochs", []string{`<model type="bochs">`}, nil},
		{"hw_video_model", "vmvga", []string{`<model type="vmvga">`}, nil},
		{"hw_rng_model", "virtio", []string{`<backend model="random">/dev/urandom</backend>`}, nil},
		{"hw_qemu_guest_agent", "yes", []string{`<target type="virtio" name="org.qemu.guest_agent.0">`}, nil},
		{"hw_qemu_guest_agent", "no", nil, []string{"<channel"}},
		{"os_type", "linux", []string{`<clock offset="utc">`}, []string{"hyperv"}},
		{"os_type", "windows", []string{`<clock offset="localtime">`, `<timer name="hypervclock" present="yes">`, `<relaxed state="on">`}, nil},
		{"os_distro", "debian", nil, []string{"debian"}},
		{"os_require_quiesce", "yes", nil, []string{"quiesce"}},
	} {
		t.Run(c.property+"="+c.value, func(t *testing.T) {
			doc, _, err := domainXML(with(server(), setProperties(c.property, c.value)), withKVM)
			require.NoError(t, err)
			for _, part := range append(c.has, always) {
				require.Contains(t, doc, part)
			}
			for _, part := range c.hasNot {
				require.NotContains(t, doc, part)
			}
		})
	}
	scsi := func(model string) string {
		doc, _, err := domainXML(with(server(), setProperties("hw_disk_bus", "scsi", "hw_scsi_model", model)), withKVM)
		require.NoError(t, err)
		return doc
	}
	for _, model := range []string{"virtio-scsi", "lsilogic", "lsisas1068", "lsisas1078", "vmpvscsi"} {
		require.Contains(t, scsi(model), `type="scsi" index="0" model="`+model+`"`)
	}
}

func TestAFlavorBoundsTheRandomBytesOrForbidsThem(t *testing.T) {
	define := func(specs map[string]string) string {
		doc, _, err := domainXML(with(server(), func(d *hypervisor.Domain) { d.Hardware = asks(nil, specs) }), emulated)
		require.NoError(t, err)
		return doc
	}
	require.NotContains(t, define(map[string]string{"hw_rng:allowed": "False"}), "<rng")
	require.Contains(t, define(map[string]string{"hw_rng:rate_bytes": "2048", "hw_rng:rate_period": "1000"}), `<rate bytes="2048" period="1000">`)
}

func BenchmarkDomainXML(b *testing.B) {
	d := with(server(), allDisks)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := domainXML(d, emulated); err != nil {
			b.Fatal(err)
		}
	}
}
