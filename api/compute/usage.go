package compute

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountUsage(g *echo.Group) {
	rule := "os_compute_api:os-simple-tenant-usage:"
	g.GET("/os-simple-tenant-usage", a.listUsage, adminOnly(rule+"list"), rest.Expect(400, 403))
	g.GET("/os-simple-tenant-usage/:id", a.showUsage, rest.Expect(400, 403))
	log := adminOnly("os_compute_api:os-instance-usage-audit-log:list")
	g.GET("/os-instance_usage_audit_log", a.usageAuditLog, log, rest.Expect(403))
	g.GET("/os-instance_usage_audit_log/:before", a.usageAuditLog, adminOnly("os_compute_api:os-instance-usage-audit-log:show"), rest.Expect(400, 403))
}

// usageTimes are the forms of start and end (simple_tenant_usage.py _parse_datetime).
var usageTimes = []string{"2006-01-02T15:04:05", "2006-01-02T15:04:05.999999", "2006-01-02 15:04:05.999999"}

// period reads the time that a report is about; what has not come yet is not in it.
func (a *API) period(c echo.Context) (start, end time.Time, err error) {
	now := a.now().UTC()
	parse := func(name string) (time.Time, error) {
		word := c.QueryParam(name)
		if word == "" {
			return now, nil
		}
		for _, form := range usageTimes {
			if t, err := time.Parse(form, word); err == nil {
				return t, nil
			}
		}
		return now, invalid("Invalid datetime string: Datetime is in invalid format")
	}
	if start, err = parse("start"); err == nil {
		end, err = parse("end")
	}
	switch {
	case err != nil:
		return start, end, err
	case !start.Before(end):
		return start, end, invalid("Invalid start time. The start time cannot occur after the end time.")
	case end.After(now):
		end = now
	}
	return start, end, nil
}

// usageQuery are the names of a query; pages came with 2.40.
func usageQuery(c echo.Context, names ...string) (rest.Page, error) {
	if err := strictQuery(c, append(names, "start", "end", "limit", "marker")...); err != nil || minorOf(c) < 40 {
		return rest.Page{}, err
	}
	return rest.PageOf(c, rest.MaxPage)
}

// listUsage reports each project's use, and with detailed=1 that of each of its servers. Pages are of servers: a project's use on a page is
// that of its servers there, and whoever asks for all pages adds them up.
func (a *API) listUsage(c echo.Context) error {
	reports, next, err := a.usage(c, "", c.QueryParam("detailed") == "1", "detailed")
	if err != nil {
		return err
	}
	body := object{"tenant_usages": reports}
	if next != nil {
		body["tenant_usages_links"] = next
	}
	return c.JSON(http.StatusOK, body)
}

func (a *API) showUsage(c echo.Context) error {
	project, caller := c.Param("id"), rest.CallerOf(c)
	if err := allow(caller.Owns(project), "os_compute_api:os-simple-tenant-usage:show"); err != nil {
		return err
	}
	reports, next, err := a.usage(c, project, true)
	if err != nil {
		return err
	}
	body := object{"tenant_usage": object{}}
	if len(reports) > 0 {
		body["tenant_usage"] = reports[0]
	}
	if next != nil {
		body["tenant_usage_links"] = next
	}
	return c.JSON(http.StatusOK, body)
}

func (a *API) usage(c echo.Context, project string, detailed bool, names ...string) (reports []object, next []rest.Link, err error) {
	page, err := usageQuery(c, names...)
	if err != nil {
		return nil, nil, err
	}
	start, end, err := a.period(c)
	if err != nil {
		return nil, nil, err
	}
	used, err := a.store.ServersInUse(c.Request().Context(), models.UsageFilter{
		ProjectID: project, Start: start, End: end, Marker: page.Marker, Limit: page.Limit,
	})
	if err != nil {
		return nil, nil, markerAs(err, page.Marker)
	}
	reports = []object{}
	for rows := used; len(rows) > 0; {
		n := slices.IndexFunc(rows, func(r models.ServerUse) bool { return r.ProjectID != rows[0].ProjectID })
		if n < 0 {
			n = len(rows)
		}
		reports, rows = append(reports, a.usageOf(rows[:n], start, end, detailed)), rows[n:]
	}
	if n := len(used); n > 0 && page.Limit > 0 {
		next = page.NextLinks(c, n, used[n-1].ServerID)
	}
	return reports, next, nil
}

