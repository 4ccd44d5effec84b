package cli

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

const certificate = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d"

func keyFile(t *testing.T, key any) string {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return pemFile(t, "PRIVATE KEY", der)
}

func pemFile(t *testing.T, kind string, der []byte) string {
	name := filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return name
}

func TestAnImageIsSignedAsGlanceVerifiesIt(t *testing.T) {
	file, content := imageFile(t)
	digest := sha256.Sum256(content)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	sec1, err := x509.MarshalECPrivateKey(ecKey)
	require.NoError(t, err)
	for _, tc := range []struct {
		name, key, kind string
		fits            func(signature []byte) bool
	}{
		{"RSA", keyFile(t, rsaKey), "RSA-PSS", func(signature []byte) bool {
			// The longest salt that a key of 2048 bits has room for.
			return rsa.VerifyPSS(&rsaKey.PublicKey, crypto.SHA256, digest[:], signature, &rsa.PSSOptions{SaltLength: 256 - 32 - 2}) == nil
		}},
		{"RSA in PKCS #1", pemFile(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), "RSA-PSS", func(signature []byte) bool {
			return rsa.VerifyPSS(&rsaKey.PublicKey, crypto.SHA256, digest[:], signature, &rsa.PSSOptions{SaltLength: 256 - 32 - 2}) == nil
		}},
		{"ECDSA", pemFile(t, "EC PRIVATE KEY", sec1), "ECC_SECP384R1", func(signature []byte) bool {
			return ecdsa.VerifyASN1(&ecKey.PublicKey, digest[:], signature)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := newAPI(t)
			a.json("POST /image/v2/images", 201, queuedImage)
			a.json("PUT /image/v2/images/im-1/file", 204, "")
			a.json("GET /image/v2/images/im-1", 200, stored(content, len(content)))
			got := run(t, "image", "create", "debian", "--file", file, "--sign-key-path", tc.key, "--sign-cert-id", certificate)
			require.Equal(t, 0, got.code, got.err)
			sent := asJSON(t, a.made("POST /image/v2/images")[0].body)
			require.Equal(t, tc.kind, sent["img_signature_key_type"])
			require.Equal(t, "SHA-256", sent["img_signature_hash_method"])
			require.Equal(t, certificate, sent["img_signature_certificate_uuid"])
			signature, err := base64.StdEncoding.DecodeString(sent["img_signature"].(string))
			require.NoError(t, err)
			require.True(t, tc.fits(signature))
			require.Equal(t, string(content), a.made("PUT /image/v2/images/im-1/file")[0].body, "all of it, although it was read before")
		})
	}
}

func TestWhatCannotSignIsRefusedBeforeAnythingIsSent(t *testing.T) {
	newAPI(t) // a call of the image API would fail the test
	file, _ := imageFile(t)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	smallCurve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	for want, args := range map[string][]string{
		"neither an RSA key nor": {"--file", file, "--sign-key-path", keyFile(t, edKey), "--sign-cert-id", certificate},
		"curves P-384 and P-521": {"--file", file, "--sign-key-path", keyFile(t, smallCurve), "--sign-cert-id", certificate},
		"no UUID":                {"--file", file, "--sign-key-path", keyFile(t, edKey), "--sign-cert-id", "mine"},
		"no private key":         {"--file", file, "--sign-key-path", file, "--sign-cert-id", certificate},
		"is encrypted":           {"--file", file, "--sign-key-path", pemFile(t, "ENCRYPTED PRIVATE KEY", nil), "--sign-cert-id", certificate},
		"has to be a file":       {"--file", "-", "--sign-key-path", keyFile(t, edKey), "--sign-cert-id", certificate},
		"are set they must all":  {"--file", file, "--sign-cert-id", certificate},
	} {
		got := run(t, append([]string{"image", "create", "debian"}, args...)...)
		require.Equal(t, show.ExitUsage, got.code, got.err)
		require.Contains(t, got.err, want)
	}
}
