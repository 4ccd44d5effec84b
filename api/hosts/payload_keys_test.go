package hosts_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/models"
)

func TestAHostIsGivenItsOwnPayloadKeysAlone(t *testing.T) {
	e := newEnv(t)
	_, one := e.admit(t, "hv1")
	_, two := e.admit(t, "hv2")
	keysOf := func(token string) []any {
		a := e.self(t, token, "GET", "/self/payload-keys", nil)
		require.Equal(t, 200, a.Status, a.Body)
		require.Equal(t, "no-store", a.Header.Get("Cache-Control"))
		return a.At(t, "payload_keys").([]any)
	}
	first, second := keysOf(one), keysOf(two)
	require.Len(t, first, 1)
	require.Equal(t, "k1@hv1", first[0].(map[string]any)["id"])
	require.Equal(t, "k1@hv2", second[0].(map[string]any)["id"])
	require.NotEqual(t, first[0].(map[string]any)["key"], second[0].(map[string]any)["key"])
	for _, token := range []string{"", e.admin.Token} {
		require.Equal(t, 401, e.self(t, token, "GET", "/self/payload-keys", nil).Status)
	}
}

func TestTheNameOfAHostThatWasGivenUpIsFreeWhenOtherKeysAreUsed(t *testing.T) {
	e := newEnv(t)
	again := func(payloadKey string) (status int, message string) {
		id, _ := e.admit(t, "hv1")
		require.NoError(t, e.Store.BeginForget(t.Context(), models.ForgottenHost{HostID: id, Reason: "it burnt", UserID: "u", RequestID: "req-" + id, PayloadKey: payloadKey}))
		require.NoError(t, e.Store.EndForget(t.Context(), id))
		a := e.Do(t, "POST", "/hosts", e.admin.Token, fields{"host": fields{"hostname": "hv1"}})
		return a.Status, a.Body
	}
	for _, key := range []string{"", "k0"} {
		status, body := again(key)
		require.Equal(t, 201, status, body)
		require.Equal(t, 204, e.Do(t, "DELETE", "/hosts/hv1", e.admin.Token, nil).Status)
	}
	status, body := again(e.keys.First())
	require.Equal(t, 409, status)
	require.Contains(t, body, "A host hv1 was given up (it burnt)")
	require.Contains(t, body, "slipway keys add")
	e.admit(t, "hv2")
}
