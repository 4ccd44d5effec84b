// Package facts says what a server's guest is made of and told, by the rows that the server has now: for whatever makes it anew, and for
// the metadata service.
package facts

import (
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/payload"
	"github.com/slipway-cloud/slipway/internal/serverspec"
	"github.com/slipway-cloud/slipway/models"
)

// Of a server, with its spec as it was kept, on hosts that plug ports as vif says. What it takes of its host is left open. Conflict where
// it was built before specs were kept.
func Of(v models.Server, specs map[string]models.ServerSpec, keys *payload.Keys, vif string) (f contract.ServerFacts, err error) {
	sealed, is := specs[v.ID]
	if !is {
		return f, fault.New(fault.Conflict,
			"Nothing says what instance %s was built of: it was built before that was kept, and cannot be made anew.", v.ID)
	}
	f = contract.ServerFacts{
		Server: contract.Server{
			ServerID: v.ID, ProjectID: v.ProjectID, UserID: v.UserID, Name: v.Name, Hostname: v.Hostname, Description: value(v.Description),
			ImageID: v.ImageID, Flavor: contract.Flavor(v.Flavor), AvailabilityZone: v.AvailabilityZone, Metadata: v.Metadata, Tags: v.Tags,
			ConfigDrive: v.ConfigDrive, Fingerprint: value(v.Fingerprint), ReservationID: v.ReservationID, LaunchIndex: v.LaunchIndex,
			AccessIPv4: v.AccessIPv4, AccessIPv6: v.AccessIPv6, AutoDiskConfig: new(v.AutoDiskConfig), RootDevice: v.RootDeviceName, Protected: v.Protected, EndsAtShutdown: v.EndsAtShutdown,
			KernelID: v.KernelID, RamdiskID: v.RamdiskID, TrustedCertificates: v.TrustedCertificates,
		},
		KeyName: value(v.KeyName), StartedAt: v.CreatedAt,
	}
	if f.Spec, err = Spec(keys, sealed); err != nil {
		return f, err
	}
	for _, p := range v.Ports {
		nic := contract.NICRequest{PortID: p.ID, Tag: value(p.Tag)}
		if p.MadeByBuild {
			nic = contract.NICRequest{NetworkID: p.NetworkID, Tag: value(p.Tag)}
		}
		f.Networks, f.Ports = append(f.Networks, nic), append(f.Ports, Port(p, vif))
	}
	return f, nil
}

// Spec opens what was kept of a server.
func Spec(keys *payload.Keys, kept models.ServerSpec) (contract.ServerSpec, error) {
	return serverspec.Spec.Open(keys, kept.ServerID, payload.Sealed{KeyID: kept.KeyID, Bytes: kept.Sealed})
}

// Port is one as its host and its guest need it.
func Port(p models.Port, vif string) contract.Port {
	out := contract.Port{
		ID: p.ID, NetworkID: p.NetworkID, Network: p.Network.Name, MAC: p.MAC, MTU: p.Network.MTU,
		Bridge: ids.Bridge(p.NetworkID), Tag: value(p.Tag), VIFType: vif, SecurityGroups: []string{},
	}
	for _, g := range p.SecurityGroups() {
		out.SecurityGroups = append(out.SecurityGroups, g.Name)
	}
	for _, f := range p.FixedIPs {
		address := contract.Address{IP: f.IP, SubnetID: f.SubnetID}
		for _, s := range p.Network.Subnets {
			if s.ID == f.SubnetID {
				address.CIDR, address.Gateway, address.DNSServers = s.CIDR, value(s.GatewayIP), s.DNSServers
				for _, r := range s.HostRoutes {
					address.Routes = append(address.Routes, contract.Route(r))
				}
			}
		}
		out.Addresses = append(out.Addresses, address)
	}
	return out
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
