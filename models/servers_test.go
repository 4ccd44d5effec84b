package models

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

func TestTransitionsAllowExactlyTheDeclaredSteps(t *testing.T) {
	images := []ImageStatus{
		ImageQueued, ImageSaving, ImageUploading, ImageImporting, ImageActive, ImageDeactivated, ImageKilled, ImagePendingDelete, ImageDeleted,
	}
	holds(t, imageTransitions, images, map[string]bool{
		"queued>saving": true, "queued>uploading": true, "queued>importing": true, "queued>deleted": true,
		"saving>queued": true, "saving>active": true, "saving>killed": true, "saving>deleted": true,
		"uploading>importing": true, "uploading>queued": true, "uploading>deleted": true,
		"importing>active": true, "importing>queued": true, "importing>deleted": true, "importing>pending_delete": true,
		"active>deactivated": true, "active>pending_delete": true, "deactivated>active": true, "deactivated>pending_delete": true,
		"killed>deleted": true, "pending_delete>deleted": true,
	})
}

func holds[S ~string](t *testing.T, table transitions[S], states []S, allowed map[string]bool) {
	t.Helper()
	require.Len(t, table, len(states), "every state is a key")
	for _, from := range states {
		require.Contains(t, table, from)
		for _, to := range states {
			step := string(from) + ">" + string(to)
			err := table.check("Image", from, to)
			if allowed[step] {
				require.NoError(t, err, step)
			} else {
				requireFault(t, err, fault.Conflict, fmt.Sprintf("Image status transition from %s to %s is not allowed", from, to))
			}
		}
	}
}

func TestEveryServerStepIsComparedWithTheOldState(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	// Every way into every state, from every state: it happens exactly where the table has it.
	ways := []struct {
		lifecycle.Transition
		take func(Server) error
	}{
		{lifecycle.Built, func(v Server) error {
			return w.ActivateServer(ctx, Activation{ServerID: v.ID, RequestID: "req-" + v.ID, PowerState: 1})
		}},
		{lifecycle.Failed, func(v Server) error {
			return w.FailServer(ctx, v.ID, "req-"+v.ID, ServerFault{Code: 500, Message: "x"}, nil)
		}},
		{lifecycle.Removed, func(v Server) error { return w.RemoveServer(ctx, v.ID, "req-"+v.ID, nil, now()) }},
	}
	for _, from := range lifecycle.States() {
		for _, way := range ways {
			v := w.record(t, "s")
			for _, arrive := range ways {
				if arrive.To == from || slices.Contains(lifecycle.Stands(), from) && arrive.To == lifecycle.Active {
					require.NoError(t, arrive.take(v))
				}
			}
			require.NoError(t, w.db.Exec("UPDATE servers SET vm_state = ? WHERE id = ?", string(from), v.ID).Error)
			_ = way.take(v) // whether it is an error or an accepted repetition is the next tests' matter
			got, err := w.ServerEvenDeleted(ctx, v.ID)
			require.NoError(t, err)
			want := from
			if slices.Contains(way.From, from) {
				want = way.To
			}
			require.Equal(t, want, got.VMState, "%s by %s", from, way.By)
		}
	}
}

func TestWhatARequestMadeIsReadInOneStatement(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	v, a := w.server("web")
	v.Fingerprint, v.ReservationID, v.EndsAtShutdown = new("f"), "r-1", true
	_, _, err := w.ServerMade(ctx, v.ID, a.RequestID)
	require.True(t, fault.Is(err, fault.NotFound))
	require.NoError(t, w.RecordServer(ctx, v, a))
	for request, by := range map[string]bool{a.RequestID: true, "req-other": false} {
		fingerprint, made, err := w.ServerMade(ctx, v.ID, request)
		require.NoError(t, err)
		require.Equal(t, []any{"f", by}, []any{*fingerprint, made})
	}
	all, err := w.JustRecorded(ctx, v.ProjectID, "r-1")
	require.NoError(t, err)
	require.Len(t, all, 1)
	whole := w.read(t, v.ID)
	require.Equal(t, whole.Metadata, all[0].Metadata)
	require.Equal(t, []any{whole.Flavor, whole.CreatedAt, true}, []any{all[0].Flavor, all[0].CreatedAt, all[0].EndsAtShutdown})
	all, err = w.JustRecorded(ctx, "another project", "r-1")
	require.NoError(t, err)
	require.Empty(t, all)
}

