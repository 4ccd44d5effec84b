package models

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Region is a place of endpoints (Keystone's region), below another one or below none.
type Region struct {
	ID             string `gorm:"primaryKey"`
	Description    string
	ParentRegionID *string
	Extra          Extra `gorm:"serializer:json"`
	CreatedAt      time.Time
}

// RegionPatch is what changes of a region; nil leaves it. "" as the parent takes that away.
type RegionPatch struct {
	Description, ParentRegionID *string
	Extra                       Extra
}

// Service is an entry of the catalog (Keystone's service).
type Service struct {
	ID          string `gorm:"primaryKey"`
	Type        string
	Name        string
	Description string
	Enabled     bool  // a disabled one is not in the catalog
	Own         bool  // this API is the service
	Extra       Extra `gorm:"serializer:json"`
	CreatedAt   time.Time
}

// ServicePatch is what changes of a service; nil leaves it.
type ServicePatch struct {
	Type, Name, Description *string
	Enabled                 *bool
	Extra                   Extra
}

// Endpoint is an address of a service (Keystone's endpoint): URL, or below the API's public address Path.
type Endpoint struct {
	ID        string `gorm:"primaryKey"`
	ServiceID string
	Interface string // admin, internal or public
	RegionID  *string
	URL       *string
	Path      *string // of an own service's; it stays where another URL is given
	Enabled   bool
	Extra     Extra `gorm:"serializer:json"`
	CreatedAt time.Time
}

// EndpointPatch is what changes of an endpoint; nil leaves it. "" as the region takes that away, and as the URL goes back to the path.
type EndpointPatch struct {
	ServiceID, Interface, RegionID, URL *string
	Enabled                             *bool
	Extra                               Extra
	MakeRegion                          bool // where there is none of that id
}

// CatalogEntry is an enabled service with its enabled endpoints.
type CatalogEntry struct {
	Service   Service
	Endpoints []Endpoint
}

// Catalog is what tokens show, by type.
func (s *Store) Catalog(ctx context.Context) ([]CatalogEntry, error) {
	var entries []CatalogEntry
	err := withRetries(ctx, func() error {
		entries = nil
		rows, err := s.pool.Query(ctx, `
SELECT s.id, s.type, s.name, e.id, e.interface, e.region_id, e.url, e.path
FROM services s LEFT JOIN endpoints e ON e.service_id = s.id AND e.enabled
WHERE s.enabled ORDER BY s.type, s.id, e.interface, e.region_id, e.id`)
		if err != nil {
			return err
		}
		var v Service
		var e Endpoint
		var id, face *string
		_, err = pgx.ForEachRow(rows, []any{&v.ID, &v.Type, &v.Name, &id, &face, &e.RegionID, &e.URL, &e.Path}, func() error {
			if n := len(entries); n == 0 || entries[n-1].Service.ID != v.ID {
				entries = append(entries, CatalogEntry{Service: v})
			}
			if id == nil {
				return nil
			}
			e.ID, e.Interface, e.ServiceID = *id, *face, v.ID
			last := &entries[len(entries)-1]
			last.Endpoints = append(last.Endpoints, e)
			return nil
		})
		return err
	})
	return entries, failed(err, "read the catalog")
}

var (
	byID   = order{keys: map[string]string{"id": "id"}, id: "id", preset: Sort{Key: "id"}}
	byType = order{keys: map[string]string{"type": "type"}, id: "id", preset: Sort{Key: "type"}}
)

// The texts are Keystone's.
func noRegion(id string) error  { return fault.New(fault.NotFound, "Could not find region: %s.", id) }
func noService(id string) error { return fault.New(fault.NotFound, "Could not find service: %s.", id) }
func noEndpoint(id string) error {
	return fault.New(fault.NotFound, "Could not find endpoint: %s.", id)
}

// CreateRegion records one; Conflict where there is one of the id, NotFound where its parent is none.
func (s *Store) CreateRegion(ctx context.Context, r Region) error {
	if r.ParentRegionID != nil && *r.ParentRegionID == r.ID {
		return noRegion(r.ID) // it is none yet
	}
	err := s.db.WithContext(ctx).Create(&r).Error
	switch {
	case violates(err, "regions_pkey"):
		return fault.New(fault.Conflict, "Conflict occurred attempting to store region - Duplicate ID, %s.", r.ID)
	case violates(err, "regions_parent_region_id_fkey"):
		return noRegion(*r.ParentRegionID)
	}
	return failed(err, "create region %s", r.ID)
}

// Region by id.
func (s *Store) Region(ctx context.Context, id string) (Region, error) {
	return found[Region](ctx, s, noRegion(id), "id = ?", id)
}

// ListRegions lists them by id.
func (s *Store) ListRegions(ctx context.Context, f IdentityFilter) ([]Region, error) {
	all, err := listedBy[Region](ctx, s, byID, f)
	return all, failed(err, "list the regions")
}

// UpdateRegion changes one; Invalid where it would come below itself.
func (s *Store) UpdateRegion(ctx context.Context, id string, p RegionPatch) (Region, error) {
	var r Region
	err := s.tx(ctx, func(tx *gorm.DB) error {
		set := columns{"description": p.Description, "extra": p.Extra}.set()
		if p.ParentRegionID != nil {
			set["parent_region_id"] = gorm.Expr("NULLIF(?, '')", *p.ParentRegionID)
			// Two that put a region below each other's see one another.
			if err := tx.Exec(`LOCK TABLE regions IN SHARE ROW EXCLUSIVE MODE`).Error; err != nil {
				return err
			}
			var below bool
			if err := tx.Raw(`
WITH RECURSIVE above(id, parent_region_id) AS (
    SELECT id, parent_region_id FROM regions WHERE id = ?
    UNION SELECT r.id, r.parent_region_id FROM regions r JOIN above a ON r.id = a.parent_region_id
) SELECT EXISTS (SELECT 1 FROM above WHERE id = ?)`, *p.ParentRegionID, id).Scan(&below).Error; err != nil {
				return err
			}
			if below {
				return fault.New(fault.Invalid, "The specified parent region %s would create a circular region hierarchy.", *p.ParentRegionID)
			}
		}
		var err error
		r, err = revised[Region](tx, id, set, noRegion(id))
		return err
	})
	if violates(err, "regions_parent_region_id_fkey") {
		return r, noRegion(*p.ParentRegionID)
	}
	return r, failed(err, "change region %s", id)
}

// DeleteRegion deletes one with those below it; Forbidden where one of these has an endpoint.
func (s *Store) DeleteRegion(ctx context.Context, id string) error {
	d := s.db.WithContext(ctx).Where("id = ?", id).Delete(&Region{})
	switch {
	case violates(d.Error, "endpoints_region_id_fkey"):
		return fault.New(fault.Forbidden, "Unable to delete region %s because it or its child regions have associated endpoints.", id)
	case d.Error == nil && d.RowsAffected == 0:
		return noRegion(id)
	}
	return failed(d.Error, "delete region %s", id)
}

// CreateService records one.
func (s *Store) CreateService(ctx context.Context, v Service) error {
	return failed(s.db.WithContext(ctx).Create(&v).Error, "create service %s", v.ID)
}

// Service by id.
func (s *Store) Service(ctx context.Context, id string) (Service, error) {
	return found[Service](ctx, s, noService(id), "id = ?", id)
}

// ListServices lists them by type.
func (s *Store) ListServices(ctx context.Context, f IdentityFilter) ([]Service, error) {
	all, err := listedBy[Service](ctx, s, byType, f)
	return all, failed(err, "list the services")
}

// UpdateService changes one.
func (s *Store) UpdateService(ctx context.Context, id string, p ServicePatch) (Service, error) {
	var v Service
	err := s.tx(ctx, func(tx *gorm.DB) (err error) {
		v, err = revised[Service](tx, id, columns{
			"type": p.Type, "name": p.Name, "description": p.Description, "enabled": p.Enabled, "extra": p.Extra,
		}.set(), noService(id))
		return err
	})
	return v, failed(err, "change service %s", id)
}

// DeleteService deletes one with its endpoints.
func (s *Store) DeleteService(ctx context.Context, id string) error {
	d := s.db.WithContext(ctx).Where("id = ?", id).Delete(&Service{})
	if d.Error == nil && d.RowsAffected == 0 {
		return noService(id)
	}
	return failed(d.Error, "delete service %s", id)
}

// placed runs a write of an endpoint, and says what of its place there is not.
func (s *Store) placed(ctx context.Context, region *string, makeRegion bool, write func(tx *gorm.DB) error) error {
	err := s.tx(ctx, func(tx *gorm.DB) error {
		if makeRegion && region != nil && *region != "" {
			if err := tx.Exec(`INSERT INTO regions (id, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING`, *region, now()).Error; err != nil {
				return err
			}
		}
		return write(tx)
	})
	switch {
	case violates(err, "endpoints_region_id_fkey"):
		return fault.New(fault.Invalid, "Expecting to find endpoint region_id in region table: there is no region %s.", *region)
	case violates(err, "endpoints_service_id_fkey"):
		return fault.New(fault.Invalid, "Expecting to find endpoint service_id in service table: there is no such service.")
	}
	return err
}

// CreateEndpoint records one, and its region where that is to be made.
func (s *Store) CreateEndpoint(ctx context.Context, e Endpoint, makeRegion bool) error {
	err := s.placed(ctx, e.RegionID, makeRegion, func(tx *gorm.DB) error { return tx.Create(&e).Error })
	return failed(err, "create endpoint %s", e.ID)
}

// Endpoint by id.
func (s *Store) Endpoint(ctx context.Context, id string) (Endpoint, error) {
	return found[Endpoint](ctx, s, noEndpoint(id), "id = ?", id)
}

// ListEndpoints lists them by id.
func (s *Store) ListEndpoints(ctx context.Context, f IdentityFilter) ([]Endpoint, error) {
	all, err := listedBy[Endpoint](ctx, s, byID, f)
	return all, failed(err, "list the endpoints")
}

// UpdateEndpoint changes one.
func (s *Store) UpdateEndpoint(ctx context.Context, id string, p EndpointPatch) (Endpoint, error) {
	set := columns{"service_id": p.ServiceID, "interface": p.Interface, "enabled": p.Enabled, "extra": p.Extra}.set()
	for column, value := range map[string]*string{"region_id": p.RegionID, "url": p.URL} {
		if value != nil {
			set[column] = gorm.Expr("NULLIF(?, '')", *value)
		}
	}
	var e Endpoint
	err := s.placed(ctx, p.RegionID, p.MakeRegion, func(tx *gorm.DB) (err error) {
		e, err = revised[Endpoint](tx, id, set, noEndpoint(id))
		return err
	})
	return e, failed(err, "change endpoint %s", id)
}

// DeleteEndpoint deletes one.
func (s *Store) DeleteEndpoint(ctx context.Context, id string) error {
	d := s.db.WithContext(ctx).Where("id = ?", id).Delete(&Endpoint{})
	if d.Error == nil && d.RowsAffected == 0 {
		return noEndpoint(id)
	}
	return failed(d.Error, "delete endpoint %s", id)
}
