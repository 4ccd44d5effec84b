package stack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
	"golang.org/x/sys/unix"
)

const (
	// machineSocket is where a libvirtd listens that the machine's init system runs.
	machineSocket = "/run/libvirt/libvirt-sock"
	// qemuConf is where libvirt reads the settings of its QEMU driver; no option names another file.
	qemuConf = "/etc/libvirt/qemu.conf"

	// libvirtReadyTimeout leaves room for a first start without a capabilities cache, which asks every installed QEMU for
	// its features: 8 s on a small machine.
	libvirtReadyTimeout = 90 * time.Second
)

// LibvirtOptions says where a libvirtd of our own keeps its configuration, its domains and its log.
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
	// Started says that it was started for the Dir asked for, by this process or by an earlier one, and that Stop ends it.
	Started bool

	dir    string
	run    string // runFolder: sockets, states of guests, the record
	reaper []string
	log    *slog.Logger
	cancel context.CancelFunc
	done   chan struct{}
}

// runningLibvirt is the content of the record: what Slipway started for a Dir. virtlogd holds the network namespace.
type runningLibvirt struct {
	Virtlogd processRef `json:"virtlogd"`
	Libvirtd processRef `json:"libvirtd"`
}

// processRef names a process for good: an id may be used again, with another start time.
type processRef struct {
	Pid       int    `json:"pid"`
	StartTime uint64 `json:"start_time"` // clock ticks after boot: proc(5), stat, field 22
}

// EnsureLibvirt returns the libvirtd that the machine runs, which is used as it is and never stopped, or starts one for
// Dir alone, with virtlogd beside it.
//
// One that is started here gets a network namespace, so that nothing of the guests touches the machine's network, and a
// mount namespace in which folders of Dir lie over libvirt's, and Slipway's qemu.conf over the machine's: any number of
// them run side by side and none sees another's guests. It outlives this process, and the guests outlive it: a later call
// with the same Dir takes it over. While it is in use it is started again when it dies. A Dir that has had one of its own
// keeps it, since that one knows the guests.
func EnsureLibvirt(ctx context.Context, o LibvirtOptions) (*Libvirt, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("libvirt: %w", err)
	}
	run := runFolder(dir)
	l := &Libvirt{Socket: filepath.Join(run, "libvirt", "libvirt-sock"), Started: true, dir: dir, run: run, reaper: o.Reaper, log: logger(o.Logger)}
	if _, err := os.Stat(l.domains()); err != nil {
		err := answersForMachine(ctx)
		if err == nil {
			return &Libvirt{Socket: machineSocket}, nil
		}
		if os.Geteuid() != 0 {
			return nil, fmt.Errorf("the machine runs no libvirtd (%w), and only root can start one", err)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("libvirt: %w", err)
	}
	lock, err := waitLock(ctx, l.lockFile())
	if err != nil {
		return nil, fmt.Errorf("libvirt: %w", err)
	}
	defer lock.Close()
	if pingLibvirt(ctx, l.Socket) != nil {
		if err := l.configure(); err != nil {
			return nil, fmt.Errorf("configure libvirt: %w", err)
		}
		if err := l.start(ctx); err != nil {
			return nil, err
		}
	}
	supervised, cancel := context.WithCancel(context.Background())
	l.cancel, l.done = cancel, make(chan struct{})
	go l.keep(supervised)
	return l, nil
}

// LibvirtLeft says whether something that EnsureLibvirt started for a Dir may run: Stop leaves nothing.
func LibvirtLeft(dir string) bool {
	dir, err := filepath.Abs(dir)
	if err == nil {
		_, err = os.Stat(runFolder(dir))
	}
	return err == nil
}

// runFolder is what a reboot clears, as it ends the processes.
func runFolder(dir string) string { return standInFolders(dir, "run")[0] }

func (l *Libvirt) lockFile() string { return filepath.Join(l.dir, "lock") }
func (l *Libvirt) domains() string  { return filepath.Join(l.dir, "domains") }

// inPlace begins a script: folders of the Dir ($1) and of the run folder ($2) take the place of libvirt's.
const inPlace = `mount --bind "$1/domains" /etc/libvirt/qemu && mount --bind "$1/lib" /var/lib/libvirt && ` +
	`mount --bind "$1/log" /var/log/libvirt && mount --bind "$2/libvirt" /run/libvirt && `

