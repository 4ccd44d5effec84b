package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

var serverKind = &kind{
	noun: "server", service: "compute", path: "servers", listPath: "servers/detail", plural: "servers", singular: "server",
	byName: quoted, listHint: "slipway server list", wider: []url.Values{{"status": {"SOFT_DELETED"}}},
	layout: show.Layout{
		List: []show.Column{
			show.Col("ID", "id"), show.Col("NAME", "name"), show.Col("STATUS", "status"), show.Col("TASK", "OS-EXT-STS:task_state"),
			show.Computed("ADDRESSES", addresses), show.Computed("FLAVOR", flavorOf),
			show.Computed("IMAGE", imageOf).OnlyWide(), show.Col("KEY", "key_name").OnlyWide(), show.Col("ZONE", "OS-EXT-AZ:availability_zone").OnlyWide(),
			show.Col("HOST", "OS-EXT-SRV-ATTR:host").OnlyWide(), show.Col("PROJECT", "tenant_id").OnlyWide(), show.Col("CREATED", "created").OnlyWide(),
			show.Col("FAULT", "fault", "message").OnlyWide(),
		},
		Show: []show.Column{
			show.Col("ID", "id"), show.Col("NAME", "name"), show.Col("DESCRIPTION", "description"), show.Col("STATUS", "status"),
			show.Col("TASK", "OS-EXT-STS:task_state"), show.Computed("POWER", powerOf), show.Computed("ADDRESSES", addresses),
			show.Computed("FLAVOR", flavorOf), show.Computed("IMAGE", imageOf), show.Col("KEY", "key_name"), show.Col("CONFIG DRIVE", "config_drive"),
			show.Col("METADATA", "metadata"), show.Col("TAGS", "tags"), show.Col("LOCKED", "locked"), show.Col("LOCKED REASON", "locked_reason"), show.Col("ZONE", "OS-EXT-AZ:availability_zone"),
			show.Computed("HOST", func(o show.Object) string {
				return cmp.Or(show.Text(o, "OS-EXT-SRV-ATTR:host"), show.Text(o, "hostId"))
			}),
			show.Col("PROJECT", "tenant_id"), show.Col("USER", "user_id"), show.Col("CREATED", "created"), show.Col("UPDATED", "updated"),
			show.Col("LAUNCHED", "OS-SRV-USG:launched_at"),
			show.Col("FAULT", "fault", "message"), show.Col("FAULT CODE", "fault", "code"), show.Col("FAULT DETAILS", "fault", "details"),
		},
	},
}

// acceptedLayout shows a server that is only asked for, bootedLayout one that was waited for.
var (
	acceptedLayout = &show.Layout{List: []show.Column{
		show.Col("ID", "id"), show.Col("NAME", "name"), show.Col("ADMIN PASSWORD", "adminPass"), show.Col("REQUEST", "request_id"),
	}}
	bootedLayout = &show.Layout{List: []show.Column{
		show.Col("ID", "id"), show.Col("NAME", "name"), show.Col("STATUS", "status"), show.Computed("ADDRESSES", addresses),
		show.Col("KEY", "key_name"), show.Col("ADMIN PASSWORD", "adminPass"),
		show.Computed("HOST", func(o show.Object) string { return show.Text(o, "OS-EXT-SRV-ATTR:host") }),
	}}
)

// addresses are a server's networks with their addresses: "private=10.0.0.4, 10.0.0.5; dmz=…".
func addresses(o show.Object) string {
	networks, _ := o["addresses"].(show.Object)
	names := make([]string, 0, len(networks))
	for name := range networks {
		names = append(names, name)
	}
	sort.Strings(names)
	parts := make([]string, 0, len(names))
	for _, name := range names {
		var list []string
		for _, a := range show.Objects(networks[name]) {
			list = append(list, show.Text(a, "addr"))
		}
		parts = append(parts, name+"="+strings.Join(list, ", "))
	}
	return strings.Join(parts, "; ")
}

