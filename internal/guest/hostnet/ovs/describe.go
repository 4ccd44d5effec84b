package ovs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hostnet"
)

// Describe looks at all that has to be right before ports of this host work, and at those that are plugged. What does not answer is a
// check that fails.
func (o *Ports) Describe(ctx context.Context, hostname string) contract.HostNetwork {
	n := contract.HostNetwork{Hostname: hostname, Ports: []contract.HostPort{}}
	results, err := o.db.do(ctx,
		ovsdb.Operation{Op: ovsdb.OperationSelect, Table: "Open_vSwitch", Columns: []string{"ovs_version", "external_ids"}},
		ovsdb.Operation{Op: ovsdb.OperationSelect, Table: "Bridge", Columns: []string{"name", "datapath_type"}},
		ovsdb.Operation{Op: ovsdb.OperationSelect, Table: "Port", Columns: []string{"external_ids"}},
	)
	if err != nil || len(results[0].Rows) != 1 {
		n.Checks = []contract.HostCheck{failed("switch", told(fail(err, "look at the switch"), "the host's Open vSwitch is not set up: ovs-vswitchd has not run"))}
		return n
	}
	is := chassis{version: text(results[0].Rows[0], "ovs_version"), ids: pairs(results[0].Rows[0], "external_ids"), bridges: map[string]string{}}
	for _, row := range results[1].Rows {
		is.bridges[text(row, "name")] = text(row, "datapath_type")
	}
	for _, row := range results[2].Rows {
		// NAME@ADDRESS, and %OUR ADDRESS after it where a chassis has several.
		if name, _, there := strings.Cut(pairs(row, "external_ids")["ovn-chassis-id"], "@"); there {
			is.tunnels = append(is.tunnels, name)
		}
	}
	slices.Sort(is.tunnels)
	path, unfit := o.datapath(ctx)
	state, controllerErr := controllerState(ctx, o.db.endpoint)
	n.Switch = is.describe(path)
	n.Checks = is.checks(hostname, path, unfit, state, controllerErr)
	plugged, err := o.List(ctx)
	if err != nil {
		n.Checks = append(n.Checks, failed("ports", told(err, "")))
	}
	slices.SortFunc(plugged, func(a, b hostnet.Plugged) int { return strings.Compare(a.ServerID+a.Tap, b.ServerID+b.Tap) })
	for _, p := range plugged {
		n.Ports = append(n.Ports, p.Port())
	}
	return n
}

// chassis is what the switch's database says of it.
type chassis struct {
	version string
	ids     map[string]string // external_ids of Open_vSwitch: ovn-controller(8)
	bridges map[string]string // with their datapath types
	tunnels []string
}

func (c chassis) mappings() []contract.BridgeMapping {
	all := []contract.BridgeMapping{}
	for _, pair := range strings.FieldsFunc(c.ids["ovn-bridge-mappings"], func(r rune) bool { return r == ',' }) {
		network, bridge, _ := strings.Cut(pair, ":")
		all = append(all, contract.BridgeMapping{Network: network, Bridge: bridge})
	}
	return all
}

func (c chassis) describe(path Datapath) *contract.HostSwitch {
	s := &contract.HostSwitch{
		Version: c.version, Datapath: "kernel", SystemID: c.ids["system-id"], Southbound: c.ids["ovn-remote"], Encap: c.ids["ovn-encap-type"],
		EncapIP: c.ids["ovn-encap-ip"], Tunnels: append([]string{}, c.tunnels...), Mappings: c.mappings(),
	}
	if path.Userspace {
		s.Datapath = "userspace"
	}
	return s
}

func failed(name, text string) contract.HostCheck { return contract.HostCheck{Name: name, Text: text} }
func passed(name, text string) contract.HostCheck {
	return contract.HostCheck{Name: name, OK: true, Text: text}
}

// told is what an error tells an operator, or something else where there is none.
func told(err error, otherwise string) string {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f.Text
	}
	if err != nil {
		return err.Error()
	}
	return otherwise
}

