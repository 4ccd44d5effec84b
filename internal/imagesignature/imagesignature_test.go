package imagesignature

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"math/big"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

var image = bytes.Repeat([]byte("the bytes of an image\n"), 5000)

// verified shows the image to the Verifier of the properties, in pieces of several sizes.
func verified(t *testing.T, properties map[string]string, certs Certificates, image []byte) error {
	v, err := New(t.Context(), properties, certs)
	require.NoError(t, err)
	require.NotNil(t, v, "the image is signed")
	n, err := io.CopyBuffer(v, iotest.HalfReader(bytes.NewReader(image)), make([]byte, 4099))
	require.NoError(t, err)
	require.EqualValues(t, len(image), n)
	return v.Verify()
}

func TestSignaturesOfEveryKeyTypeAndHashFitTheirBytesAlone(t *testing.T) {
	in := newInstallation(t)
	for name, key := range keys() {
		id := in.keep(t, in.root.issue(t, "Signer", key.public))
		for method, hash := range hashMethods {
			t.Run(name+" "+method, func(t *testing.T) {
				properties := sign(t, image, name, method, id)
				require.NoError(t, verified(t, properties, in, image))

				refused := func(what string, properties map[string]string, image []byte) {
					err := verified(t, properties, in, image)
					require.True(t, fault.Is(err, fault.Invalid), "%s: %v", what, err)
					require.Contains(t, fault.Public(err), "Signature verification failed")
				}
				flipped := bytes.Clone(image)
				flipped[len(flipped)/2] ^= 1
				refused("a flipped bit in the image", properties, flipped)
				refused("a byte less", properties, image[:len(image)-1])
				refused("a byte more", properties, append(bytes.Clone(image), 0))
				refused("no byte", properties, nil)

				signature, err := base64.StdEncoding.DecodeString(properties[Signature])
				require.NoError(t, err)
				with := func(signature []byte) map[string]string {
					other := maps.Clone(properties)
					other[Signature] = base64.StdEncoding.EncodeToString(signature)
					return other
				}
				for _, at := range []int{0, len(signature) / 2, len(signature) - 1} {
					flipped := bytes.Clone(signature)
					flipped[at] ^= 1
					refused(fmt.Sprintf("a flipped bit in byte %d of the signature", at), with(flipped), image)
				}
				refused("half a signature", with(signature[:len(signature)/2]), image)
				refused("a signature without its last byte", with(signature[:len(signature)-1]), image)
				refused("a byte after the signature", with(append(bytes.Clone(signature), 0)), image)
				refused("zeros", with(make([]byte, len(signature))), image)

				for other := range hashMethods {
					if other != method {
						properties := maps.Clone(properties)
						properties[HashMethod] = other
						refused("said to be of "+other, properties, image)
					}
				}
				digest := hash.New()
				digest.Write(image)
				refused("the digest's digest", properties, digest.Sum(nil))
			})
		}
	}
}

func TestASignatureByAnotherKeyThanTheCertificatesIsRefused(t *testing.T) {
	in := newInstallation(t)
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	others := in.keep(t, in.root.issue(t, "Somebody else", key.Public()))
	err = verified(t, sign(t, image, "ECC_SECP384R1", "SHA-256", others), in, image)
	require.True(t, fault.Is(err, fault.Invalid), "%v", err)
	require.Contains(t, fault.Public(err), others)
}

