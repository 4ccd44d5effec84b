package imageformat

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// hostile are images that must be refused: what they are, what they are declared to be, what the refusal has to say, and
// why. Each is refused under its declaration; TestNoHostileImageIsTakenUnderAnyDeclaration tries the others.
var hostile = []struct {
	name     string
	declared string
	image    func() []byte
	says     string
	why      string
}{
	// What makes QEMU open another file.
	{"qcow2 with an absolute backing file", "qcow2", func() []byte { return qcow2Image(backing("/etc/shadow")) }, "backing file", "the guest would read the host's file (CVE-2015-5163, CVE-2022-47951)"},
	{"qcow2 with a relative backing file", "qcow2", func() []byte { return qcow2Image(backing("disk")) }, "backing file", "it would be found beside the image in the cache"},
	{"qcow2 with a json backing file", "qcow2", func() []byte { return qcow2Image(backing(`json:{"driver":"raw","file.filename":"/etc/shadow"}`)) }, "backing file", "a json: name can describe any node, network ones too"},
	{"qcow2 with a network backing file", "qcow2", func() []byte { return qcow2Image(backing("nbd://10.0.0.1/x")) }, "backing file", "the host would make connections for the guest"},
	{"qcow2 v2 with a backing file", "qcow2", func() []byte { return qcow2Image(be32(4, 2), backing("/etc/shadow")) }, "backing file", "the old version follows as well"},
	{"qcow2 with a backing name beyond the header", "qcow2", func() []byte { return qcow2Image(be64(8, 1<<40), be32(16, 10)) }, "backing file", "a parser that gives up here might take it for none"},
	{"qcow2 with a backing name that wraps around", "qcow2", func() []byte { return qcow2Image(be64(8, 1<<64-4), be32(16, 10)) }, "backing file", "offset plus length is small again"},
	{"qcow2 with a backing name within its header", "qcow2", func() []byte { return qcow2Image(be64(8, 24), be32(16, 8)) }, "backing file", "the name is the virtual size"},
	{"qcow2 with a backing offset without a length", "qcow2", func() []byte { return qcow2Image(be64(8, 512)) }, "backing file", "the offset alone makes it an overlay"},
	{"qcow2 with a backing name of 2 KiB", "qcow2", func() []byte { return qcow2Image(be64(8, 512), be32(16, 2048)) }, "backing file", "names end at 1023 bytes"},
	{"qcow2 with the data file bit", "qcow2", func() []byte { return qcow2Image(be64(72, bitDataFile)) }, "another file", "the guest's clusters are another file's (CVE-2024-32498)"},
	{"qcow2 with a data file and its name", "qcow2", func() []byte {
		return qcow2Image(be64(72, bitDataFile), extension(extDataFile, "/etc/shadow"))
	}, "another file", "the host's file would be the disk (CVE-2024-32498)"},
	{"qcow2 with a raw data file", "qcow2", func() []byte { return qcow2Image(be64(72, bitDataFile), be64(88, bitRawExternal)) }, "another file", "the same, with the other bit"},
	{"qcow2 with a data file's name without the bit", "qcow2", func() []byte { return qcow2Image(extension(extDataFile, "/etc/shadow")) }, "another file", "another reader may believe the name"},
	{"qcow2 with raw external data but no data file", "qcow2", func() []byte { return qcow2Image(be64(88, bitRawExternal)) }, "without a data file", "the bits contradict each other"},
	{"vmdk descriptor of the host's file, as vmdk", "vmdk", func() []byte {
		return []byte("# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 8 FLAT \"/etc/shadow\" 0\n")
	}, "self-contained", "the extents of a bare descriptor are files of the host (CVE-2022-47951)"},
	{"vmdk descriptor of the host's file, as raw", "raw", func() []byte {
		return []byte("# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 8 FLAT \"/etc/shadow\" 0\n")
	}, "its content is vmdk", "somebody who probes would follow it"},
	{"vmdk descriptor behind another comment", "raw", func() []byte { return []byte("# hello\n\nversion=1\nRW 1 FLAT \"/etc/shadow\" 0\n") }, "vmdk", "QEMU's probe skips comments and empty lines"},
	{"vmdk descriptor behind much blank", "raw", func() []byte {
		return []byte(strings.Repeat(" \n", 9000) + "version=2\r\nRW 1 FLAT \"/etc/shadow\" 0\n")
	}, "vmdk", "the mark need not be near the beginning"},
	{"vmdk of no capacity", "vmdk", func() []byte { return vmdkImage(le64(12, 0)) }, "capacity is zero", "QEMU then reads the embedded descriptor as a list of files"},
	{"vmdk with a flat extent", "vmdk", func() []byte {
		return vmdkImage(described("RW 2048 SPARSE \"disk.vmdk\"", "RW 2048 FLAT \"/etc/shadow\" 0"))
	}, "known", "the extent is a file of the host"},
	{"vmdk with a flat extent without an offset", "vmdk", func() []byte { return vmdkImage(described("SPARSE", "FLAT")) }, "only SPARSE", "flat extents are never embedded"},
	{"vmdk with a vmfs extent", "vmdk", func() []byte { return vmdkImage(described("SPARSE", "VMFS")) }, "only SPARSE", "VMFS extents are files"},
	{"vmdk with an absolute extent", "vmdk", func() []byte { return vmdkImage(described("disk.vmdk", "/etc/shadow")) }, "elsewhere", "the name is the host's"},
	{"vmdk with an extent in another folder", "vmdk", func() []byte { return vmdkImage(described("disk.vmdk", "../secret")) }, "elsewhere", "the name leads out of the folder"},
	{"vmdk with a Windows path as extent", "vmdk", func() []byte { return vmdkImage(described("disk.vmdk", `C:\secret`)) }, "elsewhere", "the name leads elsewhere"},
	{"vmdk with a protocol as extent", "vmdk", func() []byte { return vmdkImage(described("disk.vmdk", "nbd:10.0.0.1")) }, "elsewhere", "QEMU would connect"},
	{"vmdk with two extents", "vmdk", func() []byte {
		return vmdkImage(described("\n\n# The", "\nRW 2048 SPARSE \"other.vmdk\"\n\n# The"))
	}, "several extents", "the second lies outside"},
	{"vmdk without an extent", "vmdk", func() []byte { return vmdkImage(described("RW 2048 SPARSE \"disk.vmdk\"", "")) }, "no extent", "what the disk is made of is open"},
	{"vmdk with a parent", "vmdk", func() []byte { return vmdkImage(described("parentCID=ffffffff", "parentCID=12345678")) }, "parent image", "its other half is another file"},
	{"vmdk with a parent's name", "vmdk", func() []byte {
		return vmdkImage(described("version=1\n", "version=1\nparentFileNameHint=\"/etc/shadow\"\n"))
	}, "names another file", "QEMU opens it as the backing file"},
	{"vmdk with a parent's name in a comment", "vmdk", func() []byte {
		return vmdkImage(described("#DDB", "# parentFileNameHint=\"/etc/shadow\""))
	}, "names another file", "QEMU finds the word anywhere"},
	{"vmdk with a parent's name in the data base", "vmdk", func() []byte {
		return vmdkImage(described("ddb.virtualHWVersion = \"4\"", "ddb.x = parentFileNameHint=\"/etc/shadow\""))
	}, "names another file", "QEMU finds the word anywhere"},
	{"vmdk with a parent's name behind its descriptor", "vmdk", func() []byte {
		pad := strings.Repeat("\n", 512-len(vmdkDescription)%512)
		return vmdkImage(le64(36, uint64(len(vmdkDescription)+len(pad))/512), describe(vmdkDescription+pad+"parentFileNameHint=\"/etc/shadow\"\n"))
	}, "names another file", "QEMU reads 20 sectors whatever the header says"},
	{"vmdk with a change tracking file", "vmdk", func() []byte {
		return vmdkImage(described("version=1\n", "version=1\nchangeTrackPath=\"x-ctk.vmdk\"\n"))
	}, "names another file", "it names another file"},
	{"vmdk of kind monolithicFlat", "vmdk", func() []byte { return vmdkImage(described("monolithicSparse", "monolithicFlat")) }, "only monolithicSparse", "the data are in another file"},
	{"vmdk of kind twoGbMaxExtentSparse", "vmdk", func() []byte { return vmdkImage(described("monolithicSparse", "twoGbMaxExtentSparse")) }, "only monolithicSparse", "the data are in other files"},
	{"vmdk of kind vmfsRaw", "vmdk", func() []byte { return vmdkImage(described("monolithicSparse", "vmfsRaw")) }, "only monolithicSparse", "the data are a device of the host"},
	{"vmdk of kind fullDevice", "vmdk", func() []byte { return vmdkImage(described("monolithicSparse", "fullDevice")) }, "only monolithicSparse", "the data are a device of the host"},
	{"vmdk of no kind", "vmdk", func() []byte { return vmdkImage(described("createType=\"monolithicSparse\"\n", "")) }, "only monolithicSparse", "what it is is open"},
	{"vmdk of two kinds", "vmdk", func() []byte {
		return vmdkImage(described("createType", "createType=\"monolithicFlat\"\ncreateType"))
	}, "twice", "one reader takes the first, another the last"},
	{"vmdk of another kind in a comment", "vmdk", func() []byte {
		return vmdkImage(described("version=1", "#createType=\"monolithicFlat\"\nversion=1"))
	}, "differently", "QEMU takes the first that it finds"},
	{"vmdk COWD", "vmdk", func() []byte { return raw(text(0, "COWD")) }, "self-contained", "a vmfsSparse extent is a part of something"},
	{"vmdk seSparse", "vmdk", func() []byte { return raw(le64(0, 0xcafebabe), le64(8, 0x200000001)) }, "self-contained", "a seSparse extent is a part of something"},
	{"vhd differencing, dynamic", "vhd", func() []byte { return vhdImage(be32(60, vhdDifferencing)) }, "parent image", "its other half is another file"},
	{"vhd differencing, at its end", "vhd", func() []byte { return fixedVHD(be32(60, vhdDifferencing)) }, "parent image", "its other half is another file"},
	{"vhd with a parent's id", "vhd", func() []byte { return vhdImage(be32(512+40, 1)) }, "parent image", "it leans on another file"},
	{"vhd with a parent's name", "vhd", func() []byte { return vhdImage(text(512+64, "\x00/\x00e\x00t\x00c")) }, "parent image", "it leans on another file"},
	{"vhd with a parent's locator", "vhd", func() []byte { return vhdImage(text(512+576, "W2ku")) }, "parent image", "it leans on another file"},
	{"vhdx with a parent", "vhdx", func() []byte { return vhdxImage(le32(vhdxItemsAt+4, 2)) }, "parent image", "its other half is another file"},
	{"vhdx with a parent's locator", "vhdx", func() []byte {
		return vhdxImage(le16(vhdxMetadataAt+10, 6), text(vhdxEntry(5), guidParentLocator), le32(vhdxEntry(5)+24, 4))
	}, "parent image", "it names another file"},
	{"vdi differencing", "vdi", func() []byte { return vdiImage(le32(0x4c, vdiDifference)) }, "differences", "its other half is another file"},
	{"vdi undo", "vdi", func() []byte { return vdiImage(le32(0x4c, vdiUndo)) }, "differences", "its other half is another file"},
	{"vdi with a link", "vdi", func() []byte { return vdiImage(le32(0x1a8, 1)) }, "parent image", "it leans on another file"},
	{"vdi with a parent's id", "vdi", func() []byte { return vdiImage(le32(0x1b8, 1)) }, "parent image", "it leans on another file"},

	// What is not what it is declared to be, or two things at once.
	{"qcow2 as raw", "raw", func() []byte { return qcow2Image() }, "declared to be raw but its content is qcow2", "QEMU probes raw files, and what it finds may have a backing file (CVE-2024-40767)"},
	{"qcow2 as a kernel", "aki", func() []byte { return qcow2Image() }, "qcow2", "the same under another name"},
	{"qcow2 as a filesystem", "ami", func() []byte { return qcow2Image() }, "qcow2", "the same under another name"},
	{"qcow2 as vmdk", "vmdk", func() []byte { return qcow2Image() }, "declared to be vmdk but its content is qcow2", "the rules of one format say nothing about the other"},
	{"raw as qcow2", "qcow2", func() []byte { return raw() }, "nothing known", "QEMU refuses it, at boot"},
	{"raw as vhd", "vhd", func() []byte { return raw() }, "nothing known", "QEMU refuses it, at boot"},
	{"vmdk as raw", "raw", func() []byte { return vmdkImage() }, "vmdk", "somebody who probes would follow it"},
	{"vdi as raw", "raw", func() []byte { return vdiImage() }, "vdi", "the guest would boot from a header"},
	{"dynamic vhd as raw", "raw", func() []byte { return vhdImage() }, "vhd", "the guest would boot from a header"},
	{"fixed vhd as raw", "raw", func() []byte { return fixedVHD() }, "vhd", "it is another format, told by its end"},
	{"fixed vhd of an odd size as raw", "raw", func() []byte { return append(make([]byte, 1024), "conectix and no more"...) }, "vhd", "QEMU fills the last sector and finds the footer there"},
	{"vhdx as raw", "raw", func() []byte { return vhdxImage() }, "vhdx", "the guest would boot from a header"},
	{"disc as a kernel", "aki", func() []byte { return disc() }, "iso9660", "it is no kernel"},
	{"no disc as iso", "iso", func() []byte { return raw() }, "no ISO 9660", "there is nothing to boot from"},
	{"disc and qcow2 at once, as qcow2", "qcow2", func() []byte { return qcow2Image(text(0x8001, "CD001")) }, "ambiguous", "two readers see two images (CVE-2024-40767)"},
	{"disc and qcow2 at once, as raw", "raw", func() []byte { return qcow2Image(text(0x8001, "CD001")) }, "iso9660 and qcow2", "two readers see two images"},
	{"disc and qcow2 at once, as iso", "iso", func() []byte { return qcow2Image(text(0x8001, "CD001"), backing("/etc/shadow")) }, "iso9660 and qcow2", "the disc hides a backing file"},
	{"disc and vmdk at once", "vmdk", func() []byte { return vmdkImage(text(0x8001, "CD001")) }, "iso9660 and vmdk", "two readers see two images"},
	{"UDF disc and vdi at once", "vdi", func() []byte { return vdiImage(text(17*2048+1, "NSR02")) }, "iso9660 and vdi", "two readers see two images"},
	{"vdi and qcow2 at once", "qcow2", func() []byte { return qcow2Image(le32(0x40, 0xbeda107f)) }, "qcow2 and vdi", "two readers see two images"},
	{"qcow2 and fixed vhd at once", "qcow2", func() []byte { return append(qcow2Image(), fixedVHD()[128<<10:]...) }, "qcow2 and vhd", "one is told by its beginning, one by its end"},
	{"qcow2 and fixed vhd at once, as vhd", "vhd", func() []byte { return append(qcow2Image(), fixedVHD()[128<<10:]...) }, "qcow2", "one is told by its beginning, one by its end"},
	{"disc and fixed vhd at once", "iso", func() []byte { return append(disc(), fixedVHD()[128<<10:]...) }, "vhd", "one is told by its beginning, one by its end"},
	{"qcow2 and dmg at once", "qcow2", func() []byte { return append(qcow2Image(), build(512, text(0, "koly"))...) }, "qcow2 and dmg", "QEMU reads dmg by its end"},
	{"qcow2 and luks", "raw", func() []byte { return raw(text(0, "LUKS\xba\xbe")) }, "luks", "an encrypted disk cannot be booted here"},
	{"qcow of version 1", "qcow2", func() []byte { return qcow2Image(be32(4, 1)) }, "qcow (version 1)", "it is another format, with backing files of its own"},
	{"qed", "raw", func() []byte { return raw(text(0, "QED\x00")) }, "qed", "it has backing files, and nobody uses it"},
	{"parallels", "raw", func() []byte { return raw(text(0, "WithoutFreeSpace")) }, "parallels", "it is another format"},
	{"parallels, extended", "raw", func() []byte { return raw(text(0, "WithouFreSpacExt")) }, "parallels", "it is another format"},
	{"bochs", "raw", func() []byte { return raw(text(0, "Bochs Virtual HD Image")) }, "bochs", "it is another format"},
	{"cloop", "raw", func() []byte { return raw(text(0, "#!/bin/sh\n#V2.0 Format\n")) }, "cloop", "it is another format"},
	{"dmg", "raw", func() []byte { return raw(text(64<<10-512, "koly")) }, "dmg", "it is another format"},
	{"a format that nobody boots", "ploop", func() []byte { return raw() }, "cannot be booted", "nothing could be checked"},
	{"no declaration", "", func() []byte { return raw() }, "cannot be booted", "the format would be probed"},
	{"a declaration without end", strings.Repeat("x", 1000), func() []byte { return raw() }, "cannot be booted", "its text must not fill the answer"},
	{"nothing", "raw", func() []byte { return nil }, "empty", "there is nothing to boot from"},

	// qcow2 headers that cannot be true, or that make QEMU allocate without end.
	{"qcow2 with an unknown incompatible bit", "qcow2", func() []byte { return qcow2Image(be64(72, 1<<5)) }, "not known (0x20)", "what it means is open; the data file bit once was such a one"},
	{"qcow2 with the highest incompatible bit", "qcow2", func() []byte { return qcow2Image(be64(72, 1<<63)) }, "not known", "what it means is open"},
	{"qcow2 marked corrupt", "qcow2", func() []byte { return qcow2Image(be64(72, bitCorrupt)) }, "corrupt", "its tables may be anything"},
	{"qcow2 with AES", "qcow2", func() []byte { return qcow2Image(be32(32, 1)) }, "encrypted", "it cannot be booted"},
	{"qcow2 with an unknown cipher", "qcow2", func() []byte { return qcow2Image(be32(32, 77)) }, "encrypted", "it cannot be booted"},
	{"qcow2 with LUKS", "qcow2", func() []byte { return qcow2Image(extension(extLUKS, be(1<<16, 512))) }, "encrypted", "it cannot be booted"},
	{"qcow2 of version 4", "qcow2", func() []byte { return qcow2Image(be32(4, 4)) }, "version 4", "its header may mean anything"},
	{"qcow2 of tiny clusters", "qcow2", func() []byte { return qcow2Image(be32(20, 8)) }, "clusters", "below what the format allows"},
	{"qcow2 of huge clusters", "qcow2", func() []byte { return qcow2Image(be32(20, 63)) }, "clusters", "a shift by 63; QEMU allocates clusters"},
	{"qcow2 of clusters of 4 MiB", "qcow2", func() []byte { return qcow2Image(be32(20, 22)) }, "clusters", "one more than QEMU allows"},
	{"qcow2 of extended entries in small clusters", "qcow2", func() []byte { return qcow2Image(be64(72, bitExtendedL2), be32(20, 13)) }, "extended", "the bits contradict each other"},
	{"qcow2 of no size", "qcow2", func() []byte { return qcow2Image(be64(24, 0)) }, "virtual size", "there is nothing to boot from"},
	{"qcow2 of half a sector", "qcow2", func() []byte { return qcow2Image(be64(24, 256)) }, "virtual size", "QEMU rounds it to nothing"},
	{"qcow2 of a negative size", "qcow2", func() []byte { return qcow2Image(be64(24, 1<<63)) }, "virtual size", "sizes are signed elsewhere"},
	{"qcow2 over the limit", "qcow2", func() []byte { return qcow2Image(be64(24, 65<<40)) }, "at most", "a small file that grows to fill the host's disk"},
	{"qcow2 with a table too small", "qcow2", func() []byte { return qcow2Image(be32(36, 1)) }, "table", "the disk is larger than its table"},
	{"qcow2 with a table too large", "qcow2", func() []byte { return qcow2Image(be32(36, 1<<31)) }, "table", "QEMU would read 16 GiB"},
	{"qcow2 with a table outside the file", "qcow2", func() []byte { return qcow2Image(be64(40, 1<<40)) }, "outside", "the file is cut off or lies"},
	{"qcow2 with a table that wraps around", "qcow2", func() []byte { return qcow2Image(be64(40, 1<<64-1<<16), be32(36, 1<<20)) }, "outside", "offset plus length is small again"},
	{"qcow2 with a table in its header", "qcow2", func() []byte { return qcow2Image(be64(40, 0)) }, "overlap", "a write to the table changes the header: the guest would set its backing file"},
	{"qcow2 with a table out of step", "qcow2", func() []byte { return qcow2Image(be64(40, 3<<16+8)) }, "aligned", "tables begin at clusters"},
	{"qcow2 with its tables over one another", "qcow2", func() []byte { return qcow2Image(be64(48, 3<<16)) }, "overlap", "a write to one changes the other"},
	{"qcow2 with a refcount table outside the file", "qcow2", func() []byte { return qcow2Image(be64(48, 1<<40)) }, "refcount", "the file is cut off or lies"},
	{"qcow2 with a refcount table in its header", "qcow2", func() []byte { return qcow2Image(be64(48, 0)) }, "refcount", "a write to the table changes the header"},
	{"qcow2 without a refcount table", "qcow2", func() []byte { return qcow2Image(be32(56, 0)) }, "refcount", "every image has one"},
	{"qcow2 with many refcount tables", "qcow2", func() []byte { return qcow2Image(be32(56, 1<<31)) }, "refcount", "QEMU would read 128 TiB"},
	{"qcow2 with wide refcounts", "qcow2", func() []byte { return qcow2Image(be32(96, 60)) }, "refcount", "a shift by 60"},
	{"qcow2 with a short header", "qcow2", func() []byte { return qcow2Image(be32(100, 72)) }, "header", "version 3 has at least 104 bytes"},
	{"qcow2 with a header longer than a cluster", "qcow2", func() []byte { return qcow2Image(be32(100, 1<<31)) }, "header", "QEMU would read 2 GiB"},
	{"qcow2 with an odd header", "qcow2", func() []byte { return qcow2Image(be32(100, 105)) }, "header", "lengths are multiples of 8"},
	{"qcow2 with a compression bit alone", "qcow2", func() []byte { return qcow2Image(be64(72, bitCompressionType)) }, "compression", "the bits contradict each other"},
	{"qcow2 with a compression type alone", "qcow2", func() []byte { return qcow2Image(be32(100, 112), text(104, "\x01")) }, "compression", "the bits contradict each other"},
	{"qcow2 with an unknown compression", "qcow2", func() []byte {
		return qcow2Image(be64(72, bitCompressionType), be32(100, 112), text(104, "\x02"))
	}, "compression", "QEMU does not know it"},
	{"qcow2 with an extension longer than the header", "qcow2", func() []byte { return qcow2Image(be32(104, 1), be32(108, 1<<31)) }, "extension", "it would hide what comes behind, or run out of memory"},
	{"qcow2 with an extension that wraps around", "qcow2", func() []byte { return qcow2Image(be32(104, 1), be32(108, 1<<32-1)) }, "extension", "rounded up, its length is zero"},
	{"qcow2 with an extension twice", "qcow2", func() []byte {
		return qcow2Image(extension(extBackingFormat, "raw\x00\x00\x00\x00\x00"), be32(120, extBackingFormat), be32(124, 4))
	}, "twice", "one reader takes the first, another the last"},
	{"qcow2 with extensions without end", "qcow2", func() []byte {
		return qcow2Image(func(b []byte) {
			for n := range 1000 {
				be32(104+8*n, uint32(n+1))(b)
			}
		})
	}, "too many", "work without end"},
	{"qcow2 with a backing format of 100 bytes", "qcow2", func() []byte { return qcow2Image(extension(extBackingFormat, strings.Repeat("x", 100))) }, "backing format", "QEMU's buffer has 16"},
	{"qcow2 with half a feature name", "qcow2", func() []byte { return qcow2Image(extension(extFeatureNames, "\x00\x05half")) }, "feature names", "entries are 48 bytes"},
	{"qcow2 with many snapshots", "qcow2", func() []byte { return qcow2Image(be32(60, 1<<31), be64(64, 2<<16)) }, "snapshots", "QEMU would allocate for each"},
	{"qcow2 with snapshots outside the file", "qcow2", func() []byte { return qcow2Image(be32(60, 1), be64(64, 1<<40)) }, "snapshot table", "the file is cut off or lies"},
	{"qcow2 with snapshots in its header", "qcow2", func() []byte { return qcow2Image(be32(60, 1), be64(64, 0)) }, "overlap", "the table is the header"},
	{"qcow2 with bitmaps outside the file", "qcow2", func() []byte {
		return qcow2Image(be64(88, bitBitmaps), extension(extBitmaps, be(1<<32, 24, 1<<40)))
	}, "bitmap", "the file is cut off or lies"},
	{"qcow2 with bitmaps without end", "qcow2", func() []byte {
		return qcow2Image(be64(88, bitBitmaps), extension(extBitmaps, be(1<<32, 1<<60, 2<<16)))
	}, "bitmap", "QEMU would read it all"},
	{"qcow2 with a crooked bitmaps extension", "qcow2", func() []byte { return qcow2Image(extension(extBitmaps, "short")) }, "bitmap", "its fields would be taken from elsewhere"},
	{"qcow2 that is only a mark", "qcow2", func() []byte { return []byte("QFI\xfb\x00\x00\x00\x03") }, "ends within", "the rest would be taken for zeros"},
	{"qcow2 cut within its header", "qcow2", func() []byte { return qcow2Image()[:80] }, "ends within", "the features would be taken for zeros"},
	{"qcow2 cut before its table", "qcow2", func() []byte { return qcow2Image()[:3<<16] }, "outside", "the upload was cut off"},

	// VMDK headers.
	{"vmdk of version 4", "vmdk", func() []byte { return vmdkImage(le32(4, 4)) }, "version 4", "its header may mean anything"},
	{"vmdk of version 0", "vmdk", func() []byte { return vmdkImage(le32(4, 0)) }, "version 0", "there is none"},
	{"vmdk with unknown flags", "vmdk", func() []byte { return vmdkImage(le32(8, 1<<9)) }, "not known", "what they mean is open"},
	{"vmdk over the limit", "vmdk", func() []byte { return vmdkImage(le64(12, 1<<40)) }, "at most", "a small file that grows"},
	{"vmdk with a capacity that wraps around", "vmdk", func() []byte { return vmdkImage(le64(12, 1<<55+2048)) }, "capacity", "times 512 it is small again"},
	{"vmdk with huge grains", "vmdk", func() []byte { return vmdkImage(le64(20, 1<<40)) }, "grains", "QEMU allocates grains"},
	{"vmdk with no grains", "vmdk", func() []byte { return vmdkImage(le64(20, 0)) }, "grains", "a division by zero"},
	{"vmdk with odd grains", "vmdk", func() []byte { return vmdkImage(le64(20, 100)) }, "grains", "grains are powers of two"},
	{"vmdk with empty tables", "vmdk", func() []byte { return vmdkImage(le32(44, 0)) }, "entries", "a division by zero"},
	{"vmdk with huge tables", "vmdk", func() []byte { return vmdkImage(le32(44, 1<<30)) }, "entries", "QEMU allocates tables"},
	{"vmdk with a directory without end", "vmdk", func() []byte { return vmdkImage(le64(12, 1<<36), le64(20, 8), le32(44, 1)) }, "directory", "QEMU would read it all"},
	{"vmdk with a directory outside the file", "vmdk", func() []byte { return vmdkImage(le64(56, 1<<30)) }, "outside", "the file is cut off or lies"},
	{"vmdk with a directory that wraps around", "vmdk", func() []byte { return vmdkImage(le64(56, 1<<55+26)) }, "outside", "times 512 it is small again"},
	{"vmdk with a directory in its descriptor", "vmdk", func() []byte { return vmdkImage(le64(56, 1)) }, "overlap", "a write to one changes the other"},
	{"vmdk with a second directory outside the file", "vmdk", func() []byte { return vmdkImage(le64(48, 1<<30)) }, "outside", "the file is cut off or lies"},
	{"vmdk with its data outside the file", "vmdk", func() []byte { return vmdkImage(le64(64, 1<<30)) }, "outside", "the file is cut off"},
	{"vmdk that passed through a text transfer", "vmdk", func() []byte { return vmdkImage(text(73, "\n \n\n")) }, "line ends", "bytes were changed on the way"},
	{"vmdk compressed and not", "vmdk", func() []byte { return vmdkImage(le16(77, 1)) }, "compressed", "the fields contradict each other"},
	{"vmdk with unknown compression", "vmdk", func() []byte { return vmdkImage(le16(77, 2), le32(8, vmdkCompressed)) }, "compression", "QEMU takes it for none"},
	{"vmdk with its descriptor elsewhere", "vmdk", func() []byte { return vmdkImage(le64(28, 40)) }, "descriptor", "QEMU reads at sector 1, others there"},
	{"vmdk without a descriptor", "vmdk", func() []byte { return vmdkImage(le64(28, 0), le64(36, 0)) }, "descriptor", "it is one extent of something"},
	{"vmdk with a descriptor without end", "vmdk", func() []byte { return vmdkImage(le64(36, 1<<40)) }, "descriptor", "a reader would read it all"},
	{"vmdk cut within its descriptor", "vmdk", func() []byte { return vmdkImage()[:900] }, "ends within", "the rest would not be seen"},
	{"vmdk with a descriptor that goes on", "vmdk", func() []byte { return vmdkImage(text(5000, "RW 1 FLAT \"/etc/shadow\" 0")) }, "behind its end", "a reader that does not stop at a zero sees more"},
	{"vmdk with bytes in its descriptor", "vmdk", func() []byte { return vmdkImage(described("#DDB", "\x01\x02")) }, "plain text", "readers differ about them"},
	{"vmdk with an unknown option", "vmdk", func() []byte { return vmdkImage(described("version=1\n", "version=1\ndigestFilename=\"x\"\n")) }, "not known", "it may name another file"},
	{"vmdk with an unknown line", "vmdk", func() []byte { return vmdkImage(described("version=1\n", "version=1\nhello there\n")) }, "not known", "what it means is open"},
	{"vmdk with an extent of another size", "vmdk", func() []byte { return vmdkImage(described("2048", "4096")) }, "capacity", "the descriptor contradicts the header"},
	{"streamOptimized that is not compressed", "vmdk", func() []byte { return vmdkImage(described("monolithicSparse", "streamOptimized")) }, "contradicts", "the descriptor contradicts the header"},
	{"streamOptimized without its footer", "vmdk", func() []byte { b := streamImage(); return b[:len(b)-1536] }, "footer", "the upload was cut off"},
	{"streamOptimized with another footer", "vmdk", func() []byte {
		b := streamImage()
		return after(b, le64(len(b)-1024+12, 0))
	}, "footer", "the footer counts: its capacity of zero would make QEMU follow the descriptor"},
	{"streamOptimized with a footer that points elsewhere", "vmdk", func() []byte {
		b := streamImage()
		return after(b, le64(len(b)-1024+56, 1<<40))
	}, "outside", "the footer counts"},
	{"streamOptimized whose footer asks for a footer", "vmdk", func() []byte {
		b := streamImage()
		return after(b, le64(len(b)-1024+56, vmdkAtEnd))
	}, "footer", "a loop"},
	{"streamOptimized with a footer but no markers", "vmdk", func() []byte { return streamImage(le32(8, 1|vmdkCompressed)) }, "markers", "the fields contradict each other"},

	// VDI headers.
	{"vdi of version 2", "vdi", func() []byte { return vdiImage(le32(0x44, 2<<16)) }, "version 2.0", "its header may mean anything"},
	{"vdi of an unknown type", "vdi", func() []byte { return vdiImage(le32(0x4c, 9)) }, "type 9", "what it leans on is open"},
	{"vdi with a huge header", "vdi", func() []byte { return vdiImage(le32(0x48, 1<<31)) }, "header", "it would lie over everything"},
	{"vdi with sectors of 4096", "vdi", func() []byte { return vdiImage(le32(0x168, 4096)) }, "sectors of 4096", "QEMU does not read it"},
	{"vdi with blocks of 2 GiB", "vdi", func() []byte { return vdiImage(le32(0x178, 1<<31)) }, "blocks", "QEMU does not read it; others allocate blocks"},
	{"vdi with empty blocks", "vdi", func() []byte { return vdiImage(le32(0x178, 0)) }, "blocks", "a division by zero"},
	{"vdi of no size", "vdi", func() []byte { return vdiImage(le64(0x170, 0), le32(0x180, 0), le32(0x184, 0)) }, "virtual size", "there is nothing to boot from"},
	{"vdi over the limit", "vdi", func() []byte { return vdiImage(le64(0x170, 65<<40)) }, "at most", "a small file that grows"},
	{"vdi with too few blocks", "vdi", func() []byte { return vdiImage(le32(0x180, 1)) }, "blocks", "the disk is larger than its map"},
	{"vdi with too many blocks", "vdi", func() []byte { return vdiImage(le32(0x180, 1<<30)) }, "blocks", "QEMU would read a map of 4 GiB"},
	{"vdi with more blocks than blocks", "vdi", func() []byte { return vdiImage(le32(0x184, 3)) }, "blocks", "the fields contradict each other"},
	{"vdi with its map in its header", "vdi", func() []byte { return vdiImage(le32(0x154, 0)) }, "block map", "a write to the map changes the header"},
	{"vdi with its map out of step", "vdi", func() []byte { return vdiImage(le32(0x154, 513)) }, "block map", "QEMU reads sectors"},
	{"vdi with its data in its map", "vdi", func() []byte { return vdiImage(le32(0x158, 512)) }, "block map", "a guest's write changes the map"},
	{"vdi cut within its data", "vdi", func() []byte { return vdiImage()[:1<<20] }, "outside", "the upload was cut off"},
	{"vdi cut within its header", "vdi", func() []byte { return vdiImage()[:100] }, "ends within", "the rest would be taken for zeros"},

	// VHD headers.
	{"vhd with a wrong checksum", "vhd", func() []byte { return after(vhdImage(), be32(64, 1)) }, "checksum", "it is damaged"},
	{"fixed vhd with a wrong checksum", "vhd", func() []byte { return after(fixedVHD(), be32(128<<10+64, 1)) }, "checksum", "it is damaged"},
	{"vhd with a wrong checksum in its dynamic header", "vhd", func() []byte { return after(vhdImage(), be32(512+36, 1)) }, "checksum", "it is damaged"},
	{"vhd of version 2", "vhd", func() []byte { return vhdImage(be32(12, 0x20000)) }, "version", "its header may mean anything"},
	{"vhd of an unknown type", "vhd", func() []byte { return vhdImage(be32(60, 5)) }, "type 5", "what it leans on is open"},
	{"vhd that is fixed at its beginning", "vhd", func() []byte { return vhdImage(be32(60, vhdFixed)) }, "fixed", "QEMU takes it for dynamic, others for fixed"},
	{"vhd that is dynamic at its end only", "vhd", func() []byte { return fixedVHD(be32(60, vhdDynamic)) }, "ends like", "QEMU refuses it, others do not"},
	{"fixed vhd with a dynamic header", "vhd", func() []byte { return fixedVHD(be64(16, 512)) }, "dynamic header", "the fields contradict each other"},
	{"fixed vhd larger than its file", "vhd", func() []byte { return fixedVHD(be64(48, 1<<30)) }, "in a file", "the upload was cut off"},
	{"vhd of no size", "vhd", func() []byte { return vhdImage(be64(48, 0)) }, "0 sectors", "there is nothing to boot from"},
	{"vhd over the format's limit", "vhd", func() []byte { return vhdImage(be64(48, 1<<60)) }, "sectors", "the format ends at 2040 GiB"},
	{"vhd of two sizes", "vhd", func() []byte { return vhdImage(text(28, "wa\x00\x00")) }, "versions differ", "the size that was checked is not the one that the host's QEMU makes"},
	{"vhd with its dynamic header far away", "vhd", func() []byte { return vhdImage(be64(16, 1<<40)) }, "dynamic header lies", "the file is cut off or lies"},
	{"vhd with its dynamic header in its footer", "vhd", func() []byte { return vhdImage(be64(16, 0)) }, "dynamic header lies", "it is its own header"},
	{"vhd without a dynamic header", "vhd", func() []byte { return vhdImage(text(512, "nothing!")) }, "missing", "there is nothing to read"},
	{"vhd with a dynamic header of version 2", "vhd", func() []byte { return vhdImage(be32(536, 0x20000)) }, "version", "its header may mean anything"},
	{"vhd with empty blocks", "vhd", func() []byte { return vhdImage(be32(544, 0)) }, "blocks", "a division by zero"},
	{"vhd with odd blocks", "vhd", func() []byte { return vhdImage(be32(544, 3<<20)) }, "blocks", "blocks are powers of two"},
	{"vhd with a table too small", "vhd", func() []byte { return vhdImage(be32(540, 1)) }, "table", "the disk is larger than its table"},
	{"vhd with a table without end", "vhd", func() []byte { return vhdImage(be32(540, 1<<31)) }, "table", "QEMU would read 8 GiB"},
	{"vhd with a table outside the file", "vhd", func() []byte { return vhdImage(be64(528, 1<<40)) }, "outside", "the file is cut off or lies"},
	{"vhd with a table that wraps around", "vhd", func() []byte { return vhdImage(be64(528, 1<<64-512)) }, "outside", "offset plus length is small again"},
	{"vhd with a table in its header", "vhd", func() []byte { return vhdImage(be64(528, 512)) }, "overlap", "a write to the table changes the header"},
	{"vhd without its footer", "vhd", func() []byte { return append(vhdImage(), make([]byte, 512)...) }, "footer", "something was added, or cut off"},
	{"vhd with another footer", "vhd", func() []byte { return append(vhdImage(), fixedVHD()[128<<10:]...) }, "footer", "two readers see two images"},
	{"vhd cut within its header", "vhd", func() []byte { return vhdImage()[:700] }, "dynamic header", "the rest would not be seen"},
	{"vhd that is only a mark", "vhd", func() []byte { return []byte("conectix") }, "ends within", "the rest would be taken for zeros"},

	// VHDX headers.
	{"vhdx without a whole header", "vhdx", func() []byte { return after(vhdxImage(), le32(vhdxHeader1+4, 0), le32(vhdxHeader2+4, 0)) }, "headers", "both checksums are wrong"},
	{"vhdx with two headers of one number", "vhdx", func() []byte { return vhdxImage(le64(vhdxHeader2+8, 7), le64(vhdxHeader2+72, 8<<20)) }, "headers", "one reader takes the first, another the second"},
	{"vhdx of version 2", "vhdx", func() []byte { return vhdxImage(le16(vhdxHeader2+66, 2)) }, "version 2", "its header may mean anything"},
	{"vhdx with changes in its log", "vhdx", func() []byte { return vhdxImage(le32(vhdxHeader2+48, 1)) }, "log", "what is read depends on who reads; the log can rewrite the headers"},
	{"vhdx with a log without end", "vhdx", func() []byte { return vhdxImage(le32(vhdxHeader2+68, 1<<31)) }, "log", "a reader would read it all"},
	{"vhdx with a log out of step", "vhdx", func() []byte { return vhdxImage(le64(vhdxHeader2+72, 1<<20+512)) }, "log", "the parts lie at whole MiB"},
	{"vhdx with a log in its header", "vhdx", func() []byte { return vhdxImage(le64(vhdxHeader2+72, 0)) }, "log", "a write to the log changes the header"},
	{"vhdx with a log over its table", "vhdx", func() []byte { return vhdxImage(le64(vhdxHeader2+72, vhdxTableAt)) }, "overlap", "a write to one changes the other"},
	{"vhdx without a region table", "vhdx", func() []byte { return vhdxImage(text(vhdxTable1, "none")) }, "region table", "there is nothing to read"},
	{"vhdx with a wrong checksum", "vhdx", func() []byte { return after(vhdxImage(), le32(vhdxTable1+100, 1)) }, "checksum", "it is damaged"},
	{"vhdx with two region tables", "vhdx", func() []byte { return after(vhdxImage(), le32(vhdxTable2+100, 1)) }, "differ", "one reader takes the first, another the second"},
	{"vhdx with many regions", "vhdx", func() []byte { return vhdxImage(le32(vhdxTable1+8, 1<<31)) }, "regions", "a reader would read it all"},
	{"vhdx with an unknown region", "vhdx", func() []byte { return vhdxImage(text(vhdxTable1+16, "what is this....")) }, "not known", "what it means is open"},
	{"vhdx with a region twice", "vhdx", func() []byte { return vhdxImage(text(vhdxTable1+16, guidMetadata)) }, "twice", "one reader takes the first, another the last"},
	{"vhdx with a region in its header", "vhdx", func() []byte { return vhdxImage(le64(vhdxTable1+64, 0)) }, "region", "the header would be read as metadata"},
	{"vhdx with a region out of step", "vhdx", func() []byte { return vhdxImage(le64(vhdxTable1+64, 3<<20+4096)) }, "region", "the parts lie at whole MiB"},
	{"vhdx with a region that wraps around", "vhdx", func() []byte { return vhdxImage(le64(vhdxTable1+64, 1<<64-1<<20)) }, "region", "offset plus length is small again"},
	{"vhdx with a table outside the file", "vhdx", func() []byte { return vhdxImage(le64(vhdxTable1+32, 1<<40)) }, "outside", "the file is cut off or lies"},
	{"vhdx with its metadata outside the file", "vhdx", func() []byte { return vhdxImage(le64(vhdxTable1+64, 1<<40)) }, "metadata", "the file is cut off or lies"},
	{"vhdx with its regions over one another", "vhdx", func() []byte { return vhdxImage(le64(vhdxTable1+32, vhdxMetadataAt)) }, "overlap", "a write to one changes the other"},
	{"vhdx with an empty region", "vhdx", func() []byte { return vhdxImage(le32(vhdxTable1+40, 0)) }, "region", "there is nothing to read"},
	{"vhdx without metadata", "vhdx", func() []byte { return vhdxImage(text(vhdxMetadataAt, "nothing!")) }, "metadata", "there is nothing to read"},
	{"vhdx with metadata without end", "vhdx", func() []byte { return vhdxImage(le16(vhdxMetadataAt+10, 65535)) }, "items", "the table would run into the items"},
	{"vhdx with metadata twice", "vhdx", func() []byte { return vhdxImage(text(vhdxEntry(2), guidVirtualSize), le32(vhdxEntry(2)+20, 8)) }, "twice", "one reader takes the first, another the last"},
	{"vhdx without a virtual size", "vhdx", func() []byte { return vhdxImage(le16(vhdxMetadataAt+10, 1)) }, "lacks", "what it is is open"},
	{"vhdx with unknown metadata", "vhdx", func() []byte {
		return vhdxImage(le16(vhdxMetadataAt+10, 6), text(vhdxEntry(5), "what is this...."), le32(vhdxEntry(5)+24, 4))
	}, "not known", "it says itself that it has to be understood"},
	{"vhdx with an item in its table", "vhdx", func() []byte { return vhdxImage(le32(vhdxEntry(1)+16, 0)) }, "item", "the table would be read as the size"},
	{"vhdx with an item outside its region", "vhdx", func() []byte { return vhdxImage(le32(vhdxEntry(1)+16, 1<<20)) }, "item", "another part would be read as the size"},
	{"vhdx with an item of another length", "vhdx", func() []byte { return vhdxImage(le32(vhdxEntry(1)+20, 4)) }, "item", "its neighbour would be a part of it"},
	{"vhdx with scattered metadata", "vhdx", func() []byte { return vhdxImage(le32(vhdxEntry(1)+16, 1<<20-8)) }, "scattered", "it is more than is held at once"},
	{"vhdx with tiny blocks", "vhdx", func() []byte { return vhdxImage(le32(vhdxItemsAt, 4096)) }, "blocks", "its table would be without end"},
	{"vhdx with odd blocks", "vhdx", func() []byte { return vhdxImage(le32(vhdxItemsAt, 3<<20)) }, "blocks", "blocks are powers of two"},
	{"vhdx with unknown parameters", "vhdx", func() []byte { return vhdxImage(le32(vhdxItemsAt+4, 1<<7)) }, "not known", "what they mean is open"},
	{"vhdx with sectors of 4096", "vhdx", func() []byte { return vhdxImage(le32(vhdxItemsAt+32, 4096)) }, "sectors of 4096", "QEMU would show it with sectors of 512: nothing is where it was"},
	{"vhdx with empty sectors", "vhdx", func() []byte { return vhdxImage(le32(vhdxItemsAt+32, 0)) }, "sectors", "a division by zero"},
	{"vhdx of no size", "vhdx", func() []byte { return vhdxImage(le64(vhdxItemsAt+8, 0)) }, "virtual size", "there is nothing to boot from"},
	{"vhdx of an odd size", "vhdx", func() []byte { return vhdxImage(le64(vhdxItemsAt+8, 1<<30+1)) }, "virtual size", "it is no number of sectors"},
	{"vhdx over the limit", "vhdx", func() []byte { return vhdxImage(le64(vhdxItemsAt+8, 65<<40)) }, "at most", "a small file that grows"},
	{"vhdx with a table too small", "vhdx", func() []byte { return vhdxImage(le64(vhdxItemsAt+8, 1<<40)) }, "block table", "the disk is larger than its table"},
	{"vhdx with a table too large", "vhdx", func() []byte { return vhdxImage(le32(vhdxTable1+40, 1<<30)) }, "block table", "QEMU would read 1 GiB"},
	{"vhdx cut before its metadata", "vhdx", func() []byte { return vhdxImage()[:3<<20] }, "metadata", "the upload was cut off"},
	{"vhdx cut within its metadata", "vhdx", func() []byte { return vhdxImage()[:vhdxItemsAt+20] }, "metadata", "the upload was cut off"},
	{"vhdx cut within its headers", "vhdx", func() []byte { return vhdxImage()[:100<<10] }, "ends within", "the upload was cut off"},
	{"vhdx that is only a mark", "vhdx", func() []byte { return []byte("vhdxfile") }, "ends within", "there is nothing to read"},

	// Discs and disks.
	{"disc of two sizes", "iso", func() []byte { return disc(be32(16*2048+84, 31)) }, "byte order", "two readers see two sizes"},
	{"disc larger than its file", "iso", func() []byte { return disc(le32(16*2048+80, 33), be32(16*2048+84, 33)) }, "claims", "the upload was cut off"},
	{"disc with empty blocks", "iso", func() []byte { return disc(le16(16*2048+128, 0), text(16*2048+130, "\x00\x00")) }, "blocks", "a division by zero"},
	{"disc cut within its header", "iso", func() []byte { return disc()[:16*2048+100] }, "ends within", "the upload was cut off"},
	{"disk that announces a GPT without one", "raw", func() []byte { return partitioned(protectiveType) }, "not there", "readers differ about what is on it"},
	{"disk whose GPT is announced elsewhere", "raw", func() []byte { return gptDisk(512, le32(mbrEntries+8, 100)) }, "protective", "readers differ about where it is"},
	{"disk whose GPT has a wrong checksum", "raw", func() []byte { return after(gptDisk(512), le32(512+16, 1)) }, "checksum", "it is damaged"},
	{"disk whose GPT has a huge header", "raw", func() []byte { return gptDisk(512, le32(512+12, 1<<31)) }, "bytes long", "the checksum would be over everything"},
	{"disk whose GPT says that it is elsewhere", "raw", func() []byte { return gptDisk(512, le64(512+24, 127)) }, "elsewhere", "it is the copy, or moved"},
	{"disk whose GPT has entries outside", "raw", func() []byte { return gptDisk(512, le64(512+72, 1<<20)) }, "outside", "the file is cut off or lies"},
	{"disk whose GPT has entries that wrap around", "raw", func() []byte { return gptDisk(512, le64(512+72, 1<<55+2)) }, "block 360", "times 512 it is small again"},
	{"disk whose GPT has entries in its MBR", "ami", func() []byte { return gptDisk(512, le64(512+72, 0)) }, "begin at block 0", "a write to one changes the other"},
	{"disk whose GPT has entries without end", "raw", func() []byte { return gptDisk(512, le32(512+80, 1<<31)) }, "entries", "a reader would read it all"},
	{"disk whose GPT has damaged entries", "raw", func() []byte { return after(gptDisk(512), le32(1024, 1)) }, "entries", "the partitions are not the ones that were written"},
	{"disk whose GPT has no room", "raw", func() []byte { return gptDisk(512, le64(512+40, 95)) }, "end before", "the fields contradict each other"},
}

