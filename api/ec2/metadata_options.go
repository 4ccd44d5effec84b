package ec2

import "github.com/slipway-cloud/slipway/internal/service/networks"

// metadataOptions are of the metadata service, which instances have where OVN carries packets. It has no options: what it is may be asked for.
type metadataOptions struct {
	Endpoint string  `ec2:"HttpEndpoint"`
	Tokens   string  `ec2:"HttpTokens"`
	IPv6     string  `ec2:"HttpProtocolIpv6"`
	Tags     string  `ec2:"InstanceMetadataTags"`
	Hops     refused `ec2:"HttpPutResponseHopLimit" why:"how far the answers of a metadata service go is not chosen"`
}

// check refuses what is not so on the engine.
func (m metadataOptions) check(engine string) error {
	if engine != networks.OVN {
		if m.Endpoint != "" && m.Endpoint != "disabled" || m.Tokens+m.IPv6+m.Tags != "" {
			return unsupported("There is no metadata service: an instance reads its config drive")
		}
		return nil
	}
	for _, option := range []struct{ name, value, is, why string }{
		{"HttpEndpoint", m.Endpoint, "enabled", "the metadata service cannot be switched off for one instance"},
		{"HttpTokens", m.Tokens, "optional", "the metadata service answers with tokens and without"},
		{"HttpProtocolIpv6", m.IPv6, "enabled", "the metadata service answers by IPv6 too"},
		{"InstanceMetadataTags", m.Tags, "disabled", "the metadata service has no meta-data/tags"},
	} {
		if option.value != "" && option.value != option.is {
			return unsupported("%s %s is not supported: %s", option.name, option.value, option.why)
		}
	}
	return nil
}
