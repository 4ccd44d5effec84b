package imagesignature

import (
	"crypto"
	"crypto/dsa" //nolint:staticcheck // the type of key that is tested
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// asAuthority is what makes a certificate one of an authority.
func asAuthority(c *x509.Certificate) {
	c.BasicConstraintsValid, c.IsCA, c.KeyUsage = true, true, x509.KeyUsageCertSign
}

// newRoot makes a self-signed authority.
func newRoot(t testing.TB, name string, change ...func(*x509.Certificate)) authority {
	return authority{}.authority(t, name, append([]func(*x509.Certificate){asAuthority}, change...)...)
}

// authority makes another that is signed by a, or by itself if a is nobody.
func (a authority) authority(t testing.TB, name string, change ...func(*x509.Certificate)) authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	if a.cert == nil {
		a.key = key
	}
	return authority{cert: a.issue(t, name, key.Public(), change...), key: key}
}

// issue signs a certificate for a key, valid for an hour before and after now.
func (a authority) issue(t testing.TB, name string, key any, change ...func(*x509.Certificate)) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	for _, c := range change {
		c(template)
	}
	parent := a.cert
	if parent == nil {
		parent = template
	}
	stated := key
	if _, ok := key.(*dsa.PublicKey); ok {
		stated = a.key.Public() // crypto/x509 reads DSA keys and does not write them
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, stated, a.key)
	require.NoError(t, err)
	if k, ok := key.(*dsa.PublicKey); ok {
		der = a.restate(t, der, k)
	}
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert
}

// restate puts a DSA key (RFC 3279, 2.3.2) in the place of the key that a certificate states, and signs it again.
func (a authority) restate(t testing.TB, der []byte, key *dsa.PublicKey) []byte {
	type algorithm struct {
		OID        asn1.ObjectIdentifier
		Parameters struct{ P, Q, G *big.Int }
	}
	y, err := asn1.Marshal(key.Y)
	require.NoError(t, err)
	stated := struct {
		Algorithm algorithm
		Key       asn1.BitString
	}{Key: asn1.BitString{Bytes: y, BitLength: 8 * len(y)}}
	stated.Algorithm.OID = asn1.ObjectIdentifier{1, 2, 840, 10040, 4, 1}
	stated.Algorithm.Parameters.P, stated.Algorithm.Parameters.Q, stated.Algorithm.Parameters.G = key.P, key.Q, key.G

	var whole struct {
		TBS       []asn1.RawValue
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	_, err = asn1.Unmarshal(der, &whole)
	require.NoError(t, err)
	const subjectPublicKeyInfo = 6 // after version, serial, algorithm, issuer, validity and subject
	spki, err := asn1.Marshal(stated)
	require.NoError(t, err)
	whole.TBS[subjectPublicKeyInfo] = asn1.RawValue{FullBytes: spki}
	tbs, err := asn1.Marshal(whole.TBS)
	require.NoError(t, err)
	digest := sha256.Sum256(tbs)
	signature, err := a.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	require.NoError(t, err)
	whole.Signature = asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	der, err = asn1.Marshal(whole)
	require.NoError(t, err)
	return der
}

// dsaParameters are `openssl dsaparam 2048`: finding them takes longer than all else here, and they are no secret.
const dsaParameters = "testdata/dsa2048.pem"

type signingKey struct {
	public any
	sign   func(t testing.TB, hash crypto.Hash, digest []byte) []byte
}

// keys are one of each type, made once.
var keys = sync.OnceValue(func() map[string]signingKey {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	made := map[string]signingKey{}

	r, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	made["RSA-PSS"] = signingKey{&r.PublicKey, func(t testing.TB, hash crypto.Hash, digest []byte) []byte {
		return signPSS(t, r, hash, digest, rsa.PSSSaltLengthAuto) // the longest that fits
	}}

	text, err := os.ReadFile(dsaParameters)
	must(err)
	block, _ := pem.Decode(text)
	d := &dsa.PrivateKey{}
	_, err = asn1.Unmarshal(block.Bytes, &d.Parameters)
	must(err)
	must(dsa.GenerateKey(d, rand.Reader))
	made["DSA"] = signingKey{&d.PublicKey, func(t testing.TB, _ crypto.Hash, digest []byte) []byte {
		var s struct{ R, S *big.Int }
		var err error
		s.R, s.S, err = dsa.Sign(rand.Reader, d, digest[:min(len(digest), d.Q.BitLen()/8)])
		require.NoError(t, err)
		der, err := asn1.Marshal(s)
		require.NoError(t, err)
		return der
	}}

	for name, curve := range map[string]elliptic.Curve{
		"ECC_SECP384R1": elliptic.P384(), "ECC_SECP521R1": elliptic.P521(),
	} {
		e, err := ecdsa.GenerateKey(curve, rand.Reader)
		must(err)
		made[name] = signingKey{&e.PublicKey, func(t testing.TB, _ crypto.Hash, digest []byte) []byte {
			der, err := ecdsa.SignASN1(rand.Reader, e, digest)
			require.NoError(t, err)
			return der
		}}
	}
	return made
})

// dsaKey is the DSA key of keys, to be copied and changed.
func dsaKey(t testing.TB) *dsa.PublicKey {
	key, ok := keys()["DSA"].public.(*dsa.PublicKey)
	require.True(t, ok)
	return key
}

func signPSS(t testing.TB, key *rsa.PrivateKey, hash crypto.Hash, digest []byte, salt int) []byte {
	signature, err := rsa.SignPSS(rand.Reader, key, hash, digest, &rsa.PSSOptions{SaltLength: salt})
	require.NoError(t, err)
	return signature
}

// installation is a Folder with one trust root.
type installation struct {
	*Folder
	root authority
}

func newInstallation(t testing.TB) installation {
	in := installation{root: newRoot(t, "Root")}
	dir := t.TempDir()
	roots := filepath.Join(t.TempDir(), "roots.pem")
	write(t, roots, in.root.cert)
	var err error
	in.Folder, err = OpenFolder(dir, roots)
	require.NoError(t, err)
	return in
}

// keep puts certificates into the folder, the signer's first, and gives their id.
func (in installation) keep(t testing.TB, certs ...*x509.Certificate) string {
	id := uuid.NewString()
	write(t, filepath.Join(in.dir, id+".pem"), certs...)
	return id
}

func write(t testing.TB, path string, certs ...*x509.Certificate) {
	var text []byte
	for _, c := range certs {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	require.NoError(t, os.WriteFile(path, text, 0o600))
}

// sign gives the properties of an image that a certificate's owner has signed.
func sign(t testing.TB, image []byte, keyType, method, certificate string) map[string]string {
	hash := hashMethods[method]
	digest := hash.New()
	digest.Write(image)
	return map[string]string{
		Signature:  base64.StdEncoding.EncodeToString(keys()[keyType].sign(t, hash, digest.Sum(nil))),
		HashMethod: method, KeyType: keyType, CertificateUUID: certificate,
	}
}
