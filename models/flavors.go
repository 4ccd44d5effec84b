package models

import (
	"context"
	"time"

	"gorm.io/gorm"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Flavor is a size of server. ID is the user's own string (Nova's flavorid).
type Flavor struct {
	ID           string `gorm:"primaryKey"`
	Name         string
	VCPUs        int `gorm:"column:vcpus"`
	RAMMiB       int `gorm:"column:ram_mib"`
	DiskGiB      int `gorm:"column:disk_gib"`
	EphemeralGiB int `gorm:"column:ephemeral_gib"`
	SwapMiB      int `gorm:"column:swap_mib"`
	RxTxFactor   float64
	Public       bool
	Disabled     bool
	Description  *string
	ExtraSpecs   map[string]string `gorm:"serializer:json"`
	CreatedAt    time.Time
}

// FlavorFilter selects flavors. Sort keys are Nova's: flavorid (default), name, vcpus, memory_mb, root_gb, ephemeral_gb,
// swap, created_at.
type FlavorFilter struct {
	MinRAMMiB  int
	MinDiskGiB int
	Public     *bool // nil is any
	Disabled   *bool // nil is any
	SortKey    string
	SortDesc   bool
	Marker     string
	Limit      int // 0 is all
}

var flavorOrder = order{
	id: "id", preset: Sort{Key: "flavorid"},
	keys: map[string]string{
		"flavorid": "id", "id": "id", "name": "name", "vcpus": "vcpus", "memory_mb": "ram_mib", "root_gb": "disk_gib",
		"ephemeral_gb": "ephemeral_gib", "swap": "swap_mib", "created_at": "created_at",
	},
}

// CreateFlavor adds a flavor; Conflict when the id or the name is taken.
func (s *Store) CreateFlavor(ctx context.Context, f Flavor) (Flavor, error) {
	if f.CreatedAt.IsZero() {
		f.CreatedAt = now()
	}
	if f.ExtraSpecs == nil {
		f.ExtraSpecs = map[string]string{}
	}
	err := s.db.WithContext(ctx).Create(&f).Error
	switch {
	case violates(err, "flavors_name_key"):
		return Flavor{}, fault.New(fault.Conflict, "Flavor with name %s already exists.", f.Name)
	case violates(err, "flavors_pkey"):
		return Flavor{}, fault.New(fault.Conflict, "Flavor with ID %s already exists.", f.ID)
	}
	return f, failed(err, "create flavor %s", f.ID)
}

// Flavor by id.
func (s *Store) Flavor(ctx context.Context, id string) (Flavor, error) {
	var f Flavor
	err := s.db.WithContext(ctx).Where("id = ?", id).Take(&f).Error
	if isAbsent(err) {
		return f, noFlavor(id)
	}
	return f, failed(err, "read flavor %s", id)
}

func noFlavor(id string) error {
	return fault.New(fault.NotFound, "Flavor %s could not be found.", id)
}

// ListFlavors lists what the filter selects.
func (s *Store) ListFlavors(ctx context.Context, f FlavorFilter) ([]Flavor, error) {
	all := []Flavor{}
	err := s.read(ctx, func(tx *gorm.DB) error {
		all = all[:0]
		q := tx.Model(&Flavor{})
		if f.MinRAMMiB > 0 {
			q = q.Where("ram_mib >= ?", f.MinRAMMiB)
		}
		if f.MinDiskGiB > 0 {
			q = q.Where("disk_gib >= ?", f.MinDiskGiB)
		}
		if f.Public != nil {
			q = q.Where("public = ?", *f.Public)
		}
		if f.Disabled != nil {
			q = q.Where("disabled = ?", *f.Disabled)
		}
		var sort []Sort
		if f.SortKey != "" || f.SortDesc {
			sort = []Sort{{Key: f.SortKey, Desc: f.SortDesc}}
			if f.SortKey == "" {
				sort[0].Key = flavorOrder.preset.Key
			}
		}
		q, err := flavorOrder.page(q, tx.Model(&Flavor{}), sort, f.Marker, f.Limit)
		if err != nil {
			return err
		}
		return q.Find(&all).Error
	})
	return all, failed(err, "list the flavors")
}

// DeleteFlavor removes it; servers keep their copy.
func (s *Store) DeleteFlavor(ctx context.Context, id string) error {
	d := s.db.WithContext(ctx).Where("id = ?", id).Delete(&Flavor{})
	if d.Error == nil && d.RowsAffected == 0 {
		return noFlavor(id)
	}
	return failed(d.Error, "delete flavor %s", id)
}
