package control

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-cloud/slipway/internal/audit"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

// Engine tells of workflows.
type Engine interface {
	// Latest is the newest run under a workflow id ("" where none is known), and whether it still runs. It is never late: a
	// run that was started before the question is seen.
	Latest(ctx context.Context, workflowID string) (runID string, running bool, err error)
}

// Audit holds the activities that compare what is recorded with what lies on hosts.
//
// A finding is what stood on a second look that nothing interfered with: between two questions to the engine, before and
// after that look, no workflow that may change the server was running or has run. So a build, a delete, a clean-up or a
// reservation at any of its moments is left out, and what an operator made one of them skip is found once it has ended.
type Audit struct {
	store   *models.Store
	engine  Engine
	orphans Orphans
	now     func() time.Time
}

// Orphans are the bytes in the image stores that no image has: images.Service.
type Orphans interface {
	Orphans(ctx context.Context) ([]images.Orphan, error)
}

// NewAudit makes the activities. Without orphans, the stores are not looked at.
func NewAudit(store *models.Store, engine Engine, orphans Orphans) *Audit {
	return &Audit{store: store, engine: engine, orphans: orphans, now: time.Now}
}

const (
	recordsScope = "records"
	storesScope  = "image stores"

	networksScope = "networks"
)

// Scopes of findings that only a look at a host resolves.
func hostScope(hostname string) string   { return "host:" + hostname }
func missedScope(hostname string) string { return "missed:" + hostname }

// findingsMax bounds what is kept of one part of the world.
const findingsMax = 1000

// BeginAudit notes the run and says which hosts there are.
func (a *Audit) BeginAudit(ctx context.Context, in contract.AuditRun) (contract.AuditStart, error) {
	hosts, err := a.store.BeginAuditRun(ctx, in.RunID, a.now())
	return contract.AuditStart{Hosts: hosts}, err
}

// EndAudit ends it.
func (a *Audit) EndAudit(ctx context.Context, in contract.AuditEnd) error {
	return a.store.EndAuditRun(ctx, in.RunID, in.Error, func(hostname string) []string {
		return []string{hostScope(hostname), missedScope(hostname)}
	}, a.now())
}

// AuditRecords compares the control plane's rows with each other, twice, and with the image stores, and keeps what stands.
func (a *Audit) AuditRecords(ctx context.Context, in contract.AuditRun) error {
	records, err := a.store.AuditRecords(ctx, models.AuditQuestion{All: true})
	if err != nil {
		return err
	}
	before, err := a.free(ctx, records, audit.OfRecords(records))
	if err != nil {
		return err
	}
	records, err = a.store.AuditRecords(ctx, models.AuditQuestion{Servers: before.servers()})
	if err != nil {
		return err
	}
	after, err := a.free(ctx, records, audit.OfRecords(records))
	if err != nil {
		return err
	}
	found, left := after.standing(before.candidates(), before.busy)
	if err := a.keep(ctx, in.RunID, models.AuditScope{Name: recordsScope}, "", found, left, 0, ""); err != nil {
		return err
	}
	if err := a.auditNetworks(ctx, in.RunID); err != nil {
		return err
	}
	return a.auditStores(ctx, in.RunID)
}

// networkPatience is how long a change of a network may wait for the engine: longer than a new term of its writer takes.
const networkPatience = 5 * time.Minute

// auditNetworks keeps what the network engine should have by now. What it has, its writer compares by itself.
func (a *Audit) auditNetworks(ctx context.Context, runID string) error {
	waiting, err := a.store.OverdueNetworkChanges(ctx, networkPatience, findingsMax)
	if err != nil {
		return err
	}
	return a.keep(ctx, runID, models.AuditScope{Name: networksScope}, "", audit.OfNetworks(waiting), nil, 0, "")
}

// storesPatience is how long the image stores may take to list what they have, within the activity's own deadline.
const storesPatience = time.Minute

