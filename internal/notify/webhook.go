package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/slipway-cloud/slipway/models"
)

// SignatureHeader is "sha256=" and, in hex, the HMAC-SHA256 of the body under the secret.
const SignatureHeader = "X-Slipway-Signature"

// Webhook posts each notification as JSON to one address. An answer of 2xx says that it has arrived; redirects are not
// followed, since the body would go where nobody said that it may.
type Webhook struct {
	url    string
	secret []byte
	client *http.Client
}

// NewWebhook makes one for an address that is http:// or https://. Without a secret what it sends is not signed.
func NewWebhook(address string, secret []byte) *Webhook {
	return &Webhook{
		url: address, secret: secret,
		client: &http.Client{
			Transport: &http.Transport{
				Proxy:               http.ProxyFromEnvironment,
				DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
				TLSHandshakeTimeout: 5 * time.Second,
				MaxIdleConnsPerHost: atOnce,
				IdleConnTimeout:     time.Minute,
				ForceAttemptHTTP2:   true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// minSecret is the shortest secret that is taken: less can be guessed from one signed body.
const minSecret = 16

// ReadSecret reads a webhook's secret from a file that only its owner can read. A line's end after it does not count.
func ReadSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others may read %s: chmod 600 it", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	secret := bytes.TrimRight(text, "\r\n")
	if len(secret) < minSecret {
		return nil, fmt.Errorf("%s must hold a secret of at least %d characters", path, minSecret)
	}
	return secret, nil
}

// Name implements Sink.
func (*Webhook) Name() models.NotificationSink { return models.SinkWebhook }

// Deliver implements Sink. No error of it has the address, which may hold a token.
func (w *Webhook) Deliver(ctx context.Context, n models.Notification) error {
	body, err := json.Marshal(envelopeOf(n))
	if err != nil {
		return fmt.Errorf("encode notification %d: %w", n.ID, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return errors.New("the webhook's address makes no request")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "slipway")
	if w.secret != nil {
		mac := hmac.New(sha256.New, w.secret)
		mac.Write(body)
		req.Header.Set(SignatureHeader, "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	resp, err := w.client.Do(req)
	if err != nil {
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return fmt.Errorf("post to the webhook: %w", err)
	}
	defer resp.Body.Close()
	// So much of the answer is for the log, and read so that the connection can be used again.
	said, err := io.ReadAll(io.LimitReader(resp.Body, 512))
	if resp.StatusCode/100 == 2 {
		return nil
	}
	if err != nil || len(said) == 0 {
		return fmt.Errorf("the webhook answered %d", resp.StatusCode)
	}
	return fmt.Errorf("the webhook answered %d: %q", resp.StatusCode, said)
}
