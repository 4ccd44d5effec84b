package compute

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/md5" //nolint:gosec // Nova's fingerprints are MD5; nothing is trusted by them
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // an X.509 certificate's fingerprint in Nova is SHA-1
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"hash/crc32"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
	"golang.org/x/crypto/ssh"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

func (a *API) mountKeyPairs(g *echo.Group) {
	g.GET("/os-keypairs", a.listKeyPairs, rest.Expect(400, 403))
	g.POST("/os-keypairs", a.createKeyPair, writerOnly("os_compute_api:os-keypairs:create"), rest.Expect(400, 403, 409))
	g.GET("/os-keypairs/:name", a.showKeyPair, rest.Expect(400, 403, 404))
	g.DELETE("/os-keypairs/:name", a.deleteKeyPair, writerOnly("os_compute_api:os-keypairs:delete"), rest.Expect(400, 403, 404))
}

func keyPairSchema(minor int) object {
	pattern := `^[_\- a-zA-Z0-9]+$`
	if minor >= 92 {
		pattern = `^[_\-@. a-zA-Z0-9]+$`
	}
	p := object{
		"name":       object{"type": "string", "minLength": 1, "maxLength": 255, "pattern": pattern},
		"public_key": object{"type": "string"},
	}
	if minor >= 2 {
		p["type"] = object{"type": "string", "enum": []any{"ssh", "x509"}}
	}
	if minor >= 10 {
		p["user_id"] = object{"type": "string"}
	}
	required := []string{"name"}
	if minor >= 92 {
		required = append(required, "public_key")
	}
	return wrapped("keypair", strict(p, required...))
}

var keyPairSchemas = byVersion("POST /os-keypairs", keyPairSchema)

// keyOwner is whose keys a request is about: the caller's, or since 2.10 another user's for an admin.
func keyOwner(c echo.Context, asked, policy string) (string, error) {
	caller := rest.CallerOf(c)
	if asked == "" || minorOf(c) < 10 {
		return caller.UserID, nil
	}
	return asked, allow(asked == caller.UserID || caller.Admin(), "os_compute_api:os-keypairs:"+policy)
}

func (a *API) createKeyPair(c echo.Context) error {
	var body struct {
		KeyPair struct {
			Name      string  `json:"name"`
			PublicKey *string `json:"public_key"`
			Type      string  `json:"type"`
			UserID    string  `json:"user_id"`
		} `json:"keypair"`
	}
	minor := minorOf(c)
	if err := rest.Bind(c, keyPairSchemas.at(minor), &body); err != nil {
		return err
	}
	in := body.KeyPair
	if err := checkName(in.Name); err != nil {
		return err
	}
	owner, err := keyOwner(c, in.UserID, "create")
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	if owner != rest.CallerOf(c).UserID {
		if _, err := a.store.User(ctx, owner); err != nil {
			return fault.Absent(err, fault.Invalid, "User %s could not be found.", owner)
		}
	}
	if in.Type == "" {
		in.Type = "ssh"
	}
	key := models.KeyPair{UserID: owner, Name: in.Name, Type: in.Type, CreatedAt: a.now()}
	private := ""
	switch {
	case in.PublicKey != nil:
		key.PublicKey = *in.PublicKey
		key.Fingerprint, err = fingerprint(in.Type, *in.PublicKey)
	case in.Type == "x509":
		// Nova makes a certificate and its key; a Windows guest alone can use one, so here it has to be brought along.
		err = invalid("Keypair data is invalid: a key pair of type x509 cannot be generated here; import a certificate as public_key.")
	default:
		key.PublicKey, private, err = generateKey()
		if err == nil {
			key.Fingerprint, err = fingerprint("ssh", key.PublicKey)
		}
	}
	if err != nil {
		return err
	}
	quota, err := a.service.Quota(ctx, rest.CallerOf(c).ProjectID)
	if err != nil {
		return err
	}
	key, err = a.store.CreateKeyPair(ctx, key, quota.KeyPairs)
	switch {
	case fault.Is(err, fault.Conflict):
		return fault.Wrap(fault.Conflict, err, "Key pair '%s' already exists.", in.Name)
	case fault.Is(err, fault.OverQuota):
		return fault.Wrap(fault.OverQuota, err, "Quota exceeded, too many key pairs.")
	case err != nil:
		return err
	}
	v := keyPairView(c, key)
	v["user_id"] = key.UserID
	if private != "" {
		v["private_key"] = private
	}
	status := http.StatusOK
	if minor >= 2 {
		status = http.StatusCreated
	}
	return c.JSON(status, object{"keypair": v})
}

