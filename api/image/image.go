// Package image answers the Glance v2 API, and Slipway's own of bytes that no image has: paths, bodies, statuses and headers. What happens to images is internal/service/images'.
// Bodies, statuses and texts follow glance/api/v2 and its API reference (docs.openstack.org/api-ref/image/v2).
package image

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/internal/webdownload"
	"github.com/slipway-cloud/slipway/models"
)

// Config of the image API. A zero field is what is said beside it, where something is.
type Config struct {
	Idle time.Duration // how long an upload or download may stand still

	Imports        images.Imports    // none: nothing can be imported
	Web            webdownload.Rules // what web-download may ask: nothing
	ImportDeadline time.Duration     // of an import
	ImportPatience time.Duration     // with what does not answer it: none
	UndoPatience   time.Duration     // until an import that cannot be given up is shown as parked
	TaskTTL        time.Duration     // of the task of an import that has ended
}

// Importer is what brings bytes to images by these settings.
func (c Config) Importer(rows *models.Store) images.Importer {
	return images.Importer{
		Imports: c.Imports, Rows: rows, Deadline: c.ImportDeadline, Patience: c.ImportPatience, UndoPatience: c.UndoPatience, KeepTask: c.TaskTTL,
	}
}

// API serves the image endpoints.
type API struct {
	store   *models.Store
	service *images.Service
	config  Config

	importer images.Importer
}

// New makes the API; Mount puts it under a path.
func New(store *models.Store, service *images.Service, config Config) *API {
	return &API{store: store, service: service, config: config, importer: config.Importer(store)}
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
	g := root.Group("/v2", open, rest.RequireToken(rest.Glance))
	for name, document := range schemas {
		g.GET("/schemas/"+name, schema(document), rest.Expect())
	}

	g.GET("/images", a.list, rest.Expect(invalid))
	g.POST("/images", a.create, rest.RequireProject, rest.Expect(invalid, forbidden, conflict))
	g.GET("/images/:id", a.show, rest.Expect(absent))
	g.PATCH("/images/:id", a.patch, rest.Expect(invalid, forbidden, absent, conflict))
	g.DELETE("/images/:id", a.delete, rest.Expect(forbidden, absent))
	g.PUT("/images/:id/tags/:tag", a.addTag, rest.Expect(invalid, forbidden, absent, conflict))
	g.DELETE("/images/:id/tags/:tag", a.removeTag, rest.Expect(forbidden, absent, conflict))
	g.POST("/images/:id/actions/deactivate", a.switchTo(models.ImageDeactivated), rest.Expect(forbidden, absent))
	g.POST("/images/:id/actions/reactivate", a.switchTo(models.ImageActive), rest.Expect(forbidden, absent))

	g.PUT("/images/:id/file", a.upload, rest.Expect(invalid, forbidden, absent, conflict, gone))
	g.GET("/images/:id/file", a.download, rest.Expect(forbidden, absent, unsatisfiable))
	g.PUT("/images/:id/stage", a.stage, rest.Expect(invalid, forbidden, absent, conflict))

	g.POST("/images/:id/import", a.importImage, rest.Expect(invalid, forbidden, absent, conflict))
	g.GET("/images/:id/tasks", a.imageTasks, rest.Expect(forbidden, absent))
	g.GET("/tasks", a.listTasks, rest.Expect(invalid, forbidden))
	g.GET("/tasks/:task", a.showTask, rest.Expect(forbidden, absent))

	g.GET("/images/:id/members", a.listMembers, rest.Expect(forbidden, absent))
	g.POST("/images/:id/members", a.share, rest.Expect(invalid, forbidden, absent, conflict))
	g.GET("/images/:id/members/:member", a.showMember, rest.Expect(forbidden, absent))
	g.PUT("/images/:id/members/:member", a.setMemberStatus, rest.Expect(invalid, forbidden, absent))
	g.DELETE("/images/:id/members/:member", a.unshare, rest.Expect(forbidden, absent))

	g.GET("/info/import", a.importInfo, rest.Expect())
	g.GET("/info/usage", a.usage, rest.RequireProject, rest.Expect(forbidden))
	g.GET("/info/stores", a.listStores, rest.Expect())
	g.GET("/info/stores/detail", a.detailStores, rest.Expect(forbidden))
	g.DELETE("/stores/:store/:id", a.drop, rest.Expect(forbidden, absent, conflict))

	a.mountMetadefs(g)
	for _, route := range [][2]string{{"GET", "/cache"}, {"DELETE", "/cache"}, {"PUT", "/cache/:id"}, {"DELETE", "/cache/:id"}} {
		g.Add(route[0], route[1], noCache, rest.RequireAdmin, rest.Expect(forbidden, absent))
	}
}

