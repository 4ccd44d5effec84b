package models

import (
	"context"
	"encoding/json"
	"fmt"
)

// MergeFlavorExtraSpecs adds extra specs to a flavor, replacing those of the same key; servers keep their copy.
func (s *Store) MergeFlavorExtraSpecs(ctx context.Context, id string, specs map[string]string) error {
	text, err := json.Marshal(specs)
	if err != nil {
		return fmt.Errorf("write the extra specs of flavor %s: %w", id, err)
	}
	u := s.db.WithContext(ctx).Exec(
		"UPDATE flavors SET extra_specs = (coalesce(extra_specs::jsonb, '{}') || ?::jsonb) WHERE id = ?", string(text), id)
	if u.Error == nil && u.RowsAffected == 0 {
		return noFlavor(id)
	}
	return failed(u.Error, "write the extra specs of flavor %s", id)
}

// DeleteFlavorExtraSpec takes one of a flavor's extra specs away, and says whether it had it.
func (s *Store) DeleteFlavorExtraSpec(ctx context.Context, id, key string) (bool, error) {
	u := s.db.WithContext(ctx).Exec("UPDATE flavors SET extra_specs = extra_specs - ?::text WHERE id = ? AND jsonb_exists(extra_specs, ?)", key, id, key)
	return u.RowsAffected > 0, failed(u.Error, "delete extra spec %s of flavor %s", key, id)
}
