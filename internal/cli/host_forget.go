package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// forgetLayout shows what giving a host up came to.
var forgetLayout = &show.Layout{Name: "hostname", List: []show.Column{
	show.Col("HOSTNAME", "hostname"), show.Col("ID", "host_id"), show.Col("REASON", "reason"), show.Col("USER", "user_id"), show.Col("REQUEST", "request_id"), show.Col("AT", "at"),
	show.Col("SERVERS LOST", "servers"), show.Col("UNDOS ENDED", "undos"), show.Col("WAITS FOR", "waits_for"), show.Col("DONE", "done_at"),
}}

func (c *client) hostForget() *cobra.Command {
	var (
		reason    string
		sure, all bool
		timeout   time.Duration
	)
	cmd := &cobra.Command{
		Use:   "forget REF --reason TEXT",
		Short: "Give a hypervisor up for good, with everything on it (admin)",
		Long: `Give a hypervisor up that will not come back: it burnt, or its disks are gone. Its token ends at once. Undos that wait for it are
ended, builds on it go elsewhere, its servers go into ERROR, for their users to delete, and its row goes when nothing is left. It
is recorded who gave it up, and why. There is no way back: a machine of that name is a new host, to be wiped and admitted anew.`,
		Example:           "  slipway host forget hv1 --reason 'hv1 burnt down' --wait",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(hostKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			if strings.TrimSpace(reason) == "" {
				return show.UsageError("--reason is empty: say why the host will not come back")
			}
			host, err := hostKind.find(ctx, s, args[0])
			if err != nil {
				return err
			}
			if !sure {
				if err := confirmForget(ctx, cmd, s, host); err != nil {
					return err
				}
			}
			path := hostKind.item(show.Text(host, "id"), "forget")
			answer, _, err := s.Call(ctx, session.Request{Service: "hosts", Method: http.MethodPost, Path: path, Body: show.Object{"reason": reason}})
			if err != nil {
				return session.Doing(err, "give the host %q up", args[0])
			}
			given := objectIn(answer, "forget")
			if all {
				given, err = c.followHost(ctx, cmd, s, hostWork{
					path, "forget", "done_at", func(f show.Object) string { return show.Text(f, "waits_for") }, "the host is being given up all the same",
					"slipway host list has the host until it is done",
				}, given, timeout)
				if err != nil {
					return err
				}
			} else {
				c.say(cmd, "gave up host %s: its token has ended, and the rest follows", show.Text(host, "hostname"))
			}
			return c.output.One(cmd.OutOrStdout(), forgetLayout, given)
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why it will not come back, for the record")
	cmd.Flags().BoolVarP(&sure, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&all, "wait", false, "wait until nothing is left of it")
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Minute, "with --wait: give up waiting after this long (the forgetting goes on)")
	_ = cmd.MarkFlagRequired("reason")
	return cmd
}

// confirmForget says what would be lost, and asks.
func confirmForget(ctx context.Context, cmd *cobra.Command, s *session.Session, host show.Object) error {
	name := show.Text(host, "hostname")
	waits, err := buildKind.list(ctx, s, url.Values{"host": {name}, "parked": {"true"}})
	if err != nil {
		return session.Doing(err, "list what waits for the host %q", name)
	}
	placed, _ := strconv.Atoi(show.Text(host, "servers"))
	left, _ := strconv.Atoi(show.Text(host, "leftovers"))
	w := cmd.ErrOrStderr()
	fmt.Fprintln(w, show.Printable(fmt.Sprintf("%s is %s, and seen last at %s.", name, hostState(host), show.Text(host, "seen_at"))))
	fmt.Fprintf(w, "On it are %s: they go into ERROR, and what is built there is built elsewhere. What is left there of %s is given\n"+
		"up, and the undos of %s that wait for it end. Its token ends. There is no way back.\n",
		countedAs(placed-left, "server"), countedAs(left, "other server"), countedAs(len(waits), "workflow"))
	agreed, err := agrees(cmd, "Give it up for good?")
	if err == nil && !agreed {
		err = &show.Error{Code: show.ExitFailed, What: "nothing was given up", Hints: []string{"--yes gives up without asking"}}
	}
	return err
}
