package webdownload

import (
	"compress/gzip"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

const image = "bytes of an image"

func serveImage(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, image) }

// soon is a time-out for servers that are slow on purpose.
const soon = 50 * time.Millisecond

func requireOpens(t *testing.T, f *Fetcher, uri string) int64 {
	t.Helper()
	body, length, err := f.Open(t.Context(), uri)
	require.NoError(t, err)
	defer body.Close()
	got, err := io.ReadAll(body)
	require.NoError(t, err)
	require.Equal(t, image, string(got))
	return length
}

func requireFails(t *testing.T, f *Fetcher, uri string, kind fault.Kind, text string) {
	t.Helper()
	body, _, err := f.Open(t.Context(), uri)
	if err == nil {
		body.Close()
	}
	requireFault(t, err, kind, text)
}

// requireFault also holds that only a caller's cancellation looks like one: the engine would not try again.
func requireFault(t *testing.T, err error, kind fault.Kind, text string) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, kind, fault.KindOf(err), "%v", err)
	require.Contains(t, fault.Public(err), text)
	require.False(t, errors.Is(err, context.Canceled), "%v", err)
}

func TestAnImageComesOverHTTPWithItsLength(t *testing.T) {
	s := newSite(t, false, func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "/a%2Fb?q=1", r.RequestURI)
		serveImage(w, r)
	})
	require.EqualValues(t, len(image), requireOpens(t, fetcher(loopback(s.port)), s.URL+"/a%2Fb?q=1#part"))
}

func TestAnImageComesOverTLSFromATrustedServerOnly(t *testing.T) {
	s := newSite(t, true, serveImage)
	r := loopback(s.port)
	r.RootCAs = x509.NewCertPool()
	requireFails(t, fetcher(r), s.URL, fault.Invalid, "The certificate of host 127.0.0.1 cannot be trusted.")
	r.RootCAs.AddCert(s.Certificate())
	requireOpens(t, fetcher(r), s.URL)

	f := fetcher(r)
	f.dialer.Resolver, _ = resolver(t, map[string][]netip.Addr{
		"mirror.example.com.": {netip.MustParseAddr("127.0.0.1")}, // the certificate's name is *.example.com
		"mirror.example.net.": {netip.MustParseAddr("127.0.0.1")},
	})
	requireOpens(t, f, s.at("mirror.example.com", "/"))
	requireFails(t, f, s.at("mirror.example.net", "/"), fault.Invalid, "The certificate of host mirror.example.net cannot be trusted.")
}

func TestAnImageInChunksHasNoLength(t *testing.T) {
	s := newSite(t, false, func(w http.ResponseWriter, _ *http.Request) {
		for _, c := range []byte(image) {
			_, _ = w.Write([]byte{c})
			w.(http.Flusher).Flush()
		}
	})
	require.EqualValues(t, -1, requireOpens(t, fetcher(loopback(s.port)), s.URL))
}

// TestMain names a proxy that never answers, which net/http reads once in a process: it would be asked for every host that
// is neither localhost nor on loopback.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"} {
		os.Setenv(name, "http://127.0.0.1:1")
	}
	m.Run()
}

func TestTheRequestTellsNothingAndIsNotSentThroughAProxy(t *testing.T) {
	seen := make(chan http.Header, 2)
	s := newSite(t, false, func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "1"})
		if r.URL.Path == "/first" {
			http.Redirect(w, r, "/second", http.StatusFound)
			return
		}
		serveImage(w, r)
	})
	f := fetcher(loopback(s.port))
	f.dialer.Resolver, _ = resolver(t, map[string][]netip.Addr{"images.example.org.": {netip.MustParseAddr("127.0.0.1")}})
	requireOpens(t, f, s.at("images.example.org", "/first"))
	for range 2 {
		require.Equal(t, http.Header{
			"User-Agent": {"slipway-web-download"}, "Accept-Encoding": {"identity"}, "Connection": {"close"},
		}, <-seen)
	}
}