func flavorOf(o show.Object) string {
	return cmp.Or(show.Text(o, "flavor", "original_name"), show.Text(o, "flavor", "id"))
}

func imageOf(o show.Object) string { return show.Text(o, "image", "id") }

// powerOf names Nova's power states.
func powerOf(o show.Object) string {
	state := show.Text(o, "OS-EXT-STS:power_state")
	if name, ok := map[string]string{"0": "none", "1": "running", "3": "paused", "4": "shut down", "6": "crashed", "7": "suspended"}[state]; ok {
		return name
	}
	return state
}

func (c *client) serverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "server",
		Aliases: []string{"servers"},
		Short:   "List, show, change, delete and look into servers",
		Long:    "List, show, change, delete and look into servers. `slipway boot` builds one.",
		Example: "  slipway server list --status ERROR\n  slipway server console web --follow",
	}
	cmd.AddCommand(c.serverList(), c.showCommand(serverKind, "  slipway server show web\n  slipway server show web -o json"),
		c.serverSet(), c.serverUnset(), c.serverLock(), c.serverUnlock(), c.serverDelete(), c.serverConsole(), c.serverEvents(), c.serverWait(),
		c.serverDiagnostics(), c.serverSetPassword())
	cmd.AddCommand(c.serverActionCommands()...)
	cmd.AddCommand(c.serverRebuild(), c.serverRescue(), c.serverImage(), c.serverBackup(), c.serverResize(), c.serverShelve(), c.serverUnshelve(), c.serverMigrate(), c.serverAdopt(), c.serverGroupCommand())
	return cmd
}

func (c *client) serverList() *cobra.Command {
	var name, status, host, reservation, marker, sortBy, since, before, ip, tags, anyTags, notTags, notAnyTags, project string
	var filters []string
	var deleted, all, locked, unlocked bool
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List servers",
		Long:    "List the project's servers, newest first. All of them, page by page, unless --limit is given.",
		Example: "  slipway server list\n  slipway server list --status ACTIVE --name '^web' -o wide\n  slipway server list --all-projects --host hv1\n  slipway server list --reservation r-1a2b3c4d --status ERROR -o wide\n  slipway server list --sort name:asc -o json",
		Args:    cobra.NoArgs,
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, _ []string) error {
			query := url.Values{}
			for key, value := range map[string]string{
				"name": name, "status": strings.ToUpper(status), "host": host, "reservation_id": reservation, "changes-since": since,
				"changes-before": before, "ip": ip, "tags": tags, "tags-any": anyTags, "not-tags": notTags, "not-tags-any": notAnyTags,
			} {
				if value != "" {
					query.Set(key, value)
				}
			}
			more, err := pairs("filter", filters)
			if err != nil {
				return err
			}
			for key, value := range more {
				query.Set(key, value)
			}
			if project != "" {
				query.Set("project_id", project)
			}
			if all || project != "" {
				query.Set("all_tenants", "1")
			}
			if deleted {
				query.Set("deleted", "true")
			}
			if locked || unlocked {
				query.Set("locked", strconv.FormatBool(locked))
			}
			if limit > 0 {
				query.Set("limit", strconv.Itoa(limit))
			}
			if marker != "" {
				last, err := serverKind.find(ctx, s, marker)
				if err != nil {
					return err
				}
				query.Set("marker", show.Text(last, "id"))
			}
			if err := sortQuery(query, sortBy); err != nil {
				return err
			}
			servers, err := serverKind.list(ctx, s, query)
			if err != nil {
				return session.Doing(err, "list the servers")
			}
			return c.output.Many(cmd.OutOrStdout(), &serverKind.layout, servers)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&name, "name", "", "only names that match (a regular expression)")
	flags.StringVar(&status, "status", "", "only this status: ACTIVE, SHUTOFF, BUILD, ERROR, SOFT_DELETED, …")
	flags.StringVar(&host, "host", "", "only servers on this hypervisor (admin)")
	flags.StringVar(&ip, "ip", "", "only servers with an address that matches (a regular expression)")
	flags.StringVar(&since, "changes-since", "", "only servers that changed since this time (ISO 8601), deleted ones too")
	flags.StringVar(&before, "changes-before", "", "only servers that changed before this time, deleted ones too")
	flags.StringVar(&tags, "tags", "", "only servers with all of these tags, with commas between them")
	flags.StringVar(&anyTags, "tags-any", "", "only servers with one of these tags")
	flags.StringVar(&notTags, "not-tags", "", "only servers without one of these tags")
	flags.StringVar(&notAnyTags, "not-tags-any", "", "only servers with none of these tags")
	flags.BoolVar(&deleted, "deleted", false, "only deleted servers (admin)")
	flags.StringVar(&project, "project", "", "only servers of this project, by its id (admin)")
	flags.StringArrayVar(&filters, "filter", nil, "any other filter of the API as key=value, as in hostname=^web or config_drive=true (repeat)")
	flags.StringVar(&reservation, "reservation", "", "only servers of this reservation (r-...)")
	c.completeFlag(cmd, "reservation", reservationKind)
	flags.BoolVar(&all, "all-projects", false, "servers of every project (admin)")
	flags.BoolVar(&locked, "locked", false, "only servers that are locked")
	flags.BoolVar(&unlocked, "unlocked", false, "only servers that are not")
	cmd.MarkFlagsMutuallyExclusive("locked", "unlocked")
	flags.IntVar(&limit, "limit", 0, "at most this many")
	flags.StringVar(&marker, "marker", "", "begin after this server (name or id)")
	flags.StringVar(&sortBy, "sort", "", "order, as key[:asc|desc] (comma separated)")
	return cmd
}

