package compute

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountQuotaSets(g *echo.Group) {
	g.GET("/os-quota-sets/:id", a.showQuota, rest.Expect(400, 403))
	g.GET("/os-quota-sets/:id/detail", a.showQuota, rest.Expect(400, 403))
	g.GET("/os-quota-sets/:id/defaults", a.showQuota, rest.Expect(400, 403))
	g.PUT("/os-quota-sets/:id", a.updateQuota, adminOnly("os_compute_api:os-quota-sets:update"), rest.Expect(400, 403))
	g.DELETE("/os-quota-sets/:id", a.resetQuota, adminOnly("os_compute_api:os-quota-sets:delete"), rest.Expect(400, 403))

	class := "os_compute_api:os-quota-class-sets:"
	g.GET("/os-quota-class-sets/:id", a.showQuotaClass, adminOnly(class+"show"), rest.Expect(400, 403))
	g.PUT("/os-quota-class-sets/:id", a.updateQuotaClass, adminOnly(class+"update"), rest.Expect(400, 403))
}

// quotaNames are Nova's names of quotas, by the microversions that have them; until 0 is to the last (quota_sets.py, and the
// FILTERED_QUOTAS of its schema).
var quotaNames = []struct {
	until int
	names []string
}{
	{0, []string{"instances", "cores", "ram", "key_pairs", "metadata_items", "server_groups", "server_group_members"}},
	{35, []string{"fixed_ips", "floating_ips", "security_groups", "security_group_rules", "networks"}},
	{56, []string{"injected_files", "injected_file_content_bytes", "injected_file_path_bytes"}},
}

func quotaNamesAt(minor int) (names []string) {
	for _, some := range quotaNames {
		if some.until == 0 || minor <= some.until {
			names = append(names, some.names...)
		}
	}
	return names
}

// quotaClassNamesAt are those of quota classes: they have had groups since 2.50, when they lost what had gone from quota sets.
func quotaClassNamesAt(minor int) []string {
	if minor >= 50 {
		return quotaNamesAt(minor)
	}
	return slices.DeleteFunc(quotaNamesAt(1), func(name string) bool {
		return strings.HasPrefix(name, "server_group")
	})
}

// quotaProject is the project that a quota's route names: the caller's own, or any for an admin.
func (a *API) quotaProject(c echo.Context, policy string) (string, error) {
	id, caller := c.Param("id"), rest.CallerOf(c)
	if id != caller.ProjectID {
		if err := allow(caller.Admin(), "os_compute_api:os-quota-sets:"+policy); err != nil {
			return "", err
		}
		if err := a.knownProject(c, id); err != nil {
			return "", err
		}
	}
	if c.QueryParam("user_id") != "" {
		return "", invalid("Quotas of single users are not kept here: leave user_id out.")
	}
	return id, strictQuery(c, "user_id")
}

func (a *API) showQuota(c echo.Context) error {
	ctx := c.Request().Context()
	project, err := a.quotaProject(c, "show")
	if err != nil {
		return err
	}
	var q models.ProjectQuota
	if strings.HasSuffix(c.Path(), "/defaults") {
		q, err = a.service.DefaultQuota(ctx)
	} else {
		q, err = a.service.Quota(ctx, project)
	}
	if err != nil {
		return err
	}
	v := quotaView(quotaNamesAt(minorOf(c)), q)
	if strings.HasSuffix(c.Path(), "/detail") {
		used, err := a.quotaUse(c, project)
		if err != nil {
			return err
		}
		for name, limit := range v {
			v[name] = object{"limit": limit, "in_use": used[name], "reserved": 0}
		}
	}
	v["id"] = project
	return c.JSON(http.StatusOK, object{"quota_set": v})
}

// quotaUse is what a project has of what is counted for a whole project.
func (a *API) quotaUse(c echo.Context, project string) (map[string]int, error) {
	used, err := a.store.QuotaUsage(c.Request().Context(), project)
	if err != nil {
		return nil, fmt.Errorf("add up the claims of project %s: %w", project, err)
	}
	return map[string]int{"instances": used.Instances, "cores": used.Cores, "ram": used.RAMMiB, "server_groups": used.ServerGroups}, nil
}

