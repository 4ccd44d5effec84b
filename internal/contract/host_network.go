package contract

// HostNetworkInput asks a host for what switches its guests.
type HostNetworkInput struct {
	Hostname string `json:"hostname"`
}

// HostNetwork is what switches a host's guests where networks stand on OVN, as the host found it. Operators see it as it is.
type HostNetwork struct {
	Hostname string      `json:"hostname"`
	Switch   *HostSwitch `json:"switch"` // nil where none answers
	Ports    []HostPort  `json:"ports"`
	Checks   []HostCheck `json:"checks"` // of what has to be right before ports work there
}

// UnswitchedHost is one that has no part in OVN.
func UnswitchedHost(hostname string) HostNetwork {
	return HostNetwork{Hostname: hostname, Ports: []HostPort{}, Checks: []HostCheck{
		{Name: "switch", Text: "the host plugs no ports: host.ovsdb does not say where its Open vSwitch is, as unix:/run/openvswitch/db.sock"},
	}}
}

// HostSwitch is a host's Open vSwitch as a chassis of OVN's.
type HostSwitch struct {
	Version    string          `json:"version"`
	Datapath   string          `json:"datapath"` // kernel or userspace, of the bridge that OVN's controller programs
	SystemID   string          `json:"system_id"`
	Southbound string          `json:"southbound"`
	Encap      string          `json:"encap"` // geneve, with others beside it
	EncapIP    string          `json:"encap_ip"`
	Tunnels    []string        `json:"tunnels"` // chassis that it sends to
	Mappings   []BridgeMapping `json:"mappings"`
}

// BridgeMapping is the bridge by which a host reaches a network outside.
type BridgeMapping struct {
	Network string `json:"network"`
	Bridge  string `json:"bridge"`
}

// HostPort is a port that is plugged on a host.
type HostPort struct {
	ServerID string `json:"server_id"`
	NIC      int    `json:"nic"`
	PortID   string `json:"port_id"` // "" where only a tap is left
	Tap      string `json:"tap"`
	Up       bool   `json:"up"` // what OVN says of it is in place
	Error    string `json:"error"`
}

// HostCheck is one thing that has to be right.
type HostCheck struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Text string `json:"text"` // what is there; or what is wrong, and what to do
}
