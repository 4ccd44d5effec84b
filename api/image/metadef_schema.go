package image

import "github.com/slipway-cloud/slipway/api/rest"

// The documents of metadata definitions, after glance/api/v2/metadef_*.py. What is shown of them is what bodies are held against.

// metadefName bounds the names of all of them; "" could not be asked for again.
const metadefName = `{"type": "string", "minLength": 1, "maxLength": 80}`

const metadefDefinitions = `"definitions": {
	"positiveInteger": {"type": "integer", "minimum": 0},
	"positiveIntegerDefault0": {"allOf": [{"$ref": "#/definitions/positiveInteger"}, {"default": 0}]},
	"stringArray": {"type": "array", "items": {"type": "string"}, "uniqueItems": true},
	"property": {"type": "object", "propertyNames": ` + metadefName + `, "additionalProperties": {
		"type": "object", "required": ["title", "type"], "properties": {` + metadefPropertyMembers + `}, "additionalProperties": false}}}`

const metadefPropertyMembers = `
	"name": ` + metadefName + `, "title": {"type": "string"}, "description": {"type": "string"},
	"operators": {"type": "array", "items": {"type": "string"}},
	"type": {"type": "string", "enum": ["array", "boolean", "integer", "number", "object", "string", null]},
	"required": {"$ref": "#/definitions/stringArray"},
	"minimum": {"type": "number"}, "maximum": {"type": "number"},
	"maxLength": {"$ref": "#/definitions/positiveInteger"}, "minLength": {"$ref": "#/definitions/positiveIntegerDefault0"},
	"pattern": {"type": "string", "format": "regex"},
	"enum": {"type": "array"}, "readonly": {"type": "boolean"}, "default": {},
	"items": {"type": "object", "properties": {
		"type": {"type": "string", "enum": ["array", "boolean", "integer", "number", "object", "string", null]}, "enum": {"type": "array"}}},
	"maxItems": {"$ref": "#/definitions/positiveInteger"}, "minItems": {"$ref": "#/definitions/positiveIntegerDefault0"},
	"uniqueItems": {"type": "boolean", "default": false}, "additionalItems": {"type": "boolean"}`

const metadefTimes = `
	"created_at": {"type": "string", "readOnly": true, "description": "Date and time of creation", "format": "date-time"},
	"updated_at": {"type": "string", "readOnly": true, "description": "Date and time of the last modification", "format": "date-time"}`

const metadefLinks = `"schema": {"type": "string", "readOnly": true}, "self": {"type": "string", "readOnly": true}`

const metadefNamespaceBody = `"name": "namespace", "properties": {
	"namespace": {"type": "string", "minLength": 1, "maxLength": 80, "description": "The unique namespace text."},
	"display_name": {"type": "string", "maxLength": 80, "description": "The user friendly name for the namespace. Used by UI if available."},
	"description": {"type": "string", "maxLength": 500, "description": "Provides a user friendly description of the namespace."},
	"visibility": {"type": "string", "enum": ["public", "private"], "description": "Scope of namespace accessibility."},
	"protected": {"type": "boolean", "description": "If true, namespace will not be deletable."},
	"owner": {"type": "string", "maxLength": 255, "description": "Owner of the namespace."},
	"resource_type_associations": {"type": "array", "items": {"type": "object", "required": ["name"], "properties": {
		"name": ` + metadefName + `, "prefix": {"type": "string", "maxLength": 80}, "properties_target": {"type": "string", "maxLength": 80}}}},
	"properties": {"$ref": "#/definitions/property"},
	"objects": {"type": "array", "items": {"type": "object", "required": ["name"], "properties": {
		"name": ` + metadefName + `, "description": {"type": "string"}, "required": {"$ref": "#/definitions/stringArray"}, "properties": {"$ref": "#/definitions/property"}}}},
	"tags": {"type": "array", "items": {"type": "object", "required": ["name"], "properties": {"name": ` + metadefName + `}}},
	` + metadefLinks + `,` + metadefTimes + `}, "required": ["namespace"], "additionalProperties": false`

