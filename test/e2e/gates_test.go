package e2e

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/test/system"
)

// socketGate stands between a host and libvirtd: open it forwards, held it takes what comes and answers nothing (a
// libvirtd that hangs), closed nobody listens (a libvirtd that is not there).
type socketGate struct {
	path, to string

	mu       sync.Mutex
	pass     chan struct{} // closed: bytes go through
	listener net.Listener
	conns    map[net.Conn]struct{}
	serving  sync.WaitGroup
}

func newSocketGate(t *testing.T, to string) *socketGate {
	t.Helper()
	dir, err := os.MkdirTemp("", "slg") // short: a socket's path has at most 107 bytes
	require.NoError(t, err)
	g := &socketGate{path: filepath.Join(dir, "libvirt-sock"), to: to, conns: map[net.Conn]struct{}{}}
	g.open(t)
	t.Cleanup(func() {
		g.close(t)
		g.serving.Wait()
		require.NoError(t, os.RemoveAll(dir))
	})
	return g
}

func (g *socketGate) open(t *testing.T) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pass == nil {
		g.pass = make(chan struct{})
	}
	select {
	case <-g.pass:
	default:
		close(g.pass)
	}
	if g.listener != nil {
		return
	}
	l, err := net.Listen("unix", g.path)
	require.NoError(t, err)
	g.listener = l
	g.serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			g.serving.Go(func() { g.serve(c) })
		}
	})
}

// hold lets nothing through until open.
func (g *socketGate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pass = make(chan struct{})
}

func (g *socketGate) close(t *testing.T) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener != nil {
		require.NoError(t, g.listener.Close())
		g.listener = nil
	}
	for c := range g.conns {
		c.Close()
	}
}

func (g *socketGate) track(c net.Conn) (forget func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns[c] = struct{}{}
	if g.listener == nil { // accepted at the last moment
		c.Close()
	}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.conns, c)
		c.Close()
	}
}

func (g *socketGate) serve(from net.Conn) {
	defer g.track(from)()
	to, err := net.Dial("unix", g.to)
	if err != nil {
		return
	}
	defer g.track(to)()
	ended := make(chan struct{}, 2)
	gone := make(chan struct{})
	forward := func(w, r net.Conn) {
		defer func() { ended <- struct{}{} }()
		b := make([]byte, 64<<10)
		for {
			n, err := r.Read(b)
			if err != nil {
				return
			}
			g.mu.Lock()
			pass := g.pass
			g.mu.Unlock()
			select {
			case <-pass:
			case <-gone:
				return
			}
			if _, err := w.Write(b[:n]); err != nil {
				return
			}
		}
	}
	g.serving.Go(func() { forward(to, from) })
	g.serving.Go(func() { forward(from, to) })
	<-ended
	close(gone)
	from.Close()
	to.Close()
	<-ended
}

// imageGate stands between a host and the API. Of an image that it stops, a half comes through; the rest waits for open.
type imageGate struct {
	URL string

	mu       sync.Mutex
	stopped  map[string]chan struct{} // by image id; closed: let through
	requests []imageRequest
}

// imageRequest is one download: from where on, and how many bytes came through.
type imageRequest struct {
	image string
	from  int64
	bytes int64
}

// newImageGate stands before a system's API, and shows its certificate.
func newImageGate(t *testing.T, s *system.System) *imageGate {
	t.Helper()
	target, err := url.Parse(s.APIURL)
	require.NoError(t, err)
	g := &imageGate{stopped: map[string]chan struct{}{}}
	proxy := &httputil.ReverseProxy{
		Transport:     s.HTTP().Transport,
		FlushInterval: -1, // what the API has sent is on the host
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ModifyResponse: func(r *http.Response) error {
			id, isFile := strings.CutSuffix(strings.TrimPrefix(r.Request.URL.Path, "/hosts/images/"), "/file")
			if isFile && r.Request.Method == http.MethodGet && r.StatusCode < 300 {
				r.Body = g.download(id, r)
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g.URL = "https://" + l.Addr().String()
	server := &http.Server{Handler: proxy, ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	control := testenv.Control(t)
	go func() { served <- server.ServeTLS(l, control.Cert, control.Key) }()
	t.Cleanup(func() {
		g.openAll()
		require.NoError(t, server.Close())
		require.ErrorIs(t, <-served, http.ErrServerClosed)
	})
	return g
}

func (g *imageGate) stop(image string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopped[image] = make(chan struct{})
}

func (g *imageGate) openAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, c := range g.stopped {
		close(c)
		delete(g.stopped, id)
	}
}

// downloads are the requests for an image so far.
func (g *imageGate) downloads(image string) []imageRequest {
	g.mu.Lock()
	defer g.mu.Unlock()
	var of []imageRequest
	for _, r := range g.requests {
		if r.image == image {
			of = append(of, r)
		}
	}
	return of
}

func (g *imageGate) download(id string, r *http.Response) io.ReadCloser {
	g.mu.Lock()
	defer g.mu.Unlock()
	from := int64(0)
	if first, _, ok := strings.Cut(strings.TrimPrefix(r.Request.Header.Get("Range"), "bytes="), "-"); ok {
		from, _ = strconv.ParseInt(first, 10, 64)
	}
	g.requests = append(g.requests, imageRequest{image: id, from: from})
	return &gatedBody{ReadCloser: r.Body, gate: g, index: len(g.requests) - 1, half: r.ContentLength / 2, pass: g.stopped[id], request: r.Request}
}

type gatedBody struct {
	io.ReadCloser
	gate    *imageGate
	index   int
	half    int64
	read    int64
	pass    chan struct{} // nil: not stopped
	request *http.Request
}

func (b *gatedBody) Read(p []byte) (int, error) {
	if b.pass != nil {
		if b.read >= b.half {
			select {
			case <-b.pass:
				b.pass = nil
			case <-b.request.Context().Done():
				return 0, errors.New("the host went away")
			}
		} else {
			p = p[:min(int64(len(p)), b.half-b.read)]
		}
	}
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	b.gate.mu.Lock()
	defer b.gate.mu.Unlock()
	b.gate.requests[b.index].bytes += int64(n)
	return n, err
}
