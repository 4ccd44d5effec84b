package imagesignature

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Intermediates is the file of a Folder with certificates of authorities between the trust roots and the signers. Such
// certificates help to build a chain and are not trusted by themselves.
const Intermediates = "intermediates.pem"

// extensions of a certificate's file, in the order in which they are looked for. What is in the file decides whether it is
// PEM or DER: .crt is used for both.
var extensions = []string{".pem", ".crt", ".der"}

// maxFile bounds what is read of one file: a bundle of all the public authorities has a quarter of it.
const maxFile = 1 << 20

// Folder is a store of certificates in files that the operator keeps:
//
//	<uuid>.pem, <uuid>.crt or <uuid>.der   a signer's certificate, the uuid in lower case; in PEM the certificates of
//	                                       intermediate authorities may follow, as in a TLS server's file
//	intermediates.pem                      intermediate authorities for all signers; need not be there
//
// Symbolic links are followed. The trust roots are a PEM bundle, elsewhere or in the folder. Everything is read again at
// each use, so certificates come, go and are withdrawn without a restart; put files there by renaming, so that none is
// read half-written. A Folder may be used by several goroutines.
type Folder struct {
	dir, roots string
}

var _ Certificates = (*Folder)(nil)

// OpenFolder takes a folder of certificates and a PEM bundle of trust roots. It reads what all certificates need, so that
// a mistake in the configuration is seen at the start and not at the first signed image.
func OpenFolder(dir, trustRootFile string) (*Folder, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder of certificates: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("open the folder of certificates: %s is not a folder", dir)
	}
	f := &Folder{dir: dir, roots: trustRootFile}
	if _, _, err := f.authorities(); err != nil {
		return nil, err
	}
	return f, nil
}

// Certificate gives the certificate of the id once it has found a chain to a trust root.
func (f *Folder) Certificate(ctx context.Context, id string) (*x509.Certificate, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	id, err := canonical(id)
	if err != nil {
		return nil, err
	}
	file, err := f.read(id)
	if err != nil {
		return nil, err
	}
	roots, between, err := f.authorities()
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "This installation's trust roots cannot be read; tell its operator.")
	}
	for _, c := range file[1:] {
		between.AddCert(c)
	}
	if err := trusted(id, file[0], roots, between, time.Now()); err != nil {
		return nil, err
	}
	return file[0], nil
}

// read gives what is in the certificate's file: at least one certificate, the signer's first.
func (f *Folder) read(id string) ([]*x509.Certificate, error) {
	for _, ext := range extensions {
		certs, err := readCertificates(filepath.Join(f.dir, id+ext))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, fault.Wrap(fault.Internal, err, "Certificate %s of this installation cannot be read; tell its operator.", id)
		default:
			return certs, nil
		}
	}
	return nil, fault.New(fault.NotFound, "There is no certificate %s.", id)
}

func (f *Folder) authorities() (roots, between *x509.CertPool, err error) {
	roots, between = x509.NewCertPool(), x509.NewCertPool()
	certs, err := readCertificates(f.roots)
	if err != nil {
		return nil, nil, fmt.Errorf("read the trust roots: %w", err)
	}
	for _, c := range certs {
		roots.AddCert(c)
	}
	certs, err = readCertificates(filepath.Join(f.dir, Intermediates))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("read the intermediate authorities: %w", err)
	}
	for _, c := range certs {
		between.AddCert(c)
	}
	return roots, between, nil
}

// trusted says why a certificate is not to be trusted. Like cursive it asks of every authority on the way that it is
// within its dates, marked as one, allowed by its key usage to sign certificates, and that its path length suffices. What
// a signer's own key usage allows is not looked at: certificates for images have no usage of their own. A certificate that
// is itself a trust root needs no authority.
func trusted(id string, cert *x509.Certificate, roots, between *x509.CertPool, now time.Time) error {
	switch {
	case now.Before(cert.NotBefore):
		return fault.New(fault.Invalid, "Certificate %s is not yet valid: it begins at %s.", id, cert.NotBefore.UTC().Format(time.RFC3339))
	case now.After(cert.NotAfter):
		return fault.New(fault.Invalid, "Certificate %s has expired: it ended at %s.", id, cert.NotAfter.UTC().Format(time.RFC3339))
	}
	chains, err := cert.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	for _, chain := range chains {
		if err = authorized(chain[1:]); err == nil {
			return nil
		}
	}
	return fault.New(fault.Invalid, "This installation does not trust certificate %s; no chain of valid certificates leads from it to a trust root: %v.", id, err)
}

// authorized says which of the authorities may not sign certificates. Verify lets one pass that does not say so, where
// RFC 5280, 4.2.1.3, has it say so.
func authorized(authorities []*x509.Certificate) error {
	for _, a := range authorities {
		if !a.BasicConstraintsValid || !a.IsCA || a.KeyUsage&x509.KeyUsageCertSign == 0 {
			return fmt.Errorf("%s is not marked as an authority that signs certificates", a.Subject)
		}
	}
	return nil
}

// readCertificates reads a file with at least one certificate, in PEM or DER. Other PEM blocks are passed over.
func readCertificates(path string) ([]*x509.Certificate, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	certs, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", path, err)
	}
	return certs, nil
}

func parse(data []byte) ([]*x509.Certificate, error) {
	block, rest := pem.Decode(data)
	if block == nil {
		certs, err := x509.ParseCertificates(data)
		if err == nil && len(certs) == 0 {
			err = errors.New("it is empty")
		}
		return certs, err
	}
	var certs []*x509.Certificate
	for ; block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(certs)+1, err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("it holds no certificate")
	}
	return certs, nil
}
