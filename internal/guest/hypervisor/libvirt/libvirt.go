// Package libvirt runs servers as domains of the local libvirtd and its QEMU, over libvirt's own protocol on a unix socket
// (no C library). It implements the port hypervisor.Hypervisor.
package libvirt

import (
	"context"
	"encoding/xml"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"
	"libvirt.org/go/libvirtxml"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
)

const (
	defaultSocket      = "/run/libvirt/libvirt-sock"
	defaultCallTimeout = 2 * time.Minute
	namePrefix         = "slipway-"
)

// Options of a Hypervisor. The zero value is a system's libvirtd.
type Options struct {
	// Socket is libvirtd's unix socket: a path, or a libvirt URI with one (qemu+unix:///system?socket=<path>). ""
	// is the system's.
	Socket string
	// NetNS is the path of the network namespace in which bridges are made; "" is the one that libvirtd runs in.
	NetNS string
	// Host is this host's name in errors; "" asks the operating system.
	Host string
	// TBCacheMiB bounds the memory that QEMU keeps translated code in when it emulates; 0 is 64.
	TBCacheMiB int
	// Virt is how the settings want guests to run.
	Virt hypervisor.Virt
	// TrialDir is a folder for the guest of the trial, beside the instances' and reached by QEMU as theirs is. Without one
	// there is no trial.
	TrialDir string
	// CallTimeout bounds each method even when its context does not; 0 is two minutes.
	CallTimeout time.Duration
	Logger      *slog.Logger
}

// Hypervisor is the libvirtd of this host. It is safe for concurrent use. It connects when it is first used and whenever
// libvirtd came back; while libvirtd is away every method returns a fault of kind Unavailable.
type Hypervisor struct {
	pool    pool
	bridges bridges
	host    string
	timeout time.Duration
	log     *slog.Logger
	base    platform // what Options say of it
	trials  trials

	mu       sync.Mutex
	platform *platform // found at the first use: it changes only with the host's hardware and packages
	way      *way      // that the last trial found
	shutDown shutDown
}

var _ hypervisor.Hypervisor = (*Hypervisor)(nil)

// New makes a Hypervisor. Nothing is connected yet, so it works before libvirtd does.
func New(o Options) (*Hypervisor, error) {
	socket, err := socketPath(o.Socket)
	if err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Host == "" {
		if o.Host, err = os.Hostname(); err != nil {
			return nil, fmt.Errorf("find this host's name: %w", err)
		}
	}
	if err := o.Virt.Validate(); err != nil {
		return nil, err
	}
	if o.CallTimeout <= 0 {
		o.CallTimeout = defaultCallTimeout
	}
	return &Hypervisor{
		pool:    pool{socket: socket},
		bridges: bridges{netns: o.NetNS, log: o.Logger, held: map[string]int{}},
		host:    o.Host,
		timeout: o.CallTimeout,
		log:     o.Logger,
		base:    platform{tbCache: o.TBCacheMiB, usual: o.Virt.Machines},
		trials:  newTrials(o),
	}, nil
}

// socketPath reads a path or a URI of the local QEMU driver (https://libvirt.org/uri.html).
func socketPath(s string) (string, error) {
	switch {
	case s == "":
		return defaultSocket, nil
	case !strings.Contains(s, "://"):
		return s, nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return "", fmt.Errorf("read libvirt URI %q: %w", s, err)
	}
	if u.Scheme != "qemu" && u.Scheme != "qemu+unix" || u.Host != "" || u.Path != "/system" {
		return "", fmt.Errorf("libvirt URI %q: only the local qemu:///system is supported, with ?socket=<path> where its socket is elsewhere", s)
	}
	if path := u.Query().Get("socket"); path != "" {
		return path, nil
	}
	return defaultSocket, nil
}

// Close ends the connections and waits for the calls that still run.
func (h *Hypervisor) Close() error {
	h.pool.close()
	return nil
}

// do runs f on a connection, within the deadline, and gives a fault.
func (h *Hypervisor) do(ctx context.Context, doing string, f func(context.Context, *client) error) error {
	return h.doWithin(ctx, h.timeout, doing, f)
}

func (h *Hypervisor) doWithin(ctx context.Context, limit time.Duration, doing string, f func(context.Context, *client) error) error {
	ctx, cancel := bounded(ctx, limit)
	defer cancel()
	return h.translate(doing, h.pool.do(ctx, func(c *client) error { return f(ctx, c) }))
}

