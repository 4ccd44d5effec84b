package control

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/testsuite"

	settings "github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/internal/imagestore/imagestoretest"
	"github.com/slipway-cloud/slipway/internal/imagestore/s3test"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/internal/webdownload"
	"github.com/slipway-cloud/slipway/models"
)

// importing is the steps of an import on a real database, a folder ("hot"), an object store ("cold") and another folder
// ("warm"), with a web server that has an image.
type importing struct {
	*Activities
	env      *testsuite.TestActivityEnvironment
	rows     *models.Store
	database *sql.DB
	stores   *imagestore.Stores
	s3       *s3test.Server
	uri      string
	image    []byte

	call   func(context.Context) error
	answer error
}

func newImporting(t *testing.T, config images.Config) *importing {
	t.Helper()
	config.MaxBytes = settings.Default().Images.MaxBytes
	ctx := t.Context()
	log := slog.New(slog.DiscardHandler)
	dsn := testenv.Migrated(t)
	store, err := models.Open(ctx, dsn, models.Options{Logger: log})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	_, err = store.EnsureProject(ctx, models.Project{ID: "p1", Name: "p1", DomainID: "default", Enabled: true})
	require.NoError(t, err)

	database, err := sql.Open("pgx", dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, database.Close()) })

	m := &importing{rows: store, database: database, s3: s3test.Start(t), image: bytes.Repeat([]byte("not a disk of any format\n"), 1<<16)}
	bucket, dir := m.s3.Bucket("images"), t.TempDir()
	locks := filepath.Join(dir, "locks")
	require.NoError(t, os.Mkdir(locks, 0o700))
	m.stores, err = imagestore.OpenStores(imagestore.Settings{
		Stores:      fmt.Sprintf("hot=file:%s,cold=s3:%s/%s?region=%s,warm=file:%s", filepath.Join(dir, "hot"), m.s3.URL, bucket, s3test.Region, filepath.Join(dir, "warm")),
		Credentials: "cold " + s3test.AccessKey + " " + s3test.SecretKey, Locks: imagestore.FolderLocks(locks),
	})
	require.NoError(t, err)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(m.image) }))
	t.Cleanup(web.Close)
	m.uri = web.URL
	at, err := url.Parse(web.URL)
	require.NoError(t, err)
	port, err := strconv.Atoi(at.Port())
	require.NoError(t, err)
	m.Activities = New(Options{
		Store: store, Images: images.New(store, m.stores, config, log), Logger: log,
		Web: webdownload.New(webdownload.Rules{
			Hosts: []string{"127.0.0.1"}, Ports: []int{port}, Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		}, log),
	})
	var suite testsuite.WorkflowTestSuite
	m.env = suite.NewTestActivityEnvironment()
	m.env.SetTestTimeout(time.Minute)
	m.env.RegisterActivityWithOptions(func(ctx context.Context) error {
		m.answer = m.call(ctx)
		return nil
	}, activity.RegisterOptions{Name: "step"})
	return m
}

// do runs a step as a worker does, and gives the fault that it answers.
func (m *importing) do(step, in any) error {
	m.call = func(ctx context.Context) error {
		out := reflect.ValueOf(step).Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(in)})
		err, _ := out[len(out)-1].Interface().(error)
		return err
	}
	_, err := m.env.ExecuteActivity("step")
	if err == nil {
		return m.answer
	}
	return err
}

// queued is a new image, and an import of it to hot and cold.
func (m *importing) queued(t *testing.T, method string) contract.ImportInput {
	t.Helper()
	raw, bare := "raw", "bare"
	image, err := m.rows.CreateImage(t.Context(), models.Image{ID: uuid.NewString(), OwnerID: "p1", Visibility: "private", DiskFormat: &raw, ContainerFormat: &bare}, nil)
	require.NoError(t, err)
	return m.importOf(t, image.ID, method)
}

// importOf is another import, so that of another run: the suite gives all of them one id.
func (m *importing) importOf(t *testing.T, imageID, method string) contract.ImportInput {
	t.Helper()
	_, err := m.database.ExecContext(t.Context(), "DELETE FROM given_back")
	require.NoError(t, err)
	return contract.ImportInput{
		Task:   contract.ImportTask{ID: uuid.NewString(), ImageID: imageID, ProjectID: "p1", UserID: "u1", RequestID: "req-1"},
		Method: method, URI: m.uri, Stores: []string{"hot", "cold"}, Every: true, Request: []byte(`{}`), KeepTask: time.Hour,
	}
}

