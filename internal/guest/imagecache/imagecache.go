// Package imagecache keeps images on a hypervisor: one download for any number of builds, resumed after a break or a
// restart, verified against the checksum and the declared format before anything uses it, immutable afterwards, and
// evicted by age when nothing leans on it.
package imagecache

import (
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/durable"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/disk"
	"github.com/slipway-cloud/slipway/internal/imageformat"
	"github.com/slipway-cloud/slipway/internal/program"
	"github.com/slipway-cloud/slipway/internal/space"
)

const (
	partSuffix = ".part"
	// syncEvery bounds what a power failure can cost a download.
	syncEvery = 256 << 20
	// progressEvery is how often the bytes that arrived are told.
	progressEvery = 200 * time.Millisecond
)

// Options of a cache.
type Options struct {
	Dir          string // of the cached files; made where it is missing
	InstancesDir string // the instance folders, whose disks lean on cached files
	MaxBytes     int64  // evict above this; 0 only where room is needed
	// Reserve is left free on the cache's filesystem: what no server uses goes first, and then downloads are refused.
	Reserve space.Floor
	// MinAge keeps young files out of eviction: a build that has fetched may not have made its disk yet. 0 is an hour.
	MinAge time.Duration
	// StallAfter ends a connection over which nothing came for so long; 0 is a minute.
	StallAfter time.Duration
	Source     Source
	Logger     *slog.Logger
}

// Cache is the host's image cache. Its methods may be called at the same time.
type Cache struct {
	opts Options

	mu        sync.Mutex
	downloads map[string]*download // by sha512
	pins      map[string]int       // by sha512
	read      map[string]seen      // by sha512: what this process has read and found right
}

// download is one running download with everyone who waits for it.
type download struct {
	imageID string
	waiters map[*waiter]struct{}
	cancel  context.CancelFunc
	done    chan struct{}
	// Written before done is closed.
	bytes int64
	err   error
}

type waiter struct{ progress func(bytes, total int64) }

// New opens the cache.
func New(opts Options) (*Cache, error) {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.MinAge == 0 {
		opts.MinAge = time.Hour
	}
	if opts.StallAfter == 0 {
		opts.StallAfter = time.Minute
	}
	if err := os.MkdirAll(opts.Dir, folderMode); err != nil {
		return nil, fmt.Errorf("opening the image cache: %w", err)
	}
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("opening the image cache: %w", err)
	}
	opts.Dir = dir
	c := &Cache{opts: opts, downloads: map[string]*download{}, pins: map[string]int{}, read: map[string]seen{}}
	if err := c.takeBackAll(); err != nil {
		return nil, fmt.Errorf("opening the image cache: %w", err)
	}
	return c, nil
}

// Path is where an image lies, or will lie, in this cache.
func (c *Cache) Path(sha string) (string, error) {
	if len(sha) != 2*sha512.Size || strings.ToLower(sha) != sha {
		return "", fault.New(fault.Invalid, "The image has no usable SHA-512 checksum.")
	}
	if _, err := hex.DecodeString(sha); err != nil {
		return "", fault.New(fault.Invalid, "The image has no usable SHA-512 checksum.")
	}
	return filepath.Join(c.opts.Dir, sha), nil
}

// Pin keeps an image from eviction until release is called; a build holds it while it uses the file.
func (c *Cache) Pin(sha string) (release func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return sync.OnceFunc(c.pin(sha))
}

// Fetch brings the image into the cache and answers its path and how many bytes this call's download moved: 0 where it
// was there or where another call's download brought it. progress (may be nil) is told now and then, and
// must not block. Any number of calls
// share one download; it ends when the last of them is cancelled, and the part that arrived stays for the next.
//
// What lies in the cache is read in whole, and its checksum compared, before its first use by this process, and when
// something has touched the file since. A file that is not the image is replaced.
//
// Faults: Invalid when the image is not what it says (size, format), NotFound when it is gone, HostUnfit when this host cannot
// have it (its disk is full, its token is refused, the bytes arrive changed), Unavailable when the source or the connection
// breaks.
func (c *Cache) Fetch(ctx context.Context, image contract.Image, progress func(bytes, total int64)) (path string, downloaded int64, err error) {
	path, err = c.Path(image.SHA512)
	if err != nil {
		return "", 0, err
	}
	defer c.Pin(image.SHA512)()
	c.mu.Lock()
	d, running := c.downloads[image.SHA512]
	if !running {
		if c.known(path, image.SHA512) && (image.SizeBytes == 0 || c.read[image.SHA512].size == image.SizeBytes) {
			err := c.use(path, image.SHA512)
			c.mu.Unlock()
			if err != nil {
				return "", 0, program.Fault(err, "using image "+image.ID)
			}
			// The same bytes may be declared differently by another image: the declaration is checked each time.
			if err := checkFormat(path, image); err != nil {
				return "", 0, err
			}
			return path, 0, nil
		}
		d = c.start(ctx, path, image)
	}
	w := &waiter{progress: progress}
	d.waiters[w] = struct{}{}
	c.mu.Unlock()

	select {
	case <-d.done:
	case <-ctx.Done():
		c.mu.Lock()
		delete(d.waiters, w)
		last := len(d.waiters) == 0
		if last {
			d.cancel()
		}
		c.mu.Unlock()
		if last {
			<-d.done // the part file is whole and closed when the caller goes on
		}
		return "", 0, fault.Wrap(fault.Unavailable, fmt.Errorf("fetching image %s: %w", image.ID, context.Cause(ctx)), "the download was stopped").NotTheHosts()
	}
	if d.err != nil {
		if running && (errors.Is(d.err, context.Canceled) || d.imageID != image.ID) {
			// We joined a download in the moment in which its last waiter left, or another image's with the same bytes,
			// whose refusal (absent, declared otherwise) is not ours.
			return c.Fetch(ctx, image, progress)
		}
		return "", 0, d.err
	}
	if err := checkFormat(path, image); err != nil { // of what was there already, or came for another image
		return "", 0, err
	}
	if running {
		return path, 0, nil
	}
	return path, d.bytes, nil
}

