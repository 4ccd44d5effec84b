package imageformat

import (
	"encoding/binary"
	"io"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// QCOW2Header is what a qcow2 header says, after its numbers were found to be possible (QEMU's docs/interop/qcow2.txt).
type QCOW2Header struct {
	Version       uint32
	VirtualBytes  int64
	ClusterBits   uint32
	BackingFile   string // "" where there is none
	BackingFormat string
	DataFile      bool // keeps its data in another file
	Encrypted     bool
	Corrupt       bool
	Incompatible  uint64
}

// Bits of incompatible_features.
const (
	bitDirty uint64 = 1 << iota
	bitCorrupt
	bitDataFile
	bitCompressionType
	bitExtendedL2
	knownIncompatible = bitDirty | bitCorrupt | bitDataFile | bitCompressionType | bitExtendedL2
)

// Header extensions.
const (
	extEnd           = 0
	extBackingFormat = 0xE2792ACA
	extDataFile      = 0x44415441
	extLUKS          = 0x0537BE77
)

// Limits that QEMU itself holds.
const (
	maxL1Bytes       = 32 << 20
	maxRefTableBytes = 8 << 20
	maxBackingName   = 1023
	maxExtensions    = 64
)

// ReadQCOW2 parses the header without judging what it refers to: overlays of our own have a backing file. An impossible
// header is an Invalid fault.
func ReadQCOW2(r io.ReaderAt, size int64) (QCOW2Header, error) {
	bad := func(format string, args ...any) (QCOW2Header, error) {
		return QCOW2Header{}, fault.New(fault.Invalid, "The image is no usable qcow2: "+format+".", args...)
	}
	b := make([]byte, 112)
	n, err := readAt(r, b, 0, size)
	if err != nil {
		return QCOW2Header{}, fault.Wrap(fault.Internal, err, "The image could not be read.")
	}
	if n < 72 {
		return bad("it ends within its header")
	}
	be := binary.BigEndian
	if string(b[:4]) != "QFI\xfb" {
		return bad("it does not begin with the qcow2 mark")
	}
	h := QCOW2Header{Version: be.Uint32(b[4:])}
	backingOffset, backingSize := be.Uint64(b[8:]), be.Uint32(b[16:])
	h.ClusterBits = be.Uint32(b[20:])
	virtual := be.Uint64(b[24:])
	crypt := be.Uint32(b[32:])
	l1Size, l1Offset := uint64(be.Uint32(b[36:])), be.Uint64(b[40:])
	refOffset, refClusters := be.Uint64(b[48:]), uint64(be.Uint32(b[56:]))

	headerLength, entryBits := uint64(72), uint32(3)
	switch h.Version {
	case 2:
	case 3:
		if n < 104 {
			return bad("it ends within its header")
		}
		h.Incompatible = be.Uint64(b[72:])
		headerLength = uint64(be.Uint32(b[100:]))
		if order := be.Uint32(b[96:]); order > 6 {
			return bad("its refcounts are %d bits wide", uint64(1)<<min(order, 63))
		}
		if headerLength < 104 || headerLength%8 != 0 {
			return bad("its header is %d bytes long", headerLength)
		}
		if h.Incompatible&bitExtendedL2 != 0 {
			entryBits = 4
		}
	default:
		return bad("it is version %d", h.Version)
	}
	if h.ClusterBits < 9 || h.ClusterBits > 21 {
		return bad("its clusters are 2^%d bytes", h.ClusterBits)
	}
	cluster := uint64(1) << h.ClusterBits
	if headerLength > cluster {
		return bad("its header is longer than a cluster")
	}
	if virtual == 0 || virtual > MaxVirtualBytes {
		return bad("its virtual size is %d bytes", virtual)
	}
	h.VirtualBytes = int64((virtual + 511) &^ 511)
	// The first-level table has to be within the file and to cover the disk.
	perL1 := cluster << (h.ClusterBits - entryBits)
	if l1Size*8 > maxL1Bytes || l1Size < (virtual+perL1-1)/perL1 {
		return bad("its table has %d entries for %d bytes", l1Size, virtual)
	}
	if !within(l1Offset, l1Size*8, size) || l1Offset%cluster != 0 {
		return bad("its table lies outside the file")
	}
	if refClusters == 0 || refClusters > maxRefTableBytes/cluster+1 || !within(refOffset, refClusters*cluster, size) || refOffset%cluster != 0 {
		return bad("its refcount table lies outside the file")
	}
	h.DataFile = h.Incompatible&bitDataFile != 0
	h.Corrupt = h.Incompatible&bitCorrupt != 0
	h.Encrypted = crypt != 0
	if backingOffset != 0 {
		if backingSize == 0 || backingSize > maxBackingName || backingOffset+uint64(backingSize) < backingOffset || backingOffset+uint64(backingSize) > cluster {
			return bad("its backing file's name lies outside the header")
		}
		name := make([]byte, backingSize)
		if n, err := readAt(r, name, int64(backingOffset), size); err != nil || n != len(name) {
			return bad("its backing file's name is cut off")
		}
		h.BackingFile = string(name)
	}
	return readExtensions(r, size, h, headerLength, cluster, backingOffset)
}

func readExtensions(r io.ReaderAt, size int64, h QCOW2Header, off, cluster, backingOffset uint64) (QCOW2Header, error) {
	end := cluster
	if backingOffset != 0 {
		end = min(end, backingOffset)
	}
	bad := func(why string) (QCOW2Header, error) {
		return QCOW2Header{}, fault.New(fault.Invalid, "The image is no usable qcow2: %s.", why)
	}
	for range maxExtensions {
		var e [8]byte
		if off+8 > end {
			return h, nil
		}
		if n, err := readAt(r, e[:], int64(off), size); err != nil || n != len(e) {
			return bad("its header extensions are cut off")
		}
		kind, length := binary.BigEndian.Uint32(e[:]), uint64(binary.BigEndian.Uint32(e[4:]))
		off += 8
		if kind == extEnd {
			return h, nil
		}
		if length > end-off {
			return bad("a header extension is longer than the header")
		}
		switch kind {
		case extBackingFormat:
			if length > 16 {
				return bad("its backing format's name is too long")
			}
			name := make([]byte, length)
			if n, err := readAt(r, name, int64(off), size); err != nil || n != len(name) {
				return bad("its backing format's name is cut off")
			}
			h.BackingFormat = string(name)
		case extDataFile:
			h.DataFile = true
		case extLUKS:
			h.Encrypted = true
		}
		off += (length + 7) &^ 7
	}
	return bad("it has too many header extensions")
}

// selfContained refuses every header that leads QEMU outside the image, and what cannot be booted.
func (h QCOW2Header) selfContained() error {
	switch {
	case h.BackingFile != "":
		return fault.New(fault.Invalid, "The image has a backing file. Flatten it with qemu-img convert and upload the result.")
	case h.DataFile:
		return fault.New(fault.Invalid, "The image keeps its data in another file. Convert it with qemu-img convert and upload the result.")
	case h.Incompatible&^knownIncompatible != 0:
		return fault.New(fault.Invalid, "The image uses qcow2 features that are not known (%#x).", h.Incompatible&^knownIncompatible)
	case h.Encrypted:
		return fault.New(fault.Invalid, "The image is encrypted. Upload it unencrypted.")
	case h.Corrupt:
		return fault.New(fault.Invalid, "The image is marked as corrupt. Repair it with qemu-img check -r all.")
	}
	return nil
}

func within(off, length uint64, size int64) bool {
	end := off + length
	return off != 0 && end >= off && end <= uint64(size)
}
