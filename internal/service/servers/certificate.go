package servers

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// certificateLife is how long a certificate of a key pair is good, as Nova's.
const certificateLife = 3650 * 24 * time.Hour

// userPrincipalName is the name that Windows knows a user by, in a certificate.
var userPrincipalName = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 3}

// generateCertificate makes what Nova makes for WinRM (nova/crypto.py generate_winrm_x509_cert): a certificate of the user's by itself, for
// clients, with the name user@localhost, and its RSA key.
func generateCertificate(userID string, now time.Time) (certificate, private string, err error) {
	key, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return "", "", fmt.Errorf("generate a key pair: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return "", "", fmt.Errorf("number a certificate: %w", err)
	}
	type otherName struct {
		ID    asn1.ObjectIdentifier
		Value string `asn1:"tag:0,explicit,utf8"`
	}
	name, err := asn1.MarshalWithParams(otherName{userPrincipalName, userID + "@localhost"}, "tag:0")
	if err != nil {
		return "", "", fmt.Errorf("write a certificate's name: %w", err)
	}
	names, err := asn1.Marshal([]asn1.RawValue{{FullBytes: name}})
	if err != nil {
		return "", "", fmt.Errorf("write a certificate's names: %w", err)
	}
	of := x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: userID}, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(certificateLife),
		ExtKeyUsage:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: names}},
	}
	signed, err := x509.CreateCertificate(rand.Reader, &of, &of, &key.PublicKey, key)
	if err != nil {
		return "", "", fmt.Errorf("sign a certificate: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", "", fmt.Errorf("write a private key: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})), nil
}
