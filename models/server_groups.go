package models

import (
	"context"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Policies of server groups, in Nova's words. The soft ones are wishes.
const (
	Affinity         = "affinity"
	AntiAffinity     = "anti-affinity"
	SoftAffinity     = "soft-affinity"
	SoftAntiAffinity = "soft-anti-affinity"
)

// ServerGroup is servers that are kept together or apart (Nova's instance group).
type ServerGroup struct {
	ID         string `gorm:"primaryKey"`
	ProjectID  string
	UserID     string
	Name       string
	Policy     string
	MaxPerHost *int // how many of them may share a host, of anti-affinity alone; nil is one
	CreatedAt  time.Time

	Members []string `gorm:"-"` // ids of servers, read with the group
}

// GroupHost is a host on which members of a group hold room.
type GroupHost struct {
	Hostname string
	Servers  int  // how many of them
	Placed   bool // one of them is there, and has not left it
}

// CreateServerGroup adds a group; OverQuota, in Nova's words, where its project has limit of them (-1 is unlimited).
func (s *Store) CreateServerGroup(ctx context.Context, g ServerGroup, limit int) (ServerGroup, error) {
	if g.ID == "" {
		g.ID = uuid.NewString()
	}
	if g.CreatedAt.IsZero() {
		g.CreatedAt = now()
	}
	err := s.tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Exec("SELECT FROM projects WHERE id = ? FOR NO KEY UPDATE", g.ProjectID).Error; err != nil {
			return err
		}
		var n int64
		if err := tx.Model(&ServerGroup{}).Where("project_id = ?", g.ProjectID).Count(&n).Error; err != nil {
			return err
		}
		if limit >= 0 && n >= int64(limit) {
			return fault.New(fault.OverQuota, "Quota exceeded, too many server groups.")
		}
		return tx.Create(&g).Error
	})
	if violates(err, "server_groups_project_id_fkey") {
		err = noProject(g.ProjectID)
	}
	g.Members = []string{}
	return g, failed(err, "create server group %s", g.Name)
}

func noServerGroup(id string) error {
	return fault.New(fault.NotFound, "Instance group %s could not be found.", id)
}

// ServerGroup by id.
func (s *Store) ServerGroup(ctx context.Context, id string) (ServerGroup, error) {
	one := make([]ServerGroup, 1)
	err := s.read(ctx, func(tx *gorm.DB) error {
		one[0] = ServerGroup{}
		if err := tx.Where("id = ?", id).Take(&one[0]).Error; isAbsent(err) {
			return noServerGroup(id)
		} else if err != nil {
			return err
		}
		return loadMembers(tx, one)
	})
	return one[0], failed(err, "read server group %s", id)
}

// ListServerGroups lists a project's, "" is all, by age; limit 0 is all behind the offset.
func (s *Store) ListServerGroups(ctx context.Context, projectID string, offset, limit int) ([]ServerGroup, error) {
	all := []ServerGroup{}
	err := s.read(ctx, func(tx *gorm.DB) error {
		all = all[:0]
		q := tx.Order("created_at, id").Offset(offset)
		if projectID != "" {
			q = q.Where("project_id = ?", projectID)
		}
		if limit > 0 {
			q = q.Limit(limit)
		}
		if err := q.Find(&all).Error; err != nil {
			return err
		}
		return loadMembers(tx, all)
	})
	return all, failed(err, "list the server groups")
}

func loadMembers(tx *gorm.DB, groups []ServerGroup) error {
	ids := texts{}
	at := make(map[string]*ServerGroup, len(groups))
	for i := range groups {
		groups[i].Members = []string{}
		ids, at[groups[i].ID] = append(ids, groups[i].ID), &groups[i]
	}
	if len(ids) == 0 {
		return nil
	}
	var members []struct{ ID, GroupID string }
	err := tx.Raw("SELECT id, group_id FROM servers WHERE group_id = ANY(?) AND deleted_at IS NULL ORDER BY created_at, id", ids).Scan(&members).Error
	for _, m := range members {
		at[m.GroupID].Members = append(at[m.GroupID].Members, m.ID)
	}
	return err
}

