package contract

import "time"

// Workflows of actions on a server. They run under the server's id (ids.ServerWorkflow).
const (
	WorkflowStop              = "StopServer"
	WorkflowStart             = "StartServer"
	WorkflowChangePassword    = "ChangePassword"
	WorkflowReset             = "ResetServer"
	WorkflowSoftDelete        = "SoftDeleteServer"
	WorkflowSoftDeleteRescued = "SoftDeleteRescuedServer"
	WorkflowSoftReboot        = "SoftRebootServer"
	WorkflowHardReboot        = "HardRebootServer"
	WorkflowPause             = "PauseServer"
	WorkflowUnpause           = "UnpauseServer"
	WorkflowSuspend           = "SuspendServer"
	WorkflowResume            = "ResumeServer"
	WorkflowRebuild           = "RebuildServer"
	WorkflowRescue            = "RescueServer"
	WorkflowUnrescue          = "UnrescueServer"
	WorkflowCreateImage       = "CreateImage"
	WorkflowCreateBackup      = "CreateBackup"
	WorkflowResize            = "ResizeServer"
	WorkflowMigrate           = "MigrateServer"
	WorkflowConfirmResize     = "ConfirmResize"
	WorkflowRevertResize      = "RevertResize"
	WorkflowSoftDeleteResized = "SoftDeleteResizedServer"
	WorkflowShelve            = "ShelveServer"
	WorkflowShelveAtOnce      = "ShelveServerAtOnce"
	WorkflowShelveOffload     = "ShelveOffloadServer"
	WorkflowUnshelve          = "UnshelveServer"
	WorkflowUnshelveOffloaded = "UnshelveOffloadedServer"
	WorkflowSoftDeleteShelved = "SoftDeleteShelvedServer"
)

// Activities of actions.
const (
	BeginAction  = "BeginAction"
	FinishAction = "FinishAction"
	FailAction   = "FailAction"
	ResetState   = "ResetState"

	StopDomain     = "StopDomain"
	PowerOnDomain  = "PowerOnDomain"
	PowerOffDomain = "PowerOffDomain"

	RemakeDomain  = "RemakeDomain"
	PauseDomain   = "PauseDomain"
	UnpauseDomain = "UnpauseDomain"
	SaveDomain    = "SaveDomain"
	PutBackGuest  = "PutBackGuest"

	PlanRebuild       = "PlanRebuild"
	ForgetRebuild     = "ForgetRebuild"
	BuildReplacement  = "BuildReplacement"
	RemoveReplacement = "RemoveReplacement"
	ReplaceGuest      = "ReplaceGuest"
	RestoreGuest      = "RestoreGuest"
	RecordRebuild     = "RecordRebuild"
	UnrecordRebuild   = "UnrecordRebuild"
	RemoveReplaced    = "RemoveReplaced"

	BuildRescue  = "BuildRescue"
	RemoveRescue = "RemoveRescue"
	EnterRescue  = "EnterRescue"
	LeaveRescue  = "LeaveRescue"
	UndoRescue   = "UndoRescue"
	UndoUnrescue = "UndoUnrescue"
	EndRescue    = "EndRescue"

	ForgetRescueImages = "ForgetRescueImages"

	RecordSnapshot  = "RecordSnapshot"
	ForgetSnapshot  = "ForgetSnapshot"
	TakeSnapshot    = "TakeSnapshot"
	RemoveSnapshot  = "RemoveSnapshot"
	StoreSnapshot   = "StoreSnapshot"
	DropSnapshot    = "DropSnapshot"
	RotateBackups   = "RotateBackups"
	PlanResize      = "PlanResize"
	HoldResize      = "HoldResize"
	RecordMigration = "RecordMigration"
	BuildArrived    = "BuildArrived"
	ForgetResize    = "ForgetResize"
	BuildResized    = "BuildResized"
	FinishResize    = "FinishResize"
	RecordResize    = "RecordResize"
	UnrecordResize  = "UnrecordResize"
	ConfirmResize   = "ConfirmResize"
	UnconfirmResize = "UnconfirmResize"
	PlanRevert      = "PlanRevert"
	RevertGuest     = "RevertGuest"
	UnrevertGuest   = "UnrevertGuest"
	RecordRevert    = "RecordRevert"
	UnrecordRevert  = "UnrecordRevert"

	SelectDestination = "SelectDestination"

	OfferDisks      = "OfferDisks"
	WithdrawDisks   = "WithdrawDisks"
	EndOffer        = "EndOffer"
	ReceiveDisks    = "ReceiveDisks"
	DiscardReceived = "DiscardReceived"

	RemoveShelvedImage = "RemoveShelvedImage"
	ShowImagePending   = "ShowImagePending"
	ShowImageUploading = "ShowImageUploading"
	RecordShelve       = "RecordShelve"
	ShowOffloading     = "ShowOffloading"
	CheckShelved       = "CheckShelved"
	LeaveHost          = "LeaveHost"
	StayOnHost         = "StayOnHost"
	PlanUnshelve       = "PlanUnshelve"
	BindPorts          = "BindPorts"
	UnbindPorts        = "UnbindPorts"
	RecordUnshelve     = "RecordUnshelve"
	UnrecordUnshelve   = "UnrecordUnshelve"
	DropShelvedImage   = "DropShelvedImage"
)

