// Package tlsfile is TLS with certificates that lie in files and may be replaced while a process runs: what is in the files counts
// from the next connection on. It also tells when the certificates of a process end.
package tlsfile

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/slipway-cloud/slipway/internal/pki"
)

// Files are the certificates of one process.
type Files struct {
	log *slog.Logger

	mu   sync.Mutex
	held []*file[*tls.Certificate] // that it serves or presents
}

// New has none yet.
func New(log *slog.Logger) *Files { return &Files{log: log} }

// Pair is a certificate, with the chain below its CA, and its key, both in PEM. Setting is what their settings' names begin with:
// "api.tls" of api.tls_cert and api.tls_key.
type Pair struct{ Setting, Cert, Key string }

// Authority is a file with the certificates of the CAs that the other side's has to be issued by. What a crl.pem beside it
// revokes is refused; each list in it has to be of one of these CAs.
type Authority struct {
	Setting, CA string
	Optional    bool // a client that shows no certificate is answered too
}

// http11 is all that is spoken over TLS: what holds for a plain listener, deadlines of uploads and early refusals, holds unchanged.
var http11 = []string{"http/1.1"}

// Server is the TLS of a listener, from a version on. Where clients name a CA, only those with a certificate of it are answered; and
// where roles are named, only those whose certificate says one of them.
func (f *Files) Server(own Pair, clients Authority, version uint16, roles ...string) (*tls.Config, error) {
	if own.Cert == "" {
		return nil, fmt.Errorf("%s_cert is needed", own.Setting)
	}
	pair, err := f.hold(own)
	if err != nil {
		return nil, err
	}
	certificate := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.get(), nil }
	config := &tls.Config{MinVersion: version, NextProtos: http11, GetCertificate: certificate}
	if clients.CA == "" {
		return config, nil
	}
	known, err := f.trust(clients)
	if err != nil {
		return nil, err
	}
	ask := tls.RequireAndVerifyClientCert
	if clients.Optional {
		ask = tls.VerifyClientCertIfGiven
	}
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		trust := known.get()
		return &tls.Config{
			MinVersion: version, NextProtos: http11, GetCertificate: certificate,
			ClientAuth: ask, ClientCAs: trust.pool,
			SessionTicketsDisabled: true, // a ticket would outlive the CA that it was given under
			VerifyConnection: func(s tls.ConnectionState) error {
				if len(s.PeerCertificates) == 0 {
					return nil // it is optional
				}
				if err := trust.current(s.VerifiedChains); err != nil {
					return err
				}
				if role, name := pki.Holder(s.PeerCertificates[0]); len(roles) > 0 && !slices.Contains(roles, role) {
					return fmt.Errorf("the certificate of %q has the role %q, and here only %s is answered", name, role, strings.Join(roles, " or "))
				}
				return nil
			},
		}, nil
	}
	return config, nil
}

// Client is the TLS towards a server whose certificate is for name. Without a CA it is the machine's that count; without a pair of
// its own it presents nothing.
func (f *Files) Client(own Pair, servers Authority, name string) (*tls.Config, error) {
	if name == "" {
		return nil, errors.New("TLS needs the name that the server's certificate is for")
	}
	client, err := f.Clients(own, servers)
	if err != nil {
		return nil, err
	}
	return client(name), nil
}

// Clients is Client towards servers of any name.
func (f *Files) Clients(own Pair, servers Authority) (func(name string) *tls.Config, error) {
	var pair *file[*tls.Certificate]
	var known *file[trust]
	var err error
	if own.Cert != "" || own.Key != "" {
		if pair, err = f.hold(own); err != nil {
			return nil, err
		}
	}
	if servers.CA != "" {
		if known, err = f.trust(servers); err != nil {
			return nil, err
		}
	}
	return func(name string) *tls.Config { return client(pair, known, name) }, nil
}

func client(pair *file[*tls.Certificate], known *file[trust], name string) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: name}
	if pair != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair.get(), nil }
	}
	if known == nil {
		return config
	}
	// The CAs of a tls.Config are fixed when it is made. So the verification is done here, as crypto/tls does it, with those of now.
	// The name is not taken from the connection, which has none where the server is asked for by its address.
	config.InsecureSkipVerify = true
	config.VerifyConnection = func(s tls.ConnectionState) error {
		trust := known.get()
		o := x509.VerifyOptions{Roots: trust.pool, DNSName: name, Intermediates: x509.NewCertPool()}
		for _, c := range s.PeerCertificates[1:] {
			o.Intermediates.AddCert(c)
		}
		chains, err := s.PeerCertificates[0].Verify(o)
		if err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: s.PeerCertificates, Err: err}
		}
		return trust.current(chains)
	}
	return config
}

