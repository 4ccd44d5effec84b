package system

import (
	"slices"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// said is what is said to an action beside its word, by the name of its row; nothing where it takes nothing.
var said = map[string]any{
	"changePassword": map[string]any{"adminPass": "s3cret"},
	"os-resetState":  map[string]any{"state": "error"},
	"reboot-soft":    map[string]any{"type": "SOFT"},
	"reboot-hard":    map[string]any{"type": "HARD"},
}

// Ask asks for an action on a server, with the least that it takes.
func Ask(t testing.TB, compute *gophercloud.ServiceClient, id string, action lifecycle.Action) error {
	t.Helper()
	_, err := compute.Post(t.Context(), compute.ServiceURL("servers", id, "action"), map[string]any{action.Says(): said[action.Name]}, nil, //nolint:bodyclose // gophercloud closes it
		&gophercloud.RequestOpts{OkCodes: []int{200, 202}})
	return err
}

// Toward is the action that makes a server that is active one in a state; false for a server that is active.
func Toward(t testing.TB, state lifecycle.VMState) (lifecycle.Action, bool) {
	t.Helper()
	if state == lifecycle.Active {
		return lifecycle.Action{}, false
	}
	all := lifecycle.Holding()
	n := slices.IndexFunc(all, func(a lifecycle.Action) bool { return a.To == state && a.Allows(lifecycle.Active) })
	require.GreaterOrEqual(t, n, 0, "no action makes an active server %s", state)
	return all[n], true
}
