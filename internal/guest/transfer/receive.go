package transfer

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/durable"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/program"
	"github.com/slipway-cloud/slipway/internal/space"
)

// partSuffix is that of what is no part of a guest yet, here as in all folders of guests.
const partSuffix = ".part"

// stateName is where a folder says how far it is.
const stateName = "transfer" + partSuffix

// Receiver fetches what other hosts offer.
type Receiver struct {
	// TLS shows this host's certificate, and believes the host of that name alone; nil where this one has no certificate.
	TLS     func(hostname string) *tls.Config
	Reserve space.Floor // left free on the filesystem
	// Checkpoint is how many bytes are fetched again at most after a death; 0 is 64 MiB.
	Checkpoint int64
	Metrics    *Metrics
	Timing     Timing
	Logger     *slog.Logger

	fails func() error // a test's disk, where it is to have bytes that were written
}

// Arrival is what a host fetches from another.
type Arrival struct {
	ServerID, MoveID, From string
	Offer                  contract.DiskOffer
	// Settle makes a disk that has arrived whole, under a temporary name, this host's own. It may be done again.
	Settle func(ctx context.Context, name, path string) error
	// Progress is told how much has come.
	Progress func(done, total int64)
}

// state is how far a folder is. What it says is on the disk.
type state struct {
	MoveID string                 `json:"move_id"`
	Files  []contract.OfferedFile `json:"files"`
	Done   int64                  `json:"done"`   // bytes that were fetched of the files before
	File   int                    `json:"file"`   // that is being fetched
	Part   int64                  `json:"part"`   // bytes that were fetched of it
	Offset int64                  `json:"offset"` // of it, where its next chunk may begin
	Sum    []byte                 `json:"sum"`    // of its chunks, to go on with
	Whole  bool                   `json:"whole"`  // it has all its bytes, and is being made this host's own
}

// Receive fetches all files of an offer into a folder, which is made, and goes on where it was. What lies there of another move is
// removed. It returns when all of it is whole, verified and durable.
func (r Receiver) Receive(ctx context.Context, dir string, in Arrival) (err error) {
	defer func() { err = program.Fault(err, "receiving the disks of server "+in.ServerID) }()
	r.Timing, r.Checkpoint = r.Timing.filled(), cmp.Or(r.Checkpoint, checkpointBytes)
	if r.TLS == nil {
		return fault.New(fault.HostUnfit, "This host has no certificate to show to the one that has the disks.").NotTheHosts()
	}
	a, err := r.open(dir, in)
	if err != nil {
		return err
	}
	defer a.root.Close()
	if a.s.File < len(in.Offer.Files) {
		if err := r.Reserve.Check(dir, max(0, in.Offer.Total-a.s.Done-a.s.Part)); err != nil {
			return err
		}
	}
	watched, stop := r.Reserve.Watch(ctx, dir)
	defer stop()
	a.client = r.client(r.TLS(in.From))
	defer a.client.CloseIdleConnections()
	for a.s.File < len(in.Offer.Files) {
		if err := a.file(watched); err != nil {
			if full := context.Cause(watched); program.NoSpace(full) {
				err = full
			}
			return err
		}
	}
	if err := errors.Join(durable.SyncDir(dir), durable.SyncDir(filepath.Dir(dir))); err != nil {
		return err
	}
	in.Progress(in.Offer.Total, in.Offer.Total)
	a.taken(ctx)
	return nil
}

// arriving is a Receive that goes on.
type arriving struct {
	Receiver
	in     Arrival
	dir    string
	root   *os.Root
	client *http.Client
	s      state
}