func (m *importing) begin(t *testing.T, in contract.ImportInput) contract.ImportBegun {
	t.Helper()
	var begun contract.ImportBegun
	require.NoError(t, m.do(func(ctx context.Context, in contract.ImportInput) (err error) {
		begun, err = m.BeginImport(ctx, in)
		return err
	}, in))
	return begun
}

func (m *importing) storeIn(in contract.ImportInput, store string) contract.StoreImageInput {
	return contract.StoreImageInput{Task: in.Task, Method: in.Method, URI: in.URI, Store: store, Stays: true}
}

func (m *importing) row(t *testing.T, id string) models.Image {
	t.Helper()
	row, err := m.rows.Image(t.Context(), id)
	require.NoError(t, err)
	return row
}

// lies requires that exactly these stores have the image, and nothing else of it.
func (m *importing) lies(t *testing.T, id string, in ...string) {
	t.Helper()
	var have []string
	for _, name := range m.stores.Names() {
		store, err := m.stores.Store(name)
		require.NoError(t, err)
		ids, err := store.IDs(t.Context())
		require.NoError(t, err)
		for _, found := range ids {
			if found == id {
				have = append(have, name)
				body, err := store.Open(t.Context(), id, 0, -1)
				require.NoError(t, err)
				got, err := io.ReadAll(body)
				require.NoError(t, err)
				require.NoError(t, body.Close())
				require.True(t, bytes.Equal(m.image, got), "the bytes in %s", name)
				continue
			}
			require.NotContains(t, found, id, "in %s", name)
		}
	}
	require.ElementsMatch(t, in, have)
}

func (m *importing) task(t *testing.T, in contract.ImportInput, status string) models.ImageTask {
	t.Helper()
	task, err := m.rows.ImageTask(t.Context(), in.Task.ID)
	require.NoError(t, err)
	require.Equal(t, status, task.Status, "%+v", task)
	return task
}

func (m *importing) stage(t *testing.T, id string) {
	t.Helper()
	repo := m.images.Internally(callerOf(contract.ImportTask{ProjectID: "p1"}))
	_, err := repo.Stage(t.Context(), m.row(t, id), images.Data{Body: bytes.NewReader(m.image), Length: int64(len(m.image)), Store: "warm"})
	require.NoError(t, err)
}

func TestEachStepOfAnImportMayBeDoneTwice(t *testing.T) {
	m := newImporting(t, images.Config{})
	for _, method := range []string{contract.ImportWeb, contract.ImportStaged} {
		in := m.queued(t, method)
		id := in.Task.ImageID
		if method == contract.ImportStaged {
			m.stage(t, id)
		}
		begun := m.begin(t, in)
		require.Equal(t, begun, m.begin(t, in))
		require.Equal(t, in.Stores, begun.Stores)
		m.task(t, in, "processing")
		for range 2 {
			require.NoError(t, m.do(m.StoreImage, m.storeIn(in, "hot")))
			row := m.row(t, id)
			require.Equal(t, models.ImageImporting, row.Status, "the other store has it not yet")
			require.Equal(t, "cold", row.Properties[models.ImportingProperty])
		}
		for range 2 {
			require.NoError(t, m.do(m.CopyImage, contract.CopyImageInput{Task: in.Task, Store: "cold"}))
			require.Equal(t, "", m.row(t, id).Properties[models.ImportingProperty])
		}
		for range 2 {
			require.NoError(t, m.do(m.FinishImport, contract.FinishImportInput{Import: in, Begun: begun, Message: "Done."}))
			require.Equal(t, models.ImageActive, m.row(t, id).Status)
			require.Equal(t, "Done.", m.task(t, in, "success").Message)
			m.lies(t, id, "hot", "cold")
		}
		require.NotContains(t, m.row(t, id).Properties, models.ImportTaskProperty)
		events := map[string]int{}
		all, err := m.rows.ClaimNotifications(t.Context(), models.SinkLog, 100, time.Minute)
		require.NoError(t, err)
		for len(all) > 0 {
			for _, n := range all {
				if n.ResourceID == id {
					events[n.EventType]++
				}
				require.NoError(t, m.rows.NotificationsDelivered(t.Context(), models.SinkLog, n.ID))
			}
			all, err = m.rows.ClaimNotifications(t.Context(), models.SinkLog, 100, time.Minute)
			require.NoError(t, err)
		}
		require.Equal(t, map[string]int{"image.upload": 1, "image.activate": 1}, events)
	}
}

