package imageformat

import (
	"fmt"
	"strings"

	"github.com/slipway-cloud/slipway/internal/fault"
)

const (
	// windowBytes is the largest piece of an image that is held at once: VHDX's tables are as large, and every header of
	// the other formats lies within the first such piece.
	windowBytes = 64 << 10
	// tailBytes is how much of the end is held: a VMDK's footer with its two markers. A VHD's footer is shorter.
	tailBytes = 1536
)

// MaxMemory is what one inspection allocates at most, everything included, whatever the image is: the window, the tail,
// the few fields that are remembered from one window to the next, and the text of a refusal.
const MaxMemory = 80 << 10

// Inspector judges an image that passes by. It is shown every byte in order, in pieces of any size, and copies only the
// windows that it wants to see: the first 64 KiB, for a VHDX its headers and tables one after the other, and the last
// 1.5 KiB. A structure that is pointed to lies behind what points to it, or the image is refused. It is not for
// use by several goroutines at a time.
type Inspector struct {
	rules Rules
	want  Format

	// The window in which the next stage is interested: length bytes from begin on; window is what has come of it. stage
	// judges it and may set the next one, which lies behind; nil wants no more.
	window []byte
	begin  int64
	length int
	stage  func([]byte) error

	size    int64 // bytes seen so far
	tail    [tailBytes]byte
	tailLen int

	found []string // the marks in the first window
	// ends are the checks that need the whole size; they run in order.
	ends    []func(size int64) error
	virtual int64

	refused  error
	finished bool
}

// New begins an inspection.
func New(rules Rules) *Inspector {
	if rules.MaxVirtualBytes <= 0 || rules.MaxVirtualBytes > MaxVirtualBytes {
		rules.MaxVirtualBytes = MaxVirtualBytes
	}
	declared := strings.ToLower(rules.Declared)
	i := &Inspector{rules: rules}
	want, ok := declaredAs[declared]
	if !ok {
		i.refused = refusal("Images of format %q cannot be booted. Convert the image with qemu-img convert -O qcow2 and upload the result with disk_format qcow2.", short(rules.Declared))
		return i
	}
	i.rules.Declared, i.want = declared, want
	i.window = make([]byte, 0, windowBytes)
	i.next(0, windowBytes, i.head)
	return i
}

// short keeps a user's word from filling a text.
func short(s string) string {
	if len(s) > 32 {
		return s[:32] + "..."
	}
	return s
}

// next asks for a window, which has to lie behind the present one.
func (i *Inspector) next(begin int64, length int, stage func([]byte) error) {
	i.begin, i.length, i.stage, i.window = begin, length, stage, i.window[:0]
}

// advance shows the window to its stage.
func (i *Inspector) advance() {
	stage, behind := i.stage, i.begin+int64(len(i.window))
	i.stage = nil
	if err := stage(i.window); err != nil {
		i.refused, i.stage = err, nil
		return
	}
	if i.stage != nil && (i.begin < behind || i.length <= 0 || i.length > windowBytes) {
		i.refused, i.stage = fault.New(fault.Internal, "The image could not be inspected."), nil
	}
}

// Write shows the next bytes. It takes them all and never fails: what it thinks of them is for Refused and Finish to say.
func (i *Inspector) Write(p []byte) (int, error) {
	off := i.size
	i.size += int64(len(p))
	for i.stage != nil {
		from := i.begin + int64(len(i.window)) - off
		if from >= int64(len(p)) {
			break
		}
		have := len(i.window)
		n := copy(i.window[have:i.length], p[from:])
		i.window = i.window[:have+n]
		if len(i.window) < i.length {
			break
		}
		i.advance()
	}
	if len(p) >= tailBytes {
		i.tailLen = copy(i.tail[:], p[len(p)-tailBytes:])
	} else {
		keep := min(i.tailLen, tailBytes-len(p))
		copy(i.tail[:], i.tail[i.tailLen-keep:i.tailLen])
		i.tailLen = keep + copy(i.tail[keep:], p)
	}
	return len(p), nil
}

// Refused is the refusal as soon as it is certain, which is what Finish will answer; until then nil.
func (i *Inspector) Refused() error { return i.refused }

// Finish tells that the image has ended, and judges it. The refusal is an Invalid fault; its text is for the user.
func (i *Inspector) Finish() (Info, error) {
	if !i.finished {
		i.finished = true
		i.refused = i.finish()
	}
	if i.refused != nil {
		return Info{}, i.refused
	}
	return Info{Format: i.want, VirtualBytes: i.virtual}, nil
}

