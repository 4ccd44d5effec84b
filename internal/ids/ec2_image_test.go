package ids

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

func TestTheContainerFormatChoosesThePrefix(t *testing.T) {
	for format, want := range map[string]EC2Kind{
		"aki": EC2Kernel, "ari": EC2Ramdisk, "ami": EC2Machine, "bare": EC2Machine, "ovf": EC2Machine, "ova": EC2Machine, "docker": EC2Machine, "": EC2Machine, "AKI": EC2Machine,
	} {
		require.Equal(t, want, EC2ImageKind(format), format)
	}
}

func TestANumberHasEightDigitsAndMoreWhereTheseDoNotDo(t *testing.T) {
	for id, c := range map[string]struct {
		kind   EC2Kind
		number int64
	}{
		"ami-00000001":         {EC2Machine, 1},
		"aki-0000001f":         {EC2Kernel, 31},
		"ari-deadbeef":         {EC2Ramdisk, 0xdeadbeef},
		"ami-ffffffff":         {EC2Machine, math.MaxUint32},
		"ami-100000000":        {EC2Machine, math.MaxUint32 + 1},
		"ami-7fffffffffffffff": {EC2Machine, math.MaxInt64},
	} {
		require.Equal(t, id, EC2Image(c.kind, c.number))
		kind, number, err := ParseEC2Image(id)
		require.NoError(t, err)
		require.Equal(t, c.kind, kind)
		require.Equal(t, c.number, number)
	}
}

func TestWhatIsNoIDOfAnImageIsRefusedInEC2sWords(t *testing.T) {
	for _, id := range []string{
		"", "ami", "ami-", "ami-1", "ami-0000001", "ami-0000000g", "ami-0000000A", "AMI-00000001", "i-00000001", "snap-00000001", "00000001",
		"ami-00000001 ", " ami-00000001", "ami-00000001\n", "ami-+0000001", "ami--0000001", "ami-0x000001", "ami-000_0001", "ami-123456789012345678",
		"70a599e0-31e7-49b7-b260-868f441e862b", "ami-٠٠٠٠٠٠٠١",
	} {
		_, _, err := ParseEC2Image(id)
		require.ErrorIs(t, err, EC2ImageMalformed, id)
		require.Equal(t, fault.Invalid, fault.KindOf(err))
		require.Equal(t, `Invalid id: "`+id+`" (expecting "ami-...")`, fault.Public(err))
	}
	for _, id := range []string{
		"ami-00000000",          // numbers begin at 1
		"ami-000000001",         // another spelling of ami-00000001
		"ami-8000000000000000",  // more than a number holds
		"ami-0123456789abcdef0", // EC2's own long form
		"aki-fffffffffffffffff",
	} {
		_, _, err := ParseEC2Image(id)
		require.ErrorIs(t, err, EC2ImageNotFound, id)
		require.Equal(t, fault.NotFound, fault.KindOf(err))
		require.Equal(t, "The image id '["+id+"]' does not exist", fault.Public(err))
	}
}

func TestALongIDOfAnImageIsOneOfTheUUIDsThatItIsMadeOf(t *testing.T) {
	const id = "6f0c4c1e-8b53-4c0f-9d0e-0a52f1a7c001"
	for _, kind := range []EC2Kind{EC2Machine, EC2Kernel, EC2Ramdisk} {
		got, uuids, ok := EC2ImageAmong(EC2(kind, id))
		require.True(t, ok)
		require.Equal(t, kind, got)
		require.True(t, uuids.First <= id && id <= uuids.Last)
	}
	for _, id := range []string{"", "ami-0000000a", "ami-7fffffffffffffff", "i-0123456789abcdef0", "ami-0123456789abcdefg"} {
		_, _, ok := EC2ImageAmong(id)
		require.False(t, ok, id)
	}
}
