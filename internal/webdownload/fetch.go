package webdownload

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// maxHeaderBytes of an answer, its informational ones together. Servers of files send a few hundred.
const maxHeaderBytes = 64 << 10

// Fetcher opens what Rules allow. Its methods may be called at the same time; nothing is kept from one to the next.
type Fetcher struct {
	rules     Rules
	log       *slog.Logger
	dialer    net.Dialer
	transport *http.Transport
	// ownAddresses of this machine are refused even where they are public: over them a user would stand behind the firewall.
	ownAddresses func() ([]net.Addr, error)
}

// New makes a Fetcher. With rules that Validate refuses it opens nothing.
func New(r Rules, log *slog.Logger) *Fetcher {
	r = r.withDefaults()
	f := &Fetcher{rules: r, log: log, ownAddresses: net.InterfaceAddrs}
	f.dialer = net.Dialer{
		Timeout:  r.DialTimeout,
		Resolver: &net.Resolver{PreferGo: true}, // reads an absolute name in /etc/hosts too, which libc does not
		Control:  f.control,
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	f.transport = &http.Transport{
		Proxy:                  nil, // a proxy would resolve names by itself, after the check
		DialContext:            f.dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: r.RootCAs},
		TLSHandshakeTimeout:    r.TLSTimeout,
		ResponseHeaderTimeout:  r.HeaderTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DisableKeepAlives:      true, // a kept connection would outlive the check of its address
		DisableCompression:     true,
		Protocols:              protocols,
	}
	return f
}

// errAddress is a connection that the rules refuse. The address is for the log: users learn only that it is refused.
type errAddress struct{ addr netip.Addr }

func (e errAddress) Error() string { return "address " + e.addr.String() + " is not allowed" }

// dial asks for a name with dots as an absolute one: with the machine's search domains it could be another, denied, name.
func (f *Fetcher) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("dialling %s: %w", address, err)
	}
	if _, err := netip.ParseAddr(host); err != nil && strings.Contains(host, ".") {
		host += "."
	}
	return f.dialer.DialContext(ctx, network, net.JoinHostPort(host, port))
}

// control sees the resolved address of every connection right before it is made, so that a name whose address changes
// between a check and its use gains nothing.
func (f *Fetcher) control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("reading the resolved address %q: %w", address, err)
	}
	addr := to.Addr().Unmap()
	if !f.rules.reachable(addr) {
		return errAddress{addr}
	}
	if f.rules.listed(addr) {
		return nil
	}
	own, err := f.ownAddresses()
	if err != nil {
		return fmt.Errorf("reading the addresses of this machine: %w", err)
	}
	for _, a := range own {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Unmap() == addr {
			return errAddress{addr}
		}
	}
	return nil
}

// Open begins a download and returns its body, which the caller closes, and its length, -1 where the server does not say.
// The context bounds the whole download, the reading of the body too.
//
// Errors, here and of the body's Read: Invalid where the address is not allowed or the server has no such thing to give,
// Unavailable where the server or the way to it fails, which may pass. Their texts are for the user and name the host and
// never the address that it resolved to.
func (f *Fetcher) Open(ctx context.Context, uri string) (body io.ReadCloser, length int64, err error) {
	u, err := f.rules.Check(uri)
	if err != nil {
		return nil, 0, err
	}
	for redirects := 0; ; redirects++ {
		d := newDownload(ctx, u.Hostname(), f.rules.IdleTimeout)
		resp, err := f.get(d.ctx, u)
		if err != nil {
			err = d.failure(err, "Host "+d.host+" did not answer as a web server does.")
			d.end()
			if refused := (errAddress{}); errors.As(err, &refused) {
				f.log.WarnContext(ctx, "web-download refused an address", "host", d.host, "address", refused.addr.String())
			}
			return nil, 0, err
		}
		location, err := d.accept(resp)
		if err != nil {
			resp.Body.Close()
			d.end()
			return nil, 0, err
		}
		if location == "" {
			d.body = resp.Body
			return d, resp.ContentLength, nil
		}
		resp.Body.Close()
		d.end()
		if redirects >= f.rules.MaxRedirects {
			return nil, 0, fault.New(fault.Invalid, "Host %s redirects once more than is followed. Give the URI that the image itself has.", d.host)
		}
		next, err := f.redirected(u, location)
		if err != nil {
			f.log.WarnContext(ctx, "web-download refused a redirect", "host", d.host, "cause", err.Error())
			return nil, 0, fault.Wrap(fault.Invalid, err, "Host %s redirects to an address that is not allowed.", d.host)
		}
		u = next
	}
}

// get sends one request with nothing in it that would tell the server who asks.
func (f *Fetcher) get(ctx context.Context, u *url.URL) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("User-Agent", "slipway-web-download")
	req.Header.Set("Accept-Encoding", "identity")
	return f.transport.RoundTrip(req)
}

// redirected is where a redirect leads, held to the same rules as the first address, and never from TLS to none.
func (f *Fetcher) redirected(from *url.URL, location string) (*url.URL, error) {
	to, err := from.Parse(location)
	if err != nil {
		return nil, errors.New("the location cannot be read")
	}
	next, err := f.rules.parse(to.String())
	if err != nil {
		return nil, fmt.Errorf("location %s: %w", printableURI(location), err)
	}
	if from.Scheme == "https" && next.Scheme != "https" {
		return nil, fmt.Errorf("location %s gives up TLS", printableURI(location))
	}
	return next, nil
}

// accept decides on an answer by its headers: an image follows, or the location of a redirect, or an error.
func (d *download) accept(resp *http.Response) (location string, err error) {
	switch code := resp.StatusCode; {
	case code == http.StatusOK:
	case code == http.StatusMovedPermanently, code == http.StatusFound, code == http.StatusSeeOther,
		code == http.StatusTemporaryRedirect, code == http.StatusPermanentRedirect:
		if location = resp.Header.Get("Location"); location != "" {
			return location, nil
		}
		return "", fault.New(fault.Invalid, "Host %s redirects without saying where to.", d.host)
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests, code >= 500:
		return "", fault.New(fault.Unavailable, "Host %s answered %s.", d.host, status(code))
	default:
		return "", fault.New(fault.Invalid, "Host %s answered %s, where the image was expected.", d.host, status(code))
	}
	for _, encoding := range resp.Header.Values("Content-Encoding") {
		if !strings.EqualFold(strings.TrimSpace(encoding), "identity") {
			return "", fault.New(fault.Invalid, "Host %s sends the image with a content encoding, though none was asked for.", d.host)
		}
	}
	if resp.ContentLength == 0 {
		return "", fault.New(fault.Invalid, "Host %s answered with an empty image.", d.host)
	}
	if resp.ContentLength < 0 && len(resp.TransferEncoding) == 0 {
		return "", fault.New(fault.Invalid, "Host %s sends neither a length nor chunks, so that a whole image could not be told from a part of it.", d.host)
	}
	return "", nil
}

// status names a code in the standard's words: the server's own are not shown to anybody.
func status(code int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", code, http.StatusText(code)))
}