func TestRecordingAServerTwiceIsOneServerAndAnotherRequestIsRefused(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	v, a := w.server("web")
	require.NoError(t, w.RecordServer(ctx, v, a))
	once := w.snapshot(t)
	require.NoError(t, w.RecordServer(ctx, v, a))
	require.Equal(t, once, w.snapshot(t))

	other := a
	other.RequestID = "req-other"
	requireFault(t, w.RecordServer(ctx, v, other), fault.Conflict, "Instance "+v.ID+" already exists.")
	require.Equal(t, once, w.snapshot(t))

	requireNotRecorded := func(kind fault.Kind, text string, end func(id, requestID string) error) {
		t.Helper()
		v, a := w.server("ended")
		require.NoError(t, w.RecordServer(ctx, v, a))
		require.NoError(t, end(v.ID, a.RequestID))
		ended := w.snapshot(t)
		requireFault(t, w.RecordServer(ctx, v, a), kind, fmt.Sprintf(text, v.ID))
		require.Equal(t, ended, w.snapshot(t), "what has ended is not begun anew by a late step")
	}
	requireNotRecorded(fault.NotFound, "Instance %s could not be found.", func(id, _ string) error { return w.RemoveServer(ctx, id, "", nil, now()) })
	requireNotRecorded(fault.Conflict, "Cannot 'build' instance %s while it is in vm_state error", func(id, requestID string) error {
		return w.FailServer(ctx, id, requestID, ServerFault{Code: 500, Message: "x"}, nil)
	})

	v2, a2 := w.server("web")
	errs := atOnce(8, func(i int) error {
		a := a2
		a.RequestID = fmt.Sprint("req-", i)
		return w.RecordServer(ctx, v2, a)
	})
	require.Equal(t, 1, succeeded(errs), "%v", errs)

	got, err := w.Server(ctx, v.ID)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"role": "web"}, got.Metadata)
	require.Equal(t, []string{"blue"}, got.Tags)
	require.Equal(t, v.Flavor, got.Flavor)
	require.Equal(t, lifecycle.Scheduling, *got.TaskState)

	lost, lostAction := w.server("x")
	lost.ImageID = "gone"
	requireFault(t, w.RecordServer(ctx, lost, lostAction), fault.NotFound, "No image found with ID gone")
}

func TestABuildEndsActiveOnceWithItsEvents(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	h := w.host(t, "n1", 4, 4096, 40)
	v := w.record(t, "web")
	require.NoError(t, w.Place(ctx, Placement{ServerID: v.ID, HostID: h.ID, VCPUs: 1, MemoryMiB: 512, DiskGiB: 1}, "networking"))
	at := now()
	a := Activation{ServerID: v.ID, RequestID: "req-" + v.ID, Hostname: "n1", PowerState: 1, LaunchedAt: at,
		Events: []InstanceActionEvent{{Seq: 1, Event: "ResolveImage", StartedAt: at, EndedAt: &at, Result: new("Success")}, {Seq: 2, Event: "SelectHost", Host: new("n1"), StartedAt: at}}}

	elsewhere := a
	elsewhere.Hostname = "n2"
	requireFault(t, w.ActivateServer(ctx, elsewhere), fault.Conflict, "Instance "+v.ID+" is placed on host n1, not on host n2.")
	require.NoError(t, w.ActivateServer(ctx, a))
	once := w.snapshot(t)
	require.NoError(t, w.ActivateServer(ctx, a))
	require.Equal(t, once, w.snapshot(t))

	got, err := w.Server(ctx, v.ID)
	require.NoError(t, err)
	require.Equal(t, lifecycle.Active, got.VMState)
	require.Nil(t, got.TaskState)
	require.Equal(t, 1, got.PowerState)
	require.True(t, at.Equal(*got.LaunchedAt))
	require.Equal(t, "n1", got.Host.Hostname)

	action, err := w.Action(ctx, v.ID, "req-"+v.ID)
	require.NoError(t, err)
	require.Len(t, action.Events, 2)
	require.Equal(t, "Success", *action.Events[0].Result)
	require.True(t, at.Equal(*action.Events[0].EndedAt))
	require.Equal(t, "n1", *action.Events[1].Host)

	requireFault(t, w.ActivateServer(ctx, Activation{ServerID: "none"}), fault.NotFound, "Instance none could not be found.")
	failed := w.record(t, "bad")
	require.NoError(t, w.FailServer(ctx, failed.ID, "req-"+failed.ID, ServerFault{Code: 500, Message: "x"}, nil))
	requireFault(t, w.ActivateServer(ctx, Activation{ServerID: failed.ID}), fault.Conflict, "Cannot 'build' instance "+failed.ID+" while it is in vm_state error")
}

