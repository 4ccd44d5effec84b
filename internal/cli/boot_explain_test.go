package cli

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const explained = `{"explanation":{"accepted":true,"refused":null,"min_count":1,"max_count":1,"admitted":1,
	"quota":{"instances":{"limit":10,"in_use":3,"asked":1,"left":7},"cores":{"limit":-1,"in_use":3,"asked":2,"left":-1},"metadata_items":{"limit":128,"in_use":0,"asked":0,"left":128}},
	"image":{"id":"im-1","name":"debian","disk_format":"qcow2","size":1048576},"takes":{"vcpus":2,"ram_mib":512,"disk_gib":10},
	"fault":null,"hosts_fit":1,"hosts":[{"host":"hv1","availability_zone":"nova","weight":1.5,
		"weighers":[{"weigher":"RAMWeigher","value":8192,"adds":1.5},{"weigher":"CPUWeigher","value":4,"adds":0}]}],
	"filters":[{"filter":"ComputeFilter","removed":1,"hosts":[{"host":"hv2","reason":"disabled: maintenance"}]}],
	"expected":{"builds":50,"seconds":12.345,"steps":[]}}}`

func TestExplainShowsWhatTheSameRequestWouldDoAndSendsNoOther(t *testing.T) {
	a := bootable(t)
	a.json("POST /reservations/explain", 200, explained)
	got := run(t, "boot", "web", "--image", "debian", "--flavor", "small", "--explain")
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, `accepted  yes
servers   1 of 1
quota     instances: 1 asked for, 7 left
          cores: 2 asked for, any number left
image     debian (im-1), qcow2, 1.0 MiB
takes     2 vCPUs, 512 MiB of memory, 10 GiB of disk
placed    on one of 1 hosts
hosts     hv1 in nova, weight 1.50: RAMWeigher 1.50 (8192)
removed   ComputeFilter: 1, hv2 (disabled: maintenance)
expected  12.35 s, as half of the last 50 builds took at most
`, got.out)
	require.Empty(t, a.made("POST /compute/v2.1/servers"))
	sent := a.made("POST /reservations/explain")
	require.Len(t, sent, 1)
	require.JSONEq(t, `{"server":{"name":"web","imageRef":"im-1","flavorRef":"2","networks":"auto","config_drive":true}}`, sent[0].body)
	require.Equal(t, "compute 2.96", sent[0].header.Get("OpenStack-API-Version"))
	got = run(t, "boot", "web", "--image", "debian", "--flavor", "small", "--explain", "-o", "json")
	require.Contains(t, got.out, `"reason": "disabled: maintenance"`)
	require.NotZero(t, run(t, "boot", "web", "--image", "debian", "--flavor", "small", "--explain", "--wait").code)
}

func TestWhatWouldNotBeBuiltIsExitOneBehindItsExplanation(t *testing.T) {
	for body, want := range map[string]string{
		`{"explanation":{"accepted":false,"refused":{"step":"ClaimQuota","code":403,"message":"Quota exceeded for cores"},"max_count":1,"min_count":1,"admitted":0}}`: "Quota exceeded for cores",
		`{"explanation":{"accepted":true,"fault":{"code":500,"message":"No valid host was found."},"max_count":1,"min_count":1,"admitted":1}}`:                        "No valid host was found.",
	} {
		a := bootable(t)
		a.json("POST /reservations/explain", 200, body)
		got := run(t, "boot", "web", "--image", "debian", "--flavor", "small", "--explain")
		require.Equal(t, 1, got.code)
		require.Contains(t, got.err, want)
		require.Contains(t, got.out, "servers")
	}
}