// open makes the folder, or finds how far it is.
func (r Receiver) open(dir string, in Arrival) (*arriving, error) {
	if st, err := os.Lstat(dir); err == nil && !st.IsDir() {
		return nil, fmt.Errorf("%s is no folder", dir)
	}
	for i, f := range in.Offer.Files {
		twice := slices.ContainsFunc(in.Offer.Files[:i], func(g contract.OfferedFile) bool { return g.Name == f.Name })
		if twice || f.Name == "." || !filepath.IsLocal(f.Name) || filepath.Base(f.Name) != f.Name || strings.HasSuffix(f.Name, partSuffix) || f.Bytes < 0 {
			return nil, fault.New(fault.Invalid, "%q of %d bytes is no disk that could be received.", f.Name, f.Bytes)
		}
	}
	a := &arriving{Receiver: r, in: in, dir: dir}
	text, err := os.ReadFile(filepath.Join(dir, stateName))
	if err != nil || json.Unmarshal(text, &a.s) != nil || a.s.MoveID != in.MoveID || !slices.Equal(a.s.Files, in.Offer.Files) {
		a.s = state{MoveID: in.MoveID, Files: in.Offer.Files}
		if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o711)); err != nil {
			return nil, err
		}
		if err := a.keep(a.s); err != nil {
			return nil, err
		}
	}
	if a.root, err = os.OpenRoot(dir); err != nil {
		return nil, err
	}
	return a, a.sweep()
}

// sweep removes what is none of the move's: what a process that was killed had begun to write.
func (a *arriving) sweep() error {
	entries, err := os.ReadDir(a.dir)
	for _, e := range entries {
		mine := e.Name() == stateName || slices.ContainsFunc(a.s.Files, func(f contract.OfferedFile) bool {
			return strings.TrimSuffix(e.Name(), partSuffix) == f.Name
		})
		if !mine || !e.Type().IsRegular() {
			err = errors.Join(err, a.root.RemoveAll(e.Name()))
		}
	}
	return err
}

func (a *arriving) keep(s state) error {
	text, err := json.Marshal(s)
	if err == nil {
		err = durable.WriteFile(filepath.Join(a.dir, stateName), text, 0o600)
	}
	return err
}

// save says how far the folder is, once that is on the disk.
func (a *arriving) save(f *os.File, s state) error {
	if a.fails != nil {
		if err := a.fails(); err != nil {
			return err
		}
	}
	if err := unix.Fdatasync(int(f.Fd())); err != nil {
		return err
	}
	return a.keep(s)
}

