package guestfs

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/slipway-cloud/slipway/internal/program"
)

// fat is a FAT filesystem in a file, which mtools works on in its own processes, as debugfs on ext. It has no links, owners and modes, and
// names that differ in case alone are one.
type fat struct {
	image    string
	work     string // host folder for contents on their way
	inside   *program.Confinement
	limits   program.Limits
	writable bool
	listed   map[string][]string // of each folder that was looked at the names, those of folders with a / at their end
	written  map[string]string   // the path of each file that was put, by its path in lower case
}

// check repairs what fsck.vfat repairs without a question, as it is done when a machine starts. An injection that did not end needs no more:
// all of it is looked at in any case.
func (f *fat) check(ctx context.Context, _ bool) error {
	err := f.fsck(ctx, "-n")
	var e *program.Error
	if !errors.As(err, &e) || e.Code != 1 {
		return err
	}
	if err := f.fsck(ctx, "-p", 1); err != nil {
		return err
	}
	if err := f.fsck(ctx, "-n"); err != nil {
		return fmt.Errorf("the FAT filesystem is damaged: %w", err)
	}
	return nil
}

func (f *fat) fsck(ctx context.Context, how string, ok ...int) error {
	_, _, err := program.Run(ctx, program.Command{Name: "fsck.vfat", Args: []string{how, f.image}, Limits: f.limits, OKCodes: ok, Confine: f.inside})
	return err
}

// close holds that what was written is whole.
func (f *fat) close(ctx context.Context) error {
	if !f.writable {
		return nil
	}
	if err := f.fsck(ctx, "-n"); err != nil {
		return errors.Join(errTool, err)
	}
	return nil
}

// run has one of mtools work on the image.
func (f *fat) run(ctx context.Context, name string, args ...string) (stdout []byte, err error) {
	stdout, _, err = program.Run(ctx, program.Command{Name: name, Args: append([]string{"-i", f.image}, args...), Limits: f.limits, Confine: f.inside})
	var e *program.Error
	switch {
	case errors.As(err, &e) && e.Code == 1 && !strings.Contains(e.Stderr, "No space left on device"): // "Disk full" is the guest's
		return nil, fmt.Errorf("%s: %s", name, cmp.Or(e.Stderr, "refused"))
	case err != nil:
		return nil, errors.Join(errTool, err)
	}
	return stdout, nil
}

// notFAT is what is no name that FAT has, and mtools is told: it takes \ for a separator, : for a drive and *?[] for a pattern, and
// without a locale it knows ASCII alone. A dot or a space at the end would be lost.
var notFAT = regexp.MustCompile(`["*/:<>?\\|\[\]\x00-\x1f\x7f-\x{10FFFF}]|[. ]$`)

func fatName(name string) error {
	if notFAT.MatchString(name) {
		return fmt.Errorf("%q is no name that can be written to a FAT filesystem", name)
	}
	if len(name) > 255 {
		return fmt.Errorf("the name %q... is too long for a FAT filesystem", name[:20])
	}
	return nil
}

// maxFATPath is far more than Windows takes (260), and less than what mtools has room for.
const maxFATPath = 1000

// names lists a folder.
func (f *fat) names(ctx context.Context, dir string) ([]string, error) {
	if names, ok := f.listed[dir]; ok {
		return names, nil
	}
	out, err := f.run(ctx, "mdir", "-a", "-b", "::"+dir)
	if err != nil {
		return nil, fmt.Errorf("looking at %s in the guest: %w", dir, err)
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		if name, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "::"+strings.TrimSuffix(dir, "/")+"/"); ok {
			names = append(names, name)
		}
	}
	f.listed[dir] = names
	return names, nil
}

// find gives the name that a folder has for one.
func (f *fat) find(ctx context.Context, dir, name string) (has string, isFolder, found bool, err error) {
	names, err := f.names(ctx, dir)
	if err != nil {
		return "", false, false, err
	}
	for _, n := range names {
		if has, isFolder := strings.CutSuffix(n, "/"); strings.EqualFold(has, name) {
			return has, isFolder, true, nil
		}
	}
	return "", false, false, nil
}

// resolve walks a path. at is the existing part as the filesystem spells it, and missing what is to be made below it.
func (f *fat) resolve(ctx context.Context, p string) (at string, isFolder bool, missing []string, err error) {
	if len(p) > maxFATPath {
		return "", false, nil, fmt.Errorf("the path %q... is too long for a FAT filesystem", p[:100])
	}
	at, isFolder = "/", true
	rest := parts(p)
	for i, name := range rest {
		if name == ".." {
			at, isFolder = path.Dir(at), true
			continue
		}
		if err := fatName(name); err != nil {
			return "", false, nil, err
		}
		if !isFolder {
			return "", false, nil, fmt.Errorf("%s in the guest is no folder", at)
		}
		has, folder, found, err := f.find(ctx, at, name)
		if err != nil {
			return "", false, nil, err
		}
		if !found {
			for _, m := range rest[i:] {
				if m == ".." {
					return "", false, nil, fmt.Errorf("%s in the guest leads through a folder that is not there", p)
				}
				if err := fatName(m); err != nil {
					return "", false, nil, err
				}
			}
			return at, true, rest[i:], nil
		}
		at, isFolder = path.Join(at, has), folder
	}
	return at, isFolder, nil, nil
}

