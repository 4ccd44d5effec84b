package images

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/models"
)

// narrow is a world whose default store has 32 MiB, half of which are reserved, and what its service logs.
func narrow(t *testing.T) (*world, *bytes.Buffer) {
	t.Helper()
	w := newWorld(t, Config{})
	w.local = testenv.SmallDisk(t, "32m")
	stores, err := imagestore.OpenStores(imagestore.Settings{
		Stores: "local=file:" + w.local + ",other=file:" + t.TempDir(), Reserve: "16777216", Locks: shared{w.rows.Locks("image uploads")},
	})
	require.NoError(t, err)
	var log bytes.Buffer
	w.Service = New(w.rows, stores, w.config, slog.New(slog.NewTextHandler(&log, nil)))
	return w, &log
}

func TestAStoreLeavesItsReserveWhateverComes(t *testing.T) {
	t.Parallel()
	w, log := narrow(t)
	ctx := t.Context()
	taken := w.active("local", noise(1<<20))
	elsewhere := w.active("other", noise(20<<20))
	for name, c := range map[string]struct {
		take func(i models.Image) error
		from models.ImageStatus
	}{
		"an upload that is announced": {func(i models.Image) error {
			_, err := w.For(member).Upload(ctx, i, Data{Body: untouched{t}, Length: 20 << 20})
			return err
		}, ""},
		"an upload": {func(i models.Image) error {
			_, err := w.For(member).Upload(ctx, i, bytesTo("local", noise(20<<20)))
			return err
		}, ""},
		"what is staged": {func(i models.Image) error {
			_, err := w.For(member).Stage(ctx, i, bytesTo("local", noise(20<<20)))
			return err
		}, ""},
		"a download": {func(i models.Image) error {
			w.importing(i.ID, "task-of-"+i.ID)
			_, err := w.StoreImported(ctx, member, i.ID, Data{Body: bytes.NewReader(noise(20 << 20)), Length: -1, Store: "local", From: models.ImageImporting, Task: "task-of-" + i.ID})
			return err
		}, models.ImageImporting},
	} {
		t.Run(name, func(t *testing.T) {
			log.Reset()
			i := w.queued()
			err := c.take(i)
			refused(t, fault.TooLarge, err)
			require.Contains(t, fault.Public(err), "Image storage media is full")
			require.Contains(t, fault.Public(err), "Delete images that are not needed any more")
			if c.from == "" {
				c.from = models.ImageQueued
			}
			require.Equal(t, c.from, w.now(i.ID).Status)
			for _, says := range []string{"level=WARN", "an image store is full", "image_id=" + i.ID, "store=local", "request_id=req-2", "free_bytes=", "reserve_bytes=16777216"} {
				require.Contains(t, log.String(), says)
			}
			require.Equal(t, []string{taken.ID}, names(t, filepath.Join(w.local, "images")))
			require.Empty(t, names(t, filepath.Join(w.local, "uploads")))
		})
	}
	t.Run("a copy", func(t *testing.T) {
		log.Reset()
		w.sql("UPDATE images SET properties = jsonb_build_object('os_glance_import_task', 'copying') WHERE id = $1", elsewhere.ID)
		_, err := w.CopyImported(ctx, member, elsewhere.ID, "copying", "local", func(body io.Reader) io.Reader { return untouched{t} })
		refused(t, fault.TooLarge, err)
		require.Contains(t, log.String(), "an image store is full")
	})
	_, err := w.For(member).Upload(ctx, w.queued(), bytesTo("local", noise(10<<20)))
	require.NoError(t, err, "what fits is taken as ever")
}

// importing takes the image for an import of that name.
func (w *world) importing(id, task string) {
	w.t.Helper()
	_, _, err := w.rows.BeginImport(w.t.Context(), models.ImportBegin{
		Task: models.ImageTask{ID: task, ImageID: id, OwnerID: mine, Input: []byte("{}")}, Method: "web-download", Stores: []string{"local"},
	})
	require.NoError(w.t, err)
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// untouched is a body of which nothing may be read.
type untouched struct{ t *testing.T }

func (u untouched) Read([]byte) (int, error) {
	u.t.Error("bytes were read that there is no room for")
	return 0, io.EOF
}

func TestUploadsAtOnceLeaveTheReserveTogether(t *testing.T) {
	t.Parallel()
	w, _ := narrow(t)
	const size = 6 << 20 // each would fit
	var all sync.WaitGroup
	errs := make([]error, 6)
	for n := range errs {
		i := w.queued()
		all.Go(func() {
			_, errs[n] = w.For(member).Upload(context.Background(), i, bytesTo("local", noise(size)))
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			refused(t, fault.TooLarge, err)
		}
	}
	require.LessOrEqual(t, len(names(t, filepath.Join(w.local, "images"))), 2)
	// What each asked for in the same moment, a piece, is all that they can take of it.
	require.NoError(t, os.WriteFile(filepath.Join(w.local, "others"), make([]byte, 12<<20), 0o600))
}
