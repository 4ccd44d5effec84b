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

// Bits of autoclear_features.
const (
	bitBitmaps uint64 = 1 << iota
	bitRawExternal
)

// Header extensions.
const (
	extEnd           = 0
	extBackingFormat = 0xE2792ACA
	extDataFile      = 0x44415441
	extLUKS          = 0x0537BE77
	extBitmaps       = 0x23852875
	extFeatureNames  = 0x6803f857
)

// Limits that QEMU itself holds.
const (
	maxL1Bytes       = 32 << 20
	maxRefTableBytes = 8 << 20
	maxBackingName   = 1023
	maxExtensions    = 64
	maxSnapshots     = 65536
	maxBitmaps       = 65535
	// The smallest entries of the snapshot table and of the bitmap directory.
	minSnapshotBytes = 40
	minBitmapBytes   = 24
)

// ReadQCOW2 parses the header without judging what it refers to: overlays of our own have a backing file. An impossible
// header is an Invalid fault.
func ReadQCOW2(r io.ReaderAt, size int64) (QCOW2Header, error) {
	b := make([]byte, max(0, min(size, windowBytes)))
	if err := readFull(r, b, 0); err != nil {
		return QCOW2Header{}, fault.Wrap(fault.Internal, err, "The image could not be read.")
	}
	h, parts, err := parseQCOW2(b, MaxVirtualBytes)
	if err != nil {
		return QCOW2Header{}, err
	}
	return h, checkExtents(qcow2Mark, size, parts...)
}

// qcow2 refuses every header that leads QEMU outside the image, and what cannot be booted.
func (i *Inspector) qcow2(b []byte) error {
	h, parts, err := parseQCOW2(b, uint64(i.rules.MaxVirtualBytes))
	if err != nil {
		return err
	}
	switch {
	case h.BackingFile != "":
		return refusal("The image has a backing file. Flatten it with qemu-img convert -O qcow2 and upload the result.")
	case h.DataFile:
		return refusal("The image keeps its data in another file. Convert it with qemu-img convert -O qcow2 and upload the result.")
	case h.Incompatible&^knownIncompatible != 0:
		return refusal("The image uses qcow2 features that are not known (%#x). Convert it with qemu-img convert -O qcow2 and upload the result.", h.Incompatible&^knownIncompatible)
	case h.Encrypted:
		return refusal("The image is encrypted. Decrypt it with qemu-img convert and upload the result.")
	case h.Corrupt:
		return refusal("The image is marked as corrupt. Repair it with qemu-img check -r all and upload the result.")
	}
	i.virtual = h.VirtualBytes
	i.atEnd(func(size int64) error { return checkExtents(qcow2Mark, size, parts...) })
	return nil
}

