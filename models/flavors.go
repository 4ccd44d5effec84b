package models

import "context"

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

// CreateFlavor adds a flavor; Conflict when the id or the name is taken.
func (s *Store) CreateFlavor(ctx context.Context, f Flavor) (Flavor, error) {
	return Flavor{}, errPending
}

// Flavor by id.
func (s *Store) Flavor(ctx context.Context, id string) (Flavor, error) { return Flavor{}, errPending }

// ListFlavors lists what the filter selects.
func (s *Store) ListFlavors(ctx context.Context, f FlavorFilter) ([]Flavor, error) {
	return nil, errPending
}

// DeleteFlavor removes it; servers keep their copy.
func (s *Store) DeleteFlavor(ctx context.Context, id string) error { return errPending }