// sortQuery turns key[:direction],… into Nova's repeated sort_key and sort_dir.
func sortQuery(query url.Values, spec string) error {
	if spec == "" {
		return nil
	}
	for part := range strings.SplitSeq(spec, ",") {
		key, direction, _ := strings.Cut(part, ":")
		if direction == "" {
			direction = "asc"
		}
		if key == "" || direction != "asc" && direction != "desc" {
			return show.UsageError("--sort wants key[:asc|desc], not %q", part)
		}
		query.Add("sort_key", key)
		query.Add("sort_dir", direction)
	}
	return nil
}

func (c *client) serverDelete() *cobra.Command {
	var waiting patience
	var force bool
	cmd := &cobra.Command{
		Use:               "delete REF...",
		Aliases:           []string{"rm"},
		Short:             "Delete servers",
		Long:              "Delete servers by name or id; one that is being built is stopped first. If one of several cannot be found, nothing\nis deleted. With --wait the command ends when they are gone and everything they held is given back.",
		Example:           "  slipway server delete web --wait\n  slipway server delete $(slipway server list --status ERROR --quiet)",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: c.complete(serverKind, true),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			return c.ofEach(ctx, cmd, s, args, waiting, request{
				verb: "delete", asked: "deleting server %s (%s)", done: "deleted", goneIsDone: true,
				of: func(id string) session.Request {
					if force {
						return ofServer(http.MethodPost, id, show.Object{"forceDelete": nil}, "action")
					}
					return ofServer(http.MethodDelete, id, nil)
				},
				await: func(ctx context.Context, server show.Object, requestID string) error {
					return c.waitGone(ctx, s, server, requestID, !force)
				},
			})
		}),
	}
	cmd.Flags().BoolVar(&force, "force", false, "delete them at once, also where deletes are deferred")
	waiting.flags(cmd, "wait until they are gone", "the delete goes on")
	return cmd
}