func TestAnImportIsTakenBackFromWhereverItGot(t *testing.T) {
	m := newImporting(t, images.Config{})
	steps := []func(in contract.ImportInput) error{
		func(in contract.ImportInput) error { return m.do(m.BeginImport, in) },
		func(in contract.ImportInput) error { return m.do(m.StoreImage, m.storeIn(in, "hot")) },
		func(in contract.ImportInput) error {
			return m.do(m.CopyImage, contract.CopyImageInput{Task: in.Task, Store: "cold"})
		},
	}
	for _, method := range []string{contract.ImportWeb, contract.ImportStaged} {
		for done := 1; done <= len(steps); done++ {
			t.Run(fmt.Sprintf("%s after %d steps", method, done), func(t *testing.T) {
				in := m.queued(t, method)
				id := in.Task.ImageID
				begun := contract.ImportBegun{Stores: in.Stores}
				if method == contract.ImportStaged {
					m.stage(t, id)
					begun.Staged = "warm"
				}
				for _, step := range steps[:done] {
					require.NoError(t, step(in))
				}
				undo := contract.AbandonImportInput{Import: in, Begun: begun, Failed: in.Stores, Message: "It failed."}
				for range 2 {
					require.NoError(t, m.do(m.AbandonImport, undo))
					row := m.row(t, id)
					require.Equal(t, models.ImageQueued, row.Status)
					require.Nil(t, row.SizeBytes)
					require.Nil(t, row.SHA512)
					require.Empty(t, row.Locations)
					require.Equal(t, map[string]string{models.ImportingProperty: "", models.ImportFailedProperty: "hot,cold"}, row.Properties)
					require.Equal(t, "It failed.", m.task(t, in, "failure").Message)
					m.lies(t, id)
					m.began(t, in, true)
				}
				// What was given up long ago and wakes up now changes nothing, of the next import neither.
				require.True(t, fault.Is(m.do(m.StoreImage, m.storeIn(in, "hot")), fault.Conflict))
				next := m.importOf(t, id, contract.ImportWeb)
				m.begin(t, next)
				require.True(t, fault.Is(m.do(m.StoreImage, m.storeIn(in, "hot")), fault.Conflict))
				require.True(t, fault.Is(m.do(m.CopyImage, contract.CopyImageInput{Task: in.Task, Store: "cold"}), fault.Conflict))
				require.NoError(t, m.do(m.AbandonImport, undo), "again, while the next one runs")
				m.lies(t, id)
				alone := m.storeIn(next, "hot")
				alone.Stays = false
				require.NoError(t, m.do(m.StoreImage, alone))
				require.NoError(t, m.do(m.AbandonImport, undo))
				m.lies(t, id, "hot")
				require.Equal(t, models.ImageActive, m.row(t, id).Status)
			})
		}
	}
}

// began requires what the API answers whoever's submission it was.
func (m *importing) began(t *testing.T, in contract.ImportInput, want bool) {
	t.Helper()
	began, err := m.rows.ImportBegan(t.Context(), in.Task.ID)
	require.NoError(t, err)
	require.Equal(t, want, began)
}