// ActionInput asks for an action on a server. It is the whole input of the action's workflow.
type ActionInput struct {
	Action    string    `json:"action"` // the row of internal/lifecycle: os-stop
	ServerID  string    `json:"server_id"`
	ProjectID string    `json:"project_id"`
	UserID    string    `json:"user_id"`
	RequestID string    `json:"request_id"`
	Name      string    `json:"name"` // of the server
	Deadlines Deadlines `json:"deadlines"`
	OverLock  bool      `json:"over_lock,omitempty"` // an admin asks, whom a locked server does not keep out
	ActionArguments
	Submission
}

// ActionArguments are what an action takes beside its name: the field of its own, and none of the others'.
type ActionArguments struct {
	AdminPass string   `json:"admin_pass,omitempty"` // changePassword
	Rebuild   *Rebuild `json:"rebuild,omitempty"`
	// Rescue is the guest that rescues. Of its image "" is the server's own.
	Rescue   *Rebuild  `json:"rescue,omitempty"`
	Snapshot *Snapshot `json:"snapshot,omitempty"` // createImage, createBackup, shelve
	Resize   *Resize   `json:"resize,omitempty"`
	Unshelve *Unshelve `json:"unshelve,omitempty"`
}

// BegunAction is what an action that was accepted has to know.
type BegunAction struct {
	Hostname string `json:"hostname"`
	// ShutdownTimeout is how long the guest may take to shut down by itself: the image's os_shutdown_timeout.
	ShutdownTimeout time.Duration `json:"shutdown_timeout,omitempty"`
	// What the server is, for when the action fails.
	VMState    string `json:"vm_state"`
	PowerState int    `json:"power_state"`
	// Source is the host on which the guest of before is kept of a server that was moved; "" where it was not.
	Source string `json:"source,omitempty"`
}

// FinishActionInput ends an action.
type FinishActionInput struct {
	Action    string         `json:"action"`
	ServerID  string         `json:"server_id"`
	RequestID string         `json:"request_id"`
	Steps     []StepProgress `json:"steps"`
	// Mended says that the server is active now although it was not, where the action's row names no state that it ends in.
	Mended bool `json:"mended,omitempty"`
	// VMState and PowerState are what the server is now, where that follows from what it was and not from the row alone; "" where the
	// row says it.
	VMState    string `json:"vm_state,omitempty"`
	PowerState int    `json:"power_state,omitempty"`
}

// FailActionInput is the undo of BeginAction: the server is what it was, and the action says why.
type FailActionInput struct {
	Action    string         `json:"action"`
	ServerID  string         `json:"server_id"`
	RequestID string         `json:"request_id"`
	Code      int            `json:"code"`    // as Nova's fault code
	Message   string         `json:"message"` // for the user
	Details   string         `json:"details"` // for admins
	Steps     []StepProgress `json:"steps"`
	// What the server was; "" where the answer of BeginAction was lost, and nothing has changed it.
	VMState    string `json:"vm_state,omitempty"`
	PowerState int    `json:"power_state,omitempty"`
}

// ResetInput has an operator set a server's state.
type ResetInput struct {
	ServerID  string    `json:"server_id"`
	ProjectID string    `json:"project_id"`
	UserID    string    `json:"user_id"`
	RequestID string    `json:"request_id"`
	VMState   string    `json:"vm_state"` // active, error
	Deadlines Deadlines `json:"deadlines"`
}

// ResetStateInput sets it.
type ResetStateInput struct {
	ResetInput
	Ended string `json:"ended,omitempty"` // the request of what was ended for it: it changes the server no more
}

// LeftHosts are those on which a server has something left that it has no use for any more.
type LeftHosts struct {
	Hostnames []string `json:"hostnames,omitempty"`
}

// StopDomainInput shuts a guest down.
type StopDomainInput struct {
	ServerID string        `json:"server_id"`
	Timeout  time.Duration `json:"timeout"` // until it is turned off; 0: at once
}

// SetAdminPasswordInput sets the password of a guest's admin, while it runs.
type SetAdminPasswordInput struct {
	ServerID string `json:"server_id"`
	Password string `json:"password"`
}

// PauseDomainInput stops a guest's processors.
type PauseDomainInput struct {
	ServerID string `json:"server_id"`
}

// UnpauseDomainInput lets them go on.
type UnpauseDomainInput struct {
	ServerID string `json:"server_id"`
}

// SaveDomainInput writes a guest's memory to disk and ends it.
type SaveDomainInput struct {
	ServerID string `json:"server_id"`
}

// PutBackGuestInput is the undo of what changes a guest's power: what its server was.
type PutBackGuestInput struct {
	ServerID   string `json:"server_id"`
	VMState    string `json:"vm_state"`
	PowerState int    `json:"power_state"`
}
