package compute

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

// Nova's proxy of images, deprecated since 2.36 and gone from there on, their metadata from 2.39 on (nova/api/openstack/compute/images.py,
// image_metadata.py). Who may do what is the image service's.
const (
	imagesUntil        = 35
	imageMetadataUntil = 38
)

func (a *API) mountImages(g *echo.Group) {
	image, metadata := until(imagesUntil), until(imageMetadataUntil)
	g.GET("/images", a.listImages(false), image, rest.Expect(400, 404))
	g.GET("/images/detail", a.listImages(true), image, rest.Expect(400, 404))
	g.GET("/images/:id", a.showImage, image, rest.Expect(404))
	g.DELETE("/images/:id", a.deleteImage, image, rest.Expect(403, 404, 409))
	g.GET("/images/:id/metadata", a.listImageMetadata, metadata, rest.Expect(404))
	g.POST("/images/:id/metadata", a.setImageMetadata, metadata, rest.Expect(400, 403, 404, 409, 413))
	g.PUT("/images/:id/metadata", a.setImageMetadata, metadata, rest.Expect(400, 403, 404, 409, 413))
	g.GET("/images/:id/metadata/:key", a.showImageMetadata, metadata, rest.Expect(404))
	g.PUT("/images/:id/metadata/:key", a.setImageMetadataItem, metadata, rest.Expect(400, 403, 404, 409, 413))
	g.DELETE("/images/:id/metadata/:key", a.removeImageMetadata, metadata, rest.Expect(403, 404, 409))
}

// picturing is the image service for whoever makes the request.
func (a *API) picturing(c echo.Context) images.Repository {
	return a.images.For(images.Caller{Caller: pictured(c), RequestID: rest.RequestID(c)})
}

// pictured is the caller as the image service knows callers.
func pictured(c echo.Context) imagepolicy.Caller {
	caller := rest.CallerOf(c)
	return imagepolicy.Caller{UserID: caller.UserID, ProjectID: caller.ProjectID, Roles: caller.Roles}
}

func noImage(err error) error { return fault.Absent(err, fault.NotFound, "Image not found.") }

// imageStatuses are Nova's words for Glance's.
var imageStatuses = map[models.ImageStatus]string{
	models.ImageQueued: "SAVING", models.ImageSaving: "SAVING", models.ImageUploading: "SAVING", models.ImageImporting: "SAVING", models.ImageActive: "ACTIVE",
	models.ImageKilled: "ERROR", models.ImagePendingDelete: "DELETED", models.ImageDeleted: "DELETED",
}

// imageProgress is how far an image is, as Nova guesses it.
var imageProgress = map[models.ImageStatus]int{models.ImageQueued: 25, models.ImageSaving: 50, models.ImageUploading: 50, models.ImageImporting: 50, models.ImageActive: 100}

// imageView is nova/api/openstack/compute/views/images.py.
func imageView(c echo.Context, i models.Image, detailed bool) object {
	v := object{
		"id": i.ID, "name": i.Name,
		"links": append(links(c, "images", i.ID), rest.Link{Rel: "alternate", Type: "application/vnd.openstack.image", Href: rest.URL(c, "/image", "images", i.ID)}),
	}
	if !detailed {
		return v
	}
	size := int64(0)
	if i.SizeBytes != nil {
		size = *i.SizeBytes
	}
	status, is := imageStatuses[i.Status]
	if !is {
		status = "UNKNOWN"
	}
	maps.Copy(v, object{
		"minRam": i.MinRAMMiB, "minDisk": i.MinDiskGiB, "metadata": imageMetadata(i), "created": rest.Time(i.CreatedAt), "updated": rest.Time(i.UpdatedAt),
		"status": status, "progress": imageProgress[i.Status], "OS-EXT-IMG-SIZE:size": size,
	})
	if id := i.Properties["instance_uuid"]; id != "" {
		v["server"] = object{"id": id, "links": links(c, "servers", id)}
	}
	if auto, err := strconv.ParseBool(i.Properties["auto_disk_config"]); err == nil {
		v["OS-DCF:diskConfig"] = diskConfig(auto)
	}
	return v
}

// imageMetadata are an image's properties that are its users'.
func imageMetadata(i models.Image) map[string]string {
	metadata := map[string]string{}
	for name, value := range i.Properties {
		if !imagepolicy.IsSystem(name) {
			metadata[name] = value
		}
	}
	return metadata
}

func (a *API) listImages(detailed bool) echo.HandlerFunc {
	return func(c echo.Context) error {
		page, err := rest.PageOf(c, rest.MaxPage)
		if err != nil {
			return err
		}
		f, err := imageFilter(c)
		if err != nil {
			return err
		}
		f.Marker, f.Limit = page.Marker, page.Limit
		var found []models.Image
		if !page.None {
			found, err = a.picturing(c).List(c.Request().Context(), f)
		}
		if err != nil {
			return markerAs(err, page.Marker)
		}
		return c.JSON(http.StatusOK, listed(c, "images", page, found, func(i models.Image) (string, object) { return i.ID, imageView(c, i, detailed) }))
	}
}

