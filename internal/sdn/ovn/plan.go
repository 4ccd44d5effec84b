package ovn

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/ovn-kubernetes/libovsdb/cache"
	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/slipway-cloud/slipway/internal/sdn"
)

// plan is a transaction in the making: what has to be done for resources to be as they shall.
type plan struct {
	engine  *Engine
	groups  *portGroups
	ops     []ovsdb.Operation
	made    map[made]string   // rows that it makes, by the name that they have in it
	gone    map[string]string // rows that it removes, with their tables
	missing []sdn.Ref
	// filtered says that the group of all filtered ports is planned.
	filtered bool
}

// all plans resources in their order.
func (p *plan) all(desired []sdn.Desired) error {
	for _, d := range desired {
		if err := p.one(d); err != nil {
			return err
		}
	}
	return p.missed()
}

func (p *plan) missed() error {
	if len(p.missing) > 0 {
		return &sdn.Missing{Refs: p.missing}
	}
	return nil
}

// want is a row that a resource shall have.
type want struct {
	table   string
	part    string  // tells the resource's rows of one table apart; "" is the only one
	in      sdn.Ref // whose row has it, of a table that has a home
	columns map[string]any
}

// home is the column that has the rows of a table which are there only for as long as one has them: no roots of OVSDB's (ovn-nb(5)).
type home struct {
	table, column string
	tag           string // of external_ids: whose row that is
}

var homes = map[string]home{
	portTable:       {switchTable, "ports", tagNetwork},
	routerPortTable: {routerTable, "ports", tagRouter},
	routeTable:      {routerTable, "static_routes", tagRouter},
	natTable:        {routerTable, "nat", tagRouter},
	gatewayTable:    {routerPortTable, "gateway_chassis", tagPort},
}

// wants are the rows of a resource, one that has others before them; none where it is not wanted.
func (p *plan) wants(d sdn.Desired) ([]want, error) {
	switch {
	case d.Network != nil:
		return networkRows(*d.Network), nil
	case d.Subnet != nil:
		if columns := subnetRow(*d.Subnet); columns != nil {
			return []want{{table: dhcpTable, columns: columns}}, nil
		}
	case d.Port != nil:
		columns := portRow(*d.Port)
		if err := p.answers(*d.Port, columns); err != nil {
			return nil, err
		}
		rows := []want{{table: portTable, in: sdn.Ref{Kind: sdn.KindNetwork, ID: d.Port.NetworkID}, columns: columns}}
		return append(rows, routerPortRows(*d.Port)...), nil
	case d.Group != nil:
		return []want{{table: groupTable, columns: groupRow(*d.Group)}}, nil
	case d.Router != nil:
		return routerRows(*d.Router), nil
	case d.FloatingIP != nil:
		return []want{floatingRow(*d.FloatingIP)}, nil
	}
	return nil, nil
}

func (p *plan) one(d sdn.Desired) error {
	wanted, err := p.wants(d)
	if err != nil {
		return err
	}
	there := make([]row, len(wanted)) // what of it is there; without a uuid it is not
	for _, table := range tables[d.Kind] {
		rows, err := p.engine.tagged(table, d.Ref)
		if err != nil {
			return err
		}
		for _, r := range rows {
			i := slices.IndexFunc(wanted, func(w want) bool {
				return w.table == table && w.part == r.external()[tagPart] && (w.in.ID == "" || w.in.ID == r.external()[homes[table].tag])
			})
			if i >= 0 && there[i].uuid == "" {
				there[i] = r
				continue
			}
			if err := p.remove(table, r); err != nil { // of two that were made of one, one stays
				return err
			}
		}
	}
	for i, w := range wanted {
		own := w.columns["external_ids"].(map[string]string)
		own[tagID], own[tagKind] = d.ID, string(d.Kind)
		if w.part != "" {
			own[tagPart] = w.part
		}
		if w.in.ID != "" {
			own[homes[w.table].tag] = w.in.ID
		}
		if there[i].uuid != "" {
			p.update(w.table, there[i], w.columns, d.Revision)
			continue
		}
		own[tagRevision] = strconv.FormatInt(d.Revision, 10)
		if err := p.insert(d.Ref, w); err != nil {
			return err
		}
	}
	stood := there[:min(len(there), 1)] // the row that others are of
	if len(stood) > 0 && stood[0].uuid == "" {
		stood = nil
	}
	switch {
	case d.Group != nil:
		return p.rules(d, stood)
	case d.Port != nil:
		return p.join(d, stood)
	}
	return nil
}

