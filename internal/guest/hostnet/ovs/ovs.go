// Package ovs plugs the ports of servers into this host's Open vSwitch, which OVN's controller programs: over the switch's own database,
// by no command line. It implements the port hostnet.Ports.
package ovs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"
	"github.com/vishvananda/netlink"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hostnet"
	"github.com/slipway-cloud/slipway/internal/guest/netspace"
)

// integration is the bridge that OVN's controller makes and programs.
const integration = "br-int"

// Keys of an Interface's external_ids. The first is how OVN's controller tells which port an interface is; the next ones are for whoever
// looks at the switch, as Nova and os-vif write them; the last ones are Slipway's mark.
const (
	ifaceID     = "iface-id"
	ifaceStatus = "iface-status"
	attachedMAC = "attached-mac"
	vmUUID      = "vm-uuid"

	ownerKey   = "slipway-owner"
	nicKey     = "slipway-nic"
	networkKey = "slipway-network"

	// installed is what OVN's controller says of an interface when all flows of its port are in the switch (ovn-controller(8)).
	installed = "ovn-installed"
)

// Options of Ports.
type Options struct {
	// Endpoint is Open vSwitch's database, unix:/run/openvswitch/db.sock where it is the system's.
	Endpoint string
	// Owner marks what is plugged: the folder of this host's servers. One switch may serve several installations.
	Owner string
	// NetNS finds the network namespace of the switch and of the hypervisor; nil is the process' own.
	NetNS  func(context.Context) (path string, err error)
	Logger *slog.Logger
}

// Ports are those of this host. It is safe for concurrent use; one server's calls are made one after another.
type Ports struct {
	db    database
	owner string
	netns func(context.Context) (string, error)
	log   *slog.Logger
}

var _ hostnet.Ports = (*Ports)(nil)

