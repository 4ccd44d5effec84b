package imageprops

import (
	"cmp"
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Rescue is how a server that an image rescues has the image's disk.
type Rescue struct {
	Stable bool // behind all its own devices, which stay as they are
	Device string
	Bus    string // "" is the server's
}

// RescueBy reads it of an image's properties, as nova/virt/libvirt/blockinfo.py does. Invalid, in Nova's words, where it is not offered.
func RescueBy(properties map[string]string) (Rescue, error) {
	given := current(properties)
	word := func(name string) string { return strings.ToLower(strings.TrimSpace(given[name])) }
	device, bus := word("hw_rescue_device"), word("hw_rescue_bus")
	if device == "" && bus == "" {
		return Rescue{}, nil
	}
	r := Rescue{Stable: true, Device: cmp.Or(device, "disk")}
	usual, otherwise := "hw_disk_bus", "virtio"
	switch r.Device {
	case "disk":
	case "cdrom":
		usual, otherwise = "hw_cdrom_bus", ""
	default:
		return r, fault.New(fault.Invalid, "Requested rescue device '%s' is not supported. Image property hw_rescue_device may be disk or cdrom.", r.Device)
	}
	r.Bus = cmp.Or(bus, word(usual), otherwise)
	if offered := property(usual).Values; r.Bus != "" && !slices.Contains(offered, r.Bus) {
		return r, fault.New(fault.Invalid, "Requested rescue bus '%s' is not supported by the 'qemu' virt driver. Of a %s, image property hw_rescue_bus may be %s.",
			r.Bus, r.Device, strings.Join(offered, ", "))
	}
	if given["kernel_id"] != "" {
		return r, fault.New(fault.Invalid, "An image with a kernel does not boot from its disk, and cannot rescue a server that keeps its devices. "+
			"Use one without kernel_id, or without hw_rescue_device and hw_rescue_bus.")
	}
	return r, nil
}

func property(name string) Property {
	return Obeyed[slices.IndexFunc(Obeyed, func(p Property) bool { return p.Name == name })]
}
