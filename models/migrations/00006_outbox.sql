-- +goose Up
-- What is to be told of changes, written in the transaction of the change itself: a change that is undone is not told, and
-- none is lost. It outlives the resources that it names, so it refers to nothing.
CREATE TABLE notifications (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id   text NOT NULL DEFAULT gen_random_uuid()::text, -- by which a receiver knows what it has had already
    event_type   text NOT NULL CHECK (event_type <> ''),        -- Glance's: image.create
    publisher_id text NOT NULL,
    resource_id  text NOT NULL CHECK (resource_id <> ''), -- notifications of one resource are delivered in order of id
    project_id   text NOT NULL,                           -- of who did it; empty: Slipway itself
    user_id      text NOT NULL,
    request_id   text NOT NULL,
    payload      jsonb NOT NULL CHECK (jsonb_typeof(payload) = 'object'),
    created_at   timestamptz NOT NULL
);
CREATE INDEX notifications_created_at ON notifications (created_at); -- PurgeNotifications

-- One row for each place that a notification goes to, so that one that is down holds up no other.
CREATE TABLE notification_deliveries (
    notification_id bigint NOT NULL REFERENCES notifications ON DELETE CASCADE,
    sink            text NOT NULL CHECK (sink IN ('log', 'webhook')),
    queue           text NOT NULL,        -- sink/resource: what is delivered one after the other
    due_at          timestamptz,          -- of the next look: a try, the end of a claim's lease; null: settled
    attempts        integer NOT NULL DEFAULT 0 CHECK (attempts >= 0), -- claims
    last_error      text,
    delivered_at    timestamptz,
    given_up_at     timestamptz,
    PRIMARY KEY (notification_id, sink), -- NotificationsDelivered, NotificationFailed, the cascade
    CONSTRAINT notification_deliveries_end CHECK ((due_at IS NULL) = (delivered_at IS NOT NULL OR given_up_at IS NOT NULL))
);
-- Each query fits one of these indexes and no other, so what is known of the table may be older than a backlog.
CREATE INDEX notification_deliveries_due ON notification_deliveries (sink, due_at)
    WHERE due_at IS NOT NULL; -- ClaimNotifications, NotificationBacklog
CREATE INDEX notification_deliveries_queue ON notification_deliveries (queue, notification_id)
    WHERE delivered_at IS NULL AND given_up_at IS NULL; -- ClaimNotifications: is one the first; settle: the one after it

-- +goose Down
DROP TABLE notification_deliveries, notifications;
