package compute

import (
	"encoding/json"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
)

func (a *API) mountAssistedSnapshots(g *echo.Group) {
	rule := "os_compute_api:os-assisted-volume-snapshots:"
	g.POST("/os-assisted-volume-snapshots", a.createAssistedSnapshot, adminOnly(rule+"create"), rest.Expect(400, 403))
	g.DELETE("/os-assisted-volume-snapshots/:id", a.deleteAssistedSnapshot, adminOnly(rule+"delete"), rest.Expect(400, 403))
}

var assistedSnapshotSchema = compile(wrapped("snapshot", strict(object{
	"volume_id": uuidSchema,
	"create_info": strict(object{
		"snapshot_id": uuidSchema, "type": object{"type": "string", "enum": []any{"qcow2"}}, "new_file": text(1, 255), "id": uuidSchema,
	}, "snapshot_id", "type", "new_file"),
}, "volume_id", "create_info")))

// noSuchVolume is Nova's answer of a volume that no server has. There is no volume service, so none has.
func noSuchVolume(id string) error { return invalid("No volume Block Device Mapping with id %s.", id) }

func (a *API) createAssistedSnapshot(c echo.Context) error {
	var body struct {
		Snapshot struct {
			VolumeID string `json:"volume_id"`
		} `json:"snapshot"`
	}
	if err := rest.Bind(c, assistedSnapshotSchema, &body); err != nil {
		return err
	}
	return noSuchVolume(body.Snapshot.VolumeID)
}

func (a *API) deleteAssistedSnapshot(c echo.Context) error {
	if err := strictQuery(c, "delete_info"); err != nil {
		return err
	}
	var info struct {
		VolumeID *string `json:"volume_id"`
	}
	if err := json.Unmarshal([]byte(c.QueryParam("delete_info")), &info); err != nil || info.VolumeID == nil {
		return invalid("delete_info is no object with a volume_id: there is no snapshot to delete.")
	}
	return noSuchVolume(*info.VolumeID)
}