// auditStores keeps what no image has of the stores' bytes. It is slow to change, so one look is enough. Where a store does
// not answer, what was found before stays open.
func (a *Audit) auditStores(ctx context.Context, runID string) error {
	if a.orphans == nil {
		return nil
	}
	looking, cancel := context.WithTimeout(ctx, storesPatience)
	defer cancel()
	all, err := a.orphans.Orphans(looking)
	var missed []models.AuditFinding
	if err != nil {
		missed = append(missed, row(audit.StoresMissed(fault.Public(err))))
	} else {
		orphans := make([]audit.Orphan, len(all))
		for i, o := range all {
			orphans[i] = audit.Orphan{ID: o.ID, Store: o.Store, Bytes: o.Bytes, Since: o.Since, Until: o.Until}
		}
		if err := a.keep(ctx, runID, models.AuditScope{Name: storesScope}, "", audit.OfStores(orphans, images.Few), nil, 0, ""); err != nil {
			return err
		}
	}
	return a.store.RecordFindings(ctx, runID, models.AuditScope{Name: "missed " + storesScope}, missed, nil, "", a.now())
}

// AuditHost compares what lies on a host with the rows. The first look answers what to look at again, or keeps that there
// is nothing; the final one keeps what stands.
func (a *Audit) AuditHost(ctx context.Context, in contract.AuditHostInput) (contract.AuditHostOutput, error) {
	inv := in.Inventory
	question := models.AuditQuestion{Servers: inv.Servers}
	if !inv.Only {
		question = models.AuditQuestion{Hostname: inv.Hostname, After: inv.After, Through: inv.Through}
	}
	for _, t := range inv.Things {
		question.Images = append(question.Images, t.Missing...)
		if !inv.Only {
			question.Servers = append(question.Servers, t.ID)
		}
	}
	records, err := a.store.AuditRecords(ctx, question)
	if err != nil {
		return contract.AuditHostOutput{}, err
	}
	now, err := a.free(ctx, records, audit.OfHost(records, inv))
	if err != nil {
		return contract.AuditHostOutput{}, err
	}
	scope := models.AuditScope{Name: hostScope(inv.Hostname), After: in.First.After, Through: in.First.Through}
	looked := ""
	if in.Last {
		looked = inv.Hostname
	}
	if in.Final {
		found, left := now.standing(in.Candidates, in.Left)
		return contract.AuditHostOutput{}, a.keep(ctx, in.RunID, scope, inv.Hostname, found, left, in.More, looked)
	}
	// What was left out matters where it was found before: it must not pass for resolved.
	left, err := a.store.OpenFindings(ctx, now.busy)
	if err != nil {
		return contract.AuditHostOutput{}, err
	}
	if len(now.free) == 0 {
		return contract.AuditHostOutput{}, a.keep(ctx, in.RunID, scope, inv.Hostname, nil, left, 0, looked)
	}
	out := contract.AuditHostOutput{Candidates: now.candidates(), Left: left}
	if more := len(out.Candidates) - contract.AuditCandidatesMax; more > 0 {
		out.Candidates, out.More = out.Candidates[:contract.AuditCandidatesMax], more
	}
	return out, nil
}

// MissHost keeps that a host was not looked at. What was found there before stays open.
func (a *Audit) MissHost(ctx context.Context, in contract.MissHostInput) error {
	missed := []models.AuditFinding{row(audit.Missed(in.Hostname, in.Why))}
	return a.store.RecordFindings(ctx, in.RunID, models.AuditScope{Name: missedScope(in.Hostname)}, missed, nil, "", a.now())
}

// keep writes what stands in a part of the world.
func (a *Audit) keep(ctx context.Context, runID string, scope models.AuditScope, hostname string, found []audit.Finding, left []string, more int, looked string) error {
	if over := len(found) - findingsMax; over > 0 {
		found, more = found[:findingsMax], more+over
	}
	rows := make([]models.AuditFinding, 0, len(found)+1)
	for _, f := range found {
		rows = append(rows, row(f))
	}
	if more > 0 {
		rows = append(rows, row(audit.More(scope.Name+scope.After, hostname, fmt.Sprint(more))))
	}
	if err := a.store.RecordFindings(ctx, runID, scope, rows, left, looked, a.now()); err != nil {
		return err
	}
	if looked == "" {
		return nil
	}
	return a.store.RecordFindings(ctx, runID, models.AuditScope{Name: missedScope(looked)}, nil, nil, "", a.now())
}

