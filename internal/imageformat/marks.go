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

// headMarks lists every format whose mark the beginning bears; a bare disk or filesystem has none. b is the first window,
// or the whole image where that is shorter.
func headMarks(b []byte) (found []string) {
	add := func(name string, is bool) {
		if is {
			found = append(found, name)
		}
	}
	has := func(off int, magic string) bool {
		return len(b) >= off+len(magic) && string(b[off:off+len(magic)]) == magic
	}
	disc := false
	for _, sector := range []int{16, 17, 18} { // the first volume descriptors: ISO 9660, or UDF's extended area
		for _, magic := range []string{"CD001", "BEA01", "NSR02", "NSR03"} {
			disc = disc || has(sector*discSector+1, magic)
		}
	}
	add(isoMark, disc)
	if has(0, "QFI\xfb") {
		first := len(b) >= 8 && binary.BigEndian.Uint32(b[4:]) == 1
		add("qcow (version 1)", first)
		add(qcow2Mark, !first)
	}
	add("qed", has(0, "QED\x00"))
	// seSparse: the constant header's magic and version (QEMU's block/vmdk.c).
	add(vmdkMark, has(0, "KDMV") || has(0, "COWD") || has(0, "\xbe\xba\xfe\xca\x00\x00\x00\x00\x01\x00\x00\x00\x02") || vmdkDescriptor(b))
	add(vdiMark, has(0x40, "\x7f\x10\xda\xbe"))
	add(vhdMark, has(0, "conectix"))
	add(vhdxMark, has(0, "vhdxfile"))
	add("luks", has(0, "LUKS\xba\xbe"))
	add("parallels", has(0, "WithoutFreeSpace") || has(0, "WithouFreSpacExt"))
	add("bochs", has(0, "Bochs Virtual HD Image"))
	add("cloop", has(0, "#!/bin/sh\n#V2.0 Format"))
	return found
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
