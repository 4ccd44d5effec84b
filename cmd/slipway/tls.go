package main

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/guest/transfer"
	"github.com/slipway-cloud/slipway/internal/pki"
	"github.com/slipway-cloud/slipway/internal/tlsfile"
)

// What TLS each of Slipway's listeners and clients has; nil is none. Between Slipway's own parts it is 1.3; users' clients may be older.

// listenerTLS is that of a listener: its certificate and key, and whose certificates clients show.
func listenerTLS(own tlsfile.Pair, clients tlsfile.Authority, certificates *tlsfile.Files, version uint16, roles ...string) (*tls.Config, error) {
	if own.Cert == "" && own.Key == "" {
		if clients.CA != "" {
			return nil, fmt.Errorf("%s is of no use without %s_cert and %[2]s_key", clients.Setting, own.Setting)
		}
		return nil, nil
	}
	return certificates.Server(own, clients, version, roles...)
}

func apiTLS(c config.API, certificates *tlsfile.Files) (*tls.Config, error) {
	clients := tlsfile.Authority{Setting: "api.tls_client_ca", CA: c.TLSClientCA}
	switch {
	case c.TLSHostCA != "" && c.TLSClientCA != "":
		return nil, errors.New("api.tls_client_ca asks everybody for a certificate and api.tls_host_ca hosts alone: which one?")
	case c.TLSHostCA != "":
		clients = tlsfile.Authority{Setting: "api.tls_host_ca", CA: c.TLSHostCA, Optional: true}
	}
	secure, err := listenerTLS(tlsfile.Pair{Setting: "api.tls", Cert: c.TLSCert, Key: c.TLSKey}, clients, certificates, tls.VersionTLS12)
	if err != nil || secure == nil || c.PublicURL == "" {
		return secure, err
	}
	public, err := url.Parse(c.PublicURL)
	if err != nil {
		return nil, fmt.Errorf("api.public_url: %w", err)
	}
	if public.Scheme != "https" {
		return nil, fmt.Errorf("api.public_url is %s, and api.tls_cert makes the API speak TLS: it has to begin with https://", c.PublicURL)
	}
	served, err := secure.GetCertificate(nil)
	if err != nil {
		return nil, err
	}
	if err := served.Leaf.VerifyHostname(public.Hostname()); err != nil {
		return nil, fmt.Errorf("api.public_url is %s, and clients would refuse the certificate in api.tls_cert (%w): have it issued for %s too", c.PublicURL, err, public.Hostname())
	}
	return secure, nil
}

func operatorTLS(c config.Operator, certificates *tlsfile.Files) (*tls.Config, error) {
	return listenerTLS(tlsfile.Pair{Setting: "operator.tls", Cert: c.TLSCert, Key: c.TLSKey},
		tlsfile.Authority{Setting: "operator.tls_client_ca", CA: c.TLSClientCA}, certificates, tls.VersionTLS13, pki.Operator, pki.Control)
}

func temporalTLS(c config.Temporal, certificates *tlsfile.Files) (*tls.Config, error) {
	if !c.TLS() {
		return nil, nil
	}
	name := c.TLSServerName
	if name == "" {
		var err error
		if name, err = config.TargetHost(c.Address); err != nil {
			return nil, fmt.Errorf("temporal.address: %w: set temporal.tls_server_name to the name in the frontend's certificate", err)
		}
	}
	return certificates.Client(tlsfile.Pair{Setting: "temporal.tls", Cert: c.TLSCert, Key: c.TLSKey},
		tlsfile.Authority{Setting: "temporal.tls_ca", CA: c.TLSCA}, name)
}

// refuseForeignCertificate keeps a host from starting that Temporal's frontend would give no step, by the name or the role in its
// certificate: it would report to the API as ready, and builds would wait for it. One without a role is for somebody else's frontend.
func refuseForeignCertificate(c config.Temporal, hostname string) error {
	if c.TLSCert == "" || c.TLSKey == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return fmt.Errorf("temporal.tls_cert and temporal.tls_key: %w", err)
	}
	role, name := pki.Holder(pair.Leaf)
	if role == "" || role == pki.Host && name == hostname {
		return nil
	}
	return fmt.Errorf("temporal.tls_cert is of %s %s, by which Temporal gives no steps to host %[3]s: have one issued for it (slipway pki issue host %[3]s), or set host.hostname where that name is wrong",
		role, name, hostname)
}

// apiTransport is how a host reaches the API.
func apiTransport(c config.Host, certificates *tlsfile.Files) (*http.Transport, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	api, err := url.Parse(c.APIURL)
	if err != nil {
		return nil, fmt.Errorf("host.api_url: %w", err)
	}
	if api.Scheme != "https" {
		for name, value := range map[string]string{"host.api_ca": c.APICA, "host.api_cert": c.APICert, "host.api_key": c.APIKey} {
			if value != "" {
				return nil, fmt.Errorf("%s is set, and host.api_url is %s: it has to begin with https://", name, c.APIURL)
			}
		}
		return transport, nil
	}
	transport.TLSClientConfig, err = certificates.Client(tlsfile.Pair{Setting: "host.api", Cert: c.APICert, Key: c.APIKey},
		tlsfile.Authority{Setting: "host.api_ca", CA: c.APICA}, api.Hostname())
	return transport, err
}

// transferTLS is how hosts send each other disks: with the certificate that says which host this is, and with those of hosts alone. It
// is none where this host has no certificate, or nobody says whose others may have: there is no other way.
func transferTLS(c config.Config, certificates *tlsfile.Files) (listener *tls.Config, client func(hostname string) *tls.Config, err error) {
	own := tlsfile.Pair{Setting: "temporal.tls", Cert: c.Temporal.TLSCert, Key: c.Temporal.TLSKey}
	hosts := tlsfile.Authority{Setting: "host.transfer_ca", CA: cmp.Or(c.Host.TransferCA, c.Temporal.TLSCA)}
	if own.Cert == "" || hosts.CA == "" {
		return nil, nil, nil
	}
	if listener, err = certificates.Server(own, hosts, tls.VersionTLS13, pki.Host); err != nil {
		return nil, nil, err
	}
	clients, err := certificates.Clients(own, hosts)
	if err != nil {
		return nil, nil, err
	}
	return listener, func(hostname string) *tls.Config { return transfer.Peer(clients(hostname), hostname) }, nil
}

// refusePlaintext keeps a process from starting that would be in clear where other machines can listen, unless its settings let it.
func refusePlaintext(c config.Config, found []string, log *slog.Logger) error {
	if len(found) > 0 && !c.InsecurePlaintext {
		return fmt.Errorf("%s (or let it be with insecure_plaintext: true, in a network that nobody else is in)", strings.Join(found, "; "))
	}
	for _, what := range found {
		log.Warn("Other machines can listen: insecure_plaintext lets it be.", "what", what)
	}
	return nil
}
