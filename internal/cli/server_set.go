package cli

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func (c *client) serverSet() *cobra.Command {
	var name, hostname, description, state string
	var properties, tags []string
	cmd := &cobra.Command{
		Use:   "set REF",
		Short: "Change what is said of a server",
		Long: `Change what is said of a server: name, hostname, description, metadata and tags. --property and --tag add to those that are there;
"slipway server unset" removes. The guest itself is told nothing: it reads on its config drive what it was built with.

--state is for admins, of a server that is not what it should be: whatever is being done to it is ended first, and gives back what it took.`,
		Example:           "  slipway server set web --name web-old --description 'until March'\n  slipway server set web --property role=web --tag front\n  slipway server set web --state error",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(serverKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			fields := show.Object{}
			for flag, value := range map[string]string{"name": name, "hostname": hostname, "description": description} {
				if cmd.Flags().Changed(flag) {
					fields[flag] = value
				}
			}
			metadata, err := pairs("property", properties)
			if err != nil {
				return err
			}
			if len(fields) == 0 && len(metadata) == 0 && len(tags) == 0 && state == "" {
				return show.UsageError("nothing to change: say what, with --name, --property, --tag, … (slipway server set --help)")
			}
			return c.changeServer(ctx, cmd, s, args[0], func(id string) []session.Request {
				var asked []session.Request
				if len(fields) > 0 {
					asked = append(asked, ofServer(http.MethodPut, id, show.Object{"server": fields}))
				}
				if len(metadata) > 0 {
					asked = append(asked, ofServer(http.MethodPost, id, show.Object{"metadata": metadata}, "metadata"))
				}
				for _, tag := range tags {
					asked = append(asked, ofServer(http.MethodPut, id, nil, "tags", url.PathEscape(tag)))
				}
				if state != "" {
					asked = append(asked, ofServer(http.MethodPost, id, show.Object{"os-resetState": show.Object{"state": state}}, "action"))
				}
				return asked
			})
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&name, "name", "", "new name")
	flags.StringVar(&hostname, "hostname", "", "new hostname in the API")
	flags.StringVar(&description, "description", "", "new description")
	flags.StringArrayVar(&properties, "property", nil, "metadata key=value (repeat)")
	flags.StringArrayVar(&tags, "tag", nil, "tag (repeat)")
	flags.StringVar(&state, "state", "", "make it active or error, whatever it is (admin)")
	offerFixed(cmd, "state", []string{"active", "error"})
	return cmd
}

func (c *client) serverUnset() *cobra.Command {
	var properties, tags []string
	var description bool
	cmd := &cobra.Command{
		Use:               "unset REF",
		Short:             "Remove a server's description, metadata and tags",
		Long:              "Remove what is said of a server: its description, metadata, tags. What the server does not have is an error; what was\nnamed before it is removed.",
		Example:           "  slipway server unset web --property role --tag front\n  slipway server unset web --description",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(serverKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			if !description && len(properties) == 0 && len(tags) == 0 {
				return show.UsageError("nothing to remove: say what, with --property, --tag or --description")
			}
			return c.changeServer(ctx, cmd, s, args[0], func(id string) []session.Request {
				var asked []session.Request
				if description {
					asked = append(asked, ofServer(http.MethodPut, id, show.Object{"server": show.Object{"description": nil}}))
				}
				for _, key := range unique(properties) {
					asked = append(asked, ofServer(http.MethodDelete, id, nil, "metadata", url.PathEscape(key)))
				}
				for _, tag := range unique(tags) {
					asked = append(asked, ofServer(http.MethodDelete, id, nil, "tags", url.PathEscape(tag)))
				}
				return asked
			})
		}),
	}
	cmd.Flags().StringArrayVar(&properties, "property", nil, "key of metadata to remove (repeat)")
	cmd.Flags().StringArrayVar(&tags, "tag", nil, "tag to remove (repeat)")
	cmd.Flags().BoolVar(&description, "description", false, "remove the description")
	c.completeOf(cmd, serverKind, "property", func(server show.Object) []string {
		metadata, _ := server["metadata"].(show.Object)
		return slices.Sorted(maps.Keys(metadata))
	})
	c.completeOf(cmd, serverKind, "tag", func(server show.Object) []string { return texts(server["tags"]) })
	return cmd
}

func ofServer(method, id string, body any, below ...string) session.Request {
	return session.Request{Service: "compute", Method: method, Path: serverKind.item(id, below...), Body: body}
}

// changeServer sends one change after the other, waits for those that are actions, and shows the server as it is then.
func (c *client) changeServer(ctx context.Context, cmd *cobra.Command, s *session.Session, ref string, changes func(id string) []session.Request) error {
	server, err := serverKind.find(ctx, s, ref)
	if err != nil {
		return err
	}
	id := show.Text(server, "id")
	for _, change := range changes(id) {
		_, header, err := s.Call(ctx, change)
		if err != nil {
			return session.Doing(err, "change the server %q", ref)
		}
		if change.Path == serverKind.item(id, "action") {
			if err := c.waitDone(ctx, s, server, "reset", header.Get("X-Compute-Request-Id")); err != nil {
				return err
			}
		}
	}
	if server, err = serverKind.get(ctx, s, id); err != nil {
		return session.Doing(err, "read the changed server %q", ref)
	}
	return c.output.One(cmd.OutOrStdout(), &serverKind.layout, server)
}