// waitGone waits until the API no longer knows a server, or with deferred until it waits to be reclaimed. A delete that failed is told by
// its instance action.
func (c *client) waitGone(ctx context.Context, s *session.Session, server show.Object, requestID string, deferred bool) error {
	id, name := show.Text(server, "id"), show.Text(server, "name")
	ticker := time.NewTicker(c.poll)
	defer ticker.Stop()
	for {
		now, err := serverKind.get(ctx, s, id)
		switch {
		case session.IsStatus(err, http.StatusNotFound):
			return nil
		case err != nil && ctx.Err() == nil && !isTransient(err):
			return session.Doing(err, "wait for the end of server %q", name)
		case err == nil && show.Text(now, "status") == "DELETED":
			return nil // admins are shown deleted servers
		case err == nil && deferred && show.Text(now, "status") == "SOFT_DELETED" && show.Text(now, "OS-EXT-STS:task_state") == "":
			return nil
		case err == nil && requestID != "":
			answer, _, err := s.Call(ctx, session.Request{Service: "compute", Method: http.MethodGet, Path: serverKind.item(id, "os-instance-actions", requestID)})
			if err == nil && show.Text(answer, "instanceAction", "message") == "Error" {
				return &show.Error{Code: show.ExitFailed, What: fmt.Sprintf("the delete of server %q (%s) failed", name, id),
					Reason: cmp.Or(show.Text(now, "fault", "message"), "the API gives no reason"),
					Hints:  []string{"slipway server events " + id + "   (what was done, and where)", "slipway server delete " + id + "   (tries again)"}}
			}
		}
		select {
		case <-ctx.Done():
			result := &show.Error{Code: show.ExitInterrupted, What: fmt.Sprintf("stopped waiting; the delete of server %q (%s) goes on", name, id),
				Hints: []string{"slipway server show " + id}}
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				result.Code = show.ExitFailed
			}
			return result
		case <-ticker.C:
		}
	}
}

func (c *client) serverConsole() *cobra.Command {
	var lines int
	var follow, attach bool
	var address string
	cmd := &cobra.Command{
		Use:   "console REF",
		Short: "Print what the guest wrote on its console, or type on it",
		Long: `Print what the guest wrote on its serial console, as it wrote it. --follow goes on until Ctrl-C. --attach makes this terminal the
guest's, until Ctrl-]; what another session has attached ends. --url prints an address that opens a console once, within 10
minutes unless the cloud says otherwise: the screen in a browser (novnc), or the serial console over a websocket (serial).`,
		Example:           "  slipway server console web --lines 50\n  slipway server console web --follow\n  slipway server console web --attach\n  slipway server console web --url novnc",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(serverKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			server, err := serverKind.find(ctx, s, args[0])
			if err != nil {
				return err
			}
			id := show.Text(server, "id")
			switch {
			case address != "":
				at, err := consoleAddress(ctx, s, id, address)
				if err != nil {
					return session.Doing(err, "open a console of server %q", args[0])
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), at)
				return err
			case attach:
				return c.attachConsole(ctx, cmd, s, args[0], id)
			case !follow:
				output, err := consoleText(ctx, s, id, lines)
				if err != nil {
					return session.Doing(err, "read the console of server %q", args[0])
				}
				if output != "" && !strings.HasSuffix(output, "\n") {
					output += "\n"
				}
				_, err = fmt.Fprint(cmd.OutOrStdout(), output)
				return err
			}
			ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
			defer stop()
			return c.followConsole(ctx, cmd, s, id, lines)
		}),
	}
	cmd.Flags().IntVar(&lines, "lines", 0, "only the last lines (default all that is kept)")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on printing what is added")
	cmd.Flags().BoolVarP(&attach, "attach", "a", false, "make this terminal the guest's, until Ctrl-]")
	cmd.Flags().StringVar(&address, "url", "", "print an address that opens a console once: novnc or serial")
	cmd.MarkFlagsMutuallyExclusive("follow", "attach", "url")
	cmd.MarkFlagsMutuallyExclusive("lines", "attach", "url")
	return cmd
}

