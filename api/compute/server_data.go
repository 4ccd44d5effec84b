package compute

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
)

// mountServerData adds the parts of a server: metadata, addresses, tags, security groups.
func (a *API) mountServerData(g *echo.Group) {
	a.mountServerMetadata(g)
	a.mountServerTags(g)
	g.GET("/servers/:id/ips", a.listAddresses, rest.Expect(404))
	g.GET("/servers/:id/ips/:network", a.showAddresses, rest.Expect(404))
	g.GET("/servers/:id/os-security-groups", a.listServerGroups, rest.Expect(404))
	g.GET("/servers/:id/os-volume_attachments", a.listVolumes, rest.Expect(404))
}

func (a *API) listAddresses(c echo.Context) error {
	s, err := a.server(c)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"addresses": addresses(s.Ports, false)})
}

func (a *API) showAddresses(c echo.Context) error {
	s, err := a.server(c)
	if err != nil {
		return err
	}
	network := c.Param("network")
	of, ok := addresses(s.Ports, false)[network]
	if !ok {
		return fault.New(fault.NotFound, "Instance is not a member of specified network")
	}
	return c.JSON(http.StatusOK, object{network: of})
}

// listVolumes is empty: a server's disks are its host's own. The openstack client asks for it with every show.
func (a *API) listVolumes(c echo.Context) error {
	if _, err := a.server(c); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"volumeAttachments": []any{}})
}
