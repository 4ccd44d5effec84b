package tlsfile

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
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

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/pki"
)

// site is a CA with two listeners' worth of certificates, and what was logged.
type site struct {
	*testing.T
	dir string
	ca  *pki.Authority
	log lines
}

type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), part)
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{T: t, dir: filepath.Join(t.TempDir(), "pki")}
	var err error
	s.ca, err = pki.Init(t.Context(), s.dir, "")
	require.NoError(t, err)
	s.issue(pki.Request{Role: pki.Control, Name: "c1", DNS: []string{"cloud.example.org"}, IPs: []string{"127.0.0.1"}})
	return s
}

func (s *site) issue(r pki.Request) {
	s.Helper()
	_, err := s.ca.Issue(s.Context(), r)
	require.NoError(s, err)
}

func (s *site) logger() *slog.Logger { return slog.New(slog.NewTextHandler(&s.log, nil)) }

func (s *site) pair(holder string) Pair {
	return Pair{Setting: "x.tls", Cert: filepath.Join(s.dir, holder+".pem"), Key: filepath.Join(s.dir, holder+".key")}
}

func (s *site) authority() Authority {
	return Authority{Setting: "x.tls_ca", CA: filepath.Join(s.dir, "ca.pem")}
}

// listen serves with a configuration of the package's.
func (s *site) listen(config *tls.Config) (address string) {
	s.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "ok "+r.Proto) }))
	server.Config.ErrorLog = slog.NewLogLogger(s.logger().Handler(), slog.LevelInfo)
	l := server.Listener
	server.Listener = tls.NewListener(l, config)
	server.Start()
	s.Cleanup(server.Close)
	return l.Addr().String()
}

// ask makes one request over a new connection.
func ask(address string, config *tls.Config) (string, error) {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true, ForceAttemptHTTP2: true}}
	answer, err := client.Get("https://" + address)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return string(text), err
}

func (s *site) client(holder, name string) *tls.Config {
	s.Helper()
	var own Pair
	if holder != "" {
		own = s.pair(holder)
	}
	config, err := New(s.logger()).Client(own, s.authority(), name)
	require.NoError(s, err)
	return config
}

func TestAServerIsBelievedByItsCAAndItsNameAlone(t *testing.T) {
	s := newSite(t)
	config, err := New(s.logger()).Server(s.pair("control-c1"), Authority{}, tls.VersionTLS12)
	require.NoError(t, err)
	address := s.listen(config)

	for _, name := range []string{"cloud.example.org", "127.0.0.1"} {
		answer, err := ask(address, s.client("", name))
		require.NoError(t, err)
		require.Equal(t, "ok HTTP/1.1", answer)
	}
	for _, wrong := range []string{"other.example.org", "127.0.0.2"} {
		_, err = ask(address, s.client("", wrong))
		require.ErrorContains(t, err, "x509: certificate is valid for")
	}
	_, err = New(s.logger()).Client(Pair{}, s.authority(), "")
	require.Error(t, err, "a client without a name would believe every server")
	other := newSite(t)
	_, err = ask(address, other.client("", "cloud.example.org"))
	require.ErrorContains(t, err, "signed by unknown authority")
	machines, err := New(s.logger()).Client(Pair{}, Authority{}, "cloud.example.org")
	require.NoError(t, err)
	_, err = ask(address, machines)
	require.ErrorContains(t, err, "signed by unknown authority")

	plain, err := http.Get("http://" + address)
	require.NoError(t, err)
	plain.Body.Close()
	require.Equal(t, http.StatusBadRequest, plain.StatusCode)

	_, err = s.ca.Revoke(t.Context(), pki.Control, "c1", "")
	require.NoError(t, err)
	_, err = ask(address, s.client("", "cloud.example.org"))
	require.ErrorContains(t, err, "is revoked")
}

func TestAnExpiredServerIsRefused(t *testing.T) {
	s := newSite(t)
	s.issue(pki.Request{Role: pki.Control, Name: "late", DNS: []string{"cloud.example.org"}, Validity: time.Nanosecond})
	config, err := New(s.logger()).Server(s.pair("control-late"), Authority{}, tls.VersionTLS12)
	require.NoError(t, err)
	require.Equal(t, 1, s.log.count("A certificate ends soon, or has expired"))
	_, err = ask(s.listen(config), s.client("", "cloud.example.org"))
	require.ErrorContains(t, err, "has expired")
}