// followConsole prints the last lines of the console and then what is added. The API only ever gives the whole log, so
// each answer is compared with the one before.
func (c *client) followConsole(ctx context.Context, cmd *cobra.Command, s *session.Session, id string, lines int) error {
	shown, err := consoleText(ctx, s, id, 0)
	if err != nil {
		return session.Doing(err, "read the console of server %s", id)
	}
	if _, err := fmt.Fprint(cmd.OutOrStdout(), lastLines(shown, lines)); err != nil {
		return err
	}
	ticker := time.NewTicker(consoleEvery * c.poll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		output, err := consoleText(ctx, s, id, 0)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && isTransient(err):
			continue
		case err != nil:
			return session.Doing(err, "read the console of server %s", id)
		}
		if _, err := fmt.Fprint(cmd.OutOrStdout(), addedText(shown, output)); err != nil {
			return err
		}
		shown = output
	}
}

// consoleEvery is how many polls pass between two readings of a console, which costs the hypervisor more than a status.
const consoleEvery = 4

// lastLines is the end of a log; n 0 is all of it.
func lastLines(log string, n int) string {
	if n <= 0 {
		return log
	}
	end := len(strings.TrimSuffix(log, "\n"))
	for ; n > 0; n-- {
		end = strings.LastIndexByte(log[:end], '\n')
		if end < 0 {
			return log
		}
	}
	return log[end+1:]
}

// addedText is what a log has that it had not before. A log that lost its beginning overlaps with the end of the old one.
func addedText(old, log string) string {
	if strings.HasPrefix(log, old) {
		return log[len(old):]
	}
	const window = 4096
	tail := old
	if len(tail) > window {
		tail = tail[len(tail)-window:]
	}
	for ; tail != ""; tail = tail[1:] {
		if i := strings.LastIndex(log, tail); i >= 0 && (len(tail) >= 64 || i == 0) {
			return log[i+len(tail):]
		}
	}
	return log
}

// consoleText is Nova's os-getConsoleOutput; lines 0 is everything.
func consoleText(ctx context.Context, s *session.Session, id string, lines int) (string, error) {
	body := show.Object{}
	if lines > 0 {
		body["length"] = lines
	}
	answer, _, err := s.Call(ctx, session.Request{Service: "compute", Method: http.MethodPost, Path: serverKind.item(id, "action"),
		Body: show.Object{"os-getConsoleOutput": body}})
	if err != nil {
		return "", err
	}
	return show.Text(answer, "output"), nil
}

var actionLayout = show.Layout{ID: "request_id", Name: "action", List: []show.Column{
	show.Col("ACTION", "action"), show.Col("REQUEST", "request_id"), show.Computed("STEP", func(o show.Object) string { return show.Text(o, "event") }),
	show.Computed("RESULT", func(o show.Object) string {
		if show.Text(o, "event") != "" {
			return cmp.Or(show.Text(o, "result"), "running")
		}
		return show.Text(o, "message")
	}),
	show.Computed("STARTED", func(o show.Object) string { return show.Text(o, "start_time") }),
	show.Computed("TOOK", func(o show.Object) string {
		began, ended := show.ParseTime(show.Text(o, "start_time")), show.ParseTime(show.Text(o, "finish_time"))
		if began.IsZero() || ended.IsZero() {
			return ""
		}
		return show.Duration(ended.Sub(began))
	}),
	show.Computed("HOST", func(o show.Object) string {
		return cmp.Or(show.Text(o, "host"), show.ShortHost(show.Text(o, "hostId")))
	}),
	show.Col("DETAILS", "details"),
}}

