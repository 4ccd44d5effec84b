package cli

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

// InstallationCommands are the verbs below `slipway installation` that go through the API: show, acknowledge.
func InstallationCommands() []*cobra.Command { return newClient().installationCommands() }

func (c *client) installationCommands() []*cobra.Command {
	return c.finish(c.installationShow(), c.installationAcknowledge())
}

var (
	installationLayout = layout{list: []column{
		col("ID", "id"), col("CREATED", "created_at"), col("GENERATION", "generation"), computed("RESTORED", restoredState),
		computed("TEMPORAL", func(o object) string {
			t := objectIn(o, "temporal")
			if t == nil {
				return ""
			}
			return text(t, "name") + ": " + first(text(t, "installation"), "says nothing")
		}),
	}}
	installationStores = layout{list: []column{
		col("IMAGE STORE", "name"), col("LOCATION", "location"), col("GENERATION", "generation"), col("SEEN", "seen_at"),
	}}
	installationHosts = layout{list: []column{col("HOST", "hostname"), col("GENERATION", "generation"), col("SEEN", "seen_at")}}
	restoreEvidence   = layout{list: []column{
		col("WHO SAW A LATER STATE", "witness"), col("GENERATION", "holds"), col("GIVEN BY THIS DATABASE", "given"), col("NOTICED", "at"),
	}}
)

func restoredState(o object) string {
	r := objectIn(o, "restore")
	if r == nil {
		return "never"
	}
	if at := text(r, "acknowledged_at"); at != "" {
		return "noticed " + text(r, "noticed_at") + ", acknowledged " + at + " by " + text(r, "acknowledged_by")
	}
	return "noticed " + text(r, "noticed_at") + ", NOT acknowledged: sweeps, repairs and undos of what the database does not know are stopped"
}

func (c *client) showInstallation(cmd *cobra.Command, i object) error {
	out := cmd.OutOrStdout()
	if err := c.output.one(out, &installationLayout, i); err != nil || c.output.format != "table" && c.output.format != "wide" || c.output.quiet || len(c.output.columns) > 0 {
		return err
	}
	for _, part := range []struct {
		layout *layout
		items  []object
	}{
		{&installationStores, objects(i["image_stores"])},
		{&installationHosts, objects(i["hosts"])},
		{&restoreEvidence, objects(objectIn(i, "restore")["evidence"])},
	} {
		if len(part.items) == 0 {
			continue
		}
		fmt.Fprintln(out)
		if err := c.output.many(out, part.layout, part.items); err != nil {
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
that each was given last, to whom Temporal's namespace says that it belongs, and the latest restore of the database that was
noticed, with who saw a later state.`,
		Args: cobra.NoArgs,
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session, _ []string) error {
			i, err := s.installation(ctx, http.MethodGet, "")
			if err != nil {
				return doing(err, "ask for the installation")
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
			return &Error{Code: ExitUsage, What: "there is no terminal to ask on", Hints: []string{"give --yes to acknowledge without being asked", "slipway installation show tells what there is to acknowledge"}}
		}
		return c.verb(func(ctx context.Context, cmd *cobra.Command, s *session, _ []string) error {
			if !yes {
				i, err := s.installation(ctx, http.MethodGet, "")
				if err != nil {
					return doing(err, "ask for the installation")
				}
				if restored, _ := i["restored"].(bool); !restored {
					return &Error{Code: ExitRefused, What: "nothing is to be acknowledged", Reason: "no restore of the database was noticed since the last time"}
				}
				if err := (&output{format: "table"}).many(cmd.ErrOrStderr(), &restoreEvidence, objects(objectIn(i, "restore")["evidence"])); err != nil {
					return err
				}
				fmt.Fprint(cmd.ErrOrStderr(), "Make the database as it is the truth? [y/N] ")
				line, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
				if reply := strings.ToLower(strings.TrimSpace(line)); reply != "y" && reply != "yes" {
					c.say(cmd, "nothing was done")
					return nil
				}
			}
			i, err := s.installation(ctx, http.MethodPost, "/acknowledge")
			if err != nil {
				return doing(err, "acknowledge the restore")
			}
			return c.showInstallation(cmd, i)
		})(cmd, args)
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// installation is the one resource, which lies at the root of the API beside /hosts.
func (s *session) installation(ctx context.Context, method, path string) (object, error) {
	answer, _, err := s.call(ctx, request{service: "hosts", method: method, path: "installation" + path})
	return objectIn(answer, "installation"), err
}
