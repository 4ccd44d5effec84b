package metadata

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"

	"github.com/slipway-cloud/slipway/internal/contract"
)

// Slots of the first PCI bus that libvirt fills last, and no chipset has a device of its own in.
const (
	firstSlot = 0x10
	lastSlot  = 0x1c
)

// Slot is where on its first PCI bus the guest sees one of its NICs; 0 is wherever libvirt puts it. A guest that is told of a
// tagged device has to find it at the address that it is told, and the drive is made before the domain: so the address is
// fixed beforehand. All NICs of such a server have one, in their order, by which a guest numbers them.
func Slot(ports []contract.Port, nic int) int {
	tagged := slices.ContainsFunc(ports, func(p contract.Port) bool { return p.Tag != "" })
	if !tagged || firstSlot+len(ports)-1 > lastSlot || runtime.GOARCH == "s390x" { // which has channels instead
		return 0
	}
	return firstSlot + nic
}

// Disk is one of a server's disks as its guest finds it.
type Disk struct {
	contract.BlockDevice
	Number int    // among those of its role, from 0
	Serial string // the guest's /dev/disk/by-id has it; "" of a cdrom
}

// Disks numbers a server's disks and gives them their serials.
func Disks(devices []contract.BlockDevice) []Disk {
	disks := make([]Disk, len(devices))
	counts := map[contract.DiskRole]int{}
	for i, d := range devices {
		n := counts[d.Role]
		counts[d.Role]++
		disks[i] = Disk{BlockDevice: d, Number: n, Serial: string(d.Role)}
		if n > 0 {
			disks[i].Serial += strconv.Itoa(n)
		}
	}
	return disks
}

// device is a tagged device (nova/virt/metadata.py). Bus and address are "none" where the hypervisor chooses them.
type device struct {
	Type    string   `json:"type"`
	Bus     string   `json:"bus"`
	Address string   `json:"address"`
	MAC     string   `json:"mac,omitempty"`
	Serial  string   `json:"serial,omitempty"`
	Path    string   `json:"path,omitempty"`
	Tags    []string `json:"tags"`
	Trusted *bool    `json:"vf_trusted,omitempty"`
}

// devices are the tagged ones of a server.
func devices(md contract.InstanceMetadata, version string) []device {
	all := []device{}
	for i, p := range md.Ports {
		if p.Tag == "" {
			continue
		}
		d := device{Type: "nic", Bus: "none", Address: "none", MAC: p.MAC, Tags: []string{p.Tag}}
		if slot := Slot(md.Ports, i); slot > 0 {
			d.Bus, d.Address = "pci", fmt.Sprintf("0000:00:%02x.0", slot)
		}
		if since(version, rocky) {
			d.Trusted = new(bool)
		}
		all = append(all, d)
	}
	for _, disk := range Disks(md.BlockDevices) {
		if disk.Tag != "" {
			d := device{Type: "disk", Bus: "none", Address: "none", Serial: disk.Serial, Path: disk.Path, Tags: []string{disk.Tag}}
			if disk.Device == "cdrom" {
				d.Serial = ""
			}
			all = append(all, d)
		}
	}
	return all
}
