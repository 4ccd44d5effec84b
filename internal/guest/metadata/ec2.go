package metadata

import (
	"cmp"
	"net/netip"
	"strconv"
	"strings"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/ids"
)

// ec2Metadata is the document of a version: what it and those before it brought (nova/api/metadata/base.py, get_ec2_metadata).
func ec2Metadata(md contract.InstanceMetadata, version string) map[string]any {
	// Builds that began before images were numbered have no id of theirs.
	m := map[string]any{
		"ami-id":            cmp.Or(md.EC2ImageID, ids.EC2(ids.EC2Machine, md.ImageID)),
		"ami-launch-index":  md.LaunchIndex,
		"ami-manifest-path": "FIXME", // what Nova says, word for word; guests may look for it
		"hostname":          md.Hostname,
		"instance-id":       ids.EC2(ids.EC2Instance, md.ServerID),
		"local-ipv4":        firstIPv4(md.Ports),
		"reservation-id":    md.ReservationID,
		"security-groups":   append([]string{}, md.SecurityGroups...),
	}
	if len(md.KeyPairs) > 0 {
		keys := map[string]any{}
		for i, k := range md.KeyPairs {
			keys[strconv.Itoa(i)] = map[string]string{"openssh-key": k.PublicKey}
		}
		m["public-keys"] = keys
	}
	if since(version, ec2Hostnames) {
		m["local-hostname"], m["public-hostname"], m["public-ipv4"] = md.Hostname, md.Hostname, ""
	}
	if since(version, ec2InstanceType) {
		m["instance-type"] = md.FlavorName
	}
	if since(version, ec2BlockDevices) {
		m["block-device-mapping"] = blockDevices(md)
		for key, id := range map[string]string{
			"kernel-id":  cmp.Or(md.EC2KernelID, ids.EC2(ids.EC2Kernel, md.KernelID)),
			"ramdisk-id": cmp.Or(md.EC2RamdiskID, ids.EC2(ids.EC2Ramdisk, md.RamdiskID)),
		} {
			if id != "" {
				m[key] = id
			}
		}
	}
	if since(version, ec2Placement) {
		m["placement"] = map[string]string{"availability-zone": md.AvailabilityZone}
	}
	if since(version, ec2Action) {
		m["instance-action"] = "none"
	}
	return m
}

func firstIPv4(ports []contract.Port) string {
	for _, p := range ports {
		for _, a := range p.Addresses {
			if ip, err := netip.ParseAddr(a.IP); err == nil && ip.Is4() {
				return a.IP
			}
		}
	}
	return ""
}

// blockDevices are the server's disks by what they are for, as a Linux guest names them: "root" with its folder, the others without
// (nova/api/metadata/base.py, _format_instance_mapping).
func blockDevices(md contract.InstanceMetadata) map[string]string {
	root := cmp.Or(md.RootDevice, "/dev/vda")
	short := strings.TrimPrefix(root, "/dev/")
	if len(md.BlockDevices) > 0 {
		return mappedDevices(md.BlockDevices)
	}
	next := short[:len(short)-1] + "b"
	disks := map[string]string{"ami": short, "root": root}
	if md.Ephemeral {
		disks["ephemeral0"], next = next, short[:len(short)-1]+"c"
	}
	if md.Swap {
		disks["swap"] = next
	}
	return disks
}

// mappedDevices is blockDevices of disks that were asked for.
func mappedDevices(devices []contract.BlockDevice) map[string]string {
	names := map[string]string{}
	for _, d := range Disks(devices) {
		short := strings.TrimPrefix(d.Path, "/dev/")
		switch d.Role {
		case contract.RootDisk:
			names["ami"], names["root"] = short, d.Path
		case contract.EphemeralDisk:
			names["ephemeral"+strconv.Itoa(d.Number)] = short
		case contract.SwapDisk:
			names["swap"] = short
		}
	}
	return names
}
