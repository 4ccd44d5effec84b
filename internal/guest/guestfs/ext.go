package guestfs

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-cloud/slipway/internal/program"
)

const (
	maxSymlinks = 40  // Linux's own limit
	maxFolders  = 100 // on the way to a file, links' among them: each is a run of debugfs
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

type node struct {
	kind     string // regular, directory, symlink, ...
	mode     uint32 // permission bits
	uid, gid uint32
	size     int64
	written  int64  // when; seconds
	target   string // of a symlink
}

// check replays the journal and repairs what is safe to repair: debugfs writes into an unrecovered journal without a word. It also
// leaves the filesystem marked as clean, whatever it has not written yet: after an injection that did not end all of it is
// looked at, and repaired.
func (e *ext) check(ctx context.Context, unfinished bool) error {
	args := []string{"-p", e.image}
	if unfinished {
		args = []string{"-f", "-y", e.image}
	}
	_, _, err := program.Run(ctx, program.Command{Name: "e2fsck", Args: args, Limits: e.limits, OKCodes: []int{1}, Confine: e.inside})
	return err
}

var (
	statKind = regexp.MustCompile(`(?m)^Inode: \d+\s+Type: (\S+(?: \S+)?)\s+Mode:\s+(\d+)`)
	statOwn  = regexp.MustCompile(`(?m)^User:\s+(\d+)\s+Group:\s+(\d+).*?Size: (\d+)`)
	statTime = regexp.MustCompile(`(?m)^\s*mtime: 0x([0-9a-f]{8})`)
	statLink = regexp.MustCompile(`(?m)^Fast link dest: "(.*)"$`)
)

// stat looks at a path without following its last component. Absent is fs.ErrNotExist.
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

// resolve walks a path as the guest's kernel would, absolute symlinks starting at the guest's root. dir is the existing
// part and missing what is to be made below it.
func (e *ext) resolve(ctx context.Context, p string) (dir string, last *node, missing []string, err error) {
	rest, links, steps := parts(p), 0, 0
	at := "/"
	root, err := e.stat(ctx, "/")
	if err != nil {
		return "", nil, nil, err
	}
	last = &root
	for len(rest) > 0 {
		if steps++; steps+len(rest) > maxFolders {
			return "", nil, nil, fmt.Errorf("%q in the guest leads through too many folders", p[:min(len(p), 100)])
		}
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			at = path.Dir(at)
			n, err := e.stat(ctx, at)
			if err != nil {
				return "", nil, nil, err
			}
			last = &n
			continue
		}
		if last.kind != "directory" {
			return "", nil, nil, fmt.Errorf("%s in the guest is no folder", at)
		}
		next := path.Join(at, name)
		n, err := e.stat(ctx, next)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append([]string{name}, rest...)
			for _, m := range missing {
				if m == ".." {
					return "", nil, nil, fmt.Errorf("%s in the guest leads through a folder that is not there", p)
				}
			}
			return at, last, missing, nil
		case err != nil:
			return "", nil, nil, err
		case n.kind == "symlink":
			if links++; links > maxSymlinks {
				return "", nil, nil, fmt.Errorf("%s in the guest has too many symbolic links", p)
			}
			rest = append(parts(n.target), rest...)
			if strings.HasPrefix(n.target, "/") {
				at, last = "/", &root
			}
		default:
			at, last = next, &n
		}
	}
	return at, last, nil, nil
}

func parts(p string) []string {
	var out []string
	for _, s := range strings.Split(p, "/") {
		if s != "" && s != "." {
			out = append(out, s)
		}
	}
	return out
}

func (e *ext) read(ctx context.Context, p string) ([]byte, error) {
	at, n, missing, err := e.resolve(ctx, p)
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%s: %w", p, fs.ErrNotExist)
	}
	return e.readNode(ctx, at, n)
}

func (e *ext) readNode(ctx context.Context, p string, n *node) ([]byte, error) {
	if n.kind != "regular" {
		return nil, fmt.Errorf("%s in the guest is a %s", p, n.kind)
	}
	if n.size > maxFile {
		return nil, fmt.Errorf("%s in the guest is too large (%d bytes)", p, n.size)
	}
	q, err := quote(p)
	if err != nil {
		return nil, err
	}
	out, err := e.run(ctx, "cat "+q)
	if err == nil && int64(len(out)) != n.size {
		err = fmt.Errorf("reading %s in the guest: %d bytes instead of %d", p, len(out), n.size)
	}
	return out, err
}

