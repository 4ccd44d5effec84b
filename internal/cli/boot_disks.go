package cli

import (
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// deviceKeys are the keys of --block-device, which are novaclient's, and what each is called in a request.
var deviceKeys = map[string]string{
	"id": "uuid", "source": "source_type", "dest": "destination_type", "bus": "disk_bus", "device": "device_name", "size": "volume_size",
	"format": "guest_format", "bootindex": "boot_index", "type": "device_type", "shutdown": "delete_on_termination", "tag": "tag",
	"volume_type": "volume_type",
}

// bootDisks are block_device_mapping_v2: none where no flag asks for one.
func bootDisks(f *bootFlags) ([]show.Object, error) {
	var disks []show.Object
	for _, spec := range f.blockDevices {
		disk, err := blockDevice(spec)
		if err != nil {
			return nil, err
		}
		disks = append(disks, disk)
	}
	blank := func(more show.Object) {
		more["source_type"], more["destination_type"], more["boot_index"], more["delete_on_termination"] = "blank", "local", -1, true
		disks = append(disks, more)
	}
	for _, spec := range f.ephemerals {
		disk := show.Object{}
		for part := range strings.SplitSeq(spec, ",") {
			key, value, _ := strings.Cut(part, "=")
			name := map[string]string{"size": "volume_size", "format": "guest_format"}[key]
			if name == "" || value == "" {
				return nil, show.UsageError("--ephemeral wants size=GIB[,format=FORMAT], not %q", spec)
			}
			disk[name] = value
		}
		blank(disk)
	}
	if f.swap != "" {
		if n, err := strconv.Atoi(f.swap); err != nil || n < 1 {
			return nil, show.UsageError("--swap wants a size in MiB, not %q", f.swap)
		}
		blank(show.Object{"guest_format": "swap", "volume_size": f.swap})
	}
	return disks, nil
}

// blockDevice reads one --block-device: what it leaves out is as with novaclient.
func blockDevice(spec string) (show.Object, error) {
	disk := show.Object{}
	for part := range strings.SplitSeq(spec, ",") {
		key, value, _ := strings.Cut(part, "=")
		name := deviceKeys[key]
		if name == "" || value == "" {
			return nil, show.UsageError("--block-device wants pairs of key=value with commas between them, not %q: id, source, dest, bus, type, size, format, bootindex, tag, device, shutdown, volume_type", spec)
		}
		disk[name] = value
	}
	source := show.Text(disk, "source_type")
	if source == "" {
		source = "blank"
	}
	dest := show.Text(disk, "destination_type")
	if dest == "" {
		dest = "volume"
		if source == "image" || source == "blank" {
			dest = "local"
		}
	}
	switch {
	case !slices.Contains([]string{"volume", "image", "snapshot", "blank"}, source):
		return nil, show.UsageError("--block-device: source is volume, image, snapshot or blank, not %q", source)
	case dest != "local" && dest != "volume":
		return nil, show.UsageError("--block-device: dest is local or volume, not %q", dest)
	}
	disk["source_type"], disk["destination_type"] = source, dest
	switch end := show.Text(disk, "delete_on_termination"); end {
	case "":
		if dest == "local" {
			disk["delete_on_termination"] = true
		}
	case "remove", "preserve":
		disk["delete_on_termination"] = end == "remove"
	default:
		return nil, show.UsageError("--block-device: shutdown is remove or preserve, not %q", end)
	}
	return disk, nil
}

// withRoot puts the image before the disks, unless one of them is the root already.
func withRoot(disks []show.Object, imageID string) []show.Object {
	if len(disks) == 0 || slices.ContainsFunc(disks, func(d show.Object) bool { return show.Text(d, "boot_index") == "0" }) {
		return disks
	}
	root := show.Object{"uuid": imageID, "source_type": "image", "destination_type": "local", "boot_index": 0, "delete_on_termination": true}
	return append([]show.Object{root}, disks...)
}

// hints are the scheduler's; one that is given several times is a list.
func hints(given []string) (show.Object, error) {
	all := show.Object{}
	for _, hint := range given {
		key, value, ok := strings.Cut(hint, "=")
		if !ok || key == "" {
			return nil, show.UsageError("--hint wants key=value, not %q", hint)
		}
		switch before := all[key].(type) {
		case nil:
			all[key] = value
		case string:
			all[key] = []string{before, value}
		case []string:
			all[key] = append(before, value)
		}
	}
	return all, nil
}
