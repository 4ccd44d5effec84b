package contract

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Activity is what everybody has to know of an activity: how workers register it and what they do for it, what its payloads
// are, and what the documents say. Which undo belongs to which do, the tables of the workflows say: a domain that was started
// is destroyed where a build fails, and powered off where a start does.
type Activity struct {
	Name   string // also its method's in activities/
	Scope  Scope
	Input  reflect.Type
	Output reflect.Type // nil where it answers nothing
	Owes   Owing

	// NoTurn and NoServer say why a step on a host needs no turn, and keeps no server's order. "" is one that does.
	NoTurn   string
	NoServer string

	server, summary func(in any) string
	end             func(in any) (End, bool)
}

// End is the end of something that was asked of a server.
type End struct {
	Action string // create, delete, or the row of internal/lifecycle
	Failed bool
	Steps  []StepProgress
}

// Scope is who runs an activity.
type Scope string

// Scopes.
const (
	OnControl Scope = "control" // any worker of the control plane
	OnHost    Scope = "host"    // the hypervisor whose queue it is on
)

// Owing is what an activity owes to those who were promised it. One that owes something is tried again whatever it answers.
type Owing string

// What may be owed.
const (
	OwesNothing Owing = ""
	OwesUndo    Owing = "undo" // it gives back what others took
	OwesEnd     Owing = "end"  // it ends what was accepted, or has begun
)

// Activities is the table of all of them.
func Activities() []Activity { return slices.Clone(activities) }

