package contract

// Rebuild is what a server becomes. A nil field leaves what it was.
type Rebuild struct {
	ImageID string   `json:"image_id"`
	Roles   []string `json:"roles,omitempty"` // of who asks: they decide which images it sees
	Flavor  Flavor   `json:"flavor"`          // the server's, which the image has to fit

	Name        *string            `json:"name,omitempty"`
	Hostname    *string            `json:"hostname,omitempty"`
	Description *string            `json:"description,omitempty"` // "" is none
	Metadata    *map[string]string `json:"metadata,omitempty"`    // instead of all that it had
	KeyPairs    *[]KeyPair         `json:"key_pairs,omitempty"`   // none, or one
	UserData    *[]byte            `json:"user_data,omitempty"`
	AccessIPv4  *string            `json:"access_ipv4,omitempty"`
	AccessIPv6  *string            `json:"access_ipv6,omitempty"`
	// AutoDiskConfig is Server's.
	AutoDiskConfig *bool `json:"auto_disk_config,omitempty"`
	// TrustedCertificates are Server's; nil is none, whatever there were.
	TrustedCertificates []string `json:"trusted_certificates,omitempty"`

	// What a server keeps nothing of.
	AdminPass string         `json:"admin_pass,omitempty"`
	Files     []File         `json:"files,omitempty"`
	Seed      []byte         `json:"seed,omitempty"`   // BootInput's
	Inject    *InjectOptions `json:"inject,omitempty"` // BootInput's
}

// PlanRebuildInput says what a server is to become.
type PlanRebuildInput struct {
	ServerID string        `json:"server_id"`
	Rebuild  Rebuild       `json:"rebuild"`
	Image    ResolvedImage `json:"image"`
	// Beside says that the guest only boots instead of the server's own, whose disks it sees: it has one of its image's size, and
	// the room that it takes is not the server's. An Image without an id is the server's own.
	Beside bool `json:"beside,omitempty"`
}

// RebuildPlan is what a server is, and what it becomes.
type RebuildPlan struct {
	Old  ServerFacts `json:"old"`
	New  ServerFacts `json:"new"`
	Zone string      `json:"zone"` // its host's
}

// BuildReplacementInput makes the disks of the guest that follows, and tells it of itself by a config drive or by injection.
// What is nil is not made.
type BuildReplacementInput struct {
	ServerID    string                 `json:"server_id"`
	Disk        BuildDiskInput         `json:"disk"`
	ConfigDrive *BuildConfigDriveInput `json:"config_drive,omitempty"`
	Inject      *InjectDataInput       `json:"inject,omitempty"`
}

// ReplaceGuestInput puts the guest that was built in the place of the one that there is.
type ReplaceGuestInput struct {
	ServerID string      `json:"server_id"`
	Facts    ServerFacts `json:"facts"`
}

// RecordRebuildInput changes in a server's row what a rebuild changes. Its undo has the two the other way round.
type RecordRebuildInput struct {
	ServerID  string      `json:"server_id"`
	RequestID string      `json:"request_id"`
	Old       ServerFacts `json:"old"`
	New       ServerFacts `json:"new"`
}

// EnterRescueInput puts the guest that rescues in the place of the server's own.
type EnterRescueInput struct {
	ServerID string      `json:"server_id"`
	Facts    ServerFacts `json:"facts"` // the rescuing guest's
}

// LeaveRescueInput puts the server's own guest in its place again.
type LeaveRescueInput struct {
	ServerID string `json:"server_id"`
}

// EndRescueInput removes what a rescue has made.
type EndRescueInput struct {
	ServerID string `json:"server_id"`
}

// ForgetRescueImagesInput takes from a server's host the images that only its rescue needed.
type ForgetRescueImagesInput struct {
	ServerID string `json:"server_id"`
}

// RemoveReplacedInput drops the guest that a rebuild has replaced.
type RemoveReplacedInput struct {
	ServerID string `json:"server_id"`
}