// noCache answers as a Glance does that keeps no cache: hosts cache what they build from, and nobody tells them to.
func noCache(echo.Context) error {
	return fault.New(fault.NotFound, "Caching via API is not supported at this site.")
}

// images is the image service for whoever makes the request.
func (a *API) images(c echo.Context) images.Repository { return a.service.For(callerOf(c)) }

func callerOf(c echo.Context) images.Caller {
	caller := rest.CallerOf(c)
	if caller.DomainID != "" { // roles on a domain are none on its projects, nor on images
		caller.Roles = nil
	}
	return images.Caller{
		Caller:    imagepolicy.Caller{UserID: caller.UserID, ProjectID: caller.ProjectID, Roles: caller.Roles},
		RequestID: rest.RequestID(c),
	}
}

// minors are Glance's versions whose calls are all offered. 2.14, 2.16 and 2.18 are of its cache, which there is none of; 2.17
// adds locations, which nobody may see or set.
var minors = []int{15, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0}

// versions lists what is spoken: 300 at the root, as Glance answers.
func (a *API) versions(c echo.Context) error {
	version := func(id, status string) map[string]any {
		return map[string]any{"id": id, "status": status, "links": []rest.Link{{Rel: "self", Href: rest.URL(c, "/image/v2/")}}}
	}
	status := http.StatusMultipleChoices
	if c.Path() == "/image/versions" {
		status = http.StatusOK
	}
	all := []any{version(fmt.Sprintf("v2.%d", minors[0]), "CURRENT")}
	for _, minor := range minors[1:] {
		all = append(all, version(fmt.Sprintf("v2.%d", minor), "SUPPORTED"))
	}
	return c.JSON(status, map[string]any{"versions": all})
}

// view is Glance's document of an image.
func view(i models.Image) map[string]any {
	doc := make(map[string]any, len(i.Properties)+26)
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
	size := i.SizeBytes
	if size == nil {
		size = i.StagedBytes
	}
	for k, v := range map[string]any{
		"id": i.ID, "name": i.Name, "status": string(i.Status), "visibility": i.Visibility, "protected": i.Protected,
		"os_hidden": i.Hidden, "owner": i.OwnerID, "disk_format": i.DiskFormat, "container_format": i.ContainerFormat,
		"min_disk": i.MinDiskGiB, "min_ram": i.MinRAMMiB, "size": size, "virtual_size": i.VirtualBytes,
		"checksum": i.MD5, "os_hash_algo": algorithm, "os_hash_value": i.SHA512, "tags": tags,
		"created_at": rest.Time(i.CreatedAt), "updated_at": rest.Time(i.UpdatedAt),
		"self": path, "file": path + "/file", "schema": "/v2/schemas/image",
	} {
		doc[k] = v
	}
	if len(i.Locations) > 0 {
		names := make([]string, len(i.Locations))
		for n, l := range i.Locations {
			names[n] = l.Store
		}
		doc["stores"] = strings.Join(names, ",")
	}
	return doc
}

func (a *API) show(c echo.Context) error {
	image, err := a.images(c).Get(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, view(image))
}

func (a *API) delete(c echo.Context) error {
	err := a.change(c, func(repo images.Repository, image models.Image) error {
		return repo.Remove(context.WithoutCancel(c.Request().Context()), image)
	})
	if err != nil {
		return err
	}
	return rest.NoContent(c)
}

// switchTo is POST /v2/images/{id}/actions/….
func (a *API) switchTo(status models.ImageStatus) echo.HandlerFunc {
	return func(c echo.Context) error {
		err := a.change(c, func(repo images.Repository, image models.Image) error {
			_, err := repo.Switch(context.WithoutCancel(c.Request().Context()), image, status)
			return err
		})
		if err != nil {
			return err
		}
		return rest.NoContent(c)
	}
}

// change does something to the path's image (images.Change).
func (a *API) change(c echo.Context, do func(images.Repository, models.Image) error) error {
	return images.Change(c.Request().Context(), a.images(c), c.Param("id"), do)
}
