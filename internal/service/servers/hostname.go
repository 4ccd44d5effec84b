package servers

import (
	"regexp"
	"strings"
)

var (
	hostSeparators = regexp.MustCompile(`[ _.]`)
	hostForbidden  = regexp.MustCompile(`[^0-9A-Za-z-]+`)
)

// Hostname makes a server's name fit for DNS (nova/utils.py sanitize_hostname): at most 63 lower-case letters, digits and
// dashes; "" where nothing is left. Nova keeps Latin-1 letters too, which no resolver takes.
func Hostname(name string) string {
	name = hostSeparators.ReplaceAllString(name, "-")
	name = strings.Trim(strings.ToLower(hostForbidden.ReplaceAllString(name, "")), "-")
	if len(name) > 63 {
		name = strings.Trim(name[:63], "-")
	}
	return name
}
