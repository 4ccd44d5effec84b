package compute_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/hostapi"
	"github.com/slipway-cloud/slipway/models"
)

func TestAServiceIsDisabledEnabledAndForcedDown(t *testing.T) {
	c := newCloud(t)
	listed := func() []any {
		v := c.nova(t, c.admin, at96, "GET", "/os-services", nil).At(t, "services").([]any)[0].(map[string]any)
		return []any{v["status"], v["disabled_reason"], v["forced_down"], v["state"]}
	}
	path := "/os-services/" + c.host.ID
	put := func(version, path string, body any) (int, string) {
		a := c.nova(t, c.admin, version, "PUT", path, body)
		return a.Status, a.Body
	}
	require.Equal(t, 403, c.nova(t, c.member, at96, "PUT", path, fields{"status": "disabled"}).Status)
	a := c.nova(t, c.admin, "2.53", "PUT", path, fields{"status": "disabled", "disabled_reason": "new memory"})
	require.Equal(t, 200, a.Status, a.Body)
	require.Equal(t, []any{c.host.ID, "nova-compute", "hv1", "nova", "disabled", "new memory", "up", false}, []any{
		a.At(t, "service", "id"), a.At(t, "service", "binary"), a.At(t, "service", "host"), a.At(t, "service", "zone"), a.At(t, "service", "status"),
		a.At(t, "service", "disabled_reason"), a.At(t, "service", "state"), a.At(t, "service", "forced_down"),
	})
	require.Equal(t, 200, c.nova(t, c.admin, at96, "PUT", path, fields{"status": "enabled", "forced_down": true}).Status)
	require.Equal(t, []any{"enabled", nil, true, "down"}, listed())
	require.Contains(t, c.nova(t, c.admin, "2.53", "GET", "/os-hypervisors/"+c.host.ID, nil).Body, `"state":"down"`)
	s := c.row(t, c.member, "web", then)
	err := c.Store.Place(t.Context(), models.Placement{ServerID: s.ID, HostID: c.host.ID, VCPUs: 1, MemoryMiB: 1}, "networking")
	require.True(t, fault.Is(err, fault.HostUnfit), "it takes nothing: %v", err)
	require.NoError(t, c.Store.HeartbeatHost(t.Context(), c.host.ID, models.HostHeartbeat{Ready: true, Address: "192.0.2.9", VCPUs: 4, MemoryMiB: 8192, DiskGiB: 100}, time.Now()))
	require.Equal(t, []any{"enabled", nil, true, "down"}, listed(), "whatever it reports")
	require.Equal(t, "192.0.2.9", c.nova(t, c.admin, "2.53", "GET", "/os-hypervisors/"+c.host.ID, nil).At(t, "hypervisor", "host_ip"))
	require.Equal(t, 200, c.nova(t, c.admin, at96, "PUT", path, fields{"forced_down": "false"}).Status)
	require.Equal(t, []any{"enabled", nil, false, "up"}, listed())

	for _, tt := range []struct {
		path   string
		body   any
		status int
		says   string
	}{
		{path, fields{}, 400, "No updates were requested. Fields 'status' or 'forced_down' should be specified."},
		{path, fields{"status": "enabled", "disabled_reason": "x"}, 400, "Specifying 'disabled_reason' requires that 'status' is 'disabled'."},
		{path, fields{"status": "off"}, 400, ""}, {path, fields{"host": "hv1", "status": "enabled"}, 400, ""},
		{"/os-services/enable", fields{"host": "hv1", "binary": "nova-compute"}, 400, ""},
		{"/os-services/7", fields{"status": "enabled"}, 400, "Invalid uuid 7"},
		{"/os-services/" + uuid.NewString(), fields{"status": "enabled"}, 404, "could not be found."},
	} {
		status, body := put(at96, tt.path, tt.body)
		require.Equal(t, tt.status, status, body)
		require.Contains(t, body, tt.says)
	}

	old := fields{"host": "hv1", "binary": "nova-compute"}
	with := func(k string, v any) fields { return fields{"host": "hv1", "binary": "nova-compute", k: v} }
	for _, tt := range []struct {
		version, act string
		body         any
		status       int
		says         string
		then         []any
	}{
		{"2.1", "disable", old, 200, `{"service":{"binary":"nova-compute","host":"hv1","status":"disabled"}}`, []any{"disabled", nil, false, "up"}},
		{"2.1", "disable-log-reason", with("disabled_reason", "disk"), 200, `"disabled_reason":"disk"`, []any{"disabled", "disk", false, "up"}},
		{"2.1", "disable-log-reason", old, 400, "Missing disabled reason field", nil},
		{"2.1", "enable", old, 200, `"status":"enabled"`, []any{"enabled", nil, false, "up"}},
		{"2.10", "force-down", old, 404, "Unknown action", nil},
		{"2.11", "force-down", with("forced_down", true), 200, `{"service":{"binary":"nova-compute","forced_down":true,"host":"hv1"}}`, []any{"enabled", nil, true, "down"}},
		{"2.52", "force-down", with("forced_down", "no"), 200, `"forced_down":false`, []any{"enabled", nil, false, "up"}},
		{"2.11", "force-down", old, 400, "Missing forced_down field", nil},
		{"2.1", "reboot", old, 404, "Unknown action", nil},
		{"2.1", "enable", fields{"host": "hv9", "binary": "nova-compute"}, 404, "Could not find binary nova-compute on host hv9.", nil},
		{"2.1", "enable", fields{"host": "hv1", "binary": "nova-scheduler"}, 404, "Could not find binary nova-scheduler on host hv1.", nil},
		{"2.1", "enable", fields{"host": "hv1"}, 400, "", nil},
	} {
		status, body := put(tt.version, "/os-services/"+tt.act, tt.body)
		require.Equal(t, tt.status, status, "%s: %s", tt.act, body)
		require.Contains(t, body, tt.says)
		if tt.then != nil {
			require.Equal(t, tt.then, listed(), tt.act)
		}
	}

	c.place(t, s, c.network(t, c.member, "ours", "10.1.0.0/24", "10.1.0.2", "10.1.0.254"))
	a = c.nova(t, c.admin, at96, "DELETE", path, nil)
	require.Equal(t, []any{409, "Unable to delete compute service that is hosting instances. Migrate or delete the instances first."}, []any{a.Status, a.Message(t)})
	require.Equal(t, 400, c.nova(t, c.admin, at96, "DELETE", "/os-services/7", nil).Status)
	empty, err := c.Store.RegisterHost(t.Context(), models.Host{Hostname: "hv2", AvailabilityZone: "nova", TokenHash: []byte(strings.Repeat("t", 32)), CPURatio: 1, RAMRatio: 1, DiskRatio: 1})
	require.NoError(t, err)
	require.Equal(t, 204, c.nova(t, c.admin, at96, "DELETE", "/os-services/"+empty.ID, nil).Status)
	require.Equal(t, 404, c.nova(t, c.admin, at96, "DELETE", "/os-services/"+empty.ID, nil).Status)
}

