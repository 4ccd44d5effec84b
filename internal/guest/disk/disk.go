// Package disk makes an instance's disks on a hypervisor with qemu-img and mkfs. A disk is written under a temporary name
// and renamed when it is whole, so a file under its final name is complete; making the same disk again verifies what is
// there and keeps it.
package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/durable"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imageformat"
	"github.com/slipway-cloud/slipway/internal/program"
	"github.com/slipway-cloud/slipway/internal/space"
)

// Names of the files in an instance folder, as Nova's libvirt driver names them.
const (
	RootName = "disk"
	SwapName = "disk.swap"
	// partSuffix marks a file that is being made. Only one build of a server runs at a time, so the name is fixed and a
	// crashed build's leftover is overwritten, never collected.
	partSuffix = ".part"
)

// EphemeralName is that of the i-th ephemeral disk, from 0.
func EphemeralName(i int) string { return ephemeralPrefix + strconv.Itoa(i) }

const ephemeralPrefix = "disk.eph"

// Base is an image in the host's cache that has passed imageformat.Inspect.
type Base struct {
	Path         string // absolute
	Format       imageformat.Format
	VirtualBytes int64
}

// Maker makes disks.
type Maker struct {
	// Limits of each program; FileBytes is set by what is made.
	Limits program.Limits
	// CopyDeadline and CopyCPU are for a full copy, which reads the whole image; zero is 30 minutes each.
	CopyDeadline time.Duration
	CopyCPU      time.Duration
	// Reserve is left free on the disks' filesystem.
	Reserve space.Floor
}

// Root makes the root disk at dir/disk: a qcow2 overlay on the base, or with fullCopy a qcow2 of its own; a base of a format
// that is only converted is always copied. bytes is its size; 0 is the image's. A size below the image's is Invalid before
// anything is written, and so is an image that takes more than the limits to read.
func (m Maker) Root(ctx context.Context, dir string, base Base, bytes int64, fullCopy bool) error {
	if bytes == 0 {
		bytes = base.VirtualBytes
	}
	if bytes < base.VirtualBytes {
		return fault.New(fault.Invalid, "The flavor's disk (%d GiB) is smaller than the image (%.1f GiB). Choose a larger flavor.",
			bytes>>30, float64(base.VirtualBytes)/(1<<30))
	}
	fullCopy = fullCopy || !base.Format.Backs()
	want := imageformat.QCOW2Header{VirtualBytes: bytes}
	if !fullCopy {
		want.BackingFile, want.BackingFormat = base.Path, string(base.Format)
	}
	path, same := filepath.Join(dir, RootName), func(f *os.File) bool { return sameQCOW2(f, want) }
	var least int64
	if fullCopy {
		least = allocated(base.Path)
	}
	return m.make(ctx, path, least, same, func(ctx context.Context, part string) error {
		size := strconv.FormatInt(bytes, 10)
		if !fullCopy {
			return tooCostly(m.qemuImg(ctx, m.Limits.WithFile(qcow2Overhead(bytes)), []string{base.Path}, part, "create", "-q", "-f", "qcow2",
				"-F", string(base.Format), "-b", base.Path, part, size))
		}
		l := m.Limits.WithFile(bytes + qcow2Overhead(bytes))
		l.Deadline, l.CPU = positiveOr(m.CopyDeadline, 30*time.Minute), positiveOr(m.CopyCPU, 30*time.Minute)
		if err := m.qemuImg(ctx, l, []string{base.Path}, part, "convert", "-q", "-f", string(base.Format), "-O", "qcow2", base.Path, part); err != nil {
			return tooCostly(err)
		}
		return m.qemuImg(ctx, l, []string{base.Path}, part, "resize", "-q", "-f", "qcow2", part, size)
	})
}