func (f *fat) hasEtc(ctx context.Context) (bool, error) {
	_, isFolder, found, err := f.find(ctx, "/", "etc")
	return found && isFolder, err
}

func (f *fat) read(ctx context.Context, p string) ([]byte, error) {
	at, isFolder, missing, err := f.resolve(ctx, p)
	switch {
	case err != nil:
		return nil, err
	case len(missing) > 0:
		return nil, fmt.Errorf("%s: %w", p, fs.ErrNotExist)
	case isFolder:
		return nil, fmt.Errorf("%s in the guest is a directory", at)
	}
	return f.contents(ctx, at)
}

func (f *fat) contents(ctx context.Context, at string) ([]byte, error) {
	out, err := f.run(ctx, "mtype", "::"+at)
	if program.TooMuch(err) {
		return nil, fmt.Errorf("%s in the guest is too large", at)
	}
	return out, err
}

func (f *fat) put(ctx context.Context, file file) error {
	if len(file.contents) > maxFile {
		return fmt.Errorf("%s is too large (%d bytes)", file.path, len(file.contents))
	}
	at, isFolder, missing, err := f.resolve(ctx, file.path)
	if err != nil {
		return err
	}
	switch {
	case len(missing) > 0:
		if at, err = f.mkdirs(ctx, at, missing[:len(missing)-1]); err != nil {
			return err
		}
		at = path.Join(at, missing[len(missing)-1])
		if err := f.absent(ctx, at); err != nil {
			return err
		}
	case isFolder:
		return fmt.Errorf("%s in the guest is a directory", at)
	default:
		if other, ok := f.written[strings.ToLower(at)]; ok && other != path.Clean(file.path) {
			return fmt.Errorf("%s and %s are one file on a FAT filesystem", other, file.path)
		}
		old, err := f.contents(ctx, at)
		if errors.Is(err, errTool) {
			return err
		}
		if err == nil && bytes.Equal(old, file.contents) {
			f.written[strings.ToLower(at)] = path.Clean(file.path)
			return nil
		}
		if file.backup {
			if err := f.keep(ctx, at); err != nil {
				return err
			}
		}
	}
	from, done, err := lend(f.work, "contents", file.contents)
	if err != nil {
		return err
	}
	defer done()
	delete(f.listed, path.Dir(at))
	if _, err := f.run(ctx, "mcopy", "-o", from, "::"+at); err != nil {
		return fmt.Errorf("writing %s in the guest: %w", at, err)
	}
	back, err := f.contents(ctx, at)
	if err != nil {
		return err
	}
	if !bytes.Equal(back, file.contents) {
		return fmt.Errorf("writing %s in the guest: it reads back differently", at)
	}
	f.written[strings.ToLower(at)] = path.Clean(file.path)
	return nil
}

// absent holds that a name which no folder lists is not the short name of another file (FILE~1), which mtools would take.
func (f *fat) absent(ctx context.Context, at string) error {
	if _, err := f.run(ctx, "mdir", "-a", "-b", "::"+at); err == nil {
		return fmt.Errorf("%s in the guest is another name of a file", at)
	} else if errors.Is(err, errTool) {
		return err
	}
	return nil
}

var mdirTime = regexp.MustCompile(`(?m)\s(\d{4})-(\d\d)-(\d\d) +(\d{1,2}):(\d\d)`)

// keep gives a file the name under which it stays, if none has it yet. FAT's minutes are the guest's own, in no zone.
func (f *fat) keep(ctx context.Context, at string) error {
	out, err := f.run(ctx, "mdir", "-a", "::"+at)
	if err != nil {
		return err
	}
	when := "00000000T0000"
	if m := mdirTime.FindSubmatch(out); m != nil {
		when = fmt.Sprintf("%s%s%sT%02s%s", m[1], m[2], m[3], m[4], m[5])
	}
	name := path.Base(at) + "." + when
	if err := fatName(name); err != nil {
		return err
	}
	if _, _, found, err := f.find(ctx, path.Dir(at), name); err != nil || found {
		return err
	}
	delete(f.listed, path.Dir(at))
	_, err = f.run(ctx, "mren", "::"+at, "::"+path.Join(path.Dir(at), name))
	return err
}

func (f *fat) mkdirAll(ctx context.Context, p string, _, _, _ uint32) error {
	at, isFolder, missing, err := f.resolve(ctx, p)
	if err != nil {
		return err
	}
	if !isFolder {
		return fmt.Errorf("%s in the guest is no folder", at)
	}
	_, err = f.mkdirs(ctx, at, missing)
	return err
}

func (f *fat) mkdirs(ctx context.Context, at string, names []string) (string, error) {
	for _, name := range names {
		delete(f.listed, at)
		dir := at
		at = path.Join(at, name)
		if err := f.absent(ctx, at); err != nil {
			return "", err
		}
		if _, err := f.run(ctx, "mmd", "::"+at); err != nil {
			return "", fmt.Errorf("making the folder %s in the guest: %w", at, err)
		}
		if _, isFolder, _, err := f.find(ctx, dir, name); err != nil || !isFolder {
			return "", errors.Join(fmt.Errorf("making the folder %s in the guest failed", at), err)
		}
	}
	return at, nil
}
