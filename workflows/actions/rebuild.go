package actions

import (
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/workflows/run"
)

// The rebuild of a server. The image is looked at before the server is marked: what is refused changes nothing. The guest that
// follows is built beside the one that there is, which stays, off, until the other one runs and the server is that one's.
var rebuildSteps = slices.Concat(
	run.Table[*action]{
		run.OnControl(contract.ResolveImage, run.AdmissionPatience, resolveImage).
			TakesNothing("nothing was taken"),
	},
	table(
		run.OnControl(contract.PlanRebuild, run.ControlPatience, planRebuild).
			GivenBackBy(contract.ForgetRebuild),

		host(contract.FetchImage, 2*time.Hour, fetchImage).
			TakesNothing("the host's image cache evicts what no server uses"),

		host(contract.BuildReplacement, 35*time.Minute, buildReplacement).Tells(notTaken).
			GivenBackBy(contract.RemoveReplacement),

		host(contract.StopDomain, 15*time.Minute, stopDomain).When(runs).
			GivenBackBy(contract.PowerOnDomain), // the guest of before runs again

		host(contract.ReplaceGuest, 5*time.Minute, replaceGuest).
			GivenBackBy(contract.RestoreGuest),

		host(contract.StartDomain, 2*time.Minute, startDomain).When(wasNotStopped).
			GivenBackBy(contract.PowerOffDomain),

		run.OnControl(contract.RecordRebuild, run.ControlPatience, recordRebuild).
			GivenBackBy(contract.UnrecordRebuild).GivenBackWith(unrecordRebuild),
	),
	run.Table[*action]{removes},
)

// removes drops the guest that the server has no more. The server is the other's by now, whatever becomes of its disks. A delete
// removes them too.
var removes = host(contract.RemoveReplaced, time.Minute, removeReplaced).UntilDone().
	TakesNothing("it only removes").
	Survives(survives)

// RebuildServer makes a server's guest anew, of another image or of the same.
func (w Actions) RebuildServer(ctx workflow.Context, in contract.ActionInput) error {
	return w.do(ctx, in, rebuildSteps)
}

// rebuilding is what the steps of a rebuild found out.
type rebuilding struct {
	image    contract.ResolvedImage
	plan     contract.RebuildPlan
	injected contract.InjectedData
}

// mends says whether a rebuild makes a server active that was not.
func (a *action) mends() bool {
	return a.in.Rebuild != nil && a.begun.VMState == string(lifecycle.Error)
}

func survives(workflow.Context, *action, int, *run.Failure) bool { return true }

// guest is the one that is asked for.
func (a *action) guest() contract.Rebuild {
	if a.in.Rescue != nil {
		return *a.in.Rescue
	}
	return *a.in.Rebuild
}

func wasNotStopped(a *action) bool { return a.begun.VMState != string(lifecycle.Stopped) }

// runs says whether the guest runs, as far as anybody knows.
func runs(a *action) bool {
	return a.begun.VMState == string(lifecycle.Active) || wasNotStopped(a) && a.begun.PowerState == lifecycle.Running
}

func resolveImage(a *action, _ int) (contract.ResolveImageInput, func(contract.ResolvedImage)) {
	asked := a.guest()
	return contract.ResolveImageInput{
		ServerID: a.in.ServerID, ProjectID: a.in.ProjectID, Roles: asked.Roles, ImageID: asked.ImageID, Flavor: asked.Flavor,
		TrustedCertificates: asked.TrustedCertificates, AutoDiskConfig: asked.AutoDiskConfig,
	}, func(image contract.ResolvedImage) { a.rebuild.image = image }
}

func planRebuild(a *action, _ int) (contract.PlanRebuildInput, func(contract.RebuildPlan)) {
	return contract.PlanRebuildInput{ServerID: a.in.ServerID, Rebuild: a.guest(), Image: a.rebuild.image, Beside: a.in.Rescue != nil},
		func(plan contract.RebuildPlan) { a.rebuild.plan = plan }
}

func fetchImage(a *action, _ int) (contract.FetchImageInput, func(contract.FetchImageOutput)) {
	return contract.FetchImageInput{ServerID: a.in.ServerID, Images: a.rebuild.plan.New.Spec.Image.All()}, nil
}

func buildReplacement(a *action, _ int) (contract.BuildReplacementInput, func(contract.InjectedData)) {
	facts, zone := a.rebuild.plan.New, a.rebuild.plan.Zone
	in := contract.BuildReplacementInput{ServerID: a.in.ServerID, Disk: facts.BuildDisk()}
	if facts.Server.ConfigDrive {
		drive := facts.BuildConfigDrive(zone)
		in.ConfigDrive = &drive
	}
	if facts.Injects() {
		in.Inject = &contract.InjectDataInput{ServerID: a.in.ServerID, Metadata: facts.Metadata(zone), Options: a.guest().Inject}
	}
	return in, func(injected contract.InjectedData) { a.rebuild.injected = injected }
}

func notTaken(a *action) string { return a.rebuild.injected.String() }

func replaceGuest(a *action, _ int) (contract.ReplaceGuestInput, func(run.None)) {
	return contract.ReplaceGuestInput{ServerID: a.in.ServerID, Facts: a.rebuild.plan.New}, nil
}

func recordRebuild(a *action, _ int) (contract.RecordRebuildInput, func(run.None)) {
	plan := a.rebuild.plan
	return contract.RecordRebuildInput{ServerID: a.in.ServerID, RequestID: a.in.RequestID, Old: plan.Old, New: plan.New}, nil
}

func unrecordRebuild(a *action) (any, bool) {
	plan := a.rebuild.plan
	return contract.RecordRebuildInput{ServerID: a.in.ServerID, RequestID: a.in.RequestID, Old: plan.New, New: plan.Old}, true
}

func removeReplaced(a *action, _ int) (contract.RemoveReplacedInput, func(run.None)) {
	return contract.RemoveReplacedInput{ServerID: a.in.ServerID}, nil
}
