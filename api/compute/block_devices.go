package compute

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/service/servers"
)

// blockDevice is one entry of block_device_mapping_v2, or in the older form of block_device_mapping.
type blockDevice struct {
	SourceType      string          `json:"source_type"`
	DestinationType string          `json:"destination_type"`
	UUID            string          `json:"uuid"`
	ImageID         string          `json:"image_id"`
	SnapshotID      string          `json:"snapshot_id"`
	VolumeID        string          `json:"volume_id"`
	VolumeSize      *Integer        `json:"volume_size"` // GiB, of swap MiB
	VolumeType      *string         `json:"volume_type"`
	BootIndex       json.RawMessage `json:"boot_index"`
	GuestFormat     string          `json:"guest_format"`
	DeviceType      string          `json:"device_type"`
	DiskBus         string          `json:"disk_bus"`
	Tag             string          `json:"tag"`
	VirtualName     string          `json:"virtual_name"`
	NoDevice        any             `json:"no_device"`
}

// withoutVolumes is said of what is right in itself and asks for a volume.
const withoutVolumes = "Volumes are not offered: there is no volume service here. A server's disks are local: " +
	"its image (source_type image, destination_type local, boot_index 0) and blank ones (source_type blank, destination_type local)."

func invalidMapping(format string, args ...any) error {
	return invalid("Block Device Mapping is Invalid: "+format, args...)
}

func invalidBoot() error {
	return invalidMapping("Boot sequence for the instance and image/block device mapping combination is not valid.")
}

// blockDevicesOf reads the disks that a request maps; none are the image's and the flavor's
// (nova/block_device.py from_api and from_legacy, nova/compute/api.py _validate_bdm).
func blockDevicesOf(r createRequest) ([]servers.BlockDevice, error) {
	switch {
	case len(r.Mapping) > 0 && len(r.Mapping2) > 0:
		return nil, invalid("Using different block_device_mapping syntaxes is not allowed in the same request.")
	case len(r.Mapping) > 0:
		return legacyDevices(r)
	}
	var (
		devices []servers.BlockDevice
		indices []int
		volumes bool
	)
	for _, d := range r.Mapping2 {
		index, err := d.bootIndex()
		if err != nil {
			return nil, err
		}
		if index >= 0 {
			indices = append(indices, index)
		}
		if truth(d.NoDevice) {
			continue // it takes away what an image maps, and none does here
		}
		if err := d.check(r.ImageRef, index); err != nil {
			return nil, err
		}
		if d.volume() {
			volumes = true
			continue
		}
		device := servers.BlockDevice{
			Blank: d.SourceType == "blank", BootIndex: index, GuestFormat: d.GuestFormat, DeviceType: d.DeviceType, Bus: d.DiskBus, Tag: d.Tag,
		}
		if d.VolumeSize != nil {
			device.Size = int(*d.VolumeSize)
		}
		devices = append(devices, device)
	}
	slices.Sort(indices)
	for i, index := range indices {
		if i != index {
			return nil, invalidBoot()
		}
	}
	switch {
	case len(r.Mapping2) > 0 && len(indices) == 0:
		return nil, invalidBoot()
	case volumes:
		return nil, invalid(withoutVolumes)
	case len(devices) > 0 && !slices.ContainsFunc(devices, func(d servers.BlockDevice) bool { return !d.Blank }):
		return nil, invalidMapping("a blank disk cannot be booted from; boot_index 0 is the image's.")
	}
	return devices, nil
}

// check refuses an entry that is wrong in itself.
func (d blockDevice) check(imageRef string, index int) error {
	source := d.UUID
	switch {
	case d.VolumeSize != nil && *d.VolumeSize < 1: // in words; the schema looks at numbers
		return field("volume_size", strconv.Itoa(int(*d.VolumeSize)), "is less than the minimum of 1")
	case d.SourceType == "":
		return invalidMapping("Some required fields are missing")
	case d.SourceType == "blank" && source != "":
		return invalidMapping("Invalid device UUID.")
	case d.SourceType != "blank" && source == "":
		return invalidMapping("Missing device UUID.")
	case d.SourceType == "image" && d.DestinationType == "local" && (imageRef == "" || index != 0):
		return invalidMapping("Mapping image to local is not supported.")
	case d.DestinationType == "local" && d.VolumeType != nil && *d.VolumeType != "":
		return invalidMapping("Specifying a volume_type with destination_type=local is not supported.")
	case d.SourceType == "volume" && d.VolumeType != nil && *d.VolumeType != "":
		return invalidMapping("Specifying volume type to existing volume is not supported.")
	case d.SourceType == "image" && d.DestinationType == "volume" && d.VolumeSize == nil:
		return invalid("Images with destination_type 'volume' need to have a non-zero size specified")
	case d.SourceType == "blank" && d.DestinationType == "volume" && d.VolumeSize == nil:
		return invalid("Blank volumes (source: 'blank', dest: 'volume') need to have non-zero size")
	case d.volume():
		return nil
	case d.DestinationType == "":
		return invalidMapping("Some required fields are missing")
	case d.SourceType == "image" && !sameImage(source, imageRef):
		return invalidMapping("the device with boot_index 0 is of image %s, and imageRef is %s.", source, imageRef)
	case d.SourceType == "image" && d.VolumeSize != nil:
		return invalidMapping("the size of a local root disk is its flavor's; leave its volume_size out.")
	case d.SourceType == "image" && d.GuestFormat != "":
		return invalidMapping("guest_format is of blank devices alone.")
	}
	return nil
}

// volume says whether it asks for a volume.
func (d blockDevice) volume() bool {
	return d.DestinationType == "volume" || d.SourceType == "volume" || d.SourceType == "snapshot"
}

// bootIndex is -1 where it is not booted from.
func (d blockDevice) bootIndex() (int, error) {
	word, err := scalar(d.BootIndex)
	if err != nil || word == "" || word == "null" {
		return -1, err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(word, ".0"))
	if err != nil {
		return 0, invalidMapping("Boot index is invalid.")
	}
	return max(n, -1), nil
}

var ephemeral = regexp.MustCompile(`^ephemeral(\d|[1-9]\d+)$`)

// legacyDevices reads the older form: swap, ephemeralN, and volumes.
func legacyDevices(r createRequest) ([]servers.BlockDevice, error) {
	devices := []servers.BlockDevice{{BootIndex: 0}}
	volumes := false
	for _, d := range r.Mapping {
		swap := d.VirtualName == "swap"
		switch {
		case swap || ephemeral.MatchString(d.VirtualName):
			device := servers.BlockDevice{Blank: true, BootIndex: -1}
			if swap {
				device.GuestFormat = servers.Swap
			}
			if d.VolumeSize != nil {
				device.Size = int(*d.VolumeSize)
			}
			devices = append(devices, device)
		case d.SnapshotID != "" || d.VolumeID != "":
			volumes = true
		case !truth(d.NoDevice):
			return nil, invalidMapping("Unrecognized legacy format.")
		}
	}
	switch {
	case r.ImageRef == "" && !volumes:
		return nil, invalidBoot()
	case volumes:
		return nil, invalid(withoutVolumes)
	}
	return devices, nil
}

func sameImage(a, b string) bool {
	one, err := uuid.Parse(a)
	other, err2 := uuid.Parse(b)
	return err == nil && err2 == nil && one == other
}

// truth is Python's of a JSON value: no_device may be any.
func truth(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		return v != ""
	case float64:
		return v != 0
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return true
}
