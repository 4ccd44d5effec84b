package notify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/models"
)

var sample = models.Notification{
	ID: 7, MessageID: "b6a7a6a6-8f7a-4f3f-9d55-0b8a3c1f6f11", EventType: "image.create", PublisherID: "image.node1", ResourceID: "i1",
	ProjectID: "p1", UserID: "u1", RequestID: "req-1", Payload: json.RawMessage(`{"id":"i1","name":"<cirros>"}`),
	CreatedAt: time.Date(2026, 3, 4, 5, 6, 7, 89000, time.UTC), Attempts: 3,
}

func TestTheBodyIsOslosEnvelopeSignedWithTheSecret(t *testing.T) {
	r := newReceiver(t, nil)
	require.NoError(t, r.sink().Deliver(t.Context(), sample))
	n := r.next(t)
	require.JSONEq(t, `{
		"message_id": "b6a7a6a6-8f7a-4f3f-9d55-0b8a3c1f6f11", "publisher_id": "image.node1", "event_type": "image.create",
		"priority": "INFO", "timestamp": "2026-03-04T05:06:07.000089Z", "payload": {"id": "i1", "name": "<cirros>"},
		"_context_request_id": "req-1", "_context_project_id": "p1", "_context_user_id": "u1"}`, string(n.body))
	require.Equal(t, "application/json", n.header.Get("Content-Type"))
	mac := hmac.New(sha256.New, []byte("a secret of sixteen"))
	mac.Write(n.body)
	require.Equal(t, "sha256="+hex.EncodeToString(mac.Sum(nil)), n.header.Get("X-Slipway-Signature"))

	failed := sample
	failed.EventType = "instance.create.error"
	require.NoError(t, NewWebhook(r.URL, nil).Deliver(t.Context(), failed))
	n = r.next(t)
	require.Empty(t, n.header.Values("X-Slipway-Signature"))
	require.Contains(t, string(n.body), `"priority":"ERROR"`)
}

func TestOnlyTheAnswer2xxIsSuccess(t *testing.T) {
	for status, ok := range map[int]bool{200: true, 202: true, 204: true, 301: false, 304: false, 400: false, 404: false, 410: false, 429: false, 500: false, 503: false} {
		r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request, _ got) { w.WriteHeader(status) })
		require.Equal(t, ok, r.sink().Deliver(t.Context(), sample) == nil, "%d", status)
	}
}

func TestNoErrorTellsTheAddress(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	refused := NewWebhook(gone.URL+"/hooks/T0P?token=hunter2", nil)
	gone.Close()
	err := refused.Deliver(t.Context(), sample)
	require.ErrorContains(t, err, "connection refused")
	require.NotContains(t, err.Error(), "T0P")
	require.NotContains(t, err.Error(), "hunter2")
}

func TestAnAnswerIsReadToALimit(t *testing.T) {
	r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request, _ got) {
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write([]byte(strings.Repeat("x", 1<<20)))
	})
	err := r.sink().Deliver(t.Context(), sample)
	require.ErrorContains(t, err, "the webhook answered 418")
	require.Less(t, len(err.Error()), 600)
}

func TestASecretIsReadFromAFileOfItsOwnerAlone(t *testing.T) {
	write := func(text string, mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), "secret")
		require.NoError(t, os.WriteFile(path, []byte(text), mode))
		return path
	}
	got, err := ReadSecret(write("0123456789abcdef\n", 0o600))
	require.NoError(t, err)
	require.Equal(t, "0123456789abcdef", string(got))
	for want, path := range map[string]string{
		"chmod 600":              write("0123456789abcdef", 0o640),
		"at least 16 characters": write("0123456789abcde\n", 0o600),
		"no such file":           "/nonexistent",
	} {
		_, err := ReadSecret(path)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "0123456789")
	}
}
