package compute_test

import (
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/apitest"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/serverspec"
	"github.com/slipway-cloud/slipway/models"
)

var update = flag.Bool("update", false, "write the golden files anew")

// then is a moment of the recorded past.
var then = time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)

// steady replaces what differs from run to run by its meaning.
func steady(body string, pairs ...string) string {
	return strings.NewReplacer(pairs...).Replace(body)
}

func TestAServerIsShownAsItsMicroversionSays(t *testing.T) {
	c := newCloud(t)
	n := c.network(t, c.member, "ours", "10.1.0.0/24", "10.1.0.2", "10.1.0.254")
	active := c.row(t, c.member, "web", then)
	port := c.place(t, active, n)
	c.activate(t, active, then.Add(time.Second))
	broken := c.row(t, c.member, "broken", then)
	actions, err := c.Store.Actions(t.Context(), broken.ID)
	require.NoError(t, err)
	require.NoError(t, c.Store.FailServer(t.Context(), broken.ID, actions[0].RequestID, models.ServerFault{
		ServerID: broken.ID, Code: 500, Message: "No valid host was found.", Details: "hv1: libvirt said no", CreatedAt: then,
	}, nil))
	building := c.row(t, c.member, "building", then)

	for _, tt := range []struct {
		file, version string
		user          apitest.User
		id            string
	}{
		{"active-2.1", "2.1", c.member, active.ID},
		{"active-2.46", "2.46", c.member, active.ID},
		{"active-2.96", at96, c.member, active.ID},
		{"active-2.96-admin", at96, c.admin, active.ID},
		{"error-2.96", at96, c.member, broken.ID},
		{"error-2.96-admin", at96, c.admin, broken.ID},
		{"build-2.96-reader", at96, c.reader, building.ID},
	} {
		t.Run(tt.file, func(t *testing.T) {
			a := c.nova(t, tt.user, tt.version, "GET", "/servers/"+tt.id, nil)
			require.Equal(t, 200, a.Status, a.Body)
			updated, _ := a.At(t, "server", "updated").(string)
			got := steady(a.Body, c.URL, "http://api", tt.id, "SERVER", c.image, "IMAGE", c.member.ProjectID, "PROJECT", c.member.UserID, "USER",
				port.MAC, "MAC", hostID(t, a), "HOSTID", `"updated":"`+updated+`"`, `"updated":"UPDATED"`)
			file := filepath.Join("testdata", "server-"+tt.file+".json")
			if *update {
				require.NoError(t, os.MkdirAll("testdata", 0o755))
				require.NoError(t, os.WriteFile(file, []byte(indent(t, got)), 0o600))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err, "go test ./api/compute -run %s -update writes it", t.Name())
			require.JSONEq(t, string(want), got)
		})
	}
}

func hostID(t *testing.T, a apitest.Answer) string {
	t.Helper()
	id, _ := a.At(t, "server", "hostId").(string)
	if id == "" {
		return "no host"
	}
	require.Len(t, id, 56)
	return id
}

