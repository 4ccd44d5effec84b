package stack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
)

const (
	libvirtSocket = "/run/libvirt/libvirt-sock"
	// libvirtRecord says which libvirtd Slipway started, so that a later process knows whose it is and in which
	// network namespace it runs. It lies where a reboot clears it, as a reboot ends the processes it names.
	libvirtRecord = "/run/slipway-libvirt.json"
	libvirtLock   = "/run/slipway-libvirt.lock"
	// qemuConf is where libvirt reads the settings of its QEMU driver; no option names another file.
	qemuConf = "/etc/libvirt/qemu.conf"

	// libvirtReadyTimeout leaves room for a first start without a capabilities cache, which asks every installed QEMU for
	// its features: 8 s on a small machine.
	libvirtReadyTimeout = 90 * time.Second
)

// LibvirtOptions says where a libvirtd of our own keeps its configuration and log.
type LibvirtOptions struct {
	Dir string
	// Reaper is a command that calls Reap with the arguments that are added to it. libvirtd runs under it, and under
	// nothing where it is empty: then guests stop as slowly as the machine's first process reaps them.
	Reaper []string
	Logger *slog.Logger
}

// Libvirt is a libvirtd that answers.
type Libvirt struct {
	// Socket is its unix socket.
	Socket string
	// Netns is the path of the network namespace in which it runs and in which guests' bridges and taps belong; empty
	// where it is the machine's own.
	Netns string
	// Started says that it was started for the Dir asked for, by this process or by an earlier one, and that Stop ends it.
	Started bool

	dir    string
	reaper []string
	log    *slog.Logger
	cancel context.CancelFunc
	done   chan struct{}
}

// runningLibvirt is the content of libvirtRecord.
type runningLibvirt struct {
	Dir      string     `json:"dir"`
	Netns    string     `json:"netns"` // a name below /run/netns
	Virtlogd processRef `json:"virtlogd"`
	Libvirtd processRef `json:"libvirtd"`
}

// processRef names a process for good: an id may be used again, with another start time.
type processRef struct {
	Pid       int    `json:"pid"`
	StartTime uint64 `json:"start_time"` // clock ticks after boot: proc(5), stat, field 22
}

// EnsureLibvirt returns the libvirtd that answers on the system's socket, or starts one with virtlogd beside it.
//
// A libvirtd that the machine runs is used as it is and never stopped. One that is started here gets a network
// namespace of its own, so that nothing of the guests touches the machine's network, and a mount namespace in which
// Slipway's qemu.conf lies over the machine's. It outlives this process, and the guests outlive it: a later call with
// the same Dir takes it over. While it is in use it is started again when it dies.
func EnsureLibvirt(ctx context.Context, o LibvirtOptions) (*Libvirt, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("libvirt: %w", err)
	}
	l := &Libvirt{Socket: libvirtSocket, dir: dir, reaper: o.Reaper, log: logger(o.Logger)}
	lock, err := waitLock(ctx, libvirtLock)
	if err != nil {
		return nil, fmt.Errorf("libvirt: %w", err)
	}
	defer lock.Close()

	if err := pingLibvirt(ctx); err == nil {
		if rec, ok := readRecord(); ok && rec.Libvirtd.alive() {
			l.Netns, l.Started = netnsPath(rec.Netns), rec.Dir == dir
		}
	} else {
		if os.Geteuid() != 0 {
			return nil, fmt.Errorf("no libvirtd answers on %s (%w), and only root can start one", libvirtSocket, err)
		}
		if err := l.configure(); err != nil {
			return nil, fmt.Errorf("configure libvirt: %w", err)
		}
		rec, err := l.start(ctx)
		if err != nil {
			return nil, err
		}
		l.Netns, l.Started = netnsPath(rec.Netns), true
	}
	if l.Started {
		run, cancel := context.WithCancel(context.Background())
		l.cancel, l.done = cancel, make(chan struct{})
		go l.keep(run)
	}
	return l, nil
}

