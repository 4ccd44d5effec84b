package imageformat

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
)

// Of a VHDX (Microsoft's MS-VHDX; QEMU's block/vhdx.c).
const (
	vhdxHeader1   = 64 << 10
	vhdxHeader2   = 128 << 10
	vhdxTable1    = 192 << 10
	vhdxTable2    = 256 << 10
	vhdxHeaderLen = 4 << 10
	vhdxTableLen  = 64 << 10
	vhdxMiB       = 1 << 20
	vhdxMaxBlock  = 256 << 20
	vhdxMaxLog    = 256 << 20
	// vhdxSpareTable is how much larger than needed a block allocation table may be.
	vhdxSpareTable = 32 << 20
)

// GUIDs as they lie in the file.
const (
	guidTable          = "\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08"
	guidMetadata       = "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e"
	guidParameters     = "\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b"
	guidVirtualSize    = "\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8"
	guidPage83         = "\xab\x12\xca\xbe\xe6\xb2\x23\x45\x93\xef\xc3\x09\xe0\x00\xc7\x46"
	guidLogicalSector  = "\x1d\xbf\x41\x81\x6f\xa9\x09\x47\xba\x47\xf2\x33\xa8\xfa\xab\x5f"
	guidPhysicalSector = "\xc7\x48\xa3\xcd\x5d\x44\x71\x44\x9c\xc9\xe9\x88\x52\x51\xc5\x56"
	guidParentLocator  = "\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45\xab\xf7\xd3\xd8\x48\x34\xab\x0c"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func badVHDX(format string, args ...any) error { return unusable(vhdxMark, format, args...) }

// vhdxState is what is remembered from one window to the next.
type vhdxState struct {
	valid    bool // of the header in use
	sequence uint64
	sum      [sha256.Size]byte // of the header in use, then of the first region table
	log      extent
	logGUID  bool // there are changes in the log that were not applied
	version  uint16

	table, metadata extent
	items           [5]extent // relative to the metadata region, in the order of vhdxItems
	itemsAt         uint64    // where the window of the items begins, relative to the region
}

// vhdxItems are the metadata that every image has, with their sizes.
var vhdxItems = [5]struct {
	guid string
	len  uint64
}{{guidParameters, 8}, {guidVirtualSize, 8}, {guidPage83, 16}, {guidLogicalSector, 4}, {guidPhysicalSector, 4}}

// vhdx asks for the headers one after the other: two copies of the header, two of the region table, the metadata's table,
// the metadata.
func (i *Inspector) vhdx([]byte) error {
	s := &vhdxState{}
	i.next(vhdxHeader1, vhdxHeaderLen, func(b []byte) error {
		s.header(b)
		i.next(vhdxHeader2, vhdxHeaderLen, func(b []byte) error {
			if s.header(b); !s.valid {
				return badVHDX("neither of its headers is whole")
			}
			if err := s.headerInUse(); err != nil {
				return err
			}
			i.next(vhdxTable1, vhdxTableLen, func(b []byte) error {
				if err := s.regions(b); err != nil {
					return err
				}
				i.next(vhdxTable2, vhdxTableLen, func(b []byte) error {
					if len(b) < vhdxTableLen || sha256.Sum256(b) != s.sum {
						return badVHDX("its two region tables differ")
					}
					i.next(int64(s.metadata.off), vhdxTableLen, func(b []byte) error { return i.vhdxMetadata(s, b) })
					return nil
				})
				return nil
			})
			return nil
		})
		return nil
	})
	return nil
}

// header looks at one copy of the header and keeps it if it is whole and newer. Two of the same number have to be the
// same (Disk2VHD writes such); otherwise none is in use.
func (s *vhdxState) header(b []byte) {
	le := binary.LittleEndian
	if len(b) < vhdxHeaderLen || string(b[:4]) != "head" || vhdxSum(b) != le.Uint32(b[4:]) {
		return
	}
	sequence, sum := le.Uint64(b[8:]), sha256.Sum256(b)
	if s.valid {
		if sequence == s.sequence && sum != s.sum {
			s.valid = false
			return
		}
		if sequence <= s.sequence {
			return
		}
	}
	s.valid, s.sequence, s.sum = true, sequence, sum
	s.logGUID = !isZero(b[48:64])
	s.version = le.Uint16(b[66:])
	s.log = extent{"log", le.Uint64(b[72:]), uint64(le.Uint32(b[68:]))}
}

func (s *vhdxState) headerInUse() error {
	switch {
	case s.version != 1:
		return badVHDX("it is of version %d", s.version)
	case s.logGUID:
		return refusal("The image was not closed cleanly: it has changes in its log. Open and close it once with Hyper-V, or run qemu-img check -r all, and upload the result.")
	case s.log.off%vhdxMiB != 0, s.log.len%vhdxMiB != 0, s.log.len > vhdxMaxLog, s.log.len > 0 && s.log.off < vhdxMiB:
		return badVHDX("its log is %d bytes at %d", s.log.len, s.log.off)
	}
	return nil
}

// regions reads the region table: the block allocation table and the metadata, and nothing else.
func (s *vhdxState) regions(b []byte) error {
	le := binary.LittleEndian
	if len(b) < vhdxTableLen || string(b[:4]) != "regi" {
		return badVHDX("its region table is missing")
	}
	if vhdxSum(b) != le.Uint32(b[4:]) {
		return badVHDX("its region table's checksum is wrong")
	}
	s.sum = sha256.Sum256(b)
	if n := le.Uint32(b[8:]); n != 2 {
		return badVHDX("it has %d regions", n)
	}
	for _, e := range [][]byte{b[16:48], b[48:80]} {
		region := extent{"", le.Uint64(e[16:]), uint64(le.Uint32(e[24:]))}
		if region.off < vhdxMiB || region.off%vhdxMiB != 0 || region.off > 1<<62 || region.len == 0 || region.len%vhdxMiB != 0 {
			return badVHDX("a region is %d bytes at %d", region.len, region.off)
		}
		switch string(e[:16]) {
		case guidTable:
			region.name = "block table"
			s.table = region
		case guidMetadata:
			region.name = "metadata"
			s.metadata = region
		default:
			return badVHDX("it has a region that is not known")
		}
	}
	if s.table.len == 0 || s.metadata.len == 0 {
		return badVHDX("it has a region twice")
	}
	return nil
}

// vhdxMetadata reads the metadata's table and asks for the items.
func (i *Inspector) vhdxMetadata(s *vhdxState, b []byte) error {
	le := binary.LittleEndian
	if len(b) < vhdxTableLen || string(b[:8]) != "metadata" {
		return badVHDX("its metadata is missing")
	}
	count := int(le.Uint16(b[10:]))
	if count > vhdxTableLen/32-1 {
		return badVHDX("it has %d items of metadata", count)
	}
	for n := range count {
		e := b[32+32*n : 64+32*n]
		guid, at, length := string(e[:16]), uint64(le.Uint32(e[16:])), uint64(le.Uint32(e[20:]))
		if guid == guidParentLocator {
			return vhdxParent()
		}
		known := false
		for k, item := range vhdxItems {
			if guid != item.guid {
				continue
			}
			if s.items[k].len != 0 {
				return badVHDX("it has an item of metadata twice")
			}
			if length != item.len || at < vhdxTableLen || at+length > s.metadata.len {
				return badVHDX("an item of metadata is %d bytes at %d", length, at)
			}
			s.items[k] = extent{"", at, length}
			known = true
		}
		if !known && le.Uint32(e[24:])&4 != 0 {
			return badVHDX("it has metadata that is required but not known")
		}
	}
	begin, end := ^uint64(0), uint64(0)
	for _, item := range s.items {
		if item.len == 0 {
			return badVHDX("it lacks metadata that every image has")
		}
		begin, end = min(begin, item.off), max(end, item.off+item.len)
	}
	if end-begin > windowBytes {
		return badVHDX("its metadata is scattered")
	}
	s.itemsAt = begin
	i.next(int64(s.metadata.off+begin), int(end-begin), func(b []byte) error { return i.vhdxItemsRead(s, b, end-begin) })
	return nil
}

func vhdxParent() error {
	return refusal("The image holds only the differences to a parent image. Merge them with Hyper-V and upload the result.")
}

func (i *Inspector) vhdxItemsRead(s *vhdxState, b []byte, length uint64) error {
	if uint64(len(b)) < length {
		return badVHDX("it ends within its metadata")
	}
	le := binary.LittleEndian
	item := func(k int) []byte { return b[s.items[k].off-s.itemsAt:] }
	block, bits := uint64(le.Uint32(item(0))), le.Uint32(item(0)[4:])
	virtual := le.Uint64(item(1))
	logical, physical := le.Uint32(item(3)), le.Uint32(item(4))
	switch {
	case bits&2 != 0:
		return vhdxParent()
	case bits&^3 != 0:
		return badVHDX("it has parameters that are not known (%#x)", bits)
	case block < vhdxMiB || block > vhdxMaxBlock || !powerOfTwo(block):
		return badVHDX("its blocks are %d bytes", block)
	case logical == 4096:
		return refusal("The image has sectors of 4096 bytes; servers have disks with sectors of 512. Make it anew with such and upload the result.")
	case logical != 512, physical != 512 && physical != 4096:
		return badVHDX("its sectors are %d and %d bytes", logical, physical)
	case virtual == 0, virtual%512 != 0, virtual>>62 != 0:
		return badVHDX("its virtual size is %d bytes", virtual)
	}
	if err := i.fits(virtual); err != nil {
		return err
	}
	blocks := (virtual + block - 1) / block
	ratio := (1 << 23) * 512 / block // blocks between two entries for bitmaps
	need := 8 * (blocks + (blocks-1)/ratio)
	if s.table.len < need || s.table.len > need+vhdxSpareTable {
		return badVHDX("its block table of %d bytes does not fit %d blocks", s.table.len, blocks)
	}
	i.virtual = int64(virtual)
	i.atEnd(func(size int64) error {
		return checkExtents(vhdxMark, size, extent{"header", 0, vhdxMiB}, s.log, s.table, s.metadata)
	})
	return nil
}

// vhdxSum is the CRC-32C with the checksum's own field taken as zero.
func vhdxSum(b []byte) uint32 {
	sum := crc32.Update(0, castagnoli, b[:4])
	sum = crc32.Update(sum, castagnoli, []byte{0, 0, 0, 0})
	return crc32.Update(sum, castagnoli, b[8:])
}