// cursive asks for MAX_LENGTH, which is one length and not a limit.
func TestOnlyTheLongestSaltIsAccepted(t *testing.T) {
	in := newInstallation(t)
	for _, bits := range []int{2048, 2049, 3072} { // 2049: emLen is one byte less than the key
		key, err := rsa.GenerateKey(rand.Reader, bits)
		require.NoError(t, err)
		id := in.keep(t, in.root.issue(t, "Signer", key.Public()))
		hash := crypto.SHA256.New()
		hash.Write(image)
		digest := hash.Sum(nil)
		longest := (bits-1+7)/8 - crypto.SHA256.Size() - 2
		for salt, fits := range map[int]bool{longest: true, longest - 1: false, crypto.SHA256.Size(): false, 1: false} {
			properties := map[string]string{
				Signature:  base64.StdEncoding.EncodeToString(signPSS(t, key, crypto.SHA256, digest, salt)),
				HashMethod: "SHA-256", KeyType: "RSA-PSS", CertificateUUID: id,
			}
			err := verified(t, properties, in, image)
			require.Equal(t, fits, err == nil, "%d bits of key, %d bytes of salt: %v", bits, salt, err)
		}
		old, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest)
		require.NoError(t, err)
		require.Error(t, verified(t, map[string]string{
			Signature: base64.StdEncoding.EncodeToString(old), HashMethod: "SHA-256", KeyType: "RSA-PSS", CertificateUUID: id,
		}, in, image), "PKCS #1 v1.5 is another scheme")
	}
}

// Whoever can write one signature in several ways could make another image's properties of it.
func TestADSASignatureHasOneEncoding(t *testing.T) {
	in := newInstallation(t)
	id := in.keep(t, in.root.issue(t, "Signer", keys()["DSA"].public))
	properties := sign(t, image, "DSA", "SHA-256", id)
	der, err := base64.StdEncoding.DecodeString(properties[Signature])
	require.NoError(t, err)
	var s struct{ R, S *big.Int }
	_, err = asn1.Unmarshal(der, &s)
	require.NoError(t, err)
	longer, err := asn1.Marshal(struct{ R, S, More *big.Int }{s.R, s.S, big.NewInt(1)})
	require.NoError(t, err)
	properties[Signature] = base64.StdEncoding.EncodeToString(longer)
	err = verified(t, properties, in, image)
	require.True(t, fault.Is(err, fault.Invalid), "%v", err)
}

func TestBase64MayHaveLineBreaks(t *testing.T) {
	in := newInstallation(t)
	properties := sign(t, image, "RSA-PSS", "SHA-256", in.keep(t, in.root.issue(t, "Signer", keys()["RSA-PSS"].public)))
	text := properties[Signature]
	properties[Signature] = text[:76] + "\n" + text[76:152] + "\r\n" + text[152:] + "\n"
	require.NoError(t, verified(t, properties, in, image))
}

func TestACertificateIsFoundByItsIdInCapitals(t *testing.T) {
	in := newInstallation(t)
	id := in.keep(t, in.root.issue(t, "Signer", keys()["DSA"].public))
	require.NoError(t, verified(t, sign(t, image, "DSA", "SHA-512", strings.ToUpper(id)), in, image))
}

func TestAnImageWithoutTheFourPropertiesIsNotSigned(t *testing.T) {
	for _, properties := range []map[string]string{nil, {}, {"hw_disk_bus": "scsi", "img_config_drive": "mandatory"}} {
		v, err := New(t.Context(), properties, nil)
		require.NoError(t, err)
		require.Nil(t, v)
	}
}

func TestAnImageWithSomeOfTheFourPropertiesIsRefusedWithTheNamesOfTheOthers(t *testing.T) {
	in := newInstallation(t)
	whole := sign(t, image, "DSA", "SHA-256", in.keep(t, in.root.issue(t, "Signer", keys()["DSA"].public)))
	names := Properties()
	for set := 1; set < 1<<len(names)-1; set++ {
		some, missing := map[string]string{"os_type": "linux"}, []string{}
		for i, name := range names {
			if set&(1<<i) != 0 {
				some[name] = whole[name]
			} else {
				missing = append(missing, name)
			}
		}
		for _, certs := range []Certificates{in, nil} {
			v, err := New(t.Context(), some, certs)
			require.Nil(t, v)
			require.True(t, fault.Is(err, fault.Invalid), "%v", err)
			require.Contains(t, fault.Public(err), strings.Join(missing, ", ")+" missing")
		}
	}
}

