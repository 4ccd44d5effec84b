// Package ec2id is the text form of the ids that images have in EC2: what kind of image it is and its number, as Nova
// writes them (nova/api/ec2/ec2utils.py, image_ec2_id). Which image has which number, models.Store knows.
package ec2id

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Kind is the prefix of an image's id.
type Kind string

// The kinds of images.
const (
	Machine Kind = "ami"
	Kernel  Kind = "aki"
	Ramdisk Kind = "ari"
)

// KindOf is the kind of an image with the container format.
func KindOf(containerFormat string) Kind {
	switch k := Kind(containerFormat); k {
	case Kernel, Ramdisk:
		return k
	}
	return Machine
}

// Image is the id of the image with the number, which is positive: eight hexadecimal digits, more where these do not do.
func Image(kind Kind, number int64) string { return fmt.Sprintf("%s-%08x", kind, number) }

// EC2's error codes. The faults of this package have one as their cause.
var (
	Malformed = errors.New("InvalidAMIID.Malformed")
	NotFound  = errors.New("InvalidAMIID.NotFound")
)

// wellFormed is EC2's short form, eight digits, up to its long one of 17.
var wellFormed = regexp.MustCompile(`^(ami|aki|ari)-([0-9a-f]{8,17})$`)

// ParseImage reads what Image wrote. Faults, in EC2's words: Invalid (Malformed) for what is no image's id, NotFound for
// an id of the right form that no image can have.
func ParseImage(id string) (Kind, int64, error) {
	parts := wellFormed.FindStringSubmatch(id)
	if parts == nil {
		return "", 0, fault.Wrap(fault.Invalid, Malformed, `Invalid id: "%s" (expecting "ami-...")`, id)
	}
	kind := Kind(parts[1])
	number, err := strconv.ParseInt(parts[2], 16, 64)
	if err != nil || number == 0 || Image(kind, number) != id {
		return "", 0, NoImage(id)
	}
	return kind, number, nil
}

// NoImage is the fault where no image has the id, or none that the asker may see.
func NoImage(id string) error {
	return fault.Wrap(fault.NotFound, NotFound, "The image id '[%s]' does not exist", id)
}
