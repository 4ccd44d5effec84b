package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"

	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/notify"
	"github.com/slipway-cloud/slipway/internal/tlsfile"
	"github.com/slipway-cloud/slipway/models"
)

// dispatcher delivers notifications to where the settings say.
func dispatcher(c config.Notifications, store *models.Store, certificates *tlsfile.Files, log *slog.Logger) (*notify.Dispatcher, error) {
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
	if c.AMQPURL != "" {
		broker, err := url.Parse(c.AMQPURL)
		if err != nil {
			return nil, errors.New("notifications.amqp_url is not a URL")
		}
		trust, err := certificates.Client(tlsfile.Pair{}, tlsfile.Authority{Setting: "notifications.amqp_ca", CA: c.AMQPCA}, broker.Hostname())
		if err != nil {
			return nil, err
		}
		trust.MinVersion = tls.VersionTLS12 // it may be older than what is Slipway's own
		sinks = append(sinks, notify.NewAMQP(c.AMQPURL, trust, c.AMQPDurable))
	}
	return notify.New(store, sinks, log, notify.Options{Timeout: c.WebhookTimeout, GiveUp: c.GiveUp, Keep: c.Keep}), nil
}
