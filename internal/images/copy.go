package images

import (
	"crypto/md5"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"hash"
	"io"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// chunk is how much is read at once.
const chunk = 1 << 20

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

// sums computes both checksums beside the copying: SHA-512 costs about as much as everything else together, so each runs
// on its own.
type sums struct {
	md5, sha  hash.Hash
	feeds     [2]chan []byte
	done      chan struct{}
	finishing [2]chan struct{}
}

func newSums() *sums {
	s := &sums{md5: md5.New(), sha: sha512.New(), done: make(chan struct{}, 2)}
	for i, h := range []hash.Hash{s.md5, s.sha} {
		feed, finished := make(chan []byte), make(chan struct{})
		s.feeds[i], s.finishing[i] = feed, finished
		go func() {
			defer close(finished)
			for p := range feed {
				h.Write(p)
				s.done <- struct{}{}
			}
		}()
	}
	return s
}

func (s *sums) copy(to io.Writer, from io.Reader, limit int64) (int64, error) {
	buffers := [2][]byte{make([]byte, chunk), make([]byte, chunk)}
	var size int64
	pending := false
	settle := func() {
		if pending {
			<-s.done
			<-s.done
			pending = false
		}
	}
	defer settle()
	for i := 0; ; i++ {
		buffer := buffers[i%2]
		n, readErr := io.ReadFull(from, buffer) // while the chunk before is still being summed
		settle()
		if n > 0 {
			if limit > 0 && size+int64(n) > limit {
				return size, errTooLarge
			}
			s.feeds[0] <- buffer[:n]
			s.feeds[1] <- buffer[:n]
			pending = true
			if _, err := to.Write(buffer[:n]); err != nil {
				return size, err
			}
			size += int64(n)
		}
		switch {
		case readErr == nil:
		case errors.Is(readErr, io.EOF), errors.Is(readErr, io.ErrUnexpectedEOF) && n < len(buffer) && cleanEnd(from):
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
	for i := range s.feeds {
		close(s.feeds[i])
		<-s.finishing[i]
	}
	return hex.EncodeToString(s.md5.Sum(nil)), hex.EncodeToString(s.sha.Sum(nil))
}
