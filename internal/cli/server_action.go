package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// serverActions are the verbs that are one action of the API each.
var serverActions = []struct {
	verb, action, done, short, long string
	says                            func(*pflag.FlagSet) func() any // declares its flags, and gives what they make of the body
}{
	{"stop", "os-stop", "stopped", "Shut servers down",
		"Shut servers down: the guest is asked by ACPI, and turned off when it has not shut down in time (the image's\nos_shutdown_timeout, or a minute). A stopped server keeps its host, its disks and its addresses.", nil},
	{"unrescue", "unrescue", "ended the rescue of", "Boot servers of their own disks again",
		"Boot servers that are rescued of their own disks again, and remove the rescue disks.", nil},
	{"start", "os-start", "started", "Start servers that are stopped",
		"Start servers that are stopped, on the host where their disks are.", nil},
	{"dump", "trigger_crash_dump", "interrupted", "Have the systems of servers dump their memory and crash",
		"Interrupt servers by an NMI, as with the button of a machine that hangs. A guest that is set up for it (kdump on Linux, with\nkernel.unknown_nmi_panic=1) dumps its memory and crashes; any other notes it on its console.", nil},
	{"reboot", "reboot", "rebooted", "Reboot servers",
		"Reboot servers: the guest is asked by ACPI to shut down, is turned off when it has not in time (the image's\nos_shutdown_timeout, or a minute), and starts again.", rebootType},
	{"pause", "pause", "paused", "Stop servers' processors",
		"Stop servers' processors: the guest stands, and its memory stays in its host's. A restart of the host loses it.", nil},
	{"unpause", "unpause", "unpaused", "Let paused servers go on",
		"Let paused servers go on.", nil},
	{"suspend", "suspend", "suspended", "Put servers' memory away",
		"Put servers' memory away, on their host's disk, and end the guest. That outlives a restart of the host.", nil},
	{"resume", "resume", "resumed", "Let suspended servers go on",
		"Let suspended servers go on, from the memory that was put away.", nil},
	{"restore", "restore", "restored", "Take back deletes that were deferred",
		"Take back deletes that were deferred (build.reclaim_interval): the guests start again. `slipway server list --status SOFT_DELETED`\nshows which servers can be restored.", nil},
}

func rebootType(flags *pflag.FlagSet) func() any {
	hard := flags.Bool("hard", false, "turn the guest off unasked and make its domain anew; also of servers that are stopped, paused, suspended or in ERROR")
	return func() any {
		if *hard {
			return show.Object{"type": "HARD"}
		}
		return show.Object{"type": "SOFT"}
	}
}

func (c *client) serverActionCommands() []*cobra.Command {
	var all []*cobra.Command
	for _, a := range serverActions {
		var waiting patience
		says := func() any { return nil }
		cmd := &cobra.Command{
			Use: a.verb + " REF...", Short: a.short, Long: a.long + " If one of several cannot be found, nothing is done.",
			Example:           "  slipway server " + a.verb + " web\n  slipway server " + a.verb + " web db --wait",
			Args:              cobra.MinimumNArgs(1),
			ValidArgsFunction: c.complete(serverKind, true),
			RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
				return c.ofEach(ctx, cmd, s, args, waiting, request{
					verb: a.verb, asked: "asked server %s (%s) to " + a.verb, done: a.done,
					of: func(id string) session.Request {
						return session.Request{Service: "compute", Method: http.MethodPost, Path: serverKind.item(id, "action"), Body: show.Object{a.action: says()}}
					},
					await: func(ctx context.Context, server show.Object, requestID string) error {
						return c.waitDone(ctx, s, server, a.verb, requestID)
					},
				})
			}),
		}
		if a.says != nil {
			says = a.says(cmd.Flags())
		}
		waiting.flags(cmd, "wait until it is done", "the action goes on")
		all = append(all, cmd)
	}
	return all
}

// patience is whether a command waits for what it asked for, and how long.
type patience struct {
	wait    bool
	timeout time.Duration
}

func (p *patience) flags(cmd *cobra.Command, wait, after string) {
	cmd.Flags().BoolVar(&p.wait, "wait", false, wait)
	cmd.Flags().DurationVar(&p.timeout, "timeout", 10*time.Minute, "with --wait: give up waiting after this long ("+after+")")
}

