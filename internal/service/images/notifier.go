package images

import (
	"encoding/json"
	"time"

	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/models"
)

// notifier makes what is announced of a caller's changes. It is written in the transaction of the change, so none is lost and
// none is invented. Types and payloads are Glance's (glance/notifier.py).
type notifier struct{ caller Caller }

func (n notifier) announce(events ...string) models.Announce {
	return func(i models.Image) []models.Notification {
		var all []models.Notification
		for _, event := range events {
			all = append(all, n.of(event, i.ID, payload(i)))
		}
		return all
	}
}

func (n notifier) announceMember(event string) func(models.ImageMember) models.Notification {
	return func(m models.ImageMember) models.Notification {
		return n.of(event, m.ImageID, map[string]any{
			"image_id": m.ImageID, "member_id": m.MemberID, "status": m.Status,
			"created_at": stamp(m.CreatedAt), "updated_at": stamp(m.UpdatedAt), "deleted": event == "image.member.delete",
		})
	}
}

func (n notifier) of(event, resource string, payload map[string]any) models.Notification {
	body, err := json.Marshal(payload)
	if err != nil {
		panic(err) // strings, numbers, and lists and maps of strings
	}
	return models.Notification{
		EventType: event, ResourceID: resource, Payload: body,
		RequestID: n.caller.RequestID, ProjectID: n.caller.ProjectID, UserID: n.caller.UserID,
	}
}

// payload is Glance's format_image_notification.
func payload(i models.Image) map[string]any {
	var deletedAt *string
	if i.DeletedAt != nil {
		at := stamp(*i.DeletedAt)
		deletedAt = &at
	}
	return map[string]any{
		"id": i.ID, "name": i.Name, "status": string(i.Status), "created_at": stamp(i.CreatedAt), "updated_at": stamp(i.UpdatedAt),
		"min_disk": i.MinDiskGiB, "min_ram": i.MinRAMMiB, "protected": i.Protected, "checksum": i.MD5, "owner": i.OwnerID,
		"disk_format": i.DiskFormat, "container_format": i.ContainerFormat, "size": i.SizeBytes, "virtual_size": i.VirtualBytes,
		"is_public": i.Visibility == imagepolicy.Public, "visibility": i.Visibility, "os_hidden": i.Hidden, "properties": i.Properties, "tags": i.Tags,
		"deleted": i.DeletedAt != nil, "deleted_at": deletedAt,
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }
