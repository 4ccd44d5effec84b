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
	if q := c.QueryParams(); q.Has("limit") && q.Get("limit") == "" {
		return fault.New(fault.Invalid, "limit param must be an integer")
	}
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

	return paged(c, page, "images", images, view)
}

// paged answers one page of a collection: its documents, and where the first and the next page are.
func paged[T any](c echo.Context, page rest.Page, collection string, all []T, view func(T) map[string]any) error {
	views := make([]map[string]any, len(all))
	for i, one := range all {
		views[i] = view(one)
	}
	path := "/v2/" + collection
	body := map[string]any{collection: views, "schema": "/v2/schemas/" + collection, "first": firstOf(c, path)}
	if n := len(all); n > 0 {
		if next := page.NextPath(c, path, n, views[n-1]["id"].(string)); next != "" {
			body["next"] = next
		}
	}
	return c.JSON(http.StatusOK, body)
}

// firstOf is the address of the first page: the query without the marker.
func firstOf(c echo.Context, path string) string {
	q := c.Request().URL.Query()
	q.Del("marker")
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// parseComparison reads OP:VALUE, or a value to be equal to (Glance's split_filter_op).
func parseComparison(name, v string) (models.Comparison, error) {
	c := models.Comparison{Attribute: name, Op: "eq"}
	if op, rest, has := strings.Cut(v, ":"); has && slices.Contains(models.ImageComparisons(), op) {
		c.Op, v = op, rest
	}
	var err error
	switch name {
	case "created_at", "updated_at":
		c.Value, err = parseInstant(name, v)
	case "checksum", "os_hash_algo", "os_hash_value":
		c.Value = v
	default:
		c.Value, err = parseInteger(name, v)
	}
	return c, err
}

func parseInteger(name, v string) (int64, error) {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return 0, fault.New(fault.Invalid, "Cannot filter by %s: '%s' is not a whole number.", name, v)
	}
	return n, nil
}

// parseInstant reads ISO 8601 as oslo.utils does: without a zone it is UTC. Images are made at whole seconds, as they show
// it.
func parseInstant(name, v string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, v); err == nil {
			return t.UTC().Truncate(time.Second), nil
		}
	}
	return time.Time{}, fault.New(fault.Invalid, "Invalid value for %s: '%s' is not a date of ISO 8601, such as 2026-01-31T12:00:00Z.", name, v)
}

// parseBool reads a filter of a boolean; anything but the two words would be a guess.
func parseBool(name, v string) (bool, error) {
	if v != "true" && v != "false" {
		return false, fault.New(fault.Invalid, "Invalid value '%s' for '%s' filter. Valid values are 'true' or 'false'.", v, name)
	}
	return v == "true", nil
}

// exactFilters are the filters of one of several values, and where each goes.
func exactFilters(f *models.ImageFilter) map[string]*[]string {
	return map[string]*[]string{"id": &f.IDs, "name": &f.Names, "disk_format": &f.DiskFormats, "container_format": &f.ContainerFormats}
}

// bounds are Glance's older form of comparisons.
var bounds = map[string]string{"_min": "gte", "_max": "lte"}

