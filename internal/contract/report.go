package contract

// HostReport is what a hypervisor says of itself to the API at registration: PUT /hosts/self, {"host": HostReport}.
type HostReport struct {
	Hostname string `json:"hostname"`
	HostHeartbeat
	HypervisorType    string   `json:"hypervisor_type"`
	Architectures     []string `json:"architectures"`
	KVM               bool     `json:"kvm"`
	UEFI              bool     `json:"uefi,omitempty"`
	CPURatio          float64  `json:"cpu_ratio"`
	RAMRatio          float64  `json:"ram_ratio"`
	DiskRatio         float64  `json:"disk_ratio"`
	ReservedMemoryMiB int      `json:"reserved_memory_mib"`
}

// HostHeartbeat is what it says again and again: POST /hosts/self/heartbeat, {"host": HostHeartbeat}. Memory in MiB, disk
// (of the filesystem that holds the instances) in GiB.
type HostHeartbeat struct {
	Ready             bool   `json:"ready"`
	NotReadyReason    string `json:"not_ready_reason,omitempty"` // shown to operators and to users whose build found no host; at most 1024 bytes
	HypervisorVersion int    `json:"hypervisor_version"`
	VCPUs             int    `json:"vcpus"`
	MemoryMiB         int    `json:"memory_mib"`
	DiskGiB           int    `json:"disk_gib"`
	Version           string `json:"version"` // of slipway
}

// HostOrders is what the API may answer a heartbeat, {"host": HostOrders}; an answer without a body orders nothing.
type HostOrders struct {
	TrialWanted bool `json:"trial_wanted"` // try anew how guests run, and report it
}

// HostReasonMax bounds NotReadyReason.
const HostReasonMax = 1024

// Headers of each request of a host to the API, and of its answer: headers and no fields, since an older API refuses what it
// does not know.
const (
	// HeaderInstallation is the installation that the host's state folder belongs to, and the one that answers.
	HeaderInstallation = "Slipway-Installation"
	// HeaderGeneration is the highest generation of the database that the host has seen, and the one that it is given.
	HeaderGeneration = "Slipway-Generation"
)
