package imagecache

import (
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
)

const (
	// folderMode lets QEMU's user come to the files whose names it is given, and neither list the folder nor write into it.
	folderMode = 0o711
	// fileMode is of a whole image. Its owner is this process's user, so nobody else can change the mode either.
	fileMode = 0o444
	// tellEvery is how often the log hears how far the reading of an image is.
	tellEvery = 10 * time.Second
)

// seen is a file as it was when its bytes were read and found right: whoever writes, gives away or replaces the file since
// changes something of it, the time of the last change at least, which nobody can set.
type seen struct {
	dev, ino     uint64
	size         int64
	mtime, ctime unix.Timespec
}

// stat looks at a cached file. ours says that nobody but this process's user may change it.
func stat(path string) (s seen, ours bool, err error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return seen{}, false, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	s = seen{uint64(st.Dev), st.Ino, st.Size, st.Mtim, st.Ctim}
	return s, st.Mode&unix.S_IFMT == unix.S_IFREG && int(st.Uid) == os.Geteuid() && st.Mode&0o7777 == fileMode, nil
}

// known says whether the file at path is the one that this process has read, unchanged since. c.mu is held.
func (c *Cache) known(path, sha string) bool {
	s, ours, err := stat(path)
	return err == nil && ours && s == c.read[sha]
}

// use marks the use of a known file for eviction; access times may be switched off, so the modification time of the
// immutable file is taken for it. c.mu is held.
func (c *Cache) use(path, sha string) error {
	now := time.Now()
	if err := os.Chtimes(path, now, now); err != nil {
		return err
	}
	return c.remember(path, sha)
}

// remember takes the file at path for the one that was read. c.mu is held.
func (c *Cache) remember(path, sha string) error {
	s, _, err := stat(path)
	if err == nil {
		c.read[sha] = s
	}
	return err
}

// verify reads what lies at path and says whether it is the image. It belongs to this process's user before it is read. A
// file that is not there is none.
func (c *Cache) verify(ctx context.Context, path string, image contract.Image, tell func(bytes, total int64)) (right bool, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if errors.Is(err, syscall.ELOOP) {
		return false, c.discard(ctx, path, image, "it is a link")
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return false, err
	}
	if !st.Mode().IsRegular() {
		return false, c.discard(ctx, path, image, "it is no regular file")
	}
	if image.SizeBytes > 0 && st.Size() != image.SizeBytes {
		return false, c.discard(ctx, path, image, fmt.Sprintf("it has %d bytes instead of %d", st.Size(), image.SizeBytes))
	}
	if err := c.takeBack(path); err != nil {
		return false, c.discard(ctx, path, image, "it cannot be taken back: "+err.Error())
	}
	before, _, err := stat(path)
	if err != nil {
		return false, err
	}
	log, began := c.opts.Logger.With("image_id", image.ID, "sha512", image.SHA512, "bytes", st.Size()), time.Now()
	log.InfoContext(ctx, "verifying a cached image before its first use")
	sum, told := sha512.New(), began
	var last time.Time
	n, err := io.Copy(sum, &counted{r: contextReader{ctx, f}, tell: func(n int64) {
		now := time.Now()
		if now.Sub(last) >= progressEvery {
			last = now
			tell(n, st.Size())
		}
		if now.Sub(told) >= tellEvery {
			told = now
			log.InfoContext(ctx, "verifying a cached image", "read", n)
		}
	}})
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if err != nil {
		return false, c.discard(ctx, path, image, fmt.Sprintf("it cannot be read behind byte %d: %v", n, err))
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != image.SHA512 {
		return false, c.discard(ctx, path, image, "its sha512 is "+got)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if after, _, err := stat(path); err != nil || after != before || after.ino != st.Sys().(*syscall.Stat_t).Ino { // which was opened
		return false, fault.Wrap(fault.Unavailable, errors.Join(err, fmt.Errorf("%s was changed while it was read", path)), "the cached image was changed while it was verified").NotTheHosts()
	}
	if err := c.use(path, image.SHA512); err != nil {
		return false, err
	}
	log.InfoContext(ctx, "a cached image is what it should be", "duration", time.Since(began), "read", n)
	return true, nil
}

type counted struct {
	r    io.Reader
	n    int64
	tell func(n int64)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.tell(c.n)
	return n, err
}

// discard makes way for the right bytes. What a guest may lean on stays under its name until they are whole and take its
// place: a running guest keeps the file that it has open, and one that starts meanwhile finds one.
func (c *Cache) discard(ctx context.Context, path string, image contract.Image, why string) error {
	log := c.opts.Logger.With("image_id", image.ID, "sha512", image.SHA512, "path", path, "why", why)
	users, err := c.usersOf(path)
	if err != nil {
		log.ErrorContext(ctx, "a cached image is not what it should be, and it is not known who uses it: it is fetched anew beside it", "error", err)
		return nil
	}
	if len(users) > 0 {
		log.ErrorContext(ctx, "a cached image that servers lean on is not what it should be: it is fetched anew beside it; what they read of it may be wrong, and they read the right one from their next start on", "servers", users)
		return nil
	}
	log.ErrorContext(ctx, "a cached image is not what it should be: it is thrown away and fetched anew")
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// usersOf names the servers of this host that lean on a cached file.
func (c *Cache) usersOf(path string) ([]string, error) {
	var users []string
	err := c.eachUse(func(server, used string) {
		if used == path {
			users = append(users, server)
		}
	})
	return users, err
}

// takeBack gives a cached file back to this process's user, closed to writers, where it is anybody else's: the definitions
// of servers of before decision 0037 have libvirt give it to QEMU's user.
func (c *Cache) takeBack(path string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil // whoever uses it refuses it
	}
	if int(st.Uid) != os.Geteuid() {
		if err := os.Lchown(path, os.Geteuid(), os.Getegid()); err != nil {
			return err
		}
		c.opts.Logger.Warn("a cached image had another owner and is taken back; its bytes are read again before a server is built on it", "path", path, "uid", st.Uid)
	}
	if st.Mode&0o7777 != fileMode {
		return os.Chmod(path, fileMode)
	}
	return nil
}

// TakeBack is for after the start of a server whose domain may have been defined before decision 0037: the images that it
// uses are this process's user's again. Where that fails, the next build on them says why.
func (c *Cache) TakeBack(server string) {
	_ = c.usesOf(filepath.Join(c.opts.InstancesDir, server), func(path string) {
		if own, err := c.Path(filepath.Base(path)); err != nil || own != path {
			return
		}
		if err := c.takeBack(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.opts.Logger.Warn("a cached image could not be taken back", "path", path, "error", err)
		}
	})
}

// takeBackAll is for the start of a host. A file that cannot be taken back is replaced at its next use.
func (c *Cache) takeBackAll() error {
	if err := os.Chmod(c.opts.Dir, folderMode); err != nil {
		return err
	}
	files, err := c.list()
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.part {
			continue
		}
		path := filepath.Join(c.opts.Dir, f.sha)
		if err := c.takeBack(path); err != nil {
			c.opts.Logger.Warn("a cached image could not be taken back", "path", path, "error", err)
		}
	}
	return nil
}