// file brings the next file to its place, whole.
func (a *arriving) file(ctx context.Context) error {
	file := a.s.Files[a.s.File]
	part := file.Name + partSuffix
	if _, err := a.root.Lstat(file.Name); errors.Is(err, fs.ErrNotExist) {
		if !a.s.Whole {
			if err := a.fetchAll(ctx, file, part); err != nil {
				return err
			}
		}
		if a.in.Settle != nil {
			if err := a.in.Settle(ctx, file.Name, filepath.Join(a.dir, part)); err != nil {
				return err
			}
		}
		if err := errors.Join(a.root.Rename(part, file.Name), durable.SyncDir(a.dir)); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	a.s = state{MoveID: a.s.MoveID, Files: a.s.Files, Done: a.s.Done + a.s.Part, File: a.s.File + 1}
	return a.keep(a.s)
}

// fetchAll fetches a file to its end. What breaks off is asked for again, as long as something comes.
func (a *arriving) fetchAll(ctx context.Context, file contract.OfferedFile, part string) error {
	last, had := time.Now(), a.s.Part
	for {
		err := a.fetch(ctx, file, part)
		if a.s.Part > had {
			last, had = time.Now(), a.s.Part
		}
		var broke broken
		var source errSource
		switch {
		case err == nil:
			return nil
		case IsMismatch(err):
			// Nobody knows of which bytes: the next try takes nothing for granted.
			return errors.Join(fault.Wrap(fault.HostUnfit, err, "the disks did not arrive as host %s has them", a.in.From).NotTheHosts(), os.RemoveAll(a.dir))
		case errors.As(err, &source), errors.Is(err, errMalformed):
			return fault.Wrap(fault.HostUnfit, err, "host %s does not send the disks: %v", a.in.From, err).NotTheHosts()
		case !errors.As(err, &broke) || ctx.Err() != nil:
			return err
		case time.Since(last) > a.Timing.Patience:
			return fault.Wrap(fault.Unavailable, err, "host %s does not send the disks", a.in.From)
		}
		a.Logger.Warn("A disk has not arrived to its end; asking again for the rest.", "server_id", a.in.ServerID, "disk", file.Name, "from", a.in.From, "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(a.Timing.Pause):
		}
	}
}

// broken is a connection that ended before the file did.
type broken struct{ error }

func (b broken) Unwrap() error { return b.error }

// fetch asks for what is missing of a file.
func (a *arriving) fetch(ctx context.Context, file contract.OfferedFile, part string) (err error) {
	f, err := a.root.OpenFile(part, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	all := newTotal()
	if st.Size() != file.Bytes || a.s.Offset == 0 || all.goOn(a.s.Sum) != nil {
		a.s.Part, a.s.Offset, a.s.Sum, all = 0, 0, nil, newTotal()
	}
	// What is behind was written and not said to be: it is fetched again, and must not shine through.
	if err := errors.Join(f.Truncate(min(a.s.Offset, file.Bytes)), f.Truncate(file.Bytes)); err != nil {
		return err
	}
	body, err := a.ask(ctx, http.MethodGet, strconv.Itoa(a.s.File)+"?from="+strconv.FormatInt(a.s.Offset, 10))
	if err != nil {
		return err
	}
	return a.write(ctx, file, f, body, all)
}

// A checkpoint is made when so much was written, or so long ago, and at most one at a time.
const (
	checkpointBytes = 64 << 20
	checkpointEvery = 2 * time.Second
)

// write puts what comes into the file, and says in time how far that is. It leaves in a.s, and in the folder, where to go on.
func (a *arriving) write(ctx context.Context, file contract.OfferedFile, f *os.File, body io.ReadCloser, all total) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	free, come := make(chan *chunk, ahead), make(chan *chunk, ahead)
	for range ahead {
		free <- newChunk()
	}
	var theirs [sumBytes]byte
	var reading sync.WaitGroup
	ended := errors.New("nothing was read") // why nothing more comes
	reading.Go(func() {
		defer close(come)
		from := bufio.NewReaderSize(body, 64<<10)
		for {
			var c *chunk
			select {
			case c = <-free:
			case <-ctx.Done():
				ended = ctx.Err()
				return
			}
			if theirs, ended = c.next(from, file.Bytes); ended != nil {
				return
			}
			come <- c // there is room: as many are under way as there are
		}
	})
	saving, saves := make(chan error, 1), false
	defer func() {
		cancel()
		body.Close() // a read that waits ends
		reading.Wait()
		// A disk says once that it has lost what it was to write, and that all is well the next time: then what was saved before counts.
		if saves {
			if failed := <-saving; failed != nil && !IsMismatch(err) {
				err = failed
			}
		}
		if errors.As(err, new(broken)) {
			sum, failed := all.keep()
			if a.s.Sum = sum; failed == nil {
				failed = a.save(f, a.s)
			}
			if failed != nil {
				err = failed
			}
		}
	}()
	written, when := int64(0), time.Now()
	for c := range come {
		if !c.wait {
			if c.offset() < a.s.Offset {
				return fmt.Errorf("%w: a chunk comes twice", errMalformed)
			}
			if c.checksum() != c.sum {
				return mismatch{fmt.Sprintf("%s at %d", file.Name, c.offset())}
			}
			if err := c.writeTo(f); err != nil {
				return err
			}
			all.add(c)
			n := int64(len(c.data))
			a.s.Offset, a.s.Part, written = c.offset()+chunkBytes, a.s.Part+n, written+n
			a.Metrics.received.Add(float64(n))
			a.in.Progress(min(a.s.Done+a.s.Part, a.in.Offer.Total), a.in.Offer.Total)
		}
		free <- c
		if written < a.Checkpoint && (written == 0 || time.Since(when) < checkpointEvery) {
			continue
		}
		if saves {
			select {
			case err := <-saving:
				if saves = false; err != nil {
					return err
				}
			default:
				continue
			}
		}
		written, when = 0, time.Now()
		s := a.s
		if s.Sum, err = all.keep(); err != nil {
			return err
		}
		saves = true
		go func() { saving <- a.save(f, s) }()
	}
	if !errors.Is(ended, io.EOF) {
		if errors.Is(ended, errMalformed) || errors.As(ended, new(errSource)) {
			return ended
		}
		return broken{ended}
	}
	if ours := all.sum(file.Bytes); ours != theirs {
		return mismatch{file.Name}
	}
	if saves {
		if saves, err = false, <-saving; err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	a.s.Whole = true
	return a.keep(a.s)
}

// client dials the host that has the disks, and gives up a connection over which nothing goes.
func (r Receiver) client(config *tls.Config) *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, r.Timing.Stall)
			defer cancel()
			c, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			secure := tls.Client(stalling{c, r.Timing.Stall}, config)
			if err := secure.HandshakeContext(ctx); err != nil {
				return nil, errors.Join(err, c.Close())
			}
			return secure, nil
		}},
	}
}

