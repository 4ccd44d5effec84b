package policy

import "github.com/slipway-cloud/slipway/internal/imagepolicy"

// Who else may do what asks for an admin, with a token that is scoped to more than a project.
const (
	whole   = "admin, or a reader of the system"
	readers = "or a reader of the system, or of the domain that it is in"
	keepers = "or an admin of the domain that it is in"
	// definitions of metadata that others than an admin see.
	definitions = "of private ones, the project's own"
)

// grants are a role's places, in each of which it is given, taken away and looked at alike.
func grants() []Route {
	var all []Route
	for _, actor := range []string{"users", "groups"} {
		for _, in := range []struct{ path, end string }{
			{"/projects/:target", ""}, {"/domains/:target", ""}, {"/system", ""},
			{"/OS-INHERIT/projects/:target", "/inherited_to_projects"}, {"/OS-INHERIT/domains/:target", "/inherited_to_projects"},
		} {
			path := "/v3" + in.path + "/" + actor + "/:actor/roles"
			all = append(all, Route{Method: "GET", Path: path + in.end, Who: Admin, But: readers})
			all = append(all, Route{Method: "GET", Path: path + "/:role" + in.end, Who: Admin, But: readers})
			for _, method := range []string{"PUT", "DELETE"} {
				all = append(all, Route{Method: method, Path: path + "/:role" + in.end, Who: Admin, But: keepers})
			}
		}
	}
	return all
}

// metadefs are Glance's metadata definitions.
func metadefs() []Route {
	const root = "/image/v2/metadefs/namespaces"
	all := []Route{
		{Method: "GET", Path: "/image/v2/metadefs/resource_types", Who: Project, But: definitions},
		{Method: "GET", Path: root, Who: Project, But: definitions}, {Method: "POST", Path: root, Who: Admin},
	}
	of := func(path string, writes ...string) {
		all = append(all, Route{Method: "GET", Path: path, Who: Project, But: definitions})
		for _, method := range writes {
			all = append(all, Route{Method: method, Path: path, Who: Admin})
		}
	}
	const one = root + "/:namespace"
	of(one, "PUT", "DELETE")
	for _, kind := range []string{"objects", "properties", "tags"} {
		of(one+"/"+kind, "POST", "DELETE")
		of(one+"/"+kind+"/:name", "PUT", "DELETE")
	}
	of(one+"/resource_types", "POST")
	all = append(all, Route{Method: "DELETE", Path: one + "/resource_types/:name", Who: Admin}, Route{Method: "POST", Path: one + "/tags/:name", Who: Admin})
	for _, name := range []string{"namespace", "namespaces", "object", "objects", "property", "properties", "resource_type", "resource_types", "tag", "tags"} {
		all = append(all, Route{Method: "GET", Path: "/image/v2/schemas/metadefs/" + name, Who: Token})
	}
	return all
}

// unserved is what the identity API refuses by route, whatever is asked of it.
func unserved() []Route {
	var all []Route
	for _, path := range []string{
		"OS-TRUST/trusts", "OS-TRUST/trusts/*", "OS-OAUTH1/*", "users/:id/OS-OAUTH1/*", "OS-OAUTH2/*", "OS-FEDERATION/*", "auth/OS-FEDERATION/*",
		"domains/config/*", "domains/:id/config", "domains/:id/config/*", "registered_limits", "registered_limits/*", "limits", "limits/*",
		"policies", "policies/*", "OS-ENDPOINT-POLICY/*", "OS-EP-FILTER/*", "OS-REVOKE/events", "OS-PKI/revoked", "s3tokens",
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
			all = append(all, Route{Method: method, Path: "/v3/" + path, Who: Token, But: notServed})
		}
	}
	return all
}

