package image

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
)

// properties are an image's. Glance knows more formats of disks and containers; these are the ones that
// internal/imageformat can vouch for, so a format that would be refused after the upload is refused before it.
const properties = `
	"id": {"type": "string", "pattern": "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$", "description": "An identifier for the image"},
	"name": {"type": ["null", "string"], "maxLength": 255, "description": "Descriptive name for the image"},
	"visibility": {"type": "string", "enum": ["community", "public", "private", "shared"], "description": "Scope of image accessibility"},
	"protected": {"type": "boolean", "description": "If true, image will not be deletable."},
	"os_hidden": {"type": "boolean", "description": "If true, image will not appear in default image list response."},
	"owner": {"type": ["null", "string"], "maxLength": 255, "description": "Owner of the image"},
	"disk_format": {"type": ["null", "string"], "enum": [null, "ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso"], "description": "Format of the disk"},
	"container_format": {"type": ["null", "string"], "enum": [null, "ami", "ari", "aki", "bare"], "description": "Format of the container"},
	"min_disk": {"type": "integer", "minimum": 0, "maximum": 2147483647, "description": "Amount of disk space (in GB) required to boot image."},
	"min_ram": {"type": "integer", "minimum": 0, "maximum": 2147483647, "description": "Amount of ram (in MB) required to boot image."},
	"tags": {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 255}, "description": "List of strings related to the image"}`

// glances are the formats that Glance takes by default and this API does not.
var glances = map[string][]string{
	"disk_format":      {"ploop"},
	"container_format": {"ovf", "ova", "docker", "compressed"},
}

const readOnlyProperties = `
	"status": {"type": "string", "readOnly": true, "enum": ["queued", "saving", "active", "killed", "deleted", "uploading", "importing", "pending_delete", "deactivated"], "description": "Status of the image"},
	"checksum": {"type": ["null", "string"], "readOnly": true, "maxLength": 32, "description": "md5 hash of image contents."},
	"os_hash_algo": {"type": ["null", "string"], "readOnly": true, "maxLength": 64, "description": "Algorithm to calculate the os_hash_value"},
	"os_hash_value": {"type": ["null", "string"], "readOnly": true, "maxLength": 128, "description": "Hexdigest of the image contents using the algorithm specified by the os_hash_algo"},
	"size": {"type": ["null", "integer"], "readOnly": true, "description": "Size of image file in bytes"},
	"virtual_size": {"type": ["null", "integer"], "readOnly": true, "description": "Virtual size of image in bytes"},
	"created_at": {"type": "string", "readOnly": true, "description": "Date and time of image registration"},
	"updated_at": {"type": "string", "readOnly": true, "description": "Date and time of the last image modification"},
	"stores": {"type": "string", "readOnly": true, "description": "Store in which image data resides.  Only present when the operator has enabled multiple stores.  May be a comma-separated list of store identifiers."},
	"self": {"type": "string", "readOnly": true, "description": "An image self url"},
	"file": {"type": "string", "readOnly": true, "description": "An image file url"},
	"schema": {"type": "string", "readOnly": true, "description": "An image schema url"}`

const additional = `{"type": "string", "maxLength": 65535}`

// The schema that is shown, and the one that a description of an image has to fit.
const imageDocument = `{"name": "image", "properties": {` + properties + "," + readOnlyProperties + `},
	"additionalProperties": {"type": "string"},
	"links": [{"rel": "self", "href": "{self}"}, {"rel": "enclosure", "href": "{file}"}, {"rel": "describedby", "href": "{schema}"}]}`

const imagesDocument = `{"name": "images", "properties": {
	"images": {"type": "array", "items": ` + imageDocument + `},
	"first": {"type": "string"}, "next": {"type": "string"}, "schema": {"type": "string"}},
	"links": [{"rel": "first", "href": "{first}"}, {"rel": "next", "href": "{next}"}, {"rel": "describedby", "href": "{schema}"}]}`

var description = rest.Schema(`{"type": "object", "properties": {` + properties + `},
	"additionalProperties": ` + additional + `,
	"propertyNames": {"minLength": 1, "maxLength": 255}}`)

const memberDocument = `{"name": "member", "properties": {
	"member_id": {"type": "string", "description": "An identifier for the image member (tenantId)"},
	"image_id": {"type": "string", "pattern": "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$", "description": "An identifier for the image"},
	"created_at": {"type": "string", "description": "Date and time of image member creation"},
	"updated_at": {"type": "string", "description": "Date and time of last modification of image member"},
	"status": {"type": "string", "enum": ["pending", "accepted", "rejected"], "description": "The status of this image member"},
	"schema": {"type": "string", "readOnly": true}}}`

const membersDocument = `{"name": "members", "properties": {
	"members": {"type": "array", "items": ` + memberDocument + `}, "schema": {"type": "string"}},
	"links": [{"rel": "describedby", "href": "{schema}"}]}`

const taskProperties = `
	"id": {"type": "string", "pattern": "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$", "description": "An identifier for the task"},
	"type": {"type": "string", "enum": ["api_image_import"], "description": "The type of task represented by this content"},
	"status": {"type": "string", "enum": ["pending", "processing", "success", "failure"], "description": "The current status of this task"},
	"owner": {"type": "string", "description": "An identifier for the owner of this task"},
	"expires_at": {"type": ["null", "string"], "description": "Datetime when this resource would be subject to removal"},
	"created_at": {"type": "string", "description": "Datetime when this resource was created"},
	"updated_at": {"type": "string", "description": "Datetime when this resource was updated"},
	"self": {"type": "string", "readOnly": true},
	"schema": {"type": "string", "readOnly": true}`

const taskDocument = `{"name": "task", "properties": {` + taskProperties + `,
	"input": {"type": ["null", "object"], "description": "The parameters required by task, JSON blob"},
	"result": {"type": ["null", "object"], "description": "The result of current task, JSON blob"},
	"message": {"type": "string", "description": "Human-readable informative message only included when appropriate (usually on failure)"},
	"image_id": {"type": "string", "description": "Image associated with the task"},
	"request_id": {"type": "string", "description": "Human-readable informative request-id"},
	"user_id": {"type": "string", "description": "User associated with the task"}}}`

const tasksDocument = `{"name": "tasks", "properties": {
	"tasks": {"type": "array", "items": {"name": "task", "properties": {` + taskProperties + `}}},
	"first": {"type": "string"}, "next": {"type": "string"}, "schema": {"type": "string"}},
	"links": [{"rel": "first", "href": "{first}"}, {"rel": "next", "href": "{next}"}, {"rel": "describedby", "href": "{schema}"}]}`

// schemas are the documents below /v2/schemas.
var schemas = map[string]string{
	"image": imageDocument, "images": imagesDocument, "member": memberDocument, "members": membersDocument,
	"task": taskDocument, "tasks": tasksDocument,
}

func schema(document string) echo.HandlerFunc {
	return func(c echo.Context) error { return c.Blob(http.StatusOK, echo.MIMEApplicationJSON, []byte(document)) }
}
