package compute

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountHypervisors(g *echo.Group) {
	policy := adminOnly("os_compute_api:os-hypervisors")
	g.GET("/os-hypervisors", a.listHypervisors, policy, rest.Expect(400, 403, 404))
	g.GET("/os-hypervisors/detail", a.listHypervisors, policy, rest.Expect(400, 403, 404))
	g.GET("/os-hypervisors/statistics", a.hypervisorStatistics, policy, until(87), rest.Expect(403, 404))
	g.GET("/os-hypervisors/:id", a.showHypervisor, policy, rest.Expect(400, 403, 404))
	g.GET("/os-hypervisors/:id/search", a.searchHypervisors, policy, until(52), rest.Expect(403, 404))
	g.GET("/os-hypervisors/:id/servers", a.searchHypervisors, policy, until(52), rest.Expect(403, 404))
	g.GET("/os-hypervisors/:id/uptime", a.hypervisorUptime, policy, until(87), rest.Expect(400, 403, 404, 501))
}

// numberOf stands for the row number that Nova shows of hosts and services before 2.53: a stable number of the uuid.
func numberOf(id string) int {
	u, err := uuid.Parse(id)
	if err != nil {
		return 0
	}
	return int(binary.BigEndian.Uint32(u[:4]) >> 1)
}

// oldOrNewID is a host's id at a microversion.
func oldOrNewID(minor int, id string) any {
	if minor >= 53 {
		return id
	}
	return numberOf(id)
}

func (a *API) hosts(c echo.Context) ([]models.HostUsage, error) {
	hosts, err := a.store.ListHosts(c.Request().Context())
	if err != nil {
		return nil, fmt.Errorf("list the hosts: %w", err)
	}
	return hosts, nil
}

// hypervisorView is nova/api/openstack/compute/hypervisors.py _view_hypervisor.
func (a *API) hypervisorView(c echo.Context, h models.HostUsage, detail, servers bool) (v object, err error) {
	minor := minorOf(c)
	state := "down"
	if a.isUp(h.Host) {
		state = "up"
	}
	status, reason := serviceStatus(h.Host)
	v = object{"id": oldOrNewID(minor, h.ID), "hypervisor_hostname": h.Hostname, "state": state, "status": status}
	if detail {
		v["hypervisor_type"], v["hypervisor_version"] = h.HypervisorType, h.HypervisorVersion
		v["host_ip"] = h.Address
		v["service"] = object{"id": oldOrNewID(minor, h.ID), "host": h.Hostname, "disabled_reason": reason}
		if minor < 88 {
			v["vcpus"], v["vcpus_used"] = h.VCPUs, h.UsedVCPUs
			v["memory_mb"], v["memory_mb_used"] = h.MemoryMiB, h.UsedMemoryMiB+h.ReservedMemoryMiB
			v["free_ram_mb"] = h.MemoryMiB - h.ReservedMemoryMiB - h.UsedMemoryMiB
			v["local_gb"], v["local_gb_used"], v["free_disk_gb"] = h.DiskGiB, h.UsedDiskGiB, h.DiskGiB-h.UsedDiskGiB
			v["disk_available_least"] = h.DiskGiB - h.UsedDiskGiB
			v["running_vms"], v["current_workload"] = h.Servers, 0
			if v["cpu_info"], err = cpuInfo(minor, h.Host); err != nil {
				return nil, err
			}
		} else {
			v["uptime"] = nil
			if text := a.uptime(h.Host); text != "" {
				v["uptime"] = text
			}
		}
	}
	if servers {
		of, err := a.store.ListServers(c.Request().Context(), models.ServerFilter{HostID: h.ID, SoftDeleted: true})
		if err != nil {
			return nil, fmt.Errorf("list the servers of host %s: %w", h.Hostname, err)
		}
		if len(of) > 0 || minor >= 75 {
			list := make([]object, len(of))
			for i, s := range of {
				list[i] = object{"uuid": s.ID, "name": s.ID}
			}
			v["servers"] = list
		}
	}
	return v, nil
}

func (a *API) listHypervisors(c echo.Context) error {
	minor := minorOf(c)
	hosts, err := a.hosts(c)
	if err != nil {
		return err
	}
	detail := strings.HasSuffix(c.Path(), "/detail")
	pattern, servers := "", false
	if minor >= 53 {
		pattern = c.QueryParam("hypervisor_hostname_pattern")
		if word := c.QueryParam("with_servers"); word != "" {
			var ok bool
			if servers, ok = parseBool(word); !ok {
				return parameter("with_servers", word, "is not a boolean")
			}
		}
	}
	body := object{}
	switch {
	case pattern != "":
		if c.QueryParam("limit") != "" || c.QueryParam("marker") != "" {
			return invalid("Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not supported.")
		}
		if hosts, err = matching(hosts, pattern); err != nil {
			return err
		}
	case minor >= 33:
		page, err := rest.PageOf(c, rest.MaxPage)
		if err != nil {
			return err
		}
		if page.Marker != "" {
			i := slices.IndexFunc(hosts, func(h models.HostUsage) bool {
				return h.ID == page.Marker || strconv.Itoa(numberOf(h.ID)) == page.Marker
			})
			if i < 0 {
				return invalid("marker [%s] not found", page.Marker)
			}
			hosts = hosts[i+1:]
		}
		if len(hosts) >= page.Limit {
			hosts = hosts[:page.Limit]
			if next := page.NextLinks(c, len(hosts), fmt.Sprint(oldOrNewID(minor, hosts[len(hosts)-1].ID))); next != nil {
				body["hypervisors_links"] = next
			}
		}
	}
	views := make([]object, len(hosts))
	for i, h := range hosts {
		if views[i], err = a.hypervisorView(c, h, detail, servers); err != nil {
			return err
		}
	}
	body["hypervisors"] = views
	return c.JSON(http.StatusOK, body)
}