// start brings up whichever of the two daemons does not run and records both. The caller holds the lock.
func (l *Libvirt) start(ctx context.Context) error {
	rec, _ := l.record()
	if rec.Libvirtd.alive() {
		return fmt.Errorf("libvirtd (pid %d), started for %s, runs but does not answer", rec.Libvirtd.Pid, l.dir)
	}
	isolated := []string{"unshare", "--mount", "--propagation", "slave", "sh", "-c"}
	if !rec.Virtlogd.alive() {
		network := []string{"unshare", "--net"}
		if guests := l.guests(); len(guests) > 0 {
			network = []string{"nsenter", "--net=" + netnsOf(guests[0])}
		}
		const script = inPlace + `ip link set lo up && exec /usr/sbin/virtlogd --pid-file "$1/virtlogd.pid"`
		command := slices.Concat(network, isolated, []string{script, "virtlogd", l.dir, l.run})
		p, err := Start(ctx, Command{
			Name: "virtlogd", Path: command[0], Args: command[1:], LogFile: filepath.Join(l.dir, "virtlogd.log"),
			Ready: func(ctx context.Context) error {
				conn, err := new(net.Dialer).DialContext(ctx, "unix", filepath.Join(l.run, "libvirt", "virtlogd-sock"))
				if err != nil {
					return err
				}
				return conn.Close()
			},
		})
		if err != nil {
			return err
		}
		rec.Virtlogd = refTo(p.Pid())
		if err := l.writeRecord(rec); err != nil {
			return errors.Join(err, p.Stop(ctx))
		}
	}
	l.log.Info("starting libvirtd; the first time takes about 10 s", "dir", l.dir)
	// A sysfs of the network namespace replaces the machine's: libvirt looks there for bridges. The old one is taken away
	// rather than covered, cgroups with it: libvirt would go by their entries in the table of mounts, not find them, and
	// report an error for each guest that it takes over.
	script := inPlace + `umount --recursive --lazy /sys && mount -t sysfs sysfs /sys && mount --bind "$1/qemu.conf" ` + qemuConf +
		` && exec /usr/sbin/libvirtd --config "$1/libvirtd.conf" --pid-file "$1/libvirtd.pid"`
	if owner, ok := qemuOwner(); ok && !usableKVM(owner) {
		l.log.Info("libvirtd does not see /dev/kvm: QEMU's own user cannot use it", "user", qemuUser)
		script = hideKVM + script
	}
	command := slices.Concat(l.reaper, []string{"nsenter", "--net=" + netnsOf(rec.Virtlogd.Pid)}, isolated, []string{script, "libvirtd", l.dir, l.run})
	p, err := Start(ctx, Command{
		Name: "libvirtd", Path: command[0], Args: command[1:], LogFile: filepath.Join(l.dir, "libvirtd.log"),
		Ready:        func(ctx context.Context) error { return pingLibvirt(ctx, l.Socket) },
		ReadyTimeout: libvirtReadyTimeout,
	})
	if err != nil {
		return errors.Join(err, rec.Virtlogd.stop(context.WithoutCancel(ctx)))
	}
	// What was started may be the reaper. It stays for as long as there are guests to reap, also when libvirtd has ended.
	pid, err := readPid(filepath.Join(l.dir, "libvirtd.pid"))
	if err != nil {
		return errors.Join(fmt.Errorf("find libvirtd's process: %w", err), p.Stop(ctx))
	}
	rec.Libvirtd = refTo(pid)
	if err := l.writeRecord(rec); err != nil {
		return errors.Join(err, p.Stop(ctx))
	}
	return nil
}

