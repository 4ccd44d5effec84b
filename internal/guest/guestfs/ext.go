package guestfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/slipway-cloud/slipway/internal/program"
)

// ext is an ext filesystem in a file. debugfs works on its structures in its own process under limits; the host's kernel
// never parses them.
type ext struct {
	image    string
	work     string // host folder for contents on their way
	inside   *program.Confinement
	limits   program.Limits
	writable bool
	debugfs  *program.Conversation // from the first command on
}

// check replays the journal and repairs what is safe to repair: debugfs writes into an unrecovered journal without a word. It also
// leaves the filesystem marked as clean, whatever it has not written yet: after an injection that did not end all of it is
// looked at, and repaired. So is, as far as that is safe, what says that it is clean and has no checksums by which debugfs would see that its
// bitmaps are wrong: it would give away blocks that are in use.
func (e *ext) check(ctx context.Context, unfinished bool) error {
	sums, err := e.hasChecksums()
	if err != nil {
		return err
	}
	args := []string{"-p", e.image}
	switch {
	case unfinished:
		args = []string{"-f", "-y", e.image}
	case !sums:
		args = []string{"-f", "-p", e.image}
	}
	_, _, err = program.Run(ctx, program.Command{Name: "e2fsck", Args: args, Limits: e.limits, OKCodes: []int{1}, Confine: e.inside})
	return err
}

// hasChecksums tells it by the feature metadata_csum of the superblock (Documentation/filesystems/ext4/super.rst).
func (e *ext) hasChecksums() (sums bool, err error) {
	err = e.inside.Read(e.image, func(r io.ReaderAt) error {
		features := make([]byte, 4)
		_, err := r.ReadAt(features, 1024+0x64)
		sums = binary.LittleEndian.Uint32(features)&0x400 != 0
		return err
	})
	return sums, err
}

var (
	statKind = regexp.MustCompile(`(?m)^Inode: \d+\s+Type: (\S+(?: \S+)?)\s+Mode:\s+(\d+)`)
	statOwn  = regexp.MustCompile(`(?m)^User:\s+(\d+)\s+Group:\s+(\d+).*?Size: (\d+)`)
	statTime = regexp.MustCompile(`(?m)^\s*mtime: 0x([0-9a-f]{8})`)
	statLink = regexp.MustCompile(`(?m)^Fast link dest: "(.*)"$`)
)

func (e *ext) stat(ctx context.Context, p string) (node, error) {
	q, err := quote(p)
	if err != nil {
		return node{}, err
	}
	out, err := e.run(ctx, "stat "+q)
	if err != nil {
		return node{}, err
	}
	kind, own := statKind.FindSubmatch(out), statOwn.FindSubmatch(out)
	if kind == nil || own == nil {
		if bytes.Contains(out, []byte("not found")) {
			return node{}, fmt.Errorf("%s: %w", p, fs.ErrNotExist)
		}
		return node{}, fmt.Errorf("looking at %s: %s", p, bytes.TrimSpace(out))
	}
	number := func(b []byte, base int) uint64 { n, _ := strconv.ParseUint(string(b), base, 63); return n }
	n := node{kind: strings.TrimSpace(string(kind[1])), mode: uint32(number(kind[2], 8)) & 0o7777,
		uid: uint32(number(own[1], 10)), gid: uint32(number(own[2], 10)), size: int64(number(own[3], 10))}
	if m := statTime.FindSubmatch(out); m != nil {
		n.written = int64(number(m[1], 16)) //nolint:gosec // G115: 32 bits
	}
	if n.kind == "symlink" {
		if m := statLink.FindSubmatch(out); m != nil {
			n.target = string(m[1])
		} else {
			target, err := e.run(ctx, "cat "+q)
			if err != nil {
				return node{}, err
			}
			n.target = string(target)
		}
	}
	return n, nil
}

func (e *ext) cat(ctx context.Context, p string) ([]byte, error) {
	q, err := quote(p)
	if err != nil {
		return nil, err
	}
	return e.run(ctx, "cat "+q)
}

func (e *ext) write(ctx context.Context, p string, contents []byte, want node, replaces bool, kept string) (said []byte, err error) {
	q, err := quote(p)
	if err != nil {
		return nil, err
	}
	dir, err := quote(path.Dir(p))
	if err != nil {
		return nil, err
	}
	name, err := quote(path.Base(p))
	if err != nil {
		return nil, err
	}
	label := ""
	if replaces {
		if label, err = e.label(ctx, p); err != nil {
			return nil, err
		}
	}
	from, done, err := e.hand("contents", contents)
	if err != nil {
		return nil, err
	}
	defer done()
	var lines []string
	switch {
	case kept != "":
		kept, err := quote(kept)
		if err != nil {
			return nil, err
		}
		// Neither counts links: together they rename. One that is there already keeps its name, and this is a second.
		lines = append(lines, "rm "+kept, "ln "+q+" "+kept, "unlink "+q)
	case replaces:
		lines = append(lines, "rm "+q)
	}
	lines = append(lines, "cd "+dir, "write "+from+" "+name)
	lines = append(lines, owned(q, 0o100000, want)...)
	if label != "" {
		file, done, err := e.hand("label", []byte(label))
		if err != nil {
			return nil, err
		}
		defer done()
		lines = append(lines, fmt.Sprintf("ea_set -f %s %s security.selinux", file, q))
	}
	return e.run(ctx, lines...)
}

func (e *ext) mkdir(ctx context.Context, p string) (said []byte, err error) {
	dir, err := quote(path.Dir(p))
	if err != nil {
		return nil, err
	}
	name, err := quote(path.Base(p))
	if err != nil {
		return nil, err
	}
	return e.run(ctx, "cd "+dir, "mkdir "+name)
}

func (e *ext) own(ctx context.Context, p string, want node) (said []byte, err error) {
	q, err := quote(p)
	if err != nil {
		return nil, err
	}
	return e.run(ctx, owned(q, 0o40000, want)...)
}

// owned sets mode and owner.
func owned(quoted string, kind uint32, want node) []string {
	return []string{
		fmt.Sprintf("set_inode_field %s mode 0%o", quoted, kind|want.mode),
		fmt.Sprintf("set_inode_field %s uid %d", quoted, want.uid),
		fmt.Sprintf("set_inode_field %s gid %d", quoted, want.gid),
	}
}

// hand makes contents a file that debugfs reads, and gives its quoted name.
func (e *ext) hand(name string, contents []byte) (quoted string, done func(), err error) {
	file, done, err := lend(e.work, name, contents)
	if err != nil {
		return "", done, err
	}
	quoted, err = quote(file)
	return quoted, done, err
}

// label is a file's SELinux label; "" where it has none.
func (e *ext) label(ctx context.Context, p string) (string, error) {
	q, err := quote(p)
	if err != nil {
		return "", err
	}
	out, err := e.run(ctx, "ea_get -x "+q+" security.selinux")
	if err != nil {
		return "", err
	}
	_, value, _ := strings.Cut(string(out), "=")
	label, err := hex.DecodeString(strings.Join(strings.Fields(value), ""))
	return string(label), err
}
