package cli

import (
	"bufio"
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
)

// buildKind is Slipway's own resource at the root of the API (/builds); only admins see it.
var buildKind = &kind{
	noun: "build", service: "builds", path: "builds", plural: "builds", singular: "build", name: "id", listHint: "slipway build list --all",
	layout: layout{name: "id", list: []column{
		col("ID", "id"), computed("WORK", workOf), col("PHASE", "phase"), computed("OVERDUE", yes("overdue")), col("HOST", "host"),
		col("STATUS", "status"), col("STARTED", "started_at"),
		col("ENDED", "ended_at").onlyWide(), col("PROJECT", "project_id").onlyWide(), col("SERVER", "server_id").onlyWide(),
		col("IMAGE", "image_id").onlyWide(), col("RESERVATION", "reservation_id").onlyWide(),
	}, show: []column{
		col("ID", "id"), computed("WORK", workOf), col("STATUS", "status"), col("PHASE", "phase"), col("SINCE", "phase_since"),
		computed("OVERDUE", yes("overdue")), col("SERVER", "server_id"), col("PROJECT", "project_id"), col("HOST", "host"), col("IMAGE", "image_id"),
		col("RESERVATION", "reservation_id"), col("STARTED", "started_at"), col("ENDED", "ended_at"), col("NOT KNOWN", "unanswered"),
	}},
}

// Sections of a build that is shown alone.
var (
	buildSteps = layout{list: []column{
		col("STEP", "step"), col("HOST", "host"), col("STATE", "state"), col("STARTED", "started_at"),
		computed("TOOK", func(o object) string {
			began, ended := parseTime(text(o, "started_at")), parseTime(text(o, "finished_at"))
			if began.IsZero() || ended.IsZero() {
				return ""
			}
			return duration(ended.Sub(began))
		}),
		col("ERROR", "error"),
	}}
	buildUndos = layout{list: []column{
		col("UNDO", "id"), col("HOST", "host"), col("STATE", "state"), col("SINCE", "since"), computed("TRIES", triesOf), col("NEXT TRY", "next_try"),
		col("LAST ERROR", "error"),
	}}
	buildPending = layout{list: []column{
		col("STEP", "step"), col("HOST", "host"), computed("TRIES", triesOf), col("STARTED", "started_at"), col("NEXT TRY", "next_try"), col("LAST ERROR", "error"),
	}}
	buildActs = layout{list: []column{
		col("AT", "at"), col("ACT", "act"), computed("UNDO", func(o object) string { return first(text(o, "undo"), "all that waited") }),
		col("REASON", "reason"), col("USER", "user_id"), col("REQUEST", "request_id"),
	}}
)

func workOf(o object) string {
	workflow := text(o, "workflow")
	if word, ok := map[string]string{"BootServer": "build", "DeleteServer": "delete", "CleanUp": "clean-up"}[workflow]; ok {
		return word
	}
	return workflow
}

func yes(field string) func(object) string {
	return func(o object) string {
		if set, _ := o[field].(bool); set {
			return "yes"
		}
		return ""
	}
}

func triesOf(o object) string {
	if tries := text(o, "tries"); tries != "0" {
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
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session, _ []string) error {
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
			builds, err := s.list(ctx, buildKind, query)
			if err != nil {
				return doing(err, "list the builds")
			}
			return c.output.many(cmd.OutOrStdout(), &buildKind.layout, builds)
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
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session, args []string) error {
			build, err := s.build(ctx, args[0])
			if err != nil {
				return doing(err, "show the build %q", args[0])
			}
			return c.printBuild(cmd.OutOrStdout(), build)
		}),
	}
}

// build reads one by its id.
func (s *session) build(ctx context.Context, id string) (object, error) {
	build, err := s.get(ctx, buildKind, id)
	if isStatus(err, http.StatusNotFound) {
		return nil, &Error{Code: ExitNotFound, What: fmt.Sprintf("there is no build %q", id),
			Hints: []string{buildKind.listHint, "an ID is server:<server id>, cleanup:<server id>, or a server's id alone"}}
	}
	return build, err
}

