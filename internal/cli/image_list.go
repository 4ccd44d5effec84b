package cli

import (
	"context"
	"maps"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func (c *client) imageList() *cobra.Command {
	var name, status, visibility, owner, diskFormat, containerFormat, memberStatus, sortBy, marker string
	var public, private, community, shared, all, hidden, long bool
	var tags, properties []string
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List images",
		Long: `List the images that the project can use. All of them, page by page, unless --limit is given.

Community images are listed with --community, hidden ones with --hidden, and images that others share and nobody here
has accepted yet with --shared --member-status pending. --name, --status and the formats take several values as
in:a,b. --property takes Glance's other filters too: size_min, size_max, created_at=gt:2030-01-02T00:00:00Z, protected.`,
		Example: `  slipway image list
  slipway image list --public --long
  slipway image list --status in:queued,saving --sort created_at:desc,name:asc
  slipway image list --property os_distro=debian --tag lts -o json
  slipway image list --shared --member-status pending`,
		Args: cobra.NoArgs,
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, _ []string) error {
			filters, err := pairs("property", properties)
			if err != nil {
				return err
			}
			query := url.Values{}
			for key, value := range filters {
				query.Set(key, value)
			}
			for value, set := range map[string]bool{"public": public, "private": private, "community": community, "shared": shared, "all": all} {
				if set {
					visibility = value
				}
			}
			if owner != "" {
				if owner, err = projectID(ctx, s, owner); err != nil {
					return err
				}
			}
			sorting, err := sortKeys(sortBy)
			if err != nil {
				return err
			}
			if name != "" {
				maps.Copy(query, imageName(name))
			}
			for key, value := range map[string]string{"status": status, "visibility": visibility, "owner": owner, "disk_format": diskFormat,
				"container_format": containerFormat, "member_status": memberStatus, "sort": sorting} {
				if value != "" {
					query.Set(key, value)
				}
			}
			if len(tags) > 0 {
				query["tag"] = tags
			}
			if hidden {
				query.Set("os_hidden", "true")
			}
			if limit > 0 {
				query.Set("limit", strconv.Itoa(limit))
			}
			if marker != "" {
				last, err := imageKind.find(ctx, s, marker)
				if err != nil {
					return err
				}
				query.Set("marker", show.Text(last, "id"))
			}
			images, err := imageKind.list(ctx, s, query)
			if err != nil {
				return session.Doing(err, "list the images")
			}
			if long && c.output.Format == "table" {
				c.output.Format = "wide"
			}
			return c.output.Many(cmd.OutOrStdout(), &imageKind.layout, images)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&name, "name", "", "only this name")
	flags.StringVar(&status, "status", "", "only this status: active, queued, saving, importing, deactivated")
	flags.StringVar(&visibility, "visibility", "", "only this visibility: public, private, shared, community, all")
	flags.BoolVar(&public, "public", false, "short for --visibility public")
	flags.BoolVar(&private, "private", false, "short for --visibility private")
	flags.BoolVar(&community, "community", false, "short for --visibility community")
	flags.BoolVar(&shared, "shared", false, "short for --visibility shared")
	flags.BoolVar(&all, "all", false, "short for --visibility all")
	flags.StringVar(&owner, "owner", "", "only of this project (name or id)")
	flags.StringVar(&owner, "project", "", "the same as --owner")
	flags.StringArrayVar(&tags, "tag", nil, "only with this tag (repeat: with all of them)")
	flags.StringArrayVar(&properties, "property", nil, "only with this property key=value (repeat)")
	flags.StringVar(&diskFormat, "disk-format", "", "only this format of the disk")
	flags.StringVar(&containerFormat, "container-format", "", "only this format of the container")
	flags.StringVar(&memberStatus, "member-status", "", "of shared images only those that this project has: accepted, pending, rejected, all")
	flags.BoolVar(&hidden, "hidden", false, "the hidden images instead of the others")
	flags.StringVar(&sortBy, "sort", "", "order, as key[:asc|desc] (comma separated)")
	flags.IntVar(&limit, "limit", 0, "at most this many")
	flags.StringVar(&marker, "marker", "", "begin after this image (name or id)")
	flags.BoolVar(&long, "long", false, "more columns, as -o wide")
	cmd.MarkFlagsMutuallyExclusive("visibility", "public", "private", "community", "shared", "all")
	cmd.MarkFlagsMutuallyExclusive("owner", "project")
	offerFixed(cmd, "visibility", append([]string{"all"}, visibilities...))
	offerFixed(cmd, "status", imageStatuses)
	offerFixed(cmd, "disk-format", diskFormats)
	offerFixed(cmd, "container-format", containerFormats)
	offerFixed(cmd, "member-status", memberStatuses)
	offerFixed(cmd, "sort", []string{"name:asc", "size:desc", "created_at:desc", "updated_at:desc", "status:asc", "disk_format:asc"})
	c.completeFlag(cmd, "marker", imageKind)
	return cmd
}

// sortKeys checks key[:direction],… and gives it in Glance's form, which names each direction; Glance's own default is desc.
func sortKeys(spec string) (string, error) {
	query := url.Values{}
	if err := sortQuery(query, spec); err != nil {
		return "", err
	}
	keys := make([]string, len(query["sort_key"]))
	for i, key := range query["sort_key"] {
		keys[i] = key + ":" + query["sort_dir"][i]
	}
	return strings.Join(keys, ","), nil
}
