package identity

import (
	"cmp"
	"context"
	"regexp"
	"strings"
	"time"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// Regions, services and endpoints are shown to everybody who has a token, as the catalog is.

// Regions lists them.
func (r *Repository) Regions(ctx context.Context, f models.IdentityFilter) ([]models.Region, error) {
	return r.store.ListRegions(ctx, f)
}

// Region by id.
func (r *Repository) Region(ctx context.Context, id string) (models.Region, error) {
	return r.store.Region(ctx, id)
}

// CreateRegion makes one, of the id that is asked for or of a new one.
func (r *Repository) CreateRegion(ctx context.Context, region models.Region) (models.Region, error) {
	if err := r.may(writes, "create_region", ""); err != nil {
		return region, err
	}
	region.ID, region.CreatedAt = cmp.Or(region.ID, newID()), time.Now().UTC()
	return region, r.store.CreateRegion(ctx, region)
}

// UpdateRegion changes one.
func (r *Repository) UpdateRegion(ctx context.Context, id string, p models.RegionPatch) (models.Region, error) {
	if err := r.may(writes, "update_region", ""); err != nil {
		return models.Region{}, err
	}
	return r.store.UpdateRegion(ctx, id, p)
}

// DeleteRegion deletes one that has no endpoints, with those below it.
func (r *Repository) DeleteRegion(ctx context.Context, id string) error {
	if err := r.may(writes, "delete_region", ""); err != nil {
		return err
	}
	return r.store.DeleteRegion(ctx, id)
}

// Services lists them.
func (r *Repository) Services(ctx context.Context, f models.IdentityFilter) ([]models.Service, error) {
	return r.store.ListServices(ctx, f)
}

// Service by id.
func (r *Repository) Service(ctx context.Context, id string) (models.Service, error) {
	return r.store.Service(ctx, id)
}

// CreateService makes one.
func (r *Repository) CreateService(ctx context.Context, v models.Service) (models.Service, error) {
	if err := r.may(writes, "create_service", ""); err != nil {
		return v, err
	}
	v.ID, v.CreatedAt = newID(), time.Now().UTC()
	return v, r.store.CreateService(ctx, v)
}

// UpdateService changes one. What an own one is does not change.
func (r *Repository) UpdateService(ctx context.Context, id string, p models.ServicePatch) (models.Service, error) {
	if err := r.may(writes, "update_service", ""); err != nil {
		return models.Service{}, err
	}
	v, err := r.store.Service(ctx, id)
	if err != nil {
		return v, err
	}
	if v.Own && p.Type != nil && *p.Type != v.Type {
		return v, fault.New(fault.Forbidden, "Service %s is this installation's own, of type %s: its type does not change.", id, v.Type)
	}
	return r.store.UpdateService(ctx, id, p)
}

// DeleteService deletes one with its endpoints. An own one, whose addresses nobody could give back, stays.
func (r *Repository) DeleteService(ctx context.Context, id string) error {
	if err := r.may(writes, "delete_service", ""); err != nil {
		return err
	}
	v, err := r.store.Service(ctx, id)
	if err != nil {
		return err
	}
	if v.Own {
		return fault.New(fault.Forbidden, "Service %s is this installation's own and is not deleted: disable it, and it is not in the catalog.", id)
	}
	return r.store.DeleteService(ctx, id)
}

// Endpoints lists them.
func (r *Repository) Endpoints(ctx context.Context, f models.IdentityFilter) ([]models.Endpoint, error) {
	return r.store.ListEndpoints(ctx, f)
}

// Endpoint by id.
func (r *Repository) Endpoint(ctx context.Context, id string) (models.Endpoint, error) {
	return r.store.Endpoint(ctx, id)
}

// CreateEndpoint makes one, and its region where that is to be made.
func (r *Repository) CreateEndpoint(ctx context.Context, e models.Endpoint, makeRegion bool) (models.Endpoint, error) {
	if err := r.may(writes, "create_endpoint", ""); err != nil {
		return e, err
	}
	if err := addressable(*e.URL); err != nil {
		return e, err
	}
	e.ID, e.CreatedAt = newID(), time.Now().UTC()
	return e, r.store.CreateEndpoint(ctx, e, makeRegion)
}

// UpdateEndpoint changes one. An own one stays its service's; its address may be another (a proxy's), and is again what this API
// answers at where that is written: base is the API's public address.
func (r *Repository) UpdateEndpoint(ctx context.Context, id, base string, p models.EndpointPatch) (models.Endpoint, error) {
	if err := r.may(writes, "update_endpoint", ""); err != nil {
		return models.Endpoint{}, err
	}
	e, err := r.store.Endpoint(ctx, id)
	if err != nil {
		return e, err
	}
	if p.URL != nil {
		if err := addressable(*p.URL); err != nil {
			return e, err
		}
	}
	if e.Path != nil {
		if p.ServiceID != nil && *p.ServiceID != e.ServiceID || p.Interface != nil && *p.Interface != e.Interface {
			return e, fault.New(fault.Forbidden, "Endpoint %s is this installation's own: its service and interface do not change.", id)
		}
		if p.URL != nil && *p.URL == base+*e.Path {
			*p.URL = ""
		}
	}
	return r.store.UpdateEndpoint(ctx, id, p)
}

// DeleteEndpoint deletes one that is not an own service's.
func (r *Repository) DeleteEndpoint(ctx context.Context, id string) error {
	if err := r.may(writes, "delete_endpoint", ""); err != nil {
		return err
	}
	e, err := r.store.Endpoint(ctx, id)
	if err != nil {
		return err
	}
	if e.Path != nil {
		return fault.New(fault.Forbidden, "Endpoint %s is this installation's own and is not deleted: disable it, and it is not in the catalog.", id)
	}
	return r.store.DeleteEndpoint(ctx, id)
}

// Address is an endpoint with the URL that clients of a token for the project and user are told.
type Address struct {
	models.Endpoint
	URL string
}

// CatalogEntry is a service with where it is.
type CatalogEntry struct {
	models.Service
	Addresses []Address
}

// Catalog is what a token for the project and user shows, on an API whose public address is base. Without a project endpoints whose
// address has it are left out.
func (s *Service) Catalog(ctx context.Context, base, projectID, userID string) ([]CatalogEntry, error) {
	rows, err := s.store.Catalog(ctx)
	entries := make([]CatalogEntry, len(rows))
	for i, row := range rows {
		entries[i].Service = row.Service
		for _, e := range row.Endpoints {
			if url := expand(Written(e, base), projectID, userID); url != "" {
				entries[i].Addresses = append(entries[i].Addresses, Address{e, url})
			}
		}
	}
	return entries, err
}

// Written is an endpoint's address as it was written, or of an own one as it comes to be.
func Written(e models.Endpoint, base string) string {
	if e.URL != nil {
		return *e.URL
	}
	return base + *e.Path
}

// A URL may have what a token is for, as Keystone's may: $(project_id)s, $(tenant_id)s, $(user_id)s, also with a % in front.
var placeholder = regexp.MustCompile(`[$%]\((project_id|tenant_id|user_id)\)s`)

// expand puts in what a token is for; "" where it is for no project and the address has it.
func expand(url, projectID, userID string) string {
	missing := false
	url = placeholder.ReplaceAllStringFunc(url, func(p string) string {
		if strings.Contains(p, "user_id") {
			return userID
		}
		missing = missing || projectID == ""
		return projectID
	})
	if missing {
		return ""
	}
	return url
}

// addressable refuses a URL with what no token is for.
func addressable(url string) error {
	if rest := placeholder.ReplaceAllString(url, ""); strings.Contains(rest, "$(") || strings.Contains(rest, "%(") {
		return fault.New(fault.Invalid, "Cannot create an endpoint with an invalid URL: %s. It may have $(project_id)s, $(tenant_id)s and $(user_id)s.", url)
	}
	return nil
}
