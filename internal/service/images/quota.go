package images

import (
	"context"
	"strings"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/models"
)

// Glance's limits (image_property_quota, image_tag_quota, image_member_quota).
const (
	maxProperties = 128
	maxTags       = 128
	maxMembers    = 128
)

// quota bounds what one image and what one project may take (Glance's quota.ImageRepoProxy).
type quota struct {
	Repository
	service *Service
}

func (q *quota) Add(ctx context.Context, draft models.Image) (models.Image, error) {
	if err := checkCounts(len(draft.Tags), len(draft.Properties)); err != nil {
		return draft, err
	}
	return q.Repository.Add(ctx, draft)
}

func (q *quota) Save(ctx context.Context, was models.Image, change models.ImageUpdate) (models.Image, error) {
	var tags, properties int
	if change.Tags != nil {
		tags = len(*change.Tags)
	}
	if change.Properties != nil {
		if properties = countUserProperties(*change.Properties); properties > maxProperties {
			whole, err := q.Repository.Get(ctx, was.ID) // with what the caller does not see
			if err != nil {
				return was, err
			}
			if properties <= countUserProperties(whole.Properties) {
				properties = 0 // it gets no more of them than it has
			}
		}
	}
	if err := checkCounts(tags, properties); err != nil {
		return was, err
	}
	return q.Repository.Save(ctx, was, change)
}

// countUserProperties is how many properties are users' and not the system's.
func countUserProperties(properties map[string]string) int {
	n := 0
	for name := range properties {
		if !strings.HasPrefix(name, imagepolicy.InternalPrefix) {
			n++
		}
	}
	return n
}

func checkCounts(tags, properties int) error {
	for _, l := range []struct {
		what     string
		are, may int
	}{{"properties", properties, maxProperties}, {"tags", tags, maxTags}} {
		if l.are > l.may {
			return fault.New(fault.TooLarge, "The limit has been exceeded on the number of allowed image %s. Attempted: %d, Maximum: %d", l.what, l.are, l.may)
		}
	}
	return nil
}

func (q *quota) Upload(ctx context.Context, was models.Image, data Data) (models.Image, error) {
	if err := q.limit(ctx, was, &data); err != nil {
		return was, err
	}
	return q.Repository.Upload(ctx, was, data)
}

func (q *quota) Stage(ctx context.Context, was models.Image, data Data) (models.Image, error) {
	if err := q.limit(ctx, was, &data); err != nil {
		return was, err
	}
	return q.Repository.Stage(ctx, was, data)
}

// limit refuses what is announced as too large, and says how much may come. What others store meanwhile is counted when the
// bytes are recorded.
func (q *quota) limit(ctx context.Context, was models.Image, data *Data) error {
	c := q.service.config
	data.Limits = Limits{Image: c.MaxBytes, Project: c.ProjectBytes}
	if c.ProjectBytes > 0 {
		used, err := q.service.rows.ImageUsage(ctx, was.OwnerID)
		if err != nil {
			return err
		}
		if was.StagedBytes != nil {
			used -= *was.StagedBytes // these are the bytes that come
		}
		data.Limits.used = used
	}
	if most := data.Limits.most(); data.Length > most || most <= 0 {
		return data.Limits.refusal()
	}
	return nil
}

// most is how many bytes may come; 0 or less is none.
func (l Limits) most() int64 {
	if l.Project <= 0 {
		return l.Image
	}
	return min(l.Image, l.Project-l.used)
}

// refusal is for more than that.
func (l Limits) refusal() error {
	if most := l.most(); most < l.Image {
		return fault.New(fault.TooLarge, "The size of the data exceeds the quota: %d bytes of the project's %d are left.", max(0, most), l.Project)
	}
	return fault.New(fault.TooLarge, "The image is larger than the %d bytes that are allowed.", l.Image)
}

// Usage is what a project's images take, and how many bytes they may take together, staged ones too; 0 is no limit.
func (s *Service) Usage(ctx context.Context, projectID string) (models.ImageCounts, int64, error) {
	used, err := s.rows.ImageCounts(ctx, projectID)
	return used, s.config.ProjectBytes, err
}
