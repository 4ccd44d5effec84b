package imageformat

import (
	"bytes"
	"slices"
	"strings"
)

// HeadBytes is how much of an image's beginning Recognise wants to see.
const HeadBytes = discSector * 19

// other is a kind of file that is no image of a disk: what it is, and what to do instead of uploading it.
type other struct{ kind, advice string }

const convert = "convert it with qemu-img convert -O qcow2 and upload the result with disk_format qcow2"

func packed(unpack string) string {
	return "unpack it first (" + unpack + ") and upload what comes out; an initial ramdisk is uploaded as it is, with disk_format ari"
}

func archive(unpack string) string {
	return "unpack it first (" + unpack + ") and upload the disk image that is in it"
}

func page(kind string) other {
	return other{kind, "a server answered with it instead of the image: look at what it says, and download the image itself"}
}

const (
	virtual = "upload the disk that it describes"
	nothing = "upload an image of a disk, such as a qcow2 of a distribution"
)

// others are the kinds by their marks. Each mark is long enough that no disk has it by chance.
var others = []struct {
	at    int
	magic string
	other
}{
	{0, "\x1f\x8b\x08", other{"a gzip file", packed("gunzip")}},
	{0, "\xfd7zXZ\x00", other{"an xz file", packed("unxz")}},
	{4, "1AY&SY", other{"a bzip2 file", packed("bunzip2")}}, // behind its name and level
	{0, "\x28\xb5\x2f\xfd", other{"a zstd file", packed("unzstd")}},
	{0, "\x04\x22\x4d\x18", other{"an lz4 file", packed("unlz4")}},
	{0, "\x02\x21\x4c\x18", other{"an lz4 file", packed("unlz4")}},
	{0, "LZIP\x01", other{"an lzip file", packed("lzip -d")}},
	{0, "\x89LZO\x00\r\n\x1a\n", other{"an lzop file", packed("lzop -d")}},
	{0, "\x1f\x9d\x90", other{"a file of compress", packed("uncompress")}},

	{257, "ustar", other{"a tar archive", archive("tar -xf")}},
	{0, "070707", other{"a cpio archive", archive("cpio -i")}}, // an older form, which no kernel takes
	{0, "PK\x03\x04", other{"a ZIP archive", archive("unzip")}},
	{0, "PK\x05\x06", other{"a ZIP archive", archive("unzip")}},
	{0, "PK\x07\x08", other{"a ZIP archive", archive("unzip")}},
	{0, "7z\xbc\xaf\x27\x1c", other{"a 7z archive", archive("7z x")}},
	{0, "Rar!\x1a\x07", other{"a rar archive", archive("unrar x")}},
	{0, "MSWIM\x00\x00\x00", other{"a WIM archive of Windows", "install from Windows' ISO, or apply it to a disk first, and upload that"}},
	{0, "WLPWM\x00\x00\x00", other{"a WIM archive of Windows", "install from Windows' ISO, or apply it to a disk first, and upload that"}},
	{0, "MSCF\x00\x00\x00\x00", other{"a cabinet file of Windows", archive("cabextract")}},
	{0, "xar!\x00\x1c", other{"a xar archive", archive("xar -xf")}},
	{0, "!<arch>\n", other{"a Debian package or a library", nothing}},
	{0, "\xed\xab\xee\xdb", other{"an RPM package", nothing}},
	{0, "\x7fELF", other{"an ELF program", "a kernel is uploaded with disk_format aki"}},

	{0, "VMA\x00", other{"a backup of Proxmox", archive("vma extract")}},
	{0, "\x3a\xff\x26\xed", other{"a sparse image of Android", "make a raw one of it (simg2img) and upload that"}},
	{0, "EVF\x09\x0d\x0a\xff\x00", other{"an image of EnCase", "make a raw one of it (ewfexport) and upload that"}},
	{0, "partclone-image", other{"an image of partclone", "restore it to a disk first (partclone.restore) and upload that"}},
	{0, "CISO\x18\x00\x00\x00", other{"a compressed ISO", "make an ISO of it and upload that"}},

	{0, "%PDF-", other{"a PDF document", nothing}},
	{0, "\x89PNG\r\n\x1a\n", other{"a picture", nothing}},
	{0, "\xff\xd8\xff\xe0", other{"a picture", nothing}},
	{0, "GIF87a", other{"a picture", nothing}},
	{0, "GIF89a", other{"a picture", nothing}},
	{0, "SQLite format 3\x00", other{"an SQLite database", nothing}},
	{0, "-----BEGIN ", other{"a key, a certificate or a signature", nothing}},
	{0, "d8:announce", other{"a torrent", "download with it what it stands for, and upload that"}},
	{0, "version https://git-lfs.github.com/", other{"a pointer of Git LFS", "fetch the file that it stands for (git lfs pull) and upload that"}},
	{0, "#cloud-config", other{"user data for cloud-init", "give it to a server when it is created; " + nothing}},
	{0, "#!/", other{"a script", nothing}},
}

