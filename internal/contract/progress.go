package contract

import "time"

// Phase is the task_state that users see while a step runs (Nova's task states).
type Phase string

// Phases of a build and of a delete.
const (
	PhaseScheduling Phase = "scheduling"
	PhaseNetworking Phase = "networking"
	PhaseSpawning   Phase = "spawning"
	PhaseDeleting   Phase = "deleting"
	PhaseNone       Phase = ""
)

// StepState is where a step stands.
type StepState string

// States of a step.
const (
	StepPending StepState = "pending"
	StepRunning StepState = "running"
	StepDone    StepState = "done"
	StepFailed  StepState = "failed"
	StepSkipped StepState = "skipped"
	StepUndoing StepState = "undoing"
	StepUndone  StepState = "undone"
	StepParked  StepState = "parked" // its undo keeps failing; an operator has to look
)

// StepProgress is one line of a build's progress: a row of the build table on one host.
type StepProgress struct {
	Step     string     `json:"step"`
	Host     string     `json:"host,omitempty"`
	Index    int        `json:"index,omitempty"` // which NIC
	State    StepState  `json:"state"`
	Phase    Phase      `json:"phase"`
	Started  *time.Time `json:"started,omitempty"`
	Finished *time.Time `json:"finished,omitempty"`
	Error    string     `json:"error,omitempty"` // for the user
	Detail   string     `json:"detail,omitempty"`
}
