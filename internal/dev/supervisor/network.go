package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/dev/stack"
)

// Folders of OVN in a state folder: programs that deploy/dev/fetch-ovn.sh fetches, the central part's state, and the host's.
func (o options) ovnPrograms() string { return o.path("ovn") }
func (o options) ovnCentral() string  { return o.path("network", "central") }
func (o options) ovnChassis() string  { return o.path("network", "chassis") }

// machineSwitch is the database of an Open vSwitch that the machine runs.
const machineSwitch = "/run/openvswitch/db.sock"

// chooseEngine settles what networks stand on: what was asked for, else what they stood on before, since guests are plugged into that.
func (d *dev) chooseEngine() error {
	if d.engine == "" {
		if before, err := d.settings(); err == nil {
			d.engine = before.Network.Engine
		}
	}
	switch d.engine {
	case "", config.EngineBridge:
		d.engine = config.EngineBridge
		return nil
	case config.EngineOVN:
	default:
		return fmt.Errorf("--network-engine must be %s or %s, not %q", config.EngineBridge, config.EngineOVN, d.engine)
	}
	if _, err := os.Stat(filepath.Join(d.ovnPrograms(), "run")); err != nil {
		return fmt.Errorf("there is no OVN in %s: deploy/dev/fetch-ovn.sh fetches it, and so does `make demo ENGINE=ovn`", d.ovnPrograms())
	}
	if d.hypervisor != "libvirt" {
		return nil // nothing is plugged
	}
	if os.Geteuid() != 0 {
		return errors.New("networks on OVN take root: the host makes interfaces for its guests")
	}
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("networks on OVN take interfaces of the kernel's, which this machine does not give: %w", err)
	}
	return tun.Close()
}

// startOVN starts the central part, where networks stand on it, and gives their settings.
func (d *dev) startOVN(ctx context.Context, stops stops) (map[string]any, stops, error) {
	if d.engine != config.EngineOVN {
		return map[string]any{"engine": d.engine}, stops, nil
	}
	d.say("starting OVN's central part")
	central, err := stack.StartOVN(ctx, stack.OVNOptions{Dir: d.ovnCentral(), Programs: d.ovnPrograms(), Logger: d.log})
	if err != nil {
		return nil, stops, err
	}
	stops = append(stops, func(context.Context) error { return central.Stop() })
	return map[string]any{"engine": d.engine, "ovn_nb": central.Northbound}, stops, nil
}

// startChassis starts the host's Open vSwitch with OVN's controller, where its guests' interfaces are, for the stack whose central part
// and programs it takes.
func (d *dev) startChassis(ctx context.Context, stops stops, virt *stack.Libvirt, of options) (stops, error) {
	if d.engine != config.EngineOVN || d.hypervisor != "libvirt" {
		return stops, nil
	}
	o := stack.ChassisOptions{
		Dir: d.ovnChassis(), Programs: of.ovnPrograms(), Hostname: d.hostname, Southbound: stack.Southbound(of.ovnCentral()),
		EncapIP: "127.0.0.1", NetNS: virt.Netns(), Logger: d.log,
	}
	if o.NetNS == "" {
		// The machine's libvirtd: its guests are in the machine's own network namespace, and no other host is on it.
		if conn, err := (&net.Dialer{}).DialContext(ctx, "unix", machineSwitch); err == nil {
			conn.Close()
			return stops, errors.New("this machine runs an Open vSwitch of its own beside its libvirtd, and a second one there would take the same bridges: networks on OVN take a machine, or a container, without one of them")
		}
	} else {
		number, err := d.number()
		if err != nil {
			return stops, err
		}
		address := stack.Underlay.Addr().As4()
		address[3] = number
		o.EncapIP = net.IP(address[:]).String()
	}
	d.say("starting the chassis %s (Open vSwitch and OVN's controller)", d.hostname)
	chassis, err := stack.StartChassis(ctx, o)
	if err != nil {
		return stops, err
	}
	d.ovsdb = chassis.OVSDB
	stops = append(stops, func(context.Context) error { return chassis.Stop() })
	return stops, nil
}

// wire connects a host's part of the underlay to the first host's, which may have been started again since it was.
func (o options) wire(ctx context.Context, h options) error {
	settings, err := o.settings()
	if err != nil || settings.Network.Engine != config.EngineOVN || settings.Host.Hypervisor != "libvirt" {
		return err
	}
	if o.state, err = filepath.Abs(o.state); err != nil {
		return err
	}
	h = o.beside(h.hostname)
	return stack.LayWire(ctx, o.ovnPrograms(), stack.WireEnd{Dir: h.ovnChassis(), Interface: "wire"}, stack.WireEnd{Dir: o.ovnChassis(), Interface: "w-" + h.hostname})
}

// number is the host's place on the machine: dev-1 is the first, hv2 the second.
func (o options) number() (byte, error) {
	digits := strings.TrimLeftFunc(o.hostname, func(r rune) bool { return !unicode.IsDigit(r) })
	n, err := strconv.ParseUint(digits, 10, 8)
	if err != nil || n == 0 || n == 255 {
		return 0, fmt.Errorf("the underlay of OVN's hosts has room for 254 of them, and none for %s", o.hostname)
	}
	return byte(n), nil
}

// chassis are the hosts of a stack whose part of OVN runs.
func (o options) chassis() (names []string) {
	for _, each := range slices.Concat([]options{o}, o.added()) {
		if _, err := stack.ChassisNetNS(each.ovnChassis()); err == nil {
			names = append(names, each.hostname)
		}
	}
	return names
}
