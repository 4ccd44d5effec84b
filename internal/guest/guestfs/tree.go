package guestfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"
)

const (
	maxSymlinks = 40  // Linux's own limit
	maxFolders  = 100 // on the way to a file, links' among them: each is asked for by itself
)

// posix is a filesystem with owners, modes and links, as a tool works on it. No path that it is given has a link in it, but for its last
// name. Where it gives what was said, that is the tool's complaint, and whoever asks looks at what came of it.
type posix interface {
	// stat looks at a path without following its last component. Absent is fs.ErrNotExist.
	stat(ctx context.Context, path string) (node, error)
	// cat gives what is in a regular file.
	cat(ctx context.Context, path string) ([]byte, error)
	// write makes a file with the mode and owner that are wanted. What it replaces gives it its label, and stays under the name kept
	// where that is not "".
	write(ctx context.Context, path string, contents []byte, want node, replaces bool, kept string) (said []byte, err error)
	mkdir(ctx context.Context, path string) (said []byte, err error)
	// own sets a folder's mode and owner.
	own(ctx context.Context, path string, want node) (said []byte, err error)
	check(ctx context.Context, unfinished bool) error
	close(ctx context.Context) error
}

type node struct {
	kind     string // regular, directory, symlink, ...
	mode     uint32 // permission bits
	uid, gid uint32
	size     int64
	written  int64  // when; seconds
	target   string // of a symlink
}

// tree is what is written of a posix filesystem, and how: whatever tool does it.
type tree struct{ posix }

// resolve walks a path as the guest's kernel would, absolute symlinks starting at the guest's root. dir is the existing
// part and missing what is to be made below it.
func (t tree) resolve(ctx context.Context, p string) (dir string, last *node, missing []string, err error) {
	rest, links, steps := parts(p), 0, 0
	at := "/"
	root, err := t.stat(ctx, "/")
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
			n, err := t.stat(ctx, at)
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
		n, err := t.stat(ctx, next)
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

func (t tree) read(ctx context.Context, p string) ([]byte, error) {
	at, n, missing, err := t.resolve(ctx, p)
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%s: %w", p, fs.ErrNotExist)
	}
	return t.contents(ctx, at, n)
}

func (t tree) contents(ctx context.Context, p string, n *node) ([]byte, error) {
	if n.kind != "regular" {
		return nil, fmt.Errorf("%s in the guest is a %s", p, n.kind)
	}
	if n.size > maxFile {
		return nil, fmt.Errorf("%s in the guest is too large (%d bytes)", p, n.size)
	}
	out, err := t.cat(ctx, p)
	if err == nil && int64(len(out)) != n.size {
		err = fmt.Errorf("reading %s in the guest: %d bytes instead of %d", p, len(out), n.size)
	}
	return out, err
}

func (t tree) put(ctx context.Context, f file) error {
	p, contents, mode := f.path, f.contents, f.mode
	if len(contents) > maxFile {
		return fmt.Errorf("%s is too large (%d bytes)", p, len(contents))
	}
	at, n, missing, err := t.resolve(ctx, p)
	if err != nil {
		return err
	}
	want, replaces, kept := node{kind: "regular", mode: f.newMode, size: int64(len(contents))}, len(missing) == 0, ""
	if replaces {
		if n.kind != "regular" {
			return fmt.Errorf("%s in the guest is a %s", at, n.kind)
		}
		old, err := t.contents(ctx, at, n)
		if err == nil && bytes.Equal(old, contents) && (mode == 0 || mode == n.mode) &&
			(f.owner == nil || f.owner.uid == n.uid && f.owner.gid == n.gid) {
			return nil
		}
		want.mode, want.uid, want.gid = n.mode, n.uid, n.gid
		if f.backup {
			kept = at + "." + time.Unix(n.written, 0).UTC().Format("20060102T150405Z")
		}
	} else {
		if n.kind != "directory" {
			return fmt.Errorf("%s in the guest is no folder", at)
		}
		if err := t.mkdirs(ctx, at, missing[:len(missing)-1]); err != nil {
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
	complaint, err := t.write(ctx, at, contents, want, replaces, kept)
	if err != nil {
		return err
	}
	got, err := t.stat(ctx, at)
	if err != nil {
		return fmt.Errorf("writing %s in the guest: %s: %w", at, complaint, err)
	}
	want.written = got.written
	if got != want {
		return fmt.Errorf("writing %s in the guest: it is %+v instead of %+v: %s", at, got, want, complaint)
	}
	back, err := t.contents(ctx, at, &got)
	if err != nil {
		return err
	}
	if !bytes.Equal(back, contents) {
		return fmt.Errorf("writing %s in the guest: it reads back differently: %s", at, complaint)
	}
	return nil
}

func (t tree) mkdirAll(ctx context.Context, p string, mode, uid, gid uint32) error {
	at, n, missing, err := t.resolve(ctx, p)
	if err != nil {
		return err
	}
	if n.kind != "directory" {
		return fmt.Errorf("%s in the guest is no folder", at)
	}
	if err := t.mkdirs(ctx, at, missing); err != nil {
		return err
	}
	at = path.Join(append([]string{at}, missing...)...)
	complaint, err := t.own(ctx, at, node{mode: mode, uid: uid, gid: gid})
	if err != nil {
		return err
	}
	got, err := t.stat(ctx, at)
	if err != nil || got.mode != mode || got.uid != uid || got.gid != gid {
		return errors.Join(fmt.Errorf("setting the mode of %s in the guest: %s", at, complaint), err)
	}
	return nil
}

func (t tree) mkdirs(ctx context.Context, at string, names []string) error {
	for _, name := range names {
		at = path.Join(at, name)
		complaint, err := t.mkdir(ctx, at)
		if err != nil {
			return err
		}
		if n, err := t.stat(ctx, at); err != nil || n.kind != "directory" {
			return errors.Join(fmt.Errorf("making the folder %s in the guest: %s", at, complaint), err)
		}
	}
	return nil
}

func (t tree) hasEtc(ctx context.Context) (bool, error) {
	n, err := t.stat(ctx, "/etc")
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return n.kind == "directory" || n.kind == "symlink", err
}