// Capabilities tells what libvirt said of this host when it was last asked in whole: before the first server, and before
// each trial. Asked again each time it may take seconds: where libvirtd and QEMU's user disagree on whether they can open
// /dev/kvm, libvirt 9.0 starts every QEMU for its features at each question.
func (h *Hypervisor) Capabilities(ctx context.Context) (out hypervisor.Capabilities, err error) {
	err = h.do(ctx, "read capabilities", func(_ context.Context, c *client) error {
		p, err := h.platformOf(c)
		if err != nil {
			return err
		}
		out = hypervisor.Capabilities{Version: p.version, Architectures: p.architectures(), UEFI: len(p.firmware) > 0}
		if out.Hostname, err = c.ConnectGetHostname(); err != nil {
			return fmt.Errorf("read the host's name: %w", err)
		}
		if out.Type, err = c.ConnectGetType(); err != nil {
			return fmt.Errorf("read the hypervisor's type: %w", err)
		}
		_, memKiB, cpus, _, _, _, _, _, err := c.NodeGetInfo()
		if err != nil {
			return fmt.Errorf("read the host's size: %w", err)
		}
		out.VCPUs, out.MemoryMiB = int(cpus), int(memKiB/1024)
		return nil
	})
	return out, err
}

// NetNS is the path of the network namespace in which guests' interfaces are; "" is this process' own.
func (h *Hypervisor) NetNS(ctx context.Context) (path string, err error) {
	err = h.do(ctx, "find libvirtd's network namespace", func(_ context.Context, c *client) (err error) {
		path, err = h.bridges.namespace(c)
		return err
	})
	return path, err
}

