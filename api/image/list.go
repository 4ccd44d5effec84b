package image

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/models"
)

// defaultPage is Glance's limit_param_default.
const defaultPage = 25

var sortKeys = []string{
	"name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at",
}

// list is GET /v2/images.
func (a *API) list(c echo.Context) error {
	page, err := rest.PageOf(c, defaultPage)
	if err != nil {
		return err
	}
	f, err := filter(c)
	if err != nil {
		return err
	}
	f.Limit, f.Marker = page.Limit, page.Marker

	images := []models.Image{}
	if c.QueryParam("limit") != "0" { // asks for nothing
		images, err = a.images(c).List(c.Request().Context(), f)
	}
	if err != nil {
		return err
	}

	views := make([]map[string]any, len(images))
	for i, image := range images {
		views[i] = view(image)
	}
	body := map[string]any{"images": views, "schema": "/v2/schemas/images", "first": first(c)}
	if n := len(images); n > 0 {
		if next := page.NextPath(c, "/v2/images", n, images[n-1].ID); next != "" {
			body["next"] = next
		}
	}
	return c.JSON(http.StatusOK, body)
}

// first is the address of the first page: the query without the marker.
func first(c echo.Context) string {
	q := c.Request().URL.Query()
	q.Del("marker")
	if len(q) == 0 {
		return "/v2/images"
	}
	return "/v2/images?" + q.Encode()
}

// compared reads OP:VALUE, or a value to be equal to (Glance's split_filter_op).
func compared(name, v string) (models.Comparison, error) {
	c := models.Comparison{Attribute: name, Op: "eq"}
	if op, rest, has := strings.Cut(v, ":"); has && slices.Contains(models.ImageComparisons(), op) {
		c.Op, v = op, rest
	}
	var err error
	switch name {
	case "created_at", "updated_at":
		c.Value, err = instant(name, v)
	case "checksum", "os_hash_value":
		c.Value = v
	default:
		c.Value, err = whole(name, v)
	}
	return c, err
}

func whole(name, v string) (int64, error) {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 {
		return 0, fault.New(fault.Invalid, "Cannot filter by %s: '%s' is not a whole number.", name, v)
	}
	return n, nil
}

// instant reads ISO 8601 as oslo.utils does: without a zone it is UTC.
func instant(name, v string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, v); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fault.New(fault.Invalid, "Invalid value for %s: '%s' is not a date of ISO 8601, such as 2026-01-31T12:00:00Z.", name, v)
}

func truth(s string) bool {
	return slices.Contains([]string{"1", "true", "yes", "on"}, strings.ToLower(s))
}

// filter reads the query: every parameter that is not one of Glance's is a property of the images.
func filter(c echo.Context) (models.ImageFilter, error) {
	f := models.ImageFilter{Properties: map[string]string{}}
	var keys, dirs []string
	for name, values := range c.QueryParams() {
		v := values[0]
		switch name {
		case "limit", "marker":
		case "os_hidden":
			f.Hidden = truth(v)
		case "member_status":
			if !slices.Contains([]string{"pending", "accepted", "rejected", "all"}, v) {
				return f, fault.New(fault.Invalid, "Invalid status value: %s", v)
			}
			f.MemberStatus = v
		case "id":
			f.IDs = oneOf(v)
		case "name":
			f.Names = oneOf(v)
		case "status":
			for _, s := range oneOf(v) {
				f.Statuses = append(f.Statuses, models.ImageStatus(s))
			}
		case "visibility":
			if !slices.Contains([]string{imagepolicy.Public, imagepolicy.Private, imagepolicy.Shared, imagepolicy.Community, "all"}, v) {
				return f, fault.New(fault.Invalid, "Invalid visibility value: %s", v)
			}
			f.Visibility = v
		case "owner":
			f.OwnerID = v
		case "disk_format":
			f.DiskFormats = oneOf(v)
		case "container_format":
			f.ContainerFormats = oneOf(v)
		case "protected":
			b, err := strconv.ParseBool(strings.ToLower(v))
			if err != nil {
				return f, fault.New(fault.Invalid, "Invalid value '%s' for 'protected' filter. Valid values are case sensitive 'true' or 'false'.", v)
			}
			f.Protected = &b
		case "size_min", "size_max":
			n, err := whole(name, v)
			if err != nil {
				return f, err
			}
			op := map[string]string{"size_min": "gte", "size_max": "lte"}[name]
			f.Compare = append(f.Compare, models.Comparison{Attribute: "size", Op: op, Value: n})
		case "size", "min_disk", "min_ram", "virtual_size", "created_at", "updated_at", "checksum", "os_hash_value":
			for _, v := range values {
				comparison, err := compared(name, v)
				if err != nil {
					return f, err
				}
				f.Compare = append(f.Compare, comparison)
			}
		case "tag":
			f.Tags = values
		case "sort_key":
			keys = values
		case "sort_dir":
			dirs = values
		case "sort":
			if err := sortOf(&f, v); err != nil {
				return f, err
			}
		default:
			if slices.Contains(readOnly, name) || slices.Contains(base, name) {
				return f, fault.New(fault.Invalid, "Images cannot be filtered by '%s'.", name)
			}
			f.Properties[name] = v
		}
	}
	if len(f.Sort) > 0 && len(keys)+len(dirs) > 0 {
		return f, fault.New(fault.Invalid, "Old and new sorting syntax cannot be combined")
	}
	if len(dirs) > 1 && len(dirs) != len(keys) {
		return f, fault.New(fault.Invalid, "Number of sort dirs does not match the number of sort keys")
	}
	if len(keys) == 0 && len(dirs) == 1 {
		keys = []string{"created_at"}
	}
	for i, key := range keys {
		dir := "desc"
		if len(dirs) == 1 {
			dir = dirs[0]
		} else if len(dirs) > 1 {
			dir = dirs[i]
		}
		if err := addSort(&f, key, dir); err != nil {
			return f, err
		}
	}
	return f, nil
}

func sortOf(f *models.ImageFilter, list string) error {
	for part := range strings.SplitSeq(list, ",") {
		key, dir, given := strings.Cut(strings.TrimSpace(part), ":")
		if !given {
			dir = "desc"
		}
		if err := addSort(f, key, dir); err != nil {
			return err
		}
	}
	return nil
}

func addSort(f *models.ImageFilter, key, dir string) error {
	if !slices.Contains(sortKeys, key) {
		return fault.New(fault.Invalid, "Invalid sort key: %s. It must be one of the following: %s.", key, strings.Join(sortKeys, ", "))
	}
	if dir != "asc" && dir != "desc" {
		return fault.New(fault.Invalid, "Invalid sort direction: %s", dir)
	}
	f.Sort = append(f.Sort, models.Sort{Key: key, Desc: dir == "desc"})
	return nil
}

// oneOf reads a filter's value, or several with Glance's operator in:. Values with commas stand in double quotes.
func oneOf(v string) []string {
	list, several := strings.CutPrefix(v, "in:")
	if !several {
		return []string{strings.TrimPrefix(v, "eq:")}
	}
	var out []string
	var word strings.Builder
	quoted := false
	for _, r := range list {
		switch {
		case r == '"':
			quoted = !quoted
		case r == ',' && !quoted:
			out = append(out, word.String())
			word.Reset()
		default:
			word.WriteRune(r)
		}
	}
	return append(out, word.String())
}
