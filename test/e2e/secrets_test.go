package e2e

import (
	"encoding/base64"
	"os/exec"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/protobuf/proto"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/ids"
)

// keepsSecrets looks for an admin password and for what user data holds in everything that is kept: the database, what
// Temporal recorded, what the processes logged; of a build that succeeds and of one that fails after it had both.
func keepsSecrets(t *testing.T, r *rig, image string) {
	const password, marker = "Pa55-neverwritten", "marker-in-user-data-neverwritten"
	userData := []byte("#!/bin/sh\n# " + marker + "\n")
	good := r.create(t, servers.CreateOpts{
		Name: "secretive", ImageRef: image, FlavorRef: r.flavor, Networks: r.on(), ConfigDrive: ptr(true), AdminPass: password, UserData: userData,
	})
	r.active(t, good.ID)
	require.Contains(t, r.console(t, good.ID), "admin-pass-sha256="+sum(password), "the guest got the secret")
	bad := r.create(t, servers.CreateOpts{
		Name: "secretive", ImageRef: r.damaged(t), FlavorRef: r.flavor, Networks: r.on(), ConfigDrive: ptr(true), AdminPass: password, UserData: userData,
	})
	r.failed(t, bad.ID)

	places := r.kept(t)
	require.Contains(t, places["the database"], good.ID, "the dump is of this database")
	for _, s := range []*servers.Server{good, bad} {
		raw, input := r.history(t, s.ID)
		var in contract.BootInput
		require.NoError(t, r.Converter(t).FromPayloads(input, &in))
		require.Equal(t, password, in.AdminPass, "the history holds the secret, encrypted")
		require.Contains(t, string(in.UserData), marker)
		places["the history of server "+s.ID] = raw
	}
	requireNone(t, places, password, marker)
}

// kept is what the processes have written: the database, and their logs.
func (r *rig) kept(t *testing.T) map[string]string {
	t.Helper()
	dump, err := exec.CommandContext(t.Context(), "pg_dump", "--dbname="+r.DSN).Output()
	require.NoError(t, err)
	places := map[string]string{"the database": string(dump)}
	for _, process := range append([]string{"api", "worker"}, r.Hosts...) {
		places["the log of "+process] = r.Log(process)
	}
	return places
}

// history is the raw answer of Temporal's API about the newest run of a server's workflow, which no codec has touched, and its input.
func (r *rig) history(t *testing.T, id string) (raw string, input *commonpb.Payloads) {
	t.Helper()
	var text strings.Builder
	request := &workflowservice.GetWorkflowExecutionHistoryRequest{
		Namespace: "slipway", Execution: &commonpb.WorkflowExecution{WorkflowId: ids.ServerWorkflow(id)},
	}
	for {
		page, err := r.temporal.WorkflowService().GetWorkflowExecutionHistory(t.Context(), request)
		require.NoError(t, err)
		part, err := proto.Marshal(page)
		require.NoError(t, err)
		text.Write(part)
		for _, e := range page.GetHistory().GetEvents() {
			if started := e.GetWorkflowExecutionStartedEventAttributes(); started != nil {
				input = started.GetInput()
			}
		}
		if request.NextPageToken = page.GetNextPageToken(); len(request.NextPageToken) == 0 {
			break
		}
	}
	require.Contains(t, text.String(), id)
	return text.String(), input
}

func requireNone(t *testing.T, places map[string]string, secrets ...string) {
	t.Helper()
	for place, text := range places {
		for _, secret := range secrets {
			for _, form := range forms(secret) {
				require.False(t, strings.Contains(text, form), "%s holds %q (as %q)", place, secret, form)
			}
		}
	}
}

// forms are a secret as it is and inside of base64, whichever byte of three it begins on.
func forms(secret string) []string {
	all := []string{secret}
	for skip := range 3 {
		whole := secret[skip : skip+(len(secret)-skip)/3*3]
		all = append(all, base64.StdEncoding.EncodeToString([]byte(whole)))
	}
	return all
}
