// Security groups, their rules, and which ports are in them. A project's default group has the id that is derived from the project's, and a port
// is in it by a flag of its own (Port.Grouped); in the others by rows of port_security_groups.

package models

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/ipam"
)

// SecurityGroup is what may reach the ports that are in it, and be reached by them.
type SecurityGroup struct {
	ID          string `gorm:"primaryKey"`
	ProjectID   string
	Name        string
	Description string
	Stateful    bool
	IsDefault   bool
	Tags        []string `gorm:"serializer:json"`
	Revision    int64
	CreatedAt   time.Time
	UpdatedAt   time.Time
	Rules       []SecurityGroupRule `gorm:"-"`
}

// SecurityGroupRule lets something pass that no other rule has to.
type SecurityGroupRule struct {
	ID              string `gorm:"primaryKey"`
	ProjectID       string // the group's
	SecurityGroupID string
	Direction       string  // Ingress or Egress
	Ethertype       string  // IPv4 or IPv6
	Protocol        *string // a name or a number; nil is any
	PortRangeMin    *int    // of ICMP the type
	PortRangeMax    *int    // of ICMP the code
	RemoteIPPrefix  *string `gorm:"column:remote_ip_prefix"`
	RemoteGroupID   *string
	Description     string
	Revision        int64
	CreatedAt       time.Time
	UpdatedAt       time.Time
}

// Neutron's words of rules, and the name that a project's default group has for good.
const (
	Ingress = "ingress"
	Egress  = "egress"
	IPv4    = "IPv4"
	IPv6    = "IPv6"

	DefaultGroup = "default"
)

// GroupRef names a security group.
type GroupRef struct{ ID, Name string }

// SecurityGroups are all that a port is in.
func (p Port) SecurityGroups() []GroupRef {
	all := []GroupRef{}
	if p.Grouped {
		all = append(all, GroupRef{ids.SecurityGroup(p.ProjectID), DefaultGroup})
	}
	return append(all, p.FurtherGroups...)
}

// In says whether a port is in a group.
func (p Port) In(group string) bool {
	return slices.ContainsFunc(p.SecurityGroups(), func(g GroupRef) bool { return g.ID == group })
}

// SecurityGroups are those that any port of a server is in.
func (v Server) SecurityGroups() []GroupRef {
	var all []GroupRef
	for _, p := range v.Ports {
		for _, g := range p.SecurityGroups() {
			if !slices.Contains(all, g) {
				all = append(all, g)
			}
		}
	}
	return all
}

var (
	groupOrder    = order{id: "id", preset: Sort{Key: "created_at"}, keys: neutronSorts(map[string]string{"stateful": "stateful"})}
	groupMatching = matching{"stateful": flagIs("stateful"), "shared": flagIs("false")}.with("security_groups")

	ruleOrder = order{id: "id", preset: Sort{Key: "created_at"}, keys: map[string]string{
		"created_at": "created_at", "updated_at": "updated_at", "id": "id", "project_id": "project_id", "direction": "direction", "ethertype": "ethertype",
		"security_group_id": "security_group_id", "remote_group_id": "COALESCE(remote_group_id, '')", "protocol": "COALESCE(protocol, '')",
		"port_range_min": "COALESCE(port_range_min, -1)", "port_range_max": "COALESCE(port_range_max, -1)",
		"remote_ip_prefix": "COALESCE(remote_ip_prefix, '')",
	}}
	ruleMatching = matching{
		"id": textIs("id"), "project_id": textIs("project_id"), "description": textIs("description"), "direction": textIs("direction"),
		"ethertype": textIs("ethertype"), "security_group_id": textIs("security_group_id"), "remote_group_id": textIs("remote_group_id"),
		"protocol": textIs("protocol"), "port_range_min": numberIs("port_range_min"), "port_range_max": numberIs("port_range_max"),
		"remote_ip_prefix": textIs("remote_ip_prefix"), "revision_number": numberIs("revision"), "changed_since": "updated_at >= (?::timestamptz[])[1]",
	}
)

// NoSecurityGroup is Neutron's refusal of a group that there is none of.
func NoSecurityGroup(id string) error {
	return ipam.Refuse("SecurityGroupNotFound", fault.NotFound, "Security group %s does not exist", id)
}

// NoSecurityGroupRule is that of a rule.
func NoSecurityGroupRule(id string) error {
	return ipam.Refuse("SecurityGroupRuleNotFound", fault.NotFound, "Security group rule %s does not exist", id)
}

