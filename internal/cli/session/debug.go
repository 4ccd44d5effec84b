package session

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sort"
	"strings"
	"sync"
	"time"
)

// debugTransport logs requests and answers for --debug. Secrets never reach the log: neither in headers nor in bodies.
type debugTransport struct {
	next http.RoundTripper
	log  io.Writer
	mu   sync.Mutex
}

const hidden = "***"

var secretHeaders = map[string]bool{"X-Auth-Token": true, "X-Subject-Token": true, "Authorization": true, "Cookie": true, "Set-Cookie": true}

// secretFields are JSON members whose text is a secret, wherever they stand.
var secretFields = map[string]bool{
	"password": true, "adminPass": true, "admin_pass": true, "user_data": true, "private_key": true,
	"token": true, "secret": true, "contents": true, "passcode": true, "OS-EXT-SRV-ATTR:user_data": true,
}

// RoundTrip logs around the real transport.
func (t *debugTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil && isJSON(r.Header) {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, fmt.Errorf("reading the request's body for the log: %w", err)
		}
		r.Body.Close()
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	started := time.Now()
	response, err := t.next.RoundTrip(r)
	var out bytes.Buffer
	fmt.Fprintf(&out, "> %s %s\n", r.Method, r.URL.Redacted())
	writeHeaders(&out, "> ", r.Header)
	if body != nil {
		fmt.Fprintf(&out, "> %s\n", redactJSON(body))
	} else if r.Body != nil && r.Body != http.NoBody {
		fmt.Fprintf(&out, "> (a body of %s)\n", cmp.Or(r.Header.Get("Content-Type"), "unknown type"))
	}
	took := time.Since(started).Round(time.Millisecond)
	if err != nil {
		fmt.Fprintf(&out, "< no answer after %s: %v\n", took, err)
	} else {
		fmt.Fprintf(&out, "< %s in %s\n", response.Status, took)
		writeHeaders(&out, "< ", response.Header)
		if isJSON(response.Header) {
			answer, readErr := io.ReadAll(response.Body)
			response.Body.Close()
			response.Body = io.NopCloser(io.MultiReader(bytes.NewReader(answer), failing{readErr}))
			if len(answer) > 0 {
				fmt.Fprintf(&out, "< %s\n", redactJSON(answer))
			}
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = t.log.Write(out.Bytes())
	return response, err
}

// failing gives a read error that the log met to the reader behind it.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err == nil {
		return 0, io.EOF
	}
	return 0, f.err
}

func isJSON(h http.Header) bool { return strings.HasPrefix(h.Get("Content-Type"), "application/json") }

func writeHeaders(w io.Writer, prefix string, h http.Header) {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		value := strings.Join(h[name], ", ")
		if secretHeaders[http.CanonicalHeaderKey(name)] {
			value = hidden
		}
		fmt.Fprintf(w, "%s%s: %s\n", prefix, name, value)
	}
}

// redactJSON is a body with its secrets hidden; what is no JSON is not shown at all.
func redactJSON(body []byte) string {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return fmt.Sprintf("(%d bytes that are not JSON)", len(body))
	}
	shown, err := json.Marshal(redact("", value))
	if err != nil {
		return fmt.Sprintf("(%d bytes)", len(body))
	}
	return string(shown)
}

func redact(parent string, value any) any {
	switch v := value.(type) {
	case map[string]any:
		copied := make(map[string]any, len(v))
		for key, inner := range v {
			_, isText := inner.(string)
			if isText && (secretFields[key] || parent == "token" && key == "id") {
				copied[key] = hidden
				continue
			}
			if isText && (key == "uri" || parent == "remote_console" && key == "url") {
				copied[key] = withoutQuery(inner.(string))
				continue
			}
			copied[key] = redact(key, inner)
		}
		return copied
	case []any:
		copied := make([]any, len(v))
		for i, inner := range v {
			copied[i] = redact(parent, inner)
		}
		return copied
	}
	return value
}

// withoutQuery is scheme, host and path of an address: what follows, or a user in it, may open it to whoever knows it.
func withoutQuery(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Opaque != "" {
		return hidden
	}
	u.User = nil
	if u.RawQuery != "" {
		u.RawQuery = hidden
	}
	u.Fragment, u.RawFragment = "", ""
	return u.String()
}
