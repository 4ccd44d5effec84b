package compute_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

func TestAnImageIsMadeOfAServerAndAnsweredWithItsPlace(t *testing.T) {
	c := newCloud(t)
	c.builds.do = func(in contract.ActionInput) error {
		action, _ := lifecycle.Find(in.Action)
		_, err := c.Store.BeginAction(context.Background(), in.ServerID, action, instanceAction(in, action))
		return err
	}
	n := c.network(t, c.member, "n", "10.0.0.0/24", "10.0.0.2", "10.0.0.9")
	s := c.row(t, c.member, "web", time.Now())
	c.place(t, s, n)
	c.activate(t, s, time.Now())
	path := "/servers/" + s.ID + "/action"
	last := func() contract.ActionInput { return c.builds.actions[len(c.builds.actions)-1] }
	finish := func() {
		action, _ := lifecycle.Find(last().Action)
		require.NoError(t, c.Store.FinishAction(t.Context(), s.ID, last().RequestID, action, nil))
	}

	many := map[string]string{}
	for i := range 129 {
		many["k"+strconv.Itoa(i)] = "v"
	}
	for why, x := range map[string]struct {
		status  int
		version string
		body    any
	}{
		"'name' is a required property": {400, at96, fields{"metadata": fields{}}},
		"'rotation' was unexpected":     {400, at96, fields{"name": "n", "rotation": 1}},
		"Can not start or end":          {400, at96, fields{"name": " n"}},
		"an attribute of its own":       {400, at96, fields{"name": "n", "metadata": fields{"visibility": "public"}}},
		"is read-only":                  {403, at96, fields{"name": "n", "metadata": fields{"checksum": "0"}}},
		"'os_glance_x' is reserved":     {403, at96, fields{"name": "n", "metadata": fields{"os_glance_x": "0"}}},
		"Image metadata limit exceeded": {403, "2.38", fields{"name": "n", "metadata": many}},
		"is not of type 'object'":       {400, at96, "now"},
	} {
		a := c.nova(t, c.member, x.version, "POST", path, fields{"createImage": x.body})
		require.Equal(t, x.status, a.Status, a.Body)
		require.Contains(t, a.Message(t), why)
	}
	require.Empty(t, c.builds.actions)

	a := c.nova(t, c.member, at96, "POST", path, fields{"createImage": fields{"name": "golden", "metadata": fields{"stage": "tested"}}})
	require.Equal(t, 202, a.Status, a.Body)
	asked := last().Snapshot
	require.Equal(t, asked.ImageID, a.At(t, "image_id"))
	require.Equal(t, []any{"golden", c.member.ProjectID, map[string]string{"stage": "tested"}}, []any{asked.Name, asked.ProjectID, asked.Metadata})
	shown := c.nova(t, c.member, at96, "GET", "/servers/"+s.ID, nil)
	require.Equal(t, []any{"ACTIVE", "image_snapshot"}, []any{shown.At(t, "server", "status"), shown.At(t, "server", "OS-EXT-STS:task_state")})
	a = c.nova(t, c.member, at96, "POST", path, fields{"createImage": fields{"name": "golden"}})
	require.Equal(t, 409, a.Status)
	require.Equal(t, "Cannot 'createImage' instance "+s.ID+" while it is in task_state image_snapshot", a.Message(t))
	finish()

	for why, body := range map[string]any{
		"'backup_type' is a required property": fields{"name": "n", "rotation": 1},
		"is less than the minimum of 0":        fields{"name": "n", "backup_type": "daily", "rotation": -1},
		"is not of type 'string'":              fields{"name": "n", "backup_type": 1, "rotation": 1},
	} {
		a = c.nova(t, c.member, at96, "POST", path, fields{"createBackup": body})
		require.Equal(t, 400, a.Status)
		require.Contains(t, a.Message(t), why)
	}
	a = c.nova(t, c.member, at96, "POST", path, fields{"createBackup": fields{"name": "nightly", "backup_type": "daily", "rotation": "2"}})
	require.Equal(t, 202, a.Status, a.Body)
	require.Equal(t, last().Snapshot.ImageID, a.At(t, "image_id"))
	require.Equal(t, contract.Backup{Type: "daily", Rotation: 2}, *last().Snapshot.Backup)
	a = c.nova(t, c.member, at96, "POST", path, fields{"createBackup": fields{"name": "nightly", "backup_type": "daily", "rotation": 2}})
	require.Equal(t, "Cannot 'createBackup' instance "+s.ID+" while it is in task_state image_backup", a.Message(t))
	finish()
	for rotation, place := range map[int]string{0: "", 1: c.URL + "/image/v2/images/"} {
		a = c.nova(t, c.member, "2.44", "POST", path, fields{"createBackup": fields{"name": "nightly", "backup_type": "daily", "rotation": rotation}})
		require.Equal(t, 202, a.Status)
		if place != "" {
			place += last().Snapshot.ImageID
		}
		require.Equal(t, place, a.Header.Get("Location"))
		finish()
	}

	require.Equal(t, 202, c.nova(t, c.member, at96, "POST", path, fields{"lock": nil}).Status)
	a = c.nova(t, c.member, "2.44", "POST", path, fields{"createImage": fields{"name": "golden"}})
	require.Equal(t, 202, a.Status, "a lock keeps nobody from it: %s", a.Body)
	require.Empty(t, a.Body)
	require.Equal(t, c.URL+"/image/v2/images/"+last().Snapshot.ImageID, a.Header.Get("Location"))
}