func TestUserDataIsShownToAdminsOfServersThatHaveIt(t *testing.T) {
	c := newCloud(t)
	script := []byte("#!/bin/sh\necho hi\n")
	with := func(spec *contract.ServerSpec) string {
		s := models.Server{ID: uuid.NewString(), ProjectID: c.member.ProjectID, UserID: c.member.UserID, Name: "s", Hostname: "s", ImageID: c.image, FlavorID: c.flavor.ID}
		var kept []models.ServerSpec
		if spec != nil {
			sealed, err := serverspec.Spec.Seal(c.keys, s.ID, *spec)
			require.NoError(t, err)
			require.NotContains(t, string(sealed.Bytes), "echo")
			kept = append(kept, models.ServerSpec{ServerID: s.ID, KeyID: sealed.KeyID, Sealed: sealed.Bytes})
		}
		require.NoError(t, c.Store.RecordServer(t.Context(), s, models.InstanceAction{
			ServerID: s.ID, RequestID: "req-" + s.ID, Action: "create", UserID: s.UserID, ProjectID: s.ProjectID,
		}, kept...))
		return s.ID
	}
	scripted, plain, before := with(&contract.ServerSpec{UserData: script}), with(&contract.ServerSpec{}), with(nil)

	const attribute = "OS-EXT-SRV-ATTR:user_data"
	want := map[string]any{scripted: base64.StdEncoding.EncodeToString(script), plain: nil, before: nil}
	for id, data := range want {
		alone := c.nova(t, c.admin, "2.3", "GET", "/servers/"+id, nil)
		require.Equal(t, 200, alone.Status, alone.Body)
		require.Contains(t, alone.At(t, "server"), attribute)
		require.Equal(t, data, alone.At(t, "server", attribute))
		require.NotContains(t, c.nova(t, c.admin, "2.2", "GET", "/servers/"+id, nil).Body, attribute)
		require.NotContains(t, c.nova(t, c.member, at96, "GET", "/servers/"+id, nil).Body, attribute, "Nova's default policy shows it to admins alone")
	}
	listed := c.nova(t, c.admin, "2.3", "GET", "/servers/detail", nil)
	shown := map[string]any{}
	for _, v := range listed.At(t, "servers").([]any) {
		v := v.(map[string]any)
		shown[v["id"].(string)] = v[attribute]
	}
	require.Equal(t, want, shown)
	require.NotContains(t, c.nova(t, c.member, "2.3", "GET", "/servers/detail", nil).Body, attribute)
}

func TestServersAreListedPageByPage(t *testing.T) {
	c := newCloud(t)
	var ids []string
	for i := range 5 {
		ids = append(ids, c.row(t, c.member, fmt.Sprint("s", i), then.Add(time.Duration(i)*time.Minute)).ID)
	}
	c.row(t, c.stranger, "theirs", then)

	var seen []string
	next := "/servers?limit=2&sort_key=created_at&sort_dir=asc"
	for pages := 0; next != "" && pages < 10; pages++ {
		a := c.nova(t, c.member, at96, "GET", next, nil)
		require.Equal(t, 200, a.Status, a.Body)
		body := a.JSON(t)
		for _, s := range body["servers"].([]any) {
			seen = append(seen, s.(map[string]any)["id"].(string))
		}
		next = ""
		if l, ok := body["servers_links"].([]any); ok {
			href := l[0].(map[string]any)["href"].(string)
			require.Equal(t, "next", l[0].(map[string]any)["rel"])
			u, err := url.Parse(href)
			require.NoError(t, err)
			next = strings.TrimPrefix(u.RequestURI(), "/compute/v2.1")
		}
	}
	require.Equal(t, ids, seen)

	a := c.nova(t, c.member, at96, "GET", "/servers?marker="+uuid.NewString(), nil)
	require.Equal(t, 400, a.Status)
	require.Regexp(t, `^marker \[.*\] not found$`, a.Message(t))
	require.Equal(t, 400, c.nova(t, c.member, at96, "GET", "/servers?limit=-1", nil).Status)
	require.Equal(t, 400, c.nova(t, c.member, at96, "GET", "/servers?limit=x", nil).Status)
}