func (i *Inspector) finish() error {
	if i.refused == nil && i.size == 0 {
		return refusal("The image is empty.")
	}
	for i.stage != nil && i.refused == nil { // the image ended within a window
		i.window = i.window[:min(len(i.window), i.length)]
		short := len(i.window) < i.length
		i.advance()
		if short && i.stage != nil {
			return unusable(i.rules.Declared, "it ends within its header")
		}
	}
	if i.refused != nil {
		return i.refused
	}
	if err := i.judgeTail(); err != nil {
		return err
	}
	for _, check := range i.ends {
		if err := check(i.size); err != nil {
			return err
		}
	}
	if i.virtual <= 0 || i.virtual%512 != 0 {
		return unusable(i.rules.Declared, "its virtual size is %d bytes", i.virtual)
	}
	return i.fits(uint64(i.virtual))
}

// fits refuses a virtual size over the limit.
func (i *Inspector) fits(virtual uint64) error { return fits(virtual, uint64(i.rules.MaxVirtualBytes)) }

func fits(virtual, limit uint64) error {
	if virtual > limit {
		return refusal("The image is a disk of %s; at most %s are allowed. Make it smaller with qemu-img resize --shrink and upload the result.", inGiB(virtual), inGiB(limit))
	}
	return nil
}

func inGiB(n uint64) string { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) }

// atEnd adds a check that needs the size of the whole image.
func (i *Inspector) atEnd(check func(size int64) error) { i.ends = append(i.ends, check) }

// head judges the first window by its marks and hands it to the format that was declared.
func (i *Inspector) head(b []byte) error {
	i.found = headMarks(b)
	if other := knownNonImage(b); other != nil && len(i.found) == 0 && i.refuses(*other) {
		return refusal("The image is declared to be %s but its content is %s. %s.", i.rules.Declared, other.kind, upper(other.advice))
	}
	if i.want == Raw {
		return i.raw(b)
	}
	if len(i.found) > 1 {
		return ambiguous(i.found)
	}
	if len(i.found) == 1 && uploadAs[i.found[0]] != i.rules.Declared {
		return mismatch(i.rules.Declared, i.found)
	}
	if len(i.found) == 0 && i.want != VHD { // a fixed VHD begins with the guest's bytes
		return mismatchUnknown(i.rules.Declared)
	}
	switch i.want {
	case QCOW2:
		return i.qcow2(b)
	case VMDK:
		return i.vmdk(b)
	case VDI:
		return i.vdi(b)
	case VHDX:
		return i.vhdx(b)
	default:
		return i.vhd(b)
	}
}

// refuses says whether a file of a kind that is no disk is refused under the declaration. Kernels and ramdisks are such files.
func (i *Inspector) refuses(other other) bool {
	switch i.rules.Declared {
	case "aki", "ari":
		return false
	case "raw", "ami", "vhd": // a fixed VHD begins as a raw disk does
		return i.rules.Upload
	}
	return true
}

func ambiguous(found []string) error {
	return refusal("The image is ambiguous: its content is %s at once. Make it anew with qemu-img convert and upload the result.", strings.Join(found, " and "))
}

func mismatchUnknown(declared string) error {
	return refusal("The image is declared to be %s but its content is nothing known. A disk without a format is uploaded with disk_format raw.", declared)
}

// judgeTail looks for the formats that are told by their end.
func (i *Inspector) judgeTail() error {
	tail := tailMarks(i.tail[:i.tailLen], i.size)
	if len(tail) == 0 {
		return nil
	}
	all := i.found
	for _, mark := range tail {
		if !contains(all, mark) {
			all = append(all[:len(all):len(all)], mark)
		}
	}
	switch {
	case i.want == Raw:
		return mismatch(i.rules.Declared, tail)
	case len(all) > 1:
		return ambiguous(all)
	case uploadAs[all[0]] != i.rules.Declared:
		return mismatch(i.rules.Declared, all)
	}
	return nil
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

// extent is a part of the file that a header points to.
type extent struct {
	name     string
	off, len uint64
}

// checkExtents refuses extents that lie outside the file or over one another. The header itself is one of them, so that
// nothing can point into it.
func checkExtents(kind string, size int64, extents ...extent) error {
	for n, e := range extents {
		if e.off+e.len < e.off || e.off+e.len > uint64(size) {
			return unusable(kind, "its %s lies outside the file", e.name)
		}
		for _, o := range extents[:n] {
			if e.len > 0 && o.len > 0 && e.off < o.off+o.len && o.off < e.off+e.len {
				return unusable(kind, "its %s and its %s overlap", o.name, e.name)
			}
		}
	}
	return nil
}

func isZero(b []byte) bool {
	for _, v := range b {
		if v != 0 {
			return false
		}
	}
	return true
}

func powerOfTwo(n uint64) bool { return n != 0 && n&(n-1) == 0 }
