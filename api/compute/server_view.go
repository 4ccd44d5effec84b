package compute

import (
	"cmp"
	"encoding/base64"
	"net/netip"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

// diskConfig is OS-DCF:diskConfig.
func diskConfig(auto bool) string {
	if auto {
		return "AUTO"
	}
	return "MANUAL"
}

func basicView(c echo.Context, s models.Server) object {
	return object{"id": s.ID, "name": s.Name, "links": links(c, "servers", s.ID)}
}

// showProgress are the statuses with which Nova shows how far a server is (_progress_statuses).
var showProgress = []string{"ACTIVE", "BUILD", "REBUILD", "RESIZE", "VERIFY_RESIZE"}

// serverView is a server as nova/api/openstack/compute/views/servers.py shows it; alone says that it is shown alone and
// not in a list.
func (a *API) serverView(c echo.Context, s models.Server, alone bool) object {
	minor, admin := minorOf(c), rest.CallerOf(c).Admin()
	hostname, zone, ports := "", s.AvailabilityZone, s.Ports
	if s.Host != nil {
		hostname, zone = s.Host.Hostname, s.Host.AvailabilityZone
	}
	if at := s.DeletedFrom; at != nil && s.DeletedAt != nil {
		hostname, zone, ports = at.Hostname, cmp.Or(at.AvailabilityZone, zone), portsOf(at.Addresses)
	}
	configDrive := ""
	if s.ConfigDrive {
		configDrive = "True"
	}
	v := basicView(c, s)
	v["accessIPv4"], v["accessIPv6"] = s.AccessIPv4, s.AccessIPv6
	v["addresses"] = object{}
	if s.VMState != lifecycle.Building { // Nova hides them while it builds
		v["addresses"] = addresses(ports, true)
	}
	v["created"], v["updated"] = rest.Time(s.CreatedAt), rest.Time(s.UpdatedAt)
	v["flavor"] = flavorInServer(c, s)
	v["hostId"] = ids.Host(s.ProjectID, hostname)
	v["image"] = ""
	if s.ImageID != "" {
		v["image"] = object{"id": s.ImageID, "links": bookmark(c, "images", s.ImageID)}
	}
	v["metadata"] = emptyIfNil(s.Metadata)
	v["status"] = lifecycle.Status(s.VMState, s.Task())
	v["tenant_id"], v["user_id"] = s.ProjectID, s.UserID
	v["OS-DCF:diskConfig"] = diskConfig(s.AutoDiskConfig)
	if s.Fault != nil && (s.VMState == lifecycle.Error || s.VMState == lifecycle.Deleted) {
		f := object{"code": s.Fault.Code, "created": rest.Time(s.Fault.CreatedAt), "message": s.Fault.Message}
		if s.Fault.Details != "" && admin {
			f["details"] = s.Fault.Details
		}
		v["fault"] = f
	}
	if slices.Contains(showProgress, lifecycle.Status(s.VMState, s.Task())) {
		v["progress"] = 0
		if alone {
			v["progress"] = a.servers(c).Arrived(c.Request().Context(), s)
		}
	}
	v["OS-EXT-AZ:availability_zone"] = zone
	v["config_drive"] = configDrive
	v["key_name"] = s.KeyName
	v["OS-SRV-USG:launched_at"] = rest.TimeNaivePtr(s.LaunchedAt)
	v["OS-SRV-USG:terminated_at"] = rest.TimeNaivePtr(s.TerminatedAt)
	if groups := groupNames(s.SecurityGroups()); groups != nil {
		v["security_groups"] = groups
	}
	v["OS-EXT-STS:task_state"] = s.TaskState
	v["OS-EXT-STS:vm_state"] = s.VMState
	v["OS-EXT-STS:power_state"] = s.PowerState
	v["os-extended-volumes:volumes_attached"] = []any{}
	if admin {
		extendedAttributes(v, s, hostname, minor)
	}
	if minor >= 9 {
		v["locked"] = s.LockedBy != nil
	}
	if minor >= 16 && admin {
		v["host_status"] = a.hostStatus(s.Host)
	}
	if minor >= 19 {
		v["description"] = s.Description
	}
	if minor >= 26 {
		v["tags"] = tagsOf(s)
	}
	if minor >= 63 {
		v["trusted_image_certificates"] = s.TrustedCertificates
	}
	if minor >= 71 && alone {
		groups := []string{}
		if s.GroupID != nil {
			groups = append(groups, *s.GroupID)
		}
		v["server_groups"] = groups
	}
	if minor >= 73 {
		v["locked_reason"] = s.LockedReason
	}
	if minor >= 90 {
		v["OS-EXT-SRV-ATTR:hostname"] = s.Hostname
	}
	if minor >= 96 {
		v["pinned_availability_zone"] = nil
		if s.AvailabilityZone != "" {
			v["pinned_availability_zone"] = s.AvailabilityZone
		}
	}
	return v
}

// extendedAttributes are what Nova's default policy shows to admins alone.
func extendedAttributes(v object, s models.Server, hostname string, minor int) {
	var host any
	if hostname != "" {
		host = hostname
	}
	v["OS-EXT-SRV-ATTR:host"] = host
	v["OS-EXT-SRV-ATTR:hypervisor_hostname"] = host
	v["OS-EXT-SRV-ATTR:instance_name"] = s.ID // the libvirt domain is found by its uuid, which is the server's
	if minor < 3 {
		return
	}
	v["OS-EXT-SRV-ATTR:hostname"] = s.Hostname
	v["OS-EXT-SRV-ATTR:kernel_id"] = s.KernelID
	v["OS-EXT-SRV-ATTR:ramdisk_id"] = s.RamdiskID
	v["OS-EXT-SRV-ATTR:launch_index"] = s.LaunchIndex
	v["OS-EXT-SRV-ATTR:reservation_id"] = s.ReservationID
	v["OS-EXT-SRV-ATTR:root_device_name"] = cmp.Or(s.RootDeviceName, "/dev/vda")
	v[userDataAttribute] = nil
}

const userDataAttribute = "OS-EXT-SRV-ATTR:user_data"

// showUserData fills in what the servers were given as user data, where it is shown at all: it lies in their specs. A server
// of before there were specs shows none.
func (a *API) showUserData(c echo.Context, servers ...object) error {
	var wanted []string
	for _, v := range servers {
		if _, shown := v[userDataAttribute]; shown {
			wanted = append(wanted, v["id"].(string))
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	specs, err := a.servers(c).Specs(c.Request().Context(), wanted...)
	if err != nil {
		return err
	}
	for _, v := range servers {
		spec := specs[v["id"].(string)]
		if len(spec.UserData) > 0 {
			v[userDataAttribute] = base64.StdEncoding.EncodeToString(spec.UserData)
		}
	}
	return nil
}

// hostStatus is Nova's HostStatus: of the host, as its heartbeats and its operator tell.
func (a *API) hostStatus(h *models.Host) string {
	switch {
	case h == nil:
		return ""
	case !h.Enabled:
		return "MAINTENANCE"
	case !a.isUp(*h):
		return "DOWN"
	default:
		return "UP"
	}
}

func flavorInServer(c echo.Context, s models.Server) object {
	f := s.Flavor
	if minorOf(c) < 47 {
		return object{"id": f.ID, "links": bookmark(c, "flavors", f.ID)}
	}
	return object{
		"vcpus": f.VCPUs, "ram": f.RAMMiB, "disk": f.DiskGiB, "ephemeral": f.EphemeralGiB, "swap": f.SwapMiB,
		"original_name": f.Name, "extra_specs": emptyIfNil(f.ExtraSpecs),
	}
}

func tagsOf(s models.Server) []string {
	if s.Tags == nil {
		return []string{}
	}
	return s.Tags
}

// portsOf are the ports that a deleted server had, as far as they are shown.
func portsOf(had []models.Address) []models.Port {
	ports := make([]models.Port, len(had))
	for i, a := range had {
		ports[i] = models.Port{MAC: a.MAC, Network: &models.Network{Name: a.Network}, FixedIPs: []models.FixedIP{{IP: a.IP}}}
	}
	return ports
}

// addresses groups a server's addresses by the names of its networks (views/addresses.py); extended adds type and MAC.
func addresses(ports []models.Port, extended bool) object {
	byNetwork := map[string][]object{}
	for _, p := range ports {
		name := p.NetworkID
		if p.Network != nil {
			name = p.Network.Name
		}
		add := func(ip, kind string) {
			entry := object{"version": ipVersion(ip), "addr": ip}
			if extended {
				entry["OS-EXT-IPS:type"] = kind
				entry["OS-EXT-IPS-MAC:mac_addr"] = p.MAC
			}
			byNetwork[name] = append(byNetwork[name], entry)
		}
		for _, ip := range p.FixedIPs {
			add(ip.IP, "fixed")
			for _, f := range p.Floating {
				if f.FixedIP == ip.IP {
					add(f.IP, "floating")
				}
			}
		}
	}
	view := make(object, len(byNetwork))
	for name, entries := range byNetwork {
		view[name] = entries
	}
	return view
}

func ipVersion(ip string) int {
	if a, err := netip.ParseAddr(strings.TrimSpace(ip)); err == nil && a.Is6() {
		return 6
	}
	return 4
}
