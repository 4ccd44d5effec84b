package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// operators is an api's operators' listener as far as a codec sees it: it answers holders of certificates of its CA, and counts.
type operators struct {
	dir   string // ca.pem, and operator.pem and stranger.pem with their keys
	url   string
	mu    sync.Mutex
	asked []*http.Request
}

const decoded = `{"payloads":[{"data":"ImhlbGxvIg=="}]}`

func newOperators(t *testing.T) *operators {
	t.Helper()
	o := &operators{dir: t.TempDir()}
	write := func(name, kind string, der []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(o.dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	issue := func(name string, authority *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		t.Helper()
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name, OrganizationalUnit: []string{name}},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			IsCA: authority == nil, BasicConstraintsValid: true,
		}
		if authority == nil {
			authority, signer = template, key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, authority, key.Public(), signer)
		if err != nil {
			t.Fatal(err)
		}
		private, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		write(name+".pem", "CERTIFICATE", der)
		write(name+".key", "PRIVATE KEY", private)
		made, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return made, key
	}
	ca, key := issue("ca", nil, nil)
	issue("operator", ca, key)
	issue("control", ca, key)
	issue("stranger", nil, nil)
	own, err := tls.LoadX509KeyPair(filepath.Join(o.dir, "control.pem"), filepath.Join(o.dir, "control.key"))
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AddCert(ca)
	server := httptest.NewUnstartedServer(o)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	o.url = server.URL + "/codec"
	return o
}