func TestHypervisorsAreSearchedAsNovaDidUntil252(t *testing.T) {
	c := newCloud(t)
	s := c.row(t, c.member, "web", then)
	c.place(t, s, c.network(t, c.member, "ours", "10.1.0.0/24", "10.1.0.2", "10.1.0.254"))
	a := c.nova(t, c.admin, "2.52", "GET", "/os-hypervisors/hv/servers", nil)
	require.Equal(t, 200, a.Status, a.Body)
	h := a.At(t, "hypervisors").([]any)[0].(map[string]any)
	require.Equal(t, []any{"hv1", []any{map[string]any{"name": s.ID, "uuid": s.ID}}}, []any{h["hypervisor_hostname"], h["servers"]})
	a = c.nova(t, c.admin, "2.1", "GET", "/os-hypervisors/hv/search", nil)
	require.Equal(t, 200, a.Status, a.Body)
	require.NotContains(t, a.Body, "servers")
	for _, verb := range []string{"search", "servers"} {
		require.Equal(t, 403, c.nova(t, c.member, "2.52", "GET", "/os-hypervisors/hv/"+verb, nil).Status)
		require.Equal(t, 404, c.nova(t, c.admin, "2.53", "GET", "/os-hypervisors/hv/"+verb, nil).Status)
		a = c.nova(t, c.admin, "2.52", "GET", "/os-hypervisors/zz/"+verb, nil)
		require.Equal(t, []any{404, "No hypervisor matching 'zz' could be found."}, []any{a.Status, a.Message(t)})
	}
	uptime := "/os-hypervisors/" + c.host.ID + "/uptime"
	a = c.nova(t, c.admin, "2.53", "GET", uptime, nil)
	require.Equal(t, []any{501, "Virt driver does not implement uptime function."}, []any{a.Status, a.Message(t)})
	require.Equal(t, 404, c.nova(t, c.admin, "2.53", "GET", "/os-hypervisors/"+uuid.NewString()+"/uptime", nil).Status)
	require.NoError(t, c.Store.HeartbeatHost(t.Context(), c.host.ID, models.HostHeartbeat{Ready: true, VCPUs: 4, Machine: &hostapi.Machine{
		CPU:      hostapi.CPU{Arch: "x86_64", Vendor: "AuthenticAMD", Model: "EPYC", Features: []string{"sse2"}, Topology: hostapi.Topology{Sockets: 1, Cores: 2, Threads: 1}},
		BootedAt: time.Now().Add(-50*time.Hour - 3*time.Minute), Load: [3]float64{0.2, 0.12, 1},
	}}, time.Now()))
	require.Regexp(t, `^ \d\d:\d\d:\d\d up 2 days,  2:03,  0 users,  load average: 0\.20, 0\.12, 1\.00$`, c.nova(t, c.admin, "2.53", "GET", uptime, nil).At(t, "hypervisor", "uptime"))
	require.Regexp(t, `up 2 days`, c.nova(t, c.admin, "2.88", "GET", "/os-hypervisors/"+c.host.ID, nil).At(t, "hypervisor", "uptime"))
	const cpu = `{"arch":"x86_64","vendor":"AuthenticAMD","model":"EPYC","features":["sse2"],"topology":{"sockets":1,"cores":2,"threads":1}}`
	require.Contains(t, c.nova(t, c.admin, "2.28", "GET", "/os-hypervisors/detail", nil).Body, `"cpu_info":`+cpu)
	require.JSONEq(t, cpu, c.nova(t, c.admin, "2.27", "GET", "/os-hypervisors/detail", nil).At(t, "hypervisors").([]any)[0].(map[string]any)["cpu_info"].(string))
	require.NoError(t, c.Store.HeartbeatHost(t.Context(), c.host.ID, models.HostHeartbeat{Ready: true, VCPUs: 4}, time.Now()))
	require.Equal(t, 200, c.nova(t, c.admin, "2.53", "GET", uptime, nil).Status, "a report without it changes nothing")
	require.NoError(t, c.Store.ForceHostDown(t.Context(), c.host.ID, true))
	require.Equal(t, 400, c.nova(t, c.admin, "2.53", "GET", uptime, nil).Status)
	require.Nil(t, c.nova(t, c.admin, "2.88", "GET", "/os-hypervisors/"+c.host.ID, nil).At(t, "hypervisor", "uptime"))
	require.Equal(t, 404, c.nova(t, c.admin, "2.88", "GET", "/os-hypervisors/"+c.host.ID+"/uptime", nil).Status)
}

