package main

import (
	"fmt"
	"log/slog"

	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/notify"
	"github.com/slipway-cloud/slipway/models"
)

// dispatcher delivers notifications to where the settings say.
func dispatcher(c config.Notifications, store *models.Store, log *slog.Logger) (*notify.Dispatcher, error) {
	var sinks []notify.Sink
	if c.Log {
		sinks = append(sinks, notify.Log{Logger: log})
	}
	if c.WebhookURL != "" {
		var secret []byte
		if c.WebhookSecretFile != "" {
			var err error
			if secret, err = notify.ReadSecret(c.WebhookSecretFile); err != nil {
				return nil, fmt.Errorf("notifications.webhook_secret_file: %w", err)
			}
		}
		sinks = append(sinks, notify.NewWebhook(c.WebhookURL, secret))
	}
	return notify.New(store, sinks, log, notify.Options{Timeout: c.WebhookTimeout, GiveUp: c.GiveUp, Keep: c.Keep}), nil
}
