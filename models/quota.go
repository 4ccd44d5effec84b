package models

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Claim is one server's share of its project's quota.
type Claim struct {
	ServerID  string `gorm:"primaryKey"`
	ProjectID string
	Instances int
	Cores     int
	RAMMiB    int `gorm:"column:ram_mib"`
	CreatedAt time.Time
}

// Limits of a project for one claim; -1 is unlimited.
type Limits struct {
	Instances int
	Cores     int
	RAMMiB    int
}

// Usage is the sum of a project's claims. ServerGroups is QuotaUsage's alone.
type Usage struct {
	Instances    int
	Cores        int
	RAMMiB       int `gorm:"column:ram_mib"`
	ServerGroups int
}

const usageSQL = `SELECT COALESCE(sum(instances), 0) AS instances, COALESCE(sum(cores), 0) AS cores, COALESCE(sum(ram_mib), 0) AS ram_mib
FROM claims WHERE project_id = @project_id`

// QuotaUsage adds up the project's claims, and counts its server groups.
func (s *Store) QuotaUsage(ctx context.Context, projectID string) (Usage, error) {
	var u Usage
	err := s.pool.QueryRow(ctx, `SELECT used.*, (SELECT count(*) FROM server_groups WHERE project_id = @project_id) FROM (`+usageSQL+`) used`,
		named{"project_id": projectID}).Scan(&u.Instances, &u.Cores, &u.RAMMiB, &u.ServerGroups)
	return u, failed(err, "add up the claims of project %s", projectID)
}

const (
	lockProjectSQL = `SELECT FROM projects WHERE id = $1 FOR NO KEY UPDATE`

	claimSQL = `
WITH used AS (` + usageSQL + `),
     same AS (SELECT * FROM claims WHERE server_id = @server_id),
     made AS (
         INSERT INTO claims (server_id, project_id, instances, cores, ram_mib, created_at)
         SELECT @server_id, @project_id, @instances::integer, @cores::integer, @ram_mib::integer, @at FROM used
         WHERE NOT EXISTS (SELECT FROM same)
           AND (@max_instances::integer < 0 OR used.instances + @instances::integer <= @max_instances::integer)
           AND (@max_cores::integer < 0 OR used.cores + @cores::integer <= @max_cores::integer)
           AND (@max_ram_mib::integer < 0 OR used.ram_mib + @ram_mib::integer <= @max_ram_mib::integer)
         RETURNING 1)
SELECT used.instances, used.cores, used.ram_mib, EXISTS (SELECT FROM made), EXISTS (SELECT FROM same),
       EXISTS (SELECT FROM same WHERE project_id = @project_id AND instances = @instances::integer AND cores = @cores::integer AND ram_mib = @ram_mib::integer)
FROM used`
)

// ClaimQuota adds a server's claim if the project's claims stay within the limits, else OverQuota names every resource in
// Nova's words. The same claim again is success, a different one for the same server Conflict.
func (s *Store) ClaimQuota(ctx context.Context, c Claim, l Limits) error {
	if c.CreatedAt.IsZero() {
		c.CreatedAt = now()
	}
	var (
		used                 Usage
		made, claimed, again bool
	)
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(lockProjectSQL, c.ProjectID)
		b.Queue(claimSQL, named{
			"project_id": c.ProjectID, "server_id": c.ServerID, "instances": c.Instances, "cores": c.Cores, "ram_mib": c.RAMMiB,
			"at": c.CreatedAt, "max_instances": l.Instances, "max_cores": l.Cores, "max_ram_mib": l.RAMMiB,
		}).
			QueryRow(func(r pgx.Row) error {
				return r.Scan(&used.Instances, &used.Cores, &used.RAMMiB, &made, &claimed, &again)
			})
	})
	switch {
	case violates(err, "claims_project_id_fkey"):
		return noProject(c.ProjectID)
	case violates(err, "claims_pkey"):
		// Claims of two projects for one server at once: only a stolen id can do that.
		return fault.New(fault.Conflict, "Instance %s has claimed quota already.", c.ServerID)
	case err != nil:
		return failed(err, "claim quota of project %s for server %s", c.ProjectID, c.ServerID)
	case made || again:
		return nil
	case claimed:
		return fault.New(fault.Conflict, "Instance %s has claimed quota already.", c.ServerID)
	}
	return overQuota(c, fmt.Sprint(c.Instances), used, l)
}

// overQuota is Nova's TooManyInstances: every resource that is over, in one sentence. instances is how many servers were
// asked for, in words.
func overQuota(c Claim, instances string, used Usage, l Limits) error {
	var over, asked, taken, limits []string
	for _, r := range []struct {
		name               string
		asked, used, limit int
		words              string
	}{
		{"cores", c.Cores, used.Cores, l.Cores, fmt.Sprint(c.Cores)},
		{"instances", c.Instances, used.Instances, l.Instances, instances},
		{"ram", c.RAMMiB, used.RAMMiB, l.RAMMiB, fmt.Sprint(c.RAMMiB)},
	} {
		if r.limit >= 0 && r.used+r.asked > r.limit {
			over = append(over, r.name)
			asked = append(asked, r.words)
			taken = append(taken, fmt.Sprint(r.used))
			limits = append(limits, fmt.Sprint(r.limit))
		}
	}
	if len(over) == 0 {
		return errors.New("a claim was refused although no limit is exceeded")
	}
	list := func(s []string) string { return strings.Join(s, ", ") }
	return fault.New(fault.OverQuota, "Quota exceeded for %s: Requested %s, but already used %s of %s %s",
		list(over), list(asked), list(taken), list(limits), list(over))
}

// ReleaseClaim gives a server's claim back; absent is success.
func (s *Store) ReleaseClaim(ctx context.Context, serverID string) error {
	err := s.exec(ctx, `DELETE FROM claims WHERE server_id = $1`, serverID)
	return failed(err, "release the claim of server %s", serverID)
}

// ReleaseClaimOf is ReleaseClaim for what one request claimed: that of a server which another request recorded stays.
func (s *Store) ReleaseClaimOf(ctx context.Context, serverID, requestID string) error {
	err := s.exec(ctx, `
DELETE FROM claims c WHERE server_id = $1 AND (NOT EXISTS (SELECT FROM servers s WHERE s.id = c.server_id)
    OR EXISTS (SELECT FROM instance_actions a WHERE a.server_id = c.server_id AND a.request_id = $2))`, serverID, requestID)
	return failed(err, "release the claim of server %s", serverID)
}
