package hosts_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

func TestAHostIsGivenUpWithAReasonAndItsRecordStays(t *testing.T) {
	e := newEnv(t)
	id, token := e.admit(t, "hv1")
	forget := func(ref string, body any) (status int, forget map[string]any, message string) {
		a := e.Do(t, "POST", "/hosts/"+ref+"/forget", e.admin.Token, body)
		if a.Status == 202 {
			return a.Status, a.At(t, "forget").(map[string]any), ""
		}
		return a.Status, nil, a.Message(t)
	}
	for _, body := range []any{fields{}, fields{"reason": ""}, fields{"reason": " "}, fields{"reason": strings.Repeat("x", 256)}} {
		status, _, _ := forget("hv1", body)
		require.Equal(t, 400, status)
	}
	status, _, _ := forget("hv9", fields{"reason": "x"})
	require.Equal(t, 404, status)
	require.Equal(t, 404, e.Do(t, "GET", "/hosts/hv1/forget", e.admin.Token, nil).Status)
	require.Equal(t, 403, e.Do(t, "POST", "/hosts/hv1/forget", e.member.Token, fields{"reason": "x"}).Status)

	e.done.forget = func(contract.ForgetHostInput) error {
		return fault.New(fault.Unavailable, "The workflow engine does not answer.")
	}
	status, _, message := forget("hv1", fields{"reason": "x"})
	require.Equal(t, 503, status)
	require.Equal(t, "The workflow engine does not answer.", message)
	require.Equal(t, 200, e.self(t, token, "PUT", "/self", registration("hv1")).Status, "nothing was done")

	e.done.forget = func(in contract.ForgetHostInput) error {
		require.Equal(t, []string{id, "hv1", "it burnt", e.admin.UserID}, []string{in.HostID, in.Hostname, in.Reason, in.UserID})
		require.NoError(t, e.Store.BeginForget(t.Context(), models.ForgottenHost{HostID: in.HostID, Reason: in.Reason, UserID: in.UserID, RequestID: in.RequestID, PayloadKey: "k0"}))
		return fault.New(fault.Unavailable, "The answer got lost.")
	}
	status, given, _ := forget("hv1", fields{"reason": " it burnt "})
	require.Equal(t, 202, status, "the row says that it was accepted")
	require.Equal(t, []any{id, "hv1", "it burnt", e.admin.UserID, nil, 0.0}, []any{given["host_id"], given["hostname"], given["reason"], given["user_id"], given["done_at"], given["servers"]})
	for _, request := range [][]any{{"PUT", "/self", registration("hv1")}, {"GET", "/self/guests", nil}} {
		require.Equal(t, 401, e.self(t, token, request[0].(string), request[1].(string), request[2]).Status, "its token has ended")
	}
	require.Equal(t, 409, e.Do(t, "POST", "/hosts/hv1/token", e.admin.Token, nil).Status)
	require.Equal(t, 409, e.Do(t, "PATCH", "/hosts/hv1", e.admin.Token, fields{"host": fields{"enabled": true}}).Status)
	require.Equal(t, "given up: it burnt", e.Do(t, "GET", "/hosts/hv1", e.admin.Token, nil).At(t, "host", "disabled_reason"))
	e.done.forget = func(contract.ForgetHostInput) error { return nil }
	status, again, _ := forget("hv1", fields{"reason": "another"})
	require.Equal(t, 202, status)
	require.Equal(t, given, again, "it is the same act")

	require.NoError(t, e.Store.EndForget(t.Context(), id))
	status, _, _ = forget("hv1", fields{"reason": "x"})
	require.Equal(t, 404, status)
	for _, ref := range []string{id, "hv1"} {
		a := e.Do(t, "GET", "/hosts/"+ref+"/forget", e.admin.Token, nil)
		require.Equal(t, 200, a.Status)
		require.NotNil(t, a.At(t, "forget", "done_at"))
	}
	anew, _ := e.admit(t, "hv1")
	require.NotEqual(t, id, anew)
}