func TestNoConnectionIsUsedTwice(t *testing.T) {
	s := newSite(t, false, serveImage)
	f := fetcher(loopback(s.port))
	for range 3 {
		requireOpens(t, f, s.URL)
	}
	require.EqualValues(t, 3, s.connections.Load())
}

func TestWhatTheRulesDoNotAllowIsNotOpened(t *testing.T) {
	s := newSite(t, false, serveImage)
	for name, narrow := range map[string]func(*Rules){
		"no hosts":       func(r *Rules) { r.Hosts = nil },
		"another host":   func(r *Rules) { r.Hosts = []string{"images.example.org"} },
		"a denied host":  func(r *Rules) { r.DeniedHosts = []string{"127.0.0.1"} },
		"another port":   func(r *Rules) { r.Ports = []int{80} },
		"another scheme": func(r *Rules) { r.Schemes = []string{"https"} },
		"no network":     func(r *Rules) { r.Networks = nil },
		"invalid rules":  func(r *Rules) { r.DeniedPorts = []int{-1} },
	} {
		t.Run(name, func(t *testing.T) {
			r := loopback(s.port)
			requireOpens(t, fetcher(r), s.URL)
			before := s.connections.Load()
			narrow(&r)
			requireFails(t, fetcher(r), s.URL, fault.Invalid, "URI for web-download does not pass filtering: "+s.URL+": ")
			require.Equal(t, before, s.connections.Load())
		})
	}
}

func TestANameThatLeadsInwardsIsRefusedWithoutSayingWhere(t *testing.T) {
	s := newSite(t, false, serveImage)
	r := Rules{Hosts: []string{"*", "localhost"}, Ports: []int{s.port}}

	requireFails(t, fetcher(r), s.at("localhost", "/"), fault.Invalid, "The address of host localhost is not allowed.")

	f := fetcher(r)
	f.dialer.Resolver, _ = resolver(t, map[string][]netip.Addr{
		"loopback.example.org.": {netip.MustParseAddr("127.0.0.1")},
		"metadata.example.org.": {netip.MustParseAddr("169.254.169.254")},
		"inside.example.org.":   {netip.MustParseAddr("10.20.30.40")},
		"carrier.example.org.":  {netip.MustParseAddr("100.64.0.1")},
		"nowhere.example.org.":  {netip.MustParseAddr("0.0.0.0")},
	})
	for _, host := range []string{"loopback", "metadata", "inside", "carrier", "nowhere"} {
		_, _, err := f.Open(t.Context(), s.at(host+".example.org", "/"))
		requireFault(t, err, fault.Invalid, "")
		require.Equal(t, "The address of host "+host+".example.org is not allowed.", fault.Public(err))
		require.True(t, errors.As(err, new(errAddress)), "%v", err)
	}
	require.Zero(t, s.connections.Load())
}

func TestANameWhoseAddressChangesAfterACheckGainsNothing(t *testing.T) {
	s := newSite(t, false, serveImage)
	f := fetcher(Rules{Hosts: []string{"*"}, Ports: []int{s.port}})
	r, _ := resolver(t, map[string][]netip.Addr{"rebinding.example.org.": {netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("127.0.0.1")}})
	f.dialer.Resolver = r

	first, err := r.LookupNetIP(t.Context(), "ip4", "rebinding.example.org.")
	require.NoError(t, err)
	require.Equal(t, []netip.Addr{netip.MustParseAddr("8.8.8.8")}, first)
	requireFails(t, f, s.at("rebinding.example.org", "/"), fault.Invalid, "The address of host rebinding.example.org is not allowed.")
	require.Zero(t, s.connections.Load())
}

