package contract

import "time"

// Workflow types of the audit.
const (
	// WorkflowAudit compares everything once. One runs at a time.
	WorkflowAudit = "Audit"
	// WorkflowAuditHosts looks at some of the hosts of an audit.
	WorkflowAuditHosts = "AuditHosts"
	// WorkflowAuditTick is what the schedule starts: it runs an audit unless one runs.
	WorkflowAuditTick = "AuditTick"
	// WorkflowRepair repairs findings that an operator chose.
	WorkflowRepair = "RepairFindings"
	// WorkflowRepairServer repairs those of one server, under the server's own workflow id.
	WorkflowRepairServer = "RepairServer"
)

// Activities of the audit.
const (
	BeginAudit    = "BeginAudit"
	AuditRecords  = "AuditRecords"
	TakeInventory = "TakeInventory"
	AuditHost     = "AuditHost"
	MissHost      = "MissHost"
	EndAudit      = "EndAudit"

	BeginRepair           = "BeginRepair"
	PlanRepair            = "PlanRepair"
	EndRepair             = "EndRepair"
	RestoreAllocation     = "RestoreAllocation"
	RemovePartialDownload = "RemovePartialDownload"
)

// AuditInput says how long a host may take to answer. The rest is asked.
type AuditInput struct {
	HostPatience time.Duration `json:"host_patience"`
}

// AuditHostPatience is what an audit's input starts from.
const AuditHostPatience = 20 * time.Second

// AuditHostsInput are the hosts that a part of an audit looks at.
type AuditHostsInput struct {
	AuditInput
	RunID string   `json:"run_id"` // of the audit
	Hosts []string `json:"hosts"`
	// Error is what went wrong with hosts that this part had looked at before it went on in another run; "" is nothing.
	Error string `json:"error,omitempty"`
}

// AuditRun names a run of the audit: the engine's run id.
type AuditRun struct {
	RunID string `json:"run_id"`
}

// AuditStart is what there is to look at.
type AuditStart struct {
	Hosts []string `json:"hosts,omitempty"` // hostnames
}

// AuditEnd ends a run. Error is empty for one that came to its end.
type AuditEnd struct {
	RunID string `json:"run_id"`
	Error string `json:"error,omitempty"`
}

// InventoryInput asks a host for what lies on it: one page, or with Only what there is of the named servers alone. The first
// page, and Only, tell of partial downloads too.
type InventoryInput struct {
	After   string   `json:"after,omitempty"` // the servers behind this id
	Limit   int      `json:"limit,omitempty"` // at most so many servers
	Only    bool     `json:"only,omitempty"`
	Servers []string `json:"servers,omitempty"`
}

// InventoryPage is how many servers a page has at most: about 100 bytes each, and the engine takes 2 MiB.
const InventoryPage = 2000

// Inventory is what lies on a host, in order of the servers' ids: of the servers behind After up to and with Through ("" is
// to the end), or of the named ones alone.
type Inventory struct {
	Hostname string     `json:"hostname"`
	After    string     `json:"after,omitempty"`
	Through  string     `json:"through,omitempty"`
	Only     bool       `json:"only,omitempty"`
	Servers  []string   `json:"servers,omitempty"`
	Things   []Instance `json:"things,omitempty"`
	// Partials are old downloads that nobody continues, at most PartialDownloadMax of them.
	Partials []PartialDownload `json:"partials,omitempty"`
}

// Covers says whether the inventory would show the server's things if there were any.
func (in Inventory) Covers(serverID string) bool {
	if in.Only {
		for _, id := range in.Servers {
			if id == serverID {
				return true
			}
		}
		return false
	}
	return serverID > in.After && (in.Through == "" || serverID <= in.Through)
}

// Instance is what a host has of one server.
type Instance struct {
	ID     string `json:"id"`
	Domain string `json:"domain,omitempty"` // its state; "" is none
	// Guest is how the guest is: the domain's state, or saved; "" is not told, as by hosts of before.
	Guest string `json:"guest,omitempty"`
	// Elsewhere says that the domain's files lie outside of this host's folders: it is another installation's, or another
	// host's of the same hypervisor.
	Elsewhere bool     `json:"elsewhere,omitempty"`
	Folder    bool     `json:"folder,omitempty"`
	Disk      bool     `json:"disk,omitempty"`    // the root disk is there
	Missing   []string `json:"missing,omitempty"` // files that its disk or domain leans on and that are not there: names in the cache, or paths
	Facts     bool     `json:"facts,omitempty"`   // what makes a server of it again lies there
	Broken    string   `json:"broken,omitempty"`  // why its root disk's header cannot be read
	Foreign   []string `json:"foreign,omitempty"` // files in the folder that no step makes; at most three
}

// GuestSaved is a Guest that is off, and whose memory was put away to go on from.
const GuestSaved = "saved"

// PartialDownload is the beginning of an image.
type PartialDownload struct {
	SHA512 string    `json:"sha512"`
	Bytes  int64     `json:"bytes"`
	Since  time.Time `json:"since"` // when the last byte came
}

// PartialDownloadMax is how many partial downloads an inventory tells of.
const PartialDownloadMax = 100

