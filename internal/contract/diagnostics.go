package contract

// GuestInput asks a host something about a server's guest, beside whatever else is done to it.
type GuestInput struct {
	ServerID string `json:"server_id"`
	Hostname string `json:"hostname"` // the host that it is on
}

// Diagnostics are what a hypervisor has counted of a guest since it was started.
type Diagnostics struct {
	Hypervisor string `json:"hypervisor"` // kvm or qemu
	// MemoryKiB is what the guest may have, and Memory what is known of its use, by the names of virDomainMemoryStat
	// (https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainMemoryStatTags): actual, rss and the like, KiB most of them.
	MemoryKiB uint64            `json:"memory_kib"`
	Memory    map[string]uint64 `json:"memory,omitempty"`
	CPUs      []CPUDiagnostics  `json:"cpus,omitempty"`
	Disks     []DiskDiagnostics `json:"disks,omitempty"`
	NICs      []NICDiagnostics  `json:"nics,omitempty"`
}

// CPUDiagnostics are a vCPU's.
type CPUDiagnostics struct {
	ID   int    `json:"id"`
	Time uint64 `json:"time"` // nanoseconds
}

// DiskDiagnostics are a disk's.
type DiskDiagnostics struct {
	Device     string `json:"device"` // as the hypervisor calls it: vda
	Reads      uint64 `json:"reads"`
	ReadBytes  uint64 `json:"read_bytes"`
	Writes     uint64 `json:"writes"`
	WriteBytes uint64 `json:"write_bytes"`
	Errors     int64  `json:"errors"` // -1: not counted
}

// NICDiagnostics are a network interface's, as the guest sees it.
type NICDiagnostics struct {
	Device string  `json:"device"` // on the host: tap…
	MAC    string  `json:"mac"`
	RX     Traffic `json:"rx"`
	TX     Traffic `json:"tx"`
}

// Traffic is one direction's.
type Traffic struct {
	Bytes   uint64 `json:"bytes"`
	Packets uint64 `json:"packets"`
	Errors  uint64 `json:"errors"`
	Drops   uint64 `json:"drops"`
}
