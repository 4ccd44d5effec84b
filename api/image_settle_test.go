package api

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/models"
)

func TestAfterACrashTheImageIsQueuedAgainAndStrayBytesAreGone(t *testing.T) {
	w := newWorld(t)
	kept := w.active("demo", nil, noise(1000))
	for _, at := range []string{"write", "commit"} {
		t.Run(at, func(t *testing.T) {
			id := w.queued("demo", nil)
			before := w.everything()
			w.crash(id, at)
			require.NotEqual(t, before, w.everything(), "the crash left something")
			w.settle()
			require.Equal(t, before, w.everything())
			require.Equal(t, 204, w.do("demo", "PUT", "/image/v2/images/"+id+"/file", noise(10)).status)
		})
	}
	deleted := w.active("demo", nil, noise(1000))
	_, err := w.store.DeleteImage(context.Background(), deleted, nil) // and the process died before the bytes went
	require.NoError(t, err)
	require.Contains(t, w.bytesKept(), "images/"+deleted)
	w.settle()
	require.NotContains(t, w.bytesKept(), "images/"+deleted)
	require.Equal(t, 200, w.do("demo", "GET", "/image/v2/images/"+kept+"/file", nil).status)
}

// crash leaves an image as an api process does that was killed while it took the bytes.
func (w *world) crash(id, at string) {
	w.t.Helper()
	ctx := context.Background()
	_, err := w.store.MoveImage(ctx, id, models.ImageMove{From: models.ImageQueued, To: models.ImageSaving})
	require.NoError(w.t, err)
	name := map[string]string{"write": "uploads/" + id + ".part", "commit": "images/" + id}[at]
	require.NoError(w.t, os.WriteFile(filepath.Join(w.dir, name), noise(1000), 0o600))
	require.NoError(w.t, os.WriteFile(filepath.Join(w.dir, "uploads", id+".lock"), nil, 0o600))
}

// settle does what a worker does from time to time.
func (w *world) settle() {
	w.t.Helper()
	_, err := w.service().Settle(context.Background())
	require.NoError(w.t, err)
}

func TestSettlingLeavesALiveUploadOfAnotherProcessAlone(t *testing.T) {
	w := newWorld(t)
	id := w.queued("demo", nil)
	data := noise(2 << 20)
	body, feed := io.Pipe()
	done := make(chan answer, 1)
	first := w.url
	go func() { done <- w.do("demo", "PUT", "/image/v2/images/"+id+"/file", body) }()
	_, err := feed.Write(data[:1<<20])
	require.NoError(t, err)
	w.await(id, models.ImageSaving)

	w.serve() // a second api process
	require.Equal(t, 200, w.do("", "GET", "/readyz", nil).status)
	w.settle()
	require.Equal(t, "saving", w.image("demo", id)["status"])
	require.NotEqual(t, first, w.url)

	_, err = feed.Write(data[1<<20:])
	require.NoError(t, err)
	require.NoError(t, feed.Close())
	require.Equal(t, 204, (<-done).status)
	require.Equal(t, data, w.do("demo", "GET", "/image/v2/images/"+id+"/file", nil).body)
}
