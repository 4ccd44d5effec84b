package ovs

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"
	"github.com/vishvananda/netlink"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Datapath is what moves the packets.
type Datapath struct {
	Userspace bool // the switch's own process, and not the kernel
}

// sane is the first version whose own connection tracking does not abort under NAT and stateful rules.
var sane = []int{3, 1, 3}

// Probe says why no port here would work.
func (o *Ports) Probe(ctx context.Context) error {
	_, err := o.datapath(ctx)
	return err
}

// datapath looks which one the integration bridge has, and whether guests can rely on it.
func (o *Ports) datapath(ctx context.Context) (Datapath, error) {
	results, err := o.db.do(ctx,
		ovsdb.Operation{Op: ovsdb.OperationSelect, Table: "Open_vSwitch", Columns: []string{"ovs_version", "datapath_types", "other_config"}},
		ovsdb.Operation{Op: ovsdb.OperationSelect, Table: "Bridge", Columns: []string{"datapath_type"}, Where: named(integration)},
	)
	if err != nil {
		return Datapath{}, fail(err, "look at the switch")
	}
	if len(results[0].Rows) != 1 {
		return Datapath{}, unfit("it is not set up yet: ovs-vswitchd has not run.")
	}
	if len(results[1].Rows) != 1 {
		return Datapath{}, unfit("it has no bridge %s: ovn-controller makes it, and does not run here.", integration)
	}
	host := results[0].Rows[0]
	types := texts(host, "datapath_types")
	if !kernelHas() { // the switch lists it all the same
		types = slices.DeleteFunc(types, func(t string) bool { return t == "system" })
	}
	return choose(text(host, "ovs_version"), types, pairs(host, "other_config"), text(results[1].Rows[0], "datapath_type"))
}

// kernelHas says whether the kernel has a datapath for the switch, and loads the module for it where there is one.
func kernelHas() bool {
	_, err := netlink.GenlFamilyGet("ovs_datapath")
	return err == nil
}

// choose says of a switch whether its integration bridge, of a type, can be relied on: the kernel's datapath where there is one, else its
// own, which has to segment what guests leave to it.
func choose(version string, types []string, config map[string]string, bridge string) (Datapath, error) {
	d := Datapath{Userspace: bridge == "netdev"}
	kernel := slices.Contains(types, "system")
	switch {
	case !d.Userspace && !kernel:
		return d, unfit("this kernel has no datapath for it (the module openvswitch), and %s asks for that: set external_ids:ovn-bridge-datapath-type=netdev.", integration)
	case !d.Userspace:
		return d, nil
	case older(version, sane):
		return d, unfit("its version %s aborts when its own datapath tracks connections: it takes 3.1.3 or newer, or the kernel's datapath.", version)
	case config["userspace-tso-enable"] != "true":
		return d, unfit("its own datapath does not segment, so guests' TCP would hang: set other_config:userspace-tso-enable=true and restart ovs-vswitchd.")
	}
	return d, nil
}

func unfit(format string, args ...any) error {
	return fault.New(fault.HostUnfit, "The host's Open vSwitch cannot switch servers: "+format, args...)
}

// older compares versions such as 3.1.0; what is no number is not older.
func older(version string, than []int) bool {
	part := strings.SplitN(version, ".", len(than))
	for i, want := range than {
		if i == len(part) {
			return true
		}
		number, _, _ := strings.Cut(part[i], "-")
		is, err := strconv.Atoi(number)
		if err != nil || is > want {
			return false
		}
		if is < want {
			return true
		}
	}
	return false
}
