package metadata

import (
	"cmp"
	"net/netip"
	"strconv"

	"github.com/slipway-cloud/slipway/internal/contract"
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
	m := ec2Meta{
		AMIID:           cmp.Or(md.EC2ImageID, EC2ID("ami", md.ImageID)),
		AMILaunchIndex:  md.LaunchIndex,
		AMIManifestPath: "FIXME", // what Nova says, word for word; guests may look for it
		BlockDevices:    map[string]string{"ami": "vda", "root": "/dev/vda"},
		Hostname:        md.Hostname,
		InstanceAction:  "none",
		InstanceID:      EC2ID("i", md.ServerID),
		InstanceType:    md.FlavorName,
		KernelID:        cmp.Or(md.EC2KernelID, EC2ID("aki", md.KernelID)),
		LocalHostname:   md.Hostname,
		Placement:       map[string]string{"availability-zone": md.AvailabilityZone},
		PublicHostname:  md.Hostname,
		RamdiskID:       cmp.Or(md.EC2RamdiskID, EC2ID("ari", md.RamdiskID)),
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

// EC2ID is a UUID as EC2 clients expect an id: a kind and hexadecimal digits, of which EC2's long form has 17. It is
// derived from the UUID alone, so that every part of the system computes the same. "" stays "". Images have one of this form
// only in builds that began before they were numbered.
func EC2ID(kind, uuid string) string {
	digits := make([]byte, 0, 17)
	for i := 0; i < len(uuid) && len(digits) < 17; i++ {
		if uuid[i] != '-' {
			digits = append(digits, uuid[i])
		}
	}
	if len(digits) == 0 {
		return ""
	}
	return kind + "-" + string(digits)
}
