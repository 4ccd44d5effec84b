package show

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSizesAreShownInBinaryUnits(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 13_500_000: "12.9 MiB", 5 << 40: "5.0 TiB"} {
		require.Equal(t, want, Bytes(n))
	}
}
