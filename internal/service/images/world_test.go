package images

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	settings "github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/internal/imagestore/imagestoretest"
	"github.com/slipway-cloud/slipway/internal/imagestore/s3test"
	"github.com/slipway-cloud/slipway/models"
)

const (
	mine   = "a0000000000000000000000000000001"
	others = "a0000000000000000000000000000002"
)

var (
	admin  = Caller{Caller: imagepolicy.Caller{UserID: "u1", ProjectID: mine, Roles: []string{"admin"}}, RequestID: "req-1"}
	member = Caller{Caller: imagepolicy.Caller{UserID: "u2", ProjectID: mine, Roles: []string{"member"}}, RequestID: "req-2"}
	reader = Caller{Caller: imagepolicy.Caller{UserID: "u3", ProjectID: mine, Roles: []string{"reader"}}, RequestID: "req-3"}
	other  = Caller{Caller: imagepolicy.Caller{UserID: "u4", ProjectID: others, Roles: []string{"member"}}, RequestID: "req-4"}
)

// world is a database, a folder and a bucket, and the image service of a process on them.
type world struct {
	t      *testing.T
	dsn    string
	rows   *models.Store
	server *s3test.Server
	local  string // folder of the default store
	specs  string
	keys   string // the store that has credentials
	config Config
	*Service
}

func newWorld(t *testing.T, config Config) *world {
	t.Helper()
	config.MaxBytes = cmp.Or(config.MaxBytes, settings.Default().Images.MaxBytes)
	ctx := t.Context()
	w := &world{t: t, dsn: testenv.Migrated(t), server: s3test.Start(t), local: t.TempDir(), keys: "cold", config: config}
	rows, err := models.Open(ctx, w.dsn, models.Options{Logger: slog.New(slog.DiscardHandler), MaxConns: 8})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, rows.Close()) })
	for id, name := range map[string]string{mine: "mine", others: "others"} {
		_, err := rows.EnsureProject(ctx, models.Project{ID: id, Name: name, DomainID: "default", Enabled: true, CreatedAt: time.Now().UTC()})
		require.NoError(t, err)
	}
	w.rows = rows
	w.specs = "local=file:" + w.local + ",cold=s3:" + w.server.URL + "/" + w.server.Bucket("images") + "?part_mib=5&region=" + s3test.Region
	w.Service = w.process()
	return w
}

// process is the service as another process has it: on the same database and stores, with locks of its own.
func (w *world) process() *Service {
	w.t.Helper()
	locks := w.rows.Locks("image uploads")
	w.t.Cleanup(locks.Close)
	stores, err := imagestore.OpenStores(imagestore.Settings{
		Stores: w.specs, Credentials: w.keys + " " + s3test.AccessKey + " " + s3test.SecretKey, Locks: shared{locks},
	})
	require.NoError(w.t, err)
	return New(w.rows, stores, w.config, slog.New(slog.DiscardHandler))
}

type shared struct{ locks *models.Locks }

func (s shared) Lock(ctx context.Context, name string) (imagestore.Lock, error) {
	lock, err := s.locks.Lock(ctx, name)
	if err != nil {
		return nil, err
	}
	return lock, nil
}

func (w *world) store(name string) imagestore.Store {
	w.t.Helper()
	store, err := w.Stores().Store(name)
	require.NoError(w.t, err)
	return store
}

// draft is a description of the caller's project.
func draft(change ...func(*models.Image)) models.Image {
	format, container := "raw", "bare"
	d := models.Image{
		ID: uuid.NewString(), OwnerID: mine, Visibility: imagepolicy.Shared, DiskFormat: &format, ContainerFormat: &container,
		Properties: map[string]string{}, Tags: []string{},
	}
	for _, c := range change {
		c(&d)
	}
	return d
}

func (w *world) queued(change ...func(*models.Image)) models.Image {
	w.t.Helper()
	i, err := w.For(admin).Add(w.t.Context(), draft(change...))
	require.NoError(w.t, err)
	return i
}

func (w *world) active(in string, data []byte) models.Image {
	w.t.Helper()
	i, err := w.For(member).Upload(w.t.Context(), w.queued(), bytesTo(in, data))
	require.NoError(w.t, err)
	return i
}

func bytesTo(store string, data []byte) Data {
	return Data{Body: bytes.NewReader(data), Length: -1, Store: store}
}

func noise(n int) []byte { return imagestoretest.Noise(uint64(n), n) }

// now is an image as everybody may see it.
func (w *world) now(id string) models.Image {
	w.t.Helper()
	i, err := w.rows.Image(w.t.Context(), id)
	require.NoError(w.t, err)
	return i
}

// deleted says whether an image's delete has ended.
func (w *world) deleted(id string) bool {
	w.t.Helper()
	all, err := w.rows.ImagesByStatus(w.t.Context(), models.ImageDeleted, time.Now().Add(time.Hour))
	require.NoError(w.t, err)
	return slices.ContainsFunc(all, func(i models.Image) bool { return i.ID == id })
}

// everything is the database, without when rows were changed, and what lies in the stores.
type everything struct {
	Rows   map[string][]string
	Files  []string
	Bucket []string
}

func (w *world) everything() everything {
	w.t.Helper()
	rows, err := w.rows.Snapshot(w.t.Context(), "images.updated_at", "image_locations.created_at")
	require.NoError(w.t, err)
	e := everything{Rows: rows, Files: []string{}}
	require.NoError(w.t, filepath.WalkDir(w.local, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && d.IsDir() {
			return nil
		}
		e.Files = append(e.Files, strings.TrimPrefix(path, w.local))
		return err
	}))
	e.Bucket, err = w.store("cold").IDs(w.t.Context())
	require.NoError(w.t, err)
	e.Bucket = append([]string{}, e.Bucket...)
	return e
}

// reads holds that the image's bytes are these.
func (w *world) reads(i models.Image, want []byte) {
	w.t.Helper()
	body, err := w.Open(w.t.Context(), i, 0, -1)
	require.NoError(w.t, err)
	got, err := io.ReadAll(body)
	require.NoError(w.t, errors.Join(err, body.Close()))
	require.True(w.t, bytes.Equal(want, got), "%d bytes, not %d; or others", len(got), len(want))
}

// told are the notifications that there are, in order: event, image's state, who did it.
func (w *world) told() []string {
	w.t.Helper()
	rows, err := w.rows.Snapshot(w.t.Context())
	require.NoError(w.t, err)
	type event struct {
		ID        int64  `json:"id"`
		EventType string `json:"event_type"`
		UserID    string `json:"user_id"`
		RequestID string `json:"request_id"`
		Payload   struct{ Status string }
	}
	var all []event
	for _, row := range rows["notifications"] {
		var e event
		require.NoError(w.t, json.Unmarshal([]byte(row), &e), row)
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b event) int { return int(a.ID - b.ID) })
	told := []string{}
	for _, e := range all {
		told = append(told, strings.Join([]string{e.EventType, e.Payload.Status, e.UserID, e.RequestID}, " "))
	}
	return told
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, data, 0o600))
}
