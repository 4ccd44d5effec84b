package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// reservationKind is Slipway's own resource at the root of the API (/reservations). It has no name, and the list leaves out
// the reservations of single servers, so one is read by its id.
var reservationKind = &kind{
	noun: "reservation", service: "reservations", path: "reservations", plural: "reservations", singular: "reservation", name: "id",
	listHint: "slipway reservation list",
	layout: show.Layout{Name: "id", List: []show.Column{
		show.Col("ID", "id"), show.Computed("ASKED", askedOf), show.Col("ADMITTED", "admitted"), show.Col("BUILDING", "building"), show.Col("ACTIVE", "active"),
		show.Col("ERROR", "error"), show.Col("DELETED", "deleted"), show.Col("CREATED", "created_at"),
		show.Col("PROJECT", "project_id").OnlyWide(), show.Col("USER", "user_id").OnlyWide(),
	}},
}

// acceptedReservation shows one that is only asked for.
var acceptedReservation = &show.Layout{Name: "id", List: []show.Column{
	show.Col("ID", "id"), show.Computed("ASKED", askedOf), show.Col("ADMITTED", "admitted"), show.Col("REQUEST", "request_id"),
}}

// askedOf is how many servers were asked for: "8", or "3-8" where fewer were enough.
func askedOf(o show.Object) string {
	least, most := show.Text(o, "min_count"), show.Text(o, "max_count")
	if least == most {
		return most
	}
	return least + "-" + most
}

// counts are a reservation's servers by how far they are. admitted is the sum of the others; asked is how many it is at most.
type counts struct{ asked, admitted, building, active, failed, deleted int64 }

// countsOf reads them; ok is false for an answer that has not all of them.
func countsOf(reservation show.Object) (n counts, ok bool) {
	for field, into := range map[string]*int64{
		"max_count": &n.asked, "admitted": &n.admitted, "building": &n.building, "active": &n.active, "error": &n.failed, "deleted": &n.deleted,
	} {
		if *into, ok = show.Number(reservation, field); !ok {
			return counts{}, false
		}
	}
	return n, true
}

func (n counts) String() string {
	line := fmt.Sprintf("%d building, %d active, %d error", n.building, n.active, n.failed)
	if n.deleted > 0 {
		line += fmt.Sprintf(", %d deleted", n.deleted)
	}
	return fmt.Sprintf("%s of %d", line, n.admitted)
}

func (n counts) ended() int64 { return n.admitted - n.building }

func servers(n int64) string {
	if n == 1 {
		return "1 server"
	}
	return fmt.Sprintf("%d servers", n)
}

func (c *client) reservationCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "reservation",
		Aliases: []string{"reservations"},
		Short:   "List, show and follow requests for several servers",
		Long: `List, show and follow requests for several servers. "slipway boot --count" makes one, and so does a max_count above 1 in
Nova's API.`,
		Example: "  slipway reservation list\n  slipway reservation show r-1a2b3c4d\n  slipway server list --reservation r-1a2b3c4d",
	}
	cmd.AddCommand(c.reservationList(), c.reservationShow(), c.reservationWait())
	return cmd
}

func (c *client) reservationList() *cobra.Command {
	var limit int
	var marker string
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List reservations",
		Long: `List the project's requests for several servers (an admin's: every project's), newest first. All of them, page by page,
unless --limit is given.`,
		Example: "  slipway reservation list -o wide\n  slipway reservation list --limit 20 --marker r-1a2b3c4d",
		Args:    cobra.NoArgs,
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, _ []string) error {
			query := url.Values{}
			if limit > 0 {
				query.Set("limit", strconv.Itoa(limit))
			}
			if marker != "" {
				query.Set("marker", marker)
			}
			reservations, err := reservationKind.list(ctx, s, query)
			if err != nil {
				return session.Doing(err, "list the reservations")
			}
			return c.output.Many(cmd.OutOrStdout(), &reservationKind.layout, reservations)
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "at most this many")
	cmd.Flags().StringVar(&marker, "marker", "", "begin after this reservation (id)")
	c.completeFlag(cmd, "marker", reservationKind)
	return cmd
}

func (c *client) reservationShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show a reservation with its servers counted",
		Long: `Show one request for several servers, with its servers counted by how far they are. ID is r-xxxxxxxx; a server that was
asked for alone has one too.`,
		Example:           "  slipway reservation show r-1a2b3c4d\n  slipway reservation show r-1a2b3c4d -o json",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(reservationKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			reservation, err := readReservation(ctx, s, args[0])
			if err != nil {
				return session.Doing(err, "show the reservation %q", args[0])
			}
			return c.output.One(cmd.OutOrStdout(), &reservationKind.layout, reservation)
		}),
	}
}

func (c *client) reservationWait() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "wait ID",
		Short: "Follow the builds of a reservation to their ends",
		Long: `Follow the builds of a reservation to their ends, as "slipway boot --count --wait" does: exit 0 when every server that was
admitted is ACTIVE, 1 when one failed or was deleted.`,
		Example:           "  slipway reservation wait r-1a2b3c4d --timeout 10m",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(reservationKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			if _, err := readReservation(ctx, s, args[0]); err != nil {
				return session.Doing(err, "follow the reservation %q", args[0])
			}
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			return c.waitForMany(ctx, cmd, s, args[0])
		}),
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Minute, "give up waiting after this long")
	return cmd
}