func TestANameWhoseAddressChangesBetweenRedirectsGainsNothing(t *testing.T) {
	var s *site
	s = newSite(t, false, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, s.at("rebinding.example.org", "/again"), http.StatusFound)
	})
	rules := loopback(s.port)
	rules.Networks = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	f := fetcher(rules)
	var dns *names
	f.dialer.Resolver, dns = resolver(t, map[string][]netip.Addr{"rebinding.example.org.": {netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")}})
	requireFails(t, f, s.at("rebinding.example.org", "/"), fault.Invalid, "The address of host rebinding.example.org is not allowed.")
	require.EqualValues(t, 1, s.connections.Load())
	require.Equal(t, 2, dns.times("rebinding.example.org."))
}

func TestANameIsNotCompletedByTheSearchDomains(t *testing.T) {
	f := fetcher(loopback(80))
	f.dialer.Resolver, _ = resolver(t, map[string][]netip.Addr{})
	_, _, err := f.Open(t.Context(), "http://db.intranet/")
	requireFault(t, err, fault.Invalid, "The name of host db.intranet has no address.")
	var lookup *net.DNSError
	require.ErrorAs(t, err, &lookup)
	require.Equal(t, "db.intranet.", lookup.Name)
}

func TestRedirectsAreFollowedWithinTheRules(t *testing.T) {
	for _, code := range []int{301, 302, 303, 307, 308} {
		s := newSite(t, false, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/0", "/1", "/2":
				w.Header().Set("Location", string(rune(r.URL.Path[1]+1)))
				w.WriteHeader(code)
			case "/3":
				serveImage(w, r)
			}
		})
		f := fetcher(loopback(s.port))
		requireOpens(t, f, s.URL+"/0")

		f.rules.MaxRedirects = 2
		requireFails(t, f, s.URL+"/0", fault.Invalid, "redirects once more than is followed")
		f.rules.MaxRedirects = -1
		requireFails(t, f, s.URL+"/2", fault.Invalid, "redirects once more than is followed")
	}
}

func TestARedirectLeadsNowhereThatCouldNotBeAskedForItself(t *testing.T) {
	inside := newSite(t, false, serveImage)
	var leads atomic.Value
	s := newSite(t, false, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", leads.Load().(string))
		w.WriteHeader(http.StatusFound)
	})
	rules := loopback(s.port, 80)
	rules.Networks = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	rules.DeniedHosts = []string{"denied.example.org"}
	f := fetcher(rules)
	f.dialer.Resolver, _ = resolver(t, map[string][]netip.Addr{"inside.example.org.": {netip.MustParseAddr("169.254.169.254")}})
	for location, text := range map[string]string{
		"http://169.254.169.254/latest/meta-data/": "Host 127.0.0.1 redirects to an address that is not allowed.",
		"http://[::ffff:169.254.169.254]/":         "Host 127.0.0.1 redirects to an address that is not allowed.",
		"http://2852039166/":                       "Host 127.0.0.1 redirects to an address that is not allowed.",
		"//10.0.0.1/":                              "Host 127.0.0.1 redirects to an address that is not allowed.",
		"http://denied.example.org/":               "Host 127.0.0.1 redirects to an address that is not allowed.",
		"file:///etc/passwd":                       "Host 127.0.0.1 redirects to an address that is not allowed.",
		"gopher://127.0.0.1:80/":                   "Host 127.0.0.1 redirects to an address that is not allowed.",
		"http://user:secret@127.0.0.1/":            "Host 127.0.0.1 redirects to an address that is not allowed.",
		"http://\xc3\xa9.example.org/":             "Host 127.0.0.1 redirects to an address that is not allowed.",
		"http://127.0.0.1:99999/":                  "Host 127.0.0.1 redirects to an address that is not allowed.",
		"http://[/":                                "Host 127.0.0.1 redirects to an address that is not allowed.",
		inside.URL:                                 "Host 127.0.0.1 redirects to an address that is not allowed.",
		"http://inside.example.org/":               "The address of host inside.example.org is not allowed.",
		"":                                         "Host 127.0.0.1 redirects without saying where to.",
	} {
		t.Run(printableURI(location), func(t *testing.T) {
			leads.Store(location)
			requireFails(t, f, s.URL, fault.Invalid, text)
		})
	}
	require.Zero(t, inside.connections.Load())
}

