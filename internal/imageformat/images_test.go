package imageformat

import (
	"encoding/binary"
	"hash/crc32"
	"strings"
)

// A change spoils, or furnishes, an image that is built in memory.
type change func(b []byte)

func be32(off int, v uint32) change { return func(b []byte) { binary.BigEndian.PutUint32(b[off:], v) } }
func be64(off int, v uint64) change { return func(b []byte) { binary.BigEndian.PutUint64(b[off:], v) } }
func le16(off int, v uint16) change {
	return func(b []byte) { binary.LittleEndian.PutUint16(b[off:], v) }
}
func le32(off int, v uint32) change {
	return func(b []byte) { binary.LittleEndian.PutUint32(b[off:], v) }
}
func le64(off int, v uint64) change {
	return func(b []byte) { binary.LittleEndian.PutUint64(b[off:], v) }
}
func text(off int, s string) change { return func(b []byte) { copy(b[off:], s) } }

func build(size int, changes ...change) []byte {
	b := make([]byte, size)
	for _, c := range changes {
		c(b)
	}
	return b
}

// raw is 64 KiB of nothing.
func raw(changes ...change) []byte { return build(64<<10, changes...) }

// qcow2Image is a version 3 image of four clusters: header, refcount table, a spare one and the first-level table.
func qcow2Image(changes ...change) []byte {
	return build(4<<16, append([]change{
		text(0, "QFI\xfb"), be32(4, 3), be32(20, 16), be64(24, 1<<30), be32(36, 2), be64(40, 3<<16), be64(48, 1<<16),
		be32(56, 1), be32(96, 4), be32(100, 104),
	}, changes...)...)
}

func backing(name string) change {
	return func(b []byte) {
		be64(8, 512)(b)
		be32(16, uint32(len(name)))(b)
		text(512, name)(b)
	}
}

// extension puts one header extension behind a qcow2's header, followed by the end mark.
func extension(kind uint32, data string) change {
	return func(b []byte) {
		be32(104, kind)(b)
		be32(108, uint32(len(data)))(b)
		text(112, data)(b)
	}
}

