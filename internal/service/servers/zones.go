package servers

import (
	"context"
	"slices"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// Zone is an availability zone: those there are, are those of hosts.
type Zone struct {
	Name          string
	Available     bool     // an enabled host is in it
	Architectures []string // of those
}

// Zones are all of them, by name.
func (s *Service) Zones(ctx context.Context) ([]Zone, error) {
	kinds, err := s.store.HostZones(ctx)
	if err != nil {
		return nil, err
	}
	var zones []Zone
	for _, k := range kinds {
		if len(zones) == 0 || zones[len(zones)-1].Name != k.Name {
			zones = append(zones, Zone{Name: k.Name})
		}
		if z := &zones[len(zones)-1]; k.Enabled {
			z.Available = true
			z.Architectures = slices.Compact(slices.Sorted(slices.Values(append(z.Architectures, k.Architectures...))))
		}
	}
	return zones, nil
}

// zone checks the availability zone of a request.
func (s *Service) zone(ctx context.Context, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	zones, err := s.Zones(ctx)
	if err != nil {
		return "", err
	}
	if !slices.ContainsFunc(zones, func(z Zone) bool { return z.Available && z.Name == name }) {
		return "", fault.New(fault.Invalid, "The requested availability zone is not available")
	}
	return name, nil
}

// Flavors are those that the caller may have a server of, as FlavorFor says, by name.
func (s Servers) Flavors(ctx context.Context) ([]models.Flavor, error) {
	f := models.FlavorFilter{Disabled: new(false), SortKey: "name"}
	if !s.caller.Admin() {
		f.Public, f.ProjectID = new(true), s.caller.ProjectID
	}
	return s.store.ListFlavors(ctx, f)
}

// FlavorNamed is the one of a name among them.
func (s Servers) FlavorNamed(ctx context.Context, name string) (models.Flavor, error) {
	return s.store.FlavorNamed(ctx, name, s.caller.ProjectID, s.caller.Admin())
}
