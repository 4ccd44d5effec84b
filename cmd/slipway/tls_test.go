package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/payload"
	"github.com/slipway-cloud/slipway/internal/pki"
	"github.com/slipway-cloud/slipway/internal/tlsfile"
)

// authority is a CA with one certificate for each role that tests speak as.
func authority(t *testing.T) (ca *pki.Authority, file func(string) string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pki")
	ca, err := pki.Init(t.Context(), dir, "")
	require.NoError(t, err)
	for _, r := range []pki.Request{
		{Role: pki.Control, Name: "c1", DNS: []string{"cloud.example.org"}, IPs: []string{"127.0.0.1"}},
		{Role: pki.Host, Name: "hv1"}, {Role: pki.Operator, Name: "ada"},
	} {
		_, err := ca.Issue(t.Context(), r)
		require.NoError(t, err)
	}
	return ca, func(name string) string { return filepath.Join(dir, name) }
}

func files() *tlsfile.Files { return tlsfile.New(slog.New(slog.DiscardHandler)) }

func TestTheAPIDoesNotStartWithAPublicURLThatItsCertificateIsNotFor(t *testing.T) {
	_, file := authority(t)
	c := config.API{TLSCert: file("control-c1.pem"), TLSKey: file("control-c1.key")}
	for public, want := range map[string]string{
		"": "", "https://cloud.example.org": "", "https://127.0.0.1:8774/": "",
		"http://cloud.example.org":  "it has to begin with https://",
		"https://other.example.org": "have it issued for other.example.org too",
		"https://10.0.0.1":          "have it issued for 10.0.0.1 too",
	} {
		c.PublicURL = public
		secure, err := apiTLS(c, files())
		if want != "" {
			require.ErrorContains(t, err, want)
			continue
		}
		require.NoError(t, err, public)
		require.Equal(t, uint16(tls.VersionTLS12), secure.MinVersion, "users' clients may be older")
	}
	_, err := apiTLS(config.API{TLSCert: file("control-c1.pem")}, files())
	require.ErrorContains(t, err, "api.tls_cert and api.tls_key go together")
	_, err = apiTLS(config.API{TLSClientCA: file("ca.pem")}, files())
	require.ErrorContains(t, err, "api.tls_client_ca is of no use without api.tls_cert and api.tls_key")
	_, err = apiTLS(config.API{TLSClientCA: file("ca.pem"), TLSHostCA: file("ca.pem")}, files())
	require.ErrorContains(t, err, "which one?")
	secure, err := apiTLS(config.API{PublicURL: "https://a.proxy.example.org"}, files())
	require.NoError(t, err)
	require.Nil(t, secure)
}

// get asks with a holder's certificate; "" has none.
func get(t *testing.T, file func(string) string, holder, url string) (string, error) {
	t.Helper()
	c := config.Host{APIURL: url, APICA: file("ca.pem")}
	if holder != "" {
		c.APICert, c.APIKey = file(holder+".pem"), file(holder+".key")
	}
	transport, err := apiTransport(c, files())
	require.NoError(t, err)
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Get(url)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return string(text), err
}

func TestTheOperatorsListenerAnswersOperatorsAndNobodyElse(t *testing.T) {
	ca, file := authority(t)
	address := fmt.Sprintf("127.0.0.1:%d", freePorts(t, 1))
	c := config.Operator{Listen: address, TLSCert: file("control-c1.pem"), TLSKey: file("control-c1.key"), TLSClientCA: file("ca.pem")}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- serveOperator(ctx, c, files(), prometheus.NewRegistry(), nil, func(ctx context.Context) error { <-ctx.Done(); return nil })
	}()
	url := "https://" + address + "/metrics"
	require.Eventually(t, func() bool { _, err := get(t, file, "operator-ada", url); return err == nil }, dialTimeout, dialPause)
	text, err := get(t, file, "control-c1", url)
	require.NoError(t, err)
	require.Contains(t, text, `slipway_certificate_expiry_timestamp_seconds{setting="operator.tls_cert"}`)
	for _, holder := range []string{"", "host-hv1"} {
		_, err := get(t, file, holder, url)
		require.ErrorContains(t, err, "remote error: tls:", holder)
	}
	plain, err := http.Get("http://" + address + "/metrics")
	require.NoError(t, err)
	plain.Body.Close()
	require.Equal(t, http.StatusBadRequest, plain.StatusCode)
	_, err = ca.Revoke(t.Context(), pki.Operator, "ada", "")
	require.NoError(t, err)
	_, err = get(t, file, "operator-ada", url)
	require.ErrorContains(t, err, "remote error: tls:")
	stop()
	require.NoError(t, <-ended)
}

