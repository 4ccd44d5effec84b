package transfer

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func BenchmarkAChunkIsTakenApartAndSummed(b *testing.B) {
	for name, data := range map[string][]byte{"data": noise(1, chunkBytes), "zeros": make([]byte, chunkBytes)} {
		b.Run(name, func(b *testing.B) {
			c := newChunk()
			b.SetBytes(chunkBytes)
			b.ReportAllocs()
			for b.Loop() {
				what := c.data[:chunkBytes]
				copy(what, data)
				c.fill(0, what)
			}
		})
	}
}

// BenchmarkDisksOf256MiBArrive is from one folder to another over TLS, until they are on the disk.
func BenchmarkDisksOf256MiBArrive(b *testing.B) {
	s := newSite(b)
	s.put("disk", 1<<30, map[int64][]byte{0: noise(1, 128<<20), 512 << 20: noise(2, 128<<20)})
	r := s.receiver("host-dst")
	b.SetBytes(256 << 20)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		b.StopTimer()
		o, dir := s.offer("disk"), filepath.Join(b.TempDir(), "next")
		b.StartTimer()
		require.NoError(b, r.Receive(b.Context(), dir, arrival(o)))
		b.StopTimer()
		require.NoError(b, os.RemoveAll(dir))
		b.StartTimer()
	}
}
