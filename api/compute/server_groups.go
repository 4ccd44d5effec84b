package compute

import (
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountServerGroups(g *echo.Group) {
	rule := "os_compute_api:os-server-groups:"
	g.GET("/os-server-groups", a.listGroups, rest.Expect(400))
	g.POST("/os-server-groups", a.createGroup, writerOnly(rule+"create"), rest.Expect(400, 403))
	g.GET("/os-server-groups/:id", a.showGroup, rest.Expect(404))
	g.DELETE("/os-server-groups/:id", a.deleteGroup, writerOnly(rule+"delete"), rest.Expect(403, 404))
}

// serverGroupSchemas take a list of one policy, and since 2.64 a policy with rules (schemas/server_groups.py).
var serverGroupSchemas = byVersion("POST /os-server-groups", func(minor int) object {
	policies := []any{models.AntiAffinity, models.Affinity}
	if minor >= 15 {
		policies = append(policies, models.SoftAntiAffinity, models.SoftAffinity)
	}
	policy := object{"type": "string", "enum": policies}
	if minor < 64 {
		return wrapped("server_group", strict(object{
			"name": nameSchema, "policies": object{"type": "array", "items": policy, "minItems": 1, "maxItems": 1},
		}, "name", "policies"))
	}
	return wrapped("server_group", strict(object{
		"name": nameSchema, "policy": policy, "rules": strict(object{"max_server_per_host": positiveSchema}),
	}, "name", "policy"))
})

// serverGroupView is nova/api/openstack/compute/server_groups.py _format_server_group. metadata was never used.
func serverGroupView(minor int, g models.ServerGroup) object {
	v := object{"id": g.ID, "name": g.Name, "members": g.Members}
	if minor >= 13 {
		v["project_id"], v["user_id"] = g.ProjectID, g.UserID
	}
	if minor < 64 {
		v["policies"], v["metadata"] = []string{g.Policy}, object{}
		return v
	}
	rules := object{}
	if g.MaxPerHost != nil {
		rules["max_server_per_host"] = *g.MaxPerHost
	}
	v["policy"], v["rules"] = g.Policy, rules
	return v
}

func (a *API) listGroups(c echo.Context) error {
	if err := strictQuery(c, "all_projects", "limit", "offset"); err != nil {
		return err
	}
	page, err := rest.PageOf(c, rest.MaxPage)
	if err != nil {
		return err
	}
	var offset Integer
	if word := c.QueryParam("offset"); word != "" {
		if err := offset.UnmarshalJSON([]byte(word)); err != nil || offset < 0 {
			return parameter("offset", word, "does not match '^[0-9]*$'")
		}
	}
	_, all := c.QueryParams()["all_projects"] // whatever it says, as in Nova
	groups, err := a.servers(c).Groups(c.Request().Context(), all, int(offset), page.Limit)
	if err != nil {
		return err
	}
	views := make([]object, len(groups))
	for i, g := range groups {
		views[i] = serverGroupView(minorOf(c), g)
	}
	return c.JSON(http.StatusOK, object{"server_groups": views})
}

func (a *API) createGroup(c echo.Context) error {
	var body struct {
		Group struct {
			Name     string   `json:"name"`
			Policies []string `json:"policies"`
			Policy   string   `json:"policy"`
			Rules    struct {
				Most *Integer `json:"max_server_per_host"`
			} `json:"rules"`
		} `json:"server_group"`
	}
	if err := rest.Bind(c, serverGroupSchemas.at(minorOf(c)), &body); err != nil {
		return err
	}
	in := body.Group
	if err := checkName(in.Name); err != nil {
		return err
	}
	if len(in.Policies) > 0 {
		in.Policy = in.Policies[0]
	}
	var most *int
	if n := in.Rules.Most; n != nil {
		if *n < 1 || *n > maxInt32 { // a string of digits passed the schema
			return field("max_server_per_host", strconv.Itoa(int(*n)), "is out of range")
		}
		most = new(int(*n))
	}
	g, err := a.servers(c).CreateGroup(c.Request().Context(), in.Name, in.Policy, most)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"server_group": serverGroupView(minorOf(c), g)})
}

func (a *API) showGroup(c echo.Context) error {
	g, err := a.servers(c).Group(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"server_group": serverGroupView(minorOf(c), g)})
}

func (a *API) deleteGroup(c echo.Context) error {
	if err := a.servers(c).DeleteGroup(c.Request().Context(), c.Param("id")); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}
