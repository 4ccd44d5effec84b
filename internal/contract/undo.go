package contract

import "time"

// Undoing is one undo: the activity, what it gives back, and the host whose queue it runs on ("" is the control plane).
type Undoing struct {
	Activity string `json:"activity"`
	Input    Undo   `json:"input"`
	Host     string `json:"host,omitempty"`
}

// PendingUndo is an undo that a clean-up takes over, with its place: undos of a chain run in reverse, and one that is Behind
// waits for the later ones of every chain.
type PendingUndo struct {
	Undoing
	Name   string `json:"name"`
	Chain  string `json:"chain"`
	Behind bool   `json:"behind,omitempty"`

	// Of one that a clean-up leaves to its next run: the hand-over that it came with, from 1, and when its undo began.
	Batch int       `json:"batch,omitempty"`
	Since time.Time `json:"since,omitzero"`
}

// CleanUpInput is what a build or a delete left on hosts that do not answer. Undos are in the order in which they were
// registered.
type CleanUpInput struct {
	ServerID  string        `json:"server_id"`
	ProjectID string        `json:"project_id"`
	RequestID string        `json:"request_id"`
	Undos     []PendingUndo `json:"undos"`
	Deadlines Deadlines     `json:"deadlines"`

	// Of a clean-up that goes on in another run: how many hand-overs have come, and since when it waits.
	Batches int       `json:"batches,omitempty"`
	Since   time.Time `json:"since,omitzero"`
}

// BuildState is a server workflow as an operator sees it.
type BuildState struct {
	Phase   string         `json:"phase"`
	Since   time.Time      `json:"since"`             // when the phase began
	Overdue bool           `json:"overdue,omitempty"` // the phase takes longer than its deadline allows
	Steps   []StepProgress `json:"steps,omitempty"`
	Undos   []UndoState    `json:"undos,omitempty"` // in the order in which they were registered; the last is undone first
	Acts    []OperatorAct  `json:"acts,omitempty"`
}

// UndoState is one registered undo. Its id names it to operators: chain and name.
type UndoState struct {
	ID       string     `json:"id"` // e.g. attempt/1:RemoveDisk/0
	Chain    string     `json:"chain,omitempty"`
	Activity string     `json:"activity,omitempty"`
	Host     string     `json:"host,omitempty"`
	State    string     `json:"state"`           // registered, undoing, parked, undone, skipped, handed over
	Since    *time.Time `json:"since,omitempty"` // when it began
	Error    string     `json:"error,omitempty"` // of its last try, where the engine knows; or why it was skipped, where no operator did
	Tries    int        `json:"tries,omitempty"`
}

// What an operator may do with undos that wait.
const (
	ActRetry = "retry" // try again at once
	ActSkip  = "skip"  // give up: what it would have given back stays where it is, and the audit finds it
)

// Waiting says whether the undo has begun and not ended.
func (u UndoState) Waiting() bool { return u.State == "undoing" || u.State == "parked" }

// OperatorAct is one such act. It is recorded before it takes effect.
type OperatorAct struct {
	Act       string    `json:"act"`
	Undo      string    `json:"undo,omitempty"` // an UndoState's id; "" is every undo that is parked (retry only)
	Reason    string    `json:"reason,omitempty"`
	UserID    string    `json:"user_id"`
	RequestID string    `json:"request_id"`
	At        time.Time `json:"at,omitzero"`
}

// OperatorActRecord is an act as it is kept.
type OperatorActRecord struct {
	OperatorAct
	WorkflowID string `json:"workflow_id"`
	ServerID   string `json:"server_id"`
	ProjectID  string `json:"project_id"`
}