func groupInUse(id string) error {
	return ipam.Refuse("SecurityGroupInUse", fault.Conflict, "Security Group %s in use.", id)
}

// ensureGroupSQL makes a project's default group with its four rules, where it is not there yet. Whoever comes second waits for the first.
const ensureGroupSQL = `
WITH made AS (
    INSERT INTO security_groups (id, project_id, name, description, is_default, created_at, updated_at)
    SELECT @id, @project_id, '` + DefaultGroup + `', 'Default security group', true, @at, @at WHERE @always::boolean OR EXISTS (SELECT FROM network_engines)
    ON CONFLICT DO NOTHING RETURNING id, project_id)
INSERT INTO security_group_rules (id, project_id, security_group_id, direction, ethertype, remote_group_id, created_at, updated_at)
SELECT gen_random_uuid()::text, made.project_id, made.id, r.direction, r.ethertype, CASE r.direction WHEN 'ingress' THEN made.id END, @at, @at
FROM made, (VALUES ('ingress', 'IPv4'), ('ingress', 'IPv6'), ('egress', 'IPv4'), ('egress', 'IPv6')) r (direction, ethertype)`

// queueDefaultGroup makes it as part of a pipeline, while an engine is there to which it means something.
func queueDefaultGroup(b *pgx.Batch, projectID string) {
	b.Queue(ensureGroupSQL, named{"id": ids.SecurityGroup(projectID), "project_id": projectID, "always": false, "at": now()})
}

