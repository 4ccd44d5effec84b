// Package ovn makes networks so in OVN, by the rows of its Northbound database. It holds a copy of what is there (a monitor of
// OVSDB's, RFC 7047), compares with that what shall be, and sends what differs as one transaction.
package ovn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/pace"
	"github.com/slipway-cloud/slipway/internal/sdn"
)

// Options say where the Northbound database is.
type Options struct {
	Endpoints []string    // unix:/path, ssl:host:port, tcp:host:port; of a cluster all members
	TLS       *tls.Config // for ssl:
	Logger    *slog.Logger
}

// Engine is a connection to it. One goroutine applies at a time.
type Engine struct {
	client client.Client
	global string // NB_Global's row, while this leads
	term   string
}

var _ sdn.Engine = (*Engine)(nil)

const (
	connectPatience = 30 * time.Second // the first copy of a large database takes a while
	patience        = 10 * time.Second // of one transaction
	stalePatience   = 2 * time.Second  // for the copy to follow
	stalePause      = time.Millisecond
)

// Open connects and takes the first copy.
func Open(ctx context.Context, o Options) (*Engine, error) {
	ctx, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	shape, err := model.NewClientDBModel("OVN_Northbound", map[string]model.Model{
		switchTable: &logicalSwitch{}, portTable: &logicalSwitchPort{}, dhcpTable: &dhcpOptions{}, globalTable: &nbGlobal{},
		groupTable: &portGroup{}, aclTable: &acl{},
		routerTable: &logicalRouter{}, routerPortTable: &logicalRouterPort{}, gatewayTable: &gatewayChassis{}, routeTable: &staticRoute{}, natTable: &nat{},
	})
	if err != nil {
		return nil, fmt.Errorf("the tables of OVN's Northbound database: %w", err)
	}
	indexes := map[string][]model.ClientIndex{}
	for table := range like {
		indexes[table] = []model.ClientIndex{{Columns: []model.ColumnKey{{Column: "external_ids", Key: tagID}}}}
	}
	shape.SetIndexes(indexes)
	logger := logr.Discard()
	if o.Logger != nil {
		logger = logr.FromSlogHandler(o.Logger.Handler())
	}
	// A cluster's followers may be behind: what is compared with has to be the leader's.
	with := []client.Option{client.WithLogger(&logger), client.WithLeaderOnly(true), client.WithTLSConfig(o.TLS)}
	for _, endpoint := range o.Endpoints {
		with = append(with, client.WithEndpoint(endpoint))
	}
	c, err := client.NewOVSDBClient(shape, with...)
	if err != nil {
		return nil, fmt.Errorf("OVN's Northbound database at %s: %w", strings.Join(o.Endpoints, ","), err)
	}
	if err := c.Connect(ctx); err != nil {
		c.Close()
		return nil, away(fmt.Errorf("connect to OVN's Northbound database: %w", err))
	}
	var (
		s logicalSwitch
		p logicalSwitchPort
		d dhcpOptions
		g nbGlobal
		q portGroup
		a acl
		r logicalRouter
		l logicalRouterPort
		h gatewayChassis
		w staticRoute
		n nat
	)
	// As Echo, Monitor reads what may still be written: the caller's end is not the call's.
	copying, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectPatience)
	defer cancel()
	_, err = c.Monitor(copying, c.NewMonitor(
		client.WithTable(&s, &s.Name, &s.ExternalIDs),
		client.WithTable(&p, &p.Name, &p.Type, &p.Addresses, &p.PortSecurity, &p.Enabled, &p.Tag, &p.Options, &p.DHCPv4Options, &p.DHCPv6Options, &p.ExternalIDs),
		client.WithTable(&d, &d.CIDR, &d.Options, &d.ExternalIDs),
		client.WithTable(&g, &g.ExternalIDs),
		client.WithTable(&q, &q.Name, &q.Ports, &q.ACLs, &q.ExternalIDs),
		client.WithTable(&a, &a.Priority, &a.Direction, &a.Match, &a.Action, &a.ExternalIDs),
		client.WithTable(&r, &r.Name, &r.Enabled, &r.Options, &r.ExternalIDs),
		client.WithTable(&l, &l.Name, &l.MAC, &l.Networks, &l.Enabled, &l.Options, &l.IPv6RAConfigs, &l.ExternalIDs),
		client.WithTable(&h, &h.Name, &h.ChassisName, &h.Priority, &h.ExternalIDs),
		client.WithTable(&w, &w.IPPrefix, &w.Nexthop, &w.ExternalIDs),
		client.WithTable(&n, &n.Type, &n.ExternalIP, &n.LogicalIP, &n.ExternalMAC, &n.LogicalPort, &n.ExternalIDs),
	))
	if err != nil {
		c.Close()
		return nil, away(fmt.Errorf("copy OVN's Northbound database: %w", err))
	}
	return &Engine{client: c}, nil
}

func away(err error) error {
	return fault.Wrap(fault.Unavailable, err, "The network engine does not answer. Please try again later.")
}

// Close ends the connection.
func (e *Engine) Close() { e.client.Close() }

// Ping implements sdn.Engine.
func (e *Engine) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if !e.client.Connected() {
		return away(client.ErrNotConnected)
	}
	// Not by Echo, which reads the answer also where it did not wait for it: a race with who writes it.
	_, _, err := e.transact(ctx, ovsdb.Operation{Op: ovsdb.OperationSelect, Table: globalTable, Where: []ovsdb.Condition{}, Columns: []string{"_uuid"}})
	return err
}

