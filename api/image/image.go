// Package image answers the Glance v2 API: what images are called, who sees them, and their bytes. Bodies, statuses and
// texts follow glance/api/v2 and its API reference (docs.openstack.org/api-ref/image/v2).
package image

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/models"
)

// Config of the image API. Zero fields take the defaults that are named beside them.
type Config struct {
	MaxBytes int64         // largest image: 1 TiB (Glance's image_size_cap)
	Idle     time.Duration // how long an upload or download may stand still: 1 minute
}

// API serves the image endpoints.
type API struct {
	store  *models.Store
	bytes  imagestore.Store
	config Config
	log    *slog.Logger
}

// New makes the API; Mount puts it under a path. log is for what happens outside of requests.
func New(store *models.Store, bytes imagestore.Store, config Config, log *slog.Logger) *API {
	if config.MaxBytes <= 0 {
		config.MaxBytes = 1 << 40
	}
	if config.Idle <= 0 {
		config.Idle = time.Minute
	}
	return &API{store: store, bytes: bytes, config: config, log: log}
}

// Mount adds the routes to root, which is the group "/image".
func (a *API) Mount(root *echo.Group) {
	open := rest.Fail(rest.Glance)
	for _, path := range []string{"", "/", "/versions"} {
		root.GET(path, a.versions, open)
	}
	const (
		invalid, forbidden, absent, conflict = http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusConflict
		gone, unsatisfiable                  = http.StatusGone, http.StatusRequestedRangeNotSatisfiable
	)
	g := root.Group("/v2", open, rest.RequireToken(a.store, rest.Glance))
	g.GET("/schemas/image", a.imageSchema, rest.Expect())
	g.GET("/schemas/images", a.imagesSchema, rest.Expect())

	g.GET("/images", a.list, rest.Expect(invalid))
	g.POST("/images", a.create, rest.RequireProject, rest.RequireWriter, rest.Expect(invalid, forbidden, conflict))
	g.GET("/images/:id", a.show, rest.Expect(absent))
	g.PATCH("/images/:id", a.patch, rest.RequireWriter, rest.Expect(invalid, forbidden, absent, conflict))
	g.DELETE("/images/:id", a.delete, rest.RequireWriter, rest.Expect(forbidden, absent))
	g.PUT("/images/:id/file", a.upload, rest.RequireWriter, rest.Expect(invalid, forbidden, absent, conflict, gone))
	g.GET("/images/:id/file", a.download, rest.Expect(absent, unsatisfiable))
	g.PUT("/images/:id/tags/:tag", a.addTag, rest.RequireWriter, rest.Expect(invalid, forbidden, absent, conflict))
	g.DELETE("/images/:id/tags/:tag", a.removeTag, rest.RequireWriter, rest.Expect(forbidden, absent, conflict))
}

// versions lists what is spoken: 300 at the root, as Glance answers.
func (a *API) versions(c echo.Context) error {
	version := func(id, status string) map[string]any {
		return map[string]any{"id": id, "status": status, "links": []rest.Link{{Rel: "self", Href: rest.URL(c, "/image/v2/")}}}
	}
	status := http.StatusMultipleChoices
	if c.Path() == "/image/versions" {
		status = http.StatusOK
	}
	return c.JSON(status, map[string]any{"versions": []any{
		version("v2.9", "CURRENT"), version("v2.7", "SUPPORTED"), version("v2.6", "SUPPORTED"), version("v2.5", "SUPPORTED"),
		version("v2.4", "SUPPORTED"), version("v2.3", "SUPPORTED"), version("v2.2", "SUPPORTED"), version("v2.1", "SUPPORTED"),
		version("v2.0", "SUPPORTED"),
	}})
}

// Visibilities of images. There is no sharing with members: shared is as private, and Glance's default.
const (
	public    = "public"
	community = "community"
	private   = "private"
	shared    = "shared"
)

func absent(id string) error { return fault.New(fault.NotFound, "No image found with ID %s", id) }

// visible is an image that the caller may see, else NotFound: another project's image is as one that never was.
func (a *API) visible(c echo.Context) (models.Image, error) {
	id := c.Param("id")
	image, err := a.store.Image(c.Request().Context(), id)
	if fault.Is(err, fault.NotFound) {
		return image, absent(id)
	}
	if err != nil {
		return image, fmt.Errorf("read image %s: %w", id, err)
	}
	caller := rest.CallerOf(c)
	if mine(caller, image) || image.Visibility == public || image.Visibility == community {
		return image, nil
	}
	return models.Image{}, absent(id)
}

// changeable is an image that the caller may change: Forbidden for one that it only sees.
func (a *API) changeable(c echo.Context, verb string) (models.Image, error) {
	image, err := a.visible(c)
	if err != nil {
		return image, err
	}
	if !mine(rest.CallerOf(c), image) {
		return image, fault.New(fault.Forbidden, "You are not permitted to %s this image.", verb)
	}
	return image, nil
}

func mine(caller rest.Caller, image models.Image) bool {
	return caller.Admin() || (caller.ProjectID != "" && image.OwnerID == caller.ProjectID)
}

// view is Glance's document of an image.
func view(i models.Image) map[string]any {
	doc := make(map[string]any, len(i.Properties)+24)
	for k, v := range i.Properties {
		doc[k] = v
	}
	path := "/v2/images/" + i.ID
	var algorithm *string
	if i.SHA512 != nil {
		name := "sha512"
		algorithm = &name
	}
	tags := i.Tags
	if tags == nil {
		tags = []string{}
	}
	for k, v := range map[string]any{
		"id": i.ID, "name": i.Name, "status": string(i.Status), "visibility": i.Visibility, "protected": i.Protected,
		"os_hidden": false, "owner": i.OwnerID, "disk_format": i.DiskFormat, "container_format": i.ContainerFormat,
		"min_disk": i.MinDiskGiB, "min_ram": i.MinRAMMiB, "size": i.SizeBytes, "virtual_size": i.VirtualBytes,
		"checksum": i.MD5, "os_hash_algo": algorithm, "os_hash_value": i.SHA512, "tags": tags,
		"created_at": rest.Time(i.CreatedAt), "updated_at": rest.Time(i.UpdatedAt),
		"self": path, "file": path + "/file", "schema": "/v2/schemas/image",
	} {
		doc[k] = v
	}
	return doc
}

func (a *API) show(c echo.Context) error {
	image, err := a.visible(c)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, view(image))
}

// delete removes the row first: bytes without a row are cleaned by Settle, a row without bytes would be a broken image.
func (a *API) delete(c echo.Context) error {
	image, err := a.changeable(c, "delete")
	if err != nil {
		return err
	}
	ctx := context.WithoutCancel(c.Request().Context())
	err = a.store.DeleteImage(ctx, image.ID)
	switch {
	case fault.Is(err, fault.NotFound):
		return absent(image.ID)
	case fault.Is(err, fault.Forbidden):
		return fault.Wrap(fault.Forbidden, err, "Image %s is protected and cannot be deleted.", image.ID)
	case err != nil:
		return fmt.Errorf("delete image %s: %w", image.ID, err)
	}
	if err := a.bytes.Delete(ctx, image.ID); err != nil {
		// The image is deleted; what lies about is Settle's.
		a.log.Error("the bytes of a deleted image stay until they are settled", "image_id", image.ID, "error", err)
	}
	return rest.NoContent(c)
}
