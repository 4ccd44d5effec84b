package cli

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

const sector = 512

// marks are what the files of each disk format begin with, or have at a place near their beginning.
var marks = []struct {
	at     int
	mark   string
	format string
}{
	{0, "QFI\xfb", "qcow2"},
	{0, "KDMV", "vmdk"},
	{0, "# Disk DescriptorFile", "vmdk"},
	{0x40, "\x7f\x10\xda\xbe", "vdi"},
	{0, "vhdxfile", "vhdx"},
	{0, "conectix", "vhd"},
	{0x202, "HdrS", "aki"},   // Linux for x86, whose boot sector looks like a disk's
	{0x38, "ARM\x64", "aki"}, // Linux for arm64
	{0, "070701", "ari"},     // cpio "newc"
	{0x8001, "CD001", "iso"}, // after a system area that may hold anything
}

// strangers are files that are no image for Glance as they are; the text says what to do.
var strangers = []struct{ mark, advice string }{
	{"QED\x00", "is a QED image, which Glance does not know: convert it (qemu-img convert -O qcow2)"},
	{"\x1f\x8b", "is compressed with gzip: unpack it first; an initial ramdisk is --disk-format ari"},
	{"\xfd7zXZ\x00", "is compressed with xz: unpack it first; an initial ramdisk is --disk-format ari"},
	{"\x28\xb5\x2f\xfd", "is compressed with zstd: unpack it first; an initial ramdisk is --disk-format ari"},
	{"BZh", "is compressed with bzip2: unpack it first; an initial ramdisk is --disk-format ari"},
	{"PK\x03\x04", "is a ZIP archive: unpack it first"},
}

// guessFormat names the disk format by the file's own marks; what has none is raw. Whether the file is sound is the API's to
// say.
func guessFormat(name string, head, tail []byte) (string, error) {
	for _, s := range strangers {
		if bytes.HasPrefix(head, []byte(s.mark)) {
			return "", usage("%s %s (--disk-format says otherwise)", name, s.advice)
		}
	}
	for _, m := range marks {
		if len(head) < m.at || !bytes.HasPrefix(head[m.at:], []byte(m.mark)) {
			continue
		}
		if m.format == "qcow2" && len(head) >= 8 && binary.BigEndian.Uint32(head[4:]) == 1 {
			return "", usage("%s is a qcow image of version 1, which Glance does not know: convert it (qemu-img convert -O qcow2)", name)
		}
		return m.format, nil
	}
	if bytes.HasPrefix(tail, []byte("conectix")) { // a fixed VHD is a raw disk with a last sector
		return "vhd", nil
	}
	return "raw", nil
}

// chooseFormats fills the formats in that the user did not give.
func (c *client) chooseFormats(ctx context.Context, cmd *cobra.Command, from *source, disk, container *string) error {
	if *disk == "" && from != nil {
		head, tail, err := from.ends(ctx)
		if err != nil {
			return doing(err, "read the image")
		}
		if *disk, err = guessFormat(from.name, head, tail); err != nil {
			return err
		}
		c.say(cmd, "disk format: %s, by the content of %s", *disk, from.name)
	}
	if *container == "" {
		*container = "bare"
		if amazon := strings.ToLower(*disk); slices.Contains([]string{"aki", "ari", "ami"}, amazon) {
			*container = amazon // Glance wants both to be the same for these
		}
	}
	return nil
}
