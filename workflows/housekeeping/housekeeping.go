// Package housekeeping does from time to time what no request does.
package housekeeping

import (
	"errors"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
)

const (
	// Patience bounds a KeepHouse in all, and StoresPatience a SettleImageStores: the schedule skips what would begin meanwhile.
	Patience       = 15 * time.Minute
	StoresPatience = 2 * time.Hour
	// silence is after which time without a word a worker counts as dead.
	silence = 30 * time.Second
)

// KeepHouse ends what processes that died left, as far as rows tell, and deletes what has expired. One task that fails does
// not keep the others from their turn.
func KeepHouse(ctx workflow.Context) error {
	return runTasks(ctx, Patience, contract.SettleImages, contract.PurgeTokens, contract.PurgeImageTasks)
}

// SettleImageStores looks through all stores.
func SettleImageStores(ctx workflow.Context) error {
	return runTasks(ctx, StoresPatience, contract.SettleStores)
}

// ReclaimServers deletes servers whose delete was deferred, when their time is over.
func ReclaimServers(ctx workflow.Context) error {
	return runTasks(ctx, Patience, contract.ReclaimDeleted)
}

// ConfirmResizes confirms resizes when their time is over.
func ConfirmResizes(ctx workflow.Context) error {
	return runTasks(ctx, Patience, contract.ConfirmResized)
}

// PurgeProjects goes on with the delete of projects with all that they own.
func PurgeProjects(ctx workflow.Context) error {
	return runTasks(ctx, Patience, contract.PurgeProjects)
}

// OffloadShelvedServers has shelved servers leave their hosts when their time there is over.
func OffloadShelvedServers(ctx workflow.Context) error {
	return runTasks(ctx, Patience, contract.OffloadShelved)
}

// runTasks does the tasks at once. One is tried again within the time of all, and then at the schedule's next turn.
func runTasks(ctx workflow.Context, patience time.Duration, tasks ...string) error {
	patience -= time.Minute // which leaves the workflow time to tell of it
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: patience, ScheduleToCloseTimeout: patience, HeartbeatTimeout: silence,
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumAttempts: 3},
	})
	running := make([]workflow.Future, len(tasks))
	for i, task := range tasks {
		running[i] = workflow.ExecuteActivity(ctx, task, contract.Housekeeping{})
	}
	errs := make([]error, len(tasks))
	for i, f := range running {
		errs[i] = f.Get(ctx, nil)
	}
	return errors.Join(errs...)
}
