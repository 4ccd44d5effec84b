package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// Exit codes of `slipway audit` alone, for monitoring; every failure of it is ExitFailed, a wrong command line ExitUsage.
const (
	ExitFindings   = 3 // something was found
	ExitIncomplete = 4 // nothing was found, and something was not looked at
)

var findingLayout = show.Layout{ID: "id", Name: "id", List: []show.Column{
	show.Col("ID", "id"), show.Col("KIND", "kind"), show.Col("HOST", "host"), show.Col("SERVER", "server_id"), show.Col("WHAT", "text"),
	show.Col("REPAIR", "repair").OnlyWide(), show.Col("SINCE", "first_seen_at").OnlyWide(), show.Col("SEVERITY", "severity").OnlyWide(), show.Col("OBJECT", "object").OnlyWide(),
}}

var repairLayout = show.Layout{ID: "id", Name: "id", List: []show.Column{
	show.Col("ID", "id"), show.Col("KIND", "kind"), show.Col("HOST", "host"), show.Col("SERVER", "server_id"), show.Col("WHAT", "text"),
	show.Computed("REPAIR", func(o show.Object) string { return cmp.Or(show.Text(o, "repair"), "none: an operator has to do it") }),
}}

type auditFlags struct {
	last, repair, yes bool
}

func (c *client) auditCommand() *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use:   "audit [--repair [ID...]]",
		Short: "Compare what is recorded with what lies on hosts, and repair it (admin)",
		Long: `Compare claims, allocations, ports and servers with each other, and with the domains, instance folders and image caches of
all hosts, in both directions. What a build, a delete or a clean-up works on is left out. Audits also run by themselves
(audit.every); this runs one now and waits for it.

A finding keeps its id for as long as it is found. -o wide shows what a repair would do. --repair shows it first, asks,
repairs the named findings (or all that can be repaired, but those that the database may be wrong about: a server that it does
not know may have been made after the backup that it was restored from), and audits again. Each is looked at again at that moment, under
the server's lock; one that has gone, or on whose server something works, is left alone.

Exit status: 0 nothing was found, 3 something was found, 4 nothing was found but something was not looked at (a host does
not answer), 1 the audit failed, 2 the command line is wrong.`,
		Example: `  slipway audit
  slipway audit --last -o json
  slipway audit --repair
  slipway audit --repair 0b9c4b3e-3c67-5a1f-8d3e-6a5d2a3c9f10 --yes`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return ofAudit(c.audit(cmd, args, f)) },
	}
	cmd.Flags().BoolVar(&f.last, "last", false, "show what the last audit found, and run none")
	cmd.Flags().BoolVar(&f.repair, "repair", false, "show what a repair would do, ask, and do it")
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "with --repair: do not ask")
	cmd.MarkFlagsMutuallyExclusive("last", "repair")
	return cmd
}

// ofAudit keeps the exit status of failures apart from what was found.
func ofAudit(err error) error {
	var failure *show.Error
	if err == nil {
		return nil
	}
	if !errors.As(err, &failure) {
		failure = session.Explain(err)
	}
	switch failure.Code {
	case show.ExitNotFound, show.ExitRefused:
		if !errors.Is(failure.Cause, errFound) {
			failure.Code = show.ExitFailed
		}
	}
	return failure
}

// errFound marks the end of an audit that found something.
var errFound = errors.New("the audit found something")

func (c *client) audit(cmd *cobra.Command, args []string, f auditFlags) error {
	if len(args) > 0 && !f.repair {
		return show.UsageError("ids go with --repair only")
	}
	if f.yes && !f.repair {
		return show.UsageError("--yes goes with --repair only")
	}
	if f.repair && !f.yes && !c.answers(cmd) {
		return &show.Error{Code: show.ExitUsage, What: "there is no terminal to ask on", Hints: []string{"give --yes to repair without being asked", "slipway audit -o wide shows what a repair would do"}}
	}
	return c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, ids []string) error {
		if f.repair {
			done, err := c.repairFindings(ctx, cmd, s, ids, f.yes)
			if err != nil || !done {
				return err
			}
		}
		var run show.Object
		var err error
		if f.last {
			run, err = lastAudit(ctx, s)
		} else {
			run, err = c.runAudit(ctx, cmd, s)
		}
		if err != nil {
			return err
		}
		return c.showFindings(ctx, cmd, s, run)
	})(cmd, args)
}

