package transfer

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/pki"
	"github.com/slipway-cloud/slipway/internal/tlsfile"
)

// What another host asks for: a file of an offer, from an offset on, and the end of the credential.
const (
	filePath  = "/v1/disks/{server}/{move}/{file}"
	takenPath = "/v1/disks/{server}/{move}/taken"
)

func (o *Offers) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+filePath, o.admitted(o.file))
	mux.HandleFunc("POST "+takenPath, o.admitted(func(w http.ResponseWriter, _ *http.Request, f *offer) {
		if err := o.take(f); err != nil {
			o.o.Logger.Error("That an offer was taken cannot be kept.", "server_id", f.ServerID, "error", err)
			http.Error(w, "it cannot be kept that the disks were taken", http.StatusServiceUnavailable)
			return
		}
		o.o.Logger.Info("The disks of a server were taken.", "server_id", f.ServerID, "move_id", f.MoveID, "by", f.To)
	}))
	return tlsfile.Handler(o.o.TLS, o.o.Logger, mux)
}

// admitted lets whoever an offer is for have it. All others learn the same: that there is none.
func (o *Offers) admitted(next func(http.ResponseWriter, *http.Request, *offer)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		f := o.of(r.PathValue("server"))
		if why := o.refuse(f, r); why != nil {
			o.o.Metrics.refused.Inc()
			o.o.Logger.Warn("A request for disks was refused.", "from", r.RemoteAddr, "path", r.URL.Path, "reason", why)
			http.Error(w, "no such offer", http.StatusNotFound)
			return
		}
		if r.ContentLength != 0 { // nobody reads one
			_ = http.NewResponseController(w).SetReadDeadline(time.Now())
			http.Error(w, "a body is not taken", http.StatusBadRequest)
			return
		}
		next(w, r, f)
	}
}