func TestUsageIsWhatWasThereInThePeriod(t *testing.T) {
	c := newCloud(t)
	now := time.Now().UTC().Truncate(time.Second)
	ago := func(d time.Duration) string { return now.Add(-d).Format("2006-01-02T15:04:05") }
	s := c.row(t, c.member, "web", now.Add(-5*time.Hour))
	c.place(t, s, c.network(t, c.member, "ours", "10.1.0.0/24", "10.1.0.2", "10.1.0.254"))
	c.activate(t, s, now.Add(-4*time.Hour))
	c.row(t, c.member, "never-ran", now)

	path := "/os-simple-tenant-usage/" + c.member.ProjectID
	a := c.nova(t, c.member, at96, "GET", path+"?start="+ago(3*time.Hour)+"&end="+ago(time.Hour), nil)
	require.Equal(t, 200, a.Status, a.Body)
	u := a.At(t, "tenant_usage").(map[string]any)
	require.Equal(t, []any{c.member.ProjectID, 2.0, 2.0, 2.0, 1024.0, ago(3*time.Hour) + ".000000", ago(time.Hour) + ".000000"}, []any{
		u["tenant_id"], u["total_hours"], u["total_vcpus_usage"], u["total_local_gb_usage"], u["total_memory_mb_usage"], u["start"], u["stop"],
	})
	one := u["server_usages"].([]any)[0].(map[string]any)
	require.Len(t, u["server_usages"], 1)
	require.Equal(t, []any{s.ID, "web", "m1.tiny", 2.0, "active", nil, ago(4*time.Hour) + ".000000"}, []any{
		one["instance_id"], one["name"], one["flavor"], one["hours"], one["state"], one["ended_at"], one["started_at"],
	})
	require.InDelta(t, 4*3600, one["uptime"], 5)
	require.JSONEq(t, `{"tenant_usage":{}}`, c.nova(t, c.member, at96, "GET", path+"?start="+ago(9*time.Hour)+"&end="+ago(6*time.Hour), nil).Body)
	require.Equal(t, 403, c.nova(t, c.stranger, at96, "GET", path+"?start="+ago(time.Hour), nil).Status)

	require.Equal(t, 403, c.nova(t, c.member, at96, "GET", "/os-simple-tenant-usage?start="+ago(time.Hour), nil).Status)
	a = c.nova(t, c.admin, at96, "GET", "/os-simple-tenant-usage?limit=1&start="+ago(time.Hour), nil)
	require.Equal(t, 200, a.Status, a.Body)
	require.NotContains(t, a.Body, "server_usages")
	require.Contains(t, a.Body, "tenant_usages_links")
	require.InDelta(t, 1, a.At(t, "tenant_usages").([]any)[0].(map[string]any)["total_hours"], 0.01)
	a = c.nova(t, c.admin, at96, "GET", "/os-simple-tenant-usage?marker="+s.ID+"&start="+ago(time.Hour), nil)
	require.JSONEq(t, `{"tenant_usages":[]}`, a.Body)
	require.Contains(t, c.nova(t, c.admin, "2.1", "GET", "/os-simple-tenant-usage?detailed=1&start="+ago(time.Hour), nil).Body, "server_usages")
	for query, message := range map[string]string{
		"": "Invalid start time. The start time cannot occur after the end time.", "?start=yesterday": "Invalid datetime string: Datetime is in invalid format",
		"?start=" + ago(time.Hour) + "&marker=nine": "marker [nine] not found", "?colour=red": "Additional properties are not allowed ('colour' was unexpected)",
	} {
		a := c.nova(t, c.admin, at96, "GET", "/os-simple-tenant-usage"+query, nil)
		require.Equal(t, []any{400, message}, []any{a.Status, a.Message(t)}, query)
	}
}

