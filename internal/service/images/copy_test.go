package images

import (
	"bytes"
	"crypto/md5"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestBytesAreStoredAndSummedWhole(t *testing.T) {
	for _, n := range []int{0, 1, chunk - 1, chunk, chunk + 1, 2*chunks*chunk + 7} {
		for how, from := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "in halves": iotest.HalfReader, "with its end": iotest.DataErrReader,
		} {
			t.Run(fmt.Sprintf("%d bytes %s", n, how), func(t *testing.T) {
				data := random(n)
				var to bytes.Buffer
				got, err := copySummed(&to, Data{Body: from(bytes.NewReader(data)), Length: int64(n), Limits: Limits{Image: int64(n) + 1}})
				require.NoError(t, err)
				require.True(t, bytes.Equal(data, to.Bytes()))
				m, s := md5.Sum(data), sha512.Sum512(data)
				require.Equal(t, int64(n), got.Size)
				require.Equal(t, hex.EncodeToString(m[:]), got.MD5)
				require.Equal(t, hex.EncodeToString(s[:]), got.SHA512)
			})
		}
	}
}

// full is a store that takes so much and no more.
type full struct{ left int }

var errFull = errors.New("no space left")

func (f *full) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestWhatEndsACopyIsToldForWhatItIs(t *testing.T) {
	data := random(3*chunk + 5)
	size := int64(len(data))
	slow := fault.New(fault.Unavailable, "the other side does not answer")
	for name, c := range map[string]struct {
		data Data
		to   io.Writer
		kind fault.Kind
		text string
	}{
		"more than an image may have":   {Data{Length: -1, Limits: Limits{Image: size - 1}}, io.Discard, fault.TooLarge, "larger than the 786436 bytes"},
		"more than the project has":     {Data{Length: -1, Limits: Limits{Image: size, Project: 100, used: 90}}, io.Discard, fault.TooLarge, "10 bytes of the project's 100 are left"},
		"shorter than announced":        {Data{Length: size + 1, Limits: Limits{Image: 2 * size}}, io.Discard, fault.Invalid, "ended after 786437 of 786438 bytes"},
		"cut off":                       {Data{Body: io.MultiReader(bytes.NewReader(data), iotest.ErrReader(io.ErrUnexpectedEOF)), Length: -1, Limits: Limits{Image: 2 * size}}, io.Discard, fault.Invalid, "cut off"},
		"a source that says what it is": {Data{Body: io.MultiReader(bytes.NewReader(data), iotest.ErrReader(slow)), Length: -1, Limits: Limits{Image: 2 * size}}, io.Discard, fault.Unavailable, "does not answer"},
		"a store that is full":          {Data{Length: -1, Limits: Limits{Image: size}}, &full{2 * chunk}, fault.Internal, "no space"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.data.Body == nil {
				c.data.Body = bytes.NewReader(data)
			}
			_, err := copySummed(c.to, c.data)
			require.ErrorContains(t, err, c.text)
			require.Equal(t, c.kind, fault.KindOf(err))
		})
	}
}

func BenchmarkCopySummed(b *testing.B) {
	data := random(64 << 20)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := copySummed(io.Discard, Data{Body: bytes.NewReader(data), Length: -1, Limits: Limits{Image: 1 << 30}}); err != nil {
			b.Fatal(err)
		}
	}
}
