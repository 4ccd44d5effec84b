package ec2

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

func TestEveryStateOfAServerIsOneOfAnInstances(t *testing.T) {
	is := map[lifecycle.VMState]state{
		lifecycle.Building: pending, lifecycle.Active: running, lifecycle.Paused: stopped, lifecycle.Suspended: stopped, lifecycle.Stopped: stopped,
		lifecycle.Rescued: running, lifecycle.Resized: running, lifecycle.SoftDeleted: terminated, lifecycle.Error: stopped, lifecycle.Deleted: terminated,
		lifecycle.Shelved: stopped, lifecycle.ShelvedOffloaded: stopped,
	}
	require.Len(t, is, len(lifecycle.States()))
	launched := new(time.Now())
	for from, want := range is {
		v := models.Server{VMState: from, LaunchedAt: launched, PowerState: lifecycle.Running}
		require.Equal(t, want, stateOf(v), from)
		v.TaskState = new(lifecycle.Deleting)
		if want != terminated {
			want = shuttingDown
		}
		require.Equal(t, want, stateOf(v), "%s, deleting", from)
		v.TaskState, v.DeleteAskedAt = nil, launched
		require.Equal(t, want, stateOf(v), "%s, to be deleted", from)
	}
	require.Equal(t, terminated, stateOf(models.Server{VMState: lifecycle.Error}), "it never ran")
	require.Equal(t, stopped, stateOf(models.Server{VMState: lifecycle.Resized, PowerState: lifecycle.Shutdown}))
	for task, want := range map[string]state{
		lifecycle.PoweringOff: stopping, lifecycle.Suspending: stopping, lifecycle.PoweringOn: pending, lifecycle.Resuming: pending, lifecycle.Rebooting: running,
		lifecycle.ImageSnapshot: running, lifecycle.SoftDeleting: shuttingDown,
		lifecycle.Shelving: stopping, lifecycle.ShelvingImagePending: stopping, lifecycle.ShelvingImageUploading: stopping,
	} {
		require.Equal(t, want, stateOf(models.Server{VMState: lifecycle.Active, TaskState: &task}), task)
	}
	for _, task := range []string{lifecycle.Unshelving, lifecycle.Spawning} {
		require.Equal(t, pending, stateOf(models.Server{VMState: lifecycle.ShelvedOffloaded, TaskState: &task}), task)
	}
	require.Equal(t, stopping, stateOf(models.Server{VMState: lifecycle.Shelved, TaskState: new(lifecycle.ShelvingOffloading)}), "it cannot be started yet")
}

func TestAFailedBuildSaysWhy(t *testing.T) {
	for message, code := range map[string]string{
		"No valid host was found. There are not enough hosts available.": "Server.InsufficientInstanceCapacity", "Something broke.": "Server.InternalError",
	} {
		v := models.Server{VMState: lifecycle.Error, Fault: &models.ServerFault{Message: message}}
		require.Equal(t, &reason{code, code + ": " + message}, reasonOf(v))
		require.Equal(t, code+": "+message, transition(v))
	}
	require.Nil(t, reasonOf(models.Server{VMState: lifecycle.Active}))
	require.Equal(t, "Client.UserInitiatedShutdown", reasonOf(models.Server{VMState: lifecycle.Deleted}).Code)
}
