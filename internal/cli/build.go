package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// buildKind is Slipway's own resource at the root of the API (/builds); only admins see it.
var buildKind = &kind{
	noun: "build", service: "builds", path: "builds", plural: "builds", singular: "build", name: "id", listHint: "slipway build list --all",
	layout: show.Layout{Name: "id", List: []show.Column{
		show.Col("ID", "id"), show.Computed("WORK", workOf), show.Col("PHASE", "phase"), show.Computed("OVERDUE", yesIf("overdue")), show.Col("HOST", "host"),
		show.Col("STATUS", "status"), show.Col("STARTED", "started_at"),
		show.Col("ENDED", "ended_at").OnlyWide(), show.Col("PROJECT", "project_id").OnlyWide(), show.Col("SERVER", "server_id").OnlyWide(),
		show.Col("IMAGE", "image_id").OnlyWide(), show.Col("RESERVATION", "reservation_id").OnlyWide(),
	}, Show: []show.Column{
		show.Col("ID", "id"), show.Computed("WORK", workOf), show.Col("STATUS", "status"), show.Col("PHASE", "phase"), show.Col("SINCE", "phase_since"),
		show.Computed("OVERDUE", yesIf("overdue")), show.Col("SERVER", "server_id"), show.Col("PROJECT", "project_id"), show.Col("HOST", "host"), show.Col("IMAGE", "image_id"),
		show.Col("RESERVATION", "reservation_id"), show.Col("STARTED", "started_at"), show.Col("ENDED", "ended_at"), show.Col("NOT KNOWN", "unanswered"),
	}},
}

// Sections of a build that is shown alone.
var (
	buildSteps = show.Layout{List: []show.Column{
		show.Col("STEP", "step"), show.Col("HOST", "host"), show.Col("STATE", "state"), show.Col("STARTED", "started_at"),
		show.Computed("TOOK", func(o show.Object) string {
			began, ended := show.ParseTime(show.Text(o, "started_at")), show.ParseTime(show.Text(o, "finished_at"))
			if began.IsZero() || ended.IsZero() {
				return ""
			}
			return show.Duration(ended.Sub(began))
		}),
		show.Col("ERROR", "error"),
	}}
	buildUndos = show.Layout{List: []show.Column{
		show.Col("UNDO", "id"), show.Col("HOST", "host"), show.Col("STATE", "state"), show.Col("SINCE", "since"), show.Computed("TRIES", triesOf), show.Col("NEXT TRY", "next_try"),
		show.Col("LAST ERROR", "error"),
	}}
	buildPending = show.Layout{List: []show.Column{
		show.Col("STEP", "step"), show.Col("HOST", "host"), show.Computed("TRIES", triesOf), show.Col("STARTED", "started_at"), show.Col("NEXT TRY", "next_try"), show.Col("LAST ERROR", "error"),
	}}
	buildActs = show.Layout{List: []show.Column{
		show.Col("AT", "at"), show.Col("ACT", "act"), show.Computed("UNDO", func(o show.Object) string { return cmp.Or(show.Text(o, "undo"), "all that waited") }),
		show.Col("REASON", "reason"), show.Col("USER", "user_id"), show.Col("REQUEST", "request_id"),
	}}
)

func workOf(o show.Object) string {
	workflow := show.Text(o, "workflow")
	if word, ok := map[string]string{"BootServer": "build", "DeleteServer": "delete", "CleanUp": "clean-up"}[workflow]; ok {
		return word
	}
	return workflow
}

func yesIf(field string) func(show.Object) string {
	return func(o show.Object) string {
		if set, _ := o[field].(bool); set {
			return "yes"
		}
		return ""
	}
}

func triesOf(o show.Object) string {
	if tries := show.Text(o, "tries"); tries != "0" {
		return tries
	}
	return ""
}

func (c *client) buildCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "build",
		Aliases: []string{"builds"},
		Short:   "See what builds do, and treat undos that do not succeed (admin)",
		Long: `See what builds, deletes and clean-ups do, and treat undos that do not succeed.

A build that fails gives back what it took. Where that does not succeed within a while, or has to wait for a host that is
away, the undo is parked: it goes on trying, and here it can be seen, tried again at once, or given up.`,
		Example: "  slipway build list --parked\n  slipway build show cleanup:a0056075-5e1a-4f6b-8f0e-0123456789ab",
	}
	cmd.AddCommand(c.buildList(), c.buildShow(), c.buildRetry(), c.buildSkip())
	return cmd
}

