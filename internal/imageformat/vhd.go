package imageformat

import (
	"bytes"
	"encoding/binary"
)

// Of a VHD (Microsoft's Virtual Hard Disk Image Format Specification; QEMU's block/vpc.c).
const (
	vhdFixed        = 2
	vhdDynamic      = 3
	vhdDifferencing = 4
	vhdVersion      = 0x00010000
	vhdNoHeader     = 1<<64 - 1
	vhdFooter       = 512
	vhdHeader       = 1024 // of a dynamic disk
	vhdMaxSectors   = 0xff000000
	// vhdMaxGeometry is the largest disk that cylinders, heads and sectors can tell; the size field counts there.
	vhdMaxGeometry = 65535 * 16 * 255
	vhdMaxTable    = 32 << 20 // of the block allocation table, as for a qcow2's
)

// vhdBySize are the creators whose size field QEMU believes; for others the geometry counts.
var vhdBySize = []string{"win ", "qem2", "d2v ", "tap\x00", "CTXS"}

// vhdDisputed is the creator (Azure) of whom newer versions of QEMU believe the size and older ones the geometry.
const vhdDisputed = "wa\x00\x00"

func badVHD(format string, args ...any) error { return unusable(vhdMark, format, args...) }

// vhd judges the beginning: a dynamic disk has a copy of its footer there, a fixed one the guest's own bytes.
func (i *Inspector) vhd(b []byte) error {
	if len(i.found) == 0 {
		i.atEnd(i.vhdFixed)
		return nil
	}
	if len(b) < vhdFooter {
		return badVHD("it ends within its header")
	}
	footer := append([]byte(nil), b[:vhdFooter]...)
	kind, virtual, err := vhdSize(footer)
	if err != nil {
		return err
	}
	if kind != vhdDynamic { // QEMU takes it for a dynamic one
		return badVHD("it begins like a dynamic disk but says that it is fixed")
	}
	if err := i.fits(virtual); err != nil {
		return err
	}
	be := binary.BigEndian
	at := be.Uint64(footer[16:])
	if at < vhdFooter || at%512 != 0 || at > windowBytes-vhdHeader || at+vhdHeader > uint64(len(b)) {
		return badVHD("its dynamic header lies at %d", at)
	}
	h := b[at : at+vhdHeader]
	table, entries, block := be.Uint64(h[16:]), uint64(be.Uint32(h[28:])), uint64(be.Uint32(h[32:]))
	switch {
	case string(h[:8]) != "cxsparse":
		return badVHD("its dynamic header is missing")
	case vhdSum(h, 36) != be.Uint32(h[36:]):
		return badVHD("its dynamic header's checksum is wrong")
	case be.Uint32(h[24:]) != vhdVersion:
		return badVHD("its dynamic header is of version %#x", be.Uint32(h[24:]))
	case !isZero(h[40:56]), !isZero(h[64:576]), !isZero(h[576:768]):
		return refusal("The image names a parent image. Merge them and upload the result.")
	case !powerOfTwo(block), block < 4096, block > 256<<20:
		return badVHD("its blocks are %d bytes", block)
	case entries*block < virtual, entries*4 > vhdMaxTable:
		return badVHD("its table has %d entries of %d bytes for %d bytes", entries, block, virtual)
	case table%512 != 0:
		return badVHD("its table is not aligned")
	}
	i.virtual = int64(virtual)
	i.atEnd(func(size int64) error {
		if size%512 != 0 || i.tailLen < vhdFooter || !bytes.Equal(i.tail[i.tailLen-vhdFooter:i.tailLen], footer) {
			return badVHD("its footer is not the copy at its beginning")
		}
		return checkExtents(vhdMark, size, extent{"footer's copy", 0, vhdFooter}, extent{"dynamic header", at, vhdHeader},
			extent{"table", table, entries * 4}, extent{"footer", uint64(size) - vhdFooter, vhdFooter})
	})
	return nil
}

func (i *Inspector) vhdFixed(size int64) error {
	if size%512 != 0 || i.tailLen < vhdFooter || !bytes.HasPrefix(i.tail[i.tailLen-vhdFooter:], []byte("conectix")) {
		return mismatchUnknown(i.rules.Declared)
	}
	footer := i.tail[i.tailLen-vhdFooter : i.tailLen]
	kind, virtual, err := vhdSize(footer)
	if err != nil {
		return err
	}
	if kind != vhdFixed {
		return badVHD("it ends like a dynamic disk but does not begin like one")
	}
	if binary.BigEndian.Uint64(footer[16:]) != vhdNoHeader {
		return badVHD("it is fixed but names a dynamic header")
	}
	if virtual > uint64(size)-vhdFooter {
		return badVHD("it is a disk of %d bytes in a file of %d", virtual, size)
	}
	i.virtual = int64(virtual)
	return nil
}

// vhdSize checks a footer and gives its type and the size that QEMU makes of it.
func vhdSize(f []byte) (kind uint32, virtual uint64, err error) {
	be := binary.BigEndian
	if vhdSum(f, 64) != be.Uint32(f[64:]) {
		return 0, 0, badVHD("its footer's checksum is wrong")
	}
	if v := be.Uint32(f[12:]); v != vhdVersion {
		return 0, 0, badVHD("it is of version %#x", v)
	}
	switch kind = be.Uint32(f[60:]); kind {
	case vhdFixed, vhdDynamic:
	case vhdDifferencing:
		return 0, 0, refusal("The image holds only the differences to a parent image. Merge them and upload the result.")
	default:
		return 0, 0, badVHD("it is of type %d", kind)
	}
	sectors := uint64(be.Uint16(f[56:])) * uint64(f[58]) * uint64(f[59])
	bySize := be.Uint64(f[48:]) / 512
	switch creator := string(f[28:32]); {
	case sectors == vhdMaxGeometry, contains(vhdBySize, creator):
		sectors = bySize
	case creator == vhdDisputed && sectors != bySize:
		return 0, 0, refusal("The image is a VHD of Azure's, about whose size QEMU's versions differ: %d or %d bytes. Convert it with "+
			"qemu-img convert -O qcow2 --image-opts driver=vpc,force_size_calc=current_size,file.filename=FILE and upload the result.", sectors*512, bySize*512)
	}
	if sectors == 0 || sectors > vhdMaxSectors {
		return 0, 0, badVHD("it is a disk of %d sectors", sectors)
	}
	return kind, sectors * 512, nil
}

// vhdSum is the complement of the sum of all bytes but the checksum's own four.
func vhdSum(b []byte, at int) uint32 {
	sum := uint32(0)
	for n, v := range b {
		if n < at || n >= at+4 {
			sum += uint32(v)
		}
	}
	return ^sum
}