func TestServersAreFilteredAsNovaDoes(t *testing.T) {
	c := newCloud(t)
	n := c.network(t, c.member, "ours", "10.1.0.0/24", "10.1.0.2", "10.1.0.254")
	web := c.row(t, c.member, "web-1", then)
	c.place(t, web, n)
	c.activate(t, web, then)
	c.row(t, c.member, "db-1", then.Add(time.Minute))
	c.row(t, c.stranger, "web-9", then)
	gone := c.row(t, c.member, "gone", then)
	c.place(t, gone, n)
	_, err := c.Store.MarkServerDeleting(t.Context(), gone.ID, models.InstanceAction{ServerID: gone.ID, RequestID: "req-" + uuid.NewString(), Action: "delete", UserID: c.member.UserID, ProjectID: c.member.ProjectID, StartedAt: then, UpdatedAt: then})
	require.NoError(t, err)
	actions, err := c.Store.Actions(t.Context(), gone.ID)
	require.NoError(t, err)
	require.NoError(t, c.Store.RemoveServer(t.Context(), gone.ID, actions[0].RequestID, nil, time.Now()))

	for _, tt := range []struct {
		query   string
		version string
		user    apitest.User
		status  int
		names   string // sorted by name
		message string
	}{
		{"", at96, c.member, 200, "db-1 web-1", ""},
		{"name=^web", at96, c.member, 200, "web-1", ""},
		{"name=[", at96, c.member, 400, "", "Invalid input for query parameters name. Value: [. '[' is not a 'regex'"},
		{"status=ACTIVE", at96, c.member, 200, "web-1", ""},
		{"status=active&status=BUILD", at96, c.member, 200, "db-1 web-1", ""},
		{"status=PAUSED", at96, c.member, 200, "", ""},
		{"status=odd", "2.37", c.member, 200, "", ""},
		{"status=odd", "2.38", c.member, 400, "", "Invalid status value"},
		{"status=DELETED", at96, c.member, 403, "", "Only administrators may list deleted instances"},
		{"status=DELETED", at96, c.admin, 200, "gone", ""},
		{"deleted=true", at96, c.admin, 200, "gone", ""},
		{"deleted=true", at96, c.member, 200, "db-1 web-1", ""},
		{"all_tenants=1", at96, c.member, 403, "", "Policy doesn't allow os_compute_api:servers:index:get_all_tenants to be performed."},
		{"all_tenants=1", at96, c.admin, 200, "db-1 web-1 web-9", ""},
		{"all_tenants", at96, c.admin, 200, "db-1 web-1 web-9", ""},
		{"all_tenants=1&project_id=" + c.stranger.ProjectID, at96, c.admin, 200, "web-9", ""},
		{"project_id=" + c.stranger.ProjectID, at96, c.admin, 200, "db-1 web-1", ""},
		{"all_tenants=maybe", at96, c.admin, 400, "", "Invalid value 'maybe' for 'all_tenants': it must be a boolean."},
		{"host=hv1", at96, c.admin, 200, "web-1", ""},
		{"host=hv9", at96, c.member, 200, "db-1 web-1", ""},
		{"ip=10.1.0", at96, c.member, 200, "web-1", ""},
		{"image=" + c.image, at96, c.member, 200, "db-1 web-1", ""},
		{"image=" + uuid.NewString(), at96, c.member, 200, "", ""},
		{"flavor=1", at96, c.member, 200, "db-1 web-1", ""},
		{"tags=blue", at96, c.member, 200, "db-1 web-1", ""},
		{"not-tags=blue", at96, c.member, 200, "", ""},
		{"changes-since=2026-01-01T00:00:00Z", at96, c.member, 200, "db-1 gone web-1", ""},
		{"changes-since=yesterday", at96, c.member, 400, "", "Invalid input for query parameters changes-since. Value: yesterday. 'yesterday' is not a 'date-time'"},
		{"changes-since=2026-01-02&changes-before=2026-01-01", at96, c.member, 400, "", "The value of changes-since must be less than or equal to changes-before."},
		{"limit=0", at96, c.member, 200, "", ""},
		{"changes-before=2026-01-02T03:04:30Z", at96, c.member, 200, "", ""},
		{"changes-before=2999-01-01T00:00:00Z", at96, c.member, 200, "db-1 gone web-1", ""},
		{"changes-before=2026-01-01T00:00:00Z", "2.65", c.member, 200, "db-1 web-1", ""},
		{"not-tags-any=blue,red", at96, c.member, 200, "", ""},
		{"not-tags-any=red", at96, c.member, 200, "db-1 web-1", ""},
		{"config_drive=true", "2.83", c.member, 200, "db-1 web-1", ""},
		{"config_drive=0", "2.83", c.member, 200, "", ""},
		{"config_drive=0", "2.82", c.member, 200, "db-1 web-1", ""},
		{"config_drive=maybe", "2.83", c.member, 400, "", "Invalid input for query parameters config_drive. Value: maybe. 'maybe' is not a boolean"},
		{"created_at=2026-01-02T03:04", "2.83", c.member, 200, "web-1", ""},
		{"created_at=2026-01-02%2003:05", "2.83", c.member, 200, "db-1", ""},
		{"launched_at=2026-01-02", "2.83", c.member, 200, "web-1", ""},
		{"terminated_at=20", "2.83", c.member, 200, "", ""},
		{"progress=0", "2.83", c.member, 200, "db-1 web-1", ""},
		{"progress=[", "2.83", c.member, 400, "", "Invalid input for query parameters progress. Value: [. '[' is not a 'regex'"},
		{"node=^hv1$", at96, c.admin, 200, "web-1", ""},
		{"node=hv2", at96, c.member, 200, "db-1 web-1", ""},
		{"hostname=^db", at96, c.admin, 200, "db-1", ""},
		{"description=x", at96, c.admin, 200, "", ""},
		{"access_ip_v4=^192", at96, c.admin, 200, "db-1 web-1", ""},
		{"access_ip_v6=2001", at96, c.admin, 200, "", ""},
		{"auto_disk_config=true", at96, c.admin, 200, "db-1 web-1", ""},
		{"auto_disk_config=0", at96, c.admin, 200, "", ""},
		{"kernel_id=.", at96, c.admin, 200, "", ""},
		{"ramdisk_id=.", at96, c.admin, 200, "", ""},
		{"root_device_name=vda", at96, c.admin, 200, "", ""},
		{"launch_index=0", at96, c.admin, 200, "db-1 web-1", ""},
		{"deleted=true&host=hv1", at96, c.admin, 200, "gone", ""},
		{"sort_key=access_ip_v4&sort_key=display_name&sort_dir=asc", at96, c.member, 200, "db-1 web-1", ""},
		{"sort_key=config_drive&sort_key=auto_disk_config&sort_key=root_device_name&sort_key=kernel_id&sort_key=ramdisk_id&sort_key=display_description&sort_key=progress&sort_key=display_name&sort_dir=asc", at96, c.member, 200, "db-1 web-1", ""},
		{"sort_key=node&sort_key=display_name&sort_dir=asc", at96, c.admin, 200, "db-1 web-1", ""},
		{"color=red", "2.74", c.member, 200, "db-1 web-1", ""},
		{"color=red", "2.75", c.member, 400, "", "Additional properties are not allowed ('color' was unexpected)"},
		{"_x=1", "2.74", c.member, 400, "", "Invalid filter field: _x."},
		{"sort_key=odd", at96, c.member, 400, "", ""},
		{"sort_key=host", at96, c.member, 403, "", "Only administrators can sort servers by host"},
		{"sort_key=display_name&sort_dir=down", at96, c.member, 400, "", "Unknown sort direction, must be one of: asc, desc"},
	} {
		t.Run(tt.query+" at "+tt.version, func(t *testing.T) {
			query := "?sort_key=display_name&sort_dir=asc&"
			if strings.Contains(tt.query, "sort_key") {
				query = "?"
			}
			a := c.nova(t, tt.user, tt.version, "GET", "/servers"+query+tt.query, nil)
			require.Equal(t, tt.status, a.Status, a.Body)
			if tt.status != 200 {
				if tt.message != "" {
					require.Equal(t, tt.message, a.Message(t))
				}
				return
			}
			var names []string
			for _, s := range a.At(t, "servers").([]any) {
				names = append(names, s.(map[string]any)["name"].(string))
			}
			require.Equal(t, tt.names, strings.Join(names, " "))
		})
	}
}

