package compute_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

func TestAResizeWaitsToBeConfirmedOrRevertedAndIsListedAsAMigration(t *testing.T) {
	c := newCloud(t)
	ctx := context.Background()
	larger := models.Flavor{ID: "larger", Name: "larger", VCPUs: 2, RAMMiB: 1024, DiskGiB: 2, Public: true}
	for _, f := range []models.Flavor{larger, {ID: "off", Name: "off", VCPUs: 2, RAMMiB: 1024, Public: true, Disabled: true}, {ID: "private", Name: "private", VCPUs: 1, RAMMiB: 512}} {
		_, err := c.Store.CreateFlavor(ctx, f)
		require.NoError(t, err)
	}
	c.builds.do = func(in contract.ActionInput) error { // what the workflow's first steps do
		action, _ := lifecycle.Find(in.Action)
		if _, err := c.Store.BeginAction(ctx, in.ServerID, action, instanceAction(in, action)); err != nil || in.Resize == nil {
			return err
		}
		v, err := c.Store.Server(ctx, in.ServerID)
		if err != nil {
			return err
		}
		return c.Store.BeginMigration(ctx, models.Migration{
			ServerID: in.ServerID, RequestID: in.RequestID, Kind: models.MigrationResize, SourceHost: c.host.Hostname, DestHost: c.host.Hostname,
			OldFlavor: v.Flavor, NewFlavor: models.FlavorSnapshot(in.Resize.Flavor), OldVMState: v.VMState,
		})
	}
	n := c.network(t, c.member, "n", "10.0.0.0/24", "10.0.0.2", "10.0.0.9")
	s := c.row(t, c.member, "web", time.Now())
	c.place(t, s, n)
	c.activate(t, s, time.Now())
	act := func(body fields) (int, string) {
		a := c.nova(t, c.member, at96, "POST", "/servers/"+s.ID+"/action", body)
		return a.Status, a.Body
	}
	shown := func() []any {
		a := c.nova(t, c.member, at96, "GET", "/servers/"+s.ID, nil)
		return []any{a.At(t, "server", "status"), a.At(t, "server", "OS-EXT-STS:task_state")}
	}
	last := func() contract.ActionInput { return c.builds.actions[len(c.builds.actions)-1] }
	finish := func(to lifecycle.VMState) {
		action, _ := lifecycle.Find(last().Action)
		action.To = to
		require.NoError(t, c.Store.FinishAction(ctx, s.ID, last().RequestID, action, nil))
	}

	for _, ends := range []string{"confirmResize", "revertResize"} {
		status, body := act(fields{ends: nil})
		require.Equal(t, 409, status)
		require.Contains(t, body, "Cannot '"+ends+"' instance "+s.ID+" while it is in vm_state active")
	}
	for why, asked := range map[string]any{
		"'flavorRef' is a required property": fields{}, "'x' was unexpected": fields{"flavorRef": "larger", "x": 1}, "is not one of": fields{"flavorRef": "larger", "OS-DCF:diskConfig": "BIG"},
		"is not of type": nil, "Flavor 9 could not be found.": fields{"flavorRef": 9}, "Flavor off could not be found.": fields{"flavorRef": "off"},
		"Flavor private could not be found.": fields{"flavorRef": "private"}, "When resizing, instances must change flavor!": fields{"flavorRef": s.FlavorID},
	} {
		status, body := act(fields{"resize": asked})
		require.Equal(t, 400, status, "%s: %s", why, body)
		require.Contains(t, body, why)
	}
	require.Empty(t, c.builds.actions)

	status, body := act(fields{"resize": fields{"flavorRef": "larger", "OS-DCF:diskConfig": "MANUAL"}})
	require.Equal(t, 202, status, body)
	require.Empty(t, body)
	require.Equal(t, []any{"larger", 1024, false}, []any{last().Resize.Flavor.ID, last().Resize.Flavor.RAMMiB, *last().Resize.AutoDiskConfig})
	require.Equal(t, []any{"RESIZE", "resize_prep"}, shown())
	require.Len(t, c.nova(t, c.member, at96, "GET", "/servers?status=RESIZE", nil).At(t, "servers"), 1)
	status, body = act(fields{"resize": fields{"flavorRef": "larger"}})
	require.Equal(t, 409, status)
	require.Contains(t, body, "while it is in task_state resize_prep")
	finish(lifecycle.Resized)
	require.Equal(t, []any{"VERIFY_RESIZE", nil}, shown())
	status, body = act(fields{"confirmResize": nil})
	require.Equal(t, 400, status, "its record says that it is under way: %s", body)
	require.Contains(t, body, "Instance has not been resized.")
	_, err := c.Store.MoveMigration(ctx, s.ID, last().RequestID, false, []string{models.MigrationBegun}, models.MigrationFinished)
	require.NoError(t, err)
	status, body = act(fields{"resize": fields{"flavorRef": "larger"}})
	require.Equal(t, 409, status)
	require.Contains(t, body, "Cannot 'resize' instance "+s.ID+" while it is in vm_state resized")

	status, body = act(fields{"revertResize": nil})
	require.Equal(t, 202, status, body)
	require.Equal(t, []any{"REVERT_RESIZE", "resize_reverting"}, shown())
	finish(lifecycle.Resized) // as if it had not
	status, body = act(fields{"confirmResize": nil})
	require.Equal(t, 204, status, body)
	require.Equal(t, []any{"VERIFY_RESIZE", "resize_confirming"}, shown())
	finish(lifecycle.Stopped)
	require.Equal(t, []any{"SHUTOFF", nil}, shown())

	list := func(minor int, query string) fields {
		a := c.nova(t, c.admin, fmt.Sprintf("2.%d", minor), "GET", "/os-migrations"+query, nil)
		require.Equal(t, 200, a.Status, a.Body)
		all := a.At(t, "migrations").([]any)
		if len(all) == 0 {
			return nil
		}
		return all[0].(map[string]any)
	}
	m := list(80, "?instance_uuid="+s.ID+"&user_id="+s.UserID+"&project_id="+s.ProjectID+"&limit=1")
	require.Equal(t, []any{"finished", "resize", c.host.Hostname, c.host.Hostname, s.ID, s.UserID, s.ProjectID},
		[]any{m["status"], m["migration_type"], m["source_compute"], m["dest_compute"], m["instance_uuid"], m["user_id"], m["project_id"]})
	require.NotEqual(t, m["old_instance_type_id"], m["new_instance_type_id"])
	for field, since := range map[string]int{"migration_type": 23, "uuid": 59, "user_id": 80, "project_id": 80} {
		require.NotContains(t, list(since-1, ""), field)
		require.Contains(t, list(since, ""), field)
	}
	require.Nil(t, list(59, "?status=error"))
	for _, hidden := range []string{"true", "1", "True"} {
		require.Nil(t, list(59, "?hidden="+hidden), "nothing hides any")
	}
	require.NotNil(t, list(59, "?hidden=false"))
	require.Nil(t, list(59, "?changes-since=2100-01-01T00:00:00Z"))
	require.NotNil(t, list(1, "?x=y&changes-since=2100-01-01T00:00:00Z"), "unknown then")
	for query, why := range map[string]string{
		"?x=y": "'x' was unexpected", "?marker=x": "Marker x could not be found.", "?changes-since=now": "is not a 'date-time'",
		"?changes-since=2026-01-02T00:00:00Z&changes-before=2026-01-01T00:00:00Z": "must be less than or equal to changes-before",
	} {
		a := c.nova(t, c.admin, "2.80", "GET", "/os-migrations"+query, nil)
		require.Equal(t, 400, a.Status, a.Body)
		require.Contains(t, a.Message(t), why)
	}
	path := "/servers/" + s.ID + "/migrations"
	require.Empty(t, c.nova(t, c.admin, at96, "GET", path, nil).At(t, "migrations"), "only live migrations are there")
	require.Equal(t, 404, c.nova(t, c.admin, "2.22", "GET", path, nil).Status)
	for id, why := range map[string]string{
		fmt.Sprint(m["id"]): fmt.Sprintf("Migration %v for server %s is not live-migration.", m["id"], s.ID), "0": "In-progress live migration 0 is not found for server " + s.ID + ".",
	} {
		a := c.nova(t, c.admin, at96, "GET", path+"/"+id, nil)
		require.Equal(t, 404, a.Status)
		require.Equal(t, why, a.Message(t))
	}
}

