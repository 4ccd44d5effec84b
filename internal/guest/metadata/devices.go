package metadata

import (
	"fmt"
	"runtime"
	"slices"

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

// device is a tagged device (nova/virt/metadata.py). Bus and address are "none" where the hypervisor chooses them.
type device struct {
	Type    string   `json:"type"`
	Bus     string   `json:"bus"`
	Address string   `json:"address"`
	MAC     string   `json:"mac"`
	Tags    []string `json:"tags"`
	Trusted *bool    `json:"vf_trusted,omitempty"`
}

// devices are the tagged ones of a server. Its disks cannot have tags.
func devices(ports []contract.Port, version string) []device {
	all := []device{}
	for i, p := range ports {
		if p.Tag == "" {
			continue
		}
		d := device{Type: "nic", Bus: "none", Address: "none", MAC: p.MAC, Tags: []string{p.Tag}}
		if slot := Slot(ports, i); slot > 0 {
			d.Bus, d.Address = "pci", fmt.Sprintf("0000:00:%02x.0", slot)
		}
		if since(version, rocky) {
			d.Trusted = new(bool)
		}
		all = append(all, d)
	}
	return all
}