func TestAnImportThatNeverBeganCannotBeginAfterItsEnd(t *testing.T) {
	m := newImporting(t, images.Config{})
	in := m.queued(t, contract.ImportWeb)
	m.began(t, in, false)
	require.NoError(t, m.do(m.AbandonImport, contract.AbandonImportInput{Import: in, Failed: in.Stores, Message: "It could not begin."}))
	m.task(t, in, "failure")
	m.began(t, in, false)
	require.True(t, fault.Is(m.do(m.BeginImport, in), fault.Conflict))
	row := m.row(t, in.Task.ImageID)
	require.Equal(t, models.ImageQueued, row.Status)
	require.Empty(t, row.Properties)
	// Of an image that never was there is nothing to say.
	none := m.importOf(t, uuid.NewString(), contract.ImportWeb)
	require.True(t, fault.Is(m.do(m.BeginImport, none), fault.NotFound))
	require.NoError(t, m.do(m.AbandonImport, contract.AbandonImportInput{Import: none}))
}

func TestAnImageThatIsDeletedDuringItsImportLeavesNothing(t *testing.T) {
	m := newImporting(t, images.Config{})
	for stored := range 3 { // stores that have it by then
		in := m.queued(t, contract.ImportStaged)
		id := in.Task.ImageID
		m.stage(t, id)
		begun := m.begin(t, in)
		require.Equal(t, "warm", begun.Staged)
		if stored > 0 {
			require.NoError(t, m.do(m.StoreImage, m.storeIn(in, "hot")))
		}
		if stored > 1 {
			require.NoError(t, m.do(m.CopyImage, contract.CopyImageInput{Task: in.Task, Store: "cold"}))
		}
		require.NoError(t, m.images.Internally(callerOf(in.Task)).Remove(t.Context(), m.row(t, id)))
		require.Error(t, m.do(m.StoreImage, m.storeIn(in, "hot")))
		require.True(t, fault.Is(m.do(m.CopyImage, contract.CopyImageInput{Task: in.Task, Store: "cold"}), fault.NotFound))
		if stored > 1 { // it did not notice
			require.NoError(t, m.do(m.FinishImport, contract.FinishImportInput{Import: in, Begun: begun, Message: "Done."}))
		} else {
			require.NoError(t, m.do(m.AbandonImport, contract.AbandonImportInput{Import: in, Begun: begun, Message: "x"}))
		}
		require.Equal(t, "Image "+id+" was deleted during its import.", m.task(t, in, "failure").Message)
		m.lies(t, id)
		deleted, err := m.rows.ImagesByStatus(t.Context(), models.ImageDeleted, time.Now().Add(time.Hour))
		require.NoError(t, err)
		require.True(t, slices.ContainsFunc(deleted, func(i models.Image) bool { return i.ID == id }))
	}
}

// active is an image in hot.
func (m *importing) active(t *testing.T) string {
	t.Helper()
	in := m.queued(t, contract.ImportWeb)
	in.Stores = []string{"hot"}
	begun := m.begin(t, in)
	alone := m.storeIn(in, "hot")
	alone.Stays = false
	require.NoError(t, m.do(m.StoreImage, alone))
	require.NoError(t, m.do(m.FinishImport, contract.FinishImportInput{Import: in, Begun: begun}))
	return in.Task.ImageID
}

func TestACopyThatFailsLeavesTheImageWhereItWas(t *testing.T) {
	m := newImporting(t, images.Config{})
	id := m.active(t)
	in := m.importOf(t, id, contract.ImportCopy)
	in.Stores = []string{"cold", "warm"}
	begun := m.begin(t, in)
	require.NoError(t, m.do(m.CopyImage, contract.CopyImageInput{Task: in.Task, Store: "cold"}))
	m.lies(t, id, "hot", "cold")
	for range 2 {
		require.NoError(t, m.do(m.AbandonImport, contract.AbandonImportInput{Import: in, Begun: begun, Failed: begun.Stores, Message: "No."}))
		m.lies(t, id, "hot")
		row := m.row(t, id)
		require.Equal(t, models.ImageActive, row.Status)
		require.Len(t, row.Locations, 1)
		m.task(t, in, "failure")
	}
	// Without all_stores_must_succeed what was copied stays.
	in = m.importOf(t, id, contract.ImportCopy)
	in.Stores, in.Every = []string{"hot", "cold", "warm"}, false
	require.ErrorContains(t, m.do(m.BeginImport, in), "Image is already present at store 'hot'")
	in.Skip = true
	begun = m.begin(t, in)
	require.Equal(t, []string{"cold", "warm"}, begun.Stores)
	require.NoError(t, m.do(m.CopyImage, contract.CopyImageInput{Task: in.Task, Store: "warm"}))
	require.NoError(t, m.do(m.AbandonImport, contract.AbandonImportInput{Import: in, Begun: begun, Failed: []string{"cold"}, Message: "No."}))
	m.lies(t, id, "hot", "warm")
	require.Equal(t, "cold", m.row(t, id).Properties[models.ImportFailedProperty])
}

