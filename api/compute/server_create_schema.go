package compute

import "github.com/slipway-cloud/slipway/internal/service/servers"

// maxUserData is how long user data may be, in base64.
const maxUserData = 65535

// createServerSchema is the body of POST /servers at a microversion (schemas/servers.py).
func createServerSchema(minor int) object {
	mapping := object{
		"virtual_name":          object{"type": "string", "maxLength": 255},
		"volume_id":             uuidSchema,
		"snapshot_id":           uuidSchema,
		"volume_size":           object{"type": []string{"integer", "string"}, "pattern": "^[0-9]+$", "minimum": 1, "maximum": 0x7FFFFFFF},
		"device_name":           object{"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9._/-]*$"},
		"delete_on_termination": booleanSchema,
		"no_device":             object{},
		"connection_info":       object{"type": "string", "maxLength": 16777215},
	}
	mapping2 := object{
		"source_type":      object{"type": "string", "enum": []any{"volume", "image", "snapshot", "blank"}},
		"uuid":             object{"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9._-]*$"},
		"image_id":         uuidSchema,
		"destination_type": object{"type": "string", "enum": []any{"local", "volume"}},
		"guest_format":     object{"type": "string", "maxLength": 255},
		"device_type":      object{"type": "string", "maxLength": 255},
		"disk_bus":         object{"type": "string", "maxLength": 255},
		"boot_index":       object{"type": []string{"integer", "string", "null"}, "pattern": "^-?[0-9]+$"},
	}
	for k, v := range mapping {
		mapping2[k] = v
	}
	nic := object{"fixed_ip": object{"type": "string"}, "port": object{"type": []string{"string", "null"}, "format": "uuid"}, "uuid": object{"type": "string"}}
	if minor == 32 || minor >= 42 {
		mapping2["tag"] = tagSchema
	}
	if minor >= 32 && minor <= 36 || minor >= 42 {
		nic["tag"] = tagSchema
	}
	if minor >= 67 {
		mapping2["volume_type"] = object{"type": []string{"string", "null"}, "maxLength": 255}
	}
	networks := list(strict(nic))
	p := object{
		"name":                    nameSchema,
		"imageRef":                object{"type": "string"},
		"flavorRef":               object{"type": []string{"string", "integer"}, "minLength": 1},
		"adminPass":               object{"type": "string"},
		"metadata":                metadataSchema,
		"networks":                networks,
		"OS-DCF:diskConfig":       diskConfigSchema,
		"accessIPv4":              ipv4Schema,
		"accessIPv6":              ipv6Schema,
		"availability_zone":       nameSchema,
		"block_device_mapping":    list(strict(mapping)),
		"block_device_mapping_v2": list(strict(mapping2)),
		"config_drive":            booleanSchema,
		"key_name":                nameSchema,
		"min_count":               positiveSchema,
		"max_count":               positiveSchema,
		"return_reservation_id":   booleanSchema,
		"security_groups":         list(strict(object{"name": nameSchema})),
		"user_data":               object{"type": "string", "maxLength": maxUserData},
	}
	required := []string{"name", "flavorRef"}
	if minor >= 19 {
		p["description"] = descriptionSchema
	}
	if minor >= 37 {
		p["networks"] = object{"oneOf": []any{networks, object{"type": "string", "enum": []any{"none", "auto"}}}}
		required = append(required, "networks")
	}
	if minor >= 52 {
		p["tags"] = object{"type": "array", "items": tagSchema, "maxItems": servers.MaxTags}
	}
	if minor < 57 {
		p["personality"] = personalitySchema
	}
	if minor >= 63 {
		p["trusted_image_certificates"] = certificatesSchema
	}
	if minor >= 74 {
		p["host"], p["hypervisor_hostname"] = fqdnSchema, fqdnSchema
	}
	if minor >= 90 {
		p["hostname"] = hostnameSchema(minor)
	}
	return object{
		"type":     "object",
		"required": []string{"server"},
		"properties": object{
			"server":                     strict(p, required...),
			"os:scheduler_hints":         hintsSchema,
			"OS-SCH-HNT:scheduler_hints": hintsSchema,
		},
		"additionalProperties": false,
	}
}

var (
	personalitySchema  = list(strict(object{"path": object{"type": "string"}, "contents": object{"type": "string"}}))
	certificatesSchema = object{"type": []string{"array", "null"}, "minItems": 1, "maxItems": 50, "uniqueItems": true, "items": text(1, 255)}
)

// hintsSchema leaves unknown hints be, as Nova does: filters of other clouds have their own.
var hintsSchema = object{"type": "object", "properties": object{
	"group":              uuidSchema,
	"different_host":     object{"oneOf": []any{uuidSchema, list(uuidSchema)}},
	"same_host":          object{"type": []string{"string", "array"}, "items": uuidSchema},
	"query":              object{"type": []string{"string", "object"}},
	"target_cell":        nameSchema,
	"different_cell":     object{"type": []string{"string", "array"}, "items": object{"type": "string"}},
	"build_near_host_ip": object{"type": "string"},
	"cidr":               object{"type": "string", "pattern": "^/[0-9a-f.:]+$"},
}}

var createServerSchemas = byVersion("POST /servers", createServerSchema)
