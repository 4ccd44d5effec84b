package models

import "context"

// NetworkFilter selects networks. A project sees its own and the shared ones, an admin all. Sort keys: created_at
// (default), name, id.
type NetworkFilter struct {
	ProjectID string // who asks
	Admin     bool
	IDs       []string
	Names     []string
	OwnerID   string
	Shared    *bool
	Sort      []Sort
	Marker    string
	Limit     int // 0 is all
}

// SubnetFilter selects subnets of networks that the asker sees. Sort keys: created_at (default), name, cidr, id.
type SubnetFilter struct {
	ProjectID  string // who asks
	Admin      bool
	IDs        []string
	NetworkIDs []string
	Names      []string
	CIDR       string
	Sort       []Sort
	Marker     string
	Limit      int // 0 is all
}

// PortFilter selects ports. Sort keys: created_at (default), name, mac_address, id.
type PortFilter struct {
	ProjectID  string // "" is all
	IDs        []string
	ServerIDs  []string
	NetworkIDs []string
	Names      []string
	MACs       []string
	IPs        []string // any of its fixed addresses
	SubnetIDs  []string
	Sort       []Sort
	Marker     string
	Limit      int // 0 is all
}

// PortRequest asks for one NIC's port: on NetworkID (a port with ID is made) or PortID (it is bound).
type PortRequest struct {
	ID        string // of the port to make
	ServerID  string
	ProjectID string
	NetworkID string
	PortID    string
	FixedIP   string // "" is the lowest free one
	Index     int
	Hostname  string // of the hypervisor
	Tag       string
	TaskState *string // shown on the server then; nil leaves it
}

// CreateNetwork adds a network; Conflict when the id is taken.
func (s *Store) CreateNetwork(ctx context.Context, n Network) (Network, error) {
	return Network{}, errPending
}

// EnsureNetwork returns the project's network of that name with its subnets, making both if it is not there.
func (s *Store) EnsureNetwork(ctx context.Context, n Network, subnets ...Subnet) (Network, error) {
	return Network{}, errPending
}

// Network by id with its subnets, whoever asks.
func (s *Store) Network(ctx context.Context, id string) (Network, error) {
	return Network{}, errPending
}

// ListNetworks lists what the filter selects, each with its subnets.
func (s *Store) ListNetworks(ctx context.Context, f NetworkFilter) ([]Network, error) {
	return nil, errPending
}

// DeleteNetwork removes a network and its subnets; Conflict while it has ports.
func (s *Store) DeleteNetwork(ctx context.Context, id string) error { return errPending }

// CreateSubnet adds a subnet; Invalid when its addresses do not fit together or overlap another of the network.
func (s *Store) CreateSubnet(ctx context.Context, n Subnet) (Subnet, error) {
	return Subnet{}, errPending
}

// Subnet by id, whoever asks.
func (s *Store) Subnet(ctx context.Context, id string) (Subnet, error) { return Subnet{}, errPending }

// ListSubnets lists what the filter selects.
func (s *Store) ListSubnets(ctx context.Context, f SubnetFilter) ([]Subnet, error) {
	return nil, errPending
}

// DeleteSubnet removes a subnet; Conflict while a port has an address of it.
func (s *Store) DeleteSubnet(ctx context.Context, id string) error { return errPending }
