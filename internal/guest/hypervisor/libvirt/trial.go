package libvirt

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/hostapi"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/imageprops"
)

// trialGuest is the first sectors of a disk that boots by BIOS; its source tells what it does.
//
//go:generate sh -c "cd trialguest && as --64 -o x86.o x86.s && ld -Ttext 0x7c00 --oformat binary -o x86.bin x86.o && chmod 644 x86.bin; rm -f x86.o"
//go:embed trialguest/x86.bin
var trialGuest []byte

const (
	// trialSays begins each line that the guest writes, trialPassed is the last of them.
	trialSays   = "slipway-trial: "
	trialPassed = trialSays + "passed"
	// trialDiskBytes is more than a cylinder: the BIOS reads no smaller disk.
	trialDiskBytes = 1 << 20
	trialMemoryMiB = 64

	// How long a guest may take from its start to its last word: tenths of a second by hardware, one or two emulated on a
	// quiet machine.
	acceleratedPatience = 10 * time.Second
	emulatedPatience    = 20 * time.Second
	// trialPoll is the pause between two looks at what it said.
	trialPoll = 25 * time.Millisecond

	// A trial that failed is repeated after pauses that grow.
	firstPause = 5 * time.Second
	lastPause  = 5 * time.Minute
)

// trials keeps what the last trial found and under which circumstances.
type trials struct {
	virt  hypervisor.Virt
	dir   string
	guest []byte
	// How long one that is accelerated, or emulated, may take.
	accelerated, emulated time.Duration

	turn  chan struct{} // one at a time: full while a trial runs
	last  *hostapi.Trial
	under circumstances
	after time.Time // when one that failed is tried again
	pause time.Duration
}

// circumstances are what a trial's outcome depends on, beside the settings: these change only with the process.
type circumstances struct {
	lost int64 // pool.lost
	kvm  kvmNode
}

func newTrials(o Options) trials {
	return trials{
		virt: o.Virt, dir: o.TrialDir, guest: trialGuest, accelerated: acceleratedPatience, emulated: emulatedPatience,
		turn: make(chan struct{}, 1),
	}
}

// wayOf is the way to define servers: the one that the settings allow, or else the one that the trial found, which is
// waited for.
func (h *Hypervisor) wayOf(ctx context.Context) (way, error) {
	known := func() *way {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.way == nil && h.platform != nil {
			if all := ways(h.trials.virt, h.platform.arch); len(all) == 1 {
				h.way = &all[0]
			}
		}
		return h.way
	}
	if w := known(); w != nil {
		return *w, nil
	}
	if err := h.do(ctx, "read capabilities", func(_ context.Context, c *client) error { _, err := h.platformOf(c); return err }); err != nil {
		return way{}, err
	}
	if w := known(); w != nil {
		return *w, nil
	}
	if _, err := h.Trial(ctx, false); err != nil {
		return way{}, err
	}
	return *known(), nil
}

// Trial starts a guest in each way that the settings allow, until one of them runs it.
func (h *Hypervisor) Trial(ctx context.Context, again bool) (hostapi.Trial, error) {
	t := &h.trials
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return hostapi.Trial{}, fault.Wrap(fault.Unavailable, ctx.Err(), "A trial guest still runs on %s", h.host)
	}
	if t.dir == "" {
		return hostapi.Trial{}, fault.New(fault.Internal, "The trial on %s has no folder for its guest", h.host)
	}
	// A libvirtd that ended is noticed by asking it.
	err := h.do(ctx, "read the version", func(_ context.Context, c *client) error { _, err := c.ConnectGetLibVersion(); return err })
	if err != nil {
		return hostapi.Trial{}, err
	}
	node, err := lookAtKVM()
	if err != nil {
		return hostapi.Trial{}, fault.Wrap(fault.Internal, err, "The trial on %s cannot begin", h.host)
	}
	now := circumstances{lost: h.pool.lost.Load(), kvm: node}
	if again || now != t.under {
		t.pause = 0
	} else if t.last != nil && (t.last.Usable() || time.Now().Before(t.after)) {
		return *t.last, nil
	}
	var p platform
	if err := h.do(ctx, "read capabilities", func(_ context.Context, c *client) (err error) { p, err = h.detect(c); return err }); err != nil {
		return hostapi.Trial{}, err
	}
	out, found, failed, err := h.tryWays(ctx, p, node)
	if err != nil {
		return hostapi.Trial{}, err
	}
	t.pause = min(max(2*t.pause, firstPause), lastPause)
	t.after, t.under = out.At.Add(t.pause), now
	before := t.remembered()
	out.Since = out.At
	if before != nil && before.VirtType == out.VirtType && before.CPU == out.CPU && before.Passed == out.Passed && before.Accelerated == out.Accelerated {
		out.Since = before.Since
	}
	if t.last == nil || t.last.Reason != out.Reason {
		h.logOutcome(ctx, out, failed)
	}
	t.last = &out
	t.remember(out)
	h.mu.Lock()
	h.way = &found
	h.mu.Unlock()
	return out, nil
}

// attempt is a way that did not run the guest, and libvirt's or our words for it.
type attempt struct{ way, said string }