func (c *client) buildList() *cobra.Command {
	var parked, overdue, all bool
	var host, project, server, reservation, phase string
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List builds, deletes and clean-ups (admin)",
		Long: `List the builds, deletes and clean-ups that run, the newest first. --parked: those of which an undo does not succeed or
waits for a host. --overdue: those whose phase takes longer than its deadline allows.`,
		Example: "  slipway build list --parked\n  slipway build list --overdue -o wide\n  slipway build list --host hv1 --all --limit 20",
		Args:    cobra.NoArgs,
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, _ []string) error {
			query := url.Values{}
			for name, set := range map[string]bool{"parked": parked, "overdue": overdue, "all": all} {
				if set {
					query.Set(name, "true")
				}
			}
			for name, value := range map[string]string{"host": host, "project": project, "server": server, "reservation": reservation, "phase": phase} {
				if value != "" {
					query.Set(name, value)
				}
			}
			if limit > 0 {
				query.Set("limit", strconv.Itoa(limit))
			}
			builds, err := buildKind.list(ctx, s, query)
			if err != nil {
				return session.Doing(err, "list the builds")
			}
			return c.output.Many(cmd.OutOrStdout(), &buildKind.layout, builds)
		}),
	}
	flags := cmd.Flags()
	flags.BoolVar(&parked, "parked", false, "only those with an undo that does not succeed or waits for a host")
	flags.BoolVar(&overdue, "overdue", false, "only those whose phase takes too long")
	flags.BoolVar(&all, "all", false, "those too that have ended, while Temporal keeps them")
	flags.StringVar(&host, "host", "", "only those on this hypervisor")
	flags.StringVar(&project, "project", "", "only those of this project (id)")
	flags.StringVar(&server, "server", "", "only those of this server (id)")
	flags.StringVar(&reservation, "reservation", "", "only those of this reservation (r-...)")
	c.completeFlag(cmd, "reservation", reservationKind)
	flags.StringVar(&phase, "phase", "", "only those in this phase: scheduling, networking, spawning, deleting, parked, ...")
	flags.IntVar(&limit, "limit", 0, "at most this many")
	c.completeFlag(cmd, "host", hostKind)
	_ = cmd.RegisterFlagCompletionFunc("phase", cobra.FixedCompletions(
		[]string{"scheduling", "networking", "spawning", "deleting", "parked", "active", "failed", "deleted", "clean"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (c *client) buildShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show a build with its steps, its undos and what operators did (admin)",
		Long: `Show one build: its phase and since when, its steps, its undos with how often each was tried, why it failed and when it is
tried next, and what operators did. ID is server:<id>, cleanup:<id> (which waits for hosts on which the server left
something), or a server's id alone. An ended build is shown while Temporal keeps its history.`,
		Example:           "  slipway build show a0056075-5e1a-4f6b-8f0e-0123456789ab\n  slipway build show cleanup:a0056075-5e1a-4f6b-8f0e-0123456789ab -o json",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeUndos(1),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			build, err := readBuild(ctx, s, args[0])
			if err != nil {
				return session.Doing(err, "show the build %q", args[0])
			}
			return c.printBuild(cmd.OutOrStdout(), build)
		}),
	}
}

// readBuild reads one by its id.
func readBuild(ctx context.Context, s *session.Session, id string) (show.Object, error) {
	build, err := buildKind.get(ctx, s, id)
	if session.IsStatus(err, http.StatusNotFound) {
		return nil, &show.Error{Code: show.ExitNotFound, What: fmt.Sprintf("there is no build %q", id),
			Hints: []string{buildKind.listHint, "an ID is server:<server id>, cleanup:<server id>, or a server's id alone"}}
	}
	return build, err
}

func (c *client) printBuild(w io.Writer, build show.Object) error {
	if err := c.output.One(w, &buildKind.layout, build); err != nil {
		return err
	}
	pending := show.Objects(build["pending"])
	if len(show.Objects(build["undos"])) > 0 {
		// Those of undos are told with the undos.
		pending = slices.DeleteFunc(pending, func(p show.Object) bool { return show.Text(p, "undo") != "" })
	}
	return c.printSections(w,
		section{"steps", &buildSteps, show.Objects(build["steps"])}, section{"undos, the last first", &buildUndos, reversed(show.Objects(build["undos"]))},
		section{"running or waiting", &buildPending, pending}, section{"operators' acts", &buildActs, show.Objects(build["acts"])})
}

// section is a list that is a part of one thing, with its own columns.
type section struct {
	title  string
	layout *show.Layout
	rows   []show.Object
}

// printSections prints those that are not empty below the thing, where it is printed for people.
func (c *client) printSections(w io.Writer, sections ...section) error {
	if c.output.Quiet || c.output.Format != "table" && c.output.Format != "wide" || len(c.output.Columns) > 0 {
		return nil
	}
	for _, s := range sections {
		if len(s.rows) == 0 {
			continue
		}
		if _, err := fmt.Fprintf(w, "\n%s\n", s.title); err != nil {
			return err
		}
		if err := c.output.Many(w, s.layout, s.rows); err != nil {
			return err
		}
	}
	return nil
}

func reversed(rows []show.Object) []show.Object {
	slices.Reverse(rows)
	return rows
}

