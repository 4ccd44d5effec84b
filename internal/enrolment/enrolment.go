// Package enrolment is the file that makes a machine a hypervisor, once: what it has to be told, the token with which the API knows it,
// whom it is to believe, and a certificate and key of its own. It is made where hosts are admitted, and unpacked on the machine.
package enrolment

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/slipway-cloud/slipway/internal/pki"
)

// version of the file. A field that an older slipway may not pass over makes it another.
const version = 1

// Enrolment is what is in the file. Certificates, key and list are PEM.
type Enrolment struct {
	Version     int      `yaml:"enrolment"`
	Settings    Settings `yaml:"settings"`
	Token       string   `yaml:"token"`
	CA          string   `yaml:"ca"`            // that the certificates of the API and of Temporal's frontend are of
	CRL         string   `yaml:"crl,omitempty"` // what it has revoked
	Certificate string   `yaml:"certificate"`
	Key         string   `yaml:"key"` // comes last: a file that was cut off has none
}

// Settings are those of a host that it cannot find out. Names and nesting are those of its settings' file.
type Settings struct {
	Host struct {
		Hostname  string `yaml:"hostname"`
		APIURL    string `yaml:"api_url"`
		APICA     string `yaml:"api_ca,omitempty"`
		APICert   string `yaml:"api_cert,omitempty"`
		APIKey    string `yaml:"api_key,omitempty"`
		TokenFile string `yaml:"token_file,omitempty"`
	} `yaml:"host"`
	Temporal struct {
		Address       string `yaml:"address"`
		Namespace     string `yaml:"namespace"`
		TLSServerName string `yaml:"tls_server_name,omitempty"`
		TLSCA         string `yaml:"tls_ca,omitempty"`
		TLSCert       string `yaml:"tls_cert,omitempty"`
		TLSKey        string `yaml:"tls_key,omitempty"`
	} `yaml:"temporal"`
}

// String is whose it is and what is guessed at easily, and no secret.
func (e Enrolment) String() string {
	return fmt.Sprintf("%s, which asks the API at %s, and Temporal at %s", e.Settings.Host.Hostname, e.Settings.Host.APIURL, e.Settings.Temporal.Address)
}

// Write writes the file, if it is whole and fits together.
func (e Enrolment) Write(w io.Writer) error {
	e.Version = version
	if err := e.check(); err != nil {
		return err
	}
	text, err := yaml.Marshal(e)
	if err != nil {
		return err
	}
	head := fmt.Sprintf("# Makes a machine the hypervisor %s: slipway host enrol FILE. Whoever reads it can be that host.\n", e.Settings.Host.Hostname)
	_, err = w.Write(append([]byte(head), text...))
	return err
}

// maxBytes is more than any such file has.
const maxBytes = 1 << 20

// Read reads a file, and refuses one that is not whole or does not fit together.
func Read(r io.Reader) (e Enrolment, err error) {
	text, err := io.ReadAll(io.LimitReader(r, maxBytes))
	if err != nil {
		return e, fmt.Errorf("reading the enrolment: %w", err)
	}
	if err := yaml.Unmarshal(text, &e); err != nil || e.Version == 0 {
		return e, errors.Join(errors.New("it is no enrolment, as `slipway host create --enrolment` writes it, or has been cut off"), err)
	}
	if e.Version != version {
		return e, fmt.Errorf("it is an enrolment of version %d, and this slipway knows version %d: install on this machine the slipway that made it", e.Version, version)
	}
	return e, e.check()
}

func (e Enrolment) check() error {
	for what, value := range map[string]string{
		"settings.host.hostname": e.Settings.Host.Hostname, "settings.host.api_url": e.Settings.Host.APIURL,
		"settings.temporal.address": e.Settings.Temporal.Address, "settings.temporal.namespace": e.Settings.Temporal.Namespace, "token": e.Token,
	} {
		if value == "" {
			return fmt.Errorf("the enrolment is not whole: it has no %s", what)
		}
	}
	if name := e.Settings.Host.Hostname; filepath.Base(name) != name {
		return fmt.Errorf("the enrolment is of a host %q, which is no hostname", name)
	}
	return CheckCertificate(e.Settings.Host.Hostname, []byte(e.CA), []byte(e.Certificate), []byte(e.Key))
}

// CheckCertificate refuses what Temporal's frontend would refuse from a host of that name.
func CheckCertificate(hostname string, ca, certificate, key []byte) error {
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return fmt.Errorf("the host's certificate and key: %w", err)
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return errors.New("the CA: there is no certificate (PEM) in it")
	}
	for _, der := range pair.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	if role, name := pki.Holder(pair.Leaf); role != pki.Host || name != hostname {
		return fmt.Errorf("the host's certificate is for the role %q and the name %q, and has to be for the role %s and the name %s", role, name, pki.Host, hostname)
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return fmt.Errorf("the host's certificate, which ends on %s: %w", pair.Leaf.NotAfter.Format(time.DateOnly), err)
	}
	return nil
}

// encoded is a settings' file.
func (s Settings) encoded() ([]byte, error) {
	var text bytes.Buffer
	text.WriteString("# As enrolled. More settings of this host go here: `slipway config` shows all of them.\n")
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	err := errors.Join(encoder.Encode(s), encoder.Close())
	return text.Bytes(), err
}