func TestASignedImageIsRefusedWhereThereIsNoStoreOfCertificates(t *testing.T) {
	v, err := New(t.Context(), sign(t, image, "DSA", "SHA-256", uuid.NewString()), nil)
	require.Nil(t, v)
	require.True(t, fault.Is(err, fault.Invalid), "%v", err)
	require.Contains(t, fault.Public(err), "this installation has no store of certificates")
}

func TestPropertiesThatCannotBeUsedAreRefused(t *testing.T) {
	in := newInstallation(t)
	id := in.keep(t, in.root.issue(t, "Signer", keys()["DSA"].public))
	good := sign(t, image, "DSA", "SHA-256", id)
	_, err := New(t.Context(), good, in)
	require.NoError(t, err)
	absent := uuid.NewString()
	long := strings.Repeat("x", 1<<20)

	for _, c := range []struct{ name, property, value, says string }{
		{"signature that is not base64", Signature, "not base64!", "img_signature is not base64"},
		{"signature in half a quantum of base64", Signature, "QUJ", "img_signature is not base64"},
		{"signature with base64's URL alphabet", Signature, "-_-_", "img_signature is not base64"},
		{"no signature", Signature, "", "img_signature is empty"},
		{"signature of line breaks", Signature, "\n\n", "img_signature is empty"},
		{"hash that is too weak", HashMethod, "SHA-1", `img_signature_hash_method cannot be "SHA-1"; it is one of SHA-224, SHA-256, SHA-384, SHA-512`},
		{"hash in another spelling", HashMethod, "sha256", "it is one of SHA-224"},
		{"no hash", HashMethod, "", `img_signature_hash_method cannot be ""`},
		{"unknown key type", KeyType, "RSA", `img_signature_key_type cannot be "RSA"; it is one of DSA, ECC_SECP384R1, ECC_SECP521R1, RSA-PSS`},
		{"binary curve", KeyType, "ECC_SECT571K1", `"ECC_SECT571K1"; it is one of`},
		{"curve that cursive does not have", KeyType, "ECC_SECP256R1", `"ECC_SECP256R1"; it is one of`},
		{"endless key type", KeyType, long, `"` + long[:64] + `"; it is one of`},
		{"certificate that is not there", CertificateUUID, absent, "There is no certificate " + absent},
		{"certificate by path", CertificateUUID, "../" + id, "img_signature_certificate_uuid has to be a UUID"},
		{"certificate by a path of the right length", CertificateUUID, "../../../../../../../../../../../../", "has to be a UUID"},
		{"certificate by absolute path", CertificateUUID, "/etc/ssl/certs/ca-certificates.crt", "has to be a UUID"},
		{"certificate with NUL", CertificateUUID, id[:35] + "\x00", "has to be a UUID"},
		{"certificate with a file's extension", CertificateUUID, id + ".pem", "has to be a UUID"},
		{"certificate without dashes", CertificateUUID, strings.ReplaceAll(id, "-", ""), "has to be a UUID"},
		{"certificate in braces", CertificateUUID, "{" + id + "}", "has to be a UUID"},
		{"certificate as URN", CertificateUUID, "urn:uuid:" + id, "has to be a UUID"},
		{"no certificate", CertificateUUID, "", "has to be a UUID"},
		{"endless certificate", CertificateUUID, long, "has to be a UUID"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad := maps.Clone(good)
			bad[c.property] = c.value
			v, err := New(t.Context(), bad, in)
			require.Nil(t, v)
			require.True(t, fault.Is(err, fault.Invalid), "%v", err)
			require.Contains(t, fault.Public(err), c.says)
			require.Less(t, len(fault.Public(err)), 400)
		})
	}
}

// modulus is a number as a key has it. What is verified with it fails before anybody's private key matters.
func modulus(bits int) *big.Int {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	return n.SetBit(n, 0, 1)
}

