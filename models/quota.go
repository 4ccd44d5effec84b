package models

import "context"

// Limits of a project for one claim; -1 is unlimited.
type Limits struct {
	Instances int
	Cores     int
	RAMMiB    int
}

// Usage is the sum of a project's claims.
type Usage struct {
	Instances int
	Cores     int
	RAMMiB    int `gorm:"column:ram_mib"`
}

// Quota is the project's own limits, or the defaults where it has none.
func (s *Store) Quota(ctx context.Context, projectID string, defaults ProjectQuota) (ProjectQuota, error) {
	return ProjectQuota{}, errPending
}

// SetQuota gives a project its own limits.
func (s *Store) SetQuota(ctx context.Context, q ProjectQuota) error { return errPending }

// ResetQuota takes the project's own limits away; absent is success.
func (s *Store) ResetQuota(ctx context.Context, projectID string) error { return errPending }

// QuotaUsage adds up the project's claims.
func (s *Store) QuotaUsage(ctx context.Context, projectID string) (Usage, error) {
	return Usage{}, errPending
}

// ClaimQuota adds a server's claim if the project's claims stay within the limits, else OverQuota names every resource in
// Nova's words. The same claim again is success, a different one for the same server Conflict.
func (s *Store) ClaimQuota(ctx context.Context, c Claim, l Limits) error { return errPending }

// ReleaseClaim gives a server's claim back; absent is success.
func (s *Store) ReleaseClaim(ctx context.Context, serverID string) error { return errPending }