// checks say of each thing whether it is right, in the order in which one needs the other.
func (c chassis) checks(hostname string, path Datapath, unfit error, state string, controllerErr error) []contract.HostCheck {
	all := []contract.HostCheck{passed("switch", "Open vSwitch "+cmp.Or(c.version, "of a version that its database does not tell"))}
	add := func(name string, right bool, is, wrong string) {
		if right {
			all = append(all, passed(name, is))
		} else {
			all = append(all, failed(name, wrong))
		}
	}
	const set = "ovs-vsctl set Open_vSwitch . external_ids:"
	datapath := "the kernel's"
	if path.Userspace {
		datapath = "its own, which segments"
	}
	add("datapath", unfit == nil, datapath, told(unfit, ""))
	id := c.ids["system-id"]
	add("system-id", id == hostname, id,
		fmt.Sprintf("it is %q and the host's name is %s, for which its ports are meant: %ssystem-id=%[2]s, and restart ovn-controller", id, hostname, set))
	encap, address := strings.Split(c.ids["ovn-encap-type"], ","), c.ids["ovn-encap-ip"]
	add("encapsulation", slices.Contains(encap, "geneve") && address != "", "geneve at "+address,
		"other hosts cannot send to this one: "+set+"ovn-encap-type=geneve external_ids:ovn-encap-ip=ADDRESS, at which they reach it")
	remote := c.ids["ovn-remote"]
	switch {
	case remote == "":
		all = append(all, failed("controller", "it is not told where the Southbound database is: "+set+"ovn-remote=ssl:HOST:6642"))
	case controllerErr != nil:
		all = append(all, failed("controller", controllerErr.Error()))
	default:
		add("controller", state == "connected", "connected to "+remote, fmt.Sprintf("ovn-controller runs, and is %s at %s", state, remote))
	}
	mappings, missing := []string{}, []string{}
	for _, m := range c.mappings() {
		kind, there := c.bridges[m.Bridge]
		switch {
		case m.Network == "" || m.Bridge == "":
			missing = append(missing, "ovn-bridge-mappings takes NETWORK:BRIDGE")
		case !there:
			missing = append(missing, fmt.Sprintf("network %s is mapped to the bridge %s, which is not there: ovs-vsctl add-br %[2]s", m.Network, m.Bridge))
		case (kind == "netdev") != path.Userspace:
			missing = append(missing, fmt.Sprintf("the bridge %s of network %s has another datapath than %s: ovs-vsctl set Bridge %[1]s datapath_type=%[4]s",
				m.Bridge, m.Network, integration, cmp.Or(c.bridges[integration], "system")))
		}
		mappings = append(mappings, m.Network+" by "+m.Bridge)
	}
	if len(mappings) == 0 {
		mappings = []string{"none: networks outside are reached by other hosts alone"}
	}
	add("mappings", len(missing) == 0, strings.Join(mappings, ", "), strings.Join(missing, "; "))
	return all
}

// controllerState asks OVN's controller whether it is connected to the Southbound: connected, or not connected. Its socket is in the
// switch's folder, or in OVN's beside that.
func controllerState(ctx context.Context, endpoint string) (string, error) {
	folder := filepath.Dir(strings.TrimPrefix(endpoint, "unix:"))
	folders := []string{folder, filepath.Join(filepath.Dir(folder), "ovn")}
	all := fmt.Errorf("ovn-controller does not run: no socket of its is in %s", strings.Join(folders, " or "))
	for _, folder := range folders {
		entries, err := os.ReadDir(folder)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), "ovn-controller") && strings.HasSuffix(e.Name(), ".ctl") {
				state, err := control(ctx, filepath.Join(folder, e.Name()), "connection-status")
				if err == nil {
					return state, nil
				}
				all = fmt.Errorf("ovn-controller does not answer: %w", err) // one that has ended leaves its socket
			}
		}
	}
	return "", all
}

// control has a daemon of Open vSwitch's or OVN's do a command, as ovs-appctl does: JSON-RPC 1.0 over its socket.
func control(ctx context.Context, socket, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if until, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(until)
	}
	ask := map[string]any{"id": 0, "method": command, "params": []string{}}
	if err := json.NewEncoder(conn).Encode(ask); err != nil {
		return "", err
	}
	var answer struct {
		Result string
		Error  any
	}
	if err := json.NewDecoder(conn).Decode(&answer); err != nil {
		return "", err
	}
	if answer.Error != nil {
		return "", fmt.Errorf("%s: %v", command, answer.Error)
	}
	return strings.TrimSpace(answer.Result), nil
}
