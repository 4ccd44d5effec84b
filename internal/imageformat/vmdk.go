package imageformat

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"
)

// Of a sparse extent (VMware's Virtual Disk Format 5.0; QEMU's block/vmdk.c).
const (
	vmdkSector       = 512
	vmdkNewlines     = 1 << 0
	vmdkSecondTable  = 1 << 1
	vmdkZeroGrains   = 1 << 2
	vmdkCompressed   = 1 << 16
	vmdkMarkers      = 1 << 17
	vmdkKnownFlags   = vmdkNewlines | vmdkSecondTable | vmdkZeroGrains | vmdkCompressed | vmdkMarkers
	vmdkAtEnd        = 1<<64 - 1
	vmdkMaxGrain     = 1 << 21 // sectors
	vmdkMaxTable     = 32 << 20
	vmdkFooterMarker = 3
	// qemuDescriptor is how much QEMU reads as the descriptor, whatever the header says of its size.
	qemuDescriptor = 20 * vmdkSector
	// maxDescriptor ends the descriptor within the first window.
	maxDescriptor = windowBytes - vmdkSector
)

func badVMDK(format string, args ...any) error { return unusable(vmdkMark, format, args...) }

// vmdkConvert says what to do with a kind that is not taken.
const vmdkConvert = "Convert it with qemu-img convert -O vmdk -o subformat=streamOptimized and upload the result."

// vmdk takes one self-contained file: a sparse extent that has its descriptor embedded.
func (i *Inspector) vmdk(b []byte) error {
	if len(b) < vmdkSector || string(b[:4]) != "KDMV" {
		return refusal("The image is not one self-contained VMDK: only monolithicSparse and streamOptimized are. " + vmdkConvert)
	}
	header := append([]byte(nil), b[:vmdkSector]...)
	le := binary.LittleEndian
	version, flags := le.Uint32(header[4:]), le.Uint32(header[8:])
	capacity, grain := le.Uint64(header[12:]), le.Uint64(header[20:])
	descAt, descLen := le.Uint64(header[28:]), le.Uint64(header[36:])
	perTable := uint64(le.Uint32(header[44:]))
	second, first, overhead := le.Uint64(header[48:]), le.Uint64(header[56:]), le.Uint64(header[64:])
	compression := le.Uint16(header[77:])
	switch {
	case version < 1 || version > 3:
		return badVMDK("it is version %d", version)
	case flags&^vmdkKnownFlags != 0:
		return badVMDK("it uses features that are not known (%#x)", flags&^vmdkKnownFlags)
	case capacity == 0: // for QEMU, the mark of a descriptor that names other files
		return badVMDK("its capacity is zero")
	case capacity>>53 != 0:
		return badVMDK("its capacity is %d sectors", capacity)
	case !powerOfTwo(grain), grain < 8, grain > vmdkMaxGrain:
		return badVMDK("its grains are %d sectors", grain)
	case perTable == 0, perTable > 512:
		return badVMDK("its tables have %d entries", perTable)
	case flags&vmdkNewlines != 0 && string(header[73:77]) != "\n \r\n":
		return badVMDK("its line ends were changed on the way, as by a transfer as text")
	case compression > 1:
		return badVMDK("its compression is of kind %d", compression)
	case (compression == 1) != (flags&vmdkCompressed != 0):
		return badVMDK("it says both that it is compressed and that it is not")
	case first == vmdkAtEnd && flags&vmdkMarkers == 0:
		return badVMDK("it has a footer but no markers")
	}
	if err := i.fits(capacity * vmdkSector); err != nil {
		return err
	}
	directory := (capacity + perTable*grain - 1) / (perTable * grain) * 4
	if directory > vmdkMaxTable {
		return badVMDK("its directory is %d bytes", directory)
	}
	if descAt != 1 || descLen == 0 || descLen > maxDescriptor/vmdkSector {
		return refusal("The image's VMDK descriptor is %d sectors at sector %d; it has to follow the header. "+vmdkConvert, descLen, descAt)
	}
	if uint64(len(b)) < (1+descLen)*vmdkSector {
		return badVMDK("it ends within its descriptor")
	}
	if err := vmdkText(b[vmdkSector:], descLen*vmdkSector, capacity, compression == 1); err != nil {
		return err
	}
	i.virtual = int64(capacity * vmdkSector)
	i.atEnd(func(size int64) error {
		if first == vmdkAtEnd {
			var err error
			if first, err = i.vmdkFooter(header, size); err != nil {
				return err
			}
		}
		// In sectors no sum can wrap around that in bytes would.
		for _, at := range []uint64{first, second, overhead} {
			if at > MaxVirtualBytes/vmdkSector {
				return badVMDK("its tables lie outside the file")
			}
		}
		parts := []extent{{"header", 0, (1 + descLen) * vmdkSector}, {"grain directory", first * vmdkSector, directory}}
		if flags&vmdkSecondTable != 0 {
			parts = append(parts, extent{"second grain directory", second * vmdkSector, directory})
		}
		if overhead*vmdkSector > uint64(size+vmdkSector-1) {
			return badVMDK("its data begin outside the file")
		}
		return checkExtents(vmdkMark, (size+vmdkSector-1)&^(vmdkSector-1), parts...)
	})
	return nil
}