// request is what a command asks of each server that it is given.
type request struct {
	verb  string
	asked string // the line when nobody waits; takes the server's name and id
	done  string // the first word of the line after the wait
	of    func(id string) session.Request
	await func(ctx context.Context, server show.Object, requestID string) error
	// answered is told what the API has answered; nil where nobody wants to know.
	answered func(answer show.Object)
	// goneIsDone: a server that the API does not know any more is as good as asked, when its end is waited for.
	goneIsDone bool
	// moves: the server may be on another host when it is done, and the line tells on which.
	moves bool
}

// ofEach finds all the servers, asks each, and then waits for each if that is wanted.
func (c *client) ofEach(ctx context.Context, cmd *cobra.Command, s *session.Session, refs []string, p patience, r request) error {
	servers, err := serverKind.findAll(ctx, s, refs)
	if err != nil {
		return err
	}
	began := c.now()
	requestIDs := make([]string, len(servers))
	for i, server := range servers {
		answer, header, err := s.Call(ctx, r.of(show.Text(server, "id")))
		if err != nil && !(r.goneIsDone && p.wait && session.IsStatus(err, http.StatusNotFound)) {
			return session.Doing(err, "%s the server %q", r.verb, show.Text(server, "name"))
		}
		if r.answered != nil {
			r.answered(answer)
		}
		requestIDs[i] = header.Get("X-Compute-Request-Id")
		if !p.wait {
			c.say(cmd, r.asked, show.Text(server, "name"), show.Text(server, "id"))
		}
	}
	if !p.wait {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	for i, server := range servers {
		if err := r.await(ctx, server, requestIDs[i]); err != nil {
			return err
		}
		on := ""
		if r.moves {
			if now, err := serverKind.get(ctx, s, show.Text(server, "id")); err == nil && show.Text(now, "OS-EXT-SRV-ATTR:host") != "" { // which admins see
				on = ", which is on " + show.Text(now, "OS-EXT-SRV-ATTR:host")
			}
		}
		c.say(cmd, "%s server %s (%s)%s after %s", r.done, show.Text(server, "name"), show.Text(server, "id"), on, show.Duration(c.now().Sub(began)))
	}
	return nil
}

// waitDone waits until nothing is done to a server any more, and tells by its instance action how the action ended.
func (c *client) waitDone(ctx context.Context, s *session.Session, server show.Object, verb, requestID string) error {
	id, name := show.Text(server, "id"), show.Text(server, "name")
	ticker := time.NewTicker(c.poll)
	defer ticker.Stop()
	for {
		now, err := serverKind.get(ctx, s, id)
		if err != nil && ctx.Err() == nil && !isTransient(err) {
			return session.Doing(err, "wait for the %s of server %q", verb, name)
		}
		if err == nil && show.Text(now, "OS-EXT-STS:task_state") == "" {
			answer, _, err := s.Call(ctx, session.Request{Service: "compute", Method: http.MethodGet, Path: serverKind.item(id, "os-instance-actions", requestID)})
			if err == nil && show.Text(answer, "instanceAction", "message") == "Error" {
				return &show.Error{Code: show.ExitFailed, What: fmt.Sprintf("the %s of server %q (%s) failed", verb, name, id), Reason: reasonOf(answer),
					Hints: []string{"slipway server events " + id + "   (what was done, and where)", "slipway server " + verb + " " + id + "   (tries again)"}}
			}
			if err == nil {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			result := &show.Error{Code: show.ExitInterrupted, What: fmt.Sprintf("stopped waiting; the %s of server %q (%s) goes on", verb, name, id),
				Hints: []string{"slipway server show " + id}}
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				result.Code = show.ExitFailed
			}
			return result
		case <-ticker.C:
		}
	}
}

// reasonOf is what the step of an action said that failed.
func reasonOf(action show.Object) string {
	inner, _ := action["instanceAction"].(show.Object)
	for _, e := range show.Objects(inner["events"]) {
		if show.Text(e, "result") == "Error" && show.Text(e, "details") != "" {
			return show.Text(e, "event") + ": " + show.Text(e, "details")
		}
	}
	return "the API gives no reason"
}
