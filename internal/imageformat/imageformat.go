// Package imageformat tells what a disk image is by reading a few headers of it, and refuses what could make QEMU read or
// write anything but the image itself. It reads a bounded number of bytes, runs no program and trusts no field; only what
// passed here may be given to qemu-img or QEMU, and then with its format named. The rules follow OpenStack's
// oslo_utils.imageutils.format_inspector.
package imageformat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Format is how QEMU has to open an image.
type Format string

// Formats that may be used.
const (
	Raw   Format = "raw"
	QCOW2 Format = "qcow2"
)

// Info is what an accepted image is.
type Info struct {
	Format       Format
	VirtualBytes int64 // the size that the guest sees; a multiple of 512
}

// declaredAs maps Glance's disk_format to how QEMU opens it. An iso is the bytes of a disc, ami, aki and ari are the
// bytes of a filesystem, a kernel and a ramdisk.
var declaredAs = map[string]Format{
	"qcow2": QCOW2, "raw": Raw, "iso": Raw, "ami": Raw, "aki": Raw, "ari": Raw,
}

// MaxVirtualBytes bounds what an image may claim to be: 64 TiB.
const MaxVirtualBytes = 64 << 40

// headBytes is how much of the beginning is looked at: enough for every signature but ISO 9660's.
const headBytes = 4096

// Inspect reads the image's headers and accepts it only as what it is declared to be. Refusals are Invalid faults that
// say why; a source that cannot be read is an Internal fault.
func Inspect(r io.ReaderAt, size int64, declared string) (Info, error) {
	want, ok := declaredAs[strings.ToLower(declared)]
	if !ok {
		return Info{}, fault.New(fault.Invalid, "Images of format %q cannot be booted. Convert the image to qcow2 or raw.", declared)
	}
	if size <= 0 {
		return Info{}, fault.New(fault.Invalid, "The image is empty.")
	}
	found, err := signatures(r, size)
	if err != nil {
		return Info{}, fault.Wrap(fault.Internal, err, "The image could not be read.")
	}
	if strings.EqualFold(declared, "iso") {
		// Only here the disc's signature is what was promised.
		if len(found) == 0 || found[0] != "iso9660" {
			found = append(found, "no ISO 9660")
		} else {
			found = found[1:]
		}
	}
	switch want {
	case Raw:
		if strings.EqualFold(declared, "raw") && len(found) == 1 && found[0] == "iso9660" {
			// Hybrid discs are written to sticks as raw disks; as raw bytes nothing in them can lead QEMU elsewhere.
			found = nil
		}
		if len(found) != 0 {
			return Info{}, fault.New(fault.Invalid, "The image is declared to be %s but its content is %s.", declared, strings.Join(found, " and "))
		}
		virtual := (size + 511) &^ 511
		if virtual > MaxVirtualBytes {
			return Info{}, fault.New(fault.Invalid, "The image is larger than 64 TiB.")
		}
		return Info{Format: Raw, VirtualBytes: virtual}, nil
	default:
		if len(found) > 1 {
			return Info{}, fault.New(fault.Invalid, "The image is ambiguous: its content is %s at once.", strings.Join(found, " and "))
		}
		if len(found) == 0 || found[0] != string(QCOW2) {
			what := "nothing known"
			if len(found) == 1 {
				what = found[0]
			}
			return Info{}, fault.New(fault.Invalid, "The image is declared to be %s but its content is %s.", declared, what)
		}
		h, err := ReadQCOW2(r, size)
		if err != nil {
			return Info{}, err
		}
		if err := h.selfContained(); err != nil {
			return Info{}, err
		}
		return Info{Format: QCOW2, VirtualBytes: h.VirtualBytes}, nil
	}
}

// signatures lists every container format whose mark is found, qcow2 among them; a bare disk or filesystem has none.
func signatures(r io.ReaderAt, size int64) ([]string, error) {
	head := make([]byte, headBytes)
	n, err := readAt(r, head, 0, size)
	if err != nil {
		return nil, err
	}
	head = head[:n]
	var found []string
	add := func(name string, is bool) {
		if is {
			found = append(found, name)
		}
	}
	has := func(off int, magic string) bool {
		return len(head) >= off+len(magic) && string(head[off:off+len(magic)]) == magic
	}
	iso := false
	var mark [5]byte
	for _, sector := range []int64{16, 17, 18} { // the first volume descriptors
		n, err := readAt(r, mark[:], sector*2048+1, size)
		if err != nil {
			return nil, err
		}
		iso = iso || (n == len(mark) && (string(mark[:]) == "CD001" || string(mark[:]) == "BEA01"))
	}
	add("iso9660", iso)
	if has(0, "QFI\xfb") {
		version := uint32(0)
		if len(head) >= 8 {
			version = binary.BigEndian.Uint32(head[4:])
		}
		add("qcow (version 1)", version == 1)
		add(string(QCOW2), version != 1)
	}
	add("qed", has(0, "QED\x00"))
	add("vmdk", has(0, "KDMV") || has(0, "COWD") || vmdkDescriptor(head))
	add("vdi", has(0x40, "\x7f\x10\xda\xbe"))
	add("vhd", has(0, "conectix"))
	add("vhdx", has(0, "vhdxfile"))
	add("luks", has(0, "LUKS\xba\xbe"))
	add("parallels", has(0, "WithoutFreeSpace") || has(0, "WithouFreSpacExt"))
	add("bochs", has(0, "Bochs Virtual HD Image"))
	add("cloop", has(0, "#!/bin/sh\n#V2.0 Format"))
	// Formats that are told by their end.
	var tail [512]byte
	if size >= int64(len(tail)) {
		if _, err := readAt(r, tail[:], size-int64(len(tail)), size); err != nil {
			return nil, err
		}
		add("dmg", bytes.HasPrefix(tail[:], []byte("koly")))
		add("vhd", bytes.HasPrefix(tail[:], []byte("conectix")) && !has(0, "conectix"))
	}
	return found, nil
}

// vmdkDescriptor follows QEMU's vmdk probe: comment lines, empty lines, then "version=".
func vmdkDescriptor(head []byte) bool {
	if !bytes.HasPrefix(bytes.TrimLeft(head, " \t\r\n"), []byte("#")) && !bytes.HasPrefix(head, []byte("version=")) {
		return false
	}
	for _, line := range bytes.Split(head, []byte("\n")) {
		line = bytes.TrimSpace(line)
		switch {
		case len(line) == 0, line[0] == '#' && !bytes.Contains(bytes.ToLower(line), []byte("disk descriptorfile")):
			continue
		case line[0] == '#':
			return true
		default:
			return bytes.HasPrefix(line, []byte("version="))
		}
	}
	return false
}

// readAt fills as much of p as the image has; only a real failure is an error.
func readAt(r io.ReaderAt, p []byte, off, size int64) (int, error) {
	if off < 0 || off >= size {
		return 0, nil
	}
	if int64(len(p)) > size-off {
		p = p[:size-off]
	}
	n, err := r.ReadAt(p, off)
	if n == len(p) || errors.Is(err, io.EOF) {
		return n, nil
	}
	return n, err
}
