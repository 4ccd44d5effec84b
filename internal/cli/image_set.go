package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func (c *client) imageSet() *cobra.Command {
	var describe imageFlags
	var name, membership string
	var activate, deactivate, accept, reject, pending bool
	cmd := &cobra.Command{
		Use:   "set IMAGE",
		Short: "Change an image",
		Long: `Change what is said of an image: name, visibility, protection, properties, tags and more. All of it is one change: if the
API refuses a part, nothing is changed. --property and --tag add to those that are there; "slipway image unset" removes.

--deactivate and --activate are "slipway image deactivate" and "reactivate", and stand alone; --accept, --reject and --pending answer to an
image that another project shares, as "slipway image member accept" does.`,
		Example: `  slipway image set debian-12 --name debian-12-old --hidden
  slipway image set debian-12 --property hw_disk_bus=virtio --property os_distro=debian --tag lts --min-disk 4
  slipway image set debian-12 --public --protected`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(imageKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			fields, err := describe.fields(ctx, cmd, s)
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("name") {
				fields["name"] = name
			}
			action := ""
			switch {
			case activate:
				action = "reactivate"
			case deactivate:
				action = "deactivate"
			}
			for status, set := range map[string]bool{"accepted": accept, "rejected": reject, "pending": pending} {
				if set {
					membership = status
				}
			}
			if len(fields) == 0 && len(describe.tags) == 0 && action == "" && membership == "" {
				return show.UsageError("nothing to change: say what, with --name, --property, --tag, … (slipway image set --help)")
			}
			if action != "" && (len(fields) > 0 || len(describe.tags) > 0 || membership != "") {
				return show.UsageError("--activate and --deactivate stand alone: other changes are a command of their own")
			}
			image, err := imageKind.find(ctx, s, args[0])
			if err != nil {
				return err
			}
			if membership != "" {
				return c.setMembership(ctx, cmd, s, image, fields, describe, membership)
			}
			if tags := withAdded(texts(image["tags"]), describe.tags); len(tags) != len(texts(image["tags"])) {
				fields["tags"] = tags
			}
			changed := image
			if operations := replacing(image, fields); len(operations) > 0 {
				if changed, err = patchImage(ctx, s, show.Text(image, "id"), operations); err != nil {
					return session.Doing(err, "change the image %q", args[0])
				}
			}
			if action != "" {
				if err := actOnImage(ctx, s, image, action); err != nil {
					return err
				}
				if changed, err = imageKind.get(ctx, s, show.Text(image, "id")); err != nil {
					return session.Doing(err, "read the changed image %q", args[0])
				}
			}
			return c.output.One(cmd.OutOrStdout(), &imageKind.layout, changed)
		}),
	}
	describe.bind(c, cmd)
	flags := cmd.Flags()
	flags.StringVar(&name, "name", "", "new name")
	flags.BoolVar(&activate, "activate", false, "let a deactivated image be used again")
	flags.BoolVar(&deactivate, "deactivate", false, "forbid its use for now")
	flags.BoolVar(&accept, "accept", false, "take a shared image into the project's list")
	flags.BoolVar(&reject, "reject", false, "leave a shared image out of the project's list")
	flags.BoolVar(&pending, "pending", false, "take the answer to a shared image back")
	cmd.MarkFlagsMutuallyExclusive("activate", "deactivate")
	cmd.MarkFlagsMutuallyExclusive("accept", "reject", "pending")
	return cmd
}

// setMembership answers to a shared image. As in "openstack image set", --project is then the project that answers.
func (c *client) setMembership(ctx context.Context, cmd *cobra.Command, s *session.Session, image, fields show.Object, describe imageFlags, status string) error {
	project, _ := fields["owner"].(string)
	delete(fields, "owner")
	if len(fields) > 0 || len(describe.tags) > 0 {
		return show.UsageError("--accept, --reject and --pending stand alone: an image that others share is not ours to change")
	}
	if project == "" {
		var err error
		if project, err = ownProject(s); err != nil {
			return err
		}
	}
	return c.answerMember(ctx, cmd, s, image, project, status)
}

