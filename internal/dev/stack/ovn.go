package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// OVNOptions say how OVN's central part is run.
type OVNOptions struct {
	Dir      string // of its databases, sockets and logs
	Programs string // deploy/dev/fetch-ovn.sh's folder
	Logger   *slog.Logger
}

// OVN is the central part: the Northbound and the Southbound database, and what translates the one into the other.
type OVN struct {
	Northbound string // unix:/…
	Southbound string
	programs   ovnPrograms
}

// Chassis is one hypervisor's part: its Open vSwitch and OVN's controller.
type Chassis struct {
	OVSDB    string // unix:/…
	programs ovnPrograms
}

// ChassisOptions say how a chassis is run. Hostname is its system-id too.
type ChassisOptions struct {
	Dir        string
	Programs   string
	Hostname   string
	Southbound string
	// EncapIP is where the others send what they encapsulate: on loopback where there are none, else in Underlay, on a bridge
	// that wires end in (LayWire).
	EncapIP string
	NetNS   string // path of the network namespace to run in; "" is this process'
	Logger  *slog.Logger
}

// Southbound is the database's address of a central part in a folder.
func Southbound(dir string) string { return (&ovnPrograms{dir: dir}).socket("sb") }

// vswitchStop is longer than ovs-vswitchd takes to let go of what it has in its datapath.
const vswitchStop = 30 * time.Second

// StartOVN starts the central part, and keeps it running until it is stopped. Its databases stay in the folder.
func StartOVN(ctx context.Context, o OVNOptions) (_ *OVN, err error) {
	p := ovnPrograms{dir: o.Dir, folder: o.Programs, log: o.Logger}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start OVN (deploy/dev/fetch-ovn.sh fetches it): %w", err), p.Stop())
		}
	}()
	if err := p.prepare(); err != nil {
		return nil, err
	}
	for _, database := range []string{"nb", "sb"} {
		if err := p.database(ctx, database, filepath.Join("ovn", "ovn-"+database+".ovsschema")); err != nil {
			return nil, err
		}
	}
	c := &OVN{Northbound: p.socket("nb"), Southbound: p.socket("sb")}
	err = p.run(ctx, Command{Name: "ovn-northd", Args: []string{"--ovnnb-db=" + c.Northbound, "--ovnsb-db=" + c.Southbound}})
	c.programs = p
	return c, err
}

// Stop ends it.
func (c *OVN) Stop() error { return c.programs.Stop() }

// StartChassis starts a hypervisor's part, with Open vSwitch's own datapath: no kernel module is needed.
func StartChassis(ctx context.Context, o ChassisOptions) (_ *Chassis, err error) {
	p := ovnPrograms{dir: o.Dir, folder: o.Programs, netns: o.NetNS, log: o.Logger}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start the chassis %s (deploy/dev/fetch-ovn.sh fetches OVN): %w", o.Hostname, err), p.Stop())
		}
	}()
	if err := p.prepare(); err != nil {
		return nil, err
	}
	if err := p.database(ctx, "conf", filepath.Join("openvswitch", "vswitch.ovsschema")); err != nil {
		return nil, err
	}
	c := &Chassis{OVSDB: p.socket("conf")}
	// As ovs-ctl does, who starts the switch says which it is: "ovs-vsctl (Open vSwitch) 3.5.0".
	said, err := p.ask(ctx, "ovs-vsctl", "--version")
	if err != nil {
		return nil, err
	}
	said, _, _ = strings.Cut(said, "\n")
	version := said[strings.LastIndexByte(said, ' ')+1:]
	// Segmentation in the datapath has to be on before it starts: without it guests with the usual offloads have no TCP.
	err = p.once(ctx, "ovs-vsctl", "--timeout=10", "--db="+c.OVSDB, "--no-wait", "init", "--", "set", "Open_vSwitch", ".", "ovs-version="+version,
		"external_ids:system-id="+o.Hostname, "external_ids:hostname="+o.Hostname, "external_ids:ovn-remote="+o.Southbound,
		"external_ids:ovn-encap-type=geneve", "external_ids:ovn-encap-ip="+o.EncapIP,
		"external_ids:ovn-bridge-datapath-type=netdev", "other_config:userspace-tso-enable=true")
	if err == nil {
		command := Command{Name: vswitchd, Args: []string{c.OVSDB}, StopTimeout: vswitchStop}
		if !strings.HasPrefix(o.EncapIP, "127.") {
			command.Ready = func(ctx context.Context) error { return p.underlay(ctx, o.EncapIP) }
		}
		err = p.run(ctx, command)
	}
	if err == nil {
		err = p.run(ctx, Command{Name: "ovn-controller", Args: []string{c.OVSDB}})
	}
	c.programs = p
	return c, err
}

