package cli

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const switched = `{"network":{"hostname":"hv1",
	"switch":{"version":"3.5.0","datapath":"userspace","system_id":"hv1","southbound":"ssl:ovn:6642","encap":"geneve","encap_ip":"10.0.0.1","tunnels":["hv2","hv3"],"mappings":[{"network":"physnet1","bridge":"br-ex"}]},
	"ports":[{"server_id":"s-1","nic":0,"port_id":"p-1","tap":"tap1","up":true,"error":""},{"server_id":"s-2","nic":1,"port_id":"","tap":"tap2","up":false,"error":"it is not in the switch"}],
	"checks":[{"name":"switch","ok":true,"text":"Open vSwitch 3.5.0"},{"name":"controller","ok":false,"text":"ovn-controller does not run"}]}}`

func TestWhatSwitchesAHostsServersIsShownWithWhatIsMissing(t *testing.T) {
	a := newAPI(t)
	a.json("GET /hosts", 200, `{"hosts":[{"id":"h-1","hostname":"hv1"}]}`)
	a.json("GET /hosts/h-1/network", 200, switched)
	got := run(t, "host", "network", "hv1")
	require.Zero(t, got.code, got.err)
	for _, line := range []string{
		`(?m)^open vswitch +3\.5\.0$`, `(?m)^encapsulation +geneve 10\.0\.0\.1$`, `(?m)^tunnels to +hv2, hv3$`, `(?m)^mappings +physnet1:br-ex$`,
		`(?m)^controller +missing +ovn-controller does not run$`, `(?m)^s-1 +0 +p-1 +tap1 +up +-$`, `(?m)^s-2 +1 +- +tap2 +down +it is not in the switch$`,
	} {
		require.Regexp(t, line, got.out)
	}
	got = run(t, "host", "network", "hv1", "-o", "json")
	require.Zero(t, got.code, got.err)
	require.JSONEq(t, switched, `{"network":`+got.out+`}`)

	a = newAPI(t)
	a.json("GET /hosts", 200, `{"hosts":[{"id":"h-1","hostname":"hv1"},{"id":"h-2","hostname":"hv2"}]}`)
	a.json("GET /hosts/h-2/network", 200, `{"network":{"hostname":"hv2","switch":null,"ports":[],"checks":[{"name":"switch","ok":false,"text":"the host plugs no ports"}]}}`)
	got = run(t, "host", "network", "hv2")
	require.Zero(t, got.code, got.err)
	require.Regexp(t, `(?m)^switch +missing +the host plugs no ports$`, got.out)
	a.json("GET /hosts/h-1/network", 503, `{"error":{"code":503,"message":"What switches the host's guests is not known: the host did not answer."}}`)
	got = run(t, "host", "network", "hv1")
	require.NotZero(t, got.code)
	require.Contains(t, got.err, "the host did not answer")
}
