package models

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ipam"
)

// NetworkQuota is how many of each kind a project may have, by Neutron's names; -1 is unlimited, and so is a kind that it does not name.
type NetworkQuota map[string]int

// Unlimited is a limit that is none.
const Unlimited = -1

// What is limited, by Neutron's names.
const (
	QuotaNetworks = "network"
	QuotaSubnets  = "subnet"
	QuotaPorts    = "port"

	QuotaSecurityGroups     = "security_group"
	QuotaSecurityGroupRules = "security_group_rule"

	QuotaRouters     = "router"
	QuotaFloatingIPs = "floatingip"
)

// counted are the tables of what is limited.
var counted = map[string]string{
	QuotaNetworks: "networks", QuotaSubnets: "subnets", QuotaPorts: "ports", QuotaSecurityGroups: "security_groups", QuotaSecurityGroupRules: "security_group_rules",
	QuotaRouters: "routers", QuotaFloatingIPs: "floating_ips",
}

func overNetworkQuota(kind string) error {
	return ipam.Refuse("OverQuota", fault.OverQuota, "Quota exceeded for resources: ['%s'].", kind)
}

// claimNetworking refuses what would give a project more of a kind than it may have. Its row is held until the transaction ends.
func (s *Store) claimNetworking(tx *gorm.DB, defaults NetworkQuota, kind string, owners map[string]int) error {
	if defaults == nil {
		return nil
	}
	for _, project := range slices.Sorted(maps.Keys(owners)) {
		err := tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("id = ?", project).Take(&Project{}).Error
		if isAbsent(err) {
			return noProject(project)
		}
		if err != nil {
			return err
		}
		limit, err := limitOf(tx, project, kind, defaults)
		if err != nil {
			return err
		}
		var has int
		if err := tx.Table(counted[kind]).Where("project_id = ?", project).Select("count(*)").Scan(&has).Error; err != nil {
			return err
		}
		if limit >= 0 && has+owners[project] > limit {
			return overNetworkQuota(kind)
		}
	}
	return nil
}

func limitOf(tx *gorm.DB, project, kind string, defaults NetworkQuota) (int, error) {
	limit, named := defaults[kind]
	if !named {
		limit = Unlimited
	}
	err := tx.Raw(`SELECT COALESCE((SELECT (limits ->> ?)::integer FROM network_quotas WHERE project_id = ?), ?)`, kind, project, limit).Scan(&limit).Error
	return limit, err
}

// NetworkQuota is what was set for a project, over the defaults.
func (s *Store) NetworkQuota(ctx context.Context, projectID string, defaults NetworkQuota) (NetworkQuota, error) {
	all, err := s.NetworkQuotas(ctx, projectID, defaults)
	if q, set := all[projectID]; set {
		return q, err
	}
	return maps.Clone(defaults), err
}

// NetworkQuotas is what was set over the defaults for a project, or, for "", for each project for which something was.
func (s *Store) NetworkQuotas(ctx context.Context, projectID string, defaults NetworkQuota) (map[string]NetworkQuota, error) {
	var found []struct {
		ProjectID string
		Limits    string
	}
	err := s.db.WithContext(ctx).Raw(`SELECT project_id, limits::text FROM network_quotas WHERE ? IN ('', project_id)`, projectID).Scan(&found).Error
	all := map[string]NetworkQuota{}
	for _, row := range found {
		q := maps.Clone(defaults)
		if err := json.Unmarshal([]byte(row.Limits), &q); err != nil {
			return nil, fmt.Errorf("read the network quota of project %s: %w", row.ProjectID, err)
		}
		all[row.ProjectID] = q
	}
	return all, failed(err, "read the network quotas")
}

// SetNetworkQuota sets some limits of a project; the others stay what they are.
func (s *Store) SetNetworkQuota(ctx context.Context, projectID string, limits NetworkQuota) error {
	err := s.exec(ctx, `
INSERT INTO network_quotas AS q (project_id, limits) VALUES ($1, $2) ON CONFLICT (project_id) DO UPDATE SET limits = q.limits || excluded.limits`,
		projectID, asJSON(limits))
	if violates(err, "network_quotas_project_id_fkey") {
		return noProject(projectID)
	}
	return failed(err, "set the network quota of project %s", projectID)
}

// ResetNetworkQuota takes the project's own limits away, and says whether it had some.
func (s *Store) ResetNetworkQuota(ctx context.Context, projectID string) (bool, error) {
	d := s.db.WithContext(ctx).Exec(`DELETE FROM network_quotas WHERE project_id = ?`, projectID)
	return d.RowsAffected > 0, failed(d.Error, "reset the network quota of project %s", projectID)
}

// NetworkUsage is how much of each limited kind a project has.
func (s *Store) NetworkUsage(ctx context.Context, projectID string) (map[string]int, error) {
	used := map[string]int{}
	err := s.read(ctx, func(tx *gorm.DB) error {
		for kind, table := range counted {
			var n int
			if err := tx.Table(table).Where("project_id = ?", projectID).Select("count(*)").Scan(&n).Error; err != nil {
				return err
			}
			used[kind] = n
		}
		return nil
	})
	return used, failed(err, "count the networks of project %s", projectID)
}

// perProject counts drafts by the project that they are to be of.
func perProject[T any](all []T, of func(T) string) map[string]int {
	count := map[string]int{}
	for _, one := range all {
		count[of(one)]++
	}
	return count
}
