package ec2

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/service/networks"
)

func TestMetadataOptionsSayWhatIsSoOnTheEngine(t *testing.T) {
	for _, c := range []struct {
		option, value string
		bridge, ovn   string
	}{
		{"HttpEndpoint", "", "", ""},
		{"HttpEndpoint", "enabled", "There is no metadata service: an instance reads its config drive", ""},
		{"HttpEndpoint", "disabled", "", "HttpEndpoint disabled is not supported: the metadata service cannot be switched off for one instance"},
		{
			"HttpTokens", "required", "There is no metadata service: an instance reads its config drive",
			"HttpTokens required is not supported: the metadata service answers with tokens and without",
		},
		{"HttpTokens", "optional", "There is no metadata service: an instance reads its config drive", ""},
		{"HttpProtocolIpv6", "enabled", "There is no metadata service: an instance reads its config drive", ""},
		{
			"HttpProtocolIpv6", "disabled", "There is no metadata service: an instance reads its config drive",
			"HttpProtocolIpv6 disabled is not supported: the metadata service answers by IPv6 too",
		},
		{"InstanceMetadataTags", "disabled", "There is no metadata service: an instance reads its config drive", ""},
		{
			"InstanceMetadataTags", "enabled", "There is no metadata service: an instance reads its config drive",
			"InstanceMetadataTags enabled is not supported: the metadata service has no meta-data/tags",
		},
	} {
		var in metadataOptions
		require.NoError(t, decode(url.Values{c.option: {c.value}}, &in))
		for engine, refusal := range map[string]string{networks.Bridge: c.bridge, networks.OVN: c.ovn} {
			err := in.check(engine)
			if refusal == "" {
				require.NoError(t, err, "%s %s on %s", c.option, c.value, engine)
				continue
			}
			require.Equal(t, refusal, fault.Public(err), "%s %s on %s", c.option, c.value, engine)
			require.EqualValues(t, "UnsupportedOperation", codeOf(err))
		}
	}
	require.EqualValues(t, "UnsupportedOperation", codeOf(decode(url.Values{"HttpPutResponseHopLimit": {"2"}}, &metadataOptions{})))
}
