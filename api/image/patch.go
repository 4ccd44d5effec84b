package image

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/internal/images"
	"github.com/slipway-cloud/slipway/models"
)

// Content types of a patch (api-ref "Update image").
const (
	patchType    = "application/openstack-images-v2.1-json-patch"
	oldPatchType = "application/openstack-images-v2.0-json-patch"
)

var patchSchema = rest.Schema(`{"type": "array", "maxItems": 1000, "items": {
	"type": "object",
	"properties": {
		"op": {"type": "string"}, "path": {"type": "string", "maxLength": 600},
		"add": {"type": "string"}, "replace": {"type": "string"}, "remove": {"type": "string"}
	}}}`)

// operation is one element of a patch. The 2.0 form names the path as the value of the operation's own name.
type operation struct {
	Op      string          `json:"op"`
	Path    string          `json:"path"`
	Add     string          `json:"add"`
	Replace string          `json:"replace"`
	Remove  string          `json:"remove"`
	Value   json.RawMessage `json:"value"`
}

// target is the operation's name and the attribute that it is about.
func (o operation) target() (op, name string, err error) {
	op, path := o.Op, o.Path
	if op == "" {
		for name, p := range map[string]string{"add": o.Add, "replace": o.Replace, "remove": o.Remove} {
			if p == "" {
				continue
			}
			if op != "" {
				return "", "", fault.New(fault.Invalid, "Operation objects must contain only one member named \"add\", \"remove\", or \"replace\".")
			}
			op, path = name, p
		}
	}
	if !slices.Contains([]string{"add", "replace", "remove"}, op) {
		return "", "", fault.New(fault.Invalid, "Operations must be one of \"add\", \"remove\", or \"replace\".")
	}
	rest, rooted := strings.CutPrefix(path, "/")
	if !rooted || rest == "" {
		return "", "", fault.New(fault.Invalid, "Pointer `%s` does not start with \"/\" and name an attribute.", path)
	}
	if strings.Contains(rest, "/") {
		return "", "", fault.New(fault.Invalid, "Pointer `%s` goes deeper than the attributes of an image.", path)
	}
	name = strings.NewReplacer("~1", "/", "~0", "~").Replace(rest)
	if op != "remove" && o.Value == nil {
		return "", "", fault.New(fault.Invalid, "Operation \"%s\" requires a member named \"value\".", op)
	}
	return op, name, nil
}