// Snapshot makes a qcow2 of its own of a root disk, at path. copying does it while a guest has the disk; nil is for one that is off.
func (m Maker) Snapshot(ctx context.Context, path, root string, copying func(ctx context.Context, part string) error) error {
	f, err := os.Open(root)
	if err != nil {
		return program.Fault(err, "opening "+root)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return program.Fault(err, "opening "+root)
	}
	h, err := imageformat.ReadQCOW2(f, st.Size())
	if err != nil {
		return fault.Wrap(fault.Internal, err, "the root disk cannot be read")
	}
	if copying == nil {
		copying = func(ctx context.Context, part string) error {
			l := m.Limits.WithFile(h.VirtualBytes + qcow2Overhead(h.VirtualBytes))
			l.Deadline, l.CPU = positiveOr(m.CopyDeadline, 4*time.Hour), positiveOr(m.CopyCPU, 4*time.Hour)
			read := []string{root}
			if h.BackingFile != "" {
				read = append(read, h.BackingFile)
			}
			return m.qemuImg(ctx, l, read, part, "convert", "-q", "-f", "qcow2", "-O", "qcow2", root, part)
		}
	}
	same := func(f *os.File) bool { return sameQCOW2(f, imageformat.QCOW2Header{VirtualBytes: h.VirtualBytes}) }
	return m.make(ctx, path, allocated(root), same, copying)
}

// tooCostly names what exceeded a limit while an image was read for what it is: the image's fault, the same on each host.
func tooCostly(err error) error {
	if limit := program.Exceeded(err); limit != "" {
		return fault.Wrap(fault.Invalid, err, "The image cannot be made into a disk: reading it takes more %s than is allowed. "+
			"Make it anew with qemu-img convert -O qcow2 and upload the result.", limit)
	}
	return err
}

// Filesystem of an ephemeral disk.
type Filesystem string

// The filesystems that ephemeral disks get.
const (
	Ext2 Filesystem = "ext2"
	Ext3 Filesystem = "ext3"
	Ext4 Filesystem = "ext4"
	VFAT Filesystem = "vfat"
)

// EphemeralFilesystem is Nova's choice by the image's os_type property (nova/privsep/fs.py): ext4 for linux, vfat where it
// is not said. Windows gets vfat too, which it reads, instead of Nova's ntfs.
func EphemeralFilesystem(osType string) Filesystem {
	if osType == "linux" {
		return Ext4
	}
	return VFAT
}

// Ephemeral makes dir/disk.eph0, or another number: a sparse raw disk that is one filesystem, labelled as Nova does: ephemeral0.
func (m Maker) Ephemeral(ctx context.Context, dir string, number int, bytes int64, kind Filesystem) error {
	label := "ephemeral" + strconv.Itoa(number)
	check := func(f *os.File) bool { return hasSize(f, bytes) && hasMark(f, kind) }
	return m.make(ctx, filepath.Join(dir, EphemeralName(number)), 0, check, func(ctx context.Context, part string) error {
		if err := os.Truncate(part, bytes); err != nil {
			return err
		}
		l := m.Limits.WithFile(bytes)
		if kind != VFAT {
			// Inode tables and journal are left to the first mount; the fresh file is zeros already.
			return m.run(ctx, l, "mkfs."+string(kind), "-q", "-F", "-L", label, "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", part)
		}
		return m.run(ctx, l, "mkfs.vfat", "-I", "-n", label, part)
	})
}

// Swap makes dir/disk.swap: a sparse raw disk that is swap space.
func (m Maker) Swap(ctx context.Context, dir string, bytes int64) error {
	check := func(f *os.File) bool { return hasSize(f, bytes) && hasMark(f, "swap") }
	return m.make(ctx, filepath.Join(dir, SwapName), 0, check, func(ctx context.Context, part string) error {
		if err := os.Truncate(part, bytes); err != nil {
			return err
		}
		return m.run(ctx, m.Limits.WithFile(bytes), "mkswap", part)
	})
}

// Remove removes every disk of an instance, finished or not. Absent ones are success.
func Remove(dir string) error {
	var errs []error
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), partSuffix)
		if name == RootName || name == SwapName || strings.HasPrefix(name, ephemeralPrefix) {
			errs = append(errs, removeIfThere(filepath.Join(dir, e.Name())))
		}
	}
	return program.Fault(errors.Join(errs...), "removing the disks in "+dir)
}

// Backing tells which file a root disk leans on, and its format; "" is none. The header is QEMU's own: a guest cannot write it,
// unless it has broken out of QEMU.
func Backing(path string) (file, format string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", "", err
	}
	h, err := imageformat.ReadQCOW2(f, st.Size())
	if err != nil {
		return "", "", fmt.Errorf("reading the header of %s: %w", path, err)
	}
	return h.BackingFile, h.BackingFormat, nil
}

