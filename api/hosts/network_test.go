package hosts_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
)

func TestOperatorsAreToldWhatSwitchesAHostsGuestsAsTheHostFindsIt(t *testing.T) {
	e := newEnv(t)
	e.admit(t, "hv1")
	e.done.network = contract.UnswitchedHost("hv1")
	require.Equal(t, 403, e.Do(t, "GET", "/hosts/hv1/network", e.member.Token, nil).Status)
	require.Equal(t, 404, e.Do(t, "GET", "/hosts/hv9/network", e.admin.Token, nil).Status)
	require.Empty(t, e.done.looked)

	a := e.Do(t, "GET", "/hosts/hv1/network", e.admin.Token, nil)
	require.Equal(t, 200, a.Status)
	require.Equal(t, []string{"hv1"}, e.done.looked)
	require.Equal(t, []any{"hv1", nil, []any{}, "switch", false}, []any{
		a.At(t, "network", "hostname"), a.At(t, "network", "switch"), a.At(t, "network", "ports"),
		a.At(t, "network", "checks").([]any)[0].(map[string]any)["name"], a.At(t, "network", "checks").([]any)[0].(map[string]any)["ok"],
	})

	e.done.fault = fault.New(fault.Unavailable, "the host did not answer")
	require.Equal(t, 503, e.Do(t, "GET", "/hosts/hv1/network", e.admin.Token, nil).Status)
}
