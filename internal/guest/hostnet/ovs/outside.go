package ovs

import (
	"context"
	"slices"
	"strings"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"
)

// What OVN's controller reads of the switch (ovn-controller(8)), and what Neutron's operators set for it.
const (
	bridgeMappings = "ovn-bridge-mappings"
	cmsOptions     = "ovn-cms-options"
	asGateway      = "enable-chassis-as-gw"
)

// Outside are the physical networks to which the switch has a bridge, sorted, and whether this host is set apart to be a gateway.
func (o *Ports) Outside(ctx context.Context) (networks []string, gateway bool, err error) {
	results, err := o.db.do(ctx,
		ovsdb.Operation{Op: ovsdb.OperationSelect, Table: "Open_vSwitch", Columns: []string{"external_ids"}},
		ovsdb.Operation{Op: ovsdb.OperationSelect, Table: "Bridge", Columns: []string{"name"}, Where: []ovsdb.Condition{}},
	)
	if err != nil {
		return nil, false, fail(err, "ask where the switch leads")
	}
	if len(results[0].Rows) != 1 {
		return []string{}, false, nil
	}
	said := pairs(results[0].Rows[0], "external_ids")
	var bridges []string
	for _, row := range results[1].Rows {
		bridges = append(bridges, text(row, "name"))
	}
	return mapped(said[bridgeMappings], bridges), slices.Contains(strings.Split(said[cmsOptions], ","), asGateway), nil
}

// mapped are the networks whose bridge is there: OVN's controller passes over the others.
func mapped(mappings string, bridges []string) []string {
	all := []string{}
	for _, one := range strings.Split(mappings, ",") {
		network, bridge, ok := strings.Cut(strings.TrimSpace(one), ":")
		if ok && network != "" && slices.Contains(bridges, bridge) && !slices.Contains(all, network) {
			all = append(all, network)
		}
	}
	slices.Sort(all)
	return all
}