// readReservation reads one by its id.
func readReservation(ctx context.Context, s *session.Session, id string) (show.Object, error) {
	if id == "" {
		return nil, show.UsageError("the id of the reservation is empty")
	}
	reservation, err := reservationKind.get(ctx, s, id)
	if session.IsStatus(err, http.StatusNotFound) {
		return nil, &show.Error{Code: show.ExitNotFound, What: fmt.Sprintf("there is no reservation %q", id), Hints: []string{reservationKind.listHint}, Cause: err}
	}
	return reservation, err
}

// bootMany sends a request for several servers, and follows their builds if the flags say so.
func (c *client) bootMany(ctx context.Context, cmd *cobra.Command, s *session.Session, name string, f *bootFlags, r session.Request) error {
	began := c.now()
	answer, header, err := s.Call(ctx, r)
	if err != nil {
		return session.Doing(err, "build %s %q", servers(int64(f.most())), name)
	}
	id := show.Text(answer, "reservation_id")
	if id == "" {
		return &show.Error{Code: show.ExitFailed, What: fmt.Sprintf("the API accepted the servers %q without telling their reservation", name),
			Hints: []string{"slipway server list --name " + name}}
	}
	if f.wait {
		c.say(cmd, "building %s %q (%s)", servers(int64(f.most())), name, id)
		ctx, cancel := context.WithTimeout(ctx, f.timeout)
		defer cancel()
		if err := c.waitForMany(ctx, cmd, s, id); err != nil {
			return err
		}
		c.say(cmd, "all are ACTIVE after %s", show.Duration(c.now().Sub(began)))
		return nil
	}
	// They are accepted, whether or not the count of them can be read now.
	reservation, err := reservationKind.get(ctx, s, id)
	if err != nil {
		c.say(cmd, "how many were admitted cannot be read now: %v", err)
		reservation = show.Object{"id": id, "min_count": f.least(), "max_count": f.most()}
	} else if n, ok := countsOf(reservation); ok {
		c.sayFewer(cmd, n)
	}
	reservation["request_id"] = header.Get("X-Compute-Request-Id")
	c.say(cmd, "accepted; follow them with: slipway reservation wait %s", id)
	return c.output.One(cmd.OutOrStdout(), acceptedReservation, reservation)
}

// sayFewer tells that not all were admitted. Only the quota is a reason for that.
func (c *client) sayFewer(cmd *cobra.Command, n counts) {
	if n.admitted < n.asked {
		c.say(cmd, "only %d of the %s were admitted: the quota has no room for more (slipway quota show)", n.admitted, servers(n.asked))
	}
}

// waitForMany follows a reservation until nothing of it is building, and prints it. Servers that failed or were deleted are
// an error that says what to do next.
func (c *client) waitForMany(ctx context.Context, cmd *cobra.Command, s *session.Session, id string) error {
	reservation, n, err := c.followMany(ctx, cmd, s, id)
	if err != nil {
		return err
	}
	if err := c.output.One(cmd.OutOrStdout(), &reservationKind.layout, reservation); err != nil {
		return err
	}
	return manyFailed(id, n)
}

func (c *client) followMany(ctx context.Context, cmd *cobra.Command, s *session.Session, id string) (show.Object, counts, error) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	view := show.NewCountView(cmd.ErrOrStderr(), c.output.Quiet, c.now)
	defer view.Close()
	ticker := time.NewTicker(c.poll)
	defer ticker.Stop()
	var last error
	for told := false; ; {
		reservation, err := reservationKind.get(ctx, s, id)
		switch {
		case err == nil:
			last = nil
			n, ok := countsOf(reservation)
			if !ok {
				return nil, n, &show.Error{Code: show.ExitFailed, What: "the API counts no servers of reservation " + id,
					Hints: []string{"slipway server list --reservation " + id}}
			}
			if !told {
				told = true
				c.sayFewer(cmd, n)
			}
			view.Show(n.ended(), n.admitted, n.String())
			if n.building == 0 {
				return reservation, n, nil
			}
		case ctx.Err() != nil:
		case isTransient(err):
			last = err
		default:
			return nil, counts{}, session.Doing(err, "follow the builds of reservation %s", id)
		}
		select {
		case <-ctx.Done():
			return nil, counts{}, manyStillBuilding(ctx, id, last)
		case <-ticker.C:
		}
	}
}

// manyFailed is what came of servers that are not ACTIVE; nil where all are.
func manyFailed(id string, n counts) error {
	if n.failed+n.deleted == 0 {
		return nil
	}
	of, were := fmt.Sprintf("of the %s of reservation %s", servers(n.admitted), id), "were"
	if n.deleted == 1 {
		were = "was"
	}
	if n.failed == 0 {
		return &show.Error{Code: show.ExitFailed, What: fmt.Sprintf("%d %s %s deleted", n.deleted, of, were)}
	}
	result := &show.Error{Code: show.ExitFailed, What: fmt.Sprintf("%d %s failed", n.failed, of)}
	if n.deleted > 0 {
		result.What += fmt.Sprintf(", %d %s deleted", n.deleted, were)
	}
	failed := "slipway server list --reservation " + id + " --status ERROR"
	result.Hints = []string{
		failed + " -o wide   (which, and why)",
		"slipway server delete $(" + failed + " --quiet)   (their quota is in use until then)",
	}
	return result
}

// manyStillBuilding is the end of the watching before the end of the builds.
func manyStillBuilding(ctx context.Context, id string, last error) *show.Error {
	return stoppedWatching(ctx, "the builds of reservation "+id+" go on", last,
		"slipway reservation wait "+id+"   (follow them again)",
		"slipway server delete $(slipway server list --reservation "+id+" --quiet)   (stop them and give everything back)")
}