// filter reads the query: every parameter that is not one of Glance's is a property of the images.
func filter(c echo.Context) (models.ImageFilter, error) {
	f := models.ImageFilter{Properties: map[string]string{}}
	var keys, dirs []string
	for name, values := range c.QueryParams() {
		v := values[0]
		var err error
		switch name {
		case "limit", "marker":
		case "deleted": // of version 1: what is deleted is never listed
		case "changes-since":
			err = fault.New(fault.Invalid, "The \"changes-since\" filter is no longer available on v2.")
		case "os_hidden":
			f.Hidden, err = parseBool(name, strings.ToLower(v))
		case "protected":
			var protected bool
			protected, err = parseBool(name, v)
			f.Protected = &protected
		case "member_status":
			if !slices.Contains([]string{"pending", "accepted", "rejected", "all"}, v) {
				err = fault.New(fault.Invalid, "Invalid status: %s", v)
			}
			f.MemberStatus = v
		case "id", "name", "disk_format", "container_format":
			*exactFilters(&f)[name], err = oneOf(name, v)
		case "status":
			var all []string
			all, err = oneOf(name, v)
			for _, s := range all {
				f.Statuses = append(f.Statuses, models.ImageStatus(s))
			}
		case "visibility":
			if !slices.Contains([]string{imagepolicy.Public, imagepolicy.Private, imagepolicy.Shared, imagepolicy.Community, "all"}, v) {
				err = fault.New(fault.Invalid, "Invalid visibility value: %s", v)
			}
			f.Visibility = v
		case "owner":
			f.OwnerID = v
		case "size_min", "size_max", "min_disk_min", "min_disk_max", "min_ram_min", "min_ram_max", "virtual_size_min", "virtual_size_max":
			end := len(name) - len("_min")
			var n int64
			n, err = parseInteger(name, v)
			f.Compare = append(f.Compare, models.Comparison{Attribute: name[:end], Op: bounds[name[end:]], Value: n})
		case "size", "min_disk", "min_ram", "virtual_size", "created_at", "updated_at", "checksum", "os_hash_algo", "os_hash_value":
			for _, v := range values {
				var comparison models.Comparison
				if comparison, err = parseComparison(name, v); err != nil {
					break
				}
				f.Compare = append(f.Compare, comparison)
			}
		case "tag":
			for _, v := range values {
				f.Tags = append(f.Tags, strings.TrimSpace(v))
			}
		case "sort_key":
			keys = values
		case "sort_dir":
			dirs = values
		case "sort":
			err = sortOf(&f, v)
		default:
			if slices.Contains(imagepolicy.ReadOnly, name) || slices.Contains(imagepolicy.Attributes, name) {
				err = fault.New(fault.Invalid, "Images cannot be filtered by '%s'.", name)
			}
			f.Properties[name] = v
		}
		if err != nil {
			return f, err
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
		if err := addSort(&f, strings.TrimSpace(key), strings.TrimSpace(dir)); err != nil {
			return f, err
		}
	}
	breakTies(&f)
	return f, nil
}

// breakTies orders images that are otherwise equal by when they were made, as Glance does: in the direction of a sort by one
// key, else the newest first.
func breakTies(f *models.ImageFilter) {
	if len(f.Sort) == 0 || slices.ContainsFunc(f.Sort, func(s models.Sort) bool { return s.Key == "created_at" }) {
		return
	}
	f.Sort = append(f.Sort, models.Sort{Key: "created_at", Desc: len(f.Sort) > 1 || f.Sort[0].Desc})
}

func sortOf(f *models.ImageFilter, list string) error {
	for part := range strings.SplitSeq(list, ",") {
		key, dir, given := strings.Cut(part, ":")
		if !given {
			dir = "desc"
		}
		if err := addSort(f, strings.TrimSpace(key), strings.TrimSpace(dir)); err != nil {
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

// oneOf reads a filter's value, or several with Glance's operator in:. Values with commas stand in double quotes. A colon
// that follows no operator is the value's own: "name=debian:12" finds that image.
func oneOf(name, v string) ([]string, error) {
	op, rest, has := strings.Cut(v, ":")
	switch {
	case has && op == "in":
		return parseList(rest)
	case has && op == "eq":
		return []string{rest}, nil
	case has && slices.Contains(models.ImageComparisons(), op):
		return nil, fault.New(fault.Invalid, "Unable to filter %s by operator '%s'. Use in or eq.", name, op)
	}
	return []string{v}, nil
}

// parseList takes values apart that stand between commas, some of them in double quotes, in which a backslash goes before a
// quote. None is not "all": it is a list that nothing is in.
func parseList(v string) ([]string, error) {
	if v == "" {
		return []string{""}, nil // no image has such an id, status or format, and only a nameless one such a name
	}
	all := []string{}
	for rest := v; ; {
		var word string
		if quoted, has := strings.CutPrefix(rest, `"`); has {
			end := closingQuote(quoted)
			if end < 0 {
				return nil, fault.New(fault.Invalid, "Invalid filter value %s. The quote is not closed.", v)
			}
			word, rest = strings.ReplaceAll(quoted[:end], `\"`, `"`), quoted[end+1:]
			if rest != "" && rest[0] != ',' {
				return nil, fault.New(fault.Invalid, "Invalid filter value %s. There is no comma after closing quotation mark.", v)
			}
		} else {
			end := strings.IndexByte(rest, ',')
			if end < 0 {
				end = len(rest)
			}
			word, rest = rest[:end], rest[end:]
			if strings.Contains(word, `"`) {
				return nil, fault.New(fault.Invalid, "Invalid filter value %s. There is no comma before opening quotation mark.", v)
			}
		}
		all = append(all, word)
		if rest == "" || rest == "," {
			return all, nil
		}
		rest = rest[1:]
	}
}

// closingQuote finds the quote that ends a value; -1 where none does.
func closingQuote(v string) int {
	for i := 0; i < len(v); i++ {
		switch v[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}
