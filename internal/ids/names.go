package ids

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// Hostname is that of a server whose name has nothing that one could be made of, as in Nova.
func Hostname(serverID string) string { return "Server-" + serverID }

// unnamed begins the names of servers whose request named none, as in Nova.
const unnamed = "Server "

// ServerName is that of a server whose request names none, by the id of the first server of its request.
func ServerName(first string) string { return unnamed + first }

// IsUnnamed says whether a server's name is one of those, numbered or not.
func IsUnnamed(name string) bool {
	id, ok := strings.CutPrefix(name, unnamed)
	return name == "" || ok && len(id) >= 36 && uuid.Validate(id[:36]) == nil
}

// maxHostname is the longest label of a DNS name.
const maxHostname = 63

// Reserved are the name and hostname of the i-th of so many servers: numbered from 1 where there is more than one (Nova's
// multi_instance_display_name_template). A hostname keeps its number, and so stays apart, however long it is; "" is made of
// the server's own id.
func Reserved(serverID, name, hostname string, i, of int) (string, string) {
	number := ""
	if of > 1 {
		number = fmt.Sprintf("-%d", i+1)
	}
	if hostname == "" {
		return name + number, Hostname(serverID)
	}
	if room := maxHostname - len(number); len(hostname) > room {
		hostname = strings.TrimRight(hostname[:room], "-")
	}
	return name + number, hostname + number
}

// Host tells servers of one project on one host apart from others without naming the host (nova/utils.py generate_hostid);
// "" on none.
func Host(projectID, hostname string) string {
	if hostname == "" {
		return ""
	}
	sum := sha256.Sum224([]byte(projectID + hostname))
	return hex.EncodeToString(sum[:])
}

// BridgePrefix begins the names of the bridges that Slipway makes. No other mark would be there from a bridge's first moment
// on.
const BridgePrefix = "slw"

// Bridge is a network's Linux bridge, the same on every host: at most 15 bytes (IFNAMSIZ).
func Bridge(networkID string) string {
	return BridgePrefix + strings.ReplaceAll(networkID, "-", "")[:11]
}

// Tap is the host's side of a port, named as Neutron and Nova name it, so that whoever looks at the host finds the port; ""
// for what is no port's id.
func Tap(portID string) string {
	if len(portID) < 11 {
		return ""
	}
	return "tap" + portID[:11]
}

// MACs are the addresses that a port may get, in the order of preference: OpenStack's prefix and three bytes of the port's
// id, so that the same port gets the same one. Ten are enough to find a free one among millions.
func MACs(portID string) []string {
	sum := sha256.Sum256([]byte(portID))
	var all []string
	for i := 0; i+3 <= len(sum); i += 3 {
		all = append(all, fmt.Sprintf("fa:16:3e:%02x:%02x:%02x", sum[i], sum[i+1], sum[i+2]))
	}
	return all
}

// Volume is the number of the vfat config drive of a server, eight hexadecimal digits.
func Volume(serverID string) string {
	sum := sha256.Sum256([]byte(serverID))
	return hex.EncodeToString(sum[:4])
}

// Where guests find the metadata service, on every network alike. The MAC is none that a port is given.
const (
	MetadataV4  = "169.254.169.254"
	MetadataV6  = "fe80::a9fe:a9fe"
	MetadataMAC = "0e:00:a9:fe:a9:fe"
)

// metadataPort begins the names of the places of metadata services, as the field's tools name the namespaces that are behind them.
const metadataPort = "ovnmeta-"

// MetadataPort is the place of a network's metadata service in the network engine, the same on every host.
func MetadataPort(networkID string) string { return metadataPort + networkID }

// NetworkOfMetadataPort is the network of such a place.
func NetworkOfMetadataPort(portID string) (networkID string, ok bool) {
	return strings.CutPrefix(portID, metadataPort)
}

// MetadataLink is the host's side of it; "" for what is no network's id.
func MetadataLink(networkID string) string {
	if len(networkID) < 11 {
		return ""
	}
	return "meta" + networkID[:11]
}