// vmdkFooter checks the footer, which for QEMU takes precedence over the header: it has to be the same but for the place
// of the grain directory, which it gives.
func (i *Inspector) vmdkFooter(header []byte, size int64) (directory uint64, err error) {
	if size%vmdkSector != 0 || size < tailBytes+vmdkSector {
		return 0, badVMDK("its footer is missing")
	}
	le := binary.LittleEndian
	marker, footer, end := i.tail[:512], i.tail[512:1024], i.tail[1024:]
	if le.Uint32(marker[8:]) != 0 || le.Uint32(marker[12:]) != vmdkFooterMarker || !isZero(end) {
		return 0, badVMDK("its footer is missing")
	}
	directory = le.Uint64(footer[56:])
	if !bytes.Equal(footer[:56], header[:56]) || !bytes.Equal(footer[64:79], header[64:79]) || directory == vmdkAtEnd {
		return 0, badVMDK("its footer is not its header")
	}
	return directory, nil
}

// vmdkText judges the embedded descriptor. b is what follows the header, of which QEMU reads 20 sectors or, when it
// looks for other things, up to the first zero byte; declared is what the header says. All of that has to be the plain
// description of this one file: every line known, nothing behind the zero that ends it.
func vmdkText(b []byte, declared, capacity uint64, compressed bool) error {
	looked := b[:min(uint64(len(b)), max(declared, qemuDescriptor))]
	text := looked
	if end := bytes.IndexByte(looked, 0); end >= 0 {
		text = looked[:end]
		if uint64(end) < declared && !isZero(b[end:declared]) {
			return badVMDK("its descriptor goes on behind its end")
		}
	}
	for _, c := range text {
		if (c < ' ' && c != '\n' && c != '\r' && c != '\t') || c > '~' {
			return badVMDK("its descriptor is no plain text")
		}
	}
	// QEMU finds these words anywhere, a comment included.
	for _, word := range []string{"parentfilenamehint", "changetrackpath"} {
		if containsFold(text, word) {
			return refusal("The image's VMDK descriptor names another file (%s). %s", word, vmdkConvert)
		}
	}
	var seen []string
	kind, extents := "", 0
	for len(text) > 0 {
		line := text
		if end := bytes.IndexByte(text, '\n'); end >= 0 {
			line, text = text[:end], text[end+1:]
		} else {
			text = nil
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' || bytes.HasPrefix(line, []byte("ddb.")) {
			if containsFold(line, "createtype") || containsFold(line, "parentcid") { // QEMU reads the first that it finds
				return badVMDK("its descriptor has an option where QEMU and others read it differently")
			}
			continue
		}
		if key, value, ok := vmdkOption(line); ok {
			if contains(seen, key) {
				return badVMDK("its descriptor says %s twice", key)
			}
			switch key {
			case "version", "encoding", "cid", "isnativesnapshot":
			case "parentcid":
				if value != "ffffffff" {
					return refusal("The image holds only the differences to a parent image. " + vmdkConvert)
				}
			case "createtype":
				kind = value
			default:
				return badVMDK("its descriptor has an option that is not known")
			}
			seen = append(seen, key)
			continue
		}
		if extents++; extents > 1 {
			return refusal("The image's VMDK descriptor names several extents. " + vmdkConvert)
		}
		if err := vmdkExtent(string(line), capacity); err != nil {
			return err
		}
	}
	switch {
	case kind != "monolithicsparse" && kind != "streamoptimized":
		return refusal("The image is a VMDK of kind %q; only monolithicSparse and streamOptimized are self-contained. %s", short(kind), vmdkConvert)
	case (kind == "streamoptimized") != compressed:
		return badVMDK("its descriptor's kind contradicts its header")
	case extents == 0:
		return badVMDK("its descriptor names no extent")
	}
	return nil
}

// vmdkOption splits key=value, both in small letters and the value without its quotes.
func vmdkOption(line []byte) (key, value string, ok bool) {
	k, v, ok := bytes.Cut(line, []byte("="))
	k = bytes.TrimSpace(k)
	if !ok || len(k) == 0 || len(k) > 32 || len(v) > 128 || bytes.ContainsAny(k, " \t\"") {
		return "", "", false
	}
	return strings.ToLower(string(k)), strings.ToLower(strings.Trim(string(v), " \t\"")), true
}

// vmdkExtent judges the one extent line: `RW 131072 SPARSE "disk.vmdk"`, which names this file itself. QEMU does not open
// it for the embedded kinds; so that nothing ever does, the name is a plain one.
func vmdkExtent(line string, capacity uint64) error {
	if len(line) > 512 {
		return badVMDK("its descriptor has a line that is not known")
	}
	before, name, quoted := strings.Cut(line, `"`)
	name, after, closed := strings.Cut(name, `"`)
	words := strings.Fields(before)
	if !quoted || !closed || strings.TrimSpace(after) != "" || len(words) != 3 {
		return badVMDK("its descriptor has a line that is not known")
	}
	if access := strings.ToUpper(words[0]); access != "RW" && access != "RDONLY" {
		return badVMDK("its descriptor has a line that is not known")
	}
	if !strings.EqualFold(words[2], "SPARSE") {
		return refusal("The image's VMDK extent is of kind %q; only SPARSE ones lie within the image. %s", short(words[2]), vmdkConvert)
	}
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, `/\:`) {
		return refusal("The image's VMDK descriptor names a file elsewhere. " + vmdkConvert)
	}
	if n, err := strconv.ParseUint(words[1], 10, 64); err != nil || n != capacity {
		return badVMDK("its extent is %s sectors, its capacity %d", short(words[1]), capacity)
	}
	return nil
}

// containsFold finds a word of small letters in any case.
func containsFold(b []byte, word string) bool {
	for n := 0; n+len(word) <= len(b); n++ {
		if bytes.EqualFold(b[n:n+len(word)], []byte(word)) {
			return true
		}
	}
	return false
}
