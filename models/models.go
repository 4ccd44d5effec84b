// Package models is Slipway's state in Postgres: gorm structs, state tables, queries and migrations. It is the only place
// that holds a *gorm.DB. Lifecycle writes are compare-and-set on the old state; usage is always a sum of rows (claims of
// a project, allocations of a host), never a counter that can drift.
package models

import (
	"slices"
	"time"

	"github.com/slipway-cloud/slipway/internal/hostapi"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// Project owns everything a user makes (Keystone's project).
type Project struct {
	ID          string `gorm:"primaryKey"`
	Name        string
	DomainID    string // always "default" for now
	Description string
	Enabled     bool
	CreatedAt   time.Time
}

// User is a person or a program with a password (Keystone's user).
type User struct {
	ID           string `gorm:"primaryKey"`
	Name         string
	DomainID     string
	PasswordHash string // bcrypt
	Enabled      bool
	CreatedAt    time.Time
}

// RoleAssignment gives a user a role on a project: admin, member or reader.
type RoleAssignment struct {
	UserID    string `gorm:"primaryKey"`
	ProjectID string `gorm:"primaryKey"`
	Role      string `gorm:"primaryKey"`
}

// Token is an issued credential. Only its hash is kept.
type Token struct {
	Hash      []byte `gorm:"primaryKey"` // SHA-256 of the token
	AuditID   string
	UserID    string
	ProjectID string // "" for an unscoped token
	Methods   string // comma separated: password, token
	IssuedAt  time.Time
	ExpiresAt time.Time
}

// TokenInfo is a token with what it stands for.
type TokenInfo struct {
	Token   Token
	User    User
	Project *Project // nil for an unscoped token
	Roles   []string
}

// Flavor is a size of server. ID is the user's own string (Nova's flavorid).
type Flavor struct {
	ID           string `gorm:"primaryKey"`
	Name         string
	VCPUs        int `gorm:"column:vcpus"`
	RAMMiB       int `gorm:"column:ram_mib"`
	DiskGiB      int `gorm:"column:disk_gib"`
	EphemeralGiB int `gorm:"column:ephemeral_gib"`
	SwapMiB      int `gorm:"column:swap_mib"`
	RxTxFactor   float64
	Public       bool
	Disabled     bool
	Description  *string
	ExtraSpecs   map[string]string `gorm:"serializer:json"`
	CreatedAt    time.Time
}

// ImageStatus is where an image stands; see imageTransitions.
type ImageStatus string

// Image states, Glance's. Bytes are to be had in active and deactivated; pending_delete is deleted for everybody, but bytes
// are still to be removed.
const (
	ImageQueued        ImageStatus = "queued"
	ImageSaving        ImageStatus = "saving"
	ImageUploading     ImageStatus = "uploading" // to where imports take it from (stage)
	ImageImporting     ImageStatus = "importing"
	ImageActive        ImageStatus = "active"
	ImageDeactivated   ImageStatus = "deactivated"
	ImageKilled        ImageStatus = "killed" // declared as in Glance, which leaves it to version 1 of its API
	ImagePendingDelete ImageStatus = "pending_delete"
	ImageDeleted       ImageStatus = "deleted"
)

// Image is one image of the store (Glance's image).
type Image struct {
	ID              string `gorm:"primaryKey"`
	Name            *string
	OwnerID         string // project
	Status          ImageStatus
	Visibility      string // public, private, shared, community
	Hidden          bool   // Glance's os_hidden: not listed unless asked for
	Protected       bool
	DiskFormat      *string
	ContainerFormat *string
	MinDiskGiB      int               `gorm:"column:min_disk_gib"`
	MinRAMMiB       int               `gorm:"column:min_ram_mib"`
	SizeBytes       *int64            // of the stored bytes
	VirtualBytes    *int64            // of the disk inside
	MD5             *string           `gorm:"column:md5"` // Glance's "checksum"
	SHA512          *string           `gorm:"column:sha512"`
	StagedStore     *string           // which store has bytes that wait for their import
	StagedBytes     *int64            // how many
	Tags            []string          `gorm:"serializer:json"`
	Properties      map[string]string `gorm:"serializer:json"`
	CreatedAt       time.Time
	UpdatedAt       time.Time
	DeletedAt       *time.Time

	Locations []ImageLocation `gorm:"-"` // where the bytes lie
	AskerIs   string          `gorm:"-"` // the status of whoever asks as a member of the shared image; "" is none
}

// LiesIn says whether the store is one of the places of the image's bytes.
func (i Image) LiesIn(store string) bool {
	return slices.ContainsFunc(i.Locations, func(l ImageLocation) bool { return l.Store == store })
}

// ImageLocation is one of the places where an image's bytes lie.
type ImageLocation struct {
	ImageID   string `gorm:"primaryKey"`
	Store     string `gorm:"primaryKey"` // its name in the configuration
	URL       string
	CreatedAt time.Time
}

// ImageMember is another project that may use a shared image.
type ImageMember struct {
	ImageID   string `gorm:"primaryKey"`
	MemberID  string `gorm:"primaryKey"` // project
	Status    string // pending, accepted, rejected
	CreatedAt time.Time
	UpdatedAt time.Time
}

// KeyPair is a user's public key.
type KeyPair struct {
	UserID      string `gorm:"primaryKey"`
	Name        string `gorm:"primaryKey"`
	Type        string // ssh or x509
	PublicKey   string
	Fingerprint string // MD5, colons, as Nova shows it
	CreatedAt   time.Time
}

// Server is one virtual machine. Rows of deleted servers stay, with DeletedAt set (Nova lists them to admins).
type Server struct {
	ID               string `gorm:"primaryKey"`
	ProjectID        string
	UserID           string
	Name             string
	Hostname         string
	Description      *string
	VMState          lifecycle.VMState `gorm:"column:vm_state"`
	TaskState        *string           // Nova's OS-EXT-STS:task_state
	PowerState       int               // Nova's: 0 none, 1 running, 3 paused, 4 shut down, 6 crashed
	ImageID          string
	FlavorID         string
	Flavor           FlavorSnapshot `gorm:"serializer:json"`
	KeyName          *string
	AvailabilityZone string // asked for; "" is any
	HostID           *string
	ConfigDrive      bool
	Fingerprint      *string // of the request, where it came with an idempotency key
	ReservationID    string
	LaunchIndex      int
	LaunchedAt       *time.Time
	TerminatedAt     *time.Time
	CreatedAt        time.Time
	UpdatedAt        time.Time
	DeletedAt        *time.Time

	// Read with the server, written by their own calls.
	Metadata map[string]string `gorm:"-"`
	Tags     []string          `gorm:"-"`
	Ports    []Port            `gorm:"-"`
	Fault    *ServerFault      `gorm:"-"`
	Host     *Host             `gorm:"-"`
}

// FlavorSnapshot is the flavor as it was when the server was asked for (shown since microversion 2.47).
type FlavorSnapshot struct {
	ID           string            `json:"id"`
	Name         string            `json:"name"`
	VCPUs        int               `json:"vcpus"`
	RAMMiB       int               `json:"ram_mib"`
	DiskGiB      int               `json:"disk_gib"`
	EphemeralGiB int               `json:"ephemeral_gib"`
	SwapMiB      int               `json:"swap_mib"`
	ExtraSpecs   map[string]string `json:"extra_specs,omitempty"`
}

// ServerFault is why a server is in ERROR: the newest one is shown.
type ServerFault struct {
	ID        int64 `gorm:"primaryKey"`
	ServerID  string
	Code      int
	Message   string
	Details   string // for admins
	CreatedAt time.Time
}

// InstanceAction is one thing that was asked of a server (Nova's os-instance-actions).
type InstanceAction struct {
	ServerID  string `gorm:"primaryKey"`
	RequestID string `gorm:"primaryKey"`
	Action    string // create, delete
	UserID    string
	ProjectID string
	Message   *string // "Error" when it failed
	StartedAt time.Time
	UpdatedAt time.Time
	Events    []InstanceActionEvent `gorm:"-"`
	// AnswerBy is the instant, by this database's clock, after which the action is not begun any more; zero is none. It is not kept.
	AnswerBy time.Time `gorm:"-"`
}

// InstanceActionEvent is one step of an action.
type InstanceActionEvent struct {
	ServerID  string `gorm:"primaryKey"`
	RequestID string `gorm:"primaryKey"`
	Seq       int    `gorm:"primaryKey"`
	Event     string // the step's name
	Host      *string
	StartedAt time.Time
	EndedAt   *time.Time
	Result    *string // Success, Error
	Details   *string // the user's text of the error
	Traceback *string // never filled with internals for non-admins
}

// Claim is one server's share of its project's quota.
type Claim struct {
	ServerID  string `gorm:"primaryKey"`
	ProjectID string
	Instances int
	Cores     int
	RAMMiB    int `gorm:"column:ram_mib"`
	CreatedAt time.Time
}

// ProjectQuota overrides the default limits of one project; -1 is unlimited.
type ProjectQuota struct {
	ProjectID string `gorm:"primaryKey"`
	Instances int
	Cores     int
	RAMMiB    int `gorm:"column:ram_mib"`
	KeyPairs  int
}

// Host is a hypervisor that registered.
type Host struct {
	ID                string `gorm:"primaryKey"`
	Hostname          string
	AvailabilityZone  string
	TokenHash         []byte // SHA-256 of the host's own token
	HypervisorType    string
	HypervisorVersion int
	Architectures     []string       `gorm:"serializer:json"`
	KVM               bool           `gorm:"column:kvm"`      // hardware runs the guests: Trial's word
	Trial             *hostapi.Trial `gorm:"serializer:json"` // how guests run, by the last trial; nil before the first
	UEFI              bool           `gorm:"column:uefi"`
	VCPUs             int            `gorm:"column:vcpus"`
	MemoryMiB         int            `gorm:"column:memory_mib"`
	DiskGiB           int            `gorm:"column:disk_gib"` // of the filesystem that holds the instances
	CPURatio          float64        // how often a vCPU may be given away
	RAMRatio          float64
	DiskRatio         float64
	ReservedMemoryMiB int `gorm:"column:reserved_memory_mib"`
	Enabled           bool
	DisabledReason    *string
	Ready             bool    // the host's own word: its hypervisor answers
	NotReadyReason    *string // the host's own word, shown to operators
	Version           string  // of slipway on it
	StartedAt         time.Time
	SeenAt            time.Time // last heartbeat
	BuildFailures     int       // builds that failed on it one after another, by its own fault
	LastFailure       *string
	LastFailureAt     *time.Time
	Suspended         bool       // too many of them: it takes no servers until its trial has passed
	TrialDueAt        *time.Time // while it is suspended: when it is asked for a trial
	// BackAt is when it last came back: it registered, or reported after a silence in which builds had given it up.
	BackAt     *time.Time
	CreatedAt  time.Time
	Generation int64 // of the database, that the host was given last (Installation)
}

// HostUsage is a host with the sum of its allocations.
type HostUsage struct {
	Host
	Servers int
	// What may be given away, with the ratios and without what is reserved.
	CapacityVCPUs     int `gorm:"column:capacity_vcpus"`
	CapacityMemoryMiB int `gorm:"column:capacity_memory_mib"`
	CapacityDiskGiB   int `gorm:"column:capacity_disk_gib"`

	UsedVCPUs     int `gorm:"column:used_vcpus"`
	UsedMemoryMiB int `gorm:"column:used_memory_mib"`
	UsedDiskGiB   int `gorm:"column:used_disk_gib"`
	// Leftovers counts the allocations of servers that are not placed here: a build that moved on or failed, or a delete,
	// has left something that is still to be given back, the allocation last.
	Leftovers int
}

// Allocation is what one server takes of one host. A server can hold two while a build moves from a failed host to the
// next and the failed one has not yet been cleaned.
type Allocation struct {
	ServerID  string `gorm:"primaryKey"`
	HostID    string `gorm:"primaryKey"`
	VCPUs     int    `gorm:"column:vcpus"`
	MemoryMiB int    `gorm:"column:memory_mib"`
	DiskGiB   int    `gorm:"column:disk_gib"`
	CreatedAt time.Time
}

// Network is an isolated segment: one Linux bridge on each host that has a port of it.
type Network struct {
	ID          string `gorm:"primaryKey"`
	ProjectID   string
	Name        string
	Description string
	Shared      bool
	MTU         int `gorm:"column:mtu"`
	CreatedAt   time.Time
	UpdatedAt   time.Time
	Subnets     []Subnet `gorm:"-"`
}

// Subnet is a range of addresses on a network.
type Subnet struct {
	ID         string `gorm:"primaryKey"`
	NetworkID  string
	ProjectID  string
	Name       string
	CIDR       string `gorm:"column:cidr"`
	GatewayIP  *string
	DNSServers []string `gorm:"serializer:json"`
	PoolStart  string
	PoolEnd    string
	EnableDHCP bool `gorm:"column:enable_dhcp"`
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

// Port is a NIC's place on a network. A port that a build made goes with the server; one that the user made is only bound
// and unbound.
type Port struct {
	ID          string `gorm:"primaryKey"`
	NetworkID   string
	ProjectID   string
	Name        string
	MAC         string  `gorm:"column:mac"`
	ServerID    *string // Neutron's device_id
	NICIndex    int     `gorm:"column:nic_index"`
	MadeByBuild bool
	HostID      *string
	Tag         *string
	// IPAllocation is AllocateIPs, or NoIPs for a port that was asked for without any address.
	IPAllocation string `gorm:"column:ip_allocation"`
	CreatedAt    time.Time
	UpdatedAt    time.Time
	Network      *Network  `gorm:"-"`
	FixedIPs     []FixedIP `gorm:"-"`
}

// How a port comes to its addresses (Neutron's ip_allocation).
const (
	AllocateIPs = "immediate"
	NoIPs       = "none"
)

// FixedIP is one address of a port.
type FixedIP struct {
	PortID   string `gorm:"primaryKey"`
	SubnetID string `gorm:"primaryKey"`
	IP       string `gorm:"primaryKey;column:ip"`
}