func TestAStoreThatIsAwayIsTriedAgain(t *testing.T) {
	m := newImporting(t, images.Config{})
	id := m.active(t)
	in := m.importOf(t, id, contract.ImportCopy)
	in.Stores = []string{"cold"}
	begun := m.begin(t, in)
	m.s3.Stop()
	copying := contract.CopyImageInput{Task: in.Task, Store: "cold"}
	require.True(t, fault.Is(m.do(m.CopyImage, copying), fault.Unavailable))
	undo := contract.AbandonImportInput{Import: in, Begun: begun, Failed: begun.Stores, Message: "No."}
	m.s3.Restart()
	require.NoError(t, m.do(m.CopyImage, copying))
	m.lies(t, id, "hot", "cold")
	m.s3.Stop()
	require.Error(t, m.do(m.AbandonImport, undo), "it does not give the copy up")
	m.s3.Restart()
	require.NoError(t, m.do(m.AbandonImport, undo))
	m.lies(t, id, "hot")
}

func TestWhoeverHoldsAnImagesLockIsWaitedFor(t *testing.T) {
	m := newImporting(t, images.Config{})
	in := m.queued(t, contract.ImportWeb)
	id := in.Task.ImageID
	begun := m.begin(t, in)
	for _, name := range []string{"hot", "cold"} {
		store, err := m.stores.Store(name)
		require.NoError(t, err)
		other, err := store.Create(t.Context(), id)
		require.NoError(t, err)
		require.True(t, fault.Is(m.do(m.StoreImage, m.storeIn(in, name)), fault.Unavailable))
		undo := contract.AbandonImportInput{Import: in, Begun: begun, Message: "No."}
		require.True(t, fault.Is(m.do(m.AbandonImport, undo), fault.Unavailable))
		require.Equal(t, models.ImageImporting, m.row(t, id).Status, "nothing of it is free for the next")
		require.NoError(t, other.Close())
	}
	require.NoError(t, m.do(m.StoreImage, m.storeIn(in, "hot")))
	m.lies(t, id, "hot")
}

func TestAnImportKeepsToTheQuota(t *testing.T) {
	m := newImporting(t, images.Config{ProjectBytes: 4 << 20}) // an image and a half
	id := m.active(t)
	in := m.importOf(t, id, contract.ImportCopy)
	in.Stores = []string{"cold", "warm"}
	m.begin(t, in)
	require.NoError(t, m.do(m.CopyImage, contract.CopyImageInput{Task: in.Task, Store: "cold"}))
	require.True(t, fault.Is(m.do(m.CopyImage, contract.CopyImageInput{Task: in.Task, Store: "warm"}), fault.TooLarge))
	m.lies(t, id, "hot", "cold")
	other := m.queued(t, contract.ImportWeb)
	m.begin(t, other)
	require.True(t, fault.Is(m.do(m.StoreImage, m.storeIn(other, "hot")), fault.TooLarge))
	m.lies(t, other.Task.ImageID)
}

func TestAnImportIsLeftAloneWhenTheRestIsSettled(t *testing.T) {
	m := newImporting(t, images.Config{})
	in := m.queued(t, contract.ImportStaged)
	id := in.Task.ImageID
	m.stage(t, id)
	begun := m.begin(t, in)
	settle := func() images.Settled {
		settled, err := m.images.Settle(t.Context())
		require.NoError(t, err)
		return settled
	}
	require.Zero(t, settle())
	require.NoError(t, m.do(m.StoreImage, m.storeIn(in, "hot")))
	require.Zero(t, settle())
	require.NoError(t, m.do(m.CopyImage, contract.CopyImageInput{Task: in.Task, Store: "cold"}))
	require.Zero(t, settle())
	require.NoError(t, m.do(m.FinishImport, contract.FinishImportInput{Import: in, Begun: begun}))
	require.Zero(t, settle())
	m.lies(t, id, "hot", "cold")
	// A copy whose worker died before it could record it is nobody's.
	warm, err := m.stores.Store("warm")
	require.NoError(t, err)
	up, err := warm.Create(t.Context(), id)
	require.NoError(t, err)
	_, err = up.Write(m.image)
	require.NoError(t, err)
	require.NoError(t, up.Commit(""))
	require.NoError(t, up.Close())
	require.Equal(t, images.Settled{Removed: 1}, settle())
	m.lies(t, id, "hot", "cold")
}

