package compute

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/models"
)

// object is a JSON Schema under construction. Nova's schemas differ by microversion in a property here and there, so they
// are built, not written out (nova/api/openstack/compute/schemas).
type object = map[string]any

// compile turns a schema into its checker.
func compile(schema object) *jsonschema.Schema {
	text, err := json.Marshal(schema)
	if err != nil {
		panic(err) // made of literals
	}
	return rest.Schema(string(text))
}

// strict is an object schema that takes these properties and no others.
func strict(properties object, required ...string) object {
	s := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

// wrapped is the schema of {"name": {…}}.
func wrapped(name string, inner object) object { return strict(object{name: inner}, name) }

func text(minLength, maxLength int) object {
	return object{"type": "string", "minLength": minLength, "maxLength": maxLength}
}

func list(items object) object { return object{"type": "array", "items": items} }

// The parts that Nova's schemas share (nova/api/validation/parameter_types.py). Formats that JSON Schema does not know
// (name, base64) are checked after the schema, with the same words.
var (
	nameSchema = text(1, 255)
	ipv4Schema = object{"type": "string", "format": "ipv4"}
	ipv6Schema = object{"type": "string", "format": "ipv6"}
	// diskConfigSchema is of OS-DCF:diskConfig.
	diskConfigSchema = object{"type": "string", "enum": []any{diskConfig(true), diskConfig(false)}}
	uuidSchema       = object{"type": "string", "format": "uuid"}
	booleanSchema    = object{"type": []string{"boolean", "string"}, "enum": []any{
		true, "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes",
		false, "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no",
	}}
	positiveSchema    = object{"type": []string{"integer", "string"}, "pattern": "^[0-9]*$", "minimum": 1, "minLength": 1}
	nonNegativeSchema = object{"type": []string{"integer", "string"}, "pattern": "^[0-9]*$", "minimum": 0, "minLength": 1}
	descriptionSchema = object{"type": []string{"string", "null"}, "maxLength": 255}
	metadataSchema    = object{
		"type":                 "object",
		"patternProperties":    object{"^[a-zA-Z0-9-_:. ]{1,255}$": object{"type": "string", "maxLength": 255}},
		"additionalProperties": false,
	}
	tagSchema  = object{"type": "string", "minLength": 1, "maxLength": 60, "pattern": "^[^,/]*$"}
	fqdnSchema = object{"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9._-]*$"}
)

// hostnameSchema is of a server's hostname, which since 2.94 may have a domain.
func hostnameSchema(minor int) object {
	if minor >= 94 {
		return fqdnSchema
	}
	return object{"type": "string", "minLength": 2, "maxLength": 63, "pattern": "^[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]+$"}
}

// Boolean takes true and false as well as the words that Nova takes for them.
type Boolean bool

// UnmarshalJSON reads what booleanSchema lets through.
func (b *Boolean) UnmarshalJSON(raw []byte) error {
	word, err := scalar(raw)
	if err != nil {
		return err
	}
	on, ok := parseBool(word)
	if !ok {
		return fmt.Errorf("%q is not a boolean", word)
	}
	*b = Boolean(on)
	return nil
}

func parseBool(word string) (on, ok bool) {
	switch strings.ToLower(strings.TrimSpace(word)) {
	case "1", "t", "true", "on", "y", "yes":
		return true, true
	case "0", "f", "false", "off", "n", "no":
		return false, true
	}
	return false, false
}

// Integer takes a whole number, or a string of one as old clients send it.
type Integer int

// UnmarshalJSON reads what positiveSchema and nonNegativeSchema let through.
func (i *Integer) UnmarshalJSON(raw []byte) error {
	word, err := scalar(raw)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(word, ".0")) // JSON Schema takes 2.0 for an integer
	if err != nil {
		return fmt.Errorf("%q is not a whole number that fits", word)
	}
	*i = Integer(n)
	return nil
}

func scalar(raw []byte) (string, error) {
	if len(raw) > 0 && raw[0] == '"' {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return "", fmt.Errorf("read a string: %w", err)
		}
		return s, nil
	}
	return string(raw), nil
}

// checkName refuses what Nova's "name" format refuses.
func checkName(name string) error {
	if printable(name) && strings.TrimFunc(name, unicode.IsSpace) == name && name != "" {
		return nil
	}
	return invalid("An invalid 'name' value was provided. The name must be: printable characters. Can not start or end with whitespace.")
}

func checkDescription(text string) error {
	if printable(text) {
		return nil
	}
	return field("description", text, "is not made of printable characters")
}

// printable says whether a text has no control character and no separator other than spaces.
func printable(s string) bool {
	for _, r := range s {
		if r == unicode.ReplacementChar || unicode.Is(unicode.C, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) {
			return false
		}
	}
	return true
}

// field is Nova's text about one value of a body.
func field(name, value, complaint string) error {
	if r := []rune(value); len(r) > 300 {
		value = string(r[:300]) + "..."
	}
	return invalid("Invalid input for field/attribute %s. Value: %s. '%s' %s", name, value, value, complaint)
}

// parameter is Nova's text about one value of a query.
func parameter(name, value, complaint string) error {
	return invalid("Invalid input for query parameters %s. Value: %s. '%s' %s", name, value, value, complaint)
}

// additional is python-jsonschema's text about unknown names.
func additional(names []string) string {
	slices.Sort(names)
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = "'" + n + "'"
	}
	verb := "was"
	if len(names) > 1 {
		verb = "were"
	}
	return fmt.Sprintf("Additional properties are not allowed (%s %s unexpected)", strings.Join(quoted, ", "), verb)
}

// emptyIfNil makes null an empty object.
func emptyIfNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// sortsOf pairs sort_key and sort_dir: a missing direction is the first one's, or fallback.
func sortsOf(keys, dirs []string, fallback string) ([]models.Sort, error) {
	for _, d := range dirs {
		if d != "asc" && d != "desc" {
			return nil, invalid("Unknown sort direction, must be one of: asc, desc")
		}
	}
	if len(dirs) > len(keys) && len(keys) > 0 {
		return nil, invalid("Sort direction size exceeds sort key size")
	}
	first := fallback
	if len(dirs) > 0 {
		first = dirs[0]
	}
	sorts := make([]models.Sort, len(keys))
	for i, k := range keys {
		dir := first
		if i < len(dirs) {
			dir = dirs[i]
		}
		sorts[i] = models.Sort{Key: k, Desc: dir == "desc"}
	}
	return sorts, nil
}

// schemas is one body's schema in each microversion.
type schemas [maxMinor + 1]*jsonschema.Schema

// bodies are the schemas that change with the microversion, in JSON, by what they are sent to.
var bodies = map[string][maxMinor + 1]string{}

// byVersion builds a body's schema for every microversion: which of them changed it, the builder alone says.
func byVersion(request string, build func(minor int) object) *schemas {
	var all schemas
	var texts [maxMinor + 1]string
	for minor := minMinor; minor <= maxMinor; minor++ {
		text, err := json.Marshal(build(minor))
		if err != nil {
			panic(err) // made of literals
		}
		texts[minor] = string(text)
		if texts[minor] == texts[minor-1] {
			all[minor] = all[minor-1]
		} else {
			all[minor] = rest.Schema(texts[minor])
		}
	}
	bodies[request] = texts
	return &all
}

// at is the schema that holds for a microversion.
func (s *schemas) at(minor int) *jsonschema.Schema { return s[minor] }
