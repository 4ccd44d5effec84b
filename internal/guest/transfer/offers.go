package transfer

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/durable"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/listener"
	"github.com/slipway-cloud/slipway/internal/program"
)

// Folder is what an offer has in the folder of its server: who may have what, and a disk that was copied for it.
const Folder = "leaving"

const offerName = "offer"

// Options of a host that offers disks.
type Options struct {
	// Listen is where other hosts reach this one while it offers something; "" is that it offers nothing. Port 0 is any that is free.
	Listen string
	// Advertise is what they are told to dial; "" is Listen, or the hostname where that is no address of one machine.
	Advertise string
	Hostname  string
	// TLS shows this host's certificate and answers hosts alone; nil where it has none, and so offers nothing.
	TLS     *tls.Config
	Metrics *Metrics
	Timing  Timing
	Logger  *slog.Logger
}

// Offers are those of one host. They outlive its process.
type Offers struct {
	o Options

	mu     sync.Mutex
	stand  map[string]*offer // by server
	server *http.Server      // while there is one
	at     string            // where it listens
	served sync.WaitGroup
}

// kept is an offer as it lies in its folder.
type kept struct {
	ServerID string     `json:"server_id"`
	MoveID   string     `json:"move_id"`
	To       string     `json:"to"`
	Hash     []byte     `json:"hash"`   // SHA-256 of the credential
	Listen   string     `json:"listen"` // where it was found, and has to be again
	Until    time.Time  `json:"until"`
	Taken    bool       `json:"taken,omitempty"` // the credential is used
	Files    []keptFile `json:"files"`
}

type keptFile struct {
	contract.OfferedFile
	Path     string    `json:"path"` // in the server's folder
	Modified time.Time `json:"modified"`
}

// offer is one that stands.
type offer struct {
	kept
	dir   string // the server's
	timer *time.Timer

	mu     sync.Mutex
	stop   context.CancelFunc // of the answer that is being given
	ended  chan struct{}
	closed bool

	// marks are, of each file, how its checksum was on the way, the last one furthest. Whoever gives an answer has them to itself.
	marks map[int][]mark
}

// mark is the checksum of all chunks before an offset.
type mark struct {
	offset int64
	sum    []byte
}

// markEvery is how far the marks of a file lie apart: 100 bytes are kept for each.
const markEvery = 64 << 20

// Within is how long an offer stands where nobody says.
const Within = 24 * time.Hour

// connections that are served at once: a host fetches over one, and another may be on its way in the place of one that broke off.
const connections = 64

// NewOffers has none yet.
func NewOffers(o Options) *Offers {
	o.Timing = o.Timing.filled()
	return &Offers{o: o, stand: map[string]*offer{}}
}

// TakeUp goes on with the offers that stand in the folders of servers: for the start of a host. One that cannot be told, or that is
// over, or that this host is not to offer any more, is removed. The text of an error is a warning: whoever fetches is told by nobody answering.
func (o *Offers) TakeUp(ctx context.Context, instances string) error {
	names, err := filepath.Glob(filepath.Join(instances, "*", Folder, offerName))
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	var errs []error
	defer o.settle()
	for _, name := range names {
		folder := filepath.Dir(name)
		var k kept
		text, err := os.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(text, &k)
		}
		if err == nil {
			err = o.able()
		}
		if err != nil || k.Until.Before(time.Now()) || k.Taken {
			errs = append(errs, err, os.RemoveAll(folder))
			continue
		}
		errs = append(errs, o.put(ctx, &offer{kept: k, dir: filepath.Dir(folder)}, k.Listen))
	}
	return errors.Join(errs...)
}

// able says why this host offers nothing.
func (o *Offers) able() error {
	if o.o.Listen == "" || o.o.TLS == nil {
		return fault.New(fault.Conflict, "Host %s sends no disks to other hosts: host.transfer_listen is not set there, or it has no certificate.", o.o.Hostname)
	}
	return nil
}

// Disk is one that is offered.
type Disk struct {
	Name   string
	Path   string // in the server's folder
	Backed bool   // contract.OfferedFile's
}

// Make offers the disks in a server's folder. It takes the place of an offer that there was.
func (o *Offers) Make(ctx context.Context, dir string, in contract.OfferDisksInput, disks []Disk) (out contract.DiskOffer, err error) {
	if err := o.able(); err != nil {
		return out, err
	}
	k := kept{ServerID: in.ServerID, MoveID: in.MoveID, To: in.To, Until: time.Now().Add(in.Within)}
	if in.Within <= 0 {
		k.Until = time.Now().Add(Within)
	}
	for _, d := range disks {
		f, st, err := openRegular(filepath.Join(dir, d.Path))
		if err != nil {
			return out, program.Fault(err, "offering "+d.Path+" of server "+in.ServerID)
		}
		f.Close()
		file := contract.OfferedFile{Name: d.Name, Bytes: st.Size(), Allocated: min(allocated(st), roundUp(st.Size())), Backed: d.Backed}
		k.Files = append(k.Files, keptFile{OfferedFile: file, Path: d.Path, Modified: st.ModTime()})
		out.Files = append(out.Files, file)
		out.Total += file.Allocated
	}
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return out, err
	}
	out.Credential = hex.EncodeToString(secret)
	sum := sha256.Sum256([]byte(out.Credential))
	k.Hash = sum[:]

	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.settle()
	o.drop(in.ServerID)
	offer := &offer{kept: k, dir: dir}
	if err := o.put(ctx, offer, o.o.Listen); err != nil {
		return contract.DiskOffer{}, err
	}
	if out.Address, err = o.address(); err == nil {
		offer.Listen = o.at
		err = offer.keep()
	}
	if err != nil {
		o.drop(in.ServerID)
		return contract.DiskOffer{}, program.Fault(err, "keeping the offer of server "+in.ServerID)
	}
	return out, nil
}

