package guestfs

import (
	"encoding/binary"
	"io"
	"math/bits"
)

// Kind is what a partition holds.
type Kind string

// The kinds that are told apart.
const (
	Ext   Kind = "ext"
	FAT   Kind = "FAT"
	XFS   Kind = "xfs"
	Btrfs Kind = "btrfs"
	NTFS  Kind = "NTFS"
	LVM   Kind = "LVM"
	LUKS  Kind = "LUKS"
)

// Filesystem is a partition that holds one, or what holds some in its turn.
type Filesystem struct {
	Partition
	Kind Kind
}

// magics are where libblkid finds them too. Ext comes first: making one leaves what was in its first KiB.
var magics = []struct {
	kind Kind
	at   int64
	is   string
}{
	{Ext, 1024 + 56, "\x53\xef"},
	{XFS, 0, "XFSB"},
	{Btrfs, 64<<10 + 64, "_BHRfS_M"},
	{LUKS, 0, "LUKS\xba\xbe"},
	{LVM, sector, "LABELONE"}, // of the four sectors that may have it, all tools write this one
	{NTFS, 3, "NTFS    "},
}

// kindOf tells what a partition holds; "" is nothing that is known.
func kindOf(r io.ReaderAt, p Partition) (Kind, error) {
	for _, m := range magics {
		b := make([]byte, len(m.is))
		ok, err := read(r, b, p.Start+m.at)
		if err != nil {
			return "", err
		}
		if ok && p.Size >= m.at+int64(len(b)) && string(b) == m.is {
			return m.kind, nil
		}
	}
	boot := make([]byte, sector)
	if ok, err := read(r, boot, p.Start); err != nil || !ok || p.Size < sector {
		return "", err
	}
	if isFAT(boot) {
		return FAT, nil
	}
	return "", nil
}

// isFAT tells a FAT filesystem by what its boot sector must hold (Microsoft's specification 1.03): it has no magic.
func isFAT(boot []byte) bool {
	sectorBytes, clusterSectors, reserved := binary.LittleEndian.Uint16(boot[11:]), boot[13], binary.LittleEndian.Uint16(boot[14:])
	fats, media := boot[16], boot[21]
	return (boot[0] == 0xeb || boot[0] == 0xe9) && boot[510] == 0x55 && boot[511] == 0xaa &&
		sectorBytes >= 512 && sectorBytes <= 4096 && bits.OnesCount16(sectorBytes) == 1 && bits.OnesCount8(clusterSectors) == 1 &&
		reserved > 0 && (fats == 1 || fats == 2) && (media == 0xf0 || media >= 0xf8)
}