// call of the audits' own resource, which lies at the root of the API beside /hosts.
func askAudits(ctx context.Context, s *session.Session, method, path string, body any) (show.Object, error) {
	answer, _, err := s.Call(ctx, session.Request{Service: "hosts", Method: method, Path: "audits" + path, Body: body})
	return answer, err
}

func objectIn(answer show.Object, key string) show.Object {
	o, _ := answer[key].(show.Object)
	return o
}

// runAudit runs one that begins now. One that runs already may have looked before now: it is waited for first.
func (c *client) runAudit(ctx context.Context, cmd *cobra.Command, s *session.Session) (show.Object, error) {
	for {
		answer, err := askAudits(ctx, s, http.MethodPost, "", nil)
		if err != nil {
			return nil, session.Doing(err, "start an audit")
		}
		run := objectIn(answer, "audit")
		joined, _ := answer["joined"].(bool)
		if joined {
			c.say(cmd, "another audit runs; waiting for it")
		}
		if run, err = c.waitForAudit(ctx, cmd, s, run, joined); err != nil {
			return nil, err
		}
		if joined {
			continue
		}
		if show.Text(run, "state") != "done" {
			return nil, &show.Error{Code: show.ExitFailed, What: "the audit failed", Reason: show.Text(run, "error"), Hints: []string{"look into the worker's log"}}
		}
		return run, nil
	}
}

// auditPatience bounds the wait for a run; the engine ends it earlier.
const auditPatience = 35 * time.Minute