// stalling is a connection that ends when nothing goes for so long.
type stalling struct {
	net.Conn
	stall time.Duration
}

func (s stalling) Read(b []byte) (int, error) {
	if err := s.SetReadDeadline(time.Now().Add(s.stall)); err != nil {
		return 0, err
	}
	return s.Conn.Read(b)
}

func (s stalling) Write(b []byte) (int, error) {
	if err := s.SetWriteDeadline(time.Now().Add(s.stall)); err != nil {
		return 0, err
	}
	return s.Conn.Write(b)
}

func (a *arriving) ask(ctx context.Context, method, what string) (io.ReadCloser, error) {
	address := "https://" + a.in.Offer.Address + "/v1/disks/" + url.PathEscape(a.in.ServerID) + "/" + url.PathEscape(a.in.MoveID) + "/" + what
	r, err := http.NewRequestWithContext(ctx, method, address, http.NoBody)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "host %s offers the disks at no address: %q", a.in.From, a.in.Offer.Address)
	}
	r.Header.Set("Authorization", "Bearer "+a.in.Offer.Credential)
	answer, err := a.client.Do(r)
	if err != nil {
		if errors.As(err, new(*tls.CertificateVerificationError)) || errors.Is(err, errNotThem) {
			return nil, fault.Wrap(fault.HostUnfit, err, "whoever answers at %s is not host %s", a.in.Offer.Address, a.in.From).NotTheHosts()
		}
		return nil, broken{err}
	}
	switch answer.StatusCode {
	case http.StatusOK:
		return answer.Body, nil
	case http.StatusNotFound:
		answer.Body.Close()
		return nil, fault.New(fault.Conflict, "Host %s does not offer the disks of instance %s to this host, or not any more.", a.in.From, a.in.ServerID)
	}
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 200))
	answer.Body.Close()
	err = fmt.Errorf("host %s answers %s: %s", a.in.From, answer.Status, strings.ToValidUTF8(strings.TrimSpace(string(text)), "?"))
	if answer.StatusCode >= http.StatusInternalServerError {
		return nil, broken{err}
	}
	return nil, err
}

// takenPatience is how long the other host has for taking note.
const takenPatience = 10 * time.Second

// taken ends the credential: nobody needs it any more. Where the other host does not hear of it, its offer ends with the move.
func (a *arriving) taken(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, takenPatience)
	defer cancel()
	body, err := a.ask(ctx, http.MethodPost, "taken")
	if err != nil {
		a.Logger.Info("The other host was not told that the disks have arrived.", "server_id", a.in.ServerID, "host", a.in.From, "error", err)
		return
	}
	body.Close()
}