var activities = table(
	// The build and the delete.
	control[ResolveImageInput, ResolvedImage](ResolveImage).summed(func(in ResolveImageInput) string {
		return fmt.Sprintf("image %s for flavor %s", in.ImageID, in.Flavor.Name)
	}),
	control[ClaimQuotaInput, none](ClaimQuota).summed(func(in ClaimQuotaInput) string {
		return fmt.Sprintf("%d vCPUs, %d MiB of project %s", in.VCPUs, in.RAMMiB, in.ProjectID)
	}),
	control[Undo, none](ReleaseQuota).givesBack(),
	control[RecordServerInput, none](RecordServer).summed(func(in RecordServerInput) string { return in.Name }),
	control[FailServerInput, none](FailServer).owes(OwesUndo).ends(func(in FailServerInput) End { return End{Action: "create", Failed: true, Steps: in.Steps} }),
	control[Undo, none](ForgetSpec).givesBack(),
	control[AskVendorDataInput, DynamicVendorData](AskVendorData).summed(func(in AskVendorDataInput) string {
		return fmt.Sprintf("%d services", len(in.Targets))
	}),
	control[SelectHostInput, HostSelection](SelectHost).summed(selection),
	control[Undo, none](ReleaseAllocation).givesBack(),
	control[AllocateNetworkInput, Port](AllocateNetwork).summed(nic),
	control[Undo, none](ReleaseNetwork).givesBack(),
	host[FetchImageInput, FetchImageOutput](FetchImage).of(func(in FetchImageInput) string { return in.ServerID }).
		noTurn("it waits for the network, many for the same download, and would keep those from working that have all they need"),
	host[BuildConfigDriveInput, none](BuildConfigDrive).of(func(in BuildConfigDriveInput) string { return in.ServerID }),
	host[Undo, none](RemoveConfigDrive).givesBack(),
	host[BuildDiskInput, InjectedData](BuildDisk).of(func(in BuildDiskInput) string { return in.ServerID }),
	host[Undo, none](RemoveDisk).givesBack(),
	host[InjectDataInput, InjectedData](InjectData).of(func(in InjectDataInput) string { return in.ServerID }),
	host[PlugPortInput, none](PlugPort).of(func(in PlugPortInput) string { return in.ServerID }).
		noTurn("it waits for the networks' engine, and would keep those from working that do not"),
	host[Undo, none](UnplugPort).givesBack(),
	host[DefineDomainInput, none](DefineDomain).of(func(in DefineDomainInput) string { return in.ServerID }),
	host[Undo, none](UndefineDomain).givesBack(),
	host[StartDomainInput, none](StartDomain).of(func(in StartDomainInput) string { return in.ServerID }),
	host[Undo, none](DestroyDomain).givesBack(),
	control[ActivateInput, none](Activate).summed(func(in ActivateInput) string { return "on " + in.Hostname }).
		ends(func(in ActivateInput) End { return End{Action: "create", Steps: in.Steps} }),
	control[DeleteInput, Takings](MarkDeleting).owes(OwesEnd),
	control[RemoveServerInput, none](RemoveServer).owes(OwesEnd).ends(func(in RemoveServerInput) End { return End{Action: "delete", Steps: in.Steps} }),

	// What workflows about servers ask beside their tables.
	control[HostSeenInput, bool](HostSeen),
	control[CountHostFailureInput, none](CountHostFailure).summed(func(in CountHostFailureInput) string { return in.Step + " on " + in.Hostname }),
	control[ServerStandsInput, bool](ServerStands).owes(OwesEnd),
	control[ServerStandsOnInput, bool](ServerStandsOn).owes(OwesEnd).summed(func(in ServerStandsOnInput) string { return "on " + in.Hostname }),
	control[OperatorActRecord, none](RecordOperatorAct),
	host[ConsoleInput, string](ReadConsole).ofNone("reading changes nothing and waits for nobody"),
	host[GuestInput, Diagnostics](ReadDiagnostics).ofNone("reading changes nothing and waits for nobody"),
	host[HostNetworkInput, HostNetwork](DescribeNetwork).ofNone("it looks at all ports and changes nothing"),
	host[GuestInput, Screenshot](ReadScreen).ofNone("reading changes nothing and waits for nobody"),
	host[OpenConsoleInput, none](OpenConsole).ofNone("whoever wants to see into a guest waits for no step of it"),
	host[GuestInput, none](InjectNMI).ofNone("whoever wants to see into a guest that hangs waits for no step of it"),

	// Actions.
	control[ActionInput, BegunAction](BeginAction).summed(func(in ActionInput) string { return in.Action }),
	control[FinishActionInput, none](FinishAction).summed(func(in FinishActionInput) string { return in.Action }).
		ends(func(in FinishActionInput) End { return End{Action: in.Action, Steps: in.Steps} }),
	control[FailActionInput, none](FailAction).owes(OwesUndo).ends(func(in FailActionInput) End { return End{Action: in.Action, Failed: true, Steps: in.Steps} }),
	control[ResetStateInput, LeftHosts](ResetState).owes(OwesEnd).summed(func(in ResetStateInput) string { return in.VMState }),
	host[StopDomainInput, none](StopDomain).of(func(in StopDomainInput) string { return in.ServerID }),
	host[Undo, none](PowerOnDomain).givesBack(),
	host[Undo, none](PowerOffDomain).givesBack(),
	host[SetAdminPasswordInput, none](SetAdminPassword).of(func(in SetAdminPasswordInput) string { return in.ServerID }),
	host[RemakeDomainInput, none](RemakeDomain).of(func(in RemakeDomainInput) string { return in.ServerID }),
	host[PauseDomainInput, none](PauseDomain).of(func(in PauseDomainInput) string { return in.ServerID }),
	host[UnpauseDomainInput, none](UnpauseDomain).of(func(in UnpauseDomainInput) string { return in.ServerID }),
	host[SaveDomainInput, none](SaveDomain).of(func(in SaveDomainInput) string { return in.ServerID }),
	host[PutBackGuestInput, none](PutBackGuest).of(func(in PutBackGuestInput) string { return in.ServerID }).owes(OwesUndo).
		noTurn("its server waits for it, locked"),
	control[PlanRebuildInput, RebuildPlan](PlanRebuild).summed(func(in PlanRebuildInput) string { return "image " + in.Rebuild.ImageID }),
	control[Undo, none](ForgetRebuild).givesBack(),
	host[BuildReplacementInput, InjectedData](BuildReplacement).of(func(in BuildReplacementInput) string { return in.ServerID }),
	host[Undo, none](RemoveReplacement).givesBack(),
	host[ReplaceGuestInput, none](ReplaceGuest).of(func(in ReplaceGuestInput) string { return in.ServerID }),
	host[Undo, none](RestoreGuest).givesBack(),
	control[RecordRebuildInput, none](RecordRebuild).summed(func(in RecordRebuildInput) string { return "image " + in.New.Server.ImageID }),
	control[RecordRebuildInput, none](UnrecordRebuild).owes(OwesUndo),
	host[BuildReplacementInput, InjectedData](BuildRescue).of(func(in BuildReplacementInput) string { return in.ServerID }),
	host[Undo, none](RemoveRescue).givesBack(),
	host[EnterRescueInput, none](EnterRescue).of(func(in EnterRescueInput) string { return in.ServerID }),
	host[Undo, none](UndoRescue).givesBack(),
	host[LeaveRescueInput, none](LeaveRescue).of(func(in LeaveRescueInput) string { return in.ServerID }),
	host[Undo, none](UndoUnrescue).givesBack(),
	host[EndRescueInput, none](EndRescue).of(func(in EndRescueInput) string { return in.ServerID }).owes(OwesEnd),
	control[ForgetRescueImagesInput, none](ForgetRescueImages),
	control[RecordSnapshotInput, none](RecordSnapshot).summed(func(in RecordSnapshotInput) string { return "image " + in.Snapshot.ImageID }),
	control[ForgetSnapshotInput, none](ForgetSnapshot).owes(OwesUndo).summed(func(in ForgetSnapshotInput) string { return "image " + in.ImageID }),
	host[TakeSnapshotInput, none](TakeSnapshot).of(func(in TakeSnapshotInput) string { return in.ServerID }),
	host[Undo, none](RemoveSnapshot).givesBack(),
	host[StoreSnapshotInput, none](StoreSnapshot).of(func(in StoreSnapshotInput) string { return in.ServerID }).
		noTurn("it waits for the network, and would keep those from working that do not"),
	control[RotateBackupsInput, none](RotateBackups).summed(func(in RotateBackupsInput) string { return "of " + in.ServerID }),
	host[DropSnapshotInput, none](DropSnapshot).of(func(in DropSnapshotInput) string { return in.ServerID }).owes(OwesEnd),
	control[PlanResizeInput, ResizePlan](PlanResize).summed(func(in PlanResizeInput) string { return "flavor " + in.Resize.Flavor.Name }),
	control[HoldResizeInput, none](HoldResize).summed(func(in HoldResizeInput) string { return "flavor " + in.New.Spec.Flavor.Name + " on " + in.Hostname }),
	control[RecordMigrationInput, none](RecordMigration).summed(func(in RecordMigrationInput) string { return "flavor " + in.New.Spec.Flavor.Name }),
	control[SelectDestinationInput, Destination](SelectDestination).summed(destination),
	control[Undo, none](ForgetResize).givesBack(),
	host[BuildResizedInput, none](BuildResized).of(func(in BuildResizedInput) string { return in.ServerID }),
	host[BuildArrivedInput, none](BuildArrived).of(func(in BuildArrivedInput) string { return in.ServerID }),
	control[FinishResizeInput, none](FinishResize),
	control[RecordResizeInput, none](RecordResize).summed(func(in RecordResizeInput) string { return "flavor " + in.New.Spec.Flavor.Name }),
	control[RecordResizeInput, none](UnrecordResize).owes(OwesUndo),
	control[ConfirmResizeInput, none](ConfirmResize),
	control[Undo, none](UnconfirmResize).givesBack(),
	control[PlanRevertInput, ResizePlan](PlanRevert),
	host[RevertGuestInput, none](RevertGuest).of(func(in RevertGuestInput) string { return in.ServerID }),
	host[Undo, none](UnrevertGuest).givesBack(),
	control[RecordResizeInput, none](RecordRevert).summed(func(in RecordResizeInput) string { return "flavor " + in.New.Spec.Flavor.Name }),
	control[RecordResizeInput, none](UnrecordRevert).owes(OwesUndo),
	host[OfferDisksInput, DiskOffer](OfferDisks).of(func(in OfferDisksInput) string { return in.ServerID }).
		summed(func(in OfferDisksInput) string { return "to " + in.To }),
	host[Undo, none](WithdrawDisks).givesBack(),
	host[ReceiveDisksInput, none](ReceiveDisks).of(func(in ReceiveDisksInput) string { return in.ServerID }).
		summed(func(in ReceiveDisksInput) string { return "from " + in.From }).
		noTurn("it waits for the network, and would keep those from working that do not"),
	host[Undo, none](DiscardReceived).givesBack(),
	host[EndOfferInput, none](EndOffer).of(func(in EndOfferInput) string { return in.ServerID }).owes(OwesEnd),
	host[RemoveReplacedInput, none](RemoveReplaced).of(func(in RemoveReplacedInput) string { return in.ServerID }).owes(OwesEnd),
	control[RemoveShelvedImageInput, none](RemoveShelvedImage).owes(OwesUndo).summed(func(in RemoveShelvedImageInput) string { return "image " + in.ImageID }),
	control[ShowPhaseInput, none](ShowImagePending),
	control[ShowPhaseInput, none](ShowImageUploading),
	control[RecordShelveInput, none](RecordShelve).summed(func(in RecordShelveInput) string { return "image " + in.ImageID }),
	control[ShowPhaseInput, none](ShowOffloading),
	control[CheckShelvedInput, none](CheckShelved),
	control[LeaveHostInput, none](LeaveHost).summed(func(in LeaveHostInput) string { return in.Hostname }),
	control[LeaveHostInput, none](StayOnHost).owes(OwesUndo).summed(func(in LeaveHostInput) string { return in.Hostname }),
	control[PlanUnshelveInput, UnshelvePlan](PlanUnshelve),
	control[BindPortsInput, none](BindPorts).summed(func(in BindPortsInput) string { return "to " + in.Hostname }),
	control[Undo, none](UnbindPorts).givesBack(),
	control[RecordUnshelveInput, none](RecordUnshelve).summed(func(in RecordUnshelveInput) string { return "zone " + in.Zone }),
	control[RecordUnshelveInput, none](UnrecordUnshelve).owes(OwesUndo),
	control[DropShelvedImageInput, none](DropShelvedImage).owes(OwesEnd),

	// What the database has forgotten, and a host has.
	host[ReadFactsInput, FoundServer](ReadFacts).of(func(in ReadFactsInput) string { return in.ServerID }),
	control[AdoptServerInput, none](AdoptServer).summed(func(in AdoptServerInput) string { return in.Facts.Server.Name + " on " + in.Hostname }),

	// Hosts that are given up.
	control[ForgetHostInput, none](BeginForget).summed(func(in ForgetHostInput) string { return in.Hostname + ": " + in.Reason }),
	control[ForgetHostInput, none](EmptyHost).owes(OwesEnd).summed(func(in ForgetHostInput) string { return in.Hostname }),

	// Hosts that are emptied.
	control[DrainInput, none](BeginDrain).summed(func(in DrainInput) string { return in.Hostname }),
	control[DrainInput, none](AbandonDrain).owes(OwesUndo).summed(func(in DrainInput) string { return in.Hostname }),
	control[LookToDrainInput, DrainLook](LookToDrain),
	control[AskMoveInput, Move](AskMove).summed(func(in AskMoveInput) string { return "of " + in.ServerID }),

	// Reservations.
	control[AdmitServersInput, Admitted](AdmitServers).summed(admission),
	control[DropServersInput, none](DropServers).owes(OwesUndo),
	control[StartBuildsInput, StartedBuilds](StartBuilds).owes(OwesEnd).summed(func(in StartBuildsInput) string {
		return fmt.Sprintf("%d to %d of %d", in.From+1, in.To, in.Admitted)
	}),

	// Imports of images.
	control[ImportInput, ImportBegun](BeginImport).summed(func(in ImportInput) string { return fmt.Sprintf("%s to %v", in.Method, in.Stores) }),
	control[AbandonImportInput, none](AbandonImport).owes(OwesUndo),
	control[StoreImageInput, StoredImage](StoreImage).summed(func(in StoreImageInput) string { return "to " + in.Store }),
	control[CopyImageInput, StoredImage](CopyImage).summed(func(in CopyImageInput) string { return "to " + in.Store }),
	control[FinishImportInput, none](FinishImport).owes(OwesEnd),

	// The audit and its repairs.
	control[AuditRun, AuditStart](BeginAudit),
	control[AuditRun, none](AuditRecords),
	host[InventoryInput, Inventory](TakeInventory).ofNone("it looks at all servers and changes nothing"),
	control[AuditHostInput, AuditHostOutput](AuditHost).summed(look),
	control[MissHostInput, none](MissHost),
	control[AuditEnd, none](EndAudit),
	control[RepairInput, RepairOrder](BeginRepair),
	control[PlanRepairInput, RepairPlan](PlanRepair),
	control[RoomInput, none](RestoreAllocation),
	host[RepairPartial, none](RemovePartialDownload).ofNone("what it removes belongs to no server"),
	control[RepairEnd, none](EndRepair),

	// Housekeeping.
	control[Housekeeping, none](SettleImages),
	control[Housekeeping, none](SettleStores),
	control[Housekeeping, none](PurgeTokens),
	control[Housekeeping, none](PurgeImageTasks),
	control[Housekeeping, none](ReclaimDeleted),
	control[Housekeeping, none](ConfirmResized),
	control[Housekeeping, none](PurgeProjects),
	control[Housekeeping, none](OffloadShelved),
)

