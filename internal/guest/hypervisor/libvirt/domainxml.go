package libvirt

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"maps"
	"slices"
	"strings"

	"libvirt.org/go/libvirtxml"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/imageprops"
)

// metadataNS is the XML namespace of Slipway's element in a domain's <metadata>
// (https://libvirt.org/formatdomain.html#general-metadata: every application's top-level element has one of its own).
const metadataNS = "https://slipway.cloud/xmlns/libvirt/domain/1.0"

// defaultTBCacheMiB bounds what QEMU keeps of translated guest code. Unbounded it grew to 1.3 GB for a guest of 512 MiB.
const defaultTBCacheMiB = 64

// maxMTU is the largest that the kernel gives a bridge or tap.
const maxMTU = 65535

// platform is what the domain XML depends on beside the domain itself: what this host's libvirt can do and how Slipway is
// set up here.
type platform struct {
	arch    string
	version int // QEMU's, as hypervisor.Capabilities has it
	virt    way
	// offersKVM is libvirt's word, which only a trial proves.
	offersKVM bool
	machines  map[string]bool
	// firmware are the machine types, of those that were asked about, that UEFI firmware is installed for.
	firmware map[string]bool
	// video are the models of display adapters that QEMU has; nil is not known.
	video   map[string]bool
	tbCache int // MiB
	// usual are the machine types of servers whose image names none, by architecture; others are imageprops'.
	usual map[string]string
}

// domainXML renders the definition of a domain. It is a pure function: it fails, with a text for the owner of the image or
// the server, before anything is touched.
//
// The definition carries a digest of itself in its metadata: libvirt adds addresses, aliases and defaults to what it is
// given, so comparing what it returns with what we would ask for cannot tell whether the two are the same.
func domainXML(d hypervisor.Domain, p platform) (doc, digest string, err error) {
	dom, err := newDomain(d, p)
	if err != nil {
		return "", "", err
	}
	dom.Metadata = metadata(d, "")
	if doc, err = dom.Marshal(); err == nil {
		sum := sha256.Sum256([]byte(doc))
		digest = hex.EncodeToString(sum[:])
		dom.Metadata = metadata(d, digest)
		doc, err = dom.Marshal()
	}
	if err != nil {
		return "", "", fault.Wrap(fault.Internal, err, "The definition of server %s could not be written.", d.UUID)
	}
	return doc, digest, nil
}

func metadata(d hypervisor.Domain, digest string) *libvirtxml.DomainMetadata {
	return &libvirtxml.DomainMetadata{XML: fmt.Sprintf(
		`<slipway:server xmlns:slipway="%s" definition="%s"><slipway:name>%s</slipway:name><slipway:project>%s</slipway:project></slipway:server>`,
		metadataNS, digest, escape(d.Title), escape(d.ProjectID))}
}

// ownMetadata is the reverse of metadata, as far as Slipway reads it back.
type ownMetadata struct {
	Server *struct {
		Definition string `xml:"definition,attr"`
	} `xml:"https://slipway.cloud/xmlns/libvirt/domain/1.0 server"`
}

func escape(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a bytes.Buffer does not fail
	return b.String()
}

