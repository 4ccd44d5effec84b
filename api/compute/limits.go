package compute

import (
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
)

func (a *API) mountLimits(g *echo.Group) {
	g.GET("/limits", a.showLimits, rest.Expect(400, 403))
}

// showLimits is nova/api/openstack/compute/limits.py.
func (a *API) showLimits(c echo.Context) error {
	ctx, caller, minor := c.Request().Context(), rest.CallerOf(c), minorOf(c)
	project := caller.ProjectID
	if id := c.QueryParam("tenant_id"); id != "" && id != project {
		if err := allow(caller.Admin(), "os_compute_api:limits:other_project"); err != nil {
			return err
		}
		if err := a.knownProject(c, id); err != nil {
			return err
		}
		project = id
	}
	q, err := a.service.Quota(ctx, project)
	if err != nil {
		return err
	}
	used, err := a.store.QuotaUsage(ctx, project)
	if err != nil {
		return fmt.Errorf("add up the claims of project %s: %w", project, err)
	}
	limits := q.Limits()
	v := object{
		"maxTotalInstances": q.Instances, "maxTotalCores": q.Cores, "maxTotalRAMSize": q.RAMMiB, "maxTotalKeypairs": q.KeyPairs,
		"maxServerMeta": q.MetadataItems, "maxServerGroups": q.ServerGroups, "maxServerGroupMembers": q.ServerGroupMembers,
		"totalInstancesUsed": used.Instances, "totalCoresUsed": used.Cores, "totalRAMUsed": used.RAMMiB, "totalServerGroupsUsed": used.ServerGroups,
	}
	if minor < 36 {
		v["maxTotalFloatingIps"], v["totalFloatingIpsUsed"] = limits["floating_ips"], 0
		v["maxSecurityGroups"], v["maxSecurityGroupRules"], v["totalSecurityGroupsUsed"] = limits["security_groups"], limits["security_group_rules"], 0
	}
	if minor < 39 {
		v["maxImageMeta"] = q.MetadataItems
	}
	if minor < 57 {
		v["maxPersonality"], v["maxPersonalitySize"] = q.InjectedFiles, q.InjectedFileBytes
	}
	return c.JSON(http.StatusOK, object{"limits": object{"rate": []any{}, "absolute": v}})
}