// guests are the processes of the guests that run, as this libvirtd or the one before it wrote them down.
func (l *Libvirt) guests() []int {
	var pids []int
	files, _ := filepath.Glob(filepath.Join(l.run, "libvirt", "qemu", "*.pid"))
	for _, file := range files {
		pid, err := readPid(file)
		if err != nil {
			continue
		}
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && strings.HasPrefix(filepath.Base(exe), "qemu-") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// configure writes the two configuration files of our libvirtd.
func (l *Libvirt) configure() error {
	if _, err := os.Stat(qemuConf); err != nil {
		return fmt.Errorf("libvirt is not installed (the packages libvirt-daemon-system and libvirt-daemon-driver-qemu): %w", err)
	}
	for _, dir := range []string{
		l.domains(), filepath.Join(l.dir, "lib"), filepath.Join(l.dir, "log"), // what stays
		l.run, filepath.Join(l.run, "libvirt"), // what a reboot clears
	} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		// Whatever the umask: QEMU's own user goes through them.
		if err := os.Chmod(dir, 0o755); err != nil {
			return err
		}
	}
	for _, under := range []string{"/run/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/etc/libvirt/qemu"} { // inPlace
		if err := os.MkdirAll(under, 0o755); err != nil {
			return err
		}
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
		rec, ok := l.record()
		if !ok {
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
		lock, err := waitLock(ctx, l.lockFile())
		if err != nil {
			return
		}
		if now, ok := l.record(); ok && now.Libvirtd == rec.Libvirtd {
			l.log.Warn("libvirtd has ended; starting it again", "pid", rec.Libvirtd.Pid)
			if err := l.start(ctx); err != nil && ctx.Err() == nil {
				l.log.Error("could not start libvirtd", "error", err)
			}
		}
		lock.Close()
	}
}

// Pid is the process id of the libvirtd that was started for this Dir; 0 while it is being started again, and where it is
// the machine's.
func (l *Libvirt) Pid() int {
	if rec, ok := l.record(); ok && rec.Libvirtd.alive() {
		return rec.Libvirtd.Pid
	}
	return 0
}

// Netns is the path of the network namespace in which its guests are; empty where it is the machine's own.
func (l *Libvirt) Netns() string {
	if rec, ok := l.record(); ok && rec.Virtlogd.alive() {
		return netnsOf(rec.Virtlogd.Pid)
	}
	return ""
}

// Release gives up the supervision and leaves libvirtd running, for a later EnsureLibvirt with the same Dir.
func (l *Libvirt) Release() {
	if l.cancel != nil {
		l.cancel()
		<-l.done
	}
}

// Stop ends what was started for this Dir: libvirtd and virtlogd, and with the last guest that is in it the network
// namespace. A libvirtd of the machine's is left alone. Guests go on running.
func (l *Libvirt) Stop(ctx context.Context) error {
	l.Release()
	if !l.Started {
		return nil
	}
	lock, err := waitLock(ctx, l.lockFile())
	if err != nil {
		return fmt.Errorf("stop libvirt: %w", err)
	}
	defer lock.Close()
	rec, ok := l.record()
	if !ok {
		return nil
	}
	if err := errors.Join(rec.Libvirtd.stop(ctx), rec.Virtlogd.stop(ctx)); err != nil {
		return fmt.Errorf("stop libvirt: %w", err)
	}
	left := l.run
	if len(l.guests()) > 0 {
		left = l.recordFile() // the next libvirtd finds them by the rest
	}
	if err := os.RemoveAll(left); err != nil {
		return fmt.Errorf("stop libvirt: %w", err)
	}
	return nil
}

// answersForMachine returns nil where a libvirtd answers on the machine's socket. One in another network namespace is
// somebody's private one and not the machine's.
func answersForMachine(ctx context.Context) error {
	if err := pingLibvirt(ctx, machineSocket); err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", machineSocket)
	if err != nil {
		return err
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	if err := errors.Join(raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}), err); err != nil {
		return fmt.Errorf("find who serves %s: %w", machineSocket, err)
	}
	theirs, err := os.Stat(netnsOf(int(peer.Pid)))
	if err != nil {
		return nil // not ours to look at
	}
	ours, err := os.Stat("/proc/self/ns/net")
	if err == nil && !os.SameFile(ours, theirs) {
		err = fmt.Errorf("the libvirtd at %s (pid %d) is in a network namespace of its own", machineSocket, peer.Pid)
	}
	return err
}

func pingLibvirt(ctx context.Context, socket string) error {
	conn := libvirt.NewWithDialer(dialers.NewLocal(dialers.WithSocket(socket), dialers.WithLocalTimeout(2*time.Second)))
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

// netnsOf is a process's network namespace. Unlike a name below /run/netns, which is a mount, it is the same in each mount
// namespace.
func netnsOf(pid int) string { return fmt.Sprintf("/proc/%d/ns/net", pid) }

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

// recordFile says what was started, so that a later process finds it.
func (l *Libvirt) recordFile() string { return filepath.Join(l.run, "libvirt.json") }

func (l *Libvirt) record() (rec runningLibvirt, ok bool) {
	b, err := os.ReadFile(l.recordFile())
	if err != nil {
		return runningLibvirt{}, false
	}
	return rec, json.Unmarshal(b, &rec) == nil
}

func (l *Libvirt) writeRecord(rec runningLibvirt) error {
	b, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return fmt.Errorf("record the libvirtd that was started: %w", err)
	}
	fresh := l.recordFile() + ".new"
	if err := os.WriteFile(fresh, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("record the libvirtd that was started: %w", err)
	}
	if err := os.Rename(fresh, l.recordFile()); err != nil {
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