// joinAttempts lists attempts in one line. Those that failed alike stand together.
func joinAttempts(all []attempt, form func(string) string) string {
	var parts []string
	for i := 0; i < len(all); {
		var names []string
		said := all[i].said
		for ; i < len(all) && all[i].said == said; i++ {
			names = append(names, all[i].way)
		}
		parts = append(parts, strings.Join(names, ", ")+": "+form(said))
	}
	return strings.Join(parts, "; ")
}

// tryWays gives the outcome, the way to define servers from now on, and the ways that did not run the guest. An error says
// that libvirt went away meanwhile, or ctx ended.
func (h *Hypervisor) tryWays(ctx context.Context, p platform, node kvmNode) (out hostapi.Trial, found way, failed []attempt, err error) {
	all := ways(h.trials.virt, p.arch)
	outcome := func(w way, passed bool, reason string) hostapi.Trial {
		return hostapi.Trial{
			At: time.Now(), Passed: passed, VirtType: w.domainType(), CPU: w.cpu.String(), Accelerated: w.kvm && passed, Reason: reason,
		}
	}
	for _, w := range all {
		if w.kvm && !node.present {
			if failed == nil {
				failed = []attempt{{hypervisor.KVM, "there is no KVM device"}}
			}
			continue
		}
		if p.arch != "x86_64" {
			if w.kvm && !p.offersKVM && w != all[len(all)-1] {
				continue
			}
			out = outcome(w, false, "untried: no trial guest is written for "+p.arch)
			out.Untried, out.Accelerated = true, w.kvm
			return out, w, nil, nil
		}
		said, err := h.run(ctx, p, w)
		switch {
		case err != nil:
			return out, w, nil, err
		case said == "" && failed == nil:
			return outcome(w, true, ""), w, nil, nil
		case said == "":
			return outcome(w, true, publicReason(failed, advice(node, w, all))), w, failed, nil
		}
		failed = append(failed, attempt{w.domainType() + " with CPU " + w.cpu.String(), said})
	}
	last := all[len(all)-1]
	return outcome(last, false, publicReason(failed, advice(node, last, all))), last, failed, nil
}

// publicReason is what operators are told of the ways that did not run, without the host's paths and within what the API
// takes.
func publicReason(failed []attempt, advice string) string {
	advice = ". To do: " + advice
	text := joinAttempts(failed, publicText)
	return strings.ToValidUTF8(text[:min(len(text), hostapi.ReasonMax-len(advice))], "") + advice
}

// advice is what to do so that guests run by hardware with the CPU that was asked for; w is what ran, or was the last to
// fail.
func advice(node kvmNode, w way, all []way) string {
	if !all[0].kvm {
		return "look at libvirt's log of the guest, and at the packages of QEMU"
	}
	if a := node.advice(); a != "" {
		return a
	}
	if w.kvm && w != all[0] {
		return "the CPU that was asked for does not run: name another with host.cpu_mode custom and host.cpu_models, or take features away with host.cpu_features"
	}
	return "this kernel's KVM does not run an ordinary guest (nested virtualization?): mend it, or set host.virt_type to qemu"
}

// logOutcome logs an outcome, once for as long as it stays, with libvirt's whole words.
func (h *Hypervisor) logOutcome(ctx context.Context, out hostapi.Trial, failed []attempt) {
	attrs := []any{"virt_type", out.VirtType, "cpu", out.CPU, "reason", out.Reason}
	if failed != nil {
		attrs = append(attrs, "tries", joinAttempts(failed, strings.TrimSpace))
	}
	switch {
	case out.Passed && failed == nil:
		h.log.InfoContext(ctx, "A trial guest ran.", attrs...)
	case out.Untried:
		h.log.WarnContext(ctx, "Guests are started without a trial.", attrs...)
	case out.Accelerated:
		h.log.WarnContext(ctx, "Guests run with another CPU than asked for.", attrs...)
	case out.Passed:
		h.log.WarnContext(ctx, "Guests are emulated and run many times slower.", attrs...)
	default:
		h.log.WarnContext(ctx, "No guest runs here: this host takes no servers.", attrs...)
	}
}

// run starts the guest in one way and says why it did not run; "" is that it did.
func (h *Hypervisor) run(ctx context.Context, p platform, w way) (said string, err error) {
	patience := h.trials.emulated
	if w.kvm {
		patience = h.trials.accelerated
	}
	p.virt = w
	d := h.trials.domain()
	doc, _, err := domainXML(d, p)
	if err != nil {
		return fault.Public(err), nil // a setting that this QEMU does not know
	}
	defer h.trials.clean()
	err = h.do(ctx, "try a guest", func(ctx context.Context, c *client) (err error) {
		if err := h.removeTrial(c, d); err != nil {
			return err
		}
		if err := h.trials.prepare(); err != nil {
			return err
		}
		said = ""
		// It goes with this connection, so also when this process dies; the next trial removes what is left when libvirtd dies
		// with it.
		_, err = c.DomainCreateXML(doc, golibvirt.DomainStartAutodestroy)
		var answer golibvirt.Error
		switch {
		case errors.As(err, &answer):
			said = strings.Join(strings.Fields(timestamp.ReplaceAllString(answer.Message, "")), " ")
			err = nil
		case err == nil:
			said, err = h.watch(ctx, c, d, patience)
		}
		return errors.Join(err, h.removeTrial(c, d))
	})
	return said, err
}

