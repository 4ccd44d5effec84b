package guestfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/program"
)

// mounted are a guest's filesystems as libguestfs mounts them: in a virtual machine of its own, whose kernel reads them. guestfish says what
// is to be done there.
type mounted struct {
	fish  *program.Conversation
	work  string // host folder for contents on their way
	leave func() // gives its turn to another
}

// mount starts the machine on the export's disk, and mounts the root in it, with what it mounts where it is to be found by inspection.
func (e *export) mount(ctx context.Context, limits program.Limits, a *Appliance, number int) (g guest, err error) {
	image, err := e.export("whole", "disk", true)
	if err != nil {
		return guest{}, err
	}
	m, err := a.start(ctx, limits.WithFile(max(e.virtual, maxFile)), e, image)
	if err != nil {
		return guest{}, err
	}
	if err := m.mountRoot(ctx, number); err != nil {
		return guest{}, errors.Join(err, m.close(ctx))
	}
	return guest{tree{m}}, nil
}

// start runs a machine that has one disk, when it is its turn.
func (a *Appliance) start(ctx context.Context, limits program.Limits, e *export, image string) (*mounted, error) {
	select {
	case a.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	m := &mounted{work: e.dir, leave: sync.OnceFunc(func() { <-a.turns })}
	limits.MemoryBytes, limits.CPU = machineMemory, machineCPU
	var err error
	if m.fish, err = program.Converse(ctx, program.Command{
		Name: "guestfish", Env: a.environment(), Limits: limits, Mixed: true, Confine: &program.Confinement{Beside: e.inside.Beside, Starts: true},
	}); err != nil {
		m.leave()
		return nil, err
	}
	if _, err := m.run(ctx, "add-drive "+fishQuote(image)+" format:raw", "run"); err != nil {
		if m.fish != nil {
			m.fish.Kill()
		}
		_ = m.close(ctx)
		// It has started on this host before, but so it may with another disk.
		return nil, fault.Wrap(fault.HostUnfit, err, "libguestfs does not start on the host").NotTheHosts()
	}
	return m, nil
}

// mountRoot mounts the filesystem that is asked for, as Nova's virt/disk/vfs/guestfs.py: a partition, the whole disk, or the root of the
// only operating system with all that its fstab names.
func (m *mounted) mountRoot(ctx context.Context, number int) error {
	switch {
	case number == contract.InjectWholeDisk:
		return m.mountAt(ctx, "/dev/sda", "/")
	case number > 0:
		return m.mountAt(ctx, fmt.Sprintf("/dev/sda%d", number), "/")
	}
	said, err := m.run(ctx, "inspect-os")
	if err != nil {
		return err
	}
	roots := strings.FieldsFunc(string(said), func(r rune) bool { return r == '\n' })
	if len(roots) != 1 {
		return fmt.Errorf("libguestfs finds %d operating systems in the image", len(roots))
	}
	root := fishQuote(roots[0])
	if said, err = m.run(ctx, "inspect-get-type "+root); err != nil {
		return err
	}
	if kind := strings.TrimSpace(string(said)); kind != "linux" {
		return fmt.Errorf("the operating system of the image is %s", kind)
	}
	if said, err = m.run(ctx, "inspect-get-mountpoints "+root); err != nil {
		return err
	}
	at := map[string]string{}
	for line := range strings.Lines(string(said)) {
		if folder, device, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			at[folder] = device
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(at)) { // a folder sorts before what is below it
		if err := m.mountAt(ctx, at[folder], folder); err != nil {
			return err
		}
	}
	return nil
}

// mountAt mounts a filesystem, an ext one after its own check.
func (m *mounted) mountAt(ctx context.Context, device, folder string) error {
	device = fishQuote(device)
	kind, err := m.run(ctx, "vfs-type "+device)
	if err == nil && bytes.HasPrefix(kind, []byte("ext")) {
		_, err = m.run(ctx, "e2fsck "+device+" correct:true")
	}
	if err == nil {
		_, err = m.run(ctx, "mount-options nodev "+device+" "+fishQuote(folder))
	}
	return err
}

// complaint is how guestfish tells of an error; advice for people comes below it.
var complaint = regexp.MustCompile(`(?m)^\*stdin\*:\d+: libguestfs: error: (.*)$`)

// errSaid is what libguestfs complains.
type errSaid string

func (e errSaid) Error() string { return "libguestfs: " + string(e) }

// run gives guestfish commands, up to one that it complains of, and returns what it said to them.
func (m *mounted) run(ctx context.Context, commands ...string) (said []byte, err error) {
	for _, c := range commands {
		if err := fits(c); err != nil {
			return nil, err
		}
		if m.fish == nil {
			return nil, errTool
		}
		answer, err := ask(ctx, m.fish, "-"+c+"\n", "echo ") // with - it goes on after an error
		if err != nil {
			m.fish = nil
			return nil, err
		}
		if wrong := complaint.FindSubmatch(answer); wrong != nil {
			return answer, errSaid(wrong[1])
		}
		said = append(said, answer...)
	}
	return said, nil
}

// fishQuote makes one argument of guestfish.
func fishQuote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(s) {
		if c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			fmt.Fprintf(&b, `\x%02x`, c)
		} else {
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// path is a path of the guest, as an argument.
func (*mounted) path(p string) (string, error) {
	return fishQuote(p), sayable(p)
}

var fileKinds = map[int64]string{
	0o100000: "regular", 0o40000: "directory", 0o120000: "symlink", 0o20000: "character device", 0o60000: "block device", 0o10000: "FIFO", 0o140000: "socket",
}

var statField = regexp.MustCompile(`(?m)^st_(mode|uid|gid|size|mtime_sec): (-?\d+)$`)

func (m *mounted) stat(ctx context.Context, p string) (node, error) {
	q, err := m.path(p)
	if err != nil {
		return node{}, err
	}
	said, err := m.run(ctx, "lstatns "+q)
	var wrong errSaid
	if errors.As(err, &wrong) && strings.HasSuffix(string(wrong), ": No such file or directory") {
		return node{}, fmt.Errorf("%s: %w", p, fs.ErrNotExist)
	}
	if err != nil {
		return node{}, err
	}
	is := map[string]int64{}
	for _, field := range statField.FindAllSubmatch(said, -1) {
		is[string(field[1])], _ = strconv.ParseInt(string(field[2]), 10, 64)
	}
	n := node{
		kind: fileKinds[is["mode"]&0o170000], mode: uint32(is["mode"] & 0o7777), uid: uint32(is["uid"]), gid: uint32(is["gid"]), //nolint:gosec // G115: 32 bits in Linux
		size: is["size"], written: is["mtime_sec"],
	}
	if n.kind == "symlink" {
		target, err := m.run(ctx, "readlink "+q)
		if err != nil {
			return node{}, err
		}
		n.target = strings.TrimSuffix(string(target), "\n")
	}
	return n, nil
}

func (m *mounted) cat(ctx context.Context, p string) ([]byte, error) {
	q, err := m.path(p)
	if err != nil {
		return nil, err
	}
	said, err := m.run(ctx, "read-file "+q)
	if errors.As(err, new(errSaid)) { // or the file holds such words, which its size tells
		err = nil
	}
	return said, err
}

func (m *mounted) write(ctx context.Context, p string, contents []byte, want node, replaces bool, kept string) (said []byte, err error) {
	q, err := m.path(p)
	if err != nil {
		return nil, err
	}
	next, err := m.path(path.Join(path.Dir(p), ".slipway-injected"))
	if err != nil {
		return nil, err
	}
	from, done, err := lend(m.work, "contents", contents)
	if err != nil {
		return nil, err
	}
	defer done()
	lines := []string{"rm-f " + next, "upload " + fishQuote(from) + " " + next}
	if replaces {
		lines = append(lines, "copy-attributes "+q+" "+next+" all:true")
	}
	lines = append(lines, ownedBy(next, want)...)
	if kept != "" {
		kept, err := m.path(kept)
		if err != nil {
			return nil, err
		}
		lines = append(lines, "rm-f "+kept, "ln "+q+" "+kept)
	}
	if said, err = m.run(ctx, append(lines, "rename "+next+" "+q)...); errors.As(err, new(errSaid)) {
		_, left := m.run(ctx, "rm-f "+next)
		return said, errors.Join(err, left)
	}
	return said, err
}

func (m *mounted) mkdir(ctx context.Context, p string) (said []byte, err error) {
	q, err := m.path(p)
	if err != nil {
		return nil, err
	}
	return m.run(ctx, "mkdir-mode "+q+" 0755")
}

func (m *mounted) own(ctx context.Context, p string, want node) (said []byte, err error) {
	q, err := m.path(p)
	if err != nil {
		return nil, err
	}
	return m.run(ctx, ownedBy(q, want)...)
}

// chown takes away the bits that chmod sets.
func ownedBy(quoted string, want node) []string {
	return []string{fmt.Sprintf("chown %d %d %s", want.uid, want.gid, quoted), fmt.Sprintf("chmod 0%o %s", want.mode, quoted)}
}

// check is done where they are mounted.
func (*mounted) check(context.Context, bool) error { return nil }

// close has the machine write what it has not written yet, and ends it.
func (m *mounted) close(ctx context.Context) error {
	defer m.leave()
	if m.fish == nil {
		return nil
	}
	_, err := m.run(ctx, "umount-all", "shutdown")
	if m.fish != nil {
		_, ended := m.fish.End()
		m.fish, err = nil, errors.Join(err, ended)
	}
	if err != nil {
		err = errors.Join(errTool, err)
	}
	return err
}
