package compute

import (
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/service/servers"
)

// createImageSchema is what is said to a createImage (schemas/servers.py).
var createImageSchema = compile(wrapped("createImage", strict(object{"name": nameSchema, "metadata": metadataSchema}, "name")))

// createImage answers as nova/api/openstack/compute/servers.py _create_image.
func (a *API) createImage(c echo.Context, asked asking) error {
	var r struct {
		Name     string            `json:"name"`
		Metadata map[string]string `json:"metadata"`
	}
	if err := rest.Check(createImageSchema, object{"createImage": asked.raw}); err != nil {
		return err
	}
	if err := json.Unmarshal(asked.raw, &r); err != nil {
		return invalid("Malformed request body")
	}
	id, err := a.image(c, asked, contract.Snapshot{Name: r.Name, Metadata: r.Metadata})
	if err != nil {
		return err
	}
	return answerImage(c, id)
}

var createBackupSchema = compile(wrapped("createBackup", strict(object{
	"name": nameSchema, "backup_type": object{"type": "string"}, "rotation": nonNegativeSchema, "metadata": metadataSchema,
}, "name", "backup_type", "rotation")))

// createBackup answers as nova/api/openstack/compute/create_backup.py. A rotation of 0 makes one, and keeps none.
func (a *API) createBackup(c echo.Context, asked asking) error {
	var r struct {
		Name     string            `json:"name"`
		Type     string            `json:"backup_type"`
		Rotation Integer           `json:"rotation"`
		Metadata map[string]string `json:"metadata"`
	}
	if err := rest.Check(createBackupSchema, object{"createBackup": asked.raw}); err != nil {
		return err
	}
	if err := json.Unmarshal(asked.raw, &r); err != nil {
		return invalid("Malformed request body")
	}
	id, err := a.image(c, asked, contract.Snapshot{
		Name: r.Name, Metadata: r.Metadata, Backup: &contract.Backup{Type: r.Type, Rotation: int(r.Rotation)},
	})
	if err != nil {
		return err
	}
	if minorOf(c) < 45 && r.Rotation == 0 {
		return c.NoContent(http.StatusAccepted)
	}
	return answerImage(c, id)
}

// image has an image made of a server.
func (a *API) image(c echo.Context, asked asking, of contract.Snapshot) (id string, err error) {
	if err := checkName(of.Name); err != nil {
		return "", err
	}
	if minorOf(c) < 39 {
		q, err := a.service.Quota(c.Request().Context(), asked.server.ProjectID)
		if err != nil {
			return "", err
		}
		if servers.CheckMetadata(of.Metadata, q) != nil {
			return "", fault.New(fault.OverQuota, "Image metadata limit exceeded")
		}
	}
	return a.servers(c).CreateImage(c.Request().Context(), asked.server, asked.rows[0], of)
}

// answerImage tells of the image: before 2.45 where it is.
func answerImage(c echo.Context, id string) error {
	if minorOf(c) >= 45 {
		return c.JSON(http.StatusAccepted, object{"image_id": id})
	}
	c.Response().Header().Set(echo.HeaderLocation, rest.URL(c, "/image/v2/images", id))
	return c.NoContent(http.StatusAccepted)
}
