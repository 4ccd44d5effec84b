package models

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// Group is users that have roles together (Keystone's group).
type Group struct {
	ID          string `gorm:"primaryKey"`
	Name        string
	DomainID    string
	Description string
	Extra       Extra `gorm:"serializer:json"`
	CreatedAt   time.Time
}

// GroupPatch is what changes of a group; nil leaves it.
type GroupPatch struct {
	Name, Description *string
	Extra             Extra
}

// GroupMember says that a user is in a group.
type GroupMember struct {
	UserID  string `gorm:"primaryKey"`
	GroupID string `gorm:"primaryKey"`
}

// CreateGroup records one; Conflict where another of its domain has its name, NotFound where the domain is none.
func (s *Store) CreateGroup(ctx context.Context, g Group) error {
	err := s.db.WithContext(ctx).Create(&g).Error
	switch {
	case violates(err, "groups_name_key"):
		return duplicate("group", g.Name)
	case violates(err, "groups_domain_id_fkey"):
		return noDomain(g.DomainID)
	}
	return failed(err, "create group %s", g.Name)
}

// Group by id.
func (s *Store) Group(ctx context.Context, id string) (Group, error) {
	return found[Group](ctx, s, noGroup(id), "id = ?", id)
}

// ListGroups lists them by name.
func (s *Store) ListGroups(ctx context.Context, f IdentityFilter) ([]Group, error) {
	all, err := listed[Group](ctx, s, f)
	return all, failed(err, "list the groups")
}

// UpdateGroup changes one.
func (s *Store) UpdateGroup(ctx context.Context, id string, p GroupPatch) (Group, error) {
	var g Group
	err := s.tx(ctx, func(tx *gorm.DB) (err error) {
		g, err = revised[Group](tx, id, columns{"name": p.Name, "description": p.Description, "extra": p.Extra}.set(), noGroup(id))
		return err
	})
	if violates(err, "groups_name_key") {
		return g, duplicate("group", *p.Name)
	}
	return g, failed(err, "change group %s", id)
}

// DeleteGroup deletes one; its users lose the roles that it gave them.
func (s *Store) DeleteGroup(ctx context.Context, id string) error {
	err := s.keepingAnAdmin(ctx, func(tx *gorm.DB) error {
		d := tx.Where("id = ?", id).Delete(&Group{})
		if d.Error != nil {
			return d.Error
		}
		if d.RowsAffected == 0 {
			return noGroup(id)
		}
		return endUnfounded(tx)
	})
	return failed(err, "delete group %s", id)
}

// JoinGroup puts a user into a group; again is success.
func (s *Store) JoinGroup(ctx context.Context, groupID, userID string) error {
	err := s.db.WithContext(ctx).Clauses(clause.OnConflict{DoNothing: true}).Create(&GroupMember{UserID: userID, GroupID: groupID}).Error
	switch {
	case violates(err, "group_members_group_id_fkey"):
		return noGroup(groupID)
	case violates(err, "group_members_user_id_fkey"):
		return noUser(userID)
	}
	return failed(err, "put user %s into group %s", userID, groupID)
}

// InGroup says whether a user is in a group.
func (s *Store) InGroup(ctx context.Context, groupID, userID string) (bool, error) {
	var n int64
	err := s.db.WithContext(ctx).Model(&GroupMember{}).Where("group_id = ? AND user_id = ?", groupID, userID).Count(&n).Error
	return n > 0, failed(err, "look for user %s in group %s", userID, groupID)
}

// LeaveGroup takes a user out of a group, and says whether it was in it.
func (s *Store) LeaveGroup(ctx context.Context, groupID, userID string) (bool, error) {
	was := false
	err := s.keepingAnAdmin(ctx, func(tx *gorm.DB) error {
		d := tx.Where("group_id = ? AND user_id = ?", groupID, userID).Delete(&GroupMember{})
		if was = d.RowsAffected > 0; !was {
			return d.Error
		}
		return endUnfounded(tx)
	})
	return was, failed(err, "take user %s out of group %s", userID, groupID)
}