func (o *Offers) refuse(f *offer, r *http.Request) error {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return errors.New("it came without a certificate")
	}
	role, name := pki.Holder(r.TLS.PeerCertificates[0])
	if f == nil {
		return fmt.Errorf("%s %s asked for what is not offered", role, name)
	}
	o.mu.Lock()
	taken := f.Taken
	o.mu.Unlock()
	sum := sha256.Sum256([]byte(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")))
	switch {
	case role != pki.Host || name != f.To:
		return fmt.Errorf("%s %s asked for what is offered to host %s", role, name, f.To)
	case r.PathValue("move") != f.MoveID:
		return fmt.Errorf("host %s asked for another move than the one that it is offered for", name)
	case subtle.ConstantTimeCompare(sum[:], f.Hash) != 1:
		return fmt.Errorf("host %s showed another credential", name)
	case taken:
		return fmt.Errorf("host %s showed a credential that was used", name)
	case time.Now().After(f.Until):
		return errors.New("the offer is over")
	}
	return nil
}

func (o *Offers) file(w http.ResponseWriter, r *http.Request, f *offer) {
	n, err := strconv.Atoi(r.PathValue("file"))
	from, err2 := strconv.ParseInt(r.URL.Query().Get("from"), 10, 64)
	if err := errors.Join(err, err2); err != nil || n < 0 || n >= len(f.Files) || from < 0 || from%chunkBytes != 0 {
		http.Error(w, "no such part", http.StatusBadRequest)
		return
	}
	ctx, end, ok := f.begin(r.Context())
	if !ok {
		http.Error(w, "no such offer", http.StatusNotFound)
		return
	}
	defer end()
	out := &answer{w: w, control: http.NewResponseController(w), stall: o.o.Timing.Stall, metrics: o.o.Metrics}
	// A write that nobody takes ends with its deadline, or when it is not wanted any more.
	stop := context.AfterFunc(ctx, func() { _ = out.control.SetWriteDeadline(time.Now()) })
	defer stop()
	out.ctx = ctx
	w.Header().Set("Content-Type", "application/octet-stream")
	err = o.send(ctx, out, f, n, from)
	if err == nil || ctx.Err() != nil {
		return
	}
	o.o.Logger.Warn("A disk was not sent to its end.", "server_id", f.ServerID, "disk", f.Files[n].Name, "to", f.To, "error", err)
	_ = sendError(out, err)
}

// answer is one that is being given, with a deadline for each of its writes.
type answer struct {
	ctx     context.Context
	w       http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
	metrics *Metrics
}

func (a *answer) Write(b []byte) (int, error) {
	if err := errors.Join(a.control.SetWriteDeadline(time.Now().Add(a.stall)), a.ctx.Err()); err != nil {
		return 0, err
	}
	n, err := a.w.Write(b)
	a.metrics.sent.Add(float64(n))
	return n, err
}

// flush sends what was written, where there may be nothing to write for a while.
func (a *answer) flush() error {
	return errors.Join(a.control.SetWriteDeadline(time.Now().Add(a.stall)), a.ctx.Err(), a.control.Flush())
}

// ahead is how many chunks are read before they are sent, and received before they are written.
const ahead = 4

// send sends a file. What is before from counts for its checksum alone, and is read again behind the last mark.
func (o *Offers) send(ctx context.Context, out *answer, f *offer, n int, from int64) error {
	file := f.Files[n]
	disk, st, err := openRegular(filepath.Join(f.dir, file.Path))
	if err != nil {
		return errors.New("the disk cannot be opened any more")
	}
	defer disk.Close()
	if st.Size() != file.Bytes || !st.ModTime().Equal(file.Modified) {
		return errors.New("the disk has changed since it was offered")
	}
	all, begin := newTotal(), int64(0)
	for _, m := range f.marks[n] {
		if m.offset <= from {
			if err := all.goOn(m.sum); err != nil {
				return err
			}
			begin = m.offset
		}
	}
	next := begin + markEvery
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	free, read := make(chan *chunk, ahead), make(chan *chunk, ahead)
	for range ahead {
		free <- newChunk()
	}
	failed := make(chan error, 1)
	go func() {
		defer close(read)
		failed <- eachChunk(ctx, disk, begin, file.Bytes, o.o.Timing.Stall/4, free, read)
	}()
	waited := time.Now()
	for c := range read {
		if err == nil {
			if !c.wait {
				if at := c.offset(); at >= next {
					next = at + markEvery
					err = f.mark(n, at, all)
				}
				all.add(c)
			}
			switch {
			case !c.wait && c.offset() >= from:
				err = errors.Join(err, c.send(out))
			case time.Since(waited) > o.o.Timing.Stall/4:
				waited = time.Now()
				err = errors.Join(err, (&chunk{wait: true}).send(out), out.flush())
			}
			if err != nil {
				cancel()
			}
		}
		c.data = c.data[:0]
		free <- c
	}
	if err := errors.Join(<-failed, err); err != nil {
		return err
	}
	if st, err := disk.Stat(); err != nil || !st.ModTime().Equal(file.Modified) {
		return errors.New("the disk has changed while it was sent")
	}
	sum := all.sum(file.Bytes)
	_, err = out.Write(append([]byte{kindEnd}, sum[:]...))
	return err
}

// mark keeps the checksum of all before an offset, if that is further than the last one.
func (f *offer) mark(n int, offset int64, all total) error {
	if had := f.marks[n]; len(had) > 0 && had[len(had)-1].offset >= offset {
		return nil
	}
	sum, err := all.keep()
	if err != nil {
		return err
	}
	if f.marks == nil {
		f.marks = map[int][]mark{}
	}
	f.marks[n] = append(f.marks[n], mark{offset, sum})
	return nil
}

func roundDown(n int64) int64 { return n / chunkBytes * chunkBytes }

// eachChunk reads all chunks of a file from an offset on that are not zero, one after the other, and tells of its life where there are
// none for long.
func eachChunk(ctx context.Context, f *os.File, at, size int64, patience time.Duration, free <-chan *chunk, read chan<- *chunk) error {
	var c *chunk
	last := time.Now()
	for at < size {
		data, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // the rest is a hole
			return nil
		}
		if err != nil {
			return fmt.Errorf("finding what the disk holds: %w", err)
		}
		hole, err := unix.Seek(int(f.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return fmt.Errorf("finding the holes of the disk: %w", err)
		}
		for at = max(at, roundDown(data)); at < min(hole, size); at += chunkBytes {
			if c == nil {
				select {
				case c = <-free:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			what := c.data[:min(chunkBytes, size-at)]
			if _, err := f.ReadAt(what, at); errors.Is(err, io.EOF) {
				return errors.New("the disk has become shorter")
			} else if err != nil {
				return fmt.Errorf("reading the disk: %w", err)
			}
			if c.wait = !c.fill(at, what); c.wait && time.Since(last) < patience {
				continue
			}
			select {
			case read <- c:
				c, last = nil, time.Now()
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}
