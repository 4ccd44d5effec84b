package image

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

// MountOrphans adds Slipway's own routes of bytes in the stores that no image has, for operators (role admin), to g, which is
// the group "/image-orphans".
func (a *API) MountOrphans(g *echo.Group) {
	admin := []echo.MiddlewareFunc{rest.Fail(rest.Plain), rest.RequireToken(rest.Plain), rest.RequireAdmin}
	for _, root := range []string{"", "/"} {
		g.GET(root, a.listOrphans, append(admin, rest.Expect(400, 403))...)
	}
	g.POST("/:id/set-aside", a.setAside, append(admin, rest.Expect(400, 403, 404, 409))...)
	g.POST("/:id/adopt", a.adopt, append(admin, rest.RequireProject, rest.Expect(400, 403, 404, 409))...)
	g.DELETE("/:id", a.deleteOrphan, append(admin, rest.Expect(403, 404, 409))...)
}

// orphan is bytes in a store that no image has.
type orphan struct {
	ID     string  `json:"id"` // its name in the store: the id of the image that it was, or that and "-staged"
	Store  string  `json:"store"`
	Bytes  int64   `json:"bytes"`
	Format string  `json:"disk_format"` // by its first bytes
	Since  *string `json:"set_aside_at"`
	Until  *string `json:"deleted_at"` // when it will be; null: not by itself
}

func (a *API) orphanOf(ctx context.Context, o images.Orphan) (orphan, error) {
	format, err := a.service.Recognise(ctx, o)
	return orphan{ID: o.ID, Store: o.Store, Bytes: o.Bytes, Format: format, Since: moment(o.Since), Until: moment(o.Until)}, err
}

func moment(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	text := rest.Time(t)
	return &text
}

// listOrphans is GET /image-orphans. A store that does not answer fails it: what is there would pass for gone.
func (a *API) listOrphans(c echo.Context) error {
	const usual = 100
	page, err := rest.PageOf(c, usual)
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	all, err := a.service.Orphans(ctx)
	if err != nil {
		return err
	}
	// The marker is the id and the store of one.
	first := 0
	if page.Marker != "" {
		at := slices.IndexFunc(all, func(o images.Orphan) bool { return o.ID+"@"+o.Store == page.Marker })
		if at < 0 {
			return fault.New(fault.Invalid, "There is no orphan '%s' to go on after.", page.Marker)
		}
		first = at + 1
	}
	views, all := []orphan{}, all[first:min(len(all), first+page.Limit)]
	for _, o := range all {
		v, err := a.orphanOf(ctx, o)
		if fault.Is(err, fault.NotFound) {
			continue // it was deleted meanwhile
		}
		if err != nil {
			return err
		}
		views = append(views, v)
	}
	answer := map[string]any{"orphans": views}
	if len(all) > 0 {
		last := all[len(all)-1]
		if next := page.Next(c, len(all), last.ID+"@"+last.Store); next != "" {
			answer["next"] = next
		}
	}
	return c.JSON(http.StatusOK, answer)
}

var setAsideSchema = rest.Schema(`{
	"type": "object",
	"properties": {"store": {"type": "string", "maxLength": 255}},
	"additionalProperties": false
}`)

// setAside is POST /image-orphans/{id}/set-aside.
func (a *API) setAside(c echo.Context) error {
	var body struct{ Store string }
	if err := rest.Bind(c, setAsideSchema, &body); err != nil {
		return err
	}
	ctx := context.WithoutCancel(c.Request().Context())
	o, err := a.service.SetAside(ctx, c.Param("id"), body.Store)
	if err != nil {
		return err
	}
	v, err := a.orphanOf(ctx, o)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, map[string]any{"orphan": v})
}

var adoptSchema = rest.Schema(`{
	"type": "object",
	"properties": {
		"store": {"type": "string", "maxLength": 255},
		"name": {"type": "string", "maxLength": 255},
		"project_id": {"type": "string", "minLength": 1, "maxLength": 255},
		"disk_format": {"enum": ["ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso"]}
	},
	"additionalProperties": false
}`)

// adopt is POST /image-orphans/{id}/adopt: 202 when the image is there, queued, and its import has begun.
func (a *API) adopt(c echo.Context) error {
	var body struct {
		Store, Name string
		ProjectID   string  `json:"project_id"`
		DiskFormat  *string `json:"disk_format"`
	}
	if err := rest.Bind(c, adoptSchema, &body); err != nil {
		return err
	}
	if err := a.importer.Can(); err != nil {
		return err
	}
	draft := models.Image{OwnerID: body.ProjectID, Visibility: imagepolicy.Shared, DiskFormat: body.DiskFormat, Properties: map[string]string{}, Tags: []string{}}
	if body.Name != "" {
		draft.Name = &body.Name
	}
	if draft.OwnerID == "" {
		draft.OwnerID = rest.CallerOf(c).ProjectID
	}
	id := c.Param("id")
	image, o, err := a.service.Adopt(context.WithoutCancel(c.Request().Context()), callerOf(c), id, body.Store, draft)
	if err != nil {
		return err
	}
	method := contract.ImportOrphan
	in := contract.ImportInput{Every: true, Method: method, URI: id, Stores: []string{o.Store}}
	if err := a.importer.Submit(c.Request().Context(), callerOf(c), in, image.ID, importRequest{Method: &importMethod{Name: &method, URI: id}, Stores: &in.Stores}); err != nil {
		return err
	}
	return c.JSON(http.StatusAccepted, map[string]any{"image": map[string]any{"id": image.ID, "name": image.Name, "owner": image.OwnerID, "disk_format": image.DiskFormat}})
}

// deleteOrphan is DELETE /image-orphans/{id}; ?store= names the store where more than one has it.
func (a *API) deleteOrphan(c echo.Context) error {
	if err := a.service.DeleteOrphan(context.WithoutCancel(c.Request().Context()), c.Param("id"), c.QueryParam("store")); err != nil {
		return err
	}
	return rest.NoContent(c)
}