// routes has what is mounted by every face, in the words of its API.
var routes = []Route{
	// What probes ask.
	{Method: "GET", Path: "/healthz", Who: Anybody},
	{Method: "GET", Path: "/readyz", Who: Anybody},

	// Keystone.
	{Method: "GET", Path: "/", Who: Anybody},
	{Method: "GET", Path: "/v3", Who: Anybody},
	{Method: "POST", Path: "/v3/auth/tokens", Who: Anybody, But: "by the credentials in the body"},
	{Method: "GET", Path: "/v3/auth/tokens", Who: Token, But: "another user's token: admin"},
	{Method: "DELETE", Path: "/v3/auth/tokens", Who: Token, But: "another user's token: admin"},
	{Method: "POST", Path: "/v3/ec2tokens", Who: Admin},
	{Method: "GET", Path: "/v3/auth/catalog", Who: Token},
	{Method: "GET", Path: "/v3/auth/projects", Who: Token},
	{Method: "GET", Path: "/v3/auth/domains", Who: Token},
	{Method: "GET", Path: "/v3/auth/system", Who: Token},
	{Method: "GET", Path: "/v3/domains", Who: Token, But: "others than the user's own: " + whole},
	{Method: "POST", Path: "/v3/domains", Who: Admin},
	{Method: "GET", Path: "/v3/domains/:id", Who: Token, But: "another than the user's own: " + whole},
	{Method: "PATCH", Path: "/v3/domains/:id", Who: Admin},
	{Method: "DELETE", Path: "/v3/domains/:id", Who: Admin},
	{Method: "GET", Path: "/v3/projects", Who: Admin, But: readers},
	{Method: "POST", Path: "/v3/projects", Who: Admin, But: keepers},
	{Method: "GET", Path: "/v3/projects/:id", Who: Project, But: Own},
	{Method: "PATCH", Path: "/v3/projects/:id", Who: Admin, But: keepers},
	{Method: "DELETE", Path: "/v3/projects/:id", Who: Admin, But: keepers},
	{Method: "GET", Path: "/v3/projects/:id/tags", Who: Project, But: Own},
	{Method: "PUT", Path: "/v3/projects/:id/tags", Who: Admin, But: keepers},
	{Method: "DELETE", Path: "/v3/projects/:id/tags", Who: Admin, But: keepers},
	{Method: "GET", Path: "/v3/projects/:id/tags/:tag", Who: Project, But: Own},
	{Method: "PUT", Path: "/v3/projects/:id/tags/:tag", Who: Admin, But: keepers},
	{Method: "DELETE", Path: "/v3/projects/:id/tags/:tag", Who: Admin, But: keepers},
	{Method: "GET", Path: "/v3/users", Who: Admin, But: readers},
	{Method: "POST", Path: "/v3/users", Who: Admin, But: keepers},
	{Method: "GET", Path: "/v3/users/:id", Who: Token, But: Own},
	{Method: "PATCH", Path: "/v3/users/:id", Who: Admin, But: keepers},
	{Method: "DELETE", Path: "/v3/users/:id", Who: Admin, But: keepers},
	{Method: "POST", Path: "/v3/users/:id/password", Who: Anybody, But: "by the password in the body"},
	{Method: "DELETE", Path: "/v3/users/:id/tokens", Who: Token, But: Own},
	{Method: "GET", Path: "/v3/users/:id/projects", Who: Token, But: Own},
	{Method: "GET", Path: "/v3/users/:id/groups", Who: Token, But: Own},
	{Method: "GET", Path: "/v3/credentials", Who: Token, But: "others than the caller's own: admin"},
	{Method: "POST", Path: "/v3/credentials", Who: Token, But: "another user's: admin"},
	{Method: "GET", Path: "/v3/credentials/:id", Who: Token, But: "another user's: admin"},
	{Method: "PATCH", Path: "/v3/credentials/:id", Who: Token, But: "another user's: admin"},
	{Method: "DELETE", Path: "/v3/credentials/:id", Who: Token, But: "another user's: admin"},
	{Method: "GET", Path: "/v3/users/:id/credentials/OS-EC2", Who: Token, But: Own},
	{Method: "POST", Path: "/v3/users/:id/credentials/OS-EC2", Who: Token, But: Own},
	{Method: "GET", Path: "/v3/users/:id/credentials/OS-EC2/:access", Who: Token, But: Own},
	{Method: "DELETE", Path: "/v3/users/:id/credentials/OS-EC2/:access", Who: Token, But: Own},
	{Method: "GET", Path: "/v3/users/:id/application_credentials", Who: Token, But: Own},
	{Method: "POST", Path: "/v3/users/:id/application_credentials", Who: Project, But: OwnAlone},
	{Method: "GET", Path: "/v3/users/:id/application_credentials/:application", Who: Token, But: Own},
	{Method: "DELETE", Path: "/v3/users/:id/application_credentials/:application", Who: Token, But: Own},
	{Method: "GET", Path: "/v3/users/:id/access_rules", Who: Token, But: Own},
	{Method: "GET", Path: "/v3/users/:id/access_rules/:rule", Who: Token, But: Own},
	{Method: "DELETE", Path: "/v3/users/:id/access_rules/:rule", Who: Token, But: Own},
	{Method: "GET", Path: "/v3/groups", Who: Admin, But: readers},
	{Method: "POST", Path: "/v3/groups", Who: Admin, But: keepers},
	{Method: "GET", Path: "/v3/groups/:id", Who: Admin, But: readers},
	{Method: "PATCH", Path: "/v3/groups/:id", Who: Admin, But: keepers},
	{Method: "DELETE", Path: "/v3/groups/:id", Who: Admin, But: keepers},
	{Method: "GET", Path: "/v3/groups/:id/users", Who: Admin, But: readers},
	{Method: "GET", Path: "/v3/groups/:id/users/:user", Who: Admin, But: readers},
	{Method: "PUT", Path: "/v3/groups/:id/users/:user", Who: Admin, But: keepers},
	{Method: "DELETE", Path: "/v3/groups/:id/users/:user", Who: Admin, But: keepers},
	{Method: "GET", Path: "/v3/roles", Who: Token},
	{Method: "POST", Path: "/v3/roles", Who: Admin},
	{Method: "GET", Path: "/v3/roles/:id", Who: Token},
	{Method: "PATCH", Path: "/v3/roles/:id", Who: Admin},
	{Method: "DELETE", Path: "/v3/roles/:id", Who: Admin},
	{Method: "GET", Path: "/v3/roles/:id/implies", Who: Token},
	{Method: "GET", Path: "/v3/roles/:id/implies/:implied", Who: Token},
	{Method: "GET", Path: "/v3/role_inferences", Who: Token},
	{Method: "GET", Path: "/v3/role_assignments", Who: Admin, But: readers},
	{Method: "GET", Path: "/v3/regions", Who: Token},
	{Method: "POST", Path: "/v3/regions", Who: Admin},
	{Method: "GET", Path: "/v3/regions/:id", Who: Token},
	{Method: "PUT", Path: "/v3/regions/:id", Who: Admin},
	{Method: "PATCH", Path: "/v3/regions/:id", Who: Admin},
	{Method: "DELETE", Path: "/v3/regions/:id", Who: Admin},
	{Method: "GET", Path: "/v3/services", Who: Token},
	{Method: "POST", Path: "/v3/services", Who: Admin},
	{Method: "GET", Path: "/v3/services/:id", Who: Token},
	{Method: "PATCH", Path: "/v3/services/:id", Who: Admin},
	{Method: "DELETE", Path: "/v3/services/:id", Who: Admin},
	{Method: "GET", Path: "/v3/endpoints", Who: Token},
	{Method: "POST", Path: "/v3/endpoints", Who: Admin},
	{Method: "GET", Path: "/v3/endpoints/:id", Who: Token},
	{Method: "PATCH", Path: "/v3/endpoints/:id", Who: Admin},
	{Method: "DELETE", Path: "/v3/endpoints/:id", Who: Admin},

	// Nova.
	{Method: "GET", Path: "/compute", Who: Anybody},
	{Method: "GET", Path: "/compute/", Who: Anybody},
	{Method: "GET", Path: "/compute/v2", Who: Anybody},
	{Method: "GET", Path: "/compute/v2/", Who: Anybody},
	{Method: "GET", Path: "/compute/v2.1", Who: Anybody},
	{Method: "GET", Path: "/compute/v2.1/", Who: Anybody},
	{Method: "GET", Path: "/compute/v2.1/extensions", Who: Project},
	{Method: "GET", Path: "/compute/v2.1/extensions/:alias", Who: Project},
	{Method: "GET", Path: "/compute/v2.1/flavors", Who: Project},
	{Method: "GET", Path: "/compute/v2.1/flavors/detail", Who: Project},
	{Method: "POST", Path: "/compute/v2.1/flavors", Who: Admin},
	{Method: "GET", Path: "/compute/v2.1/flavors/:id", Who: Project},
	{Method: "PUT", Path: "/compute/v2.1/flavors/:id", Who: Admin},
	{Method: "DELETE", Path: "/compute/v2.1/flavors/:id", Who: Admin},
	{Method: "POST", Path: "/compute/v2.1/flavors/:id/action", Who: Admin},
	{Method: "GET", Path: "/compute/v2.1/flavors/:id/os-flavor-access", Who: Admin},
	{Method: "GET", Path: "/compute/v2.1/flavors/:id/os-extra_specs", Who: Project},
	{Method: "POST", Path: "/compute/v2.1/flavors/:id/os-extra_specs", Who: Admin},
	{Method: "GET", Path: "/compute/v2.1/flavors/:id/os-extra_specs/:key", Who: Project},
	{Method: "PUT", Path: "/compute/v2.1/flavors/:id/os-extra_specs/:key", Who: Admin},
	{Method: "DELETE", Path: "/compute/v2.1/flavors/:id/os-extra_specs/:key", Who: Admin},
	{Method: "GET", Path: "/compute/v2.1/os-keypairs", Who: Project, But: "another user's, by user_id: admin"},
	{Method: "POST", Path: "/compute/v2.1/os-keypairs", Who: Member, But: "another user's, by user_id: admin"},
	{Method: "GET", Path: "/compute/v2.1/os-keypairs/:name", Who: Project, But: "another user's, by user_id: admin"},
	{Method: "DELETE", Path: "/compute/v2.1/os-keypairs/:name", Who: Member, But: "another user's, by user_id: admin"},
	{Method: "GET", Path: "/compute/v2.1/servers", Who: Project, But: "all_tenants and deleted: admin"},
	{Method: "GET", Path: "/compute/v2.1/servers/detail", Who: Project, But: "all_tenants and deleted: admin"},
	{Method: "POST", Path: "/compute/v2.1/servers", Who: Member, But: "a host by its name: admin"},
	{Method: "GET", Path: "/compute/v2.1/servers/:id", Who: Project},
	{Method: "PUT", Path: "/compute/v2.1/servers/:id", Who: Member},
	{Method: "DELETE", Path: "/compute/v2.1/servers/:id", Who: Member},
	{Method: "GET", Path: "/compute/v2.1/os-volumes_boot", Who: Project, But: "all_tenants and deleted: admin"},
	{Method: "GET", Path: "/compute/v2.1/os-volumes_boot/detail", Who: Project, But: "all_tenants and deleted: admin"},
	{Method: "POST", Path: "/compute/v2.1/os-volumes_boot", Who: Member, But: "a host by its name: admin"},
	{Method: "GET", Path: "/compute/v2.1/os-volumes_boot/:id", Who: Project},
	{Method: "PUT", Path: "/compute/v2.1/os-volumes_boot/:id", Who: Member},
	{Method: "DELETE", Path: "/compute/v2.1/os-volumes_boot/:id", Who: Member},
	{Method: "POST", Path: ServerAction, Who: Member},
	{Method: "GET", Path: "/compute/v2.1/servers/:id/os-instance-actions", Who: Project},
	{Method: "GET", Path: "/compute/v2.1/servers/:id/os-instance-actions/:request", Who: Project},
	{Method: "GET", Path: "/compute/v2.1/servers/:id/migrations", Who: Admin},
	{Method: "GET", Path: "/compute/v2.1/servers/:id/migrations/:migration", Who: Admin},
	{Method: "GET", Path: "/compute/v2.1/servers/:id/diagnostics", Who: Admin},
	{Method: "POST", Path: "/compute/v2.1/servers/:id/remote-consoles", Who: Member},
	{Method: "GET", Path: "/compute/v2.1/os-console-auth-tokens/:token", Who: Admin},
	{Method: "GET", Path: "/compute/v2.1/servers/:id/topology", Who: Project},
	{Method: "GET", Path: "/compute/v2.1/servers/:id/os-server-password", Who: Project},
	{Method: "DELETE", Path: "/compute/v2.1/servers/:id/os-server-password", Who: Member},
	{Method: "GET", Path: "/compute/v2.1/servers/:id/metadata", Who: Project},
	{Method: "POST", Path: "/compute/v2.1/servers/:id/metadata", Who: Member},
	{Method: "PUT", Path: "/compute/v2.1/servers/:id/metadata", Who: Member},
	{Method: "GET", Path: "/compute/v2.1/servers/:id/metadata/:key", Who: Project},
	{Method: "PUT", Path: "/compute/v2.1/servers/:id/metadata/:key", Who: Member},
	{Method: "DELETE", Path: "/compute/v2.1/servers/:id/metadata/:key", Who: Member},
	{Method: "GET", Path: "/compute/v2.1/servers/:id/ips", Who: Project},
	{Method: "GET", Path: "/compute/v2.1/servers/:id/ips/:network", Who: Project},
	{Method: "GET", Path: "/compute/v2.1/servers/:id/tags", Who: Project},
	{Method: "PUT", Path: "/compute/v2.1/servers/:id/tags", Who: Member},
	{Method: "DELETE", Path: "/compute/v2.1/servers/:id/tags", Who: Member},
	{Method: "GET", Path: "/compute/v2.1/servers/:id/tags/:tag", Who: Project},
	{Method: "PUT", Path: "/compute/v2.1/servers/:id/tags/:tag", Who: Member},
	{Method: "DELETE", Path: "/compute/v2.1/servers/:id/tags/:tag", Who: Member},
	{Method: "GET", Path: "/compute/v2.1/servers/:id/os-security-groups", Who: Project},
	{Method: "GET", Path: "/compute/v2.1/servers/:id/os-volume_attachments", Who: Project},
	{Method: "GET", Path: "/compute/v2.1/os-server-groups", Who: Project, But: "all projects': admin"},
	{Method: "POST", Path: "/compute/v2.1/os-server-groups", Who: Member},
	{Method: "GET", Path: "/compute/v2.1/os-server-groups/:id", Who: Project},
	{Method: "DELETE", Path: "/compute/v2.1/os-server-groups/:id", Who: Member},
	{Method: "GET", Path: "/compute/v2.1/os-simple-tenant-usage", Who: Admin},
	{Method: "GET", Path: "/compute/v2.1/os-simple-tenant-usage/:id", Who: Project, But: Own},
	{Method: "GET", Path: "/compute/v2.1/os-instance_usage_audit_log", Who: Admin},
	{Method: "GET", Path: "/compute/v2.1/os-instance_usage_audit_log/:before", Who: Admin},
	{Method: "POST", Path: "/compute/v2.1/os-assisted-volume-snapshots", Who: Admin},
	{Method: "DELETE", Path: "/compute/v2.1/os-assisted-volume-snapshots/:id", Who: Admin},
	{Method: "GET", Path: "/compute/v2.1/limits", Who: Project, But: "another project's, by tenant_id: admin"},
	{Method: "GET", Path: "/compute/v2.1/os-quota-sets/:id", Who: Project, But: Own},
	{Method: "GET", Path: "/compute/v2.1/os-quota-sets/:id/detail", Who: Project, But: Own},
	{Method: "GET", Path: "/compute/v2.1/os-quota-sets/:id/defaults", Who: Project, But: Own},
	{Method: "PUT", Path: "/compute/v2.1/os-quota-sets/:id", Who: Admin},
	{Method: "DELETE", Path: "/compute/v2.1/os-quota-sets/:id", Who: Admin},
	{Method: "GET", Path: "/compute/v2.1/os-quota-class-sets/:id", Who: Admin},
	{Method: "PUT", Path: "/compute/v2.1/os-quota-class-sets/:id", Who: Admin},
	{Method: "GET", Path: "/compute/v2.1/os-hypervisors", Who: Admin},
	{Method: "GET", Path: "/compute/v2.1/os-hypervisors/detail", Who: Admin},
	{Method: "GET", Path: "/compute/v2.1/os-hypervisors/statistics", Who: Admin},
	{Method: "GET", Path: "/compute/v2.1/os-hypervisors/:id", Who: Admin},
	{Method: "GET", Path: "/compute/v2.1/os-hypervisors/:id/search", Who: Admin},
	{Method: "GET", Path: "/compute/v2.1/os-hypervisors/:id/servers", Who: Admin},
	{Method: "GET", Path: "/compute/v2.1/os-hypervisors/:id/uptime", Who: Admin},
	{Method: "GET", Path: "/compute/v2.1/os-migrations", Who: Admin},
	{Method: "GET", Path: "/compute/v2.1/os-services", Who: Admin},
	{Method: "PUT", Path: "/compute/v2.1/os-services/:id", Who: Admin},
	{Method: "DELETE", Path: "/compute/v2.1/os-services/:id", Who: Admin},
	{Method: "GET", Path: "/compute/v2.1/os-aggregates", Who: Admin},
	{Method: "POST", Path: "/compute/v2.1/os-aggregates", Who: Admin},
	{Method: "GET", Path: "/compute/v2.1/os-aggregates/:id", Who: Admin},
	{Method: "PUT", Path: "/compute/v2.1/os-aggregates/:id", Who: Admin},
	{Method: "DELETE", Path: "/compute/v2.1/os-aggregates/:id", Who: Admin},
	{Method: "POST", Path: "/compute/v2.1/os-aggregates/:id/action", Who: Admin},
	{Method: "GET", Path: "/compute/v2.1/os-availability-zone", Who: Project},
	{Method: "GET", Path: "/compute/v2.1/os-availability-zone/detail", Who: Admin},

	// Glance. Where an image decides, internal/imagepolicy shows its whole decision in a table of its own.
	{Method: "GET", Path: "/image", Who: Anybody},
	{Method: "GET", Path: "/image/", Who: Anybody},
	{Method: "GET", Path: "/image/versions", Who: Anybody},
	{Method: "GET", Path: "/image/v2/schemas/image", Who: Token},
	{Method: "GET", Path: "/image/v2/schemas/images", Who: Token},
	{Method: "GET", Path: "/image/v2/schemas/member", Who: Token},
	{Method: "GET", Path: "/image/v2/schemas/members", Who: Token},
	{Method: "GET", Path: "/image/v2/schemas/task", Who: Token},
	{Method: "GET", Path: "/image/v2/schemas/tasks", Who: Token},
	{Method: "GET", Path: "/image/v2/images", Who: Token},
	{Method: "POST", Path: "/image/v2/images", Who: Member, But: image(imagepolicy.AddImage)},
	{Method: "GET", Path: "/image/v2/images/:id", Who: Token, But: image(imagepolicy.GetImage)},
	{Method: "PATCH", Path: "/image/v2/images/:id", Who: Token, But: image(imagepolicy.ModifyImage, imagepolicy.CommunitizeImage, imagepolicy.PublicizeImage)},
	{Method: "DELETE", Path: "/image/v2/images/:id", Who: Token, But: image(imagepolicy.DeleteImage)},
	{Method: "PUT", Path: "/image/v2/images/:id/tags/:tag", Who: Token, But: image(imagepolicy.ModifyImage)},
	{Method: "DELETE", Path: "/image/v2/images/:id/tags/:tag", Who: Token, But: image(imagepolicy.ModifyImage)},
	{Method: "POST", Path: "/image/v2/images/:id/actions/deactivate", Who: Token, But: image(imagepolicy.Deactivate)},
	{Method: "POST", Path: "/image/v2/images/:id/actions/reactivate", Who: Token, But: image(imagepolicy.Reactivate)},
	{Method: "PUT", Path: "/image/v2/images/:id/file", Who: Token, But: image(imagepolicy.UploadImage)},
	{Method: "GET", Path: "/image/v2/images/:id/file", Who: Token, But: image(imagepolicy.DownloadImage)},
	{Method: "PUT", Path: "/image/v2/images/:id/stage", Who: Token, But: image(imagepolicy.StageImage)},
	{Method: "POST", Path: "/image/v2/images/:id/import", Who: Token, But: image(imagepolicy.ImportImage, imagepolicy.CopyImage)},
	{Method: "GET", Path: "/image/v2/images/:id/tasks", Who: Token, But: image(imagepolicy.GetTasks)},
	{Method: "GET", Path: "/image/v2/tasks", Who: Admin},
	{Method: "GET", Path: "/image/v2/tasks/:task", Who: Admin},
	{Method: "GET", Path: "/image/v2/images/:id/members", Who: Token, But: image(imagepolicy.GetMembers)},
	{Method: "POST", Path: "/image/v2/images/:id/members", Who: Token, But: image(imagepolicy.AddMember)},
	{Method: "GET", Path: "/image/v2/images/:id/members/:member", Who: Token, But: image(imagepolicy.GetMember)},
	{Method: "PUT", Path: "/image/v2/images/:id/members/:member", Who: Token, But: image(imagepolicy.ModifyMember)},
	{Method: "DELETE", Path: "/image/v2/images/:id/members/:member", Who: Token, But: image(imagepolicy.DeleteMember)},
	{Method: "GET", Path: "/image/v2/info/import", Who: Token},
	{Method: "GET", Path: "/image/v2/info/usage", Who: Project},
	{Method: "GET", Path: "/image/v2/info/stores", Who: Token},
	{Method: "GET", Path: "/image/v2/info/stores/detail", Who: Admin},
	{Method: "GET", Path: "/image/v2/cache", Who: Admin, But: "refused: it is not served"},
	{Method: "DELETE", Path: "/image/v2/cache", Who: Admin, But: "refused: it is not served"},
	{Method: "PUT", Path: "/image/v2/cache/:id", Who: Admin, But: "refused: it is not served"},
	{Method: "DELETE", Path: "/image/v2/cache/:id", Who: Admin, But: "refused: it is not served"},
	{Method: "DELETE", Path: "/image/v2/stores/:store/:id", Who: Token, But: image(imagepolicy.DeleteStoreCopy)},

	// Neutron.
	{Method: "GET", Path: "/network", Who: Anybody},
	{Method: "GET", Path: "/network/v2.0", Who: Anybody},
	{Method: "GET", Path: "/network/v2.0/networks", Who: Project},
	{Method: "POST", Path: "/network/v2.0/networks", Who: Member, But: "shared, or of another project: admin"},
	{Method: "GET", Path: "/network/v2.0/networks/:id", Who: Project},
	{Method: "DELETE", Path: "/network/v2.0/networks/:id", Who: Member, But: "of another project, that shares it: admin"},
	{Method: "GET", Path: "/network/v2.0/subnets", Who: Project},
	{Method: "POST", Path: "/network/v2.0/subnets", Who: Member, But: "on another project's network, or of another project: admin"},
	{Method: "GET", Path: "/network/v2.0/subnets/:id", Who: Project},
	{Method: "DELETE", Path: "/network/v2.0/subnets/:id", Who: Member, But: "of another project, on a network that it shares: admin"},
	{Method: "GET", Path: "/network/v2.0/ports", Who: Project},
	{Method: "POST", Path: "/network/v2.0/ports", Who: Member, But: "of another project: admin"},
	{Method: "GET", Path: "/network/v2.0/ports/:id", Who: Project},
	{Method: "DELETE", Path: "/network/v2.0/ports/:id", Who: Member},
	{Method: "GET", Path: "/network/v2.0/extensions", Who: Project},
	{Method: "GET", Path: "/network/v2.0/extensions/:alias", Who: Project},
	{Method: "GET", Path: "/network/v2.0/security-groups", Who: Project},
	{Method: "GET", Path: "/network/v2.0/security-groups/:id", Who: Project},
	{Method: "GET", Path: "/network/v2.0/security-group-rules", Who: Project},
	{Method: "GET", Path: "/network/v2.0/quotas/:id", Who: Project, But: Own},
	{Method: "GET", Path: "/network/v2.0/quotas/:id/default", Who: Project, But: Own},
	{Method: "GET", Path: "/network/v2.0/quotas/:id/details.json", Who: Project, But: Own},

	// Slipway's own: consoles, hosts, and what operators ask.
	{Method: "GET", Path: "/console", Who: Anybody, But: "by the token in the query, once"},
	{Method: "GET", Path: "/console/vnc_auto.html", Who: Anybody},
	{Method: "GET", Path: "/console/vnc_auto.css", Who: Anybody},
	{Method: "GET", Path: "/console/vnc_auto.js", Who: Anybody},
	{Method: "GET", Path: "/console/novnc/*", Who: Anybody},
	{Method: "PUT", Path: "/hosts/self", Who: Host},
	{Method: "POST", Path: "/hosts/self/heartbeat", Who: Host},
	{Method: "GET", Path: "/hosts/self/payload-keys", Who: Host},
	{Method: "GET", Path: "/hosts/self/undo", Who: Host},
	{Method: "GET", Path: "/hosts/self/guests", Who: Host},
	{Method: "PUT", Path: "/hosts/self/guests", Who: Host},
	{Method: "POST", Path: "/hosts/self/resume", Who: Host},
	{Method: "GET", Path: "/hosts/self/consoles/:session", Who: Host},
	{Method: "GET", Path: "/hosts/images/:id/file", Who: Host},
	{Method: "HEAD", Path: "/hosts/images/:id/file", Who: Host},
	{Method: "PUT", Path: "/hosts/images/:id/file", Who: Host},
	{Method: "GET", Path: "/hosts", Who: Admin},
	{Method: "POST", Path: "/hosts", Who: Admin},
	{Method: "GET", Path: "/hosts/", Who: Admin},
	{Method: "POST", Path: "/hosts/", Who: Admin},
	{Method: "GET", Path: "/hosts/:id", Who: Admin},
	{Method: "PATCH", Path: "/hosts/:id", Who: Admin},
	{Method: "DELETE", Path: "/hosts/:id", Who: Admin},
	{Method: "POST", Path: "/hosts/:id/token", Who: Admin},
	{Method: "POST", Path: "/hosts/:id/adopt", Who: Admin},
	{Method: "POST", Path: "/hosts/:id/forget", Who: Admin},
	{Method: "GET", Path: "/hosts/:id/forget", Who: Admin},
	{Method: "GET", Path: "/image-orphans", Who: Admin},
	{Method: "GET", Path: "/image-orphans/", Who: Admin},
	{Method: "POST", Path: "/image-orphans/:id/set-aside", Who: Admin},
	{Method: "POST", Path: "/image-orphans/:id/adopt", Who: Admin},
	{Method: "DELETE", Path: "/image-orphans/:id", Who: Admin},
	{Method: "GET", Path: "/installation", Who: Admin},
	{Method: "GET", Path: "/installation/", Who: Admin},
	{Method: "POST", Path: "/installation/acknowledge", Who: Admin},
	{Method: "GET", Path: "/reservations", Who: Project},
	{Method: "GET", Path: "/reservations/", Who: Project},
	{Method: "GET", Path: "/reservations/:id", Who: Project},
	{Method: "POST", Path: "/reservations/explain", Who: Member, But: "a host by its name, and hosts by theirs in the answer: admin"},
	{Method: "GET", Path: "/builds", Who: Admin},
	{Method: "GET", Path: "/builds/", Who: Admin},
	{Method: "GET", Path: "/builds/:id", Who: Admin},
	{Method: "POST", Path: "/builds/:id/action", Who: Admin},
	{Method: "GET", Path: "/audits", Who: Admin},
	{Method: "POST", Path: "/audits", Who: Admin},
	{Method: "GET", Path: "/audits/", Who: Admin},
	{Method: "POST", Path: "/audits/", Who: Admin},
	{Method: "GET", Path: "/audits/findings", Who: Admin},
	{Method: "POST", Path: "/audits/repairs", Who: Admin},
	{Method: "GET", Path: "/audits/repairs/:id", Who: Admin},
	{Method: "GET", Path: "/audits/:id", Who: Admin},
}
