package ovn

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/sdn"
)

// Security groups are Port_Groups with ACLs, as Neutron has them. One more has all ports that are filtered, and drops what no group lets
// through: so a port passes nothing from its first moment on, and one whose group is not there yet neither.

type portGroup struct {
	UUID        string            `ovsdb:"_uuid"`
	Name        string            `ovsdb:"name"`
	Ports       []string          `ovsdb:"ports"`
	ACLs        []string          `ovsdb:"acls"`
	ExternalIDs map[string]string `ovsdb:"external_ids"`
}

type acl struct {
	UUID        string            `ovsdb:"_uuid"`
	Priority    int               `ovsdb:"priority"`
	Direction   string            `ovsdb:"direction"`
	Match       string            `ovsdb:"match"`
	Action      string            `ovsdb:"action"`
	ExternalIDs map[string]string `ovsdb:"external_ids"`
}

// CloneModel spares the copy of the database, which copies a row before it changes it, a text of all the ports of a group.
func (g *portGroup) CloneModel() model.Model {
	c := *g
	c.Ports, c.ACLs, c.ExternalIDs = slices.Clone(g.Ports), slices.Clone(g.ACLs), maps.Clone(g.ExternalIDs)
	return &c
}

// CloneModelInto completes libovsdb's CloneableModel.
func (g *portGroup) CloneModelInto(m model.Model) { *m.(*portGroup) = *g.CloneModel().(*portGroup) }

const (
	groupTable = "Port_Group"
	aclTable   = "ACL"
)

func (g *portGroup) row() row {
	return row{g.UUID, map[string]any{"name": g.Name, "ports": set(g.Ports), "acls": set(g.ACLs), "external_ids": g.ExternalIDs}}
}

func (a *acl) row() row {
	return row{a.UUID, map[string]any{
		"priority": a.Priority, "direction": a.Direction, "match": a.Match, "action": a.Action, "external_ids": a.ExternalIDs,
	}}
}

// The group of all filtered ports has no resource behind it: who knows the kinds does not list it.
var (
	filter     = sdn.Ref{Kind: kindFilter, ID: "filter"}
	filterName = "neutron_pg_drop" // Neutron's
)

const kindFilter sdn.Kind = "filter"

const kindRule = "rule"

// Directions of ACLs: out of a port and into one.
const (
	fromPort = "from-lport"
	toPort   = "to-lport"
)

// Priorities of ACLs. Neutron has the first two.
const (
	dropPriority  = 1001
	allowPriority = 1002
	guardPriority = 1003 // nobody can allow it
)

// stateless is the action that lets packets pass without connections.
const stateless = "allow-stateless"

const (
	tcp          = 6 // IANA's
	metadataPort = 80
)

// allow is an ACL as it shall be. ID tells those of a group apart.
type allow struct {
	id, direction, match, action string
	priority                     int
}

// filtering are the ACLs of the group of all filtered ports: nothing passes but what a guest needs to have an address (OVN answers DHCP
// itself, behind the ACLs of the question; IPv6 needs neighbours), and no guest is a DHCP server. That none may be a router either (134 out) is
// not obeyed: OVN lets neighbour discovery and router advertisements pass above all ACLs (docs/decisions/0083).
func filtering() []allow {
	in, out := "inport == @"+filterName, "outport == @"+filterName
	return []allow{
		{"drop-out", fromPort, in + " && ip", "drop", dropPriority},
		{"drop-in", toPort, out + " && ip", "drop", dropPriority},
		{"dhcp", fromPort, in + " && ((ip4 && udp.src == 68 && udp.dst == 67) || (ip6 && udp.src == 546 && udp.dst == 547))", stateless, allowPriority},
		{"neighbours-out", fromPort, in + " && ip6 && icmp6.type == {130, 131, 132, 133, 135, 136, 143}", stateless, allowPriority},
		{"neighbours-in", toPort, out + " && ip6 && icmp6.type == {130, 131, 132, 134, 135, 136, 143}", stateless, allowPriority},
		{"dhcp-server", fromPort, in + " && ((ip4 && udp.src == 67 && udp.dst == 68) || (ip6 && udp.src == 547 && udp.dst == 546))", "drop", guardPriority},
	}
}

