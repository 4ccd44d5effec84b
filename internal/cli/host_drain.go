package cli

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// drainLayout shows how far a drain is.
var drainLayout = &show.Layout{Name: "hostname", List: []show.Column{
	show.Col("HOSTNAME", "hostname"), show.Col("PHASE", "phase"), show.Col("ZONE", "availability_zone"), show.Col("AT ONCE", "at_once"), show.Col("MOVED", "moved"),
	show.Computed("MOVING", drained("moving")), show.Col("WAITING", "waiting"), show.Computed("FAILED", drained("failed")), show.Computed("BUSY", drained("busy")), show.Computed("STAY", drained("stays")),
	show.Col("LEFTOVERS", "leftovers"), show.Col("WAITS FOR", "waits_for"), show.Col("USER", "user_id"), show.Col("REQUEST", "request_id"),
	show.Col("STARTED", "started_at"), show.Col("ENDED", "ended_at"),
}}

// drained are the servers of one list of a drain, one a line, with the reason.
func drained(list string) func(show.Object) string {
	return func(o show.Object) string {
		var lines []string
		for _, s := range show.Objects(o[list]) {
			line := show.Text(s, "name") + " (" + show.Text(s, "server_id") + ")"
			if what := show.Text(s, "action"); what != "" && list == "moving" {
				line += ": " + what
			}
			if why := show.Text(s, "why"); why != "" {
				line += ": " + why
			}
			lines = append(lines, line)
		}
		if more := show.Text(o, "more", list); more != "" && more != "0" {
			lines = append(lines, "and "+more+" more")
		}
		return strings.Join(lines, "\n")
	}
}

func (c *client) hostDrain() *cobra.Command {
	var (
		zone                        string
		atOnce                      int
		wait                        bool
		pause, resume, stop, status bool
		timeout                     time.Duration
	)
	cmd := &cobra.Command{
		Use:   "drain REF",
		Short: "Move the servers of a hypervisor to others (admin)",
		Long: `Empty a hypervisor, before its machine is switched off: it gets no servers any more, and those that are on it move to others, each by a
cold migration that is confirmed at once. A server that runs is shut down for that, and runs again afterwards; one that is stopped
stays so. One that no other hypervisor takes runs on where it is. What is paused, suspended, shelved, rescued or in error stays too:
the drain says so, and goes on with the rest. When it has ended the hypervisor is disabled still.`,
		Example: `  slipway host drain hv1 --wait
  slipway host drain hv1 --to rack-b --at-once 4
  slipway host drain hv1 --status
  slipway host drain hv1 --pause`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(hostKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			host, err := hostKind.find(ctx, s, args[0])
			if err != nil {
				return err
			}
			path := hostKind.item(show.Text(host, "id"), "drain")
			ask := session.Request{Service: "hosts", Method: http.MethodPost, Path: path}
			what := "drain"
			for act, asked := range map[string]bool{"pause": pause, "resume": resume, "stop": stop} {
				if asked {
					what, ask.Path, ask.Body = act+" the drain of", path+"/action", show.Object{act: show.Object{}}
				}
			}
			switch {
			case status:
				what, ask.Method = "look at the drain of", http.MethodGet
			case ask.Body == nil:
				body := show.Object{}
				if zone != "" {
					body["availability_zone"] = zone
				}
				if cmd.Flags().Changed("at-once") {
					body["at_once"] = atOnce
				}
				ask.Body = body
			}
			answer, _, err := s.Call(ctx, ask)
			if err != nil {
				return session.Doing(err, "%s the host %q", what, args[0])
			}
			is := objectIn(answer, "drain")
			if wait {
				is, err = c.followHost(ctx, cmd, s, hostWork{
					path, "drain", "ended_at", drainProgress, "the host is being drained all the same",
					"slipway host drain " + show.Text(is, "hostname") + " --status tells how far it is",
				}, is, timeout)
				if err != nil {
					return err
				}
			}
			if err := c.output.One(cmd.OutOrStdout(), drainLayout, is); err != nil {
				return err
			}
			if wait && show.Text(is, "phase") != "drained" {
				return &show.Error{Code: show.ExitFailed, What: "servers are left on host " + show.Text(is, "hostname"), Reason: show.Text(is, "waits_for")}
			}
			return nil
		}),
	}
	cmd.Flags().StringVar(&zone, "to", "", "the availability `ZONE` that the servers go to")
	cmd.Flags().IntVar(&atOnce, "at-once", 2, "how many move at the same time")
	cmd.Flags().BoolVar(&status, "status", false, "tell how far the drain is, or how the last one ended")
	cmd.Flags().BoolVar(&pause, "pause", false, "begin no more moves; those under way end")
	cmd.Flags().BoolVar(&resume, "resume", false, "go on, and try again what could not be moved")
	cmd.Flags().BoolVar(&stop, "stop", false, "end the drain when the moves that are under way have ended")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the drain has ended; that something is left is a failure")
	cmd.Flags().DurationVar(&timeout, "timeout", 24*time.Hour, "with --wait: give up waiting after this long (the drain goes on)")
	cmd.MarkFlagsMutuallyExclusive("status", "pause", "resume", "stop")
	for _, act := range []string{"status", "pause", "resume", "stop"} {
		cmd.MarkFlagsMutuallyExclusive("to", act)
		cmd.MarkFlagsMutuallyExclusive("at-once", act)
	}
	cmd.MarkFlagsMutuallyExclusive("wait", "pause")
	_ = cmd.RegisterFlagCompletionFunc("to", func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return c.completing(cmd, func(ctx context.Context, s *session.Session) ([]cobra.Completion, error) {
			hosts, err := hostKind.list(ctx, s, nil)
			return zonesBut(hosts, args, prefix), err
		})
	})
	return cmd
}

// zonesBut are the zones of all hosts but those that are named.
func zonesBut(hosts []show.Object, names []string, prefix string) (zones []cobra.Completion) {
	for _, h := range hosts {
		zone := show.Text(h, "availability_zone")
		if !slices.Contains(names, show.Text(h, "hostname")) && strings.HasPrefix(zone, prefix) && !slices.Contains(zones, zone) {
			zones = append(zones, zone)
		}
	}
	return zones
}

// drainProgress is how far a drain is, in a line.
func drainProgress(is show.Object) string {
	words := []string{show.Text(is, "phase"), show.Text(is, "moved") + " moved"}
	if n := show.Text(is, "waiting"); n != "" && n != "0" {
		words = append(words, n+" to move")
	}
	for _, of := range [][2]string{{"moving", "moving"}, {"failed", "failed"}, {"busy", "busy"}, {"stays", "stay"}} {
		more, _ := strconv.Atoi(show.Text(is, "more", of[0])) // that are not named
		if n := len(show.Objects(is[of[0]])) + more; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, of[1]))
		}
	}
	if n := show.Text(is, "leftovers"); n != "" && n != "0" {
		words = append(words, n+" being cleaned up after")
	}
	if why := show.Text(is, "waits_for"); why != "" {
		words = append(words, why)
	}
	return strings.Join(words, ", ")
}