// start brings up whichever of the two daemons does not run and records both. The caller holds the lock.
func (l *Libvirt) start(ctx context.Context) (runningLibvirt, error) {
	rec, ok := readRecord()
	if !ok || rec.Dir != l.dir {
		if ok && rec.Libvirtd.alive() {
			return rec, fmt.Errorf("libvirtd (pid %d), started for %s, runs but does not answer", rec.Libvirtd.Pid, rec.Dir)
		}
		rec = runningLibvirt{Dir: l.dir, Netns: netnsName(l.dir), Virtlogd: rec.Virtlogd}
	}
	if err := ensureNetns(ctx, rec.Netns); err != nil {
		return rec, err
	}
	if !rec.Virtlogd.alive() {
		p, err := Start(ctx, Command{
			Name: "virtlogd", Path: "/usr/sbin/virtlogd", LogFile: filepath.Join(l.dir, "virtlogd.log"),
			Ready: func(context.Context) error { _, err := os.Stat("/run/libvirt/virtlogd-sock"); return err },
		})
		if err != nil {
			return rec, err
		}
		rec.Virtlogd = refTo(p.Pid())
		if err := writeRecord(rec); err != nil {
			return rec, errors.Join(err, p.Stop(ctx))
		}
	}
	l.log.Info("starting libvirtd; the first time takes about 10 s", "netns", rec.Netns, "dir", l.dir)
	// A sysfs of the network namespace replaces the machine's: libvirt looks there for bridges. The old one is taken away
	// rather than covered, cgroups with it: libvirt would go by their entries in the table of mounts, not find them, and
	// report an error for each guest that it takes over.
	script := `umount --recursive --lazy /sys && mount -t sysfs sysfs /sys && mount --bind "$1/qemu.conf" ` + qemuConf +
		` && exec /usr/sbin/libvirtd --config "$1/libvirtd.conf" --pid-file "$1/libvirtd.pid"`
	if owner, ok := qemuOwner(); ok && !usableKVM(owner) {
		l.log.Info("libvirtd does not see /dev/kvm: QEMU's own user cannot use it", "user", qemuUser)
		script = hideKVM + script
	}
	pidFile := filepath.Join(l.dir, "libvirtd.pid")
	command := append(slices.Clone(l.reaper),
		"nsenter", "--net="+netnsPath(rec.Netns), "unshare", "--mount", "--propagation", "slave", "sh", "-c", script, "libvirtd", l.dir)
	p, err := Start(ctx, Command{
		Name: "libvirtd", Path: command[0], Args: command[1:], LogFile: filepath.Join(l.dir, "libvirtd.log"),
		Ready:        pingLibvirt,
		ReadyTimeout: libvirtReadyTimeout,
	})
	if err != nil {
		return rec, errors.Join(err, rec.Virtlogd.stop(context.WithoutCancel(ctx)))
	}
	// What was started may be the reaper. It stays for as long as there are guests to reap, also when libvirtd has ended.
	pid, err := readPid(pidFile)
	if err != nil {
		return rec, errors.Join(fmt.Errorf("find libvirtd's process: %w", err), p.Stop(ctx))
	}
	rec.Libvirtd = refTo(pid)
	if err := writeRecord(rec); err != nil {
		return rec, errors.Join(err, p.Stop(ctx))
	}
	return rec, nil
}

// configure writes the two configuration files of our libvirtd.
func (l *Libvirt) configure() error {
	if _, err := os.Stat(qemuConf); err != nil {
		return fmt.Errorf("libvirt is not installed (the packages libvirt-daemon-system and libvirt-daemon-driver-qemu): %w", err)
	}
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return err
	}
	// https://libvirt.org/daemons.html: libvirtd.conf. Only root may connect.
	daemon := []string{
		`unix_sock_group = "root"`,
		`unix_sock_rw_perms = "0700"`,
		`unix_sock_ro_perms = "0700"`,
		`auth_unix_rw = "none"`,
		`auth_unix_ro = "none"`,
		`log_level = 3`,
		`log_outputs = "3:stderr"`,
		// Stable, and not the machine's: two hosts with one uuid refuse to migrate guests to each other.
		fmt.Sprintf("host_uuid = %q", hostUUID(l.dir)),
	}
	// https://libvirt.org/drvqemu.html: qemu.conf.
	qemu := []string{
		// Nobody else shares out this machine's cgroups: a machine whose init system does runs a libvirtd of its own.
		`cgroup_controllers = [ ]`,
		`security_driver = "none"`,
		// Owners are remembered in extended attributes, which not every filesystem of a checkout has.
		`remember_owner = 0`,
		// Guests' consoles go through virtlogd, so they are kept while libvirtd is restarted.
		`stdio_handler = "logd"`,
	}
	for name, lines := range map[string][]string{"libvirtd.conf": daemon, "qemu.conf": qemu} {
		content := "# Written by Slipway at each start of its libvirtd.\n" + strings.Join(lines, "\n") + "\n"
		if err := os.WriteFile(filepath.Join(l.dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// keep starts libvirtd again when it dies.
func (l *Libvirt) keep(ctx context.Context) {
	defer close(l.done)
	var pauses backoff
	for {
		rec, ok := readRecord()
		if !ok || rec.Dir != l.dir {
			return // somebody stopped it for good
		}
		began := time.Now()
		if err := rec.Libvirtd.wait(ctx); err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pauses.after(time.Since(began))):
		}
		lock, err := waitLock(ctx, libvirtLock)
		if err != nil {
			return
		}
		if now, ok := readRecord(); ok && now.Libvirtd == rec.Libvirtd {
			l.log.Warn("libvirtd has ended; starting it again", "pid", rec.Libvirtd.Pid)
			if _, err := l.start(ctx); err != nil && ctx.Err() == nil {
				l.log.Error("could not start libvirtd", "error", err)
			}
		}
		lock.Close()
	}
}

// Pid is the process id of the libvirtd that was started for this Dir; 0 while it is being started again, and where it is
// somebody else's.
func (l *Libvirt) Pid() int {
	if rec, ok := readRecord(); ok && rec.Dir == l.dir && rec.Libvirtd.alive() {
		return rec.Libvirtd.Pid
	}
	return 0
}

// Release gives up the supervision and leaves libvirtd running, for a later EnsureLibvirt with the same Dir.
func (l *Libvirt) Release() {
	if l.cancel != nil {
		l.cancel()
		<-l.done
	}
}

// Stop ends what was started for this Dir: libvirtd, virtlogd, and, when no guest is left in it, the network
// namespace. A libvirtd of the machine's or of another Dir's is left alone. Guests go on running.
func (l *Libvirt) Stop(ctx context.Context) error {
	l.Release()
	if !l.Started {
		return nil
	}
	lock, err := waitLock(ctx, libvirtLock)
	if err != nil {
		return fmt.Errorf("stop libvirt: %w", err)
	}
	defer lock.Close()
	rec, ok := readRecord()
	if !ok || rec.Dir != l.dir {
		return nil
	}
	if err := errors.Join(rec.Libvirtd.stop(ctx), rec.Virtlogd.stop(ctx)); err != nil {
		return fmt.Errorf("stop libvirt: %w", err)
	}
	if err := os.Remove(libvirtRecord); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("stop libvirt: %w", err)
	}
	if err := dropNetns(ctx, rec.Netns); err != nil {
		return fmt.Errorf("stop libvirt: %w", err)
	}
	return nil
}

