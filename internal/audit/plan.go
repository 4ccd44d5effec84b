package audit

import (
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/internal/contract"
)

// Plan says how to repair those of the chosen findings about one server that still stand. r are the server's records, and
// in.Inventories what lies on the hosts now. Nothing may work on the server meanwhile. What is chosen is repaired and
// nothing else; steps are in an order in which the first that fails may end the repair: a port goes when no host holds
// anything that may use it, room when nothing is left there.
func Plan(r Records, in contract.PlanRepairInput) contract.RepairPlan {
	w := World{Records: r, Inventories: in.Inventories}
	stands := Compare(w)
	p := planner{in: in, records: r, x: newIndex(r)}
	var chosen []Finding
	for _, f := range in.Findings {
		i := slices.IndexFunc(stands, func(s Finding) bool { return s.ID == f.ID && s.ServerID == in.ServerID })
		switch {
		case i >= 0 && stands[i].Repair == "":
			p.outcome(f.ID, contract.OutcomeManual, stands[i].Text)
		case i >= 0 && stands[i].Named && !r.Restore.At.IsZero() && !r.Restore.Acknowledged:
			p.outcome(f.ID, contract.OutcomeLeft, "the database was restored, and nobody has acknowledged that: slipway installation acknowledge")
		case i >= 0:
			chosen = append(chosen, stands[i])
		case slices.Contains(in.Unasked, f.Host):
			p.outcome(f.ID, contract.OutcomeLeft, f.Host+" does not answer")
		default:
			p.outcome(f.ID, contract.OutcomeGone, "it is not so any more")
		}
	}
	p.leftovers(chosen)
	for _, f := range chosen {
		p.repair(f)
	}
	return p.plan
}

type planner struct {
	in      contract.PlanRepairInput
	records Records
	x       index
	plan    contract.RepairPlan
	cleared []string // hosts
}

func (p *planner) outcome(id, outcome, text string) {
	p.plan.Outcomes = append(p.plan.Outcomes, contract.RepairOutcome{FindingID: id, Outcome: outcome, Text: text})
}

func (p *planner) step(s contract.RepairStep, ids ...string) {
	s.Findings = ids
	p.plan.Steps = append(p.plan.Steps, s)
}

func (p *planner) undo(activity, host string, u contract.Undo, ids ...string) {
	u.ServerID = p.in.ServerID
	p.step(contract.RepairStep{Activity: activity, Host: host, Undo: &u}, ids...)
}

// clear removes what a host has of the server: the undos of a build's steps there, in their order.
func (p *planner) clear(host string, ids ...string) {
	for _, activity := range []string{contract.DestroyDomain, contract.UndefineDomain, contract.RemoveDisk, contract.RemoveConfigDrive} {
		p.undo(activity, host, contract.Undo{Hostname: host}, ids...)
	}
	p.cleared = append(p.cleared, host)
}

func (p *planner) unasked(host string) bool { return slices.Contains(p.in.Unasked, host) }

// leftovers clears each host on which something is left that should not be, once.
func (p *planner) leftovers(chosen []Finding) {
	var hosts []string
	of := map[string][]string{}
	for _, f := range chosen {
		if f.Kind == DomainWithoutServer || f.Kind == FolderWithoutServer || f.Kind == AllocationWithoutServer {
			if of[f.Host] == nil {
				hosts = append(hosts, f.Host)
			}
			of[f.Host] = append(of[f.Host], f.ID)
		}
	}
	slices.Sort(hosts)
	for _, host := range hosts {
		if p.unasked(host) {
			for _, id := range of[host] {
				p.outcome(id, contract.OutcomeLeft, host+" does not answer, and what it holds may still run")
			}
			continue
		}
		p.clear(host, of[host]...)
	}
}

