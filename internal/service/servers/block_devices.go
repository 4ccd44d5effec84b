package servers

import (
	"cmp"
	"slices"

	"github.com/slipway-cloud/slipway/internal/contract"
)

// Swap is the guest format of swap space.
const Swap = "swap"

// BlockDevice is a local disk that a request maps: the image as the root disk, or a blank one.
type BlockDevice struct {
	Blank       bool
	Size        int    // of a blank one: GiB, of swap MiB; 0 is the flavor's
	BootIndex   int    // the root's is 0; negative is never booted from
	GuestFormat string // of a blank one: swap, or a filesystem; "" is by the image's os_type
	DeviceType  string // "" is a disk, or of an iso image a cdrom
	Bus         string // "" is the image's
	Tag         string
}

// What a local disk may be here. Filesystems are those of Nova's libvirt driver but xfs, and vfat, which Nova makes too where none is
// named; buses are those of the property hw_disk_bus, and knownBuses all of Nova's.
var (
	guestFormats = []string{"", Swap, "ext2", "ext3", "ext4", "vfat"}
	deviceTypes  = []string{"", "disk", "cdrom"}
	buses        = []string{"", "ide", "sata", "scsi", "usb", "virtio"}
	knownBuses   = []string{"fdc", "ide", "sata", "scsi", "usb", "virtio", "xen", "lxc", "uml"}
)

// blockDevices are a server's disks, root first, as its build makes them (nova/compute/api.py, _validate_bdm); nil is the
// image's and the flavor's.
func (s Servers) blockDevices(asked []BlockDevice, f contract.Flavor) ([]contract.BlockDevice, error) {
	if len(asked) == 0 {
		return nil, nil
	}
	var (
		disks     []contract.BlockDevice
		ephemeral int
		swap      []contract.BlockDevice
	)
	for _, d := range asked {
		if err := d.check(); err != nil {
			return nil, err
		}
		disk := contract.BlockDevice{Device: d.DeviceType, Bus: d.Bus, Tag: d.Tag}
		if d.BootIndex >= 0 {
			disk.BootOrder = d.BootIndex + 1
		}
		switch {
		case !d.Blank:
			disk.Role = contract.RootDisk
			disks = slices.Insert(disks, 0, disk)
		case d.GuestFormat == Swap:
			disk.Role, disk.MiB = contract.SwapDisk, d.Size
			if d.Size == 0 {
				disk.MiB = f.SwapMiB
			}
			swap = append(swap, disk)
		default:
			disk.Role, disk.MiB, disk.Format = contract.EphemeralDisk, d.Size*1024, d.GuestFormat
			if d.Size == 0 {
				disk.MiB = f.EphemeralGiB * 1024
			}
			if ephemeral += disk.MiB; disk.MiB == 0 || ephemeral > f.EphemeralGiB*1024 {
				return nil, invalid("Ephemeral disks requested are larger than the instance type allows. " +
					"If no size is given in one block device mapping, flavor ephemeral size will be used.")
			}
			disks = append(disks, disk)
		}
	}
	if ephemeral == 0 && f.EphemeralGiB > 0 {
		disks = append(disks, contract.BlockDevice{Role: contract.EphemeralDisk, MiB: f.EphemeralGiB * 1024})
	}
	switch {
	case len(swap) > 1:
		return nil, invalid("Block Device Mapping is Invalid: More than one swap drive requested.")
	case len(swap) == 1 && (swap[0].MiB == 0 || swap[0].MiB > f.SwapMiB):
		return nil, invalid("Swap drive requested is larger than instance type allows.")
	case len(swap) == 0 && f.SwapMiB > 0:
		swap = []contract.BlockDevice{{Role: contract.SwapDisk, MiB: f.SwapMiB}}
	}
	disks = append(disks, swap...)
	if most := cmp.Or(s.config.MaxLocalDisks, 3); most >= 0 && len(disks) > most {
		return nil, invalid("Block Device Mapping is Invalid: You specified more local devices than the limit allows")
	}
	return disks, nil
}

func (d BlockDevice) check() error {
	switch {
	case d.DeviceType == "cdrom" && d.Bus == "virtio":
		return invalid("Block Device Mapping is Invalid: a cdrom cannot be on the virtio bus.")
	case d.Bus != "" && !slices.Contains(knownBuses, d.Bus):
		return invalid("Block Device Mapping is invalid: The provided disk bus %s is not valid.", d.Bus)
	case !slices.Contains(buses, d.Bus):
		return invalid("Requested hardware '%s' is not supported by the 'qemu' virt driver: disk_bus may be virtio, scsi, sata, ide or usb.", d.Bus)
	case !slices.Contains(deviceTypes, d.DeviceType):
		return invalid("Block Device Mapping is Invalid: device_type %s is not supported; it may be disk or cdrom.", d.DeviceType)
	case !slices.Contains(guestFormats, d.GuestFormat):
		return invalid("Block Device Mapping is Invalid: %s format is not supported; it may be swap, ext2, ext3, ext4 or vfat.", d.GuestFormat)
	}
	return nil
}
