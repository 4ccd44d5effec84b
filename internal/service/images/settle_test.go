package images

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/models"
)

// put publishes bytes under a name, without a word to the database, as a process does that dies behind it.
func (w *world) put(store, name string, data []byte) {
	w.t.Helper()
	up := w.begin(store, name, data)
	require.NoError(w.t, up.Commit(""))
	require.NoError(w.t, up.Close())
}

func (w *world) begin(store, name string, data []byte) imagestore.Upload {
	w.t.Helper()
	up, err := w.store(store).Create(w.t.Context(), name)
	require.NoError(w.t, err)
	_, err = up.Write(data)
	require.NoError(w.t, err)
	return up
}

// left is what stands in the folder of a process that died: its part, and its lock, which is free.
func (w *world) left(name string, data []byte) {
	w.t.Helper()
	write(w.t, filepath.Join(w.local, "uploads", name+".part"), data)
	write(w.t, filepath.Join(w.local, "uploads", name+".lock"), nil)
}

func (w *world) move(id string, from, to models.ImageStatus) {
	w.t.Helper()
	_, err := w.rows.MoveImage(w.t.Context(), id, models.ImageMove{From: from, To: to})
	require.NoError(w.t, err)
}

func (w *world) sql(text string, args ...any) {
	w.t.Helper()
	db, err := pgx.Connect(w.t.Context(), w.dsn)
	require.NoError(w.t, err)
	defer db.Close(context.Background())
	tag, err := db.Exec(w.t.Context(), text, args...)
	require.NoError(w.t, err)
	require.NotZero(w.t, tag.RowsAffected())
}

func TestWhatRowsTellIsSettledWithoutALookAtTheStores(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	ctx, data := t.Context(), noise(20_000)
	for _, in := range []string{"local", "cold"} {
		saving, uploading, queued, deleted := w.queued().ID, w.queued().ID, w.queued().ID, w.active(in, data).ID
		w.move(saving, models.ImageQueued, models.ImageSaving)
		w.put(in, saving, data)
		w.move(uploading, models.ImageQueued, models.ImageUploading)
		w.put(in, stagedID(uploading), data)
		w.put(in, queued, data)
		_, err := w.rows.DeleteImage(ctx, deleted, nil)
		require.NoError(t, err)
		for _, want := range []Settled{{Requeued: 2, Deleted: 1}, {}} {
			found, err := w.SettleRows(ctx)
			require.NoError(t, err)
			require.Equal(t, want, found)
		}
		found, err := w.Settle(ctx)
		require.NoError(t, err)
		require.Equal(t, Settled{Removed: 1}, found, "what no row tells of is left for the look at the store")
	}
}

