package control

import (
	"context"
	"slices"

	"github.com/slipway-cloud/slipway/internal/audit"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/models"
)

// BeginRepair says what was chosen, by server. What does not stand open any more, and what only an operator can do, is
// settled with that.
func (a *Audit) BeginRepair(ctx context.Context, in contract.RepairInput) (contract.RepairOrder, error) {
	var order contract.RepairOrder
	repair, err := a.store.AuditRepair(ctx, in.RepairID)
	if err != nil {
		return order, err
	}
	if len(repair.Findings) == 0 {
		return order, nil
	}
	open, err := a.store.AuditFindings(ctx, models.AuditFindingFilter{IDs: repair.Findings})
	if err != nil {
		return order, err
	}
	settled := map[string]models.AuditOutcome{}
	for _, id := range repair.Findings {
		if !slices.ContainsFunc(open, func(f models.AuditFinding) bool { return f.ID == id }) {
			settled[id] = models.AuditOutcome{Outcome: contract.OutcomeGone, Text: "no open finding has this id"}
		}
	}
	for _, f := range open {
		switch {
		case f.Repair == "":
			settled[f.ID] = models.AuditOutcome{Outcome: contract.OutcomeManual, Text: f.Text}
		case f.Kind == string(audit.PartialDownload):
			order.Partials = append(order.Partials, contract.RepairPartial{FindingID: f.ID, Hostname: f.Host, SHA512: f.Object[:len(f.Object)-len("@"+f.Host)]})
		default:
			i := slices.IndexFunc(order.Servers, func(s contract.RepairServerInput) bool { return s.ServerID == f.ServerID })
			if i < 0 {
				order.Servers = append(order.Servers, contract.RepairServerInput{ServerID: f.ServerID})
				i = len(order.Servers) - 1
			}
			order.Servers[i].Findings = append(order.Servers[i].Findings, contract.RepairFinding{ID: f.ID, Host: f.Host})
		}
	}
	if err := a.where(ctx, &order); err != nil {
		return order, err
	}
	return order, a.store.RecordRepair(ctx, in.RepairID, in.UserID, settled, nil, nil, a.now())
}

// where adds the hosts that hold room for the servers: things of theirs may lie there too.
func (a *Audit) where(ctx context.Context, order *contract.RepairOrder) error {
	var ids []string
	for _, s := range order.Servers {
		ids = append(ids, s.ServerID)
	}
	records, err := a.store.AuditRecords(ctx, models.AuditQuestion{Servers: ids})
	if err != nil {
		return err
	}
	at := make(map[string][]string, len(ids))
	for _, al := range records.Allocations {
		at[al.ServerID] = append(at[al.ServerID], al.Host)
	}
	for _, s := range records.Servers {
		at[s.ID] = append(at[s.ID], s.Host)
	}
	for i := range order.Servers {
		s := &order.Servers[i]
		for _, f := range s.Findings {
			at[s.ServerID] = append(at[s.ServerID], f.Host)
		}
		for _, host := range at[s.ServerID] {
			if host != "" && !slices.Contains(s.Hosts, host) {
				s.Hosts = append(s.Hosts, host)
			}
		}
		slices.Sort(s.Hosts)
	}
	return nil
}

// PlanRepair looks at a server's findings again, under the server's lock, and says what to do about those that stand.
func (a *Audit) PlanRepair(ctx context.Context, in contract.PlanRepairInput) (contract.RepairPlan, error) {
	question := models.AuditQuestion{Servers: []string{in.ServerID}}
	for _, inv := range in.Inventories {
		for _, t := range inv.Things {
			question.Images = append(question.Images, t.Missing...)
		}
	}
	records, err := a.store.AuditRecords(ctx, question)
	if err != nil {
		return contract.RepairPlan{}, err
	}
	first := ""
	for _, s := range records.Servers {
		first = s.First
	}
	// The caller runs under the server's own workflow id. Nothing else starts a clean-up of it.
	_, free, err := a.lock(ctx, in.ServerID, first, false)
	if err != nil {
		return contract.RepairPlan{}, err
	}
	if !free {
		var plan contract.RepairPlan
		for _, f := range in.Findings {
			plan.Outcomes = append(plan.Outcomes, contract.RepairOutcome{
				FindingID: f.ID, Outcome: contract.OutcomeLeft, Text: "a workflow works on the server: it gives back what it left",
			})
		}
		return plan, nil
	}
	return audit.Plan(records, in), nil
}

// RestoreAllocation holds room again for a server that runs.
func (a *Audit) RestoreAllocation(ctx context.Context, in contract.RoomInput) error {
	return a.store.RestorePlacement(ctx, in.ServerID, in.Hostname, in.Resources.VCPUs, in.Resources.RAMMiB, in.Resources.DiskGiB)
}

// EndRepair keeps what became of findings.
func (a *Audit) EndRepair(ctx context.Context, in contract.RepairEnd) error {
	outcomes := map[string]models.AuditOutcome{}
	var repaired, gone []string
	for _, o := range in.Outcomes {
		outcomes[o.FindingID] = models.AuditOutcome{Outcome: o.Outcome, Text: o.Text}
		switch o.Outcome {
		case contract.OutcomeRepaired:
			repaired = append(repaired, o.FindingID)
		case contract.OutcomeGone:
			gone = append(gone, o.FindingID)
		}
	}
	if err := a.store.RecordRepair(ctx, in.RepairID, in.UserID, outcomes, repaired, gone, a.now()); err != nil {
		return err
	}
	if !in.Last {
		return nil
	}
	return a.store.EndAuditRepair(ctx, in.RepairID, in.Error, a.now())
}
