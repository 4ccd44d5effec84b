package images

import (
	"flag"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/imagestore"
)

var uploadMiB = flag.Int64("upload-mib", 1024, "how much is uploaded to see that memory stays flat")

// stream is so many bytes that do not compress and were never anywhere.
func stream(bytes int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{1}), bytes)
}

func TestAnUploadOfAGiBTakesNoMemory(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, imagestore.Settings{})
	warm := s.queued(t, "raw")
	require.Equal(t, 204, s.do(t, "PUT", "/images/"+warm+"/file", stream(4<<20)).status)
	id := s.queued(t, "raw")
	resident := s.memory(t, "VmRSS")
	s.peakFromHere(t)
	require.Equal(t, 204, s.do(t, "PUT", "/images/"+id+"/file", stream(*uploadMiB<<20)).status)
	grown := s.memory(t, "VmHWM") - resident
	t.Logf("%d MiB were uploaded; the API grew by %.1f MiB at most", *uploadMiB, float64(grown)/(1<<20))
	require.Less(t, grown, int64(32<<20))
	require.EqualValues(t, *uploadMiB<<20, s.do(t, "GET", "/images/"+id, nil).json(t)["size"])
}