// New makes Ports. Nothing is connected yet, so it works before the switch does.
func New(o Options) *Ports {
	if o.NetNS == nil {
		o.NetNS = func(context.Context) (string, error) { return "", nil }
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return &Ports{db: database{endpoint: o.Endpoint}, owner: o.Owner, netns: o.NetNS, log: o.Logger}
}

// Close gives the connection back.
func (o *Ports) Close() error {
	o.db.close()
	return nil
}

// mark is what a tap says of whose it is; the kernel keeps up to 255 bytes.
func (o *Ports) mark(serverID string, nic int) string {
	return fmt.Sprintf("slipway %s %d %s", serverID, nic, o.owner)
}

// marked reads a mark of this host's.
func (o *Ports) marked(mark string) (serverID string, nic int, ours bool) {
	part := strings.SplitN(mark, " ", 4)
	if len(part) != 4 || part[0] != "slipway" || part[3] != o.owner {
		return "", 0, false
	}
	nic, err := strconv.Atoi(part[2])
	return part[1], nic, err == nil
}

// in works in the switch's network namespace.
func (o *Ports) in(ctx context.Context, f func(*netlink.Handle) error) error {
	path, err := o.netns(ctx)
	if err != nil {
		return err
	}
	return netspace.Do(path, f)
}

// Plug makes the tap first and lets the switch know of it then, which takes it in within milliseconds. What a death between leaves is a
// tap with its mark.
func (o *Ports) Plug(ctx context.Context, p hostnet.Port) error {
	if p.Tap() == "" || p.ServerID == "" {
		return fault.New(fault.Internal, "%q is no port of a server", p.ID)
	}
	path, err := o.datapath(ctx)
	if err != nil {
		return err
	}
	err = o.in(ctx, func(h *netlink.Handle) error {
		link, err := h.LinkByName(p.Tap())
		switch {
		case isNoLink(err):
			if err := makeTap(h, p, o.mark(p.ServerID, p.NIC)); err != nil {
				return err
			}
		case err != nil:
			return err
		case link.Type() != "tuntap" || link.Attrs().Alias != o.mark(p.ServerID, p.NIC):
			return fault.New(fault.Conflict, "The interface %s is there on this host and is not port %s of instance %s.", p.Tap(), p.ID, p.ServerID)
		}
		return setTap(h, p, path.Userspace)
	})
	if err != nil {
		if f, ok := errors.AsType[*fault.Error](err); ok {
			return f
		}
		return fault.Wrap(fault.HostUnfit, fmt.Errorf("tap %s: %w", p.Tap(), err), "The host could not make the interface of the server's port")
	}
	return o.addPort(ctx, p)
}

func (o *Ports) externalIDs(p hostnet.Port) map[string]string {
	all := map[string]string{
		ifaceID: p.ID, ifaceStatus: "active", attachedMAC: p.MAC, vmUUID: p.ServerID, ownerKey: o.owner, nicKey: strconv.Itoa(p.NIC),
	}
	if p.Network != "" {
		all[networkKey] = p.Network
	}
	return all
}

// addPort puts the tap into the integration bridge.
func (o *Ports) addPort(ctx context.Context, p hostnet.Port) error {
	return o.addInterface(ctx, p.Tap(), p.MTU, o.externalIDs(p), vmUUID, fmt.Sprintf("port %s of instance %s", p.ID, p.ServerID))
}

// addInterface puts one into the integration bridge, or mends one whose key is what it shall be. Names are unique in the database, so of
// two who do so one fails.
func (o *Ports) addInterface(ctx context.Context, name string, mtu int, want map[string]string, key, what string) error {
	rows, err := o.interfaces(ctx, named(name))
	if err != nil {
		return err
	}
	if len(rows) == 1 {
		is := pairs(rows[0], "external_ids")
		if is[ownerKey] != o.owner || is[key] != want[key] {
			return fault.New(fault.Conflict, "The host's Open vSwitch has an interface %s that is not %s.", name, what)
		}
		for key, value := range want {
			if is[key] == value {
				delete(want, key)
			}
		}
		if len(want) == 0 && (mtu == 0 || number(rows[0], "mtu_request") == mtu) {
			return nil
		}
		ops := []ovsdb.Operation{{Op: ovsdb.OperationMutate, Table: "Interface", Where: named(name), Mutations: []ovsdb.Mutation{
			*ovsdb.NewMutation("external_ids", ovsdb.MutateOperationDelete, ovsdb.OvsSet{GoSet: keys(want)}),
			*ovsdb.NewMutation("external_ids", ovsdb.MutateOperationInsert, ofPairs(want)),
		}}}
		if mtu > 0 {
			ops = append(ops, ovsdb.Operation{Op: ovsdb.OperationUpdate, Table: "Interface", Where: named(name), Row: ovsdb.Row{"mtu_request": mtu}})
		}
		_, err := o.db.do(ctx, ops...)
		return fail(err, "change the port "+name)
	}
	iface := ovsdb.Row{"name": name, "external_ids": ofPairs(want)}
	if mtu > 0 {
		iface["mtu_request"] = mtu // else the switch gives it the smallest of its bridge's
	}
	_, err = o.db.do(ctx,
		ovsdb.Operation{Op: ovsdb.OperationInsert, Table: "Interface", UUIDName: "iface", Row: iface},
		ovsdb.Operation{Op: ovsdb.OperationInsert, Table: "Port", UUIDName: "port", Row: ovsdb.Row{
			"name": name, "interfaces": ovsdb.UUID{GoUUID: "iface"}, "external_ids": ofPairs(map[string]string{ownerKey: o.owner}),
		}},
		// One that adds it to no bridge would be dropped by the database as garbage, without a word.
		ovsdb.Operation{Op: ovsdb.OperationWait, Table: "Bridge", Timeout: new(int), Columns: []string{"name"}, Until: string(ovsdb.WaitConditionEqual),
			Where: named(integration), Rows: []ovsdb.Row{{"name": integration}}},
		ovsdb.Operation{Op: ovsdb.OperationMutate, Table: "Bridge", Where: named(integration), Mutations: []ovsdb.Mutation{
			*ovsdb.NewMutation("ports", ovsdb.MutateOperationInsert, ovsdb.UUID{GoUUID: "port"}),
		}},
	)
	return fail(err, "add the port "+name)
}

// longest is how long the database is let wait at once: what nobody waits for any more is not left there.
const longest = 5 * time.Minute

// Await has the database itself wait, so that it is known at once.
func (o *Ports) Await(ctx context.Context, p hostnet.Port) error {
	within, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	until, _ := within.Deadline()
	// The database waits longer than ctx: who asked tells by that whose wait has ended.
	patience := max(1, int(time.Until(until).Milliseconds())) + 1000
	_, err := o.db.transact(within, ovsdb.Operation{
		Op: ovsdb.OperationWait, Table: "Interface", Timeout: &patience, Columns: []string{"name"}, Until: string(ovsdb.WaitConditionEqual),
		Rows:  []ovsdb.Row{{"name": p.Tap()}},
		Where: append(named(p.Tap()), ovsdb.NewCondition("external_ids", ovsdb.ConditionIncludes, ofPairs(map[string]string{installed: "true"}))),
	})
	if err == nil {
		return nil
	}
	return fault.Wrap(fault.Unavailable, err, "Port %s is not up: %s", p.ID, o.whyDown(context.WithoutCancel(ctx), p))
}

// whyDown is what the switch says of a port on which nothing is installed.
func (o *Ports) whyDown(ctx context.Context, p hostnet.Port) string {
	rows, err := o.interfaces(ctx, named(p.Tap()))
	switch {
	case err != nil:
		return "the host's Open vSwitch does not answer"
	case len(rows) == 0:
		return "it is not plugged"
	}
	if said := text(rows[0], "error"); said != "" {
		return said
	}
	return "OVN's controller on this host has not installed it; does ovn-controller run, and reach the Southbound?"
}

// Unplug takes the port out of the switch first, which lets go of the tap then.
func (o *Ports) Unplug(ctx context.Context, serverID string, nic int) error {
	return o.unplug(ctx, func(p hostnet.Plugged) bool { return p.ServerID == serverID && p.NIC == nic })
}

// UnplugAll does so for all of a server's.
func (o *Ports) UnplugAll(ctx context.Context, serverID string) error {
	return o.unplug(ctx, func(p hostnet.Plugged) bool { return p.ServerID == serverID })
}

func (o *Ports) unplug(ctx context.Context, goes func(hostnet.Plugged) bool) error {
	all, err := o.List(ctx)
	if err != nil {
		return err
	}
	for _, p := range all {
		if !goes(p) {
			continue
		}
		if err := o.removePort(ctx, p.Tap); err != nil {
			return err
		}
		err := o.in(ctx, func(h *netlink.Handle) error { return removeTap(h, p.Tap, o.mark(p.ServerID, p.NIC)) })
		if err != nil {
			return fault.Wrap(fault.Unavailable, fmt.Errorf("remove tap %s: %w", p.Tap, err), "The host could not remove the interface of the server's port")
		}
		o.log.DebugContext(ctx, "unplugged a port", "port_id", p.PortID, "server_id", p.ServerID, "tap", p.Tap)
	}
	return nil
}

// removePort takes a port of this host's out of whatever bridge it is in; with it goes its interface.
func (o *Ports) removePort(ctx context.Context, name string) error {
	results, err := o.db.do(ctx, ovsdb.Operation{Op: ovsdb.OperationSelect, Table: "Port", Columns: []string{"_uuid"}, Where: append(named(name), o.ours())})
	if err != nil {
		return fail(err, "look for the port "+name)
	}
	for _, row := range results[0].Rows {
		port := ovsdb.UUID{GoUUID: id(row, "_uuid")}
		_, err := o.db.do(ctx, ovsdb.Operation{
			Op: ovsdb.OperationMutate, Table: "Bridge", Where: []ovsdb.Condition{ovsdb.NewCondition("ports", ovsdb.ConditionIncludes, port)},
			Mutations: []ovsdb.Mutation{*ovsdb.NewMutation("ports", ovsdb.MutateOperationDelete, port)},
		})
		if err != nil {
			return fail(err, "take out the port "+name)
		}
	}
	return nil
}

// List tells of all that bears this host's mark, in the switch or as a tap alone.
func (o *Ports) List(ctx context.Context) ([]hostnet.Plugged, error) {
	rows, err := o.interfaces(ctx, []ovsdb.Condition{o.ours()})
	if err != nil {
		return nil, err
	}
	all := map[string]hostnet.Plugged{}
	for _, row := range rows {
		of := pairs(row, "external_ids")
		nic, err := strconv.Atoi(of[nicKey])
		if err != nil {
			continue
		}
		p := hostnet.Plugged{ServerID: of[vmUUID], NIC: nic, PortID: of[ifaceID], Network: of[networkKey], MTU: number(row, "mtu_request"),
			Tap: text(row, "name"), Up: of[installed] == "true", Error: text(row, "error")}
		all[p.Tap] = p
	}
	err = o.in(ctx, func(h *netlink.Handle) error {
		there := map[string]bool{}
		links, err := taps(h)
		for _, l := range links {
			serverID, nic, ours := o.marked(l.Attrs().Alias)
			if !ours {
				continue
			}
			there[l.Attrs().Name] = true
			if _, known := all[l.Attrs().Name]; !known {
				all[l.Attrs().Name] = hostnet.Plugged{ServerID: serverID, NIC: nic, Tap: l.Attrs().Name, Error: "it is not in the switch"}
			}
		}
		for name, p := range all {
			if !there[name] && p.Error == "" {
				p.Error = "its interface is gone"
				all[name] = p
			}
		}
		return err
	})
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, fmt.Errorf("list interfaces: %w", err), "The host could not list its interfaces")
	}
	list := make([]hostnet.Plugged, 0, len(all))
	for p := range maps.Values(all) {
		list = append(list, p)
	}
	return list, nil
}

