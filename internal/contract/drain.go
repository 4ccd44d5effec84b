package contract

import "time"

// WorkflowDrain empties a host (ids.DrainWorkflow). It moves servers by the workflows of actions.
const WorkflowDrain = "DrainHost"

// Activities of a drain.
const (
	BeginDrain   = "BeginDrain"
	AbandonDrain = "AbandonDrain"
	LookToDrain  = "LookToDrain"
	AskMove      = "AskMove"
)

// Messages of a drain.
const (
	// UpdateDrain is answered once the drain has begun (nil) or is refused (a fault). Carries the request's id: it is Conflict for
	// another's.
	UpdateDrain = "drain"
	// QueryDrain answers a DrainState.
	QueryDrain = "drain"
	// SignalDrain is an operator's word to a drain that runs. Carries a DrainAct: one channel keeps the order of all of them.
	SignalDrain = "drain"
)

// What an operator may say to a drain.
const (
	DrainPause  = "pause"  // nothing more is begun
	DrainResume = "resume" // it goes on, and what could not be moved is tried again
	DrainStop   = "stop"   // it ends once the moves that are under way have
)

// DrainBusy and DrainStays are the keys of DrainState.More.
const (
	DrainBusy  = "busy"
	DrainStays = "stays"
)

// DrainAct is one of them.
type DrainAct struct {
	Act       string `json:"act"`
	UserID    string `json:"user_id"`
	RequestID string `json:"request_id"`
}

// DrainInput empties a host by moving its servers to others. It is the whole input of the workflow, of each of its runs.
type DrainInput struct {
	HostID    string    `json:"host_id"`
	Hostname  string    `json:"hostname"`
	Zone      string    `json:"zone,omitempty"` // that they go to; "" is any
	AtOnce    int       `json:"at_once"`        // how many move at the same time
	UserID    string    `json:"user_id"`        // the operator
	RequestID string    `json:"request_id"`
	Deadlines Deadlines `json:"deadlines"` // of the moves

	Submission
	// Before is how far the runs before this one have come; nil in the first.
	Before *DrainState `json:"before,omitempty"`
}

// Phases of a drain: the first three of one that runs.
const (
	DrainRuns       = "draining"
	DrainPaused     = "paused"
	DrainStopping   = "stopping"   // it waits for the moves that are under way
	DrainDone       = "drained"    // nothing is on the host
	DrainIncomplete = "incomplete" // what is left cannot be moved, or was waited for long enough
	DrainStopped    = "stopped"    // an operator has stopped it
)

// DrainState is how far a drain is.
type DrainState struct {
	HostID    string     `json:"host_id"`
	Hostname  string     `json:"hostname"`
	Zone      string     `json:"zone,omitempty"`
	AtOnce    int        `json:"at_once"`
	UserID    string     `json:"user_id"`
	RequestID string     `json:"request_id"`
	Phase     string     `json:"phase"`
	Begun     bool       `json:"begun,omitempty"` // the host gets no servers
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`

	Moved   int            `json:"moved"`             // servers that are elsewhere for good
	Moving  []DrainServer  `json:"moving,omitempty"`  // those under way
	Waiting int            `json:"waiting,omitempty"` // how many more can be moved
	Failed  []DrainServer  `json:"failed,omitempty"`  // those whose move failed, or was not waited for any longer: each is where it was, as it was, if its why does not say otherwise
	Busy    []DrainServer  `json:"busy,omitempty"`    // those on which something else is done, that has to end first
	Stays   []DrainServer  `json:"stays,omitempty"`   // those in states that no migration begins in
	More    map[string]int `json:"more,omitempty"`    // how many busy ones, and ones that stay, are not named

	Leftovers int    `json:"leftovers,omitempty"` // servers that have left the host, and of which it still has something
	WaitsFor  string `json:"waits_for,omitempty"` // why nothing is begun, or why it ended early

	// Since is when something last came of it: it does not wait for others for ever.
	Since time.Time `json:"since"`
}

// DrainServer is a server on a host that is drained.
type DrainServer struct {
	ServerID  string     `json:"server_id"`
	Name      string     `json:"name"`
	ProjectID string     `json:"project_id"`
	Action    string     `json:"action,omitempty"`     // that is done to it: migrate, confirmResize
	RequestID string     `json:"request_id,omitempty"` // of that
	Since     *time.Time `json:"since,omitempty"`
	Why       string     `json:"why,omitempty"` // it is not moved
}

// LookToDrainInput asks what is on a host.
type LookToDrainInput struct {
	HostID string   `json:"host_id"`
	Except []string `json:"except,omitempty"` // servers that are not asked for
	Limit  int      `json:"limit"`            // how many to move
}

// DrainLook is what is on a host.
type DrainLook struct {
	Move      []MovableServer `json:"move,omitempty"`    // some that can be moved, the oldest first
	Waiting   int             `json:"waiting,omitempty"` // how many more can be
	Busy      []DrainServer   `json:"busy,omitempty"`
	Stays     []DrainServer   `json:"stays,omitempty"`
	More      map[string]int  `json:"more,omitempty"` // DrainState's
	Leftovers int             `json:"leftovers,omitempty"`
	Gone      []string        `json:"gone,omitempty"` // of those that were not asked for, the ones that are not there any more
	// Enabled says that the host gets servers again: somebody has changed their mind.
	Enabled bool `json:"enabled,omitempty"`
	// Silent is why nothing can be moved from the host now; "" while it answers.
	Silent string `json:"silent,omitempty"`
}

// MovableServer is a server that can be moved, with the ids of the requests that do so: the instance actions are found by them.
type MovableServer struct {
	ServerID  string `json:"server_id"`
	Name      string `json:"name"`
	ProjectID string `json:"project_id"`
	Flavor    Flavor `json:"flavor"`
	MigrateBy string `json:"migrate_by"`
	ConfirmBy string `json:"confirm_by"`
}

// AskMoveInput asks what became of a request to migrate a server.
type AskMoveInput struct {
	ServerID  string `json:"server_id"`
	RequestID string `json:"request_id"`
}

// Move is what became of it.
type Move struct {
	Begun     bool `json:"begun"`     // it was not refused
	Waits     bool `json:"waits"`     // to be confirmed
	Confirmed bool `json:"confirmed"` // whoever has done so
	// ConfirmBy is the id of another request to confirm it.
	ConfirmBy string `json:"confirm_by"`
}
