package models

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// The choice of a host reads every host, and so no more of each than it decides by.
var hostsForBuildSQL = `
SELECT h.id, h.hostname, h.availability_zone, h.architectures, h.uefi, h.enabled, h.disabled_reason, h.ready, h.not_ready_reason, h.forced_down, h.suspended,
       h.address, h.seen_at, h.back_at, h.build_failures, COALESCE(busy.servers, 0) AS io_ops,` + usedOfHosts("$1", `
LEFT JOIN (SELECT p.host_id, count(DISTINCT s.id) AS servers FROM servers s JOIN placements p ON p.server_id = s.id
           WHERE s.deleted_at IS NULL AND s.task_state IN ('`+strings.Join(lifecycle.Copying, "', '")+`') GROUP BY p.host_id) busy ON busy.host_id = h.id
ORDER BY h.hostname`)

// ListHostsForBuild is ListHosts for the choice of a host: with what that is by, and no more. Leftovers are counted only on hosts that came
// back since the moment and are 0 elsewhere: to ask each placement for its server would cost more than all the rest.
func (s *Store) ListHostsForBuild(ctx context.Context, backSince time.Time) ([]HostUsage, error) {
	var all []HostUsage
	err := withRetries(ctx, func() error {
		rows, err := s.pool.Query(ctx, hostsForBuildSQL, backSince)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (h HostUsage, err error) {
			return h, row.Scan(&h.ID, &h.Hostname, &h.AvailabilityZone, &h.Architectures, &h.UEFI, &h.Enabled, &h.DisabledReason, &h.Ready, &h.NotReadyReason,
				&h.ForcedDown, &h.Suspended, &h.Address, &h.SeenAt, &h.BackAt, &h.BuildFailures, &h.IOOps, &h.CapacityVCPUs, &h.CapacityMemoryMiB, &h.CapacityDiskGiB,
				&h.Servers, &h.UsedVCPUs, &h.UsedMemoryMiB, &h.UsedDiskGiB, &h.Aggregates, &h.Leftovers)
		})
		return err
	})
	return all, failed(err, "list the hosts for a choice")
}

// HostZone is what hosts of an availability zone have in common.
type HostZone struct {
	Name          string
	Enabled       bool
	Architectures []string
}

// HostZones are the zones of all hosts, once for each kind of host in it, by name.
func (s *Store) HostZones(ctx context.Context) ([]HostZone, error) {
	var all []HostZone
	err := withRetries(ctx, func() error {
		rows, err := s.pool.Query(ctx, `SELECT DISTINCT availability_zone, enabled, architectures FROM hosts ORDER BY 1`)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (z HostZone, err error) {
			return z, row.Scan(&z.Name, &z.Enabled, &z.Architectures)
		})
		return err
	})
	return all, failed(err, "list the zones of hosts")
}