func TestAFailedBuildKeepsItsFirstFaultAndLeavesItsHost(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	h := w.host(t, "n1", 4, 4096, 40)
	v := w.record(t, "web")
	require.NoError(t, w.Place(ctx, Placement{ServerID: v.ID, HostID: h.ID, VCPUs: 1}, "networking"))
	f := ServerFault{Code: 500, Message: "No valid host was found.", Details: "n1: disk"}
	require.NoError(t, w.FailServer(ctx, v.ID, "req-"+v.ID, f, []InstanceActionEvent{{Seq: 1, Event: "SelectHost", StartedAt: now(), Result: new("Error")}}))
	once := w.snapshot(t)
	require.NoError(t, w.FailServer(ctx, v.ID, "req-"+v.ID, ServerFault{Code: 1, Message: "later"}, nil))
	require.NoError(t, w.FailServer(ctx, "absent", "req-x", f, nil))
	require.Equal(t, once, w.snapshot(t))

	got, err := w.Server(ctx, v.ID)
	require.NoError(t, err)
	require.Equal(t, lifecycle.Error, got.VMState)
	require.Nil(t, got.HostID)
	require.Equal(t, "No valid host was found.", got.Fault.Message)
	action, err := w.Action(ctx, v.ID, "req-"+v.ID)
	require.NoError(t, err)
	require.Equal(t, "Error", *action.Message)

	running := w.record(t, "running")
	require.NoError(t, w.Place(ctx, Placement{ServerID: running.ID, HostID: h.ID, VCPUs: 1}, "networking"))
	require.NoError(t, w.ActivateServer(ctx, Activation{ServerID: running.ID, PowerState: 1}))
	unchanged := w.snapshot(t)
	require.NoError(t, w.FailServer(ctx, running.ID, "req-another", f, nil), "it never happened for this request")
	require.Equal(t, unchanged, w.snapshot(t))
	require.NoError(t, w.FailServer(ctx, running.ID, "req-"+running.ID, f, nil))
	got, err = w.Server(ctx, running.ID)
	require.NoError(t, err)
	require.Equal(t, h.ID, *got.HostID, "its domain may still be there")
}

