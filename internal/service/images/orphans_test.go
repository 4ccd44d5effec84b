package images

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/models"
)

func (w *world) settled(s *Service) Settled {
	w.t.Helper()
	done, err := s.Settle(w.t.Context())
	require.NoError(w.t, err)
	return done
}

// quarantined is a process of the world that keeps what it does not know for so long.
func (w *world) quarantined(keep time.Duration) *Service {
	w.config.Quarantine = keep
	return w.process()
}

func (w *world) bytesOf(store, name string) []byte {
	w.t.Helper()
	body, err := w.store(store).Open(w.t.Context(), name, 0, -1)
	require.NoError(w.t, err)
	defer body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(body)
	require.NoError(w.t, err)
	return b.Bytes()
}

func (w *world) aside(store string) []string {
	w.t.Helper()
	all, err := w.store(store).Orphans(w.t.Context())
	require.NoError(w.t, err)
	ids := []string{}
	for _, o := range all {
		ids = append(ids, o.ID)
	}
	return ids
}

func TestBytesThatNoRowKnowsAreSetAsideKeptAndOnlyThenDeleted(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"local", "cold"} {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, Config{})
			data, kept := noise(20_000), w.active(in, noise(1000))
			unknown := []string{uuid.NewString(), stagedID(uuid.NewString()), "by-hand"}
			for _, id := range unknown {
				w.put(in, id, data)
			}
			slices.Sort(unknown)
			s := w.quarantined(time.Hour)
			require.Equal(t, Settled{SetAside: 3}, w.settled(s))
			require.Equal(t, Settled{}, w.settled(w.process()), "another process finds nothing more")
			require.Equal(t, unknown, w.aside(in))
			orphans, err := s.Orphans(t.Context())
			require.NoError(t, err)
			require.Len(t, orphans, 3)
			for _, o := range orphans {
				require.Equal(t, in, o.Store)
				require.EqualValues(t, len(data), o.Bytes)
				require.Equal(t, o.Since.Add(time.Hour), o.Until)
				require.Equal(t, data, w.bytesOf(in, o.ID))
			}
			require.Equal(t, Settled{}, w.settled(w.quarantined(0)), "for ever")
			require.Equal(t, Settled{Removed: 3}, w.settled(w.quarantined(time.Nanosecond)))
			require.Empty(t, w.aside(in))
			for _, id := range unknown {
				_, err := w.store(in).Size(t.Context(), id)
				refused(t, fault.NotFound, err)
			}
			w.reads(kept, noise(1000))
		})
	}
}

// The database is another one for a while, as after a wrong setting or a restore: nothing that the first one knows is lost, and
// it finds everything as it was.
func TestAnImageThatARowKnowsAgainIsAnImageAgain(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"local", "cold"} {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, Config{})
			image := w.active(in, noise(20_000))
			staged, err := w.For(member).Stage(t.Context(), w.queued(), bytesTo(in, noise(3000)))
			require.NoError(t, err)
			other := newWorld(t, Config{Quarantine: time.Hour})
			other.specs, other.keys = w.specs, w.keys
			wrong := other.process()
			require.Equal(t, Settled{SetAside: 2}, w.settled(wrong))
			w.reads(image, noise(20_000)) // whoever knows it goes on
			require.Equal(t, Settled{Returned: 2}, w.settled(w.process()))
			require.Empty(t, w.aside(in))
			require.Equal(t, Settled{}, w.settled(w.process()))
			w.reads(image, noise(20_000))
			_, size, err := w.OpenStaged(t.Context(), staged)
			require.NoError(t, err)
			require.EqualValues(t, 3000, size)
		})
	}
}

func TestMoreThanAFewUnknownImagesStopTheSweepOfTheirStoreAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{Quarantine: time.Hour})
	var log bytes.Buffer
	w.Service = w.process()
	w.log = slog.New(slog.NewTextHandler(&log, nil))
	old := uuid.NewString()
	w.put("cold", old, noise(100))
	require.Equal(t, Settled{SetAside: 1}, w.settled(w.Service))
	var many []string
	for range Few + 1 {
		many = append(many, uuid.NewString())
		w.put("cold", many[len(many)-1], noise(100))
	}
	dead := w.queued().ID
	w.move(dead, models.ImageQueued, models.ImageSaving)
	log.Reset()
	w.Service.config.Quarantine = time.Nanosecond // what was set aside would be due
	require.Equal(t, Settled{Requeued: 1}, w.settled(w.Service))
	require.Equal(t, []string{old}, w.aside("cold"), "and nothing that was set aside is deleted")
	require.Contains(t, log.String(), "holds many images that the database does not know")
	require.Contains(t, log.String(), "store=cold")
	w.Service.config.Quarantine = time.Hour
	log.Reset()
	w.put("local", uuid.NewString(), noise(100))
	require.Equal(t, Settled{SetAside: 1}, w.settled(w.Service), "other stores are swept as ever")
	require.NotContains(t, log.String(), "holds many", "it is said once")

	o, err := w.SetAside(t.Context(), many[0], "")
	require.NoError(t, err)
	require.False(t, o.Since.IsZero())
	require.Equal(t, Settled{SetAside: Few}, w.settled(w.Service), "what is left is few")
	require.Len(t, w.aside("cold"), Few+2)
}

func TestWhatAnotherInstallationUploadsIsLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{Quarantine: time.Nanosecond})
	other := newWorld(t, Config{})
	other.specs, other.keys = w.specs, w.keys
	other.Service = other.process()
	for _, in := range []string{"local", "cold"} {
		up := other.begin(in, uuid.NewString(), noise(11<<20)) // with parts in the bucket, whose lock is in another database
		require.Equal(t, Settled{}, w.settled(w.Service))
		require.NoError(t, up.Commit(""), "all of it is there")
		require.NoError(t, up.Abort())
	}
	part := uuid.NewString()
	w.left(part, noise(100))
	require.Equal(t, Settled{}, w.settled(w.Service))
	require.FileExists(t, filepath.Join(w.local, "uploads", part+".part"))
}

func TestWhileTheInstallationMayNotSweepNothingIsSetAsideAndNothingDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	id, dead := uuid.NewString(), w.queued().ID
	w.put("local", id, noise(100))
	w.move(dead, models.ImageQueued, models.ImageSaving)
	w.put("local", dead, noise(100))
	before := w.everything()
	w.config.MaySweep = func(context.Context, ...string) error { return errors.New("the database was restored") }
	_, err := w.quarantined(time.Nanosecond).Settle(t.Context())
	require.ErrorContains(t, err, "the database was restored")
	require.Equal(t, before, w.everything())
}

func TestAnOrphanIsAdoptedWhereItLies(t *testing.T) {
	t.Parallel()
	qcow2, err := exec.Command("sh", "-c", "f=$(mktemp) && qemu-img create -q -f qcow2 $f 64M && cat $f && rm $f").Output()
	require.NoError(t, err)
	for _, in := range []string{"local", "cold"} {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, Config{Quarantine: time.Hour})
			ctx := t.Context()
			for _, c := range []struct {
				name   string // in the store
				data   []byte
				format string
			}{{uuid.NewString(), noise(20_000), "raw"}, {uuid.NewString(), qcow2, "qcow2"}, {stagedID(uuid.NewString()), noise(3000), "raw"}, {"by-hand", noise(500), "raw"}} {
				w.put(in, c.name, c.data)
				draft := draft(func(i *models.Image) { i.DiskFormat, i.ContainerFormat = nil, nil })
				i, o, err := w.Adopt(ctx, admin, c.name, "", draft)
				require.NoError(t, err)
				again, _, err := w.Adopt(ctx, admin, c.name, in, draft)
				require.NoError(t, err, "an import that could not be started is asked for again")
				require.Equal(t, i.ID, again.ID)
				require.Equal(t, c.format, *i.DiskFormat)
				require.Equal(t, []string{c.name}, w.aside(in), "set aside before there is a row")
				require.Equal(t, Settled{}, w.settled(w.Service), "and no dead upload's")

				body, size, err := w.OpenOrphan(ctx, c.name, o.Store)
				require.NoError(t, err)
				w.importing(i.ID, "task-"+i.ID)
				data := Data{Body: body, Length: size, Store: in, From: models.ImageImporting, Task: "task-" + i.ID, InPlace: c.name == i.ID}
				got, err := w.StoreImported(ctx, admin, i.ID, data)
				require.NoError(t, errors.Join(err, body.Close()))
				require.Equal(t, models.ImageActive, got.Status)
				require.EqualValues(t, len(c.data), *got.SizeBytes)
				w.reads(got, c.data)
				if c.name == i.ID {
					require.Empty(t, w.aside(in))
				} else {
					require.NoError(t, w.DeleteOrphan(ctx, c.name, ""))
				}
				require.Equal(t, Settled{}, w.settled(w.Service))
			}
		})
	}
}

