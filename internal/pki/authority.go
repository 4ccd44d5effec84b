package pki

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cloud/slipway/internal/durable"
)

// Authority is a CA with its folder.
type Authority struct {
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
	now  func() time.Time
}

// Validity of certificates where nothing else is said.
const (
	Year       = 365 * 24 * time.Hour
	caValidity = 10 * Year
	// ExpiresSoon is how long before its end a certificate is warned of.
	ExpiresSoon = 30 * 24 * time.Hour
)

// backdate is how far the clock of a machine may be behind the CA's.
const backdate = 5 * time.Minute

// Init makes a CA in a folder that has none. name is its common name; empty: one that tells it from others.
func Init(ctx context.Context, dir, name string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of the CA: %w", err)
	}
	release, err := lock(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer release()
	if there(dir, CAFile) {
		return nil, fmt.Errorf("there is a CA in %s already, and it is not overwritten: use it (slipway pki issue), or name another folder", dir)
	}
	if there(dir, caKeyFile) {
		return nil, fmt.Errorf("%s has no certificate beside it: an init was interrupted, or %s was taken away; put that back, or remove the key and run this again",
			filepath.Join(dir, caKeyFile), CAFile)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	a := &Authority{dir: dir, key: key, now: time.Now}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"Slipway"}, CommonName: cmp.Or(name, "Slipway CA "+serial.Text(16)[:8])},
		NotBefore:    a.now().Add(-backdate), NotAfter: a.now().Add(caValidity),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making the CA's certificate: %w", err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	if err := putKey(filepath.Join(dir, caKeyFile), key); err != nil {
		return nil, err
	}
	// The certificate comes last: where it is, all is.
	if err := a.keep(&index{}); err != nil {
		return nil, err
	}
	return a, putPEM(filepath.Join(dir, CAFile), "CERTIFICATE", der, 0o644)
}

func there(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}

// Open reads the CA of a folder.
func Open(dir string) (*Authority, error) {
	certPath, keyPath := filepath.Join(dir, CAFile), filepath.Join(dir, caKeyFile)
	text, err := os.ReadFile(certPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no CA in %s: `slipway pki init` makes one; another folder is named by --dir of slipway pki, and by --pki of slipway host", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the CA's certificate: %w", err)
	}
	info, err := os.Stat(keyPath)
	if err != nil {
		return nil, fmt.Errorf("the CA's key: %w: it is needed where certificates are issued, renewed and revoked", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others may read the CA's key: chmod 600 %s", keyPath)
	}
	keyText, err := os.ReadFile(keyPath)
	if err != nil {
		return nil, fmt.Errorf("reading the CA's key: %w", err)
	}
	a := &Authority{dir: dir, now: time.Now}
	if a.cert, err = parseCertificate(text); err != nil {
		return nil, fmt.Errorf("%s: %w", certPath, err)
	}
	if a.key, err = parseKey(keyText); err != nil {
		return nil, fmt.Errorf("%s: %w", keyPath, err)
	}
	if public, ok := a.key.Public().(*ecdsa.PublicKey); !ok || !public.Equal(a.cert.PublicKey) {
		return nil, fmt.Errorf("%s is not the key of %s: put the right one back", keyPath, certPath)
	}
	return a, nil
}

// Request is what a certificate is asked for. A host's is always valid for its hostname.
type Request struct {
	Role, Name string
	DNS, IPs   []string
	Validity   time.Duration // 0: a year
}

// Issue makes a certificate with a new key, and its two files. A holder has one at a time: one that is valid is renewed instead.
func (a *Authority) Issue(ctx context.Context, r Request) (Certificate, error) {
	if err := checkHolder(r.Role, r.Name); err != nil {
		return Certificate{}, err
	}
	return a.change(ctx, func(i *index) (Certificate, error) {
		if c, ok := i.latest(r.Role, r.Name); ok && c.RevokedAt == nil && c.NotAfter.After(a.now()) {
			return Certificate{}, fmt.Errorf("%s %s has a certificate until %s: `slipway pki renew %s %s` replaces it, `slipway pki revoke %s %s` ends it",
				r.Role, r.Name, c.NotAfter.Format(time.DateOnly), r.Role, r.Name, r.Role, r.Name)
		}
		return a.issue(i, r)
	})
}

// Renew makes a new certificate, with a new key, for a holder that has had one, for the same names. The one before stays valid
// until its end, so that it can be replaced without haste.
func (a *Authority) Renew(ctx context.Context, role, name string, validity time.Duration) (Certificate, error) {
	return a.change(ctx, func(i *index) (Certificate, error) {
		c, ok := i.latest(role, name)
		if !ok {
			return c, a.unknown(role, name)
		}
		if c.RevokedAt != nil {
			return c, fmt.Errorf("the certificate of %s %s is revoked: `slipway pki issue %s %s` makes another one", role, name, role, name)
		}
		return a.issue(i, Request{Role: role, Name: name, DNS: c.DNS, IPs: c.IPs, Validity: validity})
	})
}