func TestADeleteNamesEverythingToTearDownAndHappensOnce(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	h1, h2 := w.host(t, "n1", 4, 4096, 40), w.host(t, "n2", 4, 4096, 40)
	v := w.record(t, "web")
	require.NoError(t, w.Place(ctx, Placement{ServerID: v.ID, HostID: h1.ID, VCPUs: 1}, "networking"))
	require.NoError(t, w.Place(ctx, Placement{ServerID: v.ID, HostID: h2.ID, VCPUs: 1}, "networking", "n1"))
	_, err := w.AllocatePort(ctx, PortRequest{ID: "port-2", ServerID: v.ID, ProjectID: "p1", NetworkID: w.network.ID, Index: 1, Hostname: "n2"})
	require.NoError(t, err)

	del := InstanceAction{ServerID: v.ID, RequestID: "req-del", Action: "delete", UserID: "u1", ProjectID: "p1", StartedAt: now().Add(time.Second)}
	p, err := w.MarkServerDeleting(ctx, v.ID, del)
	require.NoError(t, err)
	require.Equal(t, Takings{Hostnames: []string{"n1", "n2"}, NICs: 2}, p)
	once := w.snapshot(t)
	p, err = w.MarkServerDeleting(ctx, v.ID, del)
	require.NoError(t, err)
	require.False(t, p.Gone)
	require.Equal(t, once, w.snapshot(t))

	require.NoError(t, w.ReleasePort(ctx, v.ID, 1))
	require.NoError(t, w.ReleasePlacement(ctx, v.ID, "n1"))
	require.NoError(t, w.ReleasePlacement(ctx, v.ID, "n2"))
	_, err = w.MarkServerDeleting(ctx, v.ID, del)
	require.NoError(t, err)
	got, err := w.Server(ctx, v.ID)
	require.NoError(t, err)
	require.Equal(t, lifecycle.Deleting, *got.TaskState)
	require.Equal(t, "n2", got.DeletedFrom.Hostname)
	require.Len(t, got.DeletedFrom.Addresses, 1, "of the first time: it has none any more")
	require.Equal(t, "private", got.DeletedFrom.Addresses[0].Network)
	require.NoError(t, w.RemoveServer(ctx, v.ID, "req-del", []InstanceActionEvent{{Seq: 1, Event: "RemoveServer", StartedAt: now()}}, now()))
	gone := w.snapshot(t)
	require.NoError(t, w.RemoveServer(ctx, v.ID, "req-del", []InstanceActionEvent{}, now().Add(time.Hour)))
	require.NoError(t, w.RemoveServer(ctx, "absent", "req-del", nil, now()))
	require.Equal(t, gone, w.snapshot(t))
	p, err = w.MarkServerDeleting(ctx, v.ID, del)
	require.NoError(t, err)
	require.Equal(t, Takings{Gone: true, Hostnames: []string{}}, p)

	_, err = w.Server(ctx, v.ID)
	requireFault(t, err, fault.NotFound, "Instance "+v.ID+" could not be found.")
	_, err = w.ServerEvenDeleted(ctx, v.ID)
	require.NoError(t, err)
	actions, err := w.Actions(ctx, v.ID)
	require.NoError(t, err)
	require.Equal(t, []string{"delete", "create"}, []string{actions[0].Action, actions[1].Action})
	_, err = w.Action(ctx, v.ID, "req-none")
	requireFault(t, err, fault.NotFound, "Action for request_id req-none on instance "+v.ID+" not found")
}

func TestAServerListingPagesThroughEveryOrderWithoutGapsOrRepetitions(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	at := now()
	want := map[string]bool{}
	for i := range 23 {
		v, a := w.server(fmt.Sprintf("s%d", i%4)) // names repeat: the id has to break the tie
		v.CreatedAt = at.Add(time.Duration(i%5) * time.Second)
		require.NoError(t, w.RecordServer(ctx, v, a))
		want[v.ID] = true
		if i%3 == 0 {
			require.NoError(t, w.ActivateServer(ctx, Activation{ServerID: v.ID, PowerState: 1, LaunchedAt: at}))
		}
	}
	for _, sort := range [][]Sort{
		nil,
		{{Key: "created_at"}},
		{{Key: "display_name"}, {Key: "created_at", Desc: true}},
		{{Key: "launched_at", Desc: true}, {Key: "display_name"}},
		{{Key: "task_state"}, {Key: "host"}},
		{{Key: "uuid", Desc: true}},
	} {
		whole, err := w.ListServers(ctx, ServerFilter{ProjectID: "p1", Sort: sort})
		require.NoError(t, err)
		require.Len(t, whole, len(want))
		var paged []Server
		marker := ""
		for {
			page, err := w.ListServers(ctx, ServerFilter{ProjectID: "p1", Sort: sort, Marker: marker, Limit: 4})
			require.NoError(t, err)
			paged = append(paged, page...)
			if len(page) < 4 {
				break
			}
			marker = page[3].ID
		}
		require.Equal(t, whole, paged, "%v", sort)
	}
	_, err := w.ListServers(ctx, ServerFilter{Marker: "nowhere"})
	requireFault(t, err, fault.Invalid, "marker [nowhere] not found")
	for id := range want {
		_, err = w.ListServers(ctx, ServerFilter{ProjectID: "another", Marker: id})
		requireFault(t, err, fault.Invalid, "marker ["+id+"] not found")
		break
	}
	_, err = w.ListServers(ctx, ServerFilter{Sort: []Sort{{Key: "password"}}})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.Contains(t, fault.Public(err), "Invalid sort key: password.")
}

