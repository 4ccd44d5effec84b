package compute_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

func TestARescueAnswersWithAPasswordAndItsEndWithNothing(t *testing.T) {
	c := newCloud(t)
	c.builds.do = func(in contract.ActionInput) error { // what the workflow's first step does
		action, _ := lifecycle.Find(in.Action)
		_, err := c.Store.BeginAction(context.Background(), in.ServerID, action, instanceAction(in, action))
		return err
	}
	n := c.network(t, c.member, "n", "10.0.0.0/24", "10.0.0.2", "10.0.0.9")
	s := c.row(t, c.member, "web", time.Now())
	c.place(t, s, n)
	c.activate(t, s, time.Now())
	act := func(body fields) (int, string) {
		a := c.nova(t, c.member, at96, "POST", "/servers/"+s.ID+"/action", body)
		return a.Status, a.Body
	}
	finish := func() {
		in := c.builds.actions[len(c.builds.actions)-1]
		action, _ := lifecycle.Find(in.Action)
		require.NoError(t, c.Store.FinishAction(t.Context(), s.ID, in.RequestID, action, nil))
	}
	last := func() contract.Rebuild { return *c.builds.actions[len(c.builds.actions)-1].Rescue }

	status, body := act(fields{"unrescue": nil})
	require.Equal(t, 409, status)
	require.Contains(t, body, "Cannot 'unrescue' instance "+s.ID+" while it is in vm_state active")
	for why, asked := range map[string]any{
		"'cd' is not a 'uuid'": fields{"rescue_image_ref": "cd"}, "'image' was unexpected": fields{"image": "x"}, "is not of type": "now",
	} {
		status, body = act(fields{"rescue": asked})
		require.Equal(t, 400, status)
		require.Contains(t, body, why)
	}
	floppy := uuid.NewString()
	_, err := c.Store.CreateImage(t.Context(), models.Image{
		ID: floppy, OwnerID: c.admin.ProjectID, Status: models.ImageActive, Visibility: "public", Properties: map[string]string{"hw_rescue_device": "floppy"},
	}, nil)
	require.NoError(t, err)
	status, body = act(fields{"rescue": fields{"rescue_image_ref": floppy}})
	require.Equal(t, 400, status)
	require.Contains(t, body, "Requested rescue device 'floppy' is not supported")
	image := uuid.NewString()
	status, body = act(fields{"rescue": fields{"adminPass": "secret", "rescue_image_ref": image}})
	require.Equal(t, 200, status, body)
	require.JSONEq(t, `{"adminPass":"secret"}`, body)
	require.Equal(t, []string{image, "secret"}, []string{last().ImageID, last().AdminPass})
	require.Zero(t, last().Flavor.DiskGiB, "its disk is as large as its image")
	require.Equal(t, "rescuing", c.nova(t, c.member, at96, "GET", "/servers/"+s.ID, nil).At(t, "server", "OS-EXT-STS:task_state"))
	finish()
	require.Equal(t, "RESCUE", c.nova(t, c.member, at96, "GET", "/servers/"+s.ID, nil).At(t, "server", "status"))
	status, body = act(fields{"rescue": nil})
	require.Equal(t, 409, status)
	require.Contains(t, body, "while it is in vm_state rescued")

	status, body = act(fields{"unrescue": nil})
	require.Equal(t, 202, status, body)
	require.Empty(t, body)
	finish()
	require.Equal(t, "ACTIVE", c.nova(t, c.member, at96, "GET", "/servers/"+s.ID, nil).At(t, "server", "status"))
	status, body = act(fields{"rescue": nil})
	require.Equal(t, 200, status, body)
	require.Empty(t, last().ImageID, "the server's own")
	require.Len(t, last().AdminPass, 12)
}