// groupName is a group's name in OVN, in which address sets are named after it: Neutron's.
func groupName(id string) string { return "pg_" + strings.ReplaceAll(id, "-", "_") }

func groupRow(g sdn.Group) map[string]any {
	return map[string]any{"name": groupName(g.ID), "external_ids": map[string]string{}}
}

func groupsNoted(p sdn.Port) string { return strings.Join(slices.Sorted(slices.Values(p.Groups)), ",") }

func allows(g sdn.Group) []allow {
	all := make([]allow, len(g.Rules))
	for i, r := range g.Rules {
		all[i] = allow{r.ID, toPort, match(groupName(g.ID), r), "allow-related", allowPriority}
		if r.Egress {
			all[i].direction = fromPort
		}
		if g.Stateless {
			all[i].action = stateless
		}
	}
	if g.Stateless {
		all = append(all, metadataAnswers(g)...)
	}
	return all
}

// metadataAnswers let the metadata service answer whom a stateless group lets ask: no tenant knows that it has to be let in. No rule for all
// ports does: the answer to a question that is tracked has to be, too.
func metadataAnswers(g sdn.Group) []allow {
	var all []allow
	for _, address := range []string{ids.MetadataV4, ids.MetadataV6} {
		service := netip.MustParseAddr(address)
		asks := func(r sdn.Rule) bool {
			return r.Egress && r.IPv6 == service.Is6() && r.FromGroup == "" &&
				(!r.From.IsValid() || r.From.Contains(service)) && (r.Protocol == nil ||
				*r.Protocol == tcp && (r.First == nil || *r.First <= metadataPort) && (r.Last == nil || *r.Last >= metadataPort))
		}
		if !slices.ContainsFunc(g.Rules, asks) {
			continue
		}
		answer := match(groupName(g.ID), sdn.Rule{IPv6: service.Is6(), From: netip.PrefixFrom(service, service.BitLen()), Protocol: new(tcp)})
		answer += fmt.Sprintf(" && tcp.src == %d", metadataPort)
		all = append(all, allow{"metadata-" + address, toPort, answer, stateless, allowPriority})
	}
	return all
}

// Protocols with a name in OVN's language, by IANA's numbers; ovn-sb(5), "Logical_Flow".
var (
	withPorts = map[int]string{tcp: "tcp", 17: "udp", 132: "sctp"}
	icmp      = map[int]string{1: "icmp4", 58: "icmp6"}
)

// match says in OVN's language what a rule of a group lets pass.
func match(group string, r sdn.Rule) string {
	port, there, family := "outport", "src", "ip4"
	if r.Egress {
		port, there = "inport", "dst"
	}
	if r.IPv6 {
		family = "ip6"
	}
	all := []string{port + " == @" + group, family}
	if r.From.IsValid() && r.From.Bits() > 0 {
		all = append(all, fmt.Sprintf("%s.%s == %s", family, there, from(r.From)))
	}
	if r.FromGroup != "" {
		all = append(all, fmt.Sprintf("%s.%s == $%s_%s", family, there, groupName(r.FromGroup), family))
	}
	if r.Protocol == nil {
		return strings.Join(all, " && ")
	}
	between := func(field string, first, last *int) {
		switch {
		case first != nil && last != nil && *first == *last:
			all = append(all, fmt.Sprintf("%s == %d", field, *first))
		case first != nil && last != nil:
			all = append(all, fmt.Sprintf("%s >= %d && %s <= %d", field, *first, field, *last))
		}
	}
	if name, ok := withPorts[*r.Protocol]; ok {
		all = append(all, name)
		between(name+".dst", r.First, r.Last)
	} else if name, ok := icmp[*r.Protocol]; ok {
		all = append(all, name)
		between(name+".type", r.First, r.First)
		between(name+".code", r.Last, r.Last)
	} else {
		all = append(all, fmt.Sprintf("ip.proto == %d", *r.Protocol))
	}
	return strings.Join(all, " && ")
}

func from(p netip.Prefix) string { return host(p.Masked()) }

