package identity

import (
	"fmt"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/models"
)

// Attributes that several kinds have, after Keystone's schemas (keystone/common/validation/parameter_types.py). Options that are
// set would be promises: that a resource is immutable, that a password does not expire.
const (
	nameOf       = `"name": {"type": "string", "minLength": 1, "maxLength": %d, "pattern": "[\\S]+"}`
	described    = `"description": {"type": ["string", "null"], "maxLength": 65535}`
	switched     = `"enabled": {"type": "boolean"}`
	withoutFlags = `"options": {"type": "object", "maxProperties": 0}`
	inDomain     = `"domain_id": {"type": ["string", "null"], "minLength": 1, "maxLength": 64, "pattern": "^[a-zA-Z0-9-]+$"}`
	tagsOf       = `"tags": {"type": "array", "maxItems": 80, "uniqueItems": true, "items": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^,/]*$"}}`
)

// named is the name, of at most so many characters.
func named(most int) string { return fmt.Sprintf(nameOf, most) }

// schemaOf is the schema of a body that holds one of a kind; the first properties are required when it is made.
func schemaOf(one string, required []string, properties ...string) *jsonschema.Schema {
	quoted := make([]string, len(required))
	for i, name := range required {
		quoted[i] = fmt.Sprintf("%q", name)
	}
	return rest.Schema(fmt.Sprintf(`{"type": "object", "required": [%q], "properties": {%q: {
		"type": "object", "required": [%s], "minProperties": 1, "maxProperties": 64, "properties": {%s}
	}}}`, one, one, strings.Join(quoted, ", "), strings.Join(properties, ", ")))
}

// attributes are what a body says of a resource.
type attributes object

// bind reads the attributes of the one resource that the body holds.
func bind(c echo.Context, schema *jsonschema.Schema, one string) (attributes, error) {
	var body map[string]attributes
	if err := rest.Bind(c, schema, &body); err != nil {
		return nil, err
	}
	return body[one], nil
}

// text is an attribute; nil where the body does not have it, "" where it is null.
func (a attributes) text(name string) *string {
	value, given := a[name]
	if !given {
		return nil
	}
	text, _ := value.(string)
	return &text
}

// reference is another's id; nil where there is none.
func (a attributes) reference(name string) *string {
	if id := a.or(name); id != "" {
		return &id
	}
	return nil
}

// or is an attribute's text, or "" where there is none.
func (a attributes) or(name string) string {
	if text := a.text(name); text != nil {
		return *text
	}
	return ""
}

func (a attributes) flag(name string) *bool {
	if on, is := a[name].(bool); is {
		return &on
	}
	return nil
}

// on is whether what is made is enabled, as it is where nothing is said.
func (a attributes) on() bool {
	on := a.flag("enabled")
	return on == nil || *on
}

func (a attributes) tags() *[]string {
	all, given := a["tags"].([]any)
	if !given {
		return nil
	}
	tags := []string{}
	for _, tag := range all {
		tags = append(tags, tag.(string))
	}
	slices.Sort(tags)
	return &tags
}

// extra is what is not among the known attributes, kept as it is.
func (a attributes) extra(known ...string) models.Extra {
	extra := models.Extra{}
	for name, value := range a {
		if !slices.Contains(known, name) && !slices.Contains([]string{"id", "links", "options", "name", "description", "domain_id", "enabled"}, name) {
			extra[name] = value
		}
	}
	return extra
}

// additional is extra of a kind that has no name and description of its own, or is without the name.
func (a attributes) additional(known ...string) models.Extra {
	extra := a.extra(known...)
	for _, name := range []string{"name", "description"} {
		if value, given := a[name]; given && !slices.Contains(known, name) {
			extra[name] = value
		}
	}
	return extra
}
