package hosts_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/models"
)

func TestAHostStoresImagesOfItsOwnServersAlone(t *testing.T) {
	e := newEnv(t)
	mine, token := e.admit(t, "hv1")
	_, others := e.admit(t, "hv2")
	require.Equal(t, 200, e.self(t, token, "PUT", "/self", registration("hv1")).Status)
	require.Equal(t, 200, e.self(t, others, "PUT", "/self", registration("hv2")).Status)
	server, _ := e.build(t, e.imageOf(t, "the root", nil), mine)
	snapshot := func(of string) string {
		id := uuid.NewString()
		_, err := e.Store.CreateImage(t.Context(), models.Image{
			ID: id, OwnerID: e.member.ProjectID, Visibility: "private", DiskFormat: new("qcow2"), ContainerFormat: new("bare"), SnapshotOf: &of,
		}, nil)
		require.NoError(t, err)
		return id
	}
	path := filepath.Join(t.TempDir(), "disk")
	out, err := exec.Command("qemu-img", "create", "-f", "qcow2", path, "1G").CombinedOutput()
	require.NoError(t, err, "%s", out)
	disk, err := os.ReadFile(path)
	require.NoError(t, err)
	put := func(token, id, content string) int {
		t.Helper()
		return e.self(t, token, "PUT", "/images/"+id+"/file", content).Status
	}
	is := func(id string) models.Image {
		image, err := e.Store.Image(t.Context(), id)
		require.NoError(t, err)
		return image
	}

	id := snapshot(server)
	require.Equal(t, 404, put(others, id, string(disk)), "the server is another host's")
	require.Equal(t, 404, put(token, e.imageOf(t, "", nil), string(disk)), "no image of a server")
	require.Equal(t, 404, put(token, snapshot(uuid.NewString()), string(disk)), "there is no such server")
	require.Equal(t, 404, put(token, uuid.NewString(), string(disk)))
	require.Equal(t, 401, put("", id, string(disk)))
	require.Equal(t, 400, put(token, id, "no disk"))
	require.Equal(t, models.ImageQueued, is(id).Status, "it can be tried again")
	require.Equal(t, 204, put(token, id, string(disk)))
	stored := is(id)
	require.Equal(t, models.ImageActive, stored.Status)
	require.Equal(t, []int64{int64(len(disk)), 1 << 30}, []int64{*stored.SizeBytes, *stored.VirtualBytes})
	require.NotEmpty(t, stored.SHA512)
	require.Equal(t, 204, put(token, id, string(disk)), "whoever did not hear of it asks again")

	_, err = e.Store.DeleteImage(t.Context(), id, nil)
	require.NoError(t, err)
	require.Equal(t, 404, put(token, id, string(disk)))

	died := snapshot(server) // its process has
	_, err = e.Store.MoveImage(t.Context(), died, models.ImageMove{To: models.ImageSaving})
	require.NoError(t, err)
	require.Equal(t, 204, put(token, died, string(disk)))
	alive := snapshot(server)
	_, err = e.Store.MoveImage(t.Context(), alive, models.ImageMove{To: models.ImageSaving})
	require.NoError(t, err)
	lock, err := e.bytes.Create(t.Context(), alive)
	require.NoError(t, err)
	require.Equal(t, 503, put(token, alive, string(disk)))
	require.NoError(t, lock.Close())
}