func (c *client) buildRetry() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "retry ID [UNDO]",
		Short: "Have undos that wait tried again at once (admin)",
		Long: `Have an undo that waits tried again at once instead of after its pause, or every one of the build. It is recorded who asked.
Nothing is lost by it: an undo that fails again goes on waiting.`,
		Example:           "  slipway build retry cleanup:a0056075-5e1a-4f6b-8f0e-0123456789ab\n  slipway build retry a0056075-5e1a-4f6b-8f0e-0123456789ab attempt/1:RemoveDisk/0 --reason 'the disk is back'",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: c.completeUndos(2),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			body, what := show.Object{}, "every undo that waits"
			if len(args) == 2 {
				body["undo"], what = args[1], args[1]
			}
			if reason != "" {
				body["reason"] = reason
			}
			if err := actOn(ctx, s, args[0], show.Object{"retry": body}); err != nil {
				return session.Doing(err, "have %s of build %q tried again", what, args[0])
			}
			c.say(cmd, "tries again: %s of build %s", what, args[0])
			return nil
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
	return cmd
}

func actOn(ctx context.Context, s *session.Session, id string, body show.Object) error {
	_, _, err := s.Call(ctx, session.Request{Service: "builds", Method: http.MethodPost, Path: buildKind.item(id, "action"), Body: body})
	return err
}

func (c *client) buildSkip() *cobra.Command {
	var reason string
	var sure bool
	cmd := &cobra.Command{
		Use:   "skip ID UNDO --reason TEXT",
		Short: "Give an undo up that cannot succeed (admin)",
		Long: `Give an undo up that waits. What it would have given back (files, a domain, an address, room on a host) stays where it is:
nothing of Slipway removes it any more, and "slipway audit" lists it until somebody does. The undos that waited for this one
go on. It is recorded who gave it up, and why.

Do it only where the undo can never succeed: the host or its disk is lost for good, or what it would remove is gone already.`,
		Example:           "  slipway build skip cleanup:a0056075-5e1a-4f6b-8f0e-0123456789ab attempt/1:RemoveDisk/0 --reason 'hv1 burnt down'",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: c.completeUndos(2),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			id, undo := args[0], args[1]
			if strings.TrimSpace(reason) == "" {
				return show.UsageError("--reason is empty: say why the undo cannot succeed")
			}
			if !sure {
				build, err := readBuild(ctx, s, id)
				if err != nil {
					return session.Doing(err, "show the build %q", id)
				}
				if err := confirmSkip(cmd, build, undo); err != nil {
					return err
				}
			}
			if err := actOn(ctx, s, id, show.Object{"skip": show.Object{"undo": undo, "reason": reason}}); err != nil {
				return session.Doing(err, "give the undo %q of build %q up", undo, id)
			}
			c.say(cmd, "gave up %s of build %s: what it would have given back stays; `slipway audit` lists it", undo, id)
			return nil
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why it cannot succeed, for the record")
	cmd.Flags().BoolVarP(&sure, "yes", "y", false, "do not ask")
	_ = cmd.MarkFlagRequired("reason")
	return cmd
}

// confirmSkip says what would be given up, and asks.
func confirmSkip(cmd *cobra.Command, build show.Object, undo string) error {
	w := cmd.ErrOrStderr()
	where := ""
	for _, u := range show.Objects(build["undos"]) {
		if show.Text(u, "id") != undo {
			continue
		}
		line := undo + ", " + show.Text(u, "state")
		if host := show.Text(u, "host"); host != "" {
			line, where = line+" on "+host, " on "+host
		}
		if tries := triesOf(u); tries != "" {
			line += ", tried " + tries + " times"
		}
		if reason := show.Text(u, "error"); reason != "" {
			line += ": " + reason
		}
		fmt.Fprintln(w, show.Printable(line))
	}
	fmt.Fprintf(w, "To skip it leaves behind%s what it would have given back. Nothing of Slipway removes that any more; `slipway audit`\n"+
		"lists it until somebody does.\n", show.Printable(where))
	agreed, err := agrees(cmd, "Skip it?")
	if err == nil && !agreed {
		err = &show.Error{Code: show.ExitFailed, What: "nothing was skipped", Hints: []string{"--yes skips without asking"}}
	}
	return err
}

// agrees asks for a yes.
func agrees(cmd *cobra.Command, question string) (bool, error) {
	w := cmd.ErrOrStderr()
	fmt.Fprint(w, question+" [y/N] ")
	answer, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("reading the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true, nil
	case "":
		if err != nil {
			fmt.Fprintln(w)
		}
	}
	return false, nil
}

// completeUndos offers builds for the first argument and the undos of that build that wait for the second.
func (c *client) completeUndos(most int) cobra.CompletionFunc {
	ids := c.complete(buildKind, false)
	return func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return ids(cmd, args, prefix)
		}
		if len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return c.completing(cmd, func(ctx context.Context, s *session.Session) ([]cobra.Completion, error) {
			build, err := readBuild(ctx, s, args[0])
			if err != nil {
				return nil, err
			}
			var found []cobra.Completion
			for _, u := range show.Objects(build["undos"]) {
				id, state := show.Text(u, "id"), show.Text(u, "state")
				if (state == "parked" || state == "undoing") && strings.HasPrefix(id, prefix) {
					found = append(found, cobra.CompletionWithDesc(show.Printable(id), show.Printable(strings.TrimSpace(state+" "+show.Text(u, "host")))))
				}
			}
			return found, nil
		})
	}
}
