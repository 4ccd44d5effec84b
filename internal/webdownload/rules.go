// Package webdownload fetches what Glance's import method web-download names: a URI that a user chose, which this service
// asks for from inside the operator's network. Only addresses that the operator's rules allow are asked, at every redirect
// and for every connection, so that a user can't reach through it what he could not reach himself.
package webdownload

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// What holds where Rules say nothing. Schemes and ports are Glance's own.
var (
	defaultSchemes = []string{"http", "https"}
	defaultPorts   = []int{80, 443}
)

const (
	defaultRedirects     = 3
	defaultDialTimeout   = 10 * time.Second
	defaultTLSTimeout    = 10 * time.Second
	defaultHeaderTimeout = 30 * time.Second
	defaultIdleTimeout   = time.Minute

	// maxURI is far above signed URLs of object stores, which are the longest that people use.
	maxURI = 8 << 10
)

// Rules say which addresses an image may be imported from: Glance's import_filtering_opts, and what they lack. A host is
// a DNS name, an IP address, "*.example.org" (every name below example.org, at any depth, not example.org itself) or "*".
// A name without a dot, which the machine's search domains complete, is allowed by its own entry only, not by "*".
//
// Two things differ from Glance. No Hosts means that nothing may be imported: web-download is off until the operator names
// hosts. And a denied scheme, host or port is refused although it is allowed too, so that "*" can have exceptions; Glance
// ignores the deny list then.
type Rules struct {
	Schemes, DeniedSchemes []string // none: http and https; no others can be allowed
	Hosts, DeniedHosts     []string
	Ports, DeniedPorts     []int // none: 80 and 443. The port that a scheme implies counts too.

	// Networks may be connected to although they are not public. They are compared with the address that a host's name
	// resolved to, and add nothing to Hosts.
	Networks []netip.Prefix

	MaxRedirects int // 0: 3; below 0: none is followed

	// Zero is the default of each. The time of a whole download is up to its context.
	DialTimeout   time.Duration // of resolving and connecting; 10 s
	TLSTimeout    time.Duration // of the TLS handshake; 10 s
	HeaderTimeout time.Duration // from the request to the end of the answer's headers; 30 s
	IdleTimeout   time.Duration // of one Read of the body; 1 min

	RootCAs *x509.CertPool // nil: the system's
}

// Enabled says whether anything may be imported at all, which is whether /v2/info/import lists web-download.
func (r Rules) Enabled() bool { return len(r.Hosts) > 0 }

// Validate finds entries that could never match anything, such as a misspelt host in a deny list.
func (r Rules) Validate() error {
	for _, s := range slices.Concat(r.Schemes, r.DeniedSchemes) {
		if !slices.Contains(defaultSchemes, s) {
			return fmt.Errorf("scheme %q: web-download knows http and https", s)
		}
	}
	for _, h := range slices.Concat(r.Hosts, r.DeniedHosts) {
		if !validPattern(h) {
			return fmt.Errorf("host %q: name a host, an IP address, *.domain or *", h)
		}
	}
	for _, p := range slices.Concat(r.Ports, r.DeniedPorts) {
		if p < 1 || p > 65535 {
			return fmt.Errorf("port %d is none", p)
		}
	}
	for _, n := range r.Networks {
		if !n.IsValid() || n.Addr().Is4In6() {
			return fmt.Errorf("network %s: write it as 192.0.2.0/24 or 2001:db8::/32", n)
		}
	}
	for _, d := range []time.Duration{r.DialTimeout, r.TLSTimeout, r.HeaderTimeout, r.IdleTimeout} {
		if d < 0 {
			return fmt.Errorf("time-out %s is below zero", d)
		}
	}
	return nil
}

func (r Rules) withDefaults() Rules {
	if len(r.Schemes) == 0 {
		r.Schemes = defaultSchemes
	}
	if len(r.Ports) == 0 {
		r.Ports = defaultPorts
	}
	if r.MaxRedirects == 0 {
		r.MaxRedirects = defaultRedirects
	}
	for _, d := range []struct {
		set   *time.Duration
		value time.Duration
	}{
		{&r.DialTimeout, defaultDialTimeout},
		{&r.TLSTimeout, defaultTLSTimeout},
		{&r.HeaderTimeout, defaultHeaderTimeout},
		{&r.IdleTimeout, defaultIdleTimeout},
	} {
		if *d.set == 0 {
			*d.set = d.value
		}
	}
	return r
}

