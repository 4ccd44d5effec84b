package notify

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/slipway-cloud/slipway/models"
)

// envelope is oslo.messaging's notification (its serialized form, with the context's fields beside it), so that what reads
// OpenStack's reads these.
type envelope struct {
	MessageID   string          `json:"message_id"`
	PublisherID string          `json:"publisher_id"`
	EventType   string          `json:"event_type"`
	Priority    string          `json:"priority"`
	Timestamp   string          `json:"timestamp"`
	Payload     json.RawMessage `json:"payload"`
	RequestID   string          `json:"_context_request_id"`
	ProjectID   string          `json:"_context_project_id"`
	UserID      string          `json:"_context_user_id"`
	// UniqueID is by what a listener knows a message that comes twice; over AMQP alone.
	UniqueID string `json:"_unique_id,omitempty"`
}

func envelopeOf(n models.Notification) envelope {
	return envelope{
		MessageID: n.MessageID, PublisherID: n.PublisherID, EventType: n.EventType, Priority: priority(n.EventType),
		Timestamp: n.CreatedAt.Format(time.RFC3339Nano), Payload: n.Payload,
		RequestID: n.RequestID, ProjectID: n.ProjectID, UserID: n.UserID,
	}
}

// priority is Nova's of an event (nova/notifications/objects/base.py).
func priority(event string) string {
	if strings.HasSuffix(event, ".error") {
		return "ERROR"
	}
	return "INFO"
}
