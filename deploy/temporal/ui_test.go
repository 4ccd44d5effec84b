package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.temporal.io/server/common/log"
	"golang.org/x/crypto/bcrypt"
)

// uiCertificate writes one that is its own CA, and returns a client that trusts it alone.
func uiCertificate(t *testing.T, dir, name string) *http.Client {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{"ui.pem": {Type: "CERTIFICATE", Bytes: der}, "ui.key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
	}}
}

func serveUI(t *testing.T, args ...string) (addr string, log *warnings) {
	t.Helper()
	o := parse(t, nil, append([]string{"--frontend", "127.0.0.1:0", "--ui", "127.0.0.1:0"}, args...)...)
	if err := o.choosePorts(); err != nil {
		t.Fatal(err)
	}
	log = &warnings{Logger: noLog}
	stop, err := startUI(t.Context(), o, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return o.UIAddr, log
}

var noLog = log.NewNoopLogger()

func request(t *testing.T, c *http.Client, method, url string, header http.Header) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	for name := range header {
		r.Header.Set(name, header.Get(name))
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	return answer.StatusCode
}

func basic(name, password string) http.Header {
	return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))}}
}

func TestTheWebUIAsksForAPasswordOverTLS(t *testing.T) {
	dir := t.TempDir()
	browser := uiCertificate(t, dir, "first")
	hash, err := bcrypt.GenerateFromPassword([]byte("correct horse"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(dir, "users")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(users, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# who may look\nada:" + string(hash) + "\n")
	addr, said := serveUI(t, "--ui-cert", filepath.Join(dir, "ui.pem"), "--ui-key", filepath.Join(dir, "ui.key"), "--ui-passwords", users)
	const workflow = "/api/v1/namespaces/slipway/workflows/server%2F1"
	for _, a := range []struct {
		what, method, path string
		header             http.Header
		want               int
	}{
		{"nobody", http.MethodGet, "/", nil, http.StatusUnauthorized},
		{"nobody, of workflows", http.MethodGet, "/api/v1/namespaces", nil, http.StatusUnauthorized},
		{"a wrong password", http.MethodGet, "/", basic("ada", "battery"), http.StatusUnauthorized},
		{"an unknown name", http.MethodGet, "/", basic("eve", "nobody"), http.StatusUnauthorized},
		{"a bearer", http.MethodGet, "/", http.Header{"Authorization": {"Bearer x"}}, http.StatusUnauthorized},
		{"ada", http.MethodGet, "/api/v1/settings", basic("ada", "correct horse"), http.StatusOK},
		{"ada again", http.MethodGet, "/", basic("ada", "correct horse"), http.StatusOK},
		{"ada, wrong after right", http.MethodGet, "/", basic("ada", "correct horse "), http.StatusUnauthorized},
		{"a page of somebody else's that has ada's browser ask", http.MethodPost, workflow + "/query/state", basic("ada", "correct horse"), http.StatusBadRequest},
	} {
		if got := request(t, browser, a.method, "https://"+addr+a.path, a.header); got != a.want {
			t.Errorf("%s: %d, want %d", a.what, got, a.want)
		}
	}
	if len(said.lines) != 3 {
		t.Errorf("refused logins in the log: %q", said.lines)
	}
	if answer, err := http.Get("http://" + addr + "/"); err == nil {
		answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			t.Error("it answers in plain text")
		}
	}

	// What changes in the files holds at once.
	write("eve:" + string(hash) + "\n")
	if got := request(t, browser, http.MethodGet, "https://"+addr+"/", basic("ada", "correct horse")); got != http.StatusUnauthorized {
		t.Errorf("who was struck off the list: %d", got)
	}
	write("rubbish\n")
	if got := request(t, browser, http.MethodGet, "https://"+addr+"/", basic("eve", "correct horse")); got != http.StatusUnauthorized {
		t.Errorf("a file that cannot be read: %d", got)
	}
	write("eve:" + string(hash) + "\n")
	time.Sleep(20 * time.Millisecond) // a later time of modification
	renewed := uiCertificate(t, dir, "second")
	if got := request(t, renewed, http.MethodGet, "https://"+addr+"/", basic("eve", "correct horse")); got != http.StatusOK {
		t.Errorf("a renewed certificate: %d", got)
	}
}

// identities is an OpenID provider, and makes its tokens.
func identities(t *testing.T) (url string, token func(audience string, until time.Time) string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	mux := http.NewServeMux()
	provider := httptest.NewServer(mux)
	t.Cleanup(provider.Close)
	answer := func(path string, body any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(body)
		})
	}
	answer("/.well-known/openid-configuration", map[string]any{
		"issuer": provider.URL, "jwks_uri": provider.URL + "/keys", "authorization_endpoint": provider.URL + "/auth",
		"token_endpoint": provider.URL + "/token", "id_token_signing_alg_values_supported": []string{"RS256"},
	})
	answer("/keys", map[string]any{"keys": []any{map[string]string{
		"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1", "n": encode(key.N.Bytes()), "e": encode(big.NewInt(int64(key.E)).Bytes()),
	}}})
	return provider.URL, func(audience string, until time.Time) string {
		t.Helper()
		claims, err := json.Marshal(map[string]any{"iss": provider.URL, "aud": audience, "sub": "ada", "exp": until.Unix()})
		if err != nil {
			t.Fatal(err)
		}
		text := encode([]byte(`{"alg":"RS256","kid":"1"}`)) + "." + encode(claims)
		sum := sha256.Sum256([]byte(text))
		signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return text + "." + encode(signature)
	}
}

func TestTheWebUIBelievesATokenOfItsProviderOnly(t *testing.T) {
	provider, token := identities(t)
	later := time.Now().Add(time.Hour)
	good := token("temporal-ui", later)
	addr, _ := serveUI(t, "--ui-oidc-provider", provider, "--ui-oidc-client-id", "temporal-ui", "--ui-oidc-callback", "https://ui.example/auth/sso/callback")
	for _, a := range []struct {
		what, path, id string
		refused        bool
	}{
		{"the page", "/", "", false},
		{"which provider", "/api/v1/settings", "", false},
		{"a bearer that nobody looked at", "/api/v1/namespaces", "", true},
		{"raw history", "/api/v1/namespaces/slipway/workflows/a/runs/b/history.json", "", true},
		{"rubbish", "/api/v1/namespaces", "a.b.c", true},
		{"a token for another", "/api/v1/namespaces", token("mail", later), true},
		{"an expired one", "/api/v1/namespaces", token("temporal-ui", time.Now().Add(-time.Hour)), true},
		{"an altered one", "/api/v1/namespaces", good[:len(good)-8] + "AAAAAAAA", true},
		{"a good one", "/api/v1/namespaces", good, false},
	} {
		header := http.Header{"Authorization": {"Bearer x"}}
		if a.id != "" {
			header.Set("Authorization-Extras", a.id)
		}
		status := request(t, &http.Client{Timeout: 30 * time.Second}, http.MethodGet, "http://"+addr+a.path, header)
		if got := status == http.StatusUnauthorized; got != a.refused {
			t.Errorf("%s: %d", a.what, status)
		}
	}
}
