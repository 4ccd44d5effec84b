package compute_test

import (
	"context"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

var anUptime = regexp.MustCompile(`"uptime":\d+`)

func TestDiagnosticsAreAnAdminsAndEachMicroversionsOwn(t *testing.T) {
	c := newCloud(t)
	s := c.running(t, "web")
	c.builds.found = contract.Diagnostics{
		Hypervisor: "kvm", MemoryKiB: 524288, Memory: map[string]uint64{"actual": 262144, "rss": 90000},
		CPUs:  []contract.CPUDiagnostics{{ID: 0, Time: 17300000000}},
		Disks: []contract.DiskDiagnostics{{Device: "vda", Reads: 112, ReadBytes: 262144, Writes: 488, WriteBytes: 5778432, Errors: -1}},
		NICs: []contract.NICDiagnostics{{
			Device: "tap1", MAC: "fa:16:3e:00:00:01", RX: contract.Traffic{Bytes: 2070139, Packets: 26701, Errors: 1, Drops: 2}, TX: contract.Traffic{Bytes: 140208, Packets: 662},
		}},
	}
	path := "/servers/" + s.ID + "/diagnostics"
	a := c.nova(t, c.admin, "2.47", "GET", path, nil)
	require.Equal(t, 200, a.Status)
	require.JSONEq(t, `{
		"cpu0_time": 17300000000, "memory": 524288, "memory-actual": 262144, "memory-rss": 90000,
		"vda_errors": -1, "vda_read": 262144, "vda_read_req": 112, "vda_write": 5778432, "vda_write_req": 488,
		"tap1_rx": 2070139, "tap1_rx_drop": 2, "tap1_rx_errors": 1, "tap1_rx_packets": 26701,
		"tap1_tx": 140208, "tap1_tx_drop": 0, "tap1_tx_errors": 0, "tap1_tx_packets": 662}`, a.Body)

	a = c.nova(t, c.admin, "2.48", "GET", path, nil)
	require.Equal(t, 200, a.Status)
	require.GreaterOrEqual(t, a.At(t, "uptime"), float64(3600))
	require.JSONEq(t, `{
		"config_drive": true, "driver": "libvirt", "hypervisor": "kvm", "hypervisor_os": "linux", "state": "running", "uptime": 1,
		"num_cpus": 1, "num_disks": 1, "num_nics": 1, "memory_details": {"maximum": 512, "used": 256},
		"cpu_details": [{"id": 0, "time": 17300000000, "utilisation": null}],
		"disk_details": [{"errors_count": -1, "read_bytes": 262144, "read_requests": 112, "write_bytes": 5778432, "write_requests": 488}],
		"nic_details": [{"mac_address": "fa:16:3e:00:00:01",
			"rx_drop": 2, "rx_errors": 1, "rx_octets": 2070139, "rx_packets": 26701, "rx_rate": null,
			"tx_drop": 0, "tx_errors": 0, "tx_octets": 140208, "tx_packets": 662, "tx_rate": null}]}`,
		anUptime.ReplaceAllString(a.Body, `"uptime":1`))
	require.Equal(t, "hv1", c.builds.guests[0].Hostname)

	a = c.nova(t, c.member, at96, "GET", path, nil)
	require.Equal(t, 403, a.Status)
	require.Equal(t, "Policy doesn't allow os_compute_api:os-server-diagnostics to be performed.", a.Message(t))
	why := "Cannot 'get_diagnostics' instance " + s.ID + " while it is in power state shutdown"
	c.builds.err = fault.New(fault.Conflict, "%s", why)
	a = c.nova(t, c.admin, at96, "GET", path, nil)
	require.Equal(t, 409, a.Status)
	require.Equal(t, why, a.Message(t))
	nowhere := c.row(t, c.member, "queued", time.Now())
	a = c.nova(t, c.admin, at96, "GET", "/servers/"+nowhere.ID+"/diagnostics", nil)
	require.Equal(t, 409, a.Status)
	require.Equal(t, "Instance "+nowhere.ID+" is not ready", a.Message(t))
}

func TestNoServerIsBoundToAPartOfItsHost(t *testing.T) {
	c := newCloud(t)
	s := c.row(t, c.member, "web", time.Now())
	a := c.nova(t, c.reader, "2.78", "GET", "/servers/"+s.ID+"/topology", nil)
	require.Equal(t, 200, a.Status)
	require.JSONEq(t, `{"nodes": [], "pagesize_kb": null}`, a.Body)
	require.Equal(t, 404, c.nova(t, c.member, "2.77", "GET", "/servers/"+s.ID+"/topology", nil).Status)
}

func TestAPasswordThatAGuestHasPostedIsShownAndForgotten(t *testing.T) {
	c := newCloud(t)
	s := c.running(t, "web")
	path := "/servers/" + s.ID + "/os-server-password"
	shows := func(password string) {
		t.Helper()
		a := c.nova(t, c.reader, "2.1", "GET", path, nil)
		require.Equal(t, 200, a.Status)
		require.JSONEq(t, `{"password": "`+password+`"}`, a.Body)
	}
	shows("")
	v, err := c.Store.Server(t.Context(), s.ID)
	require.NoError(t, err)
	require.NoError(t, c.Store.KeepGuestPassword(t.Context(), *v.HostID, v.Ports[0].ID, "c2VjcmV0"))
	shows("c2VjcmV0")
	a := c.nova(t, c.reader, "2.1", "DELETE", path, nil)
	require.Equal(t, 403, a.Status)
	require.Equal(t, "Policy doesn't allow os_compute_api:os-server-password:clear to be performed.", a.Message(t))
	a = c.nova(t, c.member, "2.1", "DELETE", path, nil)
	require.Equal(t, 204, a.Status)
	require.Empty(t, a.Body)
	shows("")
}

func TestAChangeOfThePasswordIsAnsweredAsItEnded(t *testing.T) {
	c := newCloud(t)
	s := c.running(t, "web")
	change := func(body any) (int, string) {
		a := c.nova(t, c.member, at96, "POST", "/servers/"+s.ID+"/action", fields{"changePassword": body})
		if a.Status == 202 {
			require.Empty(t, a.Body)
			return 202, ""
		}
		return a.Status, a.Message(t)
	}
	// begun is what the workflow does before it asks the host.
	begun := func(in contract.ActionInput) (lifecycle.Action, models.Server) {
		action, _ := lifecycle.Find(in.Action)
		v, err := c.Store.BeginAction(context.Background(), in.ServerID, action, instanceAction(in, action))
		require.NoError(t, err)
		return action, v
	}
	c.builds.do = func(in contract.ActionInput) error {
		action, _ := begun(in)
		require.Equal(t, "s3cret: ", in.AdminPass)
		return c.Store.FinishAction(context.Background(), in.ServerID, in.RequestID, action, nil)
	}
	status, _ := change(fields{"adminPass": "s3cret: "})
	require.Equal(t, 202, status)

	c.builds.do = func(in contract.ActionInput) error {
		action, v := begun(in)
		require.NoError(t, c.Store.FailAction(context.Background(), in.ServerID, in.RequestID, action, v, models.ServerFault{Code: 409, Message: "x"}, nil))
		return fault.New(fault.Conflict, "QEMU guest agent is not enabled")
	}
	status, why := change(fields{"adminPass": "x"})
	require.Equal(t, 409, status, "its row is there, and yet it has failed")
	require.Equal(t, "QEMU guest agent is not enabled", why)

	c.builds.do = func(in contract.ActionInput) error {
		action, _ := begun(in)
		require.NoError(t, c.Store.FinishAction(context.Background(), in.ServerID, in.RequestID, action, nil))
		return fault.New(fault.Conflict, "The request has begun and has ended.")
	}
	status, _ = change(fields{"adminPass": "x"})
	require.Equal(t, 202, status, "the answer got lost, and a second run was refused")

	for body, complaint := range map[any]string{
		nil:      "Invalid input for field/attribute changePassword. Value: None. None is not of type 'object'",
		"secret": "Invalid input for field/attribute changePassword. Value: secret. 'secret' is not of type 'object'",
	} {
		status, why = change(body)
		require.Equal(t, 400, status)
		require.Equal(t, complaint, why)
	}
	status, why = change(fields{"adminPass": 7})
	require.Equal(t, 400, status)
	require.Equal(t, "Invalid input for field/attribute adminPass. Value: 7. 7 is not of type 'string'", why)
	status, why = change(fields{"adminPass": "x", "user": "root"})
	require.Equal(t, 400, status)
	require.Contains(t, why, "Additional properties are not allowed ('user' was unexpected)")

	c.builds.do = func(in contract.ActionInput) error {
		begun(in)
		return fault.New(fault.Unavailable, "The action was not accepted in time.")
	}
	status, _ = change(fields{"adminPass": "x"})
	require.Equal(t, 503, status, "nobody knows yet")
	status, why = change(fields{"adminPass": "x"})
	require.Equal(t, 409, status)
	require.Equal(t, "Cannot 'changePassword' instance "+s.ID+" while it is in task_state updating_password", why)
}

func TestACrashDumpIsRecordedWithHowItEnded(t *testing.T) {
	c := newCloud(t)
	s := c.running(t, "web")
	path := "/servers/" + s.ID + "/action"
	dump := fields{"trigger_crash_dump": nil}
	require.Equal(t, 404, c.nova(t, c.member, "2.16", "POST", path, dump).Status, "it came with 2.17")
	require.Equal(t, 400, c.nova(t, c.member, "2.17", "POST", path, fields{"trigger_crash_dump": fields{}}).Status)
	require.Equal(t, 403, c.nova(t, c.reader, "2.17", "POST", path, dump).Status)
	require.Empty(t, c.builds.guests)

	a := c.nova(t, c.member, "2.17", "POST", path, dump)
	require.Equal(t, 202, a.Status, a.Body)
	require.Empty(t, a.Body)
	require.Equal(t, []contract.GuestInput{{ServerID: s.ID, Hostname: "hv1"}}, c.builds.guests)
	recorded := c.nova(t, c.member, at96, "GET", "/servers/"+s.ID+"/os-instance-actions/"+a.Header.Get("X-Compute-Request-Id"), nil)
	require.Equal(t, "trigger_crash_dump", recorded.At(t, "instanceAction", "action"))
	require.Nil(t, recorded.At(t, "instanceAction", "message"))
	require.Contains(t, recorded.Body, `"event":"InjectNMI"`)
	require.Contains(t, recorded.Body, `"result":"Success"`)

	c.builds.err = fault.New(fault.Unavailable, "The server's host did not answer.")
	a = c.nova(t, c.member, "2.17", "POST", path, dump)
	require.Equal(t, 503, a.Status)
	recorded = c.nova(t, c.admin, at96, "GET", "/servers/"+s.ID+"/os-instance-actions/"+a.Header.Get("X-Compute-Request-Id"), nil)
	require.Equal(t, "Error", recorded.At(t, "instanceAction", "message"))
	require.Contains(t, recorded.Body, `"details":"The server's host did not answer."`)
	c.builds.err = nil

	stop, _ := lifecycle.Find("os-stop")
	_, err := c.Store.BeginAction(context.Background(), s.ID, stop, models.InstanceAction{ServerID: s.ID, RequestID: "req-stop", Action: "stop"})
	require.NoError(t, err)
	a = c.nova(t, c.member, "2.17", "POST", path, dump)
	require.Equal(t, 409, a.Status)
	require.Equal(t, "Cannot 'trigger_crash_dump' instance "+s.ID+" while it is in task_state powering-off", a.Message(t))
	require.NoError(t, c.Store.FinishAction(context.Background(), s.ID, "req-stop", stop, nil))
	a = c.nova(t, c.member, "2.17", "POST", path, dump)
	require.Equal(t, 409, a.Status)
	require.Equal(t, "Cannot 'trigger_crash_dump' instance "+s.ID+" while it is in vm_state stopped", a.Message(t))
}
