package models

import (
	"context"
	"maps"
	"reflect"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// Rebuild is what becomes of a server's row and spec when its guest is another one.
type Rebuild struct {
	Was, Is Server
	Spec    ServerSpec
}

// RebuildServer changes the server of a request one of whose tasks is set, or was; one that is gone, or on which something else is done,
// stays as it is. A column that is not as it Was has been written by somebody else since, and stays too.
func (s *Store) RebuildServer(ctx context.Context, requestID string, tasks []string, r Rebuild) error {
	id := r.Was.ID
	err := s.tx(ctx, func(tx *gorm.DB) error {
		one := make([]Server, 1)
		found := tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).
			Where(`id = ? AND deleted_at IS NULL AND (task_state = ANY(?) OR task_state IS NULL)
				AND EXISTS (SELECT FROM instance_actions a WHERE a.server_id = servers.id AND a.request_id = ? AND a.message IS NULL)`, id, texts(tasks), requestID).
			Take(&one[0])
		if isAbsent(found.Error) {
			return nil
		}
		if found.Error != nil {
			return found.Error
		}
		if err := loadWords(tx, one); err != nil {
			return err
		}
		now, columns := one[0], map[string]any{"updated_at": now()}
		become(columns, "name", now.Name, r.Was.Name, r.Is.Name)
		become(columns, "hostname", now.Hostname, r.Was.Hostname, r.Is.Hostname)
		become(columns, "image_id", now.ImageID, r.Was.ImageID, r.Is.ImageID)
		become(columns, "config_drive", now.ConfigDrive, r.Was.ConfigDrive, r.Is.ConfigDrive)
		become(columns, "access_ip_v4", now.AccessIPv4, r.Was.AccessIPv4, r.Is.AccessIPv4)
		become(columns, "access_ip_v6", now.AccessIPv6, r.Was.AccessIPv6, r.Is.AccessIPv6)
		become(columns, "auto_disk_config", now.AutoDiskConfig, r.Was.AutoDiskConfig, r.Is.AutoDiskConfig)
		become(columns, "root_device_name", now.RootDeviceName, r.Was.RootDeviceName, r.Is.RootDeviceName)
		become(columns, "kernel_id", now.KernelID, r.Was.KernelID, r.Is.KernelID)
		become(columns, "ramdisk_id", now.RamdiskID, r.Was.RamdiskID, r.Is.RamdiskID)
		if slices.Equal(now.TrustedCertificates, r.Was.TrustedCertificates) {
			columns["trusted_image_certificates"] = gorm.Expr("NULLIF(?::jsonb, 'null')", asJSON(r.Is.TrustedCertificates))
		}
		if !reflect.DeepEqual(r.Was.Flavor, r.Is.Flavor) && reflect.DeepEqual(now.Flavor, r.Was.Flavor) {
			columns["flavor_id"], columns["flavor"] = r.Is.FlavorID, gorm.Expr("?::jsonb", asJSON(r.Is.Flavor))
		}
		becomeOptional(columns, "description", now.Description, r.Was.Description, r.Is.Description)
		becomeOptional(columns, "key_name", now.KeyName, r.Was.KeyName, r.Is.KeyName)
		if err := tx.Model(&Server{}).Where("id = ?", id).Updates(columns).Error; err != nil {
			return err
		}
		if maps.Equal(now.Metadata, r.Was.Metadata) && !maps.Equal(r.Was.Metadata, r.Is.Metadata) {
			if err := replaceMetadata(tx, id, r.Is.Metadata); err != nil {
				return err
			}
		}
		return tx.Exec(`UPDATE server_specs SET key_id = ?, sealed = ?, parts = ?::jsonb WHERE server_id = ?`,
			r.Spec.KeyID, r.Spec.Sealed, asJSON(r.Spec.Parts), id).Error
	})
	if violates(err, "servers_image_id_fkey") {
		return noImage(r.Is.ImageID)
	}
	return failed(err, "record what server %s became", id)
}

// become sets a column that is as it was.
func become[T comparable](columns map[string]any, name string, now, was, is T) {
	if now == was && was != is {
		columns[name] = is
	}
}

func becomeOptional(columns map[string]any, name string, now, was, is *string) {
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	if text(now) == text(was) && text(was) != text(is) {
		columns[name] = is
	}
}
