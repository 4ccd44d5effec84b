package contract

import (
	"strings"
	"time"
)

// FetchImageInput brings images into the host's cache.
type FetchImageInput struct {
	ServerID string  `json:"server_id"`
	Images   []Image `json:"images"`
}

// FetchImageOutput says what it cost.
type FetchImageOutput struct {
	DownloadedBytes int64 `json:"downloaded_bytes"` // 0: all were cached, or another build fetched them
}

// FetchProgress is FetchImage's heartbeat.
type FetchProgress struct {
	ImageID string `json:"image_id"`
	Bytes   int64  `json:"bytes"`
	Total   int64  `json:"total"`
}

// BuildDiskInput makes a server's disks in its instance folder: `disk` (root), `disk.eph0` and so on, `disk.swap`.
type BuildDiskInput struct {
	ServerID     string `json:"server_id"`
	Image        Image  `json:"image"`
	RootGiB      int    `json:"root_gib"` // 0: as large as the image
	EphemeralGiB int    `json:"ephemeral_gib"`
	SwapMiB      int    `json:"swap_mib"`
	// BlockDevices are ResolvedImage's.
	BlockDevices []BlockDevice `json:"block_devices,omitempty"`
	// Grow has the root filesystem fill a root disk that is larger than the image, where the image allows that.
	Grow bool `json:"grow,omitempty"`
	// Whole has the root disk lean on no image: this one is about to go.
	Whole bool `json:"whole,omitempty"`
}

// InstanceMetadata is everything a guest is told about itself. The config drive, file injection and later the metadata
// service render it; they own no facts of their own (Nova's api/metadata/base.py InstanceMetadata).
type InstanceMetadata struct {
	ServerID         string            `json:"server_id"`
	ProjectID        string            `json:"project_id"`
	Name             string            `json:"name"`
	Hostname         string            `json:"hostname"`
	AvailabilityZone string            `json:"availability_zone"`
	LaunchIndex      int               `json:"launch_index"`
	ReservationID    string            `json:"reservation_id"`
	FlavorName       string            `json:"flavor_name"`
	ImageID          string            `json:"image_id"`
	KernelID         string            `json:"kernel_id,omitempty"`
	RamdiskID        string            `json:"ramdisk_id,omitempty"`
	EC2ImageID       string            `json:"ec2_image_id,omitempty"` // and of kernel and ramdisk; see Image.EC2ID
	EC2KernelID      string            `json:"ec2_kernel_id,omitempty"`
	EC2RamdiskID     string            `json:"ec2_ramdisk_id,omitempty"`
	KeyPairs         []KeyPair         `json:"key_pairs,omitempty"`
	Metadata         map[string]string `json:"metadata,omitempty"`
	UserData         []byte            `json:"user_data,omitempty"`
	AdminPass        string            `json:"admin_pass,omitempty"`
	Files            []File            `json:"files,omitempty"`
	Ports            []Port            `json:"ports,omitempty"`

	// SecurityGroups are the names of those that its NICs are in.
	SecurityGroups []string `json:"security_groups,omitempty"`
	// Seed is what random_seed is derived from: the same seed gives the same server the same bytes. Without one they are random.
	Seed       []byte         `json:"seed,omitempty"`
	VendorData map[string]any `json:"vendor_data,omitempty"` // BootInput's
	// DynamicVendorData stands beside it in vendor_data2.json.
	DynamicVendorData DynamicVendorData `json:"dynamic_vendor_data,omitempty"`
	// RootDevice is what a Linux guest calls its root disk, and Ephemeral and Swap whether it has such disks behind it.
	RootDevice string `json:"root_device,omitempty"` // "" is /dev/vda
	Ephemeral  bool   `json:"ephemeral,omitempty"`
	Swap       bool   `json:"swap,omitempty"`
	// BlockDevices are its disks where they were asked for one by one, with their tags.
	BlockDevices []BlockDevice `json:"block_devices,omitempty"`
}

