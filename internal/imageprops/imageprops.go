// Package imageprops knows the properties of images, and the extra specs of flavors, that a build obeys, refuses or leaves
// alone: names, values and words are Nova's (nova/objects/image_meta.py and fields.py, nova/virt/libvirt). The control plane reads a submission's image
// with it, a host makes the domain from it, and docs/image-properties.md is written from its tables.
package imageprops

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Hardware is what an image asks of the machine that runs it, in the words of the properties. Parse gives it as the image
// says it, "" where it says nothing; On completes it for a host.
type Hardware struct {
	Architecture string // canonical; "" is any
	Machine      string
	Firmware     string
	OSType       string // stays "" where it is not said

	DiskBus  string
	CDROMBus string
	SCSI     string // model of the SCSI controller
	VIF      string
	Video    string // none is no display adapter; "" is the host's

	RNG RNG
	// GuestAgent gives the guest the channel that QEMU's guest agent listens on.
	GuestAgent bool
	// AutoDiskConfig is yes or no, or disabled: nobody may ask for it; "" is not said.
	AutoDiskConfig string
	// ConfigDrive says that the image cannot do without a config drive.
	ConfigDrive bool
	// ConfigDriveFormat is iso9660 or vfat; "" is the installation's.
	ConfigDriveFormat string
}

// RNG is a source of random bytes. Bytes in each Period of milliseconds is all that it gives; 0 is as much as is asked for.
type RNG struct {
	Present       bool
	Bytes, Period int
}

// UEFI says whether the guest is started by UEFI firmware.
func (h Hardware) UEFI() bool {
	return h.Firmware == "uefi" || h.Firmware == "" && h.Architecture == "aarch64" // which has no other that boots a disk
}

// RootDevice is what a Linux guest calls its first disk. ide too is driven by libata.
func (h Hardware) RootDevice() string {
	if h.DiskBus == "" || h.DiskBus == "virtio" {
		return "/dev/vda"
	}
	return "/dev/sda"
}

// AdminUser is the user whose password is the guest's admin password, as Nova's libvirt driver takes it from the image.
func AdminUser(properties map[string]string) string {
	switch {
	case properties["os_admin_user"] != "":
		return properties["os_admin_user"]
	case strings.EqualFold(properties["os_type"], "windows"):
		return "Administrator"
	}
	return "root"
}

// RequiresQuiesce says that no image may be made of a running guest that is not quiet meanwhile.
func RequiresQuiesce(properties map[string]string) bool {
	return booleans[strings.ToLower(strings.TrimSpace(properties["os_require_quiesce"]))] == "yes"
}

// Parse reads an image's properties, and those of the flavor's extra specs that decide with them. What it does not know it
// leaves alone. An Invalid fault has Nova's text, with what to set instead.
func Parse(properties, extraSpecs map[string]string) (Hardware, error) {
	var h Hardware
	given := current(properties)
	for i := range Obeyed {
		p := &Obeyed[i]
		value := strings.TrimSpace(given[p.Name])
		if p.set == nil || value == "" {
			continue
		}
		word, err := p.read(value)
		if err != nil {
			return Hardware{}, err
		}
		p.set(&h, word)
	}
	for _, name := range sortedKeys(given) {
		if r, refused := refusal(name, given[name], false); refused {
			return Hardware{}, fault.New(fault.Invalid, "%s Image property %s is %q.", r.Why, name, given[name])
		}
	}
	var err error
	if h.RNG, err = rng(extraSpecs); err != nil {
		return Hardware{}, err
	}
	if h.Architecture == "" && h.Machine == "" {
		return h, nil // whether they go together depends on the host
	}
	_, err = h.On(h.Architecture)
	return h, err
}

// current gives properties under their present names; one that stands under both counts as the present name says it.
func current(properties map[string]string) map[string]string {
	given := make(map[string]string, len(properties))
	for old, name := range olderNames {
		if value := properties[old]; value != "" {
			given[name] = value
		}
	}
	// One property of VMware's said two things.
	switch adapter := properties["vmware_adaptertype"]; adapter {
	case "":
	case "ide":
		given["hw_disk_bus"] = "ide"
	default:
		given["hw_disk_bus"], given["hw_scsi_model"] = "scsi", adapter
	}
	for name, value := range properties {
		if _, old := olderNames[name]; !old {
			given[name] = value
		}
	}
	return given
}

// read gives the word that a value means.
func (p *Property) read(value string) (string, error) {
	if p.canonical != nil {
		return p.canonical(value)
	}
	if len(p.Values) == 0 {
		return value, nil
	}
	word := strings.ToLower(value)
	if w, ok := p.synonyms[word]; ok {
		word = w
	}
	switch {
	case slices.Contains(p.Values, word):
		return word, nil
	case p.Name == "img_config_drive":
		return "", fault.New(fault.Invalid, "Image's config drive option '%s' is invalid. It may be %s.", value, strings.Join(p.Values, ", "))
	case slices.Contains(p.Foreign, word):
		return "", fault.New(fault.Invalid, "Requested hardware '%s' is not supported by the 'qemu' virt driver. Image property %s may be %s.",
			value, p.Name, strings.Join(p.Values, ", "))
	}
	return "", fault.New(fault.Invalid, "Invalid image metadata. Error: Field value %s is invalid. Image property %s may be %s.",
		value, p.Name, strings.Join(p.Values, ", "))
}

// rng is Nova's rule: a guest has the device unless its flavor says hw_rng:allowed=False, whether or not the image asks.
func rng(specs map[string]string) (RNG, error) {
	if allowed := specs["hw_rng:allowed"]; allowed != "" && booleans[strings.ToLower(strings.TrimSpace(allowed))] != "yes" {
		return RNG{}, nil
	}
	out := RNG{Present: true}
	var err error
	if out.Bytes, err = number(specs, "hw_rng:rate_bytes"); err != nil {
		return RNG{}, err
	}
	if out.Period, err = number(specs, "hw_rng:rate_period"); err != nil {
		return RNG{}, err
	}
	if out.Bytes == 0 || out.Period == 0 { // libvirt knows no rate without both
		out.Bytes, out.Period = 0, 0
	}
	return out, nil
}

func number(specs map[string]string, name string) (int, error) {
	text := strings.TrimSpace(specs[name])
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		return 0, fault.New(fault.Invalid, "The flavor's extra spec %s is %q: it has to be a number from 0 to 2147483647.", name, text)
	}
	return int(n), nil
}

// Ignored is a property or an extra spec that a build does nothing with.
type Ignored struct{ Name, Why string }

// IgnoredOf lists the properties of an image that are known and not obeyed, by name.
func IgnoredOf(properties map[string]string) []Ignored {
	return ignored(current(properties), func(name string) string { return name })
}

// IgnoredSpecsOf lists the extra specs of a flavor that are known and not obeyed, by name.
func IgnoredSpecsOf(extraSpecs map[string]string) []Ignored { return ignored(extraSpecs, PropertyOf) }

func ignored(given map[string]string, property func(string) string) []Ignored {
	var list []Ignored
	for _, name := range sortedKeys(given) {
		for _, p := range LeftAlone {
			if slices.Contains(p.Names, property(name)) && given[name] != "" {
				list = append(list, Ignored{Name: name, Why: p.Why})
			}
		}
	}
	return list
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