// Each case is what a process leaves that dies at one point, of an image that was queued before it began. After Settle, by one
// process or by two at once, the world is the one from before, and Settle finds nothing more.
func TestWhatADeadProcessLeftIsSettled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	ctx, data := t.Context(), noise(20_000)
	lying := map[string]models.Image{"local": w.active("local", data), "cold": w.active("cold", data)}
	elsewhere := map[string]string{"local": "cold", "cold": "local"}
	staged := map[string]models.Image{}
	for in := range lying {
		i, err := w.For(member).Stage(ctx, w.queued(), bytesTo(in, data))
		require.NoError(t, err)
		staged[in] = i
	}
	saving := func(id string) { w.move(id, models.ImageQueued, models.ImageSaving) }
	uploading := func(id string) { w.move(id, models.ImageQueued, models.ImageUploading) }
	gone := w.queued().ID
	_, err := w.rows.DeleteImage(ctx, gone, nil)
	require.NoError(t, err)
	requeued, removed := Settled{Requeued: 1}, Settled{Removed: 1}
	processes := []*Service{w.process(), w.process()}
	for name, c := range map[string]struct {
		die   func(in, id string)
		found Settled
	}{
		"it is saving":                    {func(_, id string) { saving(id) }, requeued},
		"it is saving, with a part":       {func(_, id string) { saving(id); w.left(id, data) }, requeued},
		"it is saving, with all bytes":    {func(in, id string) { saving(id); w.put(in, id, data) }, requeued},
		"it is uploading":                 {func(_, id string) { uploading(id) }, requeued},
		"it is uploading, with a part":    {func(_, id string) { uploading(id); w.left(stagedID(id), data) }, requeued},
		"it is uploading, with all bytes": {func(in, id string) { uploading(id); w.put(in, stagedID(id), data) }, requeued},
		"it is queued, with a part":       {func(_, id string) { w.left(id, data) }, removed},
		"it is queued, with all bytes":    {func(in, id string) { w.put(in, id, data) }, removed},
		"it is queued, with staged bytes": {func(in, id string) { w.put(in, stagedID(id), data) }, removed},
		"it was deleted, with all bytes":  {func(in, _ string) { w.put(in, gone, data) }, removed},
		"it was deleted, with a part":     {func(_, _ string) { w.left(gone, data) }, removed},
		"it is active, with a part":       {func(_, _ string) { w.left(lying["local"].ID, data) }, Settled{Swept: 1}},
		"it is active, with staged bytes": {func(in, _ string) { w.put(in, stagedID(lying[in].ID), data) }, removed},
		"it is active, in a second store": {func(in, _ string) { w.put(elsewhere[in], lying[in].ID, data) }, removed},
		"it is staged, in a second store": {func(in, _ string) { w.put(elsewhere[in], stagedID(staged[in].ID), data) }, removed},
		"it is active, and nobody knows where": {func(in, _ string) {
			w.sql("DELETE FROM image_locations WHERE image_id = $1", lying[in].ID)
		}, Settled{Located: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, in := range []string{"local", "cold"} {
				id := w.queued().ID
				before := w.everything()
				c.die(in, id)
				require.NotEqual(t, before, w.everything(), "it left something")
				found, err := w.Settle(ctx)
				require.NoError(t, err)
				require.Equal(t, c.found, found)
				require.Equal(t, before, w.everything())

				c.die(in, id)
				var both sync.WaitGroup
				errs := make([]error, 2)
				for n, s := range processes {
					both.Go(func() { _, errs[n] = s.Settle(ctx) })
				}
				both.Wait()
				require.NoError(t, errors.Join(errs...))
				_, err = w.Settle(ctx) // where each met the other at its work
				require.NoError(t, err)
				require.Equal(t, before, w.everything())

				found, err = w.Settle(ctx)
				require.NoError(t, err)
				require.Equal(t, Settled{}, found)
				w.reads(w.now(lying[in].ID), data)
				_, err = w.For(member).Upload(ctx, w.now(id), bytesTo(in, data))
				require.NoError(t, err, "it takes its bytes")
			}
		})
	}
}

func TestADeleteThatDidNotEndIsEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	ctx, data := t.Context(), noise(20_000)
	_, err := w.For(member).Stage(ctx, w.queued(), bytesTo("cold", data))
	require.NoError(t, err)
	for _, die := range []func(in string) (id string){
		func(in string) string { return w.active(in, data).ID },
		func(in string) string { // its bytes went
			id := w.active(in, data).ID
			require.NoError(t, w.store(in).Delete(ctx, id))
			return id
		},
		func(in string) string {
			i, err := w.For(member).Stage(ctx, w.queued(), bytesTo(in, data))
			require.NoError(t, err)
			return i.ID
		},
	} {
		for _, in := range []string{"local", "cold"} {
			before := w.everything()
			id := die(in)
			_, err := w.rows.DeleteImage(ctx, id, nil)
			require.NoError(t, err)
			_, err = w.Settle(ctx)
			require.NoError(t, err)
			after := w.everything()
			require.Equal(t, before.Files, after.Files)
			require.Equal(t, before.Bucket, after.Bucket)
			require.Equal(t, before.Rows["image_locations"], after.Rows["image_locations"])
			require.True(t, w.deleted(id))
			found, err := w.Settle(ctx)
			require.NoError(t, err)
			require.Equal(t, Settled{}, found)
		}
	}
}

func TestAnUploadThatIsAliveIsLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	ctx, data := t.Context(), noise(300_000)
	for name, take := range map[string]func(models.Image, Data) (models.Image, error){
		"upload": func(i models.Image, d Data) (models.Image, error) { return w.For(member).Upload(ctx, i, d) },
		"stage":  func(i models.Image, d Data) (models.Image, error) { return w.For(member).Stage(ctx, i, d) },
	} {
		for _, in := range []string{"local", "cold"} {
			t.Run(name+" "+in, func(t *testing.T) {
				i := w.queued()
				body, feed := io.Pipe()
				ended := make(chan error, 1)
				var image models.Image
				go func() {
					var err error
					image, err = take(i, Data{Body: body, Length: -1, Store: in})
					ended <- err
				}()
				_, err := feed.Write(data[:100_000])
				require.NoError(t, err)
				status := w.now(i.ID).Status
				require.Contains(t, []models.ImageStatus{models.ImageSaving, models.ImageUploading}, status)
				for _, s := range []*Service{w.Service, w.process()} {
					found, err := s.Settle(ctx)
					require.NoError(t, err)
					require.Equal(t, Settled{}, found)
					_, err = s.For(member).Upload(ctx, i, bytesTo(in, data))
					refused(t, fault.Conflict, err)
				}
				require.Equal(t, status, w.now(i.ID).Status)
				_, err = feed.Write(data[100_000:])
				require.NoError(t, err)
				require.NoError(t, feed.Close())
				require.NoError(t, <-ended)
				if name == "upload" {
					w.reads(image, data)
				}
			})
		}
	}
}

func TestAStoreThatIsAwayKeepsNothingFromBeingSettledInTheOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	ctx, data := t.Context(), noise(20_000)
	there, away := w.active("local", data), w.active("cold", data)
	id, deleted := w.queued().ID, w.active("local", data).ID
	stray := w.queued().ID
	w.put("cold", stray, data)
	w.move(id, models.ImageQueued, models.ImageSaving)
	w.left(id, data)
	w.put("local", w.queued().ID, data)
	_, err := w.rows.DeleteImage(ctx, deleted, nil)
	require.NoError(t, err)
	w.server.Stop()

	_, err = w.Settle(ctx)
	refused(t, fault.Unavailable, err)
	require.Equal(t, models.ImageQueued, w.now(id).Status)
	files, err := w.store("local").IDs(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{there.ID}, files)
	_, err = w.For(member).Upload(ctx, w.now(id), bytesTo("local", data))
	require.NoError(t, err)

	w.server.Restart()
	_, err = w.Settle(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{away.ID}, w.everything().Bucket)
	require.True(t, w.deleted(deleted))
	w.reads(w.now(id), data)
	found, err := w.Settle(ctx)
	require.NoError(t, err)
	require.Equal(t, Settled{}, found)
}

func TestAStoreThatGotAnotherNameKeepsItsImages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	ctx, data := t.Context(), noise(20_000)
	here, there := w.active("local", data), w.active("cold", data)
	for _, names := range [][2]string{{"fast", "slow"}, {"slow", "fast"}} { // both new, and then swapped
		w.specs = names[0] + "=" + strings.SplitN(strings.SplitN(w.specs, ",", 2)[0], "=", 2)[1] + "," +
			names[1] + "=" + strings.SplitN(strings.SplitN(w.specs, ",", 2)[1], "=", 2)[1]
		w.keys = names[1]
		w.Service = w.process()
		found, err := w.Settle(ctx)
		require.NoError(t, err)
		require.Equal(t, Settled{Located: 2}, found)
		w.reads(here, data)
		w.reads(there, data)
		for id, store := range map[string]string{here.ID: names[0], there.ID: names[1]} {
			at := w.now(id).Locations
			require.Len(t, at, 1)
			require.Equal(t, store, at[0].Store)
		}
		again, err := w.Settle(ctx)
		require.NoError(t, err)
		require.Equal(t, Settled{}, again)
	}
}

func TestBytesThatNoRecordedPlaceHasAreKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	ctx, data := t.Context(), noise(20_000)
	i := w.active("local", data)
	w.put("cold", i.ID, data)
	require.NoError(t, w.store("local").Delete(ctx, i.ID)) // somebody's hand, or a folder that is not mounted
	_, err := w.Settle(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{i.ID}, w.everything().Bucket)
}
