package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/log/tag"
	"go.temporal.io/server/common/metrics"
	"go.temporal.io/server/common/primitives"
	"go.temporal.io/server/common/rpc/encryption"
	"go.temporal.io/server/temporal"
	"google.golang.org/grpc/credentials"

	"github.com/slipway-cloud/slipway/deploy/temporal/authz"
)

// certRefresh is how often certificates, keys and CAs are read again.
const certRefresh = 10 * time.Second

// Certificates that end soon are in the log each day, and as an error in the last days.
const (
	certCheck   = 24 * time.Hour
	certWarning = 30 * 24 * time.Hour
	certError   = 7 * 24 * time.Hour
)

func (o options) validateTLS() error {
	for _, f := range []struct {
		flags string
		files []string
	}{
		{"--frontend-cert, --frontend-key and --frontend-client-ca", []string{o.Frontend.Cert, o.Frontend.Key, o.Frontend.CA}},
		{"--internode-cert, --internode-key and --internode-ca", []string{o.Internode.Cert, o.Internode.Key, o.Internode.CA}},
		{"--ui-client-cert and --ui-client-key", []string{o.UIClient.Cert, o.UIClient.Key}},
	} {
		if slices.Contains(f.files, "") && slices.ContainsFunc(f.files, func(file string) bool { return file != "" }) {
			return fmt.Errorf("%s go together", f.flags)
		}
	}
	switch {
	case o.InternalPort < 0 || o.InternalPort > 65535:
		return fmt.Errorf("--internal-frontend-port %d is no port", o.InternalPort)
	case o.guarded() && o.TaskKeys == "":
		return errors.New("--frontend-client-ca needs --task-token-keys, a file that is made where it is missing")
	case o.guarded() && o.UIAddr != "" && !o.UIClient.any():
		return errors.New("--frontend-client-ca: the Web UI needs a certificate of the role operator, --ui-client-cert and --ui-client-key (or no Web UI: --ui '')")
	case !o.guarded() && (o.FrontendCRL != "" || o.TaskKeys != "" || o.UIClient.any() || o.InternalPort != 0):
		return errors.New("--frontend-crl, --task-token-keys, --ui-client-cert and --internal-frontend-port do nothing without --frontend-client-ca")
	case !o.guarded() && !o.Insecure && !isLoopback(o.FrontendAddr):
		return fmt.Errorf("--frontend %s can be reached from other machines, and would do what anybody asks: "+
			"give it --frontend-cert, --frontend-key and --frontend-client-ca (or, on a network of your own, --insecure-plaintext)", o.FrontendAddr)
	}
	return nil
}

// validatePlaintext refuses what other machines could read along, beside the frontend and the Web UI.
func (o options) validatePlaintext() error {
	local := strings.HasPrefix(o.PostgresHost, "/") || o.PostgresHost == "localhost" || net.ParseIP(o.PostgresHost).IsLoopback()
	encrypted := slices.Contains([]string{"require", "verify-ca", "verify-full"}, o.PostgresTLS)
	switch {
	case o.Insecure:
		return nil
	case !local && !encrypted:
		return fmt.Errorf("--postgres-host %s is another machine, and --postgres-sslmode %s lets the connection be in clear: "+
			"want verify-full with --postgres-sslrootcert (or, on a network of your own, --insecure-plaintext)", o.PostgresHost, o.PostgresTLS)
	case o.MetricsAddr != "" && !isLoopback(o.MetricsAddr):
		return fmt.Errorf("--metrics %s can be reached from other machines, and is plain: want an address of loopback, for a scraper on this machine or a proxy "+
			"(or, on a network of your own, --insecure-plaintext)", o.MetricsAddr)
	}
	return nil
}

func isLoopback(addr string) bool {
	ip, _, err := splitAddr(addr)
	return err == nil && ip.IsLoopback()
}

func (o options) services() []string {
	services := slices.Clone(temporal.DefaultServices)
	if o.guarded() {
		services = append(services, string(primitives.InternalFrontendService))
	}
	return services
}

func (o options) internalFrontend() string {
	return net.JoinHostPort(loopback, strconv.Itoa(o.internal.frontend))
}