// BuildConfigDriveInput makes `disk.config` in the instance folder.
type BuildConfigDriveInput struct {
	ServerID string           `json:"server_id"`
	Format   string           `json:"format"` // iso9660 or vfat
	Metadata InstanceMetadata `json:"metadata"`
	// SkipVersions are DriveOptions'; null, as from older versions, is Nova's default.
	SkipVersions []string `json:"skip_versions"`
}

// InjectDataInput writes into the root disk's filesystem, where no config drive is used.
type InjectDataInput struct {
	ServerID string           `json:"server_id"`
	Metadata InstanceMetadata `json:"metadata"`
	Options  *InjectOptions   `json:"options,omitempty"` // BootInput's
}

// InjectedData says what the image did not take, of what it need not: data, or room. Hosts of before that was told answer nothing.
type InjectedData struct {
	Notes []string `json:"notes,omitempty"` // for the user
}

func (d InjectedData) String() string { return strings.Join(d.Notes, "; ") }

// DefineDomainInput is what the domain's XML says.
type DefineDomainInput struct {
	ServerID    string        `json:"server_id"`
	ProjectID   string        `json:"project_id"`
	Name        string        `json:"name"`
	Flavor      Flavor        `json:"flavor"`
	Image       ResolvedImage `json:"image"`
	ConfigDrive bool          `json:"config_drive"`
	Format      string        `json:"format,omitempty"` // of the config drive
	Ports       []Port        `json:"ports,omitempty"`

	// Facts are laid down beside the domain; not in builds of before they were.
	Facts *ServerFacts `json:"facts,omitempty"`
}

// ServerFacts are all that makes a server of its domain again where the database does not know it any more. They lie sealed in
// the server's folder on its host (internal/serverspec), so they are a public format as histories are. They are what the
// build knew: what was changed afterwards (a name, metadata) only the database has.
type ServerFacts struct {
	Server    Server       `json:"server"`
	KeyName   string       `json:"key_name,omitempty"`
	StartedAt time.Time    `json:"started_at"` // when it was asked for
	Spec      ServerSpec   `json:"spec"`
	Networks  []NICRequest `json:"networks,omitempty"` // what was asked for of each NIC
	Ports     []Port       `json:"ports,omitempty"`    // and what it got
	Resources Resources    `json:"resources"`          // that it takes of its host
}

// RemakeDomainInput asks for a domain to be made anew.
type RemakeDomainInput struct {
	ServerID string `json:"server_id"`
}

// AdoptInput asks for a domain that lies on a host, and of which no row tells, to become a server again. It is the whole input
// of the workflow.
type AdoptInput struct {
	ServerID  string `json:"server_id"`
	Hostname  string `json:"hostname"`
	UserID    string `json:"user_id"`    // the operator
	ProjectID string `json:"project_id"` // the operator's
	RequestID string `json:"request_id"`

	Deadlines Deadlines `json:"deadlines"`
	Submission
}

// ReadFactsInput asks a host for what lies beside a domain.
type ReadFactsInput struct {
	ServerID string `json:"server_id"`
}

// FoundServer is what a host has of a server.
type FoundServer struct {
	Facts      ServerFacts `json:"facts"`
	PowerState int         `json:"power_state"` // Nova's number
}

// AdoptServerInput makes the rows of a server of what its host has.
type AdoptServerInput struct {
	AdoptInput
	FoundServer
}

// StartDomainInput starts a defined domain.
type StartDomainInput struct {
	ServerID string `json:"server_id"`
}

// CountHostFailureInput says that a build left a host because of the host's own fault.
type CountHostFailureInput struct {
	ServerID string `json:"server_id"`
	Hostname string `json:"hostname"`
	Step     string `json:"step"`
	Text     string `json:"text"` // the fault's, for users
}

// HostSeenInput asks whether a host has reported to the API within a time.
type HostSeenInput struct {
	Hostname string        `json:"hostname"`
	Within   time.Duration `json:"within"`
}
