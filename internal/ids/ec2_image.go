package ids

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// The kinds of images. Their ids are what kind of image it is and its number, as Nova writes them
// (nova/api/ec2/ec2utils.py, image_ec2_id). Which image has which number, models.Store knows.
const (
	EC2Machine EC2Kind = "ami"
	EC2Kernel  EC2Kind = "aki"
	EC2Ramdisk EC2Kind = "ari"
)

// EC2ImageKind is the kind of an image with the container format.
func EC2ImageKind(containerFormat string) EC2Kind {
	switch k := EC2Kind(containerFormat); k {
	case EC2Kernel, EC2Ramdisk:
		return k
	}
	return EC2Machine
}

// EC2Image is the id of the image with the number, which is positive: eight hexadecimal digits, more where these do not do.
func EC2Image(kind EC2Kind, number int64) string { return fmt.Sprintf("%s-%08x", kind, number) }

// EC2's error codes of images.
const (
	EC2ImageMalformed EC2Code = "InvalidAMIID.Malformed"
	EC2ImageNotFound  EC2Code = "InvalidAMIID.NotFound"
)

// ec2ImageID is EC2's short form, eight digits, up to its long one of 17.
var ec2ImageID = regexp.MustCompile(`^(ami|aki|ari)-([0-9a-f]{8,17})$`)

// ParseEC2Image reads what EC2Image wrote. Faults, in EC2's words: Invalid for what is no image's id, NotFound for an id of the
// right form that no image can have.
func ParseEC2Image(id string) (EC2Kind, int64, error) {
	parts := ec2ImageID.FindStringSubmatch(id)
	if parts == nil {
		return "", 0, fault.Wrap(fault.Invalid, EC2ImageMalformed, `Invalid id: "%s" (expecting "ami-...")`, id)
	}
	kind := EC2Kind(parts[1])
	number, err := strconv.ParseInt(parts[2], 16, 64)
	if err != nil || number == 0 || EC2Image(kind, number) != id {
		return "", 0, NoEC2Image(id)
	}
	return kind, number, nil
}

// EC2ImageAmong reads an image's long id, which guests were told before images had numbers: the UUIDs whose id it is, as of
// ParseEC2. ok is whether it is one.
func EC2ImageAmong(id string) (kind EC2Kind, uuids UUIDs, ok bool) {
	parts := ec2ImageID.FindStringSubmatch(id)
	if parts == nil || len(parts[2]) != ec2Digits {
		return "", UUIDs{}, false
	}
	return EC2Kind(parts[1]), among(parts[2]), true
}

// NoEC2Image is the fault where no image has the id, or none that the asker may see.
func NoEC2Image(id string) error {
	return fault.Wrap(fault.NotFound, EC2ImageNotFound, "The image id '[%s]' does not exist", id)
}