func TestOnlyWhatIsOldEnoughIsSpoken(t *testing.T) {
	s := newSite(t)
	config, err := New(s.logger()).Server(s.pair("control-c1"), Authority{}, tls.VersionTLS13)
	require.NoError(t, err)
	old := s.client("", "cloud.example.org")
	require.Equal(t, uint16(tls.VersionTLS13), old.MinVersion)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	_, err = ask(s.listen(config), old)
	require.ErrorContains(t, err, "protocol version")
	config, err = New(s.logger()).Server(s.pair("control-c1"), Authority{}, tls.VersionTLS12)
	require.NoError(t, err)
	_, err = ask(s.listen(config), old)
	require.NoError(t, err)
}

func TestOnlyClientsWithACertificateOfARoleAreAnswered(t *testing.T) {
	s := newSite(t)
	config, err := New(s.logger()).Server(s.pair("control-c1"), s.authority(), tls.VersionTLS13, pki.Operator, pki.Control)
	require.NoError(t, err)
	address := s.listen(config)
	s.issue(pki.Request{Role: pki.Operator, Name: "ada"})
	s.issue(pki.Request{Role: pki.Operator, Name: "late", Validity: time.Nanosecond})
	s.issue(pki.Request{Role: pki.Host, Name: "hv1"})

	for _, holder := range []string{"operator-ada", "control-c1"} {
		_, err = ask(address, s.client(holder, "127.0.0.1"))
		require.NoError(t, err, holder)
	}
	refused := func(client *tls.Config, because string) {
		t.Helper()
		_, err := ask(address, client)
		require.Error(t, err)
		require.Eventually(t, func() bool { return s.log.count(because) > 0 }, time.Minute, time.Millisecond, because)
	}
	refused(s.client("", "127.0.0.1"), "client didn't provide a certificate")
	refused(s.client("host-hv1", "127.0.0.1"), "has the role \\\"host\\\", and here only operator or control is answered")
	refused(s.client("operator-late", "127.0.0.1"), "certificate has expired or is not yet valid")
	stranger := newSite(t)
	stranger.issue(pki.Request{Role: pki.Operator, Name: "eve"})
	foreign := s.client("", "127.0.0.1")
	foreign.GetClientCertificate = stranger.client("operator-eve", "127.0.0.1").GetClientCertificate
	refused(foreign, "unknown authority")

	_, err = s.ca.Revoke(t.Context(), pki.Operator, "ada", "")
	require.NoError(t, err)
	refused(s.client("operator-ada", "127.0.0.1"), "the certificate is revoked")
}

func TestACertificateThatIsOptionalIsLookedAtWhereOneIsShown(t *testing.T) {
	s := newSite(t)
	hosts := s.authority()
	hosts.Optional = true
	config, err := New(s.logger()).Server(s.pair("control-c1"), hosts, tls.VersionTLS12)
	require.NoError(t, err)
	address := s.listen(config)
	s.issue(pki.Request{Role: pki.Host, Name: "hv1"})
	stranger := newSite(t)
	stranger.issue(pki.Request{Role: pki.Host, Name: "hv1"})
	foreign := s.client("", "127.0.0.1")
	foreign.GetClientCertificate = stranger.client("host-hv1", "127.0.0.1").GetClientCertificate
	for _, client := range []*tls.Config{s.client("", "127.0.0.1"), s.client("host-hv1", "127.0.0.1")} {
		_, err = ask(address, client)
		require.NoError(t, err)
	}
	_, err = ask(address, foreign)
	require.Error(t, err)
	_, err = s.ca.Revoke(t.Context(), pki.Host, "hv1", "")
	require.NoError(t, err)
	_, err = ask(address, s.client("host-hv1", "127.0.0.1"))
	require.Error(t, err)
}

func TestAnOlderListTakesNoRevocationBack(t *testing.T) {
	s := newSite(t)
	s.issue(pki.Request{Role: pki.Operator, Name: "ada"})
	s.issue(pki.Request{Role: pki.Operator, Name: "bob"})
	list := filepath.Join(s.dir, pki.CRLFile)
	first, err := os.ReadFile(list)
	require.NoError(t, err)
	config, err := New(s.logger()).Server(s.pair("control-c1"), s.authority(), tls.VersionTLS13, pki.Operator)
	require.NoError(t, err)
	address := s.listen(config)
	_, err = s.ca.Revoke(t.Context(), pki.Operator, "ada", "")
	require.NoError(t, err)
	_, err = ask(address, s.client("operator-ada", "127.0.0.1"))
	require.Error(t, err)

	require.NoError(t, os.WriteFile(list, first, 0o600))
	_, err = ask(address, s.client("operator-ada", "127.0.0.1"))
	require.Error(t, err)
	require.Positive(t, s.log.count("was read before: copy the newest"))
	_, err = ask(address, s.client("operator-bob", "127.0.0.1"))
	require.NoError(t, err)
}