func TestAnOrphanThatIsNoImageOrWhoseAdoptionDiesStaysAside(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{Quarantine: time.Hour, MaxBytes: 100_000})
	ctx := t.Context()
	for name, bad := range map[string]Data{
		"too large": {Body: bytes.NewReader(noise(200_000)), Length: 200_000},
		"cut off":   {Body: bytes.NewReader(noise(10)), Length: 20_000},
		"no qcow2":  {Body: bytes.NewReader(noise(20_000)), Length: 20_000},
	} {
		for _, in := range []string{"local", "cold"} {
			t.Run(name+" in "+in, func(t *testing.T) {
				id, format := uuid.NewString(), "qcow2"
				w.put(in, id, noise(20_000))
				i, _, err := w.Adopt(ctx, admin, id, "", draft(func(i *models.Image) { i.DiskFormat = &format }))
				require.NoError(t, err)
				task := models.ImageTask{ID: "task-" + id, ImageID: id, OwnerID: mine, Input: []byte("{}")}
				w.importing(i.ID, task.ID)
				bad := bad
				bad.Store, bad.From, bad.Task, bad.InPlace = in, models.ImageImporting, task.ID, true
				_, err = w.StoreImported(ctx, admin, id, bad)
				require.Error(t, err)
				require.Equal(t, Settled{}, w.settled(w.Service), "while it is importing")
				require.NoError(t, w.EndImport(ctx, admin, models.ImportEnd{Task: task, Expires: time.Now()}, nil, ""))
				require.Equal(t, Settled{}, w.settled(w.Service))
				require.Equal(t, models.ImageQueued, w.now(id).Status)
				require.Equal(t, []string{id}, w.aside(in))
				_, err = w.For(member).Upload(ctx, w.now(id), bytesTo(in, noise(10)))
				refused(t, fault.Conflict, err)
				require.Equal(t, noise(20_000), w.bytesOf(in, id))
				_, err = w.rows.DeleteImage(ctx, id, nil)
				require.NoError(t, err)
				require.Equal(t, Settled{}, w.settled(w.Service), "the row that failed says nothing of the bytes")
				require.NoError(t, w.DeleteOrphan(ctx, id, ""))
			})
		}
	}
}

func TestOnlyWhatNoRowKnowsIsAnOrphanByName(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	ctx, image := t.Context(), w.active("local", noise(100))
	for _, id := range []string{image.ID, uuid.NewString(), "../images"} {
		refused(t, fault.NotFound, w.DeleteOrphan(ctx, id, ""))
		_, err := w.SetAside(ctx, id, "")
		refused(t, fault.NotFound, err)
		_, _, err = w.Adopt(ctx, admin, id, "", draft())
		refused(t, fault.NotFound, err)
	}
	w.reads(image, noise(100))
	twice := uuid.NewString()
	w.put("local", twice, noise(10))
	w.put("cold", twice, noise(10))
	err := w.DeleteOrphan(ctx, twice, "")
	refused(t, fault.Conflict, err)
	require.Contains(t, fault.Public(err), "cold, local")
	require.NoError(t, w.DeleteOrphan(ctx, twice, "cold"))
	_, _, err = w.Adopt(ctx, admin, twice, "", draft(func(i *models.Image) { i.OwnerID = "nobody" }))
	refused(t, fault.Invalid, err)
	require.Equal(t, []string{twice}, w.aside("local"))
}

// A store of an older version has no place for marks yet.
func TestAStoreFromBeforeTakesMarks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"images", "uploads"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
	}
	id := uuid.NewString()
	write(t, filepath.Join(dir, "images", id), []byte("old"))
	reader, err := imagestore.OpenFiles(dir, imagestore.FilesOptions{ReadOnly: true})
	require.NoError(t, err)
	orphans, err := reader.Orphans(t.Context())
	require.NoError(t, err)
	require.Empty(t, orphans)
	ids, err := reader.IDs(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{id}, ids)
	store, err := imagestore.NewFiles(dir)
	require.NoError(t, err)
	hold, err := store.Hold(t.Context(), id)
	require.NoError(t, err)
	require.NoError(t, errors.Join(hold.SetAside(t.Context(), true), hold.Close()))
	orphans, err = reader.Orphans(t.Context())
	require.NoError(t, err)
	require.Len(t, orphans, 1)
}

// A row that is older than a restore knows too little: its image may have got its bytes after the backup.
func TestBytesOfARowFromBeforeARestoreAreSetAsideAndCanBeAdopted(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"local", "cold"} {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, Config{Quarantine: time.Hour})
			queued, saving := w.queued().ID, w.queued().ID
			w.move(saving, models.ImageQueued, models.ImageSaving)
			w.put(in, queued, noise(1000))
			w.put(in, saving, noise(1000))
			w.sql("INSERT INTO restores (noticed_at, evidence, acknowledged_at, acknowledged_by) VALUES (now(), '{}', now(), 'u1')")
			require.Equal(t, Settled{SetAside: 1, Requeued: 1}, w.settled(w.Service))
			require.ElementsMatch(t, []string{queued, saving}, w.aside(in))
			require.Equal(t, Settled{}, w.settled(w.Service))
			i, _, err := w.Adopt(t.Context(), admin, saving, "", draft())
			require.NoError(t, err)
			require.Equal(t, saving, i.ID, "the row that is there takes them")

			since := w.queued().ID
			w.put(in, since, noise(1000))
			require.Equal(t, Settled{Removed: 1}, w.settled(w.Service), "what is newer than the restore is known as ever")
		})
	}
}
