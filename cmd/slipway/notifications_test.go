package main

import (
	"context"
	"database/sql"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/payload"
	"github.com/slipway-cloud/slipway/internal/tlsfile"
)

func TestAWorkerDeliversNotificationsToWhereTheSettingsSay(t *testing.T) {
	posted := make(chan string, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		posted <- r.Header.Get("X-Slipway-Signature") + " " + string(body)
	}))
	defer receiver.Close()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	require.NoError(t, os.WriteFile(secret, []byte("0123456789abcdef\n"), 0o600))

	c := config.Default()
	c.Database.DSN = testenv.Database(t)
	c.Temporal.Address, c.Temporal.ControlQueue, c.Temporal.PayloadKeys = testenv.Temporal(t), testenv.Queue(t, "control"), filepath.Join(dir, "keys")
	control := testenv.Control(t)
	c.Temporal.TLSCA, c.Temporal.TLSCert, c.Temporal.TLSKey = control.CA, control.Cert, control.Key
	c.Audit.Every, c.Housekeeping.Every, c.Housekeeping.StoresEvery = 0, 0, 0
	c.Images.Dir = filepath.Join(dir, "images")
	c.Operator.Listen = ""
	c.Notifications.WebhookURL, c.Notifications.WebhookSecretFile = receiver.URL, secret
	require.NoError(t, payload.EnsureKeys(c.Temporal.PayloadKeys))

	store, err := openStore(t.Context(), c, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer store.Close()
	db, err := sql.Open("pgx", c.Database.DSN)
	require.NoError(t, err)
	defer db.Close()
	_, err = db.ExecContext(t.Context(), `
WITH n AS (
    INSERT INTO notifications (event_type, publisher_id, resource_id, project_id, user_id, request_id, payload, created_at)
    VALUES ('image.create', 'image.node1', 'i1', 'p1', 'u1', 'req-1', '{}', now()) RETURNING id
)
INSERT INTO notification_deliveries (notification_id, sink, queue, due_at) SELECT id, 'webhook', 'webhook/i1', now() FROM n`)
	require.NoError(t, err)

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- runWorker(ctx, c, slog.New(slog.DiscardHandler)) }()
	select {
	case post := <-posted:
		require.Regexp(t, `^sha256=[0-9a-f]{64} \{"message_id":".+","event_type":"image.create"`, post)
	case err := <-ended:
		t.Fatalf("the worker ended: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("nothing was posted")
	}
	stop()
	require.NoError(t, <-ended)
	backlog, err := store.NotificationBacklog(t.Context())
	require.NoError(t, err)
	require.Empty(t, backlog)
}

func TestAFileOfASinkThatCannotBeReadIsNamedByItsSetting(t *testing.T) {
	_, err := dispatcher(config.Notifications{WebhookURL: "https://receiver", WebhookSecretFile: "/nonexistent"}, nil, nil, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "notifications.webhook_secret_file: open /nonexistent")

	_, err = dispatcher(config.Notifications{AMQPURL: "amqps://u:p@broker", AMQPCA: "/nonexistent"}, nil, tlsfile.New(slog.New(slog.DiscardHandler)),
		slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "notifications.amqp_ca: open /nonexistent")
}