// bring makes sure that the image lies at path: what is there is read once, and what is not right is fetched.
func (c *Cache) bring(ctx context.Context, path string, image contract.Image, tell func(bytes, total int64)) (moved int64, err error) {
	switch right, err := c.verify(ctx, path, image, tell); {
	case err != nil:
		return 0, program.Fault(err, "verifying image "+image.ID)
	case right:
		return 0, nil
	}
	return c.download(ctx, path, image, tell)
}

// start runs a download that belongs to its waiters, not to the call that began it. c.mu is held.
func (c *Cache) start(ctx context.Context, path string, image contract.Image) *download {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d := &download{imageID: image.ID, waiters: map[*waiter]struct{}{}, cancel: cancel, done: make(chan struct{})}
	c.downloads[image.SHA512] = d
	release := c.pin(image.SHA512)
	go func() {
		defer cancel()
		bytes, err := c.bring(own, path, image, func(n, total int64) { c.tell(d, n, total) })
		c.mu.Lock()
		d.bytes, d.err = bytes, err
		delete(c.downloads, image.SHA512)
		c.mu.Unlock()
		close(d.done)
		if err == nil {
			c.evict()
		}
		release()
	}()
	return d
}

// pin is Pin with c.mu held.
func (c *Cache) pin(sha string) func() {
	c.pins[sha]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.pins[sha]--; c.pins[sha] == 0 {
			delete(c.pins, sha)
		}
	}
}

func (c *Cache) tell(d *download, bytes, total int64) {
	c.mu.Lock()
	var tell []func(bytes, total int64)
	for w := range d.waiters {
		if w.progress != nil {
			tell = append(tell, w.progress)
		}
	}
	c.mu.Unlock()
	for _, f := range tell {
		f(bytes, total)
	}
}

