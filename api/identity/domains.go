package identity

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/service/identity"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountDomains(g reading) {
	g.GET("/auth/domains", list(a, allDomains, every((*identity.Repository).OwnDomains)), rest.Expect(400))
	g.GET("/domains", list(a, allDomains, every((*identity.Repository).Domains)), rest.Expect(400))
	g.POST("/domains", a.createDomain, a.keeper("create_domain"), rest.Expect(400, 403, 409))
	g.GET("/domains/:id", show(a, allDomains, (*identity.Repository).Domain), rest.Expect(403, 404))
	g.PATCH("/domains/:id", a.updateDomain, a.keeper("update_domain"), rest.Expect(400, 403, 404, 409))
	g.DELETE("/domains/:id", a.remove((*identity.Repository).DeleteDomain), rest.Expect(403, 404, 409))
}

var allDomains = collection[models.Domain]{
	one: "domain", many: "domains",
	filters: filters{texts: []string{"name", "description"}, enabled: true},
	view: func(c echo.Context, d models.Domain) object {
		return shown(d.Extra, object{
			"id": d.ID, "name": d.Name, "description": d.Description, "enabled": d.Enabled, "tags": []string{}, "options": object{},
			"links": self(c, "domains", d.ID),
		})
	},
}

var (
	domainAttributes = []string{named(64), described, switched, withoutFlags, `"tags": {"type": "array", "maxItems": 0}`}
	newDomainSchema  = schemaOf("domain", []string{"name"}, domainAttributes...)
	domainPatch      = schemaOf("domain", nil, domainAttributes...)
)

func (a *API) createDomain(c echo.Context) error {
	in, err := bind(c, newDomainSchema, "domain")
	if err != nil {
		return err
	}
	d, err := a.as(c).CreateDomain(c.Request().Context(), models.Domain{
		Name: in.or("name"), Description: in.or("description"), Enabled: in.on(), Extra: in.extra("tags"),
	})
	if err != nil {
		return err
	}
	return answer(c, http.StatusCreated, allDomains, d)
}

func (a *API) updateDomain(c echo.Context) error {
	in, err := bind(c, domainPatch, "domain")
	if err != nil {
		return err
	}
	d, err := a.as(c).UpdateDomain(c.Request().Context(), c.Param("id"), models.DomainPatch{
		Name: in.text("name"), Description: in.text("description"), Enabled: in.flag("enabled"), Extra: in.extra("tags"),
	})
	if err != nil {
		return err
	}
	return answer(c, http.StatusOK, allDomains, d)
}