func TestAColdMigrationIsAcceptedForAnyOtherHostOrForOneByName(t *testing.T) {
	c := newCloud(t)
	n := c.network(t, c.member, "n", "10.0.0.0/24", "10.0.0.2", "10.0.0.9")
	s := c.row(t, c.member, "web", time.Now())
	ask := func(minor string, says any, status int, why string) {
		t.Helper()
		a := c.nova(t, c.admin, minor, "POST", "/servers/"+s.ID+"/action", fields{"migrate": says})
		require.Equal(t, status, a.Status, a.Body)
		if why != "" {
			require.Contains(t, a.Message(t), why)
		}
	}
	ask(at96, nil, 409, "Cannot 'migrate' instance "+s.ID+" while it is in vm_state building")
	c.place(t, s, n)
	c.activate(t, s, time.Now())
	require.Equal(t, 403, c.nova(t, c.member, at96, "POST", "/servers/"+s.ID+"/action", fields{"migrate": nil}).Status)
	ask(at96, fields{"host": "hv9"}, 400, "Compute host hv9 could not be found.")
	ask(at96, fields{"host": c.host.Hostname}, 400, "Cannot migrate to the host where the server exists.")
	ask(at96, fields{"zone": "x"}, 400, "'zone' was unexpected")
	require.Empty(t, c.builds.actions)

	other := c.host
	other.ID, other.Hostname, other.TokenHash = "", "hv9", []byte("hv9")
	_, err := c.Store.RegisterHost(t.Context(), other)
	require.NoError(t, err)
	for _, asked := range []struct {
		minor string
		says  any
		host  string
	}{{"2.1", nil, ""}, {"2.55", fields{"host": "hv9"}, ""}, {"2.56", fields{"host": "hv9"}, "hv9"}, {at96, nil, ""}, {at96, fields{"host": nil}, ""}} {
		c.builds.actions = nil
		ask(asked.minor, asked.says, 202, "")
		in := c.builds.actions[0]
		require.Equal(t, []any{"migrate", true, asked.host, s.FlavorID}, []any{in.Action, in.Resize.Migrates, in.Resize.Host, in.Resize.Flavor.ID})
	}
}

func TestAServerWhoseDisksTravelSaysHowFarTheyAre(t *testing.T) {
	c := newCloud(t)
	n := c.network(t, c.member, "n", "10.0.0.0/24", "10.0.0.2", "10.0.0.9")
	s := c.row(t, c.member, "web", time.Now())
	c.place(t, s, n)
	c.activate(t, s, time.Now())
	progress := func() any { return c.nova(t, c.member, at96, "GET", "/servers/"+s.ID, nil).At(t, "server", "progress") }
	c.builds.arrived = contract.TransferProgress{Bytes: 30, Total: 40}
	require.EqualValues(t, 0, progress(), "nothing is done to it")
	action, _ := lifecycle.Find("migrate")
	_, err := c.Store.BeginAction(t.Context(), s.ID, action, instanceAction(contract.ActionInput{RequestID: "req-m", UserID: "u", ProjectID: "p"}, action))
	require.NoError(t, err)
	require.EqualValues(t, 0, progress(), "its destination is chosen")
	require.NoError(t, c.Store.AdvanceAction(t.Context(), s.ID, "req-m", action, 0))
	require.EqualValues(t, 75, progress())
	c.builds.arrived = contract.TransferProgress{}
	require.EqualValues(t, 0, progress())
}
