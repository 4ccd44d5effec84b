package image

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
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
	image, err := a.change(c, "modify", func(image models.Image) (models.ImageUpdate, error) {
		return applied(rest.CallerOf(c), image, operations)
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, view(image))
}

// attempts is how often a change is worked out again after somebody else's came between.
const attempts = 5

// change reads an image, works a change out, and writes it if the image is still the one that was read.
func (a *API) change(c echo.Context, verb string, work func(models.Image) (models.ImageUpdate, error)) (models.Image, error) {
	ctx := context.WithoutCancel(c.Request().Context())
	for attempt := 1; ; attempt++ {
		image, err := a.changeable(c, verb)
		if err != nil {
			return image, err
		}
		update, err := work(image)
		if err != nil {
			return image, err
		}
		update.IfUpdatedAt = &image.UpdatedAt
		changed, err := a.store.UpdateImage(ctx, image.ID, update)
		switch {
		case err == nil:
			return changed, nil
		case fault.Is(err, fault.NotFound):
			return image, absent(image.ID)
		case !fault.Is(err, fault.Conflict) || attempt == attempts:
			return image, fmt.Errorf("change image %s: %w", image.ID, err)
		}
	}
}

// applied works out what the operations make of the image.
func applied(caller rest.Caller, image models.Image, operations []operation) (models.ImageUpdate, error) {
	var none models.ImageUpdate
	document := map[string]json.RawMessage{}
	shown := view(image)
	for key, value := range shown {
		if slices.Contains(readOnly, key) {
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
		if name == "id" || name == "owner" && !caller.Admin() {
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
	return d.difference(caller, image)
}

// difference is the update that turns the image into what is described.
func (d described) difference(caller rest.Caller, image models.Image) (models.ImageUpdate, error) {
	var u models.ImageUpdate
	if d.Owner == nil || *d.Owner != image.OwnerID {
		return u, fault.New(fault.Forbidden, "The owner of an image cannot be changed.")
	}
	if d.Visibility != image.Visibility {
		if err := mayShow(caller, d.Visibility); err != nil {
			return u, err
		}
		u.Visibility = &d.Visibility
	}
	if d.Name == nil {
		u.ClearName = true
	} else {
		u.Name = d.Name
	}
	u.Protected, u.MinDiskGiB, u.MinRAMMiB = &d.Protected, &d.MinDisk, &d.MinRAM
	if image.Status == models.ImageQueued {
		for _, f := range []struct{ is, was *string }{{d.DiskFormat, image.DiskFormat}, {d.ContainerFormat, image.ContainerFormat}} {
			if f.is == nil && f.was != nil {
				return u, fault.New(fault.Invalid, "A format that is set cannot become null again.")
			}
		}
		u.DiskFormat, u.ContainerFormat = d.DiskFormat, d.ContainerFormat
	}
	if !slices.Equal(d.Tags, image.Tags) {
		u.Tags = &d.Tags
	}
	if !maps.Equal(d.properties, image.Properties) {
		u.Properties = &d.properties
	}
	return u, nil
}

// addTag is PUT /v2/images/{id}/tags/{tag}.
func (a *API) addTag(c echo.Context) error {
	tag, err := tagOf(c)
	if err != nil {
		return err
	}
	_, err = a.change(c, "modify", func(image models.Image) (models.ImageUpdate, error) {
		tags := distinct(append(slices.Clone(image.Tags), tag))
		if len(tags) > maxTags {
			return models.ImageUpdate{}, fault.New(fault.TooLarge, "The limit has been exceeded on the number of allowed image tags. Attempted: %d, Maximum: %d", len(tags), maxTags)
		}
		return models.ImageUpdate{Tags: &tags}, nil
	})
	if err != nil {
		return err
	}
	return rest.NoContent(c)
}

// removeTag is DELETE /v2/images/{id}/tags/{tag}.
func (a *API) removeTag(c echo.Context) error {
	tag, err := tagOf(c)
	if err != nil {
		return absent(c.Param("id"))
	}
	_, err = a.change(c, "modify", func(image models.Image) (models.ImageUpdate, error) {
		i := slices.Index(image.Tags, tag)
		if i < 0 {
			return models.ImageUpdate{}, fault.New(fault.NotFound, "Failed to find tag %s of image %s", tag, image.ID)
		}
		tags := slices.Delete(slices.Clone(image.Tags), i, i+1)
		return models.ImageUpdate{Tags: &tags}, nil
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