// DeleteServerGroup lets its servers go and forgets it; nothing happens to them. Its servers are locked before it is, as by whoever places one.
func (s *Store) DeleteServerGroup(ctx context.Context, id string) error {
	err := s.tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Exec("UPDATE servers SET group_id = NULL WHERE group_id = ?", id).Error; err != nil {
			return err
		}
		d := tx.Where("id = ?", id).Delete(&ServerGroup{})
		if d.Error == nil && d.RowsAffected == 0 {
			return noServerGroup(id)
		}
		return d.Error
	})
	return failed(err, "delete server group %s", id)
}

// GroupOf is the group that a server is in and where the others of it are; NotFound where it is in none.
func (s *Store) GroupOf(ctx context.Context, serverID string) (g ServerGroup, hosts []GroupHost, err error) {
	err = s.read(ctx, func(tx *gorm.DB) error {
		g, hosts, err = groupWith(tx, serverID, "id = (SELECT group_id FROM servers WHERE id = ?)", serverID)
		return err
	})
	return g, hosts, failed(err, "read the group of server %s", serverID)
}

// GroupHosts is a group and where all of it are.
func (s *Store) GroupHosts(ctx context.Context, id string) (g ServerGroup, hosts []GroupHost, err error) {
	err = s.read(ctx, func(tx *gorm.DB) error {
		g, hosts, err = groupWith(tx, "", "id = ?", id)
		return err
	})
	return g, hosts, failed(err, "read server group %s", id)
}

// groupWith is a group and where all of it are but one server.
func groupWith(tx *gorm.DB, butServer, where, id string) (g ServerGroup, hosts []GroupHost, err error) {
	if err := tx.Where(where, id).Take(&g).Error; isAbsent(err) {
		return g, nil, noServerGroup("of server " + butServer)
	} else if err != nil {
		return g, nil, err
	}
	err = tx.Raw(`
SELECT h.hostname, count(DISTINCT o.id) AS servers, COALESCE(bool_or(o.host_id = h.id), false) AS placed
FROM servers o JOIN placements p ON p.server_id = o.id JOIN hosts h ON h.id = p.host_id
WHERE o.group_id = ? AND o.id <> ? GROUP BY h.hostname ORDER BY h.hostname`, g.ID, butServer).Scan(&hosts).Error
	return g, hosts, err
}

// HostsOf are the names of the hosts on which servers are placed.
func (s *Store) HostsOf(ctx context.Context, serverIDs []string) ([]string, error) {
	names := []string{}
	err := s.db.WithContext(ctx).Raw("SELECT DISTINCT h.hostname FROM servers s JOIN hosts h ON h.id = s.host_id WHERE s.id = ANY(?) ORDER BY 1", texts(serverIDs)).
		Scan(&names).Error
	return names, failed(err, "read the hosts of %d servers", len(serverIDs))
}

const (
	// lockGroupSQL comes behind the locks of the host and the server: of two members that are placed at once, the second sees where the
	// first one is.
	lockGroupSQL = `SELECT FROM server_groups WHERE id = (SELECT group_id FROM servers WHERE id = $1) FOR NO KEY UPDATE`

	// partedSQL has a row where the group of a server forbids it the host. Whoever holds room is there, in whatever role; with whom to be
	// is said by where the others are placed.
	partedSQL = `
         SELECT g.policy FROM server_groups g
         WHERE g.id = (SELECT group_id FROM servers WHERE id = @server_id)
           AND (g.policy = '` + AntiAffinity + `' AND COALESCE(g.max_per_host, 1) <= (
                    SELECT count(DISTINCT o.id) FROM servers o JOIN placements p ON p.server_id = o.id
                    WHERE o.group_id = g.id AND o.id <> @server_id AND p.host_id = @host_id)
             OR g.policy = '` + Affinity + `'
                AND EXISTS (SELECT FROM servers o WHERE o.group_id = g.id AND o.id <> @server_id AND o.host_id IS NOT NULL)
                AND NOT EXISTS (SELECT FROM servers o WHERE o.group_id = g.id AND o.id <> @server_id AND o.host_id = @host_id))`
)
