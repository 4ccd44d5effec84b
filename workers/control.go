package workers

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/activities/control"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/workflows/actions"
	"github.com/slipway-cloud/slipway/workflows/adopt"
	"github.com/slipway-cloud/slipway/workflows/audit"
	"github.com/slipway-cloud/slipway/workflows/beside"
	"github.com/slipway-cloud/slipway/workflows/boot"
	"github.com/slipway-cloud/slipway/workflows/cleanup"
	"github.com/slipway-cloud/slipway/workflows/drain"
	"github.com/slipway-cloud/slipway/workflows/forget"
	"github.com/slipway-cloud/slipway/workflows/housekeeping"
	"github.com/slipway-cloud/slipway/workflows/imports"
	"github.com/slipway-cloud/slipway/workflows/reservation"
	"github.com/slipway-cloud/slipway/workflows/teardown"
)

// ControlOptions of a control-plane worker.
type ControlOptions struct {
	Temporal   client.Client
	Queue      string // contract.DefaultControlQueue unless a test says otherwise
	Activities *control.Activities
	Audit      *control.Audit
	Metrics    *Steps
	Logger     *slog.Logger
	// BuildID tells the engine which version of Slipway does a task; "" is a checksum of the program.
	BuildID string
	// Interceptors come between the activities and what all of them have in common: faults that they answer are treated
	// like the activities' own.
	Interceptors []interceptor.WorkerInterceptor
}

// RunControl polls the control queue until ctx ends, then lets the running tasks finish.
func RunControl(ctx context.Context, o ControlOptions) error {
	return run(ctx, o.Queue, worker.Options{
		Interceptors: append([]interceptor.WorkerInterceptor{&steps{log: o.Logger, metrics: o.Metrics}}, o.Interceptors...),
		// Two of each are enough for this engine on two cores, and every idle poller costs the server a long poll; a
		// burst is taken up by the eager start of activities.
		MaxConcurrentWorkflowTaskPollers: 4,
		MaxConcurrentActivityTaskPollers: 4,
		WorkerStopTimeout:                stopPatience,
		DeploymentOptions:                deployment(o.BuildID),
		// A task for a worker that has died goes to another after this time.
		StickyScheduleToStartTimeout: 2 * time.Second,
	}, func(options worker.Options) worker.Worker {
		w := worker.New(o.Temporal, o.Queue, options)
		RegisterWorkflows(w)
		register(w, contract.OnControl, o.Activities, o.Audit)
		return w
	})
}

// deployment tells the engine which version works, without its versioning: every version takes up any build (see
// docs/decisions/0010-the-table-has-versions.md). Without a build id the SDK would sum up the program at each start.
func deployment(buildID string) worker.DeploymentOptions {
	if buildID == "" {
		return worker.DeploymentOptions{}
	}
	return worker.DeploymentOptions{Version: worker.WorkerDeploymentVersion{DeploymentName: "slipway", BuildID: buildID}}
}