func TestADeletedServerIsShownWhereItWas(t *testing.T) {
	c := newCloud(t)
	n := c.network(t, c.member, "ours", "10.1.0.0/24", "10.1.0.2", "10.1.0.254")
	s := c.row(t, c.member, "web", then)
	port := c.place(t, s, n)
	c.activate(t, s, then)
	shown := func(query string) fields {
		a := c.nova(t, c.admin, at96, "GET", "/servers/detail?"+query, nil)
		require.Equal(t, 200, a.Status, a.Body)
		list, _ := a.At(t, "servers").([]any)
		require.Len(t, list, 1)
		return list[0].(fields)
	}
	before := shown("all_tenants=1")
	_, err := c.Store.MarkServerDeleting(t.Context(), s.ID, models.InstanceAction{ServerID: s.ID, RequestID: "req-del", Action: "delete", UserID: c.member.UserID, ProjectID: c.member.ProjectID, StartedAt: then})
	require.NoError(t, err)
	require.NoError(t, c.Store.ReleasePort(t.Context(), s.ID, 0))
	require.NoError(t, c.Store.ReleasePlacement(t.Context(), s.ID, c.host.Hostname))
	require.NoError(t, c.Store.RemoveServer(t.Context(), s.ID, "req-del", nil, time.Now()))
	after := shown("all_tenants=1&deleted=true")
	for _, key := range []string{"addresses", "hostId", "OS-EXT-AZ:availability_zone", "OS-EXT-SRV-ATTR:host", "OS-EXT-SRV-ATTR:hypervisor_hostname"} {
		require.Equal(t, before[key], after[key], key)
	}
	require.Equal(t, port.MAC, after["addresses"].(fields)["ours"].([]any)[0].(fields)["OS-EXT-IPS-MAC:mac_addr"])
	require.Equal(t, "DELETED", after["status"])
	require.Equal(t, "", after["host_status"], "of a host that it is not on any more")
}

