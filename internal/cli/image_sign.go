package cli

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// signing is who signs a new image: a private key of the user's, and the certificate by which the API verifies.
type signing struct{ keyPath, certificate string }

func (g *signing) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&g.keyPath, "sign-key-path", "", "sign the image with this private key (PEM; RSA, or ECDSA of P-384 or P-521)")
	cmd.Flags().StringVar(&g.certificate, "sign-cert-id", "", "the key's certificate in the API's store, a UUID")
	cmd.MarkFlagsRequiredTogether("sign-key-path", "sign-cert-id")
}

// signatureHash is what the OpenStack client signs with, whatever the key: SHA-256.
const signatureHash = crypto.SHA256

// properties signs the bytes of a file and gives Glance's properties of a signed image. The file is read once for it, before
// its upload.
func (g *signing) properties(ctx context.Context, from *source) (show.Object, error) {
	if from == nil || from.stream != nil {
		return nil, show.UsageError("--sign-key-path reads the image before it is uploaded: --file has to be a file")
	}
	id, err := uuid.Parse(g.certificate)
	if err != nil {
		return nil, show.UsageError("--sign-cert-id %s is no UUID", g.certificate)
	}
	key, err := signingKey(g.keyPath)
	if err != nil {
		return nil, err
	}
	sums, err := from.sum(ctx, "sha256")
	if err != nil {
		return nil, session.Doing(err, "read the image")
	}
	if err := from.rewind(); err != nil {
		return nil, session.Doing(err, "read the image")
	}
	var options crypto.SignerOpts = signatureHash
	kind := ""
	switch public := key.Public().(type) {
	case *rsa.PublicKey:
		// The salt is as long as the key allows: the verifiers of OpenStack take no other.
		kind, options = "RSA-PSS", &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto, Hash: signatureHash}
	case *ecdsa.PublicKey:
		kind = map[elliptic.Curve]string{elliptic.P384(): "ECC_SECP384R1", elliptic.P521(): "ECC_SECP521R1"}[public.Curve]
	}
	if kind == "" {
		return nil, show.UsageError("--sign-key-path %s is neither an RSA key nor one of the curves P-384 and P-521", g.keyPath)
	}
	signature, err := key.Sign(rand.Reader, sums.hashes["sha256"].Sum(nil), options)
	if err != nil {
		return nil, session.Doing(err, "sign the image with %s", g.keyPath)
	}
	return show.Object{"img_signature": base64.StdEncoding.EncodeToString(signature), "img_signature_hash_method": "SHA-256",
		"img_signature_key_type": kind, "img_signature_certificate_uuid": id.String()}, nil
}

// signingKey reads a private key: PKCS #8, PKCS #1 or SEC 1, in PEM and not encrypted.
func signingKey(path string) (crypto.Signer, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, session.Doing(err, "read the key")
	}
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		var key any
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
			return nil, show.UsageError("--sign-key-path %s is encrypted: decrypt it first (openssl pkey -in … -out …)", path)
		case block.Type == "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case block.Type == "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case block.Type == "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		default:
			continue // the parameters of a curve, or a certificate
		}
		if err != nil {
			return nil, session.Doing(err, "read the key %s", path)
		}
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
		return nil, session.Doing(errors.New("it cannot sign"), "read the key %s", path)
	}
	return nil, &show.Error{Code: show.ExitUsage, What: fmt.Sprintf("--sign-key-path %s has no private key in PEM", path)}
}