// ActivityOf is the row of that name. One that is not in the table owes nothing and is of no server.
func ActivityOf(name string) Activity {
	for i := range activities {
		if activities[i].Name == name {
			return activities[i]
		}
	}
	return Activity{Name: name, NoTurn: "unknown"}
}

// Turn says whether it waits on its host until few enough others work there.
func (a Activity) Turn() bool { return a.Scope == OnHost && a.NoTurn == "" }

// Server is the id of the server that the step with this input works on: its host keeps the server's undos behind its dos,
// whatever workflow asks for them (a clean-up's id is not the server's). "" is none.
func (a Activity) Server(in any) string {
	if a.server == nil {
		return ""
	}
	return a.server(in)
}

// Summary is the input of the activity of that name in a few words, which the engine's Web UI shows beside it; "" where the
// table has none.
func Summary(name string, in any) string {
	if a := ActivityOf(name); a.summary != nil {
		return a.summary(in)
	}
	return ""
}

// Ends tells what the activity with this input brings to its end; false for one that ends nothing.
func (a Activity) Ends(in any) (End, bool) {
	if a.end == nil {
		return End{}, false
	}
	return a.end(in)
}

// none is the answer of an activity that has none.
type none struct{}

// row is a row whose input is known to the compiler, for the functions that read it.
type row[I any] struct{ Activity }

