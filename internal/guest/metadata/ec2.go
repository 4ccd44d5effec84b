package metadata

import (
	"cmp"
	"net/netip"
	"strconv"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/ids"
)

type ec2Key struct {
	OpenSSH string `json:"openssh-key"`
}

// ec2Meta is the 2009-04-04 document, the newest that Nova speaks.
type ec2Meta struct {
	AMIID           string            `json:"ami-id"`
	AMILaunchIndex  int               `json:"ami-launch-index"`
	AMIManifestPath string            `json:"ami-manifest-path"`
	BlockDevices    map[string]string `json:"block-device-mapping"`
	Hostname        string            `json:"hostname"`
	InstanceAction  string            `json:"instance-action"`
	InstanceID      string            `json:"instance-id"`
	InstanceType    string            `json:"instance-type"`
	KernelID        string            `json:"kernel-id,omitempty"`
	LocalHostname   string            `json:"local-hostname"`
	LocalIPv4       string            `json:"local-ipv4"`
	Placement       map[string]string `json:"placement"`
	PublicHostname  string            `json:"public-hostname"`
	PublicIPv4      string            `json:"public-ipv4"`
	PublicKeys      map[string]ec2Key `json:"public-keys,omitempty"`
	RamdiskID       string            `json:"ramdisk-id,omitempty"`
	ReservationID   string            `json:"reservation-id"`
	SecurityGroups  []string          `json:"security-groups"`
}

func ec2Metadata(md contract.InstanceMetadata) ec2Meta {
	// Builds that began before images were numbered have no id of theirs.
	m := ec2Meta{
		AMIID:           cmp.Or(md.EC2ImageID, ids.EC2(ids.EC2Machine, md.ImageID)),
		AMILaunchIndex:  md.LaunchIndex,
		AMIManifestPath: "FIXME", // what Nova says, word for word; guests may look for it
		BlockDevices:    map[string]string{"ami": "vda", "root": "/dev/vda"},
		Hostname:        md.Hostname,
		InstanceAction:  "none",
		InstanceID:      ids.EC2(ids.EC2Instance, md.ServerID),
		InstanceType:    md.FlavorName,
		KernelID:        cmp.Or(md.EC2KernelID, ids.EC2(ids.EC2Kernel, md.KernelID)),
		LocalHostname:   md.Hostname,
		Placement:       map[string]string{"availability-zone": md.AvailabilityZone},
		PublicHostname:  md.Hostname,
		RamdiskID:       cmp.Or(md.EC2RamdiskID, ids.EC2(ids.EC2Ramdisk, md.RamdiskID)),
		ReservationID:   md.ReservationID,
		SecurityGroups:  []string{},
	}
	for i, k := range md.KeyPairs {
		if m.PublicKeys == nil {
			m.PublicKeys = map[string]ec2Key{}
		}
		m.PublicKeys[strconv.Itoa(i)] = ec2Key{k.PublicKey}
	}
	for _, p := range md.Ports {
		for _, a := range p.Addresses {
			if ip, err := netip.ParseAddr(a.IP); err == nil && ip.Is4() && m.LocalIPv4 == "" {
				m.LocalIPv4 = a.IP
			}
		}
	}
	return m
}