func pingLibvirt(ctx context.Context) error {
	conn := libvirt.NewWithDialer(dialers.NewLocal(dialers.WithSocket(libvirtSocket), dialers.WithLocalTimeout(2*time.Second)))
	answer := make(chan error, 1)
	go func() {
		err := conn.ConnectToURI(libvirt.QEMUSystem)
		if err == nil {
			err = conn.Disconnect()
		}
		answer <- err
	}()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func netnsName(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return "slipway-" + hex.EncodeToString(sum[:4])
}

func netnsPath(name string) string { return filepath.Join("/run/netns", name) }

// ensureNetns makes the namespace where it is missing. One that exists may hold guests.
func ensureNetns(ctx context.Context, name string) error {
	if err := ip(ctx, "netns", "add", name); err != nil {
		names, listErr := exec.CommandContext(ctx, "ip", "netns", "list").Output()
		exists := slices.ContainsFunc(strings.Split(string(names), "\n"), func(line string) bool {
			first, _, _ := strings.Cut(line, " ")
			return first == name
		})
		if !exists {
			return errors.Join(fmt.Errorf("make network namespace %s: %w", name, err), listErr)
		}
	}
	return ip(ctx, "-n", name, "link", "set", "lo", "up")
}

func dropNetns(ctx context.Context, name string) error {
	out, err := exec.CommandContext(ctx, "ip", "netns", "pids", name).Output()
	if err != nil || len(strings.TrimSpace(string(out))) > 0 {
		return nil // gone already, or guests live in it
	}
	return ip(ctx, "netns", "delete", name)
}

func ip(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func hostUUID(dir string) string {
	machine, _ := os.ReadFile("/etc/machine-id") // absent in some containers; the folder still tells hosts apart
	sum := sha256.Sum256(append(machine, dir...))
	sum[6], sum[8] = sum[6]&0x0f|0x40, sum[8]&0x3f|0x80
	h := hex.EncodeToString(sum[:16])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// qemuUser is the user as which Debian's libvirt runs QEMU.
const qemuUser = "libvirt-qemu"

func qemuOwner() (*syscall.Credential, bool) {
	u, err := user.Lookup(qemuUser)
	if err != nil {
		return nil, false
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err1 == nil && err2 == nil
}

// readPid reads a file with a process id.
func readPid(file string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

func readRecord() (runningLibvirt, bool) {
	b, err := os.ReadFile(libvirtRecord)
	if err != nil {
		return runningLibvirt{}, false
	}
	var rec runningLibvirt
	return rec, json.Unmarshal(b, &rec) == nil
}

func writeRecord(rec runningLibvirt) error {
	b, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return fmt.Errorf("record the libvirtd that was started: %w", err)
	}
	fresh := libvirtRecord + ".new"
	if err := os.WriteFile(fresh, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("record the libvirtd that was started: %w", err)
	}
	if err := os.Rename(fresh, libvirtRecord); err != nil {
		return fmt.Errorf("record the libvirtd that was started: %w", err)
	}
	return nil
}

// waitLock takes a lock that another process holds only for the moments of a start or stop.
func waitLock(ctx context.Context, path string) (*os.File, error) {
	for {
		f, err := lockFile(path)
		if err == nil || !errors.Is(err, errLocked) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
