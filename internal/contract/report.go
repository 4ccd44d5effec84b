package contract

// HostReport is what a hypervisor says of itself to the API: all of it at registration (PUT /hosts/self), and again with
// each heartbeat (POST /hosts/self/heartbeat). Memory in MiB, disk in GiB.
type HostReport struct {
	Hostname          string   `json:"hostname"`
	HypervisorType    string   `json:"hypervisor_type"`
	HypervisorVersion int      `json:"hypervisor_version"`
	Architectures     []string `json:"architectures"`
	KVM               bool     `json:"kvm"`
	VCPUs             int      `json:"vcpus"`
	MemoryMiB         int      `json:"memory_mib"`
	DiskGiB           int      `json:"disk_gib"`
	CPURatio          float64  `json:"cpu_ratio"`
	RAMRatio          float64  `json:"ram_ratio"`
	DiskRatio         float64  `json:"disk_ratio"`
	ReservedMemoryMiB int      `json:"reserved_memory_mib"`
	Ready             bool     `json:"ready"`
	NotReadyReason    string   `json:"not_ready_reason,omitempty"` // for operators, and for users whose build found no host
	Version           string   `json:"version"`                    // of slipway
}