// AuditHostInput compares an inventory with the records. Candidates are those of the first look; nil is the first look.
type AuditHostInput struct {
	RunID      string           `json:"run_id"`
	Inventory  Inventory        `json:"inventory"`
	Candidates []AuditCandidate `json:"candidates,omitempty"`
	Left       []string         `json:"left,omitempty"`  // findings that were left out, because something works on their servers
	More       int              `json:"more,omitempty"`  // candidates beyond those
	First      Inventory        `json:"first,omitzero"`  // which part of the host the second look is of: its bounds alone
	Last       bool             `json:"last,omitempty"`  // the host's last page
	Final      bool             `json:"final,omitempty"` // the second look
}

// AuditCandidate is what looks like a finding. Lock tells the workflows that may change its server apart.
type AuditCandidate struct {
	ID       string `json:"id"`
	ServerID string `json:"server_id,omitempty"`
	Lock     string `json:"lock,omitempty"`
}

// AuditCandidatesMax is how many candidates are looked at a second time, of a page or of the records.
const AuditCandidatesMax = 1000

// AuditHostOutput is what to look at again.
type AuditHostOutput struct {
	Candidates []AuditCandidate `json:"candidates,omitempty"`
	Left       []string         `json:"left,omitempty"`
	More       int              `json:"more,omitempty"`
}

// MissHostInput says that a host was not looked at.
type MissHostInput struct {
	RunID    string `json:"run_id"`
	Hostname string `json:"hostname"`
	Why      string `json:"why"`
}

// RepairInput is an operator's order to repair.
type RepairInput struct {
	RepairID     string        `json:"repair_id"`
	UserID       string        `json:"user_id"`
	RequestID    string        `json:"request_id"`
	HostPatience time.Duration `json:"host_patience"`
	Deadlines    Deadlines     `json:"deadlines"` // of a delete that is taken up again
}

// RepairOrder is what was chosen, by server.
type RepairOrder struct {
	Servers []RepairServerInput `json:"servers,omitempty"`
	// Partials are partial downloads to remove.
	Partials []RepairPartial `json:"partials,omitempty"`
}

// RepairPartial is a finding about a partial download.
type RepairPartial struct {
	FindingID string `json:"finding_id"`
	Hostname  string `json:"hostname"`
	SHA512    string `json:"sha512"`
}

// RepairServerInput repairs findings about one server.
type RepairServerInput struct {
	RepairInput
	ServerID string          `json:"server_id"`
	Findings []RepairFinding `json:"findings"`
	Hosts    []string        `json:"hosts,omitempty"` // where its things may lie
}

// RepairFinding is one that was chosen.
type RepairFinding struct {
	ID   string `json:"id"`
	Host string `json:"host,omitempty"`
}

// PlanRepairInput asks what has to be done now.
type PlanRepairInput struct {
	RepairServerInput
	Inventories []Inventory `json:"inventories,omitempty"`
	Unasked     []string    `json:"unasked,omitempty"` // hosts that did not answer
}

// RepairPlan is what to do, in order, and what became of findings for which nothing is to be done.
type RepairPlan struct {
	Steps    []RepairStep    `json:"steps,omitempty"`
	Outcomes []RepairOutcome `json:"outcomes,omitempty"`
	// Delete takes the server's delete up again instead of the steps.
	Delete *DeleteInput `json:"delete,omitempty"`
	For    []string     `json:"for,omitempty"` // the findings that Delete repairs
}

// RepairStep is one activity. One of the inputs is set. A step that fails stops those that follow for the same findings.
type RepairStep struct {
	Findings []string         `json:"findings"`
	Activity string           `json:"activity"`
	Host     string           `json:"host,omitempty"` // "" is the control plane
	Undo     *Undo            `json:"undo,omitempty"`
	Fail     *FailServerInput `json:"fail,omitempty"`
	Claim    *ClaimQuotaInput `json:"claim,omitempty"`
	Room     *RoomInput       `json:"room,omitempty"`
	Fetch    *FetchImageInput `json:"fetch,omitempty"`
}

// RoomInput gives a server that runs its room on its host again.
type RoomInput struct {
	ServerID  string    `json:"server_id"`
	Hostname  string    `json:"hostname"`
	Resources Resources `json:"resources"`
}

// What became of a finding in a repair.
const (
	OutcomeRepaired = "repaired"
	OutcomeGone     = "gone"   // it did not stand any more
	OutcomeLeft     = "left"   // something works on the server, or a host does not answer: nothing was done
	OutcomeFailed   = "failed" // something was tried and did not succeed
	OutcomeManual   = "manual" // only an operator can do it
)

// RepairOutcome is what became of one finding.
type RepairOutcome struct {
	FindingID string `json:"finding_id"`
	Outcome   string `json:"outcome"`
	Text      string `json:"text,omitempty"`
}

// RepairEnd ends a repair, or one server's part of it.
type RepairEnd struct {
	RepairID string          `json:"repair_id"`
	UserID   string          `json:"user_id"`
	Outcomes []RepairOutcome `json:"outcomes,omitempty"`
	Last     bool            `json:"last,omitempty"` // the repair has ended
	Error    string          `json:"error,omitempty"`
}
