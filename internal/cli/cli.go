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

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// pollEvery is how often a waiting verb asks the API again: fast enough that a step of a few hundred milliseconds is seen
// to run, slow enough to cost the API nothing.
const pollEvery = 250 * time.Millisecond

// client is what every verb shares: how to reach the API, and how to print.
type client struct {
	connection session.Settings
	output     show.Output
	now        func() time.Time
	poll       time.Duration
	stall      time.Duration             // how long a download may bring nothing
	answers    func(*cobra.Command) bool // whether somebody is there to answer a question
	enroller   Enroller
}

// Commands are the verbs for the root command. The verbs of hypervisors come from HostCommands, because `slipway host`
// itself is the hypervisor's role.
func Commands() []*cobra.Command { return newClient().commands() }

// HostCommands are the verbs that go below `slipway host`: list, show, create, token, enable, disable, delete, drain, forget, network.
func HostCommands(e Enroller) []*cobra.Command {
	c := newClient()
	c.enroller = e
	return c.hostCommands()
}

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
		c.aggregateCommand(),
		c.keypairCommand(),
		c.networkCommand(),
		c.subnetCommand(),
		c.quotaCommand(),
		c.domainCommand(),
		c.projectCommand(),
		c.userCommand(),
		c.groupCommand(),
		c.roleCommand(),
		c.credentialCommand(),
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
		c.connection.Bind(cmd.PersistentFlags())
		c.output.Bind(cmd.PersistentFlags())
		_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(show.Formats, cobra.ShellCompDirectiveNoFileComp))
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

// Exit prints err for the user, if there is one, and gives the process's exit code (see show.ExitOK). It takes the
// error of the whole program: an unknown command, which cobra refuses before any runs, is a wrong command line, and an error of
// a role is printed as it is.
func Exit(w io.Writer, err error) int {
	if err == nil {
		return show.ExitOK
	}
	var failure *show.Error
	switch {
	case errors.As(err, &failure):
	case errors.Is(err, context.Canceled):
		failure = session.Explain(err)
	default:
		what, more, _ := strings.Cut(err.Error(), "\n")
		failure = &show.Error{Code: show.ExitFailed, What: what, Reason: more, Cause: err}
		for _, refusal := range []string{"unknown command ", "unknown flag: ", "unknown shorthand flag: "} {
			if strings.HasPrefix(what, refusal) {
				failure.Code, failure.Hints = show.ExitUsage, []string{"slipway --help"}
			}
		}
	}
	fmt.Fprint(w, failure.Render())
	return failure.Code
}

// verb wraps the body of a command: it connects first, and what the body cannot do is said with what was being done.
func (c *client) verb(body func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := c.output.Check(); err != nil {
			return usageOf(cmd, err)
		}
		s, err := c.connection.Open(cmd.Context(), cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		if err := body(cmd.Context(), cmd, s, args); err != nil {
			return session.Spoken(err)
		}
		return nil
	}
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
			return nil, show.UsageError("--%s wants key=value, not %q", flag, v)
		}
		result[key] = value
	}
	return result, nil
}

func usageOf(cmd *cobra.Command, err error) error {
	var failure *show.Error
	if errors.As(err, &failure) {
		return err
	}
	return &show.Error{Code: show.ExitUsage, What: err.Error(), Hints: []string{cmd.CommandPath() + " --help"}, Cause: err}
}

// stoppedWatching is the end of a wait before the end of the work: by Ctrl-C, or because ctx's time was up. last is the error
// of the last poll, if there was one.
func stoppedWatching(ctx context.Context, goesOn string, last error, hints ...string) *show.Error {
	result := &show.Error{Code: show.ExitInterrupted, What: "stopped watching; " + goesOn, Hints: hints}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		result.Code, result.What = show.ExitFailed, "gave up waiting; "+goesOn
	}
	if last != nil {
		result.Reason = "the last answer was: " + last.Error()
	}
	return result
}