// usageOf is the report of one project's servers.
func (a *API) usageOf(rows []models.ServerUse, start, end time.Time, detailed bool) object {
	var gib, vcpus, mib, all float64
	servers := make([]object, len(rows))
	for i, r := range rows {
		from, to, until := r.LaunchedAt, end, a.now()
		state := string(r.VMState)
		if from.Before(start) {
			from = start
		}
		if r.TerminatedAt != nil {
			until, state = *r.TerminatedAt, "terminated"
			if until.Before(to) {
				to = until
			}
		}
		hours := max(to.Sub(from), 0).Hours()
		local := r.Flavor.DiskGiB + r.Flavor.EphemeralGiB
		gib, vcpus, mib, all = gib+hours*float64(local), vcpus+hours*float64(r.Flavor.VCPUs), mib+hours*float64(r.Flavor.RAMMiB), all+hours
		servers[i] = object{
			"instance_id": r.ServerID, "name": r.Name, "tenant_id": r.ProjectID, "flavor": r.Flavor.Name, "hours": hours,
			"memory_mb": r.Flavor.RAMMiB, "vcpus": r.Flavor.VCPUs, "local_gb": local, "started_at": rest.TimeNaive(r.LaunchedAt), "ended_at": nil,
			"state": state, "uptime": int(until.Sub(r.LaunchedAt).Seconds()),
		}
		if r.TerminatedAt != nil {
			servers[i]["ended_at"] = rest.TimeNaive(*r.TerminatedAt)
		}
	}
	v := object{
		"tenant_id": rows[0].ProjectID, "total_local_gb_usage": gib, "total_vcpus_usage": vcpus, "total_memory_mb_usage": mib, "total_hours": all,
		"start": rest.TimeNaive(start), "stop": rest.TimeNaive(end),
	}
	if detailed {
		v["server_usages"] = servers
	}
	return v
}

const (
	auditLogTime = "2006-01-02 15:04:05"
	auditLogForm = "2006-01-02 15:04:05.999999"
)

// usageAuditLog says that no host keeps the log of instance usage, as a Nova does whose instance_usage_audit is off: which is the default,
// and its hosts are those that have not run. The period is the month before.
func (a *API) usageAuditLog(c echo.Context) error {
	before, key := a.now().UTC(), "instance_usage_audit_logs"
	if word := c.Param("before"); word != "" {
		t, err := time.Parse(auditLogForm, word)
		if err != nil {
			return invalid("Invalid timestamp for date %s", word)
		}
		before, key = t, "instance_usage_audit_log"
	}
	hosts, err := a.hosts(c)
	if err != nil {
		return err
	}
	names := make([]string, len(hosts))
	for i, h := range hosts {
		names[i] = h.Hostname
	}
	end := time.Date(before.Year(), before.Month(), 1, 0, 0, 0, 0, time.UTC)
	return c.JSON(http.StatusOK, object{key: object{
		"hosts_not_run": names, "num_hosts": len(names), "num_hosts_done": 0, "num_hosts_running": 0, "num_hosts_not_run": len(names),
		"log": object{}, "total_instances": 0, "total_errors": 0, "overall_status": fmt.Sprintf("0 of %d hosts done. 0 errors.", len(names)),
		"period_beginning": end.AddDate(0, -1, 0).Format(auditLogTime), "period_ending": end.Format(auditLogTime),
	}})
}
