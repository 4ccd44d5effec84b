package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// InClear lists what a role would say or hear in clear where other machines can listen. Each is a sentence that names the setting
// which ends it. The database is not among it: Database.InClear.
func (c Config) InClear(role string) (found []string) {
	say := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	listens := func(section, address, certificate string) {
		if address != "" && certificate == "" && !localAddress(address) {
			say("%s.listen is %s, which other machines reach, in clear: set %s.tls_cert and %s.tls_key, or listen on loopback", section, address, section, section)
		}
	}
	asks := func(setting, address string) {
		if u, err := url.Parse(address); err == nil && (u.Scheme == "http" || u.Scheme == "amqp") && !local(u.Hostname()) {
			say("%s is plain %s to another machine (%s): give an %ss:// address", setting, u.Scheme, u.Host, u.Scheme)
		}
	}
	listens("operator", c.Operator.Listen, c.Operator.TLSCert)
	found = append(found, c.Temporal.InClear()...)
	switch role {
	case "api":
		listens("api", c.API.Listen, c.API.TLSCert)
		if o := c.Operator; o.Listen != "" && o.TLSCert != "" && o.TLSClientCA == "" && !localAddress(o.Listen) {
			say("operator.listen is %s, which other machines reach, and its /codec decrypts for whoever asks: set operator.tls_client_ca, or listen on loopback", o.Listen)
		}
		asks("api.public_url", c.API.PublicURL)
		asks("api.advertise_url", c.API.AdvertiseURL)
		if c.Identity.External() {
			asks("identity.keystone.url", c.Identity.Keystone.URL)
			asks("identity.keystone.public_url", c.Identity.Keystone.PublicURL)
		}
		for _, target := range list(c.Build.VendorTargets) {
			name, address, _ := strings.Cut(target, "@")
			asks("build.vendordata_dynamic_targets: "+name, address)
		}
	case "worker":
		asks("notifications.webhook_url", c.Notifications.WebhookURL)
		asks("notifications.amqp_url", c.Notifications.AMQPURL)
		found = append(found, c.Network.inClear()...)
	case "host":
		asks("host.api_url", c.Host.APIURL)
	}
	if role != "host" || c.Host.ReadStores {
		for _, store := range list(c.Images.Stores) {
			if name, address, is := strings.Cut(store, "=s3:"); is {
				asks("images.stores: "+name, address)
			}
		}
	}
	return found
}

// InClear says so of the way to the engine, as Config.InClear does.
func (t Temporal) InClear() []string {
	if t.TLS() || localAddress(t.Address) {
		return nil
	}
	return []string{fmt.Sprintf("temporal.address is %s, another machine, in clear: set temporal.tls_ca, and temporal.tls_cert and temporal.tls_key", t.Address)}
}

// InClear lists the servers that a connection to may be in clear, as Config.InClear does.
func (d Database) InClear() (found []string) {
	c, err := pgconn.ParseConfig(d.DSN)
	if err != nil {
		return nil // whoever connects says what is wrong
	}
	tries := append([]*pgconn.FallbackConfig{{Host: c.Host, Port: c.Port, TLSConfig: c.TLSConfig}}, c.Fallbacks...)
	for _, try := range tries {
		if network, _ := pgconn.NetworkAddress(try.Host, try.Port); network == "unix" || try.TLSConfig != nil || local(try.Host) {
			continue
		}
		sentence := fmt.Sprintf("database.dsn lets the connection to another machine (%s) be in clear: set sslmode=verify-full and sslrootcert in it", try.Host)
		if !slices.Contains(found, sentence) {
			found = append(found, sentence)
		}
	}
	return found
}

// localAddress says whether host:port, or a target of gRPC's, is on this machine alone.
func localAddress(address string) bool {
	if strings.HasPrefix(address, "unix:") {
		return true
	}
	host, err := TargetHost(address)
	return err == nil && local(host)
}

// TargetHost is the host of host:port, or of a target of gRPC's: dns:///host:port.
func TargetHost(target string) (string, error) {
	host, _, err := net.SplitHostPort(target[strings.LastIndex(target, "/")+1:])
	return host, err
}

// local says whether nobody but this machine is a host. A name other than localhost may be any machine's tomorrow.
func local(host string) bool {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host == "localhost"
	}
	return ip.Unmap().IsLoopback()
}