// imageFilter reads the filters that Nova knows; others mean nothing.
func imageFilter(c echo.Context) (models.ImageFilter, error) {
	f := models.ImageFilter{Properties: map[string]string{}}
	for name, values := range c.QueryParams() {
		v := values[0]
		switch {
		case name == "name":
			f.Names = []string{v}
		case name == "status":
			for status, word := range imageStatuses {
				if strings.EqualFold(word, v) {
					f.Statuses = append(f.Statuses, status)
				}
			}
			slices.Sort(f.Statuses)
			if len(f.Statuses) == 0 {
				f.Statuses = []models.ImageStatus{models.ImageStatus(v)}
			}
		case name == "minRam" || name == "minDisk":
			n, err := strconv.ParseInt(v, 10, 32)
			if err != nil {
				return f, parameter(name, v, "is no whole number")
			}
			f.Compare = append(f.Compare, models.Comparison{Attribute: map[string]string{"minRam": "min_ram", "minDisk": "min_disk"}[name], Op: "eq", Value: n})
		case name == "changes-since":
			at, ok := parseTime(v)
			if !ok {
				return f, parameter(name, v, "is not a 'date-time'")
			}
			f.Compare = append(f.Compare, models.Comparison{Attribute: "updated_at", Op: "gte", Value: at.UTC().Truncate(time.Second)})
		case name == "server":
			f.Properties["instance_uuid"] = v[strings.LastIndexByte(v, '/')+1:]
		case name == "type":
			f.Properties["image_type"] = v
		case strings.HasPrefix(name, "property-"):
			f.Properties[strings.TrimPrefix(name, "property-")] = v
		}
	}
	return f, nil
}

// imageOf is the path's image.
func (a *API) imageOf(c echo.Context) (models.Image, error) {
	id := c.Param("id")
	if uuid.Validate(id) != nil {
		return models.Image{}, fault.New(fault.NotFound, "Image not found.")
	}
	i, err := a.picturing(c).Get(c.Request().Context(), id)
	return i, noImage(err)
}

func (a *API) showImage(c echo.Context) error {
	i, err := a.imageOf(c)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"image": imageView(c, i, true)})
}

func (a *API) deleteImage(c echo.Context) error {
	err := images.Change(c.Request().Context(), a.picturing(c), c.Param("id"), func(repo images.Repository, i models.Image) error {
		return repo.Remove(context.WithoutCancel(c.Request().Context()), i)
	})
	if err != nil {
		return noImage(err)
	}
	return c.NoContent(http.StatusNoContent)
}

func (a *API) listImageMetadata(c echo.Context) error {
	i, err := a.imageOf(c)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"metadata": imageMetadata(i)})
}

func (a *API) showImageMetadata(c echo.Context) error {
	i, err := a.imageOf(c)
	if err != nil {
		return err
	}
	value, is := imageMetadata(i)[c.Param("key")]
	if !is {
		return fault.New(fault.NotFound, "Metadata item was not found")
	}
	return c.JSON(http.StatusOK, object{"meta": map[string]string{c.Param("key"): value}})
}

// setImageMetadata adds items with POST, and with PUT puts them in the place of all.
func (a *API) setImageMetadata(c echo.Context) error {
	var body struct {
		Metadata map[string]string `json:"metadata"`
	}
	if err := rest.Bind(c, itemsSchema, &body); err != nil {
		return err
	}
	all, err := a.changeImageMetadata(c, func(items map[string]string) error {
		if c.Request().Method == http.MethodPut {
			clear(items)
		}
		maps.Copy(items, body.Metadata)
		return nil
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"metadata": all})
}

func (a *API) setImageMetadataItem(c echo.Context) error {
	var body struct {
		Meta map[string]string `json:"meta"`
	}
	if err := rest.Bind(c, itemSchema, &body); err != nil {
		return err
	}
	if _, is := body.Meta[c.Param("key")]; !is {
		return invalid("Request body and URI mismatch")
	}
	_, err := a.changeImageMetadata(c, func(items map[string]string) error {
		maps.Copy(items, body.Meta)
		return nil
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, object{"meta": body.Meta})
}

func (a *API) removeImageMetadata(c echo.Context) error {
	_, err := a.changeImageMetadata(c, func(items map[string]string) error {
		if _, is := items[c.Param("key")]; !is {
			return fault.New(fault.NotFound, "Invalid metadata key")
		}
		delete(items, c.Param("key"))
		return nil
	})
	if err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// changeImageMetadata saves what a change makes of the properties that are an image's users'; what Slipway itself has written stays.
func (a *API) changeImageMetadata(c echo.Context, change func(items map[string]string) error) (items map[string]string, err error) {
	if _, err := a.imageOf(c); err != nil {
		return nil, err
	}
	ctx := c.Request().Context()
	err = images.Change(ctx, a.picturing(c), c.Param("id"), func(repo images.Repository, was models.Image) error {
		if err := imagepolicy.Check(pictured(c), imagepolicy.ModifyImage, images.Target(was)); err != nil {
			return err // before anything is said of what it has
		}
		items = imageMetadata(was)
		if err := change(items); err != nil {
			return err
		}
		properties := maps.Clone(items)
		for name, value := range properties {
			if old, is := was.Properties[name]; is && old == value {
				continue
			}
			if slices.Contains(imagepolicy.Attributes, name) {
				return fault.New(fault.Forbidden, "Attribute '%s' is no metadata: the image API sets it.", name)
			}
			if err := imagepolicy.MayName(name); err != nil {
				return err
			}
		}
		_, err := repo.Save(context.WithoutCancel(ctx), was, models.ImageUpdate{Properties: &properties})
		return err
	})
	return items, err
}
