package servers

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/md5" //nolint:gosec // Nova's and EC2's fingerprints are MD5; nothing is trusted by them
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // an X.509 certificate's fingerprint in Nova is SHA-1, and that of a key that EC2 made
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// NewKeyPair is a key pair as it is asked for.
type NewKeyPair struct {
	UserID    string // "" is the caller
	Name      string
	Type      string  // ssh or x509; "" is ssh
	PublicKey *string // nil: one is made
	Algorithm KeyAlgorithm
}

// KeyAlgorithm is what kind of key is made.
type KeyAlgorithm string

// Algorithms. Nova makes ECDSA since 2023: P-521 would be refused by some guests' sshd policies, P-256 by none that is alive.
const (
	ECDSA   KeyAlgorithm = ""
	RSA     KeyAlgorithm = "rsa"
	ED25519 KeyAlgorithm = "ed25519"
)

// rsaBits is how long EC2's keys are.
const rsaBits = 2048

// CreateKeyPair keeps a public key under a name, of a pair that is made where none is given. The private half is answered once and
// kept nowhere.
func (s Servers) CreateKeyPair(ctx context.Context, in NewKeyPair) (key models.KeyPair, private string, err error) {
	if in.UserID == "" {
		in.UserID = s.caller.UserID
	}
	if in.Type == "" {
		in.Type = "ssh"
	}
	key = models.KeyPair{UserID: in.UserID, Name: in.Name, Type: in.Type}
	switch {
	case in.PublicKey != nil:
		key.PublicKey = *in.PublicKey
	case in.Type == "x509":
		if key.PublicKey, private, err = generateCertificate(in.UserID, time.Now()); err != nil {
			return key, "", err
		}
	default:
		if key.PublicKey, private, key.MadeFingerprint, err = generateKey(in.Algorithm); err != nil {
			return key, "", err
		}
	}
	if key.Fingerprint, err = fingerprint(in.Type, key.PublicKey); err != nil {
		return key, "", err
	}
	quota, err := s.Quota(ctx, s.caller.ProjectID)
	if err != nil {
		return key, "", err
	}
	key, err = s.store.CreateKeyPair(ctx, key, quota.KeyPairs)
	return key, private, err
}

// maxKey is the most bytes of a public key: far above a 16,384 bit RSA key, far below what would hurt.
const maxKey = 16 * 1024

// fingerprint checks a public key and gives the name that Nova shows of it (nova/crypto.py): MD5 of an ssh key, SHA-1 of
// a certificate, both hex with colons.
func fingerprint(kind, public string) (string, error) {
	if len(public) > maxKey {
		return "", invalid("Keypair data is invalid: the public key has more than %d bytes", maxKey)
	}
	if kind == "x509" {
		block, _ := pem.Decode([]byte(public))
		if block == nil || block.Type != "CERTIFICATE" {
			return "", invalid("Keypair data is invalid: failed to generate X509 fingerprint. Error message: no PEM certificate")
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return "", fault.Wrap(fault.Invalid, err, "Keypair data is invalid: failed to generate X509 fingerprint. Error message: not a certificate")
		}
		sum := sha1.Sum(block.Bytes) //nolint:gosec // as above
		return colons(sum[:]), nil
	}
	// One line: whatever follows a line end would become another line of a guest's authorized_keys.
	if strings.ContainsAny(strings.TrimRight(public, "\r\n"), "\r\n\x00") {
		return "", invalid("Keypair data is invalid: failed to generate fingerprint")
	}
	key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(public))
	if err != nil || len(options) > 0 || len(strings.TrimSpace(string(rest))) > 0 {
		return "", invalid("Keypair data is invalid: failed to generate fingerprint")
	}
	sum := md5.Sum(key.Marshal()) //nolint:gosec // as above
	return colons(sum[:]), nil
}

// EC2Fingerprint is what EC2 shows of a key (EC2 User Guide, "Verify the fingerprint of your key pair"): of an RSA key that was made here
// SHA-1 of the private half, of one that was imported MD5 of the public half, of ED25519 OpenSSH's SHA-256. algorithm is EC2's word for
// what kind of key it is; "" is one that EC2 does not know.
func EC2Fingerprint(k models.KeyPair) (algorithm, text string) {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(k.PublicKey))
	if err != nil { // a certificate
		return "", k.Fingerprint
	}
	public, ok := key.(ssh.CryptoPublicKey)
	if !ok {
		return "", k.Fingerprint
	}
	switch public := public.CryptoPublicKey().(type) {
	case ed25519.PublicKey:
		sum := sha256.Sum256(key.Marshal())
		return string(ED25519), base64.StdEncoding.EncodeToString(sum[:])
	case *rsa.PublicKey:
		if k.MadeFingerprint != "" {
			return string(RSA), k.MadeFingerprint
		}
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			return string(RSA), k.Fingerprint
		}
		sum := md5.Sum(der) //nolint:gosec // as above
		return string(RSA), colons(sum[:])
	}
	return "", k.Fingerprint
}

func colons(sum []byte) string {
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = hex.EncodeToString([]byte{b})
	}
	return strings.Join(parts, ":")
}

// generateKey makes a key pair; made is EC2's fingerprint where only the private half tells it.
func generateKey(algorithm KeyAlgorithm) (public, private, made string, err error) {
	var (
		key   crypto.Signer
		block *pem.Block
	)
	switch algorithm {
	case RSA:
		var whole *rsa.PrivateKey
		if whole, err = rsa.GenerateKey(rand.Reader, rsaBits); err == nil {
			var der []byte
			if der, err = x509.MarshalPKCS8PrivateKey(whole); err == nil {
				sum := sha1.Sum(der) //nolint:gosec // as above
				made = colons(sum[:])
			}
			key, block = whole, &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(whole)}
		}
	case ED25519:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case ECDSA:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		return "", "", "", fmt.Errorf("generate a key pair: %w", err)
	}
	if block == nil {
		if block, err = ssh.MarshalPrivateKey(key, comment); err != nil {
			return "", "", "", fmt.Errorf("write a private key: %w", err)
		}
	}
	pub, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return "", "", "", fmt.Errorf("write a public key: %w", err)
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub)))
	return line + " " + comment, string(pem.EncodeToMemory(block)), made, nil
}

// comment says of a key where it comes from.
const comment = "Generated-by-Slipway"
