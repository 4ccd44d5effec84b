package compute_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/apitest"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/internal/service/servers"
)

func TestADeleteIsDeferredAndTakenBackWhereDeletesAre(t *testing.T) {
	c := newCloud(t, func(config *servers.Config) { config.Reclaims = true })
	c.builds.do = func(in contract.ActionInput) error { // what its workflow does
		action, _ := lifecycle.Find(in.Action)
		if _, err := c.Store.BeginAction(context.Background(), in.ServerID, action, instanceAction(in, action)); err != nil {
			return err
		}
		return c.Store.FinishAction(context.Background(), in.ServerID, in.RequestID, action, nil)
	}
	s := c.running(t, "web")
	at := "/servers/" + s.ID
	remove := func(u apitest.User) apitest.Answer { return c.nova(t, u, at96, "DELETE", at, nil) }
	listed := func(u apitest.User, query string) int {
		return len(c.nova(t, u, at96, "GET", "/servers?"+query, nil).At(t, "servers").([]any))
	}
	require.Equal(t, 1, listed(c.member, ""))
	require.Equal(t, 204, remove(c.member).Status)
	require.Equal(t, 204, remove(c.member).Status, "once more is as good")
	require.Len(t, c.builds.actions, 1)
	require.Empty(t, c.builds.deleted)
	shown := c.nova(t, c.member, at96, "GET", at, nil)
	require.Equal(t, []any{"SOFT_DELETED", "soft-delete", float64(4)},
		[]any{shown.At(t, "server", "status"), shown.At(t, "server", "OS-EXT-STS:vm_state"), shown.At(t, "server", "OS-EXT-STS:power_state")})
	require.Equal(t, 0, listed(c.member, ""))
	require.Equal(t, 1, listed(c.member, "status=SOFT_DELETED"))
	require.Equal(t, 1, listed(c.admin, "deleted=1"))
	require.Equal(t, 1, listed(c.admin, "soft_deleted=true"))
	a := c.nova(t, c.member, at96, "POST", at+"/action", fields{"os-start": nil})
	require.Equal(t, 409, a.Status)
	require.Equal(t, 409, c.nova(t, c.member, at96, "PUT", at+"/tags/x", nil).Status)

	due, err := c.Store.Reclaimable(t.Context(), time.Now().Add(-time.Minute))
	require.NoError(t, err)
	require.Empty(t, due)
	due, err = c.Store.Reclaimable(t.Context(), time.Now().Add(time.Minute))
	require.NoError(t, err)
	require.Len(t, due, 1)

	require.Equal(t, 403, c.nova(t, c.reader, at96, "POST", at+"/action", fields{"restore": nil}).Status)
	require.Equal(t, 202, c.nova(t, c.member, at96, "POST", at+"/action", fields{"restore": nil}).Status)
	require.Equal(t, "ACTIVE", c.nova(t, c.member, at96, "GET", at, nil).At(t, "server", "status"))
	a = c.nova(t, c.member, at96, "POST", at+"/action", fields{"restore": nil})
	require.Equal(t, 409, a.Status)
	require.Equal(t, "Cannot 'restore' instance "+s.ID+" while it is in vm_state active", a.Message(t))
	gone, err := c.Store.MarkServerDeleting(t.Context(), s.ID, instanceAction(c.builds.actions[0], lifecycle.SoftDeletes[0]), lifecycle.SoftDeleted)
	require.NoError(t, err)
	require.True(t, gone.Gone, "what was restored is not reclaimed")

	require.Equal(t, 202, c.nova(t, c.member, at96, "POST", at+"/action", fields{"lock": nil}).Status)
	require.Equal(t, 409, remove(c.member).Status)
	require.Equal(t, 204, remove(c.admin).Status)
	require.Equal(t, 202, c.nova(t, c.admin, at96, "POST", at+"/action", fields{"forceDelete": nil}).Status)
	require.Len(t, c.builds.deleted, 1)

	rescued := c.running(t, "db")
	require.Equal(t, 200, c.nova(t, c.member, at96, "POST", "/servers/"+rescued.ID+"/action", fields{"rescue": nil}).Status)
	require.Equal(t, 204, c.nova(t, c.member, at96, "DELETE", "/servers/"+rescued.ID, nil).Status)
	require.Equal(t, "soft-delete-rescued", c.builds.actions[len(c.builds.actions)-1].Action)
	require.Equal(t, "SOFT_DELETED", c.nova(t, c.member, at96, "GET", "/servers/"+rescued.ID, nil).At(t, "server", "status"))

	building := c.row(t, c.member, "building", time.Now())
	require.Equal(t, 204, c.nova(t, c.member, at96, "DELETE", "/servers/"+building.ID, nil).Status)
	require.Equal(t, building.ID, c.builds.deleted[1].ServerID, "a server that never ran is deleted at once")
}
