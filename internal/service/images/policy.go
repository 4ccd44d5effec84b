package images

import (
	"context"
	"io"
	"maps"
	"slices"

	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/models"
)

// policy asks imagepolicy before anything is done.
type policy struct {
	Repository
	caller imagepolicy.Caller
}

// Target is an image as imagepolicy looks at it.
func Target(i models.Image) imagepolicy.Target {
	return imagepolicy.Target{
		ID: i.ID, OwnerID: i.OwnerID, Visibility: i.Visibility, Status: string(i.Status), Protected: i.Protected,
		Member: imagepolicy.MemberStatus(i.AskerIs),
	}
}

func (p *policy) may(action imagepolicy.Action, i models.Image) error {
	return imagepolicy.Check(p.caller, action, Target(i))
}

func (p *policy) Add(ctx context.Context, draft models.Image) (models.Image, error) {
	if err := p.may(imagepolicy.AddImage, draft); err != nil {
		return draft, err
	}
	return p.Repository.Add(ctx, draft)
}

func (p *policy) Save(ctx context.Context, was models.Image, change models.ImageUpdate) (models.Image, error) {
	if err := p.may(imagepolicy.ModifyImage, was); err != nil {
		return was, err
	}
	if change.Visibility != nil {
		if err := imagepolicy.CheckVisibility(p.caller, Target(was), *change.Visibility); err != nil {
			return was, err
		}
	}
	if change.OwnerID != nil {
		if err := imagepolicy.CheckOwner(p.caller, Target(was), *change.OwnerID); err != nil {
			return was, err
		}
	}
	if change.Properties != nil { // what Slipway itself has written stays
		properties := map[string]string{}
		maps.Copy(properties, *change.Properties)
		for name, value := range was.Properties {
			if imagepolicy.IsSystem(name) {
				properties[name] = value
			}
		}
		change.Properties = &properties
	}
	return p.Repository.Save(ctx, was, change)
}

func (p *policy) Switch(ctx context.Context, was models.Image, to models.ImageStatus) (models.Image, error) {
	action := imagepolicy.Reactivate
	if to == models.ImageDeactivated {
		action = imagepolicy.Deactivate
	}
	if err := p.may(action, was); err != nil {
		return was, err
	}
	return p.Repository.Switch(ctx, was, to)
}

func (p *policy) Remove(ctx context.Context, was models.Image) error {
	if err := p.may(imagepolicy.DeleteImage, was); err != nil {
		return err
	}
	return p.Repository.Remove(ctx, was)
}

func (p *policy) Upload(ctx context.Context, was models.Image, data Data) (models.Image, error) {
	if err := p.may(imagepolicy.UploadImage, was); err != nil {
		return was, err
	}
	return p.Repository.Upload(ctx, was, data)
}

func (p *policy) Stage(ctx context.Context, was models.Image, data Data) (models.Image, error) {
	if err := p.may(imagepolicy.StageImage, was); err != nil {
		return was, err
	}
	return p.Repository.Stage(ctx, was, data)
}

func (p *policy) Open(ctx context.Context, was models.Image, offset, length int64) (io.ReadCloser, error) {
	if err := p.may(imagepolicy.DownloadImage, was); err != nil {
		return nil, err
	}
	return p.Repository.Open(ctx, was, offset, length)
}

func (p *policy) Drop(ctx context.Context, was models.Image, store string) error {
	if err := p.may(imagepolicy.DeleteStoreCopy, was); err != nil {
		return err
	}
	return p.Repository.Drop(ctx, was, store)
}

// Members leaves out what the caller may not know of: a member sees itself alone.
func (p *policy) Members(ctx context.Context, of models.Image, project string) ([]models.ImageMember, error) {
	action := imagepolicy.GetMembers
	if project != "" {
		action = imagepolicy.GetMember
	}
	if err := p.mayWith(action, of, project); err != nil {
		return nil, err
	}
	all, err := p.Repository.Members(ctx, of, project)
	return slices.DeleteFunc(all, func(m models.ImageMember) bool {
		return !imagepolicy.SeesMember(p.caller, Target(of), m.MemberID)
	}), err
}

func (p *policy) Share(ctx context.Context, of models.Image, project string) (models.ImageMember, error) {
	if err := p.mayWith(imagepolicy.AddMember, of, project); err != nil {
		return models.ImageMember{}, err
	}
	return p.Repository.Share(ctx, of, project)
}

func (p *policy) Answer(ctx context.Context, of models.Image, project, status string) (models.ImageMember, error) {
	if err := p.mayWith(imagepolicy.ModifyMember, of, project); err != nil {
		return models.ImageMember{}, err
	}
	return p.Repository.Answer(ctx, of, project, status)
}

func (p *policy) Unshare(ctx context.Context, of models.Image, project string) error {
	if err := p.mayWith(imagepolicy.DeleteMember, of, project); err != nil {
		return err
	}
	return p.Repository.Unshare(ctx, of, project)
}

// mayWith is may about one member of the image.
func (p *policy) mayWith(action imagepolicy.Action, i models.Image, member string) error {
	t := Target(i)
	t.MemberID = member
	return imagepolicy.Check(p.caller, action, t)
}
