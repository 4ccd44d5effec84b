package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-cloud/slipway/internal/cli"
	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/enrolment"
	"github.com/slipway-cloud/slipway/internal/pki"
)

// enroller makes hosts' files by the settings and the CA of where hosts are admitted.
type enroller struct{ pki, cert, key, ca string }

// enrolled are the settings that a host cannot find out.
var enrolled = []string{"config", "host.api_url", "temporal.address", "temporal.namespace", "temporal.tls_server_name"}

// Flags implements cli.Enroller.
func (e *enroller) Flags(flags *pflag.FlagSet) {
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	config.Flags(all, "host", "temporal")
	for _, name := range enrolled {
		flags.AddFlag(all.Lookup(name))
	}
	flags.StringVar(&e.pki, "pki", defaultPKI, "folder of the CA that issues the host's certificate (slipway pki)")
	flags.StringVar(&e.cert, "cert", "", "file with a certificate of the role host that was issued elsewhere for this hostname, instead of --pki")
	flags.StringVar(&e.key, "key", "", "file with its key")
	flags.StringVar(&e.ca, "ca", "", "file with the CA of it, of the API and of Temporal's frontend; a crl.pem beside it goes along")
}

// preparedEnrolment is a host's file but for the token and, where a CA of Slipway's issues it, the certificate.
type preparedEnrolment struct {
	enrolment.Enrolment
	authority *pki.Authority // nil where the certificate is there
	dir       string         // the authority's
}

// Prepare implements cli.Enroller.
func (e *enroller) Prepare(flags *pflag.FlagSet, hostname, api string) (cli.Enrolment, error) {
	c, err := config.Load(flags)
	if err != nil {
		return nil, err
	}
	p := preparedEnrolment{dir: e.pki}
	if p.Settings, err = settingsFor(c, hostname, api); err != nil {
		return nil, err
	}
	if e.cert == "" && e.key == "" && e.ca == "" {
		p.authority, err = pki.Open(e.pki)
		return &p, err
	}
	if e.cert == "" || e.key == "" || e.ca == "" {
		return nil, errors.New("--cert, --key and --ca go together")
	}
	if err := p.read(e.ca, e.cert, e.key); err != nil {
		return nil, err
	}
	return &p, enrolment.CheckCertificate(hostname, []byte(p.CA), []byte(p.Certificate), []byte(p.Key))
}

// settingsFor is what a host is told. Where neither flags nor environment nor file say it, the API is where the command line has it, and
// Temporal's frontend on the same machine.
func settingsFor(c config.Config, hostname, api string) (s enrolment.Settings, err error) {
	unset := config.Default()
	s.Host.Hostname, s.Host.APIURL = hostname, c.Host.APIURL
	if c.Host.APIURL == unset.Host.APIURL {
		s.Host.APIURL = strings.TrimSuffix(api, "/")
	}
	s.Temporal.Address, s.Temporal.Namespace, s.Temporal.TLSServerName = c.Temporal.Address, c.Temporal.Namespace, c.Temporal.TLSServerName
	if c.Temporal.Address == unset.Temporal.Address {
		at, err := url.Parse(s.Host.APIURL)
		if err != nil {
			return s, fmt.Errorf("host.api_url: %w", err)
		}
		_, port, err := net.SplitHostPort(unset.Temporal.Address)
		if err != nil {
			return s, err
		}
		s.Temporal.Address = net.JoinHostPort(at.Hostname(), port)
	}
	var host config.Config
	host.Host.APIURL, host.Temporal.Address, host.Temporal.TLSCA = s.Host.APIURL, s.Temporal.Address, "that of the enrolment"
	if clear := host.InClear("host"); len(clear) > 0 {
		return s, errors.New(strings.Join(clear, "; "))
	}
	return s, nil
}

// read takes the host's certificate and key, its CA, and what that has revoked, from files.
func (p *preparedEnrolment) read(ca, cert, key string) error {
	for path, to := range map[string]*string{ca: &p.CA, cert: &p.Certificate, key: &p.Key, filepath.Join(filepath.Dir(ca), pki.CRLFile): &p.CRL} {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) && to == &p.CRL {
			continue
		}
		if err != nil {
			return err
		}
		*to = string(text)
	}
	return nil
}

// Write implements cli.Enrolment. A certificate that the host has had, and that is not revoked, is renewed: for the same names, with another key.
func (p *preparedEnrolment) Write(ctx context.Context, to *os.File, token string) error {
	p.Token = token
	if p.authority != nil {
		name := p.Settings.Host.Hostname
		if _, cannotRenew := p.authority.Renew(ctx, pki.Host, name, 0); cannotRenew != nil {
			if _, err := p.authority.Issue(ctx, pki.Request{Role: pki.Host, Name: name}); err != nil {
				return errors.Join(err, cannotRenew)
			}
		}
		cert, key := pki.Files(p.dir, pki.Host, name)
		if err := p.read(filepath.Join(p.dir, pki.CAFile), cert, key); err != nil {
			return err
		}
	}
	return p.Enrolment.Write(to)
}

func hostEnrolCommand() *cobra.Command {
	var dir string
	var force bool
	cmd := &cobra.Command{
		Use:   "enrol FILE",
		Short: "Make this machine the hypervisor that a file of `slipway host create --enrolment` is for",
		Long: `Unpacks the file (- is standard input): slipway.yaml, the host's token, and in tls/ whom it believes, its certificate and its key. It
asks nobody, and starts nothing. What it is interrupted in it does from the beginning when it is run again: slipway.yaml comes last.

--force replaces other files in these places; a slipway.yaml is kept as slipway.yaml.before.`,
		Example: "  slipway host enrol hv2.enrolment\n  ssh hv2 slipway host enrol - < hv2.enrolment",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var from io.Reader = cmd.InOrStdin()
			if args[0] != "-" {
				file, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer file.Close()
				from = file
			}
			e, err := enrolment.Read(from)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			settings, err := e.Unpack(dir, force)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "This machine is %s. Start it: slipway host --config %s\n", e, settings)
			if args[0] != "-" {
				fmt.Fprintf(cmd.ErrOrStderr(), "Whoever reads %s can be %s: remove it.\n", args[0], e.Settings.Host.Hostname)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", filepath.Dir(config.DefaultFile), "folder of the settings")
	cmd.Flags().BoolVar(&force, "force", false, "replace other files in their places")
	return cmd
}