// hold reads a pair, and has it counted among the process's.
func (f *Files) hold(p Pair) (*file[*tls.Certificate], error) {
	if p.Cert == "" || p.Key == "" {
		return nil, fmt.Errorf("%s_cert and %s_key go together: one of them is not set", p.Setting, p.Setting)
	}
	pair := &file[*tls.Certificate]{
		setting: p.Setting + "_cert", paths: []string{p.Cert, p.Key}, log: f.log,
		read: func() (*tls.Certificate, error) {
			c, err := tls.LoadX509KeyPair(p.Cert, p.Key)
			if err != nil {
				return nil, err
			}
			warn(f.log, p.Setting+"_cert", c.Leaf)
			return &c, nil
		},
	}
	if err := pair.open(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held = append(f.held, pair)
	return pair, nil
}

// trust is whom a process believes.
type trust struct {
	pool    *x509.CertPool
	revoked map[string]bool // by issuer and serial
}

func revokedKey(issuer []byte, serial fmt.Stringer) string { return string(issuer) + serial.String() }

// current refuses a certificate of which no chain is free of revoked ones.
func (t trust) current(chains [][]*x509.Certificate) error {
	for _, chain := range chains {
		if !slices.ContainsFunc(chain, func(c *x509.Certificate) bool { return t.revoked[revokedKey(c.RawIssuer, c.SerialNumber)] }) {
			return nil
		}
	}
	return errors.New("the certificate is revoked")
}

func (f *Files) trust(a Authority) (*file[trust], error) {
	crl, had, newest := filepath.Join(filepath.Dir(a.CA), pki.CRLFile), false, map[string]*big.Int{}
	known := &file[trust]{
		setting: a.Setting, paths: []string{a.CA, crl}, log: f.log,
		read: func() (trust, error) {
			t := trust{pool: x509.NewCertPool(), revoked: map[string]bool{}}
			text, err := os.ReadFile(a.CA)
			if err != nil {
				return t, err
			}
			authorities, err := certificates(text)
			if err != nil {
				return t, fmt.Errorf("%s: %w", a.CA, err)
			}
			for _, c := range authorities {
				t.pool.AddCert(c)
			}
			text, err = os.ReadFile(crl)
			if errors.Is(err, fs.ErrNotExist) && !had {
				return t, nil
			}
			if err == nil {
				err = t.revoke(text, authorities, newest)
			}
			if err != nil {
				return t, fmt.Errorf("the revocation list %s: %w", crl, err)
			}
			had = true // what is revoked does not become valid because the list is gone
			return t, nil
		},
	}
	return known, known.open()
}

// blocks are the parts of a kind in a PEM file.
func blocks(text []byte, kind string) (all [][]byte) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return all
		}
		if block.Type == kind {
			all = append(all, block.Bytes)
		}
	}
}

func certificates(text []byte) (all []*x509.Certificate, err error) {
	for _, der := range blocks(text, "CERTIFICATE") {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.New("there is no certificate (PEM) in it")
	}
	return all, nil
}

// newest are the numbers of the lists that were read, by their CA: an older one, put back by mistake, takes no revocation back.
func (t trust) revoke(text []byte, authorities []*x509.Certificate, newest map[string]*big.Int) error {
	numbers := map[string]*big.Int{}
	lists := blocks(text, "X509 CRL")
	if len(lists) == 0 {
		return errors.New("there is no list (PEM) in it")
	}
	for _, der := range lists {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return err
		}
		of := func(c *x509.Certificate) bool {
			return bytes.Equal(list.RawIssuer, c.RawSubject) && list.CheckSignatureFrom(c) == nil
		}
		if !slices.ContainsFunc(authorities, of) {
			return fmt.Errorf("it is of %s, which is none of the CAs beside it", list.Issuer)
		}
		ca := string(list.RawIssuer) + string(list.AuthorityKeyId)
		if last := newest[ca]; last != nil && (list.Number == nil || list.Number.Cmp(last) < 0) {
			return fmt.Errorf("it is number %s of %s, and number %s was read before: copy the newest", list.Number, list.Issuer, last)
		}
		if list.Number != nil {
			numbers[ca] = list.Number
		}
		for _, e := range list.RevokedCertificateEntries {
			t.revoked[revokedKey(list.RawIssuer, e.SerialNumber)] = true
		}
	}
	maps.Copy(newest, numbers)
	return nil
}
