package libvirt

import (
	"bytes"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/hostapi"
)

func TestTheTrialsGuestIsMadeOfItsSource(t *testing.T) {
	source, err := filepath.Abs("trialguest/x86.s")
	require.NoError(t, err)
	made := exec.Command("sh", "-ec", `as --64 -o x86.o "$1" && ld -Ttext 0x7c00 --oformat binary -o x86.bin x86.o`, "sh", source)
	made.Dir = t.TempDir()
	out, err := made.CombinedOutput()
	require.NoError(t, err, "%s", out)
	anew, err := os.ReadFile(filepath.Join(made.Dir, "x86.bin"))
	require.NoError(t, err)
	require.Equal(t, anew, trialGuest, "go generate ./internal/guest/hypervisor/libvirt")
}

// trialOptions are realOptions with other settings.
func trialOptions(t *testing.T, virt hypervisor.Virt) Options {
	o := realOptions(t, testenv.GuestDir(t))
	o.Virt = virt
	return o
}

// requireNothingLeft looks for what a trial might leave.
func requireNothingLeft(t *testing.T, h *Hypervisor) {
	t.Helper()
	d := h.trials.domain()
	state, err := h.State(t.Context(), d.UUID)
	require.NoError(t, err)
	require.Equal(t, hypervisor.Absent, state)
	require.NoFileExists(t, d.Disks[0].Path)
	require.NoFileExists(t, d.ConsoleLog)
}

func TestTheTrialsGuestRunsOnEveryMachineTypeOfServers(t *testing.T) {
	for _, machine := range []string{"pc", "q35"} {
		for _, model := range []string{"qemu64", "Nehalem"} {
			t.Run(machine+" "+model, func(t *testing.T) {
				h := newHypervisor(t, trialOptions(t, hypervisor.Virt{
					Type: hypervisor.QEMU, CPUMode: hypervisor.Custom, Models: []string{model}, Features: []string{"-sse4.2"}, Machines: map[string]string{"x86_64": machine},
				}))
				out, err := h.Trial(t.Context(), false)
				require.NoError(t, err)
				require.True(t, out.Passed, out.Reason)
				require.Equal(t, []any{hypervisor.QEMU, model + " -sse4.2", false, ""}, []any{out.VirtType, out.CPU, out.Accelerated, out.Reason})
				require.Equal(t, out.At, out.Since)
				requireNothingLeft(t, h)
			})
		}
	}
}

// alone runs the calling test again in namespaces of its own, as root of a machine with a /dev and a libvirtd that are nobody
// else's; it returns true in that inner run. libvirtd is configured as an init system would start it, for QEMU's own user.
func alone(t *testing.T) bool {
	t.Helper()
	const inside = "SLIPWAY_TRIAL_TEST_INSIDE"
	if os.Getenv(inside) != "" {
		return true
	}
	require.Zero(t, os.Geteuid(), "only root makes device nodes")
	// bash is the first process: it reaps the guests that libvirt orphans, and everything ends with it.
	const script = `set -e
cache=$(mktemp -d)
cp -a /var/cache/libvirt/. "$cache"/ 2>/dev/null || true
for dir in /run /var/lib/libvirt /var/log/libvirt /var/cache/libvirt; do mount -t tmpfs -o mode=755 tmpfs $dir; done
cp -a "$cache"/. /var/cache/libvirt/ && rm -rf "$cache"
dev=$(mktemp -d)
mount -t tmpfs -o mode=755 tmpfs "$dev"
mkdir "$dev/net" && for node in null zero full random urandom tty ptmx net/tun; do [ ! -e /dev/$node ] || cp -a /dev/$node "$dev/$node"; done
ln -s /proc/self/fd "$dev/fd"
for dir in pts shm mqueue; do
	[ -d /dev/$dir ] || continue
	mkdir "$dev/$dir" && mount --rbind /dev/$dir "$dev/$dir"
done
umount --recursive --lazy /dev # libvirt takes each mount at and below /dev for one that its guests need
mount --move "$dev" /dev
mkdir /run/libvirt
printf '%s\n' 'security_driver = "none"' 'remember_owner = 0' 'cgroup_controllers = [ ]' 'stdio_handler = "logd"' >/run/qemu.conf
mount --bind /run/qemu.conf /etc/libvirt/qemu.conf
virtlogd -d
"$@" &
wait $!`
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc", "--net",
		"bash", "-c", script, "bash", os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v", "-test.timeout", "5m")
	cmd.Env = append(os.Environ(), inside+"=1")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	require.NoError(t, err)
	require.Contains(t, string(out), "--- PASS: "+t.Name(), "the inner run did not run")
	return false
}