// matching are the hosts with a text in their name.
func matching(hosts []models.HostUsage, pattern string) ([]models.HostUsage, error) {
	hosts = slices.DeleteFunc(hosts, func(h models.HostUsage) bool { return !strings.Contains(h.Hostname, pattern) })
	if len(hosts) == 0 {
		return nil, fault.New(fault.NotFound, "No hypervisor matching '%s' could be found.", pattern)
	}
	return hosts, nil
}

// searchHypervisors lists the hosts with a text in their name, or each one's servers.
func (a *API) searchHypervisors(c echo.Context) error {
	hosts, err := a.hosts(c)
	if err == nil {
		hosts, err = matching(hosts, c.Param("id"))
	}
	if err != nil {
		return err
	}
	views := make([]object, len(hosts))
	for i, h := range hosts {
		if views[i], err = a.hypervisorView(c, h, false, strings.HasSuffix(c.Path(), "/servers")); err != nil {
			return err
		}
	}
	return c.JSON(http.StatusOK, object{"hypervisors": views})
}

// hypervisor is the host that the route names.
func (a *API) hypervisor(c echo.Context) (models.HostUsage, error) {
	id, minor := c.Param("id"), minorOf(c)
	if minor >= 53 && uuid.Validate(id) != nil {
		return models.HostUsage{}, invalid("Invalid uuid %s", id)
	}
	hosts, err := a.hosts(c)
	if err != nil {
		return models.HostUsage{}, err
	}
	i := slices.IndexFunc(hosts, func(h models.HostUsage) bool { return fmt.Sprint(oldOrNewID(minor, h.ID)) == id })
	if i < 0 {
		return models.HostUsage{}, fault.New(fault.NotFound, "Hypervisor with ID '%s' could not be found.", id)
	}
	return hosts[i], nil
}

func (a *API) showHypervisor(c echo.Context) error {
	h, err := a.hypervisor(c)
	if err != nil {
		return err
	}
	servers, _ := parseBool(c.QueryParam("with_servers"))
	v, err := a.hypervisorView(c, h, true, servers && minorOf(c) >= 53)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"hypervisor": v})
}

// cpuInfo is what a host tells of its processor, in a text of JSON until 2.27; of one that tells nothing, what it can run.
func cpuInfo(minor int, h models.Host) (any, error) {
	switch {
	case h.Machine == nil && minor < 28:
		return "", nil
	case h.Machine == nil:
		return object{"arch": strings.Join(h.Architectures, ",")}, nil
	case minor >= 28:
		return h.Machine.CPU, nil
	}
	text, err := json.Marshal(h.Machine.CPU)
	if err != nil {
		return nil, fmt.Errorf("write the processor of host %s: %w", h.Hostname, err)
	}
	return string(text), nil
}

// uptime is what the program of that name would say on the host, but for its users; "" of a host that does not tell, or is down.
func (a *API) uptime(h models.Host) string {
	if h.Machine == nil || h.Machine.BootedAt.IsZero() || !a.isUp(h) {
		return ""
	}
	now := a.now().UTC()
	up := max(now.Sub(h.Machine.BootedAt), 0)
	days, rest := int(up/(24*time.Hour)), up%(24*time.Hour)
	load := h.Machine.Load
	return fmt.Sprintf(" %s up %d days, %2d:%02d,  0 users,  load average: %.2f, %.2f, %.2f",
		now.Format(time.TimeOnly), days, int(rest.Hours()), int(rest.Minutes())%60, load[0], load[1], load[2])
}

// hypervisorUptime is a host's. One that does not tell is answered as a driver of Nova's that does not.
func (a *API) hypervisorUptime(c echo.Context) error {
	h, err := a.hypervisor(c)
	if err != nil {
		return err
	}
	v, err := a.hypervisorView(c, h, false, false)
	if err != nil {
		return err
	}
	switch text := a.uptime(h.Host); {
	case text != "":
		v["uptime"] = text
	case !a.isUp(h.Host):
		return invalid("Compute service of %s is unavailable at this time.", h.Hostname)
	default:
		return rest.Status(http.StatusNotImplemented, "Virt driver does not implement uptime function.")
	}
	return c.JSON(http.StatusOK, object{"hypervisor": v})
}

// hypervisorStatistics adds all enabled hosts up.
func (a *API) hypervisorStatistics(c echo.Context) error {
	hosts, err := a.hosts(c)
	if err != nil {
		return err
	}
	sum := map[string]int{
		"count": 0, "vcpus": 0, "vcpus_used": 0, "memory_mb": 0, "memory_mb_used": 0, "free_ram_mb": 0, "local_gb": 0,
		"local_gb_used": 0, "free_disk_gb": 0, "disk_available_least": 0, "running_vms": 0, "current_workload": 0,
	}
	for _, h := range hosts {
		if !h.Enabled {
			continue
		}
		v, err := a.hypervisorView(c, h, true, false)
		if err != nil {
			return err
		}
		sum["count"]++
		for name := range sum {
			if n, ok := v[name].(int); ok {
				sum[name] += n
			}
		}
	}
	return c.JSON(http.StatusOK, object{"hypervisor_statistics": sum})
}
