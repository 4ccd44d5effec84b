package image

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/models"
)

// described is what a user may say of an image: the attributes that it names, and the properties of its own.
type described struct {
	ID              string   `json:"id"`
	Name            *string  `json:"name"`
	Visibility      string   `json:"visibility"`
	Protected       bool     `json:"protected"`
	Hidden          bool     `json:"os_hidden"`
	Owner           *string  `json:"owner"`
	DiskFormat      *string  `json:"disk_format"`
	ContainerFormat *string  `json:"container_format"`
	MinDisk         int      `json:"min_disk"`
	MinRAM          int      `json:"min_ram"`
	Tags            []string `json:"tags"`
	properties      map[string]string
}

// read takes a document that fits the schema apart.
func read(document map[string]json.RawMessage) (described, error) {
	var d described
	known := map[string]json.RawMessage{}
	d.properties = map[string]string{}
	for key, raw := range document {
		if slices.Contains(imagepolicy.Attributes, key) {
			known[key] = raw
			continue
		}
		if err := imagepolicy.MayName(key); err != nil {
			return d, err
		}
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return d, fault.New(fault.Invalid, "Invalid input for field/attribute %s. It is not of type 'string'", key)
		}
		d.properties[key] = text
	}
	raw, err := json.Marshal(known)
	if err != nil {
		return d, fmt.Errorf("take an image's description apart: %w", err)
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		return d, fault.Wrap(fault.Invalid, err, "Malformed request body")
	}
	d.Tags = distinct(d.Tags)
	return d, d.fits()
}

// check holds a document against the schema of a description.
func check(document map[string]json.RawMessage) error {
	for _, attribute := range slices.Sorted(maps.Keys(glances)) {
		var format string
		if json.Unmarshal(document[attribute], &format) == nil && slices.Contains(glances[attribute], format) {
			return fault.New(fault.Invalid, "An image of %s '%s' is not taken here: nothing could vouch for what it holds. Convert it to one of the formats that GET /v2/schemas/image names.", attribute, format)
		}
	}
	return rest.Check(description, document)
}

// fits holds the rules that go over one attribute.
func (d described) fits() error {
	// Glance's check_container/disk format: Amazon's three come in their own containers.
	amazon := []string{"ami", "ari", "aki"}
	if d.ContainerFormat != nil && d.DiskFormat != nil && slices.Contains(amazon, *d.ContainerFormat) && *d.ContainerFormat != *d.DiskFormat {
		return fault.New(fault.Invalid, "Invalid mix of disk and container formats. When setting a disk or container format to one of 'aki', 'ari', or 'ami', the container and disk formats must match.")
	}
	return nil
}

// distinct drops repeated tags; a list of tags is a set.
func distinct(tags []string) []string {
	out := []string{}
	for _, t := range tags {
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}

// create is POST /v2/images.
func (a *API) create(c echo.Context) error {
	caller := rest.CallerOf(c)
	var document map[string]json.RawMessage
	if err := rest.Bind(c, nil, &document); err != nil {
		return err
	}
	// Before the schema: these are refusals of their own, whatever the value.
	for _, key := range slices.Sorted(maps.Keys(document)) {
		if imagepolicy.Keeps(key) {
			return imagepolicy.MayName(key)
		}
	}
	if err := check(document); err != nil {
		return err
	}
	d, err := read(document)
	if err != nil {
		return err
	}
	draft := models.Image{
		ID: strings.ToLower(d.ID), Name: d.Name, OwnerID: caller.ProjectID, Visibility: d.Visibility, Hidden: d.Hidden,
		Protected: d.Protected, DiskFormat: d.DiskFormat, ContainerFormat: d.ContainerFormat,
		MinDiskGiB: d.MinDisk, MinRAMMiB: d.MinRAM, Tags: d.Tags, Properties: d.properties,
	}
	if draft.ID == "" {
		draft.ID = uuid.NewString()
	}
	if draft.Visibility == "" {
		draft.Visibility = imagepolicy.Shared
	}
	if d.Owner != nil {
		draft.OwnerID = *d.Owner
	}
	made, err := a.images(c).Add(context.WithoutCancel(c.Request().Context()), draft)
	if fault.Is(err, fault.NotFound) {
		return fault.Wrap(fault.Invalid, err, "There is no project '%s' to own the image.", draft.OwnerID)
	}
	if err != nil {
		return err
	}
	h := c.Response().Header()
	h.Set(echo.HeaderLocation, rest.URL(c, "/image/v2/images", made.ID))
	h.Set("OpenStack-image-import-methods", strings.Join(a.methods(), ","))
	h.Set("OpenStack-image-store-ids", strings.Join(a.service.Stores().Names(), ","))
	return c.JSON(http.StatusCreated, view(made))
}