func roundUp(n int64) int64 { return (n + pageBytes - 1) / pageBytes * pageBytes }

// put has an offer stand. o.mu is held.
func (o *Offers) put(ctx context.Context, f *offer, listen string) error {
	if o.server == nil {
		if err := o.listen(ctx, listen); err != nil {
			return fault.Wrap(fault.HostUnfit, err, "host %s cannot offer disks to other hosts", o.o.Hostname)
		}
	}
	o.stand[f.ServerID] = f
	f.timer = time.AfterFunc(time.Until(f.Until), func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.stand[f.ServerID] == f {
			defer o.settle()
			o.o.Logger.Warn("Nobody has ended an offer of disks in time; it is over.", "server_id", f.ServerID, "move_id", f.MoveID, "to", f.To)
			o.drop(f.ServerID)
			if err := os.RemoveAll(filepath.Join(f.dir, Folder)); err != nil {
				o.o.Logger.Warn("What was copied for an offer cannot be removed.", "server_id", f.ServerID, "error", err)
			}
		}
	})
	return nil
}

func (f *offer) keep() error {
	text, err := json.Marshal(f.kept)
	if err != nil {
		return err
	}
	folder := filepath.Join(f.dir, Folder)
	if err := os.Mkdir(folder, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return durable.WriteFile(filepath.Join(folder, offerName), text, 0o600)
}

// End ends the offer of a server, if there is one, and removes what was copied for it. Nothing of it is read any more afterwards.
func (o *Offers) End(dir, serverID string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.drop(serverID)
	o.settle()
	return program.Fault(os.RemoveAll(filepath.Join(dir, Folder)), "ending the offer of server "+serverID)
}

// drop has an offer stand no more. o.mu is held; settle follows.
func (o *Offers) drop(serverID string) {
	f := o.stand[serverID]
	if f == nil {
		return
	}
	delete(o.stand, serverID)
	f.timer.Stop()
	f.close()
}

// settle has nobody listen where nothing is offered. o.mu is held.
func (o *Offers) settle() {
	if o.server == nil || len(o.stand) > 0 {
		return
	}
	_ = o.server.Close()
	o.served.Wait()
	o.server = nil
}

// Close ends what is being sent. Offers stand when the host starts again.
func (o *Offers) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id := range o.stand {
		o.drop(id)
	}
	o.settle()
}

// of is the offer of a server that stands.
func (o *Offers) of(serverID string) *offer {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stand[serverID]
}

// begin takes the offer for one answer: whoever asks again has lost the one before.
func (f *offer) begin(ctx context.Context) (context.Context, func(), bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stop != nil {
		f.stop()
		<-f.ended
	}
	if f.closed {
		return nil, nil, false
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	f.stop, f.ended = stop, ended
	return ctx, func() { stop(); close(ended) }, true
}

func (f *offer) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if f.stop != nil {
		f.stop()
		<-f.ended
	}
}

// take uses the credential up. An offer that has ended meanwhile has nothing to keep that in.
func (o *Offers) take(f *offer) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stand[f.ServerID] != f {
		return nil
	}
	f.Taken = true
	return f.keep()
}

// listen begins to. o.mu is held.
func (o *Offers) listen(ctx context.Context, address string) error {
	l, err := listener.Open(ctx, "host.transfer_listen", address)
	if err != nil {
		return err
	}
	o.at = l.Addr().String()
	server := &http.Server{
		Handler: o.handler(), TLSConfig: o.o.TLS,
		ReadHeaderTimeout: o.o.Timing.Stall, IdleTimeout: o.o.Timing.Stall, MaxHeaderBytes: 16 << 10,
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/1.1 alone: an answer has a connection to itself
		ErrorLog:     slog.NewLogLogger(refusals{o.o.Logger.Handler(), o.o.Metrics.refused}, slog.LevelWarn),
	}
	o.server = server
	o.served.Go(func() {
		err := server.ServeTLS(netutil.LimitListener(l, connections), "", "")
		if !errors.Is(err, http.ErrServerClosed) {
			o.o.Logger.Error("Disks that are offered cannot be fetched any more.", "error", err)
		}
	})
	o.o.Logger.Info("Listening for other hosts while disks are offered.", "address", o.at)
	return nil
}

// refusals is where the server says whose handshake it has ended.
type refusals struct {
	slog.Handler
	refused prometheus.Counter
}

func (r refusals) Enabled(context.Context, slog.Level) bool { return true } // it counts whatever is logged

func (r refusals) Handle(ctx context.Context, record slog.Record) error {
	r.refused.Inc()
	if !r.Handler.Enabled(ctx, record.Level) {
		return nil
	}
	return r.Handler.Handle(ctx, record)
}

// address is what others dial.
func (o *Offers) address() (string, error) {
	_, port, err := net.SplitHostPort(o.at)
	if err != nil {
		return "", err
	}
	advertise := o.o.Advertise
	if advertise == "" {
		host, _, err := net.SplitHostPort(o.o.Listen)
		if err != nil {
			return "", fmt.Errorf("host.transfer_listen: %w", err)
		}
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			host = o.o.Hostname
		}
		return net.JoinHostPort(host, port), nil
	}
	if _, _, err := net.SplitHostPort(advertise); err != nil { // an address alone
		return net.JoinHostPort(advertise, port), nil
	}
	return advertise, nil
}

// openRegular opens a file that is one, and no link.
func openRegular(path string) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", path)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, st, nil
}

func allocated(st fs.FileInfo) int64 { return st.Sys().(*syscall.Stat_t).Blocks * 512 }
