// Package auth makes and checks credentials: passwords (bcrypt) and tokens (random, of which only the hash is kept).
package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/crypto/bcrypt"
)

// Roles. Each includes the ones below it: an admin may write anywhere, a member in its project, a reader only looks.
const (
	RoleAdmin  = "admin"
	RoleMember = "member"
	RoleReader = "reader"
)

// Roles lists every role, the strongest first.
func Roles() []string { return []string{RoleAdmin, RoleMember, RoleReader} }

// Has says whether roles hold the role or one that includes it.
func Has(roles []string, role string) bool {
	return slices.Contains(Implied(roles), role)
}

// Implied is the roles with everything that they include, the strongest first (Keystone's implied roles, as it lists
// them in a token).
func Implied(roles []string) []string {
	for i, r := range Roles() {
		if slices.Contains(roles, r) {
			return Roles()[i:]
		}
	}
	return nil
}

// maxPassword is the most that bcrypt looks at; it refuses longer ones rather than cut them.
const maxPassword = 72

// Cost is bcrypt's work factor: about 60 ms of one core. Tests of other things may hash with bcrypt.MinCost themselves.
const Cost = bcrypt.DefaultCost

// HashPassword makes what is stored of a password.
func HashPassword(password string) (string, error) {
	if len(password) > maxPassword {
		return "", fmt.Errorf("a password may have at most %d bytes", maxPassword)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), Cost)
	if err != nil {
		return "", fmt.Errorf("hash a password: %w", err)
	}
	return string(hash), nil
}

// absent is compared with where there is no user, so that an unknown name takes as long as a wrong password.
var absent = sync.OnceValue(func() string {
	hash, err := HashPassword(rand.Text())
	if err != nil {
		panic(err) // a fixed-length text within bcrypt's limit
	}
	return hash
})

// CheckPassword says whether the password is the one that hash was made of. An empty hash (no such user) never matches
// and takes as long.
func CheckPassword(hash, password string) bool {
	known := hash != ""
	if !known {
		hash = absent()
	}
	if len(password) > maxPassword {
		password, known = password[:maxPassword], false
	}
	return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil && known
}

// Outdated says whether a hash was made with other parameters than HashPassword's, so that it is to be made anew.
func Outdated(hash string) bool {
	cost, err := bcrypt.Cost([]byte(hash))
	return err != nil || cost != Cost
}

// tokenBytes of randomness make a token that cannot be guessed.
const tokenBytes = 32

// NewToken mints a token and the hash that is stored of it.
func NewToken() (token string, hash []byte) {
	raw := make([]byte, tokenBytes)
	rand.Read(raw) // never fails: crypto/rand ends the process instead
	token = base64.RawURLEncoding.EncodeToString(raw)
	return token, HashToken(token)
}

// HashToken is what the database knows of a token. SHA-256 is enough: the token is random, so there is nothing to guess.
func HashToken(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// NewAuditID names a token in logs and in its own body without revealing it (Keystone's audit_ids: 16 bytes, base64url).
func NewAuditID() string {
	raw := make([]byte, 16)
	rand.Read(raw)
	return base64.RawURLEncoding.EncodeToString(raw)
}
