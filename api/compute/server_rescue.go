package compute

import (
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
)

// rescueSchema is what is said to a rescue (schemas/rescue.py): an object, or nothing.
var rescueSchema = compile(wrapped("rescue", object{
	"type": []string{"object", "null"}, "additionalProperties": false,
	"properties": object{"adminPass": object{"type": "string"}, "rescue_image_ref": uuidSchema},
}))

// rescue answers as nova/api/openstack/compute/rescue.py: 200, although it goes on.
func (a *API) rescue(c echo.Context, asked asking) error {
	var r struct {
		AdminPass *string `json:"adminPass"`
		ImageRef  string  `json:"rescue_image_ref"`
	}
	if err := rest.Check(rescueSchema, object{"rescue": asked.raw}); err != nil {
		return err
	}
	if err := json.Unmarshal(asked.raw, &r); err != nil {
		return invalid("Malformed request body")
	}
	password, err := a.servers(c).Rescue(c.Request().Context(), asked.server, asked.rows[0], r.ImageRef, r.AdminPass)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"adminPass": password})
}
