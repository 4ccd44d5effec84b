// Package imageformat tells what a disk image is by looking at its headers, and refuses what could make QEMU read or write
// anything but the image itself, what contradicts itself, and what is larger than allowed. It is the only judge: only what
// passed here may be given to qemu-img or QEMU, and then with its Format named, so that nothing is probed again. qemu-img
// is no judge: `qemu-img info` opens backing files, VMDK extents and data files.
//
// It runs no program, follows no name, trusts no field, and holds at most MaxMemory bytes however large the image is and
// whatever it says. The same rules are applied in two ways, by the same code, so that they cannot disagree:
//
//   - An upload passes by once. An Inspector is an io.Writer that is shown every byte and keeps only the headers:
//
//     look := imageformat.New(imageformat.Rules{Declared: "qcow2"})
//     n, err := io.Copy(io.MultiWriter(store, look), body)
//     ...
//     info, err := look.Finish() // before the bytes are published; an Invalid fault is the refusal
//
//     Refused tells early, after the first 64 KiB for most images, that what follows need not be received.
//
//   - A file is read at random, again on each host before its use: Inspect(file, size, rules).
//
// The rules follow OpenStack's oslo_utils.imageutils.format_inspector and Glance's use of it: the content has to be what
// disk_format says, and exactly that. Where QEMU looks at more than the format's specification says (a VMDK's descriptor
// is 20 sectors for it, whatever the header says), QEMU's view is the one that is judged.
package imageformat

import (
	"fmt"
	"io"
	"strings"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Format is the name of the QEMU driver that opens an image: what qemu-img takes as -f, and QEMU as driver.
type Format string

// The formats that an accepted image can have.
const (
	Raw   Format = "raw"
	QCOW2 Format = "qcow2" // versions 2 and 3
	VMDK  Format = "vmdk"  // monolithicSparse and streamOptimized
	VDI   Format = "vdi"
	VHD   Format = "vpc" // QEMU's name of it
	VHDX  Format = "vhdx"
)

// Backs says whether servers' disks may lean on an image of the format while they run. The others are read once, by
// qemu-img convert: their drivers were made for conversion.
func (f Format) Backs() bool { return f == Raw || f == QCOW2 }

// Info is what an accepted image is.
type Info struct {
	Format       Format
	VirtualBytes int64 // the size that the guest sees, as QEMU computes it; a positive multiple of 512
}

// declaredAs maps Glance's disk_format to how QEMU opens it. An iso is the bytes of a disc, ami, aki and ari are the
// bytes of a filesystem, a kernel and a ramdisk.
var declaredAs = map[string]Format{
	"qcow2": QCOW2, "vmdk": VMDK, "vdi": VDI, "vhd": VHD, "vhdx": VHDX,
	"raw": Raw, "iso": Raw, "ami": Raw, "aki": Raw, "ari": Raw,
}

// MaxVirtualBytes bounds what an image may claim to be where the rules say nothing else: 64 TiB, VHDX's own limit.
const MaxVirtualBytes = 64 << 40

// Rules are the caller's.
type Rules struct {
	// Declared is Glance's disk_format: what the content has to be. Case does not matter.
	Declared string
	// MaxVirtualBytes is the largest disk that is taken; 0 is the package's MaxVirtualBytes, which it cannot exceed.
	MaxVirtualBytes int64
	// Upload refuses what would do no harm and that nobody can boot as a disk: a compressed image, an archive, a page that says
	// that there is no such file. Whoever inspects again what was taken once leaves it out.
	Upload bool
}

// Inspect judges an image that can be read at random, such as a host's file, by the same rules as an Inspector. It reads
// the headers only, 0.3 MiB at most. Refusals are Invalid faults; a source that cannot be read is an Internal fault.
func Inspect(r io.ReaderAt, size int64, rules Rules) (Info, error) {
	i := New(rules)
	unreadable := func(err error) (Info, error) {
		return Info{}, fault.Wrap(fault.Internal, err, "The image could not be read.")
	}
	for i.stage != nil && i.begin < size {
		b := i.window[:min(int64(i.length), size-i.begin)]
		if err := readFull(r, b, i.begin); err != nil {
			return unreadable(err)
		}
		i.window = b
		if len(b) < i.length {
			break // Finish shows the stage that the image ends here
		}
		i.advance()
	}
	i.size = max(size, 0)
	i.tailLen = int(min(i.size, tailBytes))
	if i.refused == nil {
		if err := readFull(r, i.tail[:i.tailLen], i.size-int64(i.tailLen)); err != nil {
			return unreadable(err)
		}
	}
	return i.Finish()
}

// readFull is ReadAt for readers that may answer less.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%d of %d bytes at %d: %w", n, len(p), off, err)
}

func refusal(format string, args ...any) error { return fault.New(fault.Invalid, format, args...) }

// unusable is the refusal of headers that cannot be true.
func unusable(kind, format string, args ...any) error {
	return refusal("The image is no usable %s: %s. It may be damaged or cut off. Make it anew with qemu-img convert and upload the result.",
		kind, fmt.Sprintf(format, args...))
}

// mismatch is the refusal of a content that was not declared.
func mismatch(declared string, found []string) error {
	text := fmt.Sprintf("The image is declared to be %s but its content is %s.", declared, strings.Join(found, " and "))
	if len(found) == 1 {
		if disk, ok := uploadAs[found[0]]; ok {
			return refusal("%s Upload it with disk_format %s.", text, disk)
		}
		return refusal("%s %s.", text, upper(convert))
	}
	return refusal("%s", text)
}

// uploadAs is the disk_format that a content would be taken with.
var uploadAs = map[string]string{
	qcow2Mark: "qcow2", vmdkMark: "vmdk", vdiMark: "vdi", vhdMark: "vhd", vhdxMark: "vhdx", isoMark: "iso",
}