func (p *planner) repair(f Finding) {
	id := p.in.ServerID
	s := p.x.servers[id]
	switch f.Kind {
	case DomainWithoutServer, FolderWithoutServer: // cleared
	case AllocationWithoutServer:
		if slices.Contains(p.cleared, f.Host) {
			p.undo(contract.ReleaseAllocation, "", contract.Undo{Hostname: f.Host}, f.ID)
		}
	case PortWithoutServer:
		if held := p.heldOn(); len(held) > 0 {
			p.outcome(f.ID, contract.OutcomeLeft, "its address may still be in use on "+strings.Join(held, ", ")+": repair what is left there first")
			return
		}
		for _, port := range p.records.Ports {
			if port.ID == f.Object {
				p.undo(contract.ReleaseNetwork, "", contract.Undo{Index: port.NIC}, f.ID)
			}
		}
	case ClaimWithoutServer:
		p.undo(contract.ReleaseQuota, "", contract.Undo{}, f.ID)
	case SpecWithoutServer:
		p.undo(contract.ForgetSpec, "", contract.Undo{}, f.ID)
	case ServerWithoutClaim:
		p.step(contract.RepairStep{Activity: contract.ClaimQuota, Claim: &contract.ClaimQuotaInput{
			ServerID: id, ProjectID: s.ProjectID, VCPUs: s.VCPUs, RAMMiB: s.RAMMiB, Limits: contract.Quota{Instances: -1, Cores: -1, RAMMiB: -1},
		}}, f.ID)
	case ServerWithoutAllocation:
		p.step(contract.RepairStep{Activity: contract.RestoreAllocation, Room: &contract.RoomInput{
			ServerID: id, Hostname: s.Host, Resources: s.Resources,
		}}, f.ID)
	case DiskWithoutImage:
		p.fetch(f)
	case BuildWithoutWorkflow:
		p.fail(s, f.ID)
	case DeleteWithoutWorkflow:
		p.plan.Delete = &contract.DeleteInput{
			ServerID: id, ProjectID: s.ProjectID, UserID: p.in.UserID, RequestID: p.in.RequestID, Deadlines: p.in.Deadlines,
		}
		p.plan.For = append(p.plan.For, f.ID)
	}
}

// heldOn lists the hosts that may hold something of the server and that this plan does not clear.
func (p *planner) heldOn() []string {
	var held []string
	add := func(host string) {
		if !slices.Contains(p.cleared, host) && !slices.Contains(held, host) {
			held = append(held, host)
		}
	}
	for _, a := range p.records.Allocations {
		if a.ServerID == p.in.ServerID {
			add(a.Host)
		}
	}
	for _, inv := range p.in.Inventories {
		for _, t := range inv.Things {
			if t.ID == p.in.ServerID && t.Domain != "" && !t.Elsewhere {
				add(inv.Hostname)
			}
		}
	}
	slices.Sort(held)
	return held
}

func (p *planner) fetch(f Finding) {
	for _, inv := range p.in.Inventories {
		if inv.Hostname != f.Host {
			continue
		}
		for _, t := range inv.Things {
			if t.ID == p.in.ServerID {
				images := fetchable(t.Missing, p.records.Images)
				p.step(contract.RepairStep{Activity: contract.FetchImage, Host: f.Host, Fetch: &contract.FetchImageInput{ServerID: t.ID, Images: images}}, f.ID)
			}
		}
	}
}

// fail ends a build that nothing works on, as its own undos would have.
func (p *planner) fail(s *Server, id string) {
	hosts := []string{}
	for _, a := range p.records.Allocations {
		if a.ServerID == s.ID {
			hosts = append(hosts, a.Host)
		}
	}
	if s.Host != "" && !slices.Contains(hosts, s.Host) {
		hosts = append(hosts, s.Host)
	}
	slices.Sort(hosts)
	for _, host := range hosts {
		if p.unasked(host) {
			p.outcome(id, contract.OutcomeLeft, host+" does not answer, and what it holds may still run")
			return
		}
	}
	for _, host := range hosts {
		p.clear(host, id)
		p.undo(contract.ReleaseAllocation, "", contract.Undo{Hostname: host}, id)
	}
	for _, port := range p.records.Ports {
		if port.ServerID == s.ID {
			p.undo(contract.ReleaseNetwork, "", contract.Undo{Index: port.NIC}, id)
		}
	}
	const lost = "The build was lost: the workflow that ran it has ended without a result. Please delete the server and build it again."
	p.step(contract.RepairStep{Activity: contract.FailServer, Fail: &contract.FailServerInput{
		ServerID: s.ID, RequestID: s.RequestID, Code: 500, Message: lost, Details: "ended by an operator's repair, " + p.in.RequestID,
	}}, id)
	p.undo(contract.ReleaseQuota, "", contract.Undo{}, id)
}
