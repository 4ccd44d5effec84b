package installation_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/internal/imagestore/imagestoretest"
	"github.com/slipway-cloud/slipway/internal/imagestore/s3test"
	"github.com/slipway-cloud/slipway/internal/installation"
	"github.com/slipway-cloud/slipway/models"
)

func database(t *testing.T) *models.Store {
	t.Helper()
	rows, err := models.Open(t.Context(), testenv.Database(t), models.Options{MaxConns: 4, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, rows.Close()) })
	require.NoError(t, rows.Migrate(t.Context()))
	return rows
}

// namespace is Temporal's, as far as it says whose it is.
type namespace struct{ owner string }

func (n *namespace) Name() string                                { return "Temporal's namespace test" }
func (n *namespace) Owner(context.Context) (string, error)       { return n.owner, nil }
func (n *namespace) SetOwner(_ context.Context, id string) error { n.owner = id; return nil }
func (n *namespace) Settings(context.Context) (installation.EngineSettings, error) {
	return installation.EngineSettings{}, nil
}

func keeper(t *testing.T, rows *models.Store, stores *imagestore.Stores, engine installation.Engine) *installation.Keeper {
	t.Helper()
	k, err := installation.Load(t.Context(), rows, stores, engine, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return k
}

func image(t *testing.T, rows *models.Store, id string) {
	t.Helper()
	_, err := rows.EnsureProject(t.Context(), models.Project{ID: "p", Name: "p", DomainID: "default", Enabled: true})
	require.NoError(t, err)
	_, err = rows.CreateImage(t.Context(), models.Image{ID: id, OwnerID: "p", Visibility: "private"}, nil)
	require.NoError(t, err)
}

// eachKind runs a test on a folder and on an object store; open opens the same place again.
func eachKind(t *testing.T, f func(t *testing.T, open func() *imagestore.Stores)) {
	server := s3test.Start(t)
	for kind, settings := range map[string]func(t *testing.T) imagestore.Settings{
		"file": func(t *testing.T) imagestore.Settings { return imagestore.Settings{Dir: t.TempDir()} },
		"s3": func(t *testing.T) imagestore.Settings {
			return imagestore.Settings{
				Stores:      "local=s3:" + server.URL + "/" + server.Bucket("b"+uuid.NewString()) + "/prefix?region=us-east-1",
				Credentials: "local " + s3test.AccessKey + " " + s3test.SecretKey,
			}
		},
	} {
		t.Run(kind, func(t *testing.T) {
			s := settings(t)
			s.Locks = imagestore.FolderLocks(t.TempDir())
			f(t, func() *imagestore.Stores {
				stores, err := imagestore.OpenStores(s)
				require.NoError(t, err)
				return stores
			})
		})
	}
}

func TestAStoreOfOneInstallationStopsTheProcessOfAnother(t *testing.T) {
	eachKind(t, func(t *testing.T, open func() *imagestore.Stores) {
		ctx, mine, other := t.Context(), database(t), database(t)
		first := keeper(t, mine, open(), nil)
		require.NoError(t, first.Check(ctx), "an empty store joins")
		require.NoError(t, first.MaySweep(ctx, "local"))
		ids, err := open().IDs(ctx)
		require.NoError(t, err)
		require.Empty(t, ids, "what a store says of itself is no image")
		id := uuid.NewString()
		image(t, mine, id)
		require.NoError(t, imagestoretest.Put(ctx, open(), id, []byte("bytes")))

		second := keeper(t, other, open(), nil)
		err = second.Check(ctx)
		require.ErrorAs(t, err, new(*installation.Mismatch))
		require.ErrorContains(t, err, "Image store local at ")
		require.ErrorContains(t, err, "belongs to installation "+first.ID()+", and this database is installation "+second.ID())
		require.ErrorContains(t, err, "slipway installation join --store local")
		require.Error(t, second.MaySweep(ctx, "local"))
		require.NoError(t, first.Check(ctx))

		was, err := second.JoinStore(ctx, "local")
		require.NoError(t, err)
		require.Equal(t, first.ID(), was)
		require.NoError(t, second.Check(ctx))
		require.ErrorContains(t, first.Check(ctx), "belongs to installation "+second.ID())
		require.Error(t, first.MaySweep(ctx, "local"))
	})
}

func TestOneOfManyInstallationsGetsAStoreAndAllProcessesOfItDo(t *testing.T) {
	eachKind(t, func(t *testing.T, open func() *imagestore.Stores) {
		rows := []*models.Store{database(t), database(t)}
		errs := make([]error, 8)
		var all sync.WaitGroup
		for i := range errs {
			k := keeper(t, rows[i%2], open(), nil)
			all.Go(func() { errs[i] = k.Check(t.Context()) })
		}
		all.Wait()
		won := 0
		if errs[0] != nil {
			won = 1
		}
		for i, err := range errs {
			if i%2 == won {
				require.NoError(t, err)
			} else {
				require.ErrorAs(t, err, new(*installation.Mismatch))
			}
		}
	})
}

func TestAStoreOfBeforeJoinsWhereTheDatabaseKnowsItsImages(t *testing.T) {
	eachKind(t, func(t *testing.T, open func() *imagestore.Stores) {
		ctx, mine, other := t.Context(), database(t), database(t)
		for i := range 3 {
			id := uuid.NewString()
			require.NoError(t, imagestoretest.Put(ctx, open(), id, []byte("bytes")))
			if i > 0 { // a dead process left one
				image(t, mine, id)
			}
		}
		stranger := keeper(t, other, open(), nil)
		require.ErrorContains(t, stranger.Check(ctx), "of the 3 images in it this database (installation "+stranger.ID()+") knows 0")
		require.Error(t, stranger.MaySweep(ctx, "local"))
		require.NoError(t, keeper(t, mine, open(), nil).Check(ctx))
		require.ErrorContains(t, stranger.Check(ctx), "belongs to installation")
	})
}

func TestAFolderThatIsNotMountedIsNotTakenForAnEmptyStore(t *testing.T) {
	dir := t.TempDir()
	stores, err := imagestore.OpenStores(imagestore.Settings{Dir: dir, Locks: imagestore.FolderLocks(t.TempDir())})
	require.NoError(t, err)
	k := keeper(t, database(t), stores, nil)
	require.NoError(t, k.Check(t.Context()))
	require.NoError(t, os.Remove(filepath.Join(dir, ".installation")))
	require.ErrorContains(t, k.Check(t.Context()), "is its folder mounted")
	require.Error(t, k.MaySweep(t.Context(), "local"))
	_, err = k.JoinStore(t.Context(), "local")
	require.NoError(t, err)
	require.NoError(t, k.MaySweep(t.Context(), "local"))

	require.NoError(t, os.WriteFile(filepath.Join(dir, ".installation"), []byte("{"), 0o600))
	require.ErrorContains(t, k.Check(t.Context()), "cannot be read")
}

func TestAStoreThatIsAwayStopsNobodyAndIsNotSwept(t *testing.T) {
	server := s3test.Start(t)
	settings := imagestore.Settings{
		Dir: t.TempDir(), Locks: imagestore.FolderLocks(t.TempDir()), Credentials: "cold " + s3test.AccessKey + " " + s3test.SecretKey,
	}
	settings.Stores = "local=file:" + settings.Dir + ", cold=s3:" + server.URL + "/" + server.Bucket("cold") + "?region=us-east-1"
	stores, err := imagestore.OpenStores(settings)
	require.NoError(t, err)
	server.Stop()
	k := keeper(t, database(t), stores, nil)
	require.NoError(t, k.Check(t.Context()))
	require.NoError(t, k.MaySweep(t.Context(), "local"))
	err = k.MaySweep(t.Context(), "local", "cold")
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	server.Restart()
	require.NoError(t, k.MaySweep(t.Context(), "local", "cold"))
}

func TestTemporalsNamespaceOfOneInstallationStopsTheProcessOfAnother(t *testing.T) {
	stores, err := imagestore.OpenStores(imagestore.Settings{Dir: t.TempDir(), Locks: imagestore.FolderLocks(t.TempDir())})
	require.NoError(t, err)
	n := &namespace{}
	mine := keeper(t, database(t), stores, n)
	require.NoError(t, mine.Check(t.Context()))
	require.Equal(t, mine.ID(), n.owner)

	elsewhere, err := imagestore.OpenStores(imagestore.Settings{Dir: t.TempDir(), Locks: imagestore.FolderLocks(t.TempDir())})
	require.NoError(t, err)
	other := keeper(t, database(t), elsewhere, n)
	err = other.Check(t.Context())
	require.ErrorContains(t, err, "Temporal's namespace test belongs to installation "+mine.ID()+", and this database is installation "+other.ID())
	require.ErrorContains(t, err, "slipway installation join --temporal")
	was, err := other.JoinEngine(t.Context())
	require.NoError(t, err)
	require.Equal(t, mine.ID(), was)
	require.NoError(t, other.Check(t.Context()))
	require.ErrorContains(t, mine.Check(t.Context()), "belongs to installation "+other.ID())
}

func TestNothingIsSweptAfterARestoreUntilItIsAcknowledged(t *testing.T) {
	eachKind(t, func(t *testing.T, open func() *imagestore.Stores) {
		ctx, rows := t.Context(), database(t)
		k := keeper(t, rows, open(), nil)
		require.NoError(t, k.Check(ctx))
		for range 3 {
			require.NoError(t, rows.AdvanceGeneration(ctx, 0))
			require.NoError(t, k.Check(ctx))
		}
		id, err := rows.Installation(ctx)
		require.NoError(t, err)

		// A database that has the id, and knows nothing of what came after its beginning.
		restored := database(t)
		require.NoError(t, restored.AdoptInstallation(ctx, id.ID))
		_, err = restored.AcknowledgeRestore(ctx, "test")
		require.NoError(t, err)
		again := keeper(t, restored, open(), nil)
		require.NoError(t, again.Check(ctx), "it is the same installation")
		for _, stores := range [][]string{nil, {"local"}} {
			err = again.MaySweep(ctx, stores...)
			require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
			require.ErrorContains(t, err, "slipway installation acknowledge")
		}
		i, err := restored.Installation(ctx)
		require.NoError(t, err)
		require.Equal(t, []string{"image store local"}, i.Restore.Witnesses())
		require.Equal(t, id.Generation, i.Restore.Evidence["image store local"].Holds)

		_, err = restored.AcknowledgeRestore(ctx, "ops")
		require.NoError(t, err)
		require.NoError(t, again.MaySweep(ctx, "local"))
		require.True(t, fault.Is(k.MaySweep(ctx, "local"), fault.Unavailable), "the database that it took the place of is the older one now")
	})
}
