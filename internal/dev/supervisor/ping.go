package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/dev/stack"
)

func pingCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "ping SERVER-ID",
		Short: "Ping a server from a port of its own network, where networks stand on OVN",
		Long: `Makes a port on the network of the server's first port, puts an interface there that is in a network namespace of its own, and pings
the server from it as a neighbour would. Port and interface are removed again.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ping(cmd.Context(), *o, args[0], cmd.OutOrStdout())
		},
	}
}

// pingPort is the name of the port that it stands on.
const pingPort = "slipway-dev-ping"

func ping(ctx context.Context, o options, serverID string, out io.Writer) (err error) {
	if o.state, err = filepath.Abs(o.state); err != nil {
		return err
	}
	settings, err := o.settings()
	if err != nil {
		return err
	}
	if settings.Network.Engine != config.EngineOVN {
		return errors.New("the networks of this stack are bridges that nobody else is on: `slipway dev --network-engine ovn` has OVN switch them")
	}
	d := &dev{options: o, log: slog.New(slog.DiscardHandler), secrets: secrets{admin: settings.API.AdminPassword}}
	if err := d.believe(settings.Host.APIURL, settings.Host.APICA); err != nil {
		return err
	}
	provider, err := d.admin(ctx)
	if err != nil {
		return err
	}
	neutron, err := openstack.NewNetworkV2(provider, gophercloud.EndpointOpts{Region: "RegionOne"})
	if err != nil {
		return err
	}
	find := func(by ports.ListOpts) ([]ports.Port, error) {
		page, err := ports.List(neutron, by).AllPages(ctx)
		if err != nil {
			return nil, err
		}
		return ports.ExtractPorts(page)
	}
	servers, err := find(ports.ListOpts{DeviceID: serverID})
	if err != nil {
		return err
	}
	if len(servers) == 0 || len(servers[0].FixedIPs) == 0 {
		return fmt.Errorf("server %s has no port with an address", serverID)
	}
	of := servers[0]
	left, err := find(ports.ListOpts{Name: pingPort})
	for _, p := range left { // by one that was killed
		err = errors.Join(err, ports.Delete(ctx, neutron, p.ID).ExtractErr())
	}
	if err != nil {
		return err
	}
	made, err := ports.Create(ctx, neutron, ports.CreateOpts{
		NetworkID: of.NetworkID, ProjectID: of.ProjectID, Name: pingPort, FixedIPs: []ports.IP{{SubnetID: of.FixedIPs[0].SubnetID}},
	}).Extract()
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, ports.Delete(context.WithoutCancel(ctx), neutron, made.ID).ExtractErr())
	}()
	subnet, err := subnets.Get(ctx, neutron, of.FixedIPs[0].SubnetID).Extract()
	if err != nil {
		return err
	}
	cidr, err1 := netip.ParsePrefix(subnet.CIDR)
	from, err2 := netip.ParseAddr(made.FixedIPs[0].IPAddress)
	to, err3 := netip.ParseAddr(of.FixedIPs[0].IPAddress)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	fmt.Fprintf(out, "from %s (port %s) on network %s\n", from, made.ID, made.NetworkID)
	return stack.Ping(ctx, stack.Stand{
		Chassis: o.ovnChassis(), Programs: o.ovnPrograms(), PortID: made.ID, MAC: made.MACAddress, Address: netip.PrefixFrom(from, cidr.Bits()), To: to,
	}, out)
}
