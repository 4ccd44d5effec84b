package compute_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/models"
)

// sized makes a flavor with an ephemeral disk of 4 GiB and 512 MiB of swap.
func (c *cloud) sized(t *testing.T) string {
	t.Helper()
	f, err := c.Store.CreateFlavor(t.Context(), models.Flavor{
		ID: "sized", Name: "sized", VCPUs: 1, RAMMiB: 512, DiskGiB: 1, EphemeralGiB: 4, SwapMiB: 512, RxTxFactor: 1, Public: true,
	})
	require.NoError(t, err)
	return f.ID
}

func blank(more fields) fields {
	d := fields{"source_type": "blank", "destination_type": "local"}
	for k, v := range more {
		d[k] = v
	}
	return d
}

func TestDisksThatARequestMapsAreThoseOfTheServer(t *testing.T) {
	c := newCloud(t)
	flavor := c.sized(t)
	image := func(more fields) fields {
		d := fields{"source_type": "image", "destination_type": "local", "uuid": c.image, "boot_index": 0}
		for k, v := range more {
			d[k] = v
		}
		return d
	}
	root := contract.BlockDevice{Role: contract.RootDisk, BootOrder: 1}
	flavors := []contract.BlockDevice{{Role: contract.EphemeralDisk, MiB: 4096}, {Role: contract.SwapDisk, MiB: 512}}
	for name, tc := range map[string]struct {
		key     string
		devices []fields
		want    []contract.BlockDevice
	}{
		"the image alone": {"block_device_mapping_v2", []fields{image(nil)}, append([]contract.BlockDevice{root}, flavors...)},
		"every part of each": {
			"block_device_mapping_v2",
			[]fields{
				blank(fields{"volume_size": "3", "guest_format": "ext3", "disk_bus": "sata", "boot_index": "1", "tag": "scratch", "device_name": "/dev/vdq", "delete_on_termination": "no"}),
				image(fields{"disk_bus": "scsi", "device_type": "cdrom", "tag": "system"}),
				blank(fields{"guest_format": "swap", "volume_size": 100, "boot_index": -1}),
				{"no_device": true, "device_name": "/dev/vdc"},
			},
			[]contract.BlockDevice{
				{Role: contract.RootDisk, BootOrder: 1, Bus: "scsi", Device: "cdrom", Tag: "system"},
				{Role: contract.EphemeralDisk, MiB: 3072, Format: "ext3", Bus: "sata", BootOrder: 2, Tag: "scratch"},
				{Role: contract.SwapDisk, MiB: 100},
			},
		},
		"sizes that are the flavor's": {
			"block_device_mapping_v2",
			[]fields{image(nil), blank(fields{"boot_index": nil}), blank(fields{"guest_format": "swap"})},
			append([]contract.BlockDevice{root}, flavors...),
		},
		"the older form": {
			"block_device_mapping",
			[]fields{{"virtual_name": "ephemeral0", "device_name": "vdb", "volume_size": 1}, {"virtual_name": "swap", "device_name": "vdc"}, {"device_name": "vdd", "no_device": 1}},
			[]contract.BlockDevice{root, {Role: contract.EphemeralDisk, MiB: 1024}, {Role: contract.SwapDisk, MiB: 512}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := c.nova(t, c.member, at96, "POST", "/servers", c.with(fields{"flavorRef": flavor, tc.key: tc.devices}))
			require.Equal(t, 202, a.Status, a.Body)
			in := c.builds.take()
			require.Len(t, in, 1)
			require.Equal(t, tc.want, in[0].BlockDevices)
		})
	}
	a := c.nova(t, c.member, at96, "POST", "/os-volumes_boot", c.with(fields{"flavorRef": flavor})) // another name of /servers
	require.Equal(t, 202, a.Status, a.Body)
	require.Contains(t, a.Header.Get("Location"), "/servers/")
	require.Empty(t, c.builds.take()[0].BlockDevices, "a request that maps nothing leaves them to the flavor")
}

