-- Notifications go to a message broker, too.

-- +goose Up
ALTER TABLE notification_deliveries
    DROP CONSTRAINT notification_deliveries_sink_check,
    ADD CONSTRAINT notification_deliveries_sink_check CHECK (sink IN ('log', 'webhook', 'amqp'));

-- +goose Down
DELETE FROM notification_deliveries WHERE sink = 'amqp';
ALTER TABLE notification_deliveries
    DROP CONSTRAINT notification_deliveries_sink_check,
    ADD CONSTRAINT notification_deliveries_sink_check CHECK (sink IN ('log', 'webhook'));
