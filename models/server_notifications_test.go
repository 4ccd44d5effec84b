package models

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// heard are the events of a server that were told since they were heard last, in order; each once.
func (w *world) heard(t *testing.T, id string) (events []string, all []Notification) {
	t.Helper()
	for {
		got := w.claim(t, SinkLog, 0)
		if len(got) == 0 {
			return events, all
		}
		for _, n := range got {
			if n.ResourceID == id {
				events, all = append(events, n.EventType), append(all, n)
			}
			require.NoError(t, w.NotificationsDelivered(t.Context(), SinkLog, n.ID))
		}
	}
}

func TestEveryActionTellsWhenItBeginsAndHowItEndsOnce(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	for i, a := range lifecycle.Holding() {
		v := w.running(t, a.Name)
		was := func() {
			require.NoError(t, w.db.WithContext(ctx).Exec("UPDATE servers SET vm_state = ? WHERE id = ?", a.From[0], v.ID).Error)
		}
		request := func(n string) string { return "req-" + a.Name + n }
		was()
		w.heard(t, v.ID)
		for range 2 {
			_, err := w.BeginAction(ctx, v.ID, a, asked(v, a, request("1")))
			require.NoError(t, err)
		}
		for range 2 {
			require.NoError(t, w.FinishAction(ctx, v.ID, request("1"), a, nil))
		}
		was()
		v.VMState = a.From[0]
		_, err := w.BeginAction(ctx, v.ID, a, asked(v, a, request("2")))
		require.NoError(t, err)
		for range 2 {
			require.NoError(t, w.FailAction(ctx, v.ID, request("2"), a, v, ServerFault{Code: 500, Message: "no memory"}, nil))
		}
		events, all := w.heard(t, v.ID)
		if a.Told() == lifecycle.Untold {
			require.Empty(t, events, a.Name)
			continue
		}
		require.Equal(t, []string{
			"instance." + a.Told() + ".start", "instance." + a.ToldLast() + ".end", "instance." + a.Told() + ".start", "instance." + a.ToldFailed() + ".error",
		}, events, "%d: %s", i, a.Name)
		require.Equal(t, a.Task, data(t, all[0])["task_state"], a.Name)
		require.Nil(t, data(t, all[1])["task_state"])
		require.Equal(t, []any{request("2"), v.UserID, v.ProjectID}, []any{all[3].RequestID, all[3].UserID, all[3].ProjectID})
		fault, _ := data(t, all[3])["fault"].(map[string]any)
		require.Equal(t, "no memory", fault["nova_object.data"].(map[string]any)["exception_message"])
	}
}

func TestEachPartOfAResizeIsToldOnceByNovasName(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	v, resize := w.running(t, "web"), action(t, "resize")
	w.heard(t, v.ID)
	_, err := w.BeginAction(ctx, v.ID, resize, asked(v, resize, "req-1"))
	require.NoError(t, err)
	for n, part := range resize.Then {
		for range 2 {
			require.NoError(t, w.AdvanceAction(ctx, v.ID, "req-1", resize, n))
		}
		require.Equal(t, part.Task, w.read(t, v.ID).Task())
		require.NoError(t, w.AdvanceAction(ctx, v.ID, "req-2", resize, n), "another's request changes nothing")
	}
	require.NoError(t, w.FinishAction(ctx, v.ID, "req-1", resize, nil))
	events, _ := w.heard(t, v.ID)
	require.Equal(t, []string{
		"instance.resize_prep.start", "instance.resize_prep.end", "instance.resize.start", "instance.resize.end",
		"instance.resize_finish.start", "instance.resize_finish.end",
	}, events)
	got := w.read(t, v.ID)
	require.Equal(t, []any{lifecycle.Resized, ""}, []any{got.VMState, got.Task()})
}

func data(t *testing.T, n Notification) map[string]any {
	t.Helper()
	var payload struct {
		Name string         `json:"nova_object.name"`
		Data map[string]any `json:"nova_object.data"`
	}
	require.NoError(t, json.Unmarshal(n.Payload, &payload))
	require.NotEmpty(t, payload.Name)
	return payload.Data
}