func TestAMappingThatCannotBeMadeIsRefusedInNovasWords(t *testing.T) {
	c := newCloud(t)
	flavor := c.sized(t)
	absent := uuid.NewString()
	root := fields{"source_type": "image", "destination_type": "local", "uuid": c.image, "boot_index": 0}
	with := func(base fields, more fields) fields {
		d := fields{}
		for _, m := range []fields{base, more} {
			for k, v := range m {
				d[k] = v
			}
		}
		return d
	}
	const (
		bad     = "Block Device Mapping is Invalid: "
		boot    = bad + "Boot sequence for the instance and image/block device mapping combination is not valid."
		large   = "Ephemeral disks requested are larger than the instance type allows. If no size is given in one block device mapping, flavor ephemeral size will be used."
		volumes = "Volumes are not offered: there is no volume service here. A server's disks are local: its image (source_type image, destination_type local, boot_index 0) and blank ones (source_type blank, destination_type local)."
	)
	for name, tc := range map[string]struct {
		key     string // block_device_mapping_v2 if ""
		devices []fields
		change  fields
		message string
	}{
		"both forms":                      {"", []fields{root}, fields{"block_device_mapping": []fields{{"virtual_name": "swap"}}}, "Using different block_device_mapping syntaxes is not allowed in the same request."},
		"no source":                       {"", []fields{root, {"destination_type": "local"}}, nil, bad + "Some required fields are missing"},
		"no destination":                  {"", []fields{root, {"source_type": "blank"}}, nil, bad + "Some required fields are missing"},
		"a source that is none":           {"", []fields{{"source_type": "disk"}}, nil, "Invalid input for field/attribute source_type. Value: disk. 'disk' is not one of ['volume', 'image', 'snapshot', 'blank']"},
		"a blank disk with an id":         {"", []fields{root, blank(fields{"uuid": absent})}, nil, bad + "Invalid device UUID."},
		"an image without an id":          {"", []fields{{"source_type": "image", "destination_type": "local", "boot_index": 0}}, nil, bad + "Missing device UUID."},
		"an image that is not the root":   {"", []fields{root, with(root, fields{"boot_index": 1})}, nil, bad + "Mapping image to local is not supported."},
		"an image, and no imageRef":       {"", []fields{root}, fields{"imageRef": nil}, bad + "Mapping image to local is not supported."},
		"another image":                   {"", []fields{with(root, fields{"uuid": absent})}, nil, bad + "the device with boot_index 0 is of image " + absent + ", and imageRef is " + c.image + "."},
		"the root twice":                  {"", []fields{root, root}, nil, boot},
		"no root":                         {"", []fields{blank(nil)}, nil, boot},
		"a gap":                           {"", []fields{root, blank(fields{"boot_index": 2})}, nil, boot},
		"a blank root":                    {"", []fields{blank(fields{"boot_index": 0})}, nil, bad + "a blank disk cannot be booted from; boot_index 0 is the image's."},
		"a root of another size":          {"", []fields{with(root, fields{"volume_size": 9})}, nil, bad + "the size of a local root disk is its flavor's; leave its volume_size out."},
		"a root with a filesystem":        {"", []fields{with(root, fields{"guest_format": "ext4"})}, nil, bad + "guest_format is of blank devices alone."},
		"a size of nothing":               {"", []fields{root, blank(fields{"volume_size": 0})}, nil, "Invalid input for field/attribute volume_size. Value: 0. 0 is less than the minimum of 1"},
		"a size of nothing in words":      {"", []fields{root, blank(fields{"volume_size": "0"})}, nil, "Invalid input for field/attribute volume_size. Value: 0. '0' is less than the minimum of 1"},
		"too large":                       {"", []fields{root, blank(fields{"volume_size": 5})}, nil, large},
		"too large together":              {"", []fields{root, blank(fields{"volume_size": 3}), blank(fields{"volume_size": 2})}, nil, large},
		"the flavor's and one more":       {"", []fields{root, blank(nil), blank(fields{"volume_size": 1})}, nil, large},
		"what the flavor has none of":     {"", []fields{root, blank(nil)}, fields{"flavorRef": "1"}, large},
		"too much swap":                   {"", []fields{root, blank(fields{"guest_format": "swap", "volume_size": 513})}, nil, "Swap drive requested is larger than instance type allows."},
		"swap that the flavor has not":    {"", []fields{root, blank(fields{"guest_format": "swap"})}, fields{"flavorRef": "1"}, "Swap drive requested is larger than instance type allows."},
		"swap twice":                      {"", []fields{root, blank(fields{"guest_format": "swap", "volume_size": 1}), blank(fields{"guest_format": "swap", "volume_size": 1})}, nil, bad + "More than one swap drive requested."},
		"too many":                        {"", []fields{root, blank(fields{"volume_size": 1}), blank(fields{"volume_size": 1})}, nil, bad + "You specified more local devices than the limit allows"},
		"a filesystem that is not made":   {"", []fields{root, blank(fields{"guest_format": "xfs"})}, nil, bad + "xfs format is not supported; it may be swap, ext2, ext3, ext4 or vfat."},
		"a bus that is none":              {"", []fields{root, blank(fields{"disk_bus": "pci"})}, nil, "Block Device Mapping is invalid: The provided disk bus pci is not valid."},
		"a bus of another hypervisor":     {"", []fields{root, blank(fields{"disk_bus": "xen"})}, nil, "Requested hardware 'xen' is not supported by the 'qemu' virt driver: disk_bus may be virtio, scsi, sata, ide or usb."},
		"a device that is none":           {"", []fields{root, blank(fields{"device_type": "floppy"})}, nil, bad + "device_type floppy is not supported; it may be disk or cdrom."},
		"a cdrom where there is none":     {"", []fields{root, blank(fields{"device_type": "cdrom", "disk_bus": "virtio"})}, nil, bad + "a cdrom cannot be on the virtio bus."},
		"a volume":                        {"", []fields{{"boot_index": 0, "source_type": "volume", "destination_type": "volume", "uuid": absent}}, fields{"imageRef": nil}, volumes},
		"a volume beside the image":       {"", []fields{root, {"source_type": "volume", "destination_type": "volume", "uuid": absent}}, nil, volumes},
		"a snapshot":                      {"", []fields{{"boot_index": 0, "source_type": "snapshot", "destination_type": "volume", "uuid": absent}}, fields{"imageRef": ""}, volumes},
		"a volume of an image":            {"", []fields{{"boot_index": 0, "source_type": "image", "destination_type": "volume", "uuid": c.image, "volume_size": 1, "volume_type": "fast"}}, fields{"imageRef": nil}, volumes},
		"a volume of an image, unsized":   {"", []fields{{"boot_index": 0, "source_type": "image", "destination_type": "volume", "uuid": c.image}}, fields{"imageRef": nil}, "Images with destination_type 'volume' need to have a non-zero size specified"},
		"a blank volume, unsized":         {"", []fields{root, {"source_type": "blank", "destination_type": "volume"}}, nil, "Blank volumes (source: 'blank', dest: 'volume') need to have non-zero size"},
		"a type of a local disk":          {"", []fields{root, blank(fields{"volume_type": "fast"})}, nil, bad + "Specifying a volume_type with destination_type=local is not supported."},
		"a type of a volume that is":      {"", []fields{root, {"source_type": "volume", "destination_type": "volume", "uuid": absent, "volume_type": "fast"}}, nil, bad + "Specifying volume type to existing volume is not supported."},
		"the older form: a volume":        {"block_device_mapping", []fields{{"device_name": "vda", "volume_id": absent}}, fields{"imageRef": nil}, volumes},
		"the older form: a snapshot":      {"block_device_mapping", []fields{{"device_name": "vdb", "snapshot_id": absent}}, nil, volumes},
		"the older form: nothing to boot": {"block_device_mapping", []fields{{"virtual_name": "swap"}}, fields{"imageRef": nil}, boot},
		"the older form: what it is not":  {"block_device_mapping", []fields{{"virtual_name": "ephemeral01"}}, nil, bad + "Unrecognized legacy format."},
	} {
		t.Run(name, func(t *testing.T) {
			key := tc.key
			if key == "" {
				key = "block_device_mapping_v2"
			}
			a := c.nova(t, c.member, at96, "POST", "/servers", c.with(with(fields{"flavorRef": flavor, key: tc.devices}, tc.change)))
			require.Equal(t, 400, a.Status, a.Body)
			require.Equal(t, tc.message, a.Message(t))
			require.Empty(t, c.builds.take(), "nothing may be submitted")
		})
	}
	a := c.nova(t, c.member, "2.41", "POST", "/servers", c.with(fields{"block_device_mapping_v2": []fields{with(root, fields{"tag": "it"})}}))
	require.Equal(t, 400, a.Status)
	require.Contains(t, a.Message(t), "Additional properties are not allowed ('tag' was unexpected)", "tags are of 2.32, and of 2.42 and later")
}