// detect asks libvirt for the platform and remembers it.
func (h *Hypervisor) detect(c *client) (platform, error) {
	var caps libvirtxml.Caps
	doc, err := c.ConnectGetCapabilities()
	if err != nil {
		return platform{}, fmt.Errorf("read the host's capabilities: %w", err)
	}
	if err := caps.Unmarshal(doc); err != nil {
		return platform{}, fmt.Errorf("parse the host's capabilities: %w", err)
	}
	if caps.Host.CPU == nil || caps.Host.CPU.Arch == "" {
		return platform{}, fault.New(fault.HostUnfit, "libvirt on %s does not say what its CPU is", h.host)
	}
	p := h.base
	version, err := c.ConnectGetVersion()
	if err != nil {
		return platform{}, fmt.Errorf("read the hypervisor's version: %w", err)
	}
	p.version = int(version)
	p.arch = caps.Host.CPU.Arch
	p.machines = map[string]bool{}
	for _, g := range caps.Guests {
		if g.OSType != "hvm" || g.Arch.Name != p.arch {
			continue
		}
		machines := g.Arch.Machines
		for _, d := range g.Arch.Domains {
			machines = append(machines, d.Machines...)
		}
		for _, m := range machines {
			p.machines[m.Name] = true
			if m.Canonical != "" {
				p.machines[m.Canonical] = true
			}
		}
	}
	if len(p.machines) == 0 {
		return platform{}, fault.New(fault.HostUnfit, "libvirt on %s finds no QEMU for %s; install it", h.host, p.arch)
	}
	if err := p.probe(c); err != nil {
		return p, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.platform = &p
	return p, nil
}

// probe asks with what domains can be defined here.
func (p *platform) probe(c *client) error {
	p.firmware = map[string]bool{}
	virt := hypervisor.KVM
	for _, machine := range p.families() {
		details, err := domainCapabilities(c, p.arch, machine, virt)
		// A KVM that is not usable is answered with an error, not with an empty document.
		if virt == hypervisor.KVM && (hasCode(err, errInvalidArg) || hasCode(err, errUnsupported)) {
			virt = hypervisor.QEMU
			details, err = domainCapabilities(c, p.arch, machine, virt)
		}
		if err != nil {
			return err
		}
		p.offersKVM = virt == hypervisor.KVM
		for _, e := range enumsOf(details) {
			if e.Name == "firmware" && slices.Contains(e.Values, "efi") {
				p.firmware[machine] = true
			}
		}
		if p.video != nil || details.Devices == nil || details.Devices.Video == nil {
			continue
		}
		for _, e := range details.Devices.Video.Enums {
			if e.Name == "modelType" {
				p.video = set(e.Values)
			}
		}
	}
	return nil
}

func enumsOf(details libvirtxml.DomainCaps) []libvirtxml.DomainCapsEnum {
	if details.OS == nil {
		return nil
	}
	return details.OS.Enums
}

func set(words []string) map[string]bool {
	m := make(map[string]bool, len(words))
	for _, w := range words {
		m[w] = true
	}
	return m
}

func domainCapabilities(c *client, arch, machine, virt string) (details libvirtxml.DomainCaps, err error) {
	var named golibvirt.OptString
	if machine != "" {
		named = golibvirt.OptString{machine}
	}
	doc, err := c.ConnectGetDomainCapabilities(nil, golibvirt.OptString{arch}, named, golibvirt.OptString{virt}, 0)
	if err != nil {
		return details, fmt.Errorf("read the capabilities of %s domains of machine type %s: %w", virt, machine, err)
	}
	if err := details.Unmarshal(doc); err != nil {
		return details, fmt.Errorf("parse the capabilities of %s domains of machine type %s: %w", virt, machine, err)
	}
	return details, nil
}

func (h *Hypervisor) platformOf(c *client) (platform, error) {
	h.mu.Lock()
	known := h.platform
	h.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	return h.detect(c)
}

// Define makes the domain known. Whether a domain that is known already is the same one is told by the digest in its
// metadata.
func (h *Hypervisor) Define(ctx context.Context, d hypervisor.Domain) error {
	return h.define(ctx, d, h.compare)
}

// define makes the domain known unless what stands under its uuid is the same, which is tells.
func (h *Hypervisor) define(ctx context.Context, d hypervisor.Domain, is func(c *client, known golibvirt.Domain, d hypervisor.Domain, digest string) (same bool, err error)) error {
	id, err := parseUUID(d.UUID)
	if err != nil {
		return err
	}
	virt, err := h.wayOf(ctx)
	if err != nil {
		return err
	}
	return h.do(ctx, "define domain "+d.UUID, func(_ context.Context, c *client) error {
		p, err := h.platformOf(c)
		if err != nil {
			return err
		}
		p.virt = virt
		doc, digest, err := domainXML(d, p)
		if err != nil {
			return err
		}
		switch known, err := c.DomainLookupByUUID(id); {
		case err == nil:
			same, err := is(c, known, d, digest)
			if same || err != nil {
				return err
			}
		case !hasCode(err, errNoDomain):
			return err
		}
		switch other, err := c.DomainLookupByName(d.Name); {
		case err == nil && other.UUID != id:
			return fault.New(fault.Conflict, "The name %s belongs to the domain %s on %s", d.Name, uuid.UUID(other.UUID), h.host)
		case err != nil && !hasCode(err, errNoDomain):
			return err
		}
		_, err = c.DomainDefineXMLFlags(doc, 0)
		return err
	})
}

// compare says whether a known domain is the one asked for; one that is not, and may not be replaced, is a conflict.
func (h *Hypervisor) compare(c *client, known golibvirt.Domain, d hypervisor.Domain, digest string) (same bool, err error) {
	if known.Name != d.Name {
		return false, h.misnamed(known, d)
	}
	kept, err := readDefinition(c, known)
	if err != nil {
		if hasCode(err, errNoDomain) { // it went meanwhile
			return false, nil
		}
		return false, err
	}
	if kept.digest == "" {
		return false, fault.New(fault.Conflict, "The domain %s on %s was not made by Slipway", d.UUID, h.host)
	}
	if kept.digest == digest {
		return true, nil
	}
	return false, h.replaceable(c, known, d)
}

func (h *Hypervisor) misnamed(known golibvirt.Domain, d hypervisor.Domain) error {
	return fault.New(fault.Conflict, "The domain %s on %s is named %s, not %s", d.UUID, h.host, known.Name, d.Name)
}

func (h *Hypervisor) replaceable(c *client, known golibvirt.Domain, d hypervisor.Domain) error {
	active, err := c.DomainIsActive(known)
	if err != nil && !hasCode(err, errNoDomain) {
		return err
	}
	if active == 1 {
		return fault.New(fault.Conflict, "The domain %s runs on %s with another definition", d.UUID, h.host)
	}
	return nil
}

// Redefine replaces the definition at once, without a moment in which there is none. What was saved of the guest's memory would
// be started with the definition of then.
func (h *Hypervisor) Redefine(ctx context.Context, d hypervisor.Domain) error {
	return h.define(ctx, d, func(c *client, known golibvirt.Domain, d hypervisor.Domain, _ string) (same bool, err error) {
		if known.Name != d.Name {
			return false, h.misnamed(known, d)
		}
		if err := h.replaceable(c, known, d); err != nil {
			return false, err
		}
		if saved, err := c.DomainHasManagedSaveImage(known, 0); err != nil || saved == 0 {
			return false, err
		}
		return false, c.DomainManagedSaveRemove(known, 0)
	})
}

// definition is what Slipway reads back of a domain.
type definition struct {
	digest  string
	bridges []bridge
}

func readDefinition(c *client, dom golibvirt.Domain) (definition, error) {
	doc, err := c.DomainGetXMLDesc(dom, golibvirt.DomainXMLInactive)
	if err != nil {
		return definition{}, err
	}
	// Only these few elements are read: parsing all of libvirt's XML takes longer than libvirt takes to write it.
	var x struct {
		Metadata   ownMetadata `xml:"metadata"`
		Interfaces []struct {
			Source struct {
				Bridge string `xml:"bridge,attr"`
			} `xml:"source"`
			MTU struct {
				Size int `xml:"size,attr"`
			} `xml:"mtu"`
		} `xml:"devices>interface"`
	}
	if err := xml.Unmarshal([]byte(doc), &x); err != nil {
		return definition{}, fmt.Errorf("parse the definition of %s: %w", dom.Name, err)
	}
	var out definition
	if x.Metadata.Server != nil {
		out.digest = x.Metadata.Server.Definition
	}
	for _, nic := range x.Interfaces {
		br := bridge{name: nic.Source.Bridge, mtu: nic.MTU.Size}
		if br.name != "" && !slices.Contains(out.bridges, br) {
			out.bridges = append(out.bridges, br)
		}
	}
	return out, nil
}

// Start starts a defined domain, with its bridges first. One that is not defined is NotFound, one that is paused a
// Conflict: Start does not wake what someone, or a full disk, has stopped.
func (h *Hypervisor) Start(ctx context.Context, id string) error {
	key, err := parseUUID(id)
	if err != nil {
		return err
	}
	h.shutDown.byUs(id)
	return h.doWithin(ctx, max(h.timeout, memoryTimeout), "start domain "+id, func(ctx context.Context, c *client) error {
		dom, err := c.DomainLookupByUUID(key)
		if err != nil {
			return err
		}
		// A domain that another call is just starting shows as paused, so only Running ends it here.
		if state, err := stateOf(c, dom); err != nil || state == hypervisor.Running {
			if err == nil {
				h.shutDown.runs(id)
			}
			return err
		}
		def, err := readDefinition(c, dom)
		if err != nil {
			return err
		}
		release, err := h.bridges.hold(c, def.bridges)
		if err != nil {
			return err
		}
		_, err = c.DomainCreateWithFlags(dom, 0)
		release()
		var state hypervisor.State
		if err == nil || hasCode(err, errOperationInvalid) { // invalid: it runs already, says libvirt
			var look error
			if state, look = stateOf(c, dom); look != nil {
				return look
			}
			switch state {
			case hypervisor.Running:
				h.shutDown.runs(id)
				return nil
			case hypervisor.Paused:
				return fault.New(fault.Conflict, "The domain %s is paused on %s; resume it or destroy it", id, h.host)
			}
		}
		if err == nil {
			err = fault.New(fault.HostUnfit, "The server stopped on %s as soon as it was started (it is %s)", h.host, state)
		}
		// Without a start there may be nobody else who removes the bridges. The first error is the one to tell.
		if cleanup := h.bridges.removeUnused(ctx, c, def.bridges); cleanup != nil {
			h.log.WarnContext(ctx, "after a start that failed", "server_id", id, "error", cleanup)
		}
		return err
	})
}

// Suspend stops the guest's processors.
func (h *Hypervisor) Suspend(ctx context.Context, id string) error {
	return h.turn(ctx, "pause domain "+id, id, hypervisor.Paused, (*client).DomainSuspend)
}

// Resume lets them go on.
func (h *Hypervisor) Resume(ctx context.Context, id string) error {
	return h.turn(ctx, "resume domain "+id, id, hypervisor.Running, (*client).DomainResume)
}

func (h *Hypervisor) turn(ctx context.Context, doing, id string, to hypervisor.State, how func(*client, golibvirt.Domain) error) error {
	key, err := parseUUID(id)
	if err != nil {
		return err
	}
	return h.do(ctx, doing, func(_ context.Context, c *client) error {
		dom, err := c.DomainLookupByUUID(key)
		if err != nil {
			return err
		}
		// libvirt pauses what is paused, and refuses to resume what runs.
		if state, err := stateOf(c, dom); err != nil || state == to {
			return err
		}
		return how(c, dom)
	})
}

// memoryTimeout bounds a call in which libvirt writes or reads all of a guest's memory; its caller knows better.
const memoryTimeout = time.Hour

// Save is libvirt's managed save: it lies in libvirt's own folder, and goes with the definition. The guest runs on when it is
// started again, also one that stood.
func (h *Hypervisor) Save(ctx context.Context, id string) error {
	key, err := parseUUID(id)
	if err != nil {
		return err
	}
	return h.doWithin(ctx, max(h.timeout, memoryTimeout), "save domain "+id, func(ctx context.Context, c *client) error {
		dom, err := c.DomainLookupByUUID(key)
		if err != nil {
			return err
		}
		switch active, err := c.DomainIsActive(dom); {
		case err != nil:
			return err
		case active == 0:
			if saved, err := c.DomainHasManagedSaveImage(dom, 0); err != nil || saved == 1 {
				return err
			}
		}
		def, err := readDefinition(c, dom)
		if err != nil {
			return err
		}
		// One that is off it refuses.
		if err := c.DomainManagedSave(dom, uint32(golibvirt.DomainSaveRunning)); err != nil {
			return err
		}
		return h.bridges.removeUnused(ctx, c, def.bridges)
	})
}

// Destroy stops a domain at once and removes the bridges that nobody uses any more.
func (h *Hypervisor) Destroy(ctx context.Context, id string) error {
	key, err := parseUUID(id)
	if err != nil {
		return err
	}
	h.shutDown.byUs(id)
	return h.do(ctx, "destroy domain "+id, func(ctx context.Context, c *client) error {
		dom, err := c.DomainLookupByUUID(key)
		if hasCode(err, errNoDomain) {
			return nil
		}
		if err != nil {
			return err
		}
		def, err := readDefinition(c, dom)
		if err != nil && !hasCode(err, errNoDomain) {
			return err
		}
		// It returns when the process is gone. Invalid: it does not run.
		err = c.DomainDestroyFlags(dom, golibvirt.DomainDestroyDefault)
		if err != nil && !hasCode(err, errOperationInvalid) && !hasCode(err, errNoDomain) {
			return err
		}
		switch state, err := stateOf(c, dom); {
		case err != nil:
			return err
		case state == hypervisor.Running || state == hypervisor.Paused:
			return fault.New(fault.Unavailable, "The server is still %s on %s after it was stopped", state, h.host)
		}
		return h.bridges.removeUnused(ctx, c, def.bridges)
	})
}

// Shutdown presses the guest's power button (ACPI), whether or not it listens.
func (h *Hypervisor) Shutdown(ctx context.Context, id string) error {
	key, err := parseUUID(id)
	if err != nil {
		return err
	}
	h.shutDown.byUs(id)
	return h.do(ctx, "shut down domain "+id, func(_ context.Context, c *client) error {
		dom, err := c.DomainLookupByUUID(key)
		if hasCode(err, errNoDomain) {
			return nil
		}
		if err != nil {
			return err
		}
		err = c.DomainShutdownFlags(dom, golibvirt.DomainShutdownAcpiPowerBtn)
		if hasCode(err, errOperationInvalid) || hasCode(err, errNoDomain) { // it does not run
			return nil
		}
		return err
	})
}

// undefineFlags forget everything that libvirt keeps beside the definition and that would make it refuse.
const undefineFlags = golibvirt.DomainUndefineManagedSave | golibvirt.DomainUndefineSnapshotsMetadata |
	golibvirt.DomainUndefineNvram | golibvirt.DomainUndefineCheckpointsMetadata

// Undefine forgets a stopped domain. One that runs is a Conflict: libvirt would let it run on as a transient domain.
func (h *Hypervisor) Undefine(ctx context.Context, id string) error {
	key, err := parseUUID(id)
	if err != nil {
		return err
	}
	return h.do(ctx, "undefine domain "+id, func(ctx context.Context, c *client) error {
		dom, err := c.DomainLookupByUUID(key)
		if hasCode(err, errNoDomain) {
			return nil
		}
		if err != nil {
			return err
		}
		if active, err := c.DomainIsActive(dom); err != nil && !hasCode(err, errNoDomain) {
			return err
		} else if active == 1 {
			return fault.New(fault.Conflict, "The domain %s still runs on %s; destroy it first", id, h.host)
		}
		def, err := readDefinition(c, dom)
		if err != nil && !hasCode(err, errNoDomain) {
			return err
		}
		// The bridges go first: once the definition is gone nothing tells which they were.
		if err := h.bridges.removeUnused(ctx, c, def.bridges); err != nil {
			return err
		}
		if err := c.DomainUndefineFlags(dom, undefineFlags); err != nil && !hasCode(err, errNoDomain) {
			return err
		}
		return nil
	})
}

// State tells how a domain is.
func (h *Hypervisor) State(ctx context.Context, id string) (state hypervisor.State, err error) {
	key, err := parseUUID(id)
	if err != nil {
		return "", err
	}
	err = h.do(ctx, "read the state of domain "+id, func(_ context.Context, c *client) error {
		dom, err := c.DomainLookupByUUID(key)
		if hasCode(err, errNoDomain) {
			state = hypervisor.Absent
			return nil
		}
		if err != nil {
			return err
		}
		state, err = stateOf(c, dom)
		return err
	})
	return state, err
}

func stateOf(c *client, dom golibvirt.Domain) (hypervisor.State, error) {
	state, reason, err := c.DomainGetState(dom, 0)
	if hasCode(err, errNoDomain) {
		return hypervisor.Absent, nil
	}
	if err != nil {
		return "", err
	}
	return stateFrom(state, reason), nil
}

// stateFrom reads virDomainState. A guest that is about to stop still runs; one whose QEMU died is shut off by libvirt's
// count and crashed by ours.
func stateFrom(state, reason int32) hypervisor.State {
	switch golibvirt.DomainState(state) {
	case golibvirt.DomainRunning, golibvirt.DomainBlocked, golibvirt.DomainShutdown:
		return hypervisor.Running
	case golibvirt.DomainPaused, golibvirt.DomainPmsuspended:
		return hypervisor.Paused
	case golibvirt.DomainCrashed:
		return hypervisor.Crashed
	}
	if golibvirt.DomainShutoffReason(reason) == golibvirt.DomainShutoffCrashed {
		return hypervisor.Crashed
	}
	return hypervisor.ShutOff
}

// List tells of the domains that carry Slipway's name for their uuid, in two requests for any number of them.
func (h *Hypervisor) List(ctx context.Context) (out []hypervisor.Status, err error) {
	err = h.do(ctx, "list domains", func(_ context.Context, c *client) error {
		out = nil
		// Nowait: a domain that is just being started or stopped must not hold up the listing.
		records, err := c.ConnectGetAllDomainStats(nil, uint32(golibvirt.DomainStatsState), uint32(golibvirt.ConnectGetAllDomainsStatsNowait))
		if err != nil {
			return err
		}
		saved, _, err := c.ConnectListAllDomains(1, golibvirt.ConnectListDomainsManagedsave)
		if err != nil {
			return err
		}
		for _, r := range records {
			id := uuid.UUID(r.Dom.UUID).String()
			if r.Dom.Name != namePrefix+id {
				continue
			}
			var state, reason int32
			for _, p := range r.Params {
				v, ok := p.Value.I.(int32)
				switch {
				case !ok:
				case p.Field == "state.state":
					state = v
				case p.Field == "state.reason":
					reason = v
				}
			}
			out = append(out, hypervisor.Status{
				UUID: id, Name: r.Dom.Name, State: stateFrom(state, reason), ByItself: byItself(state, reason),
				ByGuest: golibvirt.DomainState(state) == golibvirt.DomainShutoff && byItself(state, reason) && h.shutDown.byGuest(id),
				Saved:   slices.ContainsFunc(saved, func(d golibvirt.Domain) bool { return d.UUID == r.Dom.UUID }),
			})
		}
		slices.SortFunc(out, func(a, b hypervisor.Status) int { return strings.Compare(a.UUID, b.UUID) })
		return nil
	})
	return out, err
}

func byItself(state, reason int32) bool {
	switch golibvirt.DomainState(state) {
	case golibvirt.DomainPmsuspended:
		return true
	case golibvirt.DomainShutoff:
		return golibvirt.DomainShutoffReason(reason) == golibvirt.DomainShutoffShutdown
	}
	return false
}

func parseUUID(s string) (golibvirt.UUID, error) {
	id, err := uuid.Parse(s)
	if err != nil {
		return golibvirt.UUID{}, fault.Wrap(fault.Internal, err, "%q is no domain's uuid", s)
	}
	return golibvirt.UUID(id), nil
}