func TestABuildAndADeleteAreToldAsNovaTellsThem(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	v := w.running(t, "web")
	for range 2 {
		_, err := w.MarkServerDeleting(ctx, v.ID, InstanceAction{ServerID: v.ID, RequestID: "req-d", Action: "delete", UserID: v.UserID, ProjectID: v.ProjectID})
		require.NoError(t, err)
	}
	for range 2 {
		require.NoError(t, w.RemoveServer(ctx, v.ID, "req-d", nil, now()))
	}
	events, all := w.heard(t, v.ID)
	require.Equal(t, []string{"instance.create.start", "instance.create.end", "instance.delete.start", "instance.delete.end"}, events)
	require.Equal(t, "nova-compute:hv-web", all[1].PublisherID)

	got := data(t, all[1])
	require.Equal(t, []any{v.ID, "web", "active", "running", "hv-web", v.ImageID, v.ProjectID}, []any{
		got["uuid"], got["display_name"], got["state"], got["power_state"], got["host"], got["image_uuid"], got["tenant_id"],
	})
	require.Equal(t, "slipway-"+v.ID, got["instance_name"])
	require.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`, got["launched_at"])
	require.Equal(t, "deleted", data(t, all[3])["state"])
	require.NotNil(t, data(t, all[3])["deleted_at"])

	broken := w.record(t, "broken")
	for range 2 {
		require.NoError(t, w.FailServer(ctx, broken.ID, "req-"+broken.ID, ServerFault{Code: 500, Message: "No valid host was found."}, nil))
	}
	events, _ = w.heard(t, broken.ID)
	require.Equal(t, []string{"instance.create.start", "instance.create.error"}, events)
}

func TestAnImageThatIsMadeOfAServerIsToldWithItsID(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	v, image := w.running(t, "web"), ""
	w.heard(t, v.ID)
	a := action(t, "createImage")
	for i := range 2 {
		image = fmt.Sprintf("image-%d", i)
		_, err := w.CreateImage(ctx, Image{ID: image, OwnerID: v.ProjectID, Visibility: "private", SnapshotOf: &v.ID}, nil)
		require.NoError(t, err)
		_, err = w.BeginAction(ctx, v.ID, a, asked(v, a, "req-"+image))
		require.NoError(t, err)
		require.NoError(t, w.FinishAction(ctx, v.ID, "req-"+image, a, nil))
	}
	events, all := w.heard(t, v.ID)
	require.Equal(t, []string{"instance.snapshot.start", "instance.snapshot.end", "instance.snapshot.start", "instance.snapshot.end"}, events)
	require.Equal(t, []any{"image-0", "image-0", "image-1", "image-1"}, []any{
		data(t, all[0])["snapshot_image_id"], data(t, all[1])["snapshot_image_id"], data(t, all[2])["snapshot_image_id"], data(t, all[3])["snapshot_image_id"],
	})
	require.Equal(t, "image_snapshot", data(t, all[0])["task_state"])
}

func TestABuildAndARebuildTellWhichCertificatesAreTrusted(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	building, running := w.record(t, "building"), w.running(t, "web")
	require.NoError(t, w.db.WithContext(ctx).Exec(`UPDATE servers SET trusted_image_certificates = '["c1", "c2"]'`).Error)
	w.heard(t, running.ID)

	require.NoError(t, w.FailServer(ctx, building.ID, "req-"+building.ID, ServerFault{Code: 500, Message: "no"}, nil))
	_, all := w.heard(t, building.ID)
	require.Len(t, all, 1)
	require.Equal(t, []any{"c1", "c2"}, data(t, all[0])["trusted_image_certificates"])

	for _, name := range []string{"rebuild", "os-stop"} {
		a := action(t, name)
		_, err := w.BeginAction(ctx, running.ID, a, asked(running, a, "req-"+name))
		require.NoError(t, err)
		require.NoError(t, w.FinishAction(ctx, running.ID, "req-"+name, a, nil))
	}
	_, all = w.heard(t, running.ID)
	require.Len(t, all, 4)
	require.Equal(t, []any{"c1", "c2"}, data(t, all[1])["trusted_image_certificates"])
	require.NotContains(t, data(t, all[3]), "trusted_image_certificates", "InstanceActionPayload has none")
}

func TestWhatTheAPIChangesOfAServerIsToldWithWhatItWas(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	v := w.running(t, "web")
	w.heard(t, v.ID)
	by := InstanceAction{ServerID: v.ID, RequestID: "req-u", UserID: v.UserID, ProjectID: v.ProjectID}
	revise := func(change func(*Server)) {
		require.NoError(t, w.ReviseServer(ctx, by, func(v *Server) error { change(v); return nil }))
	}
	revise(func(v *Server) { v.Name = "db" })
	revise(func(v *Server) { v.Metadata, v.Tags = map[string]string{"role": "db"}, []string{"blue"} })
	require.Error(t, w.ReviseServer(ctx, by, func(*Server) error { return noServer(v.ID) }))
	require.NoError(t, w.db.WithContext(ctx).Exec("UPDATE servers SET task_state = 'rebooting' WHERE id = ?", v.ID).Error)
	for range 2 {
		require.NoError(t, w.ResetServer(ctx, v.ID, lifecycle.Error, "", InstanceAction{
			Action: "resetState", RequestID: "req-r", UserID: v.UserID, ProjectID: v.ProjectID, StartedAt: now(),
		}))
	}
	events, all := w.heard(t, v.ID)
	require.Equal(t, []string{"instance.update", "instance.update", "instance.update"}, events)
	named, words, reset := data(t, all[0]), data(t, all[1]), data(t, all[2])
	require.Equal(t, []any{"db", "web", "req-u", v.UserID, "active"},
		[]any{named["display_name"], named["old_display_name"], named["request_id"], named["action_initiator_user"], named["state"]})
	require.NotContains(t, named, "fault", "InstanceUpdatePayload has none")
	require.Equal(t, []any{nil, map[string]any{"role": "db"}, []any{"blue"}}, []any{words["old_display_name"], words["metadata"], words["tags"]})
	states := func(payload map[string]any) any { return payload["state_update"].(map[string]any)["nova_object.data"] }
	require.Equal(t, map[string]any{"old_state": "active", "state": "active", "old_task_state": nil, "new_task_state": nil}, states(words))
	require.Equal(t, map[string]any{"old_state": "active", "state": "error", "old_task_state": "rebooting", "new_task_state": nil}, states(reset))
	period := reset["audit_period"].(map[string]any)["nova_object.data"].(map[string]any)
	require.Regexp(t, `^\d{4}-\d\d-01T00:00:00Z$`, period["audit_period_beginning"])
	require.Contains(t, string(all[0].Payload), `"nova_object.name": "InstanceUpdatePayload", "nova_object.version": "2.1"`)
	require.Regexp(t, `^nova-api:.`, all[0].PublisherID)
}

func TestALockIsToldWithItsReasonAndWithoutPhases(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	v := w.running(t, "web")
	w.heard(t, v.ID)
	for _, name := range []string{"lock", "unlock"} {
		a := action(t, name)
		by := InstanceAction{
			ServerID: v.ID, RequestID: "req-" + name, Action: a.Method, UserID: v.UserID, ProjectID: v.ProjectID,
			Events: []InstanceActionEvent{{ServerID: v.ID, RequestID: "req-" + name, Event: "api_" + name, StartedAt: now()}},
		}
		require.NoError(t, w.ReviseServer(ctx, by, func(v *Server) error {
			v.LockedBy, v.LockedReason = nil, nil
			if name == "lock" {
				v.LockedBy, v.LockedReason = new(LockedByOwner), new("global warming")
			}
			return nil
		}))
	}
	events, all := w.heard(t, v.ID)
	require.Equal(t, []string{"instance.lock", "instance.unlock"}, events)
	locked, unlocked := data(t, all[0]), data(t, all[1])
	require.Equal(t, []any{true, "global warming", false, nil}, []any{locked["locked"], locked["locked_reason"], unlocked["locked"], unlocked["locked_reason"]})
	require.Equal(t, "req-lock", all[0].RequestID)
	require.Regexp(t, `^nova-api:.`, all[0].PublisherID)
}
