package imagesignature

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

func TestCertificatesAreTrustedByTheirChainAlone(t *testing.T) {
	key := keys()["ECC_SECP384R1"].public
	past := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
	future := func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }
	notAuthority := func(c *x509.Certificate) {
		c.BasicConstraintsValid, c.IsCA, c.KeyUsage = true, false, x509.KeyUsageCertSign
	}
	withoutUsage := func(c *x509.Certificate) { c.KeyUsage = 0 }
	otherUsage := func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }
	noneBelow := func(c *x509.Certificate) { c.MaxPathLenZero = true }

	for _, c := range []struct {
		name string
		// chain gives what is in the certificate's file.
		chain func(t *testing.T, root authority) []*x509.Certificate
		says  string // "": trusted
	}{
		{"signed by the root", func(t *testing.T, root authority) []*x509.Certificate {
			return []*x509.Certificate{root.issue(t, "Signer", key)}
		}, ""},
		{"signed by an intermediate authority in the file", func(t *testing.T, root authority) []*x509.Certificate {
			between := root.authority(t, "Between", asAuthority)
			return []*x509.Certificate{between.issue(t, "Signer", key), between.cert}
		}, ""},
		{"a long chain in the wrong order, with the root", func(t *testing.T, root authority) []*x509.Certificate {
			a := root.authority(t, "A", asAuthority)
			b := a.authority(t, "B", asAuthority)
			return []*x509.Certificate{b.issue(t, "Signer", key), root.cert, a.cert, b.cert}
		}, ""},
		{"the root itself", func(_ *testing.T, root authority) []*x509.Certificate {
			return []*x509.Certificate{root.cert}
		}, ""},
		{"for something else", func(t *testing.T, root authority) []*x509.Certificate {
			return []*x509.Certificate{root.issue(t, "Signer", key, func(c *x509.Certificate) {
				c.ExtKeyUsage, c.DNSNames = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, []string{"builds.example.org"}
			})}
		}, ""},

		{"expired", func(t *testing.T, root authority) []*x509.Certificate {
			return []*x509.Certificate{root.issue(t, "Signer", key, past)}
		}, "has expired: it ended at"},
		{"not yet valid", func(t *testing.T, root authority) []*x509.Certificate {
			return []*x509.Certificate{root.issue(t, "Signer", key, future)}
		}, "is not yet valid: it begins at"},
		{"signed by itself", func(t *testing.T, _ authority) []*x509.Certificate {
			return []*x509.Certificate{newRoot(t, "Self").cert}
		}, "does not trust"},
		{"signed by another root of the same name", func(t *testing.T, _ authority) []*x509.Certificate {
			other := newRoot(t, "Root")
			return []*x509.Certificate{other.issue(t, "Signer", key), other.cert}
		}, "does not trust"},
		{"without its intermediate authority", func(t *testing.T, root authority) []*x509.Certificate {
			return []*x509.Certificate{root.authority(t, "Between", asAuthority).issue(t, "Signer", key)}
		}, "does not trust"},
		{"signed by what is no authority", func(t *testing.T, root authority) []*x509.Certificate {
			between := root.authority(t, "Between", notAuthority)
			return []*x509.Certificate{between.issue(t, "Signer", key), between.cert}
		}, "does not trust"},
		{"signed by what does not say whether it is an authority", func(t *testing.T, root authority) []*x509.Certificate {
			between := root.authority(t, "Between")
			return []*x509.Certificate{between.issue(t, "Signer", key), between.cert}
		}, "does not trust"},
		{"signed by an authority that may not sign certificates", func(t *testing.T, root authority) []*x509.Certificate {
			between := root.authority(t, "Between", asAuthority, otherUsage)
			return []*x509.Certificate{between.issue(t, "Signer", key), between.cert}
		}, "does not trust"},
		{"signed by an authority without a key usage", func(t *testing.T, root authority) []*x509.Certificate {
			between := root.authority(t, "Between", asAuthority, withoutUsage)
			return []*x509.Certificate{between.issue(t, "Signer", key), between.cert}
		}, "CN=Between is not marked as an authority that signs certificates"},
		{"signed by an authority that has expired", func(t *testing.T, root authority) []*x509.Certificate {
			between := root.authority(t, "Between", asAuthority, past)
			return []*x509.Certificate{between.issue(t, "Signer", key), between.cert}
		}, "does not trust"},
		{"signed by an authority that begins later", func(t *testing.T, root authority) []*x509.Certificate {
			between := root.authority(t, "Between", asAuthority, future)
			return []*x509.Certificate{between.issue(t, "Signer", key), between.cert}
		}, "does not trust"},
		{"a chain longer than an authority allows", func(t *testing.T, root authority) []*x509.Certificate {
			a := root.authority(t, "A", asAuthority, noneBelow)
			b := a.authority(t, "B", asAuthority)
			return []*x509.Certificate{b.issue(t, "Signer", key), b.cert, a.cert}
		}, "does not trust"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := newInstallation(t)
			chain := c.chain(t, in.root)
			cert, err := in.Certificate(t.Context(), in.keep(t, chain...))
			if c.says == "" {
				require.NoError(t, err)
				require.Equal(t, chain[0].Raw, cert.Raw)
				return
			}
			require.Nil(t, cert)
			require.True(t, fault.Is(err, fault.Invalid), "%v", err)
			require.Contains(t, fault.Public(err), c.says)
		})
	}
}