// rules gives a group that is planned its ACLs, and takes out of it the ports of Slipway's that say they are not in it.
func (p *plan) rules(d sdn.Desired, there []row) error {
	if len(there) == 0 {
		p.write(p.made[made{groupTable, d.Ref}], nil, nil, allows(*d.Group), d.Revision)
		return nil
	}
	is := there[0]
	has, err := p.engine.rulesOf(is.columns["acls"].(set))
	if err != nil {
		return err
	}
	p.write(is.uuid, is.columns["acls"].(set), has, allows(*d.Group), d.Revision)
	ports, err := p.engine.table(portTable)
	if err != nil {
		return err
	}
	for _, uuid := range is.columns["ports"].(set) {
		port, ok := ports.Row(uuid).(*logicalSwitchPort)
		if !ok {
			continue
		}
		noted, ours := port.ExternalIDs[tagGroups]
		if !ours || slices.Contains(strings.Split(noted, ","), d.ID) {
			continue
		}
		p.ops = append(p.ops, ovsdb.Operation{ // the copy of the port may be behind that of the group
			Op: ovsdb.OperationWait, Table: portTable, Until: string(ovsdb.WaitConditionEqual), Timeout: new(0), Columns: []string{"_uuid"},
			Where: append(where(uuid), ovsdb.NewCondition("external_ids", ovsdb.ConditionIncludes, mapped(map[string]string{tagGroups: noted}))),
			Rows:  []ovsdb.Row{{"_uuid": ovsdb.UUID{GoUUID: uuid}}},
		})
		p.mutate(is.uuid, "ports", ovsdb.MutateOperationDelete, uuid)
	}
	return nil
}

// write makes the ACLs of a Port_Group these. What is there as it shall be stays: connections hang on it.
func (p *plan) write(group string, noted set, has []row, wanted []allow, revision int64) {
	lacks := map[string]allow{}
	for _, w := range wanted {
		lacks[w.id] = w
	}
	var gone, fresh []string
	for _, r := range has {
		w, ok := lacks[r.external()[tagID]]
		if !ok || !w.is(r) {
			gone = append(gone, r.uuid)
			continue
		}
		delete(lacks, w.id)
	}
	for _, w := range wanted {
		if _, missing := lacks[w.id]; !missing {
			continue
		}
		name := "row" + strconv.Itoa(len(p.ops))
		p.ops = append(p.ops, ovsdb.Operation{Op: ovsdb.OperationInsert, Table: aclTable, UUIDName: name, Row: ovsdb.Row{
			"priority": w.priority, "direction": w.direction, "match": w.match, "action": w.action,
			"external_ids": mapped(map[string]string{tagID: w.id, tagKind: kindRule, tagRevision: strconv.FormatInt(revision, 10)}),
		}})
		fresh = append(fresh, name)
	}
	if noted != nil && len(gone)+len(fresh) > 0 {
		p.stands(groupTable, group)
	}
	if p.gone == nil {
		p.gone = map[string]string{}
	}
	for _, uuid := range gone {
		p.gone[uuid] = aclTable // which goes with the last group that has it
	}
	p.mutate(group, "acls", ovsdb.MutateOperationDelete, gone...)
	p.mutate(group, "acls", ovsdb.MutateOperationInsert, fresh...)
}

// is says whether a row is that ACL.
func (w allow) is(r row) bool {
	return w == allow{
		r.external()[tagID], r.columns["direction"].(string), r.columns["match"].(string), r.columns["action"].(string), r.columns["priority"].(int),
	}
}

// mutate puts references to rows into a Port_Group, or takes them out.
func (p *plan) mutate(group, column string, how ovsdb.Mutator, uuids ...string) {
	if len(uuids) == 0 {
		return
	}
	all := ovsdb.OvsSet{}
	for _, uuid := range uuids {
		all.GoSet = append(all.GoSet, ovsdb.UUID{GoUUID: uuid})
	}
	p.ops = append(p.ops, ovsdb.Operation{Op: ovsdb.OperationMutate, Table: groupTable, Where: where(group), Mutations: []ovsdb.Mutation{
		{Column: column, Mutator: how, Value: all},
	}})
}

// rulesOf are those of a group's ACLs that are Slipway's, in a lasting order. Others stay.
func (e *Engine) rulesOf(noted []string) ([]row, error) {
	acls, err := e.table(aclTable)
	if err != nil {
		return nil, err
	}
	var all []row
	for _, uuid := range noted {
		if a, ok := acls.Row(uuid).(*acl); ok && a.ExternalIDs[tagKind] == kindRule {
			all = append(all, a.row())
		}
	}
	slices.SortFunc(all, func(a, b row) int { return cmp.Compare(a.uuid, b.uuid) })
	return all, nil
}