// watch waits for the guest's last word.
func (h *Hypervisor) watch(ctx context.Context, c *client, d hypervisor.Domain, patience time.Duration) (said string, err error) {
	key, err := parseUUID(d.UUID)
	if err != nil {
		return "", err
	}
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(trialPoll)
	defer tick.Stop()
	for {
		// Whether it runs first: what it said before it ended is there then.
		dom, gone := c.DomainLookupByUUID(key)
		if gone != nil && !hasCode(gone, errNoDomain) {
			return "", gone
		}
		state := hypervisor.Absent
		if gone == nil {
			if state, err = stateOf(c, dom); err != nil {
				return "", err
			}
		}
		console, err := os.ReadFile(d.ConsoleLog)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("read what the trial guest says: %w", err)
		}
		if bytes.Contains(console, []byte(trialPassed)) {
			return "", nil
		}
		if state != hypervisor.Running {
			return fmt.Sprintf("the guest is %s%s; libvirt's log of %s tells more", state, cameTo(console), d.Name), nil
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-deadline.C:
			return fmt.Sprintf("the guest said nothing more within %s%s", patience, cameTo(console)), nil
		case <-tick.C:
		}
	}
}

// cameTo is how far the guest came, from its last whole line.
func cameTo(console []byte) string {
	text := string(console)
	i := strings.LastIndex(text, trialSays)
	if i < 0 {
		return ", before its kernel's first word"
	}
	line, _, _ := strings.Cut(text[i+len(trialSays):], "\n")
	return " after: " + strings.TrimSpace(line)
}

// removeTrial ends the trial's guest, also one of a process that died. Another domain of that id is left alone.
func (h *Hypervisor) removeTrial(c *client, d hypervisor.Domain) error {
	key, err := parseUUID(d.UUID)
	if err != nil {
		return err
	}
	dom, err := c.DomainLookupByUUID(key)
	if hasCode(err, errNoDomain) {
		return nil
	}
	if err != nil {
		return err
	}
	if dom.Name != d.Name {
		return fault.New(fault.Conflict, "The domain %s (%s) on %s stands where the trial's guest would be; it was not made by Slipway", dom.Name, d.UUID, h.host)
	}
	err = c.DomainDestroyFlags(dom, golibvirt.DomainDestroyDefault)
	if err == nil || hasCode(err, errNoDomain) || hasCode(err, errOperationInvalid) {
		return nil
	}
	return fmt.Errorf("end the trial's guest: %w", err)
}

// domain is the guest. The name keeps it out of the listing of servers.
func (t *trials) domain() hypervisor.Domain {
	id := ids.TrialGuest(t.dir)
	usual, _ := imageprops.Parse(nil, nil) // nothing is asked for, so nothing is refused
	return hypervisor.Domain{
		UUID: id, Name: namePrefix + "trial-" + id[:8], Title: "trial", VCPUs: 1, MemoryMiB: trialMemoryMiB,
		Disks:      []hypervisor.Disk{{Path: t.file("disk"), Format: "raw", Role: hypervisor.RootDisk, Device: "disk"}},
		ConsoleLog: t.file("console.log"), Hardware: usual,
	}
}

func (t *trials) file(name string) string { return filepath.Join(t.dir, name) }

// prepare makes the guest's files as those of an instance are: in a folder that can be passed, for their owner alone until
// libvirt hands them to QEMU.
func (t *trials) prepare() error {
	t.clean()
	err := os.MkdirAll(t.dir, 0o711)
	if err == nil {
		err = os.Chmod(t.dir, 0o711) // whatever the umask is
	}
	if err == nil {
		err = os.WriteFile(t.file("disk"), t.guest, 0o600)
	}
	if err == nil {
		err = os.Truncate(t.file("disk"), trialDiskBytes)
	}
	if err != nil {
		return fmt.Errorf("make the trial guest's files: %w", err)
	}
	return nil
}

func (t *trials) clean() {
	for _, name := range []string{"disk", "console.log"} {
		_ = os.Remove(t.file(name)) // what stays is written anew by the next trial
	}
}

// remembered is the last outcome, perhaps of an earlier process; only since when it stands is taken from it.
func (t *trials) remembered() *hostapi.Trial {
	if t.last != nil {
		return t.last
	}
	var out hostapi.Trial
	text, err := os.ReadFile(t.file("outcome.json"))
	if err != nil || json.Unmarshal(text, &out) != nil {
		return nil
	}
	return &out
}

func (t *trials) remember(out hostapi.Trial) {
	text, err := json.Marshal(out)
	if err == nil {
		err = os.MkdirAll(t.dir, 0o711)
	}
	if err == nil {
		_ = os.WriteFile(t.file("outcome.json"), append(text, '\n'), 0o600) // without it the time begins anew
	}
}
