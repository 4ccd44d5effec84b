package imagestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Files is a Store in a local folder (or one that several control-plane machines mount, if it has flock):
//
//	images/<id>        published bytes
//	uploads/<id>.part  an upload's bytes
//	uploads/<id>.lock  flock'ed by the process that uploads; the kernel frees it when the process dies
//
// Folders are 0700 and files 0600: images are private to their projects.
type Files struct {
	images, uploads string
}

// NewFiles makes the folders below dir where they are missing.
func NewFiles(dir string) (*Files, error) {
	f := &Files{images: filepath.Join(dir, "images"), uploads: filepath.Join(dir, "uploads")}
	for _, d := range []string{dir, f.images, f.uploads} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("make the image store's folder: %w", err)
		}
	}
	for _, d := range []string{f.images, f.uploads} {
		if err := os.Chmod(d, 0o700); err != nil {
			return nil, fmt.Errorf("make the image store's folder private: %w", err)
		}
	}
	return f, nil
}

const (
	partSuffix = ".part"
	lockSuffix = ".lock"
)

// validID keeps ids from being paths; they come from users.
var validID = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z-]{0,63}$`)

func check(id string) error {
	if !validID.MatchString(id) {
		return fault.New(fault.Invalid, "'%s' cannot be the id of an image.", id)
	}
	return nil
}

// Create implements Store.
func (f *Files) Create(_ context.Context, id string) (Upload, error) {
	if err := check(id); err != nil {
		return nil, err
	}
	lock, err := f.lock(id)
	if err != nil {
		return nil, err
	}
	part, err := os.OpenFile(filepath.Join(f.uploads, id+partSuffix), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, errors.Join(failed("begin the upload of", id, err), f.unlock(id, lock))
	}
	return &upload{files: f, id: id, lock: lock, part: part}, nil
}

// lock takes the image's lock. The file is removed by its holder, so a lock is good only if the name still means the file
// that was locked.
func (f *Files) lock(id string) (*os.File, error) {
	path := filepath.Join(f.uploads, id+lockSuffix)
	for {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, failed("lock", id, err)
		}
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			file.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, fault.New(fault.Conflict, "Another upload of image %s is under way.", id)
			}
			return nil, failed("lock", id, err)
		}
		mine, err := file.Stat()
		if err != nil {
			file.Close()
			return nil, failed("lock", id, err)
		}
		now, err := os.Stat(path)
		if err == nil && os.SameFile(mine, now) {
			return file, nil
		}
		file.Close() // its holder removed it just before we got it: take the new one
	}
}

func (f *Files) unlock(id string, lock *os.File) error {
	// Removed while it is still held: afterwards the name might be somebody else's.
	err := os.Remove(filepath.Join(f.uploads, id+lockSuffix))
	return errors.Join(err, lock.Close())
}

// Open implements Store.
func (f *Files) Open(_ context.Context, id string, offset int64) (io.ReadCloser, error) {
	if err := check(id); err != nil {
		return nil, err
	}
	file, err := os.Open(filepath.Join(f.images, id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "No data of image %s could be found.", id)
	}
	if err != nil {
		return nil, failed("open", id, err)
	}
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		file.Close()
		return nil, failed("open", id, err)
	}
	return file, nil
}

// Size implements Store.
func (f *Files) Size(_ context.Context, id string) (int64, error) {
	if err := check(id); err != nil {
		return 0, err
	}
	info, err := os.Stat(filepath.Join(f.images, id))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fault.New(fault.NotFound, "No data of image %s could be found.", id)
	}
	if err != nil {
		return 0, failed("look at", id, err)
	}
	return info.Size(), nil
}

// Delete implements Store.
func (f *Files) Delete(_ context.Context, id string) error {
	if err := check(id); err != nil {
		return err
	}
	if err := remove(filepath.Join(f.images, id)); err != nil {
		return failed("delete", id, err)
	}
	return nil
}

// IDs implements Store.
func (f *Files) IDs(ctx context.Context) ([]string, error) {
	var ids []string
	for _, dir := range []string{f.images, f.uploads} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, fmt.Errorf("list the image store: %w", err)
		}
		for _, e := range entries {
			id := strings.TrimSuffix(strings.TrimSuffix(e.Name(), partSuffix), lockSuffix)
			if validID.MatchString(id) {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), ctx.Err()
}

// Ready implements Store.
func (f *Files) Ready(context.Context) error {
	for _, dir := range []string{f.images, f.uploads} {
		if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
			return fmt.Errorf("the image store's folder %s cannot be written: %w", dir, err)
		}
	}
	return nil
}

// upload is one upload into Files.
type upload struct {
	files *Files
	id    string
	lock  *os.File
	part  *os.File
	ended sync.Once
	err   error
}

func (u *upload) Write(p []byte) (int, error) {
	n, err := u.part.Write(p)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG) {
		return n, fault.Wrap(fault.TooLarge, err, "Image storage media is full.") // 413, as Glance's StorageFull
	}
	if err != nil {
		return n, failed("store", u.id, err)
	}
	return n, nil
}

func (u *upload) ReadAt(p []byte, off int64) (int, error) { return u.part.ReadAt(p, off) }

func (u *upload) Commit() error {
	if err := u.part.Sync(); err != nil {
		return failed("store", u.id, err)
	}
	if err := os.Rename(u.part.Name(), filepath.Join(u.files.images, u.id)); err != nil {
		return failed("publish", u.id, err)
	}
	for _, dir := range []string{u.files.images, u.files.uploads} {
		if err := syncDir(dir); err != nil {
			return failed("publish", u.id, err)
		}
	}
	return nil
}

func (u *upload) Close() error { return u.end(false) }

func (u *upload) Abort() error { return u.end(true) }

// end is Close or Abort, whichever comes first.
func (u *upload) end(withdraw bool) error {
	u.ended.Do(func() {
		var published error
		if withdraw {
			published = remove(filepath.Join(u.files.images, u.id))
		}
		err := errors.Join(
			published,
			remove(u.part.Name()),
			u.part.Close(),
			u.files.unlock(u.id, u.lock))
		if err != nil {
			u.err = failed("end the upload of", u.id, err)
		}
	})
	return u.err
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func failed(doing, id string, err error) error {
	return fmt.Errorf("%s image %s: %w", doing, id, err)
}
