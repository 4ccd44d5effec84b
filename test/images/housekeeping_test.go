package images

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/models"
	"github.com/slipway-cloud/slipway/test/system"
)

// Nobody asks for it: the engine's schedules have a worker end what a dead API left, and look through the stores.
func TestAWorkerKeepsHouseByItself(t *testing.T) {
	t.Parallel()
	s := system.Start(t, system.Options{Hypervisor: "fake", Settings: map[string]any{
		"housekeeping": map[string]any{"every": "1s", "stores_every": "1s"},
	}})
	t.Cleanup(func() { // they would outlive the test
		for _, id := range []string{ids.HousekeepingSchedule(s.ControlQueue()), ids.StoresSchedule(s.ControlQueue())} {
			require.NoError(t, s.Temporal().ScheduleClient().GetHandle(context.Background(), id).Delete(context.Background()))
		}
	})
	ctx := t.Context()
	project, err := s.Store.ProjectByName(ctx, "default", "demo")
	require.NoError(t, err)
	image, err := s.Store.CreateImage(ctx, models.Image{
		ID: uuid.NewString(), OwnerID: project.ID, Visibility: "private",
	}, nil)
	require.NoError(t, err)
	_, err = s.Store.MoveImage(ctx, image.ID, models.ImageMove{From: models.ImageQueued, To: models.ImageSaving})
	require.NoError(t, err)
	unknown := uuid.NewString() // to the database
	require.NoError(t, os.WriteFile(filepath.Join(s.Dir, "images", "images", unknown), []byte("somebody's"), 0o600))

	system.Eventually(t, patience, func() (bool, string) {
		now, err := s.Store.Image(ctx, image.ID)
		require.NoError(t, err)
		return now.Status == models.ImageQueued, "the interrupted image is " + string(now.Status)
	})
	system.Eventually(t, patience, func() (bool, string) {
		_, err := os.Stat(filepath.Join(s.Dir, "images", "quarantine", unknown))
		return err == nil, "what no row knows is not set aside"
	})
}
