// Package cli is the user's side of the slipway command: the verbs that talk to the API over HTTP and to nothing else.
// cmd/slipway attaches them under its root beside the roles (api, worker, host, dev).
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// pollEvery is how often a waiting verb asks the API again: fast enough that a step of a few hundred milliseconds is seen
// to run, slow enough to cost the API nothing.
const pollEvery = 250 * time.Millisecond

// client is what every verb shares: how to reach the API, and how to print.
type client struct {
	connection connection
	output     output
	now        func() time.Time
	poll       time.Duration
	stall      time.Duration             // how long a download may bring nothing
	answers    func(*cobra.Command) bool // whether somebody is there to answer a question
}

// Commands are the verbs for the root command. The verbs of hypervisors come from HostCommands, because `slipway host`
// itself is the hypervisor's role.
func Commands() []*cobra.Command { return newClient().commands() }

// HostCommands are the verbs that go below `slipway host`: list, show, create, token, enable, disable, delete.
func HostCommands() []*cobra.Command { return newClient().hostCommands() }

func newClient() *client {
	return &client{now: time.Now, poll: pollEvery, stall: time.Minute, answers: onTerminal}
}

func (c *client) commands() []*cobra.Command {
	return c.finish(
		c.bootCommand(),
		c.serverCommand(),
		c.reservationCommand(),
		c.buildCommand(),
		c.imageCommand(),
		c.flavorCommand(),
		c.keypairCommand(),
		c.networkCommand(),
		c.subnetCommand(),
		c.quotaCommand(),
		c.tokenCommand(),
		c.auditCommand(),
	)
}

func (c *client) hostCommands() []*cobra.Command {
	return c.finish(c.hostVerbs()...)
}

// finish gives every verb the shared flags, and makes each wrong use of a command line an error of one type.
func (c *client) finish(commands ...*cobra.Command) []*cobra.Command {
	for _, cmd := range commands {
		c.connection.bind(cmd.PersistentFlags())
		c.output.bind(cmd.PersistentFlags())
		_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
		// The OpenStack client's name of the same, which it takes repeated.
		cmd.SetGlobalNormalizationFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
			if name == "column" {
				name = "columns"
			}
			return pflag.NormalizedName(name)
		})
		Strict(cmd)
	}
	return commands
}

// Exit prints err for the user, if there is one, and gives the process's exit code (see the constants Exit…). It takes the
// error of the whole program: an unknown command, which cobra refuses before any runs, is a wrong command line, and an error of
// a role is printed as it is.
func Exit(w io.Writer, err error) int {
	if err == nil {
		return ExitOK
	}
	var failure *Error
	switch {
	case errors.As(err, &failure):
	case errors.Is(err, context.Canceled):
		failure = explain(err)
	default:
		what, more, _ := strings.Cut(err.Error(), "\n")
		failure = &Error{Code: ExitFailed, What: what, Reason: more, Cause: err}
		for _, refusal := range []string{"unknown command ", "unknown flag: ", "unknown shorthand flag: "} {
			if strings.HasPrefix(what, refusal) {
				failure.Code, failure.Hints = ExitUsage, []string{"slipway --help"}
			}
		}
	}
	fmt.Fprint(w, failure.render())
	return failure.Code
}

// verb wraps the body of a command: it connects first, and what the body cannot do is said with what was being done.
func (c *client) verb(body func(ctx context.Context, cmd *cobra.Command, s *session, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := c.output.check(); err != nil {
			return usageOf(cmd, err)
		}
		s, err := c.connection.open(cmd.Context(), cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		if err := body(cmd.Context(), cmd, s, args); err != nil {
			return spoken(err)
		}
		return nil
	}
}

// isTerminal says whether w draws on a terminal, where lines can be redrawn.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	width, height, err := term.GetSize(int(f.Fd())) // some terminals of build systems have no size: nothing can be drawn there
	return err == nil && width > 0 && height > 0
}

// readInput reads a whole file, or standard input when the name is "-".
func readInput(cmd *cobra.Command, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(cmd.InOrStdin())
	}
	return os.ReadFile(name)
}

// pairs parses repeated key=value flags.
func pairs(flag string, values []string) (map[string]string, error) {
	result := make(map[string]string, len(values))
	for _, v := range values {
		key, value, ok := strings.Cut(v, "=")
		if !ok || key == "" {
			return nil, usage("--%s wants key=value, not %q", flag, v)
		}
		result[key] = value
	}
	return result, nil
}