// keyPairView is what every view of a key pair shows.
func keyPairView(c echo.Context, k models.KeyPair) object {
	v := object{"name": k.Name, "public_key": k.PublicKey, "fingerprint": k.Fingerprint}
	if minorOf(c) >= 2 {
		v["type"] = k.Type
	}
	return v
}

func (a *API) listKeyPairs(c echo.Context) error {
	if err := strictQuery(c, "user_id", "limit", "marker"); err != nil {
		return err
	}
	owner, err := keyOwner(c, c.QueryParam("user_id"), "index")
	if err != nil {
		return err
	}
	var page rest.Page
	if minorOf(c) >= 35 {
		if page, err = rest.PageOf(c, rest.MaxPage); err != nil {
			return err
		}
	}
	keys, err := a.store.ListKeyPairs(c.Request().Context(), owner, page.Marker, page.Limit)
	if err != nil {
		return markerAs(err, page.Marker)
	}
	return c.JSON(http.StatusOK, listed(c, "keypairs", page, keys, func(k models.KeyPair) (string, object) {
		return k.Name, object{"keypair": keyPairView(c, k)}
	}))
}

func (a *API) showKeyPair(c echo.Context) error {
	if err := strictQuery(c, "user_id"); err != nil {
		return err
	}
	owner, err := keyOwner(c, c.QueryParam("user_id"), "show")
	if err != nil {
		return err
	}
	name := c.Param("name")
	k, err := a.store.KeyPair(c.Request().Context(), owner, name)
	if err != nil {
		return fault.Absent(err, fault.NotFound, "Keypair %s not found for user %s", name, owner)
	}
	v := keyPairView(c, k)
	v["user_id"] = k.UserID
	v["created_at"] = rest.TimeNaive(k.CreatedAt)
	v["deleted"], v["deleted_at"], v["updated_at"] = false, nil, nil
	v["id"] = crc32.ChecksumIEEE([]byte(k.UserID+"/"+k.Name)) >> 1 // Nova shows its row number; here a name is the key
	return c.JSON(http.StatusOK, object{"keypair": v})
}

func (a *API) deleteKeyPair(c echo.Context) error {
	if err := strictQuery(c, "user_id"); err != nil {
		return err
	}
	owner, err := keyOwner(c, c.QueryParam("user_id"), "delete")
	if err != nil {
		return err
	}
	name := c.Param("name")
	if err := a.store.DeleteKeyPair(c.Request().Context(), owner, name); err != nil {
		return fault.Absent(err, fault.NotFound, "Keypair %s not found for user %s", name, owner)
	}
	if minorOf(c) < 2 {
		return c.NoContent(http.StatusAccepted)
	}
	return c.NoContent(http.StatusNoContent)
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

func colons(sum []byte) string {
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = hex.EncodeToString([]byte{b})
	}
	return strings.Join(parts, ":")
}

// generateKey makes what Nova makes since 2023: ECDSA on P-521 would be refused by some guests' sshd policies, P-256 by
// none that is alive. The private half is answered once and kept nowhere.
func generateKey() (public, private string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("generate a key pair: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(key, "Generated-by-Slipway")
	if err != nil {
		return "", "", fmt.Errorf("write a private key: %w", err)
	}
	pub, err := ssh.NewPublicKey(&key.PublicKey)
	if err != nil {
		return "", "", fmt.Errorf("write a public key: %w", err)
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub)))
	return line + " Generated-by-Slipway", string(pem.EncodeToMemory(block)), nil
}
