package models

import "context"

// CreatePort makes a port for a user. With FixedIPs it gets those (an empty SubnetID is found by address, an empty IP is
// the subnet's lowest free one), without the lowest free address of each family that the network has. An empty MAC is derived
// from the id.
func (s *Store) CreatePort(ctx context.Context, p Port) (Port, error) { return Port{}, errPending }

// Port by id with its network, subnets and addresses, whoever asks.
func (s *Store) Port(ctx context.Context, id string) (Port, error) { return Port{}, errPending }

// ListPorts lists what the filter selects, each with its network, subnets and addresses.
func (s *Store) ListPorts(ctx context.Context, f PortFilter) ([]Port, error) { return nil, errPending }

// DeletePort removes a port; Conflict while a server uses it.
func (s *Store) DeletePort(ctx context.Context, id string) error { return errPending }

// AllocatePort gives a server that is in BUILD its port on a NIC: makes one with the lowest free address of each family, or
// binds the one that the user made. The answer has the network with its subnets and the addresses. The same again gives the
// same answer. Conflict when the port or the address is taken or no address is left; Invalid when the address lies outside
// every subnet; NotFound when the project cannot see the network or port.
func (s *Store) AllocatePort(ctx context.Context, r PortRequest) (Port, error) {
	return Port{}, errPending
}

// ReleasePort undoes AllocatePort: a port that the build made is deleted, one that was bound is unbound, absent is success.
func (s *Store) ReleasePort(ctx context.Context, serverID string, index int) error {
	return errPending
}