func (e *ext) put(ctx context.Context, f file) error {
	p, contents, mode := f.path, f.contents, f.mode
	if len(contents) > maxFile {
		return fmt.Errorf("%s is too large (%d bytes)", p, len(contents))
	}
	at, n, missing, err := e.resolve(ctx, p)
	if err != nil {
		return err
	}
	want := node{kind: "regular", mode: f.newMode, size: int64(len(contents))}
	label := ""
	if len(missing) == 0 {
		if n.kind != "regular" {
			return fmt.Errorf("%s in the guest is a %s", at, n.kind)
		}
		old, err := e.readNode(ctx, at, n)
		if err == nil && bytes.Equal(old, contents) && (mode == 0 || mode == n.mode) &&
			(f.owner == nil || f.owner.uid == n.uid && f.owner.gid == n.gid) {
			return nil
		}
		want.mode, want.uid, want.gid = n.mode, n.uid, n.gid
		if label, err = e.label(ctx, at); err != nil {
			return err
		}
	} else {
		if n.kind != "directory" {
			return fmt.Errorf("%s in the guest is no folder", at)
		}
		if err := e.mkdirs(ctx, at, missing[:len(missing)-1]); err != nil {
			return err
		}
		at = path.Join(append([]string{at}, missing...)...)
	}
	if mode != 0 {
		want.mode = mode
	}
	if f.owner != nil {
		want.uid, want.gid = f.owner.uid, f.owner.gid
	}
	q, err := quote(at)
	if err != nil {
		return err
	}
	dir, err := quote(path.Dir(at))
	if err != nil {
		return err
	}
	name, err := quote(path.Base(at))
	if err != nil {
		return err
	}
	from, done, err := e.hand("contents", contents)
	if err != nil {
		return err
	}
	defer done()
	var lines []string
	if len(missing) == 0 && f.backup {
		kept, err := quote(at + "." + time.Unix(n.written, 0).UTC().Format("20060102T150405Z"))
		if err != nil {
			return err
		}
		// Neither counts links: together they rename. One that is there already keeps its name, and this is a second.
		lines = append(lines, "rm "+kept, "ln "+q+" "+kept, "unlink "+q)
	} else if len(missing) == 0 {
		lines = append(lines, "rm "+q)
	}
	lines = append(lines, "cd "+dir, "write "+from+" "+name,
		fmt.Sprintf("set_inode_field %s mode 0%o", q, 0o100000|want.mode),
		fmt.Sprintf("set_inode_field %s uid %d", q, want.uid),
		fmt.Sprintf("set_inode_field %s gid %d", q, want.gid))
	if label != "" {
		file, done, err := e.hand("label", []byte(label))
		if err != nil {
			return err
		}
		defer done()
		lines = append(lines, fmt.Sprintf("ea_set -f %s %s security.selinux", file, q))
	}
	complaint, err := e.run(ctx, lines...)
	if err != nil {
		return err
	}
	got, err := e.stat(ctx, at)
	if err != nil {
		return fmt.Errorf("writing %s in the guest: %s: %w", at, complaint, err)
	}
	want.written = got.written
	if got != want {
		return fmt.Errorf("writing %s in the guest: it is %+v instead of %+v: %s", at, got, want, complaint)
	}
	back, err := e.readNode(ctx, at, &got)
	if err != nil {
		return err
	}
	if !bytes.Equal(back, contents) {
		return fmt.Errorf("writing %s in the guest: it reads back differently: %s", at, complaint)
	}
	return nil
}

func (e *ext) mkdirAll(ctx context.Context, p string, mode, uid, gid uint32) error {
	at, n, missing, err := e.resolve(ctx, p)
	if err != nil {
		return err
	}
	if n.kind != "directory" {
		return fmt.Errorf("%s in the guest is no folder", at)
	}
	if err := e.mkdirs(ctx, at, missing); err != nil {
		return err
	}
	at = path.Join(append([]string{at}, missing...)...)
	q, err := quote(at)
	if err != nil {
		return err
	}
	complaint, err := e.run(ctx, fmt.Sprintf("set_inode_field %s mode 0%o", q, 0o40000|mode),
		fmt.Sprintf("set_inode_field %s uid %d", q, uid), fmt.Sprintf("set_inode_field %s gid %d", q, gid))
	if err != nil {
		return err
	}
	got, err := e.stat(ctx, at)
	if err != nil || got.mode != mode || got.uid != uid || got.gid != gid {
		return errors.Join(fmt.Errorf("setting the mode of %s in the guest: %s", at, complaint), err)
	}
	return nil
}

func (e *ext) mkdirs(ctx context.Context, at string, names []string) error {
	for _, name := range names {
		dir, err := quote(at)
		if err != nil {
			return err
		}
		q, err := quote(name)
		if err != nil {
			return err
		}
		at = path.Join(at, name)
		complaint, err := e.run(ctx, "cd "+dir, "mkdir "+q)
		if err != nil {
			return err
		}
		if n, err := e.stat(ctx, at); err != nil || n.kind != "directory" {
			return errors.Join(fmt.Errorf("making the folder %s in the guest: %s", at, complaint), err)
		}
	}
	return nil
}

func (e *ext) hasEtc(ctx context.Context) (bool, error) {
	n, err := e.stat(ctx, "/etc")
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return n.kind == "directory" || n.kind == "symlink", err
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
