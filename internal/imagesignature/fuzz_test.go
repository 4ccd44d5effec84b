package imagesignature

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Whatever the properties say, they are refused with an Invalid fault or make a Verifier, and only what the signer signed
// is verified.
func FuzzProperties(f *testing.F) {
	in := newInstallation(f)
	signed := map[[2]string]bool{}
	for name, key := range keys() {
		id := in.keep(f, in.root.issue(f, "Signer", key.public))
		p := sign(f, image, name, "SHA-256", id)
		f.Add(p[Signature], p[HashMethod], p[KeyType], p[CertificateUUID])
		signed[[2]string{name, id}] = true
	}
	f.Add("", "", "", "")
	f.Add("MAYCAQECAQE=", "SHA-512", "DSA", "../../../etc/passwd")
	f.Fuzz(func(t *testing.T, signature, method, keyType, certificate string) {
		v, err := New(t.Context(), map[string]string{
			Signature: signature, HashMethod: method, KeyType: keyType, CertificateUUID: certificate,
		}, in)
		if err != nil {
			require.True(t, fault.Is(err, fault.Invalid), "%v", err)
			require.Nil(t, v)
			return
		}
		require.True(t, signed[[2]string{keyType, v.certificate}], "%s is not a certificate for %s", certificate, keyType)
		require.Error(t, v.Verify(), "no byte was signed")
		_, _ = v.Write(image)
		_ = v.Verify() // the seeds fit, and of ECDSA's and DSA's so does a second form (r, q-s)
	})
}
