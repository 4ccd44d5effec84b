package imageprops

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// architectures are Nova's names, which are libvirt's (nova/objects/fields.py Architecture).
var architectures = strings.Fields(`aarch64 alpha armv6 armv7l armv7b cris i686 ia64 lm32 m68k microblaze microblazeel mips mips64
	mips64el mipsel openrisc parisc parisc64 ppc ppc64 ppc64le ppcemb ppcle s390 s390x sh4 sh4eb sparc sparc64 unicore32 x86_64
	xtensa xtensaeb`)

// otherArchitectures are what else people call them. Nova does not know arm64, which is Debian's and Go's word.
var otherArchitectures = map[string]string{
	"i386": "i686", "i486": "i686", "i586": "i686", "x86_32": "i686", "x86_32p": "i686", "amd64": "x86_64", "arm64": "aarch64",
}

func architecture(value string) (string, error) {
	name := strings.ToLower(value)
	if other, ok := otherArchitectures[name]; ok {
		name = other
	}
	if !slices.Contains(architectures, name) {
		return "", fault.New(fault.Invalid, "Invalid image metadata. Error: Architecture name '%s' is not valid. Image property hw_architecture may be x86_64, i686, aarch64, ...", value)
	}
	return name, nil
}

var machineName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// noServers are machine types of QEMU that have no bus for a server's disks and cards, or need Xen.
var noServers = []string{"none", "isapc", "microvm", "xenfv", "xenpv", "x-remote"}

// machine checks the form of a name: which there are, each host's QEMU knows.
func machine(value string) (string, error) {
	if !machineName.MatchString(value) || slices.Contains(noServers, value) {
		return "", fault.New(fault.Invalid, "Machine type %s is not supported. Image property hw_machine_type may be pc, q35 or another of the host's QEMU.", value)
	}
	return value, nil
}

// usualMachines are libvirt's names; Nova has the same (nova/virt/libvirt/utils.py get_default_machine_type).
var usualMachines = map[string]string{
	"x86_64": "pc", "i686": "pc", "s390": "s390-ccw-virtio", "s390x": "s390-ccw-virtio", "ppc64": "pseries", "ppc64le": "pseries",
}

// Q35 says whether a machine type is one of the q35 family.
func Q35(machine string) bool { return strings.Contains(machine, "q35") }

// HasIDE says whether a machine has an IDE controller: of those that servers use, only the i440FX has.
func HasIDE(machine string) bool {
	return (machine == "pc" || strings.HasPrefix(machine, "pc-")) && !Q35(machine)
}

// On completes h for hosts of an architecture ("" is x86_64), and refuses what cannot boot there.
func (h Hardware) On(architecture string) (Hardware, error) {
	if architecture == "" {
		architecture = "x86_64"
	}
	x86 := architecture == "x86_64" || architecture == "i686"
	h.Machine = cmp.Or(h.Machine, usualMachines[architecture], "virt")
	if h.Firmware == "" {
		h.Firmware = "bios"
		if architecture == "aarch64" { // Nova's default, too
			h.Firmware = "uefi"
		}
	}
	h.DiskBus, h.SCSI, h.VIF = cmp.Or(h.DiskBus, "virtio"), cmp.Or(h.SCSI, "virtio-scsi"), cmp.Or(h.VIF, "virtio")
	if h.CDROMBus == "" {
		// As Nova: an IDE cdrom where there is IDE, SATA on q35, SCSI on the machines that are not PCs.
		switch {
		case HasIDE(h.Machine):
			h.CDROMBus = "ide"
		case x86 || Q35(h.Machine):
			h.CDROMBus = "sata"
		default:
			h.CDROMBus = "scsi"
		}
	}
	const noIDE = "Image property %s is ide, and machine type %s (hw_machine_type) has no IDE controller: use %s."
	switch {
	case h.DiskBus == "ide" && !HasIDE(h.Machine):
		return h, fault.New(fault.Invalid, noIDE, "hw_disk_bus", h.Machine, "virtio, scsi or sata")
	case h.CDROMBus == "ide" && !HasIDE(h.Machine):
		return h, fault.New(fault.Invalid, noIDE, "hw_cdrom_bus", h.Machine, "sata or scsi")
	}
	if h.UEFI() && !x86 && h.Machine != "virt" && !strings.HasPrefix(h.Machine, "virt-") {
		return h, fault.New(fault.Invalid, "UEFI is not supported: machine type %s (hw_machine_type) has no such firmware. Remove the image's property hw_firmware_type.", h.Machine)
	}
	return h, nil
}
