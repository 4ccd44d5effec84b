package contract

import (
	"encoding/json"
	"time"
)

// WorkflowImport brings bytes to an image, or copies of them to more stores.
const WorkflowImport = "ImportImage"

// Messages of an import.
const (
	// UpdateImport is a submission. It carries the id of its task, and is answered once the import is accepted (nil: the task
	// exists) or refused (a fault).
	UpdateImport = "import"
	// QueryImport answers an ImportState.
	QueryImport = "state"
)

// Activities of an import.
const (
	BeginImport   = "BeginImport"
	AbandonImport = "AbandonImport"
	StoreImage    = "StoreImage"
	CopyImage     = "CopyImage"
	FinishImport  = "FinishImport"
)

// Methods of an import, by Glance's names.
const (
	ImportStaged = "glance-direct" // of bytes that were staged
	ImportWeb    = "web-download"
	ImportCopy   = "copy-image" // of an active image, to more stores
	// ImportOrphan is Slipway's own: of bytes in a store that no image had, whose name there is the URI.
	ImportOrphan = "adopt"
	// ImportImage is Slipway's own: of another image's bytes, whose id is the URI.
	ImportImage = "image"
)

// ImportTask names an import: the image, the task that shows it to users, and who asked.
type ImportTask struct {
	ID        string `json:"id"`
	ImageID   string `json:"image_id"`
	ProjectID string `json:"project_id"`
	UserID    string `json:"user_id"`
	RequestID string `json:"request_id"`
}

// ImportInput is the whole input of an import, and of its first step.
type ImportInput struct {
	Task   ImportTask `json:"task"`
	Method string     `json:"method"`
	URI    string     `json:"uri,omitempty"`
	Stores []string   `json:"stores"` // by name, in the order in which they get the bytes
	// Every says that the import fails where one of the stores fails (Glance's all_stores_must_succeed).
	Every bool `json:"every"`
	// Skip says that stores which have the image already are left out, where otherwise they are a conflict.
	Skip    bool            `json:"skip,omitempty"`
	Request json.RawMessage `json:"request"` // what the task shows as its input

	Deadline     time.Duration `json:"deadline"`      // of the import in all
	Patience     time.Duration `json:"patience"`      // with what does not answer
	UndoPatience time.Duration `json:"undo_patience"` // until an undo that does not succeed is shown as parked
	KeepTask     time.Duration `json:"keep_task"`     // after its end
	Submission
}

// ImportBegun is what an import has to do.
type ImportBegun struct {
	Stores []string `json:"stores"`           // that get the bytes
	Staged string   `json:"staged,omitempty"` // the store in which the bytes wait
}

// StoreImageInput brings the bytes into one store.
type StoreImageInput struct {
	Task   ImportTask `json:"task"`
	Method string     `json:"method"`
	URI    string     `json:"uri,omitempty"`
	Store  string     `json:"store"`
	// Stays leaves the image importing: it becomes active when every store has it.
	Stays bool `json:"stays,omitempty"`
}

// CopyImageInput brings the bytes from the stores that have them to one more.
type CopyImageInput struct {
	Task  ImportTask `json:"task"`
	Store string     `json:"store"`
}

// StoredImage is what a store got.
type StoredImage struct {
	Bytes int64 `json:"bytes"`
}

// ImportProgress is the heartbeat of StoreImage and CopyImage.
type ImportProgress struct {
	Bytes int64 `json:"bytes"`
	Total int64 `json:"total"` // -1 while nobody knows
}

// FinishImportInput ends an import that has brought the image to at least one store.
type FinishImportInput struct {
	Import ImportInput `json:"import"`
	Begun  ImportBegun `json:"begun"`
	Failed []string    `json:"failed,omitempty"` // stores that did not get it
	// Message is what the task says in the end.
	Message string `json:"message"`
}

// AbandonImportInput is the undo of an import: what it did not finish is taken back.
type AbandonImportInput struct {
	Import  ImportInput `json:"import"`
	Begun   ImportBegun `json:"begun"`  // empty where the answer of BeginImport was lost
	Failed  []string    `json:"failed"` // stores that did not get it
	Message string      `json:"message"`
}

// ImportState is an import as its workflow sees it.
type ImportState struct {
	Phase  string   `json:"phase"`
	Store  string   `json:"store,omitempty"` // that gets the bytes now
	Done   []string `json:"done,omitempty"`
	Failed []string `json:"failed,omitempty"`
	Error  string   `json:"error,omitempty"`
}
