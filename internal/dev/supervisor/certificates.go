package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/slipway-cloud/slipway/internal/dev/stack"
	"github.com/slipway-cloud/slipway/internal/pki"
	"github.com/slipway-cloud/slipway/internal/tlsfile"
)

// The control plane's certificate is of the role control and this name: api and worker have it.
const controlName = "slipway"

func (o options) pki() string { return o.path("pki") }

// internode is the folder of a CA that issues nothing else: each of its certificates may do anything inside of Temporal's server.
func (o options) internode() string { return filepath.Join(o.pki(), "internode") }

func caOf(dir string) string { return filepath.Join(dir, pki.CAFile) }

// certify gives a holder a certificate of the CA in a folder, which is made where it is missing, for a year. It is renewed at the first
// start in its last month.
func (d *dev) certify(ctx context.Context, dir string, r pki.Request) error {
	if err := makeAuthority(ctx, dir); err != nil {
		return err
	}
	ca, err := pki.Open(dir)
	if err != nil {
		return err
	}
	c, issued, err := ca.Ensure(ctx, r)
	if err != nil {
		return fmt.Errorf("a certificate of %s: %w (a start without that folder makes another CA)", dir, err)
	}
	if issued {
		d.say("a certificate for %s %s, until %s", c.Role, c.Name, c.NotAfter.Format(time.DateOnly))
	}
	return nil
}

// makeAuthority makes a CA in a folder that is not there, whole or not at all.
func makeAuthority(ctx context.Context, dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	half := dir + ".new"
	if err := os.RemoveAll(half); err != nil {
		return err
	}
	if _, err := pki.Init(ctx, half, ""); err != nil {
		return err
	}
	return os.Rename(half, dir)
}

// certifyServer gives a part of the control plane a certificate for all by which this machine is asked for it.
func (d *dev) certifyServer(ctx context.Context, name, address string) error {
	r := pki.Request{Role: pki.Control, Name: name, DNS: []string{"localhost"}, IPs: []string{"127.0.0.1", "::1"}}
	machine, err := os.Hostname()
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is not host:port", address)
	}
	for _, each := range []string{machine, host} {
		if net.ParseIP(each) != nil {
			r.IPs = append(r.IPs, each)
		} else if pki.IsDNSName(each) {
			r.DNS = append(r.DNS, each)
		}
	}
	return d.certify(ctx, d.pki(), r)
}

// certifyTemporal gives Temporal's server and its Web UI theirs.
func (d *dev) certifyTemporal(ctx context.Context) (*stack.TemporalTLS, error) {
	o := stack.TemporalTLSIn(d.pki())
	o.InternodeCA = caOf(d.internode())
	o.InternodeCert, o.InternodeKey = pki.Files(d.internode(), pki.Control, "internode")
	return o, errors.Join(
		d.certifyServer(ctx, "temporal", d.temporal),
		d.certify(ctx, d.pki(), pki.Request{Role: pki.Operator, Name: "web-ui"}),
		d.certify(ctx, d.internode(), pki.Request{Role: pki.Control, Name: "internode", DNS: []string{"localhost"}}))
}

// certifyHost gives a hypervisor its own, by the CA of the stack.
func (d *dev) certifyHost(ctx context.Context, dir string) error {
	d.hostCert, d.hostKey = pki.Files(dir, pki.Host, d.hostname)
	return d.certify(ctx, dir, pki.Request{Role: pki.Host, Name: d.hostname})
}

// sharedKeys is the control plane's key file for a host whose guests are of before hosts had keys of their own, at its first start
// since; "" else.
func (d *dev) sharedKeys() string {
	_, before := os.Stat(filepath.Join(d.guests, "instances"))
	if _, own := os.Stat(filepath.Join(d.guests, "payload.keys")); before == nil && own != nil {
		return d.payloadKeys
	}
	return ""
}

// apiAddress is where this machine asks the API.
func (o options) apiAddress() string {
	host, port, _ := net.SplitHostPort(o.api)
	return "https://" + net.JoinHostPort(cmp.Or(host, "localhost"), port)
}

// believe has this process ask the API, and believe the CA in a file that it is that.
func (d *dev) believe(apiURL, ca string) error {
	u, err := url.Parse(apiURL)
	if err != nil {
		return err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig, err = tlsfile.New(d.log).Client(tlsfile.Pair{}, tlsfile.Authority{Setting: "the CA of the API", CA: ca}, u.Hostname())
	d.apiURL, d.apiCA, d.client = apiURL, ca, &http.Client{Transport: transport}
	return err
}

// showCertificates says how long those of the stack last.
func (o options) showCertificates(out io.Writer) error {
	ca, err := pki.Open(o.pki())
	if err != nil {
		return err
	}
	all, err := ca.Show()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "CA        %s\n", caOf(o.pki()))
	for _, c := range all {
		if c.File != "" {
			fmt.Fprintf(out, "          %s %s: %s until %s, %d days\n", c.Role, c.Name, c.State, c.NotAfter.Format(time.DateOnly), c.DaysLeft)
		}
	}
	return nil
}
