package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// metadefKind are Glance's namespaces of metadata definitions, which have a name and no id.
var metadefKind = &kind{
	noun: "namespace", service: "image", path: "metadefs/namespaces", plural: "namespaces", name: "namespace", listHint: "slipway image metadef list", brief: true,
	kept: func(namespace show.Object) string {
		if protected, _ := namespace["protected"].(bool); protected {
			return "it is protected: take that away first (PUT /v2/metadefs/namespaces/" + show.Text(namespace, "namespace") + ")"
		}
		return ""
	},
	layout: show.Layout{ID: "namespace", Name: "namespace", List: []show.Column{
		show.Col("NAMESPACE", "namespace"), show.Col("NAME", "display_name"), show.Col("VISIBILITY", "visibility"), show.Col("PROTECTED", "protected"),
		show.Computed("ABOUT", aboutTypes), show.Col("OWNER", "owner").OnlyWide(), show.Col("CREATED", "created_at").OnlyWide(),
	}, Show: []show.Column{
		show.Col("NAMESPACE", "namespace"), show.Col("NAME", "display_name"), show.Col("DESCRIPTION", "description"), show.Col("VISIBILITY", "visibility"), show.Col("PROTECTED", "protected"),
		show.Computed("ABOUT", aboutTypes), show.Col("PROPERTIES", "properties"), show.Col("OBJECTS", "objects"), show.Col("TAGS", "tags"), show.Col("OWNER", "owner"),
		show.Col("CREATED", "created_at"), show.Col("UPDATED", "updated_at"),
	}},
}

// aboutTypes are the resource types that a namespace is about.
func aboutTypes(namespace show.Object) string {
	var names []string
	for _, about := range show.Objects(namespace["resource_type_associations"]) {
		names = append(names, show.Text(about, "name"))
	}
	return strings.Join(names, ", ")
}

func (c *client) imageMetadefCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "metadef",
		Aliases: []string{"metadefs"},
		Short:   "Load and see metadata definitions",
		Long: `Metadata definitions say which properties there are to give to images, flavors and other things, and what they mean. Dashboards read them. None are
there at first. Those that Glance ships are in Debian's package glance-common, in /usr/share/glance-common/metadefs.`,
		Example: "  slipway image metadef load /usr/share/glance-common/metadefs\n  slipway image metadef list\n  slipway image metadef show OS::Compute::CPUPinning -o json",
	}
	cmd.AddCommand(c.imageMetadefLoad(), c.listCommand(metadefKind, "List the namespaces of metadata definitions", "", "  slipway image metadef list"),
		c.showCommand(metadefKind, "  slipway image metadef show OS::Compute::CPUPinning -o json"), c.deleteCommand(metadefKind, "  slipway image metadef delete OS::Compute::CPUPinning"))
	return cmd
}

func (c *client) imageMetadefLoad() *cobra.Command {
	return &cobra.Command{
		Use:   "load DIR|FILE...",
		Short: "Load namespaces from files as Glance ships them (admin)",
		Long: `Load namespaces of metadata definitions from files, or from each file *.json of a folder, as "glance-manage db_load_metadefs" does: a namespace that is
there already is left as it is, so the same can be loaded again. All files are read before anything is sent.`,
		Example: "  slipway image metadef load /usr/share/glance-common/metadefs\n  slipway image metadef load mine.json",
		Args:    cobra.MinimumNArgs(1),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			definitions, err := readMetadefs(args)
			if err != nil {
				return err
			}
			for _, d := range definitions {
				_, _, err := s.Call(ctx, session.Request{Service: metadefKind.service, Method: http.MethodPost, Path: metadefKind.path, Body: d.body})
				switch {
				case session.IsStatus(err, http.StatusConflict):
					c.say(cmd, "left %s as it is", d.name)
				case err != nil:
					return session.Doing(err, "load the namespace %q from %s", d.name, d.file)
				default:
					c.say(cmd, "loaded %s", d.name)
				}
			}
			return nil
		}),
	}
}

// metadef is a namespace in a file.
type metadef struct {
	file, name string
	body       json.RawMessage
}

// readMetadefs reads the files, and those of folders by name.
func readMetadefs(paths []string) ([]metadef, error) {
	var files []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, show.UsageError("%v", err)
		}
		if !info.IsDir() {
			files = append(files, path)
			continue
		}
		below, err := filepath.Glob(filepath.Join(globEscape.Replace(path), "*.json"))
		if err != nil || len(below) == 0 {
			return nil, show.UsageError("there are no files *.json in %s", path)
		}
		slices.Sort(below)
		files = append(files, below...)
	}
	var all []metadef
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, show.UsageError("%v", err)
		}
		var named struct {
			Namespace string `json:"namespace"`
		}
		if err := json.Unmarshal(raw, &named); err != nil || named.Namespace == "" {
			return nil, show.UsageError("%s has no namespace of metadata definitions in JSON", file)
		}
		all = append(all, metadef{file: file, name: named.Namespace, body: raw})
	}
	return all, nil
}

var globEscape = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`)
