package webdownload

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// site is a web server on loopback that counts who connects.
type site struct {
	*httptest.Server
	port        int
	connections atomic.Int64
}

func newSite(t *testing.T, secure bool, h http.HandlerFunc) *site {
	t.Helper()
	s := &site{Server: httptest.NewUnstartedServer(h)}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.connections.Add(1)
		}
	}
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	s.port = s.Listener.Addr().(*net.TCPAddr).Port
	return s
}

// at is the URL of a path under another name of the same server.
func (s *site) at(host, path string) string {
	scheme, _, _ := strings.Cut(s.URL, ":")
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(s.port)) + path
}

// rawSite answers every connection with given bytes and closes it.
func rawSite(t *testing.T, answer string) (uri string, port int) {
	t.Helper()
	return rawSiteFunc(t, func(c net.Conn) { _, _ = io.WriteString(c, answer) })
}

// rawSiteFunc reads the head of each request and hands the connection over.
func rawSiteFunc(t *testing.T, answer func(net.Conn)) (uri string, port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				head := make([]byte, 0, 4096)
				for !strings.Contains(string(head), "\r\n\r\n") {
					n, err := c.Read(head[len(head):cap(head)])
					if err != nil {
						return
					}
					head = head[:len(head)+n]
				}
				answer(c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return "http://" + l.Addr().String() + "/disk.img", l.Addr().(*net.TCPAddr).Port
}

// loopback are rules under which servers of a test may be asked.
func loopback(ports ...int) Rules {
	return Rules{Hosts: []string{"*"}, Ports: ports, Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
}

func fetcher(r Rules) *Fetcher { return New(r, slog.New(slog.DiscardHandler)) }

// names is a DNS server that gives a name its addresses one after the other, the last of them for ever. Names that it does
// not know do not exist.
type names struct {
	mu      sync.Mutex
	answers map[string][]netip.Addr
	asked   map[string]int
}

func resolver(t *testing.T, answers map[string][]netip.Addr) (*net.Resolver, *names) {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	n := &names{answers: answers, asked: map[string]int{}}
	var serving sync.WaitGroup
	serving.Go(func() {
		query := make([]byte, 1500)
		for {
			size, from, err := pc.ReadFrom(query)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(n.answer(query[:size]), from)
		}
	})
	t.Cleanup(func() { pc.Close(); serving.Wait() })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", pc.LocalAddr().String())
	}}, n
}

// times that the addresses of a name were asked for.
func (n *names) times(name string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked[name]
}

// answer to a query of one question (RFC 1035, 4.1).
func (n *names) answer(query []byte) []byte {
	const header, typeA = 12, 1
	end, name := header, ""
	for query[end] != 0 {
		size := int(query[end])
		name += string(query[end+1:end+1+size]) + "."
		end += 1 + size
	}
	end += 5 // the root, type and class
	n.mu.Lock()
	defer n.mu.Unlock()
	addrs, known := n.answers[name]
	out := append([]byte{query[0], query[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, query[header:end]...)
	if !known {
		out[3] |= 3 // no such name
		return out
	}
	if binary.BigEndian.Uint16(query[end-4:]) != typeA {
		return out
	}
	n.asked[name]++
	addr := addrs[min(n.asked[name], len(addrs))-1].As4()
	out[7] = 1
	out = append(out, 0xc0, header, 0, typeA, 0, 1, 0, 0, 0, 0, 0, 4)
	return append(out, addr[:]...)
}
