package tlsfile

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"syscall"
)

// file is what stands in some files, read again when one of them is another than before. Where the new content cannot be used the
// old one counts, and that is logged once for each change.
type file[T any] struct {
	setting string // for texts
	paths   []string
	read    func() (T, error)
	log     *slog.Logger

	mu    sync.Mutex
	seen  []stamp
	value T
}

// stamp tells a file from another one in its place; zero where there is none.
type stamp struct {
	modified, size int64
	inode          uint64
}

func stamps(paths []string) []stamp {
	all := make([]stamp, len(paths))
	for i, path := range paths {
		if info, err := os.Stat(path); err == nil {
			all[i] = stamp{modified: info.ModTime().UnixNano(), size: info.Size(), inode: info.Sys().(*syscall.Stat_t).Ino}
		}
	}
	return all
}

// open reads for the first time, when there is nothing else to fall back on.
func (f *file[T]) open() (err error) {
	f.seen = stamps(f.paths)
	if f.value, err = f.read(); err != nil {
		return fmt.Errorf("%s: %w", f.setting, err)
	}
	return nil
}

// get is the value of now. The files are looked at before they are read: a change in between is seen the next time.
func (f *file[T]) get() T {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := stamps(f.paths)
	if slices.Equal(seen, f.seen) {
		return f.value
	}
	f.seen = seen
	value, err := f.read()
	if err != nil {
		f.log.Error("A file has changed and cannot be used; what was read before still counts.", "setting", f.setting, "error", err)
		return f.value
	}
	f.log.Info("A file has changed and is used from now on.", "setting", f.setting, "file", f.paths[0])
	f.value = value
	return value
}
