package policy

import (
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// Rule is the name of what a route is an instance of, by which a rules file speaks of it: oslo.policy's name where the service that is
// spoken has one. "" where there is none: no user's token is looked at, or nothing is served, or the body says what is asked for.
func (r Route) Rule() string {
	if r.Method == "HEAD" {
		r.Method = "GET"
	}
	key := r.Method + " " + r.Path
	switch {
	case r.Path == EC2Path && r.Action != "":
		return OfEC2(r.Action)
	case r.Action != "":
		return actionRule(r.Action)
	case r.Who == Anybody || r.Who == Host || r.Who == Signer, r.But == notServed, key == "POST "+ServerAction:
		return ""
	case names[key] != "":
		return names[key]
	}
	face, rest, _ := strings.Cut(strings.TrimPrefix(r.Path, "/"), "/")
	switch face {
	case "v3":
		return identityRule(r.Method, rest)
	case "compute":
		return computeRule(r.Method, strings.TrimPrefix(rest, "v2.1/"))
	case "image":
		return imageRule(r)
	case "network":
		return networkRule(r.Method, strings.TrimPrefix(rest, "v2.0/"))
	}
	return ownRule(r.Method, strings.Trim(r.Path, "/"))
}

func actionRule(word string) string {
	for _, a := range lifecycle.Actions {
		if a.Says() == word {
			return a.Policy
		}
	}
	return ""
}

// notServed stands where nothing is, whatever is asked.
const notServed = "refused: it is not served"

// names are those that do not follow from the path.
var names = map[string]string{
	"GET /network/v2.0/quotas": "get_quotas", // of all projects

	"PUT /network/v2.0/routers/:id/add_router_interface":    "add_router_interface",
	"PUT /network/v2.0/routers/:id/remove_router_interface": "remove_router_interface",

	"POST /v3/ec2tokens": "identity:ec2tokens_validate",

	"DELETE /image/v2/metadefs/namespaces/:namespace/objects":          "delete_metadef_namespace",
	"DELETE /image/v2/metadefs/namespaces/:namespace/properties":       "delete_metadef_namespace",
	"DELETE /image/v2/metadefs/namespaces/:namespace/properties/:name": "remove_metadef_property",
	"POST /image/v2/metadefs/namespaces/:namespace/tags":               "add_metadef_tags",

	"GET /v3/auth/tokens":    "identity:validate_token",
	"DELETE /v3/auth/tokens": "identity:revoke_token",

	"GET /v3/groups/:id/users":                                  "identity:list_users_in_group",
	"GET /v3/groups/:id/users/:user":                            "identity:check_user_in_group",
	"PUT /v3/groups/:id/users/:user":                            "identity:add_user_to_group",
	"DELETE /v3/groups/:id/users/:user":                         "identity:remove_user_from_group",
	"GET /v3/users/:id/groups":                                  "identity:list_groups_for_user",
	"GET /v3/users/:id/projects":                                "identity:list_user_projects",
	"DELETE /v3/users/:id/tokens":                               "identity:revoke_user_tokens",
	"GET /v3/users/:id/credentials/OS-EC2":                      "identity:ec2_list_credentials",
	"POST /v3/users/:id/credentials/OS-EC2":                     "identity:ec2_create_credential",
	"GET /v3/users/:id/credentials/OS-EC2/:access":              "identity:ec2_get_credential",
	"DELETE /v3/users/:id/credentials/OS-EC2/:access":           "identity:ec2_delete_credential",
	"GET /v3/users/:id/application_credentials":                 "identity:list_application_credentials",
	"POST /v3/users/:id/application_credentials":                "identity:create_application_credential",
	"GET /v3/users/:id/application_credentials/:application":    "identity:get_application_credential",
	"DELETE /v3/users/:id/application_credentials/:application": "identity:delete_application_credential",
	"GET /v3/users/:id/access_rules":                            "identity:list_access_rules",
	"GET /v3/users/:id/access_rules/:rule":                      "identity:get_access_rule",
	"DELETE /v3/users/:id/access_rules/:rule":                   "identity:delete_access_rule",
	"PUT /v3/projects/:id/tags":                                 "identity:update_project_tags",
	"DELETE /v3/projects/:id/tags":                              "identity:delete_project_tags",
	"PUT /v3/projects/:id/tags/:tag":                            "identity:create_project_tag",
	"PUT /v3/regions/:id":                                       "identity:create_region",
	"GET /v3/roles/:id/implies":                                 "identity:list_implied_roles",
	"GET /v3/roles/:id/implies/:implied":                        "identity:get_implied_role",
	"GET /v3/role_inferences":                                   "identity:list_role_inference_rules",

	"POST /compute/v2.1/flavors":                            compute + "os-flavor-manage:create",
	"PUT /compute/v2.1/flavors/:id":                         compute + "os-flavor-manage:update",
	"DELETE /compute/v2.1/flavors/:id":                      compute + "os-flavor-manage:delete",
	"POST /compute/v2.1/flavors/:id/action":                 compute + "os-flavor-access:add_tenant_access",
	"GET /compute/v2.1/flavors/:id/os-flavor-access":        compute + "os-flavor-access",
	"GET /compute/v2.1/servers/:id/diagnostics":             compute + "os-server-diagnostics",
	"POST /compute/v2.1/servers/:id/remote-consoles":        compute + "os-remote-consoles",
	"GET /compute/v2.1/os-console-auth-tokens/:token":       compute + "os-console-auth-tokens",
	"GET /compute/v2.1/servers/:id/topology":                "compute:server:topology:index",
	"DELETE /compute/v2.1/servers/:id/os-server-password":   compute + "os-server-password:clear",
	"GET /compute/v2.1/servers/:id/os-server-password":      compute + "os-server-password:show",
	"PUT /compute/v2.1/servers/:id/metadata":                compute + "server-metadata:update_all",
	"PUT /compute/v2.1/servers/:id/tags":                    compute + "os-server-tags:update_all",
	"DELETE /compute/v2.1/servers/:id/tags":                 compute + "os-server-tags:delete_all",
	"GET /compute/v2.1/limits":                              compute + "limits",
	"GET /compute/v2.1/os-availability-zone":                compute + "os-availability-zone:list",
	"GET /compute/v2.1/os-availability-zone/detail":         compute + "os-availability-zone:detail",
	"GET /compute/v2.1/os-instance_usage_audit_log":         compute + "os-instance-usage-audit-log:list",
	"GET /compute/v2.1/os-instance_usage_audit_log/:before": compute + "os-instance-usage-audit-log:show",
	"GET /compute/v2.1/os-simple-tenant-usage":              compute + "os-simple-tenant-usage:list",

	"GET /image/v2/images":             "get_images",
	"GET /image/v2/tasks":              "tasks_api_access",
	"GET /image/v2/tasks/:task":        "tasks_api_access",
	"GET /image/v2/info/stores/detail": "stores_info_detail",

	"GET /image/v2/metadefs/resource_types":                                "list_metadef_resource_types",
	"GET /image/v2/metadefs/namespaces/:namespace/resource_types":          "get_metadef_resource_type",
	"DELETE /image/v2/metadefs/namespaces/:namespace/resource_types/:name": "remove_metadef_resource_type_association",
}

const compute = "os_compute_api:"

// parts are a path's words, without its parameters, and whether it ends with one.
func parts(path string) (words []string, one bool) {
	for _, part := range strings.Split(path, "/") {
		if one = strings.HasPrefix(part, ":"); !one {
			words = append(words, part)
		}
	}
	return words, one
}

func singular(word string) string {
	if strings.HasSuffix(word, "ies") {
		return strings.TrimSuffix(word, "ies") + "y"
	}
	return strings.TrimSuffix(word, "s")
}

// verb is what a method does to a collection, or to one of it.
func verb(method string, one bool, list, show string) string {
	switch {
	case method == "POST":
		return "create"
	case method == "PUT" || method == "PATCH":
		return "update"
	case method == "DELETE":
		return "delete"
	case one:
		return show
	}
	return list
}

// identityRule has a role's places under the four names that Keystone has for all of them.
func identityRule(method, path string) string {
	words, one := parts(path)
	if strings.Contains(path, "/:actor/roles") {
		switch {
		case method == "PUT":
			return "identity:create_grant"
		case method == "DELETE":
			return "identity:revoke_grant"
		case strings.Contains(path, ":role"):
			return "identity:check_grant"
		}
		return "identity:list_grants"
	}
	if words[0] == "auth" {
		return "identity:get_auth_" + words[1]
	}
	for i := range words[:len(words)-1] {
		words[i] = singular(words[i])
	}
	does := verb(method, one, "list", "get")
	if last := &words[len(words)-1]; does != "list" {
		*last = singular(*last)
	}
	return "identity:" + does + "_" + strings.Join(words, "_")
}

// renamed are resources that Nova's policies call otherwise than its paths.
var renamed = map[string]string{
	"os-volumes_boot": "servers", "os-extra_specs": "os-flavor-extra-specs", "metadata": "server-metadata", "tags": "os-server-tags",
	"migrations": "servers:migrations", "os-volume_attachments": "os-volumes-attachments",
}

// listed are those whose lists are "list" there, and not "index".
var listed = map[string]bool{
	"os-hypervisors": true, "os-services": true, "os-instance-actions": true, "os-security-groups": true,
}

func computeRule(method, path string) string {
	words, one := parts(path)
	resource, does := words[0], ""
	switch last := words[len(words)-1]; {
	case len(words) == 1:
	case last == "action":
		does = last
	case last == "detail" && listed[resource]:
		does = "list-detail"
	case words[0] == "servers" && last != "detail", words[0] == "flavors" && last != "detail":
		resource = last
	default:
		does = last
	}
	if does == "" {
		list := "index"
		if listed[resource] {
			list = "list"
		}
		does = verb(method, one, list, "show")
	}
	if to := renamed[resource]; to != "" {
		resource = to
	}
	return compute + resource + ":" + does
}

// imageRule is the first of what internal/imagepolicy decides, or Glance's name of what is done to a definition.
func imageRule(r Route) string {
	if path, is := strings.CutPrefix(r.Path, "/image/v2/metadefs/"); is {
		return definitionRule(r.Method, path)
	}
	decided, _, _ := strings.Cut(strings.TrimPrefix(r.But, ByTheImage), ",")
	if !strings.HasPrefix(r.But, ByTheImage) {
		return ""
	}
	return decided
}

func definitionRule(method, path string) string {
	words, one := parts(path)
	last := words[len(words)-1]
	if last == "resource_types" {
		last = "resource_type_associations"
	}
	if one || method == "POST" {
		last = singular(last)
	}
	does := map[string]string{"GET": "get", "POST": "add", "PUT": "modify", "DELETE": "delete"}[method]
	return does + "_metadef_" + last
}

// networkRule has one name for a list and one of it, as Neutron's have.
func networkRule(method, path string) string {
	words, _ := parts(path)
	if slices.Contains(words, "tags") && method != "GET" {
		method = "PUT" // of what has them
	}
	return verb(method, true, "get", "get") + "_" + strings.ReplaceAll(singular(words[0]), "-", "_")
}

// ownRule names what is Slipway's own, by its path.
func ownRule(method, path string) string {
	words, one := parts(path)
	if len(words) > 1 && method != "GET" {
		return "slipway:" + strings.Join(words, ":")
	}
	return "slipway:" + strings.Join(words, ":") + ":" + verb(method, one, "index", "show")
}
