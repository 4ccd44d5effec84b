package models

import (
	"context"
	"time"
)

// HostHeartbeat is what a host says about itself every few seconds.
type HostHeartbeat struct {
	Ready             bool
	NotReadyReason    *string
	HypervisorVersion int
	VCPUs             int
	MemoryMiB         int
	DiskGiB           int
	Version           string
}

// RegisterHost adds the host or updates the one of that hostname, which keeps its id, created_at and whether an operator
// disabled it. Proof of the token is the caller's business.
func (s *Store) RegisterHost(ctx context.Context, h Host) (Host, error) { return Host{}, errPending }

// HeartbeatHost records what the host says at the time.
func (s *Store) HeartbeatHost(ctx context.Context, id string, b HostHeartbeat, now time.Time) error {
	return errPending
}

// HostByToken by the SHA-256 of its token.
func (s *Store) HostByToken(ctx context.Context, hash []byte) (Host, error) {
	return Host{}, errPending
}

// Host by id.
func (s *Store) Host(ctx context.Context, id string) (Host, error) { return Host{}, errPending }

// HostByName by hostname.
func (s *Store) HostByName(ctx context.Context, hostname string) (Host, error) {
	return Host{}, errPending
}

// ListHosts lists all hosts with their usage, by hostname, in one query.
func (s *Store) ListHosts(ctx context.Context) ([]HostUsage, error) { return nil, errPending }

// SetHostEnabled lets a host take servers or not; reason is kept only while it is disabled.
func (s *Store) SetHostEnabled(ctx context.Context, id string, enabled bool, reason *string) error {
	return errPending
}

// DeleteHost forgets a host; Conflict while it holds allocations.
func (s *Store) DeleteHost(ctx context.Context, id string) error { return errPending }