// make keeps the file at path where it is what is wanted; otherwise it makes it anew under a temporary name and puts it
// in place whole. least is how many bytes it certainly takes.
func (m Maker) make(ctx context.Context, path string, least int64, wanted func(*os.File) bool, write func(ctx context.Context, part string) error) (err error) {
	defer func() { err = program.Fault(err, "making "+path) }()
	if f, err := os.Open(path); err == nil {
		ok := wanted(f)
		f.Close()
		if ok {
			return nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	part := path + partSuffix
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := m.Reserve.Check(filepath.Dir(path), least); err != nil {
		return err
	}
	// It is a user's: the programs write into a file that is closed to others from its first moment. libvirt gives it to
	// QEMU's user when the domain starts (dynamic_ownership in qemu.conf).
	if err := os.WriteFile(part, nil, 0o600); err != nil {
		return err
	}
	watched, stop := m.Reserve.Watch(ctx, filepath.Dir(path))
	defer stop()
	if err := write(watched, part); err != nil {
		if full := context.Cause(watched); program.NoSpace(full) {
			err = full // which ended the program
		}
		return errors.Join(err, removeIfThere(part))
	}
	// The check that a later run will make holds now, or the disk was never made right.
	f, err := os.OpenFile(part, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	ok, syncErr := wanted(f), f.Sync()
	if err := errors.Join(syncErr, f.Close()); err != nil {
		return errors.Join(err, removeIfThere(part))
	}
	if !ok {
		return errors.Join(fmt.Errorf("%s is not what it was made to be", part), removeIfThere(part))
	}
	if err := os.Rename(part, path); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

// qemuImg reads what a tenant has uploaded: it sees what it reads and the disk that it makes, where the machine allows that. Where it does
// not, the host says so when it starts.
func (m Maker) qemuImg(ctx context.Context, l program.Limits, read []string, part string, args ...string) (err error) {
	c := program.Command{Name: "qemu-img", Args: args, Limits: l}
	if program.CanConfine() == nil {
		c.Confine = &program.Confinement{ReadsAll: true, Files: []program.File{{Path: part, Writable: true}}}
		for _, path := range read {
			c.Confine.Files = append(c.Confine.Files, program.File{Path: path})
		}
		if err := program.Lend(part); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, program.TakeBack(part)) }()
	}
	_, _, err = program.Run(ctx, c)
	return err
}

func (m Maker) run(ctx context.Context, l program.Limits, name string, args ...string) error {
	_, _, err := program.Run(ctx, program.Command{Name: name, Args: args, Limits: l})
	return err
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// allocated is what a file takes on its disk; 0 where that is not known, and whoever reads it will say why.
func allocated(path string) int64 {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0
	}
	return st.Blocks * 512
}

// qcow2Overhead is room for a qcow2's own tables: at most about a thousandth of what it describes.
func qcow2Overhead(bytes int64) int64 { return 64<<20 + bytes/512 }

func sameQCOW2(f *os.File, want imageformat.QCOW2Header) bool {
	st, err := f.Stat()
	if err != nil {
		return false
	}
	h, err := imageformat.ReadQCOW2(f, st.Size())
	return err == nil && h.VirtualBytes == want.VirtualBytes && h.BackingFile == want.BackingFile &&
		h.BackingFormat == want.BackingFormat && !h.DataFile && !h.Corrupt
}

func hasSize(f *os.File, bytes int64) bool {
	st, err := f.Stat()
	return err == nil && st.Size() == bytes
}

// marks are where the filesystems write their magic; the whole file was synced before it got its name, so the mark's
// presence is enough.
var marks = map[Filesystem]struct {
	off   int64
	magic string
}{
	Ext2:   {1024 + 56, "\x53\xef"},
	Ext3:   {1024 + 56, "\x53\xef"},
	Ext4:   {1024 + 56, "\x53\xef"},
	VFAT:   {510, "\x55\xaa"},
	"swap": {4096 - 10, "SWAPSPACE2"},
}

func hasMark(f *os.File, kind Filesystem) bool {
	m := marks[kind]
	b := make([]byte, len(m.magic))
	_, err := f.ReadAt(b, m.off)
	return err == nil && string(b) == m.magic
}

func positiveOr(d, def time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return def
}