func (c *client) serverEvents() *cobra.Command {
	return &cobra.Command{
		Use:               "events REF",
		Short:             "Show what was done with a server, step by step",
		Long:              "Show every action on a server with its steps: when each ran, how long, on which host, and how it ended. Also of deleted\nservers, by their id. -o json prints the actions as the API answers them.",
		Example:           "  slipway server events web\n  slipway server events web -o json",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(serverKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			id := args[0]
			if server, err := serverKind.find(ctx, s, args[0]); err == nil {
				id = show.Text(server, "id")
			} else if failure := session.Explain(err); failure.Code != show.ExitNotFound {
				return err
			}
			answer, _, err := s.Call(ctx, session.Request{Service: "compute", Method: http.MethodGet, Path: serverKind.item(id, "os-instance-actions")})
			if session.IsStatus(err, http.StatusNotFound) {
				return serverKind.notFound(args[0])
			}
			if err != nil {
				return session.Doing(err, "list the actions of server %q", args[0])
			}
			actions := show.Objects(answer["instanceActions"])
			sort.SliceStable(actions, func(i, j int) bool {
				return show.ParseTime(show.Text(actions[i], "start_time")).Before(show.ParseTime(show.Text(actions[j], "start_time")))
			})
			for i, a := range actions {
				answer, _, err := s.Call(ctx, session.Request{Service: "compute", Method: http.MethodGet,
					Path: serverKind.item(id, "os-instance-actions", url.PathEscape(show.Text(a, "request_id")))})
				if err != nil {
					return session.Doing(err, "read the action %s of server %q", show.Text(a, "request_id"), args[0])
				}
				if whole, ok := answer["instanceAction"].(show.Object); ok {
					actions[i] = whole
				}
			}
			rows := actions
			if c.output.Format == "table" || c.output.Format == "wide" {
				rows = eventRows(actions)
			}
			return c.output.Many(cmd.OutOrStdout(), &actionLayout, rows)
		}),
	}
}

// eventRows puts the steps of each action below it.
func eventRows(actions []show.Object) []show.Object {
	var rows []show.Object
	for _, a := range actions {
		rows = append(rows, a)
		events := show.Objects(a["events"])
		sort.SliceStable(events, func(i, j int) bool {
			return show.ParseTime(show.Text(events[i], "start_time")).Before(show.ParseTime(show.Text(events[j], "start_time")))
		})
		rows = append(rows, events...)
	}
	return rows
}

func (c *client) serverWait() *cobra.Command {
	var timeout time.Duration
	var gone bool
	cmd := &cobra.Command{
		Use:               "wait REF",
		Short:             "Follow a server's build to its end",
		Long:              "Follow a server's build to its end, step by step, as `slipway boot --wait` does: exit 0 when it is ACTIVE, 1 when the\nbuild failed. With --deleted: until the server is gone.",
		Example:           "  slipway server wait web\n  slipway server wait web --deleted --timeout 2m",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(serverKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			server, err := serverKind.find(ctx, s, args[0])
			if err != nil {
				return err
			}
			id := show.Text(server, "id")
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			answer, _, err := s.Call(ctx, session.Request{Service: "compute", Method: http.MethodGet, Path: serverKind.item(id, "os-instance-actions")})
			if err != nil {
				return session.Doing(err, "list the actions of server %q", args[0])
			}
			if gone {
				ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
				defer stop()
				return c.waitGone(ctx, s, server, requestOf(answer, "delete"), false)
			}
			built, err := c.follow(ctx, cmd.ErrOrStderr(), s, id, requestOf(answer, "create"))
			if err != nil {
				return err
			}
			return c.output.One(cmd.OutOrStdout(), bootedLayout, built)
		}),
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Minute, "give up waiting after this long")
	cmd.Flags().BoolVar(&gone, "deleted", false, "wait until the server is gone")
	return cmd
}

// requestOf is the request id of a server's newest action of a kind.
func requestOf(answer show.Object, action string) string {
	var newest time.Time
	var id string
	for _, a := range show.Objects(answer["instanceActions"]) {
		if began := show.ParseTime(show.Text(a, "start_time")); show.Text(a, "action") == action && (id == "" || began.After(newest)) {
			newest, id = began, show.Text(a, "request_id")
		}
	}
	return id
}