func be(values ...uint64) string {
	var b []byte
	for _, v := range values {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return string(b)
}

const vmdkDescription = "# Disk DescriptorFile\nversion=1\nCID=15b7f85c\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\n\n" +
	"# Extent description\nRW 2048 SPARSE \"disk.vmdk\"\n\n# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\n"

// vmdkImage is a monolithicSparse image of 1 MiB: header, 20 sectors of description, two directories.
func vmdkImage(changes ...change) []byte {
	return build(64<<10, append([]change{
		text(0, "KDMV"), le32(4, 1), le32(8, 3), le64(12, 2048), le64(20, 128), le64(28, 1), le64(36, 20), le32(44, 512),
		le64(48, 21), le64(56, 26), le64(64, 128), text(73, "\n \r\n"), text(512, vmdkDescription),
	}, changes...)...)
}

// describe replaces the description.
func describe(s string) change {
	return func(b []byte) {
		clear(b[512 : 21*512])
		copy(b[512:], s)
	}
}

// described is the description with a part of it replaced.
func described(old, with string) change {
	if !strings.Contains(vmdkDescription, old) {
		panic(old)
	}
	return describe(strings.Replace(vmdkDescription, old, with, 1))
}

// streamImage is a streamOptimized image whose directory is told by its footer.
func streamImage(changes ...change) []byte {
	footer := func(b []byte) {
		end := len(b) - 1536
		le32(end+12, 3)(b)
		copy(b[end+512:end+1024], b[:512])
		le64(end+512+56, 26)(b)
	}
	return vmdkImage(append([]change{
		le32(4, 3), le32(8, 1|vmdkCompressed|vmdkMarkers), le64(48, 0), le64(56, vmdkAtEnd), le16(77, 1),
		described("monolithicSparse", "streamOptimized"), footer,
	}, changes...)...)
}

// vdiImage is a dynamic image of 1.5 MiB, one of whose two blocks is there.
func vdiImage(changes ...change) []byte {
	return build(1024+1<<20, append([]change{
		text(0, "<<< a disk >>>\n"), le32(0x40, 0xbeda107f), le32(0x44, vdiVersion), le32(0x48, 0x180), le32(0x4c, vdiDynamic),
		le32(0x154, 512), le32(0x158, 1024), le32(0x168, 512), le64(0x170, 3<<19), le32(0x178, 1<<20), le32(0x180, 2), le32(0x184, 1),
	}, changes...)...)
}

func vhdFooterOf(kind uint32, bytes uint64) []change {
	return []change{
		text(0, "conectix"), be32(8, 2), be32(12, vhdVersion), be64(16, vhdNoHeader), text(28, "qem2"), text(36, "Wi2k"),
		be64(40, bytes), be64(48, bytes), be32(56, 0x0057<<16|4<<8|17), be32(60, kind),
	}
}

func sealVHD(at, length, sum int) change {
	return func(b []byte) { be32(at+sum, vhdSum(b[at:at+length], sum))(b) }
}

// vhdImage is a dynamic image of 3 MiB: the footer's copy, the header, the table, the footer. The checksums and the footer
// are made after the changes.
func vhdImage(changes ...change) []byte {
	all := append(vhdFooterOf(vhdDynamic, 3<<20), be64(16, 512), text(512, "cxsparse"), be64(520, vhdNoHeader), be64(528, 1536),
		be32(536, vhdVersion), be32(540, 2), be32(544, 2<<20), be64(1536, 1<<64-1)) // no block is there
	all = append(all, changes...)
	all = append(all, sealVHD(0, 512, 64), sealVHD(512, 1024, 36), func(b []byte) { copy(b[len(b)-512:], b[:512]) })
	return build(4096, all...)
}

// fixedVHD is a fixed image of 128 KiB. The changes are made to its footer; the checksum comes after them.
func fixedVHD(changes ...change) []byte {
	footer := build(512, append(append(vhdFooterOf(vhdFixed, 128<<10), changes...), sealVHD(0, 512, 64))...)
	return append(make([]byte, 128<<10), footer...)
}

// Where a built VHDX has its regions.
const (
	vhdxLogAt      = 1 << 20
	vhdxTableAt    = 2 << 20
	vhdxMetadataAt = 3 << 20
	vhdxItemsAt    = vhdxMetadataAt + 64<<10
)

// vhdxImage is an image of 1 GiB. The checksums are made, and the second region table, after the changes.
func vhdxImage(changes ...change) []byte {
	all := []change{text(0, "vhdxfile")}
	for n, at := range []int{vhdxHeader1, vhdxHeader2} {
		all = append(all, text(at, "head"), le64(at+8, uint64(7+n)), le16(at+66, 1), le32(at+68, 1<<20), le64(at+72, vhdxLogAt))
	}
	all = append(all, text(vhdxTable1, "regi"), le32(vhdxTable1+8, 2),
		text(vhdxTable1+16, guidTable), le64(vhdxTable1+32, vhdxTableAt), le32(vhdxTable1+40, 1<<20),
		text(vhdxTable1+48, guidMetadata), le64(vhdxTable1+64, vhdxMetadataAt), le32(vhdxTable1+72, 1<<20),
		text(vhdxMetadataAt, "metadata"), le16(vhdxMetadataAt+10, 5))
	at := uint32(64 << 10)
	for n, item := range vhdxItems {
		e := vhdxEntry(n)
		all = append(all, text(e, item.guid), le32(e+16, at), le32(e+20, uint32(item.len)), le32(e+24, 4))
		at += uint32(item.len)
	}
	all = append(all, le32(vhdxItemsAt, 1<<20), le64(vhdxItemsAt+8, 1<<30), le32(vhdxItemsAt+32, 512), le32(vhdxItemsAt+36, 512))
	all = append(all, changes...)
	return build(4<<20, append(all, sealVHDX)...)
}

// vhdxEntry is where the nth entry of the metadata's table lies.
func vhdxEntry(n int) int { return vhdxMetadataAt + 32 + 32*n }

func sealVHDX(b []byte) {
	for _, part := range [][2]int{{vhdxHeader1, vhdxHeaderLen}, {vhdxHeader2, vhdxHeaderLen}, {vhdxTable1, vhdxTableLen}} {
		le32(part[0]+4, vhdxSum(b[part[0]:part[0]+part[1]]))(b)
	}
	copy(b[vhdxTable2:vhdxTable2+vhdxTableLen], b[vhdxTable1:])
}

// after is a finished image with changes that no checksum covers.
func after(b []byte, changes ...change) []byte {
	for _, c := range changes {
		c(b)
	}
	return b
}

// disc is an ISO 9660 disc of 64 KiB.
func disc(changes ...change) []byte {
	const at = 16 * discSector
	return raw(append([]change{
		text(at, "\x01CD001\x01"), le32(at+80, 32), be32(at+84, 32), le16(at+128, discSector), func(b []byte) { b[at+130] = discSector >> 8 },
	}, changes...)...)
}

// partitioned is a disk with an MBR that has one partition of the type.
func partitioned(kind byte, changes ...change) []byte {
	return raw(append([]change{
		text(510, "\x55\xaa"), func(b []byte) { b[mbrEntries+4] = kind }, le32(mbrEntries+8, 1), le32(mbrEntries+12, 127),
	}, changes...)...)
}

// gptDisk is a disk with a GPT in sectors of the size. The checksum of the header is made after the changes.
func gptDisk(sector int, changes ...change) []byte {
	all := append([]change{
		text(sector, "EFI PART"), le32(sector+8, 0x10000), le32(sector+12, gptHeaderSize), le64(sector+24, 1), le64(sector+32, 127),
		le64(sector+40, 34), le64(sector+48, 94), le64(sector+72, 2), le32(sector+80, 128), le32(sector+84, 128),
		func(b []byte) { le32(sector+88, crc32.ChecksumIEEE(b[2*sector:2*sector+128*128]))(b) },
	}, changes...)
	return partitioned(protectiveType, append(all, func(b []byte) {
		le32(sector+16, 0)(b)
		le32(sector+16, crc32.ChecksumIEEE(b[sector:sector+gptHeaderSize]))(b)
	})...)
}
