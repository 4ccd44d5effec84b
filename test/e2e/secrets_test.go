package e2e

import (
	"encoding/base64"
	"fmt"
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

	dump, err := exec.CommandContext(t.Context(), "pg_dump", "--dbname="+r.DSN).Output()
	require.NoError(t, err)
	require.Contains(t, string(dump), good.ID, "the dump is of this database")
	places := map[string]string{"the database": string(dump)}
	for _, process := range append([]string{"api", "worker"}, r.Hosts...) {
		places["the log of "+process] = r.Log(process)
	}
	for _, s := range []*servers.Server{good, bad} {
		// The raw answer of Temporal's API: no codec has touched it.
		var history strings.Builder
		var decoded strings.Builder
		request := &workflowservice.GetWorkflowExecutionHistoryRequest{
			Namespace: "slipway", Execution: &commonpb.WorkflowExecution{WorkflowId: ids.ServerWorkflow(s.ID)},
		}
		for {
			page, err := r.temporal.WorkflowService().GetWorkflowExecutionHistory(t.Context(), request)
			require.NoError(t, err)
			raw, err := proto.Marshal(page)
			require.NoError(t, err)
			history.Write(raw)
			for _, e := range page.GetHistory().GetEvents() {
				if started := e.GetWorkflowExecutionStartedEventAttributes(); started != nil {
					var in contract.BootInput
					require.NoError(t, r.Converter(t).FromPayloads(started.GetInput(), &in))
					fmt.Fprintf(&decoded, "%s %s", in.AdminPass, in.UserData)
				}
			}
			if request.NextPageToken = page.GetNextPageToken(); len(request.NextPageToken) == 0 {
				break
			}
		}
		require.Contains(t, decoded.String(), password, "the history holds the secret, encrypted")
		require.Contains(t, decoded.String(), marker)
		require.Contains(t, history.String(), s.ID)
		places["the history of server "+s.ID] = history.String()
	}
	for place, text := range places {
		for _, secret := range []string{password, marker} {
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
