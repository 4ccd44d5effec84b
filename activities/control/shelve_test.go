package control

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

// shelvable is a running server on hv1 whose shelve has begun, with its image, in a control plane that has image stores.
func shelvable(t *testing.T, actionName string) (ctx context.Context, a *Activities, engine *confirming, id, imageID string) {
	t.Helper()
	ctx, store := newStore(t)
	engine = &confirming{}
	a = withImages(t, Options{Store: store, Builds: engine, Keys: testenv.PayloadKeys(t), OffloadAfter: time.Hour})
	id, imageID = resizable(ctx, t, store, a), uuid.NewString()
	action, err := rowOf(actionName)
	require.NoError(t, err)
	_, err = store.BeginAction(ctx, id, action, models.InstanceAction{RequestID: "req-s", Action: action.Method, UserID: "u1", ProjectID: "p1"})
	require.NoError(t, err)
	activeImage(t, store, models.Image{ID: imageID, SnapshotOf: &id, Properties: map[string]string{"os_type": "linux"}})
	return ctx, a, engine, id, imageID
}

// do does steps of the same run, twice each.
func do(t *testing.T, steps ...func(context.Context) error) {
	t.Helper()
	for _, step := range steps {
		for range 2 {
			require.NoError(t, asStep(t, step))
		}
	}
}

func (a *Activities) recordsShelve(action, id, imageID string) func(context.Context) error {
	return func(ctx context.Context) error {
		return a.RecordShelve(ctx, contract.RecordShelveInput{Action: action, ServerID: id, RequestID: "req-s", ImageID: imageID})
	}
}

func (a *Activities) finishes(action, id string) func(context.Context) error {
	return func(ctx context.Context) error {
		return a.FinishAction(ctx, contract.FinishActionInput{Action: action, ServerID: id, RequestID: "req-s"})
	}
}

func TestAShelvedServerIsBuiltAnewOfWhatWasKeptAndOfItsImage(t *testing.T) {
	ctx, a, _, id, imageID := shelvable(t, "shelve-at-once")
	for _, show := range []func(context.Context, contract.ShowPhaseInput) error{a.ShowImagePending, a.ShowImageUploading} {
		do(t, func(ctx context.Context) error {
			return show(ctx, contract.ShowPhaseInput{Action: "shelve-at-once", ServerID: id, RequestID: "req-s"})
		})
	}
	leave := contract.LeaveHostInput{Action: "shelve-at-once", ServerID: id, RequestID: "req-s", Hostname: "hv1"}
	leaves := func(ctx context.Context) error { return a.LeaveHost(ctx, leave) }
	require.True(t, fault.Is(asStep(t, leaves), fault.Conflict), "nothing is kept of it yet")
	do(t, a.recordsShelve("shelve-at-once", id, imageID), func(ctx context.Context) error {
		return a.ShowOffloading(ctx, contract.ShowPhaseInput{Action: "shelve-at-once", ServerID: id, RequestID: "req-s"})
	})
	v, err := a.store.Server(ctx, id)
	require.NoError(t, err)
	require.Equal(t, []any{lifecycle.Shelved, lifecycle.ShelvingOffloading}, []any{v.VMState, v.Task()})
	do(t, leaves, func(ctx context.Context) error {
		begun, err := a.BeginAction(ctx, contract.ActionInput{Action: "shelve-at-once", ServerID: id, RequestID: "req-s"})
		require.Equal(t, "hv1", begun.Hostname, "of a worker that was killed, and does all of it once more")
		return err
	}, a.finishes("shelve-at-once", id), a.recordsShelve("shelve-at-once", id, imageID))

	zone := "az2"
	plan, err := a.PlanUnshelve(ctx, contract.PlanUnshelveInput{ServerID: id, Unshelve: contract.Unshelve{Zone: &zone}})
	require.NoError(t, err)
	require.Equal(t, []any{"i", imageID, "linux", "az2", "", []string{"hv1"}}, []any{
		plan.Facts.Spec.Image.Root.ID, plan.Disk.ID, plan.Disk.Properties["os_type"], plan.Facts.Server.AvailabilityZone, plan.Zone, plan.Left,
	}, "of its host nothing has said that its guest is gone")
	require.Equal(t, contract.Resources{VCPUs: 1, RAMMiB: 512, DiskGiB: 4}, plan.Facts.Resources)

	require.NoError(t, a.store.ReleasePlacement(ctx, id, "hv1"))
	plan, err = a.PlanUnshelve(ctx, contract.PlanUnshelveInput{ServerID: id})
	require.NoError(t, err)
	require.Empty(t, plan.Left)
	held, err := a.store.HostByName(ctx, "hv1")
	require.NoError(t, err)
	unshelve, err := rowOf("unshelve-offloaded")
	require.NoError(t, err)
	_, err = a.store.BeginAction(ctx, id, unshelve, models.InstanceAction{RequestID: "req-u", Action: "unshelve", UserID: "u1", ProjectID: "p1"})
	require.NoError(t, err)
	require.NoError(t, a.store.Place(ctx, models.Placement{ServerID: id, HostID: held.ID, VCPUs: 1, MemoryMiB: 512, DiskGiB: 4}, lifecycle.Spawning))
	plan, err = a.PlanUnshelve(ctx, contract.PlanUnshelveInput{ServerID: id})
	require.NoError(t, err)
	require.Empty(t, plan.Left, "a worker that was killed has chosen it")
	do(t, func(ctx context.Context) error {
		return a.RecordUnshelve(ctx, contract.RecordUnshelveInput{ServerID: id, RequestID: "req-u", Zone: "az2"})
	})
	require.NoError(t, a.DropShelvedImage(ctx, contract.DropShelvedImageInput{ServerID: id, UserID: "u1", RequestID: "req-x"}), "it is shelved")
	image, err := a.store.Image(ctx, imageID)
	require.NoError(t, err)
	require.NoError(t, a.images.RemoveSnapshot(ctx, images.Caller{}, uuid.NewString(), imageID), "of another server")
	_, err = a.store.Image(ctx, imageID)
	require.NoError(t, err)

	_, err = a.store.DeleteImage(ctx, image.ID, nil)
	require.NoError(t, err)
	_, err = a.PlanUnshelve(ctx, contract.PlanUnshelveInput{ServerID: id})
	require.True(t, fault.Is(err, fault.Conflict))
	require.Equal(t, "Error during unshelve instance "+id+": Unshelve attempted but the image "+imageID+" cannot be found.", fault.Public(err))
}