// portGroups are the groups as they are when they are first asked for. The plans of one call share them: each port asks for that of
// all filtered ports, which is as long as there are ports.
type portGroups struct {
	engine *Engine
	byID   map[string][]*grouped
}

type grouped struct {
	*portGroup // the copy's own: to read
	members    map[string]bool
}

// of are a resource's, in a lasting order.
func (all *portGroups) of(ref sdn.Ref) ([]*grouped, error) {
	if all.byID == nil {
		cached, err := all.engine.table(groupTable)
		if err != nil {
			return nil, err
		}
		all.byID = map[string][]*grouped{}
		for _, m := range cached.RowsShallow() {
			if g := m.(*portGroup); g.ExternalIDs[tagID] != "" {
				all.byID[g.ExternalIDs[tagID]] = append(all.byID[g.ExternalIDs[tagID]], &grouped{portGroup: g})
			}
		}
		for _, same := range all.byID {
			slices.SortFunc(same, func(a, b *grouped) int { return cmp.Compare(a.UUID, b.UUID) })
		}
	}
	for _, g := range all.byID[ref.ID] {
		if g.members == nil {
			g.members = make(map[string]bool, len(g.Ports))
			for _, port := range g.Ports {
				g.members[port] = true
			}
		}
	}
	return all.byID[ref.ID], nil
}

// join puts a port that is planned into its groups, and out of those that its row says it was put into.
func (p *plan) join(d sdn.Desired, there []row) error {
	port, was := p.made[made{portTable, d.Ref}], []string(nil)
	if len(there) > 0 {
		port, was = there[0].uuid, strings.Split(there[0].external()[tagGroups], ",")
	}
	if err := p.member(filter, port, len(there) > 0, d.Port.Filtered); err != nil {
		return err
	}
	for _, id := range was {
		if id == "" || slices.Contains(d.Port.Groups, id) {
			continue
		}
		groups, err := p.groups.of(sdn.Ref{Kind: sdn.KindGroup, ID: id})
		if err != nil {
			return err
		}
		for _, g := range groups {
			p.mutate(g.UUID, "ports", ovsdb.MutateOperationDelete, port)
		}
	}
	for _, id := range d.Port.Groups {
		if err := p.member(sdn.Ref{Kind: sdn.KindGroup, ID: id}, port, len(there) > 0, true); err != nil {
			return err
		}
	}
	return nil
}

// member has a port in a group, or not. In that of all filtered ports, which is made with the first of them.
func (p *plan) member(of sdn.Ref, port string, stood, wanted bool) error {
	groups, err := p.groups.of(of)
	if err != nil {
		return err
	}
	if of == filter && wanted && !p.filtered {
		p.filtered = true
		if err := p.filter(groups); err != nil {
			return err
		}
	}
	if len(groups) > 0 {
		if _, gone := p.gone[groups[0].UUID]; !gone {
			g := groups[0]
			switch in := stood && g.members[port]; {
			case in && !wanted:
				p.mutate(g.UUID, "ports", ovsdb.MutateOperationDelete, port)
			case !in && wanted:
				p.stands(groupTable, g.UUID)
				p.mutate(g.UUID, "ports", ovsdb.MutateOperationInsert, port)
			}
			return nil
		}
	}
	if !wanted {
		return nil
	}
	group, err := p.find(groupTable, of)
	if err != nil || group == "" {
		return err
	}
	p.mutate(group, "ports", ovsdb.MutateOperationInsert, port)
	return nil
}

// filter makes the group of all filtered ports, or puts its ACLs right.
func (p *plan) filter(there []*grouped) error {
	if len(there) > 0 {
		has, err := p.engine.rulesOf(there[0].ACLs)
		if err != nil {
			return err
		}
		p.write(there[0].UUID, there[0].ACLs, has, filtering(), 0)
		return nil
	}
	own := map[string]string{tagID: filter.ID, tagKind: string(filter.Kind)}
	if err := p.insert(filter, want{table: groupTable, columns: map[string]any{"name": filterName, "external_ids": own}}); err != nil {
		return err
	}
	p.write(p.made[made{groupTable, filter}], nil, nil, filtering(), 0)
	return nil
}
