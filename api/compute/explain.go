package compute

import (
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/scheduler"
	"github.com/slipway-cloud/slipway/internal/service/servers"
)

// MountExplain adds Slipway's own route of what a request for servers would do now to g, which is the group "/reservations". Its body
// is that of POST /servers, in the microversion that is asked for.
func (a *API) MountExplain(g *echo.Group) {
	g.POST("/explain", a.explainServer, rest.Fail(rest.Plain), rest.RequireToken(rest.Plain), rest.RequireProject, negotiate,
		writerOnly("os_compute_api:servers:create"), rest.Expect(400, 403, 404, 406, 409))
}

func (a *API) explainServer(c echo.Context) error {
	_, request, err := a.bindCreate(c)
	if err != nil {
		return err
	}
	e, err := a.servers(c).Explain(c.Request().Context(), request)
	if err != nil {
		return err
	}
	v := object{
		"accepted": e.Refused == nil, "refused": nil, "min_count": request.Min, "max_count": request.Max, "admitted": e.Admitted,
		"quota": sharesOf(e.Quota), "flavor": object{"id": e.Flavor.ID, "name": e.Flavor.Name}, "image": nil, "takes": nil,
		"fault": nil, "hosts_fit": len(e.Hosts.Hosts), "filters": []object{}, "expected": nil,
	}
	if e.Refused != nil {
		refused := faultOf(e.Refused)
		refused["step"] = e.Step
		v["refused"] = refused
	}
	if e.Image != nil {
		root := e.Image.Root
		v["image"] = object{"id": root.ID, "name": root.Name, "disk_format": root.DiskFormat, "size": root.SizeBytes, "architecture": e.Image.Architecture}
		v["takes"] = e.Resources
		seen := rest.CallerOf(c).Admin() // of hosts, as of the hypervisors
		if !seen {
			e.Hosts = e.Hosts.Unnamed()
		}
		if err := e.Hosts.Fault(); err != nil {
			v["fault"] = faultOf(err)
		}
		v["filters"] = removalsOf(e.Hosts, seen)
		if seen {
			v["hosts"] = weighedOf(e.Hosts)
		}
	}
	if e.Times.Builds > 0 {
		v["expected"] = timesOf(e)
	}
	return c.JSON(http.StatusOK, object{"explanation": v})
}

func faultOf(err error) object {
	code := http.StatusInternalServerError
	var f *fault.Error
	if errors.As(err, &f) {
		code = f.Kind.Status()
	}
	return object{"code": code, "message": fault.Public(err)}
}

func sharesOf(quota []servers.Share) object {
	v := object{}
	for _, q := range quota {
		share := object{"limit": q.Limit, "in_use": q.Used, "asked": q.Asked, "left": -1}
		if q.Limit >= 0 {
			share["left"] = max(0, q.Limit-q.Used)
		}
		v[q.Name] = share
	}
	return v
}

func removalsOf(e scheduler.Explanation, seen bool) []object {
	all := []object{}
	for _, r := range e.Removed {
		v := object{"filter": r.Filter, "removed": r.Count}
		if seen {
			hosts := []object{}
			for _, h := range r.Hosts {
				hosts = append(hosts, object{"host": h.Hostname, "reason": h.Reason})
			}
			v["hosts"] = hosts
		}
		all = append(all, v)
	}
	return all
}

// shownHosts is how many of the hosts that can take a server are named.
const shownHosts = 100

func weighedOf(e scheduler.Explanation) []object {
	all := []object{}
	for _, h := range e.Hosts[:min(len(e.Hosts), shownHosts)] {
		weighers := []object{}
		for _, p := range h.Parts {
			weighers = append(weighers, object{"weigher": p.Weigher, "value": p.Value, "adds": p.Adds})
		}
		all = append(all, object{"host": h.Host.Hostname, "availability_zone": h.Host.AvailabilityZone, "weight": h.Weight, "weighers": weighers})
	}
	return all
}

func timesOf(e servers.Explanation) object {
	seconds := func(d time.Duration) float64 { return float64(d.Round(time.Millisecond)) / float64(time.Second) }
	steps := []object{}
	for _, s := range e.Times.Steps {
		steps = append(steps, object{"step": s.Step, "seconds": seconds(s.Took)})
	}
	return object{"builds": e.Times.Builds, "seconds": seconds(e.Times.Whole), "steps": steps}
}
