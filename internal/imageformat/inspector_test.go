package imageformat

import (
	"bytes"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// everyImage is the images of both tables with their declarations.
func everyImage(f func(name, declared string, image []byte)) {
	for _, c := range hostile {
		f(c.name, c.declared, c.image())
	}
	for name, c := range good {
		f(name, c.declared, c.image())
	}
}

// allocated is what f allocates on the heap, whether or not it is free again. What runs beside may allocate too, so
// a run that took more than allowed is tried again.
func allocated(f func()) uint64 {
	least := ^uint64(0)
	for try := 0; try < 3 && least > MaxMemory; try++ {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}

func TestAnInspectionHoldsNoMoreMemoryThanItSays(t *testing.T) {
	everyImage(func(name, declared string, image []byte) {
		rules := Rules{Declared: declared}
		require.LessOrEqual(t, allocated(func() { _, _ = stream(image, 32<<10, rules) }), uint64(MaxMemory), "%s, streamed", name)
		require.LessOrEqual(t, allocated(func() { _, _ = Inspect(bytes.NewReader(image), int64(len(image)), rules) }), uint64(MaxMemory), "%s, read", name)
	})
	rest := make([]byte, 1<<20)
	require.LessOrEqual(t, allocated(func() {
		look := New(Rules{Declared: "vhdx"})
		_, _ = look.Write(vhdxHead)
		for range 4096 {
			_, _ = look.Write(rest)
		}
		_, _ = look.Finish()
	}), uint64(MaxMemory), "4 GiB")
}

var vhdxHead = vhdxImage()

// counting tells how much is read, and where the furthest read ended.
type counting struct {
	io.ReaderAt
	read int64
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	c.read += int64(len(p))
	return c.ReaderAt.ReadAt(p, off)
}

func TestOnlyHeadersAreRead(t *testing.T) {
	everyImage(func(name, declared string, image []byte) {
		r := &counting{ReaderAt: bytes.NewReader(image)}
		_, _ = Inspect(r, int64(len(image)), Rules{Declared: declared})
		require.LessOrEqual(t, r.read, int64(400<<10), name)
	})
}

// What cannot open a file, a socket or a process cannot be made to by an image.
func TestThePackageHasNoMeansToFollowAnything(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	allowed := []string{
		"bytes", "crypto/sha256", "encoding/binary", "fmt", "hash/crc32", "io", "slices", "strconv", "strings",
		"github.com/slipway-cloud/slipway/internal/fault",
	}
	seen := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, i := range f.Imports {
			path, err := strconv.Unquote(i.Path.Value)
			require.NoError(t, err)
			require.Contains(t, allowed, path, "%s is to judge bytes that it is shown, and to do nothing else", name)
		}
		seen++
	}
	require.Greater(t, seen, 5)
}

func TestTheRefusalIsKnownBeforeTheRestArrives(t *testing.T) {
	look := New(Rules{Declared: "qcow2"})
	image := qcow2Image(backing("/etc/shadow"))
	_, _ = look.Write(image[:windowBytes-1])
	require.NoError(t, look.Refused())
	_, _ = look.Write(image[windowBytes-1 : windowBytes])
	early := look.Refused()
	require.ErrorContains(t, early, "backing file")
	_, _ = look.Write(bytes.Repeat([]byte("koly"), 1000))
	_, err := look.Finish()
	require.Equal(t, early, err)
	_, err = look.Finish()
	require.Equal(t, early, err, "the verdict stays")

	require.Error(t, New(Rules{Declared: "floppy"}).Refused())
}

func TestHowTheBytesAreCutDoesNotMatter(t *testing.T) {
	for _, declared := range []string{"vhd", "vmdk", "vhdx", "iso"} {
		everyImage(func(name, d string, image []byte) {
			if d != declared || len(image) > 300<<10 {
				return
			}
			want, wantErr := Inspect(bytes.NewReader(image), int64(len(image)), Rules{Declared: declared})
			for _, piece := range []int{1, 511, 512, 1535, 1536, 1537, windowBytes - 1, windowBytes, windowBytes + 1} {
				got, err := stream(image, piece, Rules{Declared: declared})
				require.Equal(t, want, got, "%s in pieces of %d", name, piece)
				require.Equal(t, wantErr, err, "%s in pieces of %d", name, piece)
			}
		})
	}
}

type broken struct{ at int64 }

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.at {
		return 0, errors.New("the disk is on fire")
	}
	return len(p), nil
}

func TestAFileThatCannotBeReadIsNobodysRefusal(t *testing.T) {
	for _, at := range []int64{0, 1 << 19} { // at the beginning, at the end
		_, err := Inspect(broken{at}, 1<<20, Rules{Declared: "raw"})
		require.True(t, fault.Is(err, fault.Internal), "%v", err)
		require.ErrorContains(t, err, "on fire")
	}
	_, err := ReadQCOW2(broken{}, 1<<20)
	require.True(t, fault.Is(err, fault.Internal))
	_, err = Inspect(bytes.NewReader(nil), 100, Rules{Declared: "raw"})
	require.True(t, fault.Is(err, fault.Internal), "it is shorter than it was said to be")
}

// BenchmarkInspector is what the inspection adds to an upload.
func BenchmarkInspector(b *testing.B) {
	for name, head := range map[string][]byte{"raw": raw(), "qcow2": qcow2Image(), "vhdx": vhdxHead} {
		b.Run(name, func(b *testing.B) {
			chunk := make([]byte, 1<<20)
			b.SetBytes(1 << 30)
			b.ReportAllocs()
			for b.Loop() {
				look := New(Rules{Declared: name})
				_, _ = look.Write(head)
				for range 1<<10 - 4 {
					_, _ = look.Write(chunk)
				}
				if _, err := look.Finish(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkInspect is the check of a file on a host.
func BenchmarkInspect(b *testing.B) {
	for name, image := range map[string][]byte{"raw": raw(), "qcow2": qcow2Image(), "vmdk": vmdkImage(), "vhdx": vhdxHead} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Inspect(bytes.NewReader(image), int64(len(image)), Rules{Declared: name}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
