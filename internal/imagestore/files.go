package imagestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/space"
)

// Files is a Store in a local folder (or one that several control-plane machines mount, if it has flock):
//
//	images/<id>        published bytes
//	quarantine/<id>    an empty file: images/<id> is set aside, since the file's time
//	uploads/<id>.part  an upload's bytes
//	uploads/<id>.link  a second name of published bytes, on its way to images/
//	uploads/<id>.lock  flock'ed by the process that uploads; the kernel frees it when the process dies
//	blobs/<sha512>     with Content: another hard link of the published bytes, so that the next image with the same bytes
//	                   becomes a link too
//	.installation      whose the store is (Marked)
//
// The filesystem's link count is the count of references: nothing can say otherwise than what is there. images/<id> is
// the bytes themselves in either case, so that Content can be switched on and off, and whatever happens to a blob's name
// takes no image away.
//
// Folders are 0700 and files 0600: images are private to their projects.
type Files struct {
	images, uploads, blobs string
	aside                  string
	content                bool
	reserve                space.Floor
	dir                    string
	locks                  FolderLocks
	// at is called between the steps of an upload, for tests that die there.
	at func(step string)
}

// FilesOptions of a folder. The zero value is a plain one.
type FilesOptions struct {
	// Content keeps equal bytes once. The filesystem must have hard links.
	Content bool
	// Reserve is left free on the folder's filesystem.
	Reserve space.Floor
	// ReadOnly makes and changes nothing: for a process that only reads what others publish.
	ReadOnly bool
}

// NewFiles makes the folders below dir where they are missing.
func NewFiles(dir string) (*Files, error) { return OpenFiles(dir, FilesOptions{}) }

// OpenFiles is NewFiles with options.
func OpenFiles(dir string, o FilesOptions) (*Files, error) {
	f := &Files{
		dir: dir, images: filepath.Join(dir, "images"), uploads: filepath.Join(dir, "uploads"), blobs: filepath.Join(dir, "blobs"),
		aside: filepath.Join(dir, "quarantine"), content: o.Content, reserve: o.Reserve, at: func(string) {},
	}
	f.locks = FolderLocks(f.uploads)
	if o.ReadOnly {
		return f, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the image store's folder: %w", err)
	}
	for _, d := range f.folders() {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("make the image store's folder: %w", err)
		}
		if err := os.Chmod(d, 0o700); err != nil {
			return nil, fmt.Errorf("make the image store's folder private: %w", err)
		}
	}
	return f, nil
}

func (f *Files) folders() []string {
	if f.content {
		return []string{f.images, f.uploads, f.aside, f.blobs}
	}
	return []string{f.images, f.uploads, f.aside}
}

const (
	partSuffix = ".part"
	linkSuffix = ".link"
)

// Kind implements Store.
func (f *Files) Kind() string { return "file" }

// Location implements Store: a file URL.
func (f *Files) Location(id string) string { return "file://" + f.image(id) }

func (f *Files) image(id string) string     { return filepath.Join(f.images, id) }
func (f *Files) part(id string) string      { return filepath.Join(f.uploads, id+partSuffix) }
func (f *Files) asideMark(id string) string { return filepath.Join(f.aside, id) }
func (f *Files) link(id string) string      { return filepath.Join(f.uploads, id+linkSuffix) }

