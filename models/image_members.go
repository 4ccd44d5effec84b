package models

import (
	"context"
	"time"

	"gorm.io/gorm"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// ImageMember is another project that may use a shared image.
type ImageMember struct {
	ImageID   string `gorm:"primaryKey"`
	MemberID  string `gorm:"primaryKey"` // project
	Status    string // pending, accepted, rejected
	CreatedAt time.Time
	UpdatedAt time.Time
}

// ImageMembers lists an image's members by project, or only the one that is named.
func (s *Store) ImageMembers(ctx context.Context, imageID, memberID string) ([]ImageMember, error) {
	all := []ImageMember{}
	q := s.db.WithContext(ctx).Where("image_id = ?", imageID)
	if memberID != "" {
		q = q.Where("member_id = ?", memberID)
	}
	err := q.Order("member_id").Find(&all).Error
	return all, failed(err, "list the members of image %s", imageID)
}

// AddImageMember shares an image with one more project, pending; Conflict when it is a member already, TooLarge when there
// are limit of them, Invalid when there is no such project.
func (s *Store) AddImageMember(ctx context.Context, imageID, memberID string, limit int, announced func(ImageMember) Notification) (ImageMember, error) {
	m := ImageMember{ImageID: imageID, MemberID: memberID, Status: "pending", CreatedAt: now()}
	m.UpdatedAt = m.CreatedAt
	err := s.tx(ctx, func(tx *gorm.DB) error {
		// Members of one image are added one after the other, so that the count holds.
		i, err := lockedImage(tx, imageID)
		if err != nil {
			return err
		}
		if i.Visibility != "shared" {
			return fault.New(fault.Forbidden, "Only shared images have members.")
		}
		var members int64
		if err := tx.Model(&ImageMember{}).Where("image_id = ?", imageID).Count(&members).Error; err != nil {
			return err
		}
		if int(members) >= limit {
			return fault.New(fault.TooLarge, "The limit has been exceeded on the number of allowed image members for this image. Attempted: %d, Maximum: %d", members+1, limit)
		}
		if err := tx.Create(&m).Error; err != nil {
			return err
		}
		return announce(tx, announced(m))
	})
	switch {
	case violates(err, "image_members_pkey"):
		return m, fault.New(fault.Conflict, "Project %s is a member of image %s already.", memberID, imageID)
	case violates(err, "image_members_member_id_fkey"):
		return m, fault.New(fault.Invalid, "There is no project '%s' to share the image with.", memberID)
	}
	return m, failed(err, "share image %s with project %s", imageID, memberID)
}

// SetImageMember changes a member's status; NotFound when the project is none.
func (s *Store) SetImageMember(ctx context.Context, imageID, memberID, status string, announced func(ImageMember) Notification) (ImageMember, error) {
	return s.withMember(ctx, imageID, memberID, announced, func(tx *gorm.DB, m *ImageMember) error {
		m.Status, m.UpdatedAt = status, now()
		return tx.Save(m).Error
	})
}

// RemoveImageMember ends the sharing with a project; NotFound when it is no member.
func (s *Store) RemoveImageMember(ctx context.Context, imageID, memberID string, announced func(ImageMember) Notification) error {
	_, err := s.withMember(ctx, imageID, memberID, announced, func(tx *gorm.DB, m *ImageMember) error { return tx.Delete(m).Error })
	return err
}

func (s *Store) withMember(ctx context.Context, imageID, memberID string, announced func(ImageMember) Notification, change func(*gorm.DB, *ImageMember) error) (ImageMember, error) {
	var m ImageMember
	err := s.tx(ctx, func(tx *gorm.DB) error {
		if _, err := lockedImage(tx, imageID); err != nil {
			return err
		}
		err := tx.Where("image_id = ? AND member_id = ?", imageID, memberID).Take(&m).Error
		if isAbsent(err) {
			return fault.New(fault.NotFound, "%s not found in the member list of the image %s.", memberID, imageID)
		}
		if err != nil {
			return err
		}
		if err := change(tx, &m); err != nil {
			return err
		}
		return announce(tx, announced(m))
	})
	return m, failed(err, "change member %s of image %s", memberID, imageID)
}
