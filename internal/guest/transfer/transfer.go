// Package transfer carries the disks of a guest that is off from its host to another. The host that has them offers them; while an
// offer stands it listens, and answers one host alone, which shows its own certificate and the offer's credential. The other one dials,
// fetches file by file, and lays down what is whole and verified. Holes are not sent, and stay holes.
//
// One file is one answer: chunks in their order, each with its checksum, then the checksum of all of them. What broke off goes on at the
// last chunk that is on the disk of whoever fetches.
package transfer

import (
	"bytes"
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/bits"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	chunkBytes = 1 << 20
	pageBytes  = 4 << 10
	pages      = chunkBytes / pageBytes
	sumBytes   = sha256.Size
)

// Kinds of what is in an answer.
const (
	kindChunk = 'D' // header, the pages that are not zero, their checksum
	kindWait  = 'W' // nothing yet: what was sent before is read again
	kindEnd   = 'E' // the checksum of all chunks
	kindError = 'X' // why there is no more: two bytes of length, text
)

// headerBytes are a chunk's offset, and a bit for each of its pages.
const headerBytes = 8 + pages/8

// Timing is what a test makes shorter.
type Timing struct {
	Stall    time.Duration // a connection over which nothing comes or goes for so long is given up
	Patience time.Duration // a host is tried again for so long that sends nothing
	Pause    time.Duration // between two tries
}

func (t Timing) filled() Timing {
	for v, d := range map[*time.Duration]time.Duration{&t.Stall: 30 * time.Second, &t.Patience: 2 * time.Minute, &t.Pause: time.Second} {
		if *v == 0 {
			*v = d
		}
	}
	return t
}

// Metrics count what a host sends and receives.
type Metrics struct {
	sent, received, refused prometheus.Counter
}

// NewMetrics makes them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	bytes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "slipway_transfer_bytes_total", Help: "Bytes of disks that this host has sent to others, or received from them.",
	}, []string{"direction"})
	m := &Metrics{sent: bytes.WithLabelValues("sent"), received: bytes.WithLabelValues("received"), refused: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "slipway_transfer_refused_total", Help: "Requests for disks that were refused: another host's, or without the credential of an offer that stands.",
	})}
	r.MustRegister(bytes, m.refused)
	return m
}

// chunk is a part of a file, from a multiple of chunkBytes on. Pages that are zero are not in it.
type chunk struct {
	head [headerBytes]byte
	sum  [sumBytes]byte
	// data are the pages that there are, one behind the other; the file's last one may be shorter.
	data []byte
	wait bool // it says only that there is one to come
}

func newChunk() *chunk { return &chunk{data: make([]byte, 0, chunkBytes)} }

func (c *chunk) offset() int64 { return int64(binary.BigEndian.Uint64(c.head[:])) }

func (c *chunk) has(page int) bool { return c.head[8+page/8]&(1<<(page%8)) != 0 }

func (c *chunk) checksum() [sumBytes]byte {
	h := sha256.New()
	h.Write(c.head[:])
	h.Write(c.data)
	return [sumBytes]byte(h.Sum(nil))
}

var zeros [pageBytes]byte

// fill makes the chunk at offset of what stands there, which it takes apart; false where all of it is zero.
func (c *chunk) fill(offset int64, what []byte) bool {
	clear(c.head[:])
	binary.BigEndian.PutUint64(c.head[:], uint64(offset))
	c.data = what[:0]
	for page := 0; page*pageBytes < len(what); page++ {
		p := what[page*pageBytes : min((page+1)*pageBytes, len(what))]
		if bytes.Equal(p, zeros[:len(p)]) {
			continue
		}
		c.head[8+page/8] |= 1 << (page % 8)
		c.data = append(c.data, p...) // to where it stands, or before
	}
	if len(c.data) == 0 {
		return false
	}
	c.sum = c.checksum()
	return true
}

