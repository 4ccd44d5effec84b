package image

import (
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/internal/service/images"
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
		"add": {"type": "string", "maxLength": 600}, "replace": {"type": "string", "maxLength": 600}, "remove": {"type": "string", "maxLength": 600}
	}}}`)

// operation is one element of a patch. The 2.0 form names the path as the value of the operation's own name.
type operation struct {
	Op      *string         `json:"op"`
	Path    *string         `json:"path"`
	Add     *string         `json:"add"`
	Replace *string         `json:"replace"`
	Remove  *string         `json:"remove"`
	Value   json.RawMessage `json:"value"`
}

// verbs are what an operation can do, in the order in which the texts name them.
var verbs = []string{"add", "remove", "replace"}

// named is what the operation does, and the pointer to where.
func (o operation) named(old bool) (op, pointer string, err error) {
	if old {
		for i, p := range []*string{o.Add, o.Remove, o.Replace} {
			if p == nil {
				continue
			}
			if op != "" {
				return "", "", fault.New(fault.Invalid, "Operation objects must contain only one member named \"add\", \"remove\", or \"replace\".")
			}
			op, pointer = verbs[i], *p
		}
		if op == "" {
			return "", "", fault.New(fault.Invalid, "Operation objects must contain exactly one member named \"add\", \"remove\", or \"replace\".")
		}
		return op, pointer, nil
	}
	switch {
	case o.Op == nil:
		return "", "", fault.New(fault.Invalid, "Unable to find `op` in JSON Schema change. It must be one of the following: %s.", strings.Join(verbs, ", "))
	case !slices.Contains(verbs, *o.Op):
		return "", "", fault.New(fault.Invalid, "Invalid operation: `%s`. It must be one of the following: %s.", *o.Op, strings.Join(verbs, ", "))
	case o.Path == nil:
		return "", "", fault.New(fault.Invalid, "Unable to find 'path' in JSON Schema change")
	}
	return *o.Op, *o.Path, nil
}

// target is what the operation does and the attribute that it is about.
func (o operation) target(old bool) (op, name string, err error) {
	op, pointer, err := o.named(old)
	if err != nil {
		return "", "", err
	}
	tokens, err := parsePointer(pointer)
	if err != nil {
		return "", "", err
	}
	deep := 1
	if tokens[0] == "locations" && op != "replace" {
		deep = 2 // the place in the list
	}
	switch {
	case len(tokens) != deep:
		return "", "", fault.New(fault.Invalid, "Invalid JSON pointer for this resource: '%s'", pointer)
	case op != "remove" && o.Value == nil:
		return "", "", fault.New(fault.Invalid, "Operation \"%s\" requires a member named \"value\".", op)
	case tokens[0] == "locations":
		return "", "", fault.New(fault.Forbidden, "It's not allowed to %s locations if locations are invisible.", op)
	}
	return op, tokens[0], nil
}

// parsePointer takes a JSON pointer (RFC 6901) apart, with Glance's limits: no token is empty, and space around one is not
// the name's.
func parsePointer(pointer string) ([]string, error) {
	path, rooted := strings.CutPrefix(pointer, "/")
	if !rooted {
		return nil, fault.New(fault.Invalid, "Pointer `%s` does not start with \"/\".", pointer)
	}
	tokens := strings.Split(path, "/")
	for i, token := range tokens {
		token = strings.TrimSpace(token)
		if token == "" {
			return nil, fault.New(fault.Invalid, "Pointer `%s` does not contains valid token.", pointer)
		}
		if strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(token), "~") {
			return nil, fault.New(fault.Invalid, "Pointer `%s` contains \"~\" not part of a recognized escape sequence.", pointer)
		}
		tokens[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
	}
	return tokens, nil
}

// patch is PATCH /v2/images/{id}.
func (a *API) patch(c echo.Context) error {
	got, _, err := mime.ParseMediaType(c.Request().Header.Get(echo.HeaderContentType))
	if err != nil || (got != patchType && got != oldPatchType) {
		answer := rest.Status(http.StatusUnsupportedMediaType, "Image PATCH expects Content-Type one of: %s, %s", oldPatchType, patchType)
		answer.Header = http.Header{"Accept-Patch": {oldPatchType + ", " + patchType}}
		return answer
	}
	var operations []operation
	if err := rest.BindType(c, patchSchema, &operations, got); err != nil {
		return err
	}
	var image models.Image
	err = a.change(c, func(repo images.Repository, was models.Image) error {
		// Before anything is said of what the image has.
		if err := imagepolicy.Check(callerOf(c).Caller, imagepolicy.ModifyImage, images.Target(was)); err != nil {
			return err
		}
		if image = was; len(operations) == 0 {
			return nil
		}
		change, err := applied(was, operations, got == oldPatchType)
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

// applied works out what the operations make of the image; old ones are of the 2.0 form, whose add is for what is not there.
func applied(image models.Image, operations []operation, old bool) (models.ImageUpdate, error) {
	var none models.ImageUpdate
	document := map[string]json.RawMessage{}
	shown := view(image)
	for key, value := range shown {
		if imagepolicy.Keeps(key) {
			continue
		}
		raw, err := json.Marshal(value)
		if err != nil {
			return none, fmt.Errorf("show image %s: %w", image.ID, err)
		}
		document[key] = raw
	}
	for _, o := range operations {
		op, name, err := o.target(old)
		if err != nil {
			return none, err
		}
		if name == "id" {
			return none, fault.New(fault.Forbidden, "Attribute '%s' is read-only.", name)
		}
		if !slices.Contains(imagepolicy.Attributes, name) {
			if err := imagepolicy.MayName(name); err != nil {
				return none, err
			}
		}
		if (name == "disk_format" || name == "container_format") && image.Status != models.ImageQueued {
			return none, fault.New(fault.Forbidden, "Attribute %s can be only replaced for a queued image.", name)
		}
		_, exists := document[name]
		switch op {
		case "add":
			if exists && old {
				return none, fault.New(fault.Conflict, "Property %s already present.", name)
			}
			document[name] = o.Value
		case "replace":
			if !exists {
				return none, fault.New(fault.Conflict, "Property %s does not exist.", name)
			}
			document[name] = o.Value
		case "remove":
			if slices.Contains(imagepolicy.Attributes, name) {
				return none, fault.New(fault.Forbidden, "Property %s may not be removed.", name)
			}
			if !exists {
				return none, fault.New(fault.Conflict, "Property %s does not exist.", name)
			}
			delete(document, name)
		}
	}
	if err := check(document); err != nil {
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
	tag := c.Param("tag")
	if tag == "" || len([]rune(tag)) > 255 {
		return "", fault.New(fault.Invalid, "A tag has 1 to 255 characters.")
	}
	return tag, nil
}
