package notify

import (
	"context"
	"log/slog"
	"strings"

	"github.com/slipway-cloud/slipway/models"
)

// Log writes each notification as one line, at level info.
type Log struct{ Logger *slog.Logger }

// Name implements Sink.
func (Log) Name() models.NotificationSink { return models.SinkLog }

// Deliver implements Sink.
func (l Log) Deliver(ctx context.Context, n models.Notification) error {
	kind, _, _ := strings.Cut(n.EventType, ".") // image_id
	if kind == "instance" {
		kind = "server" // as other lines
	}
	l.Logger.InfoContext(ctx, "notification", "event_type", n.EventType, kind+"_id", n.ResourceID,
		"request_id", n.RequestID, "project_id", n.ProjectID, "user_id", n.UserID, "message_id", n.MessageID,
		"publisher_id", n.PublisherID, "timestamp", n.CreatedAt, "payload", n.Payload)
	return nil
}
