package imagesignature

import (
	"bytes"
	"crypto"
	"crypto/dsa" //nolint:staticcheck // deprecated for new systems; images that were signed with it have to be verified all the same
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256" // SHA-224 and SHA-256
	_ "crypto/sha512" // SHA-384 and SHA-512
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"
)

// Keys of fewer bits can be broken, so a signature by them says nothing: NIST SP 800-131A disallows them. Cursive has no
// such limit.
const (
	minModulusBits  = 2048 // of RSA, and of DSA's p
	minSubgroupBits = 224  // DSA's q
)

// keyType takes a certificate whose key is of the type and long enough; the error ends a sentence about the certificate.
type keyType func(cert *x509.Certificate) (hashedFits, error)

// hashedFits says whether a signature is one of what has the digest, by the key.
type hashedFits func(hash crypto.Hash, digest, signature []byte) bool

type fits func(digest, signature []byte) bool

func (f hashedFits) with(hash crypto.Hash) fits {
	return func(digest, signature []byte) bool { return f(hash, digest, signature) }
}

// keyTypes are cursive's, without the binary curves (ECC_SECT409K1, ECC_SECT409R1, ECC_SECT571K1, ECC_SECT571R1), which
// Go does not have and cursive's own library has given up.
var keyTypes = map[string]keyType{
	"RSA-PSS":       rsaPSS,
	"DSA":           dsaDER,
	"ECC_SECP384R1": ecdsaDER(elliptic.P384()),
	"ECC_SECP521R1": ecdsaDER(elliptic.P521()),
}

// rsaPSS: MGF1 with the same hash, and the longest salt that fits, which is the one length that cursive takes too.
func rsaPSS(cert *x509.Certificate) (hashedFits, error) {
	key, ok := cert.PublicKey.(*rsa.PublicKey)
	if !ok {
		return nil, otherKey(cert)
	}
	if bits := key.N.BitLen(); bits < minModulusBits {
		return nil, tooShort(bits, minModulusBits)
	}
	return func(hash crypto.Hash, digest, signature []byte) bool {
		encoded := (key.N.BitLen() - 1 + 7) / 8 // emLen of RFC 8017, 9.1.1
		opts := &rsa.PSSOptions{SaltLength: encoded - hash.Size() - 2}
		return rsa.VerifyPSS(key, hash, digest, signature, opts) == nil
	}, nil
}

// ecdsaDER: the signature is the DER of r and s. Cursive takes a key of any curve for each of the names.
func ecdsaDER(curve elliptic.Curve) keyType {
	return func(cert *x509.Certificate) (hashedFits, error) {
		key, ok := cert.PublicKey.(*ecdsa.PublicKey)
		if !ok {
			return nil, otherKey(cert)
		}
		if key.Curve != curve {
			return nil, fmt.Errorf("its key is on the curve %s", key.Curve.Params().Name)
		}
		return func(_ crypto.Hash, digest, signature []byte) bool { return ecdsa.VerifyASN1(key, digest, signature) }, nil
	}
}

// dsaDER: the signature is the DER of r and s.
func dsaDER(cert *x509.Certificate) (hashedFits, error) {
	key, ok := cert.PublicKey.(*dsa.PublicKey)
	if !ok {
		return nil, otherKey(cert)
	}
	if bits := key.P.BitLen(); bits < minModulusBits {
		return nil, tooShort(bits, minModulusBits)
	}
	if bits := key.Q.BitLen(); bits < minSubgroupBits {
		return nil, fmt.Errorf("its key's q has %d bits, and fewer than %d are not safe", bits, minSubgroupBits)
	}
	return func(_ crypto.Hash, digest, signature []byte) bool {
		var s struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(signature, &s); err != nil {
			return false
		}
		// Unmarshal lets more pass than DER's one encoding: OpenSSL compares in the same way.
		if again, err := asn1.Marshal(s); err != nil || !bytes.Equal(again, signature) {
			return false
		}
		// FIPS 186-4, 4.7: the leftmost bits of the digest, as many as q has. Verify leaves that to its caller.
		return dsa.Verify(key, digest[:min(len(digest), key.Q.BitLen()/8)], s.R, s.S)
	}, nil
}

func tooShort(bits, limit int) error {
	return fmt.Errorf("its key has %d bits, and fewer than %d are not safe", bits, limit)
}

func otherKey(cert *x509.Certificate) error {
	if cert.PublicKeyAlgorithm == x509.UnknownPublicKeyAlgorithm {
		return fmt.Errorf("its key is of a type that is not known here")
	}
	return fmt.Errorf("its key is of the type %s", cert.PublicKeyAlgorithm)
}