func (a Activity) activity() Activity { return a }

func table(rows ...interface{ activity() Activity }) []Activity {
	all := make([]Activity, len(rows))
	for i, r := range rows {
		all[i] = r.activity()
	}
	return all
}

func control[I, O any](name string) row[I] { return newRow[I, O](name, OnControl) }

func host[I, O any](name string) row[I] { return newRow[I, O](name, OnHost) }

func newRow[I, O any](name string, scope Scope) row[I] {
	a := Activity{Name: name, Scope: scope, Input: reflect.TypeFor[I](), Output: reflect.TypeFor[O]()}
	if a.Output == reflect.TypeFor[none]() {
		a.Output = nil
	}
	return row[I]{a}
}

func (r row[I]) owes(what Owing) row[I] { r.Owes = what; return r }

func (r row[I]) of(server func(I) string) row[I] { r.server = read(server); return r }

func (r row[I]) ofNone(why string) row[I] { r.NoServer, r.NoTurn = why, why; return r }

func (r row[I]) noTurn(why string) row[I] { r.NoTurn = why; return r }

func (r row[I]) summed(words func(I) string) row[I] { r.summary = read(words); return r }

func (r row[I]) ends(what func(I) End) row[I] {
	r.end = func(in any) (End, bool) {
		mine, ok := in.(I)
		if !ok {
			return End{}, false
		}
		return what(mine), true
	}
	return r
}