// answers points a port to the DHCP of its subnets, one of each family: OVN has room for no more.
func (p *plan) answers(port sdn.Port, columns map[string]any) error {
	columns["dhcpv4_options"], columns["dhcpv6_options"] = (*string)(nil), (*string)(nil)
	for _, a := range port.Addresses {
		column := "dhcpv4_options"
		if a.IP.Is6() {
			column = "dhcpv6_options"
		}
		if !a.DHCP || columns[column].(*string) != nil {
			continue
		}
		uuid, err := p.find(dhcpTable, sdn.Ref{Kind: sdn.KindSubnet, ID: a.SubnetID})
		if err != nil {
			return err
		}
		if uuid != "" {
			columns[column] = &uuid
		}
	}
	return nil
}

// made names a row that a plan makes.
type made struct {
	table string
	of    sdn.Ref
}

// find is a resource's row in a table, in the database or in this plan; "" where it has to be made first.
func (p *plan) find(table string, ref sdn.Ref) (string, error) {
	if name, ok := p.made[made{table, ref}]; ok {
		return name, nil
	}
	there, err := p.engine.tagged(table, ref)
	if err != nil {
		return "", err
	}
	for _, r := range there {
		if _, gone := p.gone[r.uuid]; !gone {
			return r.uuid, nil
		}
	}
	if !slices.Contains(p.missing, ref) {
		p.missing = append(p.missing, ref)
	}
	return "", nil
}

func (p *plan) insert(of sdn.Ref, w want) error {
	name := "row" + strconv.Itoa(len(p.ops))
	if p.made == nil {
		p.made = map[made]string{}
	}
	if w.part == "" {
		p.made[made{w.table, of}] = name
	}
	values := ovsdb.Row{}
	for column, v := range w.columns {
		values[column] = value(v)
	}
	p.ops = append(p.ops, ovsdb.Operation{Op: ovsdb.OperationInsert, Table: w.table, Row: values, UUIDName: name})
	if w.in.ID == "" {
		return nil
	}
	h := homes[w.table]
	on, err := p.find(h.table, w.in)
	if err != nil || on == "" {
		return err
	}
	if _, here := p.made[made{h.table, w.in}]; !here {
		p.stands(h.table, on)
	}
	p.ops = append(p.ops, ovsdb.Operation{Op: ovsdb.OperationMutate, Table: h.table, Where: where(on), Mutations: []ovsdb.Mutation{
		{Column: h.column, Mutator: ovsdb.MutateOperationInsert, Value: ovsdb.OvsSet{GoSet: []any{ovsdb.UUID{GoUUID: name}}}},
	}})
	return nil
}

// update writes the columns that differ, and with them whose change that was. Of external_ids it writes its own keys alone: the
// copy may not have yet what others have noted beside them.
func (p *plan) update(table string, is row, columns map[string]any, revision int64) {
	own, there := columns["external_ids"].(map[string]string), is.external()
	differs := false
	for key, v := range own {
		differs = differs || there[key] != v
	}
	values := ovsdb.Row{}
	for column, v := range columns {
		if column != "external_ids" && !same(is.columns[column], v) {
			values[column] = value(v)
		}
	}
	if len(values) == 0 && !differs {
		return
	}
	own[tagRevision] = strconv.FormatInt(revision, 10)
	p.stands(table, is.uuid)
	if len(values) > 0 {
		p.ops = append(p.ops, ovsdb.Operation{Op: ovsdb.OperationUpdate, Table: table, Where: where(is.uuid), Row: values})
	}
	p.ops = append(p.ops, ovsdb.Operation{Op: ovsdb.OperationMutate, Table: table, Where: where(is.uuid), Mutations: tagging(own)})
}