// Stop ends it. What it has switched is switched no more.
func (c *Chassis) Stop() error { return c.programs.Stop() }

const (
	vswitchd = "ovs-vswitchd"
	// socketPathMax is what the kernel takes: unix(7).
	socketPathMax = 107
)

// ovnPrograms are children that share a folder.
type ovnPrograms struct {
	dir, folder, netns string
	log                *slog.Logger
	running            []*Supervised
}

func (p *ovnPrograms) prepare() error {
	if _, err := os.Stat(filepath.Join(p.folder, "run")); err != nil {
		return err
	}
	if longest := p.file(vswitchd + ".ctl"); len(longest) > socketPathMax {
		return fmt.Errorf("the path %s is longer than a socket's may be (%d bytes): take a shorter folder", longest, socketPathMax)
	}
	return os.MkdirAll(p.dir, 0o755)
}

func (p *ovnPrograms) file(name string) string   { return filepath.Join(p.dir, name) }
func (p *ovnPrograms) socket(name string) string { return "unix:" + p.file(name+".sock") }

// command is a program with everything of its own in the folder: nothing of it gets near what the machine may have.
func (p *ovnPrograms) command(name string, args []string) (path string, all, env []string) {
	for _, of := range []string{"OVS", "OVN"} {
		for _, kind := range []string{"RUNDIR", "LOGDIR", "DBDIR", "SYSCONFDIR"} {
			env = append(env, of+"_"+kind+"="+p.dir)
		}
	}
	path, all = filepath.Join(p.folder, "run"), append([]string{name}, args...)
	if p.netns != "" {
		path, all = "nsenter", append([]string{"--net=" + p.netns, filepath.Join(p.folder, "run")}, all...)
	}
	return path, all, env
}

// once runs a program to its end.
func (p *ovnPrograms) once(ctx context.Context, name string, args ...string) error {
	_, err := p.ask(ctx, name, args...)
	return err
}

// ask is once, with what the program says.
func (p *ovnPrograms) ask(ctx context.Context, name string, args ...string) (string, error) {
	path, all, env := p.command(name, args)
	cmd := exec.CommandContext(ctx, path, all...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return string(out), nil
}

// run keeps a program running. It is ready when it can be controlled.
func (p *ovnPrograms) run(ctx context.Context, c Command) error {
	control, pid := p.file(c.Name+".ctl"), p.file(c.Name+".pid")
	path, args, env := p.command(c.Name, append(c.Args, "--unixctl="+control, "--pidfile="+pid))
	c.Path, c.Args, c.Env, c.Dir = path, args, env, p.dir
	return p.supervise(ctx, c, control, control, pid)
}

// supervise starts a child that is ready when it answers at a socket.
func (p *ovnPrograms) supervise(ctx context.Context, c Command, socket string, leftovers ...string) error {
	if looked, err := exec.LookPath(c.Path); err == nil {
		c.Path = looked
	}
	c.LogFile, c.ParentDeathSignal = p.file(c.Name+".log"), syscall.SIGTERM
	c.Prepare = func(context.Context) error {
		for _, file := range append(leftovers, socket) { // of one that was killed: it does not answer
			if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	}
	then := c.Ready
	c.Ready = func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err == nil {
			err = conn.Close()
		}
		if err == nil && then != nil {
			err = then(ctx)
		}
		return err
	}
	s, err := Supervise(ctx, c, p.log)
	if err == nil {
		p.running = append(p.running, s)
	}
	return err
}

// database serves one, which is made where there is none.
func (p *ovnPrograms) database(ctx context.Context, name, schema string) error {
	file := p.file(name + ".db")
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		if err := p.once(ctx, "ovsdb-tool", "create", file, filepath.Join(p.folder, "tree", "usr", "share", schema)); err != nil {
			return err
		}
	}
	control, pid := p.file(name+".ctl"), p.file(name+".pid")
	path, args, env := p.command("ovsdb-server", []string{"--remote=p" + p.socket(name), "--unixctl=" + control, "--pidfile=" + pid, file})
	return p.supervise(ctx, Command{Name: "ovsdb-server-" + name, Path: path, Args: args, Env: env, Dir: p.dir}, p.file(name+".sock"), control, pid)
}

// Stop ends them, the last one first.
func (p *ovnPrograms) Stop() error {
	var all error
	for i := len(p.running) - 1; i >= 0; i-- {
		all = errors.Join(all, p.running[i].Stop())
	}
	p.running = nil
	return all
}