func newDomain(d hypervisor.Domain, p platform) (*libvirtxml.Domain, error) {
	hw, err := p.fit(d.Hardware)
	if err != nil {
		return nil, err
	}
	if err := validate(d); err != nil {
		return nil, err
	}
	dom := &libvirtxml.Domain{
		Type: p.virt.domainType(),
		Name: d.Name,
		UUID: d.UUID,
		// libvirt refuses a title of more than one line.
		Title:  strings.Join(strings.Fields(d.Title), " "),
		Memory: &libvirtxml.DomainMemory{Value: uint(d.MemoryMiB), Unit: "MiB"},
		VCPU:   &libvirtxml.DomainVCPU{Placement: "static", Value: uint(d.VCPUs)},
		OS: &libvirtxml.DomainOS{
			Type:    &libvirtxml.DomainOSType{Arch: p.arch, Machine: hw.Machine, Type: "hvm"},
			Kernel:  d.Boot.Kernel,
			Initrd:  d.Boot.Ramdisk,
			Cmdline: d.Boot.CmdLine,
			SMBios:  &libvirtxml.DomainSMBios{Mode: "sysinfo"},
		},
		// cloud-init and others recognize their cloud and the instance's id here, before any network or disk is up.
		SysInfo: []libvirtxml.DomainSysInfo{{SMBIOS: &libvirtxml.DomainSysInfoSMBIOS{
			System: &libvirtxml.DomainSysInfoSystem{Entry: []libvirtxml.DomainSysInfoEntry{
				{Name: "manufacturer", Value: "Slipway"},
				{Name: "product", Value: "Slipway"},
				{Name: "uuid", Value: d.UUID},
				{Name: "family", Value: "Virtual Machine"},
			}},
		}}},
		Features: &libvirtxml.DomainFeatureList{
			ACPI: &libvirtxml.DomainFeature{},
			APIC: &libvirtxml.DomainFeatureAPIC{},
		},
		Clock:      &libvirtxml.DomainClock{Offset: "utc"},
		OnPoweroff: "destroy",
		OnReboot:   "restart",
		// A crashed guest is shown as such and not restarted behind its owner's back.
		OnCrash: "destroy",
		Devices: &libvirtxml.DomainDeviceList{
			// No balloon; no USB either unless something hangs on it: libvirt adds a controller by itself
			// when none is named, and the guest's firmware and kernel spend time on it.
			MemBalloon: &libvirtxml.DomainMemBalloon{Model: "none"},
		},
	}
	if hw.UEFI() {
		// libvirt takes the first installed firmware that fits and makes the domain's own variables of its template. Not
		// secure, as Nova has it unless asked: what checks signatures would refuse most images' loaders.
		dom.OS.Firmware = "efi"
		dom.OS.FirmwareInfo = &libvirtxml.DomainOSFirmwareInfo{Features: []libvirtxml.DomainOSFirmwareFeature{{Name: "secure-boot", Enabled: "no"}}}
	}
	dom.CPU = p.virt.cpu.xml(p.virt.kvm)
	if p.virt.kvm {
		// As Nova's libvirt driver: timers that keep time in a guest that does not always run.
		dom.Clock.Timer = []libvirtxml.DomainTimer{
			{Name: "pit", TickPolicy: "delay"},
			{Name: "rtc", TickPolicy: "catchup"},
			{Name: "hpet", Present: "no"},
		}
	} else {
		size := p.tbCache
		if size <= 0 {
			size = defaultTBCacheMiB
		}
		dom.Features.TCG = &libvirtxml.DomainFeatureTCG{TBCache: &libvirtxml.DomainFeatureTCGTBCache{Unit: "MiB", Size: uint(size)}}
	}
	if hw.OSType == "windows" {
		dom.Clock.Offset = "localtime"
		if p.virt.kvm {
			on := func() *libvirtxml.DomainFeatureState { return &libvirtxml.DomainFeatureState{State: "on"} }
			dom.Features.HyperV = &libvirtxml.DomainFeatureHyperV{
				Relaxed: on(), VAPIC: on(),
				Spinlocks: &libvirtxml.DomainFeatureHyperVSpinlocks{DomainFeatureState: *on(), Retries: 8191},
			}
			dom.Clock.Timer = append(dom.Clock.Timer, libvirtxml.DomainTimer{Name: "hypervclock", Present: "yes"})
		}
	}
	if err := addDisks(dom, d, hw); err != nil {
		return nil, err
	}
	for _, nic := range d.NICs {
		dom.Devices.Interfaces = append(dom.Devices.Interfaces, networkInterface(nic, hw))
	}
	addCharacterDevices(dom, d, hw)
	addScreen(dom, p, hw)
	if hw.RNG.Present {
		// It costs nothing measurable at the start, and without it an emulated guest waits for entropy when it makes its
		// ssh host keys.
		rng := libvirtxml.DomainRNG{
			Model:   "virtio",
			Backend: &libvirtxml.DomainRNGBackend{Random: &libvirtxml.DomainRNGBackendRandom{Device: "/dev/urandom"}},
		}
		if hw.RNG.Bytes > 0 {
			rng.Rate = &libvirtxml.DomainRNGRate{Bytes: uint(hw.RNG.Bytes), Period: uint(hw.RNG.Period)}
		}
		dom.Devices.RNGs = []libvirtxml.DomainRNG{rng}
	}
	return dom, nil
}

