package contract

// Snapshot is the image that is made of a server.
type Snapshot struct {
	ImageID   string   `json:"image_id"`
	Name      string   `json:"name"`
	ProjectID string   `json:"project_id"`      // of who asks, whose the image will be
	Roles     []string `json:"roles,omitempty"` // of who asks: they decide which properties it may have
	// Metadata are properties of the image, over those that it gets by itself.
	Metadata map[string]string `json:"metadata,omitempty"`
	Backup   *Backup           `json:"backup,omitempty"` // nil is none
	// AtRest has a guest that runs shut down while its disk is copied, and started again (EC2's CreateImage without NoReboot).
	AtRest bool `json:"at_rest,omitempty"`
}

// Backup says of an image that it is a backup, and how many of its type its server keeps.
type Backup struct {
	Type     string `json:"type"`
	Rotation int    `json:"rotation"`
}

// RotateBackupsInput deletes those that are too many.
type RotateBackupsInput struct {
	ServerID  string   `json:"server_id"`
	UserID    string   `json:"user_id"`
	RequestID string   `json:"request_id"`
	Snapshot  Snapshot `json:"snapshot"` // the newest
}

// RecordSnapshotInput makes the image's row.
type RecordSnapshotInput struct {
	ServerID  string   `json:"server_id"`
	UserID    string   `json:"user_id"`
	RequestID string   `json:"request_id"`
	Snapshot  Snapshot `json:"snapshot"`
}

// ForgetSnapshotInput takes the row of an image that has not become active away.
type ForgetSnapshotInput struct {
	ImageID   string `json:"image_id"`
	ProjectID string `json:"project_id"`
	UserID    string `json:"user_id"`
	RequestID string `json:"request_id"`
}

// TakeSnapshotInput copies a server's root disk, as it is at one moment.
type TakeSnapshotInput struct {
	ServerID string `json:"server_id"`
	ImageID  string `json:"image_id"` // names the copy
}

// StoreSnapshotInput brings the copy into the image store.
type StoreSnapshotInput struct {
	ServerID string `json:"server_id"`
	ImageID  string `json:"image_id"`
}

// DropSnapshotInput removes the copy.
type DropSnapshotInput struct {
	ServerID string `json:"server_id"`
}

// SnapshotProgress is the heartbeat of TakeSnapshot and StoreSnapshot.
type SnapshotProgress struct {
	Bytes int64 `json:"bytes"`
	Total int64 `json:"total"`
}