func TestAServerListingSelectsByEachFilter(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	h := w.host(t, "n1", 4, 4096, 40)
	web, db, old := w.record(t, "web-1"), w.record(t, "db-1"), w.record(t, "old-1")
	require.NoError(t, w.Place(ctx, Placement{ServerID: web.ID, HostID: h.ID, VCPUs: 1}, "networking"))
	_, err := w.AllocatePort(ctx, PortRequest{ID: "port-1", ServerID: web.ID, ProjectID: "p1", NetworkID: w.network.ID, FixedIP: "10.0.0.42"})
	require.NoError(t, err)
	require.NoError(t, w.ActivateServer(ctx, Activation{ServerID: web.ID, PowerState: 1}))
	require.NoError(t, w.FailServer(ctx, db.ID, "req-"+db.ID, ServerFault{Code: 500, Message: "x"}, nil))
	require.NoError(t, w.RemoveServer(ctx, old.ID, "", nil, now()))
	past, future := now().Add(-time.Hour), now().Add(time.Hour)
	for name, c := range map[string]struct {
		f    ServerFilter
		want []Server
	}{
		"nothing shows no deleted ones": {ServerFilter{}, []Server{web, db}},
		"project":                       {ServerFilter{ProjectID: "p2"}, nil},
		"user":                          {ServerFilter{UserID: "u1"}, []Server{web, db}},
		"ids":                           {ServerFilter{IDs: []string{db.ID, old.ID}}, []Server{db}},
		"name as a regular expression":  {ServerFilter{Name: "^w.b"}, []Server{web}},
		"statuses":                      {ServerFilter{VMStates: []lifecycle.VMState{lifecycle.Active, lifecycle.Building}}, []Server{web}},
		"image":                         {ServerFilter{ImageID: w.image.ID}, []Server{web, db}},
		"flavor":                        {ServerFilter{FlavorID: "2"}, nil},
		"host":                          {ServerFilter{HostID: h.ID}, []Server{web}},
		"hostname":                      {ServerFilter{Hostname: "n1"}, []Server{web}},
		"unknown hostname":              {ServerFilter{Hostname: "n9"}, nil},
		"address":                       {ServerFilter{IP: `10\.0\.0\.4`}, []Server{web}},
		"power state":                   {ServerFilter{PowerState: new(1)}, []Server{web}},
		"metadata":                      {ServerFilter{Metadata: map[string]string{"role": "web"}}, []Server{web, db}},
		"other metadata":                {ServerFilter{Metadata: map[string]string{"role": "db"}}, nil},
		"tags":                          {ServerFilter{Tags: []string{"blue", "blue"}}, []Server{web, db}},
		"missing tags":                  {ServerFilter{Tags: []string{"blue", "red"}}, nil},
		"any tag":                       {ServerFilter{TagsAny: []string{"blue", "red"}}, []Server{web, db}},
		"not both tags":                 {ServerFilter{NotTags: []string{"blue", "red"}}, []Server{web, db}},
		"not any tag":                   {ServerFilter{NotTagsAny: []string{"blue", "red"}}, nil},
		"deleted":                       {ServerFilter{Deleted: true}, []Server{old}},
		"changed since, deleted too":    {ServerFilter{ChangesSince: &past}, []Server{web, db, old}},
		"changed since the future":      {ServerFilter{ChangesSince: &future}, nil},
		"changed before the past":       {ServerFilter{ChangesBefore: &past}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := w.ListServers(ctx, c.f)
			require.NoError(t, err)
			var gotIDs, wantIDs []string
			for _, v := range got {
				gotIDs = append(gotIDs, v.ID)
			}
			for _, v := range c.want {
				wantIDs = append(wantIDs, v.ID)
			}
			require.ElementsMatch(t, wantIDs, gotIDs)
		})
	}
	_, err = w.ListServers(ctx, ServerFilter{Name: "("})
	requireFault(t, err, fault.Invalid, "A filter is not a valid regular expression.")

	all, err := w.ListServers(ctx, ServerFilter{Sort: []Sort{{Key: "display_name", Desc: true}}})
	require.NoError(t, err)
	one, err := w.Server(ctx, web.ID)
	require.NoError(t, err)
	require.Equal(t, one, all[0], "a listing shows what a single read shows")
	require.Equal(t, "10.0.0.42", one.Ports[0].FixedIPs[0].IP)
	require.Equal(t, "private", one.Ports[0].Network.Name)
	require.Equal(t, "10.0.0.0/24", one.Ports[0].Network.Subnets[0].CIDR)
	require.Equal(t, "x", all[1].Fault.Message)
}
