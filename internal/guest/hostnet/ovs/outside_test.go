package ovs

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAPhysicalNetworkIsThereWithItsBridge(t *testing.T) {
	bridges := []string{"br-int", "br-ex", "br-dc"}
	require.Equal(t, []string{}, mapped("", bridges))
	require.Equal(t, []string{"dc", "public"}, mapped("public:br-ex, dc:br-dc", bridges))
	require.Equal(t, []string{"public"}, mapped("public:br-ex,dc:br-gone,public:br-dc,odd,:br-dc", bridges))
}