// Lead implements sdn.Engine. Each transaction names the row of NB_Global with this term in it, or fails: OVSDB runs one after another,
// so nothing of an earlier term is obeyed after this.
func (e *Engine) Lead(ctx context.Context, term string) error {
	for began := time.Now(); ; pace.Rest(ctx, stalePause, nil) {
		cached, err := e.table(globalTable)
		if err != nil {
			return err
		}
		op := ovsdb.Operation{Op: ovsdb.OperationInsert, Table: globalTable, Row: ovsdb.Row{"external_ids": mapped(map[string]string{tagWriter: term})}}
		for uuid, there := range cached.Rows() { // one at most
			if there.(*nbGlobal).ExternalIDs[tagWriter] == term {
				e.global, e.term = uuid, term
				return nil
			}
			op = ovsdb.Operation{Op: ovsdb.OperationMutate, Table: globalTable, Where: where(uuid), Mutations: tagging(map[string]string{tagWriter: term})}
		}
		_, at, err := e.transact(ctx, op)
		// northd makes the row too: who comes second finds the table full, and the row at the next look.
		if err != nil && (at < 0 || time.Since(began) > stalePatience) {
			return err
		}
		if time.Since(began) > stalePatience {
			return away(errors.New("NB_Global does not show who leads"))
		}
	}
}

// Apply implements sdn.Engine.
func (e *Engine) Apply(ctx context.Context, all ...sdn.Desired) error {
	for began := time.Now(); ; pace.Rest(ctx, stalePause, nil) {
		p := plan{engine: e, groups: &portGroups{engine: e}}
		if err := p.all(all); err != nil {
			return err
		}
		if len(p.ops) == 0 {
			return nil
		}
		fence := ovsdb.Operation{
			Op: ovsdb.OperationWait, Table: globalTable, Until: string(ovsdb.WaitConditionEqual), Timeout: new(0), Columns: []string{"_uuid"},
			Where: append(where(e.global), ovsdb.NewCondition("external_ids", ovsdb.ConditionIncludes, mapped(map[string]string{tagWriter: e.term}))),
			Rows:  []ovsdb.Row{{"_uuid": ovsdb.UUID{GoUUID: e.global}}},
		}
		results, at, err := e.transact(ctx, append([]ovsdb.Operation{fence}, p.ops...)...)
		switch {
		case err == nil:
			return e.follow(ctx, p, results[1:])
		case at == 0:
			return fmt.Errorf("%w: %w", sdn.ErrDeposed, err)
		case at > 0 && at <= len(p.ops) && p.ops[at-1].Op == ovsdb.OperationWait && time.Since(began) < stalePatience && ctx.Err() == nil:
			continue // the copy was behind
		default:
			return err
		}
	}
}

// Differing implements sdn.Engine.
func (e *Engine) Differing(_ context.Context, all ...sdn.Desired) ([]sdn.Ref, error) {
	var differ []sdn.Ref
	groups := &portGroups{engine: e}
	for _, d := range all {
		p := plan{engine: e, groups: groups}
		var missing *sdn.Missing
		err := p.one(d)
		if err == nil {
			err = p.missed()
		}
		switch {
		case errors.As(err, &missing), err == nil && len(p.ops) > 0:
			differ = append(differ, d.Ref)
		case err != nil:
			return nil, err
		}
	}
	return differ, nil
}

// Known implements sdn.Engine.
func (e *Engine) Known(context.Context) ([]sdn.Ref, error) {
	found := map[sdn.Ref]bool{}
	for kind, all := range tables {
		for _, table := range all {
			cached, err := e.table(table)
			if err != nil {
				return nil, err
			}
			for _, m := range cached.RowsShallow() {
				external := rowOf(m).external()
				if id := external[tagID]; id != "" && external[tagKind] == string(kind) {
					found[sdn.Ref{Kind: kind, ID: id}] = true
				}
			}
		}
	}
	return slices.Collect(maps.Keys(found)), nil
}

// transact sends operations, which OVSDB does all or none of. at is the one that it refused; len(ops) is the whole, -1 where it is
// not known what became of it.
func (e *Engine) transact(ctx context.Context, ops ...ovsdb.Operation) (results []ovsdb.OperationResult, at int, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	results, err = e.client.Transact(ctx, ops...)
	if err != nil {
		return nil, -1, away(fmt.Errorf("write to OVN's Northbound database: %w", err))
	}
	for i, r := range results {
		if r.Error != "" {
			return nil, i, fmt.Errorf("OVN's Northbound database refuses what is written: %s: %s", r.Error, r.Details)
		}
	}
	if len(results) < len(ops) {
		return nil, -1, away(fmt.Errorf("OVN's Northbound database answered %d of %d operations", len(results), len(ops)))
	}
	return results, 0, nil
}

// follow waits for the copy to have the rows that were made and not those that were removed. It mostly has: the database tells
// of a change before it answers who made it.
func (e *Engine) follow(ctx context.Context, p plan, results []ovsdb.OperationResult) error {
	for began := time.Now(); ; pace.Rest(ctx, stalePause, nil) {
		behind := false
		for i, op := range p.ops {
			cached, err := e.table(op.Table)
			if err != nil {
				return err
			}
			behind = behind || op.Op == ovsdb.OperationInsert && !cached.HasRow(results[i].UUID.GoUUID)
		}
		for uuid, table := range p.gone {
			cached, err := e.table(table)
			if err != nil {
				return err
			}
			behind = behind || cached.HasRow(uuid)
		}
		switch {
		case !behind:
			return nil
		case time.Since(began) > stalePatience:
			return away(errors.New("the copy of OVN's Northbound database does not follow"))
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}
