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
	ops     []ovsdb.Operation
	made    map[sdn.Ref]string // rows that it makes, by the name that they have in it
	gone    map[string]string  // rows that it removes, with their tables
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

func (p *plan) one(d sdn.Desired) error {
	there, err := p.engine.tagged(d.Ref)
	if err != nil {
		return err
	}
	var columns map[string]any
	switch {
	case d.Network != nil:
		columns = networkRow(*d.Network)
	case d.Subnet != nil:
		columns = subnetRow(*d.Subnet)
	case d.Port != nil:
		columns = portRow(*d.Port)
		if err := p.answers(*d.Port, columns); err != nil {
			return err
		}
	case d.Group != nil:
		columns = groupRow(*d.Group)
	}
	table := tables[d.Kind]
	for i, r := range there {
		if columns == nil || i > 0 { // of two that were made of one, one stays
			if err := p.remove(table, r); err != nil {
				return err
			}
		}
	}
	if columns == nil {
		return nil
	}
	own := columns["external_ids"].(map[string]string)
	own[tagID], own[tagKind] = d.ID, string(d.Kind)
	if len(there) == 0 {
		own[tagRevision] = strconv.FormatInt(d.Revision, 10)
		if err := p.insert(d, table, columns); err != nil {
			return err
		}
	} else {
		p.update(table, there[0], columns, d.Revision)
	}
	switch {
	case d.Group != nil:
		return p.rules(d, there)
	case d.Port != nil:
		return p.join(d, there)
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
		uuid, err := p.find(sdn.Ref{Kind: sdn.KindSubnet, ID: a.SubnetID})
		if err != nil {
			return err
		}
		if uuid != "" {
			columns[column] = &uuid
		}
	}
	return nil
}

// find is the row of a resource, in the database or in this plan; "" where it has to be made first.
func (p *plan) find(ref sdn.Ref) (string, error) {
	if name, ok := p.made[ref]; ok {
		return name, nil
	}
	there, err := p.engine.tagged(ref)
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

func (p *plan) insert(d sdn.Desired, table string, columns map[string]any) error {
	name := "row" + strconv.Itoa(len(p.ops))
	if p.made == nil {
		p.made = map[sdn.Ref]string{}
	}
	p.made[d.Ref] = name
	values := ovsdb.Row{}
	for column, v := range columns {
		values[column] = value(v)
	}
	p.ops = append(p.ops, ovsdb.Operation{Op: ovsdb.OperationInsert, Table: table, Row: values, UUIDName: name})
	if d.Port == nil {
		return nil
	}
	on, err := p.find(sdn.Ref{Kind: sdn.KindNetwork, ID: d.Port.NetworkID})
	if err != nil || on == "" {
		return err
	}
	if _, here := p.made[sdn.Ref{Kind: sdn.KindNetwork, ID: d.Port.NetworkID}]; !here {
		p.stands(switchTable, on)
	}
	p.ops = append(p.ops, ovsdb.Operation{Op: ovsdb.OperationMutate, Table: switchTable, Where: where(on), Mutations: []ovsdb.Mutation{
		{Column: "ports", Mutator: ovsdb.MutateOperationInsert, Value: ovsdb.OvsSet{GoSet: []any{ovsdb.UUID{GoUUID: name}}}},
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
	if table != portTable {
		p.ops = append(p.ops, ovsdb.Operation{Op: ovsdb.OperationDelete, Table: table, Where: where(is.uuid)})
		return nil
	}
	// A port is there for as long as a switch has it.
	has := []ovsdb.Condition{ovsdb.NewCondition("ports", ovsdb.ConditionIncludes, ovsdb.OvsSet{GoSet: []any{ovsdb.UUID{GoUUID: is.uuid}}})}
	on, err := p.engine.tagged(sdn.Ref{Kind: sdn.KindNetwork, ID: is.external()[tagNetwork]})
	if err != nil {
		return err
	}
	if len(on) == 1 {
		has = where(on[0].uuid)
	}
	p.ops = append(p.ops, ovsdb.Operation{Op: ovsdb.OperationMutate, Table: switchTable, Where: has, Mutations: []ovsdb.Mutation{
		{Column: "ports", Mutator: ovsdb.MutateOperationDelete, Value: ovsdb.OvsSet{GoSet: []any{ovsdb.UUID{GoUUID: is.uuid}}}},
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

// tagged are the rows of a resource, in a lasting order.
func (e *Engine) tagged(ref sdn.Ref) ([]row, error) {
	table := tables[ref.Kind]
	if ref == filter {
		table = groupTable
	}
	t, err := e.table(table)
	if err != nil {
		return nil, err
	}
	external := map[string]string{tagID: ref.ID}
	like := map[string]model.Model{
		switchTable: &logicalSwitch{ExternalIDs: external}, dhcpTable: &dhcpOptions{ExternalIDs: external},
		portTable: &logicalSwitchPort{Name: ref.ID, ExternalIDs: external}, groupTable: &portGroup{ExternalIDs: external},
	}[table]
	found, err := t.RowsByModels([]model.Model{like})
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