// Ensure gives a holder a certificate for what is asked, unless the one that it has, with its files, is valid for all of it and does
// not end soon. What it had before stays valid until its end.
func (a *Authority) Ensure(ctx context.Context, r Request) (c Certificate, issued bool, err error) {
	if err := checkHolder(r.Role, r.Name); err != nil {
		return c, false, err
	}
	dns, ips, err := r.names()
	if err != nil {
		return c, false, err
	}
	i, err := a.readIndex()
	if err != nil {
		return c, false, err
	}
	if c, ok := i.latest(r.Role, r.Name); ok && a.holds(c, dns, ips) {
		return c, false, nil
	}
	c, err = a.change(ctx, func(i *index) (Certificate, error) { return a.issue(i, r) })
	return c, err == nil, err
}

// holds says whether a certificate can be used for more than a month, for these names, as it lies in the folder: a death between the
// index and the files leaves the ones before.
func (a *Authority) holds(c Certificate, dns []string, ips []net.IP) bool {
	certFile, keyFile := Files(a.dir, c.Role, c.Name)
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	return err == nil && pair.Leaf.SerialNumber.Text(16) == c.Serial && c.RevokedAt == nil && c.NotAfter.Sub(a.now()) > ExpiresSoon &&
		!slices.ContainsFunc(dns, func(name string) bool { return !slices.Contains(c.DNS, name) }) &&
		!slices.ContainsFunc(ips, func(ip net.IP) bool { return !slices.Contains(c.IPs, ip.String()) })
}

func (a *Authority) unknown(role, name string) error {
	return fmt.Errorf("this CA has issued nothing to %s %s: `slipway pki show` lists what it has", role, name)
}

// Revoke ends all certificates of a holder, also those that were replaced, or one of them by its serial. The answer is those
// that ended by it: none where all of them had before.
func (a *Authority) Revoke(ctx context.Context, role, name, serial string) (ended []Certificate, err error) {
	serial = strings.ToLower(strings.ReplaceAll(serial, ":", "")) // as openssl writes it
	_, err = a.change(ctx, func(i *index) (Certificate, error) {
		now, known := a.now().UTC().Truncate(time.Second), false
		for n := range i.Certificates {
			c := &i.Certificates[n]
			if c.Role != role || c.Name != name || serial != "" && c.Serial != serial {
				continue
			}
			known = true
			if c.RevokedAt == nil && c.NotAfter.After(now) {
				c.RevokedAt = &now
				ended = append(ended, *c)
			}
		}
		if !known && serial != "" {
			return Certificate{}, fmt.Errorf("no certificate of %s %s has the serial %s: `slipway pki show` lists them", role, name, serial)
		}
		if !known {
			return Certificate{}, a.unknown(role, name)
		}
		return Certificate{}, nil
	})
	return ended, err
}

// States of a certificate. One that is replaced, by one that was issued later, is valid all the same.
const (
	Valid    = "valid"
	Replaced = "replaced"
	Expired  = "expired"
	Revoked  = "revoked"
)

// Shown is a certificate as it is now.
type Shown struct {
	Certificate
	State    string `json:"state"`
	DaysLeft int    `json:"days_left"`
	Soon     bool   `json:"expires_soon"` // or it has expired: somebody has to do something
	File     string `json:"file"`         // empty where another one has taken its place
}

// Show lists all that was issued, by role and name, the newest first, and before all the CA itself, whose role is "ca".
func (a *Authority) Show() ([]Shown, error) {
	i, err := a.readIndex()
	if err != nil {
		return nil, err
	}
	ca := Certificate{Serial: hex.EncodeToString(a.cert.SerialNumber.Bytes()), Role: "ca", Name: a.cert.Subject.CommonName, NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter}
	all := []Shown{a.shown(ca, false)}
	all[0].File = filepath.Join(a.dir, CAFile)
	slices.Reverse(i.Certificates)
	slices.SortStableFunc(i.Certificates, func(x, y Certificate) int { return cmp.Or(cmp.Compare(x.Role, y.Role), cmp.Compare(x.Name, y.Name)) })
	for n, c := range i.Certificates {
		replaced := n > 0 && i.Certificates[n-1].Role == c.Role && i.Certificates[n-1].Name == c.Name
		all = append(all, a.shown(c, replaced))
	}
	return all, nil
}

