package models

import (
	"context"
	"maps"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// ReviseServer changes what was said of a server: its names and description, access addresses, disk config, metadata, tags and
// lock. by is who does; where it has an Action it is recorded as one, and told as that, and else as an update of the server.
// revise is given the server as it is, without ports, fault and host, while nobody else changes it, and changes it or refuses; its
// refusal leaves all as it was. It may be called again. NotFound when the server is deleted.
func (s *Store) ReviseServer(ctx context.Context, by InstanceAction, revise func(*Server) error) error {
	id := by.ServerID
	err := s.tx(ctx, func(tx *gorm.DB) error {
		var v Server
		err := tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("id = ? AND deleted_at IS NULL", id).Take(&v).Error
		if isAbsent(err) {
			return noServer(id)
		}
		if err != nil {
			return err
		}
		one := []Server{v}
		if err := loadWords(tx, one); err != nil {
			return err
		}
		was := one[0]
		v = was
		v.Metadata, v.Tags = maps.Clone(was.Metadata), slices.Clone(was.Tags)
		if err := revise(&v); err != nil {
			return err
		}
		if err := tx.Model(&v).Updates(map[string]any{
			"name": v.Name, "hostname": v.Hostname, "description": v.Description, "locked_by": v.LockedBy, "locked_reason": v.LockedReason,
			"access_ip_v4": v.AccessIPv4, "access_ip_v6": v.AccessIPv6, "auto_disk_config": v.AutoDiskConfig, "protected": v.Protected,
			"ends_at_shutdown": v.EndsAtShutdown, "updated_at": now(),
		}).Error; err != nil {
			return err
		}
		if !maps.Equal(v.Metadata, was.Metadata) {
			if err := replaceMetadata(tx, id, v.Metadata); err != nil {
				return err
			}
		}
		if !slices.Equal(v.Tags, was.Tags) {
			if err := replaceTags(tx, id, v.Tags); err != nil {
				return err
			}
		}
		if by.Action == "" {
			return tellUpdate(tx, was, by)
		}
		if err := tx.Create(&by).Error; err != nil {
			return err
		}
		if err := tx.Create(&by.Events).Error; err != nil {
			return err
		}
		return tellDone(tx, by)
	})
	return failed(err, "change server %s", id)
}

// replaceTags gives a server these tags and no others.
func replaceTags(tx *gorm.DB, id string, tags []string) error {
	if err := tx.Exec(`DELETE FROM server_tags WHERE server_id = ?`, id).Error; err != nil {
		return err
	}
	return tx.Exec(`INSERT INTO server_tags (server_id, tag) SELECT ?, unnest(?::text[])`, id, texts(tags)).Error
}

// replaceMetadata gives a server this metadata and no other.
func replaceMetadata(tx *gorm.DB, id string, items map[string]string) error {
	if err := tx.Exec(`DELETE FROM server_metadata WHERE server_id = ?`, id).Error; err != nil {
		return err
	}
	return tx.Exec(`INSERT INTO server_metadata (server_id, key, value) SELECT ?, key, value FROM jsonb_each_text(?)`, id, asJSON(items)).Error
}
