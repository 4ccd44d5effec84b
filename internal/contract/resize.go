package contract

// Resize is the flavor that a server is to have, or its own, and where.
type Resize struct {
	Flavor Flavor `json:"flavor"`
	// AutoDiskConfig is Server's; nil leaves what it was.
	AutoDiskConfig *bool `json:"auto_disk_config,omitempty"`
	Limits         Quota `json:"limits"` // of the project
	// Migrates has the server stay what it is and go to another host: to Host, where it is not "".
	Migrates bool   `json:"migrates,omitempty"`
	Host     string `json:"host,omitempty"`
	Zone     string `json:"zone,omitempty"` // that it goes to; "" is any
}

// PlanResizeInput says what a server is to become.
type PlanResizeInput struct {
	ServerID  string `json:"server_id"`
	ProjectID string `json:"project_id"`
	Resize    Resize `json:"resize"`
}

// ResizePlan is what a server is, and what it becomes.
type ResizePlan struct {
	Old  ServerFacts `json:"old"`
	New  ServerFacts `json:"new"`
	Zone string      `json:"zone"` // its host's
	// VMState is what a revert makes of the server.
	VMState string `json:"vm_state"`
	// Lost says that the image is not in the store any more, so that no other host can have it.
	Lost bool `json:"lost,omitempty"`
}

// HoldResizeInput takes the quota and the room for what a server becomes, beside its own.
type HoldResizeInput struct {
	ServerID  string      `json:"server_id"`
	ProjectID string      `json:"project_id"`
	RequestID string      `json:"request_id"`
	Hostname  string      `json:"hostname"` // of both guests
	Limits    Quota       `json:"limits"`
	Old       ServerFacts `json:"old"`
	New       ServerFacts `json:"new"`
	VMState   string      `json:"vm_state"` // that the server has
}

// RecordMigrationInput records what a server begins to become, and takes the quota for it beside its own.
type RecordMigrationInput struct {
	ServerID  string      `json:"server_id"`
	ProjectID string      `json:"project_id"`
	RequestID string      `json:"request_id"`
	Migrates  bool        `json:"migrates"`
	Hostname  string      `json:"hostname"` // that the server is on
	Limits    Quota       `json:"limits"`
	Old       ServerFacts `json:"old"`
	New       ServerFacts `json:"new"`
	VMState   string      `json:"vm_state"` // that the server has
}

// SelectDestinationInput chooses the host on which a server becomes what it is to be, and takes the room there.
type SelectDestinationInput struct {
	ServerID  string      `json:"server_id"`
	RequestID string      `json:"request_id"`
	Hostname  string      `json:"hostname"` // that the server is on
	Migrates  bool        `json:"migrates"` // it has to be another
	Host      string      `json:"host"`     // that was asked for; "" is any
	Zone      string      `json:"zone,omitempty"`
	New       ServerFacts `json:"new"`
}

// Destination is the host on which a server becomes what it is to be: its own, or another.
type Destination struct {
	Hostname         string `json:"hostname"`
	AvailabilityZone string `json:"availability_zone"`
}

// BuildResizedInput makes the disks of a guest by another flavor, of those that the guest has.
type BuildResizedInput struct {
	ServerID    string                 `json:"server_id"`
	Disk        BuildDiskInput         `json:"disk"`
	ConfigDrive *BuildConfigDriveInput `json:"config_drive,omitempty"`
}

// BuildArrivedInput makes the disks of a guest of those that have arrived from another host.
type BuildArrivedInput struct {
	ServerID string         `json:"server_id"`
	Disk     BuildDiskInput `json:"disk"`
}

// FinishResizeInput shows that the disks are there.
type FinishResizeInput struct {
	ServerID  string `json:"server_id"`
	RequestID string `json:"request_id"`
}

// RecordResizeInput changes in a server's row what a resize or its revert changes. Its undo has the two the other way round.
type RecordResizeInput struct {
	ServerID  string      `json:"server_id"`
	RequestID string      `json:"request_id"`
	Old       ServerFacts `json:"old"`
	New       ServerFacts `json:"new"`
}

// ConfirmResizeInput gives back the room of what a server was.
type ConfirmResizeInput struct {
	ServerID  string `json:"server_id"`
	RequestID string `json:"request_id"`
}

// PlanRevertInput asks what a server was before its resize.
type PlanRevertInput struct {
	ServerID string `json:"server_id"`
}

// RevertGuestInput puts the guest of before a resize in its place again.
type RevertGuestInput struct {
	ServerID string `json:"server_id"`
}