// quotaView shows limits (quota_sets.py _format_quota_set).
func quotaView(names []string, q models.ProjectQuota) object {
	v, limits := object{}, q.Limits()
	for _, name := range names {
		if name != "networks" { // which Nova takes and never shows
			v[name] = limits[name]
		}
	}
	return v
}

var quotaLimit = object{"type": []string{"integer", "string"}, "pattern": "^-?[0-9]+$", "minimum": -1, "maximum": maxInt32}

func quotaProperties(names []string) object {
	p := object{}
	for _, name := range names {
		p[name] = quotaLimit
	}
	return p
}

var quotaSchemas = byVersion("PUT /os-quota-sets", func(minor int) object {
	p := quotaProperties(quotaNamesAt(minor))
	p["force"] = booleanSchema
	return wrapped("quota_set", strict(p))
})

// limitsOf reads the limits of a body, and whether they are to hold below what is used. A number in a text is not held within the
// schema's bounds.
func limitsOf(c echo.Context, schema *jsonschema.Schema, key string) (limits map[string]int, force bool, err error) {
	var body map[string]map[string]json.RawMessage
	if err := rest.Bind(c, schema, &body); err != nil {
		return nil, false, err
	}
	limits = map[string]int{}
	for _, name := range sortedKeys(body[key]) {
		raw := body[key][name]
		if name == "force" {
			word, _ := scalar(raw)
			force, _ = parseBool(word)
			continue
		}
		var n Integer
		if err := json.Unmarshal(raw, &n); err != nil || n < -1 || n > maxInt32 {
			return nil, false, invalid("Quota limit %s for %s must be in the range of -1 and %d.", raw, name, maxInt32)
		}
		limits[name] = int(n)
	}
	return limits, force, nil
}

func (a *API) updateQuota(c echo.Context) error {
	limits, force, err := limitsOf(c, quotaSchemas.at(minorOf(c)), "quota_set")
	if err != nil {
		return err
	}
	project, err := a.quotaProject(c, "update")
	if err != nil {
		return err
	}
	used, err := a.quotaUse(c, project)
	if err != nil {
		return err
	}
	for _, name := range sortedKeys(limits) {
		if n := limits[name]; n != -1 && n < used[name] && !force {
			return invalid("Quota limit %d for %s must be greater than or equal to already used and reserved %d.", n, name, used[name])
		}
	}
	ctx := c.Request().Context()
	if err := a.service.SetQuota(ctx, project, limits); err != nil {
		return fmt.Errorf("set the quota of project %s: %w", project, err)
	}
	q, err := a.service.Quota(ctx, project)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"quota_set": quotaView(quotaNamesAt(minorOf(c)), q)})
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

// maxClassName is how long a class's name may be in Nova's database.
const maxClassName = 255

func quotaClass(c echo.Context) (string, error) {
	name := c.Param("id")
	if len(name) > maxClassName || !printable(name) {
		return "", invalid("Quota class %q is no name: it may have at most %d printable characters.", name, maxClassName)
	}
	return name, nil
}

// showQuotaClass shows a class, whether or not anything was set for it. All projects are of the one that is called default.
func (a *API) showQuotaClass(c echo.Context) error {
	name, err := quotaClass(c)
	if err != nil {
		return err
	}
	q, err := a.service.QuotaClass(c.Request().Context(), name)
	if err != nil {
		return err
	}
	v := quotaView(quotaClassNamesAt(minorOf(c)), q)
	v["id"] = name
	return c.JSON(http.StatusOK, object{"quota_class_set": v})
}

var quotaClassSchemas = byVersion("PUT /os-quota-class-sets", func(minor int) object {
	return wrapped("quota_class_set", strict(quotaProperties(quotaClassNamesAt(minor))))
})

func (a *API) updateQuotaClass(c echo.Context) error {
	name, err := quotaClass(c)
	if err != nil {
		return err
	}
	limits, _, err := limitsOf(c, quotaClassSchemas.at(minorOf(c)), "quota_class_set")
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	if err := a.store.SetQuotaClass(ctx, name, limits); err != nil {
		return err
	}
	q, err := a.service.QuotaClass(ctx, name)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"quota_class_set": quotaView(quotaClassNamesAt(minorOf(c)), q)})
}
