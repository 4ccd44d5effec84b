package fault

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEveryKindHasItsTraits(t *testing.T) {
	require.Len(t, kinds, len(Kinds()))
	for _, k := range Kinds() {
		require.Contains(t, kinds, k)
		require.GreaterOrEqual(t, k.Status(), 400)
	}
}
