package auth

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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

func TestAnUnknownUserTakesAsLongAsAWrongPassword(t *testing.T) {
	hash, err := HashPassword("secret")
	require.NoError(t, err)
	absent()
	took := func(hash string) time.Duration {
		best := time.Hour
		for range 3 {
			start := time.Now()
			CheckPassword(hash, "guess")
			best = min(best, time.Since(start))
		}
		return best
	}
	known, unknown := took(hash), took("")
	require.Greater(t, unknown, known/2)
	require.Greater(t, known, unknown/2)
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
