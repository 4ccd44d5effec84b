package control

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/serverspec"
	"github.com/slipway-cloud/slipway/models"
)

// AdoptServer makes a server of what its host has, with all that it had: row, spec, claim, room and ports, at once or not at all.
func (a *Activities) AdoptServer(ctx context.Context, in contract.AdoptServerInput) error {
	facts, now := in.Facts, a.now()
	sealed, err := serverspec.Spec.Seal(a.keys, in.ServerID, facts.Spec)
	if err != nil {
		return err
	}
	server := serverOf(contract.RecordServerInput{Server: facts.Server, KeyName: facts.KeyName, StartedAt: facts.StartedAt})
	server.TaskState, server.PowerState = nil, in.PowerState
	for nic, p := range facts.Ports {
		server.Ports = append(server.Ports, adoptedPort(nic, p, nic < len(facts.Networks) && facts.Networks[nic].PortID != ""))
	}
	return a.store.AdoptServer(ctx, models.Adoption{
		Server: server, Host: in.Hostname,
		Spec:  models.ServerSpec{KeyID: sealed.KeyID, Sealed: sealed.Bytes, Parts: partsOf(facts.Spec.Image)},
		Claim: models.Claim{Instances: 1, Cores: facts.Server.Flavor.VCPUs, RAMMiB: facts.Server.Flavor.RAMMiB},
		Room:  models.Placement{VCPUs: facts.Resources.VCPUs, MemoryMiB: facts.Resources.RAMMiB, DiskGiB: facts.Resources.DiskGiB},
		Action: models.InstanceAction{
			RequestID: in.RequestID, Action: "adopt", UserID: in.UserID, ProjectID: in.ProjectID, StartedAt: now, AnswerBy: in.AnswerBy,
			Events: []models.InstanceActionEvent{{
				Event: contract.AdoptServer, Host: &in.Hostname, StartedAt: now, EndedAt: &now, Result: new("Success"),
			}},
		},
	})
}

func adoptedPort(nic int, p contract.Port, users bool) models.Port {
	port := models.Port{ID: p.ID, NetworkID: p.NetworkID, MAC: p.MAC, NICIndex: nic, MadeByBuild: !users, Tag: optional(p.Tag)}
	for _, address := range p.Addresses {
		port.FixedIPs = append(port.FixedIPs, models.FixedIP{SubnetID: address.SubnetID, IP: address.IP})
	}
	return port
}
