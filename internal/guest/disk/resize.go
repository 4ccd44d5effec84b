package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/durable"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imageformat"
	"github.com/slipway-cloud/slipway/internal/program"
)

// GrownRoot makes the root disk at dir/disk of a copy of another, of a guest that is off, of a size; 0 or less than it has leaves what
// it has. backing is what that has to lean on, "" nothing. Its header may have been written by a guest that broke out of QEMU: one that
// names another file is HostUnfit before qemu-img sees it.
func (m Maker) GrownRoot(ctx context.Context, dir, from string, backing Base, bytes int64) error {
	want := imageformat.QCOW2Header{BackingFile: backing.Path, BackingFormat: string(backing.Format)}
	size, err := virtualBytes(from, want)
	if err != nil {
		return program.Fault(err, "reading "+from)
	}
	want.VirtualBytes = max(size, bytes)
	var reads []string
	if backing.Path != "" {
		reads = append(reads, backing.Path)
	}
	same := func(f *os.File) bool { return sameQCOW2(f, want) }
	return m.make(ctx, filepath.Join(dir, RootName), allocated(from), same, func(ctx context.Context, part string) error {
		if err := copySparse(ctx, from, part); err != nil || want.VirtualBytes == size {
			return err
		}
		return m.qemuImg(ctx, m.Limits.WithFile(want.VirtualBytes+qcow2Overhead(want.VirtualBytes)), reads, part,
			"resize", "-q", "-f", "qcow2", part, strconv.FormatInt(want.VirtualBytes, 10))
	})
}

// GrowRoot grows the root disk dir/disk where it lies, of a guest that is off; one that is as large stays as it is. backing is as GrownRoot's.
func (m Maker) GrowRoot(ctx context.Context, dir string, backing Base, bytes int64) (err error) {
	path := filepath.Join(dir, RootName)
	defer func() { err = program.Fault(err, "growing "+path) }()
	size, err := virtualBytes(path, imageformat.QCOW2Header{BackingFile: backing.Path, BackingFormat: string(backing.Format)})
	if err != nil || size >= bytes {
		return err
	}
	var reads []string
	if backing.Path != "" {
		reads = append(reads, backing.Path)
	}
	err = m.qemuImg(ctx, m.Limits.WithFile(bytes+qcow2Overhead(bytes)), reads, path, "resize", "-q", "-f", "qcow2", path, strconv.FormatInt(bytes, 10))
	if err != nil {
		return err
	}
	return durable.Sync(path)
}

// GrowEphemeral grows dir/disk.eph0, or another number, where it lies; its filesystem is grown by its guest.
func (m Maker) GrowEphemeral(dir string, number int, bytes int64) error {
	path := filepath.Join(dir, EphemeralName(number))
	st, err := os.Stat(path)
	if err == nil && st.Size() < bytes {
		err = errors.Join(os.Truncate(path, bytes), durable.Sync(path))
	}
	return program.Fault(err, "growing "+path)
}

func virtualBytes(path string, want imageformat.QCOW2Header) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	h, err := imageformat.ReadQCOW2(f, st.Size())
	if err != nil {
		return 0, err
	}
	want.VirtualBytes = h.VirtualBytes
	if !sameQCOW2(f, want) {
		return 0, fault.New(fault.HostUnfit, "The server's root disk leans on another file than its image.").NotTheHosts()
	}
	return h.VirtualBytes, nil
}

// GrownEphemeral makes dir/disk.eph0, or another number, of a copy of another; its filesystem is grown by its guest.
func (m Maker) GrownEphemeral(ctx context.Context, dir string, number int, from string, bytes int64) error {
	check := func(f *os.File) bool { return hasSize(f, bytes) }
	return m.make(ctx, filepath.Join(dir, EphemeralName(number)), allocated(from), check, func(ctx context.Context, part string) error {
		if err := copySparse(ctx, from, part); err != nil {
			return err
		}
		return os.Truncate(part, bytes)
	})
}

// copied is how much is copied before the copy looks whether it is still wanted.
const copied = int64(64) << 20

// copySparse copies what a file holds and leaves its holes. A filesystem that can shares it.
func copySparse(ctx context.Context, from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	defer dst.Close()
	if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil {
		return nil
	}
	st, err := src.Stat()
	if err != nil {
		return err
	}
	if err := dst.Truncate(st.Size()); err != nil {
		return err
	}
	for at := int64(0); at < st.Size(); {
		data, err := unix.Seek(int(src.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // the rest is a hole
			return nil
		}
		if err != nil {
			return fmt.Errorf("finding what %s holds: %w", from, err)
		}
		hole, err := unix.Seek(int(src.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return fmt.Errorf("finding the holes of %s: %w", from, err)
		}
		for at = data; at < hole; {
			if err := ctx.Err(); err != nil {
				return err
			}
			if _, err := dst.Seek(at, io.SeekStart); err != nil {
				return err
			}
			if _, err := src.Seek(at, io.SeekStart); err != nil {
				return err
			}
			n, err := io.CopyN(dst, src, min(copied, hole-at))
			if at += n; err != nil {
				return err
			}
		}
	}
	return nil
}
