package compute

import (
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
)

func (a *API) mountExtensions(g *echo.Group) {
	g.GET("/extensions", a.listExtensions)
	g.GET("/extensions/:alias", a.showExtension, rest.Expect(404))
}

// novaExtensions are those of Nova's fixed list (extension_info.py) that are served here, by alias and name. Since Nova 15 everything belongs to
// the API itself, and clients look at microversions; older ones look here before they offer something.
var novaExtensions = []struct{ alias, name string }{
	{"OS-DCF", "DiskConfig"},
	{"OS-EXT-AZ", "ExtendedAvailabilityZone"},
	{"OS-EXT-IPS", "ExtendedIps"},
	{"OS-EXT-IPS-MAC", "ExtendedIpsMac"},
	{"OS-EXT-SRV-ATTR", "ExtendedServerAttributes"},
	{"OS-EXT-STS", "ExtendedStatus"},
	{"OS-FLV-DISABLED", "FlavorDisabled"},
	{"OS-FLV-EXT-DATA", "FlavorExtraData"},
	{"OS-SCH-HNT", "SchedulerHints"},
	{"OS-SRV-USG", "ServerUsage"},
	{"os-access-ips", "AccessIPs"},
	{"os-admin-actions", "AdminActions"},
	{"os-admin-password", "AdminPassword"},
	{"os-aggregates", "Aggregates"},
	{"os-assisted-volume-snapshots", "AssistedVolumeSnapshots"},
	{"os-availability-zone", "AvailabilityZone"},
	{"os-block-device-mapping", "BlockDeviceMapping"},
	{"os-block-device-mapping-v2-boot", "BlockDeviceMappingV2Boot"},
	{"os-config-drive", "ConfigDrive"},
	{"os-console-auth-tokens", "ConsoleAuthTokens"},
	{"os-console-output", "ConsoleOutput"},
	{"os-consoles", "Consoles"},
	{"os-create-backup", "CreateBackup"},
	{"os-create-server-ext", "Createserverext"},
	{"os-deferred-delete", "DeferredDelete"},
	{"os-extended-hypervisors", "ExtendedHypervisors"},
	{"os-extended-quotas", "ExtendedQuotas"},
	{"os-extended-rescue-with-image", "ExtendedRescueWithImage"},
	{"os-extended-services", "ExtendedServices"},
	{"os-extended-services-delete", "ExtendedServicesDelete"},
	{"os-flavor-access", "FlavorAccess"},
	{"os-flavor-extra-specs", "FlavorExtraSpecs"},
	{"os-flavor-manage", "FlavorManage"},
	{"os-flavor-rxtx", "FlavorRxtx"},
	{"os-flavor-swap", "FlavorSwap"},
	{"os-hypervisor-status", "HypervisorStatus"},
	{"os-hypervisors", "Hypervisors"},
	{"os-instance-actions", "InstanceActions"},
	{"os-instance_usage_audit_log", "InstanceUsageAuditLog"},
	{"os-keypairs", "Keypairs"},
	{"os-lock-server", "LockServer"},
	{"os-migrate-server", "MigrateServer"},
	{"os-migrations", "Migrations"},
	{"os-multiple-create", "MultipleCreate"},
	{"os-pause-server", "PauseServer"},
	{"os-quota-class-sets", "QuotaClasses"},
	{"os-quota-sets", "Quotas"},
	{"os-rescue", "Rescue"},
	{"os-server-diagnostics", "ServerDiagnostics"},
	{"os-server-group-quotas", "ServerGroupQuotas"},
	{"os-server-groups", "ServerGroups"},
	{"os-server-list-multi-status", "ServerListMultiStatus"},
	{"os-server-password", "ServerPassword"},
	{"os-server-sort-keys", "ServerSortKeys"},
	{"os-server-start-stop", "ServerStartStop"},
	{"os-services", "Services"},
	{"os-simple-tenant-usage", "SimpleTenantUsage"},
	{"os-suspend-server", "SuspendServer"},
	{"os-used-limits", "UsedLimits"},
	{"os-used-limits-for-admin", "UsedLimitsForAdmin"},
	{"os-user-data", "UserData"},
}

// extensionView has the same date and namespace for all, as Nova's has.
func extensionView(alias, name string) object {
	return object{
		"alias": alias, "name": name, "description": "", "links": []any{},
		"namespace": "http://docs.openstack.org/compute/ext/fake_xml", "updated": "2014-12-03T00:00:00Z",
	}
}

func (a *API) listExtensions(c echo.Context) error {
	views := make([]object, len(novaExtensions))
	for i, e := range novaExtensions {
		views[i] = extensionView(e.alias, e.name)
	}
	return c.JSON(http.StatusOK, object{"extensions": views})
}

func (a *API) showExtension(c echo.Context) error {
	i := slices.IndexFunc(novaExtensions, func(e struct{ alias, name string }) bool { return e.alias == c.Param("alias") })
	if i < 0 {
		return fault.New(fault.NotFound, "The resource could not be found.")
	}
	return c.JSON(http.StatusOK, object{"extension": extensionView(novaExtensions[i].alias, novaExtensions[i].name)})
}
