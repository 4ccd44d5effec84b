// Package imagesignature says whether the bytes of an image are those that somebody signed, while they pass by. An image is
// signed by four properties, which are Glance's:
//
//	img_signature                    the signature of the bytes, in base64
//	img_signature_hash_method        SHA-224, SHA-256, SHA-384, SHA-512
//	img_signature_key_type           RSA-PSS, DSA, ECC_SECP384R1, ECC_SECP521R1
//	img_signature_certificate_uuid   the signer's certificate, in the installation's store of certificates
//
// A Verifier is an io.Writer that is shown every byte and keeps a hash alone:
//
//	v, err := imagesignature.New(ctx, properties, certificates) // nil: the image is not signed
//	n, err := io.Copy(io.MultiWriter(store, v), body)
//	...
//	err = v.Verify() // before the bytes are published; an Invalid fault is the refusal
//
// The names, the padding of RSA-PSS and the encodings are those of OpenStack's cursive (signature_utils.py,
// certificate_utils.py), which Glance and Nova verify with, so what is signed for them is signed for Slipway. Where
// Slipway is stricter, docs/decisions/0013-image-signatures.md says so. The package needs no database: a host can use it.
package imagesignature

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"hash"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// The properties of a signed image.
const (
	Signature       = "img_signature"
	HashMethod      = "img_signature_hash_method"
	KeyType         = "img_signature_key_type"
	CertificateUUID = "img_signature_certificate_uuid"
)

// Properties lists them: an image has all of them or none.
func Properties() []string { return []string{Signature, HashMethod, KeyType, CertificateUUID} }

// Certificates is an installation's store of signers' certificates.
type Certificates interface {
	// Certificate gives a certificate that the installation trusts at this moment: within its dates, and with a chain to
	// a trust root. One that is not there is a NotFound fault, one that is not trusted an Invalid fault.
	Certificate(ctx context.Context, uuid string) (*x509.Certificate, error)
}

var hashMethods = map[string]crypto.Hash{
	"SHA-224": crypto.SHA224,
	"SHA-256": crypto.SHA256,
	"SHA-384": crypto.SHA384,
	"SHA-512": crypto.SHA512,
}

// Verifier verifies one image's signature. It is for one goroutine.
type Verifier struct {
	certificate string
	signature   []byte
	digest      hash.Hash
	fits        fits
}

// New takes the properties of an image and makes its Verifier; nil for an image that is not signed. Properties or a
// certificate that cannot be used are an Invalid fault, and so is a signed image where there is no store of certificates
// (certs is nil): bytes that nobody verified must not pass for verified ones.
func New(ctx context.Context, properties map[string]string, certs Certificates) (*Verifier, error) {
	c, err := readClaim(properties)
	if err != nil || c == nil {
		return nil, err
	}
	if certs == nil {
		return nil, fault.New(fault.Invalid, "The image is signed, but this installation has no store of certificates to verify it with. "+
			"Ask its operator for one, or remove the properties %s.", strings.Join(Properties(), ", "))
	}
	cert, err := certs.Certificate(ctx, c.certificate)
	if fault.Is(err, fault.NotFound) {
		// What the request asks for is there; what it says of it is wrong.
		return nil, fault.Wrap(fault.Invalid, err, "There is no certificate %s, which %s names.", c.certificate, CertificateUUID)
	}
	if err != nil {
		return nil, err
	}
	fits, err := c.keyType(cert)
	if err != nil {
		return nil, fault.New(fault.Invalid, "Certificate %s cannot verify signatures of %s %s: %v.", c.certificate, KeyType, c.keyTypeName, err)
	}
	return &Verifier{certificate: c.certificate, signature: c.signature, digest: c.hash.New(), fits: fits.with(c.hash)}, nil
}

// Write takes the image's next bytes. It never fails.
func (v *Verifier) Write(p []byte) (int, error) { return v.digest.Write(p) }

// Verify says whether the signature is one of the bytes written so far; if not, an Invalid fault.
func (v *Verifier) Verify() error {
	if !v.fits(v.digest.Sum(nil), v.signature) {
		return fault.New(fault.Invalid, "Signature verification failed: %s is not a signature of these bytes by the key of certificate %s. "+
			"The bytes, or one of the properties %s, are not those of the signer.", Signature, v.certificate, strings.Join(Properties(), ", "))
	}
	return nil
}

// claim is what the four properties say.
type claim struct {
	signature   []byte
	hash        crypto.Hash
	keyTypeName string
	keyType     keyType
	certificate string // in lower case
}

// readClaim takes the claim out of an image's properties; nil where there is none. Glance uploads an image that has only some
// of the four without verifying it, and Nova refuses to boot it later. Slipway refuses it at once.
func readClaim(properties map[string]string) (*claim, error) {
	var missing []string
	for _, name := range Properties() {
		if _, ok := properties[name]; !ok {
			missing = append(missing, name)
		}
	}
	switch len(missing) {
	case 0:
	case len(Properties()):
		return nil, nil
	default:
		return nil, fault.New(fault.Invalid, "The image's signature cannot be verified: %s missing. Set all of %s, or none.",
			strings.Join(missing, ", "), strings.Join(Properties(), ", "))
	}

	c := &claim{keyTypeName: properties[KeyType]}
	var err error
	// Line breaks are skipped, as in what base64(1) prints.
	if c.signature, err = base64.StdEncoding.DecodeString(properties[Signature]); err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "%s is not base64.", Signature)
	}
	if len(c.signature) == 0 {
		return nil, fault.New(fault.Invalid, "%s is empty.", Signature)
	}
	var ok bool
	if c.hash, ok = hashMethods[properties[HashMethod]]; !ok {
		return nil, unknown(HashMethod, properties[HashMethod], hashMethods)
	}
	if c.keyType, ok = keyTypes[c.keyTypeName]; !ok {
		return nil, unknown(KeyType, c.keyTypeName, keyTypes)
	}
	if c.certificate, err = canonical(properties[CertificateUUID]); err != nil {
		return nil, err
	}
	return c, nil
}

func unknown[V any](property, value string, known map[string]V) error {
	return fault.New(fault.Invalid, "%s cannot be %.64q; it is one of %s.", property, value, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
}

// canonical is the id of a certificate in lower case. Nothing but 8-4-4-4-12 hexadecimal digits is one: it becomes the name
// of a file.
func canonical(id string) (string, error) {
	const length = 36 // the other spellings that Parse knows have other lengths
	parsed, err := uuid.Parse(id)
	if err != nil || len(id) != length {
		return "", fault.New(fault.Invalid, "%s has to be a UUID, and %.64q is none.", CertificateUUID, id)
	}
	return parsed.String(), nil
}
