// Package contract holds the names, inputs and outputs that workflows and activities exchange. Temporal records them in
// histories, so they are a public format: fields are added, never renamed, retyped or removed. The package imports
// nothing of Slipway but the fault vocabulary and how ids derive, and nothing of Temporal.
package contract

import (
	"strings"
	"time"

	"github.com/slipway-cloud/slipway/internal/ids"
)

// Task queues. The control queue is polled by every `slipway worker`; each hypervisor polls its own.
const (
	DefaultControlQueue = ids.DefaultControlQueue
	hostQueuePrefix     = "host:"
)

// HostQueue is the task queue that only the named hypervisor polls.
func HostQueue(hostname string) string { return hostQueuePrefix + hostname }

// HostOf is the hypervisor whose task queue it is, "" where it is none's.
func HostOf(queue string) string {
	hostname, ok := strings.CutPrefix(queue, hostQueuePrefix)
	if !ok {
		return ""
	}
	return hostname
}

// HostTurn is how long a host step may wait on its host for its turn (the host limits how many builds work at once),
// heartbeating all the while. It is added to the step's own deadline.
const HostTurn = 15 * time.Minute

// Workflow types.
const (
	WorkflowBoot             = "BootServer"
	WorkflowDelete           = "DeleteServer"
	WorkflowConsole          = "ReadConsole"
	WorkflowDiagnose         = "Diagnose"
	WorkflowTakeScreenshot   = "TakeScreenshot"
	WorkflowTriggerCrashDump = "TriggerCrashDump"
	WorkflowOpenConsole      = "OpenConsole"
	WorkflowDescribeNetwork  = "DescribeHostNetwork"
	WorkflowAdopt            = "AdoptGuest"
	WorkflowForget           = "ForgetHost"
	// WorkflowCleanUp waits for hosts that do not answer and gives back there what a build or a delete left.
	WorkflowCleanUp = "CleanUp"
)

// Messages of the server workflows.
const (
	// UpdateSubmit is answered once the build is accepted (nil) or refused (a fault): before RecordServer there is nothing
	// to show, after it the server exists.
	UpdateSubmit = "submit"
	// QueryProgress answers []StepProgress.
	QueryProgress = "progress"
	// SignalDelete asks a running build to stop, undo itself and then tear the server down. Carries a DeleteInput.
	SignalDelete = "delete"
	// SignalReset asks what is being done to a server to stop and to give back what it took, and then sets the server's state. Carries a
	// ResetInput.
	SignalReset = "reset"
	// SignalUndos hands more undos to a clean-up that runs. Carries []PendingUndo.
	SignalUndos = "undos"
	// QueryBuild answers a BuildState: what an operator sees.
	QueryBuild = "build"
	// UpdateUndo is an operator's act on undos that wait. Carries an OperatorAct.
	UpdateUndo = "undo"
)

// Search attributes (all Keyword), set up by deploy/temporal.
const (
	AttrProject     = "SlipwayProject"
	AttrServer      = "SlipwayServer"
	AttrHost        = "SlipwayHost"
	AttrImage       = "SlipwayImage"
	AttrPhase       = "SlipwayPhase"
	AttrReservation = "SlipwayReservation"
	// AttrOverdue is the phase that takes longer than its deadline allows; absent while none does.
	AttrOverdue = "SlipwayOverdue"
)

// SearchAttributes are the names of all of them.
func SearchAttributes() []string {
	return []string{AttrProject, AttrServer, AttrHost, AttrImage, AttrPhase, AttrReservation, AttrOverdue}
}

// Activity names: one for each step's do and undo. The build table in workflows/boot/steps.go says which belong together.
const (
	ResolveImage      = "ResolveImage"
	ClaimQuota        = "ClaimQuota"
	ReleaseQuota      = "ReleaseQuota"
	ForgetSpec        = "ForgetSpec"
	RecordServer      = "RecordServer"
	FailServer        = "FailServer"
	AskVendorData     = "AskVendorData"
	SelectHost        = "SelectHost"
	ReleaseAllocation = "ReleaseAllocation"
	AllocateNetwork   = "AllocateNetwork"
	ReleaseNetwork    = "ReleaseNetwork"
	FetchImage        = "FetchImage"
	BuildDisk         = "BuildDisk"
	RemoveDisk        = "RemoveDisk"
	BuildConfigDrive  = "BuildConfigDrive"
	RemoveConfigDrive = "RemoveConfigDrive"
	InjectData        = "InjectData"
	PlugPort          = "PlugPort"
	UnplugPort        = "UnplugPort"
	DefineDomain      = "DefineDomain"
	UndefineDomain    = "UndefineDomain"
	StartDomain       = "StartDomain"
	DestroyDomain     = "DestroyDomain"
	Activate          = "Activate"

	ReadFacts   = "ReadFacts"
	AdoptServer = "AdoptServer"

	BeginForget = "BeginForget"
	EmptyHost   = "EmptyHost"

	MarkDeleting = "MarkDeleting"
	RemoveServer = "RemoveServer"
	ReadConsole  = "ReadConsoleLog"

	SetAdminPassword = "SetAdminPassword"
	ReadDiagnostics  = "ReadDiagnostics"
	ReadScreen       = "ReadScreen"
	InjectNMI        = "InjectNMI"
	OpenConsole      = "OpenConsole"
	DescribeNetwork  = "DescribeNetwork"

	HostSeen          = "HostSeen"
	CountHostFailure  = "CountHostFailure"
	ServerStands      = "ServerStands"
	ServerStandsOn    = "ServerStandsOn"
	RecordOperatorAct = "RecordOperatorAct"
)
