package imagesignature

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// authorityConfig is openssl's, without the extensions that a distribution's own configuration adds.
const authorityConfig = `[req]
distinguished_name = dn
x509_extensions = authority
prompt = no
[dn]
CN = Root of openssl
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[between]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign
[signer]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
`

// Glance's documentation has users sign with openssl; it also vouches that both sides here are not wrong in the same way.
func TestWhatOpensslSignedIsVerified(t *testing.T) {
	work, dir := t.TempDir(), t.TempDir()
	openssl := func(args ...string) {
		cmd := exec.CommandContext(t.Context(), "openssl", args...)
		cmd.Dir = work
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "openssl %s: %s", strings.Join(args, " "), out)
	}
	parameters, err := filepath.Abs(dsaParameters)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(work, "config"), []byte(authorityConfig), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(work, "image"), image, 0o600))
	issue := func(name, extensions, by string) {
		openssl("req", "-new", "-config", "config", "-key", name+".key", "-subj", "/CN="+name, "-out", name+".csr")
		openssl("x509", "-req", "-in", name+".csr", "-CA", by+".pem", "-CAkey", by+".key", "-CAcreateserial", "-days", "1",
			"-extfile", "config", "-extensions", extensions, "-out", name+".pem")
	}
	openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "root.key")
	openssl("req", "-x509", "-new", "-config", "config", "-key", "root.key", "-days", "1", "-out", "root.pem")
	openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", "between.key")
	issue("between", "between", "root")
	between, err := os.ReadFile(filepath.Join(work, "between.pem"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, Intermediates), between, 0o600))
	folder, err := OpenFolder(dir, filepath.Join(work, "root.pem"))
	require.NoError(t, err)

	pss := func(salt string) []string {
		return []string{"-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:" + salt}
	}
	for i, c := range []struct {
		name, keyType string
		generate      []string
		options       []string
		refused       bool
	}{
		{"RSA of 2048 bits", "RSA-PSS", []string{"genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"}, pss("max"), false},
		{"RSA of 3072 bits", "RSA-PSS", []string{"genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"}, pss("-2"), false},
		{"RSA of 2049 bits", "RSA-PSS", []string{"genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2049"}, pss("max"), false},
		{"RSA with a salt as long as the hash", "RSA-PSS", []string{"genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"}, pss("digest"), true},
		{"RSA with PKCS #1 v1.5", "RSA-PSS", []string{"genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"}, nil, true},
		{"P-384", "ECC_SECP384R1", []string{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"}, nil, false},
		{"P-521", "ECC_SECP521R1", []string{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"}, nil, false},
		{"DSA", "DSA", []string{"genpkey", "-paramfile", parameters}, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := fmt.Sprint("signer", i)
			openssl(append(c.generate, "-out", name+".key")...)
			issue(name, "signer", "between")
			id := uuid.NewString()
			require.NoError(t, os.Symlink(filepath.Join(work, name+".pem"), filepath.Join(dir, id+".pem")))
			for method := range hashMethods {
				t.Run(method, func(t *testing.T) {
					digest := "-" + strings.ToLower(strings.ReplaceAll(method, "-", ""))
					openssl(append(append([]string{"dgst", digest, "-sign", name + ".key"}, c.options...), "-out", "signature", "image")...)
					signature, err := os.ReadFile(filepath.Join(work, "signature"))
					require.NoError(t, err)
					properties := map[string]string{
						Signature:  base64.StdEncoding.EncodeToString(signature),
						HashMethod: method, KeyType: c.keyType, CertificateUUID: id,
					}
					err = verified(t, properties, folder, image)
					if c.refused {
						require.True(t, fault.Is(err, fault.Invalid), "%v", err)
						return
					}
					require.NoError(t, err)
					require.Error(t, verified(t, properties, folder, append([]byte{0}, image...)))
				})
			}
		})
	}
	t.Run("a key that is marked as RSASSA-PSS is not known", func(t *testing.T) {
		openssl("genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "marked.key")
		issue("marked", "signer", "between")
		id := uuid.NewString()
		require.NoError(t, os.Symlink(filepath.Join(work, "marked.pem"), filepath.Join(dir, id+".pem")))
		_, err := New(t.Context(), sign(t, image, "RSA-PSS", "SHA-256", id), folder)
		require.True(t, fault.Is(err, fault.Invalid), "%v", err)
		require.Contains(t, fault.Public(err), "its key is of a type that is not known here")
	})
}