func TestTasksAreForgottenWhenTheyExpire(t *testing.T) {
	m := newImporting(t, images.Config{})
	id := m.active(t)
	tasks, err := m.rows.ImageTasks(context.WithoutCancel(t.Context()), id)
	require.NoError(t, err)
	require.Len(t, tasks, 1)
	n, err := m.rows.PurgeImageTasks(t.Context())
	require.NoError(t, err)
	require.Zero(t, n, "not yet")
	in := m.importOf(t, id, contract.ImportCopy)
	in.Stores, in.KeepTask = []string{"cold"}, -time.Second
	begun := m.begin(t, in)
	n, err = m.rows.PurgeImageTasks(t.Context())
	require.NoError(t, err)
	require.Zero(t, n, "one that goes on does not expire")
	require.NoError(t, m.do(m.FinishImport, contract.FinishImportInput{Import: in, Begun: begun}))
	n, err = m.rows.PurgeImageTasks(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	_, err = m.rows.ImageTask(t.Context(), in.Task.ID)
	require.True(t, fault.Is(err, fault.NotFound))
}

func TestAnAdoptionMakesAnImageOfBytesWhereTheyLieAndAGivenUpOneLeavesThem(t *testing.T) {
	m := newImporting(t, images.Config{})
	ctx := t.Context()
	for _, store := range []string{"hot", "cold"} {
		t.Run(store, func(t *testing.T) {
			id, bare := uuid.NewString(), "bare"
			in, err := m.stores.Store(store)
			require.NoError(t, err)
			require.NoError(t, imagestoretest.Put(ctx, in, id, m.image))
			caller := images.Caller{Caller: imagepolicy.Caller{UserID: "u1", ProjectID: "p1", Roles: []string{"admin"}}}
			_, _, err = m.images.Adopt(ctx, caller, id, store, models.Image{OwnerID: "p1", Visibility: "private", ContainerFormat: &bare})
			require.NoError(t, err)
			adoption := func() contract.ImportInput {
				i := m.importOf(t, id, contract.ImportOrphan)
				i.URI, i.Stores = id, []string{store}
				return i
			}
			given := adoption()
			begun := m.begin(t, given)
			for range 2 {
				require.NoError(t, m.do(m.AbandonImport, contract.AbandonImportInput{Import: given, Begun: begun}))
			}
			require.NoError(t, m.do(m.AbandonImport, contract.AbandonImportInput{Import: adoption()}), "nor one of which nobody knows whether it began")
			aside, err := in.Orphans(ctx)
			require.NoError(t, err)
			require.Len(t, aside, 1)
			require.Equal(t, models.ImageQueued, m.row(t, id).Status)

			again := adoption()
			begun = m.begin(t, again)
			for range 2 {
				require.NoError(t, m.do(m.StoreImage, contract.StoreImageInput{Task: again.Task, Method: again.Method, URI: again.URI, Store: store}))
			}
			require.NoError(t, m.FinishImport(ctx, contract.FinishImportInput{Import: again, Begun: begun}))
			row := m.row(t, id)
			require.Equal(t, models.ImageActive, row.Status)
			require.EqualValues(t, len(m.image), *row.SizeBytes)
			require.Equal(t, imagestoretest.SHA512(m.image), *row.SHA512)
			require.True(t, row.LiesIn(store))
			aside, err = in.Orphans(ctx)
			require.NoError(t, err)
			require.Empty(t, aside)
			got, err := imagestoretest.Get(ctx, in, id, 0, -1)
			require.NoError(t, err)
			require.True(t, bytes.Equal(m.image, got))
		})
	}
}
