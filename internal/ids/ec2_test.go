package ids

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

func TestAnIDOfEC2IsOneOfTheUUIDsThatItIsMadeOf(t *testing.T) {
	require.Len(t, ec2Kinds, 7)
	for kind := range ec2Kinds {
		for range 100 {
			id := uuid.NewString()
			text := EC2(kind, id)
			require.Regexp(t, `^[a-z]+-[0-9a-f]{17}$`, text)
			among, err := ParseEC2(kind, text)
			require.NoError(t, err)
			require.True(t, among.First <= id && id <= among.Last, "%s is not in %v", id, among)
			require.NoError(t, uuid.Validate(among.First))
			require.NoError(t, uuid.Validate(among.Last))
			require.Equal(t, []string{text, text}, []string{EC2(kind, among.First), EC2(kind, among.Last)})
		}
	}
	at, err := ParseEC2(EC2Instance, "i-6f0c4c1e8b534c0f9")
	require.NoError(t, err)
	require.Equal(t, UUIDs{"6f0c4c1e-8b53-4c0f-9000-000000000000", "6f0c4c1e-8b53-4c0f-9fff-ffffffffffff"}, at)
}

func TestWhatIsNoIDOfTheKindIsRefusedInEC2sWords(t *testing.T) {
	for kind, of := range ec2Kinds {
		digits := strings.Repeat("0", ec2Digits)
		other := EC2Volume
		if kind == other {
			other = EC2Instance
		}
		for _, id := range []string{
			"", string(kind), string(kind) + "-", string(kind) + "-1", string(other) + "-" + digits, digits, string(kind) + digits,
			string(kind) + "-" + digits + "0", string(kind) + "-" + digits[1:], strings.ToUpper(string(kind)) + "-" + digits,
			string(kind) + "-" + digits + "\n", " " + string(kind) + "-" + digits, string(kind) + "-0000000000000000A", string(kind) + "-0000000000000000g",
			"6f0c4c1e-8b53-4c0f-9d0e-0a52f1a7c001",
		} {
			_, err := ParseEC2(kind, id)
			require.Equal(t, fault.Invalid, fault.KindOf(err), id)
			require.ErrorIs(t, err, of.malformed)
			require.Equal(t, `Invalid id: "`+id+`" (expecting "`+string(kind)+`-...")`, fault.Public(err))
		}
		_, err := ParseEC2(kind, string(kind)+"-0a1b2c3d")
		require.Equal(t, fault.NotFound, fault.KindOf(err), "EC2's short form is well-formed, and nothing here has one")
		require.Contains(t, fault.Public(err), "'"+string(kind)+"-0a1b2c3d' does not exist")
		var code EC2Code
		require.True(t, errors.As(err, &code))
		require.Equal(t, of.notFound, code)
		require.True(t, strings.HasSuffix(string(of.notFound), ".NotFound") && strings.HasSuffix(string(of.malformed), ".Malformed"), kind)
	}
}