func validate(d hypervisor.Domain) error {
	switch {
	case d.UUID == "" || d.Name == "":
		return fault.New(fault.Internal, "A domain needs a uuid and a name.")
	case d.VCPUs < 1:
		return fault.New(fault.Invalid, "The flavor has %d vCPUs; a server needs at least 1.", d.VCPUs)
	case d.MemoryMiB < 1:
		return fault.New(fault.Invalid, "The flavor has %d MiB of memory; a server needs at least 1.", d.MemoryMiB)
	case d.Boot.Kernel == "" && (d.Boot.Ramdisk != "" || d.Boot.CmdLine != ""):
		return fault.New(fault.Invalid, "The image names a ramdisk or a kernel command line but no kernel; set its kernel_id.")
	case d.Boot.Kernel == "" && len(d.Disks) == 0:
		return fault.New(fault.Invalid, "The server has nothing to boot from: neither a disk nor a kernel.")
	}
	for _, nic := range d.NICs {
		if nic.Tap != "" && (nic.Bridge != "" || len(nic.Tap) > maxInterfaceName) {
			return fault.New(fault.Internal, "The tap %q of port %s is longer than %d bytes, or beside a bridge.", nic.Tap, nic.PortID, maxInterfaceName)
		}
		if nic.Tap == "" && (nic.Bridge == "" || len(nic.Bridge) > maxInterfaceName) {
			return fault.New(fault.Internal, "The bridge name %q of port %s is not between 1 and %d bytes long.", nic.Bridge, nic.PortID, maxInterfaceName)
		}
		if nic.MTU < 0 || nic.MTU > maxMTU {
			return fault.New(fault.Invalid, "The MTU %d of port %s is not between 1 and %d.", nic.MTU, nic.PortID, maxMTU)
		}
	}
	return nil
}

// addDisks appends the disks in the order given, and the controllers that they need.
//
// The chain below a qcow2 overlay is spelled out in <backingStore>, to its end. Left to itself libvirt follows the overlay's
// header, which QEMU can write, and gives what it finds there to QEMU's user for good: the image that other guests lean on
// too (docs/decisions/0037-the-cache-stays-roots.md).
func addDisks(dom *libvirtxml.Domain, d hypervisor.Domain, hw imageprops.Hardware) error {
	used := map[string]int{} // next free letter for each prefix of device names
	controllers := map[string]bool{}
	for _, disk := range d.Disks {
		bus := hw.DiskBus
		switch {
		case disk.Device == "cdrom":
			bus = hw.CDROMBus
		case disk.Device != "disk":
			return fault.New(fault.Internal, "A disk is a %q, neither disk nor cdrom.", disk.Device)
		}
		bus = cmp.Or(disk.Bus, bus)
		if bus == "ide" && !imageprops.HasIDE(hw.Machine) {
			return fault.New(fault.HostUnfit, "A disk of the server is on the ide bus, which this host's machine type %s does not have: set the image's hw_machine_type to pc, or the disk's own bus (disk_bus, hw_rescue_bus) to another.", hw.Machine).NotTheHosts()
		}
		for _, format := range []string{disk.Format, cmp.Or(disk.BackingFormat, "raw")} {
			if format != "qcow2" && format != "raw" {
				return fault.New(fault.Internal, "The disk format %q is neither qcow2 nor raw.", format)
			}
		}
		if (disk.Backing == "") != (disk.BackingFormat == "") || disk.Backing != "" && disk.Format != "qcow2" {
			return fault.New(fault.Internal, "The disk %s leans on %q as %q.", disk.Path, disk.Backing, disk.BackingFormat)
		}
		prefix := map[string]string{"virtio": "vd", "ide": "hd"}[bus]
		if prefix == "" {
			prefix = "sd" // scsi, sata and usb share their names, as in a Linux guest
		}
		n := used[prefix]
		if limit := map[string]int{"hd": 4}[prefix]; n >= 26 || limit > 0 && n >= limit {
			return fault.New(fault.Invalid, "The server has more disks than fit the %s bus; set the image's hw_disk_bus or hw_cdrom_bus, or the disk's own bus (disk_bus, hw_rescue_bus), to another.", bus)
		}
		used[prefix]++
		x := libvirtxml.DomainDisk{
			Device: disk.Device,
			Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: disk.Path}},
			// writeback: the base image that servers share stays in the host's page cache, the guest's flushes reach the
			// disk, and folders without direct I/O (tmpfs) work. discard: space that a guest frees is the host's again.
			Driver: &libvirtxml.DomainDiskDriver{Name: "qemu", Type: disk.Format, Cache: "writeback", Discard: "unmap"},
			Target: &libvirtxml.DomainDiskTarget{Dev: prefix + string(rune('a'+n)), Bus: bus},
		}
		if disk.Format == "qcow2" {
			x.BackingStore = backing(disk)
		}
		if disk.Device == "cdrom" {
			x.Driver.Discard = ""
			x.ReadOnly = &libvirtxml.DomainDiskReadOnly{}
		} else {
			x.Serial = cmp.Or(disk.Serial, string(disk.Role)) // /dev/disk/by-id tells the disks apart
		}
		order := disk.BootOrder
		if disk.Role == hypervisor.RootDisk {
			order = 1
		}
		if order > 0 && d.Boot.Kernel == "" {
			x.Boot = &libvirtxml.DomainDeviceBoot{Order: uint(order)}
		}
		dom.Devices.Disks = append(dom.Devices.Disks, x)
		controllers[bus] = true
	}
	usb := libvirtxml.DomainController{Type: "usb", Model: "none"}
	if controllers["usb"] {
		usb.Model = "qemu-xhci"
	}
	dom.Devices.Controllers = append(dom.Devices.Controllers, usb)
	if controllers["scsi"] {
		dom.Devices.Controllers = append(dom.Devices.Controllers, libvirtxml.DomainController{Type: "scsi", Index: new(uint), Model: hw.SCSI})
	}
	return nil
}

