package images

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/models"
)

// protection holds the operator's rules of who may create, read, change and remove which properties (Glance's
// property_protections.ProtectedImageRepoProxy).
type protection struct {
	Repository
	caller imagepolicy.Caller
	rules  *imagepolicy.Protections
}

func (p *protection) Add(ctx context.Context, draft models.Image) (models.Image, error) {
	var err error
	if draft.Properties, err = p.rules.Change(p.caller, nil, draft.Properties); err != nil {
		return draft, err
	}
	image, err := p.Repository.Add(ctx, draft)
	return p.shown(image), err
}

func (p *protection) Get(ctx context.Context, id string) (models.Image, error) {
	image, err := p.Repository.Get(ctx, id)
	return p.shown(image), err
}

func (p *protection) List(ctx context.Context, f models.ImageFilter) ([]models.Image, error) {
	if len(p.rules.Shown(p.caller, f.Properties)) < len(f.Properties) {
		return []models.Image{}, nil // what cannot be read cannot be found out by asking for it
	}
	all, err := p.Repository.List(ctx, f)
	for i := range all {
		all[i] = p.shown(all[i])
	}
	return all, err
}

func (p *protection) Save(ctx context.Context, was models.Image, change models.ImageUpdate) (models.Image, error) {
	if change.Properties != nil && p.rules != nil {
		whole, err := p.Repository.Get(ctx, was.ID) // with what the caller does not see, which stays
		if err != nil {
			return was, err
		}
		properties, err := p.rules.Change(p.caller, whole.Properties, *change.Properties)
		if err != nil {
			return was, err
		}
		change.Properties = &properties
	}
	image, err := p.Repository.Save(ctx, was, change)
	return p.shown(image), err
}

func (p *protection) shown(i models.Image) models.Image {
	i.Properties = p.rules.Shown(p.caller, i.Properties)
	return i
}