func TestCertificatesWhoseKeyIsOfAnotherTypeOrTooShortAreRefused(t *testing.T) {
	in := newInstallation(t)
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	edwards, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	usual := keys()
	short := *dsaKey(t)
	short.P = modulus(1024)
	narrow := *dsaKey(t)
	narrow.Q = modulus(160)

	for _, c := range []struct {
		name, keyType string
		key           any
		says          string
	}{
		{"ECDSA for RSA", "RSA-PSS", usual["ECC_SECP384R1"].public, "its key is of the type ECDSA"},
		{"DSA for RSA", "RSA-PSS", usual["DSA"].public, "its key is of the type DSA"},
		{"RSA for DSA", "DSA", usual["RSA-PSS"].public, "its key is of the type RSA"},
		{"ECDSA for DSA", "DSA", usual["ECC_SECP521R1"].public, "its key is of the type ECDSA"},
		{"RSA for ECDSA", "ECC_SECP384R1", usual["RSA-PSS"].public, "its key is of the type RSA"},
		{"DSA for ECDSA", "ECC_SECP521R1", usual["DSA"].public, "its key is of the type DSA"},
		{"another curve", "ECC_SECP384R1", usual["ECC_SECP521R1"].public, "its key is on the curve P-521"},
		{"a curve without a name in cursive", "ECC_SECP521R1", p256.Public(), "its key is on the curve P-256"},
		{"Ed25519", "ECC_SECP384R1", edwards, "its key is of the type Ed25519"},
		{"RSA of 512 bits", "RSA-PSS", &rsa.PublicKey{N: modulus(512), E: 65537}, "its key has 512 bits, and fewer than 2048 are not safe"},
		{"RSA of 1024 bits", "RSA-PSS", &rsa.PublicKey{N: modulus(1024), E: 65537}, "its key has 1024 bits, and fewer than 2048 are not safe"},
		{"RSA of 2047 bits", "RSA-PSS", &rsa.PublicKey{N: modulus(2047), E: 65537}, "its key has 2047 bits, and fewer than 2048 are not safe"},
		{"DSA of 1024 bits", "DSA", &short, "its key has 1024 bits, and fewer than 2048 are not safe"},
		{"DSA with a q of 160 bits", "DSA", &narrow, "its key's q has 160 bits, and fewer than 224 are not safe"},
	} {
		t.Run(c.name, func(t *testing.T) {
			properties := sign(t, image, c.keyType, "SHA-256", in.keep(t, in.root.issue(t, "Signer", c.key)))
			v, err := New(t.Context(), properties, in)
			require.Nil(t, v)
			require.True(t, fault.Is(err, fault.Invalid), "%v", err)
			require.Contains(t, fault.Public(err), "cannot verify signatures of img_signature_key_type "+c.keyType)
			require.Contains(t, fault.Public(err), c.says)
		})
	}
}

func TestAnUntrustedCertificateIsRefusedBeforeAByteIsTaken(t *testing.T) {
	in := newInstallation(t)
	id := in.keep(t, in.root.issue(t, "Signer", keys()["DSA"].public, func(c *x509.Certificate) {
		c.NotAfter = time.Now().Add(-time.Minute)
	}))
	v, err := New(t.Context(), sign(t, image, "DSA", "SHA-256", id), in)
	require.Nil(t, v)
	require.True(t, fault.Is(err, fault.Invalid), "%v", err)
	require.Contains(t, fault.Public(err), "has expired: it ended at")
}

func TestWritingKeepsNothing(t *testing.T) {
	in := newInstallation(t)
	v, err := New(t.Context(), sign(t, image, "DSA", "SHA-512", in.keep(t, in.root.issue(t, "Signer", keys()["DSA"].public))), in)
	require.NoError(t, err)
	require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = v.Write(image) }))
}

func BenchmarkWrite(b *testing.B) {
	in := newInstallation(b)
	id := in.keep(b, in.root.issue(b, "Signer", keys()["ECC_SECP384R1"].public))
	piece := make([]byte, 256<<10)
	for method := range hashMethods {
		b.Run(method, func(b *testing.B) {
			v, err := New(b.Context(), sign(b, image, "ECC_SECP384R1", method, id), in)
			require.NoError(b, err)
			b.SetBytes(int64(len(piece)))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = v.Write(piece)
			}
		})
	}
}