// tagging sets keys of external_ids, whatever they were: an insertion alone leaves a key that is there.
func tagging(own map[string]string) []ovsdb.Mutation {
	keys := make(set, 0, len(own))
	for key := range own {
		keys = append(keys, key)
	}
	return []ovsdb.Mutation{
		{Column: "external_ids", Mutator: ovsdb.MutateOperationDelete, Value: value(keys)},
		{Column: "external_ids", Mutator: ovsdb.MutateOperationInsert, Value: value(own)},
	}
}

func (p *plan) remove(table string, is row) error {
	if p.gone == nil {
		p.gone = map[string]string{}
	}
	p.gone[is.uuid] = table
	h, has := homes[table]
	if !has {
		p.ops = append(p.ops, ovsdb.Operation{Op: ovsdb.OperationDelete, Table: table, Where: where(is.uuid)})
		return nil
	}
	at := []ovsdb.Condition{ovsdb.NewCondition(h.column, ovsdb.ConditionIncludes, ovsdb.OvsSet{GoSet: []any{ovsdb.UUID{GoUUID: is.uuid}}})}
	on, err := p.engine.tagged(h.table, sdn.Ref{ID: is.external()[h.tag]})
	if err != nil {
		return err
	}
	if len(on) == 1 {
		at = where(on[0].uuid)
	}
	p.ops = append(p.ops, ovsdb.Operation{Op: ovsdb.OperationMutate, Table: h.table, Where: at, Mutations: []ovsdb.Mutation{
		{Column: h.column, Mutator: ovsdb.MutateOperationDelete, Value: ovsdb.OvsSet{GoSet: []any{ovsdb.UUID{GoUUID: is.uuid}}}},
	}})
	return nil
}

// stands fails the transaction where a row is gone by then: an operation on none succeeds.
func (p *plan) stands(table, uuid string) {
	p.ops = append(p.ops, ovsdb.Operation{
		Op: ovsdb.OperationWait, Table: table, Until: string(ovsdb.WaitConditionEqual), Timeout: new(0), Columns: []string{"_uuid"},
		Where: where(uuid), Rows: []ovsdb.Row{{"_uuid": ovsdb.UUID{GoUUID: uuid}}},
	})
}

func where(uuid string) []ovsdb.Condition {
	return []ovsdb.Condition{ovsdb.NewCondition("_uuid", ovsdb.ConditionEqual, ovsdb.UUID{GoUUID: uuid})}
}

// value is a column's value in OVSDB's words.
func value(v any) any {
	switch v := v.(type) {
	case set:
		all := ovsdb.OvsSet{GoSet: []any{}}
		for _, s := range v {
			all.GoSet = append(all.GoSet, s)
		}
		return all
	case map[string]string:
		return mapped(v)
	case *bool:
		if v == nil {
			return ovsdb.OvsSet{GoSet: []any{}}
		}
		return *v
	case *int:
		if v == nil {
			return ovsdb.OvsSet{GoSet: []any{}}
		}
		return *v
	case *string: // a reference
		if v == nil {
			return ovsdb.OvsSet{GoSet: []any{}}
		}
		return ovsdb.UUID{GoUUID: *v}
	}
	return v
}

func mapped(m map[string]string) ovsdb.OvsMap {
	all := ovsdb.OvsMap{GoMap: map[any]any{}}
	for k, v := range m {
		all.GoMap[k] = v
	}
	return all
}

// table is the copy of one.
func (e *Engine) table(name string) (*cache.RowCache, error) {
	copied := e.client.Cache()
	if copied == nil {
		return nil, away(client.ErrNotConnected)
	}
	if t := copied.Table(name); t != nil {
		return t, nil
	}
	return nil, away(fmt.Errorf("there is no copy of the table %s", name))
}

// tagged are a resource's rows in a table, in a lasting order.
func (e *Engine) tagged(table string, ref sdn.Ref) ([]row, error) {
	t, err := e.table(table)
	if err != nil {
		return nil, err
	}
	found, err := t.RowsByModels([]model.Model{like[table](map[string]string{tagID: ref.ID})})
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", ref, err)
	}
	var all []row
	for _, m := range found {
		if r := rowOf(m); r.external()[tagID] == ref.ID {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b row) int { return cmp.Compare(a.uuid, b.uuid) })
	return all, nil
}

func rowOf(m model.Model) row { return m.(interface{ row() row }).row() }