func TestARootThatHasExpiredIsTrustedNoMore(t *testing.T) {
	old := newRoot(t, "Old", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	in := newInstallation(t)
	write(t, in.roots, in.root.cert, old.cert)
	_, err := in.Certificate(t.Context(), in.keep(t, old.issue(t, "Signer", keys()["DSA"].public)))
	require.True(t, fault.Is(err, fault.Invalid), "%v", err)
}

func TestACertificateMayLieInAFileOfEveryKnownForm(t *testing.T) {
	in := newInstallation(t)
	cert := in.root.issue(t, "Signer", keys()["RSA-PSS"].public)
	pemFile := filepath.Join(t.TempDir(), "elsewhere")
	write(t, pemFile, cert)
	text, err := os.ReadFile(pemFile)
	require.NoError(t, err)
	about := append([]byte("subject=CN = Signer\n-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"), text...)

	put := func(name string, content []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(in.dir, name), content, 0o600))
	}
	for name, lay := range map[string]func(id string){
		"PEM in .pem":               func(id string) { put(id+".pem", text) },
		"PEM in .crt":               func(id string) { put(id+".crt", text) },
		"DER in .crt":               func(id string) { put(id+".crt", cert.Raw) },
		"DER in .der":               func(id string) { put(id+".der", cert.Raw) },
		"PEM with other things":     func(id string) { put(id+".pem", about) },
		".pem comes before .der":    func(id string) { put(id+".pem", text); put(id+".der", []byte("nonsense")) },
		"a symbolic link elsewhere": func(id string) { require.NoError(t, os.Symlink(pemFile, filepath.Join(in.dir, id+".pem"))) },
	} {
		t.Run(name, func(t *testing.T) {
			id := uuid.NewString()
			_, err := in.Certificate(t.Context(), id)
			require.True(t, fault.Is(err, fault.NotFound), "%v", err)
			lay(id)
			found, err := in.Certificate(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, cert.Raw, found.Raw)
		})
	}
}

func TestCertificatesAndAuthoritiesComeAndGoWithoutARestart(t *testing.T) {
	in := newInstallation(t)
	between := in.root.authority(t, "Between", asAuthority)
	id := in.keep(t, between.issue(t, "Signer", keys()["DSA"].public))
	kind := func() fault.Kind {
		_, err := in.Certificate(t.Context(), id)
		if err == nil {
			return ""
		}
		return fault.KindOf(err)
	}
	require.Equal(t, fault.Invalid, kind(), "its authority is not known")
	write(t, filepath.Join(in.dir, Intermediates), newRoot(t, "Another").cert, between.cert)
	require.Empty(t, kind(), "its authority is")

	write(t, in.roots, newRoot(t, "Next").cert)
	require.Equal(t, fault.Invalid, kind(), "its root is given up")
	write(t, in.roots, newRoot(t, "Next").cert, in.root.cert)
	require.Empty(t, kind(), "its root is back")

	require.NoError(t, os.Remove(filepath.Join(in.dir, id+".pem")))
	require.Equal(t, fault.NotFound, kind(), "it is withdrawn")
}