// EnsureDefaultGroup makes a project's default group, if it is not there yet.
func (s *Store) EnsureDefaultGroup(ctx context.Context, projectID string) error {
	id := ids.SecurityGroup(projectID)
	err := withRetries(ctx, func() error {
		var there bool
		if err := s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM security_groups WHERE id = $1)`, id).Scan(&there); err != nil || there {
			return err
		}
		_, err := s.pool.Exec(ctx, ensureGroupSQL, named{"id": id, "project_id": projectID, "always": true, "at": now()})
		return err
	})
	return failed(err, "make the default security group of project %s", projectID)
}

// EnsureDefaultGroups makes those of projects that have ports in them: ports of before there were groups, or made by processes of then.
func (s *Store) EnsureDefaultGroups(ctx context.Context) error {
	var projects []string
	err := withRetries(ctx, func() error {
		rows, err := s.pool.Query(ctx, `
SELECT p.id FROM projects p WHERE EXISTS (SELECT FROM ports WHERE project_id = p.id AND grouped)
    AND NOT EXISTS (SELECT FROM security_groups g WHERE g.project_id = p.id AND g.is_default)`)
		if err == nil {
			projects, err = pgx.CollectRows(rows, pgx.RowTo[string])
		}
		return err
	})
	var errs []error
	for _, id := range projects {
		errs = append(errs, s.EnsureDefaultGroup(ctx, id))
	}
	return failed(errors.Join(append(errs, err)...), "make the default security groups")
}

// CreateSecurityGroups adds groups, all or none, each with the rules that let all out; OverQuota when a project has too many then.
func (s *Store) CreateSecurityGroups(ctx context.Context, drafts []SecurityGroup, defaults NetworkQuota) ([]SecurityGroup, error) {
	var all []SecurityGroup
	err := s.tx(ctx, func(tx *gorm.DB) error {
		all = slices.Clone(drafts)
		groups, rules := map[string]int{}, map[string]int{}
		for i := range all {
			g := &all[i]
			if g.ID == "" {
				g.ID = uuid.NewString()
			}
			g.CreatedAt, g.Revision, g.IsDefault = now(), 1, false
			g.UpdatedAt, g.Tags = g.CreatedAt, append([]string{}, g.Tags...)
			g.Rules = nil
			for _, ethertype := range []string{IPv4, IPv6} {
				g.Rules = append(g.Rules, SecurityGroupRule{
					ID: uuid.NewString(), ProjectID: g.ProjectID, SecurityGroupID: g.ID, Direction: Egress, Ethertype: ethertype, Revision: 1,
					CreatedAt: g.CreatedAt, UpdatedAt: g.CreatedAt,
				})
			}
			groups[g.ProjectID]++
			rules[g.ProjectID] += len(g.Rules)
		}
		if err := s.claimNetworking(tx, defaults, QuotaSecurityGroups, groups); err != nil {
			return err
		}
		if err := s.claimNetworking(tx, defaults, QuotaSecurityGroupRules, rules); err != nil {
			return err
		}
		for i := range all {
			err := tx.Create(&all[i]).Error
			if violates(err, "security_groups_project_id_fkey") {
				return noProject(all[i].ProjectID)
			}
			if err != nil {
				return err
			}
			if err := tx.Create(&all[i].Rules).Error; err != nil {
				return err
			}
		}
		return nil
	})
	return all, failed(err, "create %d security groups", len(drafts))
}

// SecurityGroup by id with its rules, whoever asks.
func (s *Store) SecurityGroup(ctx context.Context, id string) (SecurityGroup, error) {
	one := make([]SecurityGroup, 1)
	err := s.read(ctx, func(tx *gorm.DB) error {
		one[0] = SecurityGroup{}
		err := tx.Where("id = ?", id).Take(&one[0]).Error
		if isAbsent(err) {
			return NoSecurityGroup(id)
		}
		if err != nil {
			return err
		}
		return completeGroups(tx, one)
	})
	return one[0], failed(err, "read security group %s", id)
}

func completeGroups(tx *gorm.DB, groups []SecurityGroup) error {
	at, all := map[string]*SecurityGroup{}, texts{}
	for i := range groups {
		groups[i].Rules = []SecurityGroupRule{}
		at[groups[i].ID], all = &groups[i], append(all, groups[i].ID)
	}
	var rules []SecurityGroupRule
	if err := tx.Where("security_group_id = ANY(?)", all).Order("created_at, id").Find(&rules).Error; err != nil {
		return err
	}
	for _, r := range rules {
		g := at[r.SecurityGroupID]
		g.Rules = append(g.Rules, r)
	}
	return nil
}

// ListSecurityGroups lists what the filter selects, each with its rules.
func (s *Store) ListSecurityGroups(ctx context.Context, f OwnedFilter) ([]SecurityGroup, error) {
	all := []SecurityGroup{}
	err := s.read(ctx, func(tx *gorm.DB) error {
		all = all[:0]
		if err := f.list(tx, &all, &SecurityGroup{}, groupMatching, groupOrder); err != nil {
			return err
		}
		return completeGroups(tx, all)
	})
	return all, failed(err, "list the security groups")
}

// ownedBy are the rows of a project; of "" all.
// UpdateSecurityGroup changes a group while nobody else does, and nobody puts a port into it. What change returns is why it is not to be; it
// may be called again. Whether it is stateful stays while a port is in it, as in Neutron.
func (s *Store) UpdateSecurityGroup(ctx context.Context, id string, change func(*SecurityGroup) error) (SecurityGroup, error) {
	err := s.tx(ctx, func(tx *gorm.DB) error {
		var g SecurityGroup
		err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).Where("id = ?", id).Take(&g).Error
		if isAbsent(err) {
			return NoSecurityGroup(id)
		}
		if err != nil {
			return err
		}
		if err := s.unrevised(g.Revision); err != nil {
			return err
		}
		before := g
		if err := change(&g); err != nil {
			return err
		}
		if g.Stateful != before.Stateful {
			var used bool
			if err := tx.Raw(`SELECT EXISTS (SELECT FROM port_security_groups WHERE group_id = ?) OR EXISTS (SELECT FROM ports WHERE ? AND project_id = ? AND grouped)`,
				id, g.IsDefault, g.ProjectID).Scan(&used).Error; err != nil {
				return err
			}
			if used {
				return groupInUse(id)
			}
		}
		return saveRevised(tx, &before, &g, "name", "description", "stateful", "tags")
	})
	if err != nil {
		return SecurityGroup{}, failed(err, "change security group %s", id)
	}
	return s.SecurityGroup(ctx, id)
}

// DeleteSecurityGroup removes a group with its rules, and the rules of others that name it; Conflict while a port is in it, and where it is a
// project's default.
func (s *Store) DeleteSecurityGroup(ctx context.Context, id string) error {
	d := s.db.WithContext(ctx).Where("id = ? AND NOT is_default AND (?::bigint IS NULL OR revision = ?)", id, s.revision, s.revision).Delete(&SecurityGroup{})
	switch {
	case violates(d.Error, "port_security_groups_group_id_fkey"):
		return groupInUse(id)
	case d.Error == nil && d.RowsAffected == 0:
		g, err := s.SecurityGroup(ctx, id)
		if err == nil {
			err = s.unrevised(g.Revision)
		}
		if err == nil && g.IsDefault {
			err = ipam.Refuse("SecurityGroupCannotRemoveDefault", fault.Conflict, "Insufficient rights for removing default security group.")
		}
		return err
	}
	return failed(d.Error, "delete security group %s", id)
}

// key is what makes two rules of a group the same.
func (r SecurityGroupRule) key() string {
	or := func(text *string) string {
		if text == nil || *text == "0.0.0.0/0" || *text == "::/0" {
			return ""
		}
		return *text
	}
	number := func(n *int) string {
		if n == nil {
			return ""
		}
		return strconv.Itoa(*n)
	}
	protocol := ""
	if n := r.ProtocolNumber(); n != nil {
		protocol = strconv.Itoa(*n)
	}
	return asJSON([]string{r.Direction, r.Ethertype, protocol, number(r.PortRangeMin), number(r.PortRangeMax), or(r.RemoteIPPrefix), or(r.RemoteGroupID)})
}

// ProtocolNumber is IANA's number of a rule's protocol; nil is any.
func (r SecurityGroupRule) ProtocolNumber() *int {
	if r.Protocol == nil {
		return nil
	}
	if n, err := strconv.Atoi(*r.Protocol); err == nil {
		return &n
	}
	n := ipam.Protocols[*r.Protocol]
	return &n
}

// CreateSecurityGroupRules adds rules to groups, all or none; Conflict where one is there, OverQuota when a project has too many then. Each is
// the group's project's.
func (s *Store) CreateSecurityGroupRules(ctx context.Context, drafts []SecurityGroupRule, defaults NetworkQuota) ([]SecurityGroupRule, error) {
	var all []SecurityGroupRule
	err := s.tx(ctx, func(tx *gorm.DB) error {
		all = slices.Clone(drafts)
		owners, of := map[string]int{}, map[string]int{}
		for i := range all {
			r := &all[i]
			r.ID, r.CreatedAt, r.Revision = uuid.NewString(), now(), 1
			r.UpdatedAt = r.CreatedAt
			owners[r.ProjectID]++
			of[r.SecurityGroupID]++
		}
		if err := s.claimNetworking(tx, defaults, QuotaSecurityGroupRules, owners); err != nil {
			return err
		}
		for _, id := range slices.Sorted(maps.Keys(of)) {
			if err := touchGroup(tx, id); err != nil {
				return err
			}
		}
		for i := range all {
			if err := addRule(tx, all, i); err != nil {
				return err
			}
		}
		return nil
	})
	return all, failed(err, "create %d security group rules", len(drafts))
}

// touchGroup holds a group's row, and counts its revision: its rules are part of it.
func touchGroup(tx *gorm.DB, id string) error {
	d := tx.Exec(`UPDATE security_groups SET updated_at = ? WHERE id = ?`, now(), id)
	if d.Error == nil && d.RowsAffected == 0 {
		return NoSecurityGroup(id)
	}
	return d.Error
}

// addRule adds the i-th of all, while its group's row is held.
func addRule(tx *gorm.DB, all []SecurityGroupRule, i int) error {
	r := all[i]
	if slices.ContainsFunc(all[:i], func(other SecurityGroupRule) bool {
		return other.SecurityGroupID == r.SecurityGroupID && other.key() == r.key()
	}) {
		return ipam.Refuse("DuplicateSecurityGroupRuleInPost", fault.Conflict, "Duplicate Security Group Rule in POST.")
	}
	var there []SecurityGroupRule
	if err := tx.Where("security_group_id = ? AND direction = ? AND ethertype = ?", r.SecurityGroupID, r.Direction, r.Ethertype).Find(&there).Error; err != nil {
		return err
	}
	for _, other := range there {
		if other.key() == r.key() {
			return ipam.Refuse("SecurityGroupRuleExists", fault.Conflict, "Security group rule already exists. Rule id is %s.", other.ID)
		}
	}
	err := tx.Create(&r).Error
	if violates(err, "security_group_rules_remote_group_id_fkey") {
		return NoSecurityGroup(*r.RemoteGroupID)
	}
	return err
}

// SecurityGroupRule by id, whoever asks.
func (s *Store) SecurityGroupRule(ctx context.Context, id string) (SecurityGroupRule, error) {
	var r SecurityGroupRule
	err := s.db.WithContext(ctx).Where("id = ?", id).Take(&r).Error
	if isAbsent(err) {
		return r, NoSecurityGroupRule(id)
	}
	return r, failed(err, "read security group rule %s", id)
}

// ListSecurityGroupRules lists what the filter selects.
func (s *Store) ListSecurityGroupRules(ctx context.Context, f OwnedFilter) ([]SecurityGroupRule, error) {
	all := []SecurityGroupRule{}
	err := s.read(ctx, func(tx *gorm.DB) error {
		all = all[:0]
		return f.list(tx, &all, &SecurityGroupRule{}, ruleMatching, ruleOrder)
	})
	return all, failed(err, "list the security group rules")
}

// DeleteSecurityGroupRule removes a rule.
func (s *Store) DeleteSecurityGroupRule(ctx context.Context, id string) error {
	err := s.tx(ctx, func(tx *gorm.DB) error {
		var r SecurityGroupRule
		err := tx.Where("id = ?", id).Take(&r).Error
		if isAbsent(err) {
			return NoSecurityGroupRule(id)
		}
		if err != nil {
			return err
		}
		if err := touchGroup(tx, r.SecurityGroupID); err != nil {
			return err
		}
		d := tx.Where("id = ? AND (?::bigint IS NULL OR revision = ?)", id, s.revision, s.revision).Delete(&SecurityGroupRule{})
		switch {
		case d.Error != nil:
			return d.Error
		case d.RowsAffected == 0: // another has just deleted it, or it was never of that revision
			return cmp.Or(s.unrevised(r.Revision), NoSecurityGroupRule(id))
		}
		return nil
	})
	return failed(err, "delete security group rule %s", id)
}

func groupIDs(groups []GroupRef) []string {
	all := make([]string, len(groups))
	for i, g := range groups {
		all[i] = g.ID
	}
	return all
}

// regroup writes the groups that a port is in beside its project's default.
func regroup(tx *gorm.DB, portID string, groups []GroupRef) error {
	all := texts(groupIDs(groups))
	if err := tx.Exec(`DELETE FROM port_security_groups WHERE port_id = ? AND group_id <> ALL(?)`, portID, all).Error; err != nil {
		return err
	}
	return noMember(tx.Exec(`INSERT INTO port_security_groups (port_id, group_id) SELECT ?, g FROM unnest(?::text[]) g ON CONFLICT DO NOTHING`, portID, all).Error)
}

func sameGroups(a, b []GroupRef) bool {
	return slices.Equal(slices.Sorted(slices.Values(groupIDs(a))), slices.Sorted(slices.Values(groupIDs(b))))
}

// absentGroup finds in Postgres' detail of a broken reference what it is to.
var absentGroup = regexp.MustCompile(`\(group_id\)=\(([^)]*)\)`)

// noMember names the group that a port cannot be in, since it is gone.
func noMember(err error) error {
	var pg *pgconn.PgError
	if violates(err, "port_security_groups_group_id_fkey") && errors.As(err, &pg) {
		if id := absentGroup.FindStringSubmatch(pg.Detail); id != nil {
			return NoSecurityGroup(id[1])
		}
	}
	return err
}

// ChangeServerGroups has change say which groups each of a server's ports is in from now on, beside which ones it is in; all ports or none.
func (s *Store) ChangeServerGroups(ctx context.Context, serverID string, change func(*Port) error) error {
	ports, err := s.ListPorts(ctx, PortFilter{ServerIDs: []string{serverID}})
	if err != nil {
		return err
	}
	networks := texts{}
	for _, p := range ports {
		networks = append(networks, p.NetworkID)
	}
	err = s.tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Exec(`SELECT FROM networks WHERE id = ANY(?) ORDER BY id FOR NO KEY UPDATE`, networks).Error; err != nil { // as whatever changes a port
			return err
		}
		var held []Port
		if err := tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("server_id = ?", serverID).Order("id").Find(&held).Error; err != nil {
			return err
		}
		if err := completePorts(tx, held); err != nil {
			return err
		}
		for _, p := range held {
			before := p
			if err := change(&p); err != nil {
				return err
			}
			if sameGroups(before.FurtherGroups, p.FurtherGroups) {
				p.FurtherGroups = before.FurtherGroups
			} else if err := regroup(tx, p.ID, p.FurtherGroups); err != nil {
				return err
			}
			if err := saveRevised(tx, &before, &p, "grouped"); err != nil {
				return err
			}
		}
		return nil
	})
	return failed(err, "change the security groups of server %s", serverID)
}
