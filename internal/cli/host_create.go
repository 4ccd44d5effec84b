package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// Enroller makes the file by which a machine becomes a hypervisor. Verbs know the API alone: who has settings and a CA makes it.
type Enroller interface {
	// Flags declares what it takes from the command line.
	Flags(*pflag.FlagSet)
	// Prepare looks at all that goes into a host's file and needs no token. api is the address that the command line speaks to.
	Prepare(flags *pflag.FlagSet, hostname, api string) (Enrolment, error)
}

// Enrolment is what goes into a host's file but for its token.
type Enrolment interface {
	String() string // whose it is, and what that host is told
	Write(ctx context.Context, to *os.File, token string) error
}

// enrolment is the file that a verb is asked for, made before the host gets a token; nil where it is not asked for.
type enrolment struct {
	Enrolment
	file *os.File
}

const enrolmentFlag = "enrolment"

func (c *client) enrolmentFlags(cmd *cobra.Command) {
	cmd.Flags().String(enrolmentFlag, "", "write all that the machine needs into this new file instead of printing the token")
	c.enroller.Flags(cmd.Flags())
}

func (c *client) openEnrolment(cmd *cobra.Command, s *session.Session, hostname string) (*enrolment, error) {
	path, err := cmd.Flags().GetString(enrolmentFlag)
	if err != nil || path == "" {
		return nil, err
	}
	api, err := s.Base("hosts")
	if err != nil {
		return nil, err
	}
	prepared, err := c.enroller.Prepare(cmd.Flags(), hostname, api)
	if err != nil {
		return nil, session.Doing(err, "make an enrolment of %q", hostname)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, &show.Error{Code: show.ExitFailed, What: path + " is there already, and is not overwritten", Cause: err,
			Hints: []string{
				"where a command was killed it is of no use: remove it, and run this again",
				fmt.Sprintf("slipway host token %s --enrolment %s does the same for a host that is admitted", hostname, path),
			}}
	}
	if err != nil {
		return nil, session.Doing(err, "make the enrolment of %q", hostname)
	}
	return &enrolment{prepared, file}, nil
}

// finish writes the file.
func (e *enrolment) finish(ctx context.Context, token string) error {
	return errors.Join(e.Write(ctx, e.file, token), e.file.Sync(), e.file.Close())
}

// discard removes a file that holds nothing.
func (e *enrolment) discard() {
	if e != nil {
		e.file.Close()
		os.Remove(e.file.Name())
	}
}

func (c *client) hostCreate() *cobra.Command {
	var zone string
	cmd := &cobra.Command{
		Use:   "create HOSTNAME",
		Short: "Admit a hypervisor, and make the file that enrols it (admin)",
		Long: `Admit a hypervisor. With --enrolment FILE, all that "slipway host" needs on that machine is in the file: settings, the token with
which it talks to the API, and a certificate and key that are issued for it. "slipway host enrol FILE" unpacks it there. Without, the
token is printed, and --quiet prints it alone. The API keeps only the token's hash and never tells it again.

The certificate is made by the CA of --pki, or named by --cert, --key and --ca. host.api_url, temporal.address, temporal.namespace and
temporal.tls_server_name come from flags, then SLIPWAY_... variables, then the file of --config. Where these say nothing the API is where
OS_AUTH_URL has it, and Temporal's frontend on the same machine.`,
		Example: "  slipway host create hv2 --enrolment hv2.enrolment\n  slipway host create hv2 --availability-zone rack-b\n" +
			"  slipway host create hv2 --quiet | ssh hv2 'install -m 600 /dev/stdin /etc/slipway/host-token'",
		Args: cobra.ExactArgs(1),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			name := args[0]
			file, err := c.openEnrolment(cmd, s, name)
			if err != nil {
				return err
			}
			fields := show.Object{"hostname": name}
			if zone != "" {
				fields["availability_zone"] = zone
			}
			host, err := hostKind.create(ctx, s, fields)
			if err != nil {
				file.discard()
				return anew(file, name, session.Doing(err, "create the host %q", name), session.IsStatus(err, http.StatusConflict) && admitted(ctx, s, name))
			}
			if file == nil {
				return c.showToken(cmd, host)
			}
			if err := file.finish(ctx, show.Text(host, "token")); err != nil {
				file.discard()
				err = session.Doing(err, "make the enrolment of %q", name)
				return anew(file, name, err, dismiss(ctx, s, host) != nil)
			}
			return c.showEnrolled(cmd, file, host)
		}),
	}
	cmd.Flags().StringVar(&zone, "availability-zone", "", "availability zone")
	c.enrolmentFlags(cmd)
	return cmd
}

