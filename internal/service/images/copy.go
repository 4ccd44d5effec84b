package images

import (
	"crypto/md5"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"sync/atomic"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// chunk is how much is read at once, and chunks how much is on its way: each checksum may be so far behind. The first ones
// are smaller, so that many clients who begin and send nothing take little memory with them.
const (
	firstChunk = 16 << 10
	chunk      = 256 << 10
	chunks     = 8
)

// copySummed is one pass from the body to a store: it never sums, stores or keeps more than the limits allow.
func copySummed(to io.Writer, data Data) (models.ImageBytes, error) {
	sums := newSums()
	size, err := sums.copy(to, data.Body, data.Limits.most())
	stored := models.ImageBytes{Size: size}
	stored.MD5, stored.SHA512 = sums.end()
	switch {
	case errors.Is(err, errTooLarge):
		return stored, data.Limits.refusal()
	case err != nil:
		return stored, err
	case data.Length >= 0 && size != data.Length:
		return stored, fault.New(fault.Invalid, "The upload ended after %d of %d bytes.", size, data.Length)
	}
	return stored, nil
}

var errTooLarge = errors.New("too large")

// sums computes both checksums beside the copying: together they cost most of the time, so each runs on its own, and none
// waits for the other at every chunk.
type sums struct {
	md5, sha summer
	free     chan *piece
}

// summer is one checksum and what it still has to read.
type summer struct {
	hash.Hash
	feed chan *piece
	done chan struct{}
}

// piece is a chunk that is free again when nobody needs it any more.
type piece struct {
	buffer []byte
	bytes  []byte
	users  atomic.Int32
}

func newSums() *sums {
	s := &sums{free: make(chan *piece, chunks)}
	for range chunks {
		s.free <- &piece{}
	}
	s.md5, s.sha = s.start(md5.New()), s.start(sha512.New())
	return s
}

func (s *sums) start(h hash.Hash) summer {
	one := summer{Hash: h, feed: make(chan *piece, chunks), done: make(chan struct{})}
	go func() {
		defer close(one.done)
		for p := range one.feed {
			one.Write(p.bytes)
			s.release(p)
		}
	}()
	return one
}

func (s *sums) release(p *piece) {
	if p.users.Add(-1) == 0 {
		s.free <- p
	}
}

func (s *sums) copy(to io.Writer, from io.Reader, limit int64) (int64, error) {
	var size int64
	for most := firstChunk; ; most = min(2*most, chunk) {
		p := <-s.free
		if len(p.buffer) < most {
			p.buffer = make([]byte, most)
		}
		n, readErr := io.ReadFull(from, p.buffer)
		p.bytes = p.buffer[:n]
		p.users.Store(3) // both sums and the store
		if limit > 0 && size+int64(n) > limit {
			return size, errTooLarge
		}
		s.md5.feed <- p
		s.sha.feed <- p
		_, err := to.Write(p.bytes)
		s.release(p)
		if err != nil {
			return size, err
		}
		size += int64(n)
		switch {
		case readErr == nil:
		case errors.Is(readErr, io.EOF), errors.Is(readErr, io.ErrUnexpectedEOF) && n < len(p.buffer) && cleanEnd(from):
			return size, nil
		case fault.KindOf(readErr) != fault.Internal:
			return size, readErr // the source says what is wrong itself
		default:
			return size, fault.Wrap(fault.Invalid, readErr, "The upload was cut off.")
		}
	}
}

// cleanEnd tells ReadFull's own "the last chunk is short" from the same error out of the connection (fewer bytes than
// Content-Length said): a source that ended properly says EOF again.
func cleanEnd(from io.Reader) bool {
	var one [1]byte
	n, err := from.Read(one[:])
	return n == 0 && err == io.EOF
}

// end stops the summing and gives both sums in hexadecimal.
func (s *sums) end() (md5sum, sha string) {
	return s.md5.end(), s.sha.end()
}

func (s summer) end() string {
	close(s.feed)
	<-s.done
	return hex.EncodeToString(s.Sum(nil))
}