func (c *client) waitForAudit(ctx context.Context, cmd *cobra.Command, s *session.Session, run show.Object, quietly bool) (show.Object, error) {
	said, until := "", c.now().Add(auditPatience)
	for show.Text(run, "state") == "running" {
		if now := fmt.Sprintf("%s of %s hosts looked at", show.Text(run, "hosts_looked_at"), show.Text(run, "hosts")); !quietly && now != said && show.Text(run, "hosts") != "0" {
			said = now
			c.say(cmd, "%s", now)
		}
		if c.now().After(until) {
			return nil, &show.Error{Code: show.ExitFailed, What: "the audit does not end", Hints: []string{"does a slipway worker run?"}}
		}
		if err := pause(ctx, c.poll); err != nil {
			return nil, err
		}
		answer, err := askAudits(ctx, s, http.MethodGet, "/"+url.PathEscape(show.Text(run, "id")), nil)
		if err != nil {
			return nil, session.Doing(err, "ask how far the audit is")
		}
		run = objectIn(answer, "audit")
	}
	return run, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func lastAudit(ctx context.Context, s *session.Session) (show.Object, error) {
	answer, _, err := s.Call(ctx, session.Request{Service: "hosts", Method: http.MethodGet, Path: "audits", Query: url.Values{"limit": {"50"}}})
	if err != nil {
		return nil, session.Doing(err, "list the audits")
	}
	for _, run := range show.Objects(answer["audits"]) {
		if show.Text(run, "state") == "done" {
			return run, nil
		}
	}
	return nil, &show.Error{Code: show.ExitFailed, What: "no audit has come to its end yet", Hints: []string{"slipway audit runs one"}}
}

func (c *client) showFindings(ctx context.Context, cmd *cobra.Command, s *session.Session, run show.Object) error {
	answer, err := askAudits(ctx, s, http.MethodGet, "/findings", nil)
	if err != nil {
		return session.Doing(err, "list the findings")
	}
	open := show.Objects(answer["findings"])
	found := 0
	for _, f := range open {
		if show.Text(f, "severity") == "finding" {
			found++
		}
	}
	switch {
	case c.output.Format == "json" || c.output.Format == "yaml":
		err = c.output.One(cmd.OutOrStdout(), &findingLayout, show.Object{"audit": run, "findings": answer["findings"]})
	case len(open) > 0:
		err = c.output.Many(cmd.OutOrStdout(), &findingLayout, open)
	}
	if err != nil {
		return err
	}
	switch {
	case found > 0:
		c.say(cmd, "%s; slipway audit --repair shows what a repair would do, and asks", countedAs(found, "finding"))
		return &show.Error{Code: ExitFindings, Cause: errFound}
	case len(open) > 0:
		c.say(cmd, "nothing was found, and not everything was looked at")
		return &show.Error{Code: ExitIncomplete, Cause: errFound}
	}
	c.say(cmd, "nothing was found (%s)", show.Text(run, "finished_at"))
	return nil
}

func countedAs(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// onTerminal says whether somebody is there to answer a question.
func onTerminal(cmd *cobra.Command) bool {
	in, ok := cmd.InOrStdin().(*os.File)
	return ok && term.IsTerminal(int(in.Fd()))
}

// repairFindings shows what it would do, asks, and does it. done is false where there was nothing to do or the answer was no.
func (c *client) repairFindings(ctx context.Context, cmd *cobra.Command, s *session.Session, ids []string, yes bool) (done bool, err error) {
	order := show.Object{}
	if len(ids) > 0 {
		order["findings"] = ids
	}
	ask := show.Object{"dry_run": true}
	for k, v := range order {
		ask[k] = v
	}
	answer, err := askAudits(ctx, s, http.MethodPost, "/repairs", show.Object{"repair": ask})
	if err != nil {
		return false, session.Doing(err, "see what there is to repair")
	}
	chosen := show.Objects(objectIn(answer, "repair")["findings"])
	var shown []string
	for _, f := range chosen {
		shown = append(shown, show.Text(f, "id"))
	}
	if len(ids) == 0 {
		if err := c.tellNamedOnly(ctx, cmd, s); err != nil {
			return false, err
		}
	}
	if len(chosen) == 0 {
		c.say(cmd, "nothing that is known of can be repaired; looking again")
		return true, nil
	}
	plain := show.Output{Format: "table"}
	if err := plain.Many(cmd.ErrOrStderr(), &repairLayout, chosen); err != nil {
		return false, err
	}
	if !yes {
		fmt.Fprintf(cmd.ErrOrStderr(), "Repair %s? [y/N] ", countedAs(len(chosen), "finding"))
		line, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
		if reply := strings.ToLower(strings.TrimSpace(line)); reply != "y" && reply != "yes" {
			c.say(cmd, "nothing was done")
			return false, nil
		}
	}
	// What was shown is repaired, and nothing that was found since.
	answer, err = askAudits(ctx, s, http.MethodPost, "/repairs", show.Object{"repair": show.Object{"findings": shown}})
	if err != nil {
		return false, session.Doing(err, "start the repair")
	}
	repair := objectIn(answer, "repair")
	for show.Text(repair, "finished_at") == "" {
		if err := pause(ctx, c.poll); err != nil {
			return false, err
		}
		if answer, err = askAudits(ctx, s, http.MethodGet, "/repairs/"+url.PathEscape(show.Text(repair, "id")), nil); err != nil {
			return false, session.Doing(err, "ask how far the repair is")
		}
		repair = objectIn(answer, "repair")
	}
	for _, f := range show.Objects(repair["findings"]) {
		line := show.Text(f, "id") + ": " + cmp.Or(show.Text(f, "outcome"), "not known")
		if why := show.Text(f, "text"); why != "" {
			line += ": " + why
		}
		c.say(cmd, "%s", line)
	}
	if why := show.Text(repair, "error"); why != "" {
		return false, &show.Error{Code: show.ExitFailed, What: "the repair failed", Reason: why, Hints: []string{"slipway audit shows what is left"}}
	}
	return true, nil
}

// tellNamedOnly says how many findings a repair of all leaves out.
func (c *client) tellNamedOnly(ctx context.Context, cmd *cobra.Command, s *session.Session) error {
	answer, err := askAudits(ctx, s, http.MethodGet, "/findings", nil)
	if err != nil {
		return session.Doing(err, "list the findings")
	}
	left := 0
	for _, f := range show.Objects(answer["findings"]) {
		if named, _ := f["named_only"].(bool); named {
			left++
		}
	}
	if left > 0 {
		c.say(cmd, "%s left out, since the database may be wrong about what it does not know; name those that are to be repaired: slipway audit --repair ID...", countedAs(left, "finding"))
	}
	return nil
}