// Create implements Store.
func (f *Files) Create(ctx context.Context, id string) (Upload, error) {
	if err := check(id); err != nil {
		return nil, err
	}
	lock, err := f.locks.Lock(ctx, id)
	if err != nil {
		return nil, err
	}
	f.at("locked")
	switch aside, err := f.isAside(id); {
	case err != nil:
		return nil, errors.Join(failed("begin the upload of", id, err), lock.Unlock())
	case aside:
		return nil, errors.Join(keptAside(id), lock.Unlock())
	}
	// A name that a dead upload left may be a link of published bytes: it is removed and never written to.
	err = errors.Join(remove(f.part(id)), remove(f.link(id)))
	var part *os.File
	if err == nil {
		part, err = os.OpenFile(f.part(id), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	}
	if err != nil {
		return nil, errors.Join(failed("begin the upload of", id, err), lock.Unlock())
	}
	f.at("begun")
	return &upload{files: f, id: id, lock: lock, part: part}, nil
}

// Hold implements Store: an upload of which nothing is written.
func (f *Files) Hold(ctx context.Context, id string) (Hold, error) {
	lock, err := f.locks.Lock(ctx, id)
	if err != nil {
		return nil, err
	}
	return &upload{files: f, id: id, lock: lock}, nil
}

// isAside says whether an image's bytes are set aside. A mark whose bytes are gone says nothing, and goes too.
func (f *Files) isAside(id string) (bool, error) {
	if _, err := os.Lstat(f.asideMark(id)); err != nil {
		return false, unlessNotExist(err)
	}
	if _, err := os.Lstat(f.image(id)); !errors.Is(err, fs.ErrNotExist) {
		return err == nil, err
	}
	return false, remove(f.asideMark(id))
}

// unlessNotExist is the error of a look at something, unless it says that it is not there.
func unlessNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// SetAside implements Hold.
func (u *upload) SetAside(_ context.Context, aside bool) error {
	f := u.files
	if err := f.setAside(u.id, aside); err != nil {
		return failed("set aside", u.id, err)
	}
	return nil
}

func (f *Files) setAside(id string, aside bool) error {
	if !aside {
		return errors.Join(remove(f.asideMark(id)), syncDir(f.aside))
	}
	if _, err := os.Lstat(f.image(id)); err != nil {
		return unlessNotExist(err)
	}
	mark, err := os.OpenFile(f.asideMark(id), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(mark.Sync(), mark.Close(), syncDir(f.aside))
}

// Orphans implements Store.
func (f *Files) Orphans(context.Context) ([]Orphan, error) {
	names, err := namesIn(f.aside)
	if unlessNotExist(err) != nil {
		return nil, fmt.Errorf("list what is set aside: %w", err)
	}
	slices.Sort(names)
	var all []Orphan
	for _, id := range names {
		if !validID.MatchString(id) {
			continue
		}
		mark, err := os.Lstat(f.asideMark(id))
		var bytes os.FileInfo
		if err == nil {
			bytes, err = os.Lstat(f.image(id))
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, failed("look at what is set aside of", id, err)
		}
		all = append(all, Orphan{ID: id, Bytes: bytes.Size(), Since: mark.ModTime()})
	}
	return all, nil
}

// Open implements Store.
func (f *Files) Open(_ context.Context, id string, offset, length int64) (io.ReadCloser, error) {
	if err := check(id); err != nil {
		return nil, err
	}
	file, err := os.Open(f.image(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noData(id)
	}
	if err != nil {
		return nil, failed("open", id, err)
	}
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		file.Close()
		return nil, failed("open", id, err)
	}
	if length < 0 {
		return file, nil
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(file, length), file}, nil
}

// Size implements Store.
func (f *Files) Size(_ context.Context, id string) (int64, error) {
	if err := check(id); err != nil {
		return 0, err
	}
	info, err := os.Stat(f.image(id))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, noData(id)
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
	if err := f.remove(id); err != nil {
		return failed("delete", id, err)
	}
	return nil
}

// remove takes an image's name away, and the blob's where that was the last image with these bytes.
func (f *Files) remove(id string) error {
	// First the mark: who dies here leaves bytes that are found again.
	if err := remove(f.asideMark(id)); err != nil {
		return err
	}
	file, err := os.Open(f.image(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if err := remove(f.image(id)); err != nil {
		return err
	}
	f.at("unlinked")
	// Counted after the name is gone: of two deletes at once, at least one sees that the blob is all that is left.
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return err
	}
	if st.Nlink != 1 {
		return nil
	}
	_, err = f.removeBlobs(func(blob *unix.Stat_t) bool { return blob.Ino == st.Ino && blob.Dev == st.Dev })
	return err
}

// removeBlobs removes the blobs that are selected. An upload may link one at the same moment: its image keeps the bytes,
// and only a later upload of the same bytes does not find them.
func (f *Files) removeBlobs(selected func(*unix.Stat_t) bool) (removed int, err error) {
	names, err := namesIn(f.blobs)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil // never was content-addressed
	}
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		path := filepath.Join(f.blobs, name)
		var st unix.Stat_t
		err := unix.Lstat(path, &st)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return removed, fmt.Errorf("look at %s: %w", path, err)
		case selected(&st):
			if err := remove(path); err != nil {
				return removed, err
			}
			removed++
		}
	}
	return removed, nil
}