func TestAnotherProjectsServerIsAbsent(t *testing.T) {
	c := newCloud(t)
	s := c.row(t, c.member, "web", then)
	want := "Instance " + s.ID + " could not be found."
	for _, r := range [][2]string{
		{"GET", ""}, {"DELETE", ""}, {"GET", "/metadata"}, {"GET", "/metadata/role"}, {"GET", "/ips"}, {"GET", "/ips/ours"}, {"GET", "/tags"},
		{"GET", "/tags/blue"}, {"GET", "/os-instance-actions"}, {"GET", "/os-instance-actions/req-1"}, {"GET", "/os-security-groups"},
		{"GET", "/topology"}, {"GET", "/os-server-password"}, {"DELETE", "/os-server-password"},
	} {
		a := c.nova(t, c.stranger, at96, r[0], "/servers/"+s.ID+r[1], nil)
		require.Equal(t, 404, a.Status, r)
		require.Equal(t, want, a.At(t, "itemNotFound", "message"), r)
	}
	a := c.nova(t, c.stranger, at96, "POST", "/servers/"+s.ID+"/action", fields{"os-getConsoleOutput": fields{}})
	require.Equal(t, 404, a.Status)
	require.Equal(t, 404, c.nova(t, c.member, at96, "GET", "/servers/web", nil).Status, "a name is no id")
	require.Empty(t, c.builds.deleted)
	require.Equal(t, 200, c.nova(t, c.admin, at96, "GET", "/servers/"+s.ID, nil).Status)
}

func TestDeletingIsHandedOn(t *testing.T) {
	c := newCloud(t)
	s := c.row(t, c.member, "web", then)
	require.Equal(t, 403, c.nova(t, c.reader, at96, "DELETE", "/servers/"+s.ID, nil).Status)
	require.Empty(t, c.builds.deleted)
	a := c.nova(t, c.member, at96, "DELETE", "/servers/"+s.ID, nil)
	require.Equal(t, 204, a.Status)
	require.Len(t, c.builds.deleted, 1)
	in := c.builds.deleted[0]
	require.Equal(t, []string{s.ID, c.member.ProjectID, c.member.UserID, a.Header.Get("X-Openstack-Request-Id")},
		[]string{in.ServerID, in.ProjectID, in.UserID, in.RequestID})
	require.NotZero(t, in.Deadlines.HostLost)
}

