package api

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/pki"
	"github.com/slipway-cloud/slipway/internal/tlsfile"
)

func TestOverTLSTheAPIAnswersWithAddressesThatAreItsOwnAndNothingInClear(t *testing.T) {
	w := newWorld(t)
	dir := filepath.Join(t.TempDir(), "pki")
	ca, err := pki.Init(t.Context(), dir, "")
	require.NoError(t, err)
	_, err = ca.Issue(t.Context(), pki.Request{Role: pki.Control, Name: "c1", IPs: []string{"127.0.0.1"}})
	require.NoError(t, err)
	certificates := tlsfile.New(slog.New(slog.DiscardHandler))
	file := func(name string) string { return filepath.Join(dir, name) }
	o := w.options()
	o.ShutdownTimeout = time.Minute
	o.TLS, err = certificates.Server(tlsfile.Pair{Setting: "api.tls", Cert: file("control-c1.pem"), Key: file("control-c1.key")}, tlsfile.Authority{}, tls.VersionTLS12)
	require.NoError(t, err)
	o.Listener, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := o.Listener.Addr().String()
	server, err := New(o)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()

	secure, err := certificates.Client(tlsfile.Pair{}, tlsfile.Authority{CA: file("ca.pem")}, "127.0.0.1")
	require.NoError(t, err)
	transport := &http.Transport{TLSClientConfig: secure}
	for url, want := range map[string]string{"https://": "https://" + address + "/v3/", "http://": "Client sent an HTTP request to an HTTPS server"} {
		answer, err := (&http.Client{Transport: transport}).Get(url + address)
		require.NoError(t, err)
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		require.NoError(t, err)
		require.Contains(t, string(text), want)
	}
	transport.CloseIdleConnections()
	newer := secure.Clone()
	newer.NextProtos = []string{"h2"}
	_, err = tls.Dial("tcp", address, newer)
	require.ErrorContains(t, err, "no application protocol", "deadlines of uploads are HTTP/1.1's")
	stop()
	require.NoError(t, <-ended)
}
