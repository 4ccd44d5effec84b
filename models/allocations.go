package models

import "context"

// Allocate takes room on a host for a server that is in BUILD, places the server there and shows the task state. HostUnfit
// when the host is disabled, not ready, or the room is gone. The same again is success.
func (s *Store) Allocate(ctx context.Context, a Allocation, taskState string) error {
	return errPending
}

// ReleaseAllocation gives the room back; absent is success. A server placed on that host is placed nowhere then, and if it
// is still being built shows "scheduling".
func (s *Store) ReleaseAllocation(ctx context.Context, serverID, hostname string) error {
	return errPending
}

// Allocations of a server, oldest first.
func (s *Store) Allocations(ctx context.Context, serverID string) ([]Allocation, error) {
	return nil, errPending
}