// parts boot beside a disk. A kernel for x86 begins with a boot sector, as a disk does, so it is no stranger to one.
var parts = []mark{{0x202, "HdrS", "aki"}, {0x38, "ARM\x64", "aki"}, {0, "070701", "ari"}, {0, "070702", "ari"}}

// knownNonImage knows files that are no image of a disk; nil is what may be one. Where a boot sector is, a disk is.
func knownNonImage(b []byte) *other {
	if len(b) >= 512 && b[510] == 0x55 && b[511] == 0xaa {
		return nil
	}
	for _, m := range parts {
		if m.kind == "ari" && m.on(b) {
			return &other{"a cpio archive", "an initial ramdisk is uploaded with disk_format ari"}
		}
	}
	for _, o := range others {
		if (mark{o.at, o.magic, ""}).on(b) {
			found := o.other
			if name, _, _ := bytes.Cut(b[:min(100, len(b))], []byte{0}); o.magic == "ustar" && bytes.HasSuffix(bytes.ToLower(name), []byte(".ovf")) {
				found.kind = "an OVA, which is a tar archive"
			}
			return &found
		}
	}
	// LZMA has no magic of its own: the usual properties, and a size that is not known.
	if len(b) >= 13 && b[0] == 0x5d && b[1] == 0 && b[2] == 0 && isAll(b[5:13], 0xff) {
		return &other{"an lzma file", packed("unlzma")}
	}
	return webAnswer(b)
}

func isAll(b []byte, v byte) bool {
	return !slices.ContainsFunc(b, func(x byte) bool { return x != v })
}

// webAnswer knows what web servers answer with. That alone is not enough to know text by: a disk without a boot sector may
// begin with any bytes, and some of the disk labels of other machines are text.
func webAnswer(b []byte) *other {
	b = bytes.TrimPrefix(b[:min(len(b), 512)], []byte("\xef\xbb\xbf"))
	if bytes.IndexByte(b, 0) >= 0 {
		return nil
	}
	b = bytes.ToLower(bytes.TrimSpace(b))
	begins := func(with ...string) bool {
		return slices.ContainsFunc(with, func(s string) bool { return bytes.HasPrefix(b, []byte(s)) })
	}
	found := other{}
	switch {
	case begins("<!doctype html", "<html", "<head", "<body", "<title", "<script", "<!--"):
		found = page("an HTML page")
	case begins("<?xml", "<envelope", "<!doctype") && bytes.Contains(b, []byte("<envelope")):
		found = other{"the description of an OVF", virtual}
	case begins("<?xml", "<!doctype", "<error"):
		found = page("an XML document")
	case begins("{") && bytes.HasPrefix(bytes.TrimSpace(b[1:]), []byte(`"`)):
		found = page("a JSON document")
	default:
		return nil
	}
	return &found
}

// Recognise is the disk_format that a file would be uploaded with, by the marks of its beginning and, where that is known, its
// last sector; raw where there is none. It is a proposal: whether the image is one, an inspection tells. Of a file that is none,
// or one that has to be converted, trouble says what it is and what to do, to stand behind its name.
func Recognise(head, tail []byte) (disk, trouble string) {
	found := headMarks(head)
	if len(found) == 0 {
		found = tailMarks(tail, int64(len(tail)))
	}
	if len(found) > 0 {
		if format, ok := uploadAs[found[0]]; ok {
			return format, ""
		}
		return "", "is " + found[0] + ": " + convert
	}
	for _, m := range parts {
		if m.on(head) {
			return m.kind, ""
		}
	}
	if other := knownNonImage(head); other != nil {
		return "", "is " + other.kind + ": " + other.advice
	}
	return string(Raw), ""
}

// upper begins a sentence.
func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