// patch is PATCH /v2/images/{id}.
func (a *API) patch(c echo.Context) error {
	var operations []operation
	if c.Request().Header.Get(echo.HeaderContentType) == "" {
		return rest.Status(http.StatusUnsupportedMediaType, "Unsupported Content-Type: use %s", patchType)
	}
	if err := rest.BindType(c, patchSchema, &operations, patchType, oldPatchType); err != nil {
		return err
	}
	var image models.Image
	err := a.change(c, func(repo images.Repository, was models.Image) error {
		change, err := applied(was, operations)
		if err != nil {
			return err
		}
		image, err = repo.Save(context.WithoutCancel(c.Request().Context()), was, change)
		return err
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, view(image))
}

// applied works out what the operations make of the image.
func applied(image models.Image, operations []operation) (models.ImageUpdate, error) {
	var none models.ImageUpdate
	document := map[string]json.RawMessage{}
	shown := view(image)
	for key, value := range shown {
		if slices.Contains(readOnly, key) || slices.Contains(reserved, key) || systems(key) {
			continue
		}
		raw, err := json.Marshal(value)
		if err != nil {
			return none, fmt.Errorf("show image %s: %w", image.ID, err)
		}
		document[key] = raw
	}
	for _, o := range operations {
		op, name, err := o.target()
		if err != nil {
			return none, err
		}
		if name == "id" {
			return none, fault.New(fault.Forbidden, "Attribute '%s' is read-only.", name)
		}
		if !slices.Contains(base, name) {
			if err := mayName(name); err != nil {
				return none, err
			}
		}
		if (name == "disk_format" || name == "container_format") && image.Status != models.ImageQueued {
			return none, fault.New(fault.Forbidden, "Attribute %s can be only replaced for a queued image.", name)
		}
		_, exists := document[name]
		switch op {
		case "add":
			document[name] = o.Value
		case "replace":
			if !exists {
				return none, fault.New(fault.Conflict, "Property %s does not exist.", name)
			}
			document[name] = o.Value
		case "remove":
			if slices.Contains(base, name) {
				return none, fault.New(fault.Forbidden, "Property %s may not be removed.", name)
			}
			if !exists {
				return none, fault.New(fault.Conflict, "Property %s does not exist.", name)
			}
			delete(document, name)
		}
	}
	if err := rest.Check(description, document); err != nil {
		return none, err
	}
	d, err := read(document)
	if err != nil {
		return none, err
	}
	return d.difference(image)
}

// difference is the update that turns the image into what is described.
func (d described) difference(image models.Image) (models.ImageUpdate, error) {
	u := models.ImageUpdate{
		Name: d.Name, ClearName: d.Name == nil, OwnerID: d.Owner, Hidden: &d.Hidden,
		Protected: &d.Protected, MinDiskGiB: &d.MinDisk, MinRAMMiB: &d.MinRAM, Tags: &d.Tags, Properties: &d.properties,
	}
	if d.Owner == nil {
		return u, fault.New(fault.Forbidden, "An image has an owner.")
	}
	if d.Visibility != image.Visibility {
		u.Visibility = &d.Visibility
	}
	if image.Status == models.ImageQueued {
		for _, f := range []struct{ is, was *string }{{d.DiskFormat, image.DiskFormat}, {d.ContainerFormat, image.ContainerFormat}} {
			if f.is == nil && f.was != nil {
				return u, fault.New(fault.Invalid, "A format that is set cannot become null again.")
			}
		}
		u.DiskFormat, u.ContainerFormat = d.DiskFormat, d.ContainerFormat
	}
	for name, value := range image.Properties {
		if systems(name) {
			d.properties[name] = value
		}
	}
	return u, nil
}

// addTag is PUT /v2/images/{id}/tags/{tag}.
func (a *API) addTag(c echo.Context) error {
	tag, err := tagOf(c)
	if err != nil {
		return err
	}
	return a.retag(c, func(image models.Image) ([]string, error) {
		return distinct(append(slices.Clone(image.Tags), tag)), nil
	})
}

// removeTag is DELETE /v2/images/{id}/tags/{tag}.
func (a *API) removeTag(c echo.Context) error {
	tag, err := tagOf(c)
	if err != nil {
		return fault.Wrap(fault.NotFound, err, "%s", err)
	}
	return a.retag(c, func(image models.Image) ([]string, error) {
		i := slices.Index(image.Tags, tag)
		if i < 0 {
			return nil, fault.New(fault.NotFound, "Failed to find tag %s of image %s", tag, image.ID)
		}
		return slices.Delete(slices.Clone(image.Tags), i, i+1), nil
	})
}

func (a *API) retag(c echo.Context, work func(models.Image) ([]string, error)) error {
	err := a.change(c, func(repo images.Repository, was models.Image) error {
		if err := imagepolicy.Check(callerOf(c).Caller, imagepolicy.ModifyImage, images.Target(was)); err != nil {
			return err // before anything is said of its tags
		}
		tags, err := work(was)
		if err != nil {
			return err
		}
		_, err = repo.Save(context.WithoutCancel(c.Request().Context()), was, models.ImageUpdate{Tags: &tags})
		return err
	})
	if err != nil {
		return err
	}
	return rest.NoContent(c)
}

// tagOf is the tag of the path.
func tagOf(c echo.Context) (string, error) {
	tag := rest.Param(c, "tag")
	if tag == "" || len([]rune(tag)) > 255 {
		return "", fault.New(fault.Invalid, "A tag has 1 to 255 characters.")
	}
	return tag, nil
}
