package imagestore_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/internal/imagestore/imagestoretest"
	"github.com/slipway-cloud/slipway/internal/imagestore/s3test"
)

func TestSeveralStoresTogetherKeepTheContract(t *testing.T) {
	server := s3test.Start(t)
	for _, preset := range []string{"local", "cold"} {
		t.Run(preset+" first", func(t *testing.T) {
			imagestoretest.Run(t, partBytes, func(t *testing.T) func() imagestore.Store {
				dir, locks, bucket := t.TempDir(), t.TempDir(), server.Bucket("b"+uuid.NewString())
				return func() imagestore.Store {
					s, err := imagestore.OpenStores(imagestore.Settings{
						Stores:  "local=file:" + dir + "?content=yes, cold=s3:" + server.URL + "/" + bucket + "/prefix?region=us-east-1&part_mib=5",
						Default: preset, Credentials: "cold " + s3test.AccessKey + " " + s3test.SecretKey, Locks: imagestore.FolderLocks(locks),
					})
					require.NoError(t, err)
					return s
				}
			})
		})
	}
}

func TestTheDefaultStoreCanBeChangedWhileImagesLieInAnother(t *testing.T) {
	server, ctx := s3test.Start(t), t.Context()
	settings := imagestore.Settings{
		Dir: t.TempDir(), Credentials: "cold " + s3test.AccessKey + " " + s3test.SecretKey, Locks: imagestore.FolderLocks(t.TempDir()),
	}
	before, err := imagestore.OpenStores(settings)
	require.NoError(t, err)
	require.Equal(t, []string{"local"}, before.Names())
	require.Equal(t, "file://"+settings.Dir+"/images/"+id, before.Location(id), "the folder of older installations")
	require.NoError(t, imagestoretest.Put(ctx, before, id, []byte("old")))

	settings.Stores = "local=file:" + settings.Dir + ",cold=s3:" + server.URL + "/" + server.Bucket("images")
	settings.Default = "cold"
	after, err := imagestore.OpenStores(settings)
	require.NoError(t, err)
	require.Equal(t, []string{"cold", "local"}, after.Names())
	require.Equal(t, "s3", after.Kind())
	require.NoError(t, imagestoretest.Put(ctx, after, otherID, []byte("new")))
	for image, want := range map[string]string{id: "local", otherID: "cold"} {
		name, _, err := after.Where(ctx, image)
		require.NoError(t, err)
		require.Equal(t, want, name)
	}
	got, err := imagestoretest.Get(ctx, after, id, 1, 2)
	require.NoError(t, err)
	require.Equal(t, "ld", string(got))

	// What is under way in any store keeps a hold out.
	local, err := after.Store("local")
	require.NoError(t, err)
	third := uuid.NewString()
	u, err := local.Create(ctx, third)
	require.NoError(t, err)
	_, err = after.Hold(ctx, third)
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	require.NoError(t, u.Close())
	hold, err := after.Hold(ctx, third)
	require.NoError(t, err)
	require.NoError(t, hold.Close())

	// A store that is away takes nothing of the others along, and nothing counts as gone because of it.
	server.Stop()
	got, err = imagestoretest.Get(ctx, before, id, 0, -1)
	require.NoError(t, err)
	require.Equal(t, "old", string(got))
	ids, err := after.IDs(ctx)
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	require.Contains(t, ids, id)
	_, err = after.Size(ctx, uuid.NewString())
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	require.Error(t, after.Ready(ctx))
	require.NoError(t, before.Ready(ctx))
}

func TestTheOneFolderOfImagesMayHaveAnyName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a,b=s3:c?content=d#[e] 100%")
	_, err := imagestore.OpenStores(imagestore.Settings{Dir: dir, Locks: imagestore.FolderLocks(t.TempDir())})
	require.NoError(t, err)
	require.DirExists(t, filepath.Join(dir, "images"))
}

func TestAReaderOfStoresMakesAndChangesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "images")
	s, err := imagestore.OpenStores(imagestore.Settings{Dir: dir})
	require.NoError(t, err)
	_, err = os.Stat(dir)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = s.Size(t.Context(), id)
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
}

func TestWrongStoresAreRefusedByWhatIsWrong(t *testing.T) {
	private := filepath.Join(t.TempDir(), "credentials")
	require.NoError(t, os.WriteFile(private, []byte("# comment\n\ncold AKID hunter2\n"), 0o600))
	open := filepath.Join(t.TempDir(), "credentials")
	require.NoError(t, os.WriteFile(open, []byte("cold AKID hunter2\n"), 0o644))
	broken := filepath.Join(t.TempDir(), "credentials")
	require.NoError(t, os.WriteFile(broken, []byte("cold AKID\nhunter2\n"), 0o600))
	for _, c := range []struct {
		name string
		s    imagestore.Settings
		want string // "" is good
	}{
		{"credentials by file", imagestore.Settings{Stores: "cold=s3:https://h/b", CredentialsFile: private}, ""},
		{"credentials by setting", imagestore.Settings{Stores: "cold=s3:https://h/b", Credentials: "cold AKID hunter2"}, ""},
		{"no kind", imagestore.Settings{Stores: "cold=/folder"}, "is not NAME=file:FOLDER"},
		{"no name", imagestore.Settings{Stores: "file:/folder"}, "is not NAME=file:FOLDER"},
		{"empty between commas", imagestore.Settings{Stores: "a=file:/tmp/x,"}, "is not NAME=file:FOLDER"},
		{"unknown kind", imagestore.Settings{Stores: "a=ftp:/x"}, `no kind "ftp"`},
		{"two names of a folder", imagestore.Settings{Stores: "a=file:/tmp/x,b=file:/tmp/x?content=yes"}, "a and b are one place with two names"},
		{"two of a name", imagestore.Settings{Stores: "a=file:/tmp/x,a=file:/tmp/y"}, "two stores are named a"},
		{"unknown default", imagestore.Settings{Stores: "a=file:/tmp/x", Default: "b"}, `no store "b": there are a`},
		{"unknown option", imagestore.Settings{Stores: "a=file:/tmp/x?contents=yes"}, `no option "contents"`},
		{"wrong option", imagestore.Settings{Stores: "a=file:/tmp/x?content=maybe"}, "yes or no"},
		{"parts too small", imagestore.Settings{Stores: "cold=s3:https://h/b?part_mib=4", CredentialsFile: private}, "too small"},
		{"no bucket", imagestore.Settings{Stores: "cold=s3:https://h", CredentialsFile: private}, "a bucket is needed"},
		{"no credentials", imagestore.Settings{Stores: "cold=s3:https://h/b"}, "SLIPWAY_IMAGES_CREDENTIALS"},
		{"credentials in the address", imagestore.Settings{Stores: "cold=s3:https://AKID:hunter2@h/b"}, "without credentials"},
		{"credentials that others read", imagestore.Settings{Stores: "cold=s3:https://h/b", CredentialsFile: open}, "chmod 600"},
		{"credentials that are no lines of three", imagestore.Settings{Stores: "cold=s3:https://h/b", CredentialsFile: broken}, "line 1 is not NAME"},
		{"credentials that are absent", imagestore.Settings{Stores: "cold=s3:https://h/b", CredentialsFile: "/nonexistent"}, "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := imagestore.OpenStores(c.s) // without locks, so that no folder is made
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}
