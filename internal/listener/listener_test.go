package listener_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/listener"
)

func TestAPortInUseIsToldWithItsSettingAndItsHolder(t *testing.T) {
	first, err := listener.Open(t.Context(), "api.listen", "127.0.0.1:0")
	require.NoError(t, err)
	defer first.Close()
	_, err = listener.Open(t.Context(), "operator.listen", first.Addr().String())
	name, readErr := os.ReadFile("/proc/self/comm")
	require.NoError(t, readErr)
	require.ErrorContains(t, err, fmt.Sprintf("operator.listen: %s is in use by %s (pid %d): ", first.Addr(), name[:len(name)-1], os.Getpid()))
}

func TestAnAddressThatCannotBeIsToldWithItsSetting(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1:80": "this machine has no address 192.0.2.1:80", "127.0.0.1": `cannot listen on "127.0.0.1"`, "127.0.0.1:99999": `cannot listen on "127.0.0.1:99999"`,
	} {
		_, err := listener.Open(t.Context(), "api.listen", address)
		require.ErrorContains(t, err, "api.listen: "+want)
	}
}
