package testenv

import (
	"context"
	"crypto/tls"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/slipway-cloud/slipway/internal/payload"
	"github.com/slipway-cloud/slipway/internal/pki"
	"github.com/slipway-cloud/slipway/internal/tlsfile"
)

const (
	address     = "127.0.0.1" // of all that a run starts
	controlName = "test"
)

// MakePKI makes the CA of a run, in a folder that is not there yet, with what is issued once: to Temporal's server
// (stack.TemporalTLSIn), and to Slipway's own processes and the tests (Control).
func MakePKI(ctx context.Context, dir string) error {
	ca, err := pki.Init(ctx, dir, "")
	for _, r := range []pki.Request{
		{Role: pki.Control, Name: "temporal", IPs: []string{address}}, {Role: pki.Operator, Name: "web-ui"},
		{Role: pki.Control, Name: controlName, IPs: []string{address}},
	} {
		if err == nil {
			_, err = ca.Issue(ctx, r)
		}
	}
	return err
}

// PayloadKeys are new ones, as a control plane has them; the first is k1.
func PayloadKeys(t testing.TB) *payload.Keys {
	t.Helper()
	file := filepath.Join(t.TempDir(), "payload.keys")
	err := payload.EnsureKeys(file)
	var keys *payload.Keys
	if err == nil {
		keys, err = payload.LoadKeys(file)
	}
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// PKI is the folder of the run's CA.
func PKI(t testing.TB) string {
	t.Helper()
	return need(t, PKIVariable)
}

// Certificate is a certificate of the run's CA, with its key and that CA, as files.
type Certificate struct{ CA, Cert, Key string }

// Control is the control plane's, which is valid for 127.0.0.1.
func Control(t testing.TB) Certificate {
	t.Helper()
	return certificate(PKI(t), pki.Control, controlName)
}

// Host is a new one for a hypervisor's name.
func Host(t testing.TB, name string) Certificate {
	t.Helper()
	dir := PKI(t)
	ca, err := pki.Open(dir)
	if err == nil {
		_, err = ca.Issue(t.Context(), pki.Request{Role: pki.Host, Name: name})
	}
	if err != nil {
		t.Fatalf("a certificate for the host %s: %v", name, err)
	}
	return certificate(dir, pki.Host, name)
}

func certificate(dir, role, name string) Certificate {
	c := Certificate{CA: filepath.Join(dir, pki.CAFile)}
	c.Cert, c.Key = pki.Files(dir, role, name)
	return c
}

// TLS is how its holder asks servers that have the one of Control, or Temporal's.
func (c Certificate) TLS(t testing.TB) *tls.Config {
	t.Helper()
	config, err := tlsfile.New(slog.New(slog.DiscardHandler)).Client(tlsfile.Pair{Setting: "test.tls", Cert: c.Cert, Key: c.Key},
		tlsfile.Authority{Setting: "test.tls_ca", CA: c.CA}, address)
	if err != nil {
		t.Fatal(err)
	}
	return config
}
