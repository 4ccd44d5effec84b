package imagestore_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/internal/imagestore/imagestoretest"
)

// child runs the test that is named once more in a process of its own, with a part to play, and answers how it was killed.
func child(t *testing.T, env ...string) {
	t.Helper()
	name, _, _ := strings.Cut(t.Name(), "/")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+name+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	require.True(t, errors.As(err, &exit), "it lived: %v\n%s", err, out)
	status, ok := exit.Sys().(syscall.WaitStatus)
	require.True(t, ok && status.Signaled() && status.Signal() == syscall.SIGKILL, "it was not killed: %v\n%s", err, out)
}

func killed() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// A process is killed at every step of an upload, of the same bytes that another image has, and of a delete. Afterwards
// the other image is whole, the killed one is there whole or not at all, its lock is free, and after the sweep and what
// the API does with an image without a row there is nothing that no image owns.
func TestAProcessKilledAtAnyStepLosesNoImageAndLeaksNothing(t *testing.T) {
	data := imagestoretest.Noise(1, 300_000)
	if dir := os.Getenv("IMAGESTORE_DIE_IN"); dir != "" {
		f, err := imagestore.OpenFiles(dir, imagestore.FilesOptions{Content: os.Getenv("IMAGESTORE_CONTENT") != ""})
		require.NoError(t, err)
		imagestore.DieAt(f, os.Getenv("IMAGESTORE_STEP"), killed)
		if os.Getenv("IMAGESTORE_DO") == "delete" {
			require.NoError(t, f.Delete(t.Context(), id))
		} else {
			require.NoError(t, imagestoretest.Put(t.Context(), f, id, data))
		}
		t.Fatal("it lived")
	}
	const upload, remove = "upload", "delete"
	for _, c := range []struct {
		do, step         string
		content, another bool
	}{
		{upload, "locked", false, false}, {upload, "begun", false, false}, {upload, "written", false, false},
		{upload, "synced", false, false}, {upload, "named", false, false}, {upload, "tidied", false, true}, {upload, "committed", false, true},
		{upload, "locked", true, true}, {upload, "begun", true, true}, {upload, "written", true, true},
		{upload, "synced", true, false}, {upload, "shared", true, false}, {upload, "named", true, false}, {upload, "tidied", true, false},
		{upload, "synced", true, true}, {upload, "linked", true, true}, {upload, "named", true, true}, {upload, "committed", true, true},
		{remove, "unlinked", false, false}, {remove, "unlinked", true, false}, {remove, "unlinked", true, true},
	} {
		name := c.do + " " + c.step
		if c.content {
			name += " content"
		}
		if c.another {
			name += " beside an equal image"
		}
		t.Run(name, func(t *testing.T) {
			f, dir := open(t, imagestore.FilesOptions{Content: c.content})
			ctx, content := t.Context(), ""
			if c.content {
				content = "yes"
			}
			if c.another {
				require.NoError(t, imagestoretest.Put(ctx, f, otherID, data))
			}
			if c.do == remove {
				require.NoError(t, imagestoretest.Put(ctx, f, id, data))
			}
			child(t, "IMAGESTORE_DIE_IN="+dir, "IMAGESTORE_STEP="+c.step, "IMAGESTORE_CONTENT="+content, "IMAGESTORE_DO="+c.do)

			whole := func(id string) bool {
				got, err := imagestoretest.Get(ctx, f, id, 0, -1)
				if fault.Is(err, fault.NotFound) {
					return false
				}
				require.NoError(t, err)
				require.Equal(t, data, got)
				return true
			}
			require.Equal(t, c.do == upload && (c.step == "named" || c.step == "tidied" || c.step == "committed"), whole(id))
			require.Equal(t, c.another, whole(otherID))
			_, err := imagestoretest.Sweep(ctx, f)
			require.NoError(t, err)
			if whole(id) { // no row says that it is active: the API withdraws it
				hold, err := f.Hold(ctx, id)
				require.NoError(t, err, "the lock of a dead process is free")
				require.NoError(t, hold.Abort())
			}
			require.Equal(t, c.another, whole(otherID))
			if c.another {
				require.NoError(t, f.Delete(ctx, otherID))
			}
			require.Empty(t, filesOf(t, dir))

			require.NoError(t, imagestoretest.Put(context.WithoutCancel(ctx), f, id, data), "and it can be uploaded again")
			require.True(t, whole(id))
		})
	}
}