// givesBack is an undo that needs no more than what its do took.
func (r row[I]) givesBack() row[I] {
	r.Owes, r.NoTurn = OwesUndo, "it frees room"
	r.server = read(func(in Undo) string { return in.ServerID })
	return r
}

func read[I any](f func(I) string) func(any) string {
	return func(in any) string {
		if in, ok := in.(I); ok {
			return f(in)
		}
		return ""
	}
}

func selection(in SelectHostInput) string {
	s := fmt.Sprintf("%d vCPUs, %d MiB, %d GiB", in.Resources.VCPUs, in.Resources.RAMMiB, in.Resources.DiskGiB)
	if in.AvailabilityZone != "" {
		s += " in " + in.AvailabilityZone
	}
	if len(in.Excluded) > 0 {
		s += ", not " + strings.Join(in.Excluded, ", ")
	}
	return s
}

func destination(in SelectDestinationInput) string {
	r := in.New.Resources
	return fmt.Sprintf("%d vCPUs, %d MiB, %d GiB for what is on %s", r.VCPUs, r.RAMMiB, r.DiskGiB, in.Hostname)
}

func nic(in AllocateNetworkInput) string {
	if in.Request.PortID != "" {
		return fmt.Sprintf("NIC %d: port %s on %s", in.Index, in.Request.PortID, in.Hostname)
	}
	return fmt.Sprintf("NIC %d: network %s on %s", in.Index, in.Request.NetworkID, in.Hostname)
}

func admission(in AdmitServersInput) string {
	if in.Min == in.Max {
		return fmt.Sprintf("%d × %s", in.Max, in.Server.Name)
	}
	return fmt.Sprintf("%d to %d × %s", in.Min, in.Max, in.Server.Name)
}

func look(in AuditHostInput) string {
	if in.Final {
		return fmt.Sprintf("%s again: %d candidates", in.Inventory.Hostname, len(in.Candidates))
	}
	return fmt.Sprintf("%s: %d servers", in.Inventory.Hostname, len(in.Inventory.Things))
}
