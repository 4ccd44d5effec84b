// Package hostapi is what a hypervisor and the API say to each other at /hosts/self: its report and heartbeat, how guests run
// there, and what the API orders. Hosts and APIs of two versions talk: fields are added, never renamed or retyped.
package hostapi

import "time"

// Report is what a hypervisor says of itself to the API at registration: PUT /hosts/self, {"host": Report}.
type Report struct {
	Hostname string `json:"hostname"`
	Heartbeat
	HypervisorType    string   `json:"hypervisor_type"`
	Architectures     []string `json:"architectures"`
	KVM               bool     `json:"kvm"`
	UEFI              bool     `json:"uefi,omitempty"`
	CPURatio          float64  `json:"cpu_ratio"`
	RAMRatio          float64  `json:"ram_ratio"`
	DiskRatio         float64  `json:"disk_ratio"`
	ReservedMemoryMiB int      `json:"reserved_memory_mib"`
}

// Heartbeat is what it says again and again: POST /hosts/self/heartbeat, {"host": Heartbeat}. Memory in MiB, disk
// (of the filesystem that holds the instances) in GiB.
type Heartbeat struct {
	Ready             bool   `json:"ready"`
	NotReadyReason    string `json:"not_ready_reason,omitempty"` // shown to operators and to users whose build found no host; at most 1024 bytes
	HypervisorVersion int    `json:"hypervisor_version"`
	VCPUs             int    `json:"vcpus"`
	MemoryMiB         int    `json:"memory_mib"`
	DiskGiB           int    `json:"disk_gib"`
	Version           string `json:"version"`         // of slipway
	Trial             *Trial `json:"trial,omitempty"` // nil until the first one has ended
}

// Orders is what the API may answer a heartbeat, {"host": Orders}; an answer without a body orders nothing.
type Orders struct {
	TrialWanted bool `json:"trial_wanted"` // try anew how guests run, and report it
}

// Trial says how guests run on a host: a throw-away guest was started there as a server is, and was seen to run or not.
type Trial struct {
	At      time.Time `json:"at"` // its end
	Passed  bool      `json:"passed"`
	Untried bool      `json:"untried,omitempty"` // nobody wrote a guest for the host's architecture: servers are defined as below, unproven
	// How servers are defined since: libvirt's type of domain (kvm or qemu), the CPU, and whether hardware runs their code.
	VirtType    string    `json:"virt_type"`
	CPU         string    `json:"cpu"`
	Accelerated bool      `json:"accelerated"`
	Since       time.Time `json:"since"`            // of the first trial that ended so
	Reason      string    `json:"reason,omitempty"` // why guests are emulated, untried or do not run; for operators, at most ReasonMax bytes
}

// Usable says whether servers may be started as the trial says.
func (t Trial) Usable() bool { return t.Passed || t.Untried }

// ReasonMax bounds NotReadyReason and Trial.Reason.
const ReasonMax = 1024

// PayloadKeys are what a host opens its tasks and seals its answers with: GET /hosts/self/payload-keys.
type PayloadKeys struct {
	Keys []PayloadKey `json:"payload_keys"` // the first seals, all of them open
}

// PayloadKey is a key of a host's own.
type PayloadKey struct {
	ID    string `json:"id"`
	Bytes []byte `json:"key"` // 32, in base64
}

// Headers of each request of a host to the API, and of its answer: headers and no fields, since an older API refuses what it
// does not know.
const (
	// HeaderInstallation is the installation that the host's state folder belongs to, and the one that answers.
	HeaderInstallation = "Slipway-Installation"
	// HeaderGeneration is the highest generation of the database that the host has seen, and the one that it is given.
	HeaderGeneration = "Slipway-Generation"
	// HeaderCertificateExpires, of requests alone, is when the first of the certificates ends that the host serves or presents,
	// in RFC 3339; absent where it has none.
	HeaderCertificateExpires = "Slipway-Certificate-Expires"
	// HeaderMachine, of reports alone, is a Machine in JSON; absent from a host of a version before.
	HeaderMachine = "Slipway-Machine"
)

// Machine is what a host's machine is, for operators.
type Machine struct {
	CPU      CPU        `json:"cpu"`
	BootedAt time.Time  `json:"booted_at"`
	Load     [3]float64 `json:"load"` // of the last 1, 5 and 15 minutes
	Outside  *Outside   `json:"outside,omitempty"`
}

// Outside is what a host's switch leads to beside other hosts; nil where it tells of nothing.
type Outside struct {
	Networks []string `json:"networks"`          // physical ones, by the names that its bridges have for them, sorted
	Gateway  bool     `json:"gateway,omitempty"` // it is set apart to be routers' gateway
}

// CPU is the machine's, in the names of Nova's cpu_info.
type CPU struct {
	Arch     string   `json:"arch"`
	Vendor   string   `json:"vendor"`
	Model    string   `json:"model"` // as the processor calls itself
	Features []string `json:"features"`
	Topology Topology `json:"topology"`
}

// Topology is how many there are: cores of a socket, and threads of a core.
type Topology struct {
	Sockets int `json:"sockets"`
	Cores   int `json:"cores"`
	Threads int `json:"threads"`
}

// Guest is what the API knows of a guest on a host, while nothing is being done to its server.
type Guest struct {
	ServerID   string    `json:"server_id"`
	Active     bool      `json:"active"` // its guest should run
	PowerState int       `json:"power_state"`
	AsOf       time.Time `json:"as_of"` // said again with a Sighting: it counts while nothing has changed since
	// EndsAtShutdown asks for ByGuest in a Sighting, which an API of before refuses.
	EndsAtShutdown bool `json:"ends_at_shutdown,omitempty"`
}

// Sighting is how a host found a guest to be, after it had asked what the API knows.
type Sighting struct {
	ServerID   string    `json:"server_id"`
	AsOf       time.Time `json:"as_of"`
	PowerState int       `json:"power_state"`
	// ByGuest says of a guest that is off that it was heard to shut itself down: nothing else is a reason to end its server.
	ByGuest bool `json:"by_guest,omitempty"`
}

// ConsolePath and the id of a session are where a host brings the console that the session waits for, as a websocket of the bytes
// that go both ways.
const ConsolePath = "/hosts/self/consoles/"