// RegisterWorkflows makes the workflows known under their contract names; replay tests use it too.
func RegisterWorkflows(w worker.WorkflowRegistry) {
	ends := teardown.Workflow{Rows: boot.Table(), Version: boot.TableVersion}
	does := actions.Actions{Ends: ends}
	for name, f := range map[string]any{
		contract.WorkflowBoot:             boot.New().BootServer,
		contract.WorkflowDelete:           ends.DeleteServer,
		contract.WorkflowCleanUp:          cleanup.CleanUp,
		contract.WorkflowAdopt:            adopt.Workflow{Ends: ends}.AdoptGuest,
		contract.WorkflowForget:           forget.ForgetHost,
		contract.WorkflowDrain:            drain.DrainHost,
		contract.WorkflowConsole:          beside.ReadConsole,
		contract.WorkflowDiagnose:         beside.Diagnose,
		contract.WorkflowTakeScreenshot:   beside.TakeScreenshot,
		contract.WorkflowTriggerCrashDump: beside.TriggerCrashDump,
		contract.WorkflowOpenConsole:      beside.OpenConsole,
		contract.WorkflowDescribeNetwork:  beside.DescribeNetwork,

		contract.WorkflowAudit:        audit.Audit,
		contract.WorkflowAuditHosts:   audit.AuditHosts,
		contract.WorkflowAuditTick:    audit.AuditTick,
		contract.WorkflowRepair:       audit.RepairFindings,
		contract.WorkflowRepairServer: audit.RepairServer,

		contract.WorkflowKeepHouse:    housekeeping.KeepHouse,
		contract.WorkflowSettleStores: housekeeping.SettleImageStores,
		contract.WorkflowReclaim:      housekeeping.ReclaimServers,

		contract.WorkflowConfirmResizes: housekeeping.ConfirmResizes,
		contract.WorkflowPurgeProjects:  housekeeping.PurgeProjects,
		contract.WorkflowOffloadShelved: housekeeping.OffloadShelvedServers,

		contract.WorkflowRebuild:        does.RebuildServer,
		contract.WorkflowStop:           does.StopServer,
		contract.WorkflowStart:          does.StartServer,
		contract.WorkflowChangePassword: does.ChangePassword,
		contract.WorkflowReset:          ends.ResetServer,
		contract.WorkflowSoftDelete:     does.SoftDeleteServer,

		contract.WorkflowSoftDeleteRescued: does.SoftDeleteRescuedServer,

		contract.WorkflowSoftReboot: does.SoftRebootServer,
		contract.WorkflowHardReboot: does.HardRebootServer,
		contract.WorkflowPause:      does.PauseServer,
		contract.WorkflowUnpause:    does.UnpauseServer,
		contract.WorkflowSuspend:    does.SuspendServer,
		contract.WorkflowResume:     does.ResumeServer,
		contract.WorkflowRescue:     does.RescueServer,
		contract.WorkflowUnrescue:   does.UnrescueServer,

		contract.WorkflowCreateImage:   does.CreateImage,
		contract.WorkflowCreateBackup:  does.CreateBackup,
		contract.WorkflowResize:        does.ResizeServer,
		contract.WorkflowMigrate:       does.MigrateServer,
		contract.WorkflowConfirmResize: does.ConfirmResize,
		contract.WorkflowRevertResize:  does.RevertResize,

		contract.WorkflowSoftDeleteResized: does.SoftDeleteResizedServer,

		contract.WorkflowShelve:            does.ShelveServer,
		contract.WorkflowShelveAtOnce:      does.ShelveServerAtOnce,
		contract.WorkflowShelveOffload:     does.ShelveOffloadServer,
		contract.WorkflowUnshelve:          does.UnshelveServer,
		contract.WorkflowUnshelveOffloaded: does.UnshelveOffloadedServer,
		contract.WorkflowSoftDeleteShelved: does.SoftDeleteShelvedServer,

		contract.WorkflowReserve: reservation.ReserveServers,
		contract.WorkflowImport:  imports.ImportImage,
	} {
		w.RegisterWorkflowWithOptions(f, workflow.RegisterOptions{Name: name})
	}
}

// run runs the worker that newWorker makes until ctx ends. A worker that the engine refuses for good (its
// namespace is gone) stops by itself: that is an error, so that the process ends instead of polling nothing.
func run(ctx context.Context, queue string, o worker.Options, newWorker func(worker.Options) worker.Worker) error {
	fatal := make(chan error, 1)
	o.OnFatalError = func(err error) {
		select {
		case fatal <- err:
		default:
		}
	}
	w := newWorker(o)
	if err := w.Start(); err != nil {
		return fmt.Errorf("starting the worker of task queue %s: %w", queue, err)
	}
	select {
	case <-ctx.Done():
		w.Stop()
		return nil
	case err := <-fatal:
		return fmt.Errorf("the worker of task queue %s cannot go on: %w", queue, err)
	}
}