func (o options) rootTLS() config.RootTLS {
	root := config.RootTLS{
		RefreshInterval:  certRefresh,
		ExpirationChecks: config.CertExpirationValidation{CheckInterval: certCheck, WarningWindow: certWarning, ErrorWindow: certError},
		Frontend:         config.GroupTLS{Server: o.Frontend.server()},
	}
	if o.Internode.any() {
		name, _ := o.Internode.name() // seen by guard
		root.Internode = config.GroupTLS{
			Server: o.Internode.server(),
			Client: config.ClientTLS{ServerName: name, RootCAFiles: []string{o.Internode.CA}},
		}
	}
	return root
}

func (f tlsFiles) server() config.ServerTLS {
	return config.ServerTLS{CertFile: f.Cert, KeyFile: f.Key, ClientCAFiles: []string{f.CA}, RequireClientAuth: true}
}

// name is one for which the certificate is valid.
func (f tlsFiles) name() (string, error) {
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return "", fmt.Errorf("read the certificate %s: %w", f.Cert, err)
	}
	for _, name := range pair.Leaf.DNSNames {
		if !strings.HasPrefix(name, "*.") {
			return name, nil
		}
	}
	if len(pair.Leaf.IPAddresses) > 0 {
		return pair.Leaf.IPAddresses[0].String(), nil
	}
	return "", fmt.Errorf("the certificate %s is valid for no name and no address", f.Cert)
}

func (f tlsFiles) roots() (*x509.CertPool, error) {
	text, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, fmt.Errorf("read the CA: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("the file of the CA, %s, has no certificate (PEM)", f.CA)
	}
	return roots, nil
}

// clientCredentials are those with which one service of this process asks another.
func (f tlsFiles) clientCredentials() (credentials.TransportCredentials, error) {
	name, err := f.name()
	if err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("read the certificate %s: %w", f.Cert, err)
	}
	roots, err := f.roots()
	if err != nil {
		return nil, err
	}
	return credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: name, RootCAs: roots, Certificates: []tls.Certificate{pair},
	}), nil
}

// guard is what keeps strangers from the frontend, or the word in the log that nothing does.
func (o *options) guard(logger log.Logger) ([]temporal.ServerOption, error) {
	if !o.guarded() {
		if o.Insecure {
			logger.Warn("--insecure-plaintext: whoever reaches the frontend can start any workflow and answer any task, and read along",
				tag.Address(o.FrontendAddr))
		}
		return nil, nil
	}
	var err error
	if o.serverName, err = o.Frontend.name(); err != nil {
		return nil, err
	}
	if o.Internode.any() {
		if _, err := o.Internode.name(); err != nil {
			return nil, err
		}
	}
	keys, err := authz.LoadKeys(o.TaskKeys)
	if err != nil {
		return nil, err
	}
	revocations, err := authz.OpenRevocations(o.Frontend.CA, o.FrontendCRL, logger)
	if err != nil {
		return nil, err
	}
	policy, err := authz.New([]string{o.Namespace}, keys, revocations)
	if err != nil {
		return nil, err
	}
	root := o.rootTLS()
	provider, err := encryption.NewTLSConfigProviderFromConfig(root, metrics.NoopMetricsHandler, logger, nil)
	if err != nil {
		return nil, fmt.Errorf("prepare TLS: %w", err)
	}
	logRefusedHandshakes(logger)
	return append(policy.Options(), temporal.WithTLSConfigFactory(frontendTLS{provider, revocations})), nil
}

// frontendTLS has the frontend refuse revoked certificates already when they connect: streams pass no authorizer.
type frontendTLS struct {
	encryption.TLSConfigProvider
	revocations *authz.Revocations
}

// GetFrontendServerConfig implements encryption.TLSConfigProvider.
func (f frontendTLS) GetFrontendServerConfig() (*tls.Config, error) {
	base, err := f.TLSConfigProvider.GetFrontendServerConfig()
	if err != nil {
		return nil, err
	}
	current := base.GetConfigForClient
	out := base.Clone()
	out.MinVersion = tls.VersionTLS13
	out.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c, err := current(hello)
		if err != nil {
			return nil, err
		}
		c = c.Clone()
		c.MinVersion = tls.VersionTLS13
		established := c.VerifyConnection
		c.VerifyConnection = func(state tls.ConnectionState) error {
			for _, chain := range state.VerifiedChains {
				if err := f.revocations.Check(chain); err != nil {
					return err
				}
			}
			return established(state)
		}
		return c, nil
	}
	return out, nil
}