func row(f audit.Finding) models.AuditFinding {
	return models.AuditFinding{
		ID: f.ID, Kind: string(f.Kind), Object: f.Object, ServerID: f.ServerID, Host: f.Host, Text: f.Text, Repair: f.Repair,
		Warning: f.Kind.Warning(), Named: f.Named,
	}
}

// look is what one look found, sorted by whether something works on the server.
type look struct {
	free  []audit.Finding
	locks []string // of each
	busy  []string // ids
}

func (l look) candidates() []contract.AuditCandidate {
	all := make([]contract.AuditCandidate, len(l.free))
	for i, f := range l.free {
		all[i] = contract.AuditCandidate{ID: f.ID, ServerID: f.ServerID, Lock: l.locks[i]}
	}
	return all
}

func (l look) servers() []string {
	var ids []string
	for _, f := range l.free {
		if f.ServerID != "" && !slices.Contains(ids, f.ServerID) {
			ids = append(ids, f.ServerID)
		}
	}
	return ids
}

// standing are the findings of this look that were candidates before it, with nothing in between that could have made them.
// left are those that cannot be told: something worked on their servers at one of the looks.
func (l look) standing(candidates []contract.AuditCandidate, leftBefore []string) (found []audit.Finding, left []string) {
	locks := make(map[string]string, len(candidates))
	for _, c := range candidates {
		locks[c.ID] = c.Lock
	}
	left = append(slices.Clone(leftBefore), l.busy...)
	for i, f := range l.free {
		lock, known := locks[f.ID]
		switch {
		case !known: // it is new: the next audit tells
		case lock == l.locks[i]:
			found = append(found, f)
		default:
			left = append(left, f.ID)
		}
	}
	return found, left
}

// free asks the engine which of the findings are about servers that nothing works on.
func (a *Audit) free(ctx context.Context, r audit.Records, findings []audit.Finding) (look, error) {
	reservations := map[string]string{}
	for _, s := range r.Servers {
		reservations[s.ID] = s.First
	}
	locks := map[string]*string{} // by server; nil while something works on it
	var mu sync.Mutex
	group, asking := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for _, f := range findings {
		id := f.ServerID
		mu.Lock()
		_, asked := locks[id]
		if !asked {
			locks[id] = nil
		}
		mu.Unlock()
		if asked {
			continue
		}
		group.Go(func() error {
			lock, free, err := a.lock(asking, id, reservations[id], true)
			if err != nil {
				return err
			}
			if free {
				mu.Lock()
				defer mu.Unlock()
				locks[id] = &lock
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return look{}, err
	}
	var l look
	for _, f := range findings {
		if lock := locks[f.ServerID]; lock != nil {
			l.free, l.locks = append(l.free, f), append(l.locks, *lock)
		} else {
			l.busy = append(l.busy, f.ID)
		}
	}
	return l, nil
}

// lock names the last runs of the workflows that may change a server: its own, its clean-up, and its reservation before the
// build. free is false while one of them runs. What belongs to no server is always free.
func (a *Audit) lock(ctx context.Context, serverID, first string, own bool) (lock string, free bool, err error) {
	if serverID == "" {
		return "", true, nil
	}
	workflows := []string{ids.CleanUpWorkflow(serverID)}
	if own {
		// First: what a server's workflow leaves to a clean-up, it has left before it ends.
		workflows = []string{ids.ServerWorkflow(serverID), workflows[0]}
	}
	if first != "" {
		workflows = append([]string{ids.ReservationWorkflow(first)}, workflows...)
	}
	var runs []string
	for _, id := range workflows {
		run, running, err := a.engine.Latest(ctx, id)
		if err != nil {
			return "", false, fmt.Errorf("asking whether something works on server %s: %w", serverID, err)
		}
		if running {
			return "", false, nil
		}
		runs = append(runs, run)
	}
	return strings.Join(runs, " "), true, nil
}
