package cli

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// InstallationCommands are the verbs below `slipway installation` that go through the API: show, acknowledge.
func InstallationCommands() []*cobra.Command { return newClient().installationCommands() }

func (c *client) installationCommands() []*cobra.Command {
	return c.finish(c.installationShow(), c.installationAcknowledge())
}

var (
	installationLayout = show.Layout{List: []show.Column{
		show.Col("ID", "id"), show.Col("CREATED", "created_at"), show.Col("GENERATION", "generation"), show.Computed("RESTORED", restoredState),
		show.Computed("TEMPORAL", func(o show.Object) string {
			t := objectIn(o, "temporal")
			if t == nil {
				return ""
			}
			return show.Text(t, "name") + ": " + cmp.Or(show.Text(t, "installation"), "says nothing")
		}),
	}}
	installationStores = show.Layout{List: []show.Column{
		show.Col("IMAGE STORE", "name"), show.Col("LOCATION", "location"), show.Col("GENERATION", "generation"), show.Col("SEEN", "seen_at"),
	}}
	installationHosts    = show.Layout{List: []show.Column{show.Col("HOST", "hostname"), show.Col("GENERATION", "generation"), show.Col("SEEN", "seen_at")}}
	installationTemporal = show.Layout{List: []show.Column{
		show.Computed("ENGINE KEEPS WHAT HAS ENDED", func(o show.Object) string { return cmp.Or(show.Text(o, "retention"), "not told") }),
		show.Computed("HISTORY ENDS AT", func(o show.Object) string {
			events, bytes := show.Text(o, "history_events"), show.Text(o, "history_bytes")
			if events == "" || bytes == "" {
				return "not told: its dynamic configuration has limit.historyCount.error and limit.historySize.error"
			}
			return events + " events, " + bytes + " bytes"
		}),
		show.Computed("VISIBILITY", func(o show.Object) string { return cmp.Or(show.Text(o, "visibility"), "not told") }),
	}}
	restoreEvidence = show.Layout{List: []show.Column{
		show.Col("WHO SAW A LATER STATE", "witness"), show.Col("GENERATION", "holds"), show.Col("GIVEN BY THIS DATABASE", "given"), show.Col("NOTICED", "at"),
	}}
)

func restoredState(o show.Object) string {
	r := objectIn(o, "restore")
	if r == nil {
		return "never"
	}
	if at := show.Text(r, "acknowledged_at"); at != "" {
		return "noticed " + show.Text(r, "noticed_at") + ", acknowledged " + at + " by " + show.Text(r, "acknowledged_by")
	}
	return "noticed " + show.Text(r, "noticed_at") + ", NOT acknowledged: sweeps, repairs and undos of what the database does not know are stopped"
}

func (c *client) showInstallation(cmd *cobra.Command, i show.Object) error {
	out := cmd.OutOrStdout()
	if err := c.output.One(out, &installationLayout, i); err != nil || c.output.Format != "table" && c.output.Format != "wide" || c.output.Quiet || len(c.output.Columns) > 0 {
		return err
	}
	var temporal []show.Object
	if t := objectIn(i, "temporal"); t != nil {
		temporal = append(temporal, t)
	}
	for _, part := range []struct {
		layout *show.Layout
		items  []show.Object
	}{
		{&installationTemporal, temporal},
		{&installationStores, show.Objects(i["image_stores"])},
		{&installationHosts, show.Objects(i["hosts"])},
		{&restoreEvidence, show.Objects(objectIn(i, "restore")["evidence"])},
	} {
		if len(part.items) == 0 {
			continue
		}
		fmt.Fprintln(out)
		if err := c.output.Many(out, part.layout, part.items); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) installationShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Show whose everything is, and whether the database was restored (admin)",
		Long: `Show the installation's id, the generation of its database, the image stores and hosts that belong to it with the generation
that each was given last, to whom Temporal's namespace says that it belongs and what holds there, and the latest restore of the database that was
noticed, with who saw a later state.`,
		Args: cobra.NoArgs,
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, _ []string) error {
			i, err := askInstallation(ctx, s, http.MethodGet, "")
			if err != nil {
				return session.Doing(err, "ask for the installation")
			}
			return c.showInstallation(cmd, i)
		}),
	}
}

func (c *client) installationAcknowledge() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "acknowledge",
		Short: "Make a restored database the truth (admin)",
		Long: `Says that the database is to be as it is, although hosts or image stores saw a later state of it. What they hold from then is
unknown from now on: image bytes are set aside, undos that were held go on, and findings of the audit can be repaired, each
only where it is named.

Look first: slipway audit tells what differs, slipway build list --parked which undos wait. An undo that is not wanted, of a
server that was built after the backup, is given up with slipway build skip before this.`,
		Args: cobra.NoArgs,
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !yes && !c.answers(cmd) {
			return &show.Error{Code: show.ExitUsage, What: "there is no terminal to ask on", Hints: []string{"give --yes to acknowledge without being asked", "slipway installation show tells what there is to acknowledge"}}
		}
		return c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, _ []string) error {
			if !yes {
				i, err := askInstallation(ctx, s, http.MethodGet, "")
				if err != nil {
					return session.Doing(err, "ask for the installation")
				}
				if restored, _ := i["restored"].(bool); !restored {
					return &show.Error{Code: show.ExitRefused, What: "nothing is to be acknowledged", Reason: "no restore of the database was noticed since the last time"}
				}
				if err := (&show.Output{Format: "table"}).Many(cmd.ErrOrStderr(), &restoreEvidence, show.Objects(objectIn(i, "restore")["evidence"])); err != nil {
					return err
				}
				fmt.Fprint(cmd.ErrOrStderr(), "Make the database as it is the truth? [y/N] ")
				line, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
				if reply := strings.ToLower(strings.TrimSpace(line)); reply != "y" && reply != "yes" {
					c.say(cmd, "nothing was done")
					return nil
				}
			}
			i, err := askInstallation(ctx, s, http.MethodPost, "/acknowledge")
			if err != nil {
				return session.Doing(err, "acknowledge the restore")
			}
			return c.showInstallation(cmd, i)
		})(cmd, args)
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// askInstallation is the one resource, which lies at the root of the API beside /hosts.
func askInstallation(ctx context.Context, s *session.Session, method, path string) (show.Object, error) {
	answer, _, err := s.Call(ctx, session.Request{Service: "hosts", Method: method, Path: "installation" + path})
	return objectIn(answer, "installation"), err
}