func TestTheConsoleIsReadThroughTheHost(t *testing.T) {
	c := newCloud(t)
	n := c.network(t, c.member, "ours", "10.1.0.0/24", "10.1.0.2", "10.1.0.254")
	s := c.row(t, c.member, "web", then)
	path := "/servers/" + s.ID + "/action"
	ask := func(inner any) apitest.Answer {
		return c.nova(t, c.member, at96, "POST", path, fields{"os-getConsoleOutput": inner})
	}
	a := ask(fields{})
	require.Equal(t, 409, a.Status)
	require.Equal(t, "Instance "+s.ID+" is not ready", a.Message(t))

	c.place(t, s, n)
	c.builds.console = "\x1b[0mLinux\r\nlogin: "
	for _, tt := range []struct {
		inner any
		lines int
	}{{fields{}, 0}, {fields{"length": nil}, 0}, {fields{"length": -1}, 0}, {fields{"length": 10}, 10}, {fields{"length": "7"}, 7}} {
		a := ask(tt.inner)
		require.Equal(t, 200, a.Status, a.Body)
		require.Equal(t, "[0mLinux\nlogin: ", a.At(t, "output"))
		last := c.builds.consoles[len(c.builds.consoles)-1]
		require.Equal(t, contract.ConsoleInput{ServerID: s.ID, Hostname: "hv1", Lines: tt.lines}, last)
	}
	asked := len(c.builds.consoles)
	require.Equal(t, "", ask(fields{"length": 0}).At(t, "output"))
	for _, bad := range []any{nil, "x", fields{"length": "ten"}, fields{"length": -2}, fields{"length": 1.5}, fields{"lines": 1}} {
		require.Equal(t, 400, ask(bad).Status, bad)
	}
	require.Len(t, c.builds.consoles, asked)

	for _, tt := range []struct {
		err    error
		status int
	}{
		{fault.New(fault.Unavailable, "Host hv1 does not answer."), 503},
		{fault.New(fault.NotFound, "Guest does not have a console available."), 404},
		{fault.New(fault.Conflict, "Guest does not have a console available."), 409},
	} {
		c.builds.err = tt.err
		a := ask(fields{})
		require.Equal(t, tt.status, a.Status)
		require.Equal(t, fault.Public(tt.err), a.Message(t))
	}
	c.builds.err = nil
	for body, message := range map[string]string{
		`{"dance": null}`: "There is no such action: dance",
		`{}`:              "Malformed request body", `[]`: "[] is not of type 'object'", `{"a": 1, "b": 2}`: "Malformed request body",
	} {
		a := c.nova(t, c.member, at96, "POST", path, body)
		require.Equal(t, 400, a.Status)
		require.Equal(t, message, a.Message(t))
	}
	require.Equal(t, 403, c.nova(t, c.reader, at96, "POST", path, fields{"os-getConsoleOutput": fields{}}).Status)
}

func TestTheStepsOfARunningBuildAreShownAsEvents(t *testing.T) {
	c := newCloud(t)
	s := c.row(t, c.member, "web", then)
	started, finished := then.Add(time.Second), then.Add(2*time.Second)
	c.builds.steps = []contract.StepProgress{
		{Step: "SelectHost", State: contract.StepDone, Started: &started, Finished: &finished},
		{Step: "BuildDisk", Host: "hv1", State: contract.StepFailed, Started: &started, Finished: &finished, Error: "The disk is full."},
		{Step: "BuildDisk", Host: "hv2", State: contract.StepRunning, Started: &finished},
		{Step: "StartDomain", State: contract.StepPending},
	}
	actions := c.nova(t, c.member, at96, "GET", "/servers/"+s.ID+"/os-instance-actions", nil)
	require.Equal(t, 200, actions.Status)
	first := actions.At(t, "instanceActions").([]any)[0].(map[string]any)
	require.Equal(t, "create", first["action"])
	require.Equal(t, "2026-01-02T03:04:05.678901", first["start_time"])
	path := "/servers/" + s.ID + "/os-instance-actions/" + first["request_id"].(string)

	a := c.nova(t, c.member, at96, "GET", path, nil)
	require.Equal(t, 200, a.Status, a.Body)
	events := a.At(t, "instanceAction", "events").([]any)
	require.Len(t, events, 3, "what has not begun is no event")
	e := events[1].(map[string]any)
	require.Equal(t, []any{"BuildDisk", "2026-01-02T03:04:06.678901", "2026-01-02T03:04:07.678901", "Error", "The disk is full."},
		[]any{e["event"], e["start_time"], e["finish_time"], e["result"], e["details"]})
	require.NotContains(t, e, "host", "only admins see hosts")
	require.NotContains(t, e, "traceback")
	require.Len(t, e["hostId"], 56)
	require.Nil(t, events[2].(map[string]any)["finish_time"])
	require.Nil(t, events[2].(map[string]any)["result"])

	a = c.nova(t, c.admin, at96, "GET", path, nil)
	require.Equal(t, "hv1", a.At(t, "instanceAction", "events").([]any)[1].(map[string]any)["host"])
	require.NotContains(t, c.nova(t, c.member, "2.50", "GET", path, nil).At(t, "instanceAction"), "events")
	require.Contains(t, c.nova(t, c.admin, "2.50", "GET", path, nil).At(t, "instanceAction"), "events")
	require.NotContains(t, c.nova(t, c.member, "2.83", "GET", path, nil).At(t, "instanceAction", "events").([]any)[1], "details")

	c.builds.err = fault.New(fault.Unavailable, "Temporal does not answer.")
	require.Equal(t, 200, c.nova(t, c.member, at96, "GET", path, nil).Status, "events are an extra")
	c.builds.err = nil
	a = c.nova(t, c.member, at96, "GET", "/servers/"+s.ID+"/os-instance-actions/req-x", nil)
	require.Equal(t, 404, a.Status)
	require.Equal(t, "Action req-x not found", a.Message(t))
}

