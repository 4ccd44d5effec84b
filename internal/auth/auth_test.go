package auth

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
)

func TestAPasswordMatchesOnlyItsOwnHash(t *testing.T) {
	hash, err := HashPassword("correct horse")
	require.NoError(t, err)
	require.True(t, CheckPassword(hash, "correct horse"))
	require.False(t, CheckPassword(hash, "correct horsf"))
	require.False(t, CheckPassword(hash, ""))
	require.False(t, CheckPassword("", "correct horse"), "no such user")
	require.False(t, CheckPassword("", ""))
}

func TestAPasswordThatBcryptWouldCutIsRefused(t *testing.T) {
	long := strings.Repeat("p", 72)
	hash, err := HashPassword(long)
	require.NoError(t, err)
	require.True(t, CheckPassword(hash, long))
	require.False(t, CheckPassword(hash, long+"x"), "the 73rd byte counts")
	_, err = HashPassword(long + "x")
	require.Error(t, err)
}

func TestAnUnknownUserCostsAsMuchAsAWrongPassword(t *testing.T) {
	// Compared by bcrypt's work factor, not by the clock of a machine that does other things.
	hash, err := HashPassword("secret")
	require.NoError(t, err)
	known, err := bcrypt.Cost([]byte(hash))
	require.NoError(t, err)
	unknown, err := bcrypt.Cost([]byte(absent()))
	require.NoError(t, err)
	require.Equal(t, known, unknown)

	start := time.Now()
	CheckPassword("", "guess")
	require.Greater(t, time.Since(start), 5*time.Millisecond, "it is really compared")
}

func TestRolesIncludeTheWeakerOnes(t *testing.T) {
	for _, c := range []struct {
		roles                 []string
		admin, member, reader bool
	}{
		{nil, false, false, false},
		{[]string{"observer"}, false, false, false},
		{[]string{"reader"}, false, false, true},
		{[]string{"member"}, false, true, true},
		{[]string{"reader", "admin"}, true, true, true},
	} {
		require.Equal(t, c.admin, Has(c.roles, RoleAdmin), c.roles)
		require.Equal(t, c.member, Has(c.roles, RoleMember), c.roles)
		require.Equal(t, c.reader, Has(c.roles, RoleReader), c.roles)
	}
	require.False(t, Has([]string{RoleAdmin}, "no-such-role"))
	require.Equal(t, []string{"member", "reader"}, Implied([]string{"reader", "member"}))
	require.Empty(t, Implied(nil))
}

func TestTokensDifferAndAreFoundByTheirHash(t *testing.T) {
	a, hashA := NewToken()
	b, hashB := NewToken()
	require.NotEqual(t, a, b)
	require.NotEqual(t, hashA, hashB)
	require.Equal(t, hashA, HashToken(a))
	require.Len(t, a, 43)
	require.Len(t, hashA, 32)
}