// Check says whether a URI may be imported as far as can be seen without resolving its host, and returns it in one form:
// scheme and host in lower case, an IP address as it is usually written. A refusal is an Invalid fault that begins as
// Glance's does. Rules that Validate refuses let nothing pass.
func (r Rules) Check(uri string) (*url.URL, error) {
	u, err := r.parse(uri)
	if err != nil {
		return nil, fault.New(fault.Invalid, "URI for web-download does not pass filtering: %s: %s.", printableURI(uri), err)
	}
	return u, nil
}

// parse is Check with the bare reason. Whatever different readers of URLs could read differently is refused, so that the
// host which was checked is the host that is asked.
func (r Rules) parse(uri string) (*url.URL, error) {
	if err := r.Validate(); err != nil {
		return nil, errors.New("the rules of this service are not valid")
	}
	if !r.Enabled() {
		return nil, errors.New("this service does not import from the web")
	}
	r = r.withDefaults()
	if len(uri) > maxURI {
		return nil, fmt.Errorf("it is longer than %d characters", maxURI)
	}
	for _, c := range []byte(uri) {
		if c <= ' ' || c > '~' || c == '\\' {
			return nil, errors.New("it has characters that do not belong in a URI")
		}
	}
	u, err := url.Parse(uri)
	if err != nil {
		return nil, errors.New("it cannot be read")
	}
	if !slices.Contains(r.Schemes, u.Scheme) || slices.Contains(r.DeniedSchemes, u.Scheme) {
		return nil, errors.New("its scheme is not allowed")
	}
	if u.User != nil {
		return nil, errors.New("it carries a user name or password")
	}
	host, err := canonicalHost(u.Hostname(), strings.HasPrefix(u.Host, "["))
	if err != nil {
		return nil, err
	}
	port, err := canonicalPort(u)
	if err != nil {
		return nil, err
	}
	if !r.hostAllowed(host) {
		return nil, errors.New("its host is not allowed")
	}
	if !slices.Contains(r.Ports, port) || slices.Contains(r.DeniedPorts, port) {
		return nil, errors.New("its port is not allowed")
	}
	if addr, err := netip.ParseAddr(host); err == nil && !r.reachable(addr) {
		return nil, errors.New("its address is not allowed")
	}
	written := u.Port()
	u.Host = host
	if strings.Contains(host, ":") {
		u.Host = "[" + host + "]"
	}
	if written != "" {
		u.Host += ":" + written
	}
	return u, nil
}

// canonicalPort is the port that is connected to. "080", "+80" and an empty one after a colon are refused.
func canonicalPort(u *url.URL) (int, error) {
	written := u.Port()
	if written == "" {
		if strings.HasSuffix(u.Host, ":") {
			return 0, errors.New("its port is missing")
		}
		if u.Scheme == "https" {
			return 443, nil
		}
		return 80, nil
	}
	port, err := strconv.Atoi(written)
	if err != nil || strconv.Itoa(port) != written || port < 1 || port > 65535 {
		return 0, errors.New("its port cannot be read")
	}
	return port, nil
}

// printableURI is a URI as it may stand in an answer or a log: in printable ASCII, and without passwords and queries, which
// are the secrets of signed URLs.
func printableURI(uri string) string {
	const most = 200
	if start := strings.Index(uri, "://"); start >= 0 {
		start += len("://")
		end := len(uri)
		if i := strings.IndexAny(uri[start:], "/?#"); i >= 0 {
			end = start + i
		}
		if at := strings.LastIndex(uri[start:end], "@"); at >= 0 {
			uri = uri[:start] + "..." + uri[start+at:]
		}
	}
	if path, _, query := strings.Cut(uri, "?"); query {
		uri = path + "?..."
	}
	if len(uri) > most {
		uri = uri[:most] + "..."
	}
	quoted := strconv.QuoteToASCII(uri)
	return quoted[1 : len(quoted)-1]
}
