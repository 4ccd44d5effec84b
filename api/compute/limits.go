package compute

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/service/servers"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountLimits(g *echo.Group) {
	g.GET("/limits", a.showLimits, rest.Expect(400, 403))
	g.GET("/os-quota-sets/:id", a.showQuota, rest.Expect(400, 403))
	g.GET("/os-quota-sets/:id/detail", a.showQuota, rest.Expect(400, 403))
	g.GET("/os-quota-sets/:id/defaults", a.showQuota, rest.Expect(400, 403))
	g.PUT("/os-quota-sets/:id", a.updateQuota, adminOnly("os_compute_api:os-quota-sets:update"), rest.Expect(400, 403))
	g.DELETE("/os-quota-sets/:id", a.resetQuota, adminOnly("os_compute_api:os-quota-sets:delete"), rest.Expect(400, 403))
}

// Groups of servers come with the scheduler's hints; until then their limits are Nova's defaults and unused.
const (
	maxServerGroups       = 10
	maxServerGroupMembers = 10
)

// showLimits is nova/api/openstack/compute/limits.py.
func (a *API) showLimits(c echo.Context) error {
	ctx, caller, minor := c.Request().Context(), rest.CallerOf(c), minorOf(c)
	project := caller.ProjectID
	if id := c.QueryParam("tenant_id"); id != "" && id != project {
		if err := allow(caller.Admin(), "os_compute_api:limits:other_project"); err != nil {
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
	v := object{
		"maxTotalInstances": q.Instances, "maxTotalCores": q.Cores, "maxTotalRAMSize": q.RAMMiB, "maxTotalKeypairs": q.KeyPairs,
		"maxServerMeta": servers.MaxMetadataItems, "maxServerGroups": maxServerGroups, "maxServerGroupMembers": maxServerGroupMembers,
		"totalInstancesUsed": used.Instances, "totalCoresUsed": used.Cores, "totalRAMUsed": used.RAMMiB, "totalServerGroupsUsed": 0,
	}
	if minor < 36 {
		v["maxTotalFloatingIps"], v["totalFloatingIpsUsed"] = -1, 0
		v["maxSecurityGroups"], v["maxSecurityGroupRules"], v["totalSecurityGroupsUsed"] = -1, -1, 0
	}
	if minor < 39 {
		v["maxImageMeta"] = servers.MaxMetadataItems
	}
	if minor < 57 {
		v["maxPersonality"], v["maxPersonalitySize"] = servers.MaxFiles, servers.MaxFileBytes
	}
	return c.JSON(http.StatusOK, object{"limits": object{"rate": []any{}, "absolute": v}})
}

// quotaProject is the project that a quota's route names: the caller's own, or any for an admin.
func (a *API) quotaProject(c echo.Context, policy string) (string, error) {
	id, caller := c.Param("id"), rest.CallerOf(c)
	if id == caller.ProjectID {
		return id, nil
	}
	if err := allow(caller.Admin(), "os_compute_api:os-quota-sets:"+policy); err != nil {
		return "", err
	}
	if _, err := a.store.Project(c.Request().Context(), id); err != nil {
		return "", fault.Absent(err, fault.Invalid, "Project ID %s is not a valid project.", id)
	}
	return id, nil
}

func (a *API) showQuota(c echo.Context) error {
	ctx := c.Request().Context()
	project, err := a.quotaProject(c, "show")
	if err != nil {
		return err
	}
	q := a.service.DefaultQuota()
	if !strings.HasSuffix(c.Path(), "/defaults") {
		if q, err = a.service.Quota(ctx, project); err != nil {
			return err
		}
	}
	var used *models.Usage
	if strings.HasSuffix(c.Path(), "/detail") {
		u, err := a.store.QuotaUsage(ctx, project)
		if err != nil {
			return fmt.Errorf("add up the claims of project %s: %w", project, err)
		}
		used = &u
	}
	return c.JSON(http.StatusOK, object{"quota_set": quotaView(minorOf(c), project, q, used)})
}

// quotaView shows limits, or with used each limit with its use (quota_sets.py _format_quota_set).
func quotaView(minor int, project string, q models.ProjectQuota, used *models.Usage) object {
	limits := map[string]int{
		"instances": q.Instances, "cores": q.Cores, "ram": q.RAMMiB, "key_pairs": q.KeyPairs, "metadata_items": servers.MaxMetadataItems,
		"server_groups": maxServerGroups, "server_group_members": maxServerGroupMembers,
	}
	if minor < 36 {
		for _, name := range []string{"fixed_ips", "floating_ips", "security_groups", "security_group_rules"} {
			limits[name] = -1
		}
	}
	if minor < 57 {
		limits["injected_files"], limits["injected_file_content_bytes"], limits["injected_file_path_bytes"] = servers.MaxFiles, servers.MaxFileBytes, servers.MaxFilePath
	}
	v := object{}
	for name, limit := range limits {
		v[name] = limit
	}
	if used != nil {
		inUse := map[string]int{"instances": used.Instances, "cores": used.Cores, "ram": used.RAMMiB}
		for name, limit := range limits {
			v[name] = object{"limit": limit, "in_use": inUse[name], "reserved": 0}
		}
	}
	if project != "" {
		v["id"] = project
	}
	return v
}

var quotaSchema = compile(wrapped("quota_set", strict(object{
	"instances": quotaLimit, "cores": quotaLimit, "ram": quotaLimit, "key_pairs": quotaLimit, "force": booleanSchema,
})))

var quotaLimit = object{"type": []string{"integer", "string"}, "pattern": "^-?[0-9]+$", "minimum": -1, "maximum": maxInt32}

func (a *API) updateQuota(c echo.Context) error {
	var body struct {
		Quota struct {
			Instances *Integer `json:"instances"`
			Cores     *Integer `json:"cores"`
			RAM       *Integer `json:"ram"`
			KeyPairs  *Integer `json:"key_pairs"`
			Force     Boolean  `json:"force"`
		} `json:"quota_set"`
	}
	if err := rest.Bind(c, quotaSchema, &body); err != nil {
		return err
	}
	project, err := a.quotaProject(c, "update")
	if err != nil {
		return err
	}
	ctx, in := c.Request().Context(), body.Quota
	q, err := a.service.Quota(ctx, project)
	if err != nil {
		return err
	}
	used, err := a.store.QuotaUsage(ctx, project)
	if err != nil {
		return fmt.Errorf("add up the claims of project %s: %w", project, err)
	}
	q.ProjectID = project
	for _, x := range []struct {
		name  string
		asked *Integer
		into  *int
		inUse int
	}{
		{"instances", in.Instances, &q.Instances, used.Instances}, {"cores", in.Cores, &q.Cores, used.Cores},
		{"ram", in.RAM, &q.RAMMiB, used.RAMMiB}, {"key_pairs", in.KeyPairs, &q.KeyPairs, 0},
	} {
		if x.asked == nil {
			continue
		}
		n := int(*x.asked)
		switch {
		case n < -1 || n > maxInt32:
			return invalid("Quota limit %d for %s must be in the range of -1 and %d.", n, x.name, maxInt32)
		case n != -1 && n < x.inUse && !bool(in.Force):
			return invalid("Quota limit %d for %s must be greater than or equal to already used and reserved %d.", n, x.name, x.inUse)
		}
		*x.into = n
	}
	if err := a.store.SetQuota(ctx, q); err != nil {
		return fmt.Errorf("set the quota of project %s: %w", project, err)
	}
	return c.JSON(http.StatusOK, object{"quota_set": quotaView(minorOf(c), "", q, nil)})
}

func (a *API) resetQuota(c echo.Context) error {
	project, err := a.quotaProject(c, "delete")
	if err != nil {
		return err
	}
	if err := a.store.ResetQuota(c.Request().Context(), project); err != nil {
		return fmt.Errorf("reset the quota of project %s: %w", project, err)
	}
	return c.NoContent(http.StatusAccepted)
}
