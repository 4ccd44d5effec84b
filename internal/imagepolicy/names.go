package imagepolicy

import (
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// ReadOnly are the attributes of an image that only Slipway writes; id can be chosen once.
var ReadOnly = []string{
	"created_at", "updated_at", "status", "checksum", "size", "virtual_size", "direct_url", "self", "file", "schema",
	"os_hash_algo", "os_hash_value", "stores",
}

// Attributes are those that are no properties of the user's own.
var Attributes = []string{
	"id", "name", "visibility", "protected", "os_hidden", "owner", "disk_format", "container_format", "min_disk", "min_ram",
	"tags",
}

// reserved are names that Glance gives a meaning which is not offered here.
var reserved = []string{"locations", "location", "deleted", "deleted_at"}

// MayName says whether a property may have the name.
func MayName(name string) error {
	switch {
	case slices.Contains(ReadOnly, name):
		return fault.New(fault.Forbidden, "Attribute '%s' is read-only.", name)
	case Keeps(name):
		return fault.New(fault.Forbidden, "Attribute '%s' is reserved.", name)
	case slices.Contains(Attributes, strings.ToLower(name)): // a property "Owner" would only mislead
		return fault.New(fault.Invalid, "Attribute names are in lower case: use '%s'.", strings.ToLower(name))
	}
	return nil
}

// Keeps says whether users may not write what has the name, whatever its value.
func Keeps(name string) bool {
	return slices.Contains(ReadOnly, name) || slices.Contains(reserved, name) || IsSystem(name)
}

// IsSystem says whether a property is written by Slipway itself, about imports (Glance reserves the prefix).
func IsSystem(name string) bool { return strings.HasPrefix(name, InternalPrefix) }
