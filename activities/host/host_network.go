package host

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
)

// DescribeNetwork tells what switches this host's guests where networks stand on OVN, and which of their ports are plugged.
func (a *Activities) DescribeNetwork(ctx context.Context, _ contract.HostNetworkInput) (contract.HostNetwork, error) {
	if a.o.Ports == nil {
		return contract.UnswitchedHost(a.o.Hostname), nil
	}
	return a.o.Ports.Describe(ctx, a.o.Hostname), nil
}