// backing is what is below a qcow2: nothing, or one file, that libvirt leaves to whose it is.
func backing(d hypervisor.Disk) *libvirtxml.DomainDiskBackingStore {
	end := &libvirtxml.DomainDiskBackingStore{}
	if d.Backing == "" {
		return end
	}
	return &libvirtxml.DomainDiskBackingStore{
		Format: &libvirtxml.DomainDiskFormat{Type: d.BackingFormat},
		Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{
			File:     d.Backing,
			SecLabel: []libvirtxml.DomainDeviceSecLabel{{Model: "dac", Relabel: "no"}},
		}},
		BackingStore: end,
	}
}

func networkInterface(nic hypervisor.NIC, hw imageprops.Hardware) libvirtxml.DomainInterface {
	x := libvirtxml.DomainInterface{
		MAC:   &libvirtxml.DomainInterfaceMAC{Address: nic.MAC},
		Model: &libvirtxml.DomainInterfaceModel{Type: hw.VIF},
		// Servers boot from disk or kernel: without its option ROM the firmware does not try the network first.
		ROM: &libvirtxml.DomainROM{Enabled: "no"},
	}
	if nic.Tap != "" {
		x.Source = &libvirtxml.DomainInterfaceSource{Ethernet: &libvirtxml.DomainInterfaceSourceEthernet{}}
		x.Target = &libvirtxml.DomainInterfaceTarget{Dev: nic.Tap, Managed: "no"}
	} else {
		x.Source = &libvirtxml.DomainInterfaceSource{Bridge: &libvirtxml.DomainInterfaceSourceBridge{Bridge: nic.Bridge}}
		if name := ids.Tap(nic.PortID); name != "" { // else libvirt makes one up
			x.Target = &libvirtxml.DomainInterfaceTarget{Dev: name}
		}
	}
	if nic.Slot > 0 {
		slot := uint(nic.Slot)
		x.Address = &libvirtxml.DomainAddress{PCI: &libvirtxml.DomainAddressPCI{Domain: new(uint), Bus: new(uint), Slot: &slot, Function: new(uint)}}
	}
	if nic.MTU > 0 {
		x.MTU = &libvirtxml.DomainInterfaceMTU{Size: uint(nic.MTU)}
	}
	return x
}

func addCharacterDevices(dom *libvirtxml.Domain, d hypervisor.Domain, hw imageprops.Hardware) {
	serial := libvirtxml.DomainSerial{
		Source: &libvirtxml.DomainChardevSource{Pty: &libvirtxml.DomainChardevSourcePty{}},
		Target: &libvirtxml.DomainSerialTarget{Port: new(uint)},
	}
	if d.ConsoleLog != "" {
		// virtlogd writes the file, so it goes on while libvirtd is restarted, and bounds its size. The terminal stays
		// free for someone who attaches to the console.
		serial.Log = &libvirtxml.DomainChardevLog{File: d.ConsoleLog, Append: "off"}
	}
	dom.Devices.Serials = []libvirtxml.DomainSerial{serial}
	dom.Devices.Consoles = []libvirtxml.DomainConsole{{
		Source: &libvirtxml.DomainChardevSource{Pty: &libvirtxml.DomainChardevSourcePty{}},
		Target: &libvirtxml.DomainConsoleTarget{Type: "serial", Port: new(uint)},
	}}
	if hw.GuestAgent {
		dom.Devices.Channels = []libvirtxml.DomainChannel{{
			Source: &libvirtxml.DomainChardevSource{UNIX: &libvirtxml.DomainChardevSourceUNIX{Mode: "bind"}},
			Target: &libvirtxml.DomainChannelTarget{VirtIO: &libvirtxml.DomainChannelTargetVirtIO{Name: "org.qemu.guest_agent.0"}},
		}}
	}
}