func (c *client) printBuild(w io.Writer, build object) error {
	if err := c.output.one(w, &buildKind.layout, build); err != nil {
		return err
	}
	if c.output.quiet || c.output.format != "table" && c.output.format != "wide" || len(c.output.columns) > 0 {
		return nil
	}
	pending := objects(build["pending"])
	if len(objects(build["undos"])) > 0 {
		// Those of undos are told with the undos.
		pending = slices.DeleteFunc(pending, func(p object) bool { return text(p, "undo") != "" })
	}
	for _, section := range []struct {
		title  string
		layout *layout
		rows   []object
	}{
		{"steps", &buildSteps, objects(build["steps"])}, {"undos, the last first", &buildUndos, reversed(objects(build["undos"]))},
		{"running or waiting", &buildPending, pending}, {"operators' acts", &buildActs, objects(build["acts"])},
	} {
		if len(section.rows) == 0 {
			continue
		}
		if _, err := fmt.Fprintf(w, "\n%s\n", section.title); err != nil {
			return err
		}
		if err := c.output.many(w, section.layout, section.rows); err != nil {
			return err
		}
	}
	return nil
}

func reversed(rows []object) []object {
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
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session, args []string) error {
			body, what := object{}, "every undo that waits"
			if len(args) == 2 {
				body["undo"], what = args[1], args[1]
			}
			if reason != "" {
				body["reason"] = reason
			}
			if err := s.actOn(ctx, args[0], object{"retry": body}); err != nil {
				return doing(err, "have %s of build %q tried again", what, args[0])
			}
			c.say(cmd, "tries again: %s of build %s", what, args[0])
			return nil
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
	return cmd
}

func (s *session) actOn(ctx context.Context, id string, body object) error {
	_, _, err := s.call(ctx, request{service: "builds", method: http.MethodPost, path: buildKind.item(id, "action"), body: body})
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
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session, args []string) error {
			id, undo := args[0], args[1]
			if strings.TrimSpace(reason) == "" {
				return usage("--reason is empty: say why the undo cannot succeed")
			}
			if !sure {
				build, err := s.build(ctx, id)
				if err != nil {
					return doing(err, "show the build %q", id)
				}
				if err := confirmSkip(cmd, build, undo); err != nil {
					return err
				}
			}
			if err := s.actOn(ctx, id, object{"skip": object{"undo": undo, "reason": reason}}); err != nil {
				return doing(err, "give the undo %q of build %q up", undo, id)
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
func confirmSkip(cmd *cobra.Command, build object, undo string) error {
	w := cmd.ErrOrStderr()
	where := ""
	for _, u := range objects(build["undos"]) {
		if text(u, "id") != undo {
			continue
		}
		line := undo + ", " + text(u, "state")
		if host := text(u, "host"); host != "" {
			line, where = line+" on "+host, " on "+host
		}
		if tries := triesOf(u); tries != "" {
			line += ", tried " + tries + " times"
		}
		if reason := text(u, "error"); reason != "" {
			line += ": " + reason
		}
		fmt.Fprintln(w, printable(line))
	}
	fmt.Fprintf(w, "To skip it leaves behind%s what it would have given back. Nothing of Slipway removes that any more; `slipway audit`\n"+
		"lists it until somebody does.\n", printable(where))
	fmt.Fprint(w, "Skip it? [y/N] ")
	answer, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	case "":
		if err != nil {
			fmt.Fprintln(w)
		}
	}
	return &Error{Code: ExitFailed, What: "nothing was skipped", Hints: []string{"--yes skips without asking"}}
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
		return c.completing(cmd, func(ctx context.Context, s *session) ([]cobra.Completion, error) {
			build, err := s.build(ctx, args[0])
			if err != nil {
				return nil, err
			}
			var found []cobra.Completion
			for _, u := range objects(build["undos"]) {
				id, state := text(u, "id"), text(u, "state")
				if (state == "parked" || state == "undoing") && strings.HasPrefix(id, prefix) {
					found = append(found, cobra.CompletionWithDesc(printable(id), printable(strings.TrimSpace(state+" "+text(u, "host")))))
				}
			}
			return found, nil
		})
	}
}
