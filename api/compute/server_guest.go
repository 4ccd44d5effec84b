package compute

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

// mountServerGuest adds what is asked about a server's guest.
func (a *API) mountServerGuest(g *echo.Group) {
	g.GET("/servers/:id/diagnostics", a.showDiagnostics, adminOnly("os_compute_api:os-server-diagnostics"), rest.Expect(400, 403, 404, 409))
	g.GET("/servers/:id/topology", a.showTopology, since(78), rest.Expect(404))
	g.GET("/servers/:id/os-server-password", a.showPassword, rest.Expect(404))
	g.DELETE("/servers/:id/os-server-password", a.clearPassword, writerOnly("os_compute_api:os-server-password:clear"), rest.Expect(403, 404))
}

// showTopology shows no node: no server here is bound to a part of its host, and Nova shows the same of one that is not.
func (a *API) showTopology(c echo.Context) error {
	if _, err := a.server(c); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"nodes": []any{}, "pagesize_kb": nil})
}

// showPassword shows the encrypted password that a guest has posted to its metadata service.
func (a *API) showPassword(c echo.Context) error {
	s, err := a.server(c)
	if err != nil {
		return err
	}
	password, err := a.servers(c).GuestPassword(c.Request().Context(), s)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"password": password})
}

// clearPassword forgets what showPassword shows. The guest keeps it.
func (a *API) clearPassword(c echo.Context) error {
	s, err := a.server(c)
	if err != nil {
		return err
	}
	if err := a.servers(c).ClearGuestPassword(c.Request().Context(), s); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

var (
	passwordSchema  = compile(strict(object{"changePassword": strict(object{"adminPass": object{"type": "string"}}, "adminPass")}))
	crashDumpSchema = compile(strict(object{"trigger_crash_dump": object{"type": "null"}}))
)

func (a *API) changePassword(c echo.Context, asked asking) error {
	if err := rest.Check(passwordSchema, object{"changePassword": asked.raw}); err != nil {
		return err
	}
	var body struct {
		AdminPass string `json:"adminPass"`
	}
	if err := json.Unmarshal(asked.raw, &body); err != nil {
		return fmt.Errorf("read a password: %w", err)
	}
	return a.begin(c, asked.server, asked.rows[0], contract.ActionArguments{AdminPass: body.AdminPass})
}

func (a *API) triggerCrashDump(c echo.Context, asked asking) error {
	if err := rest.Check(crashDumpSchema, object{"trigger_crash_dump": asked.raw}); err != nil {
		return err
	}
	if err := a.servers(c).TriggerCrashDump(c.Request().Context(), asked.server, asked.rows[0]); err != nil {
		return err
	}
	return c.NoContent(http.StatusAccepted)
}

func (a *API) showDiagnostics(c echo.Context) error {
	s, d, err := a.servers(c).Diagnostics(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	if minorOf(c) < 48 {
		return c.JSON(http.StatusOK, libvirtDiagnostics(d))
	}
	return c.JSON(http.StatusOK, diagnosticsView(s, d, time.Now()))
}

// libvirtDiagnostics is what Nova's libvirt driver said before 2.48 (get_diagnostics): names of devices within those of counts.
func libvirtDiagnostics(d contract.Diagnostics) object {
	v := object{"memory": d.MemoryKiB}
	for name, n := range d.Memory {
		v["memory-"+name] = n
	}
	for _, cpu := range d.CPUs {
		v["cpu"+strconv.Itoa(cpu.ID)+"_time"] = cpu.Time
	}
	for _, x := range d.Disks {
		for name, n := range map[string]any{"read_req": x.Reads, "read": x.ReadBytes, "write_req": x.Writes, "write": x.WriteBytes, "errors": x.Errors} {
			v[x.Device+"_"+name] = n
		}
	}
	for _, x := range d.NICs {
		for direction, t := range map[string]contract.Traffic{"_rx": x.RX, "_tx": x.TX} {
			v[x.Device+direction] = t.Bytes
			v[x.Device+direction+"_packets"] = t.Packets
			v[x.Device+direction+"_errors"] = t.Errors
			v[x.Device+direction+"_drop"] = t.Drops
		}
	}
	return v
}

// diagnosticsView is the same for every hypervisor since 2.48. What libvirt does not tell is null, as Nova has it.
func diagnosticsView(s models.Server, d contract.Diagnostics, now time.Time) object {
	cpus, disks, nics := []object{}, []object{}, []object{}
	for _, x := range d.CPUs {
		cpus = append(cpus, object{"id": x.ID, "time": x.Time, "utilisation": nil})
	}
	for _, x := range d.Disks {
		disks = append(disks, object{
			"read_bytes": x.ReadBytes, "read_requests": x.Reads, "write_bytes": x.WriteBytes, "write_requests": x.Writes, "errors_count": x.Errors,
		})
	}
	for _, x := range d.NICs {
		nics = append(nics, object{
			"mac_address": x.MAC,
			"rx_octets":   x.RX.Bytes, "rx_packets": x.RX.Packets, "rx_errors": x.RX.Errors, "rx_drop": x.RX.Drops, "rx_rate": nil,
			"tx_octets": x.TX.Bytes, "tx_packets": x.TX.Packets, "tx_errors": x.TX.Errors, "tx_drop": x.TX.Drops, "tx_rate": nil,
		})
	}
	v := object{
		"state": lifecycle.PowerNames[lifecycle.Running], "driver": "libvirt", "hypervisor": d.Hypervisor, "hypervisor_os": "linux",
		"uptime": nil, "config_drive": s.ConfigDrive,
		"num_cpus": len(cpus), "num_disks": len(disks), "num_nics": len(nics),
		"memory_details": object{"maximum": d.MemoryKiB >> 10, "used": d.Memory["actual"] >> 10},
		"cpu_details":    cpus, "disk_details": disks, "nic_details": nics,
	}
	if s.LaunchedAt != nil {
		v["uptime"] = int(now.Sub(*s.LaunchedAt).Seconds())
	}
	return v
}
