package imageformat

import (
	"bytes"
	"encoding/binary"
)

// The names of what a content can be, as users know them.
const (
	qcow2Mark = "qcow2"
	vmdkMark  = "vmdk"
	vdiMark   = "vdi"
	vhdMark   = "vhd"
	vhdxMark  = "vhdx"
	isoMark   = "iso9660"
)

// mark is what the files of a kind have at a place near their beginning.
type mark struct {
	at    int
	magic string
	kind  string
}

func (m mark) on(b []byte) bool {
	return len(b) >= m.at+len(m.magic) && string(b[m.at:m.at+len(m.magic)]) == m.magic
}

// formats are the marks of disk images, whoever could open them. Discs and VMDK descriptors have theirs at several places.
var formats = []mark{
	{0, "QFI\xfb", qcow2Mark},
	{0, "QED\x00", "qed"},
	{0, "KDMV", vmdkMark}, {0, "COWD", vmdkMark},
	{0, "\xbe\xba\xfe\xca\x00\x00\x00\x00\x01\x00\x00\x00\x02", vmdkMark}, // seSparse: its header's magic and version (QEMU's block/vmdk.c)
	{0x40, "\x7f\x10\xda\xbe", vdiMark},
	{0, "conectix", vhdMark},
	{0, "vhdxfile", vhdxMark},
	{0, "LUKS\xba\xbe", "luks"},
	{0, "WithoutFreeSpace", "parallels"}, {0, "WithouFreSpacExt", "parallels"},
	{0, "Bochs Virtual HD Image", "bochs"},
	{0, "#!/bin/sh\n#V2.0 Format", "cloop"},
}

// headMarks lists every format whose mark the beginning bears; a bare disk or filesystem has none. b is the first window,
// or the whole image where that is shorter.
func headMarks(b []byte) (found []string) {
	if isDisc(b) {
		found = append(found, isoMark)
	}
	for _, m := range formats {
		if !m.on(b) {
			continue
		}
		if m.kind == qcow2Mark && len(b) >= 8 && binary.BigEndian.Uint32(b[4:]) == 1 {
			m.kind = "qcow (version 1)"
		}
		if !contains(found, m.kind) {
			found = append(found, m.kind)
		}
	}
	if !contains(found, vmdkMark) && vmdkDescriptor(b) {
		found = append(found, vmdkMark)
	}
	return found
}

// isDisc looks for the first volume descriptors: ISO 9660, or UDF's extended area.
func isDisc(b []byte) bool {
	for _, sector := range []int{16, 17, 18} {
		for _, magic := range []string{"CD001", "BEA01", "NSR02", "NSR03"} {
			if (mark{sector*discSector + 1, magic, isoMark}).on(b) {
				return true
			}
		}
	}
	return false
}

// tailMarks lists the formats that are told by their end. QEMU reads a file as whole sectors, so that in a file of an odd
// size it finds the last sector elsewhere than at the last 512 bytes; both places are looked at.
func tailMarks(tail []byte, size int64) (found []string) {
	for _, off := range []int64{size - 512, (size+511)&^511 - 512} {
		at := off - (size - int64(len(tail)))
		if at < 0 || at > int64(len(tail)) {
			continue
		}
		for _, mark := range []struct{ magic, name string }{{"conectix", vhdMark}, {"koly", "dmg"}} {
			if bytes.HasPrefix(tail[at:], []byte(mark.magic)) && !contains(found, mark.name) {
				found = append(found, mark.name)
			}
		}
	}
	return found
}

// vmdkDescriptor follows QEMU's vmdk probe: comment lines, empty lines, then "version=". It also knows the first line that
// every tool writes, whatever follows.
func vmdkDescriptor(b []byte) bool {
	for len(b) > 0 {
		line := b
		if end := bytes.IndexByte(b, '\n'); end >= 0 {
			line, b = b[:end], b[end+1:]
		} else {
			b = nil
		}
		line = bytes.TrimSpace(line)
		switch {
		case len(line) == 0:
		case line[0] == '#':
			if len(line) < 64 && bytes.Contains(bytes.ToLower(line), []byte("disk descriptorfile")) {
				return true
			}
		default:
			return len(line) >= 8 && bytes.EqualFold(line[:8], []byte("version="))
		}
	}
	return false
}
