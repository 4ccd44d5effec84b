package api

import (
	"fmt"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/slipway-cloud/slipway/api/rest"
)

// networkBodies are what may fit the network API, which reads bodies by tables and not by schemas (api/network): what is required of a new
// object, what is said of one alone, and what may be changed too.
var networkBodies = map[string]struct{ required, made, changed string }{
	"network": {
		``, `"project_id": {"type": "string"}, "availability_zone_hints": {"enum": [[]]}`,
		`"name": {"type": "string", "maxLength": 255}, "description": {"type": "string", "maxLength": 255}, "admin_state_up": {"type": "boolean"},
		"shared": {"enum": [false, "no", true]}, "mtu": {"type": "integer", "minimum": 68, "maximum": 1500}, "port_security_enabled": {"type": "boolean"},
		"router:external": {"enum": [false]}`,
	},
	"subnet": {
		`"network_id", "ip_version", "cidr"`,
		`"network_id": {"type": "string"}, "ip_version": {"enum": [4, 4, 6]}, "cidr": {"type": "string"},
		"ipv6_ra_mode": {"enum": [null, "dhcpv6-stateful", "slaac"]}, "ipv6_address_mode": {"enum": [null, "dhcpv6-stateful"]}`,
		`"name": {"type": "string", "maxLength": 255}, "gateway_ip": {"type": ["string", "null"]}, "enable_dhcp": {"type": "boolean"},
		"allocation_pools": {"type": "array", "maxItems": 2, "items": {
			"type": "object", "required": ["start", "end"], "properties": {"start": {"type": "string"}, "end": {"type": "string"}}}},
		"dns_nameservers": {"type": "array", "maxItems": 2, "items": {"type": "string"}},
		"host_routes": {"type": "array", "maxItems": 2, "items": {
			"type": "object", "required": ["destination", "nexthop"], "properties": {"destination": {"type": "string"}, "nexthop": {"type": "string"}}}}`,
	},
	"port": {
		`"network_id"`,
		`"network_id": {"type": "string"}, "project_id": {"type": "string"}, "tags": {"type": "array", "maxItems": 2, "items": {"type": "string"}}`,
		`"name": {"type": "string", "maxLength": 255}, "admin_state_up": {"type": "boolean"}, "mac_address": {"type": "string"},
		"device_id": {"type": "string", "maxLength": 255}, "device_owner": {"type": "string", "maxLength": 255}, "security_groups": {"enum": [[]]},
		"port_security_enabled": {"type": "boolean"}, "binding:vnic_type": {"enum": ["normal"]},
		"fixed_ips": {"type": "array", "maxItems": 2, "items": {
			"type": "object", "minProperties": 1, "properties": {"subnet_id": {"type": "string"}, "ip_address": {"type": "string"}}}},
		"allowed_address_pairs": {"type": "array", "maxItems": 2, "items": {
			"type": "object", "required": ["ip_address"], "properties": {"ip_address": {"type": "string"}, "mac_address": {"type": "string"}}}},
		"extra_dhcp_opts": {"type": "array", "maxItems": 1, "items": {
			"type": "object", "required": ["opt_name", "opt_value"],
			"properties": {"opt_name": {"type": "string", "maxLength": 64}, "opt_value": {"type": "string", "maxLength": 255}}}}`,
	},
}

// networkSchemas are they by route, as fuzz.bodies has them.
func networkSchemas() map[string][]*jsonschema.Schema {
	said := func(member, schema string) *jsonschema.Schema {
		return rest.Schema(fmt.Sprintf(`{"type": "object", "required": [%q], "properties": {%q: %s}}`, member, member, schema))
	}
	all := map[string][]*jsonschema.Schema{
		"PUT /network/v2.0/quotas/:id ": {said("quota", `{"type": "object", "minProperties": 1, "properties": {
			"network": {"type": "integer", "minimum": -1}, "subnet": {"type": "integer", "minimum": -1}, "port": {"type": "integer", "minimum": -1}, "force": {"type": "boolean"}}}`)},
	}
	for one, b := range networkBodies {
		path := "/network/v2.0/" + one + "s"
		made := fmt.Sprintf(`{"type": "object", "required": [%s], "properties": {%s, %s}}`, b.required, b.made, b.changed)
		all["POST "+path+" "] = []*jsonschema.Schema{said(one, made), said(one+"s", `{"type": "array", "minItems": 1, "maxItems": 3, "items": `+made+`}`)}
		all["PUT "+path+"/:id "] = []*jsonschema.Schema{said(one, fmt.Sprintf(`{"type": "object", "minProperties": 1, "properties": {%s}}`, b.changed))}
		all["PUT "+path+"/:id/tags "] = []*jsonschema.Schema{said("tags", `{"type": "array", "maxItems": 3, "items": {"type": "string", "minLength": 1, "maxLength": 255}}`)}
	}
	return all
}
