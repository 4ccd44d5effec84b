package images

import (
	"context"
	"encoding/json"
	"time"

	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/models"
)

// notification says what is announced of each change. It is written in the transaction of the change, so none is lost and
// none is invented. Types and payloads are Glance's (glance/notifier.py).
type notification struct {
	Repository
	caller Caller
}

func (n *notification) Add(ctx context.Context, draft models.Image, _ models.Announce) (models.Image, error) {
	return n.Repository.Add(ctx, draft, n.announce("image.create"))
}

func (n *notification) Save(ctx context.Context, was models.Image, change models.ImageUpdate) (models.Image, error) {
	change.Announce = n.announce("image.update")
	return n.Repository.Save(ctx, was, change)
}

func (n *notification) Switch(ctx context.Context, was models.Image, to models.ImageStatus, _ models.Announce) (models.Image, error) {
	event := "image.reactivate"
	if to == models.ImageDeactivated {
		event = "image.deactivate"
	}
	return n.Repository.Switch(ctx, was, to, n.announce(event))
}

func (n *notification) Remove(ctx context.Context, was models.Image, _ models.Announce) error {
	return n.Repository.Remove(ctx, was, n.announce("image.delete"))
}

func (n *notification) Upload(ctx context.Context, was models.Image, data Data) (models.Image, error) {
	data.Note = n.announce("image.upload", "image.activate")
	if data.Stays {
		data.Note = n.announce("image.upload") // EndImport announces the other
	}
	return n.Repository.Upload(ctx, was, data)
}

func (n *notification) Drop(ctx context.Context, was models.Image, store string, _ models.Announce) error {
	return n.Repository.Drop(ctx, was, store, n.announce("image.update"))
}

func (n *notification) Share(ctx context.Context, of models.Image, project string, _ AnnounceMember) (models.ImageMember, error) {
	return n.Repository.Share(ctx, of, project, n.member("image.member.create"))
}

func (n *notification) Answer(ctx context.Context, of models.Image, project, status string, _ AnnounceMember) (models.ImageMember, error) {
	return n.Repository.Answer(ctx, of, project, status, n.member("image.member.update"))
}

func (n *notification) Unshare(ctx context.Context, of models.Image, project string, _ AnnounceMember) error {
	return n.Repository.Unshare(ctx, of, project, n.member("image.member.delete"))
}

func (n *notification) announce(events ...string) models.Announce {
	return func(i models.Image) []models.Notification {
		var all []models.Notification
		for _, event := range events {
			all = append(all, n.of(event, i.ID, payload(i)))
		}
		return all
	}
}

func (n *notification) member(event string) AnnounceMember {
	return func(m models.ImageMember) models.Notification {
		return n.of(event, m.ImageID, map[string]any{
			"image_id": m.ImageID, "member_id": m.MemberID, "status": m.Status,
			"created_at": stamp(m.CreatedAt), "updated_at": stamp(m.UpdatedAt), "deleted": event == "image.member.delete",
		})
	}
}

func (n *notification) of(event, resource string, payload map[string]any) models.Notification {
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
