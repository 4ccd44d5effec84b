package imageformat

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// raw judges what QEMU opens as raw: disks, discs, filesystems, kernels, ramdisks. Nothing in raw bytes can lead QEMU
// elsewhere, as long as nobody takes them for another format: so they may bear no mark of one. Only raw may also be a
// disc, because hybrid discs are written to sticks as raw disks.
func (i *Inspector) raw(b []byte) error {
	disc := contains(i.found, isoMark)
	declared := i.rules.Declared
	switch {
	case len(i.found) > 1, len(i.found) == 1 && !disc, disc && declared != "iso" && declared != "raw":
		return mismatch(declared, i.found)
	case declared == "iso" && !disc:
		return refusal("The image is declared to be iso but its content is no ISO 9660 or UDF disc.")
	case declared == "iso":
		if err := i.disc(b); err != nil {
			return err
		}
	case !disc && (declared == "raw" || declared == "ami"):
		if err := i.partitions(b); err != nil {
			return err
		}
	}
	i.atEnd(func(size int64) error {
		if err := i.fits(uint64(size)); err != nil {
			return err
		}
		i.virtual = (size + 511) &^ 511
		return nil
	})
	return nil
}

// discSector is the size of a disc's sectors.
const discSector = 2048

// disc checks the primary volume descriptor (ECMA-119, 8.4), which has its numbers in both byte orders. A disc of UDF
// alone has none.
func (i *Inspector) disc(b []byte) error {
	const kind = "disc"
	for _, sector := range []int{16, 17, 18} {
		if len(b) < (sector+1)*discSector {
			break
		}
		d := b[sector*discSector:]
		if d[0] != 1 || string(d[1:6]) != "CD001" {
			continue
		}
		blocks, block := binary.LittleEndian.Uint32(d[80:]), binary.LittleEndian.Uint16(d[128:])
		if blocks != binary.BigEndian.Uint32(d[84:]) || block != binary.BigEndian.Uint16(d[130:]) {
			return unusable(kind, "its size in one byte order is not its size in the other")
		}
		if block != 512 && block != 1024 && block != discSector {
			return unusable(kind, "its blocks are %d bytes", block)
		}
		i.atEnd(func(size int64) error {
			if claimed := int64(blocks) * int64(block); claimed > (size+discSector-1)&^(discSector-1) {
				return unusable(kind, "it is %d bytes but claims to be %d", size, claimed)
			}
			return nil
		})
		return nil
	}
	if contains(i.found, isoMark) && len(b) < 17*discSector {
		return unusable(kind, "it ends within its header")
	}
	return nil
}

// Where the MBR and the GPT have what is looked at (UEFI 2.10, chapter 5).
const (
	mbrEntries     = 446
	mbrEntry       = 16
	protectiveType = 0xee
	gptHeaderSize  = 92
	maxGPTEntries  = 4096
)

func badTable(format string, args ...any) error {
	return refusal("The image's partition table contradicts itself: "+format+". Repair it, for instance with sgdisk, and upload the result.", args...)
}

// partitions checks the partition table of a disk that has one. A boot sector that is no table (a bare filesystem, a boot
// loader), a table of MBR partitions, and hybrids of MBR and GPT are taken as they are; a GPT that an MBR announces has to be
// there and whole.
func (i *Inspector) partitions(b []byte) error {
	if len(b) < 512 || b[510] != 0x55 || b[511] != 0xaa {
		return nil
	}
	if b[0x10] == 2 && b[0x15] == 0xf8 { // a FAT filesystem's boot sector bears the same mark
		return nil
	}
	protective := false
	for at := mbrEntries; at < 510; at += mbrEntry {
		if b[at] != 0 && b[at] != 0x80 {
			return nil // machine code where a table would be
		}
		if b[at+4] == protectiveType {
			if binary.LittleEndian.Uint32(b[at+8:]) != 1 {
				return badTable("its protective partition does not begin where the GPT is")
			}
			protective = true
		}
	}
	if !protective {
		return nil
	}
	for _, sector := range []int{512, 4096} {
		if len(b) >= 2*sector && bytes.HasPrefix(b[sector:], []byte("EFI PART")) {
			return i.gpt(b, sector)
		}
	}
	return badTable("it announces a GPT that is not there")
}

func (i *Inspector) gpt(b []byte, sector int) error {
	le := binary.LittleEndian
	h := b[sector : 2*sector]
	length := le.Uint32(h[12:])
	if length < gptHeaderSize || length > uint32(sector) {
		return badTable("the GPT's header is %d bytes long", length)
	}
	sum := crc32.NewIEEE()
	_, _ = sum.Write(h[:16])
	_, _ = sum.Write(make([]byte, 4))
	_, _ = sum.Write(h[20:length])
	if sum.Sum32() != le.Uint32(h[16:]) {
		return badTable("the GPT header's checksum is wrong")
	}
	if le.Uint64(h[24:]) != 1 {
		return badTable("the GPT's header says that it lies elsewhere")
	}
	if le.Uint64(h[40:]) > le.Uint64(h[48:]) {
		return badTable("the GPT's usable blocks end before they begin")
	}
	first, count, each := le.Uint64(h[72:]), uint64(le.Uint32(h[80:])), uint64(le.Uint32(h[84:]))
	if each < 128 || each > 4096 || !powerOfTwo(each) || count == 0 || count > maxGPTEntries {
		return badTable("the GPT has %d entries of %d bytes", count, each)
	}
	if first < 2 || first > MaxVirtualBytes/uint64(sector) {
		return badTable("the GPT's entries begin at block %d", first)
	}
	from, n := first*uint64(sector), count*each
	if from+n <= uint64(len(b)) && crc32.ChecksumIEEE(b[from:from+n]) != le.Uint32(h[88:]) {
		return badTable("the checksum of the GPT's entries is wrong")
	}
	i.atEnd(func(size int64) error {
		if from+n > uint64(size) {
			return badTable("the GPT's entries lie outside the image")
		}
		return nil
	})
	return nil
}