func TestARedirectInACircleEnds(t *testing.T) {
	s := newSite(t, false, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) })
	requireFails(t, fetcher(loopback(s.port)), s.URL+"/disk.img", fault.Invalid, "Host 127.0.0.1 redirects once more than is followed.")
	require.EqualValues(t, 4, s.connections.Load())
}

func TestARedirectDoesNotGiveUpTLS(t *testing.T) {
	plain := newSite(t, false, serveImage)
	secure := newSite(t, true, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, plain.URL, http.StatusFound) })
	rules := loopback(plain.port, secure.port)
	rules.RootCAs = x509.NewCertPool()
	rules.RootCAs.AddCert(secure.Certificate())
	f := fetcher(rules)
	requireFails(t, f, secure.URL, fault.Invalid, "Host 127.0.0.1 redirects to an address that is not allowed.")
	require.Zero(t, plain.connections.Load())

	upgrading := newSite(t, true, serveImage)
	start := newSite(t, false, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, upgrading.URL, http.StatusFound) })
	rules.Ports = []int{start.port, upgrading.port}
	requireOpens(t, fetcher(rules), start.URL)
}

func TestOnlyAPlain200WithABodyIsAnImage(t *testing.T) {
	const head = "HTTP/1.1 %s\r\nContent-Type: application/octet-stream\r\n%s\r\n"
	for _, c := range []struct {
		status, rest string
		kind         fault.Kind
		text         string
	}{
		{"404 My inside words", "Content-Length: 0\r\n", fault.Invalid, "Host 127.0.0.1 answered 404 Not Found, where the image was expected."},
		{"401 Unauthorized", "WWW-Authenticate: Basic\r\nContent-Length: 0\r\n", fault.Invalid, "401 Unauthorized"},
		{"403 Forbidden", "Content-Length: 0\r\n", fault.Invalid, "403 Forbidden"},
		{"408 Request Timeout", "Content-Length: 0\r\n", fault.Unavailable, "408 Request Timeout"},
		{"429 Too Many Requests", "Content-Length: 0\r\n", fault.Unavailable, "429 Too Many Requests"},
		{"500 My inside words", "Content-Length: 0\r\n", fault.Unavailable, "Host 127.0.0.1 answered 500 Internal Server Error."},
		{"503 Service Unavailable", "Content-Length: 0\r\n", fault.Unavailable, "503 Service Unavailable"},
		{"599 Odd", "Content-Length: 0\r\n", fault.Unavailable, "answered 599."},
		{"201 Created", "Content-Length: 1\r\n", fault.Invalid, "201 Created"},
		{"204 No Content", "", fault.Invalid, "204 No Content"},
		{"206 Partial Content", "Content-Range: bytes 0-0/9\r\nContent-Length: 1\r\n", fault.Invalid, "206 Partial Content"},
		{"300 Multiple Choices", "Location: /x\r\nContent-Length: 0\r\n", fault.Invalid, "300 Multiple Choices"},
		{"304 Not Modified", "", fault.Invalid, "304 Not Modified"},
		{"101 Switching Protocols", "Upgrade: x\r\nConnection: Upgrade\r\n", fault.Invalid, "101 Switching Protocols"},
		{"200 OK", "Content-Length: 0\r\n", fault.Invalid, "Host 127.0.0.1 answered with an empty image."},
		{"200 OK", "", fault.Invalid, "neither a length nor chunks"},
		{"200 OK", "Content-Length: 4\r\nContent-Encoding: br\r\n", fault.Invalid, "content encoding"},
		{"200 OK", "Content-Length: 4\r\nContent-Encoding: identity\r\nContent-Encoding: deflate\r\n", fault.Invalid, "content encoding"},
		{"200 OK", "Content-Length: 4\r\nContent-Length: 5\r\n", fault.Unavailable, "did not answer as a web server does"},
		{"200 OK", "Content-Length: -1\r\n", fault.Unavailable, "did not answer as a web server does"},
		{"200 OK", "Transfer-Encoding: gzip, chunked\r\n", fault.Unavailable, "did not answer as a web server does"},
		{"2000 OK", "Content-Length: 4\r\n", fault.Unavailable, "did not answer as a web server does"},
	} {
		t.Run(c.status+" "+c.rest, func(t *testing.T) {
			uri, port := rawSite(t, fmt.Sprintf(head, c.status, c.rest)+"data")
			requireFails(t, fetcher(loopback(port)), uri, c.kind, c.text)
		})
	}
	for name, answer := range map[string]string{
		"no HTTP":           "SSH-2.0-OpenSSH_9.2\r\n\r\n",
		"nothing":           "",
		"half a head":       "HTTP/1.1 200 OK\r\nContent-Le",
		"one huge header":   "HTTP/1.1 200 OK\r\nX-Big: " + strings.Repeat("x", 2*maxHeaderBytes) + "\r\nContent-Length: 4\r\n\r\ndata",
		"many headers":      "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-Many: x\r\n", maxHeaderBytes/8) + "Content-Length: 4\r\n\r\ndata",
		"endless continues": strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 10000) + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndata",
	} {
		t.Run(name, func(t *testing.T) {
			uri, port := rawSite(t, answer)
			requireFails(t, fetcher(loopback(port)), uri, fault.Unavailable, "Host 127.0.0.1 did not answer as a web server does.")
		})
	}
}