func TestAConnectionEndsWithItsCertificate(t *testing.T) {
	s := newSite(t)
	config, err := New(s.logger()).Server(s.pair("control-c1"), s.authority(), tls.VersionTLS13)
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(Handler(config, s.logger(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })))
	server.Listener = tls.NewListener(server.Listener, config)
	server.Start()
	t.Cleanup(server.Close)
	s.issue(pki.Request{Role: pki.Operator, Name: "ada"})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: s.client("operator-ada", "127.0.0.1")}}
	get := func() (status int, closes bool) {
		t.Helper()
		answer, err := client.Get("https://" + server.Listener.Addr().String())
		require.NoError(t, err)
		defer answer.Body.Close()
		_, err = io.Copy(io.Discard, answer.Body)
		require.NoError(t, err)
		return answer.StatusCode, answer.Close
	}
	status, closes := get()
	require.Equal(t, []any{http.StatusOK, false}, []any{status, closes})
	_, err = s.ca.Revoke(t.Context(), pki.Operator, "ada", "")
	require.NoError(t, err)
	status, closes = get()
	require.Equal(t, []any{http.StatusForbidden, true}, []any{status, closes}, "over the same connection")
	require.Equal(t, 1, s.log.count("A certificate has ended while its holder was connected."))
	_, err = client.Get("https://" + server.Listener.Addr().String())
	require.Error(t, err)
}

func TestFilesThatChangeCountFromTheNextConnectionOn(t *testing.T) {
	s := newSite(t)
	s.issue(pki.Request{Role: pki.Operator, Name: "ada"})
	files := New(s.logger())
	config, err := files.Server(s.pair("control-c1"), s.authority(), tls.VersionTLS13, pki.Operator)
	require.NoError(t, err)
	address, client := s.listen(config), s.client("operator-ada", "127.0.0.1")
	serial := func() string {
		t.Helper()
		c, err := tls.Dial("tcp", address, client)
		require.NoError(t, err)
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Text(16)
	}
	first := serial()
	renewed, err := s.ca.Renew(t.Context(), pki.Control, "c1", 0)
	require.NoError(t, err)
	require.NotEqual(t, first, renewed.Serial)
	require.Equal(t, renewed.Serial, serial())

	key := s.pair("control-c1").Key
	whole, err := os.ReadFile(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(key, []byte("half"), 0o600))
	require.Equal(t, renewed.Serial, serial(), "a broken file changes nothing")
	require.Equal(t, renewed.Serial, serial())
	require.Equal(t, 1, s.log.count("cannot be used"), "and is told once")
	require.NoError(t, os.WriteFile(key, whole, 0o600))
	require.Equal(t, renewed.Serial, serial())

	_, err = ask(address, client)
	require.NoError(t, err)
	_, err = s.ca.Revoke(t.Context(), pki.Operator, "ada", "")
	require.NoError(t, err)
	_, err = ask(address, client)
	require.Error(t, err)
	require.NoError(t, os.Remove(filepath.Join(s.dir, pki.CRLFile)))
	_, err = ask(address, client)
	require.Error(t, err, "a list that is gone gives nothing back")
	_, err = s.ca.Issue(t.Context(), pki.Request{Role: pki.Operator, Name: "ada"})
	require.NoError(t, err)
	_, err = ask(address, client)
	require.NoError(t, err, "the client takes its new certificate up too")
}

func TestAnotherCAsListIsRefused(t *testing.T) {
	s, other := newSite(t), newSite(t)
	text, err := os.ReadFile(filepath.Join(other.dir, pki.CRLFile))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, pki.CRLFile), text, 0o644))
	_, err = New(s.logger()).Server(s.pair("control-c1"), s.authority(), tls.VersionTLS13)
	require.ErrorContains(t, err, "which is none of the CAs beside it")

	// Nor does a CA that is believed revoke what another one has issued.
	key, err := tls.LoadX509KeyPair(filepath.Join(s.dir, "ca.pem"), filepath.Join(s.dir, "ca.key"))
	require.NoError(t, err)
	text, err = os.ReadFile(filepath.Join(other.dir, "ca.pem"))
	require.NoError(t, err)
	issuers, err := certificates(text)
	require.NoError(t, err)
	forged, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)},
		issuers[0], key.PrivateKey.(crypto.Signer))
	require.NoError(t, err)
	own, err := os.ReadFile(filepath.Join(s.dir, "ca.pem"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "ca.pem"), append(own, text...), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, pki.CRLFile), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: forged}), 0o644))
	_, err = New(s.logger()).Server(s.pair("control-c1"), s.authority(), tls.VersionTLS13)
	require.ErrorContains(t, err, "which is none of the CAs beside it")
}

