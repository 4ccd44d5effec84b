package imagestore

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// FolderLocks are flock'ed files <name>.lock in a folder that every process sees. The kernel frees the locks of a process
// that dies.
type FolderLocks string

const lockSuffix = ".lock"

// Lock implements Locks.
func (l FolderLocks) Lock(_ context.Context, name string) (Lock, error) {
	return l.lock(name, os.O_CREATE)
}

// lock takes a lock. Without os.O_CREATE only one that is there already: fs.ErrNotExist.
func (l FolderLocks) lock(name string, create int) (Lock, error) {
	if err := check(name); err != nil {
		return nil, err
	}
	path := filepath.Join(string(l), name+lockSuffix)
	// Files are made and locked under the folder's own lock: so one that is there and free is a dead process's, and a
	// sweep never takes a lock that somebody is about to take.
	done, err := l.guard()
	if err != nil {
		return nil, failed("lock", name, err)
	}
	defer done()
	for {
		file, err := os.OpenFile(path, os.O_RDWR|create, 0o600)
		if err != nil {
			return nil, failed("lock", name, err)
		}
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			file.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, underWay(name)
			}
			return nil, failed("lock", name, err)
		}
		// The file is removed by its holder, so a lock is good only if the name still means the file that was locked.
		mine, err := file.Stat()
		if err != nil {
			file.Close()
			return nil, failed("lock", name, err)
		}
		now, err := os.Stat(path)
		if err == nil && os.SameFile(mine, now) {
			return &folderLock{path, file}, nil
		}
		file.Close() // its holder removed it just before we got it: take the new one
	}
}

func (l FolderLocks) guard() (done func(), err error) {
	folder, err := os.Open(string(l))
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(folder.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil && !errors.Is(err, unix.EBADF) && !errors.Is(err, unix.EOPNOTSUPP) { // NFS locks files only, and does without
		folder.Close()
		return nil, err
	}
	return func() { folder.Close() }, nil
}

func underWay(id string) error {
	return fault.New(fault.Conflict, "Another upload of image %s is under way.", id)
}

type folderLock struct {
	path string
	file *os.File
}

// Held implements Lock: the kernel takes no lock away.
func (l *folderLock) Held(context.Context) error { return nil }

func (l *folderLock) Unlock() error {
	// Removed while it is still held: afterwards the name might be somebody else's.
	err := os.Remove(l.path)
	return errors.Join(err, l.file.Close())
}