// ServeHTTP implements http.Handler.
func (o *operators) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	o.mu.Lock()
	o.asked = append(o.asked, r)
	o.mu.Unlock()
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Set-Cookie", "a=b")
	switch {
	case err != nil:
		w.WriteHeader(http.StatusBadRequest)
	case bytes.Contains(text, []byte("flood")):
		_, _ = io.Copy(w, io.LimitReader(endless{}, codecBytes+1))
	default:
		_, _ = io.WriteString(w, decoded)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

func (o *operators) args(holder string) []string {
	return []string{
		"--codec-upstream", o.url, "--codec-cert", filepath.Join(o.dir, holder+".pem"), "--codec-key", filepath.Join(o.dir, holder+".key"),
		"--codec-ca", filepath.Join(o.dir, "ca.pem"),
	}
}

// decode asks as a page does.
func decode(t *testing.T, c *http.Client, method, url, body string, headers ...http.Header) (status int, text string, header http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Namespace", "slipway")
	r.Header.Set("Cookie", "session=secret")
	for _, h := range headers {
		for name := range h {
			r.Header.Set(name, h.Get(name))
		}
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		return answer.StatusCode, "cut off", answer.Header
	}
	return answer.StatusCode, string(got), answer.Header
}

func TestTheWebUIDecodesForWhoIsLoggedInAndNobodyElse(t *testing.T) {
	dir, upstream := t.TempDir(), newOperators(t)
	browser := uiCertificate(t, dir, "ui")
	hash, err := bcrypt.GenerateFromPassword([]byte("correct horse"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(dir, "users")
	if err := os.WriteFile(users, []byte("ada:"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	with := func(more ...string) (string, *warnings) {
		t.Helper()
		addr, said := serveUI(t, append(more, "--ui-cert", filepath.Join(dir, "ui.pem"), "--ui-key", filepath.Join(dir, "ui.key"), "--ui-passwords", users)...)
		return "https://" + addr, said
	}
	ui, seen := with(upstream.args("operator")...)
	ada, origin := basic("ada", "correct horse"), func(of string) http.Header { return http.Header{"Origin": {of}} }
	for _, a := range []struct {
		what, method, path, body string
		headers                  []http.Header
		want                     int
	}{
		{"nobody", http.MethodPost, "/codec/decode", "{}", nil, http.StatusUnauthorized},
		{"a wrong password", http.MethodPost, "/codec/decode", "{}", []http.Header{basic("ada", "battery")}, http.StatusUnauthorized},
		{"nobody, of another path", http.MethodPost, "/codec/encode", "{}", nil, http.StatusUnauthorized},
		{"ada", http.MethodPost, "/codec/decode", "{}", []http.Header{ada, origin(ui)}, http.StatusOK},
		{"ada's browser, for a page of somebody else's", http.MethodPost, "/codec/decode", "{}", []http.Header{ada, origin("https://evil.example")}, http.StatusForbidden},
		{"the same, said otherwise", http.MethodPost, "/codec/decode", "{}", []http.Header{ada, {"Sec-Fetch-Site": {"cross-site"}}}, http.StatusForbidden},
		{"whether another origin may", http.MethodOptions, "/codec/decode", "", []http.Header{ada, origin("https://evil.example")}, http.StatusMethodNotAllowed},
		{"ada, by reading", http.MethodGet, "/codec/decode", "", []http.Header{ada}, http.StatusMethodNotAllowed},
		{"to encode", http.MethodPost, "/codec/encode", "{}", []http.Header{ada}, http.StatusNotFound},
		{"metrics", http.MethodPost, "/codec/decode/../../metrics", "{}", []http.Header{ada}, http.StatusNotFound},
		{"metrics, escaped", http.MethodPost, "/codec/decode%2F..%2F..%2Fmetrics", "{}", []http.Header{ada}, http.StatusNotFound},
		{"too much", http.MethodPost, "/codec/decode", strings.Repeat(" ", codecBytes+1), []http.Header{ada}, http.StatusRequestEntityTooLarge},
	} {
		status, text, header := decode(t, browser, a.method, ui+a.path, a.body, a.headers...)
		if status != a.want || (status == http.StatusOK) != (text == decoded) {
			t.Errorf("%s: %d %q, want %d", a.what, status, text, a.want)
		}
		if header.Get("Access-Control-Allow-Origin") != "" || header.Get("Set-Cookie") != "" {
			t.Errorf("%s: what the api says to browsers goes on: %v", a.what, header)
		}
	}
	if _, text, _ := decode(t, browser, http.MethodPost, ui+"/codec/decode", "flood", ada); text != "cut off" {
		t.Errorf("an answer without an end has %d bytes", len(text))
	}
	if n := len(seen.lines); n != 3 { // the wrong password, and two pages
		t.Errorf("in the log: %q", seen.lines)
	}
	upstream.mu.Lock()
	for _, r := range upstream.asked {
		if r.Method != http.MethodPost || r.URL.Path != "/codec/decode" || r.Header.Get("X-Namespace") != "slipway" || r.TLS.PeerCertificates[0].Subject.CommonName != "operator" {
			t.Errorf("the api is asked %s %s %v", r.Method, r.URL, r.Header)
		}
		for _, name := range []string{"Authorization", "Cookie", "Origin", "X-Forwarded-For"} {
			if r.Header.Get(name) != "" {
				t.Errorf("the api is told %s", name)
			}
		}
	}
	upstream.mu.Unlock()
	if _, text, _ := decode(t, browser, http.MethodGet, ui+"/api/v1/settings", "", ada); !strings.Contains(text, `"Endpoint":"/codec","PassAccessToken":false`) {
		t.Errorf("the pages are told %s", text)
	}

	stranger, said := with(upstream.args("stranger")...)
	if status, text, _ := decode(t, browser, http.MethodPost, stranger+"/codec/decode", "{}", ada); status != http.StatusBadGateway || strings.Contains(text, "tls") {
		t.Errorf("by a certificate of another CA: %d %s", status, text)
	}
	if len(said.lines) != 1 {
		t.Errorf("in the log: %q", said.lines)
	}
	none, _ := with()
	if _, text, _ := decode(t, browser, http.MethodGet, none+"/codec/decode", "", ada); text == decoded {
		t.Error("without an upstream it decodes")
	}
}

func TestTheWebUIDecodesForATokenOfItsProvider(t *testing.T) {
	provider, token := identities(t)
	upstream := newOperators(t)
	addr, _ := serveUI(t, append(upstream.args("operator"),
		"--ui-oidc-provider", provider, "--ui-oidc-client-id", "temporal-ui", "--ui-oidc-callback", "https://ui.example:8233/auth/sso/callback")...)
	browser := &http.Client{Timeout: 30 * time.Second}
	later := time.Now().Add(time.Hour)
	for _, a := range []struct {
		what, id string
		want     int
	}{
		{"a bearer that nobody looked at", "", http.StatusUnauthorized},
		{"a token for another", token("mail", later), http.StatusUnauthorized},
		{"an expired one", token("temporal-ui", time.Now().Add(-time.Hour)), http.StatusUnauthorized},
		{"a good one", token("temporal-ui", later), http.StatusOK},
	} {
		for _, path := range []string{"/codec/decode", "/codec%2Fdecode"} {
			status, text, _ := decode(t, browser, http.MethodPost, "http://"+addr+path, "{}", http.Header{"Authorization": {"Bearer x"}, "Authorization-Extras": {a.id}})
			if status != a.want || (status == http.StatusOK) != (text == decoded) {
				t.Errorf("%s: %d %q", a.what, status, text)
			}
		}
	}
	if _, text, _ := decode(t, browser, http.MethodGet, "http://"+addr+"/api/v1/settings", ""); !strings.Contains(text, `"Endpoint":"https://ui.example:8233/codec","PassAccessToken":true`) {
		t.Errorf("the pages are told %s", text)
	}
}