// usualVideo is the display adapter of servers whose image names none: firmware and any guest can show text on it.
const usualVideo = "vga"

// addScreen gives the guest a display adapter, and a VNC server that listens on a socket alone: libvirt chooses where, in a folder of
// the domain's that is QEMU's. A keyboard that needs no driver only x86 has, so other machines have no screen unless they ask for one.
func addScreen(dom *libvirtxml.Domain, p platform, hw imageprops.Hardware) {
	video := hw.Video
	if video == "" && slices.Contains(p.architectures(), "x86_64") && (p.video == nil || p.video[usualVideo]) {
		video = usualVideo
	}
	if video == "" {
		return
	}
	dom.Devices.Videos = []libvirtxml.DomainVideo{{Model: libvirtxml.DomainVideoModel{Type: video}}}
	if video != "none" {
		dom.Devices.Graphics = []libvirtxml.DomainGraphic{{VNC: &libvirtxml.DomainGraphicVNC{
			Listeners: []libvirtxml.DomainGraphicListener{{Socket: &libvirtxml.DomainGraphicListenerSocket{}}},
		}}}
	}
}

// fit completes what an image asks for and says whether this host has it. What is wrong on any host was refused when the
// server was submitted; that this one has it not is no failure of the host.
func (p platform) fit(hw imageprops.Hardware) (imageprops.Hardware, error) {
	if want := hw.Architecture; want != "" && !slices.Contains(p.architectures(), want) {
		return hw, fault.New(fault.HostUnfit, "The image is made for %s (hw_architecture), and this host runs %s.", want, p.arch).NotTheHosts()
	}
	ours := hw.Machine == "" && p.usual[p.arch] != ""
	if ours {
		hw.Machine = p.usual[p.arch]
	}
	hw, err := hw.On(p.arch)
	switch {
	case err != nil && ours:
		return hw, fault.Wrap(fault.HostUnfit, err, "This host gives servers the machine type %s (host.machine_type), and the image does not fit it: set the image's hw_machine_type.", hw.Machine)
	case err != nil:
		return hw, err
	case ours && !p.machines[hw.Machine]:
		return hw, fault.New(fault.HostUnfit, "This host gives servers the machine type %s (host.machine_type), which its QEMU does not have.", hw.Machine)
	case !p.machines[hw.Machine]:
		return hw, fault.New(fault.HostUnfit, "The image asks for machine type %s (hw_machine_type), which this host's QEMU does not have.", hw.Machine).NotTheHosts()
	case hw.UEFI() && len(p.firmware) == 0:
		return hw, fault.New(fault.HostUnfit, "The image asks for UEFI (hw_firmware_type), and this host has no UEFI firmware: install the package ovmf (edk2-ovmf, qemu-efi-aarch64).").NotTheHosts()
	case hw.UEFI() && !p.firmware[p.family(hw.Machine)]:
		return hw, fault.New(fault.HostUnfit, "The image asks for UEFI (hw_firmware_type), and this host's firmware is not made for machine type %s: set hw_machine_type to %s.",
			hw.Machine, strings.Join(slices.Sorted(maps.Keys(p.firmware)), " or ")).NotTheHosts()
	case hw.Video != "" && p.video != nil && !p.video[hw.Video]:
		return hw, fault.New(fault.HostUnfit, "The image asks for the display adapter %s (hw_video_model), which this host's QEMU does not have.", hw.Video).NotTheHosts()
	}
	return hw, nil
}

// architectures are those that servers of this host can have: its own, and what that CPU runs as it is.
func (p platform) architectures() []string {
	if p.arch == "x86_64" {
		return []string{"x86_64", "i686"}
	}
	return []string{p.arch}
}

// families are the kinds of machines that libvirt is asked about, each by its usual name; "" is its default.
func (p platform) families() []string {
	names := []string{"pc", "q35"}
	if p.arch != "x86_64" {
		usual, _ := imageprops.Hardware{Machine: p.usual[p.arch]}.On(p.arch)
		names = []string{usual.Machine}
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !p.machines[name] })
	if len(names) == 0 {
		return []string{""}
	}
	return names
}

// family is the kind that a machine type is of.
func (p platform) family(machine string) string {
	names := p.families()
	if imageprops.Q35(machine) && slices.Contains(names, "q35") {
		return "q35"
	}
	return names[0]
}