const metadefObjectBody = `"name": "object", "properties": {
	"name": ` + metadefName + `, "description": {"type": "string"}, "required": {"$ref": "#/definitions/stringArray"}, "properties": {"$ref": "#/definitions/property"},
	` + metadefLinks + `,` + metadefTimes + `}, "required": ["name"], "additionalProperties": false`

const metadefPropertyBody = `"name": "property", "properties": {` + metadefPropertyMembers + `}, "additionalProperties": false`

const metadefTagBody = `"name": "tag", "properties": {"name": ` + metadefName + `,` + metadefTimes + `}, "required": ["name"], "additionalProperties": false`

const metadefResourceTypeBody = `"name": "resource_type_association", "properties": {
	"name": {"type": "string", "minLength": 1, "maxLength": 80, "description": "Resource type names should be aligned with Heat resource types whenever possible: https://docs.openstack.org/heat/latest/template_guide/openstack.html"},
	"prefix": {"type": "string", "maxLength": 80, "description": "Specifies the prefix to use for the given resource type. Any properties in the namespace should be prefixed with this prefix when being applied to the specified resource type. Must include prefix separator (e.g. a colon :)."},
	"properties_target": {"type": "string", "maxLength": 80, "description": "Some resource types allow more than one key / value pair per instance. This property allows a namespace target to remove the ambiguity."},
	` + metadefTimes + `}, "required": ["name"], "additionalProperties": false`

// metadefCollection is the document of a list; items is the schema of what is in it.
func metadefCollection(name, items string) string {
	return `{"name": "` + name + `", "properties": {"` + name + `": ` + items + `, "first": {"type": "string"}, "next": {"type": "string"}, "schema": {"type": "string"}},
		` + metadefDefinitions + `,
		"links": [{"rel": "first", "href": "{first}"}, {"rel": "next", "href": "{next}"}, {"rel": "describedby", "href": "{schema}"}]}`
}

func metadefOne(body string) string {
	return `{"type": "object", ` + body + `, ` + metadefDefinitions + `}`
}

func metadefList(name, body string) string {
	return metadefCollection(name, `{"type": "array", "items": {`+body+`}}`)
}

const namedProperty = `, "required": ["type", "title", "name"]`

// metadefSchemas are the documents below /v2/schemas/metadefs.
var metadefSchemas = map[string]string{
	"namespace": metadefOne(metadefNamespaceBody), "namespaces": metadefList("namespaces", metadefNamespaceBody),
	"object": metadefOne(metadefObjectBody), "objects": metadefList("objects", metadefObjectBody),
	"property":   metadefOne(metadefPropertyBody + namedProperty),
	"properties": metadefCollection("properties", `{"type": "object", "additionalProperties": {`+metadefPropertyBody+`, "required": ["type", "title"]}}`),
	"tag":        metadefOne(metadefTagBody), "tags": metadefList("tags", metadefTagBody),
	"resource_type": metadefOne(metadefResourceTypeBody), "resource_types": metadefList("resource_type_associations", metadefResourceTypeBody),
}

var (
	metadefNamespaceSchema    = rest.Schema(metadefSchemas["namespace"])
	metadefObjectSchema       = rest.Schema(metadefSchemas["object"])
	metadefPropertySchema     = rest.Schema(metadefSchemas["property"])
	metadefTagSchema          = rest.Schema(metadefSchemas["tag"])
	metadefResourceTypeSchema = rest.Schema(metadefSchemas["resource_type"])
	metadefTagsSchema         = rest.Schema(`{"type": "object", "required": ["tags"], "additionalProperties": false, "properties": {"tags": {"type": "array", "items": {
		"type": "object", "properties": {"name": ` + metadefName + `}, "required": ["name"], "additionalProperties": false}}}}`)
)