// IDs implements Store.
func (f *Files) IDs(ctx context.Context) ([]string, error) {
	var ids []string
	marks, err := namesIn(f.aside)
	if unlessNotExist(err) != nil {
		return nil, fmt.Errorf("list the image store: %w", err)
	}
	for _, dir := range []string{f.images, f.uploads} {
		names, err := namesIn(dir)
		if err != nil {
			return nil, fmt.Errorf("list the image store: %w", err)
		}
		for _, name := range names {
			if id := idOf(name); validID.MatchString(id) && !slices.Contains(marks, id) {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), ctx.Err()
}

// idOf is the image that a name in uploads belongs to.
func idOf(name string) string {
	for _, suffix := range []string{partSuffix, linkSuffix, lockSuffix} {
		name = strings.TrimSuffix(name, suffix)
	}
	return name
}

// Sweep implements Store.
func (f *Files) Sweep(ctx context.Context, ids []string) (int, error) {
	names, err := namesIn(f.uploads)
	if err != nil {
		return 0, fmt.Errorf("sweep the image store: %w", err)
	}
	left := map[string]int{} // how to lock: what an upload that ended meanwhile has removed is not made again
	for _, name := range names {
		if id := idOf(name); slices.Contains(ids, id) {
			if left[id] |= 0; !strings.HasSuffix(name, lockSuffix) {
				left[id] = os.O_CREATE
			}
		}
	}
	removed := 0
	var problems []error
	for id, create := range left {
		if ctx.Err() != nil {
			return removed, errors.Join(append(problems, ctx.Err())...)
		}
		lock, err := f.locks.lock(id, create)
		if fault.Is(err, fault.Conflict) || errors.Is(err, fs.ErrNotExist) {
			continue // alive, or ended
		}
		if err == nil {
			err = errors.Join(remove(f.part(id)), remove(f.link(id)), lock.Unlock())
			removed++
		}
		if err != nil {
			problems = append(problems, failed("sweep the upload of", id, err))
		}
	}
	blobs, err := f.removeBlobs(func(st *unix.Stat_t) bool { return st.Nlink == 1 })
	if err != nil {
		problems = append(problems, fmt.Errorf("sweep the image store's blobs: %w", err))
	}
	return removed + blobs, errors.Join(problems...)
}

// Ready implements Store.
func (f *Files) Ready(ctx context.Context) error {
	for _, dir := range f.folders() {
		if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
			return fmt.Errorf("the image store's folder %s cannot be written: %w", dir, err)
		}
	}
	return f.Room(ctx, 0)
}

// Room implements Store.
func (f *Files) Room(_ context.Context, bytes int64) error {
	return orFull(f.reserve.Check(f.uploads, bytes))
}

// upload is one upload into Files.
type upload struct {
	files *Files
	id    string
	lock  Lock
	part  *os.File // nil of a mere Hold
	ended sync.Once
	err   error

	size, begun int64 // written, and of it what the kernel was asked to put on disk
}

// writeBehind is how much may wait in memory before it is put on disk while more comes: the sync at the end has the less to
// do, and one large upload does not fill the page cache with what is not written.
const writeBehind = 8 << 20

func (u *upload) Write(p []byte) (int, error) {
	// Each piece anew: others write there too.
	if err := u.files.Room(context.Background(), int64(len(p))); err != nil {
		return 0, err
	}
	n, err := u.part.Write(p)
	if u.size += int64(n); u.size-u.begun >= writeBehind {
		// A hint: Commit syncs whatever became of it.
		_ = unix.SyncFileRange(int(u.part.Fd()), u.begun, u.size-u.begun, unix.SYNC_FILE_RANGE_WRITE)
		u.begun = u.size
	}
	if err != nil {
		return n, failed("store", u.id, err)
	}
	return n, nil
}

// Commit syncs the bytes, gives them their name, and syncs the folders. A crash leaves at every point either no image of
// the name, or the whole one; and beside it only what Sweep finds in uploads, or among the blobs.
func (u *upload) Commit(sha512 string) error {
	f := u.files
	f.at("written")
	if err := u.part.Sync(); err != nil {
		return failed("store", u.id, err)
	}
	f.at("synced")
	from := f.part(u.id)
	if f.content && validSHA512.MatchString(sha512) {
		var err error
		if from, err = u.share(sha512); err != nil {
			return failed("publish", u.id, err)
		}
	}
	if err := os.Rename(from, f.image(u.id)); err != nil {
		return failed("publish", u.id, err)
	}
	f.at("named")
	// What is still in uploads: our own copy of bytes that were there already, or a link of them, since renaming a link to
	// another name of the same file does nothing.
	if err := errors.Join(remove(f.part(u.id)), remove(f.link(u.id))); err != nil {
		return failed("publish", u.id, err)
	}
	f.at("tidied")
	for _, dir := range f.folders() {
		if err := syncDir(dir); err != nil {
			return failed("publish", u.id, err)
		}
	}
	f.at("committed")
	return nil
}

// share answers the name in uploads that is to be published: the upload's own bytes, which are a blob from now on, or a
// link of the blob that has them already.
func (u *upload) share(sha512 string) (from string, err error) {
	f := u.files
	blob := filepath.Join(f.blobs, sha512)
	for {
		err := os.Link(f.part(u.id), blob)
		if err == nil {
			f.at("shared")
			return f.part(u.id), nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		mine, err := u.part.Stat()
		if err != nil {
			return "", err
		}
		there, err := os.Stat(blob)
		if errors.Is(err, fs.ErrNotExist) {
			continue // its last image was just deleted
		}
		if err != nil {
			return "", err
		}
		if there.Size() != mine.Size() {
			return "", fmt.Errorf("blob %s has %d bytes and not %d: it is damaged, move it away", blob, there.Size(), mine.Size())
		}
		err = os.Link(blob, f.link(u.id))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case errors.Is(err, unix.EMLINK):
			return f.part(u.id), nil // as many images as a file can have names: these bytes are kept once more
		case err != nil:
			return "", err
		}
		f.at("linked")
		return f.link(u.id), nil
	}
}

// Path implements Local.
func (u *upload) Path() string { return u.files.part(u.id) }

func (u *upload) Close() error { return u.end(false) }

func (u *upload) Abort() error { return u.end(true) }

// end is Close or Abort, whichever comes first.
func (u *upload) end(withdraw bool) error {
	u.ended.Do(func() {
		var published error
		if withdraw {
			published = u.files.remove(u.id)
		}
		var part error
		if u.part != nil {
			part = u.part.Close()
		}
		err := errors.Join(published, part, remove(u.files.part(u.id)), remove(u.files.link(u.id)), u.lock.Unlock())
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

// namesIn lists a folder without looking at each file.
func namesIn(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