// download brings the image to path: what an earlier try left is hashed and continued.
func (c *Cache) download(ctx context.Context, path string, image contract.Image, tell func(bytes, total int64)) (moved int64, err error) {
	defer func() { err = program.Fault(err, "fetching image "+image.ID) }()
	part := path + partSuffix
	// A process that died when the image was whole left it closed to its writer.
	if err := os.Chmod(part, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	sum := sha512.New()
	have, err := hashPrefix(ctx, f, sum, image.SizeBytes)
	if err != nil {
		return 0, err
	}
	if image.SizeBytes == 0 || have < image.SizeBytes {
		if moved, err = c.receive(ctx, f, sum, image, have, tell); err != nil {
			// After Invalid, what is here does not belong to this image; on a full disk, a part that cannot grow only keeps
			// the disk full for everyone else. Otherwise the next try goes on from it.
			if fault.Is(err, fault.Invalid) || program.NoSpace(err) {
				return moved, errors.Join(err, os.Remove(part))
			}
			return moved, err
		}
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != image.SHA512 {
		if have > 0 {
			// The fault may lie in the prefix that an earlier process left: read the image once more from its beginning.
			c.opts.Logger.WarnContext(ctx, "a resumed image does not match its checksum; fetching it anew", "image_id", image.ID, "resumed_at", have)
			if err := os.Remove(part); err != nil {
				return moved, err
			}
			again, err := c.download(ctx, path, image, tell)
			return moved + again, err
		}
		// They were whole when they were stored: something on the way to this host, or its disk, changed them.
		return moved, errors.Join(fault.New(fault.HostUnfit, "the image's bytes do not match its checksum: expected sha512 %s, got %s", image.SHA512, got).NotTheHosts(), os.Remove(part))
	}
	if err := checkFormat(part, image); err != nil {
		return moved, errors.Join(err, os.Remove(part))
	}
	if err := errors.Join(f.Sync(), f.Chmod(fileMode)); err != nil {
		return moved, err
	}
	if err := os.Rename(part, path); err != nil {
		return moved, err
	}
	c.mu.Lock()
	err = c.remember(path, image.SHA512)
	c.mu.Unlock()
	return moved, errors.Join(err, durable.SyncDir(c.opts.Dir))
}

// receive appends what is missing. A connection that breaks is Unavailable; what arrived stays.
func (c *Cache) receive(ctx context.Context, f *os.File, sum hash.Hash, image contract.Image, have int64, tell func(bytes, total int64)) (moved int64, err error) {
	whole := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stalled := time.AfterFunc(c.opts.StallAfter, cancel)
	defer stalled.Stop()
	// broken tells a connection that was given up here from a download that nobody waits for any more: only the latter is
	// somebody's cancellation.
	broken := func(err error) error {
		if whole.Err() == nil && ctx.Err() != nil {
			return fmt.Errorf("nothing came for %s", c.opts.StallAfter)
		}
		return err
	}
	body, total, err := c.opts.Source.Open(ctx, image.ID, have)
	if err != nil {
		if whole.Err() == nil && ctx.Err() != nil {
			return 0, fault.Wrap(fault.Unavailable, broken(err), "the image store does not answer").NotTheHosts()
		}
		return 0, err
	}
	defer body.Close()
	if image.SizeBytes > 0 {
		if total > 0 && total != image.SizeBytes {
			return 0, fault.New(fault.Invalid, "the image is %d bytes, but %d are stored", image.SizeBytes, total)
		}
		total = image.SizeBytes
	}
	if err := c.room(max(0, total-have)); err != nil {
		return 0, err
	}
	tell(have, total)
	buf := make([]byte, 256<<10)
	told, unsynced := time.Now(), int64(0)
	for {
		stalled.Reset(c.opts.StallAfter)
		n, readErr := body.Read(buf)
		if n > 0 {
			if total > 0 && have+moved+int64(n) > total {
				return moved, fault.New(fault.Invalid, "the image is longer than its %d bytes", total)
			}
			if err := c.room(int64(n)); err != nil {
				return moved, err
			}
			if _, err := f.Write(buf[:n]); err != nil {
				return moved, err
			}
			sum.Write(buf[:n])
			moved += int64(n)
			if unsynced += int64(n); unsynced >= syncEvery {
				if err := f.Sync(); err != nil {
					return moved, err
				}
				unsynced = 0
			}
			if now := time.Now(); now.Sub(told) >= progressEvery {
				told = now
				tell(have+moved, total)
			}
		}
		switch {
		case readErr == nil:
		case whole.Err() != nil:
			return moved, whole.Err()
		case errors.Is(readErr, io.EOF) && (total <= 0 || have+moved == total):
			tell(have+moved, total)
			return moved, nil
		default:
			return moved, fault.Wrap(fault.Unavailable, fmt.Errorf("image %s broke off after %d of %d bytes: %w", image.ID, have+moved, total, broken(readErr)), "the image could not be read to its end").NotTheHosts()
		}
	}
}

// hashPrefix adds what an earlier try left to sum and puts f at its end. More than the image's size is thrown away.
func hashPrefix(ctx context.Context, f *os.File, sum hash.Hash, size int64) (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if size > 0 && st.Size() > size {
		return 0, f.Truncate(0)
	}
	n, err := io.Copy(sum, contextReader{ctx, f})
	return n, err
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// Inspect tells what a cached image is; the file has to be there.
func (c *Cache) Inspect(image contract.Image) (disk.Base, error) {
	path, err := c.Path(image.SHA512)
	if err != nil {
		return disk.Base{}, err
	}
	info, err := inspect(path, image)
	if err != nil {
		return disk.Base{}, program.Fault(err, "inspecting image "+image.ID)
	}
	return disk.Base{Path: path, Format: info.Format, VirtualBytes: info.VirtualBytes}, nil
}

func checkFormat(path string, image contract.Image) error {
	_, err := inspect(path, image)
	return program.Fault(err, "inspecting image "+image.ID)
}

func inspect(path string, image contract.Image) (imageformat.Info, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return imageformat.Info{}, fault.Wrap(fault.Unavailable, err, "the image is not in this host's cache")
	}
	if err != nil {
		return imageformat.Info{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return imageformat.Info{}, err
	}
	return imageformat.Inspect(f, st.Size(), imageformat.Rules{Declared: image.DiskFormat})
}

// cached is one file of the cache.
type cached struct {
	sha  string
	size int64
	used time.Time
	part bool
}

// evict removes the files unused for longest until the cache is within its size. What an instance on this host leans on,
// what is pinned, and what is younger than MinAge stays; a failure is logged, because no build depends on it.
func (c *Cache) evict() {
	if c.opts.MaxBytes <= 0 {
		return
	}
	if _, err := c.Evict(); err != nil {
		c.opts.Logger.Warn("the image cache could not be trimmed", "error", err)
	}
}

// room says why so many bytes more do not fit above the reserve, when what no server uses has gone.
func (c *Cache) room(more int64) error {
	err := c.opts.Reserve.Check(c.opts.Dir, more)
	var full *space.Full
	if !errors.As(err, &full) {
		return err
	}
	files, err := c.list()
	if err != nil {
		return fmt.Errorf("listing the image cache: %w", err)
	}
	if _, err := c.free(files, full.Floor+more-full.Free); err != nil {
		return err
	}
	return c.opts.Reserve.Check(c.opts.Dir, more)
}

// Evict trims the cache and answers what it freed.
func (c *Cache) Evict() (freed int64, err error) {
	files, err := c.list()
	if err != nil {
		return 0, fmt.Errorf("listing the image cache: %w", err)
	}
	var total int64
	for _, f := range files {
		total += f.size
	}
	if c.opts.MaxBytes <= 0 || total <= c.opts.MaxBytes {
		return 0, nil
	}
	return c.free(files, total-c.opts.MaxBytes)
}

// free removes files, those unused for longest first, until so many bytes are gone or no other may go.
func (c *Cache) free(files []cached, bytes int64) (freed int64, err error) {
	backing, err := c.backing()
	if err != nil {
		// Not knowing what is in use, nothing may go.
		return 0, fmt.Errorf("reading which images are in use: %w", err)
	}
	sort.Slice(files, func(i, j int) bool { return files[i].used.Before(files[j].used) })
	for _, f := range files {
		if freed >= bytes {
			break
		}
		if backing[filepath.Join(c.opts.Dir, f.sha)] || time.Since(f.used) < c.opts.MinAge {
			continue
		}
		gone, err := c.drop(f)
		if err != nil {
			return freed, fmt.Errorf("evicting image %s: %w", f.sha, err)
		}
		if gone {
			freed += f.size
			c.opts.Logger.Info("image evicted from the cache", "sha512", f.sha, "bytes", f.size)
		}
	}
	return freed, nil
}

// drop removes one file unless somebody uses it; the lock keeps a Fetch from beginning in between.
func (c *Cache) drop(f cached) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pins[f.sha] > 0 {
		return false, nil
	}
	name := f.sha
	if f.part {
		name += partSuffix
	}
	path := filepath.Join(c.opts.Dir, name)
	st, err := os.Stat(path)
	if err != nil || st.ModTime().After(f.used) {
		return false, nil // used since it was listed
	}
	if !f.part {
		delete(c.read, f.sha)
	}
	return true, os.Remove(path)
}

func (c *Cache) list() ([]cached, error) {
	entries, err := os.ReadDir(c.opts.Dir)
	if err != nil {
		return nil, err
	}
	var files []cached
	for _, e := range entries {
		sha, part := strings.CutSuffix(e.Name(), partSuffix)
		if _, err := c.Path(sha); err != nil {
			continue // not ours
		}
		st, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files = append(files, cached{sha: sha, size: st.Size(), used: st.ModTime(), part: part})
	}
	return files, nil
}

// backing collects what this host's instances lean on.
func (c *Cache) backing() (map[string]bool, error) {
	used := map[string]bool{}
	err := c.eachUse(func(_, path string) { used[path] = true })
	return used, err
}

// eachUse tells of every cached file that an instance of this host leans on.
func (c *Cache) eachUse(f func(server, path string)) error {
	entries, err := os.ReadDir(c.opts.InstancesDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		// A server that is rebuilt has another guest in a folder below its own.
		folder := filepath.Join(c.opts.InstancesDir, e.Name())
		guests, err := os.ReadDir(folder)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		folders := []string{folder}
		for _, g := range guests {
			if g.IsDir() {
				folders = append(folders, filepath.Join(folder, g.Name()))
			}
		}
		for _, dir := range folders {
			if err := c.usesOf(dir, func(path string) { f(e.Name(), path) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// usesOf tells what an instance's disk leans on, and what a file beside it names.
func (c *Cache) usesOf(dir string, f func(path string)) error {
	path, _, err := disk.Backing(filepath.Join(dir, disk.RootName))
	if err == nil {
		f(path)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	names, err := os.ReadFile(filepath.Join(dir, UsesName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for sha := range strings.FieldsSeq(string(names)) {
		f(filepath.Join(c.opts.Dir, sha))
	}
	return nil
}

// UsesName is the file in an instance folder that names, one on each line, the images that the domain itself opens at
// every start: kernel and ramdisk, of a domain that was defined before servers had copies of their own.
const UsesName = "images"