func TestACompressedAnswerIsNotTakenForAnImage(t *testing.T) {
	s := newSite(t, false, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, image)
		_ = z.Close()
	})
	requireFails(t, fetcher(loopback(s.port)), s.URL, fault.Invalid, "content encoding")
}

// readAll reads a download that opens well and ends badly.
func readAll(t *testing.T, f *Fetcher, uri string) (string, error) {
	t.Helper()
	body, _, err := f.Open(t.Context(), uri)
	require.NoError(t, err)
	defer body.Close()
	got, err := io.ReadAll(body)
	n, again := body.Read(make([]byte, 1))
	require.Zero(t, n)
	if err == nil {
		require.Equal(t, io.EOF, again)
	} else {
		require.Equal(t, err, again, "an error is final")
	}
	return string(got), err
}

func TestABodyThatIsCutIsAnError(t *testing.T) {
	for name, answer := range map[string]string{
		"before its length":   "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
		"within a chunk":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhalf",
		"between chunks":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
		"in the final chunk":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0",
		"by what is no chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			uri, port := rawSite(t, answer)
			got, err := readAll(t, fetcher(loopback(port)), uri)
			require.Equal(t, "half", got)
			requireFault(t, err, fault.Unavailable, "The download from host 127.0.0.1 was cut after 4 bytes.")
		})
	}
}