func TestAServerWhoseImageIsGoneDoesNotLeaveItsHost(t *testing.T) {
	ctx, a, _, id, imageID := shelvable(t, "shelve")
	do(t, a.recordsShelve("shelve", id, imageID))
	require.NoError(t, a.CheckShelved(ctx, contract.CheckShelvedInput{ServerID: id}))
	_, err := a.store.DeleteImage(ctx, imageID, nil)
	require.NoError(t, err)
	require.True(t, fault.Is(a.CheckShelved(ctx, contract.CheckShelvedInput{ServerID: id}), fault.Conflict))
	err = asStep(t, func(ctx context.Context) error {
		return a.LeaveHost(ctx, contract.LeaveHostInput{Action: "shelve", ServerID: id, RequestID: "req-s", Hostname: "hv1"})
	})
	require.True(t, fault.Is(err, fault.Conflict))
	v, err := a.store.Server(ctx, id)
	require.NoError(t, err)
	require.Equal(t, "hv1", v.Host.Hostname)
}

func TestTheImageOfAShelveThatFailedGoesAndThatOfAShelvedServerStays(t *testing.T) {
	remove := func(a *Activities, id, imageID string) func(context.Context) error {
		return func(ctx context.Context) error {
			return a.RemoveShelvedImage(ctx, contract.RemoveShelvedImageInput{ServerID: id, ImageID: imageID, ProjectID: "p1", UserID: "u1", RequestID: "req-s"})
		}
	}
	ctx, a, _, id, imageID := shelvable(t, "shelve")
	do(t, a.recordsShelve("shelve", id, imageID), remove(a, id, imageID))
	_, err := a.store.Image(ctx, imageID)
	require.True(t, fault.Is(err, fault.NotFound), "whole as it was")
	v, err := a.store.Server(ctx, id)
	require.NoError(t, err)
	require.Nil(t, v.ShelvedImageID)
	require.True(t, fault.Is(asStep(t, a.recordsShelve("shelve", id, imageID)), fault.Conflict), "what was given back is not taken any more")

	ctx, a, _, id, imageID = shelvable(t, "shelve")
	do(t, a.recordsShelve("shelve", id, imageID), a.finishes("shelve", id), remove(a, id, imageID))
	_, err = a.store.Image(ctx, imageID)
	require.NoError(t, err, "a run of before asks, and the server is shelved")
}

func TestTheImageOfAShelvedServerGoesWithIt(t *testing.T) {
	ctx, a, _, id, imageID := shelvable(t, "shelve")
	do(t, a.recordsShelve("shelve", id, imageID), a.finishes("shelve", id), func(ctx context.Context) error {
		return a.RemoveServer(ctx, contract.RemoveServerInput{ServerID: id, RequestID: "req-d"})
	})
	_, err := a.store.Image(ctx, imageID)
	require.True(t, fault.Is(err, fault.NotFound))
	_, err = a.store.Server(ctx, id)
	require.True(t, fault.Is(err, fault.NotFound))
}

func TestShelvedServersLeaveTheirHostsWhenTheirTimeIsOver(t *testing.T) {
	ctx, a, engine, id, imageID := shelvable(t, "shelve")
	do(t, a.recordsShelve("shelve", id, imageID), a.finishes("shelve", id))
	require.NoError(t, a.OffloadShelved(ctx, contract.Housekeeping{}))
	require.Empty(t, engine.asked, "it is too early")
	a.now = func() time.Time { return time.Now().Add(61 * time.Minute) }
	engine.busy = id
	require.NoError(t, a.OffloadShelved(ctx, contract.Housekeeping{}), "what is busy waits for the next turn")
	engine.busy = ""
	require.NoError(t, a.OffloadShelved(ctx, contract.Housekeeping{}))
	require.Len(t, engine.asked, 1)
	require.Equal(t, []any{"shelveOffload", id, "u1", true}, []any{engine.asked[0].Action, engine.asked[0].ServerID, engine.asked[0].UserID, engine.asked[0].OverLock})
	a.offloadAfter = -1
	require.NoError(t, a.OffloadShelved(ctx, contract.Housekeeping{}))
	require.Len(t, engine.asked, 1, "negative is never")
}
