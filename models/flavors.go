package models

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

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

// FlavorFilter selects flavors. Sort keys are Nova's, flavorid where none is named.
type FlavorFilter struct {
	MinRAMMiB  int
	MinDiskGiB int
	Public     *bool  // nil is any
	ProjectID  string // beside the public ones, those that it was given; "" is none
	Disabled   *bool  // nil is any
	SortKey    string
	SortDesc   bool
	Marker     string
	Limit      int // 0 is all
}

var flavorOrder = order{
	id: "id", preset: Sort{Key: "flavorid"},
	keys: map[string]string{
		"flavorid": "id", "id": "id", "name": "name", "vcpus": "vcpus", "memory_mb": "ram_mib", "root_gb": "disk_gib",
		"ephemeral_gb": "ephemeral_gib", "swap": "swap_mib", "created_at": "created_at", "disabled": "disabled", "is_public": "public",
		"rxtx_factor": "rx_tx_factor", "description": "COALESCE(description, '')",
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

// FlavorFor is Flavor, for a project: NotFound too where it is neither public nor the project was given it.
func (s *Store) FlavorFor(ctx context.Context, id, projectID string) (Flavor, error) {
	var f Flavor
	err := s.db.WithContext(ctx).Where("id = ? AND (public OR "+isGiven+")", id, projectID).Take(&f).Error
	if isAbsent(err) {
		return f, noFlavor(id)
	}
	return f, failed(err, "read flavor %s", id)
}

// FlavorNamed is the flavor of a name that a project may have, if it is not disabled; an admin may have any.
func (s *Store) FlavorNamed(ctx context.Context, name, projectID string, admin bool) (Flavor, error) {
	var f Flavor
	err := s.db.WithContext(ctx).Where("name = ? AND NOT disabled AND (? OR public OR "+isGiven+")", name, admin, projectID).Take(&f).Error
	if isAbsent(err) {
		return f, noFlavor(name)
	}
	return f, failed(err, "read flavor %s", name)
}

// SetFlavorDescription gives it another one; nil takes it away.
func (s *Store) SetFlavorDescription(ctx context.Context, id string, description *string) (Flavor, error) {
	var f Flavor
	u := s.db.WithContext(ctx).Model(&f).Clauses(clause.Returning{}).Where("id = ?", id).Update("description", description)
	if u.Error == nil && u.RowsAffected == 0 {
		return f, noFlavor(id)
	}
	return f, failed(u.Error, "describe flavor %s", id)
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
		switch {
		case f.Public == nil:
		case *f.Public && f.ProjectID != "":
			q = q.Where("public OR "+isGiven, f.ProjectID)
		default:
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