// startLibvirtd starts the one of the namespaces and returns when it answers.
func startLibvirtd(t *testing.T, h *Hypervisor) (stop func()) {
	t.Helper()
	cmd := exec.Command("libvirtd")
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { _, err := h.List(t.Context()); return err == nil }, time.Minute, 10*time.Millisecond)
	return func() {
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
	}
}

// spinning is a guest that never says a word.
var spinning = append(append([]byte{0xeb, 0xfe}, make([]byte, 508)...), 0x55, 0xaa)

func TestATrialFindsOutHowGuestsRunWhateverStandsAtDevKVM(t *testing.T) {
	if !alone(t) {
		return
	}
	var log bytes.Buffer
	fresh := func(virt hypervisor.Virt) *Hypervisor {
		h := newHypervisor(t, Options{Virt: virt, TrialDir: filepath.Join(testenv.GuestDir(t), "trial"), TBCacheMiB: 32, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		h.trials.accelerated = 2 * time.Second // where a KVM lies, both of its tries take so long
		return h
	}
	node := func(mode uint32, major, minor uint32) {
		require.NoError(t, os.RemoveAll(kvmPath))
		require.NoError(t, unix.Mknod(kvmPath, unix.S_IFCHR|mode, int(unix.Mkdev(major, minor))))
		require.NoError(t, os.Chmod(kvmPath, os.FileMode(mode)))
	}
	auto := fresh(hypervisor.Virt{})
	stop := startLibvirtd(t, auto)

	t.Run("none", func(t *testing.T) {
		out, err := auto.Trial(t.Context(), false)
		require.NoError(t, err)
		require.True(t, out.Passed, out.Reason)
		require.False(t, out.Accelerated)
		require.Equal(t, []any{"qemu", "Nehalem"}, []any{out.VirtType, out.CPU})
		require.Contains(t, out.Reason, "kvm: there is no KVM device. To do: load the kernel module kvm_intel")
		require.Equal(t, 1, strings.Count(log.String(), "level=WARN"), log.String())
		requireNothingLeft(t, auto)
		same, err := auto.Trial(t.Context(), false)
		require.NoError(t, err)
		require.Equal(t, out.At, same.At, "nothing has changed")
	})
	first := auto.trials.last.Since
	t.Run("one that is no KVM", func(t *testing.T) {
		node(0o666, 1, 3) // /dev/null's
		out, err := auto.Trial(t.Context(), false)
		require.NoError(t, err)
		require.True(t, out.Passed, out.Reason)
		require.False(t, out.Accelerated)
		require.Regexp(t, "^kvm with CPU host-model, kvm with CPU Nehalem: ", out.Reason)
		require.Contains(t, out.Reason, "/dev/kvm is not the kernel's KVM device")
		require.Equal(t, first, out.Since, "guests are emulated as before, if for another reason")
	})
	t.Run("one that QEMU's user cannot open", func(t *testing.T) {
		log.Reset()
		node(0o600, 10, 232)
		out, err := auto.Trial(t.Context(), false)
		require.NoError(t, err)
		require.True(t, out.Passed, out.Reason)
		require.False(t, out.Accelerated)
		require.Contains(t, out.Reason, "chgrp kvm /dev/kvm; chmod 0660 /dev/kvm")
		require.Equal(t, 1, strings.Count(log.String(), "level=WARN"), log.String())
		require.Contains(t, log.String(), "kvm with CPU host-model")
	})
	t.Run("one that QEMU's user can open, whether or not there is a KVM behind it", func(t *testing.T) {
		node(0o666, 10, 232)
		out, err := auto.Trial(t.Context(), false)
		require.NoError(t, err)
		require.True(t, out.Passed, out.Reason)
		require.Equal(t, out.VirtType == "kvm", out.Accelerated)
		require.True(t, out.Accelerated || strings.Contains(out.Reason, "kvm with CPU Nehalem"), out.Reason)
		require.NotContains(t, out.Reason, "chgrp")
		requireNothingLeft(t, auto)
	})
	t.Run("where only KVM will do", func(t *testing.T) {
		node(0o666, 1, 3)
		h := fresh(hypervisor.Virt{Type: hypervisor.KVM})
		out, err := h.Trial(t.Context(), false)
		require.NoError(t, err)
		require.Equal(t, []any{false, false, "kvm", "host-model"}, []any{out.Passed, out.Accelerated, out.VirtType, out.CPU})
		same, err := h.Trial(t.Context(), false)
		require.NoError(t, err)
		require.Equal(t, out.At, same.At, "it is tried again after a pause")
		require.NoError(t, os.Remove(kvmPath))
		changed, err := h.Trial(t.Context(), false)
		require.NoError(t, err)
		require.NotEqual(t, out.At, changed.At, "and at once when /dev/kvm has changed")
		require.Contains(t, changed.Reason, "there is no KVM device")
		h.trials.after = time.Now()
		later, err := h.Trial(t.Context(), false)
		require.NoError(t, err)
		require.NotEqual(t, changed.At, later.At)
		require.Greater(t, h.trials.pause, firstPause)
	})
	t.Run("a guest that never answers", func(t *testing.T) {
		h := fresh(hypervisor.Virt{Type: hypervisor.QEMU})
		h.trials.guest, h.trials.emulated = spinning, 200*time.Millisecond
		out, err := h.Trial(t.Context(), false)
		require.NoError(t, err)
		require.False(t, out.Passed)
		require.Contains(t, out.Reason, "the guest said nothing more within 200ms, before its kernel's first word")
		requireNothingLeft(t, h)
		d := server()
		d.Disks, d.NICs = d.Disks[:1], nil
		require.NoError(t, h.Define(t.Context(), d), "whoever asks all the same gets the domain that the settings ask for")
		require.NoError(t, h.Undefine(t.Context(), d.UUID))
	})
	t.Run("a guest that an earlier process left", func(t *testing.T) {
		h := fresh(hypervisor.Virt{Type: hypervisor.QEMU})
		h.trials.guest = spinning
		require.NoError(t, h.trials.prepare())
		start := func(d hypervisor.Domain) {
			require.NoError(t, h.pool.do(t.Context(), func(c *client) error {
				p, err := h.platformOf(c)
				require.NoError(t, err)
				p.virt = way{cpu: plain}
				doc, _, err := domainXML(d, p)
				require.NoError(t, err)
				_, err = c.DomainCreateXML(doc, 0)
				return err
			}))
		}
		start(h.trials.domain())
		h.trials.guest = trialGuest
		out, err := h.Trial(t.Context(), true)
		require.NoError(t, err)
		require.True(t, out.Passed, out.Reason)
		requireNothingLeft(t, h)

		require.NoError(t, h.trials.prepare())
		theirs := h.trials.domain()
		theirs.Name = "somebody-elses"
		start(theirs)
		_, err = h.Trial(t.Context(), true)
		require.Equal(t, fault.Conflict, fault.KindOf(err), "%v", err)
		state, err := h.State(t.Context(), theirs.UUID)
		require.NoError(t, err)
		require.Equal(t, hypervisor.Running, state, "it is left alone")
		require.NoError(t, h.Destroy(t.Context(), theirs.UUID))
	})
	t.Run("another libvirtd", func(t *testing.T) {
		h := fresh(hypervisor.Virt{Type: hypervisor.QEMU})
		out, err := h.Trial(t.Context(), false)
		require.NoError(t, err)
		stop()
		_, err = h.Trial(t.Context(), false)
		require.Equal(t, fault.Unavailable, fault.KindOf(err), "%v", err)
		startLibvirtd(t, h)
		anew, err := h.Trial(t.Context(), false)
		require.NoError(t, err)
		require.NotEqual(t, out.At, anew.At)
		require.Equal(t, out.Since, anew.Since)
	})
}

func TestWhatToDoIsToldHoweverMuchWentWrong(t *testing.T) {
	var failed []attempt
	for range 20 {
		failed = append(failed, attempt{"kvm", "/etc/shadow: ü" + strings.Repeat("x", 290)}, attempt{"qemu", "no"})
	}
	reason := publicReason(failed, "mend it")
	require.LessOrEqual(t, len(reason), hostapi.ReasonMax)
	require.True(t, strings.HasSuffix(reason, ". To do: mend it"), reason)
	require.NotContains(t, reason, "/etc")
}

func TestServersAreDefinedAsTheTrialFound(t *testing.T) {
	h := newHypervisor(t, trialOptions(t, hypervisor.Virt{CPUMode: hypervisor.Custom, Models: []string{"Westmere"}}))
	d := emptyGuest(t)
	removeLater(t, h, d)
	require.NoError(t, h.Define(t.Context(), d), "who comes before the first trial has ended waits for it")
	out, err := h.Trial(t.Context(), false)
	require.NoError(t, err)
	require.True(t, out.Passed, out.Reason)
	id, err := parseUUID(d.UUID)
	require.NoError(t, err)
	require.NoError(t, h.pool.do(t.Context(), func(c *client) error {
		dom, err := c.DomainLookupByUUID(id)
		require.NoError(t, err)
		doc, err := c.DomainGetXMLDesc(dom, golibvirt.DomainXMLInactive)
		require.Contains(t, doc, "<domain type='"+out.VirtType+"'>")
		require.Contains(t, doc, ">"+out.CPU+"</model>")
		return err
	}))
}

func TestTheSettingsSayInWhichWaysGuestsAreTried(t *testing.T) {
	say := func(v hypervisor.Virt, arch string) string {
		require.NoError(t, v.Validate())
		var all []string
		for _, w := range ways(v, arch) {
			all = append(all, w.domainType()+" "+w.cpu.String())
		}
		return strings.Join(all, ", ")
	}
	for want, v := range map[string]hypervisor.Virt{
		"kvm host-model, kvm Nehalem, qemu Nehalem":                                 {},
		"kvm host-model +vmx -pcid, kvm Nehalem, qemu Nehalem":                      {Type: hypervisor.Auto, Features: []string{"vmx", "-pcid"}},
		"kvm host-passthrough, kvm Nehalem, qemu Nehalem ":                          {CPUMode: hypervisor.HostPassthrough},
		"kvm EPYC, kvm Haswell, kvm Nehalem, qemu EPYC, qemu Haswell, qemu Nehalem": {CPUMode: hypervisor.Custom, Models: []string{"EPYC", "Haswell"}},
		"kvm none, kvm Nehalem, qemu none, qemu Nehalem":                            {CPUMode: hypervisor.NoCPU},
		"kvm host-model":           {Type: hypervisor.KVM},
		"kvm EPYC -svm":            {Type: hypervisor.KVM, CPUMode: hypervisor.Custom, Models: []string{"EPYC"}, Features: []string{"-svm"}},
		"qemu Nehalem":             {Type: hypervisor.QEMU},
		"qemu host-model +aes":     {Type: hypervisor.QEMU, CPUMode: hypervisor.HostModel, Features: []string{"+aes"}},
		"qemu Nehalem +aes":        {Type: hypervisor.QEMU, Features: []string{"aes"}},
		"qemu EPYC, qemu Westmere": {Type: hypervisor.QEMU, CPUMode: hypervisor.Custom, Models: []string{"EPYC", "Westmere"}},
	} {
		require.Equal(t, strings.TrimSpace(want), say(v, "x86_64"))
	}
	require.Equal(t, "kvm host-passthrough, qemu none", say(hypervisor.Virt{}, "aarch64"))
	require.Equal(t, "kvm host-model, qemu none", say(hypervisor.Virt{}, "s390x"))
}

func TestAHostsMachineTypeIsThatOfServersWhoseImageNamesNone(t *testing.T) {
	p := emulated
	p.usual = map[string]string{"x86_64": "q35"}
	doc, _, err := domainXML(server(), p)
	require.NoError(t, err)
	require.Contains(t, doc, `machine="q35"`)
	doc, _, err = domainXML(with(server(), setProperties("hw_machine_type", "pc")), p)
	require.NoError(t, err)
	require.Contains(t, doc, `machine="pc"`)
	_, _, err = domainXML(with(server(), setProperties("hw_disk_bus", "ide")), p)
	require.Equal(t, fault.HostUnfit, fault.KindOf(err), "another host may have another: %v", err)
	p.usual = map[string]string{"x86_64": "q36"}
	_, _, err = domainXML(server(), p)
	require.Equal(t, fault.HostUnfit, fault.KindOf(err))
	require.ErrorContains(t, err, "machine type q36 (host.machine_type)")
}