// Intermediates help to build a chain; none begins with them.
func TestAnAuthorityInTheFolderIsNoTrustRoot(t *testing.T) {
	in := newInstallation(t)
	other := newRoot(t, "Other")
	write(t, filepath.Join(in.dir, Intermediates), other.cert)
	_, err := in.Certificate(t.Context(), in.keep(t, other.issue(t, "Signer", keys()["DSA"].public)))
	require.True(t, fault.Is(err, fault.Invalid), "%v", err)
}

func TestOnlyAUUIDBecomesTheNameOfAFile(t *testing.T) {
	in := newInstallation(t)
	id := uuid.NewString()
	write(t, filepath.Join(filepath.Dir(in.dir), id+".pem"), in.root.issue(t, "Signer", keys()["DSA"].public))
	write(t, filepath.Join(in.dir, "intermediates.pem"), in.root.cert)
	for _, name := range []string{"../" + id, "..\\" + id, filepath.Join(filepath.Dir(in.dir), id), "intermediates", "", ".", "./" + id} {
		_, err := in.Certificate(t.Context(), name)
		require.True(t, fault.Is(err, fault.Invalid), "%q: %v", name, err)
	}
}

func TestAFileThatIsNoCertificateIsTheOperatorsFault(t *testing.T) {
	in := newInstallation(t)
	whole := in.root.issue(t, "Signer", keys()["DSA"].public).Raw
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: whole}))
	for name, content := range map[string]string{
		"empty":              "",
		"text":               "a certificate, honestly",
		"half a certificate": string(whole[:len(whole)/2]),
		"a broken block":     "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		"no certificate":     "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
		"too large":          text + strings.Repeat("\n", maxFile),
	} {
		t.Run(name, func(t *testing.T) {
			id := uuid.NewString()
			require.NoError(t, os.WriteFile(filepath.Join(in.dir, id+".pem"), []byte(content), 0o600))
			_, err := New(t.Context(), sign(t, image, "DSA", "SHA-256", id), in)
			require.True(t, fault.Is(err, fault.Internal), "%v", err)
			require.Contains(t, fault.Public(err), "Certificate "+id+" of this installation cannot be read")
			require.NotContains(t, fault.Public(err), in.dir, "where files lie is not the user's business")
			require.ErrorContains(t, err, in.dir)
		})
	}
	id := in.keep(t, in.root.issue(t, "Signer", keys()["DSA"].public))
	require.NoError(t, os.Remove(in.roots))
	_, err := in.Certificate(t.Context(), id)
	require.True(t, fault.Is(err, fault.Internal), "%v", err)
}

func TestAFolderThatCannotVerifyDoesNotOpen(t *testing.T) {
	in := newInstallation(t)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	broken := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(broken, Intermediates), []byte("nonsense"), 0o600))
	for _, c := range []struct{ name, dir, roots, says string }{
		{"no folder", filepath.Join(in.dir, "absent"), in.roots, "open the folder of certificates"},
		{"a file for a folder", in.roots, in.roots, "is not a folder"},
		{"no trust roots", in.dir, filepath.Join(in.dir, "absent"), "read the trust roots"},
		{"trust roots without a name", in.dir, "", "read the trust roots"},
		{"empty trust roots", in.dir, empty, "read the trust roots"},
		{"broken intermediate authorities", broken, in.roots, "read the intermediate authorities"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := OpenFolder(c.dir, c.roots)
			require.Nil(t, f)
			require.ErrorContains(t, err, c.says)
		})
	}
}

func TestACancelledRequestReadsNoCertificate(t *testing.T) {
	in := newInstallation(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := New(ctx, sign(t, image, "DSA", "SHA-256", in.keep(t, in.root.cert)), in)
	require.ErrorIs(t, err, context.Canceled)
}
