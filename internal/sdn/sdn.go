// Package sdn is the port to what carries the traffic of guests: how networks, subnets, security groups, ports and routers shall be, as plain
// facts, and an engine that makes them so. Postgres is the truth (models); internal/sdn/writer brings it to the engine.
package sdn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Kind is a kind of resource.
type Kind string

// The kinds, in the order in which one may need another: a port its network, subnets, groups and router.
const (
	KindNetwork    Kind = "network"
	KindSubnet     Kind = "subnet"
	KindRouter     Kind = "router"
	KindPort       Kind = "port"
	KindFloatingIP Kind = "floating_ip"
)

// Kinds lists them in that order.
func Kinds() []Kind {
	return []Kind{KindNetwork, KindSubnet, KindGroup, KindRouter, KindPort, KindFloatingIP}
}

// Ref names a resource.
type Ref struct {
	Kind Kind
	ID   string
}

func (r Ref) String() string { return fmt.Sprintf("%s %s", r.Kind, r.ID) }

// Network is a segment on which ports reach each other, on whatever hosts they are.
type Network struct {
	ID       string
	MTU      int
	Physical *Physical // nil: there is nothing else on it
}

// Physical is a network outside that a network is part of.
type Physical struct {
	Name string // by which hosts know on which bridge it is
	VLAN int    // 0 is none
}

// Subnet is what guests on a network are told about themselves.
type Subnet struct {
	ID        string
	NetworkID string
	MTU       int // of its network
	CIDR      netip.Prefix
	Gateway   netip.Addr // the zero Addr is none
	DHCP      bool
	Stateless bool // DHCPv6 tells all but addresses
	DNS       []netip.Addr
	Routes    []Route
}

// Route is one that guests are told of.
type Route struct {
	To      netip.Prefix
	Through netip.Addr
}

// Port is a NIC's place on a network.
type Port struct {
	ID        string
	NetworkID string
	MAC       string
	Addresses []Address
	Host      string // hostname of the hypervisor where it may be plugged; "" is none yet
	Down      bool   // passes nothing
	Unguarded bool   // may send from any address (no port security)
	Also      []Pair // that it may send from, too (Neutron's allowed address pairs)
	// Filtered ports pass what a rule of one of their groups lets, and what a guest needs to have an address at all: of DHCP what it asks.
	Filtered bool
	Groups   []string
	// Service says that it is the place of the network's metadata service, which is on every host at once: what is sent to it goes to
	// that host's.
	Service bool
	Router  *RouterPort // nil: guests have it, not a router
}

// Address is one of a port.
type Address struct {
	IP       netip.Addr
	SubnetID string
	DHCP     bool // the subnet's DHCP answers the port
}

// Pair is an address with its MAC.
type Pair struct {
	MAC string
	IP  netip.Prefix
}

// Desired is how one resource shall be. Nothing set is absent.
type Desired struct {
	Ref
	Revision int64 // of the change that asks for it: kept beside what is written, for whoever compares by eye

	Network    *Network
	Subnet     *Subnet
	Group      *Group
	Router     *Router
	Port       *Port
	FloatingIP *FloatingIP
}

// Stands says whether it is wanted.
func (d Desired) Stands() bool {
	return d.Network != nil || d.Subnet != nil || d.Group != nil || d.Router != nil || d.Port != nil || d.FloatingIP != nil
}

// Change says that a resource is another by now; how, is read when it is applied.
type Change struct {
	Ref
	Sequence int64 // another one with each change of the resource
	Attempts int   // to apply it that failed
}

// Backlog is what waits to be applied.
type Backlog struct {
	Waiting, Failing int64
	Oldest           time.Time // when the oldest of them changed; zero where none waits
}

// Engine makes resources what they shall be. Its rows that are not Slipway's it leaves alone. Errors are faults: Unavailable where
// it does not answer, after which the engine is to be closed and opened again; ErrDeposed; *Missing; else the resource cannot be so.
type Engine interface {
	// Lead makes this the only one whose Apply is obeyed, from now on: what another sends that led before is refused, however
	// late it arrives.
	Lead(ctx context.Context, term string) error
	// Apply makes all of these so, or none, in the order given. What is so already costs nothing.
	Apply(ctx context.Context, all ...Desired) error
	// Differing names those that are not so.
	Differing(ctx context.Context, all ...Desired) ([]Ref, error)
	// Known names all that the engine has of Slipway's.
	Known(ctx context.Context) ([]Ref, error)
	// Ping asks whether it answers.
	Ping(ctx context.Context) error
	Close()
}

// ErrDeposed says that another leads by now, or that the engine has forgotten who does.
var ErrDeposed = errors.New("another process writes to the network engine now")

// Missing says what has to be there first: nothing was applied.
type Missing struct{ Refs []Ref }

func (m *Missing) Error() string {
	names := make([]string, len(m.Refs))
	for i, r := range m.Refs {
		names[i] = r.String()
	}
	return "the network engine does not have yet: " + strings.Join(names, ", ")
}
