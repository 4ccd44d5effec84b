package models

import (
	"context"
	"encoding/json"
	"maps"
)

// ProjectQuota is what a project may have; -1 is unlimited.
type ProjectQuota struct {
	ProjectID string

	Instances int
	Cores     int
	RAMMiB    int
	KeyPairs  int // of each of its users

	MetadataItems      int // of each server
	InjectedFiles      int // into each server, and what each of them may have
	InjectedFileBytes  int
	InjectedPathBytes  int
	ServerGroups       int
	ServerGroupMembers int // of each group

	// Unused are those that Nova knows and that mean nothing since networks are another service's: they can be set and read.
	Unused map[string]int
}

// Nova's names of quotas that mean nothing. The last one can be set and is never shown.
var unusedQuotas = []string{"fixed_ips", "floating_ips", "security_groups", "security_group_rules", "networks"}

// quotas are the limits by Nova's names.
func (q *ProjectQuota) quotas() map[string]*int {
	return map[string]*int{
		"instances": &q.Instances, "cores": &q.Cores, "ram": &q.RAMMiB, "key_pairs": &q.KeyPairs, "metadata_items": &q.MetadataItems,
		"injected_files": &q.InjectedFiles, "injected_file_content_bytes": &q.InjectedFileBytes, "injected_file_path_bytes": &q.InjectedPathBytes,
		"server_groups": &q.ServerGroups, "server_group_members": &q.ServerGroupMembers,
	}
}

// Limits are all of them by Nova's names; the unused ones are unlimited where nothing was set.
func (q ProjectQuota) Limits() map[string]int {
	all := make(map[string]int, 16)
	for _, name := range unusedQuotas {
		all[name] = -1
	}
	maps.Copy(all, q.Unused)
	for name, limit := range q.quotas() {
		all[name] = *limit
	}
	return all
}

// with is the quota with some of its limits replaced.
func (q ProjectQuota) with(limits map[string]int) ProjectQuota {
	q.Unused = maps.Clone(q.Unused)
	known := q.quotas()
	for name, limit := range limits {
		if into, is := known[name]; is {
			*into = limit
			continue
		}
		if q.Unused == nil {
			q.Unused = map[string]int{}
		}
		q.Unused[name] = limit
	}
	return q
}

// DefaultQuotaClass is the class that all projects are of.
const DefaultQuotaClass = "default"

const quotaSQL = `
SELECT COALESCE((SELECT limits FROM quota_classes WHERE name = $1), '{}') || COALESCE((SELECT limits FROM project_quotas WHERE project_id = $2), '{}')`

func (s *Store) quota(ctx context.Context, class, projectID string, defaults ProjectQuota) (ProjectQuota, error) {
	var limits map[string]int
	err := withRetries(ctx, func() error {
		var text []byte
		if err := s.pool.QueryRow(ctx, quotaSQL, class, projectID).Scan(&text); err != nil {
			return err
		}
		return json.Unmarshal(text, &limits)
	})
	q := defaults.with(limits)
	q.ProjectID = projectID
	return q, err
}

// Quota is what a project may have: the limits that were set for it, else those of the default class, else the defaults. Those of "" are
// what a project has for which none were set.
func (s *Store) Quota(ctx context.Context, projectID string, defaults ProjectQuota) (ProjectQuota, error) {
	q, err := s.quota(ctx, DefaultQuotaClass, projectID, defaults)
	return q, failed(err, "read the quota of project %s", projectID)
}

// SetQuota sets some limits of a project, by Nova's names; the others stay what they are.
func (s *Store) SetQuota(ctx context.Context, projectID string, limits map[string]int, defaults ProjectQuota) error {
	if len(limits) == 0 {
		return nil
	}
	q, err := s.quota(ctx, DefaultQuotaClass, projectID, defaults)
	if err == nil {
		q = q.with(limits)
		err = s.exec(ctx, `
INSERT INTO project_quotas AS q (project_id, instances, cores, ram_mib, key_pairs, limits)
VALUES (@project_id, @instances, @cores, @ram_mib, @key_pairs, @limits)
ON CONFLICT (project_id) DO UPDATE
SET instances = excluded.instances, cores = excluded.cores, ram_mib = excluded.ram_mib, key_pairs = excluded.key_pairs, limits = q.limits || excluded.limits
WHERE q.limits <> q.limits || excluded.limits`, named{
			"project_id": projectID, "instances": q.Instances, "cores": q.Cores, "ram_mib": q.RAMMiB, "key_pairs": q.KeyPairs,
			"limits": asJSON(limits),
		})
	}
	if violates(err, "project_quotas_project_id_fkey") {
		return noProject(projectID)
	}
	return failed(err, "set the quota of project %s", projectID)
}

// ResetQuota takes the project's own limits away; absent is success.
func (s *Store) ResetQuota(ctx context.Context, projectID string) error {
	err := s.exec(ctx, `DELETE FROM project_quotas WHERE project_id = $1`, projectID)
	return failed(err, "reset the quota of project %s", projectID)
}

// QuotaClass is what a class sets, over the defaults.
func (s *Store) QuotaClass(ctx context.Context, name string, defaults ProjectQuota) (ProjectQuota, error) {
	q, err := s.quota(ctx, name, "", defaults)
	return q, failed(err, "read quota class %s", name)
}

// SetQuotaClass sets some limits of a class, by Nova's names; the others stay what they are.
func (s *Store) SetQuotaClass(ctx context.Context, name string, limits map[string]int) error {
	err := s.exec(ctx, `
INSERT INTO quota_classes AS c (name, limits) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET limits = c.limits || excluded.limits`, name, asJSON(limits))
	return failed(err, "set quota class %s", name)
}