func (a *Authority) shown(c Certificate, replaced bool) Shown {
	left := c.NotAfter.Sub(a.now())
	s := Shown{Certificate: c, State: Valid, DaysLeft: max(0, int(left/(24*time.Hour)))}
	switch {
	case c.RevokedAt != nil:
		s.State = Revoked
	case left <= 0:
		s.State = Expired
	case replaced:
		s.State = Replaced
	}
	if !replaced {
		s.Soon = left < ExpiresSoon && c.RevokedAt == nil
		s.File, _ = Files(a.dir, c.Role, c.Name)
	}
	return s
}

// change does something to the folder, alone, and writes the revocation list anew: so one that a death kept from being written
// comes with whatever is done next.
func (a *Authority) change(ctx context.Context, do func(*index) (Certificate, error)) (Certificate, error) {
	release, err := lock(ctx, a.dir)
	if err != nil {
		return Certificate{}, err
	}
	defer release()
	i, err := a.readIndex()
	if err != nil {
		return Certificate{}, err
	}
	c, err := do(&i)
	if err != nil {
		return c, err
	}
	return c, a.keep(&i)
}

// keep writes the index and the revocation list.
func (a *Authority) keep(i *index) error {
	i.CRLNumber++
	if err := a.writeIndex(*i); err != nil {
		return err
	}
	// The list ends with the CA: no date in a file that is copied by hand tells whether it is the newest, and one that has
	// ended would stop those who read it strictly.
	list := &x509.RevocationList{Number: big.NewInt(i.CRLNumber), ThisUpdate: a.now().Add(-backdate), NextUpdate: a.cert.NotAfter}
	for _, c := range i.Certificates {
		if c.RevokedAt == nil || !c.NotAfter.After(a.now()) {
			continue
		}
		serial, ok := new(big.Int).SetString(c.Serial, 16)
		if !ok {
			return fmt.Errorf("%s has a serial that is no number: %q", indexFile, c.Serial)
		}
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: *c.RevokedAt})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		return fmt.Errorf("making the revocation list: %w", err)
	}
	return putPEM(filepath.Join(a.dir, CRLFile), "X509 CRL", der, 0o644)
}

// issue records a certificate before its files are there: one that is not recorded could not be revoked.
func (a *Authority) issue(i *index, r Request) (Certificate, error) {
	dns, ips, err := r.names()
	if err != nil {
		return Certificate{}, err
	}
	now := a.now()
	until := now.Add(cmp.Or(r.Validity, Year))
	switch {
	case r.Validity < 0:
		return Certificate{}, errors.New("a certificate must be valid for more than no time")
	case until.After(a.cert.NotAfter) && r.Validity != 0:
		return Certificate{}, fmt.Errorf("the CA itself ends on %s: ask for less with --days N", a.cert.NotAfter.Format(time.DateOnly))
	case !now.Before(a.cert.NotAfter):
		return Certificate{}, fmt.Errorf("the CA has ended on %s: make a new one in another folder (slipway pki init)", a.cert.NotAfter.Format(time.DateOnly))
	case until.After(a.cert.NotAfter):
		until = a.cert.NotAfter
	}
	serial, err := newSerial()
	if err != nil {
		return Certificate{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"Slipway"}, OrganizationalUnit: []string{r.Role}, CommonName: r.Name},
		NotBefore:    now.Add(-backdate).UTC().Truncate(time.Second), NotAfter: until.UTC().Truncate(time.Second),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		DNSNames:              dns, IPAddresses: ips,
	}
	if r.Role != Operator {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return Certificate{}, fmt.Errorf("making the certificate of %s %s: %w", r.Role, r.Name, err)
	}
	c := Certificate{Serial: serial.Text(16), Role: r.Role, Name: r.Name, DNS: dns, NotBefore: template.NotBefore, NotAfter: template.NotAfter}
	for _, ip := range ips {
		c.IPs = append(c.IPs, ip.String())
	}
	i.Certificates = append(i.Certificates, c)
	if err := a.writeIndex(*i); err != nil {
		return Certificate{}, err
	}
	certFile, keyFile := Files(a.dir, r.Role, r.Name)
	if err := putKey(keyFile, key); err != nil {
		return Certificate{}, err
	}
	return c, putPEM(certFile, "CERTIFICATE", der, 0o644)
}

// latest is the certificate that was issued last to a holder.
func (i index) latest(role, name string) (Certificate, bool) {
	for _, c := range slices.Backward(i.Certificates) {
		if c.Role == role && c.Name == name {
			return c, true
		}
	}
	return Certificate{}, false
}

// newSerial is 127 random bits, with the highest of them set so that all are written alike.
func newSerial() (*big.Int, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return nil, err
	}
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b), nil
}

func putKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return putPEM(path, "PRIVATE KEY", der, 0o600)
}

func putPEM(path, kind string, der []byte, mode fs.FileMode) error {
	return durable.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}

func parseCertificate(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("it is no certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

func parseKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("it is no key in PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("it is no key that signs")
	}
	return signer, nil
}