func (c *client) imageUnset() *cobra.Command {
	var properties, tags []string
	cmd := &cobra.Command{
		Use:   "unset IMAGE",
		Short: "Remove properties and tags of an image",
		Long: `Remove properties and tags of an image, all in one change. What the image does not have is an error, and then nothing is
removed.`,
		Example:           "  slipway image unset debian-12 --property hw_disk_bus --tag lts",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(imageKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			if len(properties) == 0 && len(tags) == 0 {
				return show.UsageError("nothing to remove: say what, with --property or --tag")
			}
			for _, key := range properties {
				if err := noProperty(key); err != nil {
					return err
				}
			}
			image, err := imageKind.find(ctx, s, args[0])
			if err != nil {
				return err
			}
			var operations []show.Object
			for _, key := range unique(properties) {
				if _, there := image[key]; !there {
					return &show.Error{Code: show.ExitNotFound, What: fmt.Sprintf("the image %q has no property %q", args[0], key),
						Hints: []string{"slipway image show " + show.Text(image, "id")}}
				}
				operations = append(operations, show.Object{"op": "remove", "path": pointer(key)})
			}
			if len(tags) > 0 {
				left := texts(image["tags"])
				for _, tag := range unique(tags) {
					at := slices.Index(left, tag)
					if at < 0 {
						return &show.Error{Code: show.ExitNotFound, What: fmt.Sprintf("the image %q has no tag %q", args[0], tag),
							Hints: []string{"slipway image show " + show.Text(image, "id")}}
					}
					left = slices.Delete(left, at, at+1)
				}
				operations = append(operations, show.Object{"op": "replace", "path": "/tags", "value": left})
			}
			changed, err := patchImage(ctx, s, show.Text(image, "id"), operations)
			if err != nil {
				return session.Doing(err, "change the image %q", args[0])
			}
			return c.output.One(cmd.OutOrStdout(), &imageKind.layout, changed)
		}),
	}
	cmd.Flags().StringArrayVar(&properties, "property", nil, "property to remove (repeat)")
	cmd.Flags().StringArrayVar(&tags, "tag", nil, "tag to remove (repeat)")
	c.completeOf(cmd, imageKind, "property", func(image show.Object) []string {
		return slices.DeleteFunc(slices.Sorted(maps.Keys(image)), func(key string) bool { return noProperty(key) != nil })
	})
	c.completeOf(cmd, imageKind, "tag", func(image show.Object) []string { return texts(image["tags"]) })
	return cmd
}

// completeOf offers for a flag what the resource of the first argument has.
func (c *client) completeOf(cmd *cobra.Command, k *kind, flag string, has func(show.Object) []string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return c.completing(cmd, func(ctx context.Context, s *session.Session) ([]cobra.Completion, error) {
			item, err := k.find(ctx, s, args[0])
			if err != nil {
				return nil, err
			}
			var found []cobra.Completion
			for _, value := range has(item) {
				if strings.HasPrefix(value, prefix) {
					found = append(found, show.Printable(value))
				}
			}
			return found, nil
		})
	})
}

// imagePatch is Glance's own form of JSON Patch: paths of one member, no "test", "move" or "copy".
const imagePatch = "application/openstack-images-v2.1-json-patch"

// patchImage changes an image, in the whole or not at all.
func patchImage(ctx context.Context, s *session.Session, id string, operations []show.Object) (show.Object, error) {
	body, err := json.Marshal(operations)
	if err != nil {
		return nil, fmt.Errorf("writing the change of image %s: %w", id, err)
	}
	image, _, err := s.Call(ctx, session.Request{Service: "image", Method: http.MethodPatch, Path: imageKind.item(id), Raw: bytes.NewReader(body),
		Headers: map[string]string{"Content-Type": imagePatch}})
	return image, err
}

// replacing are the operations that give an image these members: replace for those it has, add for the others. In the order
// of their names, so that the same command sends the same change.
func replacing(image, fields show.Object) []show.Object {
	var operations []show.Object
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		op := "replace"
		if _, has := image[key]; !has && imageFields[key] == "" {
			op = "add"
		}
		operations = append(operations, show.Object{"op": op, "path": pointer(key), "value": fields[key]})
	}
	return operations
}

// pointer is a member's JSON Pointer (RFC 6901).
func pointer(key string) string {
	return "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}

func texts(value any) []string {
	list, _ := value.([]any)
	result := make([]string, len(list))
	for i, v := range list {
		result[i] = show.TextOf(v)
	}
	return result
}

// withAdded is a list and what is added to it, each once.
func withAdded(list, more []string) []string { return unique(append(slices.Clone(list), more...)) }

func unique(list []string) []string {
	var result []string
	for _, v := range list {
		if !slices.Contains(result, v) {
			result = append(result, v)
		}
	}
	return result
}
