// Package hostnet is the port to what switches this host's guests where the networks' engine is OVN: it plugs the ports of servers into
// the host's switch, and says what is plugged. Two implementations stand behind it: ovs (the real one) and fake (for load and fault
// tests only). What a port's network is, and what may pass, is nobody's concern here: OVN's controller learns that from the Southbound.
package hostnet

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/ids"
)

// Ports plugs and unplugs. Every method is idempotent, takes the context's deadline seriously and returns faults (internal/fault):
// Unavailable when the switch does not answer, HostUnfit when this host cannot do it but another may, Conflict when something stands
// there that is not this port.
//
// What is plugged is marked as this host's: what is not marked so is never touched.
type Ports interface {
	// Plug makes the port's tap, which stays when nobody holds it, and puts it into the switch. Done again it mends what is missing.
	Plug(ctx context.Context, p Port) error
	// Await returns when what OVN says of a port that is plugged is in place, or when ctx ends: Unavailable then, and why.
	Await(ctx context.Context, p Port) error
	// Unplug takes one NIC's port of a server out and removes its tap. None is success.
	Unplug(ctx context.Context, serverID string, nic int) error
	// UnplugAll does so for all ports of a server.
	UnplugAll(ctx context.Context, serverID string) error
	// List tells of all that is plugged here, in no order, and of what is left of it.
	List(ctx context.Context) ([]Plugged, error)
	// Describe tells of the switch, of what has to be right about it on a host of that name, and of all that is plugged.
	Describe(ctx context.Context, hostname string) contract.HostNetwork
	// Probe says why no port of this host would work, with what is to be done about it; nil where they do.
	Probe(ctx context.Context) error
	// Close gives the connection back.
	Close() error
}

// Port is a NIC of a server.
type Port struct {
	ServerID string
	NIC      int    // its place, from 0
	ID       string // the port's: what OVN knows it by
	Network  string // whose id; "" of a guest that was plugged before that was told
	MAC      string
	MTU      int // 0 leaves the kernel's default
}

// Tap is the name of its interface on the host.
func (p Port) Tap() string { return ids.Tap(p.ID) }

// Plugged is a port of this host as it is.
type Plugged struct {
	ServerID string `json:"server_id"`
	NIC      int    `json:"nic"`
	PortID   string `json:"port_id,omitempty"` // "" where only a tap is left
	Network  string `json:"network_id,omitempty"`
	MTU      int    `json:"mtu,omitempty"`
	Tap      string `json:"tap"`
	Up       bool   `json:"up"`              // what OVN says of it is in place
	Error    string `json:"error,omitempty"` // the switch's, or what is missing
}

// Port is what an operator is told of it.
func (p Plugged) Port() contract.HostPort {
	return contract.HostPort{ServerID: p.ServerID, NIC: p.NIC, PortID: p.PortID, Tap: p.Tap, Up: p.Up, Error: p.Error}
}

// Spaces makes network namespaces of this host on the networks of its guests, in which the metadata service listens. OVN knows one place
// of it for each network (a localport), and each host answers there for itself.
type Spaces interface {
	// OpenSpace makes one, with its end in the switch. It goes with the process.
	OpenSpace(ctx context.Context, network string, mtu int) (Space, error)
	// SweepSpaces takes out of the switch what is left there of networks other than those.
	SweepSpaces(ctx context.Context, keep []string) error
}

// Space is one namespace.
type Space interface {
	// Path is where it is entered (netspace.Do), and Link the index of its interface in it.
	Path() string
	Link() int
	// Mend puts right what somebody has changed about its end in the switch. An error means that it is to be made anew.
	Mend(ctx context.Context) error
	// Close takes its end out of the switch, and gives it up.
	Close(ctx context.Context) error
}