// stream shows the image to an Inspector in pieces of the size.
func stream(b []byte, piece int, rules Rules) (Info, error) {
	look := New(rules)
	for len(b) > 0 {
		n := min(piece, len(b))
		_, _ = look.Write(b[:n])
		b = b[n:]
	}
	return look.Finish()
}

func TestAHostileImageIsRefusedWithItsReason(t *testing.T) {
	require.Greater(t, len(hostile), 90)
	names := map[string]bool{}
	for _, c := range hostile {
		require.False(t, names[c.name], c.name)
		require.NotEmpty(t, c.why, c.name)
		names[c.name] = true
		t.Run(c.name, func(t *testing.T) {
			b := c.image()
			got, err := Inspect(bytes.NewReader(b), int64(len(b)), Rules{Declared: c.declared})
			require.Error(t, err, "%s: it was taken as %+v", c.why, got)
			require.ErrorContains(t, err, c.says)
			require.True(t, fault.Is(err, fault.Invalid))
			require.Less(t, len(err.Error()), 400)
			for _, piece := range []int{1 << 20, 4093} {
				_, again := stream(b, piece, Rules{Declared: c.declared})
				require.EqualError(t, again, err.Error(), "in pieces of %d", piece)
			}
		})
	}
}

// wronglyDeclared are good images: only their declaration is wrong.
var wronglyDeclared = map[string]string{
	"qcow2 as raw": "qcow2", "qcow2 as a kernel": "qcow2", "qcow2 as a filesystem": "qcow2", "qcow2 as vmdk": "qcow2",
	"vmdk as raw": "vmdk", "vdi as raw": "vdi", "dynamic vhd as raw": "vhd", "fixed vhd as raw": "vhd", "vhdx as raw": "vhdx",
}