func (o *Ports) interfaces(ctx context.Context, where []ovsdb.Condition) ([]ovsdb.Row, error) {
	results, err := o.db.do(ctx, ovsdb.Operation{
		Op: ovsdb.OperationSelect, Table: "Interface", Columns: []string{"name", "external_ids", "error", "mtu_request"}, Where: where,
	})
	if err != nil {
		return nil, fail(err, "list the switch's interfaces")
	}
	return results[0].Rows, nil
}

func (o *Ports) ours() ovsdb.Condition {
	return ovsdb.NewCondition("external_ids", ovsdb.ConditionIncludes, ofPairs(map[string]string{ownerKey: o.owner}))
}

func named(name string) []ovsdb.Condition {
	return []ovsdb.Condition{ovsdb.NewCondition("name", ovsdb.ConditionEqual, name)}
}

func keys(m map[string]string) (all []any) {
	for k := range m {
		all = append(all, k)
	}
	return all
}

// fail makes a fault of what the database answers.
func fail(err error, doing string) error {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	err = fmt.Errorf("%s: %w", doing, err)
	switch {
	case errors.As(err, new(*ovsdb.TimedOut)):
		return fault.Wrap(fault.HostUnfit, err, "The host's Open vSwitch has no bridge %s: ovn-controller makes it, and does not run here", integration)
	case errors.As(err, new(*ovsdb.ConstraintViolation)): // somebody was faster, or another thing has the name
		return fault.Wrap(fault.Unavailable, err, "The host's Open vSwitch was changed meanwhile")
	}
	return fault.Wrap(fault.HostUnfit, err, "The host's Open vSwitch did not take the server's port")
}
