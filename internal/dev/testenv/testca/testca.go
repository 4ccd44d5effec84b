// Package testca gives tests certificates: those that `slipway pki` issues, and those that no careful CA does.
package testca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipway-cloud/slipway/internal/pki"
)

// CA is one as `slipway pki init` makes it.
type CA struct {
	*pki.Authority
	Dir string

	t testing.TB
}

// New makes a CA that goes with the test.
func New(t testing.TB) *CA {
	t.Helper()
	ca := &CA{t: t, Dir: t.TempDir()}
	var err error
	if ca.Authority, err = pki.Init(t.Context(), ca.Dir, "test"); err != nil {
		t.Fatal(err)
	}
	return ca
}

// File is the path of one of the CA's files.
func (ca *CA) File(name string) string { return filepath.Join(ca.Dir, name) }

// Issue gives a holder a certificate for its name and some addresses, or another one where it has one, and returns both files and
// the serial number.
func (ca *CA) Issue(role, name string, ips ...string) (cert, key, serial string) {
	ca.t.Helper()
	request := pki.Request{Role: role, Name: name, IPs: ips}
	if role != pki.Operator {
		request.DNS = []string{name}
	}
	cert, key = pki.Files(ca.Dir, role, name)
	issue := func() (pki.Certificate, error) { return ca.Authority.Issue(ca.t.Context(), request) }
	if _, err := os.Stat(cert); err == nil {
		issue = func() (pki.Certificate, error) { return ca.Renew(ca.t.Context(), role, name, 0) }
	}
	c, err := issue()
	if err != nil {
		ca.t.Fatal(err)
	}
	return cert, key, c.Serial
}

// Holder is a new certificate with its key.
func (ca *CA) Holder(role, name string, ips ...string) tls.Certificate {
	ca.t.Helper()
	cert, key, _ := ca.Issue(role, name, ips...)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		ca.t.Fatal(err)
	}
	return pair
}

// Odd is a client's certificate that a careful CA does not issue. It has a role and a name, and is valid for an hour, but for what is
// changed of it.
func (ca *CA) Odd(role, name string, change func(*x509.Certificate)) tls.Certificate {
	ca.t.Helper()
	authority, err := tls.LoadX509KeyPair(ca.File(pki.CAFile), ca.File("ca.key"))
	if err != nil {
		ca.t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{OrganizationalUnit: []string{role}, CommonName: name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, authority.Leaf, key.Public(), authority.PrivateKey)
	if err != nil {
		ca.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Client is the TLS of one that believes this CA and presents some certificate, or none.
func (ca *CA) Client(certificates ...tls.Certificate) *tls.Config {
	ca.t.Helper()
	text, err := os.ReadFile(ca.File(pki.CAFile))
	if err != nil {
		ca.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		ca.t.Fatal("no certificate in ca.pem")
	}
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13, Certificates: certificates}
}
