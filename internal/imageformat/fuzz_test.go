package imageformat

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// A fuzzed image is written as its pieces, so that the fuzzer changes headers and not the zeros between them: 4 bytes of
// size, then pieces of 4 bytes of offset, 2 bytes of length, and the bytes.
const fuzzedMax = 4 << 20

func pieces(image []byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(len(image)))
	const step = 64
	for off := 0; off < len(image); {
		if isZero(image[off:min(off+step, len(image))]) {
			off += step
			continue
		}
		end := off
		for end < len(image) && end-off < 60000 && !isZero(image[end:min(end+step, len(image))]) {
			end = min(end+step, len(image))
		}
		out = binary.BigEndian.AppendUint32(out, uint32(off))
		out = binary.BigEndian.AppendUint16(out, uint16(end-off))
		out = append(out, image[off:end]...)
		off = end
	}
	return out
}

// fuzzed is the image in hand: a worker has one at a time.
var fuzzed [fuzzedMax]byte

func whole(b []byte) []byte {
	if len(b) < 4 {
		return b
	}
	image := fuzzed[:binary.BigEndian.Uint32(b)%(fuzzedMax+1)]
	clear(image)
	for b = b[4:]; len(b) >= 6; {
		off, n := int(binary.BigEndian.Uint32(b)), int(binary.BigEndian.Uint16(b[4:]))
		b = b[6:]
		n = min(n, len(b))
		if off < len(image) {
			copy(image[off:], b[:n])
		}
		b = b[n:]
	}
	return image
}

// seal makes the checksums right where there is room for them, so that the fuzzer comes past them.
func seal(image []byte) {
	switch {
	case len(image) >= vhdxTable2+vhdxTableLen && bytes.HasPrefix(image, []byte("vhdxfile")):
		sealVHDX(image)
	case len(image) >= 1536 && bytes.HasPrefix(image, []byte("conectix")):
		if at := binary.BigEndian.Uint64(image[16:]); at <= uint64(len(image)-1024) {
			sealVHD(int(at), 1024, 36)(image)
		}
		sealVHD(0, 512, 64)(image)
		copy(image[len(image)-512:], image[:512])
	case len(image) >= 1024:
		if bytes.HasPrefix(image[len(image)-512:], []byte("conectix")) {
			sealVHD(len(image)-512, 512, 64)(image)
		}
	}
}

// FuzzInspect holds for any bytes under any declaration: no panic; refusals are Invalid; what is taken has a size within
// the limit and the format that was declared; no more is read than headers, no more memory is held than is said; a stream
// in pieces of any size and a file give the same answer, to the word.
func FuzzInspect(f *testing.F) {
	everyImage(func(_, declared string, image []byte) {
		f.Add(pieces(image), declared, uint16(4096), true)
	})
	f.Fuzz(func(t *testing.T, b []byte, declared string, piece uint16, sealed bool) {
		image := whole(b)
		if sealed {
			seal(image)
		}
		rules := Rules{Declared: declared, MaxVirtualBytes: 1 << 44}
		r := &counting{ReaderAt: bytes.NewReader(image)}
		info, err := Inspect(r, int64(len(image)), rules)
		if r.read > 400<<10 {
			t.Fatalf("it read %d bytes", r.read)
		}
		if len(b)%16 == 0 { // looking stops the world
			if n := allocated(func() { _, _ = Inspect(r, int64(len(image)), rules) }); n > MaxMemory {
				t.Fatalf("it took %d bytes of memory", n)
			}
		}
		again, againErr := stream(image, max(int(piece), 1+len(image)/200), rules)
		if again != info || (err == nil) != (againErr == nil) || (err != nil && err.Error() != againErr.Error()) {
			t.Fatalf("as a file %+v %v, as a stream %+v %v", info, err, again, againErr)
		}
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("a refusal that is no Invalid: %v", err)
			}
			if len(err.Error()) > 500 {
				t.Fatalf("a refusal of %d bytes", len(err.Error()))
			}
			return
		}
		if info.VirtualBytes <= 0 || info.VirtualBytes%512 != 0 || info.VirtualBytes > rules.MaxVirtualBytes {
			t.Fatalf("virtual size %d", info.VirtualBytes)
		}
		if marks := headMarks(image[:min(len(image), windowBytes)]); info.Format == Raw && len(marks) > 0 && (len(marks) > 1 || marks[0] != isoMark) {
			t.Fatalf("taken as raw: %v", marks)
		}
		if info.Format == QCOW2 {
			if h, err := ReadQCOW2(bytes.NewReader(image), int64(len(image))); err != nil || h.BackingFile != "" || h.DataFile || h.VirtualBytes != info.VirtualBytes {
				t.Fatalf("taken as %+v, read as %+v, %v", info, h, err)
			}
		}
	})
}

// FuzzReadQCOW2 holds for any bytes: no panic, an error is a fault, and a name is no longer than QEMU allows.
func FuzzReadQCOW2(f *testing.F) {
	everyImage(func(_, declared string, image []byte) {
		if declared == "qcow2" {
			f.Add(pieces(image))
		}
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		image := whole(b)
		h, err := ReadQCOW2(bytes.NewReader(image), int64(len(image)))
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatal(err)
			}
			return
		}
		if h.VirtualBytes <= 0 || h.VirtualBytes > MaxVirtualBytes || len(h.BackingFile) > maxBackingName || len(h.BackingFormat) > 16 {
			t.Fatalf("%+v", h)
		}
	})
}

// FuzzVMDKText holds for any description that is taken: what QEMU's own search for words would find in it is what was
// judged.
func FuzzVMDKText(f *testing.F) {
	f.Add([]byte(vmdkDescription), uint64(20*512))
	everyImage(func(_, declared string, image []byte) {
		if declared == "vmdk" && len(image) > 21*512 {
			f.Add(bytes.TrimRight(image[512:21*512], "\x00"), uint64(512))
		}
	})
	f.Fuzz(func(t *testing.T, b []byte, declared uint64) {
		b = append(b[:min(len(b), 20*512)], make([]byte, 512)...)
		if vmdkText(b, min(declared, uint64(len(b))), 2048, false) != nil {
			return
		}
		seen := b[:min(len(b), qemuDescriptor)]
		if end := bytes.IndexByte(seen, 0); end >= 0 {
			seen = seen[:end]
		}
		lower := bytes.ToLower(seen)
		if bytes.Contains(lower, []byte("parentfilenamehint")) {
			t.Fatal("QEMU would open a parent")
		}
		if n := bytes.Count(lower, []byte("createtype")); n != 1 {
			t.Fatalf("createType is there %d times", n)
		}
		for _, kind := range []string{" FLAT ", " VMFS ", " VMFSSPARSE ", " SESPARSE "} {
			if bytes.Contains(seen, []byte("\nRW 2048"+kind)) {
				t.Fatalf("an extent of kind %s", kind)
			}
		}
	})
}

var _ io.Writer = (*Inspector)(nil)