// parseQCOW2 reads the header from the image's first window (or the whole of a smaller image), and tells which parts of
// the file it names; where the file ends is the caller's to check.
func parseQCOW2(b []byte, maxVirtual uint64) (h QCOW2Header, parts []extent, err error) {
	bad := func(format string, args ...any) (QCOW2Header, []extent, error) {
		return QCOW2Header{}, nil, unusable(qcow2Mark, format, args...)
	}
	if len(b) < 72 {
		return bad("it ends within its header")
	}
	be := binary.BigEndian
	if string(b[:4]) != "QFI\xfb" {
		return bad("it does not begin with the qcow2 mark")
	}
	h = QCOW2Header{Version: be.Uint32(b[4:]), ClusterBits: be.Uint32(b[20:])}
	backingOffset, backingSize := be.Uint64(b[8:]), uint64(be.Uint32(b[16:]))
	virtual, crypt := be.Uint64(b[24:]), be.Uint32(b[32:])
	l1Entries, l1Offset := uint64(be.Uint32(b[36:])), be.Uint64(b[40:])
	refOffset, refClusters := be.Uint64(b[48:]), uint64(be.Uint32(b[56:]))
	snapshots, snapshotsOffset := uint64(be.Uint32(b[60:])), be.Uint64(b[64:])
	headerLength, entryBits := uint64(72), uint32(3)
	var autoclear uint64
	switch h.Version {
	case 2:
	case 3:
		if len(b) < 104 {
			return bad("it ends within its header")
		}
		h.Incompatible, autoclear = be.Uint64(b[72:]), be.Uint64(b[88:])
		headerLength = uint64(be.Uint32(b[100:]))
		if order := be.Uint32(b[96:]); order > 6 {
			return bad("its refcounts are 2^%d bits wide", order)
		}
		if headerLength < 104 || headerLength%8 != 0 || headerLength > uint64(len(b)) {
			return bad("its header is %d bytes long", headerLength)
		}
		if h.Incompatible&bitExtendedL2 != 0 {
			entryBits = 4
		}
		compression := byte(0)
		if headerLength > 104 {
			compression = b[104]
		}
		if named := h.Incompatible&bitCompressionType != 0; named != (compression != 0) || compression > 1 {
			return bad("its compression type is %d, which contradicts its features or is not known", compression)
		}
	default:
		return bad("it is version %d", h.Version)
	}
	if h.ClusterBits < 9 || h.ClusterBits > 21 {
		return bad("its clusters are 2^%d bytes", h.ClusterBits)
	}
	cluster := uint64(1) << h.ClusterBits
	if entryBits == 4 && h.ClusterBits < 14 {
		return bad("its clusters are too small for extended entries")
	}
	if headerLength > cluster {
		return bad("its header is longer than a cluster")
	}
	// QEMU counts whole sectors.
	if virtual < 512 || virtual>>62 != 0 {
		return bad("its virtual size is %d bytes", virtual)
	}
	if err := fits(virtual, maxVirtual); err != nil {
		return QCOW2Header{}, nil, err
	}
	h.VirtualBytes = int64(virtual &^ 511)
	parts = append(make([]extent, 0, 5), extent{"header", 0, cluster})
	// The first-level table has to be within the file and to cover the disk.
	perL1 := cluster << (h.ClusterBits - entryBits)
	if l1Entries*8 > maxL1Bytes || l1Entries < (virtual+perL1-1)/perL1 {
		return bad("its table has %d entries for %d bytes", l1Entries, virtual)
	}
	if l1Offset%cluster != 0 {
		return bad("its table is not aligned")
	}
	parts = append(parts, extent{"table", l1Offset, l1Entries * 8})
	if refClusters == 0 || refClusters > maxRefTableBytes/cluster+1 || refOffset%cluster != 0 {
		return bad("its refcount table is %d clusters at %d", refClusters, refOffset)
	}
	parts = append(parts, extent{"refcount table", refOffset, refClusters * cluster})
	if snapshots > maxSnapshots || (snapshots > 0 && snapshotsOffset%cluster != 0) {
		return bad("it has %d snapshots at %d", snapshots, snapshotsOffset)
	}
	if snapshots > 0 {
		parts = append(parts, extent{"snapshot table", snapshotsOffset, snapshots * minSnapshotBytes})
	}
	h.DataFile = h.Incompatible&bitDataFile != 0
	h.Corrupt = h.Incompatible&bitCorrupt != 0
	h.Encrypted = crypt != 0
	if autoclear&bitRawExternal != 0 && !h.DataFile {
		return bad("it has raw external data without a data file")
	}
	// The extensions lie between the header and the backing file's name, all within the first cluster.
	end := min(cluster, uint64(len(b)))
	if backingOffset != 0 {
		if backingSize == 0 || backingSize > maxBackingName || backingOffset < headerLength || backingOffset > end || backingOffset+backingSize > end {
			return bad("its backing file's name lies outside the header")
		}
		h.BackingFile = string(b[backingOffset : backingOffset+backingSize])
		end = backingOffset
	}
	parts, err = parseExtensions(b[:end], headerLength, autoclear, cluster, &h, parts)
	if err != nil {
		return QCOW2Header{}, nil, err
	}
	return h, parts, nil
}

// parseExtensions reads the extensions from off to the end of b, and adds the parts of the file that they name.
func parseExtensions(b []byte, off, autoclear, cluster uint64, h *QCOW2Header, parts []extent) ([]extent, error) {
	bad := func(format string, args ...any) ([]extent, error) { return nil, unusable(qcow2Mark, format, args...) }
	end := uint64(len(b))
	var seen [maxExtensions]uint32
	for n := range maxExtensions {
		if off+8 > end {
			return parts, nil
		}
		kind, length := binary.BigEndian.Uint32(b[off:]), uint64(binary.BigEndian.Uint32(b[off+4:]))
		off += 8
		if kind == extEnd {
			return parts, nil
		}
		if length > end-off {
			return bad("a header extension is longer than the header")
		}
		for _, k := range seen[:n] {
			if k == kind {
				return bad("a header extension is there twice")
			}
		}
		seen[n] = kind
		data := b[off : off+length]
		switch kind {
		case extBackingFormat:
			if length > 16 {
				return bad("its backing format's name is too long")
			}
			h.BackingFormat = string(data)
		case extDataFile:
			h.DataFile = true
		case extLUKS:
			h.Encrypted = true
		case extFeatureNames:
			if length%48 != 0 {
				return bad("its table of feature names is %d bytes", length)
			}
		case extBitmaps:
			if length != 24 {
				return bad("its bitmaps extension is %d bytes", length)
			}
			if autoclear&bitBitmaps == 0 {
				break // to be ignored
			}
			count, bytes, at := binary.BigEndian.Uint32(data), binary.BigEndian.Uint64(data[8:]), binary.BigEndian.Uint64(data[16:])
			if count == 0 || count > maxBitmaps || bytes < uint64(count)*minBitmapBytes || bytes > maxL1Bytes || at%cluster != 0 {
				return bad("its %d bitmaps are listed in %d bytes at %d", count, bytes, at)
			}
			parts = append(parts, extent{"bitmap directory", at, bytes})
		}
		off += (length + 7) &^ 7
	}
	return bad("it has too many header extensions")
}