// admitted says whether there is a host of that name: not every name that is refused is one's.
func admitted(ctx context.Context, s *session.Session, hostname string) bool {
	_, err := hostKind.find(ctx, s, hostname)
	return err == nil
}

// anew says how the file comes about of a host that is admitted by now.
func anew(file *enrolment, hostname string, err error, there bool) error {
	var failure *show.Error
	if file != nil && there && errors.As(err, &failure) {
		failure.Hints = []string{fmt.Sprintf("slipway host token %s --enrolment %s makes its file, with another token", hostname, file.file.Name())}
	}
	return err
}

// dismissPatience bounds the end of a host that was admitted a moment ago, also where the command is interrupted.
const dismissPatience = 15 * time.Second

// dismiss takes a host back that has no file: nobody else has its token.
func dismiss(ctx context.Context, s *session.Session, host show.Object) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dismissPatience)
	defer cancel()
	_, _, err := s.Call(ctx, session.Request{Service: "hosts", Method: http.MethodDelete, Path: hostKind.item(show.Text(host, "id"))})
	return err
}

// showToken prints a host with its token, which no later answer has.
func (c *client) showToken(cmd *cobra.Command, host show.Object) error {
	if c.output.Quiet {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), show.Text(host, "token"))
		return err
	}
	c.say(cmd, "keep the token: it is not shown again")
	return c.output.One(cmd.OutOrStdout(), newHostLayout, host)
}

// showEnrolled prints a host whose token is in its file.
func (c *client) showEnrolled(cmd *cobra.Command, file *enrolment, host show.Object) error {
	path := file.file.Name()
	c.say(cmd, "%s makes a machine %s: copy it there by a way that nobody reads, run `slipway host enrol %s` there, and remove it here", path, file, filepath.Base(path))
	delete(host, "token")
	return c.output.One(cmd.OutOrStdout(), &hostKind.layout, host)
}

func (c *client) hostToken() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token REF",
		Short: "Give a hypervisor a new token (admin)",
		Long: `Give a hypervisor a new token and print it; the old one ends at once. --quiet prints the token alone. --enrolment FILE makes the
file of "slipway host create" anew, with the token and another certificate.`,
		Example:           "  slipway host token hv1\n  slipway host token hv1 --enrolment hv1.enrolment",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(hostKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			host, err := hostKind.find(ctx, s, args[0])
			if err != nil {
				return err
			}
			name := show.Text(host, "hostname")
			file, err := c.openEnrolment(cmd, s, name)
			if err != nil {
				return err
			}
			answer, _, err := s.Call(ctx, session.Request{Service: "hosts", Method: http.MethodPost, Path: hostKind.item(show.Text(host, "id"), "token")})
			if err != nil {
				file.discard()
				return session.Doing(err, "give the host %q a new token", name)
			}
			host = hostKind.unwrap(answer)
			if file == nil {
				return c.showToken(cmd, host)
			}
			if err := file.finish(ctx, show.Text(host, "token")); err != nil {
				file.discard()
				return anew(file, name, session.Doing(err, "make the enrolment of %q", name), true)
			}
			return c.showEnrolled(cmd, file, host)
		}),
	}
	c.enrolmentFlags(cmd)
	return cmd
}