// length is how many bytes the header announces, in a file of so many.
func (c *chunk) length(size int64) (int, error) {
	at, n := c.offset(), 0
	if at < 0 || at%chunkBytes != 0 || at >= size {
		return 0, fmt.Errorf("a chunk is said to begin at %d, in a file of %d bytes", at, size)
	}
	for _, b := range c.head[8:] {
		n += bits.OnesCount8(b)
	}
	last := int((min(size-at, chunkBytes) - 1) / pageBytes)
	for page := last + 1; page < pages; page++ {
		if c.has(page) {
			return 0, fmt.Errorf("the chunk at %d is said to reach beyond the end of its file", at)
		}
	}
	n *= pageBytes
	if rest := int((size - at) % pageBytes); size-at < chunkBytes && rest != 0 && c.has(last) {
		n -= pageBytes - rest
	}
	if n == 0 {
		return 0, fmt.Errorf("the chunk at %d is empty", at)
	}
	return n, nil
}

// writeTo puts the pages where they belong.
func (c *chunk) writeTo(f io.WriterAt) error {
	data := c.data
	for page := 0; page < pages && len(data) > 0; {
		if !c.has(page) {
			page++
			continue
		}
		from := page
		for page < pages && c.has(page) {
			page++
		}
		n := min((page-from)*pageBytes, len(data))
		if _, err := f.WriteAt(data[:n], c.offset()+int64(from)*pageBytes); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// send writes it as it travels.
func (c *chunk) send(w io.Writer) error {
	if c.wait {
		_, err := w.Write([]byte{kindWait})
		return err
	}
	head := make([]byte, 0, 1+headerBytes+sumBytes)
	head = append(append(append(head, kindChunk), c.head[:]...), c.sum[:]...)
	if _, err := w.Write(head); err != nil {
		return err
	}
	_, err := w.Write(c.data)
	return err
}

// A mismatch is what did not arrive as it was sent, or is not what was sent.
type mismatch struct{ what string }

func (m mismatch) Error() string { return "the checksums differ of " + m.what }

// IsMismatch says whether err is about checksums that differ.
func IsMismatch(err error) bool { return errors.As(err, new(mismatch)) }

// errSource is the other side's own word of why it sends no more.
type errSource struct{ text string }

func (e errSource) Error() string { return e.text }

// errMalformed is an answer that no host of ours gives.
var errMalformed = errors.New("what arrives is no disk")

// readFull takes an end in the middle for what it is.
func readFull(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// next reads the next chunk into c. At the end it answers io.EOF and the checksum of all.
func (c *chunk) next(r io.Reader, size int64) (all [sumBytes]byte, err error) {
	var kind [1]byte
	if err := readFull(r, kind[:]); err != nil {
		return all, err
	}
	c.wait = kind[0] == kindWait
	switch kind[0] {
	case kindWait:
		return all, nil
	case kindEnd:
		if err := readFull(r, all[:]); err != nil {
			return all, err
		}
		return all, io.EOF
	case kindError:
		return all, readError(r)
	case kindChunk:
	default:
		return all, errMalformed
	}
	if err := errors.Join(readFull(r, c.head[:]), readFull(r, c.sum[:])); err != nil {
		return all, err
	}
	n, err := c.length(size)
	if err != nil {
		return all, fmt.Errorf("%w: %w", errMalformed, err)
	}
	c.data = c.data[:n]
	return all, readFull(r, c.data)
}

func sendError(w io.Writer, why error) error {
	text := []byte(why.Error())
	text = text[:min(len(text), 1024)]
	_, err := w.Write(append(binary.BigEndian.AppendUint16([]byte{kindError}, uint16(len(text))), text...))
	return err
}

func readError(r io.Reader) error {
	var n [2]byte
	if err := readFull(r, n[:]); err != nil {
		return err
	}
	text := make([]byte, binary.BigEndian.Uint16(n[:]))
	if err := readFull(r, text); err != nil {
		return err
	}
	return errSource{string(bytes.ToValidUTF8(text, []byte("?")))}
}

// total is the checksum of a file: of its chunks' and of its size. It can be kept and gone on with.
type total struct{ h hash.Hash }

func newTotal() total { return total{sha256.New()} }

func (t total) add(c *chunk) { t.h.Write(c.sum[:]) }

func (t total) sum(size int64) [sumBytes]byte {
	t.h.Write(binary.BigEndian.AppendUint64(nil, uint64(size)))
	return [sumBytes]byte(t.h.Sum(nil))
}

func (t total) keep() ([]byte, error) { return t.h.(encoding.BinaryMarshaler).MarshalBinary() }

func (t total) goOn(kept []byte) error {
	return t.h.(encoding.BinaryUnmarshaler).UnmarshalBinary(kept)
}
