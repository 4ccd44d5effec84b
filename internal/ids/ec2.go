package ids

import (
	"regexp"
	"strings"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// EC2Kind is what an id of EC2 names, by its prefix. Images have their own, shorter form (EC2Image), reservations Nova's
// (Reservation).
type EC2Kind string

// Kinds whose ids are made of a UUID.
const (
	EC2Instance      EC2Kind = "i"      // a server
	EC2Interface     EC2Kind = "eni"    // a port
	EC2VPC           EC2Kind = "vpc"    // a network
	EC2Subnet        EC2Kind = "subnet" // a subnet
	EC2SecurityGroup EC2Kind = "sg"
	EC2Volume        EC2Kind = "vol"
	EC2Snapshot      EC2Kind = "snap"

	EC2KeyPair EC2Kind = "key" // found by its name's owner, and by no UUID
)

// EC2Code is one of EC2's error codes. The faults of its ids have one as their cause.
type EC2Code string

func (c EC2Code) Error() string { return string(c) }

// ec2Kinds has EC2's error codes, whose spelling follows no rule, and the words of its messages (EC2 API Reference, Error codes).
var ec2Kinds = map[EC2Kind]struct {
	malformed, notFound EC2Code
	words               string
}{
	EC2Instance:      {"InvalidInstanceID.Malformed", "InvalidInstanceID.NotFound", "instance ID"},
	EC2Interface:     {"InvalidNetworkInterfaceId.Malformed", "InvalidNetworkInterfaceID.NotFound", "networkInterface ID"},
	EC2VPC:           {"InvalidVpcID.Malformed", "InvalidVpcID.NotFound", "vpc ID"},
	EC2Subnet:        {"InvalidSubnetID.Malformed", "InvalidSubnetID.NotFound", "subnet ID"},
	EC2SecurityGroup: {"InvalidGroupId.Malformed", "InvalidGroup.NotFound", "security group"},
	EC2Volume:        {"InvalidVolumeID.Malformed", "InvalidVolume.NotFound", "volume"},
	EC2Snapshot:      {"InvalidSnapshotID.Malformed", "InvalidSnapshot.NotFound", "snapshot"},
}

// ec2Digits is the length of EC2's long ids.
const ec2Digits = 17

// EC2 is a UUID as EC2's clients know it: its kind and its first 17 digits. "" stays "".
func EC2(kind EC2Kind, id string) string {
	digits := strings.ReplaceAll(id, "-", "")
	if digits == "" {
		return ""
	}
	return string(kind) + "-" + digits[:min(len(digits), ec2Digits)]
}

// UUIDs are all those from one to another, both included, in the order of their text.
type UUIDs struct{ First, Last string }

var ec2ID = regexp.MustCompile(`^([a-z]+)-([0-9a-f]+)$`)

// ParseEC2 reads what EC2 wrote: the UUIDs whose id it is. Whoever looks one up finds none or one between them, and answers
// NoEC2 otherwise: two are 62 equal random bits, and none of them may be taken for the other. Faults, in EC2's words: Invalid
// (malformed) for what is no id of the kind, NotFound for one of EC2's short form, which nothing here has.
func ParseEC2(kind EC2Kind, id string) (UUIDs, error) {
	parts := ec2ID.FindStringSubmatch(id)
	if parts == nil || parts[1] != string(kind) || len(parts[2]) != 8 && len(parts[2]) != ec2Digits {
		return UUIDs{}, fault.Wrap(fault.Invalid, ec2Kinds[kind].malformed, `Invalid id: "%s" (expecting "%s-...")`, id, kind)
	}
	if len(parts[2]) != ec2Digits {
		return UUIDs{}, NoEC2(kind, id)
	}
	return among(parts[2]), nil
}

// among are the UUIDs that begin with the digits of a long id.
func among(digits string) UUIDs {
	uuid := func(fill string) string {
		all := digits + strings.Repeat(fill, 32-ec2Digits)
		return strings.Join([]string{all[:8], all[8:12], all[12:16], all[16:20], all[20:]}, "-")
	}
	return UUIDs{First: uuid("0"), Last: uuid("f")}
}

// NoEC2 is the fault where nothing has the id, or nothing that the asker may see.
func NoEC2(kind EC2Kind, id string) error {
	of := ec2Kinds[kind]
	return fault.Wrap(fault.NotFound, of.notFound, "The %s '%s' does not exist", of.words, id)
}