func TestAHostBelievesTheAPIByItsOwnCA(t *testing.T) {
	_, file := authority(t)
	_, other := authority(t)
	secure, err := apiTLS(config.API{TLSCert: file("control-c1.pem"), TLSKey: file("control-c1.key"), TLSClientCA: file("ca.pem")}, files())
	require.NoError(t, err)
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }))
	api.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	url := "https://" + api.Listener.Addr().String()
	api.Listener = tls.NewListener(api.Listener, secure)
	api.Start()
	defer api.Close()

	text, err := get(t, file, "host-hv1", url)
	require.NoError(t, err)
	require.Equal(t, "hello", text)
	_, err = get(t, file, "", url)
	require.ErrorContains(t, err, "remote error: tls:", "the API asks for one")
	_, err = get(t, other, "", url)
	require.ErrorContains(t, err, "unknown authority")
	_, err = apiTransport(config.Host{APIURL: "http://127.0.0.1:8774", APICA: file("ca.pem")}, files())
	require.ErrorContains(t, err, "host.api_ca is set, and host.api_url is http://127.0.0.1:8774")
}

func TestTemporalIsAskedByTheNameOfItsAddressUnlessAnotherIsSet(t *testing.T) {
	_, file := authority(t)
	c := config.Default().Temporal
	secure, err := temporalTLS(c, files())
	require.NoError(t, err)
	require.Nil(t, secure)
	c.TLSCert, c.TLSKey, c.TLSCA = file("host-hv1.pem"), file("host-hv1.key"), file("ca.pem")
	secure, err = temporalTLS(c, files())
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1", secure.ServerName)
	c.TLSServerName = "cloud.example.org"
	secure, err = temporalTLS(c, files())
	require.NoError(t, err)
	require.Equal(t, "cloud.example.org", secure.ServerName)
	presented, err := secure.GetClientCertificate(nil)
	require.NoError(t, err)
	role, name := pki.Holder(presented.Leaf)
	require.Equal(t, []string{pki.Host, "hv1"}, []string{role, name})
	c.TLSKey = ""
	_, err = temporalTLS(c, files())
	require.ErrorContains(t, err, "temporal.tls_cert and temporal.tls_key go together")
}

func TestARoleThatWouldBeInClearBeyondThisMachineDoesNotStartUnlessItIsLet(t *testing.T) {
	t.Setenv("SLIPWAY_CONFIG", "")
	_, errs, code := say(t, "api", "--api.listen", "0.0.0.0:0")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "api.listen is 0.0.0.0:0, which other machines reach, in clear: set api.tls_cert and api.tls_key")
	_, errs, code = say(t, "host", "--host.api_url", "http://10.0.0.1:8774", "--temporal.address", "10.0.0.1:7233")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "temporal.address is 10.0.0.1:7233")
	require.Contains(t, errs, "host.api_url is plain http")
	_, errs, code = say(t, "host", "--host.api_url", "http://10.0.0.1:8774", "--insecure_plaintext")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "a host needs its token", "it came further")
	_, errs, code = say(t, "keys", "reseal", "--database.dsn", "host=db.example.org sslmode=disable")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "database.dsn lets the connection to another machine (db.example.org) be in clear")

	var log bytes.Buffer
	c := config.Default()
	c.InsecurePlaintext, c.API.Listen = true, "0.0.0.0:8774"
	require.NoError(t, refusePlaintext(c, c.InClear("api"), slog.New(slog.NewTextHandler(&log, nil))))
	require.Contains(t, log.String(), "insecure_plaintext lets it be.")
	require.Contains(t, log.String(), "api.listen is 0.0.0.0:8774")
}

func TestAHostDoesNotStartWithACertificateByWhichItWouldGetNoSteps(t *testing.T) {
	_, file := authority(t)
	c := config.Default()
	c.Host.Hostname, c.Host.Token, c.Host.StateDir = "hv2", "token", filepath.Join(t.TempDir(), "host")
	for holder, want := range map[string]string{
		"host-hv1": "of host hv1, by which Temporal gives no steps to host hv2", "control-c1": "of control c1, by which", "host-hv3": "no such file",
	} {
		c.Temporal.TLSCert, c.Temporal.TLSKey = file(holder+".pem"), file(holder+".key")
		require.ErrorContains(t, runHost(t.Context(), c, slog.New(slog.DiscardHandler)), want)
		require.NoDirExists(t, c.Host.StateDir)
	}
	c.Temporal.TLSCert, c.Temporal.TLSKey = file("host-hv1.pem"), file("host-hv1.key")
	require.NoError(t, refuseForeignCertificate(c.Temporal, "hv1"))
}

func TestARoleShowsItsCertificateToTemporalsFrontend(t *testing.T) {
	hostname := testenv.Queue(t, "hv")
	own := testenv.Host(t, hostname)
	c := config.Default().Temporal
	c.Address, c.PayloadKeys = testenv.Temporal(t), filepath.Join(t.TempDir(), "keys")
	c.TLSCA, c.TLSCert, c.TLSKey = own.CA, own.Cert, own.Key
	require.NoError(t, payload.EnsureKeys(c.PayloadKeys))
	engine, err := dialTemporal(t.Context(), c, converter.GetDefaultDataConverter(), files(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer engine.Close()
	_, err = engine.CheckHealth(t.Context(), &client.CheckHealthRequest{})
	require.NoError(t, err)
	_, err = engine.CountWorkflow(t.Context(), &workflowservice.CountWorkflowExecutionsRequest{})
	require.ErrorContains(t, err, fmt.Sprintf("%q (role %q)", hostname, pki.Host), "a host may not, and is told who the frontend takes it for")
}