func TestNoChunksAreAnEmptyImage(t *testing.T) {
	uri, port := rawSite(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	got, err := readAll(t, fetcher(loopback(port)), uri)
	require.Empty(t, got)
	requireFault(t, err, fault.Invalid, "empty image")
}

func TestBytesAfterTheLengthAreNotRead(t *testing.T) {
	uri, port := rawSite(t, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndata and more")
	got, err := readAll(t, fetcher(loopback(port)), uri)
	require.NoError(t, err)
	require.Equal(t, "data", got)
}

func TestAServerThatIsSilentIsGivenUp(t *testing.T) {
	// Each connection stays open until the other side gives it up.
	silent := func(before string) (string, int) {
		return rawSiteFunc(t, func(c net.Conn) {
			_, _ = io.WriteString(c, before)
			_, _ = io.Copy(io.Discard, c)
		})
	}
	t.Run("before the headers", func(t *testing.T) {
		uri, port := silent("")
		r := loopback(port)
		r.HeaderTimeout = soon
		requireFails(t, fetcher(r), uri, fault.Unavailable, "did not answer")
	})
	t.Run("within the headers", func(t *testing.T) {
		uri, port := silent("HTTP/1.1 200 OK\r\nContent-Length:")
		r := loopback(port)
		r.HeaderTimeout = soon
		requireFails(t, fetcher(r), uri, fault.Unavailable, "did not answer")
	})
	t.Run("after informational headers", func(t *testing.T) {
		uri, port := silent("HTTP/1.1 103 Early Hints\r\n\r\n")
		r := loopback(port)
		r.HeaderTimeout = soon
		requireFails(t, fetcher(r), uri, fault.Unavailable, "did not answer")
	})
	t.Run("within the body", func(t *testing.T) {
		uri, port := silent("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
		r := loopback(port)
		r.IdleTimeout = soon
		got, err := readAll(t, fetcher(r), uri)
		require.Equal(t, "half", got)
		requireFault(t, err, fault.Unavailable, "Host 127.0.0.1 sent nothing more for 50ms.")
	})
	t.Run("within the TLS handshake", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		r := loopback(l.Addr().(*net.TCPAddr).Port)
		r.TLSTimeout = soon
		requireFails(t, fetcher(r), "https://"+l.Addr().String(), fault.Unavailable, "did not answer")
	})
	t.Run("when its name is asked for", func(t *testing.T) {
		r := loopback(80)
		r.DialTimeout = soon
		f := fetcher(r)
		answered := make(chan struct{})
		defer close(answered)
		f.dialer.Resolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
			<-answered
			return nil, errors.New("too late")
		}}
		requireFails(t, f, "http://silent.example.org", fault.Unavailable, "did not answer")
	})
	t.Run("on a port that nobody listens on", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		l.Close()
		requireFails(t, fetcher(loopback(l.Addr().(*net.TCPAddr).Port)), "http://"+l.Addr().String(), fault.Unavailable, "did not answer")
	})
}

func TestAReaderThatTakesItsTimeIsNotIdle(t *testing.T) {
	rested, sent := make(chan struct{}), make(chan struct{})
	uri, port := rawSiteFunc(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nda")
		<-rested
		_, _ = io.WriteString(c, "ta")
		close(sent)
	})
	r := loopback(port)
	r.IdleTimeout = soon
	body, _, err := fetcher(r).Open(t.Context(), uri)
	require.NoError(t, err)
	defer body.Close()
	half := make([]byte, 2)
	_, err = io.ReadFull(body, half)
	require.NoError(t, err)
	<-time.After(2 * soon) // what is waited for is the time-out itself
	close(rested)
	<-sent
	_, err = io.ReadFull(body, half)
	require.NoError(t, err)
	require.Equal(t, "ta", string(half))
}

func TestTheCallersContextEndsADownload(t *testing.T) {
	s := newSite(t, false, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			_, _ = io.WriteString(w, image)
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
	})
	f := fetcher(loopback(s.port))

	ctx, stop := context.WithCancelCause(t.Context())
	body, _, err := f.Open(ctx, s.URL+"/body")
	require.NoError(t, err)
	defer body.Close()
	_, err = io.ReadFull(body, make([]byte, len(image)))
	require.NoError(t, err)
	stop(errors.New("the image was deleted"))
	_, err = body.Read(make([]byte, 1))
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.Equal(t, "The download from host 127.0.0.1 was stopped before it was done.", fault.Public(err))

	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	_, _, err = f.Open(ctx, s.URL+"/head")
	requireFault(t, err, fault.Unavailable, "was stopped before it was done")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestClosingEndsTheConnectionAndAReadThatWaits(t *testing.T) {
	gone := make(chan struct{})
	s := newSite(t, false, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, image)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(gone)
	})
	body, _, err := fetcher(loopback(s.port)).Open(t.Context(), s.URL)
	require.NoError(t, err)
	_, err = io.ReadFull(body, make([]byte, len(image)))
	require.NoError(t, err)
	read := make(chan error, 1)
	go func() {
		_, err := body.Read(make([]byte, 1))
		read <- err
	}()
	require.NoError(t, body.Close())
	requireFault(t, <-read, fault.Unavailable, "")
	<-gone
}