func TestTheEventsOfAFinishedBuildComeFromItsRow(t *testing.T) {
	c := newCloud(t)
	n := c.network(t, c.member, "ours", "10.1.0.0/24", "10.1.0.2", "10.1.0.254")
	s := c.row(t, c.member, "web", then)
	c.place(t, s, n)
	actions, err := c.Store.Actions(context.Background(), s.ID)
	require.NoError(t, err)
	ended, ok := then.Add(time.Second), "Success"
	c.activate(t, s, then, models.InstanceActionEvent{ServerID: s.ID, RequestID: actions[0].RequestID, Event: "StartDomain", StartedAt: then, EndedAt: &ended, Result: &ok})
	c.builds.err = fault.New(fault.Unavailable, "must not be asked")
	a := c.nova(t, c.member, at96, "GET", "/servers/"+s.ID+"/os-instance-actions/"+actions[0].RequestID, nil)
	require.Equal(t, 200, a.Status, a.Body)
	require.Equal(t, "StartDomain", a.At(t, "instanceAction", "events").([]any)[0].(map[string]any)["event"])
}

func TestAServersPartsAreReadOneByOne(t *testing.T) {
	c := newCloud(t)
	n := c.network(t, c.member, "ours", "10.1.0.0/24", "10.1.0.2", "10.1.0.254")
	s := c.row(t, c.member, "web", then)
	c.place(t, s, n)
	for _, tt := range []struct {
		path, version string
		status        int
		body          string
	}{
		{"/metadata", at96, 200, `{"metadata":{"role":"web"}}`},
		{"/metadata/role", at96, 200, `{"meta":{"role":"web"}}`},
		{"/metadata/size", at96, 404, `{"itemNotFound":{"code":404,"message":"Metadata item was not found"}}`},
		{"/ips", at96, 200, `{"addresses":{"ours":[{"version":4,"addr":"10.1.0.2"}]}}`},
		{"/ips/ours", at96, 200, `{"ours":[{"version":4,"addr":"10.1.0.2"}]}`},
		{"/ips/theirs", at96, 404, `{"itemNotFound":{"code":404,"message":"Instance is not a member of specified network"}}`},
		{"/tags", at96, 200, `{"tags":["blue"]}`},
		{"/tags", "2.25", 404, ``},
		{"/tags/blue", at96, 204, ``},
		{"/tags/red", at96, 404, `{"itemNotFound":{"code":404,"message":"Server ` + s.ID + ` has no tag 'red'"}}`},
		{"/nothing", at96, 404, `{"itemNotFound":{"code":404,"message":"The resource could not be found."}}`},
	} {
		a := c.nova(t, c.reader, tt.version, "GET", "/servers/"+s.ID+tt.path, nil)
		require.Equal(t, tt.status, a.Status, tt.path)
		if tt.body != "" {
			require.JSONEq(t, tt.body, a.Body)
		}
	}
}
