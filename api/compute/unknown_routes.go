package compute

import (
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
)

// Nova has stood before other services: until a microversion it asked them for its client, and from then on the route is none.
const (
	networkProxies = 35 // volumes' and bare metal nodes' too
	hostRoutes     = 42
)

// proxies are Nova's routes that ask another service, with where that is asked itself.
var proxies = []struct {
	resources []string
	until     int
	instead   string
}{
	{[]string{"os-networks", "os-tenant-networks"}, networkProxies, "Networks are resources of the network API, at /network/v2.0/networks."},
	{[]string{"os-floating-ips", "os-floating-ip-pools"}, networkProxies, "Floating IPs are resources of the network API, at /network/v2.0/floatingips."},
	{[]string{"os-security-groups", "os-security-group-rules"}, networkProxies, "Security groups are resources of the network API, at /network/v2.0/security-groups."},
	{[]string{"os-volumes", "os-volume-types", "os-snapshots"}, networkProxies, "There is no volume service here."},
	{[]string{"os-baremetal-nodes"}, networkProxies, "There is no bare metal service here."},
	{[]string{"os-hosts"}, hostRoutes, "Hosts are shown by os-hypervisors and os-services."},
}

// removed are the routes that Nova itself has no more, at whatever microversion.
var removed = []string{
	"os-agents", "os-cells", "os-certificates", "os-cloudpipe", "os-fixed-ips", "os-floating-ip-dns", "os-floating-ips-bulk", "os-fping",
	"os-security-group-default-rules",
}

// removedOfServers are those below a server.
var removedOfServers = []string{"consoles", "os-virtual-interfaces"}

// unknownRoute says of a route that is none whether Nova has it, and what to ask instead.
func unknownRoute(c echo.Context) error {
	parts := strings.Split(strings.TrimPrefix(c.Request().URL.Path, endpoint+"/v2.1/"), "/")
	if slices.Contains(removed, parts[0]) || parts[0] == "servers" && len(parts) > 2 && slices.Contains(removedOfServers, parts[2]) {
		return rest.Status(http.StatusGone, "This resource is no longer available. No forwarding address is given.")
	}
	if parts[0] == "os-aggregates" && len(parts) == 3 && parts[2] == "images" {
		return fault.New(fault.NotFound, "Images are not brought to an aggregate's hosts beforehand: a host fetches an image for the first server that is built of it.")
	}
	for _, p := range proxies {
		if slices.Contains(p.resources, parts[0]) {
			if minorOf(c) > p.until {
				return fault.New(fault.NotFound, "API version 2.%d is not supported on this method.", minorOf(c))
			}
			return fault.New(fault.NotFound, "Nova's %s is not served: %s", parts[0], p.instead)
		}
	}
	return echo.ErrNotFound
}