func TestTheLogOfUsageSaysThatNoHostKeepsOne(t *testing.T) {
	c := newCloud(t)
	require.Equal(t, 403, c.nova(t, c.member, at96, "GET", "/os-instance_usage_audit_log", nil).Status)
	require.Equal(t, "0 of 1 hosts done. 0 errors.", c.nova(t, c.admin, at96, "GET", "/os-instance_usage_audit_log", nil).At(t, "instance_usage_audit_logs", "overall_status"))
	a := c.nova(t, c.admin, at96, "GET", "/os-instance_usage_audit_log/2026-03-15%2010:00:00", nil)
	require.Equal(t, 200, a.Status, a.Body)
	require.JSONEq(t, `{"instance_usage_audit_log":{"hosts_not_run":["hv1"],"num_hosts":1,"num_hosts_done":0,"num_hosts_running":0,"num_hosts_not_run":1,"log":{},
		"total_instances":0,"total_errors":0,"overall_status":"0 of 1 hosts done. 0 errors.","period_beginning":"2026-02-01 00:00:00","period_ending":"2026-03-01 00:00:00"}}`, a.Body)
	a = c.nova(t, c.admin, at96, "GET", "/os-instance_usage_audit_log/march", nil)
	require.Equal(t, []any{400, "Invalid timestamp for date march"}, []any{a.Status, a.Message(t)})
}

func TestSnapshotsOfVolumesFindNoVolume(t *testing.T) {
	c := newCloud(t)
	id := uuid.NewString()
	body := fields{"snapshot": fields{"volume_id": id, "create_info": fields{"snapshot_id": uuid.NewString(), "type": "qcow2", "new_file": "f"}}}
	none := "No volume Block Device Mapping with id " + id + "."
	require.Equal(t, 403, c.nova(t, c.member, at96, "POST", "/os-assisted-volume-snapshots", body).Status)
	a := c.nova(t, c.admin, at96, "POST", "/os-assisted-volume-snapshots", body)
	require.Equal(t, []any{400, none}, []any{a.Status, a.Message(t)})
	require.Equal(t, 400, c.nova(t, c.admin, at96, "POST", "/os-assisted-volume-snapshots", fields{"snapshot": fields{}}).Status)
	a = c.nova(t, c.admin, at96, "DELETE", "/os-assisted-volume-snapshots/x?delete_info="+fmt.Sprintf("%%7B%%22volume_id%%22:%%22%s%%22%%7D", id), nil)
	require.Equal(t, []any{400, none}, []any{a.Status, a.Message(t)})
	require.Equal(t, 400, c.nova(t, c.admin, at96, "DELETE", "/os-assisted-volume-snapshots/x", nil).Status)
}

func TestExtensionsAreThoseThatAreServed(t *testing.T) {
	c := newCloud(t)
	a := c.nova(t, c.reader, at96, "GET", "/extensions", nil)
	require.Equal(t, 200, a.Status)
	require.Contains(t, a.Body, `{"alias":"os-simple-tenant-usage","description":"","links":[],"name":"SimpleTenantUsage","namespace":"http://docs.openstack.org/compute/ext/fake_xml","updated":"2014-12-03T00:00:00Z"}`)
	require.Equal(t, "FlavorManage", c.nova(t, c.reader, at96, "GET", "/extensions/os-flavor-manage", nil).At(t, "extension", "name"))
	require.Equal(t, 404, c.nova(t, c.reader, at96, "GET", "/extensions/os-cells", nil).Status)
}
