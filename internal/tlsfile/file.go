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
// old one counts, and it is tried again: what keeps it from being read may pass without a change of the file. That is logged once.
type file[T any] struct {
	setting string // for texts
	paths   []string
	read    func() (T, error)
	log     *slog.Logger

	mu     sync.Mutex
	seen   []stamp // when value was read
	failed []stamp // of the change that could not be used, and was said to be
	value  T
}

// stamp tells a file from another one in its place, and from itself with other bytes or another mode: the time of the last change
// is nobody's to set. Zero where there is none.
type stamp struct {
	changed syscall.Timespec
	size    int64
	inode   uint64
}

func stamps(paths []string) []stamp {
	all := make([]stamp, len(paths))
	for i, path := range paths {
		if info, err := os.Stat(path); err == nil {
			st := info.Sys().(*syscall.Stat_t)
			all[i] = stamp{changed: st.Ctim, size: info.Size(), inode: st.Ino}
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
	value, err := f.read()
	if err != nil {
		if !slices.Equal(seen, f.failed) {
			f.log.Error("A file has changed and cannot be used; what was read before still counts.", "setting", f.setting, "error", err)
			f.failed = seen
		}
		return f.value
	}
	f.seen, f.failed = seen, nil
	f.log.Info("A file has changed and is used from now on.", "setting", f.setting, "file", f.paths[0])
	f.value = value
	return value
}
