// Package space keeps free space on filesystems: whatever is large and can wait (images, a host's cache, its disks) ends at
// a floor, so that whatever else lies on the filesystem goes on.
package space

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Floor is free space that is left alone. The zero value is none.
type Floor struct{ limits []limit }

// limit is bytes, or a share of the filesystem where it is not 0.
type limit struct {
	bytes int64
	share float64
}

// Bytes is a floor of so many.
func Bytes(n int64) Floor { return Floor{[]limit{{bytes: n}}} }

// Parse reads a floor: bytes, as 1073741824, or a share of the filesystem, as 5%; of several with commas between them the
// least counts. "" and 0 are none.
func Parse(text string) (Floor, error) {
	var f Floor
	if strings.TrimSpace(text) == "" {
		return f, nil
	}
	for word := range strings.SplitSeq(text, ",") {
		l, err := parse(strings.TrimSpace(word))
		if err != nil {
			return Floor{}, fmt.Errorf("%q is neither bytes, as 1073741824, nor a share of the filesystem, as 5%%", word)
		}
		f.limits = append(f.limits, l)
	}
	return f, nil
}

func parse(word string) (limit, error) {
	if percent, ok := strings.CutSuffix(word, "%"); ok {
		n, err := strconv.ParseFloat(percent, 64)
		if err != nil || !(n >= 0 && n < 100) { // nor NaN
			return limit{}, errors.New("no share")
		}
		return limit{share: n / 100}, nil
	}
	n, err := strconv.ParseInt(word, 10, 64)
	if err != nil || n < 0 {
		return limit{}, errors.New("no bytes")
	}
	return limit{bytes: n}, nil
}

// of is the floor in bytes on a filesystem of so many.
func (f Floor) of(total int64) int64 {
	if len(f.limits) == 0 {
		return 0
	}
	least := int64(math.MaxInt64)
	for _, l := range f.limits {
		least = min(least, l.bytes+int64(l.share*float64(total)))
	}
	return least
}

// Full is a filesystem that has no room above the floor. It is the errno ENOSPC too, since nothing else follows from it.
type Full struct {
	Path               string
	Free, Floor, Asked int64
}

func (f *Full) Error() string {
	return fmt.Sprintf("the filesystem of %s has %s free, of which %s are reserved, and %s were asked for", f.Path, size(f.Free), size(f.Floor), size(f.Asked))
}

// Unwrap makes it what a filesystem says itself when nothing at all is left.
func (f *Full) Unwrap() error { return unix.ENOSPC }

func size(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d bytes", n)
}

// Check says why the filesystem of path has no room for so many bytes more: a *Full. Whoever asks before each write of a
// few bytes need not know of the others who write there.
func (f Floor) Check(path string, more int64) error {
	if len(f.limits) == 0 {
		return nil
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return fmt.Errorf("look at the filesystem of %s: %w", path, err)
	}
	free, floor := int64(fs.Bavail)*fs.Bsize, f.of(int64(fs.Blocks)*fs.Bsize)
	if free-more < floor {
		return &Full{Path: path, Free: free, Floor: floor, Asked: more}
	}
	return nil
}

// watchEvery is how often the filesystem is looked at while a program writes.
const watchEvery = 100 * time.Millisecond

// Watch gives a context that ends, with a *Full as its cause, when the filesystem of path comes below the floor: for programs
// that write and ask nobody. stop ends the watch.
func (f Floor) Watch(ctx context.Context, path string) (watched context.Context, stop func()) {
	watched, cancel := context.WithCancelCause(ctx)
	if len(f.limits) == 0 {
		return watched, func() { cancel(nil) }
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		every := time.NewTicker(watchEvery)
		defer every.Stop()
		for {
			select {
			case <-watched.Done():
				return
			case <-every.C:
			}
			if err := f.Check(path, 0); errors.As(err, new(*Full)) {
				cancel(err)
				return
			}
		}
	}()
	return watched, func() {
		cancel(nil)
		<-ended
	}
}