func TestTwoCAsAreBelievedWhileOneFollowsTheOther(t *testing.T) {
	old, next := newSite(t), newSite(t)
	for _, s := range []*site{old, next} {
		s.issue(pki.Request{Role: pki.Operator, Name: "ada"})
		s.issue(pki.Request{Role: pki.Operator, Name: "eve"})
		_, err := s.ca.Revoke(t.Context(), pki.Operator, "eve", "")
		require.NoError(t, err)
	}
	both := t.TempDir()
	for _, name := range []string{"ca.pem", pki.CRLFile} {
		var text []byte
		for _, s := range []*site{old, next} {
			one, err := os.ReadFile(filepath.Join(s.dir, name))
			require.NoError(t, err)
			text = append(text, one...)
		}
		require.NoError(t, os.WriteFile(filepath.Join(both, name), text, 0o644))
	}
	authority := Authority{Setting: "x.tls_ca", CA: filepath.Join(both, "ca.pem")}
	config, err := New(next.logger()).Server(next.pair("control-c1"), authority, tls.VersionTLS13, pki.Operator)
	require.NoError(t, err)
	address := next.listen(config)
	for _, s := range []*site{old, next} {
		client, err := New(s.logger()).Client(s.pair("operator-ada"), authority, "127.0.0.1")
		require.NoError(t, err)
		_, err = ask(address, client)
		require.NoError(t, err)
		client, err = New(s.logger()).Client(s.pair("operator-eve"), authority, "127.0.0.1")
		require.NoError(t, err)
		_, err = ask(address, client)
		require.Error(t, err)
	}
	require.Eventually(t, func() bool { return next.log.count("the certificate is revoked") == 2 }, time.Minute, time.Millisecond)
}

func TestFilesThatCannotBeUsedAreNamedByTheirSetting(t *testing.T) {
	s := newSite(t)
	files := New(s.logger())
	half := s.pair("control-c1")
	half.Key = ""
	_, err := files.Server(half, Authority{}, tls.VersionTLS12)
	require.ErrorContains(t, err, "x.tls_cert and x.tls_key go together")
	_, err = files.Server(s.pair("control-none"), Authority{}, tls.VersionTLS12)
	require.ErrorContains(t, err, "x.tls_cert: open ")
	_, err = files.Client(Pair{}, Authority{Setting: "x.tls_ca", CA: s.pair("control-c1").Key}, "x")
	require.ErrorContains(t, err, "x.tls_ca: ")
	require.ErrorContains(t, err, "there is no certificate")
}

func TestTheMetricAndTheLogSayWhenACertificateEnds(t *testing.T) {
	s := newSite(t)
	s.issue(pki.Request{Role: pki.Host, Name: "hv1", Validity: 20 * 24 * time.Hour})
	files := New(s.logger())
	require.Zero(t, files.Ends())
	_, err := files.Client(s.pair("host-hv1"), s.authority(), "127.0.0.1")
	require.NoError(t, err)
	shown, err := s.ca.Show()
	require.NoError(t, err)
	require.Equal(t, shown[2].NotAfter, files.Ends())
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(files))
	families, err := registry.Gather()
	require.NoError(t, err)
	require.Len(t, families, 1)
	require.Equal(t, "slipway_certificate_expiry_timestamp_seconds", families[0].GetName())
	metric := families[0].GetMetric()[0]
	require.Equal(t, "x.tls_cert", metric.GetLabel()[0].GetValue())
	require.Equal(t, float64(shown[2].NotAfter.Unix()), metric.GetGauge().GetValue())
	require.Equal(t, 1, s.log.count("A certificate ends soon"), "it was told when it was read")
	files.warnAll()
	require.Equal(t, 2, s.log.count("A certificate ends soon"))
	_, err = files.Server(s.pair("control-c1"), Authority{}, tls.VersionTLS13)
	require.NoError(t, err)
	require.Equal(t, shown[2].NotAfter, files.Ends(), "the first of them")
	renewed, err := s.ca.Renew(t.Context(), pki.Host, "hv1", 40*24*time.Hour)
	require.NoError(t, err)
	files.warnAll()
	require.Equal(t, 2, s.log.count("A certificate ends soon"))
	require.Equal(t, renewed.NotAfter, files.Ends())
}

func TestNothingIsAnsweredBeforeTheHandshake(t *testing.T) {
	s := newSite(t)
	config, err := New(s.logger()).Server(s.pair("control-c1"), s.authority(), tls.VersionTLS13, pki.Operator)
	require.NoError(t, err)
	c, err := net.Dial("tcp", s.listen(config))
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	answer, err := io.ReadAll(c)
	require.NoError(t, err)
	require.NotContains(t, string(answer), "ok")
}
