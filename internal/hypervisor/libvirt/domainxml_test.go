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
	"github.com/slipway-cloud/slipway/internal/hypervisor"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	emulated = platform{arch: "x86_64", tbCache: 64, machines: map[string]bool{"pc": true, "q35": true, "pc-i440fx-7.2": true}}
	withKVM  = platform{arch: "x86_64", kvm: true, uefi: true, machines: emulated.machines}
)

const testUUID = "6c1e1b5c-0f0c-4b52-9d2e-6a5f7f0c9e11"

// server is a server as the build asks for it: overlay, config drive, one port.
func server() hypervisor.Domain {
	dir := "/var/lib/slipway/instances/" + testUUID
	return hypervisor.Domain{
		UUID: testUUID, Name: "slipway-" + testUUID, Title: "web-1", ProjectID: "9f1d", VCPUs: 2, MemoryMiB: 512,
		Disks: []hypervisor.Disk{
			{Path: dir + "/disk", Format: "qcow2", Role: hypervisor.RootDisk, Device: "disk"},
			{Path: dir + "/disk.config", Format: "raw", Role: hypervisor.ConfigDisk, Device: "cdrom"},
		},
		NICs: []hypervisor.NIC{{
			MAC: "fa:16:3e:11:22:33", Bridge: "slw0123456789a", MTU: 1450, PortID: "4f7a2a86-2f5e-4d43-8a51-7a8c2f1f0d01",
		}},
		ConsoleLog: dir + "/console.log",
	}
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
	"as-root":    {server(), platform{arch: "x86_64", machines: emulated.machines, tbCache: 32, runAsRoot: true}},
	"all-disks":  {with(server(), allDisks), emulated},
	"kernel":     {with(server(), direct), emulated},
	"windows":    {with(server(), setProperties("os_type", "windows", "hw_disk_bus", "sata", "hw_vif_model", "e1000", "hw_machine_type", "q35", "hw_video_model", "qxl")), withKVM},
	"scsi-agent": {with(server(), setProperties("hw_disk_bus", "scsi", "hw_scsi_model", "virtio-scsi", "hw_cdrom_bus", "scsi", "hw_qemu_guest_agent", "yes", "hw_rng_model", "virtio")), emulated},
	"usb":        {with(server(), setProperties("hw_disk_bus", "usb")), emulated},
	"uefi":       {with(server(), setProperties("hw_firmware_type", "uefi", "hw_machine_type", "q35")), withKVM},
	"escaped":    {with(server(), func(d *hypervisor.Domain) { d.Title = "</title>\n<x a=\"1\">&\x00 ünï"; d.ProjectID = "<&>" }), emulated},
	"bare":       {hypervisor.Domain{UUID: testUUID, Name: "slipway-" + testUUID, VCPUs: 1, MemoryMiB: 64, Boot: hypervisor.Boot{Kernel: "/k"}}, emulated},
}

func allDisks(d *hypervisor.Domain) {
	d.Disks = append(d.Disks[:1:1],
		hypervisor.Disk{Path: "/i/disk.eph0", Format: "qcow2", Role: hypervisor.EphemeralDisk, Device: "disk"},
		hypervisor.Disk{Path: "/i/disk.swap", Format: "raw", Role: hypervisor.SwapDisk, Device: "disk"},
		hypervisor.Disk{Path: "/i/disk.config", Format: "raw", Role: hypervisor.ConfigDisk, Device: "disk"})
	d.NICs = append(d.NICs[:1:1], hypervisor.NIC{MAC: "fa:16:3e:11:22:34", Bridge: "slwffffffffff"})
}

func direct(d *hypervisor.Domain) {
	d.Boot = hypervisor.Boot{Kernel: "/cache/kernel", Ramdisk: "/cache/ramdisk", CmdLine: "console=ttyS0 root=/dev/vda1"}
}

func setProperties(kv ...string) func(*hypervisor.Domain) {
	return func(d *hypervisor.Domain) {
		d.Properties = map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			d.Properties[kv[i]] = kv[i+1]
		}
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
		"disk bus":       {setProperties("hw_disk_bus", "floppy"), fault.Invalid, "ide, sata, scsi, usb, virtio"},
		"cdrom bus":      {setProperties("hw_cdrom_bus", "virtio"), fault.Invalid, "hw_cdrom_bus"},
		"vif model":      {setProperties("hw_vif_model", "tulip"), fault.Invalid, "hw_vif_model"},
		"video model":    {setProperties("hw_video_model", "voodoo"), fault.Invalid, "hw_video_model"},
		"rng model":      {setProperties("hw_rng_model", "dice"), fault.Invalid, "hw_rng_model"},
		"scsi model":     {setProperties("hw_scsi_model", "aha1542"), fault.Invalid, "hw_scsi_model"},
		"guest agent":    {setProperties("hw_qemu_guest_agent", "maybe"), fault.Invalid, "hw_qemu_guest_agent"},
		"os type":        {setProperties("os_type", "amiga"), fault.Invalid, "linux, windows"},
		"firmware":       {setProperties("hw_firmware_type", "coreboot"), fault.Invalid, "bios, uefi"},
		"no uefi here":   {setProperties("hw_firmware_type", "uefi"), fault.HostUnfit, "UEFI"},
		"machine":        {setProperties("hw_machine_type", "pc-i440fx-99"), fault.HostUnfit, "pc-i440fx-99"},
		"ide on q35":     {setProperties("hw_machine_type", "q35", "hw_disk_bus", "ide"), fault.Invalid, "q35"},
		"architecture":   {setProperties("hw_architecture", "aarch64"), fault.HostUnfit, "aarch64"},
		"no vcpus":       {func(d *hypervisor.Domain) { d.VCPUs = 0 }, fault.Invalid, "vCPU"},
		"no memory":      {func(d *hypervisor.Domain) { d.MemoryMiB = -1 }, fault.Invalid, "memory"},
		"nothing":        {func(d *hypervisor.Domain) { d.Disks = nil }, fault.Invalid, "boot from"},
		"ramdisk alone":  {func(d *hypervisor.Domain) { d.Boot.Ramdisk = "/r" }, fault.Invalid, "kernel_id"},
		"disk format":    {func(d *hypervisor.Domain) { d.Disks[0].Format = "vmdk" }, fault.Internal, "vmdk"},
		"device":         {func(d *hypervisor.Domain) { d.Disks[0].Device = "floppy" }, fault.Internal, "floppy"},
		"no bridge":      {func(d *hypervisor.Domain) { d.NICs[0].Bridge = "" }, fault.Internal, "bridge"},
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

func TestPropertiesAreReadWhateverTheirCaseAndUnknownNamesAreLeftAlone(t *testing.T) {
	doc, _, err := domainXML(with(server(), setProperties("hw_disk_bus", " SCSI ", "hw_architecture", "amd64", "vendor_secret", "x")), emulated)
	require.NoError(t, err)
	require.Contains(t, doc, `bus="scsi"`)
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
