package system

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/ec2credentials"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// said is what is said to an action beside its word, by the name of its row; nothing where it takes nothing.
var said = map[string]func(*servers.Server) any{
	"changePassword": plainly(map[string]any{"adminPass": "s3cret"}),
	"createBackup":   plainly(map[string]any{"name": "of-the-test", "backup_type": "daily", "rotation": 1}),
	"os-resetState":  plainly(map[string]any{"state": "error"}),
	"reboot-soft":    plainly(map[string]any{"type": "SOFT"}),
	"reboot-hard":    plainly(map[string]any{"type": "HARD"}),
	"rescue":         func(s *servers.Server) any { return map[string]any{"rescue_image_ref": s.Image["id"]} },
	"resize":         plainly(map[string]any{"flavorRef": "larger"}),
	"rebuild":        func(s *servers.Server) any { return map[string]any{"imageRef": s.Image["id"]} },
}

// plainly says the same of every server.
func plainly(body any) func(*servers.Server) any {
	return func(*servers.Server) any { return body }
}

// Ask asks for an action on a server, with the least that it takes.
func Ask(t testing.TB, compute *gophercloud.ServiceClient, id string, action lifecycle.Action) error {
	t.Helper()
	if action.To == lifecycle.SoftDeleted { // in a system that defers deletes
		return servers.Delete(t.Context(), compute, id).ExtractErr()
	}
	if action.Name == "createImage" {
		return image(t, compute.ProviderClient, id)
	}
	var saying any
	if says, ok := said[action.Name]; ok {
		s, err := servers.Get(t.Context(), compute, id).Extract()
		if err != nil {
			return err
		}
		saying = says(s)
	}
	_, err := compute.Post(t.Context(), compute.ServiceURL("servers", id, "action"), map[string]any{action.Says(): saying}, nil, //nolint:bodyclose // gophercloud closes it
		&gophercloud.RequestOpts{OkCodes: []int{200, 202, 204}}) // as each answers
	return err
}

// image asks for an image by EC2's API, which alone has the guest shut down for it: all steps that there are are done then. It asks once, as
// the others do.
func image(t testing.TB, p *gophercloud.ProviderClient, id string) error {
	t.Helper()
	key := AccessKey(t, p)
	identity, err := openstack.NewIdentityV3(p, gophercloud.EndpointOpts{Region: "RegionOne"})
	require.NoError(t, err)
	defer func() {
		require.NoError(t, ec2credentials.Delete(t.Context(), identity, key.UserID, key.Access).ExtractErr())
	}()
	_, err = ec2With(t, p, key, func(o *ec2.Options) { o.RetryMaxAttempts = 1 }).CreateImage(t.Context(), &ec2.CreateImageInput{
		InstanceId: new(ids.EC2(ids.EC2Instance, id)), Name: &id,
	})
	if answered := new(smithyhttp.ResponseError); errors.As(err, &answered) {
		return gophercloud.ErrUnexpectedResponseCode{Actual: answered.HTTPStatusCode(), Body: []byte(err.Error())}
	}
	return err
}

// Toward are the actions that make a server that is active one in a state, on another host where it is to have moved, one after the other. Of
// those that share a word none is: which is meant may be a setting's.
func Toward(t testing.TB, state lifecycle.VMState, moved bool) []lifecycle.Action {
	t.Helper()
	if state == lifecycle.Active {
		return nil
	}
	var way []lifecycle.Action
	for _, a := range lifecycle.Tabled() {
		switch {
		case a.To != state || a.Word != "":
		case a.Allows(lifecycle.Active) && a.Admin == moved:
			return []lifecycle.Action{a}
		case !a.Allows(lifecycle.Active) && way == nil:
			way = append(Toward(t, a.From[0], false), a)
		}
	}
	require.NotEmpty(t, way, "no action makes an active server %s", state)
	return way
}
