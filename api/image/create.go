package image

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// described is what a user may say of an image: the attributes that it names, and the properties of its own.
type described struct {
	ID              string   `json:"id"`
	Name            *string  `json:"name"`
	Visibility      string   `json:"visibility"`
	Protected       bool     `json:"protected"`
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
		if slices.Contains(base, key) {
			known[key] = raw
			continue
		}
		if err := mayName(key); err != nil {
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

// mayName says whether a property may have the name.
func mayName(name string) error {
	switch {
	case slices.Contains(readOnly, name):
		return fault.New(fault.Forbidden, "Attribute '%s' is read-only.", name)
	case slices.Contains(reserved, name):
		return fault.New(fault.Forbidden, "Attribute '%s' is reserved.", name)
	case ours(name):
		return fault.New(fault.Invalid, "Attribute names are in lower case: use '%s'.", strings.ToLower(name))
	case strings.ContainsRune(name, '/'):
		return fault.New(fault.Invalid, "The name of property '%s' must not contain a slash.", name)
	}
	return nil
}

// fits holds the rules that go over one attribute.
func (d described) fits() error {
	if len(d.properties) > maxProperties {
		return fault.New(fault.TooLarge, "The limit has been exceeded on the number of allowed image properties. Attempted: %d, Maximum: %d", len(d.properties), maxProperties)
	}
	if len(d.Tags) > maxTags {
		return fault.New(fault.TooLarge, "The limit has been exceeded on the number of allowed image tags. Attempted: %d, Maximum: %d", len(d.Tags), maxTags)
	}
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

// mayShow refuses publishing to everybody but admins.
func mayShow(caller rest.Caller, visibility string) error {
	if visibility == public && !caller.Admin() {
		return fault.New(fault.Forbidden, "You are not authorized to complete publicize_image action.")
	}
	return nil
}

// create is POST /v2/images.
func (a *API) create(c echo.Context) error {
	caller := rest.CallerOf(c)
	var document map[string]json.RawMessage
	if err := rest.Bind(c, nil, &document); err != nil {
		return err
	}
	// Before the schema: these are refusals of their own, whatever the value.
	for _, key := range append(slices.Clone(readOnly), reserved...) {
		if _, named := document[key]; named {
			return mayName(key)
		}
	}
	if err := rest.Check(description, document); err != nil {
		return err
	}
	d, err := read(document)
	if err != nil {
		return err
	}
	if d.ID == "" {
		d.ID = uuid.NewString()
	}
	if d.Visibility == "" {
		d.Visibility = shared
	}
	if err := mayShow(caller, d.Visibility); err != nil {
		return err
	}
	owner := caller.ProjectID
	if d.Owner != nil && *d.Owner != owner {
		if !caller.Admin() {
			return fault.New(fault.Forbidden, "You are not permitted to create images owned by '%s'.", *d.Owner)
		}
		if _, err := a.store.Project(c.Request().Context(), *d.Owner); fault.Is(err, fault.NotFound) {
			return fault.New(fault.Invalid, "There is no project '%s' to own the image.", *d.Owner)
		} else if err != nil {
			return fmt.Errorf("find the owner of a new image: %w", err)
		}
		owner = *d.Owner
	}
	now := time.Now().UTC()
	made, err := a.store.CreateImage(c.Request().Context(), models.Image{
		ID: strings.ToLower(d.ID), Name: d.Name, OwnerID: owner, Status: models.ImageQueued, Visibility: d.Visibility,
		Protected: d.Protected, DiskFormat: d.DiskFormat, ContainerFormat: d.ContainerFormat,
		MinDiskGiB: d.MinDisk, MinRAMMiB: d.MinRAM, Tags: d.Tags, Properties: d.properties, CreatedAt: now, UpdatedAt: now,
	})
	if fault.Is(err, fault.Conflict) {
		return fault.Wrap(fault.Conflict, err, "Image ID %s already exists!", d.ID)
	}
	if err != nil {
		return fmt.Errorf("create image %s: %w", d.ID, err)
	}
	c.Response().Header().Set(echo.HeaderLocation, rest.URL(c, "/image/v2/images", made.ID))
	return c.JSON(http.StatusCreated, view(made))
}