// Under another declaration a hostile image may be harmless: damaged headers that nobody looks at as such. Never may it be
// taken as a container, and never as raw bytes while it bears the mark of one.
func TestNoHostileImageIsTakenUnderAnyDeclaration(t *testing.T) {
	for _, c := range hostile {
		b := c.image()
		marked := false
		for _, mark := range append(headMarks(b[:min(len(b), windowBytes)]), tailMarks(b, int64(len(b)))...) {
			marked = marked || mark != isoMark
		}
		for declared, format := range declaredAs {
			info, err := Inspect(bytes.NewReader(b), int64(len(b)), Rules{Declared: declared})
			if err != nil {
				require.True(t, fault.Is(err, fault.Invalid), "%s as %s: %v", c.name, declared, err)
				continue
			}
			if wronglyDeclared[c.name] == declared {
				continue
			}
			require.Equal(t, Raw, format, "%s was taken as %s: %+v", c.name, declared, info)
			require.False(t, marked, "%s was taken as %s: %+v", c.name, declared, info)
		}
	}
}

func TestAnImageOverTheCallersLimitIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		declared string
		image    []byte
		bytes    int64
	}{
		"raw": {"raw", raw(), 64 << 10}, "qcow2": {"qcow2", qcow2Image(), 1 << 30}, "vmdk": {"vmdk", vmdkImage(), 1 << 20},
		"vdi": {"vdi", vdiImage(), 3 << 19}, "vhd": {"vhd", vhdImage(), 3 << 20}, "fixed vhd": {"vhd", fixedVHD(), 128 << 10},
		"vhdx": {"vhdx", vhdxImage(), 1 << 30}, "iso": {"iso", disc(), 64 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			for _, limit := range []int64{c.bytes, 0, 1 << 62} {
				got, err := Inspect(bytes.NewReader(c.image), int64(len(c.image)), Rules{Declared: c.declared, MaxVirtualBytes: limit})
				require.NoError(t, err)
				require.Equal(t, c.bytes, got.VirtualBytes)
			}
			_, err := Inspect(bytes.NewReader(c.image), int64(len(c.image)), Rules{Declared: c.declared, MaxVirtualBytes: c.bytes - 1})
			require.ErrorContains(t, err, "at most")
			require.True(t, fault.Is(err, fault.Invalid))
		})
	}
}

// The text is the user's only help: it says what is wrong and, but for what cannot be repaired, what to do.
func TestARefusalSaysWhatToDo(t *testing.T) {
	for _, c := range hostile {
		b := c.image()
		_, err := Inspect(bytes.NewReader(b), int64(len(b)), Rules{Declared: c.declared})
		said := fault.Public(err)
		helped := false
		for _, help := range []string{"qemu-img", "VBoxManage", "Hyper-V", "sgdisk", "disk_format", "Merge", "Make it anew", "is empty", " and ", "no ISO 9660"} {
			helped = helped || strings.Contains(said, help)
		}
		require.True(t, helped, "%s: %s", c.name, said)
		require.True(t, strings.HasPrefix(said, "The image") || strings.HasPrefix(said, "Images of format"), said)
	}
}

func ExampleInspector() {
	look := New(Rules{Declared: "raw"})
	_, _ = look.Write([]byte("QFI\xfb"))
	_, _ = look.Write(binary.BigEndian.AppendUint32(nil, 3))
	_, err := look.Finish()
	fmt.Println(err)
	// Output: The image is declared to be raw but its content is qcow2. Upload it with disk_format qcow2.
}
